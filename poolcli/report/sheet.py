"""A contact sheet: the input and every stage's result at one displayed size, labelled."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from poolcli.files.pictures import stretched
from poolcli.kernels.views import Array
from poolcli.report.panels import FRAMED, GAP, Panel, Size, Tiles
from poolcli.report.words import broken_anywhere, broken_where, printable

_NARROWEST_LABEL: Final = 200
_PER_ROW: Final = 4
_PAPER: Final = (234, 234, 231)
_INK: Final = (32, 32, 36)
_FAINT: Final = (110, 110, 118)


def contact_sheet(shown: Sequence[tuple[str, Array]], layout: str) -> Array:
    """Return a picture (H×W×3 bytes) of labelled maps; the first sets the displayed size.

    Smaller maps are enlarged by repeating their pixels, so that these are seen for what they are. A
    map that is no picture is shown as a mosaic, a tile for each of its planes.
    """
    size = Tiles.of_map(shown[0][1].shape, layout).panel_size()
    panels = []
    for label, array in shown:
        panel = Panel(label, array.shape, array.dtype.name, layout, size)
        panel.add_whole(array)
        panels.append(panel)
    return laid_out(panels)


def laid_out(panels: Sequence[Panel]) -> Array:
    """Return the contact sheet of maps that are reduced to their panels."""
    size = panels[0].size
    width, height = max(size[0], _NARROWEST_LABEL), size[1]
    font_size = max(13, width // 24)
    bold, small = ImageFont.load_default(font_size), ImageFont.load_default(font_size * 4 // 5)
    labels = [_label_lines(printable(panel.label), bold, width) for panel in panels]
    margin, line = font_size, font_size * 5 // 4
    strip = line * (max(map(len, labels)) + 1)
    columns = min(len(panels), _PER_ROW)
    rows = ceil(len(panels) / columns)
    whole = columns * (width + margin) + margin, rows * (height + strip + margin) + margin
    sheet = Image.new("RGB", whole, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for index, panel in enumerate(panels):
        left = margin + index % columns * (width + margin)
        top = margin + index // columns * (height + strip + margin)
        _paste(sheet, panel, (left, top))
        below = top + height + font_size // 3
        for text in labels[index]:
            pen.text((left, below), text, _INK, font=bold)
            below += line
        pen.text((left, below), _facts(panel), _FAINT, font=small)
    return np.asarray(sheet)


def _facts(panel: Panel) -> str:
    """Say what a panel shows, and what is black and white where that is not 0 and 255."""
    facts = f"{'x'.join(map(str, panel.shape))} {panel.dtype}"
    if panel.dtype not in ("uint8", "bool"):
        low, high = panel.low, panel.high
        known = low is not None and high is not None
        facts += f" {low:.6g}..{high:.6g}" if known else " nothing finite"
    if panel.layout in FRAMED:
        facts += ", frame 1"
    tiles = panel.tiles
    if tiles.count < tiles.of:
        facts += f", {tiles.count:,} of {tiles.of:,} planes"
    return facts


def _label_lines(
    label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[str]:
    """Break a label at its commas, and anywhere where that leaves lines wider than the panel."""

    def fits(text: str) -> bool:
        return font.getlength(text) <= width

    return [line for part in broken_where(label, fits) for line in broken_anywhere(part, fits)]


def _paste(sheet: Image.Image, panel: Panel, place: Size) -> None:
    """Lay a panel's tiles out on the sheet, each at the size of its share."""
    shades, tiles = _shades(panel), panel.tiles
    width, height = tiles.tile_size(panel.size)
    _, columns = tiles.grid
    for index, tile in enumerate(shades.reshape(-1, *shades.shape[-3:])):
        picture = Image.fromarray(
            np.ascontiguousarray(tile[..., 0] if tile.shape[2] == 1 else tile)
        )
        shown = _opaque(picture).resize((width, height), Image.Resampling.NEAREST)
        left = place[0] + index % columns * (width + GAP)
        sheet.paste(shown, (left, place[1] + index // columns * (height + GAP)))


def _shades(panel: Panel) -> Array:
    """Return a reduced map as bytes, its least value black, its greatest white; bytes as they are.

    A map of one value is grey.
    """
    reduced = panel.reduced()
    if reduced.dtype == np.uint8:
        return reduced
    if reduced.dtype == bool:
        return np.where(reduced, np.uint8(255), np.uint8(0))
    return stretched(np.ascontiguousarray(reduced), panel.low or 0.0, panel.high or 0.0)


def _opaque(picture: Image.Image) -> Image.Image:
    if picture.mode in ("LA", "RGBA"):
        paper = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(paper, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")
