"""Averages of integers cast as the true fractions would be: exact, half to even, counted."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poolcli.kernels.casts import Losses, Quotient
from tests.cases import INTEGERS

WHOLE = [dtype for dtype in INTEGERS if dtype != "bool"]


def sums_of(dtype: str, margin: int = 64) -> NDArray[Any]:
    """Return sums about zero and over the whole range, but what is nearest to its ends.

    A dtype of sums is chosen so that as much is left.
    """
    bounds = np.iinfo(dtype)
    low, high = int(bounds.min) + margin, int(bounds.max) - margin
    if low == margin:
        low = 0
    generator = np.random.default_rng(0)
    anywhere = generator.integers(low, high, 200, dtype, endpoint=True)
    small = np.arange(max(low, -60), min(high, 130)).astype(dtype)
    return np.concatenate([small, anywhere, np.array([low, high], dtype)])


def fractions(sums: NDArray[Any], counts: NDArray[Any] | int) -> list[Fraction]:
    every = np.broadcast_to(np.asarray(counts), sums.shape)
    pairs = zip(sums.ravel().tolist(), every.ravel().tolist(), strict=True)
    return [Fraction(total, count) for total, count in pairs]


def expected_of(exact: list[Fraction], dtype: str) -> tuple[list[int], Losses]:
    """Return what Python's own rounding, half to even, makes of fractions."""
    bounds = np.iinfo(dtype)
    rounded = [round(each) for each in exact]
    kept = [min(max(each, int(bounds.min)), int(bounds.max)) for each in rounded]
    not_whole = sum(each.denominator != 1 for each in exact)
    beyond = sum(was != is_now for was, is_now in zip(rounded, kept, strict=True))
    return kept, Losses(rounded=not_whole, saturated=beyond)


@pytest.mark.parametrize("out_dtype", ["uint8", "int8", "int16", "int64", "uint64"])
@pytest.mark.parametrize("dtype", WHOLE)
def test_averages_are_the_exact_fractions_rounded_half_to_even(dtype: str, out_dtype: str) -> None:
    sums = sums_of(dtype)
    before = sums.copy()
    for count in range(1, 21):
        expected, losses = expected_of(fractions(sums, count), out_dtype)
        out = np.empty(sums.shape, out_dtype)
        assert Quotient(sums, count).cast(out) == losses
        assert out.tolist() == expected, count
    np.testing.assert_array_equal(sums, before)


@pytest.mark.parametrize("out_dtype", ["uint8", "int16", "int64"])
@pytest.mark.parametrize("dtype", WHOLE)
def test_counts_may_differ_from_window_to_window(dtype: str, out_dtype: str) -> None:
    sums = sums_of(dtype)[:260].reshape(13, 20)
    for counts in (np.arange(1, 21), np.array([[1], [2], [4], [8], [16]] * 2 + [[9], [6], [3]])):
        expected, losses = expected_of(fractions(sums, counts), out_dtype)
        out = np.empty(sums.shape, out_dtype)
        assert Quotient(sums, counts).cast(out) == losses
        assert out.ravel().tolist() == expected


@pytest.mark.parametrize("count", [2, 3, 4, 9])
def test_what_is_rounded_is_counted_only_if_asked_for(count: int) -> None:
    sums = np.arange(-2000, 2000, dtype=np.int32)
    expected, losses = expected_of(fractions(sums, count), "int8")
    out = np.empty(sums.shape, np.int8)
    assert losses.saturated > 0
    lost = Quotient(sums, count).cast(out, counted=False)
    assert lost == Losses(saturated=losses.saturated)
    assert out.tolist() == expected


@pytest.mark.parametrize(("dtype", "wide"), [("uint8", "uint16"), ("int8", "int32")])
@pytest.mark.parametrize("count", [2, 3, 4, 9, 16, 25, 256])
def test_averages_within_a_dtype_fill_all_its_range(dtype: str, wide: str, count: int) -> None:
    """Sums of as many least and greatest elements as there are, in the dtype they are summed in."""
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    every = range(low * count, high * count + 1)
    sums = np.array([every[0], every[-1], *every[:: max(1, len(every) // 3000)]], wide)
    expected, losses = expected_of(fractions(sums, count), dtype)
    out = np.empty(sums.shape, dtype)
    assert Quotient(sums, count, np.dtype(dtype)).cast(out) == losses
    assert losses.saturated == 0
    assert out.tolist() == expected


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_a_window_of_very_many_elements_is_divided_in_floats_with_the_same_ties(dtype: str) -> None:
    count = 20_000
    sums = np.array([10_000, 30_000, 50_000, -10_000, -30_000, 29_999, 30_001, 0, 20_000], dtype)
    out = np.empty(sums.shape, np.int16)
    assert Quotient(sums, count).cast(out) == Losses(rounded=7)
    np.testing.assert_array_equal(out, [0, 2, 2, 0, -2, 1, 2, 0, 1])


@pytest.mark.parametrize("count", range(1, 21))
def test_real_averages_are_rounded_once(count: int) -> None:
    sums = sums_of("int32")
    expected = np.array([float(each) for each in fractions(sums, count)])
    np.testing.assert_array_equal(Quotient(sums, count).real(), expected)
    for dtype in (np.float64, np.float32):
        out = np.empty(sums.shape, dtype)
        assert Quotient(sums, count).cast(out) == Losses()
        np.testing.assert_array_equal(out, expected.astype(dtype))


def test_averages_too_large_for_half_precision_saturate() -> None:
    out = np.empty(2, np.float16)
    assert Quotient(np.array([10**6, 6]), 3).cast(out) == Losses(saturated=1)
    assert out.tolist() == [65504.0, 2.0]
