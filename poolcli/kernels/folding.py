"""Windows combined along their axes by maximum, minimum or sum, at the speed of memory.

A window of k positions is combined in about log₂ k passes over a whole block, each pass one
contiguous ufunc call: the block combined with itself, shifted. Windows of every position come out
of that, also those between strides and across the ends of rows; the ones asked for are copied out
at the end. It is more arithmetic than needed, and far faster than short strided loops.

The order in which a window's elements are combined follows from the windows alone, never from how
many of them there are: a map cut into blocks gives the same bits.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import DTypeLike, NDArray

from poolcli.blocks import LONGEST
from poolcli.kernels.long_windows import fold_long
from poolcli.windows import Sliding, Window

Array = NDArray[Any]

_WIDER: Final[dict[int, tuple[Any, Any]]] = (
    {1: (np.uint16, np.uint8), 2: (np.uint32, np.uint16), 4: (np.uint64, np.uint32)}
    if sys.byteorder == "little"
    else {}
)
_LONG_RUN: Final = 100
"""Elements from which a ufunc's own reduction over rows is the fastest."""
_LONG_ROW: Final = 1 << 11
"""Elements of a row from which a pass over every second row beats one over all of them."""
_NARROW: Final = 16
"""Elements below which an inner loop costs more than its work."""


def fold(  # noqa: PLR0913 - an array, where windows lie on it, what is done in them
    array: Array,
    axes: Sequence[int],
    windows: Sequence[Window],
    combine: np.ufunc,
    identity: float,
    *,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
    alone: Sequence[bool] | None = None,
) -> Array:
    """Combine every window's elements; a window of padding alone gives ``identity``.

    Parameters
    ----------
    array
        In any order in memory; it is never changed, and returned itself where no window acts.
    axes, windows
        The axes that windows lie on, and the windows.
    combine
        ``numpy.maximum``, ``numpy.minimum`` or ``numpy.add``.
    identity
        What padding is.
    dtype
        To combine in, the array's own by default.
    out
        Where the result may be put; used if it has that dtype and windows act by sliding.
    alone
        For each of the axes, whether a row along it is one element of the whole map, of which the
        array may be a part: the order of a long sum depends on that. By default the array is whole.

    Examples
    --------
    >>> from poolcli.placing import sliding
    >>> fold(np.array([[1, 5, 2, 4]]), (1,), (sliding(4, 3, 1),), np.maximum, 0)
    array([[5, 5]])
    """
    wide = array.dtype if dtype is None else np.dtype(dtype)
    short: list[tuple[int, Sliding]] = []
    for place, (axis, window) in enumerate(zip(axes, windows, strict=True)):
        if window.is_identity:
            continue
        if isinstance(window, Sliding) and is_shifted(window, combine):
            short.append((axis, window))
        else:
            one = prod(array.shape[axis + 1 :]) == 1 if alone is None else alone[place]
            array = fold_long(array, (axis, window), combine, identity, wide, alone=one)
    if array.dtype != wide:
        array = array.astype(wide)
    if not short:
        return array
    scheme = _scheme(array.shape, tuple(short), idempotent=combine is not np.add)
    array = np.ascontiguousarray(array)
    if scheme.padded:
        array = scheme.padded.apply(array, identity)
    for axis, window, used in scheme.apart:
        array = _fold_apart(array, axis, window, used, combine)
    return _fold_by_shifts(array, scheme, combine, out)


def is_shifted(window: Window, combine: np.ufunc) -> bool:
    """Whether windows are combined by shifts, all at once: short ones, and long ones that overlap.

    The order of a long sum is that of its elements, so that it may come in parts; a maximum has
    none. Passes are made over whole axes, and worth it where windows share most of their elements.
    """
    if not isinstance(window, Sliding):
        return False
    if window.size <= LONGEST:
        return True
    passes = window.size.bit_length() * ((window.output - 1) * window.step + window.extent)
    return combine is not np.add and passes < window.output * window.size


