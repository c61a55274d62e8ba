"""Folders of results: each is found by its name once, and is open while a run writes to it.

Whoever renames a folder, or puts a link in its place, does not lead later results elsewhere: files
are made and named relative to the open folder, never through its name.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

from poolcli.files.places import Places

MOST_OPEN: Final = 64
"""Folders that stay open while nothing is written to them."""
FOLDER_FLAGS: Final = (
    os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
)
"""Open a folder itself, not where a link leads; on Linux that takes no leave to list it."""
_FOLLOW_NOWHERE: Final = getattr(os, "O_NOFOLLOW_ANY", os.O_NOFOLLOW)
"""Refuse links in any part of a path, where the system can (macOS)."""


@dataclass(slots=True)
class _Open:
    descriptor: int
    users: int = 0


@dataclass(slots=True, eq=False)
class Folders:
    """Folders that a run writes to. Links in their paths are followed once, before the first write.

    ``output`` is the output folder, which stays open until :meth:`close`. What lies below it is
    opened from there, a part of the path after the other.
    """

    output: Path | None = None
    most_open: int = MOST_OPEN
    _places: Places = field(default_factory=Places)
    _open: dict[str, _Open] = field(default_factory=dict)
    """By their true paths, those used last at the end."""
    _lock: Lock = field(default_factory=Lock)

    def real(self, folder: Path) -> str:
        """Return a folder's true path, for which links are followed the first time only."""
        return self._places.folder(folder)

    def real_file(self, path: Path) -> str:
        """Return a file's true path; its folder's links are followed the first time only."""
        return self._places.of(path)

    def place(self, path: Path) -> str:
        """Return a file's path in its true folder, be it a link or not."""
        folder, name = os.path.split(path)
        if name in ("", os.curdir, os.pardir):
            return self._places.folder(path)
        real = self._places.folder(folder)
        return f"{real}{name}" if real == os.sep else f"{real}{os.sep}{name}"

    def make(self, folder: Path) -> None:
        """Make a folder, and those above it, where they are missing.

        Raises
        ------
        OSError
            If one can't be made, or is a link by now.
        """
        with self._held(self.real(folder), make=True):
            pass

    @contextmanager
    def opened(self, folder: Path) -> Iterator[int]:
        """Open a folder that exists, as a descriptor for ``dir_fd``.

        Raises
        ------
        OSError
            If it is missing, no folder, or one of the folders on its path has become a link.
        """
        with self._held(self.real(folder)) as descriptor:
            yield descriptor

    @contextmanager
    def opened_at(self, true_path: str) -> Iterator[int]:
        """Open a folder by the path that it had when links were followed."""
        with self._held(true_path) as descriptor:
            yield descriptor

    def is_in_place(self, folder: Path, descriptor: int, name: str) -> bool:
        """Whether a folder's path still leads to the folder that was opened, with a file in it.

        ``name`` is the file's, which lies in no other folder.
        """
        path = self.real(folder)
        try:
            # A link on the way there would be followed, and lead to another folder.
            found = os.lstat(path)
        except OSError:
            return False
        if os.path.samestat(os.fstat(descriptor), found):
            return True
        # Some network disks number what lies on them anew each time.
        return stat.S_ISDIR(found.st_mode) and os.path.lexists(f"{path}{os.sep}{name}")

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close all folders that nothing is being written to."""
        with self._lock:
            self._close_some(0, {})

    @contextmanager
    def _held(self, path: str, *, make: bool = False) -> Iterator[int]:
        """Open a folder by its true path, and keep it open as long as it is used."""
        with self._lock:
            entry = self._entry(path, make=make)
            entry.users += 1
        try:
            yield entry.descriptor
        finally:
            with self._lock:
                entry.users -= 1
                if len(self._open) > self.most_open:
                    root = None if self.output is None else self.real(self.output)
                    self._close_some(self.most_open, {root})

    def _entry(self, path: str, *, make: bool) -> _Open:
        if (known := self._open.pop(path, None)) is not None:
            self._open[path] = known
            return known
        root = os.sep if self.output is None else self.real(self.output)
        if path != root and is_below(path, root) and root not in self._open:
            self._entry(root, make=make)
        # The nearest folder above it that is open, or the file system's own root.
        base = path
        while base != os.sep and base not in self._open:
            base = os.path.dirname(base)  # noqa: PTH120 - a string all along
        parts = [part for part in path[len(base) :].split("/") if part]
        start = self._open[base].descriptor if base in self._open else None
        if start is not None and len(parts) > 1:
            # Folders that lie side by side are opened from the one above.
            start = _opened_from(start, parts[:-1], make=make)
            self._open[os.path.dirname(path)] = _Open(start)  # noqa: PTH120 - a string all along
            parts = parts[-1:]
        entry = _Open(_opened_from(start, parts, make=make))
        self._open[path] = entry
        return entry

    def _close_some(self, most: int, kept: set[str | None] | dict[str, str]) -> None:
        unused = [path for path, entry in self._open.items() if not entry.users]
        for path in unused:
            if len(self._open) <= most:
                break
            if path not in kept:
                os.close(self._open.pop(path).descriptor)


def is_below(path: str, folder: str) -> bool:
    """Whether a true path is a folder's, or lies below it.

    >>> is_below("/a/b", "/a"), is_below("/ab", "/a"), is_below("/a", "/")
    (True, False, True)
    """
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _opened_from(start: int | None, parts: list[str], *, make: bool) -> int:
    """Open the folder that the parts of a path lead to, none of which may be a link."""
    if start is None and not hasattr(os, "O_PATH"):
        return _opened_whole(parts, make=make)
    current = os.open(os.sep, FOLDER_FLAGS) if start is None else start
    for part in parts:
        try:
            following = _opened_part(part, current, make=make)
        finally:
            if current != start:
                os.close(current)
        current = following
    return current


def _opened_whole(parts: list[str], *, make: bool) -> int:
    """Open a folder in one call: to pass others by a descriptor would take leave to list them."""
    try:
        return os.open(f"/{'/'.join(parts)}", FOLDER_FLAGS | _FOLLOW_NOWHERE)
    except FileNotFoundError:
        if not make or not parts:
            raise
    above = _opened_whole(parts[:-1], make=make)
    try:
        return _opened_part(parts[-1], above, make=make)
    finally:
        os.close(above)


def _opened_part(part: str, folder: int, *, make: bool) -> int:
    try:
        return _opened_in(part, folder)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):
        os.mkdir(part, dir_fd=folder)
    return _opened_in(part, folder)


def _opened_in(part: str, folder: int) -> int:
    try:
        return os.open(part, FOLDER_FLAGS, dir_fd=folder)
    except OSError as error:
        if not _is_link(part, folder):
            raise
        # Systems call a link "no folder", or speak of too many of them.
        said = f"{part} has been replaced by a link: put the folder back and run again"
        raise OSError(errno.ELOOP, said) from error


def _is_link(part: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(part, dir_fd=folder).st_mode)
    except OSError:
        return False
