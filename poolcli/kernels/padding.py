"""Padding that holds values of the map itself: reflected, repeated at the edge, or wrapped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolcli.blocks import with_room
from poolcli.operations import PadMode
from poolcli.windows import Window

Array = NDArray[Any]


def source_positions(first: int, last: int, length: int, mode: PadMode) -> Array:
    """Return the position inside the map that each position from first to last is a copy of.

    As ``numpy.pad`` does, also where padding is longer than the map.

    >>> source_positions(-2, 5, 3, "reflect").tolist(), source_positions(-2, 5, 3, "wrap").tolist()
    ([2, 1, 0, 1, 2, 1, 0], [1, 2, 0, 1, 2, 0, 1])
    """
    at = np.arange(first, last)
    if mode == "edge":
        return at.clip(0, length - 1)
    if mode == "wrap":
        return at % length
    period = max(1, 2 * (length - 1))
    at %= period
    return np.where(at < length, at, period - at)


@dataclass(frozen=True, slots=True)
class Padded:
    """Some outputs along one axis: their windows on the padded axis, and what that is made of.

    ``before`` and ``behind`` are positions of the map that padding repeats; between them stands the
    map from ``low`` up to ``high``.
    """

    window: Window
    before: Array
    low: int
    high: int
    behind: Array

    def taken(self, array: Array, axis: int, base: int) -> Array:
        """Return the padded axis of an array whose first position is ``base``."""
        inside = np.moveaxis(array, axis, 0)[self.low - base : self.high - base]
        inside = np.moveaxis(inside, 0, axis)
        if not len(self.before) and not len(self.behind):
            return inside
        before, behind = (
            np.take(array, positions - base, axis) for positions in (self.before, self.behind)
        )
        return np.concatenate([before, inside, behind], axis)

    @property
    def positions(self) -> Array:
        """The position in the map of every position of the padded axis."""
        return np.concatenate([self.before, np.arange(self.low, self.high), self.behind])


def padded(window: Window, outputs: tuple[int, int], mode: PadMode) -> Padded:
    """Return what outputs from the first up to but not the last look at, padding included.

    >>> from poolcli.windows import Sliding
    >>> edge = padded(Sliding(4, 4, 3, 1, begin=1, end=1), (0, 2), "reflect")
    >>> edge.positions.tolist(), [list(edge.window.positions(i)) for i in range(2)]
    ([1, 0, 1, 2], [[0, 1, 2], [1, 2, 3]])
    """
    if sum(window.padding) <= _SHORT:
        return _kept(window, outputs, mode)
    return _padded(window, outputs, mode)


_SHORT: Final = 1 << 10
"""Positions of padding up to which what they repeat is kept for the next block."""


def _padded(window: Window, outputs: tuple[int, int], mode: PadMode) -> Padded:
    roomy, begin = with_room(window)
    low, high, part = roomy.part(*outputs)
    low, high, length = low - begin, high - begin, window.length
    inside_low, inside_high = min(max(low, 0), length), min(max(high, 0), length)
    return Padded(
        part,
        source_positions(low, min(0, high), length, mode),
        inside_low,
        max(inside_low, inside_high),
        source_positions(max(length, low), high, length, mode),
    )


_kept = lru_cache(maxsize=128)(_padded)


@dataclass
class PaddedRows:
    """Rows that come one part after the other, with the padding before and behind them.

    Padding repeats rows from further on, or from further back: those are held until it is made.
    """

    window: Window
    mode: PadMode
    axis: int
    at_once: int
    """Rows of padding that are made at once."""
    came: int = 0
    begun: bool = False
    parts: list[Array] = field(default_factory=list)
    base: int = 0
    _before: Array = field(init=False)
    _behind: Array = field(init=False)

    def __post_init__(self) -> None:
        length = self.window.length
        begin, end = self.window.padding
        self._before = source_positions(-begin, 0, length, self.mode)
        self._behind = source_positions(length, length + end, length, self.mode)

    def add(self, rows: Array) -> Iterator[Array]:
        """Take rows, and yield the padded ones that can be made of what came so far."""
        # Parts are joined once what is repeated is there, not each with all before it.
        self.came += rows.shape[self.axis]
        self.parts.append(rows)
        del rows
        needed = int(self._before.max()) + 1 if len(self._before) else 0
        if not self.begun and self.came < needed:
            return
        if not self.begun:
            self.begun = True
            yield from self._repeated(self._before)
            fresh = list(self.parts)
        else:
            fresh = self.parts[-1:]
        while fresh:
            yield fresh.pop(0)
        if self.came == self.window.length:
            yield from self._repeated(self._behind)
            self.parts = []
            return
        low = min(self.came, int(self._behind.min())) if len(self._behind) else self.came
        while self.parts and self.base + self.parts[0].shape[self.axis] <= low:
            self.base += self.parts.pop(0).shape[self.axis]

    def _repeated(self, positions: Array) -> Iterator[Array]:
        if not len(positions):
            return
        self.parts = [np.concatenate(self.parts, self.axis)]
        for start in range(0, len(positions), self.at_once):
            part = positions[start : start + self.at_once] - self.base
            yield np.take(self.parts[0], part, self.axis)
