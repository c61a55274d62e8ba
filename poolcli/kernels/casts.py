"""From what is carried between stages to what is saved: rounded once, saturated, and counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from poolcli.kernels.views import Array

TIE: Final = 1e-6
"""A value this close to a tie is a tie: averages of averages of integers miss it by some 1e-14."""

_BLOCK: Final = 1 << 18
"""Elements cast at once, so that the temporaries stay in the cache."""


@dataclass(frozen=True, slots=True)
class Losses:
    """How many values a cast could not keep."""

    rounded: int = 0
    saturated: int = 0
    nan: int = 0

    def __add__(self, other: Losses) -> Losses:
        return Losses(
            self.rounded + other.rounded, self.saturated + other.saturated, self.nan + other.nan
        )


_FEW: Final = 1 << 14
"""Elements of a window whose average misses a tie by more than :data:`TIE`, if it misses it, and
twice whose number fits the narrowest dtype of sums."""


@dataclass(frozen=True, slots=True)
class Quotient:
    """Averages of integers, not divided yet: whole sums, and what each is divided by."""

    sums: Array
    counts: Array | int
    within: np.dtype[Any] | None = None
    """Of what the averages are made, if they can't leave its range."""

    def real(self) -> Array:
        """Return the averages in float64, rounded once."""
        return np.asarray(np.divide(self.sums, self.counts, dtype=np.float64))

    def cast(self, out: Array, *, counted: bool = True) -> Losses:
        """Put the averages into ``out``, as :func:`cast` would cast the true fractions.

        What was rounded is counted if asked for.

        >>> out = np.empty(3, np.uint8)
        >>> Quotient(np.array([5, 6, 7]), 2).cast(out), out
        (Losses(rounded=2, saturated=0, nan=0), array([2, 3, 4], dtype=uint8))
        """
        if out.dtype.kind == "f" or np.max(self.counts) > _FEW:
            narrow, losses = cast(self.real(), out.dtype.name)
        else:
            narrow, rounded = self._rounded(counted=counted)
            losses = Losses(rounded)
            if out.dtype != self.within:
                narrow, lost = _cast_block(narrow, out.dtype)
                losses += lost
        np.copyto(out, narrow, casting="unsafe")
        return losses

    def _rounded(self, *, counted: bool) -> tuple[Array, int]:
        """Return the averages rounded half to even, and how many were not whole."""
        sums, kind = self.sums, self.sums.dtype.type
        if isinstance(self.counts, int) and self.counts & (self.counts - 1) == 0:
            # Up by one half less one, and by one more if what is rounded down to is odd.
            shift = self.counts.bit_length() - 1
            whole = sums >> kind(shift)
            if not shift:
                return whole, 0
            rounded = np.count_nonzero(sums & kind(self.counts - 1)) if counted else 0
            if self.within is None:
                # A divisor of its own may be so large that a sum and its half don't fit.
                rests = sums & kind(self.counts - 1)
                rests += whole & kind(1)
                whole += rests > kind(self.counts // 2)
                return whole, int(rounded)
            whole &= kind(1)
            whole += sums
            whole += kind(self.counts // 2 - 1)
            whole >>= kind(shift)
            return whole, int(rounded)
        counts = np.asarray(self.counts, sums.dtype)
        floors = sums // counts
        rests = sums - floors * counts
        # Up from above one half, and from one half if the floor is odd.
        floors += rests + rests + (floors & kind(1)) > counts
        return floors, int(np.count_nonzero(rests)) if counted else 0


def cast(array: Array, dtype: str) -> tuple[Array, Losses]:
    """Return ``array`` in ``dtype``: rounded half to even, saturated, NaN as 0, and what was lost.

    Floats only lose precision: NaN and infinities stay, finite values too large saturate.

    >>> cast(np.array([0.5, 1.5, 2.4, 300.0, np.nan]), "uint8")
    (array([  0,   2,   2, 255,   0], dtype=uint8), Losses(rounded=3, saturated=1, nan=1))
    """
    target = np.dtype(dtype)
    if array.dtype == target:
        return array, Losses()
    result = np.empty(array.shape, target)
    flat, source = result.reshape(-1), np.ascontiguousarray(array).reshape(-1)
    losses = Losses()
    for start in range(0, source.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        flat[part], lost = _cast_block(source[part], target)
        losses += lost
    return result, losses


def _cast_block(values: Array, target: np.dtype[Any]) -> tuple[Array, Losses]:
    if target.kind == "f":
        return _narrow(values, target)
    rounded = nan = 0
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        nan = int(np.count_nonzero(missing))
        values = np.where(missing, 0, values) if nan else values
        whole = round_half_even(values)
        rounded = int(np.count_nonzero(whole != values))
        values = whole
    low, high = (0, 1) if target.kind == "b" else (np.iinfo(target).min, np.iinfo(target).max)
    below, above = _outside(values, low, high)
    saturated = int(np.count_nonzero(below) + np.count_nonzero(above))
    if saturated:
        kept = np.where(below | above, 0, values).astype(target)
        kept[below], kept[above] = low, high
    else:
        kept = values.astype(target)
    return kept, Losses(rounded, saturated, nan)


def _outside(values: Array, low: int, high: int) -> tuple[Array, Array]:
    """Where values lie below ``low`` or above ``high``, exact up to 64 bits."""
    if values.dtype.kind == "f":
        # Compared in float64: a float16 could not even hold the limits.
        return values < np.float64(low), values >= np.float64(high) + 1
    if values.dtype.kind == "b":
        return np.zeros(values.shape, bool), np.zeros(values.shape, bool)
    own = np.iinfo(values.dtype)
    return values < max(low, own.min), values > min(high, own.max)


def _narrow(values: Array, target: np.dtype[Any]) -> tuple[Array, Losses]:
    with np.errstate(over="ignore"):
        narrow = values.astype(target)
    overflown = np.isinf(narrow) & np.isfinite(values)
    narrow[overflown] = np.copysign(np.finfo(target).max, values[overflown])
    return narrow, Losses(saturated=int(np.count_nonzero(overflown)))


def round_half_even(values: Array) -> Array:
    """Round to whole numbers, ties (within :data:`TIE`) to the even one.

    >>> round_half_even(np.array([0.5, 1.5, 2.5 - 1e-9, 2.4, -0.5, -np.inf]))
    array([  0.,   2.,   2.,   2.,  -0., -inf])
    """
    whole = np.rint(values)
    below = np.floor(values)
    with np.errstate(invalid="ignore"):
        tie = np.abs(values - below - 0.5) <= TIE
    if tie.any():
        whole[tie] = 2 * np.rint((below[tie] + 0.5) / 2)
    return whole
