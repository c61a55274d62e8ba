"""poolcli.pool against the oracle: any operation, window, axes, layout and dtype."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import poolcli
from poolcli import PlanError, PoolError, RangeError, SpecError
from poolcli.api import pool
from tests import oracle
from tests.oracle import Lay

INTEGERS = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]
LAYOUTS = ["W", "HW", "CHW", "NCHW", "HWC", "WHC", "NCW", "DHW", "NDCWH", "NCDHW", "WCH", "CN"]
LARGEST = {"float16": 100.0, "float32": 1e12, "float64": 1e90}
"""Where sums of some tens of powers don't overflow: overflow has tests of its own."""


@dataclass(frozen=True)
class Case:
    """A stage in the words of a spec and in the oracle's, with a map to pool."""

    op: str
    spec: str
    layout: str
    axes: tuple[int, ...]
    lays: tuple[Lay, ...]
    array: NDArray[Any]
    options: dict[str, Any] = field(default_factory=dict)

    def expected(self) -> Any:
        return oracle.pool(self.op, self.array.tolist(), self.axes, self.lays, **self.options)

    def has_windows(self) -> bool:
        return all(
            oracle.walk(self.array.shape[axis], lay).windows
            for axis, lay in zip(self.axes, self.lays, strict=True)
        )

    def result(self) -> NDArray[Any]:
        return pool(self.array, self.spec, layout=self.layout)


@st.composite
def lays_and_keys(draw: st.DrawFn, rank: int) -> tuple[tuple[Lay, ...], str]:
    """How windows lie on ``rank`` axes, and the part of a spec that says so."""
    placement = draw(st.sampled_from(["sliding", "sliding", "sliding", "global", "out"]))
    if placement == "global":
        return (Lay(whole=True),) * rank, ":global"
    if placement == "out":
        outs = draw(st.lists(st.integers(1, 5), min_size=rank, max_size=rank))
        return tuple(Lay(out=out) for out in outs), ",out=" + "x".join(map(str, outs))
    common = draw(st.sampled_from([1, rank]))
    kernel, stride, dilation = (
        draw(st.lists(st.integers(1, most), min_size=common, max_size=common)) for most in (4, 4, 3)
    )
    spec = ":" + "x".join(map(str, kernel))
    if draw(st.booleans()):
        spec += ",stride=" + "x".join(map(str, stride))
    else:
        stride = kernel
    spec += ",dilation=" + "x".join(map(str, dilation))
    rule = draw(st.sampled_from(["numbers", "numbers", "upper", "lower"]))
    pads = [
        draw(st.tuples(*[st.integers(0, min((k - 1) * d, 4))] * 2))
        for k, d in zip(kernel, dilation, strict=True)
    ]
    ceil = rule == "numbers" and draw(st.booleans())
    spec += ",ceil" * ceil
    if rule == "numbers":
        spec += ",pad=" + "x".join(f"{begin}-{end}" for begin, end in pads)
        lays = [
            Lay(k, s, begin, end, d, ceil)
            for k, s, (begin, end), d in zip(kernel, stride, pads, dilation, strict=True)
        ]
    else:
        same: Literal["upper", "lower"] = "upper" if rule == "upper" else "lower"
        spec += f",pad=same-{same}"
        lays = [
            Lay(k, s, dilation=d, same=same)
            for k, s, d in zip(kernel, stride, dilation, strict=True)
        ]
    return tuple(lays * rank if len(lays) < rank else lays), spec


def values_of(dtype: str, *, moderate: bool) -> st.SearchStrategy[Any]:
    """Values of a dtype, its extremes among them; ``moderate`` ones for sums of floats."""
    if dtype in INTEGERS:
        return hnp.from_dtype(np.dtype(dtype))
    special = st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf])
    if moderate:
        most = LARGEST[dtype]
        most = float(np.dtype(dtype).type(most))
        width: Literal[16, 32, 64] = 64
        if dtype != "float64":
            width = 16 if dtype == "float16" else 32
        small = st.integers(-8, 8).map(float)
        finite: st.SearchStrategy[float] = st.floats(
            -most, most, width=width, allow_subnormal=False
        ).map(lambda value: value if abs(value) >= 1 / most else 0.0)
        return st.one_of(small, finite, small, finite, finite, special)
    info = np.finfo(dtype)
    ends = [float(info.max), float(info.min), float(info.tiny), float(info.smallest_subnormal)]
    return st.one_of(special, st.sampled_from(ends), hnp.from_dtype(np.dtype(dtype)))


