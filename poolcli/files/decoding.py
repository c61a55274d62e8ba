"""How much memory it takes to decode an image, worked out from its header.

What Pillow keeps of a picture is 1, 2 or 4 bytes a pixel. Beside it, some decoders hold as much
again and more: the coefficients of a JPEG of several scans, the canvases of a WebP, the samples of
a JPEG 2000 as 32-bit integers. The factors here are measured, and rounded up; tests hold them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from poolcli.files.depth import is_deep_avif
from poolcli.files.directories import longest_page

if TYPE_CHECKING:
    from PIL import Image

_NARROW: Final = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes that Pillow keeps of a pixel; of all other modes these are 4."""
_WIDEST: Final = 4
_BY_ROWS: Final = frozenset({"raw", "zip", "gif", "bit", "packbits", "pcx", "tga_rle", "sun_rle"})
"""Pillow's codecs that hold a few rows, as long as these are."""
_WEBP: Final = 12
"""Bytes of a pixel: two canvases of an animation, which every WebP is taken for, and a copy."""
_AVIF: Final = 12
"""Planes of luminance and colour, which are kept, and a copy of the picture."""
_DEEP_AVIF: Final = 18
"""The same where the planes have 16 bits."""
_JPEG_2000: Final = 5
"""Bytes of a sample."""
_ANYTHING: Final = 8
"""Bytes of a pixel that a decoder written in Python takes, beside the file."""
_FRAMES: Final = 16
"""Bytes of a pixel that are kept of frames while the next one is laid over them."""
_BLOCK: Final = 8
"""Pixels along an edge of what JPEG transforms at once."""
_COEFFICIENT: Final = 2
_COPIES: Final = 3
"""Copies of a tile: the one before it, its own bytes, and what is left of both.

Of a page there are as many: what is joined, the file that it becomes, and the page before it.
"""
_MOST_SEGMENTS: Final = 10_000
_BARE: Final = (*range(0xD0, 0xDA), 1)
"""JPEG's markers that no segment follows."""
_UNCOMPRESSED, _IN_JPEG = 1, 7
"""TIFF's numbers of compressions."""
_WIDTH, _LENGTH, _BITS, _COMPRESSION = 0x0100, 0x0101, 0x0102, 0x0103
_ORIENTATION, _SAMPLES, _STRIP_ROWS = 0x0112, 0x0115, 0x0116
_TILE_WIDTH, _TILE_LENGTH = 0x0142, 0x0143


def decoder_bytes(image: Image.Image, stream: BinaryIO, frames: int) -> int:
    """Return how many bytes a decoder takes, at most, beside the picture that it decodes."""
    pixels = prod(image.size)
    own = _decoder_bytes(image, stream, pixels)
    if frames == 1:
        return own
    return own + _FRAMES * pixels + _copied_page(image, stream)


def picture_bytes(image: Image.Image) -> int:
    """Return how many bytes Pillow keeps of a decoded picture."""
    return prod(image.size) * _NARROW.get(image.mode, _WIDEST)


def _decoder_bytes(image: Image.Image, stream: BinaryIO, pixels: int) -> int:
    kind = image.format
    if kind in ("JPEG", "MPO"):
        return _coefficients(image, stream)
    if kind == "WEBP":
        return _WEBP * pixels + 2 * _size(stream)
    if kind == "AVIF":
        return (_DEEP_AVIF if is_deep_avif(image, stream) else _AVIF) * pixels + 2 * _size(stream)
    if kind == "JPEG2000":
        return _JPEG_2000 * pixels * len(image.getbands()) + 2 * _size(stream)
    tiles: list[Any] = getattr(image, "tile", [])
    codecs = {str(tile.codec_name) for tile in tiles}
    if kind == "TIFF":
        return _longest_tile(tiles) + _tiff(image, stream, pixels, plain=codecs <= _BY_ROWS)
    if codecs and codecs <= _BY_ROWS:
        return _longest_tile(tiles)
    return _ANYTHING * pixels + 2 * _size(stream)


def _longest_tile(tiles: Sequence[Any]) -> int:
    """Return the bytes of the longest tile that Pillow reads at once: all but the last are."""
    lengths = (behind.offset - tile.offset for tile, behind in pairwise(tiles))
    return _COPIES * max((length for length in lengths if length > 0), default=0)


def _tiff(image: Image.Image, stream: BinaryIO, pixels: int, *, plain: bool) -> int:
    """Return what libtiff takes: the file, which it maps, and a strip or tile decoded."""
    tags: Any = getattr(image, "tag_v2", {})
    # Pillow turns a picture as a whole, once it is decoded.
    turned = picture_bytes(image) if tags.get(_ORIENTATION, 1) != 1 else 0
    if plain:
        return turned
    width, rows = _number(tags.get(_WIDTH, image.width)), _number(tags.get(_STRIP_ROWS, pixels))
    rows = min(rows, max(image.size))
    if _TILE_WIDTH in tags:
        width, rows = _number(tags[_TILE_WIDTH]), _number(tags.get(_TILE_LENGTH, rows))
    item = max(_WIDEST, _pixel_bits(tags) // 8)
    if tags.get(_COMPRESSION) == _IN_JPEG:
        item += _COEFFICIENT * max(1, _number(tags.get(_SAMPLES, 1)))
    return turned + _size(stream) + width * rows * item


def _copied_page(image: Image.Image, stream: BinaryIO) -> int:
    """Return what the copies of a TIFF's page take, which is decoded by itself."""
    tags: Any = getattr(image, "tag_v2", {})
    if image.format != "TIFF" or tags.get(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED:
        return 0
    bits = _pixel_bits(tags)
    return _COPIES * min(_size(stream), longest_page(*image.size, bits))


def _pixel_bits(tags: Any) -> int:
    """Return how many bits a TIFF's pixel has."""
    bits = tags.get(_BITS, (8,))
    return max(1, _number(tags.get(_SAMPLES, 1))) * (
        max(bits) if isinstance(bits, tuple) and bits else 8
    )


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _coefficients(image: Image.Image, stream: BinaryIO) -> int:
    """Return the size of a JPEG's coefficients, all of which are held if it has several scans."""
    layers: list[tuple[int, int, int, int]] = getattr(image, "layer", [])
    if not image.info.get("progressive") and not _has_scans(stream, len(layers)):
        return 0
    across = max((layer[1] for layer in layers), default=1) or 1
    down = max((layer[2] for layer in layers), default=1) or 1
    width, height = image.size
    units = -(-width // (_BLOCK * across)) * -(-height // (_BLOCK * down))
    blocks = units * sum(layer[1] * layer[2] for layer in layers)
    return blocks * _BLOCK**2 * _COEFFICIENT


def _has_scans(stream: BinaryIO, components: int) -> bool:
    """Whether a JPEG's first scan leaves components to others."""
    position = stream.tell()
    try:
        stream.seek(2)
        for _ in range(_MOST_SEGMENTS):
            mark = stream.read(2)
            while mark[1:] == b"\xff":
                mark = b"\xff" + stream.read(1)
            if len(mark) < 2 or mark[0] != 0xFF:  # noqa: PLR2004 - a marker's bytes
                return True
            if mark[1] == 0xDA:  # noqa: PLR2004 - the start of a scan
                head = stream.read(3)
                return len(head) < 3 or head[2] < components  # noqa: PLR2004 - its length, a count
            if mark[1] not in _BARE:
                stream.seek(max(0, int.from_bytes(stream.read(2)) - 2), os.SEEK_CUR)
        return True
    finally:
        stream.seek(position)


def _size(stream: BinaryIO) -> int:
    position = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(position)
    return size
