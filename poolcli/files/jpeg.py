"""JPEG's segments: that there are no more of them, and of EXIF's, than it can need.

Format: ITU T.81, Annex B.1.1.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Final

_EXIF: Final = b"\xff\xe1", b"Exif\0\0"
_SCAN: Final = b"\xff\xda"
_MOST_OF_EXIF: Final = 4 << 20
"""Bytes; Pillow joins segments one by one, in time that grows as the square of their number."""

_MOST_SEGMENTS: Final = 10_000
"""Of 64 KiB each, they hold ten times what may stand before the pixels."""


def refuse_excess(stream: BinaryIO) -> None:
    """Refuse a JPEG that has EXIF, or segments, without end before its pixels.

    Raises
    ------
    ValueError
        If it has.
    """
    stream.seek(2)
    total = count = 0
    while len(head := stream.read(10)) == 10 and head[:1] == b"\xff" and head[:2] != _SCAN:  # noqa: PLR2004 - a mark, a length, and how EXIF begins
        length = int.from_bytes(head[2:4])
        count += 1
        if count > _MOST_SEGMENTS:
            raise ValueError(f"more than {_MOST_SEGMENTS:,} segments before its pixels")
        total += length if (head[:2], head[4:]) == _EXIF else 0
        if total > _MOST_OF_EXIF:
            raise ValueError(f"its EXIF takes more than {_MOST_OF_EXIF >> 20} MiB")
        stream.seek(max(length, 2) - 8, os.SEEK_CUR)
