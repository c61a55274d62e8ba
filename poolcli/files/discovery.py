"""Finding inputs: what the words of a command line and the lines of a list name."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path, PurePath
from typing import BinaryIO, Final

from poolcli.errors import InputError, UsageError
from poolcli.files.formats import KNOWN_SUFFIXES
from poolcli.files.inputs import STDIN, Source, is_archive, reason
from poolcli.files.places import Places
from poolcli.files.streams import hold

_ARCHIVE = ".npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How folders are searched."""

    recursive: bool = False
    globs: tuple[str, ...] = ()
    """Patterns of files' names, or of their paths below the folder where they have a slash."""
    output: Path | None = None
    """A folder that is left out."""


@dataclass(frozen=True, slots=True)
class Found:
    """Inputs, in order, and how many files of folders were passed over."""

    sources: tuple[Source, ...]
    passed_over: int = 0


def find(
    words: Iterable[str],
    stdin: BinaryIO | None = None,
    search: Search | None = None,
    listed: Iterable[str] = (),
) -> Found:
    """Return the inputs that words name, and after them those of a list, where ``-`` is a file.

    A folder stands for its files of known suffixes, in the order of their bytes; hidden files and
    the output folder are left out. An ``.npz`` archive stands for its arrays, ``maps.npz:name`` for
    one of them. A file named twice counts once.

    Raises
    ------
    UsageError
        If there is nothing to do.
    """
    found: dict[str, Source] = {}
    search, seen, places = search or Search(), _Seen(), Places()
    words_and_lines = chain(((word, False) for word in words), ((line, True) for line in listed))
    for word, is_listed in words_and_lines:
        if word == STDIN and not is_listed:
            sources = _piped(stdin)
        elif not word:
            raise UsageError("an empty name: give images, .npy arrays, a folder, or -")
        elif os.path.isdir(word):  # noqa: PTH112 - Path.is_dir raises on names that can't be
            sources = _in_folder(word, search, seen, places)
        else:
            sources = {} if places.of(word) in found else _named(word, places)
        for place, source in sources.items():
            found.setdefault(place, source)
    if not found:
        why = seen.why_nothing()
        raise UsageError(f"no input, {why}: give images, .npy arrays, a folder, or -")
    return Found(tuple(found.values()), seen.unknown)


@dataclass(slots=True)
class _Seen:
    """What folders hold that is no input."""

    unknown: int = 0
    """Files of no known suffix."""
    unmatched: int = 0
    """Files that no pattern matches."""
    folders: int = 0
    """Folders that are not searched."""
    own: bool = False
    """Whether the output folder is among them."""

    def why_nothing(self) -> str:
        """Say why there is no input."""
        reasons = {
            f"{self.unknown} files are of no known kind": self.unknown,
            f"--glob matches none of {self.unmatched} files": self.unmatched,
            f"{self.folders} folders are searched only with -r": self.folders,
            "the output folder is left out": self.own,
        }
        said = [reason for reason, is_so in reasons.items() if is_so]
        return " and ".join(said) or "nothing to read"


def named(word: str) -> Source:
    """Return the one file, or array of an archive, that a word names.

    Raises
    ------
    InputError
        If it is an archive of several arrays.
    """
    sources = list(_named(word, Places()).values())
    if len(sources) > 1:
        several = ", ".join(str(source.member) for source in sources)
        raise InputError(f"several arrays: name one, as {word}:{sources[0].member} (of {several})")
    return sources[0]


def shard(
    sources: Sequence[Source], index: int, count: int
) -> tuple[tuple[Source, ...], tuple[Source, ...]]:
    """Return the share ``index`` of ``count``, from 1: every ``count``-th source; and the others.

    >>> mine, others = shard([Source(name) for name in "abcde"], 2, 3)
    >>> [source.name for source in mine], [source.name for source in others]
    (['b', 'e'], ['a', 'c', 'd'])
    """
    places = range(index - 1, len(sources), count)
    others = (source for place, source in enumerate(sources) if place not in places)
    return tuple(sources[place] for place in places), tuple(others)


