"""TIFF directories, of which EXIF blocks consist too: fields by their tags, kept as bytes.

Format: TIFF 6.0, section 2; BigTIFF has the same with longer counts and places.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final, Literal

from poolcli.errors import OutputError
from poolcli.memory import in_words

Order = Literal["<", ">"]

ASCII: Final = 2
SHORT: Final = 3
LONG: Final = 4
RATIONAL: Final = 5
LONG8: Final = 16

_NUMBERS: Final = (
    {3: "H", 4: "I", 5: "I", 6: "b", 8: "h", 9: "i", 10: "i", 11: "f", 12: "d", 13: "I"}
) | {16: "Q", 17: "q", 18: "Q"}
"""Types whose values are numbers, each as the module struct writes it."""
_PARTS: Final = {RATIONAL: 2, 10: 2}
"""Numbers of a value, where it is a fraction."""
_SIZES: Final = {
    kind: struct.calcsize(f"<{_PARTS.get(kind, 1)}{code}") for kind, code in _NUMBERS.items()
} | dict.fromkeys((1, ASCII, 7, 129), 1)
"""Bytes of a value of each type."""
_HEAD: Final = 8
"""Bytes before anything else in a file, at least."""
_MOST_FIELDS: Final = 1 << 16
_LONGEST: Final = 1 << 20
"""Bytes of a field; no longer one is worth carrying, and each takes some times as many to read."""
_MOST_TOGETHER: Final = 8 << 20
"""Bytes of a directory's fields."""


@dataclass(frozen=True, slots=True)
class Field:
    """One entry: its type, and its values as bytes, in the order of its file.

    ``place`` is where they stood, for values that must not be moved.
    """

    kind: int
    values: bytes
    place: int | None = None

    def numbers(self, order: Order) -> tuple[int | float, ...]:
        """Return its numbers; of a fraction both parts, one after the other."""
        return struct.unpack(f"{order}{self._code}", self.values)

    def turned(self, order: Order, target: Order) -> Field:
        """Return it with its bytes in another order, and no place."""
        if order == target or self.kind not in _NUMBERS:
            return replace(self, place=None)
        return Field(self.kind, struct.pack(f"{target}{self._code}", *self.numbers(order)))

    @property
    def count(self) -> int:
        """How many values it has."""
        return len(self.values) // _SIZES[self.kind]

    @property
    def _code(self) -> str:
        return f"{self.count * _PARTS.get(self.kind, 1)}{_NUMBERS.get(self.kind, 'B')}"


Directory = Mapping[int, "Field | Directory"]
"""Fields by their tags, and directories by the tags that lead to them."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a file writes its directories: the order of its bytes, and whether it is a BigTIFF."""

    order: Order
    big: bool = False

    @property
    def count(self) -> struct.Struct:
        """A directory's number of entries."""
        return struct.Struct(f"{self.order}{'Q' if self.big else 'H'}")

    @property
    def entry(self) -> struct.Struct:
        """An entry: tag, type, number of values, and the values or their place."""
        return struct.Struct(f"{self.order}{'HHQ8s' if self.big else 'HHI4s'}")

    @property
    def place(self) -> struct.Struct:
        """A place in the file; values that are no longer stand in their entry."""
        return struct.Struct(f"{self.order}{'Q' if self.big else 'I'}")

    @property
    def pointer(self) -> int:
        """The type of a field that leads to a directory."""
        return LONG8 if self.big else LONG


HEADS: Final = {
    b"II*\0": Form("<"),
    b"MM\0*": Form(">"),
    b"II+\0\x08\0\0\0": Form("<", big=True),
    b"MM\0+\0\x08\0\0": Form(">", big=True),
}
"""How files begin; the place of the first directory follows."""


def read_head(stream: BinaryIO) -> tuple[Form, int]:
    """Return how a file writes directories, and where the first one stands.

    Raises
    ------
    ValueError
        If it does not begin as a TIFF file.
    """
    stream.seek(0)
    start = stream.read(16)
    for head, form in HEADS.items():
        if start.startswith(head) and len(start) >= len(head) + form.place.size:
            return form, form.place.unpack_from(start, len(head))[0]
    raise ValueError("it does not begin as one")


