"""scikit-image's block_reduce is poolcli's default where the block divides the map.

Where it doesn't, block_reduce pads with zeros that take part; poolcli's ``ceil`` reduces what there
is. The same can be had of block_reduce by padding with NaN and reductions that skip it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray

from poolcli import pool

measure = pytest.importorskip("skimage.measure")

Array = NDArray[Any]
Sizes = tuple[int, ...]

REDUCTIONS: dict[str, Callable[..., Any]] = {
    "max": np.max,
    "min": np.min,
    "avg": np.mean,
    "median": np.median,
    "sum": np.sum,
}
SKIPPING: dict[str, Callable[..., Any]] = {
    "max": np.nanmax,
    "min": np.nanmin,
    "avg": np.nanmean,
    "median": np.nanmedian,
    "sum": np.nansum,
}
LAYOUTS = {1: "W", 2: "HW", 3: "DHW"}
MAPS = 40


def draws(*parts: object) -> Iterator[Generator]:
    seed = [ord(letter) for letter in " ".join(map(str, parts))]
    for case in range(MAPS):
        yield np.random.default_rng([case, *seed])


def drawn_numbers(rng: Generator, most: int, rank: int) -> Sizes:
    return tuple(int(number) for number in rng.integers(1, most + 1, rank))


def drawn_map(rng: Generator, shape: Sizes, dtype: str) -> Array:
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    bounds = np.iinfo(dtype)
    return rng.integers(bounds.min, bounds.max, shape, dtype, endpoint=True)


def assert_close(answer: Array, expected: Array, block: Sizes, operation: str) -> None:
    """Compare: exact but for sums of floats, and integers' averages, which are float32 here."""
    exact = operation in ("max", "min") or answer.dtype.kind in "iu"
    terms = prod(block)
    eps = 0 if exact else float(np.finfo(answer.dtype).eps)
    magnitude = float(np.abs(expected).max()) if operation != "sum" else float(terms)
    # Elements of a normal distribution stay below 6 here.
    atol = 6 * terms * eps * max(magnitude, 1)
    np.testing.assert_allclose(answer, expected, rtol=eps, atol=atol, err_msg=str(block))


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8", "int16"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("operation", REDUCTIONS)
def test_blocks_that_divide_the_map(operation: str, rank: int, dtype: str) -> None:
    for rng in draws(operation, rank, dtype):
        block = drawn_numbers(rng, 5, rank)
        counts = drawn_numbers(rng, 4, rank)
        x = drawn_map(rng, tuple(b * c for b, c in zip(block, counts, strict=True)), dtype)
        expected = measure.block_reduce(x, block, REDUCTIONS[operation])
        answer = pool(x, f"{operation}:{'x'.join(map(str, block))}", layout=LAYOUTS[rank])
        assert answer.shape == expected.shape
        if operation in ("max", "min", "sum"):
            assert answer.dtype == expected.dtype
        assert_close(answer, expected, block, operation)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("operation", REDUCTIONS)
def test_with_ceil_the_blocks_at_the_edge_reduce_what_there_is(operation: str, rank: int) -> None:
    for rng in draws("ceil", operation, rank):
        block = drawn_numbers(rng, 5, rank)
        shape = drawn_numbers(rng, 13, rank)
        x = drawn_map(rng, shape, "float64")
        expected = measure.block_reduce(x, block, SKIPPING[operation], cval=np.nan)
        answer = pool(x, f"{operation}:{'x'.join(map(str, block))},ceil", layout=LAYOUTS[rank])
        assert answer.shape == expected.shape
        assert_close(answer, expected, block, operation)


@pytest.mark.parametrize("operation", REDUCTIONS)
def test_without_ceil_the_rest_is_dropped(operation: str) -> None:
    for rng in draws("floor", operation):
        block = drawn_numbers(rng, 4, 2)
        shape = tuple(b + int(rng.integers(0, 9)) for b in block)
        x = drawn_map(rng, shape, "float64")
        whole = x[tuple(slice(n // b * b) for n, b in zip(shape, block, strict=True))]
        expected = measure.block_reduce(whole, block, REDUCTIONS[operation])
        answer = pool(x, f"{operation}:{block[0]}x{block[1]}")
        assert_close(answer, expected, block, operation)


@pytest.mark.parametrize(
    ("operation", "value", "skimages", "ours"),
    [
        # 3×3 of one value in blocks of 2: the corner block holds one element and three zeros.
        pytest.param("avg", 10.0, [[10, 5], [5, 2.5]], [[10, 10], [10, 10]], id="avg of 10"),
        pytest.param("max", -10.0, [[-10, 0], [0, 0]], [[-10, -10], [-10, -10]], id="max of -10"),
        pytest.param("min", 10.0, [[10, 0], [0, 0]], [[10, 10], [10, 10]], id="min of 10"),
        pytest.param("median", 10.0, [[10, 5], [5, 0]], [[10, 10], [10, 10]], id="median of 10"),
        pytest.param("sum", 10.0, [[40, 20], [20, 10]], [[40, 20], [20, 10]], id="sum of 10"),
    ],
)
def test_scikit_image_counts_the_zeros_that_it_pads_with(
    operation: str, value: float, skimages: list[list[float]], ours: list[list[float]]
) -> None:
    x = np.full((3, 3), value)
    np.testing.assert_array_equal(measure.block_reduce(x, 2, REDUCTIONS[operation]), skimages)
    np.testing.assert_array_equal(pool(x, f"{operation}:2,ceil"), ours)
