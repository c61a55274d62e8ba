"""SAME padding as TensorFlow and Keras have it, by tables worked by hand and by TensorFlow's words.

The notes on padding at https://www.tensorflow.org/api_docs/python/tf/nn say, in each dimension:

- the output has ceil(in / stride) positions;
- the padding along it is max(filter - stride, 0) where the stride divides the input, and
  max(filter - in % stride, 0) where it doesn't, filter being its size after dilation;
- half of that, rounded down, goes before, and the rest after;
- a convolution's padding is zeros; a pool's is ignored, so that an average doesn't count it.

This is arithmetic other than poolcli's own, (out - 1)·stride + filter - in: they must agree.
"""

from __future__ import annotations

from itertools import product
from math import ceil, inf, isnan, nan, prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poolcli import plan, pool

Array = NDArray[Any]


# --- worked by hand


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "output", "padding"),
    [
        # 0 | 1 2 3 4 5 6 7 8 9 10 11 12 13 | 0 0
        pytest.param(13, 6, 5, 3, (1, 2), id="odd padding"),
        pytest.param(5, 2, 2, 3, (0, 1), id="odd length"),
        pytest.param(6, 2, 2, 3, (0, 0), id="divides"),
        pytest.param(4, 3, 1, 4, (1, 1), id="odd filter"),
        pytest.param(4, 2, 1, 4, (0, 1), id="even filter"),
        pytest.param(4, 4, 1, 4, (1, 2), id="even filter of 4"),
        pytest.param(7, 3, 2, 4, (1, 1), id="7 by 2"),
        pytest.param(8, 3, 2, 4, (0, 1), id="8 by 2"),
        pytest.param(224, 7, 2, 112, (2, 3), id="ResNet's stem"),
        pytest.param(112, 3, 2, 56, (0, 1), id="ResNet's pool"),
        pytest.param(1, 3, 2, 1, (1, 1), id="one pixel"),
        pytest.param(2, 5, 1, 2, (2, 2), id="filter wider than the map"),
        pytest.param(7, 1, 3, 3, (0, 0), id="stride beyond the filter"),
        pytest.param(8, 1, 3, 3, (0, 0), id="stride beyond the filter, the rest unseen"),
        pytest.param(10, 2, 4, 3, (0, 0), id="stride beyond the filter, the last just fits"),
    ],
)
def test_lengths_and_padding_worked_by_hand(
    length: int, kernel: int, stride: int, output: int, padding: tuple[int, int]
) -> None:
    (step,) = plan((length,), f"max:{kernel},stride={stride},pad=same").steps
    assert (step.shape, step.padding) == ((output,), (padding,))
    (lower,) = plan((length,), f"max:{kernel},stride={stride},pad=same-lower").steps
    assert (lower.shape, lower.padding) == ((output,), (padding[::-1],))


X = [1.0, 2.0, 3.0, 4.0, 5.0]
GRID = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]


@pytest.mark.parametrize(
    ("x", "spec", "expected"),
    [
        # Keras: AveragePooling1D(2, padding="same"): the last window holds 5 alone.
        pytest.param(X, "avg:2,pad=same", [1.5, 3.5, 5], id="avg leaves padding out"),
        pytest.param(X, "avg:2,pad=same,include-pad", [1.5, 3.5, 2.5], id="avg told to count it"),
        pytest.param(X, "avg:2,pad=same-lower", [1, 2.5, 4.5], id="avg, the odd one before"),
        pytest.param(X, "avg:3,stride=1,pad=same", [1.5, 2, 3, 4, 4.5], id="avg at both ends"),
        pytest.param(X, "max:2,stride=1,pad=same", [2, 3, 4, 5, 5], id="max"),
        pytest.param(X, "max:2,stride=1,pad=same-lower", [1, 2, 3, 4, 5], id="max before"),
        pytest.param([-3.0, -1, -2], "max:2,pad=same", [-1, -2], id="padding never wins"),
        pytest.param(X, "sum:3,stride=2,pad=same", [3, 9, 9], id="sum"),
        # Keras: AveragePooling2D(2, padding="same") of 1..9.
        pytest.param(GRID, "avg:2,pad=same", [[3, 4.5], [7.5, 9]], id="2-D avg"),
        # Keras: MaxPooling2D(2, strides=1, padding="same") of 1..9.
        pytest.param(
            GRID, "max:2,stride=1,pad=same", [[5, 6, 6], [8, 9, 9], [8, 9, 9]], id="2-D max"
        ),
        pytest.param(
            GRID, "avg:2,stride=1,pad=same", [[3, 4, 4.5], [6, 7, 7.5], [7.5, 8.5, 9]], id="2-D s1"
        ),
        pytest.param(
            X, "conv:3,filter=box,pad=same", [1, 2, 3, 4, 3], id="convolution's padding is 0"
        ),
    ],
)
def test_values_worked_by_hand(x: Any, spec: str, expected: Any) -> None:
    np.testing.assert_allclose(pool(x, spec), expected, rtol=4 * np.finfo(np.float64).eps, atol=0)


# --- by TensorFlow's words, over many sizes


def in_tensorflows_words(length: int, kernel: int, stride: int, rate: int) -> tuple[int, int, int]:
    """Return the outputs, and the padding before and after."""
    spans = (kernel - 1) * rate + 1
    output = ceil(length / stride)
    along = max(spans - stride, 0) if length % stride == 0 else max(spans - length % stride, 0)
    before = along // 2
    return output, before, along - before


