"""WebP's chunks: animations joined of still pictures, and files that are longer than they need be.

Pillow's encoder would take equal frames for one, and drop the colours of clear pixels. Format: RFC
9649, section 2.7.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import BinaryIO, Final

from poolcli.errors import InputError, OutputError
from poolcli.files.streams import length_of
from poolcli.memory import in_words

_HEAD: Final = 12
"""Bytes before a file's first chunk."""
_LARGEST: Final = 2**32 - 10
_LONGEST: Final = 2**24 - 1
"""Milliseconds of a frame."""
_MOST_PLAYS: Final = 2**16 - 1
_PROFILE, _ALPHA, _EXIF, _ANIMATION = 0x20, 0x10, 0x08, 0x02
_REPLACES: Final = 0x02
"""A frame takes the place of what was there, whatever its alpha."""


def animation(  # noqa: PLR0913 - what an animation consists of
    stills: Sequence[bytes],
    size: tuple[int, int],
    durations: Sequence[float | None],
    *,
    alpha: bool,
    plays: int | None = None,
    icc: bytes | None = None,
    exif: bytes | None = None,
) -> bytes:
    """Join still pictures, each a WebP file of one size (width, height), to an animation.

    ``durations`` are milliseconds; ``plays`` of 0 or None is for ever.

    Raises
    ------
    OutputError
        If it is larger than a WebP can be.
    """
    flags = (
        _ANIMATION | (_ALPHA if alpha else 0) | (_PROFILE if icc else 0) | (_EXIF if exif else 0)
    )
    extent = _short(size[0] - 1) + _short(size[1] - 1)
    parts = [_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + extent)]
    if icc:
        parts.append(_chunk(b"ICCP", icc))
    parts.append(_chunk(b"ANIM", struct.pack("<IH", 0, min(plays or 0, _MOST_PLAYS))))
    for still, duration in zip(stills, durations, strict=True):
        shown = min(max(round(duration or 0), 0), _LONGEST)
        control = _short(0) + _short(0) + extent + _short(shown) + bytes([_REPLACES])
        parts.append(_chunk(b"ANMF", control + still[_HEAD:]))
    if exif:
        parts.append(_chunk(b"EXIF", exif))
    length = 4 + sum(map(len, parts))
    if length > _LARGEST:
        raise OutputError(f"its frames take {length:,} bytes, of which a WebP holds {_LARGEST:,}")
    return b"".join([b"RIFF", struct.pack("<I", length), b"WEBP", *parts])


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _short(number: int) -> bytes:
    """Return a number of 24 bits."""
    return struct.pack("<I", number)[:3]


_MOST_CHUNKS: Final = 1000
"""Chunks beside frames."""
_MOST_FRAMES: Final = 1 << 18
_MOST_OF_PIXEL: Final = 8
"""Bytes: four, and as much again for codes that take more than their pixels."""
_LARGEST_SIDE: Final = 0x3FFF


def refuse_excess(stream: BinaryIO, most_beside: int) -> None:
    """Refuse a WebP that is longer than its pixels can need, or has parts without number.

    Raises
    ------
    InputError
        If it is longer, by more than ``most_beside`` bytes.
    """
    length = length_of(stream)
    pixels = frames = others = 0
    place = _HEAD
    while place + 8 <= length:
        stream.seek(place)
        head = stream.read(8 + 16)
        name, size = head[:4], int.from_bytes(head[4:8], "little")
        pixels += _pixels(name, head[8:])
        frames += name == b"ANMF"
        others += name != b"ANMF"
        if frames > _MOST_FRAMES or others > _MOST_CHUNKS:
            raise InputError(
                f"a broken image: more than {_MOST_FRAMES:,} frames, or {_MOST_CHUNKS:,} chunks "
                "beside them"
            )
        place += 8 + size + size % 2
    if length > most_beside + _MOST_OF_PIXEL * pixels:
        raise InputError(f"a broken image: its {pixels:,} pixels can't need {in_words(length)}")


def _pixels(name: bytes, start: bytes) -> int:
    """Return the number of pixels of a frame that begins so; 0 for what is none."""
    if name == b"ANMF":
        return (_number(start[6:9]) + 1) * (_number(start[9:12]) + 1)
    if name == b"VP8 ":
        return (_number(start[6:8]) & _LARGEST_SIDE) * (_number(start[8:10]) & _LARGEST_SIDE)
    if name == b"VP8L":
        bits = _number(start[1:5])
        return ((bits & _LARGEST_SIDE) + 1) * ((bits >> 14 & _LARGEST_SIDE) + 1)
    return 0


def _number(content: bytes) -> int:
    return int.from_bytes(content, "little")
