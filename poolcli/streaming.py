"""Runs a plan over a map that arrives in parts, in bounded memory.

Rows of the map are pushed through the chain: each step holds what its next outputs still need,
computes the outputs that have become possible, hands them on, and forgets. Windows longer than
memory (global, adaptive) hold a running total instead of their rows. The work itself is the
engine's, and so are the bits of the results.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from poolcli import engine
from poolcli.blocks import Band, Frame, needed_inputs, tile_of
from poolcli.errors import RangeError
from poolcli.kernels.casts import Losses, Quotient
from poolcli.kernels.folding import CHUNK, accumulate, fold
from poolcli.kernels.reducers import REDUCERS
from poolcli.kernels.views import Array, View, along
from poolcli.memory import Streaming, is_running
from poolcli.plan import Step
from poolcli.threads import Future, Pool
from poolcli.windows import Sliding, Window

Read = Callable[[Frame, range, int, int], Array]
"""Reads some planes of the input, and of each the positions from low to high along the cut."""

Write = Callable[[Step, Frame, Band, Array], None]
"""Takes part of a step's saved result, in the frame, and where it belongs."""


def stream(  # noqa: PLR0913 - what is run, from where to where
    way: Streaming,
    read: Read,
    write: Write,
    saved: Collection[int],
    *,
    counted: bool = True,
    threads: int | None = None,
) -> dict[int, Losses]:
    """Run a plan in parts, and return what casting each step's result lost.

    Parameters
    ----------
    way
        How, by :func:`poolcli.memory.streaming`.
    read, write
        Where the input comes from and where results go, in any number of parts, in order.
    saved
        Indices of the steps whose results are asked for.
    counted
        Whether losses say what was rounded.
    threads
        How many to work on; by default as many as there are processors.
    """
    plan, frame = way.plan, way.frame
    threads = min(threads or way.threads, way.threads)
    length, planes = plan.shape[frame.cut], prod(plan.shape[: frame.lead])
    losses = {step.index: Losses() for step in plan.steps}
    groups = [
        range(start, min(start + way.planes, planes)) for start in range(0, planes, way.planes)
    ]
    parts = [
        (group, low, min(low + way.rows, length))
        for group in groups
        for low in range(0, length, way.rows)
    ]
    # One thread reads the next part, and one writes, while this one computes.
    with Pool(1) as reader, Pool(1) as writer:
        # As many as one part makes: the next part is computed while they are written.
        waiting = _Waiting(writer, write, len(saved))
        asked = _Asked(frame, saved, waiting.write, losses, counted, threads)
        coming = reader.submit(read, frame, *parts[0]) if parts else None
        chain: _Stage | None = None
        for number, (group, low, _) in enumerate(parts):
            assert coming is not None, "there are parts"  # noqa: S101
            rows = coming.result()
            if number + 1 < len(parts):
                coming = reader.submit(read, frame, *parts[number + 1])
            if low == 0:
                chain = None
                for step in reversed(plan.steps):
                    kind = _Running if is_running(step, frame) else _Held
                    chain = kind(step, asked, group, chain)
            if chain is not None:
                chain.push(rows)
        waiting.finish()
    return losses


