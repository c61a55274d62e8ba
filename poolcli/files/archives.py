"""``.npz`` archives: zip files of ``.npy`` members, each of which is an input of its own."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final

from poolcli.errors import InputError
from poolcli.files.streams import Held, require_room, spool
from poolcli.files.zips import Entry, Member, entries

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_SUFFIX: Final = ".npy"
_PART: Final = 1 << 20


def members(stream: BinaryIO) -> dict[str, Entry]:
    """Return an archive's arrays by their names without ``.npy``, in its order.

    Raises
    ------
    InputError
        If it is broken, or has none.
    """
    with _said():
        found = {
            entry.name.removesuffix(_SUFFIX): entry
            for entry in entries(stream)
            if entry.name.endswith(_SUFFIX)
        }
    if not found:
        raise InputError("an archive without .npy arrays")
    return found


def plain_name(member: str) -> str:
    """Return the part of results' names that stands for an array of an archive.

    >>> plain_name("layer1/weight")
    'layer1.weight'
    """
    return member.replace("/", ".")


def distinct_names(arrays: Iterable[str]) -> dict[str, str]:
    """Return the parts of results' names for those arrays that would share theirs with others.

    They would where a slash stands for a dot, and on some disks where a capital stands for a small
    letter. One without a slash keeps its name. Of the others slashes and capitals are written by
    their numbers, as in URLs, and what is still equal is numbered.

    >>> distinct_names(["a/b", "a.b", "c/d"])
    {'a/b': 'a%2Fb'}
    >>> distinct_names(["w", "W", "x"])
    {'W': '%57'}
    """
    alike = defaultdict(list)
    for name in arrays:
        alike[plain_name(name).casefold()].append(name)
    taken = set(alike)
    distinct = {}
    for names in alike.values():
        without_slash = [name for name in names if "/" not in name]
        keeper = min(without_slash, key=lambda name: (name != name.casefold(), name), default=None)
        for name in names if len(names) > 1 else ():
            if name == keeper:
                continue
            given, number = _escaped(name), 1
            while given.casefold() in taken:
                number += 1
                given = f"{_escaped(name)}-{number}"
            taken.add(given.casefold())
            distinct[name] = given
    return distinct


def _escaped(name: str) -> str:
    """Return a name with its slashes and capitals by their numbers."""
    return "".join(
        "".join(f"%{byte:02X}" for byte in mark.encode("utf-8", "surrogatepass"))
        if mark == "/" or mark != mark.casefold()
        else mark
        for mark in name
    )


@contextmanager
def opened_member(
    stream: BinaryIO, name: str, entry: Entry | None, *, anywhere: bool = False
) -> Iterator[BinaryIO]:
    """Open an array of an archive.

    Its bytes come checked against the archive's checksum, once the last of them has been read.

    Parameters
    ----------
    stream
        The archive.
    name
        The array's.
    entry
        Its entry in the archive's directory, if that has been read: each of thousands of arrays
        would read it anew.
    anywhere
        Whether its bytes are checked before the first is read, and then can be read in any order
        at the same cost: what is compressed is inflated into a temporary file.

    Raises
    ------
    InputError
        If there is no such array, or the archive is broken.
    """
    with _said():
        entry = entry or members(stream).get(name)
        if entry is None:
            raise InputError(f"it has no array {name}")
        member = _Array(stream, entry)
    if not anywhere:
        yield io.BufferedReader(member)
        return
    with _said():
        held = _held(stream, entry, member)
    yield held.opened()


class _Array(Member):
    """A member, in which whatever is broken is one kind of error."""

    def readinto(self, buffer: WriteableBuffer) -> int:
        with _said():
            return super().readinto(buffer)


def _held(stream: BinaryIO, entry: Entry, member: Member) -> Held:
    """Return a member's bytes where they lie in the archive, or inflated, their checksum right."""
    if member.is_stored:
        while member.read(_PART):
            pass
        try:
            return Held(b"", stream.fileno(), member.start, entry.size)
        except io.UnsupportedOperation:
            # It came through a pipe.
            member.seek(0)
    require_room(entry.size)
    return spool(io.BufferedReader(member))


@contextmanager
def _said() -> Iterator[None]:
    """Whatever broken bytes lead to is one kind of error."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"a broken .npz archive: {reason}") from error
