"""How much memory this machine gives: what a run takes if nobody says, and how it is given back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ctypes

LEAST: Final = 1 << 30
"""Bytes that a run takes on any machine."""
_SHARE: Final = 4

_MEMBERSHIP: Final = Path("/proc/self/cgroup")
_MOUNTS: Final = Path("/sys/fs/cgroup")


def default_memory() -> int:
    """Return a quarter of the machine's or its control group's memory, and at least 1 GiB."""
    return _share(_physical(), control_group_limits(_MEMBERSHIP, _MOUNTS))


def give_back_freed_memory() -> None:
    """Give memory that all threads have freed back to the system, where the C library can."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


def take_memory_from_one_heap() -> None:
    """Make all threads take memory from one heap, where the C library can.

    Else each thread has one of its own, whose upper end glibc never gives back to the system.
    """
    library = _c_library()
    with suppress(AttributeError):
        if library is not None and hasattr(library, "malloc_trim"):
            library.mallopt(_ARENAS, 1)


_ARENAS: Final = -8
"""glibc's number of the setting, M_ARENA_MAX."""


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """Return glibc's ``malloc_trim``; None where there is none."""
    trim: Callable[[int], int] | None = getattr(_c_library(), "malloc_trim", None)
    return trim


def _c_library() -> ctypes.CDLL | None:
    import ctypes

    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):
        return None


def _share(physical: int | None, limits: Iterator[int]) -> int:
    known = [*limits, *(() if physical is None else (physical,))]
    return max(LEAST, min(known, default=0) // _SHARE)


def _physical() -> int | None:
    """Return the bytes of memory that the machine has; None if it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def control_group_limits(membership: Path, mounts: Path) -> Iterator[int]:
    """Yield the limits of memory of this process's control groups, of both versions.

    A group's limit holds for all that are below it. In a container the groups' paths may be those
    outside of it, and only the root is seen.

    Parameters
    ----------
    membership
        Which groups the process is in, as ``/proc/self/cgroup`` says.
    mounts
        Where groups are seen as folders, ``/sys/fs/cgroup``.
    """
    try:
        lines = membership.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            roots, name = (mounts, mounts / "unified"), "memory.max"
        elif "memory" in controllers.split(","):
            roots, name = (mounts / "memory", mounts / controllers), "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path)
        folders = [str(each).strip("/") for each in (group, *group.parents)]
        for root in dict.fromkeys(roots):
            yield from (
                limit
                for folder in folders
                if (limit := _number_in(root / folder / name)) is not None
            )


def _number_in(path: Path) -> int | None:
    """Return the number that a file holds; None if it says max, or can't be read."""
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return int(text) if text.isascii() and text.isdigit() else None