def windows_along(length: int, kernel: int, stride: int, rate: int) -> list[list[int]]:
    """Return each window's positions on an axis that has been padded."""
    output, _, _ = in_tensorflows_words(length, kernel, stride, rate)
    return [[i * stride + j * rate for j in range(kernel)] for i in range(output)]


def padded(x: Array, axes: list[tuple[int, int, int, int]], value: float) -> Array:
    width = [in_tensorflows_words(*axis)[1:] for axis in axes]
    return np.pad(x, width, constant_values=value)


def reduced(x: Array, axes: list[tuple[int, int, int, int]], operation: str) -> Array:
    """Reduce every window by plain loops; ``axes`` are length, kernel, stride and rate of each."""
    outside = {"max": -inf, "min": inf, "avg": nan, "sum": 0.0}[operation]
    whole = padded(x, axes, outside)
    along = [windows_along(*axis) for axis in axes]
    result = np.empty([len(windows) for windows in along])
    for place in np.ndindex(*result.shape):
        positions = [along[axis][at] for axis, at in enumerate(place)]
        elements = [float(whole[at]) for at in product(*positions)]
        kept = [element for element in elements if not isnan(element)]
        result[place] = {
            "max": max(elements),
            "min": min(elements),
            "sum": sum(elements),
            "avg": sum(kept) / max(len(kept), 1),
        }[operation]
    return result


LENGTHS, KERNELS, STRIDES, RATES = range(1, 17), range(1, 8), range(1, 6), range(1, 4)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("stride", STRIDES)
def test_lengths_and_padding_in_tensorflows_words(stride: int, rate: int) -> None:
    for length, kernel in product(LENGTHS, KERNELS):
        (step,) = plan((length,), f"max:{kernel},stride={stride},pad=same,dilation={rate}").steps
        output, *padding = in_tensorflows_words(length, kernel, stride, rate)
        assert step.shape == (output,), (length, kernel)
        assert step.padding == (tuple(padding),), (length, kernel)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("operation", ["max", "min", "sum"])
def test_values_in_tensorflows_words(operation: str, stride: int, rate: int) -> None:
    """Whole numbers, so that sums are exact."""
    rng = np.random.default_rng([stride, rate])
    for length, kernel in product(LENGTHS, KERNELS):
        x = rng.integers(-50, 50, length).astype(np.float64)
        expected = reduced(x, [(length, kernel, stride, rate)], operation)
        answer = pool(x, f"{operation}:{kernel},stride={stride},pad=same,dilation={rate}")
        np.testing.assert_array_equal(answer, expected, str((length, kernel)))


@pytest.mark.parametrize("stride", STRIDES)
def test_averages_in_tensorflows_words(stride: int) -> None:
    """Without dilation: pooling layers have none, and with it a window may hold padding alone."""
    rng = np.random.default_rng(stride)
    for length, kernel in product(LENGTHS, KERNELS):
        x = rng.standard_normal(length)
        expected = reduced(x, [(length, kernel, stride, 1)], "avg")
        answer = pool(x, f"avg:{kernel},stride={stride},pad=same")
        atol = kernel * np.finfo(np.float64).eps * np.abs(x).max()
        np.testing.assert_allclose(answer, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("operation", ["max", "avg"])
@pytest.mark.parametrize("rank", [2, 3])
def test_maps_of_several_axes_in_tensorflows_words(rank: int, operation: str) -> None:
    rng = np.random.default_rng(rank)
    for _ in range(60):
        axes = [
            (int(rng.integers(1, 9)), int(rng.integers(1, 5)), int(rng.integers(1, 4)), 1)
            for _ in range(rank)
        ]
        lengths, kernels, strides, _ = zip(*axes, strict=True)
        x = rng.standard_normal(lengths)
        spec = f"{operation}:{text(kernels)},stride={text(strides)},pad=same"
        answer = pool(x, spec, layout="DHW"[-rank:])
        expected = reduced(x, axes, operation)
        exact = operation == "max"
        atol = 0 if exact else prod(kernels) * np.finfo(np.float64).eps * np.abs(x).max()
        np.testing.assert_allclose(answer, expected, rtol=0, atol=atol, err_msg=str(axes))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("stride", STRIDES)
def test_convolutions_in_tensorflows_words(stride: int, rate: int, tmp_path: Path) -> None:
    rng = np.random.default_rng([stride, rate])
    for kernel in KERNELS:
        weights = rng.integers(-9, 10, kernel).astype(np.float64)
        file = tmp_path / f"weights{kernel}.npy"
        np.save(file, weights.reshape(1, 1, kernel))
        for length in LENGTHS:
            axis = (length, kernel, stride, rate)
            x = rng.integers(-9, 10, length).astype(np.float64)
            whole = padded(x, [axis], 0)
            expected = [float(weights @ whole[window]) for window in windows_along(*axis)]
            spec = f'conv,weights="{file}",stride={stride},pad=same,dilation={rate}'
            answer = pool(x.reshape(1, 1, length), spec, layout="NCW")
            np.testing.assert_array_equal(answer.ravel(), expected, str(axis))


@pytest.mark.parametrize("stride", STRIDES)
def test_valid_is_no_padding_at_all(stride: int) -> None:
    """TensorFlow: ceil((input - filter + 1) / stride)."""
    for length, kernel in product(LENGTHS, KERNELS):
        if length < kernel:
            continue
        (step,) = plan((length,), f"max:{kernel},stride={stride},pad=valid").steps
        assert step.shape == (ceil((length - kernel + 1) / stride),)
        assert step.padding == ((0, 0),)


def text(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
