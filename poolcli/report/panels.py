"""Maps reduced to the size that a contact sheet shows them at, as they come: whole or in parts.

A map is cut into as many windows as its panel has pixels, and each is averaged: whole numbers
exactly, others in float64, added row after row and then column after column. So the order of the
parts does not matter to whole numbers, and their size to none, and the sheet of a map that is read
in parts has the bytes of the sheet of one that is held whole. What is not finite is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import ceil, isqrt, prod
from typing import Final

import numpy as np

from poolcli.blocks import Band, Frame
from poolcli.files.formats import is_picture
from poolcli.files.pictures import least_and_greatest
from poolcli.kernels.views import Array, along

LARGEST_PANEL: Final = 960
SMALLEST_PANEL: Final = 240
GAP: Final = 2
FRAMED: Final = ("NHW", "NHWC")
_MOST_TILES: Final = 4096
_PART: Final = 1 << 22
"""Elements of a map in memory that are taken at once."""
_PIECE: Final = 1 << 18
"""Elements that are reduced at once."""

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tiles:
    """The pictures that a map consists of: itself, its first frame, or its planes.

    ``planes`` are the lengths of the axes that are neither height nor width, as far as shown.
    """

    planes: tuple[int, ...]
    height: int
    width: int
    channels: int
    of: int
    """How many there are of them, shown or not."""

    @classmethod
    def of_map(cls, shape: tuple[int, ...], layout: str) -> Tiles:
        """Return the tiles of a map."""
        if layout in FRAMED:
            shape, layout = shape[1:], layout[1:]
        lengths = dict(zip(layout, shape, strict=True))
        height, width = lengths.get("H", 1), lengths.get("W", 1)
        if is_picture(shape, layout):
            return cls((), height, width, lengths.get("C", 1), 1)
        planes: list[int] = []
        left = _MOST_TILES
        all_planes = [length for letter, length in lengths.items() if letter not in "HW"]
        for length in reversed(all_planes):
            planes.insert(0, min(length, max(1, left)))
            left //= planes[0]
        return cls(tuple(planes), height, width, 1, prod(all_planes))

    @property
    def count(self) -> int:
        """How many are shown."""
        return prod(self.planes)

    @property
    def grid(self) -> Size:
        """In how many rows and columns they are laid out."""
        columns = isqrt(self.count - 1) + 1
        return ceil(self.count / columns), columns

    def panel_size(self) -> Size:
        """Return a panel's width and height: small tiles in whole multiples, large ones to fit."""
        rows, columns = self.grid
        width, height = self.width, self.height
        longest = max(width * columns, height * rows)
        if longest > LARGEST_PANEL:
            scale = LARGEST_PANEL / longest
            width, height = max(1, int(width * scale)), max(1, int(height * scale))
        else:
            times = ceil(SMALLEST_PANEL / longest)
            width, height = width * times, height * times
        return width * columns + GAP * (columns - 1), height * rows + GAP * (rows - 1)

    def tile_size(self, panel: Size) -> Size:
        """Return the width and height that each tile has on a panel."""
        rows, columns = self.grid
        width = max(1, (panel[0] - GAP * (columns - 1)) // columns)
        height = max(1, (panel[1] - GAP * (rows - 1)) // rows)
        return width, height

    def reduced_shape(self, panel: Size) -> tuple[int, ...]:
        """Return the shape of what is kept of a map: its planes, height, width and channels."""
        width, height = self.tile_size(panel)
        return (*self.planes, min(self.height, height), min(self.width, width), self.channels)

    def needed(self, panel: Size, dtype: str) -> int:
        """Return how many bytes it takes, at most, to reduce a map of a dtype to a panel."""
        kept = prod(self.reduced_shape(panel))
        # Sums of columns are held until a row of windows is complete.
        row = self.count * self.width * self.channels if self.height > 1 else 0
        return _ITEM * (3 * kept + (0 if dtype in _EXACT else row))


_ITEM: Final = 8
_EXACT: Final = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32")
"""Dtypes of which 64 bits hold every sum."""


@dataclass
class Panel:
    """A map on its way to the sheet: what is known of it so far."""

    label: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    size: Size
    low: float | None = None
    high: float | None = None
    _missing: Array | None = field(default=None, repr=False)
    _row: Array | None = field(default=None, repr=False)
    """Sums of the columns of the row of windows that is not complete."""

    @cached_property
    def tiles(self) -> Tiles:
        """What it shows."""
        return Tiles.of_map(self.shape, self.layout)

    @cached_property
    def is_reduced(self) -> bool:
        """Whether it is larger than its panel; all others are kept as they are."""
        tiles = self.tiles
        return self._sums.shape[-3:-1] != (tiles.height, tiles.width)

    @property
    def is_exact(self) -> bool:
        """Whether its sums are whole numbers."""
        return self.dtype in _EXACT

    @cached_property
    def _sums(self) -> Array:
        shape = self.tiles.reduced_shape(self.size)
        if shape[-3:-1] == (self.tiles.height, self.tiles.width):
            return np.zeros(shape, self.dtype)
        return np.zeros(shape, np.int64 if self.is_exact else np.float64)

    def add_whole(self, array: Array) -> None:
        """Take a map that is in memory."""
        cut = self.layout.index("H") if "H" in self.layout else 0
        length = self.shape[cut]
        rows = max(1, _PART // max(1, array.size // max(1, length)))
        for first in range(0, length, rows):
            last = min(first + rows, length)
            part = array[along(cut, slice(first, last))]
            self.add(Frame(0, cut), Band(range(1), first, last), part[np.newaxis])

    def add(self, frame: Frame, band: Band, array: Array) -> None:
        """Take a part of a map, in a frame; parts come in order."""
        full = [slice(0, length) for length in self.shape]
        full[frame.cut] = slice(band.first, band.last)
        start, stop = band.planes.start, band.planes.stop
        for at, leading in _boxes(start, stop, self.shape[: frame.lead]):
            lengths = [each.stop - each.start for each in leading]
            planes = array[at - start : at - start + prod(lengths)]
            self._take([*leading, *full[frame.lead :]], planes.reshape(*lengths, *array.shape[1:]))

    def _take(self, where: list[slice], part: Array) -> None:
        """Take a box of the map."""
        layout = self.layout
        if layout in FRAMED:
            if where[0].start > 0:
                return
            where, part, layout = where[1:], part[0], layout[1:]
        if is_picture(self.shape[len(self.layout) - len(layout) :], layout):
            order = "HWC"
        else:
            order = "".join(letter for letter in layout if letter not in "HW") + "HW"
        moved = part.transpose([layout.index(letter) for letter in order if letter in layout])
        at = [where[layout.index(letter)] if letter in layout else slice(0, 1) for letter in order]
        moved = moved.reshape([each.stop - each.start for each in at])
        if order != "HWC":
            at, moved = [*at, slice(0, 1)], moved[..., np.newaxis]
        # Planes that are not shown are left out.
        planes = self.tiles.planes
        shown = tuple(
            slice(0, length - each.start) for length, each in zip(planes, at, strict=False)
        )
        if any(each.stop <= 0 for each in shown):
            return
        self._reduce(at, moved[shown] if shown else moved)

    def _reduce(self, at: list[slice], part: Array) -> None:
        """Take a box: planes, rows, columns, channels."""
        if not part.size:
            return
        *planes, rows, columns, channels = at
        where = tuple(
            slice(each.start, each.start + length)
            for each, length in zip(planes, part.shape, strict=False)
        )
        is_whole = rows.stop - rows.start == self.tiles.height
        for piece in _cut(part.shape, by_columns=is_whole):
            *first, down, across, _ = piece
            inner = tuple(_within(*pair) for pair in zip(where, first, strict=True))
            box = (_within(rows, down), _within(columns, across), channels)
            self._reduce_piece(inner, box, part[tuple(piece)])

    def _reduce_piece(
        self, where: tuple[slice, ...], box: tuple[slice, slice, slice], part: Array
    ) -> None:
        self._widen(part)
        if not self.is_reduced:
            self._sums[(*where, *box)] = part
            return
        if self.is_exact:
            self._add_exactly(self._sums, where, box, part)
            return
        part = part.astype(np.float64)
        finite = np.isfinite(part)
        if not finite.all():
            if self._missing is None:
                self._missing = np.zeros(self._sums.shape, np.int64)
            self._add_exactly(self._missing, where, box, ~finite)
            part[~finite] = 0
        self._add_in_order(where, box, part)

    def _widen(self, part: Array) -> None:
        found = None if self.dtype in _SHADES else least_and_greatest(part)
        if found is not None:
            self.low = found[0] if self.low is None else min(self.low, found[0])
            self.high = found[1] if self.high is None else max(self.high, found[1])

    def _add_exactly(
        self, sums: Array, planes: tuple[slice, ...], box: tuple[slice, slice, slice], part: Array
    ) -> None:
        """Add a box of whole numbers to the sums of the windows that it lies in."""
        rows, columns, channels = box
        across, width = self.tiles.width, sums.shape[-2]
        left, edges = _windows(columns, across, width)
        for index, low, high in _pieces(rows, self.tiles.height, sums.shape[-3]):
            total = np.add.reduce(part[..., low:high, :, :], axis=-3, dtype=np.int64)
            totals = np.add.reduceat(total, edges, axis=-2)
            place: tuple[slice | int, ...] = (*planes, index)
            sums[(*place, slice(left, left + len(edges)), channels)] += totals

    def _add_in_order(
        self, planes: tuple[slice, ...], box: tuple[slice, slice, slice], part: Array
    ) -> None:
        """Add a box to the windows that it lies in: row after row, and then column after column."""
        rows, columns, channels = box
        height = self.tiles.height
        whole = rows.stop - rows.start == height
        for index, low, high in _pieces(rows, height, self._sums.shape[-3]):
            if whole:
                row = np.zeros((*part.shape[:-3], *part.shape[-2:]))
            else:
                if self._row is None:
                    tiles = self.tiles
                    self._row = np.zeros((*tiles.planes, tiles.width, tiles.channels))
                row = self._row[(*planes, columns, channels)]
            for number in range(low, high):
                row += part[..., number, :, :]
            if rows.start + high == _edge(index + 1, height, self._sums.shape[-3]):
                self._add_columns((*planes, index), columns, channels, row)
                row[...] = 0

    def _add_columns(
        self, where: tuple[slice | int, ...], columns: slice, channels: slice, row: Array
    ) -> None:
        """Add sums of columns to those of the windows that they lie in, from left to right."""
        across, width = self.tiles.width, self._sums.shape[-2]
        left, starts = _windows(columns, across, width)
        ends = np.append(starts[1:], columns.stop - columns.start)
        sums = self._sums[(*where, slice(left, left + len(starts)), channels)]
        lengths = ends - starts
        if len(starts) < lengths.max():
            for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
                before = sums[..., number : number + 1, :]
                joined = np.concatenate([before, row[..., start:end, :]], axis=-2)
                sums[..., number, :] = np.add.accumulate(joined, axis=-2)[..., -1, :]
            return
        for turn in range(int(lengths.max())):
            (present,) = np.nonzero(lengths > turn)
            sums[..., present, :] += row[..., starts[present] + turn, :]

    def reduced(self) -> Array:
        """Return the map as it is shown, planes, height, width and channels: bytes or floats."""
        sums = self._sums
        if not self.is_reduced:
            return sums
        tiles = self.tiles
        heights, widths = (
            np.diff([_edge(index, length, count) for index in range(count + 1)])
            for length, count in ((tiles.height, sums.shape[-3]), (tiles.width, sums.shape[-2]))
        )
        counts = heights[:, np.newaxis, np.newaxis] * widths[:, np.newaxis]
        if self.dtype in _SHADES:
            # Rounded half to even.
            scale = 255 if self.dtype == "bool" else 1
            whole, rest = np.divmod(scale * sums, counts)
            whole += (2 * rest > counts) | ((2 * rest == counts) & (whole % 2 == 1))
            return whole.astype(np.uint8)
        present = counts if self._missing is None else counts - self._missing
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(sums / present)


_SHADES: Final = ("uint8", "bool")
"""Dtypes whose values are shades as they are."""


def _boxes(
    start: int, stop: int, lengths: tuple[int, ...]
) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Yield boxes that planes numbered along several axes make up, and the first plane of each.

    >>> [(at, *(f"{each.start}:{each.stop}" for each in box)) for at, box in _boxes(1, 6, (3, 2))]
    [(1, '0:1', '1:2'), (2, '1:3', '0:2')]
    """
    if not lengths:
        yield start, ()
        return
    inner = prod(lengths[1:])
    rest = tuple(slice(0, length) for length in lengths[1:])
    while start < stop:
        row, at = divmod(start, inner)
        if at == 0 and stop - start >= inner:
            last = stop // inner
            yield start, (slice(row, last), *rest)
            start = last * inner
            continue
        end = min(stop, (row + 1) * inner)
        for first, box in _boxes(at, end - row * inner, lengths[1:]):
            yield row * inner + first, (slice(row, row + 1), *box)
        start = end


def _cut(shape: tuple[int, ...], *, by_columns: bool) -> Iterator[list[slice]]:
    """Cut a box of planes, rows, columns and channels into ones that are soon reduced.

    Rows come one after the other, and of a row columns do, unless the box holds all rows of its
    columns: then sums of few columns are complete at a time.
    """
    last = len(shape) - 1
    order = [*range(last - 2), *((last - 1, last - 2) if by_columns else (last - 2, last - 1))]
    steps = list(shape)
    for axis in order:
        beside = prod(steps) // steps[axis]
        steps[axis] = min(steps[axis], max(1, _PIECE // max(1, beside)))
    starts = [range(0, length, step) for length, step in zip(shape, steps, strict=True)]
    for firsts in product(*starts):
        ends = zip(firsts, steps, shape, strict=True)
        yield [slice(first, min(first + step, length)) for first, step, length in ends]


def _within(outer: slice, inner: slice) -> slice:
    """Return a slice of a slice."""
    return slice(outer.start + inner.start, outer.start + inner.stop)


def _edge(index: int, length: int, count: int) -> int:
    """Return where a window begins, of as many as cover an axis side by side."""
    return index * length // count


def _window_of(position: int, length: int, count: int) -> int:
    """Return the window that a position lies in."""
    return ((position + 1) * count - 1) // length


def _windows(part: slice, length: int, count: int) -> tuple[int, Array]:
    """Return the first window that part of an axis lies in, and where each begins in the part."""
    first = _window_of(part.start, length, count)
    last = _window_of(part.stop - 1, length, count)
    edges = [_edge(index, length, count) - part.start for index in range(first, last + 1)]
    return first, np.maximum(edges, 0)


def _pieces(part: slice, length: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Yield each window that part of an axis lies in, and from where to where it does."""
    first, edges = _windows(part, length, count)
    ends = np.append(edges[1:], part.stop - part.start)
    for number, (low, high) in enumerate(zip(edges.tolist(), ends.tolist(), strict=True)):
        yield first + number, low, high


@dataclass(frozen=True, slots=True)
class Layout:
    """The size of a contact sheet's panels, and what it takes to fill them."""

    size: Size
    needed: int

    @classmethod
    def of(cls, maps: list[tuple[tuple[int, ...], str]], layout: str) -> Layout:
        """Return that of the sheet of maps of some shapes and dtypes; the first sets the size."""
        tiles = [(Tiles.of_map(shape, layout), dtype) for shape, dtype in maps]
        size = tiles[0][0].panel_size()
        width, height = (length + SMALLEST_PANEL for length in size)
        # Pillow's picture, NumPy's, and what an encoder copies.
        sheet = 12 * width * height * len(maps)
        return cls(size, sheet + sum(each.needed(size, dtype) for each, dtype in tiles))
