"""Making maps larger: enlargement by a factor, and the inverse of max pooling."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from poolcli.kernels.views import Array, along, as_planes, from_planes
from poolcli.windows import Enlarged, Part, Window


def repeated(array: Array, axes: Sequence[int], windows: Sequence[Window]) -> Array:
    """Enlarge by repeating elements.

    >>> from poolcli.placing import enlarged
    >>> repeated(np.array([1, 2]), (0,), (enlarged(2, 2, linear=False),))
    array([1, 1, 2, 2])
    """
    for axis, window in zip(axes, windows, strict=True):
        whole, first, low = _placed(window)
        skipped = first - low * whole.factor
        repeated_whole = np.repeat(array, whole.factor, axis=axis)
        array = repeated_whole[along(axis, slice(skipped, skipped + window.output))]
    return array


def interpolated(array: Array, axes: Sequence[int], windows: Sequence[Window]) -> Array:
    """Enlarge linearly between elements, the outermost continued (align_corners=False).

    Output i lies at (i + ½)/factor - ½ (ATen/native/UpSample.h, area_pixel_compute_source_index).
    """
    wide = np.float64 if array.dtype.kind != "f" else np.promote_types(array.dtype, np.float32)
    array = array.astype(wide)
    for axis, window in zip(axes, windows, strict=True):
        whole, first, start = _placed(window)
        at = (np.arange(first, first + window.output) + 0.5) / whole.factor - 0.5
        at = np.maximum(at, 0)
        low = at.astype(np.int64)
        high = np.minimum(low + 1, whole.length - 1)
        share = (at - low).astype(wide).reshape([-1, *[1] * (array.ndim - axis - 1)])
        before, behind = np.take(array, low - start, axis), np.take(array, high - start, axis)
        array = before * (1 - share) + behind * share
    return array


def _placed(window: Window) -> tuple[Enlarged, int, int]:
    """Return an enlargement, the first output asked for, and the position of the first element."""
    if isinstance(window, Part):
        assert isinstance(window.whole, Enlarged)  # noqa: S101 - what an enlargement is bound to
        return window.whole, window.first, window.low
    assert isinstance(window, Enlarged)  # noqa: S101 - what an enlargement is bound to
    return window, 0, 0


def put_back(values: Array, places: Array, axes: Sequence[int], shape: Sequence[int]) -> Array:
    """Return zeros of ``shape`` with values where ``places``, flat over ``axes``, say.

    Where two values have one place, the last in row-major order stays.
    """
    rows, wheres = as_planes(values, axes), as_planes(places, axes)
    lengths = [shape[axis] for axis in axes]
    result = np.zeros((len(rows), prod(lengths)), values.dtype)
    flat = len(rows), prod(rows.shape[1:])
    np.put_along_axis(result, wheres.reshape(flat), rows.reshape(flat), axis=1)
    return from_planes(result.reshape(-1, *lengths), shape, axes)
