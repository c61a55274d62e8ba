"""BlurPool as Zhang published it (antialiased-cnns), by numpy.pad and plain loops.

https://github.com/adobe/antialiased-cnns, antialiased_cnns/blurpool.py: a filter of ``filt_size``
weights below, their outer product divided by its sum; padding of int((k-1)/2) before and
ceil((k-1)/2) after on every axis, of pad_type reflect, repl or zero; then every ``stride``-th
position. MaxBlurPool is MaxPool2d(2, stride=1) and BlurPool with the stride.
"""

from __future__ import annotations

from itertools import product
from math import ceil
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from poolcli import Stage, plan, pool

Array = NDArray[Any]
Sizes = tuple[int, ...]

WEIGHTS: dict[int, list[float]] = {
    1: [1.0],
    2: [1.0, 1.0],
    3: [1.0, 2.0, 1.0],
    4: [1.0, 3.0, 3.0, 1.0],
    5: [1.0, 4.0, 6.0, 4.0, 1.0],
    6: [1.0, 5.0, 10.0, 10.0, 5.0, 1.0],
    7: [1.0, 6.0, 15.0, 20.0, 15.0, 6.0, 1.0],
}
PADDING: dict[str, Literal["reflect", "edge", "constant"]] = {
    "reflect": "reflect",
    "repl": "edge",
    "zero": "constant",
}
"""The paper's pad_type, and what numpy.pad and poolcli call it."""
EPS = float(np.finfo(np.float64).eps)

SIZES = pytest.mark.parametrize("size", WEIGHTS)
PAD_TYPES = pytest.mark.parametrize("pad_type", PADDING)


