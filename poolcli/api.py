"""The Python entrance: arrays in, arrays out, by the same plan and engine as the command line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from math import prod
from operator import index
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from poolcli import engine
from poolcli.dtypes import ITEM_SIZES, check_dtype
from poolcli.errors import PlanError
from poolcli.kernels import enlargement
from poolcli.kernels.casts import cast
from poolcli.kernels.views import Array
from poolcli.layouts import layout_of, spatial_axes
from poolcli.plan import Plan, as_chain, plan_chain
from poolcli.stages import Chain, Stage


def pool(
    x: ArrayLike,
    *specs: str | Stage | Chain,
    layout: str | None = None,
    dtype: DTypeLike | None = None,
) -> Array:
    """Pool an array through a chain of stages.

    Parameters
    ----------
    x
        A feature map of 1 to 5 axes, bool, integer or floating; it is never changed.
    specs
        Stage specs, stages or chains, in order.
    layout
        Letters N, C, D, H, W; by default W, HW, CHW, NCHW or NCDHW by the number of axes.
    dtype
        Cast the result: rounded half to even, saturated, NaN as 0.

    Returns
    -------
    numpy.ndarray
        A new array in the input's layout, as its ``.npy`` would hold it. Of integers, ``max``,
        ``min`` and ``pick`` keep the dtype, ``sum`` gives 64 bits, other operations float32
        (float64 from 32-bit integers up). Floats keep their dtype.

    Raises
    ------
    SpecError
        If a spec, the layout or the dtype can't be read.
    PlanError
        If the chain does not fit the array.
    RangeError
        If an integer sum does not fit in 64 bits.

    Examples
    --------
    >>> import numpy as np
    >>> pool(np.arange(16).reshape(4, 4), "max:2")
    array([[ 5,  7],
           [13, 15]])
    >>> pool([[1, 2, 3, 4]], "avg:1x3,stride=2,pad=0x1,ceil", dtype="float32")
    array([[1., 3., 2.]], dtype=float32)
    """
    wanted = None if dtype is None else _dtype_name(dtype)
    array, plan = _planned(x, specs, layout)
    if not plan.steps:
        kept, _ = cast(array, wanted or plan.dtype)
        return kept.copy() if np.may_share_memory(kept, array) else kept
    last = plan.steps[-1]
    if wanted is not None:
        plan = replace(plan, steps=(*plan.steps[:-1], replace(last, dtype=wanted)))
    results = [
        result.array for result in engine.run(plan, array, saved={last.index}, counted=False)
    ]
    assert results[-1] is not None, "the last was asked for"  # noqa: S101 - narrows it
    return results[-1]


def pool_with_indices(
    x: ArrayLike, spec: str | Stage, *, layout: str | None = None
) -> tuple[Array, Array]:
    """Take maxima, and say where they were found.

    Parameters
    ----------
    x
        A feature map of 1 to 5 axes; it is never changed.
    spec
        A ``max`` stage, with any kind of window.
    layout
        Letters N, C, D, H, W; by default W, HW, CHW, NCHW or NCDHW by the number of axes.

    Returns
    -------
    y, indices
        The maxima, and for each its flat index in its own plane (over the axes that the windows are
        on, padding not counted), as PyTorch's ``return_indices``; int64. The first of a tie.

    Raises
    ------
    PlanError
        If the stage is not a maximum, or does not fit the array.

    Examples
    --------
    >>> y, indices = pool_with_indices([[1, 2, 9], [3, 4, 0], [8, 0, 0]], "max:2,stride=1")
    >>> y.tolist(), indices.tolist()
    ([[4, 9], [8, 4]], [[4, 2], [6, 4]])
    """
    array, plan = _planned(x, (spec,), layout)
    if [step.stage.op for step in plan.steps] != ["max"]:
        raise PlanError(f"{spec}: only a single max stage has indices")
    step = plan.steps[0]
    array = np.ascontiguousarray(array).reshape(array.shape)
    values = [result.array for result in engine.run(plan, array)]
    assert values[0] is not None, "all were asked for"  # noqa: S101 - narrows it
    return values[0], engine.find_places(step, array)


def unpool(
    y: ArrayLike, indices: ArrayLike, shape: Iterable[int], *, layout: str | None = None
) -> Array:
    """Put pooled values back to where they were found, and zeros elsewhere.

    Parameters
    ----------
    y
        Pooled values.
    indices
        Of ``y``'s shape: where each was found, flat in its plane of spatial axes.
    shape
        Shape of the result, in the same layout.
    layout
        Letters N, C, D, H, W; by default W, HW, CHW, NCHW or NCDHW by the number of axes.

    Returns
    -------
    numpy.ndarray
        A new array of ``shape`` in the dtype of ``y``. Where two values have one place, the last in
        row-major order stays.

    Raises
    ------
    PlanError
        If the shapes don't agree, or an index lies outside its plane.

    Examples
    --------
    >>> unpool([[4]], [[2]], (2, 2))
    array([[0, 0],
           [4, 0]])
    """
    values, places = _array(y), _array(indices)
    try:
        whole = tuple(index(length) for length in shape)
    except TypeError:
        raise PlanError(f"shape {shape!r}: expected whole numbers, as (3, 224, 224)") from None
    axes = spatial_axes(layout_of(values.ndim, layout))
    others = [axis for axis in range(values.ndim) if axis not in axes]
    if values.shape != places.shape or len(whole) != values.ndim:
        raise PlanError(f"values {values.shape}, indices {places.shape}, shape {whole} don't agree")
    if any(length < 0 for length in whole):
        raise PlanError(f"shape {whole}: lengths can't be negative")
    if any(values.shape[axis] != whole[axis] for axis in others):
        raise PlanError(f"values {values.shape} and shape {whole} differ beside the spatial axes")
    plane = prod(whole[axis] for axis in axes)
    if places.dtype.kind not in "iu":
        raise PlanError(f"indices are whole numbers, not {places.dtype}")
    if not ((places >= 0) & (places < plane)).all():
        raise PlanError(f"indices lie outside a plane of {plane} elements")
    return enlargement.put_back(values, places.astype(np.int64), axes, whole)


_NATIVE: Final = {np.dtype(name): name for name in ITEM_SIZES}
"""Dtypes in the machine's byte order, and their names, which NumPy takes long to tell."""


