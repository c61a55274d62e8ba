"""``.npz`` archives: zip files of ``.npy`` members, each of which is an input of its own."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, BinaryIO, Final

from poolcli.errors import InputError
from poolcli.files.streams import Held, require_room, spool

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_SUFFIX: Final = ".npy"
_PART: Final = 1 << 20
_LOCAL_HEADER: Final = struct.Struct("<26xHH")
"""What stands before a member's bytes, with the lengths of its name and extra field at the end."""


def members(stream: BinaryIO) -> list[str]:
    """Return the names of an archive's arrays, in its order, without ``.npy``.

    Raises
    ------
    InputError
        If it is broken, or has none.
    """
    with _said(), zipfile.ZipFile(stream) as archive:
        found = [name for name in archive.namelist() if name.endswith(_SUFFIX)]
    if not found:
        raise InputError("an archive without .npy arrays")
    return [name.removesuffix(_SUFFIX) for name in dict.fromkeys(found)]


@contextmanager
def opened_member(stream: BinaryIO, name: str, *, anywhere: bool = False) -> Iterator[BinaryIO]:
    """Open an array of an archive.

    Its bytes come checked against the archive's checksum, once the last of them has been read. With
    ``anywhere`` they have been checked before the first, and may be read in any order at the same
    cost: what is compressed has then been inflated into a temporary file.

    Raises
    ------
    InputError
        If there is no such array, or the archive is broken.
    """
    with _said():
        archive = zipfile.ZipFile(stream)
        if name + _SUFFIX not in archive.namelist():
            raise InputError(f"it has no array {name}")
        member = archive.getinfo(name + _SUFFIX)
        inflating = archive.open(member)
    with archive, inflating:
        if not anywhere:
            yield io.BufferedReader(_Forward(inflating, member.file_size))
            return
        with _said():
            held = _held(stream, member, inflating)
        yield held.opened()


def _held(stream: BinaryIO, member: zipfile.ZipInfo, inflating: IO[bytes]) -> Held:
    """Return a member's bytes where they lie in the archive, or inflated, their checksum right."""
    if member.compress_type != zipfile.ZIP_STORED:
        require_room(member.file_size)
        return spool(inflating)
    while inflating.read(_PART):
        pass
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:
        # It came through a pipe.
        require_room(member.file_size)
        inflating.seek(0)
        return spool(inflating)
    stream.seek(member.header_offset)
    lengths = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
    return Held(b"", descriptor, stream.tell() + sum(lengths), member.file_size)


@contextmanager
def _said() -> Iterator[None]:
    """Whatever broken bytes lead to is one kind of error."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"a broken .npz archive: {reason}") from error


class _Forward(io.RawIOBase):
    """A member that is inflated as it is read: looking for its end costs nothing."""

    def __init__(self, inflating: IO[bytes], length: int) -> None:
        self._inflating, self._length, self._place = inflating, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._length}[whence]
        self._place = base + offset
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        with _said():
            if self._inflating.tell() != self._place:
                self._inflating.seek(self._place)
            view = memoryview(buffer).cast("B")
            content = self._inflating.read(len(view))
        view[: len(content)] = content
        self._place += len(content)
        return len(content)
