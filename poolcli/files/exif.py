"""EXIF: what it says of a picture that outlives the picture's pixels.

An EXIF block is a TIFF file without pixels, and a TIFF file's directory holds what EXIF holds, so
both are read and written alike. Values stay bytes, whatever they mean. Format: EXIF 2.32 (CIPA
DC-008), section 4.6.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import BinaryIO, Final

from poolcli.files import directories
from poolcli.files.directories import ASCII, RATIONAL, SHORT, Directory, Field, Form, Order

Resolution = tuple[float, float]
"""Dots an inch, across and down."""

IMAGE: Final = 0
"""Stands for the image's own directory, to which no tag leads."""
EXIF: Final = 0x8769
GPS: Final = 0x8825
INTEROPERABILITY: Final = 0xA005
ORIENTATION: Final = 0x0112
SOFTWARE: Final = 0x0131
_DESCRIPTION: Final = 0x010E
_MAKER_NOTE: Final = 0x927C
_ACROSS, _DOWN, _UNIT = 0x011A, 0x011B, 0x0128
_INCHES, _CENTIMETRES = 2, 3
_SIGNED_RATIONAL: Final = 10
_OF_BIG_FILES: Final = (16, 17, 18)
"""Types of BigTIFF alone, which EXIF blocks don't have."""

_BELOW: Final = {IMAGE: (EXIF, GPS), EXIF: (INTEROPERABILITY,), GPS: (), INTEROPERABILITY: ()}
"""Directories by the tag that leads to them, and which tags in them lead further."""
_USED: Final = frozenset({ORIENTATION, _ACROSS, _DOWN, _UNIT})
"""What is applied to the pixels, or has a place of its own in most formats."""
_KEPT: Final = frozenset(
    {0x010D, _DESCRIPTION, 0x010F, 0x0110, 0x011D, SOFTWARE, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749}
    | {0x8298, 0x829A, 0x829D, EXIF, 0x8822, 0x8824, GPS, *range(0x8827, 0x882C)}
    | {*range(0x8830, 0x8836), *range(0x9000, 0x9300), *range(0x9400, 0x9500)}
    | {*range(0x9C9B, 0x9CA0), *range(0xA000, 0xA480), 0xA500, 0xC4A5}
)
"""What an image's directory may say beside how its pixels are stored: names, make and model, dates,
people, ratings, and what belongs in EXIF's directory and is put here too."""
_STALE: Final = frozenset(
    {0x9101, 0x9102, 0x9214, 0x935C, 0xA002, 0xA003, 0xA20E, 0xA20F, 0xA210, 0xA214}
    | {0x1000, 0x1001, 0x1002}
)
"""What EXIF's own directories say of pixels: their number, code, places and distances."""


@dataclass(frozen=True, slots=True)
class Exif:
    """What is kept of EXIF. Orientation and resolution stand apart, because they are used up."""

    order: Order = "<"
    fields: Directory = field(default_factory=dict)
    orientation: int | None = None
    """Which of the eight, if it says one; 1 is upright."""
    resolution: Resolution | None = None
    unread: int = 0
    """Fields that could not be read, and are left out."""

    def with_software(self, text: str) -> Exif:
        r"""Return it with what made the picture, in ASCII.

        >>> Exif().with_software("é").fields
        {305: Field(kind=2, values=b'\\xe9\x00', place=None)}
        """
        values = text.encode("ascii", "backslashreplace") + b"\0"
        return replace(self, fields={**self.fields, SOFTWARE: Field(ASCII, values)})

    def with_resolution(self, resolution: Resolution) -> Exif:
        """Return it with dots an inch, for formats that have no other place for them."""
        inches = Field(SHORT, struct.pack(f"{self.order}H", _INCHES))
        across, down = (Field(RATIONAL, _fraction(dots, self.order)) for dots in resolution)
        more = {_ACROSS: across, _DOWN: down, _UNIT: inches}
        return replace(self, fields={**self.fields, **more})

    def turned(self, order: Order) -> Directory:
        """Return the fields in an order of bytes, to stand anywhere."""
        return _turned(self.fields, self.order, order)

    @property
    def has_note(self) -> bool:
        """Whether it has a maker note, which no TIFF file can take over."""
        below = self.fields.get(EXIF)
        return isinstance(below, Mapping) and _MAKER_NOTE in below

    def without_note(self) -> Exif:
        """Return it without a maker note."""
        below = self.fields.get(EXIF)
        if not isinstance(below, Mapping):
            return self
        kept = {tag: each for tag, each in below.items() if tag != _MAKER_NOTE}
        return replace(self, fields={**self.fields, EXIF: kept})

    def block(self) -> bytes:
        """Return it as an EXIF block; equal for equal fields."""
        form = Form(self.order)
        head = next(head for head, known in directories.HEADS.items() if known == form)
        content, place = directories.write(self.fields, form, len(head) + form.place.size)
        return head + form.place.pack(place) + content


