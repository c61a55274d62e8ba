"""Inputs: what the words of a command line name, and how each is read."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from poolcli.errors import InputError, UsageError
from poolcli.files.formats import ARRAY_MAGIC, KNOWN_SUFFIXES
from poolcli.files.metadata import Metadata
from poolcli.layouts import layout_of
from poolcli.maps import Header

if TYPE_CHECKING:
    from poolcli.kernels.views import Array

MAX_PIXELS: Final = 178_956_970
"""Where Pillow, too, begins to refuse: twice the pixels that fit 256 MiB at 3 bytes each."""

_STDIN: Final = "-"


@dataclass(frozen=True, slots=True)
class Source:
    """One input: a file, or standard input held in memory. ``name`` is as it was given.

    ``folder`` is its place below the folder that it was found in, which results mirror.
    """

    name: str
    data: bytes | None = field(default=None, repr=False)
    folder: str = ""

    @property
    def path(self) -> Path | None:
        """The file, or None for standard input."""
        return None if self.data is not None else Path(self.name)

    @property
    def file_name(self) -> str:
        """The name that results' names are made from."""
        return "stdin" if self.name == _STDIN else Path(self.name).name

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open the input for reading."""
        if self.data is not None:
            yield io.BytesIO(self.data)
            return
        try:
            with Path(self.name).open("rb") as stream:
                if not stream.seekable():
                    raise InputError("a pipe, which can be read only once: give a file")
                yield stream
        except OSError as error:
            raise InputError(_reason(error)) from error

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


def find(
    words: Iterable[str], stdin: BinaryIO | None, output: Path | None
) -> tuple[list[Source], int]:
    """Return the inputs that words name, and how many files of folders were passed over.

    A folder stands for its files of known suffixes, in the order of their bytes; hidden files and
    the output folder are left out. A file named twice counts once.

    Raises
    ------
    UsageError
        If there is nothing to do.
    """
    found: dict[str, Source] = {}
    passed_over = 0
    for word in words:
        if word == _STDIN:
            if stdin is None:
                raise UsageError("standard input is closed: give a file")
            found.setdefault(_STDIN, Source(_STDIN, data=stdin.read()))
        elif not word:
            raise UsageError("an empty name: give images, .npy arrays, a folder, or -")
        elif _is_pipe(word):
            # It can be read only once, so it is held, as standard input is.
            found.setdefault(word, Source(word, data=Path(word).read_bytes()))
        elif os.path.isdir(word):  # noqa: PTH112 - Path.is_dir raises on names that can't be
            files = _files_in(word, output)
            known = [name for name in files if Path(name).suffix.lower() in KNOWN_SUFFIXES]
            passed_over += len(files) - len(known)
            for name in known:
                found.setdefault(os.path.realpath(name), Source(name))
        else:
            found.setdefault(os.path.realpath(word), Source(word))
    if not found:
        nothing = f"{passed_over} files are of no known kind" if passed_over else "nothing to read"
        raise UsageError(f"no input, {nothing}: give images, .npy arrays, a folder, or -")
    return list(found.values()), passed_over


def _is_pipe(word: str) -> bool:
    try:
        mode = os.stat(word).st_mode  # noqa: PTH116 - Path.stat raises on names that can't be
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _files_in(folder: str, output: Path | None) -> list[str]:
    try:
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        raise UsageError(f"{folder}: {_reason(error)}") from error
    if output is not None and os.path.realpath(folder) == os.path.realpath(output):
        return []
    kept = [entry.path for entry in entries if entry.is_file()]
    return sorted(kept, key=os.fsencode)


def _reason(error: OSError) -> str:
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
    return start == ARRAY_MAGIC
