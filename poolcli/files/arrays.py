"""``.npy`` files, read a part at a time and never mapped, never unpickled.

Format: numpy.lib.format, "NumPy Enhancement Proposal 1", versions 1.0 to 3.0.
"""

from __future__ import annotations

import ast
import os
import re
import struct
from dataclasses import dataclass
from math import prod
from threading import Lock
from typing import Any, BinaryIO, Final

import numpy as np

from poolcli.blocks import Band, Frame
from poolcli.dtypes import ITEM_SIZES
from poolcli.errors import InputError
from poolcli.files.formats import ARRAY_MAGIC
from poolcli.kernels.views import Array

_PART: Final = 1 << 24
"""Bytes read at once."""
_LONGEST_HEADER: Final = 10_000
"""NumPy's own limit; a longer one is an attack on the parser."""
_MOST: Final = 1 << 64
"""Bytes beyond which a number is not written out: Python refuses some thousand digits."""
_DESCR: Final = re.compile(r"[<>=|]?[A-Za-z?]+[0-9]{0,9}(?:\[[A-Za-z]+\])?")
"""A dtype by its code or its name, and a date's unit."""
_OBJECTS: Final = re.compile(r"'[<>=|]?O[0-9]?'")
_PARSING: Final = Lock()
"""Python 3.11 counts the depth of all threads' syntax trees together, and may find it wrong."""


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What an ``.npy`` file says of its array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool

    @property
    def name(self) -> str:
        """The dtype's name, whatever its byte order."""
        return self.dtype.newbyteorder("=").name

    @property
    def nbytes(self) -> int:
        """Bytes that the elements take."""
        return prod(self.shape) * self.dtype.itemsize


def read_header(stream: BinaryIO) -> ArrayHeader:
    """Read the header, leaving the stream at the first element.

    Raises
    ------
    InputError
        If it is broken, promises more than the file holds, or holds something that is not numbers.
    """
    header = _parse(_header_text(stream))
    _refuse_what_is_not_numbers(header)
    position = stream.tell()
    held = stream.seek(0, os.SEEK_END) - position
    stream.seek(position)
    if held < header.nbytes:
        promised = f"{header.nbytes:,}" if header.nbytes < _MOST else "more than 2^64"
        raise InputError(
            f"truncated: its header promises {promised} bytes of elements, it holds {held:,}"
        )
    return header


def read_elements(stream: BinaryIO, header: ArrayHeader) -> Array:
    """Read the elements behind the header as a new C-ordered array in the machine's byte order."""
    shape = header.shape[::-1] if header.fortran_order else header.shape
    try:
        array = np.empty(shape, header.dtype)
    except ValueError:
        raise InputError("its shape has more elements than an array can have") from None
    _fill(stream, array.reshape(-1))
    array = _native(array)
    return np.ascontiguousarray(array.T) if header.fortran_order else array


@dataclass(frozen=True, slots=True)
class ArrayReader:
    """The elements of an open ``.npy`` file in C order, to be read in parts."""

    stream: BinaryIO
    header: ArrayHeader
    start: int
    """Where they begin."""

    @classmethod
    def of(cls, stream: BinaryIO) -> ArrayReader:
        """Return a reader of a file, which is at its beginning."""
        header = read_header(stream)
        return cls(stream, header, stream.tell())

    def read(self, frame: Frame, planes: range, low: int, high: int) -> Array:
        """Read positions ``low`` up to ``high`` of some planes, in the frame."""
        shape, place = frame.shape(self.header.shape), frame.place
        before, inner = prod(shape[1:place]), prod(shape[place + 1 :])
        lines = np.empty((len(planes) * before, (high - low) * inner), self.header.dtype)
        whole = (len(planes), *shape[1:place], high - low, *shape[place + 1 :])
        if high - low == shape[place]:
            # Whole planes follow each other.
            lines = lines.reshape(1, -1)
        first = planes.start * before * shape[place] + low
        for number, line in enumerate(lines):
            row = first + number * shape[place]
            self.stream.seek(self.start + row * inner * lines.itemsize)
            _fill(self.stream, line)
        return _native(lines).reshape(whole)


@dataclass(frozen=True, slots=True)
class ArrayWriter:
    """An open ``.npy`` file that is written in parts, in any order."""

    stream: BinaryIO
    shape: tuple[int, ...]
    start: int
    """Where its elements begin."""

    @classmethod
    def of(cls, stream: BinaryIO, shape: tuple[int, ...], dtype: str) -> ArrayWriter:
        """Write the header, and return a writer of the elements."""
        write_header(stream, shape, dtype)
        return cls(stream, shape, stream.tell())

    def write(self, frame: Frame, band: Band, array: Array) -> None:
        """Write some outputs of some planes where they belong."""
        shape, place = frame.shape(self.shape), frame.place
        before, inner = prod(shape[1:place]), prod(shape[place + 1 :])
        lines = np.ascontiguousarray(array).reshape(len(band.planes) * before, -1)
        if band.last - band.first == shape[place]:
            lines = lines.reshape(1, -1)
        first = band.planes.start * before * shape[place] + band.first
        for number, line in enumerate(lines):
            row = first + number * shape[place]
            self.stream.seek(self.start + row * inner * array.itemsize)
            _write(self.stream, line)


