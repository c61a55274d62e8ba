"""Streams over a part of a file, and over what came through a pipe."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, BinaryIO, Final

from poolcli.errors import InputError
from poolcli.memory import in_words

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_IN_MEMORY: Final = 32 << 20
"""Bytes that all pipes together may hold in memory; more goes to temporary files."""
_PART: Final = 1 << 20


class Section(io.RawIOBase):
    """A part of an open file, read at a place of its own, so that several can share the file."""

    def __init__(self, held: Held) -> None:
        # Kept, because with it the file is closed.
        self._held, self._length, self._place = held, held.length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def fileno(self) -> int:
        """Return the file's descriptor, if the part begins where the file does.

        A library that reads by a descriptor counts places from the file's beginning.
        """
        if self._held.start:
            raise io.UnsupportedOperation("a part of a file")
        return self._held.descriptor

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise ValueError("a place before the beginning")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        left = max(0, self._length - self._place)
        part = memoryview(buffer).cast("B")[:left]
        held = self._held
        count = os.preadv(held.descriptor, [part], held.start + self._place) if part else 0
        self._place += count
        return count


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Held:
    """What came through a pipe, to be read as often as needed: bytes, or part of an open file."""

    data: bytes = b""
    descriptor: int = -1
    """The file's, if it is one."""
    start: int = 0
    length: int = 0

    def opened(self) -> BinaryIO:
        """Return a stream that begins where the pipe did."""
        if self.descriptor < 0:
            return io.BytesIO(self.data)
        return io.BufferedReader(Section(self))


class RefusedError(SyntaxError):
    """A read beyond the allowance of a :class:`Metered` stream.

    A syntax error, because Pillow takes one of a reader as "not my format".
    """


class Metered(io.BufferedIOBase):
    """A stream that gives a library no more bytes than it is allowed to take.

    Libraries ask for as many bytes as a file says. What they are given counts until :meth:`allow`
    is called again. A read that asks for more raises :class:`RefusedError`, as do all that follow.

    Parameters
    ----------
    stream
        What is read.
    patch
        A place, and bytes that are read there instead of the stream's own.
    """

    def __init__(self, stream: BinaryIO, patch: tuple[int, bytes] | None = None) -> None:
        self._stream, self._patch = stream, patch
        self._length = length_of(stream)
        self._most = self._left = self._least = 0
        self.refusal = ""
        """What was refused, in words; empty if nothing was."""

    def allow(self, most: int, *, least: int = 0) -> None:
        """Let so many bytes be read from now on.

        ``least`` is what each read counts for at least: reading byte by byte takes its time.
        """
        self._most = self._left = most
        self._least = least
        self.refusal = ""

    def allow_again(self) -> None:
        """Let as many bytes be read from now on as were allowed last."""
        self._left = self._most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def fileno(self) -> int:
        return self._stream.fileno()

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _SMALL:
            behind = max(0, self._length - self._stream.tell())
            size = behind if size is None or size < 0 else min(size, behind)
        self._take(size)
        return self._patched(self._stream.read(size))

    def readline(self, size: int | None = -1) -> bytes:
        asked = size if size is not None and size >= 0 else _LONGEST_LINE + 1
        line = self._patched(self._stream.readline(min(asked, self._left + 1, _LONGEST_LINE + 1)))
        self._take(self._most + 1 if len(line) > _LONGEST_LINE else len(line))
        return line

    def _take(self, size: int) -> None:
        """Count what is read."""
        self._left -= max(size, self._least)
        if self._left < 0:
            self._left = 0
            self.refusal = f"it takes more than {in_words(self._most)}"
            raise RefusedError(self.refusal)

    def _patched(self, data: bytes) -> bytes:
        """Return what was read, with the patch in its place."""
        if self._patch is None:
            return data
        place, patch = self._patch
        at = place - (self._stream.tell() - len(data))
        if at >= len(data) or at + len(patch) <= 0:
            return data
        start, stop = max(at, 0), min(at + len(patch), len(data))
        return data[:start] + patch[start - at : stop - at] + data[stop:]


_SMALL: Final = 1 << 16
"""Bytes that may be asked for without a look at how many there are."""
_LONGEST_LINE: Final = 1 << 20
"""Bytes; a longer one is none."""


@contextmanager
def place_kept(stream: BinaryIO) -> Iterator[None]:
    """Look elsewhere in a stream, and return to where it stood."""
    place = stream.tell()
    try:
        yield
    finally:
        stream.seek(place)


def length_of(stream: BinaryIO) -> int:
    """Return how many bytes a stream has, which stays where it is."""
    with place_kept(stream):
        return stream.seek(0, os.SEEK_END)


def hold(stream: BinaryIO) -> Held:
    """Return what a stream holds from where it stands, of any size in bounded memory.

    A file is not read at all. All pipes of a run together hold less than 32 MiB in memory; a pipe
    that is longer than what is left of them goes to a temporary file without a name.

    Raises
    ------
    InputError
        If it can't be read or held.
    """
    try:
        if _is_file(stream):
            start, descriptor = stream.tell(), stream.fileno()
            return Held(b"", descriptor, start, os.fstat(descriptor).st_size - start)
        taken, kept = _IN_USE.take(_IN_MEMORY), 0
        try:
            data = stream.read(taken)
            if len(data) == taken:
                return spool(stream, data)
            kept, held = len(data), Held(data)
            weakref.finalize(held, _IN_USE.give_back, kept)
            return held
        finally:
            _IN_USE.give_back(taken - kept)
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}") from error


class _InUse:
    """Counts the bytes of pipes that are held in memory."""

    def __init__(self) -> None:
        self._bytes = 0
        # Reentrant: what is held may be freed at any moment.
        self._lock = threading.RLock()

    def take(self, most: int) -> int:
        """Take all that is left of so many bytes, and return how many these are."""
        with self._lock:
            left = max(0, most - self._bytes)
            self._bytes += left
            return left

    def give_back(self, size: int) -> None:
        """Count bytes that are held no longer."""
        with self._lock:
            self._bytes -= size


_IN_USE: Final = _InUse()


def spool(stream: IO[bytes] | io.BufferedIOBase, begun: bytes = b"") -> Held:
    """Return what is left of a stream, behind what has been read of it, in a temporary file.

    Raises
    ------
    InputError
        If it can't be read, or there is no room for it.
    """
    with _temporary(), tempfile.TemporaryFile() as file:
        file.write(begun)
        for part in _parts(stream):
            file.write(part)
        file.flush()
        held = Held(descriptor=os.dup(file.fileno()), length=file.tell())
    weakref.finalize(held, os.close, held.descriptor)
    return held


def _parts(stream: IO[bytes] | io.BufferedIOBase) -> Iterator[bytes]:
    try:
        while part := stream.read(_PART):
            yield part
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}") from error


@contextmanager
def _temporary() -> Iterator[None]:
    """Say of which file an error is."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"it can't be held in a temporary file: {reason}: set TMPDIR to another folder"
        ) from error


def require_room(size: int) -> None:
    """Refuse what would fill the disk of temporary files.

    Raises
    ------
    InputError
        If there are not so many bytes free.
    """
    with _temporary():
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(
            f"it takes {in_words(size)} of temporary files, of which {folder} has room for "
            f"{in_words(free)}: set TMPDIR to another folder, or raise --memory"
        )


def _is_file(stream: BinaryIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except io.UnsupportedOperation:
        return False
