"""What a picture's numbers stand for: amounts of light, and how much of them alpha lets through.

Numbers are stored by a curve that spends more of them on the dark, so that their mean is not the
mean of the light, and beside alpha, so that the colour of what can't be seen counts. The curve is
sRGB's transfer function (IEC 61966-2-1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from poolcli.kernels.views import Array

_SLOPE: Final = 12.92
_OFFSET: Final = 0.055
_EXPONENT: Final = 2.4
_DARK: Final = 0.04045
"""Up to here the curve is a line. The standard rounds the other end of it, and so parts the two
directions by 2e-8; here one undoes the other."""

_CLEAR: Final = 1e-5
"""Alpha as small as this is what rounding left of none, or gem's epsilon."""


@dataclass(frozen=True, slots=True)
class Light:
    """Whether to work in linear light, and whether with colours multiplied by alpha.

    ``white`` is the greatest number of the picture, whose range is kept: 0 and white stay what they
    are. Where there is ``alpha``, it is the last channel, and no light.

    >>> linear = Light(linear=True, premultiply=False, white=255, alpha=False)
    >>> linear.encode(linear.decode(np.array([0, 100, 255], np.uint8))).round(9)
    array([  0., 100., 255.])
    """

    linear: bool
    premultiply: bool
    white: int
    alpha: bool

    def decode(self, array: Array) -> Array:
        """Return what stored integers stand for, in float64."""
        light = _lights(self.white) if self.linear else np.arange(self.white + 1, dtype=np.float64)
        if not self.alpha:
            return np.asarray(light[array])
        decoded = np.empty(array.shape)
        decoded[..., :-1] = light[array[..., :-1]]
        decoded[..., -1] = array[..., -1]
        if self.premultiply:
            decoded[..., :-1] *= decoded[..., -1:] / self.white
        return decoded

    def encode(self, array: Array) -> Array:
        """Return numbers as they are stored, in float64, not rounded.

        Colours that alpha was multiplied into are divided by it, and 0 where it is 0, or infinite
        as of a window without elements.
        """
        encoded = array.copy()
        colours = encoded[..., :-1] if self.alpha else encoded
        if self.alpha and self.premultiply:
            alpha = encoded[..., -1:] / self.white
            clear = (np.abs(encoded[..., -1:]) <= _CLEAR) | np.isinf(alpha)
            clear = np.broadcast_to(clear, colours.shape)
            np.divide(colours, alpha, out=colours, where=~clear)
            colours[clear] = 0
        if self.linear:
            colours[...] = self.white * from_light(colours / self.white)
        return encoded


@lru_cache(maxsize=2)
def _lights(white: int) -> Array:
    """Return the light of every stored number, in the same range."""
    return white * to_light(np.arange(white + 1) / white)


def to_light(stored: Array) -> Array:
    """Return the light, 0 to 1, that stored numbers, 0 to 1, stand for; odd, and on above 1.

    >>> to_light(np.array([0.0, 0.5, 1.0, -0.5])).round(6)
    array([ 0.      ,  0.214041,  1.      , -0.214041])
    """
    size = np.abs(stored)
    bright = ((size + _OFFSET) / (1 + _OFFSET)) ** _EXPONENT
    return np.copysign(np.where(size <= _DARK, size / _SLOPE, bright), stored)


def from_light(light: Array) -> Array:
    """Return the stored numbers that stand for light: :func:`to_light` undone.

    >>> from_light(np.array([0.0, 0.5, 1.0, -0.5])).round(6)
    array([ 0.      ,  0.735357,  1.      , -0.735357])
    """
    size = np.abs(light)
    bright = (1 + _OFFSET) * size ** (1 / _EXPONENT) - _OFFSET
    return np.copysign(np.where(size <= _DARK / _SLOPE, size * _SLOPE, bright), light)
