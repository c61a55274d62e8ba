"""Windows bound to one axis: how many outputs there are, and which positions each looks at.

Everything that poolcli knows about shapes rests on this file and on the rules that bind windows, in
:mod:`poolcli.placing`. The shape table, the receptive field, the costs and the kernels' slices are
all read off bound windows.

No NumPy here: plain integers, so that the calculator starts fast and never rounds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import gcd


def ceil_div(numerator: int, denominator: int) -> int:
    """Return a quotient rounded up."""
    return -(-numerator // denominator)


@dataclass(frozen=True, slots=True)
class Span:
    """From where to where windows look, in numbers.

    Window i looks at floor((i·factor + low) / divisor) up to floor((i·factor + high) / divisor).

    >>> from poolcli.placing import sliding
    >>> span = sliding(9, 3, 2, begin=1).span
    >>> span.first(0), span.last(0), span.first(1), span.last(1)
    (-1, 1, 1, 3)
    """

    factor: int
    low: int
    high: int
    divisor: int = 1

    def first(self, index: int) -> int:
        """Return the first position of window ``index``."""
        return (index * self.factor + self.low) // self.divisor

    def last(self, index: int) -> int:
        """Return the last position of window ``index``."""
        return (index * self.factor + self.high) // self.divisor

    def then(self, before: Span) -> Span | None:
        """Return the span on the map before that one; None if no such numbers say it.

        >>> from poolcli.placing import enlarged, sliding
        >>> sliding(6, 2, 2).span.then(enlarged(3, 2, linear=False).span)
        Span(factor=1, low=0, high=0, divisor=1)
        """
        if self.divisor > 1 and before.factor > 1:
            return None
        low = self.low * before.factor + before.low * self.divisor
        high = self.high * before.factor + before.high * self.divisor
        factor, divisor = self.factor * before.factor, self.divisor * before.divisor
        shared = gcd(factor, divisor)
        return Span(factor // shared, low // shared, high // shared, divisor // shared)


@dataclass(frozen=True, slots=True)
class Window(ABC):
    """Windows bound to an axis: ``output`` of them over ``length`` input positions.

    Positions below 0 or from ``length`` on are padding.
    """

    length: int
    output: int

    @property
    @abstractmethod
    def kernel(self) -> int:
        """How many positions a window holds; the largest, where windows differ."""

    @property
    def stride(self) -> int | None:
        """Distance between windows, or None where it varies."""
        return None

    @property
    def dilation(self) -> int:
        """Distance between the positions of one window."""
        return 1

    @property
    def spread(self) -> int:
        """Positions from a window's first to its last: how far it widens a receptive field."""
        return (self.kernel - 1) * self.dilation

    @property
    def pace(self) -> float | None:
        """Input positions per output: what a jump is multiplied by; None where it varies."""
        return self.stride

    @property
    def repeats(self) -> int:
        """How many outputs it takes until windows lie on the input as before: an enlargement's."""
        return 1

    @property
    def padding(self) -> tuple[int, int]:
        """Declared padding at the begin and the end."""
        return (0, 0)

    @abstractmethod
    def positions(self, index: int) -> range:
        """Input positions of window ``index``, those in the padding included."""

    @property
    def span(self) -> Span | None:
        """From where to where windows look; None where their distance varies."""
        return Span(1, 0, 0) if self.is_identity else None

    @abstractmethod
    def total_positions(self) -> int:
        """Sum of all windows' sizes, padding included: what the costs are counted from."""

    def present(self, index: int) -> range:
        """Input positions of window ``index`` that are not padding."""
        return _clip(self.positions(index), 0, self.length)

    def counted(self, index: int) -> int:
        """How many positions of window ``index`` an average that counts padding divides by.

        Declared padding counts, what ceil mode hangs over it does not (ATen/native/Pool.h clips
        the window to the padded input in the same way).
        """
        begin, end = self.padding
        return len(_clip(self.positions(index), -begin, self.length + end))

    def needed(self, first: int, last: int) -> tuple[int, int]:
        """Input interval [low, high) that outputs ``first`` up to but not ``last`` are made from.

        >>> Sliding(length=10, output=5, size=2, step=2).needed(1, 3)
        (2, 6)
        """
        low = max(self.positions(first).start, 0)
        final = self.positions(last - 1)
        return low, max(low, min(final[-1] + 1, self.length))

    def part(self, first: int, last: int) -> tuple[int, int, Window]:
        """Return what outputs ``first`` up to but not ``last`` need, and their windows on that.

        The input interval [low, high), and windows bound to it alone.

        >>> Sliding(length=10, output=5, size=3, step=2, begin=1, end=0).part(1, 3)
        (1, 6, Sliding(length=5, output=2, size=3, step=2, spacing=1, begin=0, end=0))
        """
        low, high = self.needed(first, last)
        return low, high, Part(high - low, last - first, self, first, low)

    def has_empty(self) -> bool:
        """Whether any window holds nothing but padding."""
        return False

    @property
    def is_identity(self) -> bool:
        """Whether it is known to change nothing: every output is the input of the same index."""
        return False


