"""What earlier runs left in the record, and whether an input is done by it.

The record lies in ``.poolcli`` in the output folder, a file for each process that wrote. Every line
is a JSON object: ``run`` tells how the results behind it were made, ``result`` what was made, of
which source, and the hash of its bytes. A result's line is written before it takes its name: what a
kill leaves in between is known, and known not to be complete.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from poolcli import __version__
from poolcli.batch.jobs import Job, Options
from poolcli.errors import UsageError
from poolcli.files import names
from poolcli.files.inputs import Source
from poolcli.stages import Chain

SUFFIX: Final = ".ndjson"
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
        "files": {path: _facts(Path(path)) for path in files},
    }


def source_facts(source: Source) -> Facts:
    """Return how a source is told from another and, but for a pipe, from itself before a change."""
    facts = None if source.path is None else _facts(source.path)
    return {**_identity(source), **(facts or {})}


def _identity(source: Source) -> Facts:
    """Return which source it is, whatever is in it."""
    place = None if source.path is None else source.true_path or os.path.realpath(source.path)
    return {"path": place, "name": source.file_name}


def _facts(path: Path) -> dict[str, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


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
        folder = record_folder(output)
        while True:
            try:
                return cls(output, entries_of(path.read_bytes() for path in record_files(folder)))
            except FileNotFoundError:
                # Another process has put it together with others meanwhile.
                continue
            except OSError as error:
                raise UsageError(
                    f"the record {folder} can't be read: {reason_of(error)}"
                ) from error

    def is_of(self, path: Path, source: Source) -> bool:
        """Whether an earlier run wrote, or was about to write, this result of this very source."""
        entry = self.entries.get(key_of(self.output, path))
        return entry is not None and _is_of(entry, _identity(source))

    def standing(self, job: Job, run: Facts) -> Standing:
        """Return whether a job's results are all complete, and if not, what differs."""
        found = [(path, self.entries.get(key_of(self.output, path))) for path in job.paths]
        known = [(path, entry) for path, entry in found if entry is not None]
        if not known:
            return Standing()
        source = source_facts(job.source)
        if job.source.path is None:
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
    if not _is_of(entry, source):
        return "it was made of another source"
    return None if entry.source == source else "the source has changed"


def _is_of(entry: Entry, identity: Facts) -> bool:
    return all(entry.source.get(name) == identity[name] for name in ("path", "name"))


def _joined(chain: object) -> str:
    return " ".join(map(str, chain)) if isinstance(chain, list) else "another"


def _said(value: object) -> str:
    return "not given" if value is None else str(value)


def _unlike(path: Path, entry: Entry) -> str | None:
    """Say in what a result's file is not what was written."""
    try:
        with path.open("rb") as stream:
            same = digest_of(stream) == entry.sha256
    except FileNotFoundError:
        return "a result is missing"
    except OSError as error:
        return f"a result can't be read: {error.strerror or error}"
    return None if same else "a result is not what was written"


def digest_of(stream: IO[bytes]) -> str:
    """Return the hash of what is left of a stream."""
    digest = hashlib.sha256()
    while part := stream.read(_PART):
        digest.update(part)
    return digest.hexdigest()


def record_folder(output: Path) -> Path:
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


def record_files(folder: Path) -> list[Path]:
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
                if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False)
            )
    except FileNotFoundError:
        return []


def entries_of(contents: Iterable[bytes]) -> dict[str, Entry]:
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


def key_of(output: Path, path: Path) -> str:
    """Return what a result is called in the record."""
    return os.path.relpath(path, output)


def reason_of(error: OSError) -> str:
    """Return what the system says went wrong."""
    return error.strerror or str(error)
