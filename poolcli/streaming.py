"""Runs a plan over a map that arrives in parts, in bounded memory.

Rows of the map are pushed through the chain: each step holds what its next outputs still need,
computes the outputs that have become possible, hands them on, and forgets. Where windows are longer
than memory, a step holds a running total instead of their rows. The work itself is the engine's,
and so are the bits of the results.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np

from poolcli import engine
from poolcli.blocks import Band, Frame, needed_inputs, outputs_at_once, tile_of, with_room
from poolcli.errors import RangeError
from poolcli.kernels import long_windows
from poolcli.kernels.casts import Losses, Quotient
from poolcli.kernels.padding import Padded, PaddedRows, padded
from poolcli.kernels.reducers import REDUCERS
from poolcli.kernels.totals import RunningView, Totals
from poolcli.kernels.views import Array, View, along
from poolcli.memory import Streaming
from poolcli.plan import Plan, Step
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
        How many to work on, at most; by default as many as the memory allows.
    """
    plan, frame = way.plan, way.frame
    threads = min(threads or way.threads, way.threads)
    plan, frame = way.plan, way.frame
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
        waiting = _Waiting(writer, write, way.at_once)
        asked = _Asked(way, saved, waiting.write, losses, counted, threads)
        coming = deque([reader.submit(read, frame, *parts[0])] if parts else ())
        chain: list[_Stage] = []
        for number, (group, low, _) in enumerate(parts):
            rows = [coming.popleft().result()]
            if number + 1 < len(parts):
                coming.append(reader.submit(read, frame, *parts[number + 1]))
            if low == 0:
                chain = _chain(plan, asked, group)
            if chain:
                _push(chain, rows)
        waiting.finish()
    return losses


def _chain(plan: Plan, asked: _Asked, planes: range) -> list[_Stage]:
    """Return the steps of a plan, ready for the first rows of some planes."""
    last = plan.steps[-1:]
    return [
        (_Running if step.index in asked.way.totalled else _Held)(
            step, asked, planes, is_last=step in last
        )
        for step in plan.steps
    ]


def _push(chain: Sequence[_Stage], rows: list[Array]) -> None:
    """Push rows through a chain: what a step makes of them goes through all others at once.

    ``rows`` is a list of one, which gives them away, so that nobody holds them longer than needed.
    """
    at_work = [chain[0].push(rows)]
    while at_work:
        made = [each for each in (next(at_work[-1], None),) if each is not None]
        if not made:
            at_work.pop()
        elif len(at_work) < len(chain):
            at_work.append(chain[len(at_work)].push(made))


