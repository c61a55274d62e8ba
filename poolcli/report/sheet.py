"""A contact sheet: the input and every stage's result at one displayed size, labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from poolcli.files.pictures import stretched
from poolcli.kernels.views import Array
from poolcli.report.words import printable

_LARGEST_PANEL: Final = 960
_SMALLEST_PANEL: Final = 240
_PER_ROW: Final = 4
_PAPER: Final = (250, 250, 248)
_INK: Final = (32, 32, 36)
_FAINT: Final = (110, 110, 118)


def contact_sheet(shown: Sequence[tuple[str, Array]], layout: str) -> Array:
    """Return a picture (H×W×3 bytes) of labelled maps; the first sets the displayed size.

    Smaller maps are enlarged by repeating their pixels, so that these are seen for what they are.
    """
    pictures = [_picture(array, layout) for _, array in shown]
    width, height = _panel_size(pictures[0].size)
    font_size = max(13, width // 24)
    bold = ImageFont.load_default(font_size)
    small = ImageFont.load_default(font_size * 4 // 5)
    margin, strip = font_size, 3 * font_size
    columns = min(len(shown), _PER_ROW)
    rows = -(-len(shown) // columns)
    sheet = Image.new(
        "RGB",
        (columns * (width + margin) + margin, rows * (height + strip + margin) + margin),
        _PAPER,
    )
    pen = ImageDraw.Draw(sheet)
    for index, ((label, array), picture) in enumerate(zip(shown, pictures, strict=True)):
        left = margin + index % columns * (width + margin)
        top = margin + index // columns * (height + strip + margin)
        sheet.paste(_resized(picture, width, height), (left, top))
        below = top + height + font_size // 3
        pen.text((left, below), _fitting(printable(label), width, bold), _INK, font=bold)
        size = f"{'x'.join(map(str, array.shape))} {array.dtype}"
        pen.text((left, below + font_size * 5 // 4), size, _FAINT, font=small)
    return np.asarray(sheet)


def _picture(array: Array, layout: str) -> Image.Image:
    if layout.startswith("N") and layout[1:] in ("HW", "HWC"):
        array, layout = array[0], layout[1:]
    drawn, drawn_layout = stretched(array, layout)
    if drawn_layout == "HWC" and drawn.shape[-1] == 1:
        drawn = drawn[..., 0]
    picture = Image.fromarray(np.ascontiguousarray(drawn))
    if picture.mode in ("LA", "RGBA"):
        paper = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(paper, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")


def _panel_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return a displayed size: whole multiples of small maps, a fitting reduction of large ones."""
    longest = max(size)
    if longest > _LARGEST_PANEL:
        return (
            max(1, size[0] * _LARGEST_PANEL // longest),
            max(1, size[1] * _LARGEST_PANEL // longest),
        )
    times = -(-_SMALLEST_PANEL // longest)
    return size[0] * times, size[1] * times


def _resized(picture: Image.Image, width: int, height: int) -> Image.Image:
    larger = picture.width > width or picture.height > height
    method = Image.Resampling.BOX if larger else Image.Resampling.NEAREST
    return picture.resize((width, height), method)


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Cut a label that is wider than its panel."""
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2] + "…"
    return text
