"""Receptive fields: what one element of a map sees of the input. No NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose, prod
from typing import Final

from poolcli.windows import Window

Path = tuple[Window, ...]
"""The windows of all stages so far along one axis."""


@dataclass(frozen=True, slots=True)
class Field:
    """What one element of a map sees of the input, along each spatial axis in D, H, W order.

    ``paths`` are the windows that led to it. All sizes are in input pixels; None where no one
    number says it: behind an adaptive stage the windows lie at varying distances.
    """

    paths: tuple[Path, ...]

    @classmethod
    def of_input(cls, axes: int) -> Field:
        """Return the field of the input's own elements: one pixel, itself."""
        return cls(((),) * axes)

    def through(self, windows: Sequence[Window]) -> Field:
        """Return the field of one element of a stage with these windows on this field's map."""
        return Field(
            tuple((*path, window) for path, window in zip(self.paths, windows, strict=True))
        )

    @property
    def size(self) -> tuple[int, ...] | None:
        """The receptive field: pixels from the first to the last, not clipped to the input."""
        return tuple(map(_size, self.paths)) if self._is_known else None

    @property
    def jump(self) -> tuple[float, ...] | None:
        """Pixels between neighbours' fields; below 1 after an enlargement."""
        if any(window.pace is None for path in self.paths for window in path):
            return None
        return tuple(map(_jump, self.paths))

    @property
    def center(self) -> tuple[float, ...] | None:
        """Middle of the first element's field; 0 is the first pixel's centre."""
        return tuple(map(_center, self.paths)) if self._is_known else None

    @property
    def _is_known(self) -> bool:
        """Whether windows at varying distances, if any, are followed by nothing that sees two."""
        for path in self.paths:
            behind = [window for window in path if not window.is_identity]
            if any(window.pace is None for window in behind[:-1]):
                return False
        return True


def _size(path: Path) -> int:
    """Return the largest field of any element.

    size += (k-1)·d·jump, jump *= stride: Araujo, Norris & Sim, "Computing receptive fields of
    convolutional neural networks", Distill 2019, equation 2. Where an enlargement makes elements
    differ, those of one period are followed back to the input instead.
    """
    period = prod(window.repeats for window in path)
    if period > 1:
        followed = range(min(period, path[-1].output, _MOST_FOLLOWED))
        seen = (_seen(path, index) for index in followed)
        return max(last - first + 1 for first, last in seen)
    size, jump = 1, 1
    for window in path:
        size += window.spread * jump
        jump *= int(window.pace or 1)
    return size


_MOST_FOLLOWED: Final = 1024
"""Longer periods, of more than ten enlargements by 2, are followed for this long."""


def _jump(path: Path) -> float:
    """Return the product of the paces; whole where thirds add up to it but for the last bits."""
    jump = prod(window.pace or 1 for window in path)
    return round(jump) if isclose(jump, round(jump), rel_tol=1e-9) else jump


def _center(path: Path) -> float:
    first, last = _seen(path, 0)
    return (first + last) / 2


def _seen(path: Path, index: int) -> tuple[int, int]:
    """Return the first and the last input position that element ``index`` is made from."""
    first = last = index
    for window in reversed(path):
        first, last = window.positions(first)[0], window.positions(last)[-1]
    return first, last
