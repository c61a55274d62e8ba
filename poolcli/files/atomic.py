"""Atomic writes: a result is whole under its name, or absent."""

from __future__ import annotations

import errno
import fcntl
import io
import itertools
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final

from poolcli.errors import OutputError, UsageError
from poolcli.files import renaming
from poolcli.files.folders import Folders

_COUNTER: Final = itertools.count()


@dataclass(frozen=True, slots=True, eq=False)
class Temporary:
    """A file that has no result's name yet: where it is open, in which open folder, its name."""

    descriptor: int
    folder: int
    name: str


_open_temporaries: Final[set[tuple[int, str]]] = set()
"""Names in open folders."""
_creating: Final = Lock()
_PATIENCE: Final = 1.0
"""Seconds to wait for a file that is being created, perhaps on a disk that doesn't answer."""


def remove_open() -> None:
    """Remove the temporary files of writes that are not done, before the process ends at once.

    None is created any more: threads that still work wait for ever.
    """
    _creating.acquire(timeout=_PATIENCE)
    for folder, name in tuple(_open_temporaries):
        _unlink(folder, name)


@contextmanager
def writing(
    path: Path, *, replace: bool, spoilt: bool = False, folders: Folders | None = None
) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path``; on leaving without an error it takes that name.

    The file's mode follows the umask. A folder that is removed in the meantime is not made again:
    what it was on, a disk of its own perhaps, is gone as well.

    Parameters
    ----------
    path
        Where the result goes.
    replace
        Whether a file of that name is replaced. If not, one that has appeared there in the
        meantime is kept, and OutputError raised.
    spoilt
        Whether a file of that name is replaced if nothing is in it but parts of the result, as a
        power cut leaves it.
    folders
        The run's folders, of which ``path``'s is one.

    Raises
    ------
    OutputError
        If the result can't be written, or has no name to take.
    """
    try:
        with _held(folders) as held, held.opened(path.parent) as folder:
            temporary = create(folder)
            try:
                with _Checked(io.FileIO(temporary.descriptor, "r+")) as stream:
                    yield stream
                if not held.is_in_place(path.parent, folder, temporary.name):
                    raise _moved(path)
                try:
                    _publish(temporary, path, replace=replace)
                except FileExistsError:
                    if not spoilt or not _is_part_of(temporary, path.name):
                        raise
                    _rename(temporary, path.name)
            finally:
                remove(temporary)
    except OSError as error:
        raise _unwritable(path, error) from error


def _held(folders: Folders | None) -> closing[Folders] | nullcontext[Folders]:
    """Return a run's folders, or some that are closed when the block ends."""
    return closing(Folders()) if folders is None else nullcontext(folders)


class _Checked(io.BufferedRandom):
    """A file that tells nobody its descriptor.

    Pillow's encoders would write to it themselves, and take the half that went onto a full disk for
    the whole.
    """

    def fileno(self) -> int:
        raise io.UnsupportedOperation("written through Python alone")


def check_writable(folder: Path, folders: Folders | None = None) -> None:
    """Make a folder if need be, and try whether a file can be made in it.

    Asking for permissions is not enough: a disk may be read-only, a network folder have its own.

    Raises
    ------
    UsageError
        If it can't be made or written.
    """
    try:
        with _held(folders) as held:
            held.make(folder)
            with held.opened(folder) as descriptor:
                trial = create(descriptor)
                os.close(trial.descriptor)
                try:
                    os.unlink(trial.name, dir_fd=descriptor)
                finally:
                    remove(trial)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"the output folder {folder} can't be written: {reason}") from error


def remove_leftovers(folder: Path, folders: Folders | None = None) -> None:
    """Remove temporary files of this host that no process is writing any more.

    Neither their process's number nor their lock alone would tell: containers number their
    processes alike, and not every disk has locks.
    """
    with suppress(OSError), _held(folders) as held, held.opened(folder) as descriptor:
        remove_leftovers_of(descriptor)


def remove_leftovers_of(folder: int) -> None:
    """Remove temporary files of this host, which no process is writing, from an open folder.

    Raises
    ------
    OSError
        If one can't be removed, or the folder can't be listed.
    """
    for name in names_in(folder):
        if found := _TEMPORARY.fullmatch(name):
            process = found[1]
            if process.isdecimal() and _is_left(folder, name, int(process)):
                _unlink(folder, name)


def names_in(folder: int) -> list[str]:
    """Return the names of all that lies in an open folder.

    Raises
    ------
    OSError
        If it can't be listed.
    """
    listed = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return os.listdir(listed)  # noqa: PTH208 - of an open folder
    finally:
        os.close(listed)


def _is_left(folder: int, name: str, process: int) -> bool:
    own = process == os.getpid()
    if not own and _is_alive(process):
        return False
    try:
        descriptor = open_file(folder, name)
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