def _dtype_name(dtype: DTypeLike) -> str:
    try:
        return check_dtype(np.dtype(dtype).name)
    except TypeError:
        return check_dtype(str(dtype))


def _array(x: ArrayLike) -> Array:
    """Return numbers as an array in the machine's byte order."""
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise PlanError(f"not an array: {' '.join(str(error).split())}") from error
    if array.dtype in _NATIVE:
        return array
    if array.dtype.name not in ITEM_SIZES:
        raise PlanError(f"dtype {array.dtype} can't be pooled: known are {', '.join(ITEM_SIZES)}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _planned(
    x: ArrayLike, specs: Iterable[str | Stage | Chain], layout: str | None
) -> tuple[Array, Plan]:
    """Return an array in the machine's byte order, and the plan of a chain for it."""
    array = _array(x)
    specs = tuple(specs)
    if all(isinstance(spec, str) for spec in specs):
        known = _known_plan(specs, array.shape, layout, _NATIVE[array.dtype])
        if known is not None:
            return array, known
    return array, plan_chain(
        as_chain(specs), array.shape, layout=layout, dtype=_NATIVE[array.dtype]
    )


@lru_cache(maxsize=256)
def _known_plan(
    specs: tuple[str | Stage | Chain, ...], shape: tuple[int, ...], layout: str | None, dtype: str
) -> Plan | None:
    """Return the plan of a chain that depends on nothing else, as on the headers of files."""
    chain = as_chain(specs)
    if any(stage.files for stage in chain):
        return None
    return plan_chain(chain, shape, layout=layout, dtype=dtype)
