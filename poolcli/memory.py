"""How much memory a run takes, and how it is cut into parts that fit. Integers only, no NumPy."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from poolcli.blocks import (
    BLOCK,
    GATHERED,
    Frame,
    acted_axes,
    frame_of,
    is_short,
    may_be_cut,
    outputs_at_once,
    processors,
    room_shape,
    row_size,
    tile_of,
)
from poolcli.dtypes import ITEM_SIZES
from poolcli.errors import PlanError
from poolcli.plan import Plan, Step
from poolcli.windows import Sliding, Window

TOTALLED: Final = frozenset({"max", "min", "avg", "sum", "lp", "gem", "avgmax", "pick"})
"""Operations of which a running total says all of the elements so far."""

_MOST_AT_ONCE: Final = 1 << 24
"""Bytes of input read at once: more gains nothing."""
_SMALL_BLOCK: Final = BLOCK >> 3
_LEAST_AT_ONCE: Final = 1 << 20
"""Bytes that are made at once where that does not take too much: less costs time."""
_FOLDED: Final = frozenset({"max", "min", "pick", "relu", "up", "unpool"})
"""Operations that work on elements as they are."""
_SUMMED: Final = frozenset({"avg", "sum", "avgmax"})
"""Operations that widen elements to sum them."""
_POWERS: Final = frozenset({"lp", "gem"})
_WEIGHED: Final = frozenset({"blur", "conv"})
_BUFFERS: Final = 5
"""Buffers of a fold: what is padded, two passes, what is left of them, halves."""
_FEW_BUFFERS: Final = 3
"""The same where windows share no element and see no padding."""
_SPLIT: Final = 3
"""More buffers of sums of the widest integers, which are made of two halves."""
_RAISED: Final = 2
"""More buffers of powers: what is widened, and what is raised."""
_WIDEST: Final = ("int64", "uint64", "float64")
"""Dtypes of results of the widest integers, of which sums are split in two, among others."""
_ROWS_AT_ONCE: Final = 1 << 17
"""Elements of long windows that are widened at once."""
_WIDE: Final = 8
"""Bytes of the floats and the integers that are computed in."""
_GATHERED_IN: Final = 80
"""Bytes that each gathered element is worked on in; measured."""
_WIRES: Final = 64
"""The longest window that is ranked by a network over whole arrays, each of them a wire."""
_WIRE: Final = 1 << 18
"""Bytes of a wire, at most."""
_DRAW: Final = 56
"""Bytes that it takes to draw a random number, and to hold it."""
_WEIGHT: Final = 40
"""Bytes that it takes to work out one weight of a window, which may be longer than its map."""
_POSITION: Final = 32
"""Bytes that it takes to say where one window, or one position of padding, has its values from."""


def _workspace(step: Step, frame: Frame, block: int = BLOCK) -> int:
    """Return how many bytes a thread works in, at most, for a block of a step's outputs."""
    stage, op = step.stage, step.stage.op
    whole = prod(room_shape(step))
    item, kept = ITEM_SIZES[step.carried], ITEM_SIZES[step.dtype]
    row = row_size(step, frame)
    rows = _span(frame.window(step)) + 1
    elements = min(whole, max(block // max(kept, min(item, 2)), row) + rows * row)
    own = 0 if op in _FOLDED else item
    aside = 0
    if stage.pads_with_values:
        aside = _POSITION * sum(sum(window.padding) for window in step.windows)
    if op in _WEIGHED:
        aside += _WEIGHT * sum(window.kernel for window in step.windows)
    apart = room_shape(step) == step.input_shape and all(map(_is_apart, step.windows))
    buffers = _FEW_BUFFERS if apart else _BUFFERS
    if op not in _FOLDED or op == "pick":
        aside += _POSITION * sum(min(window.output, elements) for window in step.windows)
    if stage.mixes_channels:
        tile = tile_of(step, frame)
        seen = row * min(step.input_shape[frame.cut], rows + tile * _stride(frame.window(step)))
        made = prod(step.shape[frame.lead :])
        made = made // max(1, step.shape[frame.cut]) * min(tile, step.shape[frame.cut])
        return (2 * seen + 3 * made) * _WIDE + aside
    if stage.is_linear:
        line = prod(step.shape) // max(1, step.shape[frame.cut] * prod(step.shape[: frame.lead]))
        made = min(step.elements, block // max(kept, min(item, 2)) + line)
        return made * (_WIDE * _FEW_BUFFERS + _POSITION) + aside
    if op in _FOLDED | _SUMMED and step.dtype not in _WIDEST and _is_reduced(step):
        # Reduced as it is, a few rows at a time.
        copied = 0 if frame.cut == frame.lead else elements * item
        made = elements // min(window.kernel for window in step.windows)
        return copied + (made * 2 + _ROWS_AT_ONCE * 4) * _WIDE + aside
    if op in _FOLDED:
        wide = 4 if step.carried == "float16" else item
        return elements * wide * buffers + aside
    if op in _SUMMED:
        split = _SPLIT if step.dtype in _WIDEST else 0
        return elements * (_WIDE * (_FEW_BUFFERS + split) + own) + aside
    if op in _POWERS or op in _WEIGHED:
        return elements * (_WIDE * (buffers + _RAISED) + own) + aside
    return _gathered(step, elements) + elements * (2 * _WIDE + own) + aside


def _gathered(step: Step, elements: int) -> int:
    """Return how many bytes gathered elements of windows are worked on in."""
    volume = prod(window.kernel for window in step.windows)
    outputs = min(step.elements, elements)
    gathered = max(volume, min(GATHERED, outputs * volume)) * _GATHERED_IN
    wires = 0
    if volume <= _WIRES:
        wires = volume * min(_WIRE, outputs * ITEM_SIZES[step.carried]) * 3
    draws = _DRAW * outputs if step.stage.op == "stochastic" else 0
    return max(gathered, wires) + draws


def _is_reduced(step: Step) -> bool:
    """Return whether all windows are long, and none is combined by shifts."""
    return bool(step.windows) and not any(
        is_short(window)
        or window.is_identity
        or (isinstance(window, Sliding) and not _is_apart(window) and window.output > 1)
        for window in step.windows
    )


def _stride(window: Window) -> int:
    return window.step if isinstance(window, Sliding) else 1


def _is_apart(window: Window) -> bool:
    return isinstance(window, Sliding) and window.step >= window.extent


def needed_at_once(plan: Plan, saved: Collection[int]) -> int:
    """Return how many bytes it takes to run a plan over an array that is whole in memory."""
    held = prod(plan.shape) * ITEM_SIZES[plan.dtype]
    most = held
    kept = 0
    threads, undone = processors(), plan.undone
    for step in plan.steps:
        carried = step.elements * ITEM_SIZES[step.carried]
        own = step.bytes if step.index in saved and step.carried != step.dtype else 0
        places = step.elements * 8 if step.index in undone else 0
        kept += places
        frame = frame_of(step)
        work = _workspace(step, frame)
        if step.index in undone:
            work += _gathered(step, BLOCK)
        work *= min(threads, prod(step.shape[: frame.cut + 1]))
        if step.undoes is not None:
            # Values, places and the result are copied to and from planes.
            work = held + prod(step.input_shape) * 8 + 2 * carried
        if step.stage.samples is not None:
            # It is done in one piece, a plane at a time.
            plane = prod(step.input_shape) // max(1, prod(step.input_shape[: min(step.axes)]))
            work = carried + plane * _WIDE * _BUFFERS + _gathered(step, plane)
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
    totalled: frozenset[int] = frozenset()
    """Indices of the steps that hold totals of their windows instead of rows."""
    threads: int = 1
    """How many may work on it: each has buffers of its own."""
    at_once: int = _MOST_AT_ONCE
    """Bytes of a step's outputs that are made at once, and of results that wait to be written."""
    block: int = BLOCK
    """Bytes that a thread works on at a time."""


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
    ways = [_within(plan, frame, saved, memory) for frame in frames(plan)]
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


def frames(plan: Plan) -> Iterator[Frame]:
    """Yield the frames in which all steps can be cut, the first axes first."""
    acted = [axes for step in plan.steps if (axes := acted_axes(step))]
    lead = min((axes[0] for axes in acted), default=0)
    for cut in range(lead, len(plan.shape)):
        if all(may_be_cut(step, cut) for step in plan.steps):
            yield Frame(lead, cut)


def may_be_totalled(step: Step, frame: Frame) -> bool:
    """Return whether totals can stand for the rows of a step's windows along the cut.

    They can for windows that don't overlap, or only their neighbours, and are not short: short ones
    are combined in another order. Padding that wraps needs the last rows first.
    """
    window = frame.window(step)
    if step.stage.op not in TOTALLED or frame.cut not in step.axes:
        return False
    wraps = step.stage.pads_with_values and step.stage.padding_mode == "wrap"
    overlap = isinstance(window, Sliding) and window.step < window.extent and window.output > 1
    return not (is_short(window) or window.is_identity or overlap or wraps)


def _within(plan: Plan, frame: Frame, saved: Collection[int], memory: int) -> Streaming:
    """Return the largest parts that fit, or the smallest there are."""
    able = [step for step in plan.steps if may_be_totalled(step, frame)]
    most = min(_MOST_AT_ONCE, memory // 8)
    # Rows that are held are worked on many windows at a time, and faster.
    long = [step for step in able if _bytes_of_window(step, frame) > most]
    ways = [
        _parted(
            plan, frame, saved, memory, _Manner(frozenset(step.index for step in steps), frugal)
        )
        for steps in (long, able)
        for frugal in (False, True)
    ]
    return next((way for way in ways if way.needed <= memory), ways[-1])


def _bytes_of_window(step: Step, frame: Frame) -> int:
    return _span(frame.window(step)) * row_size(step, frame) * ITEM_SIZES[step.carried]


@dataclass(frozen=True, slots=True)
class _Manner:
    """Which steps hold totals, and whether one thread works in small blocks, for little memory."""

    totalled: frozenset[int]
    frugal: bool


def _parted(
    plan: Plan, frame: Frame, saved: Collection[int], memory: int, manner: _Manner
) -> Streaming:
    """Return the largest parts that fit, or the smallest there are, in one manner."""
    held = [step for step in plan.steps if step.index not in manner.totalled]
    block = _SMALL_BLOCK if manner.frugal else BLOCK
    buffers = max((_workspace(step, frame, block) for step in held), default=0)
    fitting = 1 if manner.frugal else memory // 2 // max(1, buffers)
    threads = max(1, min(processors(), fitting))
    room = max(0, memory - threads * buffers)
    length = plan.shape[frame.cut]
    planes = prod(plan.shape[: frame.lead])
    row = prod(plan.shape) // max(1, planes * length) * ITEM_SIZES[plan.dtype]
    most = max(1, min(_MOST_AT_ONCE, room // 8) // max(1, row))

    # Towards the end, where padding follows, each of many steps may hold so much.
    share = room // (4 * len(plan.steps) + 4) if manner.frugal else room // 8
    least = min(_LEAST_AT_ONCE, share)

    def sized(rows: int, planes: int) -> Streaming:
        at_once = max(least, planes * rows * row)
        way = Streaming(plan, frame, planes, rows, 0, manner.totalled, threads, at_once, block)
        return replace(way, needed=_needed(way, saved) + threads * buffers)

    way = sized(min(length, most), 1)
    while way.rows > 1 and way.needed > memory:
        way = sized(way.rows // 2, 1)
    if way.rows == length:
        group = max(1, min(planes, most // max(1, length)))
        way = sized(length, group)
        while way.planes > 1 and way.needed > memory:
            way = sized(length, way.planes // 2)
    return way


def _needed(way: Streaming, saved: Collection[int]) -> int:
    """Return how many bytes are held at once, at most, in a run in parts.

    What a step makes goes through all others before it makes more, so that of one step at a time
    rows come and go; all others hold what is left of theirs.
    """
    plan, frame, planes = way.plan, way.frame, way.planes

    def row_of(shape: tuple[int, ...], dtype: str) -> int:
        return planes * prod(shape[frame.lead :]) // max(1, shape[frame.cut]) * ITEM_SIZES[dtype]

    item = row_of(plan.shape, plan.dtype)
    # What is read next is read while this is computed.
    held = 2 * way.rows * item
    most, waiting = 0, 0
    came = way.rows
    for step in plan.steps:
        window = frame.window(step)
        out, kept = row_of(step.shape, step.carried), row_of(step.shape, step.dtype)
        asked = step.index in saved
        if step.index in way.totalled:
            padded = planes * row_size(step, frame) * ITEM_SIZES[step.carried]
            lines = came + 2 * sum(window.padding) if step.stage.pads_with_values else came
            # The rows, and with them padding, stay until all windows have had theirs.
            held += lines * padded + 12 * _WIDE * padded // ITEM_SIZES[step.carried]
            wide = _TOTALS_IN.get(step.stage.op, _WIDE)
            at_work = lines * (padded + padded // ITEM_SIZES[step.carried] * wide)
            made = 1
        else:
            tail = 0 if window.is_identity else min(window.length, _span(window) + 1)
            if step.stage.pads_with_values and step.stage.padding_mode == "wrap":
                tail = window.length
            possible = min(window.output, _most_made(window, came))
            made = min(possible, outputs_at_once(step, frame, planes, way.at_once))
            # What was held and what came are joined.
            at_work = 2 * (tail + came) * item
            # While outputs that are made in turn go on, all rows stay.
            held += (tail + came if made < possible else tail) * item
        most = max(most, at_work + made * (out + (kept if asked else 0)))
        if asked:
            waiting = max(waiting, made * kept)
        item, came = out, made
    return held + most + (way.at_once + waiting if saved else 0)


_TOTALS_IN: Final = {"max": 4, "min": 4, "pick": 0, "lp": 48, "gem": 48, "avgmax": 24, "avg": 24}
"""Bytes that each element of long windows is worked on in, where totals are held."""


def _span(window: Window) -> int:
    """Return how many positions a window takes in, from its first to its last."""
    return (window.kernel - 1) * window.dilation + 1 + max(window.padding)


def _most_made(window: Window, came: int) -> int:
    """Return how many outputs so many positions make, at most."""
    if window.is_identity:
        return came
    return -(-came * window.output // max(1, window.length)) + 2
