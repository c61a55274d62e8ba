"""Runs a plan over an array: every step in blocks that fit the cache, on threads.

No result depends on blocks or threads: a block's outputs are computed from the input they need, by
windows that are the map's own (:meth:`poolcli.windows.Window.part`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from typing import Final

import numpy as np

from poolcli.blocks import (
    BLOCK,
    Band,
    Frame,
    bands,
    frame_of,
)
from poolcli.errors import PlanError, RangeError, SpecError
from poolcli.kernels import convolution, enlargement
from poolcli.kernels.casts import Losses, Quotient, cast
from poolcli.kernels.draws import uniform, window_samples
from poolcli.kernels.padding import padded
from poolcli.kernels.reducers import REDUCERS, maximum_places
from poolcli.kernels.views import Array, View, along
from poolcli.plan import Plan, Step
from poolcli.threads import on_threads
from poolcli.windows import Fractional, Window


@dataclass(frozen=True, slots=True)
class Result:
    """A step's saved result, None where it was not asked for, and what casting it lost."""

    step: Step
    array: Array | None
    losses: Losses


def run(
    plan: Plan,
    array: Array,
    *,
    saved: Collection[int] | None = None,
    counted: bool = True,
    threads: int | None = None,
) -> Iterator[Result]:
    """Yield each step of a plan with its result as it is saved, in order.

    Parameters
    ----------
    plan
        Worked out for this array's shape and dtype.
    array
        The input; it is never changed. A result may share its memory where a step changes nothing.
    saved
        Indices of the steps whose results are asked for; by default all.
    counted
        Whether losses say what was rounded, which takes time.
    threads
        How many to work on; by default as many as there are processors.

    Raises
    ------
    PlanError
        If the plan is for another shape or dtype.
    RangeError
        If an integer sum does not fit in 64 bits.
    """
    if array.shape != plan.shape or array.dtype != plan.dtype:
        raise PlanError(
            f"the plan is for {plan.dtype} {plan.shape}, the array is {array.dtype} {array.shape}"
        )
    array = np.ascontiguousarray(array).reshape(array.shape)
    places: dict[int, Array] = {}
    undone = plan.undone
    for step in plan.steps:
        asked = saved is None or step.index in saved
        with said_of(step):
            if step.index in undone:
                places[step.index] = find_places(step, array, threads=threads)
            if step.undoes is not None:
                found = places.pop(step.undoes)
                array = enlargement.put_back(array, found, step.axes, step.shape)
                kept, losses = cast(array, step.dtype) if asked else (None, Losses())
            else:
                last = step is plan.steps[-1]
                carried, kept, losses = _run_step(
                    step, array, carry=not last, save=asked, counted=counted, threads=threads
                )
                array = array if carried is None else carried
        yield Result(step, kept, losses)


class said_of:  # noqa: N801 - reads as a statement
    """Errors inside say the step that they are of."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, RangeError | SpecError):
            step = self.step
            raise type(error)(f"stage {step.index} ({step.stage}): {error}") from error


def _run_step(  # noqa: PLR0913 - what is wanted of a step
    step: Step, array: Array, *, carry: bool, save: bool, counted: bool, threads: int | None
) -> tuple[Array | None, Array | None, Losses]:
    """Return a step's result in its carried dtype, in its saved one, and what the cast lost."""
    same = step.carried == step.dtype
    carried = np.empty(step.shape, step.carried) if carry or (save and same) else None
    kept = np.empty(step.shape, step.dtype) if save and not same else None
    losses = Losses()
    if carried is not None or kept is not None:
        frame = frame_of(step)
        shape = frame.shape(step.shape)
        losses = fill(
            step,
            frame,
            Held(array.reshape(frame.shape(array.shape))),
            whole_band(step, frame),
            carried=None if carried is None else carried.reshape(shape),
            saved=None if kept is None else kept.reshape(shape),
            counted=counted,
            threads=threads,
        )
    return carried, (carried if same else kept) if save else None, losses


@dataclass(frozen=True, slots=True)
class Held:
    """A part of a step's input, in a frame, its first plane and first position along the cut."""

    array: Array
    plane: int = 0
    base: int = 0

    def planes(self, planes: range) -> Held:
        """Return some of the planes."""
        rows = slice(planes.start - self.plane, planes.stop - self.plane)
        return Held(self.array[rows], planes.start, self.base)

    def along(self, axis: int, low: int, high: int) -> Array:
        """Return the elements from position ``low`` up to but not ``high`` along the cut."""
        return self.array[along(axis, slice(low - self.base, high - self.base))]


