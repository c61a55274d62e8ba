"""Zip files: their directory, read an entry at a time, and members, inflated as far as asked.

Nothing is believed of a length: a directory is read in steps, a member is inflated in pieces that
are no larger than what is asked for, up to the bytes that the directory says and no further.
Format: APPNOTE 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import bz2
import io
import lzma
import os
import struct
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from poolcli.errors import InputError
from poolcli.files.streams import length_of
from poolcli.memory import in_words

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_STORED, _DEFLATED, _BZIP2, _LZMA = 0, 8, 12, 14
_ENCRYPTED: Final = 0x1
_ENDS_ITSELF: Final = 0x2
"""Whether what LZMA packed ends with a mark of its own."""
_UNREADABLE: Final = 0x20 | 0x40 | 0x2000
"""Patches, strong encryption, a hidden directory."""
_UNICODE: Final = 0x800
_END: Final = struct.Struct("<4s4xHHIIH")
_END_MAGIC: Final = b"PK\x05\x06"
_LOCATOR: Final = struct.Struct("<4s16x")
_LOCATOR_MAGIC: Final = b"PK\x06\x07"
_LONG_END: Final = struct.Struct("<4s20xQQQQ")
_LONG_END_MAGIC: Final = b"PK\x06\x06"
_ENTRY: Final = struct.Struct("<4s4xHH4xIIIHHH8xI")
_ENTRY_MAGIC: Final = b"PK\x01\x02"
_LOCAL: Final = struct.Struct("<4s22xHH")
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_LONG_FIELD: Final = 1
_LONG: Final = 2**32 - 1
"""Stands for a number that is in the long field."""
_LONGEST_COMMENT: Final = 2**16 - 1
_MOST_MEMBERS: Final = 1 << 20
_PART: Final = 1 << 16
"""Bytes that are read of a member at once."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a directory says of a member."""

    name: str
    place: int
    """Where its own header stands."""
    method: int
    flags: int
    checksum: int
    packed: int
    """Bytes that it takes in the file."""
    size: int
    """Bytes that it has."""


def entries(stream: BinaryIO) -> Iterator[Entry]:
    """Yield the entries of a zip file's directory, in its order.

    Raises
    ------
    ValueError
        If the directory is broken, has too many entries, or members that overlap.
    """
    place, size, shift = _directory(stream)
    starts, ends = array("Q"), array("Q")
    stream.seek(place)
    left = size
    while left > 0:
        head = stream.read(_ENTRY.size)
        if len(head) < _ENTRY.size or not head.startswith(_ENTRY_MAGIC):
            raise ValueError("its directory is broken")
        if len(starts) == _MOST_MEMBERS:
            raise ValueError(f"more than {_MOST_MEMBERS:,} members")
        _, flags, method, checksum, packed, whole, *lengths, own = _ENTRY.unpack(head)
        content = stream.read(sum(lengths))
        left -= len(head) + len(content)
        name, extra = content[: lengths[0]], content[lengths[0] :][: lengths[1]]
        whole, packed, own = _long_numbers(extra, (whole, packed, own))
        own += shift
        starts.append(own)
        ends.append(own + _LOCAL.size + len(name) + packed)
        yield Entry(_name(name, flags), own, method, flags, checksum, packed, whole)
    _refuse_overlap(starts, ends, place)


def _directory(stream: BinaryIO) -> tuple[int, int, int]:
    """Return a directory's place and length, and by how much its places have to be shifted."""
    length = length_of(stream)
    searched = min(length, _END.size + _LONGEST_COMMENT)
    stream.seek(length - searched)
    tail = stream.read(searched)
    at = _end(tail)
    _, _, count, size, stated, _ = _END.unpack_from(tail, at)
    end = length - searched + at
    before = end - _LOCATOR.size - _LONG_END.size
    if before >= 0:
        stream.seek(before)
        head = stream.read(_LONG_END.size + _LOCATOR.size)
        if head.startswith(_LONG_END_MAGIC) and head[_LONG_END.size :].startswith(_LOCATOR_MAGIC):
            _, _, count, size, stated = _LONG_END.unpack_from(head)
            end = before
    place = end - size
    if place < stated or count > _MOST_MEMBERS:
        broken = "its directory is broken"
        raise ValueError(broken if place < stated else f"more than {_MOST_MEMBERS:,} members")
    # Something else may stand before the archive.
    return place, size, place - stated


