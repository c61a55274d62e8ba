"""Names that a disk may take for one: of other case, or é written as one character or as two."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from unicodedata import normalize

from poolcli.errors import UsageError
from poolcli.files import atomic
from poolcli.files.folders import Folders

_COMPOSED: Final = "\N{LATIN SMALL LETTER E WITH ACUTE}"


@dataclass(frozen=True, slots=True)
class Likeness:
    """Which names a folder takes for one."""

    any_case: bool = True
    any_form: bool = True
    """Whether the forms of Unicode do not matter."""

    def key(self, path: str) -> str:
        """Return what paths of names that are taken for one have in common.

        >>> Likeness().key("/a/CAFE\\u0301") == Likeness().key("/A/caf\\u00e9")
        True
        """
        if path.isascii():
            return path.lower() if self.any_case else path
        if self.any_form:
            path = normalize("NFC", path)
        if self.any_case:
            path = path.casefold()
        return normalize("NFC", path) if self.any_form else path


_LOOSEST: Final = Likeness()
_Identity = tuple[int, int]
"""Of a folder: its disk, and its number there."""


def loosest_key(path: str) -> str:
    """Return what paths have in common that some disk takes for one."""
    return _LOOSEST.key(path)


@dataclass(slots=True)
class Suspects:
    """Places that some disk would take for one, gathered until the run's own disk can be asked."""

    read: Collection[str] = ()
    """True paths of inputs."""
    _first: dict[int, tuple[str, str]] = field(default_factory=dict)
    """A result's place and its input's name, by a number that places that are alike share."""
    _more: dict[int, dict[str, str]] = field(default_factory=dict)
    """Names of inputs by places, where several share the number."""

    def add(self, place: str, source: str) -> None:
        """Add a result's place, and its input's name."""
        self._add(hash(loosest_key(place)), place, source)

    def _add(self, number: int, place: str, source: str) -> None:
        first = self._first.setdefault(number, (place, source))
        if first[0] != place:
            self._more.setdefault(number, dict([first]))[place] = source

    def check(self, folders: Folders) -> None:
        """Ask the disk, where there is a doubt. All results' folders have been made by now.

        Raises
        ------
        UsageError
            If two places are one: of two results, or of a result and an input.
        """
        for place in self.read:
            if (number := hash(loosest_key(place))) in self._first:
                self._add(number, place, place)
        known: dict[_Identity, Likeness] = {}
        for places in self._more.values():
            for identity, near in _by_folder(places).items():
                if len(near) > 1:
                    if identity not in known:
                        known[identity] = likeness_of(os.path.dirname(near[0]), folders)  # noqa: PTH120 - a string all along
                    self._check_folder(near, known[identity], places)

    def _check_folder(
        self, places: Iterable[str], likeness: Likeness, sources: Mapping[str, str]
    ) -> None:
        first: dict[str, str] = {}
        for place in places:
            other = first.setdefault(likeness.key(os.path.basename(place)), place)  # noqa: PTH119 - a string all along
            if other != place and not (other in self.read and place in self.read):
                raise UsageError(self._said(place, sources[place], other, sources[other]))

    def _said(self, place: str, source: str, other: str, others: str) -> str:
        if place in self.read or other in self.read:
            result, read = (other, place) if place in self.read else (place, other)
            return (
                f"{result} is the input {read} in this folder, where such names are one: choose "
                "another --output or --name"
            )
        return (
            f"{os.path.basename(place)} of {source} and {os.path.basename(other)} of {others} are "  # noqa: PTH119 - strings
            "one name in this folder: rename an input, or tell them apart by {parent} in --name"
        )


def _by_folder(places: Iterable[str]) -> dict[_Identity, list[str]]:
    """Return places by the folder that they are in, whatever it is called."""
    found: dict[_Identity, list[str]] = {}
    for place in places:
        with suppress(OSError):
            folder = os.stat(os.path.dirname(place))  # noqa: PTH116, PTH120 - a string all along
            found.setdefault((folder.st_dev, folder.st_ino), []).append(place)
    return found


def likeness_of(folder: str, folders: Folders) -> Likeness:
    """Return which names a folder takes for one, by a file that is made and looked up otherwise.

    A folder in which no file can be made takes none.
    """
    with suppress(OSError), folders.opened_at(folder) as descriptor:
        trial = atomic.create(descriptor, _COMPOSED)
        os.close(trial.descriptor)
        try:
            return Likeness(
                any_case=_is_there(trial.name.replace(".tmp", ".TMP"), descriptor),
                any_form=_is_there(normalize("NFD", trial.name), descriptor),
            )
        finally:
            atomic.remove(trial)
    return Likeness(any_case=False, any_form=False)


def _is_there(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return True