class _Scratch(threading.local):
    """Buffers that a thread uses again: fresh memory costs more than the arithmetic on it."""

    largest = 1 << 23
    """Bytes; larger ones are not kept."""

    def __init__(self) -> None:
        self.buffers: dict[int, Array] = {}

    def take(self, slot: int, size: int, dtype: np.dtype[Any]) -> Array:
        wanted = size * dtype.itemsize
        buffer = self.buffers.get(slot)
        if buffer is None or buffer.size < wanted:
            buffer = np.empty(wanted, np.uint8)
            if wanted <= self.largest:
                self.buffers[slot] = buffer
        return buffer[:wanted].view(dtype)


_scratch = _Scratch()
_PADDED, _LEFT_OVER, _HALVES = -1, -2, -3
"""Slots of a padded array, of what is copied from, of halves (from there down); results of passes
have those from 1."""


class _Padded(NamedTuple):
    """A shape with room for the padding that windows reach, and where the array goes in it."""

    shape: tuple[int, ...]
    target: tuple[slice, ...]
    source: tuple[slice, ...]

    def apply(self, array: Array, identity: float) -> Array:
        """Return the array with its padding made real."""
        padded = _scratch.take(_PADDED, prod(self.shape), array.dtype).reshape(self.shape)
        padded.fill(identity)
        padded[self.target] = array[self.source]
        return padded


class _Pass(NamedTuple):
    """``result`` = ``left`` combined with ``right``, each a buffer's number and the part used."""

    result: int
    left: int
    right: int
    left_part: tuple[slice, ...]
    right_part: tuple[slice, ...]


class _Scheme(NamedTuple):
    """What is done to arrays of one shape, worked out once for all blocks that are alike."""

    padded: _Padded | None
    apart: tuple[tuple[int, Sliding, tuple[int, ...]], ...]
    """Axes whose windows share no element, and how much of every axis is looked at."""
    shape: tuple[int, ...]
    """Of the array that passes are made over."""
    flat: tuple[_Pass, ...]
    """Passes over the flat array."""
    last: _Pass | None
    """One that gives just the windows asked for along its axis, where rows are long."""
    left_over: tuple[int, ...] | None
    """The shape of what the passes give; None where that is the result."""
    taken: tuple[slice, ...]
    """The windows asked for in that."""
    result: tuple[int, ...]


@lru_cache(maxsize=512)
def _scheme(
    shape: tuple[int, ...], short: tuple[tuple[int, Sliding], ...], *, idempotent: bool
) -> _Scheme:
    room, target, source = list(shape), [slice(None)] * len(shape), [slice(None)] * len(shape)
    for axis, window in short:
        span = (window.output - 1) * window.step + window.extent
        if window.begin > 0 or span > window.length:
            kept = min(window.length, span - window.begin)
            room[axis] = span
            target[axis] = slice(window.begin, window.begin + kept)
            source[axis] = slice(0, kept)
    padded = None
    if any(part.stop is not None for part in target):
        padded = _Padded(tuple(room), tuple(target), tuple(source))
    apart: list[tuple[int, Sliding, tuple[int, ...]]] = []
    first_apart = [(axis, window) for axis, window in short[:-1] if _stands_apart(window)]
    for axis, window in first_apart:
        for other, span in _spans(short):
            if room[other] > span and other not in {done for done, _, _ in apart}:
                room[other] = span
        apart.append((axis, window, tuple(room)))
        room[axis] = window.output
    shifted = [entry for entry in reversed(short) if entry not in first_apart]
    result, taken = room.copy(), [slice(None)] * len(room)
    for axis, window in shifted:
        result[axis] = window.output
        taken[axis] = slice(0, (window.output - 1) * window.step + 1, window.step)
    steps = _steps(tuple(window.size for _, window in shifted), idempotent=idempotent)
    flat: list[_Pass] = []
    last: _Pass | None = None
    left_over: tuple[int, ...] | None = tuple(room)
    sizes = {0: prod(room)}
    for number, (buffer, left, right, place, ahead) in enumerate(steps):
        axis, window = shifted[place]
        shift, run = ahead * window.spacing, prod(room[axis + 1 :])
        others_copied = any(other.step > 1 for at, other in shifted if at != axis)
        in_rows = window.step > 1 and run >= _LONG_ROW
        if number == len(steps) - 1 and (in_rows or (window.step == 1 and not others_copied)):
            part, moved = [slice(None)] * len(room), [slice(None)] * len(room)
            if others_copied:
                left_over = (*room[:axis], window.output, *room[axis + 1 :])
            else:
                left_over, part, moved = None, taken.copy(), taken.copy()
            part[axis] = taken[axis]
            moved[axis] = slice(shift, shift + taken[axis].stop, window.step)
            taken[axis] = slice(None)
            last = _Pass(buffer, left, right, tuple(part), tuple(moved))
            break
        count = min(sizes[left], sizes[right] - shift * run)
        shifted_part = slice(shift * run, shift * run + count)
        flat.append(_Pass(buffer, left, right, (slice(count),), (shifted_part,)))
        sizes[buffer] = count
    return _Scheme(
        padded, tuple(apart), tuple(room), tuple(flat), last, left_over, tuple(taken), tuple(result)
    )


