"""The record of a run: what each result was made from, so that a later one can tell what is done.

It lies in ``.poolcli`` in the output folder, a file for each process that wrote, locked while it
writes. Every line is a JSON object: ``run`` tells how the results behind it were made, ``result``
what was made of which source, and the hash of its bytes. A result's line is written before the
result takes its name, so that one that is killed in between is known, and known not to be complete.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from time import time_ns
from typing import IO, Any, BinaryIO, Final

from poolcli import __version__
from poolcli.batch.jobs import Job, Options
from poolcli.errors import OutputError, UsageError
from poolcli.files import atomic, names
from poolcli.files.inputs import Source, facts_of
from poolcli.stages import Chain

_SUFFIX: Final = ".ndjson"
_PART: Final = 1 << 20

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one result: how it was made, of what, and the hash of its bytes."""

    run: Facts
    source: Facts
    sha256: str
    noted: int = 0
    """When, in nanoseconds: of several processes' entries of a result the last one counts."""


def making(chain: Chain, options: Options) -> Facts:
    """Return all that a result's bytes depend on, but for its source."""
    files = [path for stage in chain for path in stage.files]
    changing = {
        "layout": options.layout,
        "dtype": options.dtype,
        "linear": options.linear,
        "premultiply": options.premultiply,
        "png-level": options.encoding.png_level,
        "quality": options.encoding.quality,
    }
    return {
        "version": __version__,
        "chain": [str(stage) for stage in chain],
        "options": changing,
        "files": {path: _facts(path) for path in files},
    }


def source_facts(source: Source) -> Facts | None:
    """Return how a source is told from another, and from itself before a change; None of a pipe."""
    if source.path is None:
        return None
    facts = _facts(str(source.path))
    name = os.path.join(source.folder, source.file_name)  # noqa: PTH118 - a text, not a file
    return None if facts is None else {"name": name, **facts}


def _facts(path: str) -> dict[str, int] | None:
    try:
        size, changed = facts_of(path)
    except (OSError, ValueError):
        return None
    return {"size": size, "mtime_ns": changed}


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier runs left in a folder, by the results' paths within it."""

    output: Path
    entries: Mapping[str, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, output: Path) -> Earlier:
        """Read the record. What is no line of one, as the last before a kill, is nothing.

        Raises
        ------
        UsageError
            If it is there, but can't be read.
        """
        folder = _folder(output)
        while True:
            try:
                return cls(output, _entries(path.read_bytes() for path in _files(folder)))
            except FileNotFoundError:
                # Another process has put it together with others meanwhile.
                continue
            except OSError as error:
                raise UsageError(f"the record {folder} can't be read: {_reason(error)}") from error

    def knows(self, path: Path) -> bool:
        """Whether an earlier run wrote, or was about to write, this result."""
        return _key(self.output, path) in self.entries

    def standing(self, job: Job, run: Facts) -> Standing:
        """Return whether a job's results are all complete, and if not, what differs."""
        found = [(path, self.entries.get(_key(self.output, path))) for path in job.paths]
        known = [(path, entry) for path, entry in found if entry is not None]
        if not known:
            return Standing()
        source = source_facts(job.source)
        if source is None:
            return Standing(differs="a pipe can't be told from another")
        for path, entry in known:
            if said := _difference(entry, run, source) or _unlike(path, entry):
                return Standing(differs=said)
        if len(known) < len(found):
            return Standing(differs="a result is missing")
        return Standing(complete=True)


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether an input is done, and what is not as it was where it is done again."""

    complete: bool = False
    differs: str | None = None


def _difference(entry: Entry, run: Facts, source: Facts) -> str | None:
    """Say in what a result was made otherwise than this run would make it."""
    then = entry.run
    if then.get("version") != run["version"]:
        return f"poolcli {then.get('version')} made it, this is {run['version']}"
    if then.get("chain") != run["chain"]:
        return f"the chain was {_joined(then.get('chain'))}, is {_joined(run['chain'])}"
    options = then.get("options")
    options = options if isinstance(options, dict) else {}
    for name, value in run["options"].items():
        if options.get(name) != value:
            return f"--{name} was {_said(options.get(name))}, is {_said(value)}"
    if then.get("files") != run["files"]:
        return "a file of weights has changed"
    if entry.source.get("name") != source["name"]:
        return "it was made of another source"
    return None if entry.source == source else "the source has changed"


def _joined(chain: object) -> str:
    return " ".join(map(str, chain)) if isinstance(chain, list) else "another"


def _said(value: object) -> str:
    return "not given" if value is None else str(value)


def _unlike(path: Path, entry: Entry) -> str | None:
    """Say in what a result's file is not what was written."""
    try:
        with path.open("rb") as stream:
            same = _digest(stream) == entry.sha256
    except FileNotFoundError:
        return "a result is missing"
    except OSError as error:
        return f"a result can't be read: {error.strerror or error}"
    return None if same else "a result is not what was written"


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while part := stream.read(_PART):
        digest.update(part)
    return digest.hexdigest()


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
        folder = _folder(output)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            atomic.remove_leftovers(folder)
            descriptor, temporary = atomic.create(folder)
            with ExitStack() as stack:
                # Locked before it has its name, so that nobody takes it for a dead process's.
                stack.callback(atomic.remove, temporary)
                dead = {path: found for path in _files(folder) if (found := _dead(path, stack))}
                entries = _entries(found.read() for found in dead.values())
                _write(descriptor, *_lines(entries), {"run": run})
                # In containers, one that is no more may have had the same host and number.
                path = folder / f"{temporary.stem.strip('.')}-{time_ns()}{_SUFFIX}"
                temporary.rename(path)
                for taken_over in dead:
                    taken_over.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"the record {folder} can't be written: {_reason(error)}") from error
        return cls(output, path, descriptor)

    def close(self) -> None:
        """End it: whoever comes next may put it together with others.

        Inputs that are still in work, because the run is ended early, note nothing any more, and
        so write nothing: by then another file may have the descriptor.
        """
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def add(self, path: Path, result: BinaryIO, source: Facts | None) -> None:
        """Note a result that is whole, but has not taken its name yet."""
        result.flush()
        result.seek(0)
        key = _key(self._output, path)
        facts = {"result": key, "sha256": _digest(result), "source": source}
        self._add({**facts, "noted_ns": time_ns()})

    def give_up(self, path: Path) -> None:
        """Note that a result did not take its name after all, which may be somebody else's."""
        with suppress(OutputError):
            self._add({"result": _key(self._output, path), "sha256": None, "source": None})

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
                    f"the record {folder} can't be written: {_reason(error)}"
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


