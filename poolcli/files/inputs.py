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
    from poolcli.files.arrays import ArrayHeader
    from poolcli.files.upright import InMemory, Picture
    from poolcli.files.zips import Entry
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
    entry: Entry | None = field(default=None, repr=False, compare=False)
    """What the archive's directory says of it, if that has been read."""
    alias: str | None = None
    """What stands for the array in results' names, where another array has the same."""
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
        return f"{PurePath(name).stem}.{self.alias or self.member.replace('/', '.')}.npy"

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

    def read_header(
        self, layout: str | None, max_pixels: int = MAX_PIXELS, memory: int | None = None
    ) -> Header:
        """Read what the input is: its shape, layout, dtype and format.

        ``layout`` is that of an array; an image knows its own. ``memory`` is the most bytes that
        this may take where a format is held whole.
        """
        with self.opened() as stream:
            if _begins_as_array(stream):
                found = self._array_header(stream)
                # Elements in Fortran order are copied into C order.
                aside = found.nbytes if found.fortran_order else 0
                letters = layout_of(len(found.shape), layout)
                return Header(found.shape, letters, found.name, "npy", decoding=aside)
            from poolcli.files import images

            return images.read_header(stream, max_pixels, memory)

    def can_be_read_in_parts(self) -> bool:
        """Whether it is an array in C order, whose parts lie in few pieces."""
        with self.opened() as stream:
            if not _begins_as_array(stream):
                return False
            return not self._array_header(stream).fortran_order

    def read(self, max_pixels: int = MAX_PIXELS) -> tuple[Array, Metadata]:
        """Read the input's elements, all of them, and what an image carries beside its pixels."""
        with self.opened() as stream:
            if _begins_as_array(stream):
                from poolcli.files import arrays

                return arrays.read_elements(stream, self._array_header(stream)), Metadata()
            from poolcli.files import images

            return images.read(stream, max_pixels)

    def decode(self, max_pixels: int = MAX_PIXELS) -> tuple[Picture | InMemory, Metadata]:
        """Read an input into memory, a picture as it is decoded, to read parts of it from there."""
        with self.opened() as stream:
            if _begins_as_array(stream):
                from poolcli.files import arrays, upright

                array = arrays.read_elements(stream, self._array_header(stream))
                return upright.InMemory(array), Metadata()
            from poolcli.files import images

            return images.decode(stream, max_pixels)

    def _array_header(self, stream: BinaryIO) -> ArrayHeader:
        """Read an array's header. Of an archive's, the elements are all that stands behind it."""
        from poolcli.files import arrays

        header = arrays.read_header(stream)
        if self.member is not None:
            place = stream.tell()
            behind = stream.seek(0, os.SEEK_END) - place
            stream.seek(place)
            if behind > header.nbytes:
                # Its checksum is that of all of it, which would have to be inflated.
                raise InputError(
                    f"its header promises {header.nbytes:,} bytes of elements, its archive says "
                    f"that there are {behind:,}"
                )
        return header


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
