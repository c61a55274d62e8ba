"""What pooling is, in plain loops: the tests' second opinion. Slow, exact, and without poolcli.

Nothing here comes from poolcli, neither code nor formulas. Windows are found by walking along an
axis one by one under the rule in words; a window's elements are gathered one index at a time; an
operation is a function of the list of these elements. Integers and finite floats are computed with
as ints and Fractions, so that what comes out is the true value and rounding is the test's business.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
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
    """Adaptive: so many windows; with a sample, so many of ``kernel`` positions."""
    sample: float | None = None
    """Fractional: PyTorch's random sample u in [0, 1)."""
    single: bool = False
    """Whether the sample is a float32, so that PyTorch rounds to float32 after every step."""

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
    if lay.sample is not None:
        return Walked(length, _drawn(length, lay, lay.sample), 0, 0)
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


def _drawn(length: int, lay: Lay, sample: float) -> list[list[int]]:
    """Place windows as PyTorch's generate_intervals does, in the sample's own precision."""
    count = lay.out or 0
    if count + lay.kernel - 1 > length:
        return []
    rounded = _single if lay.single else float
    starts = []
    for index in range(count - 1):
        alpha = rounded((length - lay.kernel) / (count - 1))
        ahead = rounded(rounded(index + sample) * alpha)
        starts.append(math.floor(ahead) - math.floor(rounded(sample * alpha)))
    starts.append(length - lay.kernel)
    return [[start + tap for tap in range(lay.kernel)] for start in starts]


def _single(value: float) -> float:
    """Round to float32."""
    number: float = struct.unpack("f", struct.pack("f", value))[0]
    return number


class Element(NamedTuple):
    """One element of a window: its value, and where it was found.

    Per axis: which tap of the window it is, how many taps the window has, and the source position.
    """

    value: Number
    taps: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    source: tuple[int, ...] = ()
    padded: bool = False
    """A zero that stands for padding."""


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


def has_nan(values: Sequence[Number]) -> bool:
    return any(value != value for value in values)  # noqa: PLR0124 - NaN differs from itself


def _gem(elements: Sequence[Element], options: Mapping[str, Any]) -> Number | None:
    norm, floor = float(options.get("norm", 3)), float(options.get("eps", 1e-6))
    values = _values(elements)
    if not values or has_nan(values):
        return math.nan if values else None
    sizes = [max(float(value), floor) for value in values]
    largest = max(sizes)
    if largest == math.inf:
        return largest
    powers = math.fsum(math.pow(size / largest, norm) for size in sizes)
    return largest * math.pow(powers / len(sizes), 1 / norm)


def _median(elements: Sequence[Element], options: Mapping[str, Any]) -> Number | None:
    return _quantile(elements, {**options, "q": 0.5})


def _quantile(elements: Sequence[Element], options: Mapping[str, Any]) -> Number | None:
    """Find the value below which a share q of the others lie, linear between two neighbours."""
    values = _values(elements)
    if not values or has_nan(values):
        return math.nan if values else None
    ordered = sorted(values)
    place = Fraction(options["q"]) * (len(ordered) - 1)
    below = math.floor(place)
    share = place - below
    if share == 0:
        return ordered[below]
    low, high = ordered[below], ordered[below + 1]
    if not (_is_finite(low) and _is_finite(high)):
        return low if low == high else float(low) + float(high)
    return Fraction(low) * (1 - share) + Fraction(high) * share


def _majority(elements: Sequence[Element], _options: Mapping[str, Any]) -> Number | None:
    """Count votes. NaN is one value, and larger than all others."""
    values = _values(elements)
    if not values:
        return None
    votes = Counter("nan" if has_nan([value]) else value for value in values)
    winners = [value for value, count in votes.items() if count == max(votes.values())]
    numbers = [value for value in winners if not isinstance(value, str)]
    return min(numbers) if numbers else math.nan


def _soft(elements: Sequence[Element], _options: Mapping[str, Any]) -> Number | None:
    values = _values(elements)
    if not values or has_nan(values):
        return math.nan if values else None
    largest = max(values)
    if not _is_finite(largest):
        return largest
    finite = [value for value in values if _is_finite(value)]
    below = [max(Fraction(value) - Fraction(largest), Fraction(-1000)) for value in finite]
    weights = [math.exp(difference) for difference in below]
    total = math.fsum(weights)
    return math.fsum(
        weight / total * float(value) for weight, value in zip(weights, finite, strict=True)
    )


