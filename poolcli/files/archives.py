"""``.npz`` archives: zip files of ``.npy`` members, each of which is an input of its own."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final

from poolcli.errors import InputError
from poolcli.files.streams import Held, require_room, spool

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_SUFFIX: Final = ".npy"
_PART: Final = 1 << 20
_ENCRYPTED: Final = 1
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_LOCAL_HEADER: Final = struct.Struct("<26xHH")
"""What stands before a member's bytes, with the lengths of its name and extra field at the end."""


def members(stream: BinaryIO) -> dict[str, zipfile.ZipInfo]:
    """Return an archive's arrays by their names without ``.npy``, in its order.

    Raises
    ------
    InputError
        If it is broken, or has none.
    """
    with _said(), zipfile.ZipFile(stream) as archive:
        found = {
            member.filename.removesuffix(_SUFFIX): member
            for member in archive.infolist()
            if member.filename.endswith(_SUFFIX)
        }
    if not found:
        raise InputError("an archive without .npy arrays")
    return found


@contextmanager
def opened_member(
    stream: BinaryIO, name: str, member: zipfile.ZipInfo | None, *, anywhere: bool = False
) -> Iterator[BinaryIO]:
    """Open an array of an archive.

    Its bytes come checked against the archive's checksum, once the last of them has been read.

    Parameters
    ----------
    stream
        The archive.
    name
        The array's.
    member
        Its entry in the archive's directory, if that has been read: each of thousands of arrays
        would read it anew.
    anywhere
        Whether its bytes are checked before the first is read, and then can be read in any order
        at the same cost: what is compressed is inflated into a temporary file.

    Raises
    ------
    InputError
        If there is no such array, or the archive is broken.
    """
    with _said():
        member = member or members(stream).get(name)
        if member is None:
            raise InputError(f"it has no array {name}")
        if member.flag_bits & _ENCRYPTED:
            raise InputError("an encrypted archive, which can't be read")
        stream.seek(member.header_offset)
        head = stream.read(_LOCAL_HEADER.size)
        if not head.startswith(_LOCAL_MAGIC):
            raise InputError("a broken .npz archive: no member where its directory says")
        start = stream.seek(sum(_LOCAL_HEADER.unpack(head)), os.SEEK_CUR)
        inflating = zipfile.ZipExtFile(stream, "r", member)
    with inflating:
        if not anywhere:
            yield io.BufferedReader(_Forward(inflating, member.file_size))
            return
        with _said():
            held = _held(stream, start, member, inflating)
        yield held.opened()


def _held(
    stream: BinaryIO, start: int, member: zipfile.ZipInfo, inflating: zipfile.ZipExtFile
) -> Held:
    """Return a member's bytes where they lie in the archive, or inflated, their checksum right."""
    if member.compress_type == zipfile.ZIP_STORED:
        while inflating.read(_PART):
            pass
        try:
            return Held(b"", stream.fileno(), start, member.file_size)
        except io.UnsupportedOperation:
            # It came through a pipe.
            inflating.seek(0)
    require_room(member.file_size)
    return spool(inflating)


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

    def __init__(self, inflating: zipfile.ZipExtFile, length: int) -> None:
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