class _Waiting:
    """Hands results to a writing thread, a few ahead at most, so that they don't pile up."""

    def __init__(self, writer: Pool, write: Write, most: int) -> None:
        self.writer, self.do, self.most = writer, write, most
        self.waiting: deque[Future[None]] = deque()

    def write(self, step: Step, frame: Frame, band: Band, array: Array) -> None:
        self.finish(self.most)
        self.waiting.append(self.writer.submit(self.do, step, frame, band, array))

    def finish(self, most: int = 0) -> None:
        """Wait until at most so many are left."""
        while len(self.waiting) > most:
            self.waiting.popleft().result()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What all steps of a run share."""

    frame: Frame
    saved: Collection[int]
    write: Write
    losses: dict[int, Losses]
    counted: bool
    threads: int | None


@dataclass
class _Stage:
    """A step that takes rows of its input in order, and hands on rows of its result."""

    step: Step
    asked: _Asked
    planes: range
    behind: _Stage | None

    def push(self, rows: Array) -> None:
        """Take the next rows of the input, in the frame."""
        raise NotImplementedError

    @cached_property
    def window(self) -> Window:
        """The window along the cut."""
        step, cut = self.step, self.asked.frame.cut
        placed = dict(zip(step.axes, engine.placed_windows(step), strict=True))
        return placed.get(cut, self.asked.frame.window(step))

    def outs(self, first: int, last: int) -> tuple[Array | None, Array | None]:
        """Return arrays for outputs in the carried and the saved dtype, as far as wanted."""
        step, frame = self.step, self.asked.frame
        shape = list(frame.shape(step.shape))
        shape[0], shape[frame.place] = len(self.planes), last - first
        save = step.index in self.asked.saved
        same = step.carried == step.dtype
        carry = self.behind is not None or (save and same)
        carried = np.empty(shape, step.carried) if carry else None
        return carried, np.empty(shape, step.dtype) if save and not same else None

    def hand_on(self, first: int, last: int, carried: Array | None, saved: Array | None) -> None:
        """Save outputs, and push them to the next step."""
        step, asked = self.step, self.asked
        if step.index in asked.saved:
            result = carried if saved is None else saved
            assert result is not None, "it was asked for"  # noqa: S101
            asked.write(step, asked.frame, Band(self.planes, first, last), result)
        if self.behind is not None and carried is not None:
            self.behind.push(carried)


@dataclass
class _Held(_Stage):
    """A step whose windows are short: it holds the rows that its next outputs need."""

    rows: Array | None = None
    base: int = 0
    done: int = 0

    def push(self, rows: Array) -> None:
        asked, place = self.asked, self.asked.frame.place
        self.rows = rows if self.rows is None else np.concatenate([self.rows, rows], axis=place)
        came = self.base + self.rows.shape[place]
        first, last = self.done, self._possible(came)
        if last == first:
            return
        carried, saved = self.outs(first, last)
        if carried is not None or saved is not None:
            with engine.said_of(self.step):
                lost = engine.fill(
                    self.step,
                    asked.frame,
                    engine.Held(self.rows, self.planes.start, self.base),
                    Band(self.planes, first, last),
                    carried=carried,
                    saved=saved,
                    counted=asked.counted,
                    threads=asked.threads,
                )
            asked.losses[self.step.index] += lost
        self.done = last
        # All that are still to come: reflected padding looks back.
        output = self.window.output
        keep = min(self._needs(last, output)[0], came) if last < output else came
        if keep > self.base:
            # A copy, so that the rows before it are freed.
            self.rows = self.rows[along(place, slice(keep - self.base, None))].copy()
            self.base = keep
        self.hand_on(first, last, carried, saved)

    def _needs(self, first: int, last: int) -> tuple[int, int]:
        """Return the input interval of some outputs."""
        stage = self.step.stage
        mode = stage.padding_mode if stage.pads_with_values else None
        return needed_inputs(self.window, (first, last), mode)

    def _possible(self, came: int) -> int:
        """Return up to which output all windows lie in the rows that came."""
        window = self.window
        if came == window.length:
            return window.output
        if isinstance(window, Sliding) and not self.step.stage.pads_with_values:
            last = (came + window.begin - window.extent) // window.step + 1
        else:
            # What the outputs from the next one on need never shrinks.
            last = self.done + bisect_right(
                range(self.done, window.output),
                came,
                key=lambda output: self._needs(self.done, output + 1)[1],
            )
        if last >= window.output:
            return window.output
        # Products of matrices are made for so many outputs at a time, wherever it is cut.
        last -= last % tile_of(self.step, self.asked.frame)
        return max(last, self.done)


@dataclass
class _Running(_Stage):
    """A step whose windows along the cut are long: it holds a total for each that is open."""

    came: int = 0
    open: dict[int, _Totals] = field(default_factory=dict)
    started: int = 0

    def push(self, rows: Array) -> None:
        place, window = self.asked.frame.place, self.window
        low, high = self.came, self.came + rows.shape[place]
        self.came = high
        while self.started < window.output and (
            window.positions(self.started)[0] < high or high == window.length
        ):
            self.open[self.started] = _Totals(self.started)
            self.started += 1
        for index, totals in list(self.open.items()):
            present = window.present(index)
            step = present.step
            first = max(0, -(-(low - present.start) // step)) if present else 0
            last = min(len(present), -(-(high - present.start) // step)) if present else 0
            part = rows[along(place, slice(0, 0))]
            if first < last:
                start = present.start + first * step - low
                stop = present.start + (last - 1) * step - low + 1
                part = rows[along(place, slice(start, stop, step))]
            ends = not present or present[-1] < high
            self._add(totals, part, ends=ends)
            if ends:
                del self.open[index]

    def _add(self, totals: _Totals, rows: Array, *, ends: bool) -> None:
        step, asked = self.step, self.asked
        place = asked.frame.place
        if totals.pending is not None:
            rows = np.concatenate([totals.pending, rows], axis=place)
            totals.pending = None
        if prod(rows.shape[place + 1 :]) == 1 and not ends:
            # Rows of one element are summed by chunks, which begin where the window does.
            whole = rows.shape[place] // CHUNK * CHUNK
            totals.pending = rows[along(place, slice(whole, None))].copy()
            rows = rows[along(place, slice(0, whole))]
        if not rows.shape[place] and not ends:
            return
        index = totals.index
        with engine.said_of(step), np.errstate(all="ignore"):
            result = self._reduced(totals, rows, ends=ends)
        if not ends or result is None:
            return
        carried, saved = self.outs(index, index + 1)
        if carried is not None or saved is not None:
            lost = engine.put(step, result, carried, saved, counted=asked.counted)
            asked.losses[step.index] += lost
        self.hand_on(index, index + 1, carried, saved)

    def _reduced(self, totals: _Totals, rows: Array, *, ends: bool) -> Array | Quotient | None:
        """Add rows to a window's totals, and return the result if these were the last."""
        step, frame = self.step, self.asked.frame
        axes = frame.axes(step)
        others = engine.placed_windows(step)[1:]
        if step.stage.op == "pick":
            if totals.first is None and rows.shape[frame.place]:
                totals.first = rows[along(frame.place, slice(0, 1))].copy()
            if not ends or totals.first is None:
                return None
            view = View(totals.first, axes, (Sliding(1, 1, 1, 1), *others))
            return REDUCERS["pick"](view, step.stage)
        _, _, window = self.window.part(totals.index, totals.index + 1)
        totals.parts += 1
        totals.turn.clear()
        view = _RunningView(rows, axes, (window, *others), totals=totals)
        try:
            return REDUCERS[step.stage.op](view, step.stage)
        except RangeError:
            # What a part of a window overflows, the rest may bring back.
            if ends:
                raise
            return None