@st.composite
def cases(draw: st.DrawFn, ops: list[str], dtypes: list[str]) -> Case:
    op, dtype = draw(st.sampled_from(ops)), draw(st.sampled_from(dtypes))
    layout = draw(st.sampled_from(LAYOUTS))
    spatial = tuple(layout.index(letter) for letter in "DHW" if letter in layout)
    over = not spatial or ("C" in layout and draw(st.integers(0, 3)) == 0)
    axes = (layout.index("C"),) if over else spatial
    most = {1: 9, 2: 6, 3: 4}[len(axes)]
    shape = tuple(draw(st.integers(1, most if axis in axes else 2)) for axis in range(len(layout)))
    lays, keys = draw(lays_and_keys(len(axes)))
    options: dict[str, Any] = {}
    sliding = not (lays[0].whole or lays[0].out)
    if sliding and draw(st.booleans()):
        options["pad_mode"] = mode = draw(st.sampled_from(["reflect", "edge", "wrap"]))
        options["counts_padding"] = True
        keys += f",pad-mode={mode}"
    elif sliding and op == "avg":
        options["counts_padding"] = counts = draw(st.sampled_from([None, True, False]))
        keys += {None: "", True: ",include-pad", False: ",exclude-pad"}[counts]
    if op == "avg" and draw(st.integers(0, 3)) == 0:
        options["divisor"] = draw(st.integers(1, 9))
        keys += f",divisor={options['divisor']}"
    if op == "lp":
        options["norm"] = norm = draw(st.sampled_from([2, 1, 3, 0.5, 2.5]))
        keys += f",norm={norm}"
    keys += ",over=channels" * over
    moderate = op in ("avg", "sum", "lp")
    array = draw(hnp.arrays(dtype, shape, elements=values_of(dtype, moderate=moderate)))
    return Case(op, op + keys, layout, axes, lays, array, options)


def check_exactly(case: Case) -> None:
    """Compare with the oracle where results are elements or sums: equal to the last bit."""
    if not case.has_windows():
        with pytest.raises(PlanError, match="is larger than its"):
            case.result()
        return
    expected = case.expected()
    flat = oracle.flat(expected)
    dtype = case.array.dtype
    if None in flat and case.op == "pick":
        with pytest.raises(PlanError, match="nothing but padding"):
            case.result()
        return
    empty = least(dtype) if case.op == "max" else greatest(dtype)
    result = case.result()
    assert result.dtype == dtype
    assert list(result.shape) == oracle.shape_of(expected)
    np.testing.assert_array_equal(
        result.reshape(-1), np.array([empty if each is None else each for each in flat], dtype)
    )


def least(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f":
        return -math.inf
    return False if dtype.kind == "b" else np.iinfo(dtype).min


def greatest(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f":
        return math.inf
    return True if dtype.kind == "b" else np.iinfo(dtype).max


@settings(deadline=None, max_examples=800)
@given(cases(["max", "min", "pick"], INTEGERS + FLOATS))
def test_max_min_and_pick_are_the_oracles(case: Case) -> None:
    check_exactly(case)


@settings(deadline=None, max_examples=400)
@given(cases(["sum"], INTEGERS))
def test_sums_of_integers_are_exact_or_refused(case: Case) -> None:
    if not case.has_windows():
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
    if not case.has_windows():
        return
    expected = case.expected()
    flat = oracle.flat(expected)
    if None in flat:
        with pytest.raises(PlanError, match="nothing but padding"):
            case.result()
        return
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
    if not case.has_windows():
        return
    flat = oracle.flat(case.expected())
    if None in flat:
        with pytest.raises(PlanError, match="nothing but padding"):
            case.result()
        return
    # What n additions can lose, at most: n units of the accumulator of the sum of sizes.
    sizes = np.nan_to_num(np.abs(case.array.astype(np.float64)), nan=0, posinf=0)
    values = Case(**{**case.__dict__, "array": sizes}).expected()
    unit = float(np.finfo(np.promote_types(case.array.dtype, np.float32)).eps)
    slack = [float(each) * 64 * unit for each in oracle.flat(values)]
    check_nearly(case, flat, slack)


@settings(deadline=None, max_examples=400)
@given(cases(["lp"], INTEGERS + FLOATS))
def test_norms_are_the_oracles(case: Case) -> None:
    if case.has_windows():
        flat = oracle.flat(case.expected())
        check_nearly(case, flat, [abs(each) * 1e-12 for each in flat])


def check_nearly(case: Case, flat: list[Any], slack: list[float]) -> None:
    """Compare within ``slack`` and the rounding of the result's own dtype; NaN and ∞ exactly."""
    result = case.result()
    dtype = case.array.dtype
    wanted = dtype if dtype.kind == "f" else np.dtype("float64" if dtype.itemsize >= 4 else "f4")
    assert result.dtype == wanted
    assert list(result.shape) == oracle.shape_of(case.expected())
    own = np.finfo(wanted)
    for got, each, loose in zip(result.reshape(-1).tolist(), flat, slack, strict=True):
        if isinstance(each, float) and not math.isfinite(each):
            assert math.isnan(got) if math.isnan(each) else got == each
        else:
            near = float(own.eps) * abs(float(each)) + float(own.smallest_subnormal) + loose
            assert abs(float(got) - float(each)) <= near


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
        poolcli.pol  # noqa: B018 - looking it up is the test