def read_list(name: str, stdin: BinaryIO | None, *, null: bool) -> list[str]:
    """Read names from a file, or from standard input: a line each, or NUL between them.

    A name that is listed twice counts once.

    Raises
    ------
    UsageError
        If it can't be read.
    """
    try:
        if name != STDIN:
            with Path(name).open("rb") as stream:
                return _listed(stream, null=null)
        if stdin is None:
            raise InputError("standard input is closed: it has nothing to read")
        return _listed(stdin, null=null)
    except (OSError, ValueError, InputError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise UsageError(f"--files-from {name}: {why}") from error


_PART: Final = 1 << 16
_LONGEST_NAME: Final = 1 << 16
"""Bytes; no system takes as many."""
_MOST_NAMES: Final = 1 << 20
_LONGEST_LIST: Final = 256 << 20
"""Bytes."""


def _listed(stream: BinaryIO, *, null: bool) -> list[str]:
    """Return the names of a list, each once; it is read in steps, and may have no end.

    Raises
    ------
    InputError
        If it is none, or longer than one can be.
    """
    apart = b"\0" if null else b"\n"
    names: dict[bytes, None] = {}
    rest, left = b"", _LONGEST_LIST
    while part := stream.read(_PART):
        left -= len(part)
        if left < 0:
            raise InputError(f"more than {_LONGEST_LIST >> 20} MiB: split it, or give folders")
        if not null and b"\0" in part:
            raise InputError("it has NUL in it, as between names: give -0 too")
        *whole, rest = (rest + part).split(apart)
        names.update(dict.fromkeys(whole))
        if len(rest) > _LONGEST_NAME:
            raise InputError(f"a name of more than {_LONGEST_NAME:,} bytes: it is no list of files")
        if len(names) > _MOST_NAMES:
            raise InputError(f"more than {_MOST_NAMES:,} names: split it, or give folders")
    names[rest] = None
    return [os.fsdecode(name) for name in names if name]


def _piped(stdin: BinaryIO | None) -> dict[str, Source]:
    if stdin is None:
        raise UsageError("standard input is closed: give a file")
    return _held(STDIN, stdin, STDIN)


def _held(name: str, stream: BinaryIO, place: str) -> dict[str, Source]:
    try:
        held = hold(stream)
        with held.opened() as content:
            return _expanded(Source(name, held=held), content, place)
    except InputError as error:
        return {place: Source(name, problem=str(error))}


def _named(word: str, places: Places) -> dict[str, Source]:
    """Return the inputs that a word names, which is no folder."""
    place = places.of(word)
    try:
        mode = os.stat(word).st_mode  # noqa: PTH116 - Path.stat raises on names that can't be
        if stat.S_ISCHR(mode):
            # It may have no end.
            return {place: Source(word, problem="a device, not a file")}
        if stat.S_ISFIFO(mode):
            # It can be read only once, so it is held, as standard input is.
            with Path(word).open("rb") as pipe:
                return _held(word, pipe, place)
    except (OSError, ValueError):
        archive, separator, member = word.rpartition(f"{_ARCHIVE}:")
        if separator and member:
            archive += _ARCHIVE
            true_path = places.of(archive)
            place = f"{true_path}\0{member}"
            known = _arrays_of(archive, _changed(archive)).get(place)
            source = Source(word, file=archive, member=member, true_path=true_path)
            return {place: known or source}
        return {place: Source(word, file=_not_stdin(word), true_path=place)}
    source = Source(word, file=_not_stdin(word), true_path=place)
    if PurePath(word).suffix.lower() in KNOWN_SUFFIXES - {_ARCHIVE}:
        return {place: source}
    try:
        with source.opened() as stream:
            return _expanded(source, stream, place)
    except InputError as error:
        # It is said in its turn, when the input would be read.
        return {place: replace(source, problem=str(error))}


def _not_stdin(word: str) -> str | None:
    """Return the path of a file that is called as standard input is."""
    return f"./{word}" if word == STDIN else None


def _expanded(source: Source, stream: BinaryIO, place: str) -> dict[str, Source]:
    """Return a source, or if it is an archive, its arrays, by their places."""
    if not is_archive(stream):
        return {place: source}
    from poolcli.files.archives import distinct_names, members

    found = members(stream)
    aliases = distinct_names(found)
    return {
        f"{place}\0{member}": Source(
            f"{source.name}:{member}",
            file=source.file or source.name,
            held=source.held,
            folder=source.folder,
            member=member,
            entry=entry,
            alias=aliases.get(member),
            true_path=source.true_path,
        )
        for member, entry in found.items()
    }


@lru_cache(maxsize=1)
def _arrays_of(archive: str, _changed: tuple[int, ...]) -> dict[str, Source]:
    """Return an archive's arrays by their places; its directory is read once for all of them.

    One that can't be read has none here, and says why when it is read.
    """
    true_path = Places().of(archive)
    source = Source(archive, true_path=true_path)
    try:
        with source.opened() as stream:
            return _expanded(source, stream, true_path)
    except InputError:
        return {}


def _changed(path: str) -> tuple[int, ...]:
    """Return what differs where a file has changed."""
    try:
        facts = os.stat(path)  # noqa: PTH116 - Path.stat raises on names that can't be
    except (OSError, ValueError):
        return ()
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _in_folder(top: str, search: Search, seen: _Seen, places: Places) -> dict[str, Source]:
    """Return the inputs of a folder by their places."""
    found: dict[str, Source] = {}
    for below, name, place, problem in _walk(top, search, seen, places):
        path = os.path.join(top, below, name)  # noqa: PTH118 - Path drops a leading ./
        if problem is not None:
            found[place] = Source(path, problem=problem)
        elif not _matches(os.path.join(below, name), search.globs):  # noqa: PTH118 - as above
            seen.unmatched += 1
        elif (suffix := PurePath(name).suffix.lower()) not in KNOWN_SUFFIXES:
            seen.unknown += 1
        elif place not in found:
            source = Source(path, folder=below, true_path=place)
            if suffix != _ARCHIVE:
                found[place] = source
                continue
            try:
                with source.opened() as stream:
                    found |= _expanded(source, stream, place)
            except InputError as error:
                found[place] = replace(source, problem=str(error))
    ordered = sorted(found.items(), key=lambda item: os.fsencode(item[1].name))
    return dict(ordered)


def _walk(
    top: str, search: Search, seen: _Seen, places: Places
) -> Iterator[tuple[str, str, str, str | None]]:
    """Yield each file of a folder: the folder below ``top``, its name, its true place, a problem.

    A folder is gone through once, however many links lead to it, so that loops end; by its own name
    rather than by a link's. A folder that can't be read is yielded with the reason.
    """
    output = None if search.output is None else places.of(search.output)
    gone_through: set[tuple[int, int]] = set()
    # Folders below the top, and their true places.
    own, linked = deque([("", places.folder(top))]), deque[tuple[str, str]]()
    while own or linked:
        below, place = (own or linked).popleft()
        folder = os.path.join(top, below) if below else top  # noqa: PTH118 - Path drops a leading ./
        try:
            facts = os.stat(folder)  # noqa: PTH116 - of text, as everything here
            seen.own |= place == output
            if place == output or (facts.st_dev, facts.st_ino) in gone_through:
                continue
            gone_through.add((facts.st_dev, facts.st_ino))
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            if not below:
                raise UsageError(f"{top}: {reason(error)}") from error
            yield below, "", place, f"a folder that {reason(error)}"
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            is_link = _is_link(entry)
            # What is no link has its own name for a place: nothing is looked up.
            its = places.of(entry.path) if is_link else os.path.join(place, entry.name)  # noqa: PTH118
            if _is_folder(entry):
                seen.folders += not search.recursive
                if search.recursive:
                    deeper = os.path.join(below, entry.name)  # noqa: PTH118 - as above
                    (linked if is_link else own).append((deeper, its))
            # A link that leads nowhere is an input that is missing.
            elif _is_file(entry) or (is_link and not os.path.exists(entry.path)):  # noqa: PTH110 - never raises
                yield below, entry.name, its, None


def _is_link(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink()
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _matches(path: str, globs: Sequence[str]) -> bool:
    return not globs or any(_match(path, pattern) for pattern in globs)


def _match(path: str, pattern: str) -> bool:
    """Whether a pattern with a slash matches a whole path, any other its last part.

    >>> _match("a/b/c.png", "*.png"), _match("a/b/c.png", "a/**/*.png"), _match("a/b.png", "a/*/*")
    (True, True, False)
    """
    parts = path.split("/")
    if "/" not in pattern:
        return fnmatch.fnmatchcase(parts[-1], pattern)
    return _match_parts(parts, pattern.strip("/").split("/"))


def _match_parts(parts: list[str], patterns: list[str]) -> bool:
    """Whether patterns match the parts of a path one by one; ``**`` matches any number of them."""
    reached = {0}
    for pattern in patterns:
        if pattern == "**":
            reached = set(range(min(reached, default=len(parts) + 1), len(parts) + 1))
        else:
            reached = {
                at + 1
                for at in reached
                if at < len(parts) and fnmatch.fnmatchcase(parts[at], pattern)
            }
    return len(parts) in reached