@dataclass(frozen=True, slots=True)
class _Task:
    """A step in the frame that it is cut in, and what all its blocks share."""

    step: Step
    frame: Frame
    axes: tuple[int, ...]
    """The axes within a plane that windows lie on."""
    windows: tuple[Window, ...]
    """The windows there, placed."""
    alone: tuple[bool, ...]

    @classmethod
    def of(cls, step: Step, frame: Frame) -> _Task:
        placed = placed_windows(step)
        acting = tuple(placed[place] for place in frame.acting(step)) if placed else ()
        return cls(step, frame, frame.axes(step), acting, frame.lone(step) if placed else ())


def fill(  # noqa: PLR0913 - what to compute, of what, and where to put it
    step: Step,
    frame: Frame,
    source: Held,
    whole: Band,
    *,
    carried: Array | None,
    saved: Array | None,
    counted: bool = True,
    threads: int | None = None,
    block: int | None = None,
) -> Losses:
    """Compute a band of a step's outputs into arrays, in blocks, on threads.

    Parameters
    ----------
    step, frame
        What to compute; all arrays have the frame's axes.
    source
        What the band needs of the input, at least.
    whole
        The band.
    carried, saved
        Where its outputs go in the step's carried and saved dtype; None where not wanted.
    counted
        Whether losses say what was rounded.
    threads
        How many to work on; by default as many as there are processors.
    block
        Bytes that a thread works on at a time.

    Returns
    -------
    Losses
        What casts to the saved dtype lost.
    """
    if not step.stage.can_run:
        raise PlanError(f"stage {step.index} ({step.stage}): without weights it can't be run")
    task = _Task.of(step, frame)
    losses: list[Losses] = []

    def compute(band: Band) -> None:
        where = _place_in(frame, whole, band)
        outs = [None if out is None else out[where] for out in (carried, saved)]
        losses.append(_compute(task, source.planes(band.planes), band, *outs, counted=counted))

    work = list(bands(step, frame, whole, block or BLOCK))
    # Waking a second thread costs as much as a block or two that are soon done.
    soon = _is_light(step) and step.elements <= prod(step.input_shape) // 2
    on_threads(compute, work, threads if len(work) >= (4 if soon else 2) else 1)
    return sum(losses, Losses())


def _is_light(step: Step) -> bool:
    """Whether a step does little more than read its input."""
    return step.stage.op in {"max", "min", "avg", "sum", "pick", "relu"}


def _place_in(frame: Frame, whole: Band, band: Band) -> tuple[slice, ...]:
    """Return the index of a band in an array that holds a larger one."""
    first = whole.planes.start
    planes = slice(band.planes.start - first, band.planes.stop - first)
    outputs = slice(band.first - whole.first, band.last - whole.first)
    return (planes, *along(frame.place - 1, outputs))


def _compute(  # noqa: PLR0913 - a block, and where it goes
    task: _Task,
    source: Held,
    band: Band,
    carried: Array | None,
    saved: Array | None,
    *,
    counted: bool,
) -> Losses:
    """Compute one block."""
    # Overflow to infinity and arithmetic with it are results, not accidents.
    with np.errstate(all="ignore"):
        result = _result(task, source, band, saved if carried is None else carried)
        return put(task.step, result, carried, saved, counted=counted)


def put(
    step: Step,
    result: Array | Quotient,
    carried: Array | None,
    saved: Array | None,
    *,
    counted: bool,
) -> Losses:
    """Put what a reducer gave where it goes, in the carried and the saved dtype."""
    losses = _put(step, result, carried, saved, counted=counted)
    for array in (carried, saved):
        if array is not None and array.dtype.kind == "f":
            _settle(step, array)
    return losses


def _settle(step: Step, array: Array) -> None:
    """Give zeros and NaN the one sign that no order of arithmetic decides, in place.

    Of 0 and -0 the greater is whichever a processor's instruction takes, and so is a NaN's sign.
    """
    facts = step.stage.operation
    signed = facts.compares or facts.family == "plain"
    if array.dtype == np.float16:
        # Half precision has no fast arithmetic; its bits have.
        bits = array.view(np.uint16)
        if signed:
            bits[bits == _NEGATIVE_ZERO] = 0
        if facts.name not in _COPIES or step.stage.is_linear:
            bits[(bits & _MAGNITUDE) > _INFINITY] = _NAN
        return
    if signed:
        array += 0.0
    if facts.name in _COPIES and not step.stage.is_linear:
        return
    # A maximum passes NaN on, and is the quickest way to find one.
    if array.size and np.isnan(array.max()):
        array[np.isnan(array)] = np.nan