def blurred(x: Array, size: int, stride: int, pad_type: str, axes: int) -> Array:
    """Blur the last ``axes`` axes of a map as the published code does."""
    weights = np.array(1.0)
    for _ in range(axes):
        weights = np.multiply.outer(weights, np.array(WEIGHTS[size]))
    weights = weights / weights.sum()
    pads = int((size - 1) / 2), ceil((size - 1) / 2)
    width = [(0, 0)] * (x.ndim - axes) + [pads] * axes
    whole = np.pad(x, width, mode=PADDING[pad_type])
    lengths = [(length - size) // stride + 1 for length in whole.shape[x.ndim - axes :]]
    result = np.zeros((*x.shape[: x.ndim - axes], *lengths))
    for place in np.ndindex(*lengths):
        total = np.zeros(x.shape[: x.ndim - axes])
        for tap in product(range(size), repeat=axes):
            at = tuple(i * stride + j for i, j in zip(place, tap, strict=True))
            total = total + weights[tap] * whole[(..., *at)]
        result[(..., *place)] = total
    return result


def assert_blurred(answer: Array, expected: Array, x: Array, taps: int) -> None:
    """Compare weighted means of ``taps`` elements: ``taps``·ε·max|x| apart at most."""
    assert answer.shape == expected.shape
    np.testing.assert_allclose(answer, expected, rtol=0, atol=taps * EPS * np.abs(x).max())


def lengths_for(size: int) -> range:
    """Lengths that PyTorch's ReflectionPad takes: longer than the padding."""
    return range(ceil((size - 1) / 2) + 1, 13)


@PAD_TYPES
@SIZES
def test_blur_is_the_published_blurpool(size: int, pad_type: str) -> None:
    rng = np.random.default_rng(size)
    spec = f"blur:{size},pad-mode={PADDING[pad_type]}"
    for height, width in product(lengths_for(size), repeat=2):
        x = rng.standard_normal((2, height, width))
        assert_blurred(pool(x, spec), blurred(x, size, 2, pad_type, 2), x, size**2)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@PAD_TYPES
@SIZES
def test_a_row_is_blurred_likewise(size: int, pad_type: str, stride: int) -> None:
    rng = np.random.default_rng([size, stride])
    spec = f"blur:{size},stride={stride},pad-mode={PADDING[pad_type]}"
    for length in lengths_for(size):
        x = rng.standard_normal((3, length))
        answer = pool(x, spec, layout="CW")
        assert_blurred(answer, blurred(x, size, stride, pad_type, 1), x, size)


@PAD_TYPES
@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_volume_is_blurred_likewise(size: int, pad_type: str) -> None:
    x = np.random.default_rng(size).standard_normal((4, 5, 6))
    answer = pool(x, f"blur:{size},pad-mode={PADDING[pad_type]}", layout="DHW")
    assert_blurred(answer, blurred(x, size, 2, pad_type, 3), x, size**3)


@PAD_TYPES
@SIZES
def test_max_and_blur_are_the_published_maxblurpool(size: int, pad_type: str) -> None:
    rng = np.random.default_rng(size)
    for height, width in product(lengths_for(size), repeat=2):
        x = rng.standard_normal((2, height + 1, width + 1))
        dense = np.max([x[:, i : i + height, j : j + width] for i in (0, 1) for j in (0, 1)], 0)
        answer = pool(x, "max:2,stride=1", f"blur:{size},pad-mode={PADDING[pad_type]}")
        assert_blurred(answer, blurred(dense, size, 2, pad_type, 2), x, size**2)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@SIZES
def test_narrow_floats_are_rounded_once(size: int, dtype: str) -> None:
    x = np.random.default_rng(size).standard_normal((2, 9, 8)).astype(dtype)
    answer = pool(x, f"blur:{size}")
    assert answer.dtype == np.dtype(dtype)
    expected = blurred(x.astype(np.float64), size, 2, "reflect", 2)
    # Half a unit in the last place, and where a result is all but 0, the mean's own error.
    narrow = float(np.finfo(dtype).eps) / 2
    np.testing.assert_allclose(
        answer.astype(np.float64),
        expected,
        rtol=narrow * (1 + 1e-6),
        atol=size**2 * EPS * 4 + float(np.finfo(dtype).smallest_subnormal),
    )


@pytest.mark.parametrize("dtype", ["uint8", "int16", "bool"])
def test_integers_become_reals(dtype: str) -> None:
    x = np.random.default_rng(3).integers(0, 2 if dtype == "bool" else 200, (6, 7)).astype(dtype)
    answer = pool(x, "blur:3")
    assert answer.dtype == np.float32
    expected = blurred(x.astype(np.float64), 3, 2, "reflect", 2)
    # Sixteenths of whole numbers are exact in float32.
    np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        # [1 2 1]/4 over 2 | 1 2 3 4 5 | 4 at every other place.
        pytest.param("blur:3", [1.5, 3, 4.5], id="reflect"),
        pytest.param("blur:3,pad-mode=edge", [1.25, 3, 4.75], id="edge"),
        pytest.param("blur:3,pad-mode=constant", [1, 3, 3.5], id="zero"),
        # [1 1]/2, padding after alone: 1 2 3 4 5 | 4.
        pytest.param("blur:2", [1.5, 3.5, 4.5], id="even size"),
        # [1 3 3 1]/8 over 2 | 1 2 3 4 5 | 4 3.
        pytest.param("blur:4", [1.75, 3.5, 4.25], id="size of 4"),
        pytest.param("blur:1", [1, 3, 5], id="plain striding"),
    ],
)
def test_rows_worked_by_hand(spec: str, expected: list[float]) -> None:
    np.testing.assert_array_equal(pool([1.0, 2, 3, 4, 5], spec), expected)


@SIZES
def test_defaults_are_the_published_ones(size: int) -> None:
    (step,) = plan((64, 64), f"blur:{size}").steps
    pads = int((size - 1) / 2), ceil((size - 1) / 2)
    assert (step.stride, step.padding, step.shape) == ((2, 2), (pads, pads), (32, 32))
    assert Stage.parse(f"blur:{size},stride=2,pad={pads[0]}-{pads[1]},pad-mode=reflect") == (
        Stage.parse(f"blur:{size}")
    )
    assert Stage.parse("blur") == Stage.parse("blur:3")


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_constant_stays_what_it_is(size: int) -> None:
    """What the divisor is for: the weights of a window add up to 1, in the corners too."""
    x = np.full((5, 6), 10.0)
    for pad_type in ("reflect", "repl"):
        np.testing.assert_array_equal(pool(x, f"blur:{size},pad-mode={PADDING[pad_type]}"), 10)