def pages(stream: BinaryIO) -> tuple[int, ...]:
    """Return where the directory of each page of a TIFF file stands, in order.

    A page that leads back to an earlier one is the last.

    Raises
    ------
    ValueError
        If a page leads to where none can be, or there are too many.
    """
    form, at = _page_form(stream)
    end = stream.seek(0, os.SEEK_END)
    stream.seek(at)
    found: dict[int, None] = {}
    (place,) = form.place.unpack(stream.read(form.place.size))
    while place and place not in found:
        if place > end or len(found) >= _MOST_PAGES:
            raise ValueError(
                f"page {len(found) + 1:,} lies beyond its end"
                if place > end
                else f"more than {_MOST_PAGES:,} pages"
            )
        found[place] = None
        stream.seek(place)
        count = stream.read(form.count.size)
        if len(count) == form.count.size:
            (fields,) = form.count.unpack(count)
            stream.seek(min(place + form.count.size + fields * form.entry.size, end))
        following = stream.read(form.place.size)
        if len(following) < form.place.size:
            raise ValueError(f"it ends within the directory of page {len(found):,}")
        (place,) = form.place.unpack(following)
    return tuple(found)


_MOST_PAGES: Final = 1 << 20


def pointer_to(stream: BinaryIO, place: int) -> tuple[int, bytes]:
    """Return what a TIFF file would say at which place, were a directory its first."""
    form, at = _page_form(stream)
    return at, form.place.pack(place)


def _page_form(stream: BinaryIO) -> tuple[Form, int]:
    """Return how a TIFF file writes directories, and where it says where the first one stands.

    Pillow reads files, too, whose mark is in the other order of bytes.
    """
    stream.seek(0)
    start = stream.read(4)
    big = start[2:3] == b"+"
    return Form("<" if start.startswith(b"II") else ">", big or start[3:4] == b"+"), 8 if big else 4


def read(
    stream: BinaryIO, form: Form, place: int, wanted: Callable[[int], bool]
) -> tuple[dict[int, Field], int]:
    """Read a directory's wanted fields, and count those that can't be read."""
    found: dict[int, Field] = {}
    end = stream.seek(0, os.SEEK_END)
    left = min(end, _MOST_TOGETHER)
    if not _HEAD <= place <= end - form.count.size:
        return found, 1
    stream.seek(place)
    (count,) = form.count.unpack(stream.read(form.count.size))
    entries = stream.read(min(count, _MOST_FIELDS) * form.entry.size)
    unread = int(len(entries) < count * form.entry.size)
    whole = len(entries) // form.entry.size * form.entry.size
    for tag, kind, number, held in form.entry.iter_unpack(entries[:whole]):
        if tag in found or not (number and wanted(tag)):
            continue
        length = number * _SIZES.get(kind, 0)
        at = form.place.unpack(held)[0] if length > len(held) else None
        # All fields together hold no more than the file, or one value could be read very often.
        left -= length
        beyond = at is not None and at + length > end
        if not 0 < length <= _LONGEST or left < 0 or beyond:
            unread += 1
            continue
        if at is not None:
            stream.seek(at)
        found[tag] = Field(kind, held[:length] if at is None else stream.read(length), at)
    return found, unread


def page_alone(stream: BinaryIO, place: int, size: tuple[int, int]) -> bytes | None:
    """Return a file of the one page that has its directory at a place, if it can stand alone.

    On its way to a page that it decodes, libtiff looks through all pages of a file. Pages that it
    does not decode, and those that need more than their directory names, stay where they are. So
    does a page that is neither as large as ``size`` (width, height) nor as ``size`` turned: its
    caller refuses it, and no byte of its pixels has to be read for that.

    Raises
    ------
    ValueError
        If it is broken, or has more bytes than its pixels can need.
    """
    form, _ = _page_form(stream)
    fields = _fields(stream, form, place)
    numbers = {
        tag: fields[tag].numbers(form.order)
        for tag in (*_SHAPE, *_PIXELS_AT, *_PIXELS_AT.values())
        if tag in fields and fields[tag].kind in _NUMBERS
    }
    at = next((tag for tag in _PIXELS_AT if tag in numbers and _PIXELS_AT[tag] in numbers), None)
    whole = {_WIDTH, _HEIGHT, _COMPRESSION} <= numbers.keys()
    if at is None or not whole or numbers[_COMPRESSION][0] in (_PLAIN, _OLD_JPEG):
        return None
    own = int(numbers[_WIDTH][0]), int(numbers[_HEIGHT][0])
    if sorted(own) != sorted(size):
        return None
    bits = int(max(numbers.get(_BITS, (1,)))) * int(numbers.get(_SAMPLES, (1,))[0])
    # Its strips may all lie at the same place: together they have no more bytes than the file.
    most = min(longest_page(*own, bits), stream.seek(0, os.SEEK_END))
    content = bytearray(next(head for head, known in HEADS.items() if known == form))
    content += bytes(form.place.size)
    places = []
    for start, length in zip(numbers[at], numbers[_PIXELS_AT[at]], strict=False):
        most -= int(length)
        if most < 0:
            raise ValueError("a page has more bytes than its pixels can need, or than the file")
        stream.seek(int(start))
        places.append(len(content))
        content += stream.read(int(length))
    content += bytes(len(content) % 2)
    kind, code = (LONG8, "Q") if form.big else (LONG, "I")
    moved = Field(kind, struct.pack(f"{form.order}{len(places)}{code}", *places))
    kept = {tag: each for tag, each in fields.items() if tag not in _LEADING} | {at: moved}
    behind, directory = write(kept, form, len(content))
    form.place.pack_into(content, 8 if form.big else 4, directory)
    content += behind
    return bytes(content)


