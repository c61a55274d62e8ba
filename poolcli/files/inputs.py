"""Inputs: files, arrays of archives, what comes through a pipe; and how each is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, BinaryIO, Final

from poolcli.errors import InputError
from poolcli.files.formats import ARRAY_MAGIC
from poolcli.files.metadata import Metadata
from poolcli.files.streams import Held
from poolcli.layouts import layout_of
from poolcli.maps import Header

if TYPE_CHECKING:
    from zipfile import ZipInfo

    from poolcli.kernels.views import Array

MAX_PIXELS: Final = 178_956_970
"""Where Pillow, too, begins to refuse: twice the pixels that fit 256 MiB at 3 bytes each."""

STDIN: Final = "-"
_ZIP_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")
"""How a zip file begins, and one without members."""


@dataclass(frozen=True, slots=True)
class Source:
    """One input: a file, an array of an archive, or what came through a pipe."""

    name: str
    """As it was given, or found."""
    file: str | None = None
    """The file, if that is not its name."""
    held: Held | None = field(default=None, repr=False)
    """What came through the pipe."""
    folder: str = ""
    """Its place below the folder that it was found in, which results mirror."""
    member: str | None = None
    """Which array of an ``.npz`` archive it is."""
    entry: ZipInfo | None = field(default=None, repr=False, compare=False)
    """What the archive's directory says of it, if that has been read."""
    problem: str | None = None
    """Why it can't be read, if that is known already."""
    true_path: str | None = field(default=None, repr=False, compare=False)
    """Where the file is, links followed, if that has been looked up."""

    @property
    def path(self) -> Path | None:
        """The file, or None for a pipe."""
        return None if self.held is not None else Path(self.file or self.name)

    @property
    def file_name(self) -> str:
        """The name that results' names are made from; an array of an archive adds its own.

        >>> Source("d/maps.npz:a/b", file="d/maps.npz", member="a/b").file_name
        'maps.a.b.npy'
        """
        file = self.file or self.name
        name = "stdin" if self.held is not None and file == STDIN else PurePath(file).name
        if self.member is None:
            return name
        return f"{PurePath(name).stem}.{self.member.replace('/', '.')}.npy"

    @property
    def place(self) -> PurePath:
        """Its file name in the folder that it lies in, from which results' names are made."""
        if self.path is None:
            return PurePath(self.file_name)
        # Without .., which is no folder's name.
        return PurePath(os.path.abspath(self.path)).with_name(self.file_name)  # noqa: PTH100

    @contextmanager
    def opened(self, *, anywhere: bool = False) -> Iterator[BinaryIO]:
        """Open the input for reading; ``anywhere``, if its parts are read in any order."""
        with self._opened_file() as stream:
            if self.member is None:
                yield stream
                return
            from poolcli.files.archives import opened_member

            with opened_member(stream, self.member, self.entry, anywhere=anywhere) as array:
                yield array

    @contextmanager
    def _opened_file(self) -> Iterator[BinaryIO]:
        if self.problem is not None:
            raise InputError(self.problem)
        if self.held is not None:
            with self.held.opened() as stream:
                yield stream
            return
        try:
            with Path(self.file or self.name).open("rb") as stream:
                if not stream.seekable():
                    raise InputError("a pipe, which can be read only once: give a file")
                yield stream
        except OSError as error:
            raise InputError(reason(error)) from error

    def read_header(self, layout: str | None, max_pixels: int = MAX_PIXELS) -> Header:
        """Read what the input is: its shape, layout, dtype and format.

        ``layout`` is that of an array; an image knows its own.
        """
        with self.opened() as stream:
            if _begins_as_array(stream):
                from poolcli.files import arrays

                found = arrays.read_header(stream)
                return Header(found.shape, layout_of(len(found.shape), layout), found.name, "npy")
            from poolcli.files import images

            return images.read_header(stream, max_pixels)

    def can_be_read_in_parts(self) -> bool:
        """Whether it is an array in C order, whose parts lie in few pieces."""
        with self.opened() as stream:
            if not _begins_as_array(stream):
                return False
            from poolcli.files import arrays

            return not arrays.read_header(stream).fortran_order

    def read(self, max_pixels: int = MAX_PIXELS) -> tuple[Array, Metadata]:
        """Read the input's elements, all of them, and what an image carries beside its pixels."""
        with self.opened() as stream:
            if _begins_as_array(stream):
                from poolcli.files import arrays

                return arrays.read_elements(stream, arrays.read_header(stream)), Metadata()
            from poolcli.files import images

            return images.read(stream, max_pixels)


def is_archive(stream: BinaryIO) -> bool:
    """Whether the content, whatever the name, is a zip archive; the stream is at its beginning."""
    start = stream.read(len(_ZIP_MAGIC[0]))
    stream.seek(0)
    return start in _ZIP_MAGIC


def reason(error: OSError) -> str:
    """Return why a file can't be read, in words."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a file"
    return f"can't be read: {error.strerror or error}"


def _begins_as_array(stream: BinaryIO) -> bool:
    """Whether the content, whatever the name, is an ``.npy`` array."""
    start = stream.read(len(ARRAY_MAGIC))
    stream.seek(0)
    if not start:
        raise InputError("empty")
    if start.startswith(_ZIP_MAGIC):
        raise InputError("an archive: name one of its arrays, as maps.npz:name")
    return start == ARRAY_MAGIC
