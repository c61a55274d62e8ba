"""Colour of more than 8 bits a channel, of which Pillow keeps the upper 8 without a word.

Pillow unpacks samples of 16 bits by a raw mode that says which of their bytes comes first, and
keeps that one. Told the other order, it keeps the lower: decoded twice, nothing is lost. Where that
does not work out, the image is refused.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from poolcli.errors import InputError
from poolcli.kernels.views import Array

if TYPE_CHECKING:
    from PIL import Image

_RAW_MODE: Final = re.compile("(RGB|RGBA|RGBX);16([BLN])")
"""Colour that can be told the other order; where alpha is multiplied in, it can't."""
_GREY_AND_ALPHA: Final = "LA;16B"
"""It can't either, but a pixel has four bytes, of which Pillow makes four channels if told so."""
_ORDERS: Final = {"B": "BL", "L": "LB", "N": "LB" if sys.byteorder == "little" else "BL"}
"""By the order that a raw mode names, those that give the upper and the lower bytes."""
_BITS: Final = 8
_GREATEST: Final = 2**_BITS - 1
_BITS_PER_SAMPLE: Final = 0x0102
_PLANES: Final = 0x011C
_OPAQUE: Final = 2**16 - 1

_SEARCHED: Final = 1 << 20
"""Bytes of a file that say how it is coded."""
_SIZES: Final = b"\xff\x4f\xff\x51"
"""How a JPEG 2000 codestream begins: its start, and a segment of sizes (ISO 15444-1, A.5.1)."""
_CHANNELS_AT: Final = 40
_DEPTHS_AT: Final = 42
"""Where, from there on, the number of channels stands, and their depths, one in three bytes."""
_SETTINGS: Final = b"av1C"
"""How AVIF's settings begin, in whose third byte a bit says that there are 10 or 12."""


@dataclass(frozen=True, slots=True)
class Deep:
    """How 16-bit colour is decoded: what it is, and by which raw modes of Pillow, in turn.

    Two give the upper and the lower bytes; one gives both as channels of their own.
    """

    mode: str
    raw_modes: tuple[str, ...]


def deep_colour(image: Image.Image, stream: BinaryIO) -> Deep | None:
    """Return how to decode 16-bit colour; None for what Pillow decodes whole.

    Raises
    ------
    InputError
        If Pillow drops bits, and can't be told not to.
    """
    if image.mode.startswith(("I", "F")) or not _is_wide(image, stream):
        return None
    names = {_raw_mode(tile) for tile in _tiles(image)}
    name = names.pop() if len(names) == 1 else ""
    found = _RAW_MODE.fullmatch(name)
    # Frames of a PNG are laid over each other in 8 bits, planes of a TIFF are told apart in them.
    if image.format == "PNG":
        whole = getattr(image, "n_frames", 1) == 1
    else:
        # A TIFF's pages are not counted here: Pillow would look through all of them for each.
        whole = image.format == "TIFF" and _tags(image).get(_PLANES, 1) == 1
    if not whole or not (found or name == _GREY_AND_ALPHA):
        raise InputError(
            "up to 16 bits a channel, of which Pillow reads 8: save it as an .npy array first"
        )
    if found is None:
        return Deep("LA;16", ("RGBA",))
    upper, lower = (f"{found[1]};16{order}" for order in _ORDERS[found[2]])
    return Deep(f"{image.mode};16", (upper, lower))


def tell(image: Image.Image, raw_mode: str) -> None:
    """Make an image decode by another raw mode."""
    tiles = _tiles(image)
    for at, tile in enumerate(tiles):
        args = raw_mode if isinstance(tile.args, str) else (raw_mode, *tile.args[1:])
        tiles[at] = tile._replace(args=args)


def joined(upper: Array, lower: Array | None) -> Array:
    """Return samples of 16 bits from their bytes, or from channels that are pairs of bytes."""
    if lower is None:
        return upper.view(">u2").astype(np.uint16)
    samples = upper.astype(np.uint16)
    samples <<= np.uint16(8)
    samples |= lower
    return samples


def with_alpha(samples: Array, clear: int | tuple[int, ...]) -> Array:
    """Return grey or colours of 16 bits with an alpha channel, by which one of them is clear."""
    colours = samples[..., np.newaxis] if isinstance(clear, int) else samples
    whole = np.full((*colours.shape[:-1], colours.shape[-1] + 1), _OPAQUE, np.uint16)
    whole[..., :-1] = colours
    whole[..., -1][(colours == clear).all(-1)] = 0
    return whole


def is_deep_avif(image: Image.Image, stream: BinaryIO) -> bool:
    """Whether an AVIF has 10 or 12 bits a channel, which Pillow rounds to 8."""
    head = _head(stream) if image.format == "AVIF" else b""
    settings = head.partition(_SETTINGS)[2]
    return len(settings) > 2 and bool(settings[2] & 0x40)  # noqa: PLR2004 - the third byte


def _is_wide(image: Image.Image, stream: BinaryIO) -> bool:
    """Whether channels have more than 8 bits."""
    if image.format == "TIFF":
        return any(bits > _BITS for bits in _tags(image).get(_BITS_PER_SAMPLE, ()))
    if image.format == "JPEG2000":
        head = _head(stream)
        start = head.find(_SIZES)
        channels = int.from_bytes(head[start + _CHANNELS_AT : start + _DEPTHS_AT])
        depths = head[start + _DEPTHS_AT :][: 3 * channels : 3]
        # One less than the bits; the uppermost says whether there is a sign.
        return start < 0 or any(depth & 0x7F >= _BITS for depth in depths)
    for tile in _tiles(image):
        if tile.codec_name in ("ppm", "ppm_plain") and tile.args[-1] > _GREATEST:
            return True
        if tile.codec_name == "SGI16" or re.search(";16[BLN]$", _raw_mode(tile)):
            return True
    return False


def _tiles(image: Image.Image) -> list[Any]:
    tiles: list[Any] = getattr(image, "tile", [])
    return tiles


def _tags(image: Image.Image) -> Mapping[int, Any]:
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    return tags


def _raw_mode(tile: Any) -> str:
    """Return how a tile's samples are packed."""
    return str(tile.args if isinstance(tile.args, str) else (tile.args or ("",))[0])


def _head(stream: BinaryIO) -> bytes:
    position = stream.tell()
    stream.seek(0)
    head = stream.read(_SEARCHED)
    stream.seek(position)
    return head