class _Waiting:
    """Hands results to a writing thread, a few bytes ahead at most, so that they don't pile up."""

    def __init__(self, writer: Pool, write: Write, most: int) -> None:
        self.writer, self.do, self.most = writer, write, most
        self.waiting: deque[tuple[Future[None], int]] = deque()
        self.size = 0

    def write(self, step: Step, frame: Frame, band: Band, array: Array) -> None:
        self.finish(self.most)
        self.waiting.append((self.writer.submit(self.do, step, frame, band, array), array.nbytes))
        self.size += array.nbytes

    def finish(self, most: int = 0) -> None:
        """Wait until at most so many bytes are left."""
        while self.waiting and self.size >= most:
            written, size = self.waiting.popleft()
            self.size -= size
            written.result()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What all steps of a run share."""

    way: Streaming
    saved: Collection[int]
    write: Write
    losses: dict[int, Losses]
    counted: bool
    threads: int | None

    @property
    def frame(self) -> Frame:
        return self.way.frame


@dataclass
class _Stage:
    """A step that takes rows of its input in order, and makes rows of its result."""

    step: Step
    asked: _Asked
    planes: range
    is_last: bool = False

    def push(self, rows: list[Array]) -> Iterator[Array]:
        """Take the next rows of the input, in the frame, and yield those of the result.

        ``rows`` is a list of one, from which they are taken.
        """
        raise NotImplementedError

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """The windows that act within a plane."""
        placed = engine.placed_windows(self.step)
        return tuple(placed[place] for place in self.asked.frame.acting(self.step))

    @cached_property
    def window(self) -> Window:
        """The window along the cut."""
        frame = self.asked.frame
        placed = dict(zip(frame.axes(self.step), self.windows, strict=True))
        return placed.get(frame.place, frame.window(self.step))

    def outs(self, first: int, last: int) -> tuple[Array | None, Array | None]:
        """Return arrays for outputs in the carried and the saved dtype, as far as wanted."""
        step, frame = self.step, self.asked.frame
        shape = list(frame.shape(step.shape))
        shape[0], shape[frame.place] = len(self.planes), last - first
        save = step.index in self.asked.saved
        same = step.carried == step.dtype
        carry = not self.is_last or (save and same)
        carried = np.empty(shape, step.carried) if carry else None
        return carried, np.empty(shape, step.dtype) if save and not same else None

    def handed_on(
        self, first: int, last: int, carried: Array | None, saved: Array | None
    ) -> list[Array]:
        """Save outputs, and return them as the next step takes them, if there is one."""
        step, asked = self.step, self.asked
        if step.index in asked.saved:
            result = carried if saved is None else saved
            assert result is not None, "it was asked for"  # noqa: S101
            asked.write(step, asked.frame, Band(self.planes, first, last), result)
        return [] if self.is_last or carried is None else [carried]


@dataclass
class _Held(_Stage):
    """A step that holds the rows of its input that its next outputs need."""

    rows: list[Array] = field(default_factory=list)
    """Not joined before they are enough: a window may take many parts."""
    base: int = 0
    came: int = 0
    done: int = 0

    def push(self, rows: list[Array]) -> Iterator[Array]:
        place = self.asked.frame.place
        self.rows.append(rows.pop())
        self.came += self.rows[-1].shape[place]
        last = self._possible()
        height = self._height
        for first in range(self.done, last, height):
            if len(self.rows) > 1:
                self.rows = [np.concatenate(self.rows, axis=place)]
            made = self._made(first, min(first + height, last))
            self.done = min(first + height, last)
            if self.done == last:
                self._forget()
            while made:
                yield made.pop()
        if last <= self.done:
            self._forget()

    @property
    def _height(self) -> int:
        """How many outputs are made at once."""
        return outputs_at_once(
            self.step, self.asked.frame, len(self.planes), self.asked.way.at_once
        )

    def _made(self, first: int, last: int) -> list[Array]:
        asked = self.asked
        carried, saved = self.outs(first, last)
        if carried is not None or saved is not None:
            with engine.said_of(self.step):
                lost = engine.fill(
                    self.step,
                    asked.frame,
                    engine.Held(self.rows[0], self.planes.start, self.base),
                    Band(self.planes, first, last),
                    carried=carried,
                    saved=saved,
                    counted=asked.counted,
                    threads=asked.threads,
                    block=asked.way.block,
                )
            asked.losses[self.step.index] += lost
        return self.handed_on(first, last, carried, saved)

    def _forget(self) -> None:
        """Let go of rows that no output still to come needs; reflected padding looks back."""
        place, output = self.asked.frame.place, self.window.output
        keep = (
            min(self._needs(self.done, output)[0], self.came) if self.done < output else self.came
        )
        # Whole parts first: between windows that leave gaps, and behind the last, none is needed.
        while self.rows and self.base + self.rows[0].shape[place] <= keep:
            self.base += self.rows.pop(0).shape[place]
        if keep > self.base:
            # A copy, so that the rows before it are freed.
            self.rows[0] = self.rows[0][along(place, slice(keep - self.base, None))].copy()
            self.base = keep

    def _needs(self, first: int, last: int) -> tuple[int, int]:
        """Return the input interval of some outputs."""
        stage = self.step.stage
        mode = stage.padding_mode if stage.pads_with_values else None
        return needed_inputs(self.window, (first, last), mode)

    def _possible(self) -> int:
        """Return up to which output all windows lie in the rows that came."""
        window = self.window
        if self.came == window.length:
            return window.output
        if isinstance(window, Sliding) and not self.step.stage.pads_with_values:
            last = (self.came + window.begin - window.extent) // window.step + 1
        else:
            # What the outputs from the next one on need never shrinks.
            last = self.done + bisect_right(
                range(self.done, window.output),
                self.came,
                key=lambda output: self._needs(self.done, output + 1)[1],
            )
        if last >= window.output:
            return window.output
        # Products of matrices are made for so many outputs at a time, wherever it is cut.
        last -= last % tile_of(self.step, self.asked.frame)
        return max(last, self.done)


@dataclass
class _Running(_Stage):
    """A step with long windows along the cut: it holds a total for each that is open."""

    came: int = 0
    open: dict[int, Totals] = field(default_factory=dict)
    started: int = 0

    @cached_property
    def padding(self) -> PaddedRows | None:
        """What makes padding of the rows, where it holds their values."""
        stage, frame = self.step.stage, self.asked.frame
        if not stage.pads_with_values:
            return None
        window, mode = self.window, stage.padding_mode
        return PaddedRows(window, mode, frame.place, self.asked.way.rows)

    @cached_property
    def padded(self) -> tuple[Padded | None, ...]:
        """How each axis is padded with its values; None for the cut, of which rows come."""
        stage, frame = self.step.stage, self.asked.frame
        axes = frame.axes(self.step)
        return tuple(
            padded(window, (0, window.output), stage.padding_mode)
            if stage.pads_with_values and axis != frame.place
            else None
            for axis, window in zip(axes, self.windows, strict=True)
        )

    @cached_property
    def cut(self) -> Window:
        """The window along the cut, over the rows as they come, padding of values among them."""
        return self.window if self.padding is None else with_room(self.window)[0]

    def push(self, rows: list[Array]) -> Iterator[Array]:
        for padded_rows in self._padded(rows):
            yield from self._pushed([padded_rows])

    def _padded(self, rows: list[Array]) -> Iterator[Array]:
        """Yield rows with their padding, where that holds values of the map."""
        array = rows.pop()
        if self.padding is None:
            yield array
            return
        for axis, part in zip(self.asked.frame.axes(self.step), self.padded, strict=True):
            if part is not None:
                array = part.taken(array, axis, 0)
        yield from self.padding.add(array)

    def _pushed(self, rows: list[Array]) -> Iterator[Array]:
        place, window = self.asked.frame.place, self.cut
        array = rows.pop()
        low, high = self.came, self.came + array.shape[place]
        self.came = high
        while self.started < window.output and (
            window.positions(self.started)[0] < high or high == window.length
        ):
            self.open[self.started] = Totals(self.started)
            self.started += 1
        for index, totals in list(self.open.items()):
            present = window.present(index)
            step = present.step
            first = max(0, -(-(low - present.start) // step)) if present else 0
            last = min(len(present), -(-(high - present.start) // step)) if present else 0
            part = array[along(place, slice(0, 0))]
            if first < last:
                start = present.start + first * step - low
                stop = present.start + (last - 1) * step - low + 1
                part = array[along(place, slice(start, stop, step))]
            ends = not present or present[-1] < high
            made = self._add(totals, part, ends=ends)
            if ends:
                del self.open[index]
            while made:
                yield made.pop()

    def _add(self, totals: Totals, rows: Array, *, ends: bool) -> list[Array]:
        step, asked = self.step, self.asked
        place = asked.frame.place
        if totals.pending is not None:
            rows = np.concatenate([totals.pending, rows], axis=place)
            totals.pending = None
        if self._is_alone and not ends:
            # Rows of one element are summed by chunks, which begin where the window does.
            whole = rows.shape[place] // long_windows.CHUNK * long_windows.CHUNK
            totals.pending = rows[along(place, slice(whole, None))].copy()
            rows = rows[along(place, slice(0, whole))]
        if not rows.shape[place] and not ends:
            return []
        index = totals.index
        with engine.said_of(step), np.errstate(all="ignore"):
            result = self._reduced(totals, rows, ends=ends)
            if not ends or result is None:
                return []
            carried, saved = self.outs(index, index + 1)
            if carried is not None or saved is not None:
                lost = engine.put(step, result, carried, saved, counted=asked.counted)
                asked.losses[step.index] += lost
        return self.handed_on(index, index + 1, carried, saved)

    @cached_property
    def _is_alone(self) -> bool:
        frame = self.asked.frame
        return frame.lone(self.step)[frame.axes(self.step).index(frame.place)]

    def _over(self, window: Window) -> tuple[Window, ...]:
        """Return the windows along all axes, one along the cut put in its place."""
        cut = self.asked.frame.axes(self.step).index(self.asked.frame.place)
        others = [
            own if part is None else part.window
            for own, part in zip(self.windows, self.padded, strict=True)
        ]
        return (*others[:cut], window, *others[cut + 1 :])

    def _reduced(self, totals: Totals, rows: Array, *, ends: bool) -> Array | Quotient | None:
        """Add rows to a window's totals, and return the result if these were the last."""
        step, frame = self.step, self.asked.frame
        axes = frame.axes(step)
        if step.stage.op == "pick":
            if totals.first is None and rows.shape[frame.place]:
                totals.first = rows[along(frame.place, slice(0, 1))].copy()
            if not ends or totals.first is None:
                return None
            view = View(totals.first, axes, self._over(Sliding(1, 1, 1, 1)))
            return REDUCERS["pick"](view, step.stage)
        _, _, window = self.cut.part(totals.index, totals.index + 1)
        totals.parts += 1
        totals.turn.clear()
        view = RunningView(
            rows,
            axes,
            self._over(window),
            alone=frame.lone(step),
            totals=totals,
            cut=axes.index(frame.place),
        )
        try:
            return REDUCERS[step.stage.op](view, step.stage)
        except RangeError:
            # What a part of a window overflows, the rest may bring back.
            if ends:
                raise
            return None
