"""How a step's work is cut into parts: which planes, which outputs, and the input these need.

A map is seen as planes: its leading axes, on which nothing of a step lies, are one axis of planes
that don't touch each other. Of a plane, outputs are taken in bands along the first windowed axis.
Integers only, no NumPy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from poolcli.dtypes import ITEM_SIZES
from poolcli.operations import PadMode
from poolcli.plan import Step
from poolcli.windows import Sliding, Window

Shape = tuple[int, ...]

BLOCK: Final = 1 << 21
"""Bytes of input or output worked on at once: large beside Python's own cost per call, and small
enough to stay in the caches."""
GATHERED: Final = 1 << 17
"""Elements of windows that a thread gathers at once, where these are reduced together."""
LONGEST: Final = 64
"""Sliding windows of up to so many positions are folded all at once, others one by one."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Which axes are planes (the first ``lead``), and along which a plane is cut.

    Arrays in a frame have the shape (planes, the other axes…).
    """

    lead: int
    cut: int

    @property
    def place(self) -> int:
        """The axis of an array in this frame that bands are cut along."""
        return self.cut - self.lead + 1

    def shape(self, whole: Shape) -> Shape:
        """Return a map's shape in this frame."""
        return (prod(whole[: self.lead]), *whole[self.lead :])

    def acting(self, step: Step) -> tuple[int, ...]:
        """Return which of a step's windows act within a plane, by their places among its windows.

        Others lie on axes of planes, where they change nothing.
        """
        return tuple(place for place, axis in enumerate(step.axes) if axis >= self.lead)

    def axes(self, step: Step) -> tuple[int, ...]:
        """Return the axes of an array in this frame that a step's windows lie on."""
        return tuple(axis - self.lead + 1 for axis in step.axes if axis >= self.lead)

    def lone(self, step: Step) -> tuple[bool, ...]:
        """Return for each of these axes whether a row along it is one element of the map.

        On that depends the order of a long sum, which therefore follows from the map alone, not
        from how it is cut.
        """
        lengths = list(padded_shape(step))
        for axis, window in zip(step.axes, step.windows, strict=True):
            # Where layouts turn the axes around, windows on later ones are combined earlier.
            lengths[axis] = max(lengths[axis], window.output)
        return tuple(prod(lengths[axis + 1 :]) == 1 for axis in step.axes if axis >= self.lead)

    def window(self, step: Step) -> Window:
        """Return a step's window along the axis that is cut; a bare one where it has none.

        An unpooling has axes, but no windows.
        """
        for axis, window in zip(step.axes, step.windows, strict=False):
            if axis == self.cut:
                return window
        length = step.input_shape[self.cut]
        return Sliding(length, length, 1, 1)


@dataclass(frozen=True, slots=True)
class Band:
    """Some planes of a result, and of these the outputs from ``first`` up to but not ``last``."""

    planes: range
    first: int
    last: int


def padded_shape(step: Step) -> Shape:
    """Return the shape of a step's input with its padding, where that holds values of the map."""
    lengths = list(step.input_shape)
    if step.stage.pads_with_values:
        for axis, window in zip(step.axes, step.windows, strict=True):
            lengths[axis] += sum(window.padding)
    return tuple(lengths)


def room_shape(step: Step) -> Shape:
    """Return the shape of a step's input with room for all padding that its windows look at.

    There may be many times as much of it as of the input.
    """
    lengths = list(step.input_shape)
    # An unpooling has axes, but no windows.
    for axis, window in zip(step.axes, step.windows, strict=False):
        if isinstance(window, Sliding):
            span = (window.output - 1) * window.step + window.extent
            lengths[axis] = max(window.length, span)
    return tuple(lengths)


def acted_axes(step: Step) -> tuple[int, ...]:
    """Return the axes along which a step's outputs depend on more than one element.

    Axes on which windows are of one element are left out, if there are others. A convolution with
    weights takes all channels together. Samples of fractional windows come a row for each plane, so
    that such a step is done in one piece.
    """
    if step.stage.samples is not None:
        return tuple(range(len(step.shape)))
    axes = set(step.axes)
    if step.stage.operation.family == "windows":
        windows = zip(step.axes, step.windows, strict=True)
        axes = {axis for axis, window in windows if not window.is_identity} or axes
    if step.stage.mixes_channels:
        axes.add(step.layout.index("C"))
    return tuple(sorted(axes))


