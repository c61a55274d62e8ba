"""Places on the disk: true paths, without links, at any depth.

``os.path.realpath`` asks the system for every part of a path, each time anew: for all folders of a
deep tree that is cubic work. And it raises where a link can't be read.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

LONGEST_PATH: Final = 4095
"""Bytes that the system takes as a path (PATH_MAX, without the NUL behind it)."""


@dataclass(slots=True)
class Places:
    """True paths, as ``os.path.realpath`` gives them; each folder's is worked out but once.

    For as long as it lives, links that are changed meanwhile lead where they did.
    """

    _folders: dict[str, str] = field(default_factory=dict)

    def of(self, path: str | os.PathLike[str]) -> str:
        """Return a true path. What can't be looked up, or followed, is taken for no link."""
        path = _absolute(os.fspath(path))
        head, tail = os.path.split(path)
        if tail in ("", os.curdir, os.pardir):
            return self.folder(path)
        return _followed(self.folder(head), tail)

    def folder(self, path: str | os.PathLike[str]) -> str:
        """Return a folder's true path, and remember it."""
        ahead: list[tuple[str, str]] = []
        current = _absolute(os.fspath(path))
        while (true := self._folders.get(current)) is None:
            head, tail = os.path.split(current)
            if head == current:
                true = os.sep
                break
            ahead.append((current, tail))
            current = head
        while ahead:
            current, tail = ahead.pop()
            if tail == os.pardir:
                true = os.path.dirname(true)  # noqa: PTH120 - text all along
            elif tail not in ("", os.curdir):
                true = _followed(true, tail)
            self._folders[current] = true
        return true


def _absolute(path: str) -> str:
    """Return a path from the root on, its parts as they are: behind a link, .. leads elsewhere."""
    return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH117, PTH118 - text all along


def _followed(folder: str, name: str) -> str:
    """Return the true path of a name in a folder that is known by its own."""
    path = os.path.join(folder, name)  # noqa: PTH118 - text all along
    with suppress(OSError, ValueError):
        if stat.S_ISLNK(os.lstat(path).st_mode):
            return os.path.realpath(path)
    return path