_NEGATIVE_ZERO, _MAGNITUDE, _INFINITY, _NAN = 0x8000, 0x7FFF, 0x7C00, 0x7E00
"""Numbers of half precision as their bits."""
_COPIES: Final = ("pick", "up", "unpool")
"""Operations that move elements and change none."""


def _put(
    step: Step,
    result: Array | Quotient,
    carried: Array | None,
    saved: Array | None,
    *,
    counted: bool,
) -> Losses:
    if isinstance(result, Quotient):
        if carried is not None:
            carried[...] = result.real()
        return Losses() if saved is None else result.cast(saved, counted=counted)
    if carried is not None and result is not carried:
        np.copyto(carried, result, casting="unsafe")
    if saved is None or result is saved:
        return Losses()
    value = result.astype(step.carried, copy=False) if carried is None else carried
    narrow, losses = cast(value, step.dtype)
    saved[...] = narrow
    return losses


def find_places(step: Step, array: Array, *, threads: int | None = None) -> Array:
    """Return where each window's maximum stands, as a flat index over the windowed axes."""
    frame = frame_of(step)
    task = _Task.of(step, frame)
    places = np.empty(step.shape, np.int64)
    framed = places.reshape(frame.shape(step.shape))
    source = Held(array.reshape(frame.shape(array.shape)))
    whole = whole_band(step, frame)

    def compute(band: Band) -> None:
        if step.stage.samples is not None:
            for part, view in _views_with_samples(task, source, band):
                framed[part] = maximum_places(view)
            return
        view = _view(task, source.planes(band.planes), band, None, located=True)
        framed[_place_in(frame, whole, band)] = maximum_places(view)

    on_threads(compute, list(bands(step, frame, whole, BLOCK)), threads)
    return places


def whole_band(step: Step, frame: Frame) -> Band:
    """Return the band that is a step's whole result."""
    return Band(range(frame.shape(step.shape)[0]), 0, step.shape[frame.cut] if step.shape else 1)


def _result(task: _Task, source: Held, band: Band, target: Array | None) -> Array | Quotient:
    step, stage = task.step, task.step.stage
    if stage.op == "relu":
        part = source.along(task.frame.place, band.first, band.last)
        out = target if target is not None and target.dtype == part.dtype else None
        return np.asarray(np.maximum(part, np.zeros((), part.dtype), out=out))
    if stage.samples is not None:
        result = np.empty(task.frame.shape(step.shape), step.carried)
        for where, seen in _views_with_samples(task, source, band):
            reduced = REDUCERS[stage.op](seen, stage)
            result[where] = reduced.real() if isinstance(reduced, Quotient) else reduced
        return result
    view = _view(task, source, band, target)
    if stage.op == "up":
        enlarge = enlargement.interpolated if stage.is_linear else enlargement.repeated
        return enlarge(view.array, view.axes, view.windows)
    if stage.operation.family == "convolution":
        return _convolved(step, task.frame, view)
    return REDUCERS[stage.op](view, stage)


def _view(
    task: _Task, source: Held, band: Band, target: Array | None, *, located: bool = False
) -> View:
    """Return what a band's outputs need of the source, seen through their windows.

    ``located`` says that the places of elements in the whole map are needed, too.
    """
    place, stage, axes, windows = task.frame.place, task.step.stage, task.axes, task.windows
    array = source.array
    if place not in axes:
        array = source.along(place, band.first, band.last)
    local: dict[int, Window] = {}
    sources: dict[int, Array | int] = {}
    # The cut comes first, so that no more than the block is padded along others.
    for axis, window in sorted(zip(axes, windows, strict=True), key=lambda on: on[0] != place):
        span = (band.first, band.last) if axis == place else (0, window.output)
        base = source.base if axis == place else 0
        if stage.pads_with_values:
            part = padded(window, span, stage.padding_mode)
            array = part.taken(array, axis, base)
            local[axis] = part.window
            sources[axis] = part.positions if located else 0
        elif span == (0, window.output) and window.needed(*span) == (0, array.shape[axis]):
            local[axis], sources[axis] = window, 0
        else:
            low, high, local[axis] = window.part(*span)
            array = array[along(axis, slice(low - base, high - base))]
            sources[axis] = low
    # In one order in memory, on which the order of a sum may depend.
    array = np.ascontiguousarray(array)
    draws = _draws(task, band) if stage.operation.key("seed") else None
    lengths = tuple(window.length for window in windows)
    seen = tuple(local[axis] for axis in axes)
    places = tuple(sources[axis] for axis in axes)
    return View(array, axes, seen, draws, places, lengths, target, task.alone)