def write_header(stream: BinaryIO, shape: tuple[int, ...], dtype: str) -> None:
    """Write the header of an ``.npy`` file in C order."""
    whole = np.broadcast_to(np.zeros((), dtype), shape)
    facts = np.lib.format.header_data_from_array_1_0(whole)
    np.lib.format.write_array_header_1_0(stream, {**facts, "fortran_order": False})


def _fill(stream: BinaryIO, flat: Array) -> None:
    """Read as many elements as an array has."""
    if not flat.size:
        return
    buffer = flat.view(np.uint8).data
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(buffer[filled : filled + _PART])  # type: ignore[attr-defined] # every binary file has it
        if not count:
            raise InputError(f"truncated: it ends after {filled:,} of {len(buffer):,} bytes")
        filled += count


def _native(array: Array) -> Array:
    """Return elements as read from a file as numbers in the machine's byte order."""
    if array.dtype.kind == "b":
        # In place: any byte but 0 is true.
        np.not_equal(array.view(np.uint8), 0, out=array)
    if not array.dtype.isnative:
        array = array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))
    return array


def write(stream: BinaryIO, array: Array) -> None:
    """Write an array as ``.npy``."""
    write_header(stream, array.shape, array.dtype.name)
    _write(stream, np.ascontiguousarray(array))


def _write(stream: BinaryIO, whole: Array) -> None:
    if whole.size:
        # numpy.save would go through C's files, whose errors don't tell a full disk.
        content = whole.reshape(-1).view(np.uint8).data
        stream.writelines(content[start : start + _PART] for start in range(0, len(content), _PART))


def _header_text(stream: BinaryIO) -> str:
    start = stream.read(len(ARRAY_MAGIC) + 2)
    if len(start) < len(ARRAY_MAGIC) + 2 or not start.startswith(ARRAY_MAGIC):
        raise InputError("not an .npy array: it does not begin as one")
    major = start[-2]
    if major not in (1, 2, 3):
        raise InputError(f"an .npy of version {major}, of which 1 to 3 are known")
    size_format = "<H" if major == 1 else "<I"
    size_bytes = stream.read(struct.calcsize(size_format))
    if len(size_bytes) < struct.calcsize(size_format):
        raise InputError("truncated: it ends within its header")
    size = struct.unpack(size_format, size_bytes)[0]
    if size > _LONGEST_HEADER:
        raise InputError(f"its header claims {size:,} bytes; at most {_LONGEST_HEADER:,} are read")
    text = stream.read(size)
    if len(text) < size:
        raise InputError("truncated: it ends within its header")
    try:
        return text.decode("utf-8" if major == 3 else "latin-1")  # noqa: PLR2004 - version 3.0
    except UnicodeDecodeError:
        raise InputError("its header is not text") from None


def _parse(text: str) -> ArrayHeader:
    try:
        # Python 2 wrote long integers as 3L.
        text = re.sub(r"\b(\d+)L\b", r"\1", text).strip()
        with _PARSING:
            said = ast.literal_eval(text)
        shape, order = said["shape"], said["fortran_order"]
        dtype = _dtype(said["descr"])
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError):
        raise InputError("its header can't be read as an .npy header") from None
    lengths_fit = isinstance(shape, tuple) and all(
        isinstance(length, int) and not isinstance(length, bool) and length >= 0 for length in shape
    )
    if not lengths_fit or not isinstance(order, bool):
        raise InputError("its header can't be read as an .npy header")
    return ArrayHeader(shape, dtype, order)


def _dtype(descr: object) -> np.dtype[Any]:
    """Return the dtype that a header tells.

    Only plain ones are NumPy's to read: of others, ``<M8[s/0]`` say, it ends the process.
    """
    if isinstance(descr, str) and _DESCR.fullmatch(descr):
        return np.dtype(descr)
    if _OBJECTS.search(repr(descr)):
        raise InputError(_PICKLED)
    if isinstance(descr, list) and descr:
        fields = ", ".join(str(name) for name, *_ in descr)
        raise InputError(f"a structured array: save one of its fields ({fields})")
    raise ValueError(descr)


_PICKLED: Final = "it holds pickled Python objects, which are never loaded: save numbers"


def _refuse_what_is_not_numbers(header: ArrayHeader) -> None:
    dtype = header.dtype
    if dtype.hasobject:
        raise InputError(_PICKLED)
    if dtype.kind == "c":
        raise InputError("complex numbers have no order: save their real part or magnitude")
    if header.name not in ITEM_SIZES:
        raise InputError(f"dtype {dtype}: known are {', '.join(ITEM_SIZES)}")
