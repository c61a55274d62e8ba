"""Order statistics without sorting: comparator networks over whole arrays.

A network compares fixed pairs, whatever the values are, so that every comparison is one minimum and
one maximum over all windows at once. Comparators that no wanted rank depends on are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Comparator(NamedTuple):
    """Puts the smaller of two wires on the first, the larger on the second, as far as wanted."""

    first: int
    second: int
    smaller: bool
    larger: bool


@lru_cache(maxsize=256)
def network(size: int, ranks: tuple[int, ...]) -> tuple[Comparator, ...]:
    """Return comparators that bring the wanted ranks of ``size`` wires to their places.

    Batcher's merge exchange: Knuth, "The art of computer programming", volume 3, 5.2.2, algorithm
    M, without what no wanted rank depends on.

    >>> [tuple(comparator) for comparator in network(3, (1,))]
    [(0, 2, True, True), (0, 1, False, True), (1, 2, True, False)]
    """
    pairs = []
    top = 1 << max(0, (size - 1).bit_length() - 1)
    half = top
    while half:
        step, offset, distance = top, 0, half
        while True:
            pairs += [(i, i + distance) for i in range(size - distance) if i & half == offset]
            if step == half:
                break
            distance, step, offset = step - half, step // 2, half
        half //= 2
    wanted = set(ranks)
    kept = []
    for first, second in reversed(pairs):
        if first in wanted or second in wanted:
            kept.append(Comparator(first, second, first in wanted, second in wanted))
            wanted |= {first, second}
    return tuple(reversed(kept))


def ranked(wires: Sequence[Array], ranks: Sequence[int]) -> list[Array]:
    """Return the elementwise order statistics of arrays: rank 0 is the least. NaN makes all NaN.

    The arrays are not changed.

    >>> [array.tolist() for array in ranked([np.array([3, 1]), np.array([2, 5])], [0, 1])]
    [[2, 1], [3, 5]]
    """
    held = list(wires)
    spare: list[Array] = []
    own = [False] * len(held)
    for first, second, smaller, larger in network(len(held), tuple(sorted(set(ranks)))):
        left, right = held[first], held[second]
        if smaller:
            held[first] = np.minimum(left, right, out=spare.pop() if spare else None)
        if larger:
            held[second] = np.maximum(left, right, out=spare.pop() if spare else None)
        spare += [array for array, is_own in ((left, own[first]), (right, own[second])) if is_own]
        own[first], own[second] = smaller, larger
    return [held[rank] for rank in ranks]


def most_frequent(wires: Sequence[Array]) -> Array:
    """Return the most frequent of whole numbers elementwise, the smallest of a tie.

    >>> most_frequent([np.array([3, 1]), np.array([2, 5]), np.array([3, 7])]).tolist()
    [3, 1]
    """
    ordered = ranked(wires, range(len(wires)))
    same = [left == right for left, right in pairwise(ordered)]
    if len(ordered) == 4:  # noqa: PLR2004 - the usual 2×2: which of three pairs is equal says all
        pair = _chosen(same[2], ordered[2], ordered[0])
        return _chosen(same[0] | same[1], ordered[1], pair)
    best = ordered[0]
    run = np.ones(best.shape, np.uint8)
    longest = run.copy()
    for value, is_same in zip(ordered[1:], same, strict=True):
        run *= is_same
        run += np.uint8(1)
        best = _chosen(run > longest, value, best)
        np.maximum(longest, run, out=longest)
    return best


def _chosen(where: Array, one: Array, other: Array) -> Array:
    """Return one whole number or the other: numpy.where, in arithmetic that wraps, and faster."""
    difference = one - other
    difference *= where
    difference += other
    return difference
