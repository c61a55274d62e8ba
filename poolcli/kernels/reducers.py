"""What is done in a window: one function per operation, under the name of its facts.

Each takes a :class:`~poolcli.kernels.views.View` and the stage, and returns the results in a dtype
at least as wide as the stage's carried dtype. None of them knows where windows lie. The random
numbers of an operation with a seed come with the view, drawn by the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from math import comb
from typing import Any, Final

import numpy as np

from poolcli.blocks import is_short
from poolcli.errors import RangeError
from poolcli.kernels.casts import Quotient
from poolcli.kernels.networks import most_frequent, ranked
from poolcli.kernels.views import Array, View, count_present
from poolcli.stages import Stage
from poolcli.windows import Sliding, Window


def _maximum(view: View, _stage: Stage) -> Array:
    return _extreme(view, np.maximum, least(view.array.dtype), view.target)


def _minimum(view: View, _stage: Stage) -> Array:
    return _extreme(view, np.minimum, greatest(view.array.dtype), view.target)


def _extreme(view: View, combine: np.ufunc, padding: float, out: Array | None) -> Array:
    if view.array.dtype != np.float16:
        return view.fold(combine, padding, out=out)
    # Half precision has no fast comparison; single precision holds all of it.
    return view.fold(combine, padding, dtype=np.float32).astype(np.float16)


def _average(view: View, stage: Stage) -> Array | Quotient:
    counts = view.counts(stage)
    if view.array.dtype.kind in "iu" and view.array.dtype.itemsize == _WORD:
        return _rounded_quotient(*_split_sums(view), counts)
    total = _total(view, view.target)
    if total.dtype.kind != "f":
        return Quotient(total, counts, view.array.dtype if stage.divisor is None else None)
    # In place where it can be: fresh memory costs more than the arithmetic.
    out = None if np.may_share_memory(total, view.array) else total
    if isinstance(counts, int) and counts & (counts - 1) == 0:
        # By a power of two, a product is the quotient to the last bit, and cheaper.
        return np.asarray(np.multiply(total, total.dtype.type(1 / counts), out=out))
    return np.asarray(np.divide(total, counts, out=out, dtype=total.dtype))


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
    return _root_of_powers(view.on(np.abs(view.array.astype(np.float64))), stage, 1)


def _generalised_mean(view: View, stage: Stage) -> Array:
    floored = np.maximum(view.array.astype(np.float64), float(stage.option("eps")))
    return _root_of_powers(view.on(floored), stage, view.per_window(count_present))


def _root_of_powers(view: View, stage: Stage, counts: Array | int) -> Array:
    """Return (Σxⁿ / counts)^(1/n) of elements that are not negative."""
    norm = float(stage.option("norm"))
    powers = view.array * view.array if norm == 2 else view.array**norm  # noqa: PLR2004 - squares
    sums = view.on(powers).fold(np.add, 0)
    means = sums / counts
    roots: Array = np.sqrt(means) if norm == 2 else means ** (1 / norm)  # noqa: PLR2004 - exact
    beyond = (sums < _LEAST_SUM) | np.isinf(sums)
    if view.is_running or beyond.any():
        # Powers too small or too large for float64: those windows are scaled by their maximum.
        peaks = view.fold(np.maximum, 0)
        beyond &= (peaks > 0) & np.isfinite(peaks)
        if beyond.any():
            scaled = view.reduce(lambda elements: _scaled_power_sum(elements, norm), np.float64)
            roots = np.where(beyond, peaks * (scaled / counts) ** (1 / norm), roots)
    return roots


_LEAST_SUM: Final = 1e-290
"""Below this, a sum of powers may have lost digits to underflow."""


def _scaled_power_sum(elements: Array, norm: float) -> Array:
    """Return Σ(x/max x)ⁿ."""
    total: Array = np.sum((elements / elements.max(axis=-1, keepdims=True)) ** norm, axis=-1)
    return total


def _median(view: View, _stage: Stage) -> Array:
    def middle(elements: list[Array]) -> Array:
        low, high = ranked(elements, ((len(elements) - 1) // 2, len(elements) // 2))
        return low if low is high else (low.astype(np.float64) + high) / 2

    return _ranked_in(view, lambda elements: np.median(elements, axis=-1), middle)


def _quantile(view: View, stage: Stage) -> Array:
    q = float(stage.option("q"))

    def between(elements: list[Array]) -> Array:
        place = (len(elements) - 1) * q
        below = int(place)
        low, high = ranked(elements, (below, min(below + 1, len(elements) - 1)))
        if place == below and low.dtype.kind != "f":
            return low
        return _interpolated(low, high, place - below)

    return _ranked_in(view, lambda elements: np.quantile(elements, q, axis=-1), between)


def _interpolated(low: Array, high: Array, share: float) -> Array:
    """Interpolate from the nearer end, to the last bit as numpy.quantile does."""
    start, end = low.astype(np.float64), high.astype(np.float64)
    return start + (end - start) * share if share < 0.5 else end - (end - start) * (1 - share)  # noqa: PLR2004 - halfway


def _ranked_in(
    view: View, reduce: Callable[[Array], Array], at_once: Callable[[list[Array]], Array]
) -> Array:
    def wide(elements: Array) -> Array:
        # NumPy takes sums and differences of neighbours, which small dtypes can't hold.
        return reduce(elements.astype(np.float64, copy=False))

    kind = view.array.dtype
    if kind == np.float16:
        # Half precision has no fast comparison; single precision holds all of it.
        view = view.on(view.array.astype(np.float32))
    return view.reduce(wide, np.float64 if kind.kind != "f" else kind, at_once)


def _majority(view: View, _stage: Stage) -> Array:
    whole_numbers = view.array.dtype.kind in "iu"
    return view.reduce(_most_frequent, view.array.dtype, most_frequent if whole_numbers else None)


def _most_frequent(elements: Array) -> Array:
    """Return the value of the longest run of the sorted elements, the first of equally long."""
    ordered = np.sort(elements, axis=-1)
    place = np.arange(ordered.shape[-1])
    new = np.ones(ordered.shape, bool)
    new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    if ordered.dtype.kind == "f":
        # All NaNs are one value; they are sorted to the end.
        new[..., 1:] &= ~np.isnan(ordered[..., :-1])
    length = place - np.maximum.accumulate(np.where(new, place, 0), axis=-1)
    longest = np.argmax(length, axis=-1)
    return np.take_along_axis(ordered, longest[..., None], axis=-1)[..., 0]


def _soft(view: View, _stage: Stage) -> Array:
    return view.on(view.array.astype(np.float64)).reduce(_softmax_weighted, np.float64)


def _softmax_weighted(elements: Array) -> Array:
    """Return Σ e^(x-m)·x / Σ e^(x-m), where m is the maximum so that nothing overflows."""
    peak = elements.max(axis=-1, keepdims=True)
    # An infinite maximum less itself is no number; an element of no weight adds nothing.
    weights = np.exp(np.where(elements == peak, 0, elements - peak))
    # Shares first: a sum of products could overflow where the mean does not.
    shares = weights / weights.sum(axis=-1, keepdims=True)
    mean: Array = np.where(shares == 0, 0, shares * elements).sum(axis=-1)
    return mean


def _stochastic(view: View, _stage: Stage) -> Array:
    return view.reduce_with(_drawn, view.array.dtype)


def _drawn(elements: Array, _places: Array | None, draws: Array | None) -> Array:
    """Return of each window the element that its draw in [0, 1) falls on."""
    assert draws is not None, "the engine draws for operations with a seed"  # noqa: S101
    peak = elements.max(axis=-1, keepdims=True)
    with_weight = np.maximum(elements, 0).astype(np.float64)
    # Scaled by the maximum, so that no sum overflows; an infinite one outweighs all others.
    scale = np.where(peak > 0, peak, 1).astype(np.float64)
    weights = np.where(np.isinf(scale), np.isinf(with_weight), with_weight / scale)
    sums = np.cumsum(weights, axis=-1)
    chosen = np.sum(sums <= draws[..., None] * sums[..., -1:], axis=-1)
    chosen = np.minimum(chosen, elements.shape[-1] - 1)
    none_positive = ~(peak[..., 0] > 0)
    chosen = np.where(none_positive, np.argmax(elements, axis=-1), chosen)
    return np.take_along_axis(elements, chosen[..., None], axis=-1)[..., 0]


def _average_and_maximum(view: View, stage: Stage) -> Array | Quotient:
    mix = float(stage.option("mix"))
    if mix == 0:
        return _maximum(view, stage)
    apart = replace(view, target=None)
    average = _average(apart, stage)
    if mix == 1:
        return average
    if isinstance(average, Quotient):
        average = average.real()
    return np.asarray(mix * average + (1 - mix) * _maximum(apart, stage).astype(average.dtype))


def _pick(view: View, _stage: Stage) -> Array:
    return view.firsts()


def _blur(view: View, _stage: Stage) -> Array:
    blurred = view.on(view.array.astype(np.float64)).weigh(binomial)
    return np.asarray(blurred / view.per_window(_counted_weight))


def _counted_weight(window: Window, index: int) -> float:
    """Weight of the positions that count: all but what ceil mode hangs over the padding."""
    if not isinstance(window, Sliding):
        # Windows of other kinds have no padding.
        return 1.0
    weights = binomial(len(window.positions(index)))
    begin, end = window.padding
    inside = [-begin <= at < window.length + end for at in window.positions(index)]
    return 1.0 if all(inside) else float(weights[inside].sum())


REDUCERS: Final[dict[str, Callable[[View, Stage], Array | Quotient]]] = {
    "max": _maximum,
    "min": _minimum,
    "avg": _average,
    "sum": _sum,
    "lp": _lp,
    "gem": _generalised_mean,
    "median": _median,
    "quantile": _quantile,
    "majority": _majority,
    "soft": _soft,
    "stochastic": _stochastic,
    "avgmax": _average_and_maximum,
    "pick": _pick,
    "blur": _blur,
}


def maximum_places(view: View) -> Array:
    """Return the flat index, over the windowed axes, of each window's maximum: the first of a tie.

    NaN is the maximum wherever it stands. A window of padding alone has the index nearest to it.
    """

    def first_place(elements: Array, places: Array | None, _draws: Array | None) -> Array:
        assert places is not None, "they are asked for"  # noqa: S101
        chosen = np.argmax(elements, axis=-1)[..., None]
        return np.take_along_axis(places, chosen, axis=-1)[..., 0]

    return view.reduce_with(first_place, np.int64, located=True)


@lru_cache(maxsize=256)
def binomial(size: int) -> Array:
    """Return the binomial weights of a window, which sum to 1.

    >>> binomial(3)
    array([0.25, 0.5 , 0.25])
    """
    last = size - 1
    if size <= _MOST_EXACT:
        return np.array([comb(last, tap) / 2**last for tap in range(size)])
    # Numbers of so many digits take minutes: each weight from its neighbour, the middle being 1.
    middle = last // 2
    taps = np.arange(middle, 0.0, -1)
    half = np.concatenate([np.cumprod(taps / (size - taps))[::-1], [1.0]])
    weights = np.concatenate([half, half[::-1][size % 2 :]])
    return np.asarray(weights / weights.sum())


_MOST_EXACT: Final = 1024
"""The longest window whose weights are worked out from whole numbers, each rounded once."""


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


def _total(view: View, out: Array | None = None) -> Array:
    """Sum every window in a dtype that holds it: exactly for integers of up to 32 bits."""
    return view.fold(np.add, 0, dtype=_accumulator(view), out=out)


def _accumulator(view: View) -> np.dtype[Any]:
    dtype = view.array.dtype
    if dtype.kind == "f":
        # Short windows are summed in a tree, whose error grows with the depth alone.
        short = all(is_short(window) for window in view.windows)
        return np.promote_types(dtype, np.float32 if short else np.float64)
    largest = view.volume << (8 * dtype.itemsize)
    if dtype.kind == "i":
        return np.dtype(np.int32 if largest < 1 << 31 else np.int64)
    narrow = np.uint16 if largest <= 1 << 16 else np.int32
    return np.dtype(narrow if largest < 1 << 31 else np.int64)


def _rounded_quotient(high: Array, low: Array, counts: Array | int) -> Array:
    """Return (high·2³² + low) / counts as float64, rounded once.

    Sums below 2⁵³ are exact in float64. Others are divided as Python's integers, whose quotient is
    rounded once: slower, but maps of such numbers are rare.
    """
    exact = np.abs(high) < 1 << 20
    quotients: Array = (high * 2.0**32 + low) / counts
    if not exact.all():
        beyond = ~exact
        count = np.broadcast_to(np.asarray(counts, np.int64), high.shape)[beyond]
        sums = zip(high[beyond].tolist(), low[beyond].tolist(), count.tolist(), strict=True)
        quotients[beyond] = [((upper << 32) + lower) / divisor for upper, lower, divisor in sums]
    return quotients


def _split_sums(view: View) -> tuple[Array, Array]:
    """Sum 64-bit integers exactly, as (high, low) with the sum high·2³² + low, 0 ≤ low < 2³²."""
    halves = view.array.dtype.type(32)
    high = view.on((view.array >> halves).astype(np.int64)).fold(np.add, 0)
    low = view.on((view.array & view.array.dtype.type(0xFFFFFFFF)).astype(np.int64))
    low_sums = low.fold(np.add, 0)
    return high + (low_sums >> 32), low_sums & 0xFFFFFFFF