def parse(stream: BinaryIO, *, is_file: bool = False) -> Exif:
    """Read an EXIF block, or the first directory of a TIFF file and those that it leads to.

    Raises
    ------
    ValueError
        If it is neither. A field that can't be read is left out, and counted.
    """
    form, place = directories.read_head(stream)
    reader = _Reader(stream, form, is_file)
    fields = reader.directory(IMAGE, place)
    used = {tag: _number(fields.pop(tag, None), form.order) for tag in _USED}
    if _is_of_storage(fields.get(_DESCRIPTION)):
        del fields[_DESCRIPTION]
    orientation = used[ORIENTATION]
    return Exif(
        form.order,
        fields,
        int(orientation) if orientation is not None and 1 <= orientation <= 8 else None,  # noqa: PLR2004 - there are eight
        _resolution(used[_ACROSS], used[_DOWN], used[_UNIT]),
        reader.unread,
    )


@dataclass(slots=True)
class _Reader:
    """Reads directories and those below, and counts what can't be read."""

    stream: BinaryIO
    form: Form
    is_file: bool
    unread: int = 0

    def directory(self, tag: int, place: int) -> dict[int, Field | Directory]:
        """Read what is kept of the directory that a tag leads to, and of those below it."""
        found, unread = directories.read(
            self.stream,
            self.form,
            place,
            lambda name: name not in _STALE and (tag != IMAGE or name in _KEPT | _USED),
        )
        self.unread += unread
        whole: dict[int, Field | Directory] = {}
        for name, each in found.items():
            if name in _BELOW[tag]:
                leading = _number(each, self.form.order)
                deeper = self.directory(name, leading if isinstance(leading, int) else 0)
                whole |= {name: deeper} if deeper else {}
            elif each.kind in _OF_BIG_FILES:
                self.unread += 1
            elif name == _MAKER_NOTE and self.is_file:
                # It counts places from the file's beginning, and would be wrong in any other.
                self.unread += 1
            elif name == _MAKER_NOTE:
                # It counts places from the block's beginning, so it has to stay where it is.
                whole[name] = each
            else:
                whole[name] = replace(each, place=None)
        return whole


def _number(each: Field | Directory | None, order: Order) -> int | float | None:
    """Return a field's first number; None if it has none."""
    if not isinstance(each, Field):
        return None
    first, *more = each.numbers(order)
    if each.kind in (RATIONAL, _SIGNED_RATIONAL):
        return first / more[0] if more[0] else None
    return first


def _resolution(across: float | None, down: float | None, unit: float | None) -> Resolution | None:
    """Return dots an inch; None if it says none, or in no unit of length."""
    if across is None or down is None or unit not in (None, _INCHES, _CENTIMETRES):
        return None
    times = 2.54 if unit == _CENTIMETRES else 1.0
    return across * times, down * times


def _fraction(dots: float, order: Order) -> bytes:
    """Return a number as two whole ones of 32 bits."""
    most = 2**32 - 1
    near = Fraction(dots).limit_denominator(max(1, min(1 << 16, int(most / dots))))
    return struct.pack(f"{order}II", near.numerator, near.denominator)


def _is_of_storage(described: Field | Directory | None) -> bool:
    """Whether a description tells programs of the file's axes (tifffile's, ImageJ's, OME's)."""
    if not isinstance(described, Field):
        return False
    text = described.values.lstrip()
    return text.startswith((b'{"shape', b"ImageJ=")) or b"<OME" in text


def _turned(fields: Directory, order: Order, target: Order) -> Directory:
    return {
        tag: each.turned(order, target) if isinstance(each, Field) else _turned(each, order, target)
        for tag, each in fields.items()
    }


def append(stream: BinaryIO, kept: Exif) -> None:
    """Add fields to the first picture of a TIFF file."""
    form, _ = directories.read_head(stream)
    directories.amend(stream, kept.without_note().turned(form.order))
