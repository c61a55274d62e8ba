"""What pooling is, in plain loops: the tests' second opinion. Slow, exact, and without poolcli.

Nothing here comes from poolcli, neither code nor formulas. Windows are found by walking along an
axis one by one under the rule in words; a window's elements are gathered one index at a time; an
operation is a function of the list of these elements. Integers and finite floats are computed with
as ints and Fractions, so that what comes out is the true value and rounding is the test's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any, Literal, NamedTuple

Number = int | float | Fraction
Nested = Any
"""A number, or a list of nested ones: what ``ndarray.tolist()`` gives."""


@dataclass(frozen=True)
class Lay:
    """How windows lie along one axis, in the words of a stage spec."""

    kernel: int = 1
    stride: int = 1
    begin: int = 0
    end: int = 0
    dilation: int = 1
    ceil: bool = False
    same: Literal["upper", "lower"] | None = None
    whole: bool = False
    """One window that is the whole axis."""
    out: int | None = None
    """Adaptive: so many windows."""

    @property
    def span(self) -> int:
        """From a window's first position to its last, both counted."""
        return [tap * self.dilation for tap in range(self.kernel)][-1] + 1


class Walked(NamedTuple):
    """The windows of one axis, each a list of positions; below 0 and from ``length`` is padding."""

    length: int
    windows: list[list[int]]
    begin: int
    end: int

    def is_inside(self, position: int) -> bool:
        return 0 <= position < self.length

    def is_declared(self, position: int) -> bool:
        """Whether a position is in the input or its declared padding, not in ceil's overhang."""
        return -self.begin <= position < self.length + self.end


def walk(length: int, lay: Lay) -> Walked:
    """Find every window of an axis by walking; none at all if not even the first one fits."""
    if lay.whole:
        return Walked(length, [list(range(length))], 0, 0)
    if lay.out is not None:
        return Walked(length, _shares(length, lay.out), 0, 0)
    if lay.same:
        return _walk_same(length, lay)
    windows: list[list[int]] = []
    start = -lay.begin
    while True:
        window = [start + tap * lay.dilation for tap in range(lay.kernel)]
        overhang = window[-1] - (length + lay.end - 1)
        # Without ceil, windows are whole. With it a last, partial one is taken as well: one that
        # hangs over by less than a stride (by a whole stride, the window before it was the last)
        # and that starts inside the input or its leading padding.
        partial = lay.ceil and overhang < lay.stride and start < length
        if overhang > 0 and not partial:
            return Walked(length, windows, lay.begin, lay.end)
        windows.append(window)
        start += lay.stride


def _walk_same(length: int, lay: Lay) -> Walked:
    """Walk TensorFlow's SAME: a window for every stride begun inside the input."""
    starts = list(range(0, length, lay.stride))
    missing = max(starts[-1] + lay.span - length, 0)
    begin = end = 0
    for turn in range(missing):
        # One by one to either side; who goes first gets the odd one.
        if (turn % 2 == 0) == (lay.same == "lower"):
            begin += 1
        else:
            end += 1
    windows = [
        [start - begin + tap * lay.dilation for tap in range(lay.kernel)] for start in starts
    ]
    return Walked(length, windows, begin, end)


def _shares(length: int, out: int) -> list[list[int]]:
    """Cut the axis into ``out`` equal parts; a window is every position that its part touches."""
    part = Fraction(length, out)
    return [
        [p for p in range(length) if p + 1 > index * part and p < (index + 1) * part]
        for index in range(out)
    ]


class Element(NamedTuple):
    """One element of a window: its value, and which tap of the window it is, per axis."""

    value: Number
    taps: tuple[int, ...]


Reduce = Callable[[Sequence[Element], Mapping[str, Any]], Number | None]
"""An operation: a window's elements in row-major order -> its result, None if it has none."""


@dataclass(frozen=True)
class Rule:
    """An operation, and whether numeric padding is zeros in its windows, or absent from them."""

    reduce: Reduce
    zeros: bool = False


def _values(elements: Sequence[Element]) -> list[Number]:
    return [element.value for element in elements]


def total(values: Sequence[Number]) -> Number:
    """Sum as real numbers are summed; infinities and NaN as IEEE 754 has them."""
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        return sum(float(value) for value in values if not _is_finite(value))
    return sum((Fraction(value) for value in values), Fraction(0))


def _is_finite(value: Number) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _extreme(best: Callable[[list[Number]], Number]) -> Reduce:
    def reduce(elements: Sequence[Element], _options: Mapping[str, Any]) -> Number | None:
        values = _values(elements)
        if any(value != value for value in values):  # noqa: PLR0124 - NaN differs from itself
            return math.nan
        return best(values) if values else None

    return reduce


def _sum(elements: Sequence[Element], _options: Mapping[str, Any]) -> Number:
    return total(_values(elements))


