"""poolcli.pool against the oracle: any operation, window, axes, layout and dtype."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import poolcli
from poolcli import PlanError, PoolError, RangeError, SpecError
from poolcli.api import pool
from tests import oracle
from tests.cases import FLOATS, INTEGERS, Case, cases, check_exactly, check_nearly, sizes_of
from tests.oracle import Lay


@settings(deadline=None, max_examples=800)
@given(cases(["max", "min", "pick"], INTEGERS + FLOATS))
def test_max_min_and_pick_are_the_oracles(case: Case) -> None:
    check_exactly(case)


@settings(deadline=None, max_examples=400)
@given(cases(["sum"], INTEGERS))
def test_sums_of_integers_are_exact_or_refused(case: Case) -> None:
    if case.is_refused():
        return
    expected = case.expected()
    target = np.dtype("uint64" if case.array.dtype.kind == "u" else "int64")
    sums = [int(each) for each in oracle.flat(expected)]
    bounds = np.iinfo(target)
    if any(not bounds.min <= each <= bounds.max for each in sums):
        with pytest.raises(RangeError, match="does not fit"):
            case.result()
        return
    result = case.result()
    assert result.dtype == target
    assert list(result.shape) == oracle.shape_of(expected)
    assert [int(each) for each in result.reshape(-1)] == sums


def check_average_of_integers(case: Case, slack: int) -> None:
    """Compare an average with the true fraction, rounded once but for ``slack`` units."""
    if case.is_refused():
        return
    expected = case.expected()
    flat = oracle.flat(expected)
    result = case.result()
    assert result.dtype == ("float64" if case.array.dtype.itemsize >= 4 else "float32")
    assert list(result.shape) == oracle.shape_of(expected)
    exact = np.array([float(each) for each in flat]).astype(result.dtype)
    if slack:
        np.testing.assert_array_max_ulp(result.reshape(-1), exact, slack)
    else:
        np.testing.assert_array_equal(result.reshape(-1), exact)


@settings(deadline=None, max_examples=500)
@given(cases(["avg"], [name for name in INTEGERS if "64" not in name]))
def test_averages_of_integers_are_rounded_once(case: Case) -> None:
    check_average_of_integers(case, slack=0)


@settings(deadline=None, max_examples=250)
@given(cases(["avg"], ["int64", "uint64"]))
def test_averages_of_64_bit_integers_miss_by_one_unit_at_most(case: Case) -> None:
    check_average_of_integers(case, slack=1)


@settings(deadline=None, max_examples=800)
@given(cases(["avg", "sum"], FLOATS))
def test_averages_and_sums_of_floats_are_the_oracles(case: Case) -> None:
    if case.is_refused():
        return
    # What n additions can lose, at most: n units of the accumulator of the sum of sizes.
    unit = float(np.finfo(np.promote_types(case.array.dtype, np.float32)).eps)
    check_nearly(case, oracle.flat(case.expected()), [size * 64 * unit for size in sizes_of(case)])


@settings(deadline=None, max_examples=400)
@given(cases(["lp"], INTEGERS + FLOATS))
def test_norms_are_the_oracles(case: Case) -> None:
    if not case.is_refused():
        flat = oracle.flat(case.expected())
        check_nearly(case, flat, [abs(each) * 1e-12 for each in flat])


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_averages_of_averages_of_integers_are_rounded_once(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["uint8", "int8", "int16", "uint16"]))
    array = data.draw(hnp.arrays(dtype, (12,)))
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=2))
    specs = [f"avg:{size}" for size in sizes]
    exact: Any = array.tolist()
    for size in sizes:
        exact = oracle.pool("avg", exact, (0,), (Lay(size, size),))
    rounded = [oracle.half_even(Fraction(each)) for each in exact]
    assert pool(array, *specs, dtype=dtype).tolist() == rounded
    single = np.array([float(each) for each in exact]).astype("float32")
    np.testing.assert_array_equal(pool(array, *specs), single)


def test_ties_after_two_averages_go_to_the_even_number() -> None:
    """All 6×6 pictures here average to a tie, which float64 alone rounds wrong now and then."""
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (4000, 6, 6), dtype=np.uint8)
    sums = pictures.sum(axis=(1, 2), dtype=np.int64)
    tied = pictures[sums % 36 == 18]
    assert len(tied) > 80
    exact = [oracle.half_even(Fraction(int(picture.sum(dtype=np.int64)), 36)) for picture in tied]
    result = pool(tied, "avg:3", "avg:2", layout="NHW", dtype="uint8")
    assert result.reshape(-1).tolist() == exact


def test_floats_round_to_their_dtype_after_each_stage() -> None:
    array = np.random.default_rng(1).standard_normal(64).astype("float16")
    at_once = pool(array, "avg:2", "avg:2", "lp:2")
    one_by_one = pool(pool(pool(array, "avg:2"), "avg:2"), "lp:2")
    np.testing.assert_array_equal(at_once, one_by_one)
    assert at_once.dtype == "float16"


def test_a_mixed_chain_of_integers_is_carried_exactly() -> None:
    array = np.array([[1, 2, 4], [8, 16, 33]], "uint8")
    thirds = [Fraction(7, 3), Fraction(57, 3)]
    assert pool(array, "avg:1x3", "max:2x1", "relu").tolist() == [[19.0]]
    assert pool(array, "avg:1x3", "sum:2x1", "avg:1").tolist() == [[float(np.float32(64 / 3))]]
    assert pool(array, "sum:1x3", "sum:2x1").dtype == "uint64"
    assert pool(array, "avg:1x3")[0, 0] == np.float32(float(thirds[0]))


CHAIN = ["max:2", "min:1", "avg:1", "sum:1", "lp:1", "pick:1", "max,out=_", "relu", "avg:global"]


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
@pytest.mark.parametrize("spec", CHAIN)
def test_the_input_is_neither_changed_nor_shared(spec: str, dtype: str) -> None:
    array = np.arange(-3, 13).reshape(4, 4).astype(dtype)
    before = array.copy()
    result = pool(array, spec)
    assert not np.shares_memory(result, array)
    result[...] = 1
    np.testing.assert_array_equal(array, before)


def test_no_stage_at_all_gives_a_copy() -> None:
    array = np.arange(4.0)
    result = pool(array)
    np.testing.assert_array_equal(result, array)
    assert not np.shares_memory(result, array)


@pytest.mark.parametrize("spec", ["max:2", "min:2", "avg:2", "sum:2", "lp:2", "pick:2", "relu"])
@pytest.mark.parametrize("dtype", [">i2", ">u4", ">i8", ">f2", ">f4", ">f8"])
def test_byte_order_does_not_matter(spec: str, dtype: str) -> None:
    big = np.arange(-8, 8).reshape(4, 4).astype(dtype)
    native = big.astype(big.dtype.newbyteorder("="))
    result = pool(big, spec)
    assert result.dtype.isnative
    np.testing.assert_array_equal(result, pool(native, spec))


@pytest.mark.parametrize("spec", ["max:2", "min:3", "avg:2", "sum:2", "lp:2", "pick:2", "relu"])
def test_strides_of_the_array_do_not_matter(spec: str) -> None:
    base = np.random.default_rng(2).standard_normal((9, 10, 12)).astype("float32")
    for view in (base[::2, ::-1, 1::3], base.T, np.broadcast_to(base[:1], (3, 10, 12))):
        np.testing.assert_array_equal(pool(view, spec), pool(np.ascontiguousarray(view), spec))


def test_a_read_only_array_can_be_pooled() -> None:
    array = np.arange(4)
    array.flags.writeable = False
    result = pool(array, "max:1")
    assert result.flags.writeable


def test_lists_are_arrays() -> None:
    assert pool([[1, 2], [3, 4]], "max:2").tolist() == [[4]]
    assert pool([True, False], "max:2").dtype == "bool"
    assert pool([0.5, 1.5], "avg:2").tolist() == [1.0]


@pytest.mark.parametrize("shape", [(0, 4, 4), (0, 2, 4, 4), (2, 0, 4, 4)])
@pytest.mark.parametrize("spec", ["max:2", "avg:3,pad=1", "sum:2", "lp:2", "pick:2", "relu"])
def test_an_empty_batch_gives_an_empty_batch(shape: tuple[int, ...], spec: str) -> None:
    result = pool(np.zeros(shape, "float32"), spec)
    assert result.shape[:-2] == shape[:-2]
    assert result.size == 0


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "U3", "S2", "O", "V4"])
def test_unsupported_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(PlanError, match="can't be pooled: known are bool, int8"):
        pool(np.zeros(4, dtype), "max:2")


def test_ragged_lists_are_refused_by_poolcli_itself() -> None:
    with pytest.raises(PoolError):
        pool([[1, 2], [3]], "max:2")


@pytest.mark.parametrize(
    ("shape", "layout", "error", "text"),
    [
        ((), None, PlanError, "an array of 0 axes has no layout"),
        ((1,) * 6, None, PlanError, "an array of 6 axes has no layout"),
        ((4, 4), "CHW", PlanError, "layout CHW names 3 axes, the array has 2"),
        ((4, 4), "XY", SpecError, "layout 'XY': letters out of N"),
        ((0, 4), None, PlanError, "along H: the axis is empty"),
        ((3, 4), "NC", PlanError, "layout NC has no spatial axis to slide over"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    shape: tuple[int, ...], layout: str | None, error: type[PoolError], text: str
) -> None:
    with pytest.raises(error, match=text):
        pool(np.zeros(shape), "max:2", layout=layout)


def test_an_unknown_result_dtype_is_refused_before_anything_is_done() -> None:
    with pytest.raises(SpecError, match="dtype 'uint9': did you mean uint8"):
        pool([1, 2], "max:9", dtype="uint9")


def test_a_convolution_without_weights_can_not_be_run() -> None:
    with pytest.raises(PlanError, match=r"stage 2 \(conv:1,out=3\)"):
        pool(np.zeros((2, 4, 4)), "max:2", "conv:1,out=3")


def test_the_cast_is_of_what_was_carried_not_of_the_rounded_result() -> None:
    """The mean of uint16 that float32 would round up to a whole number is below it."""
    array = np.array([65535] * 299 + [65534], "uint16")
    mean = Fraction(65535 * 300 - 1, 300)
    assert pool(array, "avg:300", dtype="float64")[0] == float(mean)


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_the_result_has_the_dtype_asked_for(dtype: str) -> None:
    assert pool([1, 0, 1, 1], "max:2", dtype=dtype).dtype == dtype


def test_pool_is_among_the_public_names() -> None:
    assert poolcli.pool is pool
    assert set(poolcli.__all__) <= set(dir(poolcli)) | {"pool"}
    with pytest.raises(AttributeError, match="has no attribute 'pol'"):
        getattr(poolcli, "pol")  # noqa: B009 - looking it up is the test