def _spans(short: tuple[tuple[int, Sliding], ...]) -> list[tuple[int, int]]:
    """Return how many positions of the padded axes windows look at."""
    return [(axis, (window.output - 1) * window.step + window.extent) for axis, window in short]


def _stands_apart(window: Sliding) -> bool:
    """Whether windows share no element, and are worth a pass of their own (pairs are not)."""
    least = window.size if window.size > 2 else window.size + 1  # noqa: PLR2004 - pairs
    return window.spacing == 1 and window.step >= least


def _fold_apart(
    array: Array, axis: int, window: Sliding, used: tuple[int, ...], combine: np.ufunc
) -> Array:
    """Combine windows that share no element, which leaves a smaller array.

    ``used`` are the lengths up to which later windows look at the other axes.
    """
    array = array[tuple(slice(length) for length in used)]
    row, before = array.strides[axis], axis + 1
    grouped = as_strided(
        array,
        (*array.shape[:axis], window.output, window.size, *array.shape[before:]),
        (*array.strides[:axis], row * window.step, row, *array.strides[before:]),
        writeable=False,
    )
    result = np.empty((*array.shape[:axis], window.output, *array.shape[before:]), array.dtype)
    if combine is not np.add and prod(array.shape[before:]) >= _LONG_RUN:
        combine.reduce(grouped, axis=before, out=result)
    else:
        _fold_groups(grouped, before, combine, result, 0)
    return result


def _fold_groups(grouped: Array, axis: int, combine: np.ufunc, out: Array, depth: int) -> None:
    """Combine an axis in the order of :func:`_steps`: halves with halves, an odd one at last."""
    size = grouped.shape[axis]

    def part(first: int, last: int) -> tuple[slice, ...]:
        return (*[slice(None)] * axis, slice(first, last))

    if size == 1:
        np.copyto(out, grouped.squeeze(axis))
    elif size % 2 and size > 1:
        _fold_groups(grouped[part(0, size - 1)], axis, combine, out, depth)
        combine(out, grouped[part(size - 1, size)].squeeze(axis), out=out)
    elif size == 2:  # noqa: PLR2004 - a pair
        combine(grouped[part(0, 1)].squeeze(axis), grouped[part(1, 2)].squeeze(axis), out=out)
    else:
        half = size // 2
        first, second = grouped[part(0, half)], grouped[part(half, size)]
        halves = _scratch.take(_HALVES - depth, first.size, first.dtype).reshape(first.shape)
        combine(first, second, out=halves)
        _fold_groups(halves, axis, combine, out, depth + 1)


class _Step(NamedTuple):
    """``result`` = ``left`` combined with ``right`` shifted by ``ahead`` positions of a window."""

    result: int
    left: int
    right: int
    place: int
    ahead: int