def _folder(output: Path) -> Path:
    """Return the record's folder, which no link may lead out of the output folder.

    Raises
    ------
    UsageError
        If one does.
    """
    folder = output / names.RECORD
    inside = os.path.realpath(output)
    if os.path.realpath(folder) != os.path.join(inside, names.RECORD):  # noqa: PTH118 - beside realpath
        raise UsageError(f"{folder} is a link: the record lies in the output folder itself")
    return folder


def _files(folder: Path) -> list[Path]:
    """Return the files of the record; a link, a pipe or a folder that lies there is none.

    Raises
    ------
    OSError
        If the folder can't be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(
                Path(entry.path)
                for entry in entries
                if entry.name.endswith(_SUFFIX) and entry.is_file(follow_symlinks=False)
            )
    except FileNotFoundError:
        return []


def _entries(contents: Iterable[bytes]) -> dict[str, Entry]:
    """Return the last entry of each result."""
    found: dict[str, Entry] = {}
    for content in contents:
        for path, entry in _entries_of_one(content).items():
            if path not in found or found[path].noted <= entry.noted:
                found[path] = entry
    return found


def _entries_of_one(content: bytes) -> dict[str, Entry]:
    """Return the last entry of each result in a file of the record, but for those given up."""
    found: dict[str, Entry] = {}
    before: dict[str, Entry | None] = {}
    run: Facts = {}
    for line in content.splitlines():
        try:
            facts = json.loads(line)
            if "run" in facts:
                run = dict(facts["run"])
                continue
            path, digest = str(facts["result"]), facts["sha256"]
            noted, source = int(facts.get("noted_ns", 0)), dict(facts["source"] or {})
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            continue
        current = found.pop(path, None)
        if digest is not None:
            found[path] = Entry(run, source, str(digest), noted)
            before[path] = current
        elif (current := before.pop(path, None)) is not None:
            # What was noted of the file under this name still holds.
            found[path] = current
    return found


def _key(output: Path, path: Path) -> str:
    return os.path.relpath(path, output)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
