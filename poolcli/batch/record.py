"""The record of a run, to which a line is added for each result: see :mod:`poolcli.batch.earlier`.

A process's file is locked while it writes. Those of processes that are no more are put together.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from threading import Lock
from time import time_ns
from typing import BinaryIO, Final

from poolcli.batch.earlier import (
    PLANNED,
    SUFFIX,
    Entry,
    Facts,
    digest_of,
    entries_of,
    identity,
    key_of,
    opened_file,
    opened_record,
    planned_of,
    reason_of,
    record_files,
)
from poolcli.batch.jobs import Job
from poolcli.errors import OutputError, UsageError
from poolcli.files import atomic, names
from poolcli.files.folders import Folders
from poolcli.files.places import Places

_OWN: Final = f"poolcli-{atomic.HOST}-"
"""How the names of this host's files begin: not every disk has locks that others' hosts see."""


class Record:
    """The process's own part of the record, to which a line is added for each result."""

    def __init__(self, output: Path, folder: int, name: str, descriptor: int, plan: _Plan) -> None:
        self._output, self._name, self._plan = output, name, plan
        self._folder, self._descriptor = folder, descriptor
        self._path = os.path.join(Places().folder(output), names.RECORD, name)  # noqa: PTH118 - a true path
        self._lock = Lock()

    @classmethod
    def begin(
        cls, output: Path, run: Facts, jobs: Iterable[Job] = (), folders: Folders | None = None
    ) -> Record:
        """Begin a file of the record, and put what processes that are no more left into it.

        What the jobs are about to write is on the disk, in a plan beside it, when this returns.

        Raises
        ------
        UsageError
            If it can't be written.
        """
        try:
            with opened_record(output, folders, make=True) as made, ExitStack() as opened:
                assert made is not None, "it has been made"  # noqa: S101 - narrows it
                # Its own: the record outlives this block.
                folder = os.dup(made)
                opened.callback(os.close, folder)
                with suppress(OSError):
                    atomic.remove_leftovers_of(folder)
                temporary = atomic.create(folder)
                opened.callback(os.close, temporary.descriptor)
                with ExitStack() as stack:
                    # Locked before it has its name, so that nobody takes it for a dead process's.
                    stack.callback(atomic.remove, temporary)
                    own = [name for name in record_files(folder) if name.startswith(_OWN)]
                    dead = {name: found for name in own if (found := _dead(folder, name, stack))}
                    entries = entries_of(dead.values())
                    _write(temporary.descriptor, *_lines(entries), {"run": run})
                    # In containers, one that is no more may have had the same host and number.
                    stem = f"{temporary.name.removesuffix('.tmp').strip('.')}-{time_ns()}"
                    plan = _Plan.of(folder, stem, output, jobs, _plans_of(folder, dead, entries))
                    if plan.own or dead:
                        _sync(temporary.descriptor)
                    _rename(folder, temporary.name, f"{stem}{SUFFIX}")
                    plan.write()
                    if plan.own or dead:
                        _sync_folders(folder)
                    for taken_over in dead:
                        _unlink(folder, _plan_beside(taken_over))
                        _unlink(folder, taken_over)
                opened.pop_all()
        except OSError as error:
            place = output / names.RECORD
            raise UsageError(f"the record {place} can't be written: {reason_of(error)}") from error
        return cls(output, folder, f"{stem}{SUFFIX}", temporary.descriptor, plan)

    def end(self) -> None:
        """End it with the run: nothing more will be written, and what is noted is on the disk.

        So the plan says nothing any more that the record does not. If the disk fails, it is kept.
        """
        with suppress(OSError):
            _sync(self._descriptor)
            self._plan.end()
        self.close()

    def close(self) -> None:
        """Close it: whoever comes next may put it together with others.

        Inputs that are still in work, because the run is ended early, note nothing any more, and
        so write nothing: by then another file may have the descriptor.
        """
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
            folder, self._folder = self._folder, -1
        os.close(descriptor)
        os.close(folder)

    def add(self, path: Path, result: BinaryIO, source: Facts) -> None:
        """Note a result that is whole, but has not taken its name yet."""
        result.flush()
        result.seek(0)
        key = key_of(self._output, path)
        facts = {"result": key, "sha256": digest_of(result), "source": source}
        self._add({**facts, "noted_ns": time_ns()})

    def give_up(self, path: Path) -> None:
        """Note that a result did not take its name after all, which may be somebody else's."""
        with suppress(OutputError):
            self._add({"result": key_of(self._output, path), "sha256": None, "source": None})

    def _add(self, facts: Facts) -> None:
        folder = self._output / names.RECORD
        with self._lock:
            if self._descriptor < 0:
                raise OutputError(f"the record {folder} is closed: the run has come to its end")
            if not self._is_in_place():
                raise OutputError(
                    f"the record {folder} can't be written: it has been removed: run again with "
                    "--resume"
                )
            end = os.lseek(self._descriptor, 0, os.SEEK_END)
            try:
                _write(self._descriptor, facts)
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, end)
                raise OutputError(
                    f"the record {folder} can't be written: {reason_of(error)}"
                ) from error

    def _is_in_place(self) -> bool:
        """Whether its path still leads to the file, and not to nothing or elsewhere."""
        try:
            own, found = os.fstat(self._descriptor), os.lstat(self._path)
        except OSError:
            return False
        if os.path.samestat(own, found):
            return True
        # Some network disks number what lies on them anew each time.
        return stat.S_ISREG(found.st_mode) and own.st_size == found.st_size


