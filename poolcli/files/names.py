"""Names of results: made from a template, checked before anything is written."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from string import Formatter
from typing import Final

from poolcli.errors import OutputError, UsageError
from poolcli.files.alike import Suspects
from poolcli.files.folders import Folders, is_below
from poolcli.files.formats import SUFFIXES, of_suffix
from poolcli.files.places import LONGEST_PATH, Places
from poolcli.plan import Step

DEFAULT_TEMPLATE: Final = "{stem}.{index}-{label}{ext}"
RECORD: Final = ".poolcli"
"""The folder in the output folder that is not for results."""
_LONGEST_NAME: Final = 255
"""Bytes, on all common file systems."""
FIELDS: Final = ("stem", "name", "parent", "index", "label", "op", "ext")


def result_name(template: str, place: PurePath, step: Step, suffix: str) -> str:
    """Return the name of a stage's result, relative to the output folder.

    Raises
    ------
    OutputError
        If a disk can't hold such a name.

    Examples
    --------
    >>> from poolcli.plan import plan
    >>> step = plan((4, 4), "max:2").steps[0]
    >>> result_name(DEFAULT_TEMPLATE, PurePath("red/truck.png"), step, ".png")
    'truck.1-max2x2.png'
    >>> result_name("{parent}/{name}{ext}", PurePath("red/truck.png"), step, ".png")
    'red/truck.png.png'
    """
    values = fields_of(place) | {"index": step.index, "label": step.label}
    name = fill(template, values | {"op": step.stage.op, "ext": suffix})
    longest = max(len(os.fsencode(part)) for part in PurePath(name).parts or ("",))
    if longest > _LONGEST_NAME:
        raise OutputError(
            f"its result's name would have {longest} bytes, of which a disk holds {_LONGEST_NAME}: "
            "shorten it by --name, as {stem:.40}"
        )
    return name


def check_length(path: Path) -> None:
    """Check that a result's whole path is no longer than a path can be.

    Raises
    ------
    OutputError
        If it is.
    """
    length = len(os.fsencode(os.path.abspath(path)))  # noqa: PTH100 - as deep as it may be
    if length > LONGEST_PATH - _LONGEST_NAME:
        # The temporary file beside it may have the longer name.
        raise OutputError(
            f"its result's path would have {length:,} bytes, of which the system takes "
            f"{LONGEST_PATH - _LONGEST_NAME:,}: choose an --output that lies less deep"
        )


def fields_of(place: PurePath) -> dict[str, str | int]:
    """Return what templates say of an input: its name, without its suffix, and its folder's name.

    >>> fields_of(PurePath("maps/red/truck.png"))
    {'stem': 'truck', 'name': 'truck.png', 'parent': 'red'}
    """
    return {"stem": stem(place.name), "name": place.name, "parent": place.parent.name}


def stem(file_name: str) -> str:
    """Return a file's name without its suffix."""
    return PurePath(file_name).stem or file_name


def fill(template: str, values: Mapping[str, str | int]) -> str:
    """Fill a template's fields in; nothing but plain fields is known to it.

    Raises
    ------
    UsageError
        If the template can't be read or has an unknown field.
    """
    filled = []
    try:
        for literal, name, form, conversion in Formatter().parse(template):
            filled.append(literal)
            if name is None:
                continue
            if name not in values or conversion:
                known = ", ".join(f"{{{known}}}" for known in values)
                raise UsageError(f"{{{name}}} in the template {template}: known are {known}")
            if re.search("[1-9][0-9]{3}", form or ""):
                raise UsageError(f"template {template}: {name}:{form} is longer than a name can be")
            filled.append(format(values[name], form or ""))
    except ValueError as error:
        raise UsageError(f"template {template}: {error}") from None
    return "".join(filled)


def check_template(template: str, requested: str | None) -> str | None:
    """Check a name template, and return the format that its suffix asks for, if it has one.

    Raises
    ------
    UsageError
        If it leads out of the output folder, names nothing, or contradicts ``--format``.
    """
    example = fill(template, dict.fromkeys(FIELDS, "x") | {"index": 1, "ext": ".ext"})
    path = PurePath(example)
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise UsageError(f"template {template}: longer than a file's name can be")
    if path.is_absolute() or ".." in path.parts or not path.name or example.endswith("/"):
        raise UsageError(f"template {template}: results stay inside the output folder")
    suffix = path.suffix.lower()
    if suffix == ".ext":
        return requested
    named = of_suffix(suffix)
    if named is None:
        raise UsageError(f"template {template}: end it in {{ext}} or one of {_suffixes()}")
    if requested not in (None, named):
        raise UsageError(f"template {template}: its suffix contradicts --format {requested}")
    return named


