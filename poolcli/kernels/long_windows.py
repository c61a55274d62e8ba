"""Windows that are too long, or too uneven, to be combined by shifts: each by a reduction.

Windows of equally many elements are reduced together, so that the cost per window is small. The
order in which a window's elements are combined is the same however many windows come at once, and
whether its elements come at once or in parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from poolcli.windows import Adaptive, Fractional, Part, Sliding, Window

Array = NDArray[Any]

CHUNK: Final = 1 << 16
"""Elements of a single row that are summed pairwise; longer windows add the sums of such chunks."""

_ROWS: Final = 1 << 17
"""Elements that are gathered or widened at once."""
_EXACT: Final = 1 << 62
"""Products below this fit NumPy's integers."""


def intervals(window: Window) -> tuple[Array, Array]:
    """Return where each window's elements begin, and how many there are, without padding.

    A window of padding alone has 0 elements, and any start.

    >>> [each.tolist() for each in intervals(Adaptive(length=5, output=3))]
    [[0, 1, 3], [2, 3, 2]]
    """
    if isinstance(window, Sliding):
        starts = np.arange(window.output) * window.step - window.begin
        first = np.maximum(-(starts // window.spacing), 0)
        last = np.minimum(-((starts - window.length) // window.spacing), window.size)
        return starts + first * window.spacing, np.maximum(last - first, 0)
    whole, begin, low = window, 0, 0
    if isinstance(window, Part):
        whole, begin, low = window.whole, window.first, window.low
    if isinstance(whole, Adaptive) and whole.length * (whole.output + 1) < _EXACT:
        # The window's own formula, for all windows at once.
        index = np.arange(begin, begin + window.output)
        starts = index * whole.length // whole.output
        return starts - low, -(-(index + 1) * whole.length // whole.output) - starts
    if isinstance(whole, Fractional):
        return _fractional_starts(whole, begin, window.output) - low, np.full(
            window.output, whole.size
        )
    present = [window.present(index) for index in range(window.output)]
    starts = np.array([positions.start for positions in present], np.int64)
    return starts, np.array([len(positions) for positions in present], np.int64)


def _fractional_starts(window: Fractional, first: int, count: int) -> Array:
    """Return where fractional windows begin, by their own formula, in the dtype of their sample."""
    last = window.length - window.size
    index = np.arange(first, first + count)
    sample = np.asarray(window.sample)
    kind = sample.dtype.type
    if window.output == 1:
        return np.full(count, last)
    alpha = kind(last) / kind(window.output - 1)
    starts = ((index.astype(kind) + sample) * alpha).astype(np.int64) - int(window.sample * alpha)
    return np.where(index == window.output - 1, last, starts)


def by_size(sizes: Array) -> Iterator[tuple[int, Array]]:
    """Yield each size and the indices of the windows that have it.

    >>> [(size, outputs.tolist()) for size, outputs in by_size(np.array([2, 3, 2]))]
    [(2, [0, 2]), (3, [1])]
    """
    order = np.argsort(sizes, kind="stable")
    ordered = sizes[order]
    for outputs in np.split(order, np.flatnonzero(np.diff(ordered)) + 1):
        if len(outputs):
            yield int(sizes[outputs[0]]), outputs


def fold_long(  # noqa: PLR0913 - an array, where windows lie on it, what is done in them
    array: Array,
    on: tuple[int, Window],
    combine: np.ufunc,
    identity: float,
    dtype: np.dtype[Any],
    *,
    alone: bool,
) -> Array:
    """Combine every window along one axis; a window of padding alone gives ``identity``.

    ``alone`` says that a row along the axis is one element; see :func:`accumulate`.
    """
    axis, window = on
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    outer, inner = prod(before), prod(after)
    rows = array.reshape(outer, window.length, inner)
    result = np.empty((outer, window.output, inner), dtype)
    starts, sizes = _kept_intervals(window)
    for size, outputs in by_size(sizes):
        if not size:
            result[:, outputs] = identity
            continue
        at_once = max(1, _ROWS // max(1, outer * size * inner))
        for begin in range(0, len(outputs), at_once):
            block = outputs[begin : begin + at_once]
            elements = _gathered(rows, starts[block], size, window.dilation)
            each = elements.reshape(outer * len(block), size, inner)
            totals = accumulate(None, each, combine, dtype, alone=alone)
            result[:, block] = totals.reshape(outer, len(block), inner)
    return result.reshape(*before, window.output, *after)


_KEPT: Final = 1 << 12
_few_intervals = lru_cache(maxsize=64)(intervals)


def _kept_intervals(window: Window) -> tuple[Array, Array]:
    """Return a window's intervals; those of few windows are kept, for the next block.

    Not those of fractional windows, which are equal for equal samples of different precisions, but
    lie elsewhere.
    """
    kept = isinstance(window, Sliding | Adaptive) and window.output <= _KEPT
    return _few_intervals(window) if kept else intervals(window)


def _gathered(rows: Array, starts: Array, size: int, spacing: int) -> Array:
    """Return the elements of windows of one size: rows (outer, length, inner) by the windows.

    A view (outer, windows, size, inner) where the windows lie at equal distances.
    """
    distance = int(starts[1] - starts[0]) if len(starts) > 1 else 0
    if len(starts) > 2 and not (np.diff(starts) == distance).all():  # noqa: PLR2004 - two always do
        return rows[:, starts[:, None] + np.arange(size) * spacing]
    outer, row, inner = rows.strides
    return as_strided(
        rows[:, starts[0] :],
        (rows.shape[0], len(starts), size, rows.shape[2]),
        (outer, distance * row, spacing * row, inner),
        writeable=False,
    )


def accumulate(
    total: Array | None,
    rows: Array,
    combine: np.ufunc,
    dtype: np.dtype[Any],
    *,
    alone: bool | None = None,
) -> Array:
    """Combine rows (outer, rows, inner), one after the other, with a total (outer, inner) so far.

    Rows that are ``alone``, of one element in the whole map, are combined in chunks of
    :data:`CHUNK`, pairwise within each; all others one by one. A window may come in parts, and
    gives the same bits, if all parts but the last hold a whole number of chunks. By default rows
    are alone if they have one element.
    """
    outer, count, inner = rows.shape
    if alone is None:
        alone = inner == 1
    if not alone and inner == 1:
        # One column of a wider map. NumPy would add its elements pairwise, but not those of two.
        doubled = None if total is None else np.repeat(total, 2, axis=1)
        return accumulate(doubled, np.repeat(rows, 2, axis=2), combine, dtype)[:, :1]
    if alone:
        for start in range(0, count, CHUNK):
            chunk = np.ascontiguousarray(rows[:, start : start + CHUNK, 0]).astype(
                dtype, copy=False
            )
            part = combine.reduce(chunk, axis=1)[:, None]
            total = part if total is None else combine(total, part)
        assert total is not None, "a window has elements"  # noqa: S101
        return total
    height = max(1, _ROWS // max(1, outer * inner))
    for start in range(0, count, height):
        part = rows[:, start : start + height]
        if total is None and part.dtype == dtype:
            total = combine.reduce(np.ascontiguousarray(part), axis=1)
            continue
        first = 0 if total is None else 1
        stacked = np.empty((outer, first + part.shape[1], inner), dtype)
        if total is not None:
            stacked[:, 0] = total
        stacked[:, first:] = part
        total = combine.reduce(stacked, axis=1)
    assert total is not None, "a window has elements"  # noqa: S101
    return total