@dataclass(frozen=True, slots=True)
class Sliding(Window):
    """Windows of one size at equal distances.

    Window i holds the positions i·step - begin + j·spacing for j in 0..size-1.

    >>> window = Sliding(length=5, output=3, size=3, step=2, begin=1, end=1)
    >>> [list(window.positions(i)) for i in range(3)]
    [[-1, 0, 1], [1, 2, 3], [3, 4, 5]]
    >>> list(window.present(2))
    [3, 4]
    """

    size: int
    step: int
    spacing: int = 1
    begin: int = 0
    end: int = 0

    @property
    def kernel(self) -> int:
        return self.size

    @property
    def stride(self) -> int:
        return self.step

    @property
    def dilation(self) -> int:
        return self.spacing

    @property
    def padding(self) -> tuple[int, int]:
        return (self.begin, self.end)

    @property
    def extent(self) -> int:
        """The effective kernel: how many positions a window spans, (size - 1)·spacing + 1."""
        return (self.size - 1) * self.spacing + 1

    def positions(self, index: int) -> range:
        start = index * self.step - self.begin
        return range(start, start + self.extent, self.spacing)

    @property
    def span(self) -> Span:
        return Span(self.step, -self.begin, self.extent - 1 - self.begin)

    def total_positions(self) -> int:
        return self.output * self.size

    def reach(self, tap: int) -> tuple[int, int]:
        """Outputs [first, last) whose ``tap``-th position lies inside the input.

        >>> Sliding(length=5, output=3, size=3, step=2, begin=1, end=1).reach(0)
        (1, 3)
        """
        offset = tap * self.spacing - self.begin
        first = min(max(0, ceil_div(-offset, self.step)), self.output)
        last = min(self.output, ceil_div(self.length - offset, self.step))
        return first, max(first, last)

    def whole(self) -> range:
        """Outputs whose windows hold no padding at all."""
        first, _ = self.reach(0)
        _, last = self.reach(self.size - 1)
        return range(first, max(first, last))

    def part(self, first: int, last: int) -> tuple[int, int, Window]:
        start = first * self.step - self.begin
        low = min(max(start, 0), self.length)
        high = min(start + (last - 1 - first) * self.step + self.extent, self.length)
        high = max(low, high)
        # Away from the end nothing behind the interval is looked at, or counted.
        end = self.end if high == self.length else 0
        window = Sliding(
            high - low, last - first, self.size, self.step, self.spacing, low - start, end
        )
        return low, high, window

    def has_empty(self) -> bool:
        if self.spacing <= self.length:
            # Padding is smaller than a window, so that one of its positions meets the input.
            return False
        # Else the first position that is no longer before the input steps over it, which is so
        # where (i·step - begin) mod spacing is the length or more. There may be 10^12 windows.
        over = self.spacing - self.length
        below = _sum_of_floors(self.output, self.step, -self.begin, self.spacing)
        return _sum_of_floors(self.output, self.step, over - self.begin, self.spacing) > below

    @property
    def is_identity(self) -> bool:
        return self.size == 1 and self.step == 1 and self.begin == 0 and self.output == self.length


