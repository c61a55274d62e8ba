"""Runs a plan over an array."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from poolcli.errors import PlanError, RangeError
from poolcli.kernels.reducers import REDUCERS
from poolcli.kernels.views import Array, View, padded_with_values
from poolcli.plan import Plan, Step


def run(plan: Plan, array: Array) -> Iterator[tuple[Step, Array]]:
    """Yield each step of a plan with its result in the carried dtype, in order.

    Parameters
    ----------
    plan
        Worked out for this array's shape and dtype.
    array
        The input; it is never changed.

    Raises
    ------
    PlanError
        If the plan is for another shape or dtype.
    RangeError
        If an integer sum does not fit in 64 bits.
    """
    if array.shape != plan.shape or array.dtype.name != plan.dtype:
        raise PlanError(
            f"the plan is for {plan.dtype} {plan.shape}, the array is {array.dtype} {array.shape}"
        )
    for step in plan.steps:
        try:
            array = apply(step, array)
        except RangeError as error:
            raise RangeError(f"stage {step.index} ({step.stage}): {error}") from error
        yield step, array


def apply(step: Step, array: Array) -> Array:
    """Return the result of one step in its carried dtype, always a new array."""
    if not step.stage.can_run:
        raise PlanError(f"stage {step.index} ({step.stage}): without weights it can't be run")
    # Overflow to infinity and arithmetic with it are results, not accidents.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if step.stage.op == "relu":
            result = np.maximum(array, np.zeros((), array.dtype))
        else:
            view = View(array, step.axes, step.windows)
            if step.stage.pads_with_values:
                view = padded_with_values(view, step.stage.pad_mode)
            result = REDUCERS[step.stage.op](view, step.stage)
        return result.astype(step.carried, copy=np.shares_memory(result, array))
