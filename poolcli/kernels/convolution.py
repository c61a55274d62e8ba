"""Convolution as networks do it, which is correlation: weights are not flipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final

import numpy as np

from poolcli.kernels.reducers import binomial
from poolcli.kernels.views import Array, View, along, taken
from poolcli.windows import Sliding

_FLAT: Final = {
    "laplacian": ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
    "sharpen": ((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
    "sobel-x": ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    "sobel-y": ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
    "emboss": ((-2, -1, 0), (-1, 1, 1), (0, 1, 2)),
}


def _identity(size: int) -> Array:
    weights = np.zeros(size)
    weights[(size - 1) // 2] = 1
    return weights


def _box(size: int) -> Array:
    return np.full(size, 1 / size)


_SEPARABLE: Final[dict[str, Callable[[int], Array]]] = {
    "identity": _identity,
    "box": _box,
    "gaussian": binomial,
}


def filtered(view: View, name: str) -> Array:
    """Correlate every channel with a built-in filter.

    >>> from poolcli.placing import sliding
    >>> row = View(np.array([[0.0, 9.0, 0.0]]), (1,), (sliding(3, 3, 1, begin=1, end=1),))
    >>> filtered(row, "box")
    array([[3., 3., 3.]])
    """
    wide = view.on(view.array.astype(np.float64))
    if name in _SEPARABLE:
        return wide.weigh(_SEPARABLE[name])
    result = np.zeros(view.shape)
    windows = [window for window in view.windows if isinstance(window, Sliding)]
    for tap, weight in np.ndenumerate(np.array(_FLAT[name], np.float64)):
        if weight:
            target, part = _meeting(result, wide.array, view.axes, windows, tap)
            target += part * weight
    return result


def convolved(view: View, channels: int, weights: Array, bias: Array | None, groups: int) -> Array:
    """Convolve a map's channels with weights (out, in/groups, kernel…).

    One matrix product per tap of the kernel: (out, in) by (in, positions).
    """
    dtype = working_dtype(view.array.dtype)
    array = np.moveaxis(view.array, (channels, *view.axes), _inner(view)).astype(dtype)
    lead = array.shape[: array.ndim - len(view.axes) - 1]
    lengths = [window.output for window in view.windows]
    result = np.zeros((*lead, len(weights), *lengths), dtype)
    axes = tuple(range(array.ndim - len(view.axes), array.ndim))
    windows = [window for window in view.windows if isinstance(window, Sliding)]
    grouped = weights.astype(dtype, copy=False).reshape(groups, -1, *weights.shape[1:])
    for tap in np.ndindex(*weights.shape[2:]):
        target, part = _meeting(result, array, axes, windows, tap)
        flat = part.reshape(*lead, groups, weights.shape[1], prod(part.shape[len(lead) + 1 :]))
        products = grouped[(..., *tap)] @ flat
        target += products.reshape(target.shape)
    if bias is not None:
        result += bias.astype(dtype, copy=False).reshape(-1, *[1] * len(view.axes))
    return np.moveaxis(result, _inner(view), (channels, *view.axes))


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that products of a map's elements are computed in.

    >>> working_dtype(np.dtype("uint8")), working_dtype(np.dtype("float16"))
    (dtype('float64'), dtype('float32'))
    """
    return np.promote_types(dtype, np.float32) if dtype.kind == "f" else np.dtype(np.float64)


def _inner(view: View) -> tuple[int, ...]:
    """Places of the channels and the windowed axes when they are moved to the end."""
    return tuple(range(-len(view.axes) - 1, 0))


def _meeting(
    result: Array,
    array: Array,
    axes: Sequence[int],
    windows: Sequence[Sliding],
    tap: tuple[int, ...],
) -> tuple[Array, Array]:
    """Return the outputs that one tap of the kernel reaches, and the inputs that it meets there."""
    for axis, window, at in zip(axes, windows, tap, strict=True):
        result = result[along(axis, slice(*window.reach(at)))]
        array = array[along(axis, taken(window, at))]
    return result, array
