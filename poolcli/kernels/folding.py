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

from poolcli.windows import Sliding, Window

Array = NDArray[Any]

LONGEST: Final = 64
"""Sliding windows of up to so many positions are combined by shifts, others one by one."""
CHUNK: Final = 1 << 16
"""Elements of a single row that are summed pairwise; longer windows add the sums of such chunks."""

_ROWS: Final = 1 << 17
"""Elements that are widened at once, where windows are combined one by one."""
_WIDER: Final[dict[int, tuple[Any, Any]]] = (
    {1: (np.uint16, np.uint8), 2: (np.uint32, np.uint16), 4: (np.uint64, np.uint32)}
    if sys.byteorder == "little"
    else {}
)
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

    Examples
    --------
    >>> from poolcli.windows import sliding
    >>> fold(np.array([[1, 5, 2, 4]]), (1,), (sliding(4, 3, 1),), np.maximum, 0)
    array([[5, 5]])
    """
    wide = array.dtype if dtype is None else np.dtype(dtype)
    short: list[tuple[int, Sliding]] = []
    for axis, window in zip(axes, windows, strict=True):
        if window.is_identity:
            continue
        if isinstance(window, Sliding) and window.size <= LONGEST:
            short.append((axis, window))
        else:
            array = _fold_by_output(array, (axis, window), combine, identity, wide)
    array = array.astype(wide, copy=False)
    if not short:
        return array
    array, short = _padded(np.ascontiguousarray(array), short, identity)
    for axis, window in short[:-1]:
        if _stands_apart(window):
            array = _fold_apart(array, axis, window, combine)
            short = [entry for entry in short if entry[0] != axis]
    return _fold_by_shifts(array, short, combine, out)


def is_short(window: Window) -> bool:
    """Whether a window is combined by shifts."""
    return isinstance(window, Sliding) and window.size <= LONGEST


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
_PADDED: Final = -1
"""The slot of a padded array; results of passes have those from 1 on."""


def _padded(
    array: Array, short: list[tuple[int, Sliding]], identity: float
) -> tuple[Array, list[tuple[int, Sliding]]]:
    """Return the array with its padding made real where windows reach it, and bare windows."""
    shape, target, source = (
        list(array.shape),
        [slice(None)] * array.ndim,
        [slice(None)] * array.ndim,
    )
    for axis, window in short:
        span = (window.output - 1) * window.step + window.extent
        if window.begin > 0 or span > window.length:
            kept = min(window.length, span - window.begin)
            shape[axis] = span
            target[axis] = slice(window.begin, window.begin + kept)
            source[axis] = slice(0, kept)
    bare = [(axis, _without_padding(window, shape[axis])) for axis, window in short]
    if all(part.stop is None for part in target):
        return array, bare
    padded = _scratch.take(_PADDED, prod(shape), array.dtype).reshape(shape)
    padded.fill(identity)
    padded[tuple(target)] = array[tuple(source)]
    return padded, bare


@lru_cache(maxsize=4096)
def _without_padding(window: Sliding, length: int) -> Sliding:
    return Sliding(length, window.output, window.size, window.step, window.spacing)


def _stands_apart(window: Sliding) -> bool:
    """Whether windows share no element, and are worth a pass of their own (pairs are not)."""
    least = window.size if window.size > 2 else window.size + 1  # noqa: PLR2004 - pairs
    return window.spacing == 1 and window.step >= least


def _fold_apart(array: Array, axis: int, window: Sliding, combine: np.ufunc) -> Array:
    """Combine windows that share no element, which leaves a smaller array."""
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    outer, inner = prod(before), prod(after)
    flat = array.reshape(outer, window.length, inner)
    row, item = flat.strides[1:]
    grouped = as_strided(
        flat,
        (outer, window.output, window.size, inner),
        (flat.strides[0], row * window.step, row, item),
        writeable=False,
    )
    result = np.empty((outer, window.output, inner), array.dtype)
    if combine is not np.add and inner >= _NARROW:
        combine.reduce(grouped, axis=2, out=result)
    else:
        _fold_groups(grouped, combine, result)
    return result.reshape(*before, window.output, *after)


def _fold_groups(grouped: Array, combine: np.ufunc, out: Array) -> None:
    """Combine axis 2 in the order of :func:`_passes`: halves with halves, an odd one at last."""
    size = grouped.shape[2]
    if size == 1:
        np.copyto(out, grouped[:, :, 0])
    elif size == 2:  # noqa: PLR2004 - a pair
        combine(grouped[:, :, 0], grouped[:, :, 1], out=out)
    elif size % 2:
        _fold_groups(grouped[:, :, :-1], combine, out)
        combine(out, grouped[:, :, -1], out=out)
    else:
        half = size // 2
        _fold_groups(combine(grouped[:, :, :half], grouped[:, :, half:]), combine, out)


class _Pass(NamedTuple):
    """``result`` = ``left`` combined with ``right`` shifted by ``shift`` positions of a window."""

    result: int
    left: int
    right: int
    place: int
    shift: int


@lru_cache(maxsize=1024)
def _passes(sizes: tuple[int, ...], *, idempotent: bool) -> tuple[_Pass, ...]:
    """Return the passes that combine windows of these sizes, one axis after the other.

    Nodes are numbered: 0 is the input, others are buffers, used again when they are done with.

    >>> [tuple(each) for each in _passes((5,), idempotent=False)]
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


