"""Receptive fields: what one element of a map sees of the input. No NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from poolcli.windows import Window


@dataclass(frozen=True, slots=True)
class Field:
    """What one element sees of the input, per spatial axis in D, H, W order, in input pixels.

    ``size`` is the receptive field, ``jump`` the distance between neighbours' fields (below 1 after
    an enlargement), ``center`` the middle of the first element's field (0 is the first pixel's
    centre). None where no one number says it: behind an adaptive stage the windows lie at varying
    distances.
    """

    size: tuple[float, ...] | None
    jump: tuple[float, ...] | None
    center: tuple[float, ...] | None

    @classmethod
    def of_input(cls, axes: int) -> Field:
        """Return the field of the input's own elements: one pixel, itself."""
        return cls((1,) * axes, (1,) * axes, (0.0,) * axes)

    def through(self, windows: Sequence[Window]) -> Field:
        """Return the field of one element of a stage with these windows on this field's map.

        size += (k-1)·d·jump; center += (first window's middle)·jump; jump *= stride: Araujo,
        Norris & Sim, "Computing receptive fields of convolutional neural networks", Distill 2019,
        equations 2 and 3, with the dilation in both.
        """
        if self.size is None or self.jump is None or self.center is None:
            return self if all(window.is_identity for window in windows) else _UNKNOWN
        return Field(
            size=tuple(
                _tidy(size + window.spread * jump)
                for size, window, jump in zip(self.size, windows, self.jump, strict=True)
            ),
            jump=_times(self.jump, [window.pace for window in windows]),
            center=tuple(
                center + _middle(window) * jump
                for center, window, jump in zip(self.center, windows, self.jump, strict=True)
            ),
        )

    def undoing(self, before: Field, pooled: Field) -> Field:
        """Return the field after values were put back to where a pooling found them.

        A value brings the field it had; the jump shrinks as the pooling (``before`` to ``pooled``)
        had widened it.
        """
        if self.jump is None or before.jump is None or pooled.jump is None:
            return Field(self.size, None, None)
        ratios = [old / new for old, new in zip(before.jump, pooled.jump, strict=True)]
        return Field(self.size, _times(self.jump, ratios), self.center)


_UNKNOWN: Final = Field(None, None, None)


def _times(jump: Sequence[float], paces: Sequence[float | None]) -> tuple[float, ...] | None:
    known = [pace for pace in paces if pace is not None]
    if len(known) < len(paces):
        return None
    return tuple(_tidy(step * pace) for step, pace in zip(jump, known, strict=True))


def _tidy(number: float) -> float:
    """Return a whole number as int: thirds of jumps add up to it but for the last bits."""
    return round(number) if abs(number - round(number)) < 1e-9 else number  # noqa: PLR2004


def _middle(window: Window) -> float:
    """Middle of the first window's positions, padding taken off."""
    first = window.positions(0)
    return (first[0] + first[-1]) / 2