@dataclass(frozen=True, slots=True)
class Adaptive(Window):
    """As many windows as asked: window i is [floor(i·n/o), ceil((i+1)·n/o)).

    They overlap where the output does not divide the length (ATen/native/AdaptivePooling.h).

    >>> window = Adaptive(length=5, output=3)
    >>> [list(window.positions(i)) for i in range(3)]
    [[0, 1], [1, 2, 3], [3, 4]]
    """

    @property
    def kernel(self) -> int:
        return ceil_div(self.total_positions(), self.output)

    def positions(self, index: int) -> range:
        start = index * self.length // self.output
        return range(start, ceil_div((index + 1) * self.length, self.output))

    def total_positions(self) -> int:
        # Neighbours share a position but where both ends meet, which they do gcd(n, o) times.
        return self.length + self.output - gcd(self.length, self.output)

    @property
    def is_identity(self) -> bool:
        return self.output == self.length


@dataclass(frozen=True, slots=True)
class Fractional(Window):
    """Windows of one size at pseudo-random distances of about (n-k)/(o-1).

    With α = (n-k)/(o-1), window i starts at int((i+u)·α) - int(u·α), the last at n-k
    (ATen/native/FractionalMaxPooling.h). The sample u in [0, 1) is drawn, or given, when a map is
    pooled; shapes and costs don't depend on it.

    >>> window = Fractional(length=7, output=3, size=2, sample=0.5)
    >>> [list(window.positions(i)) for i in range(3)]
    [[0, 1], [2, 3], [5, 6]]
    """

    size: int
    sample: float = 0.0

    @property
    def kernel(self) -> int:
        return self.size

    def positions(self, index: int) -> range:
        last = self.length - self.size
        if index == self.output - 1:
            return range(last, self.length)
        # One float type throughout, that of the sample: PyTorch's rounding is part of the rule.
        alpha = type(self.sample)(last) / type(self.sample)(self.output - 1)
        start = int((index + self.sample) * alpha) - int(self.sample * alpha)
        return range(start, start + self.size)

    def total_positions(self) -> int:
        return self.output * self.size