def _draws(task: _Task, band: Band) -> Array:
    """Return a random number for each output of a band, by its index in the whole result."""
    place, shape = task.frame.place, task.frame.shape(task.step.shape)
    before, inner = prod(shape[1:place]), prod(shape[place + 1 :])
    height = band.last - band.first
    draws = np.empty((len(band.planes), before, height * inner))
    seed = int(task.step.stage.option("seed"))
    for row, plane in enumerate(band.planes):
        for at in range(before):
            start = ((plane * before + at) * shape[place] + band.first) * inner
            draws[row, at] = uniform(seed, task.step.index, start, height * inner)
    return draws.reshape(len(band.planes), *shape[1:place], height, *shape[place + 1 :])


def _convolved(step: Step, frame: Frame, view: View) -> Array:
    stage = step.stage
    own = dict(stage.own)
    if "filter" in own:
        return convolution.filtered(view, str(own["filter"]))
    from poolcli.files.weights import load

    dtype = convolution.working_dtype(view.array.dtype).name
    return convolution.convolved(
        view,
        step.layout.index("C") - frame.lead + 1,
        load(str(own["weights"]), dtype),
        load(str(own["bias"]), dtype) if "bias" in own else None,
        int(stage.option("groups")),
    )


def placed_windows(step: Step) -> tuple[Window, ...]:
    """Return a step's windows, fractional ones placed by a draw for the whole map.

    One draw, so that channels stay aligned.
    """
    stage = step.stage
    if stage.placement != "fractional" or stage.samples is not None:
        return step.windows
    seed = int(dict(stage.own).get("seed", stage.seed))
    return _sampled(step.windows, window_samples(seed, step.index, len(step.windows)))


def _views_with_samples(
    task: _Task, source: Held, band: Band
) -> Iterator[tuple[tuple[slice, ...], View]]:
    """Yield the index of each plane of batch and channel, and its view.

    Its windows are placed by PyTorch's samples, a row for each plane.
    """
    from poolcli.files.weights import load

    step = task.step
    path = str(step.stage.samples)
    rows = load(path)
    if rows.dtype.kind != "f" or not ((rows >= 0) & (rows < 1)).all():
        raise SpecError(f"samples={path}: expected floats from 0 up to but not 1")
    draws = _draws(task, band) if step.stage.operation.key("seed") else None
    for batch, channel in np.ndindex(*rows.shape[:2]):
        part = [slice(None)] * (1 + len(step.layout))
        for letter, at in (("N", batch), ("C", channel)):
            if letter in step.layout:
                part[1 + step.layout.index(letter)] = slice(at, at + 1)
        where = tuple(part)
        windows = _sampled(step.windows, _in_axis_order(rows[batch, channel]))
        drawn = None if draws is None else draws[where]
        array = np.ascontiguousarray(source.array[where])
        yield where, View(array, task.frame.axes(step), windows, drawn)


def _in_axis_order(row: Array) -> list[float]:
    """Return PyTorch's samples of a plane in D, H, W order: in two dimensions it has W first."""
    return list(row[::-1]) if len(row) == 2 else list(row)  # noqa: PLR2004 - FractionalMaxPool2d


def _sampled(windows: tuple[Window, ...], samples: list[float]) -> tuple[Window, ...]:
    return tuple(
        replace(window, sample=sample) if isinstance(window, Fractional) else window
        for window, sample in zip(windows, samples, strict=True)
    )


def _keep_freed_memory() -> None:
    """Make freed memory stay with the process, up to 64 MiB: to fault it in anew takes time.

    The C library keeps blocks of up to the size of the largest that it ever gave back (glibc's
    dynamic mmap threshold, at most 32 MiB). This one is never touched, and costs nothing.
    """
    with suppress(MemoryError):
        np.empty(31 << 20, np.uint8)


_keep_freed_memory()
