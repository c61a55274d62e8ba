from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcli.kernels import casts
from poolcli.kernels.casts import TIE, Losses, cast, round_half_even
from tests.oracle import half_even

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]
INF, NAN = np.inf, np.nan


def bounds(dtype: str) -> tuple[int, int]:
    if dtype == "bool":
        return 0, 1
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def integers(dtype: str) -> st.SearchStrategy[int]:
    low, high = bounds(dtype)
    near = [low, low + 1, 0, 1, high - 1, high]
    return st.one_of(st.integers(low, high), st.sampled_from([v for v in near if low <= v <= high]))


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([*INTEGERS, "bool"]), st.sampled_from([*INTEGERS, "bool"]), st.data())
def test_integers_saturate_at_the_targets_ends(
    source: str, target: str, data: st.DataObject
) -> None:
    values = data.draw(st.lists(integers(source), min_size=1, max_size=8))
    low, high = bounds(target)
    expected = [min(max(value, low), high) for value in values]
    result, losses = cast(np.array(values, source), target)
    assert result.dtype == target
    assert [int(value) for value in result] == expected
    outside = sum(value != kept for value, kept in zip(values, expected, strict=True))
    assert losses == Losses(saturated=outside)


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(["float32", "float64"]), st.sampled_from([*INTEGERS, "bool"]), st.data())
def test_floats_round_half_to_even_saturate_and_lose_nan(
    source: str, target: str, data: st.DataObject
) -> None:
    narrow = source == "float32"
    low, high = bounds(target)
    ends = [float(np.dtype(source).type(end)) for end in (low, high)]
    halves = st.integers(-600, 600).map(lambda n: n / 2)
    floats = st.floats(width=32) if narrow else st.floats()
    value = st.one_of(floats, halves, st.sampled_from([*ends, INF, -INF, NAN]))
    values = data.draw(st.lists(value, min_size=1, max_size=8))
    result, losses = cast(np.array(values, source), target)
    expected, lost = [], Losses()
    for each in values:
        kept, loss = exactly(each, low, high)
        expected.append(kept)
        lost += loss
    assert result.dtype == target
    assert [int(value) for value in result] == expected
    assert losses == lost


def exactly(value: float, low: int, high: int) -> tuple[int, Losses]:
    if np.isnan(value):
        return 0, Losses(nan=1)
    if np.isinf(value):
        return (high if value > 0 else low), Losses(saturated=1)
    fraction = Fraction(value)
    whole = half_even(fraction)
    below = fraction.numerator // fraction.denominator
    if abs(fraction - below - Fraction(1, 2)) <= Fraction(TIE):
        whole = below if below % 2 == 0 else below + 1
    kept = min(max(whole, low), high)
    return kept, Losses(rounded=int(whole != fraction), saturated=int(kept != whole))


@pytest.mark.parametrize("target", [*INTEGERS, "bool"])
def test_half_precision_to_integers(target: str) -> None:
    """The ends of wide integers are beyond float16: nothing finite saturates there."""
    low, high = bounds(target)
    values = [-65504.0, -2.5, -0.5, 0.5, 1.5, 2.0, 65504.0, INF, -INF, NAN]
    result, losses = cast(np.array(values, "float16"), target)
    expected = [exactly(value, low, high) for value in values]
    assert [int(value) for value in result] == [kept for kept, _ in expected]
    assert losses == sum((loss for _, loss in expected), Losses())


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        (0.5, 0),
        (1.5, 2),
        (2.5, 2),
        (-0.5, 0),
        (-1.5, -2),
        (-2.5, -2),
        (2.5 - 0.9e-6, 2),
        (2.5 + 0.9e-6, 2),
        (3.5 - 0.9e-6, 4),
        (3.5 + 0.9e-6, 4),
        (2.5 + 1.1e-6, 3),
        (3.5 - 1.1e-6, 3),
        (-3.5 + 0.9e-6, -4),
        (2.4, 2),
        (2.6, 3),
        (-2.6, -3),
        (1e300, 1e300),
        (2.0**52 + 1, 2.0**52 + 1),
        (INF, INF),
        (-INF, -INF),
    ],
)
def test_ties_go_to_the_even_neighbour(value: float, whole: float) -> None:
    assert round_half_even(np.array([value]))[0] == whole


@pytest.mark.parametrize("dtype", FLOATS)
def test_rounding_keeps_the_dtype_and_nan(dtype: str) -> None:
    rounded = round_half_even(np.array([0.5, 1.5, NAN], dtype))
    assert rounded.dtype == dtype
    np.testing.assert_array_equal(rounded, np.array([0, 2, NAN], dtype))


@pytest.mark.parametrize(
    ("source", "target", "values", "expected", "saturated"),
    [
        ("float64", "float32", [1e300, -1e300, 1.0], [3.4028234663852886e38] * 1, 2),
        ("float64", "float16", [70000.0, -70000.0, 1.0], [65504.0], 2),
        ("float32", "float16", [70000.0, -70000.0, 1.0], [65504.0], 2),
        ("int64", "float16", [10**6, -(10**6), 1], [65504.0], 2),
        ("uint64", "float16", [2**63, 2**64 - 1, 1], [65504.0], 2),
        ("int32", "float16", [65504, 65519, 65520], [65504.0], 1),
    ],
)
def test_finite_values_too_large_for_a_float_saturate(
    source: str, target: str, values: list[Any], expected: list[float], saturated: int
) -> None:
    array = np.array(values, source)
    result, losses = cast(array, target)
    assert result.dtype == target
    assert float(np.abs(result).max()) == expected[0]
    assert np.isfinite(result).all()
    assert (np.sign(result) == np.sign(array.astype(float))).all()
    assert losses == Losses(saturated=saturated)


def test_floats_keep_nan_and_infinities_in_a_narrower_float() -> None:
    result, losses = cast(np.array([INF, -INF, NAN, 0.1]), "float16")
    np.testing.assert_array_equal(result, np.array([INF, -INF, NAN, 0.1], "float16"))
    assert losses == Losses()


def test_a_cast_to_the_same_dtype_loses_nothing() -> None:
    array = np.array([0.1, NAN, INF])
    result, losses = cast(array, "float64")
    assert result is array
    assert losses == Losses()


@pytest.mark.parametrize("order", ["C", "F"])
def test_shape_and_order_of_elements_stay(order: Any) -> None:
    array = np.asarray(np.arange(24.0).reshape(2, 3, 4) + 0.25, order=order)
    result, losses = cast(array, "uint8")
    np.testing.assert_array_equal(result, np.arange(24).reshape(2, 3, 4))
    assert losses == Losses(rounded=24)


def test_an_array_without_elements_can_be_cast() -> None:
    result, losses = cast(np.empty((0, 3)), "uint8")
    assert (result.shape, result.dtype.name, losses) == ((0, 3), "uint8", Losses())


def test_losses_of_every_block_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(casts, "_BLOCK", 4)
    values = np.array([0.25, 300, NAN, -1, 1, 2, 3, NAN, 0.75, 256, 7])
    result, losses = cast(values, "uint8")
    assert result.tolist() == [0, 255, 0, 0, 1, 2, 3, 0, 1, 255, 7]
    assert losses == Losses(rounded=2, saturated=3, nan=2)


def test_the_source_of_a_cast_is_never_changed() -> None:
    array = np.array([NAN, 0.5, 300.0])
    before = array.copy()
    cast(array, "uint8")
    cast(array, "float16")
    np.testing.assert_array_equal(array, before)