@dataclass(slots=True)
class _Totals:
    """What is known so far of one window: a total for every fold that its operation asks for."""

    index: int
    parts: int = 0
    totals: dict[tuple[Any, ...], Array] = field(default_factory=dict)
    times: dict[tuple[Any, ...], int] = field(default_factory=dict)
    turn: dict[tuple[Any, ...], int] = field(default_factory=dict)
    pending: Array | None = None
    first: Array | None = None


@dataclass(frozen=True, slots=True)
class _RunningView(View):
    """A view of some rows of one long window, whose folds go on from those of the rows before.

    An operation asks each part for the same folds; what it makes of them counts at the last.
    """

    totals: _Totals = field(default_factory=lambda: _Totals(0))

    @property
    def is_running(self) -> bool:
        return True

    def fold(
        self,
        combine: np.ufunc,
        identity: float,
        *,
        dtype: DTypeLike | None = None,
        out: Array | None = None,  # noqa: ARG002 - a view's signature
    ) -> Array:
        wide = self.array.dtype if dtype is None else np.dtype(dtype)
        kind = (combine, wide)
        turn = self.totals.turn[kind] = self.totals.turn.get(kind, 0) + 1
        key = (*kind, turn)
        times = self.totals.times[key] = self.totals.times.get(key, 0) + 1
        if times != self.totals.parts:
            raise RangeError("too small or too large to be added up in parts: raise --memory")
        axis, *axes = self.axes
        _, *windows = self.windows
        shape = self.array.shape
        rows = self.array.reshape(prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))
        total = self.totals.totals.get(key)
        if total is None and not rows.shape[1]:
            total = np.full((rows.shape[0], rows.shape[2]), identity, wide)
        total = accumulate(total, rows, combine, wide)
        self.totals.totals[key] = total
        one = total.reshape(*shape[:axis], 1, *shape[axis + 1 :])
        return fold(one, axes, windows, combine, identity, dtype=wide).copy()

    def reduce_with(self, *_: Any, **__: Any) -> Array:
        raise RangeError("too small or too large to be added up in parts: raise --memory")