@dataclass(frozen=True, slots=True)
class Enlarged(Window):
    """The inverse: ``factor`` outputs for every input position, as PyTorch's align_corners=False.

    Nearest repeats a position; linear lies between two, at (i + ½)/factor - ½.

    >>> [list(Enlarged(3, 6, 2).positions(i)) for i in range(6)]
    [[0], [0], [1], [1], [2], [2]]
    >>> [list(Enlarged(3, 6, 2, linear=True).positions(i)) for i in range(6)]
    [[-1, 0], [0, 1], [0, 1], [1, 2], [1, 2], [2, 3]]
    """

    factor: int
    linear: bool = False

    @property
    def kernel(self) -> int:
        return self.factor

    @property
    def spread(self) -> int:
        return 1 if self.linear else 0

    @property
    def pace(self) -> float:
        return 1 / self.factor

    @property
    def repeats(self) -> int:
        return self.factor

    def positions(self, index: int) -> range:
        if not self.linear:
            return range(index // self.factor, index // self.factor + 1)
        first = (2 * index + 1 - self.factor) // (2 * self.factor)
        return range(first, first + 2)

    @property
    def span(self) -> Span:
        if not self.linear:
            return Span(1, 0, 0, self.factor)
        return Span(1, (1 - self.factor) // 2, (1 + self.factor) // 2, self.factor)

    def needed(self, first: int, last: int) -> tuple[int, int]:
        low, high = self.positions(first)[0], self.positions(last - 1)[-1] + 1
        if self.linear:
            # Beyond the ends the outermost pair is used, one of it with no weight.
            return max(low, 0), min(max(high, 2), self.length)
        return low, high

    def total_positions(self) -> int:
        return self.output * (self.spread + 1)

    @property
    def is_identity(self) -> bool:
        return self.factor == 1


@dataclass(frozen=True, slots=True)
class Part(Window):
    """Some of another window's outputs, on the interval of the input that they need.

    ``first`` is the first of them, ``low`` the first position of the interval.

    >>> low, high, part = Adaptive(length=7, output=3).part(1, 3)
    >>> low, high, [list(part.positions(i)) for i in range(2)]
    (2, 7, [[0, 1, 2], [2, 3, 4]])
    """

    whole: Window
    first: int
    low: int

    @property
    def kernel(self) -> int:
        return self.whole.kernel

    @property
    def dilation(self) -> int:
        return self.whole.dilation

    def positions(self, index: int) -> range:
        of_whole = self.whole.positions(self.first + index)
        return range(of_whole.start - self.low, of_whole.stop - self.low, of_whole.step)

    def total_positions(self) -> int:
        return sum(len(self.positions(index)) for index in range(self.output))

    @property
    def is_identity(self) -> bool:
        return self.whole.is_identity


@dataclass(frozen=True, slots=True)
class Undone(Window):
    """A sliding window the other way round: output i is seen by the windows that hold it.

    What an unpooling's elements depend on: any of these windows may have found its maximum there.

    >>> from poolcli.placing import sliding
    >>> window = undone(sliding(5, 3, 2, begin=1, end=1))
    >>> [list(window.positions(i)) for i in range(5)]
    [[0], [0, 1], [1], [1, 2], [2]]
    """

    pooling: Sliding

    @property
    def kernel(self) -> int:
        return -(-self.pooling.extent // self.pooling.step)

    @property
    def pace(self) -> float:
        return 1 / self.pooling.step

    @property
    def repeats(self) -> int:
        return self.pooling.step

    def positions(self, index: int) -> range:
        place = index + self.pooling.begin
        last = place // self.pooling.step
        first = ceil_div(place - self.pooling.extent + 1, self.pooling.step)
        # Between windows that leave gaps: the one before.
        return range(min(first, last), last + 1)

    @property
    def span(self) -> Span:
        begin, step = self.pooling.begin, self.pooling.step
        return Span(1, begin + min(step - self.pooling.extent, 0), begin, step)

    def total_positions(self) -> int:
        return self.output * self.kernel


def undone(pooling: Window) -> Window:
    """Return what the elements of an unpooling depend on; nothing certain where windows vary."""
    if isinstance(pooling, Sliding):
        return Undone(pooling.output, pooling.length, pooling)
    return Adaptive(pooling.output, pooling.length)


def _clip(positions: range, low: int, high: int) -> range:
    """The part of ``positions`` inside [low, high)."""
    first = max(0, ceil_div(low - positions.start, positions.step))
    last = min(len(positions), ceil_div(high - positions.start, positions.step))
    return positions[first:last] if first < last else range(0)


def _sum_of_floors(count: int, slope: int, offset: int, divisor: int) -> int:
    """Return the sum of floor((slope·i + offset) / divisor) over i from 0 up to ``count``.

    As many steps as Euclid's algorithm takes: Graham, Knuth & Patashnik, "Concrete Mathematics",
    section 3.5.

    >>> _sum_of_floors(4, 3, 1, 5), sum((3 * i + 1) // 5 for i in range(4))
    (3, 3)
    """
    total = 0
    while count > 0:
        whole, slope = divmod(slope, divisor)
        more, offset = divmod(offset, divisor)
        total += whole * (count * (count - 1) // 2) + more * count
        # What is left counts the points of a grid below a line; turn the grid by its diagonal.
        count, offset = divmod(slope * count + offset, divisor)
        slope, divisor = divisor, slope
    return total
