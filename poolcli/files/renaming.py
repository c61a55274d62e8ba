"""Renaming that never replaces, also on disks that know no hard links."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Final

_NO_REPLACE: Final = 1
"""Of Linux's ``renameat2``: RENAME_NOREPLACE."""
_EXCLUSIVE: Final = 4
"""Of macOS's ``renameatx_np``: RENAME_EXCL."""
NOT_KNOWN: Final = (
    errno.ENOSYS,
    errno.EINVAL,
    errno.EPERM,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EMLINK,
)
"""Errors of systems and disks that have no hard links, or no renaming that never replaces."""


def rename_exclusively(folder: int, old: str, new: str) -> None:
    """Rename a file within an open folder, unless the new name is taken.

    Raises
    ------
    FileExistsError
        If it is taken.
    OSError
        If the system or the disk can't do so, with an error of ``NOT_KNOWN``; or if it failed.
    """
    call = _system_call()
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    number = call(folder, os.fsencode(old), folder, os.fsencode(new))
    if number:
        raise OSError(number, os.strerror(number), old, None, new)


@cache
def _system_call() -> Callable[[int, bytes, int, bytes], int] | None:
    """Return the system's own function, which Python does not offer; it returns an error number."""
    import ctypes

    names = {"linux": ("renameat2", _NO_REPLACE), "darwin": ("renameatx_np", _EXCLUSIVE)}
    name, flag = names.get(sys.platform, ("", 0))
    try:
        found = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (AttributeError, OSError):
        return None
    found.argtypes = (
        ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint,
    )  # fmt: skip

    def call(old_folder: int, old: bytes, new_folder: int, new: bytes) -> int:
        failed = found(old_folder, old, new_folder, new, flag) != 0
        return ctypes.get_errno() if failed else 0

    return call
