"""How much memory a run takes, and how it is cut into parts that fit. Integers only, no NumPy."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import prod
from typing import Final

from poolcli.blocks import BLOCK, LONGEST, Frame, acted_axes, frame_of, is_short, processors
from poolcli.dtypes import ITEM_SIZES
from poolcli.errors import PlanError
from poolcli.plan import Plan, Step
from poolcli.windows import Sliding, Window

RUNNING: Final = frozenset({"max", "min", "avg", "sum", "lp", "gem", "avgmax", "pick"})
"""Operations whose windows may be longer than memory: a running total says all of them."""

_MOST_AT_ONCE: Final = 1 << 24
"""Bytes of input read at once: more gains nothing."""
_WORKED_IN: Final = {
    **dict.fromkeys(("lp", "gem", "blur", "conv"), 40),
    **dict.fromkeys(("soft", "stochastic", "median", "quantile", "majority"), 80),
}
"""Bytes that a thread works in for each element of its block, where these are widened or gathered
with their places; measured, and rounded up."""
_FOLDED_IN: Final = 16
"""The same where windows are folded, however long they are."""
_WEIGHT: Final = 40
"""Bytes that it takes to work out one weight of a window, which may be longer than its map."""
_POSITION: Final = 32
"""Bytes that it takes to say where one position of an axis has its value from."""


def _workspace(step: Step, frame: Frame, *, in_parts: bool) -> int:
    """Return how many bytes a thread works in, at most: a block, or one long window of a plane."""
    whole = prod(step.input_shape)
    block, aside = min(whole, BLOCK // 4), 0
    if step.stage.pads_with_values or any(map(_is_wide, step.windows)):
        block, aside = _with_padding(step, frame, block)
    if step.stage.op in ("blur", "conv"):
        aside += _WEIGHT * sum(window.kernel for window in step.windows)
    worked = _WORKED_IN.get(step.stage.op)
    if worked is None:
        return block * _FOLDED_IN + aside
    if in_parts and is_running(step, frame):
        # Its parts are counted where they come.
        return 0
    planes, length = prod(step.input_shape[: frame.lead]), step.input_shape[frame.cut]
    row = whole // max(1, planes * length)
    return max(block, min(length, _span(frame.window(step))) * row) * worked + aside


def _is_wide(window: Window) -> bool:
    """Whether a window is folded, but dilated to more positions than those others have."""
    return isinstance(window, Sliding) and is_short(window) and window.extent > LONGEST


def _with_padding(step: Step, frame: Frame, block: int) -> tuple[int, int]:
    """Return a block's elements with those of its padding, which may be many times as many.

    And the bytes that it takes to say where each position of an axis has its value from.
    """
    shape = list(step.input_shape)
    for axis, window in zip(step.axes, step.windows, strict=True):
        shape[axis] += sum(window.padding)
    block = block * prod(shape) // max(1, prod(step.input_shape))
    row = max(1, prod(shape[frame.cut + 1 :]))
    rows = min(shape[frame.cut], block // row + _span(frame.window(step)))
    return max(block, rows * row), _POSITION * (rows + sum(shape[frame.cut + 1 :]))


def needed_at_once(plan: Plan, saved: Collection[int]) -> int:
    """Return how many bytes it takes to run a plan over an array that is whole in memory."""
    held = prod(plan.shape) * ITEM_SIZES[plan.dtype]
    most = held
    kept = 0
    threads = processors()
    for step in plan.steps:
        carried = step.elements * ITEM_SIZES[step.carried]
        own = step.bytes if step.index in saved and step.carried != step.dtype else 0
        places = step.elements * 8 if step.index in plan.undone else 0
        kept += places
        work = _workspace(step, frame_of(step), in_parts=False)
        work *= min(threads, prod(step.shape[: frame_of(step).cut + 1]))
        most = max(most, held + carried + own + kept + work)
        held = carried
    return most


@dataclass(frozen=True, slots=True)
class Streaming:
    """How a plan is run in parts: the frame of all its steps, and how much is read at once."""

    plan: Plan
    frame: Frame
    planes: int
    rows: int
    needed: int
    """Bytes that this takes."""
    threads: int = 1
    """How many may work on it: each has buffers of its own."""


def streaming(plan: Plan, saved: Collection[int], memory: int) -> Streaming:
    """Return how to run a plan within ``memory`` bytes.

    Raises
    ------
    PlanError
        If it can't be done, with the reason.
    """
    for step in plan.steps:
        if step.undoes is not None or step.stage.samples is not None:
            raise PlanError(f"stage {step.index} ({step.stage}) needs its whole input in memory")
    ways = [_within(plan, frame, saved, memory) for frame in _frames(plan)]
    if not ways:
        raise PlanError("its convolution takes all channels, over which another stage slides")
    best = min(ways, key=lambda way: (way.needed > memory, way.frame.cut))
    if best.needed > memory:
        least = min(way.needed for way in ways)
        raise PlanError(f"the smallest part that it can be cut into takes {in_words(least)}")
    return best


def in_words(size: int) -> str:
    """Return a number of bytes as people write it, rounded up.

    >>> in_words(450), in_words(3 << 20), in_words(600 * 10**6)
    ('450 bytes', '3,072 KiB', '573 MiB')
    """
    for power, unit in enumerate(("bytes", "KiB")):
        if size < 10 << 10 * (power + 1):
            return f"{-(-size // (1 << 10 * power)):,} {unit}"
    return f"{-(-size // (1 << 20)):,} MiB"


def _frames(plan: Plan) -> Iterator[Frame]:
    """Yield the frames in which all steps can be cut.

    Never behind an axis that windows lie on: the order of a long sum along that one depends on
    whether it is the innermost with more than one element.
    """
    acted = [axes for step in plan.steps if (axes := acted_axes(step))]
    lead = min((axes[0] for axes in acted), default=0)
    first = min((min(step.axes) for step in plan.steps if step.axes), default=lead)
    mixing = any(step.stage.mixes_channels for step in plan.steps)
    for cut in range(lead, first + 1):
        if not (mixing and plan.layout[cut] == "C"):
            yield Frame(lead, cut)


def _within(plan: Plan, frame: Frame, saved: Collection[int], memory: int) -> Streaming:
    """Return the largest parts that fit, or the smallest there are."""
    buffers = max((_workspace(step, frame, in_parts=True) for step in plan.steps), default=0)
    threads = max(1, min(processors(), memory // 2 // max(1, buffers)))
    memory -= threads * buffers
    length = plan.shape[frame.cut]
    planes = prod(plan.shape[: frame.lead])
    row = prod(plan.shape) // max(1, planes * length) * ITEM_SIZES[plan.dtype]
    most = max(1, min(_MOST_AT_ONCE, memory // 8) // max(1, row))
    rows = min(length, most)
    while rows > 1 and _needed(plan, frame, saved, 1, rows) > memory:
        rows //= 2
    group = 1
    if rows == length:
        group = max(1, min(planes, most // max(1, length)))
        while group > 1 and _needed(plan, frame, saved, group, rows) > memory:
            group //= 2
    needed = _needed(plan, frame, saved, group, rows) + threads * buffers
    return Streaming(plan, frame, group, rows, needed, threads)


def _needed(plan: Plan, frame: Frame, saved: Collection[int], planes: int, rows: int) -> int:
    """Return how many bytes are held at once, at most, when so much is read at once."""

    def row_of(shape: tuple[int, ...], dtype: str) -> int:
        return (
            prod(shape)
            // max(1, prod(shape[: frame.lead]) * shape[frame.cut])
            * (ITEM_SIZES[dtype])
        )

    item = row_of(plan.shape, plan.dtype)
    # What is read next is read while this is computed.
    total = 2 * rows * item
    came, dtype = rows, plan.dtype
    for step in plan.steps:
        window = frame.window(step)
        if is_running(step, frame):
            elements = came * item // ITEM_SIZES[dtype]
            total += 3 * came * item + elements * _WORKED_IN.get(step.stage.op, 0)
            made = min(step.shape[frame.cut], came + 1)
            total += 4 * 8 * row_of(step.input_shape, step.carried) // ITEM_SIZES[step.carried]
        else:
            held = min(window.length, came + _span(window))
            if step.stage.pads_with_values and step.stage.padding_mode == "wrap":
                held = window.length
            # What was held and what came are joined.
            total += 2 * held * item
            made = min(window.output, _most_made(window, came))
        item, dtype = row_of(step.shape, step.carried), step.carried
        total += 2 * made * item
        if step.index in saved:
            total += 2 * made * row_of(step.shape, step.dtype)
        came = made
    return planes * total


def _span(window: Window) -> int:
    """Return how many positions a window takes in, from its first to its last."""
    return (window.kernel - 1) * window.dilation + 1 + max(window.padding)


def _most_made(window: Window, came: int) -> int:
    """Return how many outputs so many positions make, at most."""
    return -(-came * window.output // max(1, window.length)) + 2


def is_running(step: Step, frame: Frame) -> bool:
    """Whether a step's windows along the cut are totals that run, not rows that are held."""
    window = frame.window(step)
    if step.stage.op not in RUNNING or not step.axes or step.axes[0] != frame.cut:
        return False
    overlap = isinstance(window, Sliding) and window.step < window.extent and window.output > 1
    return not (is_short(window) or window.is_identity or overlap)
