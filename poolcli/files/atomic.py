"""Atomic writes: a result is whole under its name, or absent."""

from __future__ import annotations

import errno
import fcntl
import io
import itertools
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final

from poolcli.errors import OutputError, UsageError
from poolcli.files.places import make_folder

_COUNTER: Final = itertools.count()
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)


_open_temporaries: Final[set[Path]] = set()
_creating: Final = Lock()
_PATIENCE: Final = 1.0
"""Seconds to wait for a file that is being created, perhaps on a disk that doesn't answer."""


def remove_open() -> None:
    """Remove the temporary files of writes that are not done, before the process ends at once.

    None is created any more: threads that still work wait for ever.
    """
    _creating.acquire(timeout=_PATIENCE)
    for temporary in tuple(_open_temporaries):
        remove(temporary)


@contextmanager
def writing(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path``; on leaving without an error it takes that name.

    The file's mode follows the umask. Without ``replace`` a file that has appeared under the name
    in the meantime is kept, and OutputError raised. A folder that is removed in the meantime is not
    made again: what it was on, a disk of its own perhaps, is gone as well.
    """
    try:
        descriptor, temporary = create(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with _Checked(io.FileIO(descriptor, "r+")) as stream:
            yield stream
        _publish(temporary, path, replace=replace)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        remove(temporary)


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
        make_folder(folder)
        descriptor, trial = create(folder)
        os.close(descriptor)
        try:
            trial.unlink()
        finally:
            remove(trial)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"the output folder {folder} can't be written: {reason}") from error


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of this host that no process is writing any more.

    Neither their process's number nor their lock alone would tell: containers number their
    processes alike, and not every disk has locks.
    """
    with suppress(OSError):
        for entry in folder.glob(f".poolcli-{HOST}-*-*.tmp"):
            process = entry.name.removeprefix(f".poolcli-{HOST}-").partition("-")[0]
            if process.isdecimal() and _is_left(entry, int(process)):
                entry.unlink(missing_ok=True)


def _is_left(temporary: Path, process: int) -> bool:
    own = process == os.getpid()
    if not own and _is_alive(process):
        return False
    try:
        # A pipe that lies there is not waited for.
        descriptor = os.open(temporary, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return not own
    finally:
        os.close(descriptor)
    return True


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


HOST: Final = re.sub("[^A-Za-z0-9.]", "_", socket.gethostname())[:64]


def create(folder: Path) -> tuple[int, Path]:
    """Create a temporary file, under a name that is not taken: its descriptor, and its path.

    It is locked until the descriptor is closed, where the disk has locks, and to be renamed or
    removed by :func:`remove`.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    while True:
        temporary = folder / _temporary_name()
        with _creating:
            # Known before it exists: a signal may come in between.
            _open_temporaries.add(temporary)
            try:
                descriptor = os.open(temporary, flags, 0o666)
            except OSError as error:
                _open_temporaries.discard(temporary)
                if isinstance(error, FileExistsError):
                    continue
                raise
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor, temporary


def remove(temporary: Path) -> None:
    """Remove a temporary file, if it is still there under its name."""
    with suppress(OSError):
        temporary.unlink()
    _open_temporaries.discard(temporary)


def _temporary_name() -> str:
    """Name the host and the process, so that what a killed run left can be told from live ones."""
    return f".poolcli-{HOST}-{os.getpid()}-{next(_COUNTER)}.tmp"


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