@dataclass(frozen=True, slots=True)
class _Plan:
    """The results that runs are about to write, in a file beside the record."""

    folder: int
    name: str
    own: Mapping[str, Facts]
    """The sources of this run's, by what results are called in the record."""
    others: Mapping[str, Facts]
    """Those of runs that did not come to their end, as far as this one does not write them."""

    @classmethod
    def of(
        cls, folder: int, stem: str, output: Path, jobs: Iterable[Job], others: Mapping[str, Facts]
    ) -> _Plan:
        folders, own = Folders(), {}
        for job in jobs:
            source = identity(job.source, folders)
            own.update({key_of(output, path): source for path in job.paths})
        left = {key: source for key, source in others.items() if key not in own}
        return cls(folder, f"{stem}{PLANNED}", own, left)

    def write(self) -> None:
        """Write the plan, if there is one, so that no power cut takes it."""
        self._write({**self.others, **self.own})

    def end(self) -> None:
        """Leave what other runs had planned, or nothing."""
        if self.others:
            self._write(self.others)
        elif self.own:
            _unlink(self.folder, self.name)

    def _write(self, planned: Mapping[str, Facts]) -> None:
        if not planned:
            return
        temporary = atomic.create(self.folder)
        try:
            try:
                lines = groupby(planned.items(), itemgetter(1))
                _write(
                    temporary.descriptor,
                    *(
                        {"planned": [key for key, _ in results], "source": source}
                        for source, results in lines
                    ),
                )
                _sync(temporary.descriptor)
            finally:
                os.close(temporary.descriptor)
            _rename(self.folder, temporary.name, self.name)
        finally:
            atomic.remove(temporary)


def _plans_of(folder: int, dead: Iterable[str], entries: Mapping[str, Entry]) -> dict[str, Facts]:
    """Return what processes that are no more had planned, and have not noted."""
    with ExitStack() as stack:
        plans = []
        for name in dead:
            with suppress(FileNotFoundError):
                plans.append(opened_file(folder, _plan_beside(name), stack))
        planned = planned_of(plan for plan in plans if plan is not None)
    return {key: source for key, source in planned.items() if key not in entries}


def _plan_beside(name: str) -> str:
    return f"{name.removesuffix(SUFFIX)}{PLANNED}"


def _rename(folder: int, old: str, new: str) -> None:
    os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)


def _unlink(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _sync(descriptor: int) -> None:
    """Have a file on the disk, where it can be had."""
    try:
        if hasattr(fcntl, "F_FULLFSYNC"):
            # What others call syncing, macOS only sends to the disk.
            with suppress(OSError):
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
                return
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _sync_folders(folder: int) -> None:
    """Have a folder's names on the disk, and its own name in the folder above."""
    for path in (".", ".."):
        with suppress(OSError):
            listed = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
            try:
                os.fsync(listed)
            finally:
                os.close(listed)


def _write(descriptor: int, *lines: Facts) -> None:
    content = memoryview("".join(f"{json.dumps(line)}\n" for line in lines).encode())
    while content:
        content = content[os.write(descriptor, content) :]


def _lines(entries: Mapping[str, Entry]) -> Iterator[Facts]:
    """Yield entries as lines, how they were made in front of those it holds of."""
    run: Facts | None = None
    for path, entry in entries.items():
        if entry.run != run:
            run = entry.run
            yield {"run": run}
        facts = {"result": path, "sha256": entry.sha256, "source": entry.source}
        yield {**facts, "noted_ns": entry.noted}


def _dead(folder: int, name: str, stack: ExitStack) -> BinaryIO | None:
    """Return a file whose process is no more, locked until the stack ends; None if it still is."""
    try:
        found = opened_file(folder, name, stack)
        if found is not None:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    return found