def _avg(elements: Sequence[Element], options: Mapping[str, Any]) -> Number | None:
    divisor = options.get("divisor") or len(elements)
    return total(_values(elements)) / divisor if divisor else None


def _lp(elements: Sequence[Element], options: Mapping[str, Any]) -> Number:
    norm = float(options.get("norm", 2))
    sizes = [abs(float(value)) for value in _values(elements)]
    if any(math.isnan(size) for size in sizes):
        return math.nan
    largest = max(sizes, default=0.0)
    if largest in (0.0, math.inf):
        return largest
    powers = math.fsum(math.pow(size / largest, norm) for size in sizes)
    return largest * math.pow(powers, 1 / norm)


def _pick(elements: Sequence[Element], _options: Mapping[str, Any]) -> Number | None:
    return elements[0].value if elements else None


RULES: dict[str, Rule] = {
    "max": Rule(_extreme(max)),
    "min": Rule(_extreme(min)),
    "avg": Rule(_avg, zeros=True),
    "sum": Rule(_sum, zeros=True),
    "lp": Rule(_lp, zeros=True),
    "pick": Rule(_pick),
}


def pool(  # noqa: PLR0913 - what a pooling is
    op: str,
    values: Nested,
    axes: Sequence[int],
    lays: Sequence[Lay],
    *,
    pad_mode: Literal["constant", "reflect", "edge", "wrap"] = "constant",
    counts_padding: bool | None = None,
    **options: Any,
) -> Nested:
    """Pool nested lists along ``axes``, whose windows lie as ``lays`` say. Any number of axes.

    ``counts_padding`` says whether an average counts padding, None for the default of its kind of
    padding. A window that has no result gives None.
    """
    shape = shape_of(values)
    walked = {axis: walk(shape[axis], lay) for axis, lay in zip(axes, lays, strict=True)}
    rule = RULES[op]
    if counts_padding is None:
        counts_padding = not any(lay.same for lay in lays)
    # Zeros add nothing to a sum: whether they are in the window matters for averages alone.
    zeros = rule.zeros and (op != "avg" or counts_padding or options.get("divisor") is not None)

    def result(index: tuple[int, ...]) -> Number | None:
        elements = list(_window(values, index, walked, pad_mode, zeros))
        return rule.reduce(elements, options)

    output = [
        len(walked[axis].windows) if axis in walked else length for axis, length in enumerate(shape)
    ]
    return _build(output, result)


def _window(
    values: Nested,
    index: tuple[int, ...],
    walked: Mapping[int, Walked],
    pad_mode: str,
    zeros: bool,
) -> Iterator[Element]:
    """Gather the elements of the window behind one output index."""
    looked_at = [
        walked[axis].windows[place] if axis in walked else [place]
        for axis, place in enumerate(index)
    ]
    for taps in product(*(range(len(positions)) for positions in looked_at)):
        source = [positions[tap] for positions, tap in zip(looked_at, taps, strict=True)]
        padded = [axis for axis in walked if not walked[axis].is_inside(source[axis])]
        if any(not walked[axis].is_declared(source[axis]) for axis in padded):
            continue
        if padded and pad_mode == "constant":
            if zeros:
                yield Element(0, taps)
            continue
        for axis in padded:
            source[axis] = _stand_in(source[axis], walked[axis].length, pad_mode)
        yield Element(at(values, source), taps)


def _stand_in(position: int, length: int, pad_mode: str) -> int:
    """Find the position inside whose value a padded one holds."""
    while not 0 <= position < length:
        if pad_mode == "edge" or length == 1:
            position += 1 if position < 0 else -1
        elif pad_mode == "wrap":
            position += length if position < 0 else -length
        else:
            position = -position if position < 0 else (length - 1) - (position - (length - 1))
    return position


def shape_of(values: Nested) -> list[int]:
    """Lengths of nested lists, the outermost first."""
    shape = []
    while isinstance(values, list):
        shape.append(len(values))
        values = values[0] if values else None
    return shape


def at(values: Nested, index: Sequence[int]) -> Number:
    """Look up one element of nested lists."""
    for place in index:
        values = values[place]
    number: Number = values
    return number


def _build(shape: Sequence[int], result: Callable[[tuple[int, ...]], Any]) -> Nested:
    def level(index: tuple[int, ...]) -> Nested:
        if len(index) == len(shape):
            return result(index)
        return [level((*index, place)) for place in range(shape[len(index)])]

    return level(())


def flat(values: Nested) -> list[Any]:
    """All elements of nested lists in row-major order."""
    return [element for part in values for element in flat(part)] if _is_list(values) else [values]


def _is_list(values: Nested) -> bool:
    return isinstance(values, list)


def half_even(value: Fraction) -> int:
    """Round an exact value to the nearest whole number, ties to the even one."""
    below = value.numerator // value.denominator
    rest = value - below
    if rest == Fraction(1, 2):
        return below if below % 2 == 0 else below + 1
    return below if rest < Fraction(1, 2) else below + 1
