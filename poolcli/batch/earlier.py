"""What earlier runs left in the record, and whether an input is done by it.

The record lies in ``.poolcli`` in the output folder, a file for each process that wrote. Every line
is a JSON object: ``run`` tells how the results behind it were made, ``result`` what was made, of
which source, and the hash of its bytes. A result's line is written before it takes its name: what a
kill leaves in between is known, and known not to be complete.

Beside it, a process's plan lists the results that it is about to write, and is on the disk before
the first of them. It is removed when the run comes to its end. Where a power cut takes lines of the
record, and bytes of results, the plan says which files may be what it left.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from poolcli import __version__
from poolcli.batch.jobs import Job, Options
from poolcli.errors import UsageError
from poolcli.files import atomic, names
from poolcli.files.folders import FOLDER_FLAGS, Folders
from poolcli.files.inputs import Source
from poolcli.stages import Chain

SUFFIX: Final = ".ndjson"
"""Of the files of the record."""
PLANNED: Final = ".planned"
"""Of the plans beside them."""
_PART: Final = 1 << 20
_LONGEST_LINE: Final = 8 << 20
_MOST_JUNK: Final = 64 << 20
"""Bytes without any line of a record, behind which a file is not read on."""
_MOST_JUNK_LINES: Final = 1 << 18
_LINES: Final = (b'{"run": ', b'{"result": ', b'{"planned": ')
"""How they begin."""

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
    """Return all that a result's bytes depend on, but for its source.

    What changes its name, or whether there is one, needs no place here: a result is looked up by
    its name. A template that ends in a format's suffix asks for the format.
    """
    files = [path for stage in chain for path in stage.files]
    changing = {
        "format": names.check_template(options.template, options.format),
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
    return {**identity(source, Folders()), **(facts or {})}


def identity(source: Source, folders: Folders) -> Facts:
    """Return which source it is, whatever is in it."""
    place = None if source.path is None else source.true_path or folders.real_file(source.path)
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
    planned: Mapping[str, Facts] = field(default_factory=dict)
    """Which sources results were to be made of by runs that did not come to their end."""
    written: Folders = field(default_factory=Folders, compare=False, repr=False)
    """The output folder that the record was read in, open for the run to write to."""
    folders: Folders = field(default_factory=Folders, compare=False, repr=False)
    """Where sources lie."""

    @classmethod
    def read(cls, output: Path) -> Earlier:
        """Read the record. What is no line of one, as the last before a kill, is nothing.

        Raises
        ------
        UsageError
            If it is there, but can't be read.
        """
        written = Folders(output)
        while True:
            try:
                with opened_record(output, written) as folder:
                    if folder is None:
                        return cls(output, written=written)
                    return cls(
                        output,
                        entries_of(_opened_files(folder, SUFFIX)),
                        planned_of(_opened_files(folder, PLANNED)),
                        written,
                    )
            except FileNotFoundError:
                # Another process has put it together with others meanwhile.
                continue
            except OSError as error:
                raise UsageError(
                    f"the record {output / names.RECORD} can't be read: {reason_of(error)}"
                ) from error

    def is_of(self, path: Path, source: Source) -> bool:
        """Whether an earlier run wrote, or was about to write, this result of this very source."""
        entry = self.entries.get(key_of(self.output, path))
        return entry is not None and _is_of(entry.source, identity(source, self.folders))

    def may_be_spoilt(self, path: Path, source: Source) -> bool:
        """Whether what bears a result's name may be what a power cut left of it.

        That is a file with nothing in it, or one that a run was about to write of this very source.
        """
        try:
            found = path.lstat()
        except (OSError, ValueError):
            return False
        if not stat.S_ISREG(found.st_mode):
            return False
        planned = self.planned.get(key_of(self.output, path))
        known = planned is not None and _is_of(planned, identity(source, self.folders))
        return known or not found.st_size

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
    if not _is_of(entry.source, source):
        return "it was made of another source"
    return None if entry.source == source else "the source has changed"


def _is_of(one: Facts, other: Facts) -> bool:
    return all(one.get(name) == other[name] for name in ("path", "name"))


def _joined(chain: object) -> str:
    return " ".join(map(str, chain)) if isinstance(chain, list) else "another"


def _said(value: object) -> str:
    return "not given" if value is None else str(value)


def _unlike(path: Path, entry: Entry) -> str | None:
    """Say in what a result's file is not what was written.

    It is looked for by its name, where whoever reads it will find it.
    """
    try:
        with ExitStack() as stack:
            folder = os.open(path.parent, os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, folder)
            stream = stack.enter_context(atomic.open_regular(folder, path.name))
            same = digest_of(stream) == entry.sha256
    except FileNotFoundError:
        return "a result is missing"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a result is no file"
        return f"a result can't be read: {error.strerror or error}"
    return None if same else "a result is not what was written"


def digest_of(stream: IO[bytes]) -> str:
    """Return the hash of what is left of a stream."""
    digest = hashlib.sha256()
    while part := stream.read(_PART):
        digest.update(part)
    return digest.hexdigest()


@contextmanager
def opened_record(
    output: Path, folders: Folders | None = None, *, make: bool = False
) -> Iterator[int | None]:
    """Open the record's folder, which is no link, or give None where there is none.

    Raises
    ------
    UsageError
        If it is a link.
    OSError
        If it can't be opened, or is no folder.
    """
    place = output / names.RECORD
    with ExitStack() as stack:
        held = folders or stack.enter_context(closing(Folders()))
        try:
            if make:
                held.make(output)
            folder = stack.enter_context(held.opened(output))
            if make:
                with suppress(FileExistsError):
                    os.mkdir(names.RECORD, dir_fd=folder)
            opened: int | None = os.open(names.RECORD, FOLDER_FLAGS, dir_fd=folder)
        except FileNotFoundError:
            if make:
                raise
            opened = None
        except OSError as error:
            if place.is_symlink():
                raise UsageError(
                    f"{place} is a link, but the record lies in the output folder itself: remove "
                    "the link, or choose another --output"
                ) from error
            raise
        if opened is not None:
            stack.callback(os.close, opened)
        yield opened


def record_files(folder: int, suffix: str = SUFFIX) -> list[str]:
    """Return the names of the files of a record.

    Raises
    ------
    OSError
        If the folder can't be listed.
    """
    return sorted(name for name in atomic.names_in(folder) if name.endswith(suffix))


def _opened_files(folder: int, suffix: str) -> Iterator[BinaryIO]:
    for name in record_files(folder, suffix):
        with ExitStack() as stack:
            if (found := opened_file(folder, name, stack)) is not None:
                yield found


def opened_file(folder: int, name: str, stack: ExitStack) -> BinaryIO | None:
    """Open a file of the record until the stack ends; a link, pipe or folder there is none.

    Raises
    ------
    OSError
        If it can't be opened.
    """
    try:
        return stack.enter_context(atomic.open_regular(folder, name))
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise


_NO_FILE: Final = (errno.ELOOP, errno.ENXIO, errno.EOPNOTSUPP)
"""Errors where there is something else: a link, a folder or a pipe; a socket."""


def entries_of(files: Iterable[BinaryIO]) -> dict[str, Entry]:
    """Return the last entry of each result."""
    found: dict[str, Entry] = {}
    for stream in files:
        for path, entry in _entries_of_one(stream).items():
            if path not in found or found[path].noted <= entry.noted:
                found[path] = entry
    return found


def planned_of(files: Iterable[BinaryIO]) -> dict[str, Facts]:
    """Return which sources results were to be made of."""
    found: dict[str, Facts] = {}
    for stream in files:
        for facts in _lines_of(stream):
            if isinstance(facts.get("planned"), list) and isinstance(facts.get("source"), dict):
                found.update(dict.fromkeys(map(str, facts["planned"]), facts["source"]))
    return found


def _lines_of(stream: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield the lines that are a record's; what else may lie there takes no memory, and no time."""
    junk = lines = 0
    begins = True
    while junk < _MOST_JUNK and lines < _MOST_JUNK_LINES:
        line = stream.readline(_LONGEST_LINE)
        if not line:
            return
        whole = begins and (line.endswith(b"\n") or len(line) < _LONGEST_LINE)
        begins = line.endswith(b"\n")
        # A power cut may leave zeros where a line was.
        facts = _read_line(line.lstrip(b"\0")) if whole else None
        if facts is None:
            junk, lines = junk + len(line), lines + 1
        else:
            junk = lines = 0
            yield facts


def _read_line(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(_LINES):
        return None
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


def _entries_of_one(stream: BinaryIO) -> dict[str, Entry]:
    """Return the last entry of each result in a file of the record, but for those given up."""
    found: dict[str, Entry] = {}
    before: dict[str, Entry | None] = {}
    run: Facts = {}
    for facts in _lines_of(stream):
        try:
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
    text, folder = os.fspath(path), f"{os.fspath(output)}{os.sep}"
    if text.startswith(folder) and f"{os.sep}{os.pardir}{os.sep}" not in text:
        return text.removeprefix(folder)
    return os.path.relpath(path, output)


def reason_of(error: OSError) -> str:
    """Return what the system says went wrong."""
    return error.strerror or str(error)
