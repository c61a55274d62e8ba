"""Receptive fields: what one element of a map sees of the input. No NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isclose
from typing import Final

from poolcli.windows import Span, Window


@dataclass(frozen=True, slots=True)
class _Axis:
    """What one element sees along one axis, through all windows so far.

    A long chain is not gone through for each of its stages: what can be added up is.
    """

    size: int = 1
    """The receptive field, where nothing is enlarged."""
    whole_jump: int = 1
    """The jump, where nothing is enlarged; adaptive windows count as 1."""
    jump: float = 1
    is_even: bool = True
    """Whether all windows lie at equal distances."""
    is_known: bool = True
    """Whether windows at varying distances, if any, are followed by nothing that sees two."""
    period: int = 1
    """After how many elements they see as before: the product of all enlargements."""
    last: Window | None = None
    """The last window, but for those that change nothing behind one at varying distances."""
    before: tuple[Span, ...] = ()
    """The way back from the map that ``last`` is on to the input, in as few steps as it takes."""

    def through(self, window: Window) -> _Axis:
        """Return what an element behind one more window sees."""
        after = replace(
            self,
            size=self.size + window.spread * self.whole_jump,
            whole_jump=self.whole_jump * int(window.pace or 1),
            jump=self.jump * (window.pace or 1),
            is_even=self.is_even and window.pace is not None,
            period=self.period * window.repeats,
        )
        if self.last is None:
            return replace(after, last=window)
        span = self.last.span
        if span is None:
            return after if window.is_identity else replace(after, last=window, is_known=False)
        return replace(after, last=window, before=_joined(span, self.before))

    def largest(self) -> int:
        """Return the largest field of any element.

        size += (k-1)·d·jump, jump *= stride: Araujo, Norris & Sim, "Computing receptive fields of
        convolutional neural networks", Distill 2019, equation 2. Where an enlargement makes
        elements differ, those of one period are followed back to the input instead.
        """
        if self.period == 1 or self.last is None:
            return self.size
        most = min(_MOST_FOLLOWED, _MOST_STEPS // (len(self.before) + 1) ** 2 + 1)
        followed = range(min(self.period, self.last.output, most))
        return max(last - first + 1 for first, last in map(self.seen, followed))

    def seen(self, index: int) -> tuple[int, int]:
        """Return the first and the last input position that element ``index`` is made from."""
        positions = range(index, index + 1) if self.last is None else self.last.positions(index)
        first, last = positions[0], positions[-1]
        for span in self.before:
            first, last = span.first(first), span.last(last)
        return first, last

    def rounded_jump(self) -> float:
        """Return the jump; whole where thirds add up to it but for the last bits."""
        whole = round(self.jump)
        return whole if isclose(self.jump, whole, rel_tol=1e-9) else self.jump


_MOST_FOLLOWED: Final = 1024
"""Longer periods, of more than ten enlargements by 2, are followed for this long."""
_MOST_STEPS: Final = 1 << 18
"""The same where the way back is long: it is so only where many enlargements and strides take
turns that don't divide each other."""


def _joined(span: Span, before: tuple[Span, ...]) -> tuple[Span, ...]:
    """Put one more step in front of the way back, joined with those behind it if it can be."""
    while before and (joined := span.then(before[0])) is not None:
        span, before = joined, before[1:]
    return (span, *before)


@dataclass(frozen=True, slots=True)
class Field:
    """What one element of a map sees of the input, along each spatial axis in D, H, W order.

    All sizes are in input pixels; None where no one number says it: behind an adaptive stage the
    windows lie at varying distances.
    """

    axes: tuple[_Axis, ...]

    @classmethod
    def of_input(cls, axes: int) -> Field:
        """Return the field of the input's own elements: one pixel, itself."""
        return cls((_Axis(),) * axes)

    def through(self, windows: Sequence[Window]) -> Field:
        """Return the field of one element of a stage with these windows on this field's map."""
        pairs = zip(self.axes, windows, strict=True)
        return Field(tuple(axis.through(window) for axis, window in pairs))

    @property
    def size(self) -> tuple[int, ...] | None:
        """The receptive field: pixels from the first to the last, not clipped to the input."""
        return tuple(axis.largest() for axis in self.axes) if self._is_known else None

    @property
    def jump(self) -> tuple[float, ...] | None:
        """Pixels between neighbours' fields; below 1 after an enlargement."""
        is_even = all(axis.is_even for axis in self.axes)
        return tuple(axis.rounded_jump() for axis in self.axes) if is_even else None

    @property
    def center(self) -> tuple[float, ...] | None:
        """Middle of the first element's field; 0 is the first pixel's centre."""
        seen = (axis.seen(0) for axis in self.axes)
        return tuple((first + last) / 2 for first, last in seen) if self._is_known else None

    @property
    def _is_known(self) -> bool:
        return all(axis.is_known for axis in self.axes)
