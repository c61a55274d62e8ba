"""Random numbers that depend on nothing but a seed, a stage's index, and an element's index.

Philox is a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011): the n-th number of a stream is a function of key and n alone, the same on every machine.
"""

from __future__ import annotations

from math import prod
from typing import Final

import numpy as np
from numpy.random import Generator, Philox

from poolcli.kernels.views import Array

_PLACES: Final = 1 << 32
"""Streams from here on place fractional windows, those below draw elements."""


def uniform(seed: int, stream: int, shape: tuple[int, ...]) -> Array:
    """Return numbers in [0, 1) for each element of a result, in row-major order.

    >>> uniform(0, 1, (2,)).round(6), uniform(0, 1, (3,))[:2].round(6)
    (array([0.813354, 0.751331]), array([0.813354, 0.751331]))
    """
    key = np.array([seed, stream], np.uint64)
    return Generator(Philox(key=key)).random(prod(shape)).reshape(shape)


def window_samples(seed: int, stage: int, axes: int) -> list[float]:
    """Return the sample that places fractional windows along each axis."""
    return [float(sample) for sample in uniform(seed, _PLACES + stage, (axes,))]
