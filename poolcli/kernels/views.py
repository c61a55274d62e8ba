"""Where windows lie: an array seen through windows along some of its axes.

An operation asks a :class:`View` for what it needs (a fold, a count, the first elements) and never
learns whether the windows slide, adapt or cover the whole map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolcli.stages import PadMode, Stage
from poolcli.windows import Sliding, Window

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class View:
    """An array, the axes that windows lie on, and a bound window for each."""

    array: Array
    axes: tuple[int, ...]
    windows: tuple[Window, ...]

    @property
    def volume(self) -> int:
        """Positions in the largest window."""
        return prod(window.kernel for window in self.windows)

    def on(self, array: Array) -> View:
        """Return the same windows over another array of the same shape."""
        return replace(self, array=array)

    def fold(self, combine: np.ufunc, identity: float) -> Array:
        """Combine every window's elements; a window of padding alone gives ``identity``.

        One axis after the other, so that a k×k window costs 2·k combinations, not k². The order
        within a window depends on nothing but the window, so that results are reproducible.
        """
        array = self.array
        for axis, window in zip(self.axes, self.windows, strict=True):
            if not window.is_identity:
                array = _fold_axis(array, axis, window, combine, identity)
        return array

    def counts(self, stage: Stage) -> Array | int:
        """How many elements each window's average is divided by, shaped to divide a fold."""
        if stage.divisor is not None:
            return stage.divisor
        count: Callable[[Window, int], int] = (
            Window.counted if stage.counts_padding else _count_present
        )
        total: Array | int = 1
        for axis, window in zip(self.axes, self.windows, strict=True):
            each = [count(window, index) for index in range(window.output)]
            if len(set(each)) == 1:
                total = total * each[0]
            else:
                shape = [1] * self.array.ndim
                shape[axis] = window.output
                total = total * np.array(each).reshape(shape)
        return total

    def firsts(self) -> Array:
        """Each window's first element that is not padding."""
        array = self.array
        for axis, window in zip(self.axes, self.windows, strict=True):
            index = [window.present(output)[0] for output in range(window.output)]
            array = np.take(array, index, axis=axis)
        return array


def padded_with_values(view: View, mode: PadMode) -> View:
    """Return a view whose declared padding holds values, as numpy.pad's ``mode`` makes them."""
    width = [(0, 0)] * view.array.ndim
    windows = list(view.windows)
    for position, (axis, window) in enumerate(zip(view.axes, view.windows, strict=True)):
        if isinstance(window, Sliding):
            width[axis] = window.padding
            length = window.length + window.begin + window.end
            windows[position] = replace(window, length=length, begin=0, end=0)
    array = np.pad(view.array, width, mode=mode)
    return View(array, view.axes, tuple(windows))


def _count_present(window: Window, index: int) -> int:
    return len(window.present(index))


def _fold_axis(
    array: Array, axis: int, window: Window, combine: np.ufunc, identity: float
) -> Array:
    """Combine windows along one axis, in as few passes as the window allows."""
    if isinstance(window, Sliding) and window.kernel < window.output:
        return _fold_by_tap(array, axis, window, combine, identity)
    return _fold_by_output(array, axis, window, combine, identity)


def _fold_by_tap(
    array: Array, axis: int, window: Sliding, combine: np.ufunc, identity: float
) -> Array:
    """Combine all windows' first elements with all their second ones, and so on."""
    result = _empty_result(array, axis, window)
    for tap in range(window.size):
        first, last = window.reach(tap)
        start = first * window.step - window.begin + tap * window.spacing
        stop = start + (last - first - 1) * window.step + 1
        part = array[along(axis, slice(start, max(start, stop), window.step))]
        target = result[along(axis, slice(first, last))]
        if tap == 0:
            result[along(axis, slice(0, first))] = identity
            result[along(axis, slice(last, None))] = identity
            target[...] = part
        else:
            combine(target, part, out=target)
    return result


def _fold_by_output(
    array: Array, axis: int, window: Window, combine: np.ufunc, identity: float
) -> Array:
    """Reduce one window after the other: few windows, or windows of varying sizes."""
    result = _empty_result(array, axis, window)
    for index in range(window.output):
        present = window.present(index)
        target = result[along(axis, slice(index, index + 1))]
        if present:
            part = array[along(axis, slice(present.start, present[-1] + 1, present.step))]
            combine.reduce(part, axis=axis, dtype=array.dtype, out=target, keepdims=True)
        else:
            target[...] = identity
    return result


def _empty_result(array: Array, axis: int, window: Window) -> Array:
    shape = (*array.shape[:axis], window.output, *array.shape[axis + 1 :])
    return np.empty(shape, array.dtype)


def along(axis: int, index: slice) -> tuple[slice, ...]:
    """Index that takes ``index`` along one axis and everything along those before it."""
    return (*[slice(None)] * axis, index)