def _stochastic(elements: Sequence[Element], options: Mapping[str, Any]) -> Number | None:
    """Walk along the elements until their shares have passed the draw in [0, 1)."""
    values = _values(elements)
    if not values or has_nan(values):
        return math.nan if values else None
    if not any(value > 0 for value in values):
        return max(values)
    endless = [value == math.inf for value in values]
    weights: Sequence[Number] = endless if any(endless) else [max(value, 0) for value in values]
    shares = [Fraction(weight) for weight in weights]
    wanted, passed = Fraction(options["draw"]) * sum(shares), Fraction(0)
    for value, share in zip(values, shares, strict=True):
        passed += share
        if passed > wanted:
            return value
    raise AssertionError("a draw below 1 lies within the shares")


def _avgmax(elements: Sequence[Element], options: Mapping[str, Any]) -> Number | None:
    """Mix both. Padding counts in the average, if told to, but can't be the maximum."""
    inside = [element for element in elements if not element.padded]
    average, largest = _avg(elements, options), _extreme(max)(inside, options)
    mix = Fraction(options.get("mix", 0.5))
    if average is None or largest is None or mix in (0, 1):
        return None if largest is None else (average if mix else largest)
    if _is_finite(average) and _is_finite(largest):
        return mix * Fraction(average) + (1 - mix) * Fraction(largest)
    return float(mix) * float(average) + float(1 - mix) * float(largest)


def pascal(size: int) -> list[int]:
    """Row of Pascal's triangle with ``size`` numbers."""
    row = [1]
    while len(row) < size:
        row = [left + right for left, right in zip([0, *row], [*row, 0], strict=True)]
    return row


def _blur(elements: Sequence[Element], _options: Mapping[str, Any]) -> Number:
    """Weigh by Pascal's triangle along each axis; weights of what is no element don't count."""
    weights = [
        math.prod(pascal(size)[tap] for size, tap in zip(element.sizes, element.taps, strict=True))
        for element in elements
    ]
    weighed = [
        value * weight if _is_finite(value) else value
        for value, weight in zip(_values(elements), weights, strict=True)
    ]
    return total(weighed) / sum(weights)


RULES: dict[str, Rule] = {
    "max": Rule(_extreme(max)),
    "min": Rule(_extreme(min)),
    "avg": Rule(_avg, zeros=True),
    "sum": Rule(_sum, zeros=True),
    "lp": Rule(_lp, zeros=True),
    "gem": Rule(_gem),
    "median": Rule(_median),
    "quantile": Rule(_quantile),
    "majority": Rule(_majority),
    "soft": Rule(_soft),
    "stochastic": Rule(_stochastic),
    "avgmax": Rule(_avgmax, zeros=True),
    "pick": Rule(_pick),
    "blur": Rule(_blur, zeros=True),
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
    averages = op in ("avg", "avgmax")
    zeros = rule.zeros and (not averages or counts_padding or options.get("divisor") is not None)

    def result(index: tuple[int, ...]) -> Number | None:
        elements = list(window(values, index, walked, pad_mode=pad_mode, zeros=zeros))
        if "draws" in options:
            return rule.reduce(elements, {**options, "draw": at(options["draws"], index)})
        return rule.reduce(elements, options)

    output = [
        len(walked[axis].windows) if axis in walked else length for axis, length in enumerate(shape)
    ]
    return build(output, result)


def window(
    values: Nested,
    index: tuple[int, ...],
    walked: Mapping[int, Walked],
    *,
    pad_mode: str,
    zeros: bool,
) -> Iterator[Element]:
    """Gather the elements of the window behind one output index."""
    looked_at = [
        walked[axis].windows[place] if axis in walked else [place]
        for axis, place in enumerate(index)
    ]
    sizes = tuple(map(len, looked_at))
    # Row after row in the order of the windowed axes, wherever these stand in the array.
    order = [*(axis for axis in range(len(sizes)) if axis not in walked), *walked]
    for turn in product(*(range(sizes[axis]) for axis in order)):
        taps = tuple(turn[order.index(axis)] for axis in range(len(sizes)))
        source = [positions[tap] for positions, tap in zip(looked_at, taps, strict=True)]
        padded = [axis for axis in walked if not walked[axis].is_inside(source[axis])]
        if any(not walked[axis].is_declared(source[axis]) for axis in padded):
            continue
        if padded and pad_mode == "constant":
            if zeros:
                yield Element(0, taps, sizes, padded=True)
            continue
        for axis in padded:
            source[axis] = _stand_in(source[axis], walked[axis].length, pad_mode)
        yield Element(at(values, source), taps, sizes, tuple(source))


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


def build(shape: Sequence[int], result: Callable[[tuple[int, ...]], Any]) -> Nested:
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
