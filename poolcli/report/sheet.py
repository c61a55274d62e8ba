"""A contact sheet: the input and every stage's result at one displayed size, labelled."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from poolcli.files.formats import is_picture
from poolcli.files.pictures import extremes, planes, shades
from poolcli.kernels.views import Array
from poolcli.report.words import broken_anywhere, broken_where, printable

_LARGEST_PANEL: Final = 960
_SMALLEST_PANEL: Final = 240
_NARROWEST_LABEL: Final = 200
_PER_ROW: Final = 4
_GAP: Final = 2
_FRAMED: Final = ("NHW", "NHWC")
_PAPER: Final = (234, 234, 231)
_INK: Final = (32, 32, 36)
_FAINT: Final = (110, 110, 118)

Size = tuple[int, int]


def contact_sheet(shown: Sequence[tuple[str, Array]], layout: str) -> Array:
    """Return a picture (H×W×3 bytes) of labelled maps; the first sets the displayed size.

    Smaller maps are enlarged by repeating their pixels, so that these are seen for what they are. A
    map that is no picture is shown as a mosaic, a tile for each of its planes.
    """
    tiles = [_tiles(array, layout) for _, array in shown]
    panel = _panel_size(tiles[0])
    width, height = max(panel[0], _NARROWEST_LABEL), panel[1]
    font_size = max(13, width // 24)
    bold, small = ImageFont.load_default(font_size), ImageFont.load_default(font_size * 4 // 5)
    labels = [_label_lines(printable(label), bold, width) for label, _ in shown]
    margin, line = font_size, font_size * 5 // 4
    strip = line * (max(map(len, labels)) + 1)
    columns = min(len(shown), _PER_ROW)
    rows = ceil(len(shown) / columns)
    size = columns * (width + margin) + margin, rows * (height + strip + margin) + margin
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for index, (_, array) in enumerate(shown):
        left = margin + index % columns * (width + margin)
        top = margin + index // columns * (height + strip + margin)
        sheet.paste(_panel(tiles[index], panel), (left, top))
        below = top + height + font_size // 3
        for text in labels[index]:
            pen.text((left, below), text, _INK, font=bold)
            below += line
        facts = f"{'x'.join(map(str, array.shape))} {array.dtype}{_range(array)}"
        if layout in _FRAMED:
            facts += ", frame 1"
        pen.text((left, below), facts, _FAINT, font=small)
    return np.asarray(sheet)


def _range(array: Array) -> str:
    """Say what is black and what is white, where that is not 0 and 255."""
    if array.dtype in (np.uint8, np.bool_):
        return ""
    if not np.isfinite(array).any():
        return " nothing finite"
    low, high = extremes(array)
    return f" {low:.6g}..{high:.6g}"


def _label_lines(
    label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[str]:
    """Break a label at its commas, and anywhere where that leaves lines wider than the panel."""

    def fits(text: str) -> bool:
        return font.getlength(text) <= width

    return [line for part in broken_where(label, fits) for line in broken_anywhere(part, fits)]


def _tiles(array: Array, layout: str) -> list[Image.Image]:
    """Return the pictures that a map consists of: itself, its first frame, or its planes."""
    if layout in _FRAMED:
        array, layout = array[0], layout[1:]
    drawn = shades(array)
    if is_picture(array.shape, layout):
        frames = [drawn[..., 0] if array.shape[-1] == 1 and layout == "HWC" else drawn]
    else:
        frames = list(planes(drawn, layout))
    pictures = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    return [_opaque(picture) for picture in pictures]


def _opaque(picture: Image.Image) -> Image.Image:
    if picture.mode in ("LA", "RGBA"):
        paper = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(paper, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")


def _columns(count: int) -> int:
    return ceil(sqrt(count))


def _panel_size(tiles: Sequence[Image.Image]) -> Size:
    """Return a displayed size: small tiles in whole multiples, large ones as they fit."""
    columns = _columns(len(tiles))
    rows = ceil(len(tiles) / columns)
    width, height = tiles[0].size
    longest = max(width * columns, height * rows)
    if longest > _LARGEST_PANEL:
        scale = _LARGEST_PANEL / longest
        width, height = max(1, int(width * scale)), max(1, int(height * scale))
    else:
        times = ceil(_SMALLEST_PANEL / longest)
        width, height = width * times, height * times
    return width * columns + _GAP * (columns - 1), height * rows + _GAP * (rows - 1)


def _panel(tiles: Sequence[Image.Image], size: Size) -> Image.Image:
    """Lay tiles out on a panel, each resized to its share of it."""
    columns = _columns(len(tiles))
    rows = ceil(len(tiles) / columns)
    width = max(1, (size[0] - _GAP * (columns - 1)) // columns)
    height = max(1, (size[1] - _GAP * (rows - 1)) // rows)
    panel = Image.new("RGB", size, _PAPER)
    for index, tile in enumerate(tiles):
        place = index % columns * (width + _GAP), index // columns * (height + _GAP)
        panel.paste(_resized(tile, width, height), place)
    return panel


def _resized(picture: Image.Image, width: int, height: int) -> Image.Image:
    larger = picture.width > width or picture.height > height
    method = Image.Resampling.BOX if larger else Image.Resampling.NEAREST
    return picture.resize((width, height), method)
