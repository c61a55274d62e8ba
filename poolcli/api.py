"""The Python entrance: arrays in, arrays out, by the same plan and engine as the command line."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from poolcli import engine
from poolcli.dtypes import ITEM_SIZES, check_dtype
from poolcli.errors import PlanError
from poolcli.kernels.casts import cast
from poolcli.kernels.views import Array
from poolcli.plan import as_chain, plan_chain
from poolcli.stages import Chain, Stage


def pool(
    x: ArrayLike, *specs: str | Stage | Chain, layout: str | None = None, dtype: str | None = None
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
    array = np.asarray(x)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.name not in ITEM_SIZES:
        raise PlanError(f"dtype {array.dtype} can't be pooled: known are {', '.join(ITEM_SIZES)}")
    if dtype is not None:
        check_dtype(dtype)
    plan = plan_chain(as_chain(specs), array.shape, layout=layout, dtype=array.dtype.name)
    result, target = array.copy(), plan.dtype
    for step, carried in engine.run(plan, array):
        result, target = carried, step.dtype
    return cast(result, dtype or target)[0]
