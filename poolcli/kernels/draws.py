"""Random numbers that depend on nothing but a seed, a stage's index, and an element's index.

Philox is a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011): the n-th number of a stream is a function of key and n alone, the same on every machine.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.random import Generator, Philox

from poolcli.kernels.views import Array

_PLACES: Final = 1 << 32
"""Streams from here on place fractional windows, those below draw elements."""
_AT_ONCE: Final = 4
"""Numbers that Philox gives for one value of its counter."""


def uniform(seed: int, stream: int, start: int, count: int) -> Array:
    """Return numbers in [0, 1) for the elements from ``start`` on of a result in row-major order.

    >>> uniform(0, 1, 0, 3).round(6), uniform(0, 1, 2, 1).round(6)
    (array([0.813354, 0.751331, 0.671649]), array([0.671649]))
    """
    generator = Philox(key=np.array([seed, stream], np.uint64))
    generator.advance(start // _AT_ONCE)
    skipped = start % _AT_ONCE
    return Generator(generator).random(skipped + count)[skipped:]


def window_samples(seed: int, stage: int, axes: int) -> list[float]:
    """Return the sample that places fractional windows along each axis."""
    return [float(sample) for sample in uniform(seed, _PLACES + stage, 0, axes)]
