"""GIF's blocks: how many frames there are, and that nothing beside them is without end.

Format: GIF89a, Appendix A. Frames are counted as Pillow counts them: what is unknown is skipped.
"""

from __future__ import annotations

from typing import BinaryIO, Final

_MOST_OF_COMMENTS: Final = 64 << 20
"""Bytes; Pillow keeps a frame's comments."""
_LEAST: Final = 64
"""Bytes that a block of a comment counts for, at least."""
_MOST_PARTS: Final = 1 << 20
"""Small parts; each takes as long to skip as a large one."""
_SCREEN: Final = 13
_DESCRIPTION: Final = 9
_HAS_PALETTE: Final = 0x80
_COMMENT: Final = b"\xfe"


def count_frames(stream: BinaryIO) -> int:
    """Return how many frames a GIF has.

    Raises
    ------
    ValueError
        If it ends within a frame's description, its comments are too long to be read, or it has
        small parts without end.
    """
    stream.seek(0)
    parts = _Parts()
    _skip_palette(stream, _exactly(stream, _SCREEN)[10])
    frames, comments = 0, 0
    while (mark := stream.read(1)) not in (b"", b";"):
        if mark == b",":
            _skip_palette(stream, _exactly(stream, _DESCRIPTION)[-1])
            _exactly(stream, 1)
            _skip_blocks(stream, parts)
            frames += 1
        elif mark == b"!":
            kind = _exactly(stream, 1)
            read = _skip_blocks(stream, parts)
            comments += read if kind == _COMMENT else 0
            if comments > _MOST_OF_COMMENTS:
                raise ValueError(f"its comments have more than {_MOST_OF_COMMENTS >> 20} MiB")
    return frames


def _skip_palette(stream: BinaryIO, flags: int) -> None:
    if flags & _HAS_PALETTE:
        stream.read(3 << (flags & 7) + 1)


class _Parts:
    """Counts small parts: frames, extensions, and blocks of less than 64 bytes before another."""

    def __init__(self) -> None:
        self._count = 0

    def add(self) -> None:
        """Count one more.

        Raises
        ------
        ValueError
            If there are too many.
        """
        self._count += 1
        if self._count > _MOST_PARTS:
            raise ValueError(f"more than {_MOST_PARTS:,} frames, extensions and short blocks")


def _skip_blocks(stream: BinaryIO, parts: _Parts) -> int:
    """Skip blocks up to one without content, and return how many bytes they count for."""
    total, before = 0, _LEAST
    parts.add()
    while (size := stream.read(1)) not in (b"", b"\0"):
        if before < _LEAST:
            parts.add()
        before = size[0]
        total += max(len(stream.read(before)), _LEAST)
    return total


def _exactly(stream: BinaryIO, size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise ValueError("it ends within a frame's description")
    return found