def _in_few_buffers(steps: Sequence[tuple[int, int, int, int]]) -> tuple[_Pass, ...]:
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
        passes.append(_Pass(buffer, *sources, place, shift))
    return tuple(passes)


def _fold_by_shifts(
    array: Array, short: list[tuple[int, Sliding]], combine: np.ufunc, out: Array | None
) -> Array:
    """Combine windows of all axes by passes over the flat array, and copy out those asked for."""
    shape, lengths = array.shape, list(array.shape)
    taken = [slice(None)] * array.ndim
    for axis, window in short:
        lengths[axis] = window.output
        taken[axis] = slice(0, (window.output - 1) * window.step + 1, window.step)
    if out is None or out.dtype != array.dtype or out.shape != tuple(lengths):
        out = np.empty(lengths, array.dtype)
    passes = _passes(tuple(window.size for _, window in short), idempotent=combine is not np.add)
    every = all(window.step == 1 for _, window in short)
    flat, size = array.reshape(-1), array.size
    nodes, sizes = {0: flat}, {0: size}
    for number, (result, left, right, place, ahead) in enumerate(passes):
        axis, window = short[place]
        shift = ahead * window.spacing
        if every and number == len(passes) - 1:
            shifted = taken.copy()
            shifted[axis] = slice(shift, shift + window.output)
            first, second = nodes[left].reshape(shape), nodes[right].reshape(shape)
            return np.asarray(combine(first[tuple(taken)], second[tuple(shifted)], out=out))
        shift = shift * prod(shape[axis + 1 :])
        count = min(sizes[left], sizes[right] - shift)
        target = nodes.get(result)
        if target is None:
            target = nodes[result] = _scratch.take(result, size, array.dtype)
        combine(nodes[left][:count], nodes[right][shift : shift + count], out=target[:count])
        sizes[result] = count
    node = nodes[passes[-1].result] if passes else flat
    _copy_strided(node.reshape(shape), tuple(taken), out)
    return out


def _copy_strided(source: Array, taken: tuple[slice, ...], out: Array) -> None:
    """Copy ``source[taken]`` to ``out``."""
    strided = [axis for axis, part in enumerate(taken) if part.step not in (None, 1)]
    innermost = max(strided, default=-1)
    inner = prod(out.shape[innermost + 1 :])
    if (
        innermost == source.ndim - 1
        and taken[innermost].step == 2  # noqa: PLR2004 - every second element
        and source.shape[-1] % 2 == 0
        and source.itemsize in _WIDER
        and out.strides[-1] == out.itemsize
    ):
        # Two elements as one number twice as wide, of which the cast keeps the lower half.
        wide, narrow = _WIDER[source.itemsize]
        pairs = source.view(wide)[(*taken[:-1], slice(0, out.shape[-1]))]
        np.copyto(out.view(narrow), pairs, casting="unsafe")
    elif 1 < inner < _NARROW and innermost >= 0:
        for index in np.ndindex(*out.shape[innermost + 1 :]):
            part = (*taken[: innermost + 1], *index)
            np.copyto(out[(..., *index)], source[part])
    else:
        np.copyto(out, source[taken])


def _fold_by_output(
    array: Array,
    on: tuple[int, Window],
    combine: np.ufunc,
    identity: float,
    dtype: np.dtype[Any],
) -> Array:
    """Combine one window after the other: few windows, or windows of varying sizes."""
    axis, window = on
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    rows = array.reshape(prod(before), window.length, prod(after))
    result = np.empty((rows.shape[0], window.output, rows.shape[2]), dtype)
    for index in range(window.output):
        present = window.present(index)
        if present:
            part = rows[:, present.start : present[-1] + 1 : present.step]
            result[:, index] = accumulate(None, part, combine, dtype)
        else:
            result[:, index] = identity
    return result.reshape(*before, window.output, *after)


def accumulate(total: Array | None, rows: Array, combine: np.ufunc, dtype: np.dtype[Any]) -> Array:
    """Combine rows (outer, rows, inner), one after the other, with a total (outer, inner) so far.

    Rows of one element are combined in chunks of :data:`CHUNK`. A window may come in parts, and
    gives the same bits, if all parts but the last hold a whole number of chunks.
    """
    outer, count, inner = rows.shape
    if inner == 1:
        for start in range(0, count, CHUNK):
            chunk = np.ascontiguousarray(rows[:, start : start + CHUNK, 0]).astype(
                dtype, copy=False
            )
            part = combine.reduce(chunk, axis=1)[:, None]
            total = part if total is None else combine(total, part)
        assert total is not None, "a window has elements"  # noqa: S101
        return total
    height = max(1, _ROWS // max(1, outer * inner))
    for start in range(0, count, height):
        part = rows[:, start : start + height]
        if total is None and part.dtype == dtype:
            total = combine.reduce(part, axis=1)
            continue
        first = 0 if total is None else 1
        stacked = np.empty((outer, first + part.shape[1], inner), dtype)
        if total is not None:
            stacked[:, 0] = total
        stacked[:, first:] = part
        total = combine.reduce(stacked, axis=1)
    assert total is not None, "a window has elements"  # noqa: S101
    return total