def frame_of(step: Step) -> Frame:
    """Return the frame in which a step alone is cut."""
    acted = acted_axes(step)
    if not acted:
        last = max(len(step.shape) - 1, 0)
        return Frame(last, last)
    lead = min(acted[0], *step.axes)
    # Rows that are longer than a block are cut along the next axis.
    cuts = [axis for axis in range(min(step.axes), len(step.shape)) if may_be_cut(step, axis)]
    frames = [Frame(lead, cut) for cut in cuts]
    narrow = (frame for frame in frames if row_size(step, frame) <= BLOCK // _WIDEST)
    return next(narrow, frames[0])


_WIDEST: Final = 8
"""Bytes of the widest elements."""


def may_be_cut(step: Step, axis: int) -> bool:
    """Return whether a step may be cut along an axis.

    A convolution with weights is cut along its first one alone: a product of matrices rounds
    differently for another number of columns.
    """
    return not step.stage.mixes_channels or axis == min(step.axes)


def row_size(step: Step, frame: Frame) -> int:
    """Return how many elements of a plane lie at one position along the cut, padding included."""
    lengths = room_shape(step)
    return prod(lengths[frame.lead :]) // max(1, lengths[frame.cut])


_COLUMNS: Final = 2048


def tile_of(step: Step, frame: Frame) -> int:
    """Return how many outputs along the cut a step has to be given together.

    A product of matrices rounds differently for another number of columns, so that a convolution's
    are always cut at the same outputs, at some 2048 columns; others may be cut anywhere.
    """
    if not step.stage.mixes_channels:
        return 1
    return max(1, _COLUMNS // max(1, prod(step.shape[frame.cut + 1 :])))


def outputs_at_once(step: Step, frame: Frame, planes: int, size: int) -> int:
    """Return how many outputs along the cut take some ``size`` bytes; a whole number of tiles."""
    item = max(ITEM_SIZES[step.carried], ITEM_SIZES[step.dtype])
    lengths = step.shape[frame.lead :]
    row = planes * prod(lengths) // max(1, step.shape[frame.cut]) * item
    tile = tile_of(step, frame)
    return max(1, size // max(1, row * tile)) * tile


_SUMMED: Final = 2
"""Bytes of what integers are summed in, as a rule, before they are carried in wider floats."""


def bands(step: Step, frame: Frame, whole: Band, block: int) -> Iterator[Band]:
    """Cut a band into ones that take about ``block`` bytes of input and output each."""
    if step.stage.samples is not None:
        yield whole
        return
    if step.stage.mixes_channels:
        height = tile_of(step, frame)
        for plane in whole.planes:
            for first in range(whole.first, whole.last, height):
                yield Band(range(plane, plane + 1), first, min(first + height, whole.last))
        return
    item = max(ITEM_SIZES[step.dtype], min(ITEM_SIZES[step.carried], _SUMMED))
    planes = max(1, prod(step.shape[: frame.lead]))
    outputs = step.shape[frame.cut]
    lengths = room_shape(step)
    room = prod(lengths[frame.lead :])
    row = room // max(1, lengths[frame.cut])
    both = max(room, prod(step.shape) // planes)
    per_output = max(1, both * item // max(1, outputs))
    count = whole.last - whole.first
    # A few outputs may look at most of the plane.
    seen = min(room, both * count // max(1, outputs) + row * _reach(step, frame))
    per_plane = max(per_output * count, seen * item)
    if per_plane <= block:
        group = max(1, block // max(1, per_plane))
        for start in range(0, len(whole.planes), group):
            yield Band(whole.planes[start : start + group], whole.first, whole.last)
        return
    height = max(1, block // per_output)
    for plane in whole.planes:
        for first in range(whole.first, whole.last, height):
            yield Band(range(plane, plane + 1), first, min(first + height, whole.last))


def _reach(step: Step, frame: Frame) -> int:
    """Return how many positions along the cut a window takes in, from its first to its last."""
    return frame.window(step).spread + 1


def with_room(window: Window) -> tuple[Window, int]:
    """Return windows over an axis whose declared padding is part of it, and how much leads."""
    if not isinstance(window, Sliding):
        return window, 0
    length = window.length + window.begin + window.end
    return replace(window, length=length, begin=0, end=0), window.begin


def needed_inputs(
    window: Window, outputs: tuple[int, int], mode: PadMode | None
) -> tuple[int, int]:
    """Return the input interval that outputs [first, last) are made from.

    Where padding holds values (``mode``), these come from inside.

    >>> needed_inputs(Sliding(8, 8, 3, 1, begin=1, end=1), (7, 8), "reflect")
    (6, 8)
    """
    if mode is None:
        return (0, window.length) if outputs == (0, window.output) else window.needed(*outputs)
    padded, begin = with_room(window)
    low, high = padded.needed(*outputs)
    low, high, length = low - begin, high - begin, window.length
    before, behind = max(0, -low), max(0, high - length)
    if mode == "wrap" and (before or behind):
        return 0, length
    low, high = min(max(low, 0), length - 1), max(min(high, length), 1)
    reflected = mode == "reflect"
    if before:
        low, high = 0, max(high, min(before + 1, length) if reflected else 1)
    if behind:
        low, high = min(low, max(length - 1 - behind, 0) if reflected else length - 1), length
    return low, high


def is_short(window: Window) -> bool:
    """Whether a window slides and is of few positions."""
    return isinstance(window, Sliding) and window.size <= LONGEST


def processors() -> int:
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
