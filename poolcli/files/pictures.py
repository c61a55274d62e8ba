"""Arrays as pictures: grey and colour maps as they are, others as a mosaic of their channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from poolcli.files.formats import MOSAIC_GAP, holds, is_picture, mosaic_grid
from poolcli.kernels.casts import cast
from poolcli.kernels.views import Array


def draw(array: Array, layout: str, name: str) -> tuple[Array, str, str | None]:
    """Return an array as one that the picture format ``name`` holds: array, layout, and a warning.

    HW, and HWC of 1 to 4 channels, keep their values; those beyond 0..255 saturate, with a warning,
    where the format needs it. Any other map becomes a grey mosaic, a tile for each of its planes,
    whose values are stretched together to 0..255 unless they are bytes.
    """
    if layout in ("HW", "HWC") and is_picture(array.shape, layout):
        if array.dtype == bool:
            return np.where(array, np.uint8(255), np.uint8(0)), layout, None
        if holds(name, array.shape, layout, array.dtype.name):
            return array, layout, None
        kept, losses = cast(array, "uint8")
        lost = losses.saturated + losses.nan
        warning = f"{lost:,} of {array.size:,} values lie outside 0..255" if lost else None
        return kept, layout, warning
    drawn = mosaic(planes(shades(array), layout))
    if array.dtype == np.uint8:
        return drawn, "HW", None
    low, high = extremes(array)
    return drawn, "HW", f"drawn with {low:.4g} as black and {high:.4g} as white"


def shades(array: Array) -> Array:
    """Return any map as bytes, its least value black, its greatest white; bytes as they are.

    A map of one value is grey.
    """
    if array.dtype == np.uint8:
        return array
    array = np.ascontiguousarray(array)
    return stretched(array, *((0.0, 1.0) if array.dtype == bool else extremes(array)))


def planes(array: Array, layout: str) -> Array:
    """Return the H×W planes of a map, one after the other: batch, channels, depth in layout order.

    >>> planes(np.zeros((2, 3, 5, 7)), "NCHW").shape, planes(np.zeros(7), "W").shape
    ((6, 5, 7), (1, 1, 7))
    """
    lengths = dict(zip(layout, array.shape, strict=True))
    order = [letter for letter in layout if letter not in "HW"]
    order += [letter for letter in "HW" if letter in layout]
    moved = array.transpose([layout.index(letter) for letter in order])
    return moved.reshape(-1, lengths.get("H", 1), lengths.get("W", 1))


def extremes(array: Array) -> tuple[float, float]:
    """Return the least and the greatest finite value; 0 and 0 if there is none."""
    found = [least_and_greatest(part) for part in _parts(array)]
    known = [each for each in found if each is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else (0.0, 0.0)


def least_and_greatest(array: Array) -> tuple[float, float] | None:
    """Return the least and the greatest finite value; None if there is none."""
    if not array.size:
        return None
    if array.dtype.kind == "f":
        low, high = np.min(array), np.max(array)
        if not (np.isfinite(low) and np.isfinite(high)):
            finite = array[np.isfinite(array)]
            return (float(finite.min()), float(finite.max())) if finite.size else None
        return float(low), float(high)
    return float(array.min()), float(array.max())


def stretched(array: Array, low: float, high: float) -> Array:
    """Return the array as bytes, ``low`` as 0 and ``high`` as 255; as grey if they are equal."""
    result = np.empty(array.shape, np.uint8)
    for part, shade in zip(_parts(array), _parts(result), strict=True):
        shade[...] = _stretch(part, low, high)
    return result


_PART: Final = 1 << 18
"""Elements looked at at once, so that what comes between stays small."""


def _parts(array: Array) -> Iterator[Array]:
    """Yield an array part by part, of elements that follow each other in memory."""
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
        yield from (flat[start : start + _PART] for start in range(0, flat.size, _PART))
    elif array.size <= _PART or array.ndim <= 1:
        yield array
    else:
        for row in array:
            yield from _parts(row)


def _stretch(array: Array, low: float, high: float) -> Array:
    if low == high:
        return np.full(array.shape, 128, np.uint8)
    # In halves, because the spread of the largest floats is none.
    spread = high / 2 - low / 2
    with np.errstate(invalid="ignore", over="ignore"):
        return cast((array.astype(np.float64) / 2 - low / 2) / spread * 255, "uint8")[0]


def mosaic(tiles: Array) -> Array:
    """Lay tiles (n, h, w) out in rows, as near to a square as they go."""
    count, height, width = tiles.shape
    rows, columns = mosaic_grid(count, height, width)
    down, right = height + MOSAIC_GAP, width + MOSAIC_GAP
    sheet = np.zeros((rows * down - MOSAIC_GAP, columns * right - MOSAIC_GAP), tiles.dtype)
    for index, tile in enumerate(tiles):
        top, left = index // columns * down, index % columns * right
        sheet[top : top + height, left : left + width] = tile
    return sheet
