"""PNG's chunks: what Pillow finds too late, and what it can't be told.

Formats: PNG, third edition, 5.3 (chunks) and 11.3.6.2 (frame control).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import BinaryIO, Final

_SIGNATURE: Final = 8
_CHUNK: Final = struct.Struct(">I4s")
_CHECKED: Final = struct.Struct(">I")
_DELAY: Final = struct.Struct(">HH")
_DELAY_AT: Final = 20
"""Where a frame's delay stands in its control: numerator and denominator of seconds."""
_LONGEST: Final = 2**16 - 1
_SEARCHED: Final = 1 << 17
"""Bytes of a file's end: EXIF has no more than half as many."""


def chunk_at_end(stream: BinaryIO, name: bytes) -> bytes | None:
    """Return a chunk that stands behind the pixels; None if there is none.

    It is looked for from the file's end, so that not all of it has to be read.
    """
    end = stream.seek(0, os.SEEK_END)
    stream.seek(max(_SIGNATURE, end - _SEARCHED))
    tail = stream.read(_SEARCHED)
    at = tail.rfind(name)
    while at >= _CHUNK.size - len(name):
        start = at + len(name)
        length, _ = _CHUNK.unpack_from(tail, start - _CHUNK.size)
        content, checked = tail[start : start + length], tail[start + length :][: _CHECKED.size]
        if checked == _CHECKED.pack(zlib.crc32(name + content)):
            return content
        at = tail.rfind(name, 0, at)
    return None


def refuse_excess(stream: BinaryIO, most_beside: int) -> None:
    """Refuse a PNG with a chunk that is longer than it can need: Pillow reads each whole.

    Raises
    ------
    ValueError
        If pixels have more than twice the bytes that they take without compression, or another
        chunk more than ``most_beside``; or if there are others, or short ones, without number.
    """
    most, others, short = most_beside, 0, 0
    for name, place, length in _chunks(stream):
        if name == b"IHDR" and length == _SIZES.size:
            stream.seek(place)
            most = _MOST_BESIDE_PIXELS + 2 * _uncompressed(stream.read(_SIZES.size))
        if name == b"IEND":
            return
        is_pixels = name in (b"IDAT", b"fdAT")
        others += not is_pixels
        short += is_pixels and length < _SHORT
        if short > _MOST_OTHERS:
            raise ValueError(f"more than {_MOST_OTHERS:,} of its chunks of pixels are short")
        if length > (most if is_pixels else most_beside) or others > _MOST_OTHERS:
            raise ValueError(
                f"its chunk {name.decode('ascii', 'backslashreplace')} of {length:,} bytes is too "
                f"long, or one of more than {_MOST_OTHERS:,}"
            )


_SIZES: Final = struct.Struct(">IIBBBBB")
_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of a pixel, by PNG's types of colour."""
_MOST_BESIDE_PIXELS: Final = 1 << 20
_MOST_OTHERS: Final = 1 << 18
"""Chunks beside those of pixels: each frame has one. As many short chunks of pixels may be."""
_SHORT: Final = 256
"""Bytes; encoders write some thousands at once, and less only at a frame's end."""


def _uncompressed(sizes: bytes) -> int:
    """Return how many bytes pixels take before they are compressed, by what the header says."""
    width, height, bits, colour, *_ = _SIZES.unpack(sizes)
    row: int = -(-width * bits * _SAMPLES.get(colour, 4) // 8) + 2
    return row * int(height)


def set_delays(stream: BinaryIO, durations: Sequence[float]) -> None:
    """Set how many milliseconds each frame of a written APNG is shown.

    Pillow would write them too, but takes equal frames that follow each other for one.
    """
    controls = [place for name, place, _ in _chunks(stream) if name == b"fcTL"]
    for place, duration in zip(controls, durations, strict=True):
        stream.seek(place + _DELAY_AT)
        stream.write(_DELAY.pack(*delay(duration)))
        stream.seek(place)
        content = stream.read(_DELAY_AT + 6)
        stream.write(_CHECKED.pack(zlib.crc32(b"fcTL" + content)))


def delay(milliseconds: float) -> tuple[int, int]:
    """Return a time in seconds as a fraction of numbers of 16 bits.

    >>> delay(40), delay(100 / 3), delay(16_777_215)
    ((1, 25), (1, 30), (50332, 3))
    """
    seconds = min(max(milliseconds, 0.0) / 1000, float(_LONGEST))
    most = int(_LONGEST / max(seconds, 1.0))
    near = Fraction(seconds).limit_denominator(most)
    return near.numerator, near.denominator


def _chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's name, and place and length of what is in it."""
    place = _SIGNATURE
    while True:
        stream.seek(place)
        head = stream.read(_CHUNK.size)
        if len(head) < _CHUNK.size:
            return
        length, name = _CHUNK.unpack(head)
        yield name, place + _CHUNK.size, length
        place += _CHUNK.size + length + _CHECKED.size