def check_sheet(template: str, inputs: int) -> None:
    """Check where contact sheets go.

    Raises
    ------
    UsageError
        If the suffix is no picture's, or several inputs would share one sheet.
    """
    if of_suffix(PurePath(template).suffix) in (None, "npy"):
        raise UsageError(f"--sheet {template}: end it in .png, .jpg, .webp or .tiff")
    if inputs > 1 and not any(f"{{{field}}}" in template for field in ("stem", "name", "parent")):
        raise UsageError(f"--sheet {template}: several inputs need {{stem}} in it")


def _suffixes() -> str:
    return " ".join(SUFFIXES.values())


@dataclass(frozen=True, slots=True)
class Claims:
    """Whose each place on the disk is, as far as it is known."""

    read: frozenset[str]
    """True paths of inputs."""
    mend: str = "give --force to replace it"
    """What helps where a result exists."""
    folders: Folders = field(default_factory=Folders)
    """Follows the links in results' paths, once and for all."""
    suspects: Suspects = field(default_factory=Suspects)
    """Takes note of each place, for disks that take different names for one."""
    taken: dict[str, str] = field(default_factory=dict)
    """Names of the inputs whose results lie at true paths."""

    @classmethod
    def of(cls, inputs: Iterable[Path], mend: str, folders: Folders, suspects: Suspects) -> Claims:
        """Return claims to what is read."""
        suspects.read = frozenset(map(Places().of, inputs))
        return cls(suspects.read, mend, folders, suspects)

    def add(
        self,
        results: Iterable[tuple[str, Path]],
        folder: Path | None,
        replaceable: Container[Path] = (),
    ) -> None:
        """Check results' places, pairs of an input's name and a path, and claim them.

        Raises
        ------
        UsageError
            If two results share a name, one is an input, exists and is not ``replaceable``, or lies
            outside ``folder``, if one is given, once links are followed.
        """
        inside = self.folders.real(folder) if folder is not None else os.sep
        for source, path in results:
            place, exists = self._place(path)
            if not is_below(place, inside):
                raise UsageError(
                    f"{path} lies outside the output folder {folder}, as links lead to {place}: "
                    "remove the link, or choose another --output or --name"
                )
            if folder is not None and PurePath(os.path.relpath(place, inside)).parts[0] == RECORD:
                raise UsageError(f"{path}: {RECORD} is kept for the record: choose another --name")
            if place in self.read:
                raise UsageError(f"{path} is an input: choose another --output or --name")
            if place in self.taken:
                two, apart = f"{self.taken[place]} and {source}", "{name} or {parent}"
                if self.taken[place] == source:
                    two, apart = f"stages of {source}", "{index}"
                option = "--name" if folder else "--sheet"
                raise UsageError(
                    f"{path} is the result of {two}: tell them apart by {apart} in {option}"
                )
            self.taken[place] = source
            self.suspects.add(place, source)
            if exists and path not in replaceable:
                raise UsageError(f"{path} exists: {self.mend}")
            if exists and os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises on names that can't be
                raise UsageError(f"{path} is a folder: choose another --output or --name")

    def _place(self, path: Path) -> tuple[str, bool]:
        """Return a result's true path, and whether something is there, be it a link to nothing."""
        place = self.folders.place(path)
        try:
            found = os.lstat(place)
        except (OSError, ValueError):
            return place, False
        return (self.folders.real_file(path) if stat.S_ISLNK(found.st_mode) else place), True


def check_folder(folder: Path) -> None:
    """Check that results can be written to a folder, which may not exist yet.

    Raises
    ------
    UsageError
        If it, or the nearest folder above it that exists, is no folder or can't be written.
    """
    nearest = folder
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise UsageError(f"the output folder {folder} can't be made: {nearest} is not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"the output folder {folder} can't be written: no permission in {nearest}")
