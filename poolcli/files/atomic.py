"""Atomic writes: a result is whole under its name, or absent."""

from __future__ import annotations

import errno
import io
import itertools
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from poolcli.errors import OutputError, UsageError

_COUNTER: Final = itertools.count()
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)


_open_temporaries: Final[set[Path]] = set()


def remove_open() -> None:
    """Remove the temporary files of writes that are not done, before the process ends at once."""
    for temporary in tuple(_open_temporaries):
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def writing(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path``; on leaving without an error it takes that name.

    The file's mode follows the umask. Without ``replace`` a file that has appeared under the name
    in the meantime is kept, and OutputError raised.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = create(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    _open_temporaries.add(temporary)
    try:
        with _Checked(io.FileIO(descriptor, "r+")) as stream:
            yield stream
        _publish(temporary, path, replace=replace)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
        _open_temporaries.discard(temporary)


class _Checked(io.BufferedRandom):
    """A file that tells nobody its descriptor.

    Pillow's encoders would write to it themselves, and take the half that went onto a full disk for
    the whole.
    """

    def fileno(self) -> int:
        raise io.UnsupportedOperation("written through Python alone")


def check_writable(folder: Path) -> None:
    """Make a folder if need be, and try whether a file can be made in it.

    Asking for permissions is not enough: a disk may be read-only, a network folder have its own.

    Raises
    ------
    UsageError
        If it can't be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, trial = create(folder)
        os.close(descriptor)
        trial.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"the output folder {folder} can't be written: {reason}") from error


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of processes of this host that are no more."""
    for entry in folder.glob(f".poolcli-{_HOST}-*-*.tmp"):
        process = entry.name.removeprefix(f".poolcli-{_HOST}-").partition("-")[0]
        if process.isdecimal() and not _is_alive(int(process)):
            with suppress(OSError):
                entry.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


_BINARY: Final = getattr(os, "O_BINARY", 0)
_HOST: Final = re.sub("[^A-Za-z0-9.]", "_", socket.gethostname())[:64]


def create(folder: Path) -> tuple[int, Path]:
    """Create a temporary file, under a name that is not taken: its descriptor, and its path."""
    while True:
        temporary = folder / _temporary_name()
        with suppress(FileExistsError):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY
            return os.open(temporary, flags, 0o666), temporary


def _temporary_name() -> str:
    """Name the host and the process, so that what a killed run left can be told from live ones."""
    return f".poolcli-{_HOST}-{os.getpid()}-{next(_COUNTER)}.tmp"


def _publish(temporary: Path, path: Path, *, replace: bool) -> None:
    if replace:
        temporary.replace(path)
        return
    try:
        # A hard link fails where the name exists; a rename would replace it.
        path.hardlink_to(temporary)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, "exists") from None
        temporary.replace(path)


def _unwritable(path: Path, error: OSError) -> OutputError:
    if isinstance(error, FileExistsError):
        return OutputError(f"{path} exists: give --force to replace it")
    return OutputError(f"{path} can't be written: {error.strerror or error}")
