"""What the other stages are, in plain loops: convolution, enlargement, indices and unpooling.

Like the oracle of pooling, which finds the windows and their elements, without poolcli.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from tests.oracle import (
    Element,
    Lay,
    Nested,
    Number,
    at,
    build,
    has_nan,
    pascal,
    shape_of,
    total,
    walk,
    window,
)

FLAT: Mapping[str, list[list[int]]] = {
    "laplacian": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "sobel-x": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "sobel-y": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "emboss": [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]],
}


def filter_weight(name: str, sizes: Sequence[int], taps: Sequence[int]) -> Fraction:
    """Weight of one tap of a built-in filter."""
    if name == "identity":
        middle = all(tap == (size - 1) // 2 for size, tap in zip(sizes, taps, strict=True))
        return Fraction(middle)
    if name == "box":
        return Fraction(1, math.prod(sizes))
    if name == "gaussian":
        rows = [pascal(size) for size in sizes]
        return math.prod(
            (Fraction(row[tap], sum(row)) for row, tap in zip(rows, taps, strict=True)),
            start=Fraction(1),
        )
    return Fraction(FLAT[name][taps[0]][taps[1]])


def filtered(
    name: str,
    values: Nested,
    axes: Sequence[int],
    lays: Sequence[Lay],
    *,
    pad_mode: str = "constant",
) -> Nested:
    """Weigh every window along ``axes`` (D, H, W order); a tap of weight 0 looks at nothing."""
    shape = shape_of(values)
    walked = {axis: walk(shape[axis], lay) for axis, lay in zip(axes, lays, strict=True)}

    def result(index: tuple[int, ...]) -> Number:
        terms = []
        for element in window(values, index, walked, pad_mode=pad_mode, zeros=True):
            sizes = [element.sizes[axis] for axis in axes]
            weight = filter_weight(name, sizes, [element.taps[axis] for axis in axes])
            if weight:
                terms.append(_product(weight, element.value))
        return total(terms)

    return build(_output_shape(shape, walked), result)


def convolved(  # noqa: PLR0913 - what a convolution is
    values: Nested,
    weights: Nested,
    channels: int,
    axes: Sequence[int],
    lays: Sequence[Lay],
    *,
    bias: Nested = None,
    groups: int = 1,
    pad_mode: str = "constant",
) -> Nested:
    """Correlate channels (on axis ``channels``) with weights out×in/groups×taps, finite numbers."""
    shape = shape_of(values)
    walked = {axis: walk(shape[axis], lay) for axis, lay in zip(axes, lays, strict=True)}
    outputs, inputs = len(weights), len(weights[0])

    def result(index: tuple[int, ...]) -> Number:
        out = index[channels]
        terms = [Fraction(bias[out])] if bias is not None else []
        for place in range(inputs):
            source = list(index)
            source[channels] = out // (outputs // groups) * inputs + place
            for element in window(values, tuple(source), walked, pad_mode=pad_mode, zeros=True):
                taps = [element.taps[axis] for axis in axes]
                terms.append(Fraction(at(weights[out][place], taps)) * Fraction(element.value))
        return sum(terms, Fraction(0))

    lengths = _output_shape(shape, walked)
    lengths[channels] = outputs
    return build(lengths, result)


def _product(weight: Number, value: Number) -> Number:
    if isinstance(value, float) and not math.isfinite(value):
        return float(weight) * value
    return Fraction(weight) * Fraction(value)


def _output_shape(shape: Sequence[int], walked: Mapping[int, Any]) -> list[int]:
    return [
        len(walked[axis].windows) if axis in walked else length for axis, length in enumerate(shape)
    ]


def repeated(values: Nested, axes: Sequence[int], factors: Sequence[int]) -> Nested:
    """Repeat every element ``factors`` times along ``axes``."""
    factor = dict(zip(axes, factors, strict=True))
    shape = [length * factor.get(axis, 1) for axis, length in enumerate(shape_of(values))]
    return build(
        shape, lambda index: at(values, [i // factor.get(axis, 1) for axis, i in enumerate(index)])
    )


def interpolated(values: Nested, axes: Sequence[int], factors: Sequence[int]) -> Nested:
    """Enlarge linearly between elements' middles, the outermost continued; finite numbers."""
    factor, lengths = dict(zip(axes, factors, strict=True)), shape_of(values)

    def neighbours(axis: int, index: int) -> list[tuple[int, Fraction]]:
        if axis not in factor:
            return [(index, Fraction(1))]
        place = max(Fraction(2 * index + 1, 2 * factor[axis]) - Fraction(1, 2), Fraction(0))
        low = math.floor(place)
        high = min(low + 1, lengths[axis] - 1)
        return [(low, 1 - (place - low)), (high, place - low)]

    def result(index: tuple[int, ...]) -> Number:
        corners: list[tuple[list[int], Fraction]] = [([], Fraction(1))]
        for axis, place in enumerate(index):
            corners = [
                ([*corner, where], share * part)
                for corner, share in corners
                for where, part in neighbours(axis, place)
            ]
        return sum((Fraction(at(values, where)) * share for where, share in corners), Fraction(0))

    return build([n * factor.get(axis, 1) for axis, n in enumerate(lengths)], result)


def indices(
    values: Nested, axes: Sequence[int], lays: Sequence[Lay], *, pad_mode: str = "constant"
) -> Nested:
    """Find each window's maximum, flat over ``axes``: the first NaN, else the first of the largest.

    A window without any element gives None.
    """
    shape = shape_of(values)
    walked = {axis: walk(shape[axis], lay) for axis, lay in zip(axes, lays, strict=True)}

    def result(index: tuple[int, ...]) -> int | None:
        elements = list(window(values, index, walked, pad_mode=pad_mode, zeros=False))
        best: Element | None = None
        for element in elements:
            if best is None or (
                not has_nan([best.value])
                and (has_nan([element.value]) or element.value > best.value)
            ):
                best = element
        return None if best is None else flat_index(best.source, shape, axes)

    return build(_output_shape(shape, walked), result)


def flat_index(place: Sequence[int], shape: Sequence[int], axes: Sequence[int]) -> int:
    """Number of an element in its plane over ``axes``, row after row."""
    number = 0
    for axis in axes:
        number = number * shape[axis] + place[axis]
    return number


def put_back(values: Nested, places: Nested, axes: Sequence[int], shape: Sequence[int]) -> Nested:
    """Put values where ``places`` say, one after the other in row-major order, zeros elsewhere."""
    held: dict[tuple[int, ...], Number] = {}

    def visit(index: tuple[int, ...]) -> None:
        number, place = int(at(places, index)), list(index)
        for axis in reversed(axes):
            number, place[axis] = divmod(number, shape[axis])
        held[tuple(place)] = at(values, index)

    build(shape_of(values), visit)
    return build(shape, lambda index: held.get(index, 0))