def open_file(folder: int, name: str) -> int:
    """Open a file in an open folder for reading: no link, and a pipe there is not waited for.

    Raises
    ------
    OSError
        If it is a link, or can't be opened.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=folder)


def open_regular(folder: int, name: str) -> BinaryIO:
    """Open a file in an open folder for reading, which is no link, pipe or folder.

    Raises
    ------
    OSError
        If it is one, which is an ``ELOOP``, or can't be opened.
    """
    descriptor = open_file(folder, name)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ELOOP, "no file", name)
    return os.fdopen(descriptor, "rb")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


HOST: Final = re.sub("[^A-Za-z0-9.]", "_", socket.gethostname())[:64]
_TEMPORARY: Final = re.compile(rf"\.poolcli-{re.escape(HOST)}-([^-]*)-.*\.tmp", re.DOTALL)


def create(folder: int, mark: str = "") -> Temporary:
    """Create a temporary file in an open folder, under a name that is not taken.

    It is locked until its descriptor is closed, where the disk has locks, and to be renamed or
    removed by :func:`remove`. ``mark`` becomes part of its name.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        name = _temporary_name()
        if mark:
            name = f"{name.removesuffix('.tmp')}.{mark}.tmp"
        with _creating:
            # Known before it exists: a signal may come in between.
            _open_temporaries.add((folder, name))
            try:
                descriptor = os.open(name, flags, 0o666, dir_fd=folder)
            except OSError as error:
                _open_temporaries.discard((folder, name))
                if isinstance(error, FileExistsError):
                    continue
                raise
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        return Temporary(descriptor, folder, name)


def remove(temporary: Temporary) -> None:
    """Remove a temporary file, if it is still there under its name."""
    _unlink(temporary.folder, temporary.name)
    _open_temporaries.discard((temporary.folder, temporary.name))


def _unlink(folder: int, name: str) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)


def _temporary_name() -> str:
    """Name the host and the process, so that what a killed run left can be told from live ones."""
    return f".poolcli-{HOST}-{os.getpid()}-{next(_COUNTER)}.tmp"


def _publish(temporary: Temporary, path: Path, *, replace: bool) -> None:
    """Give a temporary file, which is whole, the name of its result."""
    if replace:
        _rename(temporary, path.name)
    else:
        _name_exclusively(temporary, path.name)


def _rename(temporary: Temporary, name: str) -> None:
    folder = temporary.folder
    os.rename(temporary.name, name, src_dir_fd=folder, dst_dir_fd=folder)


def _name_exclusively(temporary: Temporary, name: str) -> None:
    """Give a file a name that is not taken, by whatever the disk has for that.

    A hard link, and a renaming that never replaces, are one step each. Where there is neither, the
    name is first taken by an empty file.
    """
    folder = temporary.folder
    try:
        os.link(temporary.name, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in renaming.NOT_KNOWN:
            raise
    else:
        return
    try:
        renaming.rename_exclusively(folder, temporary.name, name)
    except OSError as error:
        if error.errno not in renaming.NOT_KNOWN:
            raise
        _rename_to_reserved(temporary, name)


def _rename_to_reserved(temporary: Temporary, name: str) -> None:
    """Take a name by an empty file, which must be there still when the true one replaces it."""
    folder = temporary.folder
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with _creating:
        descriptor = os.open(name, flags, 0o666, dir_fd=folder)
        _open_temporaries.add((folder, name))
        try:
            own = os.fstat(descriptor)
            os.close(descriptor)
            if not os.path.samestat(own, os.stat(name, dir_fd=folder, follow_symlinks=False)):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            _rename(temporary, name)
        except FileExistsError:
            raise
        except OSError:
            _unlink(folder, name)
            raise
        finally:
            _open_temporaries.discard((folder, name))


_PART: Final = 1 << 16
_SECTOR: Final = 512
"""Bytes that a disk writes whole or not at all."""


def _is_part_of(temporary: Temporary, name: str) -> bool:
    """Whether a file holds nothing but parts of another one, and zeros where others are missing.

    Nothing is lost if such a file is replaced.
    """
    try:
        with ExitStack() as stack:
            there, whole = (
                stack.enter_context(open_regular(temporary.folder, each))
                for each in (name, temporary.name)
            )
            while part := there.read(_PART):
                if not _is_torn(part, whole.read(_PART)):
                    return False
    except OSError:
        return False
    return True


def _is_torn(part: bytes, whole: bytes) -> bool:
    """Whether each sector is either the whole's or zeros."""
    if len(part) > len(whole):
        return False
    if part == whole[: len(part)]:
        return True
    starts = range(0, len(part), _SECTOR)
    pairs = ((part[at : at + _SECTOR], whole[at : at + _SECTOR]) for at in starts)
    return all(mine == its[: len(mine)] or not any(mine) for mine, its in pairs)


def _moved(path: Path) -> OutputError:
    return OutputError(
        f"{path} can't be written: its folder was moved or replaced during the run: put it back "
        "and go on with --resume"
    )


def _unwritable(path: Path, error: OSError) -> OutputError:
    if isinstance(error, FileExistsError):
        return OutputError(f"{path} exists: give --force to replace it")
    return OutputError(f"{path} can't be written: {error.strerror or error}")