def longest_page(width: int, height: int, bits: int) -> int:
    """Return the most bytes of a page's pixels that are copied, by the bits of a pixel."""
    row = -(-width * min(bits, _MOST_BITS) // 8)
    return _MOST_BESIDE_PIXELS + 2 * row * height


def _fields(stream: BinaryIO, form: Form, place: int) -> dict[int, Field]:
    """Return the fields of a page, of known types; of the long ones those that say where it is."""
    stream.seek(place)
    (count,) = form.count.unpack(stream.read(form.count.size))
    entries = stream.read(min(count, _MOST_FIELDS) * form.entry.size)
    found: dict[int, Field] = {}
    left = _MOST_TOGETHER
    for tag, kind, number, held in form.entry.iter_unpack(
        entries[: len(entries) // form.entry.size * form.entry.size]
    ):
        length = number * _SIZES.get(kind, 0)
        if length > _LONGEST and tag not in _PLACES:
            # Notes and previews: decoding takes no field that is so long.
            continue
        left -= length
        if left < 0:
            raise ValueError(f"the fields of a page take more than {_MOST_TOGETHER >> 20} MiB")
        if length and tag not in found:
            stream.seek(form.place.unpack(held)[0])
            values = held[:length] if length <= len(held) else stream.read(length)
            if len(values) == length:
                found[tag] = Field(kind, values)
    return found


_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES = 0x0100, 0x0101, 0x0102, 0x0103, 0x0115
_SHAPE: Final = (_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES)
_PLAIN, _OLD_JPEG = 1, 6
_MOST_BESIDE_PIXELS: Final = 1 << 20
"""Bytes of a page that may be copied beyond twice those of its pixels."""
_MOST_BITS: Final = 6 * 32
"""Bits of a pixel: Pillow decodes no more than six samples of 32."""
_LEADING: Final = frozenset({0x014A, 0x8769, 0x8825, 0xA005})
"""Tags that lead to other directories."""


class PageWriter:
    """Joins TIFF files of one page to one of many, each page where it is written once for all."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._following: int | None = None
        """Where the last page says where the next one stands."""

    def write(self, page: bytes) -> None:
        """Append the first page of a TIFF file.

        Raises
        ------
        OutputError
            If places in the whole no longer fit 32 bits.
        """
        stream, base = self._stream, self._stream.seek(0, os.SEEK_END)
        form, place = read_head(io.BytesIO(page))
        if base + 2 * len(page) > _LAST_PLACE:
            raise OutputError(f"its frames take more than the {in_words(_LAST_PLACE)} of a TIFF")
        content, following = _moved(page, form, place, base)
        stream.write(content + bytes(-len(content) % _ALIGNED))
        if self._following is not None:
            stream.seek(self._following)
            stream.write(form.place.pack(base + place))
        self._following = base + following


_ALIGNED: Final = 16
_LAST_PLACE: Final = 2**32 - 1
_PIXELS_AT: Final = {0x0111: 0x0117, 0x0144: 0x0145}
"""Tags that say where pixels stand, of strips and of tiles, with those that say how many bytes."""
_PLACES: Final = frozenset({*_PIXELS_AT, *_PIXELS_AT.values()})


def _moved(page: bytes, form: Form, place: int, base: int) -> tuple[bytes, int]:
    """Return a file of one page to stand at a place in another, and where it says what follows."""
    content = bytearray(page)
    (count,) = form.count.unpack_from(content, place)
    at = place + form.count.size
    for _ in range(count):
        tag, kind, number, held = form.entry.unpack_from(content, at)
        own = form.place.unpack(held)[0]
        is_apart = number * _SIZES.get(kind, 1) > form.place.size
        if is_apart:
            held = form.place.pack(own + base)
        if tag in _PIXELS_AT:
            values = content[own:] if is_apart else held
            places = struct.unpack_from(f"{form.order}{number}{_NUMBERS[kind]}", values)
            packed = struct.pack(f"{form.order}{number}I", *(each + base for each in places))
            if len(packed) <= form.place.size:
                held = packed
            elif kind == LONG:
                content[own : own + len(packed)] = packed
            else:
                # They are longer now.
                held = form.place.pack(len(content) + base)
                content += packed
            kind = LONG
        form.entry.pack_into(content, at, tag, kind, number, held)
        at += form.entry.size
    return bytes(content), at


def amend(stream: BinaryIO, fields: Directory) -> None:
    """Add fields, in the machine's own order of bytes or the other, to a TIFF file's first picture.

    Its directory is written anew behind all the rest, so that nothing else moves.
    """
    form, place = read_head(stream)
    stream.seek(place)
    (count,) = form.count.unpack(stream.read(form.count.size))
    listed = stream.read(count * form.entry.size)
    (following,) = form.place.unpack(stream.read(form.place.size))
    entries = {entry[0]: form.entry.pack(*entry) for entry in form.entry.iter_unpack(listed)}
    end = stream.seek(0, os.SEEK_END)
    stream.write(bytes(end % 2))
    content, place = write(fields, form, end + end % 2, entries, following)
    stream.write(content)
    stream.seek(next(len(head) for head, known in HEADS.items() if known == form))
    stream.write(form.place.pack(place))


def write(
    fields: Directory,
    form: Form,
    base: int,
    entries: Mapping[int, bytes] | None = None,
    following: int = 0,
) -> tuple[bytes, int]:
    """Return a directory with all below it, and the place of the directory among these bytes.

    Parameters
    ----------
    fields
        In the form's order of bytes. Those with a place keep it.
    form
        How the file writes directories.
    base
        Where the bytes begin in the file; an even number.
    entries
        Entries of the directory that are written already, by their tags.
    following
        The place of the next picture's directory; 0 for none.
    """
    pinned = [(each.place, len(each.values)) for each in _below(fields) if _is_pinned(each, base)]
    taken = sorted((place, place + size) for place, size in pinned if place is not None)
    paper = _Paper(form, base, taken, base)
    place = paper.directory(fields, entries or {}, following)
    return bytes(paper.content), place


def _is_pinned(each: Field, base: int) -> bool:
    """Whether a field keeps its place, which lies behind what begins the file."""
    return each.place is not None and each.place >= base


def _below(fields: Directory) -> Iterator[Field]:
    for each in fields.values():
        if isinstance(each, Field):
            yield each
        else:
            yield from _below(each)


@dataclass(slots=True)
class _Paper:
    """What is being written, from ``base`` on; ``taken`` are the places that are promised."""

    form: Form
    base: int
    taken: list[tuple[int, int]]
    free: int
    content: bytearray = field(default_factory=bytearray)

    def directory(self, fields: Directory, entries: Mapping[int, bytes], following: int) -> int:
        """Write a directory with all below it, and return its place."""
        form, written = self.form, dict(entries)
        count = len({*written, *fields})
        own = self.room(form.count.size + count * form.entry.size + form.place.size)
        for tag, each in fields.items():
            if not isinstance(each, Field):
                leading = form.place.pack(self.directory(each, {}, 0))
                written[tag] = form.entry.pack(tag, form.pointer, 1, leading)
                continue
            held = each.values
            if len(held) > form.place.size:
                pinned = each.place if _is_pinned(each, self.base) else None
                at = self.room(len(held)) if pinned is None else pinned
                self.put(at, held)
                held = form.place.pack(at)
            written[tag] = form.entry.pack(tag, each.kind, each.count, held)
        listed = b"".join(written[tag] for tag in sorted(written))
        self.put(own, form.count.pack(count) + listed + form.place.pack(following))
        return own

    def room(self, size: int) -> int:
        """Return the next even place with so much room."""
        place = self.free + self.free % 2
        for start, stop in self.taken:
            if place < stop and start < place + size:
                place = stop + stop % 2
        self.free = place + size
        return place

    def put(self, place: int, values: bytes) -> None:
        """Write bytes at a place."""
        start = place - self.base
        self.content.extend(bytes(max(0, start + len(values) - len(self.content))))
        self.content[start : start + len(values)] = values
