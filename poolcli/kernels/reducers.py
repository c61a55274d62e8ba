"""What is done in a window: one function per operation, under the name of its facts.

Each takes a :class:`~poolcli.kernels.views.View` and the stage, and returns the results in a dtype
at least as wide as the stage's carried dtype. None of them knows where windows lie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from poolcli.errors import RangeError
from poolcli.kernels.views import Array, View
from poolcli.stages import Stage

_SHORT_SUM: Final = 64
"""Float sums of more elements than this are accumulated in float64 (float32 drifts: 4096² times
0.1, one after the other, averages 0.115)."""


def _maximum(view: View, _stage: Stage) -> Array:
    return view.fold(np.maximum, least(view.array.dtype))


def _minimum(view: View, _stage: Stage) -> Array:
    return view.fold(np.minimum, greatest(view.array.dtype))


def _average(view: View, stage: Stage) -> Array:
    counts = view.counts(stage)
    if view.array.dtype.kind in "iu" and view.array.dtype.itemsize == _WORD:
        high, low = _split_sums(view)
        return np.asarray((high * 2.0**32 + low) / counts)
    total = _total(view)
    quotient: Array = np.divide(
        total, counts, dtype=total.dtype if total.dtype.kind == "f" else np.float64
    )
    return quotient


def _sum(view: View, _stage: Stage) -> Array:
    dtype = view.array.dtype
    if dtype.kind not in "iu" or dtype.itemsize < _WORD:
        return _total(view)
    high, low = _split_sums(view)
    bounds = np.iinfo(dtype)
    if np.any(high < bounds.min >> 32) or np.any(high > bounds.max >> 32):
        raise RangeError(f"a sum does not fit in {dtype}: convert the input to float64")
    total: Array = (high.astype(dtype) << dtype.type(32)) + low.astype(dtype)
    return total


def _lp(view: View, stage: Stage) -> Array:
    norm = float(stage.option("norm"))
    powers = np.abs(view.array.astype(np.float64))
    if norm == 2:  # noqa: PLR2004 - the Euclidean norm, whose root is exact
        np.multiply(powers, powers, out=powers)
        return np.sqrt(view.on(powers).fold(np.add, 0))
    np.power(powers, norm, out=powers)
    return np.power(view.on(powers).fold(np.add, 0), 1 / norm)


def _pick(view: View, _stage: Stage) -> Array:
    return view.firsts()


REDUCERS: Final[dict[str, Callable[[View, Stage], Array]]] = {
    "max": _maximum,
    "min": _minimum,
    "avg": _average,
    "sum": _sum,
    "lp": _lp,
    "pick": _pick,
}

_WORD: Final = 8
"""Bytes of the widest integers, whose sums need care."""


def least(dtype: np.dtype[Any]) -> float:
    """Return the value that every other of its dtype is at least: what absent padding is to max."""
    if dtype.kind == "f":
        return -np.inf
    return False if dtype.kind == "b" else int(np.iinfo(dtype).min)


def greatest(dtype: np.dtype[Any]) -> float:
    """Return the value that no other of its dtype exceeds: what absent padding is to min."""
    if dtype.kind == "f":
        return np.inf
    return True if dtype.kind == "b" else int(np.iinfo(dtype).max)


def _total(view: View) -> Array:
    """Sum every window in a dtype that holds it: exactly for integers of up to 32 bits."""
    dtype = view.array.dtype
    accumulator: np.dtype[Any]
    if dtype.kind != "f":
        accumulator = np.dtype(np.int64)
    elif view.volume > _SHORT_SUM:
        accumulator = np.dtype(np.float64)
    else:
        accumulator = np.promote_types(dtype, np.float32)
    return view.on(view.array.astype(accumulator, copy=False)).fold(np.add, 0)


def _split_sums(view: View) -> tuple[Array, Array]:
    """Sum 64-bit integers exactly, as (high, low) with the sum high·2³² + low, 0 ≤ low < 2³²."""
    halves = view.array.dtype.type(32)
    high = view.on((view.array >> halves).astype(np.int64)).fold(np.add, 0)
    low = view.on((view.array & view.array.dtype.type(0xFFFFFFFF)).astype(np.int64))
    low_sums = low.fold(np.add, 0)
    return high + (low_sums >> 32), low_sums & 0xFFFFFFFF
