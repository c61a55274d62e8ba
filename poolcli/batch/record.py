"""The record of a run, to which a line is added for each result: see :mod:`poolcli.batch.earlier`.

A process's file is locked while it writes. Those of processes that are no more are put together.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Lock
from time import time_ns
from typing import BinaryIO, Final

from poolcli.batch.earlier import (
    SUFFIX,
    Entry,
    Facts,
    digest_of,
    entries_of,
    key_of,
    reason_of,
    record_files,
    record_folder,
)
from poolcli.errors import OutputError, UsageError
from poolcli.files import atomic, names

_OWN: Final = f"poolcli-{atomic.HOST}-"
"""How the names of this host's files begin: not every disk has locks that others' hosts see."""


class Record:
    """The process's own part of the record, to which a line is added for each result."""

    def __init__(self, output: Path, path: Path, descriptor: int) -> None:
        self._output, self._path, self._descriptor = output, path, descriptor
        self._lock = Lock()

    @classmethod
    def begin(cls, output: Path, run: Facts) -> Record:
        """Begin a file of the record, and put what processes that are no more left into it.

        Raises
        ------
        UsageError
            If it can't be written.
        """
        folder = record_folder(output)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            atomic.remove_leftovers(folder)
            descriptor, temporary = atomic.create(folder)
            with ExitStack() as stack:
                # Locked before it has its name, so that nobody takes it for a dead process's.
                stack.callback(atomic.remove, temporary)
                own = [path for path in record_files(folder) if path.name.startswith(_OWN)]
                dead = {path: found for path in own if (found := _dead(path, stack))}
                entries = entries_of(found.read() for found in dead.values())
                _write(descriptor, *_lines(entries), {"run": run})
                # In containers, one that is no more may have had the same host and number.
                path = folder / f"{temporary.stem.strip('.')}-{time_ns()}{SUFFIX}"
                temporary.rename(path)
                for taken_over in dead:
                    taken_over.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"the record {folder} can't be written: {reason_of(error)}") from error
        return cls(output, path, descriptor)

    def close(self) -> None:
        """End it: whoever comes next may put it together with others.

        Inputs that are still in work, because the run is ended early, note nothing any more, and
        so write nothing: by then another file may have the descriptor.
        """
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

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
            if not os.path.lexists(self._path):
                raise OutputError(f"the record {folder} can't be written: it has been removed")
            end = os.lseek(self._descriptor, 0, os.SEEK_END)
            try:
                _write(self._descriptor, facts)
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, end)
                raise OutputError(
                    f"the record {folder} can't be written: {reason_of(error)}"
                ) from error


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


def _dead(path: Path, stack: ExitStack) -> BinaryIO | None:
    """Return a file whose process is no more, locked until the stack ends; None if it still is."""
    try:
        found = stack.enter_context(path.open("rb"))
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    return found
