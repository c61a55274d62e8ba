"""Runs a plan over an array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from poolcli.errors import PlanError, RangeError, SpecError
from poolcli.kernels import convolution, enlargement
from poolcli.kernels.draws import uniform, window_samples
from poolcli.kernels.reducers import REDUCERS, maximum_places
from poolcli.kernels.views import Array, View, padded_with_values
from poolcli.plan import Plan, Step
from poolcli.windows import Fractional, Window


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
    # In one order in memory, on which the order of a sum depends.
    array = np.ascontiguousarray(array).reshape(array.shape)
    places: dict[int, Array] = {}
    for step in plan.steps:
        try:
            if step.index in plan.undone:
                places[step.index] = find_places(step, array)
            if step.undoes is not None:
                found = places.pop(step.undoes)
                array = enlargement.put_back(array, found, step.axes, step.shape)
            else:
                array = apply(step, array)
        except (RangeError, SpecError) as error:
            raise type(error)(f"stage {step.index} ({step.stage}): {error}") from error
        yield step, array


def apply(step: Step, array: Array) -> Array:
    """Return the result of one step in its carried dtype, always a new array."""
    if not step.stage.can_run:
        raise PlanError(f"stage {step.index} ({step.stage}): without weights it can't be run")
    # Overflow to infinity and arithmetic with it are results, not accidents.
    with np.errstate(all="ignore"):
        result = _computed(step, array)
        return result.astype(step.carried, copy=np.may_share_memory(result, array))


def find_places(step: Step, array: Array) -> Array:
    """Return where each window's maximum stands, as a flat index over the windowed axes."""
    places = np.empty(step.shape, np.int64)
    for part, windows in _placed(step):
        places[part] = maximum_places(_view(step, array[part], windows))
    return places


def _computed(step: Step, array: Array) -> Array:
    stage = step.stage
    if stage.op == "relu":
        return np.maximum(array, np.zeros((), array.dtype))
    if stage.op == "up":
        enlarge = enlargement.interpolated if stage.is_linear else enlargement.repeated
        return enlarge(array, step.axes, step.windows)
    if stage.operation.family == "convolution":
        return _convolved(step, array)
    draws = None
    if stage.operation.key("seed"):
        draws = uniform(int(stage.option("seed")), step.index, step.shape)
    results = [
        (part, REDUCERS[stage.op](_view(step, array[part], windows, draws, part), stage))
        for part, windows in _placed(step)
    ]
    if stage.samples is None:
        return results[0][1]
    whole = np.empty(step.shape, step.carried)
    for part, result in results:
        whole[part] = result
    return whole


def _view(
    step: Step,
    array: Array,
    windows: tuple[Window, ...],
    draws: Array | None = None,
    part: tuple[slice, ...] = (),
) -> View:
    view = View(array, step.axes, windows, None if draws is None else draws[part])
    if step.stage.pads_with_values:
        return padded_with_values(view, step.stage.padding_mode)
    return view


def _convolved(step: Step, array: Array) -> Array:
    stage = step.stage
    view = _view(step, array, step.windows)
    own = dict(stage.own)
    if "filter" in own:
        return convolution.filtered(view, str(own["filter"]))
    from poolcli.files.weights import load

    return convolution.convolved(
        view,
        step.layout.index("C"),
        load(str(own["weights"])),
        load(str(own["bias"])) if "bias" in own else None,
        int(stage.option("groups")),
    )


def _placed(step: Step) -> Iterator[tuple[tuple[slice, ...], tuple[Window, ...]]]:
    """Yield parts of a map with the windows on them: where all are alike, the whole map.

    Fractional windows are placed here: by a draw for the whole map, so that channels stay aligned,
    or by PyTorch's samples, a row for each plane of batch and channel.
    """
    stage = step.stage
    if stage.placement != "fractional":
        yield (slice(None),), step.windows
        return
    if stage.samples is None:
        seed = int(dict(stage.own).get("seed", stage.seed))
        samples = window_samples(seed, step.index, len(step.windows))
        yield (slice(None),), _sampled(step.windows, samples)
        return
    from poolcli.files.weights import load

    rows = load(stage.samples)
    if rows.dtype.kind != "f" or not ((rows >= 0) & (rows < 1)).all():
        raise SpecError(f"samples={stage.samples}: expected floats from 0 up to but not 1")
    for batch, channel in np.ndindex(*rows.shape[:2]):
        part = [slice(None)] * len(step.layout)
        for letter, at in (("N", batch), ("C", channel)):
            if letter in step.layout:
                part[step.layout.index(letter)] = slice(at, at + 1)
        yield tuple(part), _sampled(step.windows, _in_axis_order(rows[batch, channel]))


def _in_axis_order(row: Array) -> list[float]:
    """Return PyTorch's samples of a plane in D, H, W order: in two dimensions it has W first."""
    return list(row[::-1]) if len(row) == 2 else list(row)  # noqa: PLR2004 - FractionalMaxPool2d


def _sampled(windows: tuple[Window, ...], samples: list[float]) -> tuple[Window, ...]:
    return tuple(
        replace(window, sample=sample) if isinstance(window, Fractional) else window
        for window, sample in zip(windows, samples, strict=True)
    )