def _end(tail: bytes) -> int:
    """Return where, in a file's last bytes, its end record stands: its comment goes to the end."""
    found = -1
    at = tail.rfind(_END_MAGIC)
    while at >= 0:
        if at + _END.size <= len(tail):
            found = at if found < 0 else found
            if at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail):
                return at
        at = tail.rfind(_END_MAGIC, 0, at)
    if found < 0:
        raise ValueError("it has no directory")
    return found


def _name(name: bytes, flags: int) -> str:
    return name.decode("utf-8" if flags & _UNICODE else "cp437").partition("\0")[0]


def _long_numbers(extra: bytes, numbers: tuple[int, ...]) -> list[int]:
    """Return an entry's numbers, those that don't fit 32 bits from its long field."""
    found = list(numbers)
    if _LONG not in found:
        return found
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        if kind == _LONG_FIELD:
            content = extra[at + 4 : at + 4 + size]
            for index in [index for index, number in enumerate(found) if number == _LONG]:
                if len(content) < 8:  # noqa: PLR2004 - bytes of a number
                    raise ValueError("its directory is broken")
                found[index], content = int.from_bytes(content[:8], "little"), content[8:]
        at += 4 + size
    return found


def _refuse_overlap(starts: array[int], ends: array[int], directory: int) -> None:
    order = sorted(range(len(starts)), key=starts.__getitem__)
    for before, behind in pairwise(order):
        if ends[before] > starts[behind]:
            raise ValueError("its members overlap")
    if order and ends[order[-1]] > directory:
        raise ValueError("a member overlaps its directory")


class Member(io.RawIOBase):
    """A member that is inflated as it is read: looking for its end costs nothing.

    Its checksum is checked when its last byte is read.
    """

    def __init__(self, stream: BinaryIO, entry: Entry) -> None:
        self._stream, self._entry, self._place = stream, entry, 0
        self.start = _start(stream, entry)
        """Where its bytes begin in the file."""
        self._begin()

    @property
    def is_stored(self) -> bool:
        """Whether its bytes stand in the file as they are."""
        return self._entry.method == _STORED

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._entry.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        if self._place < self._made:
            self._begin()
        while self._made < min(self._place, self._entry.size):
            self._more(min(self._place - self._made, _PART))
        view = memoryview(buffer).cast("B")
        content = self._more(len(view))
        view[: len(content)] = content
        self._place += len(content)
        return len(content)

    def _begin(self) -> None:
        self._made = self._checksum = 0
        self._unpacking = _UNPACKERS[self._entry.method](self._entry)
        self._next, self._left, self._given = self.start, self._entry.packed, b""

    def _more(self, most: int) -> bytes:
        """Return the next bytes, no more than ``most``; none behind the last."""
        most = min(most, self._entry.size - self._made)
        if not most:
            return b""
        content = self._unpacked(most)
        if not content:
            raise ValueError(f"a member ends after {self._made:,} of {self._entry.size:,} bytes")
        self._made += len(content)
        self._checksum = zlib.crc32(content, self._checksum)
        if self._made == self._entry.size:
            if self._checksum != self._entry.checksum:
                raise ValueError("Bad CRC-32: what it holds is not what was put in")
            if _ends_itself(self._entry) and self._unpacked(1):
                raise ValueError(f"a member goes on behind {self._entry.size:,} bytes")
        return content

    def _unpacked(self, most: int) -> bytes:
        while True:
            content = b""
            if not self._unpacking.eof:
                content = self._unpacking.decompress(self._given, most)
            self._given = b""
            if content or self._unpacking.eof or not self._left:
                return content
            self._stream.seek(self._next)
            self._given = self._stream.read(min(self._left, _PART))
            if not self._given:
                raise ValueError("a member ends beyond the file's end")
            self._next += len(self._given)
            self._left -= len(self._given)


