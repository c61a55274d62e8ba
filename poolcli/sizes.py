"""Sizes of windows over several axes: one number for all of them, or one per axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

T = TypeVar("T")

Sizes = tuple[int, ...]
"""One number for every windowed axis, or one per axis in D, H, W order."""
Pads = tuple[tuple[int, int], ...]
"""Padding at the begin and the end, likewise."""

NO_PADDING: Final[Pads] = ((0, 0),)


def on_axis(axis: int, sizes: Sequence[T]) -> T:
    """Size on the ``axis``-th windowed axis, where one alone stands for all axes."""
    return sizes[axis] if len(sizes) > 1 else sizes[0]


def collapsed(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return equal sizes written once.

    >>> collapsed((2, 2)), collapsed((2, 3))
    ((2,), (2, 3))
    """
    return values[:1] if len(set(values)) == 1 else values


def join_sizes(sizes: Sequence[int | None]) -> str:
    """Write sizes as specs do.

    >>> join_sizes((7, None))
    '7x_'
    """
    return "x".join("_" if size is None else str(size) for size in sizes)


def join_pads(pads: Sequence[tuple[int, int]]) -> str:
    """Write padding as specs do.

    >>> join_pads(((1, 1), (0, 1)))
    '1x0-1'
    """
    return "x".join(str(begin) if begin == end else f"{begin}-{end}" for begin, end in pads)