@lru_cache(maxsize=1024)
def _steps(sizes: tuple[int, ...], *, idempotent: bool) -> tuple[_Step, ...]:
    """Return the passes that combine windows of these sizes, one axis after the other.

    Nodes are numbered: 0 is the input, others are buffers, used again when they are done with.

    >>> [tuple(each) for each in _steps((5,), idempotent=False)]
    [(1, 0, 0, 0, 2), (2, 1, 1, 0, 1), (2, 2, 0, 0, 4)]
    """
    steps: list[tuple[int, int, int, int]] = []

    def combined(left: int, right: int, place: int, shift: int) -> int:
        steps.append((left, right, place, shift))
        return len(steps)

    def window(node: int, size: int, place: int) -> int:
        if size == 1:
            return node
        if idempotent:
            # Doubled while it fits; the last two windows may overlap.
            have = 1
            while have < size:
                shift = min(have, size - have)
                node = combined(node, node, place, shift)
                have += shift
            return node
        if size % 2:
            return combined(window(node, size - 1, place), node, place, size - 1)
        return window(combined(node, node, place, size // 2), size // 2, place)

    node = 0
    for place, size in enumerate(sizes):
        node = window(node, size, place)
    return _in_few_buffers(steps)


def _in_few_buffers(steps: Sequence[tuple[int, int, int, int]]) -> tuple[_Step, ...]:
    last_use = {node: at for at, (left, right, _, _) in enumerate(steps) for node in (left, right)}
    buffer_of, free, count = {0: 0}, list[int](), 0
    passes = []
    for at, (left, right, place, shift) in enumerate(steps):
        sources = buffer_of[left], buffer_of[right]
        if left not in {0, right} and last_use[left] == at:
            # In place: the result takes the buffer of its unshifted source.
            buffer = sources[0]
        elif free:
            buffer = free.pop()
        else:
            count += 1
            buffer = count
        buffer_of[at + 1] = buffer
        done = {node for node in (left, right) if node != 0 and last_use[node] == at}
        free += sorted({buffer_of[node] for node in done} - {buffer})
        passes.append(_Step(buffer, *sources, place, shift))
    return tuple(passes)


def _fold_by_shifts(array: Array, scheme: _Scheme, combine: np.ufunc, out: Array | None) -> Array:
    """Combine windows of all axes by passes over the flat array, and copy out those asked for."""
    if out is None or out.dtype != array.dtype or out.shape != scheme.result:
        out = np.empty(scheme.result, array.dtype)
    nodes, node = {0: array.reshape(-1)}, 0
    for node, left, right, left_part, right_part in scheme.flat:
        target = nodes.get(node)
        if target is None:
            target = nodes[node] = _scratch.take(node, array.size, array.dtype)
        combine(nodes[left][left_part], nodes[right][right_part], out=target[left_part])
    shape, left_over = scheme.shape, scheme.left_over
    if scheme.last is not None:
        _, left, right, left_part, right_part = scheme.last
        first, second = nodes[left].reshape(shape), nodes[right].reshape(shape)
        if left_over is None:
            combine(first[left_part], second[right_part], out=out)
            return out
        rows = _scratch.take(_LEFT_OVER, prod(left_over), array.dtype).reshape(left_over)
        source = combine(first[left_part], second[right_part], out=rows)
    else:
        source = nodes[node].reshape(shape)
    return copy_strided(source, scheme.taken, out)


def copy_strided(source: Array, taken: tuple[slice, ...], out: Array | None = None) -> Array:
    """Return a copy of ``source[taken]``, in ``out`` if given; every axis has a slice.

    >>> copy_strided(np.arange(8, dtype=np.uint8), (slice(1, 8, 2),))
    array([1, 3, 5, 7], dtype=uint8)
    """
    part = source[taken]
    if out is None:
        out = np.empty(part.shape, source.dtype)
    strided = [axis for axis, each in enumerate(taken) if each.step not in (None, 1)]
    innermost = max(strided, default=-1)
    inner = prod(out.shape[innermost + 1 :])
    if (
        innermost == source.ndim - 1
        and taken[innermost].step == 2  # noqa: PLR2004 - every second element
        and source.shape[-1] % 2 == 0
        and source.itemsize in _WIDER
        and source.flags.c_contiguous
        and out.strides[-1] == out.itemsize
    ):
        # Two elements as one number twice as wide, of which the cast keeps the lower half.
        wide, narrow = _WIDER[source.itemsize]
        pair, odd = divmod(taken[-1].start or 0, 2)
        pairs = source.view(wide)[(*taken[:-1], slice(pair, pair + out.shape[-1]))]
        if odd:
            pairs = pairs >> wide(8 * source.itemsize)
        np.copyto(out.view(narrow), pairs, casting="unsafe")
    elif 1 < inner < _NARROW and innermost >= 0:
        for index in np.ndindex(*out.shape[innermost + 1 :]):
            np.copyto(out[(..., *index)], part[(..., *index)])
    else:
        np.copyto(out, part)
    return out
