"""Where windows lie: an array seen through windows along some of its axes.

An operation asks a :class:`View` for what it needs (a fold, a weighted sum, the elements of each
window) and never learns whether the windows slide, adapt, are drawn, or cover the whole map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import prod
from operator import is_
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from poolcli.blocks import GATHERED
from poolcli.kernels.folding import copy_strided, fold
from poolcli.kernels.long_windows import by_size, intervals
from poolcli.stages import Stage
from poolcli.windows import Sliding, Window

Array = NDArray[Any]

_BLOCK: Final = GATHERED
"""Elements gathered at once, so that windows that overlap don't multiply the memory."""
_MOST_AT_ONCE: Final = 64
"""Positions of windows whose first, second, … elements are reduced at once."""
_AT_ONCE: Final = 1 << 18
"""Bytes that all first elements, all second ones, … have at a time."""


@dataclass(frozen=True, slots=True)
class View:
    """An array, the axes that windows lie on, and a bound window for each.

    ``draws`` are random numbers, one for each window, for operations that need them. ``sources``
    tells, where the array is a part of a map, its first position along each axis; or, where padding
    holds values, of every element the position that it came from; ``lengths`` are those axes'
    lengths in the map. ``target`` is where the result may be put. ``alone`` says of each axis
    whether a row along it is one element in the map; see :func:`poolcli.kernels.folding.fold`.
    """

    array: Array
    axes: tuple[int, ...]
    windows: tuple[Window, ...]
    draws: Array | None = None
    sources: tuple[Array | int, ...] | None = None
    lengths: tuple[int, ...] | None = None
    target: Array | None = None
    alone: tuple[bool, ...] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it is one part of a long window, and each part has to ask for the same folds."""
        return False

    @property
    def volume(self) -> int:
        """Positions in the largest window."""
        return prod(window.kernel for window in self.windows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result: one element per window."""
        lengths = list(self.array.shape)
        for axis, window in zip(self.axes, self.windows, strict=True):
            lengths[axis] = window.output
        return tuple(lengths)

    def on(self, array: Array) -> View:
        """Return the same windows over another array of the same shape."""
        return replace(self, array=array)

    def fold(
        self,
        combine: np.ufunc,
        identity: float,
        *,
        dtype: DTypeLike | None = None,
        out: Array | None = None,
    ) -> Array:
        """Combine every window's elements; a window of padding alone gives ``identity``.

        See :func:`poolcli.kernels.folding.fold`. The result is the array itself where no window
        acts, and ``out`` where that fits.
        """
        return fold(
            self.array,
            self.axes,
            self.windows,
            combine,
            identity,
            dtype=dtype,
            out=out,
            alone=self.alone,
        )

    def weigh(self, weights_of: Callable[[int], Array]) -> Array:
        """Sum every window's elements times weights, the product of those along each axis.

        ``weights_of`` gives the weights along an axis for a window of some size. Padding adds 0.
        """
        array = self.array
        for axis, window in zip(self.axes, self.windows, strict=True):
            array = _weigh_axis(array, axis, window, weights_of)
        return array

    def counts(self, stage: Stage) -> Array | int:
        """How many elements each window's average is divided by, shaped to divide a fold."""
        if stage.divisor is not None:
            return stage.divisor
        count: Callable[[Window, int], int] = (
            Window.counted if stage.counts_padding else count_present
        )
        counts: Array | int = self.per_window(count)
        return counts

    def per_window(self, measure: Callable[[Window, int], Any]) -> Any:
        """Return the product over the axes of ``measure(window, index)``, shaped to fit a fold.

        A plain number where it is the same for all windows.
        """
        return _product(self.array.ndim, self.axes, self.windows, measure)

    def firsts(self) -> Array:
        """Each window's first element that is not padding."""
        array = self.array
        for axis, window in zip(self.axes, self.windows, strict=True):
            index = np.empty(window.output, np.int64)
            for outputs, starts, _ in _groups(window):
                index[outputs] = starts
            array = np.take(array, index, axis=axis)
        return array

    def reduce(
        self,
        reduce: Callable[[Array], Array],
        dtype: DTypeLike,
        at_once: Callable[[list[Array]], Array] | None = None,
    ) -> Array:
        """Reduce each window's elements, padding left out, by a function of their last axis.

        ``at_once`` is the same for the first, second, … elements of many windows that hold no
        padding, each an array: short windows that slide are reduced by it if it is given.
        """
        return self.reduce_with(lambda elements, _, __: reduce(elements), dtype, at_once)

    def reduce_with(
        self,
        reduce: Callable[[Array, Array | None, Array | None], Array],
        dtype: DTypeLike,
        at_once: Callable[[list[Array]], Array] | None = None,
        *,
        located: bool = False,
    ) -> Array:
        """Reduce each window's elements, given their places and draws.

        Windows that hold equally many elements are gathered into one dense array (…, elements), a
        block at a time, so that ``reduce`` needs no mask and overlaps take no memory.

        Parameters
        ----------
        reduce
            Takes the elements (…, k), their flat indices over the windowed axes (…, k) if they are
            ``located``, and the draws of their windows (…) if there are any; returns (…).
        dtype
            Of the result.
        at_once
            See :meth:`reduce`.
        located
            Whether the elements' places are needed.
        """
        planes = as_planes(self.array, self.axes)
        drawn = None if self.draws is None else as_planes(self.draws, self.axes)
        lengths = tuple(window.output for window in self.windows)
        result = np.empty((len(planes), *lengths), dtype)
        whole = self._whole() if at_once is not None and self.volume <= _MOST_AT_ONCE else None
        if whole is not None and at_once is not None:
            for chunk in _chunks(len(planes), whole, planes.itemsize):
                result[chunk] = at_once(self._elements(planes, chunk))
        for outputs, positions in self._blocks(skip_whole=whole is not None):
            grid = tuple(map(len, outputs))
            size = (
                prod(positions[0].shape)
                if len(positions) == 1
                else prod(np.broadcast_shapes(*(each.shape for each in positions)))
            )
            places = self._flat(positions).reshape(*grid, -1) if located else None
            rows = max(1, _BLOCK // max(1, size))
            for start in range(0, len(planes), rows):
                part = planes[start : start + rows]
                where: tuple[slice | Array, ...] = (slice(None), *positions)
                # In one order in memory, on which the order of a sum depends.
                elements = np.ascontiguousarray(part[where].reshape(len(part), *grid, -1))
                target = np.ix_(np.arange(start, start + len(part)), *outputs)
                draws = None if drawn is None else drawn[target]
                where_of = None if places is None else np.broadcast_to(places, elements.shape)
                result[target] = reduce(elements, where_of, draws)
        return from_planes(result, self.shape, self.axes)

    def _whole(self) -> tuple[range, ...] | None:
        """Return the outputs along each axis whose windows hold no padding; None if not sliding."""
        whole = [_whole_and_edges(window)[0] for window in self.windows]
        return tuple(whole) if all(whole) else None

    def _elements(self, planes: Array, part: tuple[slice, ...]) -> list[Array]:
        """Return the first, the second, … elements of a part of the windows, as dense arrays."""
        windows = [window for window in self.windows if isinstance(window, Sliding)]
        along_axes = []
        for window, outputs in zip(windows, part[1:], strict=True):
            start = outputs.start * window.step - window.begin
            span = (outputs.stop - outputs.start - 1) * window.step + 1
            firsts = range(start, start + window.extent, window.spacing)
            along_axes.append([slice(first, first + span, window.step) for first in firsts])
        return [
            copy_strided(planes[part[0]], (slice(None), *places)) for places in product(*along_axes)
        ]

    def _blocks(self, *, skip_whole: bool) -> Iterator[tuple[list[Array], tuple[Array, ...]]]:
        """Yield the outputs along each axis, and the positions of their windows' elements.

        Positions are shaped (windows…, elements…), to index a plane with.
        """
        count = len(self.axes)
        groups_of_axes = [_groups(window) for window in self.windows]
        insides = tuple(groups[-1] for groups in groups_of_axes)
        for groups in product(*groups_of_axes):
            if skip_whole and all(map(is_, groups, insides)):
                continue
            for block in _cut(groups):
                yield (
                    [outputs for outputs, _, _ in block],
                    tuple(
                        _spread(starts[:, None] + offsets, axis, count)
                        for axis, (_, starts, offsets) in enumerate(block)
                    ),
                )

    def _flat(self, positions: Sequence[Array]) -> Array:
        """Return flat indices over the windowed axes of the array as it was before padding."""
        sources = self.sources or (0,) * len(self.windows)
        lengths = self.lengths or tuple(window.length for window in self.windows)
        flat = np.zeros((), np.int64)
        for source, length, index in zip(sources, lengths, positions, strict=True):
            at = index + source if isinstance(source, int) else source[index]
            flat = flat * length + at
        return flat


_Group = tuple[Array, Array, Array]
"""Windows along one axis: the outputs, where each begins, how far from there its elements are."""


def _cut(groups: Sequence[_Group]) -> Iterator[list[_Group]]:
    """Cut windows, along all axes, into blocks of :data:`_BLOCK` elements, or of one window."""
    left = max(1, _BLOCK // max(1, prod(len(offsets) for _, _, offsets in groups)))
    parts: list[list[slice]] = []
    for outputs, _, _ in reversed(groups):
        step = min(len(outputs), left)
        left = max(1, left // max(1, step))
        parts.insert(0, [slice(at, at + step) for at in range(0, len(outputs), max(1, step))])
    for block in product(*parts):
        yield [
            (outputs[part], starts[part], offsets)
            for part, (outputs, starts, offsets) in zip(block, groups, strict=True)
        ]


def _chunks(planes: int, whole: tuple[range, ...], item: int) -> Iterator[tuple[slice, ...]]:
    """Cut the windows of planes into parts of which few elements at a time fit the cache."""
    first, rest = whole[0], [slice(outputs.start, outputs.stop) for outputs in whole[1:]]
    row = prod(map(len, whole[1:]))
    height = min(len(first), max(1, _AT_ONCE // (item * row)))
    count = max(1, _AT_ONCE // (item * row * height))
    for plane in range(0, planes, count):
        for start in range(first.start, first.stop, height):
            rows = slice(start, min(start + height, first.stop))
            yield (slice(plane, min(plane + count, planes)), rows, *rest)


def as_planes(array: Array, axes: Sequence[int]) -> Array:
    """Return an array as (planes, lengths along ``axes``…)."""
    lengths = [array.shape[axis] for axis in axes]
    count = prod(length for axis, length in enumerate(array.shape) if axis not in axes)
    return np.moveaxis(array, axes, range(-len(axes), 0)).reshape(count, *lengths)


def from_planes(planes: Array, shape: Sequence[int], axes: Sequence[int]) -> Array:
    """Return planes as an array of ``shape``, the inverse of :func:`as_planes`."""
    lead = [length for axis, length in enumerate(shape) if axis not in axes]
    moved = planes.reshape(*lead, *planes.shape[1:])
    return np.ascontiguousarray(np.moveaxis(moved, range(-len(axes), 0), axes))


@lru_cache(maxsize=16)
def _product(
    ndim: int,
    axes: tuple[int, ...],
    windows: tuple[Window, ...],
    measure: Callable[[Window, int], Any],
) -> Any:
    total: Any = 1
    for axis, window in zip(axes, windows, strict=True):
        each = _for_each(window, measure)
        if (each == each[0]).all():
            total = total * each[0].item()
        else:
            shape = [1] * ndim
            shape[axis] = window.output
            total = total * each.reshape(shape)
    return total


def _for_each(window: Window, measure: Callable[[Window, int], Any]) -> Array:
    """Return a measure of every window; those that hold no padding are alike."""
    if not isinstance(window, Sliding) and measure in (Window.counted, count_present):
        # They have no padding.
        return intervals(window)[1]
    whole, edges = _whole_and_edges(window)
    each = np.empty(window.output, type(measure(window, 0)))
    if whole:
        each[whole.start : whole.stop] = measure(window, whole.start)
    each[edges] = [measure(window, index) for index in edges]
    return each


def _whole_and_edges(window: Window) -> tuple[range, list[int]]:
    """Return the windows that are alike because they hold no padding, and all others."""
    whole = window.whole() if isinstance(window, Sliding) else range(0)
    if not whole:
        return whole, list(range(window.output))
    return whole, [*range(whole.start), *range(whole.stop, window.output)]


def _groups(window: Window) -> list[_Group]:
    """Return outputs whose windows hold equally many elements, their starts, and the offsets.

    The elements of window i stand at start i + offsets. A window of padding alone is given the
    position nearest to it: an index must lie inside.
    """
    starts, sizes = intervals(window)
    whole, edges = _whole_and_edges(window)
    found = []
    for size, places in by_size(sizes[edges]):
        outputs = np.asarray(edges)[places]
        begins = starts[outputs]
        if not size:
            nearest = [window.positions(index)[0] for index in outputs.tolist()]
            begins = np.clip(nearest, 0, window.length - 1)
        found.append((outputs, begins, np.arange(max(1, size)) * window.dilation))
    if isinstance(window, Sliding) and whole:
        inside = np.arange(whole.start, whole.stop)
        offsets = np.arange(window.size) * window.spacing
        found.append((inside, inside * window.step - window.begin, offsets))
    return found


def _spread(positions: Array, axis: int, count: int) -> Array:
    """Shape (windows, elements) of one axis to broadcast as (windows…, elements…) of all."""
    shape = [1] * (2 * count)
    shape[axis], shape[count + axis] = positions.shape
    return positions.reshape(shape)


def count_present(window: Window, index: int) -> int:
    """How many elements a window holds, padding left out."""
    return len(window.present(index))


def taken(window: Sliding, tap: int) -> slice:
    """Return the input positions that the ``tap``-th elements of all windows are taken from."""
    first, last = window.reach(tap)
    start = first * window.step - window.begin + tap * window.spacing
    return slice(start, max(start, start + (last - first - 1) * window.step + 1), window.step)


def _weigh_axis(
    array: Array, axis: int, window: Window, weights_of: Callable[[int], Array]
) -> Array:
    """Sum windows along one axis with weights."""
    result = np.zeros_like(_empty_result(array, axis, window))
    if isinstance(window, Sliding):
        for tap, weight in enumerate(weights_of(window.size)):
            if weight:
                target = result[along(axis, slice(*window.reach(tap)))]
                target += array[along(axis, taken(window, tap))] * weight
        return result
    starts, sizes = intervals(window)
    for size, outputs in by_size(sizes):
        total = np.zeros_like(np.take(result, outputs, axis))
        for tap, weight in enumerate(weights_of(size)):
            if weight:
                total += np.take(array, starts[outputs] + tap, axis) * weight
        np.moveaxis(result, axis, 0)[outputs] = np.moveaxis(total, axis, 0)
    return result


def _empty_result(array: Array, axis: int, window: Window) -> Array:
    shape = (*array.shape[:axis], window.output, *array.shape[axis + 1 :])
    return np.empty(shape, array.dtype)


def along(axis: int, index: slice) -> tuple[slice, ...]:
    """Index that takes ``index`` along one axis and everything along those before it."""
    return (*[slice(None)] * axis, index)
