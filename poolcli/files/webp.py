"""Animated WebP, joined of still pictures: Pillow's encoder would take equal frames for one.

It also drops the colours of clear pixels. Format: RFC 9649, section 2.7.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from poolcli.errors import OutputError

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