def _start(stream: BinaryIO, entry: Entry) -> int:
    """Return where a member's bytes begin."""
    if entry.flags & _ENCRYPTED:
        raise InputError("an encrypted archive, which can't be read")
    if entry.method not in _UNPACKERS or entry.flags & _UNREADABLE:
        raise InputError(
            f"packed by zip's method {entry.method}, of which 0 (stored), 8 (deflate), 12 (bzip2) "
            "and 14 (LZMA) are read: save it by numpy.savez_compressed"
        )
    stream.seek(entry.place)
    head = stream.read(_LOCAL.size)
    if len(head) < _LOCAL.size or not head.startswith(_LOCAL_MAGIC):
        raise ValueError("no member where its directory says")
    name: int
    extra: int
    _, name, extra = _LOCAL.unpack(head)
    if _name(stream.read(name), entry.flags) != entry.name:
        raise ValueError("another member than its directory says")
    if entry.method == _STORED and entry.packed != entry.size:
        raise ValueError(f"a member of {entry.size:,} bytes takes {entry.packed:,} as it is")
    return entry.place + _LOCAL.size + name + extra


def _ends_itself(entry: Entry) -> bool:
    """Whether what is packed says itself where it ends."""
    return entry.method in (_DEFLATED, _BZIP2) or bool(
        entry.method == _LZMA and entry.flags & _ENDS_ITSELF
    )


class _Unpacker(Protocol):
    """What unpacks a member, a piece at a time."""

    @property
    def eof(self) -> bool:
        """Whether all is unpacked."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take more in, and return no more than so many bytes; none if more has to come in."""


class _Stored:
    def __init__(self) -> None:
        self.eof, self._held = False, b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        held = self._held + data
        self._held = held[max_length:]
        return held[:max_length]


class _Deflated:
    def __init__(self) -> None:
        self._inflating = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inflating.eof

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflating.decompress(self._inflating.unconsumed_tail + data, max_length)


class _Lzma:
    """Zip puts a version, the properties' length and the properties before what is packed."""

    def __init__(self, entry: Entry) -> None:
        self._head, self._size = b"", entry.size
        self._unpacking: lzma.LZMADecompressor | None = None

    @property
    def eof(self) -> bool:
        return self._unpacking is not None and self._unpacking.eof

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if self._unpacking is None:
            self._head += data
            if len(self._head) < _PROPERTIES.size:
                return b""
            self._unpacking = self._begun()
            data = self._head[_PROPERTIES.size :]
        return self._unpacking.decompress(data, max_length)

    def _begun(self) -> lzma.LZMADecompressor:
        size, settings, dictionary = _PROPERTIES.unpack_from(self._head)
        if size != 5 or settings >= 9 * 5 * 5:  # noqa: PLR2004 - of three numbers below 9, 5 and 5
            raise ValueError("the settings of its LZMA are broken")
        settings, literal_context = divmod(settings, 9)
        position, literal_position = divmod(settings, 5)
        # A member looks back at no more bytes than it has, whatever dictionary it names.
        dictionary = max(4096, min(dictionary, self._size))
        if dictionary > _LARGEST_DICTIONARY:
            raise InputError(
                f"packed by LZMA with a dictionary of {in_words(dictionary)}, more than "
                f"{in_words(_LARGEST_DICTIONARY)}: save it by numpy.savez_compressed"
            )
        found = {"id": lzma.FILTER_LZMA1, "dict_size": dictionary, "lc": literal_context}
        found |= {"lp": literal_position, "pb": position}
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[found])


_LARGEST_DICTIONARY: Final = 64 << 20
"""Bytes, which are held while a member is read: as many as the strongest usual setting takes."""


_PROPERTIES: Final = struct.Struct("<2xHBI")
_UNPACKERS: Final[dict[int, Callable[[Entry], _Unpacker]]] = {
    _STORED: lambda _: _Stored(),
    _DEFLATED: lambda _: _Deflated(),
    _BZIP2: lambda _: bz2.BZ2Decompressor(),
    _LZMA: _Lzma,
}
