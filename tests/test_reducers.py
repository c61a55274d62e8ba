"""What is done in a window: values worked by hand, and the traps of the field."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from poolcli.api import pool
from poolcli.errors import PlanError, PoolError, RangeError
from poolcli.kernels.reducers import REDUCERS
from poolcli.operations import OPERATIONS

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]
OPS = ["max", "min", "avg", "sum", "lp", "pick"]


def test_every_operation_over_windows_has_its_reducer() -> None:
    windowed = {name for name, facts in OPERATIONS.items() if facts.family == "windows"}
    assert windowed == set(REDUCERS)


@pytest.mark.parametrize(
    ("values", "spec", "expected"),
    [
        pytest.param([1, 2, 3, 4], "max:2", [2, 4], id="max"),
        pytest.param([1, 2, 3, 4], "min:2", [1, 3], id="min"),
        pytest.param([1, 2, 3, 4], "avg:2", [1.5, 3.5], id="avg"),
        pytest.param([1, 2, 3, 4], "sum:2", [3, 7], id="sum"),
        pytest.param([3, 4, 5, 12], "lp:2", [5, 13], id="lp"),
        pytest.param([-3, 3, 1, -1], "lp:2,norm=3", [54 ** (1 / 3), 2 ** (1 / 3)], id="odd-norm"),
        pytest.param([-3, 4], "lp:2,norm=1", [7], id="norm-1"),
        pytest.param([1, 4], "lp:2,norm=0.5", [9], id="norm-half"),
        pytest.param([1, 2, 3, 4, 5], "pick:2", [1, 3], id="pick"),
        pytest.param([1, 2, 3, 4, 5], "pick:2,ceil", [1, 3, 5], id="pick-ceil"),
        pytest.param([1, 2, 3], "pick:3,s=1,pad=1", [1, 1, 2], id="pick-skips-padding"),
        pytest.param([1, 2, 3, 4], "avg:3,s=2,p=1,ceil", [1, 3, 2], id="overhang-is-not-counted"),
        pytest.param([1, 2, 3, 4], "avg:3,s=2,p=1,ceil,exclude-pad", [1.5, 3, 4], id="exclude"),
        pytest.param([1, 2, 3, 4], "avg:3,s=2,p=1,ceil,divisor=2", [1.5, 4.5, 2], id="divisor"),
        pytest.param([10, 10, 10], "avg:3,s=1,pad=same", [10, 10, 10], id="same-of-a-constant"),
        pytest.param([6, 6, 6], "avg:3,s=1,pad=same,include-pad", [4, 6, 4], id="same-included"),
        pytest.param([-5, -6], "max:3,s=1,p=1", [-5, -5], id="zeros-do-not-win"),
        pytest.param([5, 6], "min:3,s=1,p=1", [5, 5], id="zeros-do-not-lose"),
        pytest.param([1, 2, 3], "sum:3,s=1,p=2", [1, 3, 6, 5, 3], id="padding-over-half"),
        pytest.param(
            [1, 2, 3, 4], "avg:3,s=1,p=2-0,pad-mode=reflect", [2, 5 / 3, 2, 3], id="reflect"
        ),
        pytest.param([1, 2, 4], "sum:2,s=1,p=1,pad-mode=wrap", [5, 3, 6, 5], id="wrap"),
        pytest.param([1, 2, 4], "sum:2,s=1,p=1,pad-mode=edge", [2, 3, 6, 8], id="edge"),
        pytest.param([-7, 1, 2], "max:2,s=1,p=1,pad-mode=edge", [-7, 1, 2, 2], id="edge-of-max"),
        pytest.param(
            [1, 2, 3, 4],
            "avg:3,s=2,p=1,ceil,pad-mode=edge",
            [4 / 3, 3, 4],
            id="overhang-is-absent-beside-values",
        ),
        pytest.param([1, 2, 3, 4, 5], "max,out=3", [2, 4, 5], id="adaptive"),
        pytest.param([1, 2, 3, 4, 5], "avg,out=3", [1.5, 3, 4.5], id="adaptive-avg"),
        pytest.param([4, 8], "avg,out=4", [4, 4, 8, 8], id="adaptive-upwards"),
        pytest.param([4, 8, 3], "avg:global", [5], id="global"),
        pytest.param([4, 8, 3], "avg:global,divisor=5", [3], id="global-divisor"),
        pytest.param([1, 2, 3, 4, 5, 6], "max:2,s=1,d=3", [4, 5, 6], id="dilated"),
        pytest.param([1, 2, 3, 4, 5, 6], "sum:2,s=1,d=3", [5, 7, 9], id="dilated-sum"),
        pytest.param([-1, 0, 2], "relu", [0, 0, 2], id="relu"),
    ],
)
def test_values_worked_by_hand(values: list[int], spec: str, expected: list[float]) -> None:
    for dtype in ("int16", "float64"):
        result = pool(np.array(values, dtype), spec)
        np.testing.assert_allclose(result, expected, rtol=1e-7)


def test_channels_can_be_pooled_instead_of_pixels() -> None:
    """Three channels of 2×2 pixels to two: channel 0 with 1, and 1 with 2."""
    array = np.array([[[1, 9], [0, 2]], [[5, 3], [0, 4]], [[2, 6], [7, 0]]])
    expected = [[[5, 9], [0, 4]], [[5, 6], [7, 4]]]
    assert pool(array, "max:2,s=1,over=channels").tolist() == expected
    last = np.moveaxis(array, 0, 2)
    result = pool(last, "max:2,s=1,over=channels", layout="HWC")
    assert np.moveaxis(result, 2, 0).tolist() == expected


def test_one_size_per_axis_goes_in_the_order_depth_height_width() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    assert pool(array, "max:2x1x4", layout="DHW").tolist() == [[[15], [19], [23]]]
    turned = array.transpose(2, 1, 0)
    assert pool(turned, "max:2x1x4", layout="WHD").shape == (1, 3, 1)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_extremes_of_a_dtype_survive(dtype: str) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    array = np.array([low, low, high, high], dtype)
    assert pool(array, "max:2,p=1").tolist() == [low, high, high]
    assert pool(array, "min:2,p=1").tolist() == [low, low, high]
    assert pool(array, "pick:2").tolist() == [low, high]


def test_the_maximum_of_the_least_int8_is_itself() -> None:
    assert pool(np.full(3, -128, "int8"), "max:3,s=1,p=1").tolist() == [-128] * 3


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool", *FLOATS])
def test_a_window_of_padding_alone(dtype: str) -> None:
    """Length 1, kernel 2 at dilation 2 with padding 1: positions -1 and 1, both padding."""
    one = np.ones(1, dtype)
    if dtype in FLOATS:
        least, most = -math.inf, math.inf
    elif dtype == "bool":
        least, most = 0, 1
    else:
        least, most = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    for pad in ("pad=1", "pad=same"):
        assert float(pool(one, f"max:2,s=1,d=2,{pad}")[0]) == least
        assert float(pool(one, f"min:2,s=1,d=2,{pad}")[0]) == most
        assert pool(one, f"sum:2,s=1,d=2,{pad}").tolist() == [0]
        assert pool(one, f"lp:2,s=1,d=2,{pad}").tolist() == [0]
    assert pool(one, "avg:2,d=2,p=1").tolist() == [0]
    assert pool(one, "avg:2,d=2,p=1,exclude-pad,divisor=3").tolist() == [0]


@pytest.mark.parametrize(
    "spec",
    ["pick:2,d=2,p=1", "pick:2,d=2,pad=same", "avg:2,d=2,p=1,exclude-pad", "avg:2,d=2,p=same"],
)
def test_nothing_can_be_made_of_padding_alone(spec: str) -> None:
    text = "along W: a window holds nothing but padding, of which (pick|avg) has no value"
    with pytest.raises(PlanError, match=text):
        pool(np.ones(1), spec)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("place", range(9))
@pytest.mark.parametrize("op", ["max", "min", "avg", "sum", "lp"])
def test_nan_wins_wherever_it_stands_and_goes_no_further(op: str, place: int, dtype: str) -> None:
    array = np.arange(27.0).reshape(3, 9).astype(dtype)
    array[place // 3, 3 + place % 3] = math.nan
    result = pool(array, f"{op}:3")
    assert np.isnan(result).tolist() == [[False, True, False]]
    assert np.isnan(pool(array, f"{op}:global")).all()


@pytest.mark.parametrize("op", ["max", "avg", "sum"])
def test_infinity_goes_no_further_than_its_window(op: str) -> None:
    array = np.array([1.0, math.inf, 1, 1, -math.inf, math.inf, 1, 1])
    result = pool(array, f"{op}:2").tolist()
    assert result[0] == math.inf
    assert math.isfinite(result[1])
    assert result[2] == math.inf if op == "max" else math.isnan(result[2])
    assert math.isfinite(result[3])


def test_pick_does_not_look_at_the_rest_of_its_window() -> None:
    assert pool(np.array([1.0, math.nan, 3.0, math.inf]), "pick:2").tolist() == [1, 3]


def test_relu_keeps_nan_and_the_dtype() -> None:
    result = pool(np.array([math.nan, -1, 2, -math.inf], "float16"), "relu")
    np.testing.assert_array_equal(result, np.array([math.nan, 0, 2, 0], "float16"))


def test_sums_of_small_integers_do_not_wrap() -> None:
    result = pool(np.array([200, 200], "uint8"), "sum:2")
    assert (result.tolist(), result.dtype.name) == ([400], "uint64")
    result = pool(np.array([-128, -128], "int8"), "sum:2")
    assert (result.tolist(), result.dtype.name) == ([-256], "int64")
    assert pool(np.array([True] * 3), "sum:3").tolist() == [3]
    assert pool(np.full(3, 2**32 - 1, "uint32"), "sum:3").tolist() == [3 * (2**32 - 1)]


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int64", [2**62, 2**62 - 1]),
        ("int64", [-(2**62), -(2**62)]),
        ("int64", [2**63 - 1, 2**63 - 1, -(2**63), 1]),
        ("uint64", [2**63, 2**63 - 1]),
        ("uint64", [2**64 - 1, 0, 0]),
        ("int64", [2**32 - 1, 2**32 - 1, -1, -(2**32)]),
    ],
)
def test_sums_up_to_64_bits_are_exact(dtype: str, values: list[int]) -> None:
    result = pool(np.array(values, dtype), "sum:global")
    assert int(result[0]) == sum(values)
    assert result.dtype == dtype


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int64", [2**62, 2**62]),
        ("int64", [2**63 - 1, 1]),
        ("int64", [-(2**63), -1]),
        ("uint64", [2**63, 2**63]),
        ("uint64", [2**64 - 1, 1]),
        ("uint64", [2**64 - 1] * 5),
    ],
)
def test_sums_beyond_64_bits_are_an_error(dtype: str, values: list[int]) -> None:
    text = rf"^stage 2 \(sum:global\): a sum does not fit in {dtype}: convert the input to float64$"
    with pytest.raises(RangeError, match=text) as caught:
        pool(np.array(values, dtype), "max:1", "sum:global")
    assert isinstance(caught.value, PoolError)
    assert isinstance(caught.value, ValueError)
    assert pool(np.array(values, "float64"), "sum:global")[0] == float(sum(values))


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int64", [2**53 + 1, 2**53 + 3]),
        ("int64", [2**63 - 1, -(2**63), 1, 0]),
        ("int64", [2**62 + 1] * 4),
        ("uint64", [2**64 - 1, 2**64 - 1]),
        ("uint64", [2**64 - 1, 1]),
        ("int32", [2**31 - 1, 2**31 - 2, 2**31 - 1]),
        ("uint32", [2**32 - 1] * 7),
        ("int64", [7558645880288028715, 4231686553346609797, 1131852855112859753]),
        ("int64", [2074381856300886851, 1842003053067705283, 6659438099934206990]),
    ],
)
def test_averages_of_wide_integers_are_the_fraction_rounded_once(
    dtype: str, values: list[int]
) -> None:
    result = pool(np.array(values, dtype), "avg:global")
    assert result.dtype == "float64"
    assert result[0] == float(Fraction(sum(values), len(values)))


@pytest.mark.parametrize(("dtype", "slack"), [("float32", 1e-7), ("float16", 1e-3)])
def test_long_sums_do_not_stall(dtype: str, slack: float) -> None:
    """4096² times 0.1: a running float32 sum averages 0.115, a float16 one stops at 2048."""
    tenths = np.full((4096, 4096), 0.1, dtype)
    tenth = float(np.dtype(dtype).type(0.1))
    assert abs(float(pool(tenths, "avg:global")[0, 0]) - tenth) <= slack * 0.1


def test_half_precision_accumulates_in_single() -> None:
    assert pool(np.full(2, 60000, "float16"), "avg:2").tolist() == [60000]
    assert pool(np.array([2048, 1, 1], "float16"), "sum:3").tolist() == [2050]


@pytest.mark.parametrize("size", [64, 65])
def test_single_precision_sums_of_any_length_are_near_the_true_one(size: int) -> None:
    values = np.full(size, 0.1, "float32")
    true = size * Fraction(float(np.float32(0.1)))
    assert abs(Fraction(float(pool(values, f"sum:{size}")[0])) - true) <= true / 10**6


def test_sums_of_floats_overflow_to_infinity_without_a_warning() -> None:
    assert pool(np.full(2, 3e38, "float32"), "sum:2").tolist() == [math.inf]
    assert pool(np.full(2, 65504, "float16"), "sum:2").tolist() == [math.inf]
    assert pool(np.full(2, -1e308), "sum:2").tolist() == [-math.inf]


@pytest.mark.parametrize("norm", [20, 200, 2000])
def test_a_high_norm_neither_overflows_nor_vanishes(norm: int) -> None:
    """For n without bound the norm is the largest value."""
    large, tiny = np.array([100, 200], "uint8"), np.array([1e-30, 5e-31], "float32")
    for array in (large, tiny):
        result = float(pool(array, f"lp:2,norm={norm}")[0])
        assert result == pytest.approx(float(array.max()), rel=1e-5, abs=0)


@pytest.mark.parametrize("op", OPS)
def test_many_small_windows_and_few_large_ones_agree(op: str) -> None:
    """Kernels below and above the number of outputs take different ways through the array."""
    array = np.random.default_rng(3).integers(-50, 50, (7, 40)).astype("float64")
    for keys in ("3,s=1,p=1", "19,s=5,p=7,ceil", "5,s=2,d=3,p=4"):
        long = pool(array, f"{op}:{keys}")
        for row in range(long.shape[-2]):
            for column in range(0, long.shape[-1], 3):
                assert long[row, column] == pytest.approx(by_hand(op, array, keys, row, column))


def by_hand(
    op: str,
    array: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    keys: str,
    row: int,
    column: int,
) -> float:
    size, *rest = keys.split(",")
    said = dict(part.split("=") for part in rest if "=" in part)
    kernel, stride, pad, dilation = (
        int(text) for text in (size, said["s"], said["p"], said.get("d", "1"))
    )
    values, declared = [], 0
    for down in range(kernel):
        for across in range(kernel):
            y = row * stride - pad + down * dilation
            x = column * stride - pad + across * dilation
            declared += y < array.shape[0] + pad and x < array.shape[1] + pad
            if 0 <= y < array.shape[0] and 0 <= x < array.shape[1]:
                values.append(float(array[y, x]))
    return {
        "max": max(values),
        "min": min(values),
        "sum": sum(values),
        "avg": sum(values) / declared,
        "lp": math.sqrt(sum(value * value for value in values)),
        "pick": values[0],
    }[op]
