"""AVIF's boxes: whether a file has more bytes than its pixels can need, before all are read.

Formats: ISO 14496-12, section 4.2 (boxes); ISO 23008-12, section 6.5.3 (image spatial extents).
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

from poolcli.errors import InputError
from poolcli.files.streams import length_of
from poolcli.memory import in_words

_BOX: Final = struct.Struct(">I4s")
_LONG: Final = struct.Struct(">Q")
_EXTENTS: Final = struct.Struct(">4xII")
_MOST_BOXES: Final = 1000
_SEARCHED: Final = 1 << 20
"""Bytes of the box of items in which their sizes are looked for."""
_MOST_OF_PIXEL: Final = 8
"""Bytes: four channels of 12 bits, and as much again for codes that take more than their pixels."""


def refuse_excess(stream: BinaryIO, most_beside: int) -> None:
    """Refuse an AVIF that is longer than its pixels can need.

    One that is a film is not looked into: its frames stand for as much as it says.

    Raises
    ------
    InputError
        If it is longer, by more than ``most_beside`` bytes.
    """
    length = length_of(stream)
    if length <= most_beside:
        return
    pixels, place = 0, 0
    for _ in range(_MOST_BOXES):
        stream.seek(place)
        head = stream.read(_BOX.size + _LONG.size)
        if len(head) < _BOX.size:
            break
        size, name = _BOX.unpack_from(head)
        if size == 1 and len(head) == _BOX.size + _LONG.size:
            (size,) = _LONG.unpack_from(head, _BOX.size)
        if name == b"moov":
            return
        if name == b"meta":
            pixels = max(pixels, _largest(head + stream.read(_SEARCHED)))
        if size < _BOX.size:
            # The last one: it has no size, or a broken one.
            break
        place += size
    if length > most_beside + _MOST_OF_PIXEL * pixels:
        raise InputError(f"a broken image: its {pixels:,} pixels can't need {in_words(length)}")


def _largest(meta: bytes) -> int:
    """Return the number of pixels of the largest item."""
    found, at = 0, meta.find(b"ispe")
    while 0 <= at <= len(meta) - 4 - _EXTENTS.size:
        width, height = _EXTENTS.unpack_from(meta, at + 4)
        found = max(found, width * height)
        at = meta.find(b"ispe", at + 4)
    return found
