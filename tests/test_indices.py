"""Where maxima were found, and putting values back there."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import poolcli
from poolcli import PlanError, PoolError, SpecError, plan, pool, pool_with_indices, unpool
from tests import oracle, oracle_maps
from tests.cases import FLOATS, INTEGERS, Case, cases

NAN, INF = math.nan, math.inf
SPECS = ["max:2", "max:3,s=2,p=1", "max:3,s=1,p=1,d=2", "max:global", "max,out=3x2", "max:1",
         "max:2,out=3,fractional", "max:3,s=2,p=1,pad-mode=reflect", "max:3,s=2,ceil"]  # fmt: skip


@settings(deadline=None, max_examples=500)
@given(cases(["max"], INTEGERS + FLOATS))
def test_indices_are_the_oracles(case: Case) -> None:
    if not case.has_windows():
        with pytest.raises(PlanError, match=r"is larger than its|positions, its input has"):
            pool_with_indices(case.array, case.spec, layout=case.layout)
        return
    values, indices = pool_with_indices(case.array, case.spec, layout=case.layout)
    np.testing.assert_array_equal(values, case.result())
    assert (values.dtype, indices.shape) == (case.array.dtype, values.shape)
    assert indices.dtype == "int64"
    mode = case.options.get("pad_mode", "constant")
    expected = oracle_maps.indices(case.array.tolist(), case.axes, case.lays, pad_mode=mode)
    plane = math.prod(case.array.shape[axis] for axis in case.axes)
    for got, wanted in zip(indices.reshape(-1).tolist(), oracle.flat(expected), strict=True):
        assert got == wanted if wanted is not None else 0 <= got < plane


@pytest.mark.parametrize(
    ("values", "spec", "expected"),
    [
        ([[5, 5, 1], [5, 5, 5]], "max:2,s=1", [[0, 1]]),
        ([[1, 2, 9], [3, 4, 0], [8, 0, 0]], "max:2,s=1", [[4, 2], [6, 4]]),
        ([[1, 2], [3, 4]], "max:2,s=1,p=1", [[0, 1, 1], [2, 3, 3], [2, 3, 3]]),
        ([1, 7, 7, 2], "max:2,s=1,d=2", [2, 1]),
        ([1, 2, 3, 4, 9], "max,out=3", [1, 3, 4]),
        ([4, 4, 4, 4, 4], "max,out=3", [0, 1, 3]),
        ([1, 9, 2, 9], "max:global", [1]),
        ([NAN, 5, NAN, 9], "max:2", [0, 2]),
        ([5, NAN, 9, NAN, NAN, 1], "max:3", [1, 3]),
        ([-INF, -INF, -INF], "max:3,s=1,p=1", [0, 0, 1]),
        ([-INF, -INF], "max:2,s=2,p=1", [0, 1]),
        ([9, 1, 2], "max:2,s=1,p=1-0,pad-mode=reflect", [0, 0, 2]),
        ([1, 2, 9], "max:3,s=1,p=2-0,pad-mode=wrap", [2, 2, 2]),
        ([3, 1, 3], "max:3,s=3,p=2-0,pad-mode=edge", [0]),
    ],
)
def test_indices_worked_by_hand(values: list[Any], spec: str, expected: list[Any]) -> None:
    assert pool_with_indices(values, spec)[1].tolist() == expected


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
def test_the_least_value_everywhere_is_found_inside(dtype: str) -> None:
    least: Any = -INF if dtype in FLOATS else 0 if dtype == "bool" else np.iinfo(dtype).min
    array = np.full((3, 4), least, dtype)
    values, indices = pool_with_indices(array, "max:3,s=2,p=1")
    assert (values == array[0, 0]).all()
    assert indices.tolist() == [[0, 1], [4, 5]]


def test_a_window_of_padding_alone_has_the_index_nearest_to_it() -> None:
    values, indices = pool_with_indices([7.0], "max:2,s=1,d=2,p=1")
    assert (values.tolist(), indices.tolist()) == ([-INF], [0])
    # Windows at -2, -1, 0, 1 hold two positions each, three apart.
    values, indices = pool_with_indices([1.0, 2.0], "max:2,s=1,d=3,p=2")
    assert (values.tolist(), indices.tolist()) == ([2.0, -INF, 1.0], [1, 0, 0])


def test_indices_over_channels_are_places_among_the_channels() -> None:
    array = np.array([[[1, 9]], [[5, 2]], [[5, 9]]])
    values, indices = pool_with_indices(array, "max:global,over=channels")
    assert (values.tolist(), indices.tolist()) == ([[[5, 9]]], [[[1, 0]]])
    values, indices = pool_with_indices(array, "max:2,s=1,over=channels")
    assert indices.tolist() == [[[1, 0]], [[1, 2]]]


def test_indices_count_along_depth_then_height_then_width_in_any_layout() -> None:
    array = np.zeros((2, 3, 4))
    array[1, 0, 2] = 1
    assert pool_with_indices(array, "max:global", layout="DHW")[1].item() == 14
    turned = array.transpose(2, 0, 1)
    assert pool_with_indices(turned, "max:global", layout="WDH")[1].item() == 14


@pytest.mark.parametrize(
    "spec", ["min:2", "avg:2", "relu", "max:2*2", "up:2", "blur", "unpool", "conv:1,filter=box"]
)
def test_only_a_single_maximum_has_indices(spec: str) -> None:
    with pytest.raises(PoolError):
        pool_with_indices(np.zeros((4, 4)), spec)


def test_what_has_no_indices_is_said() -> None:
    for spec in ("avg:2", "max:2*2"):
        with pytest.raises(PlanError, match="only a single max stage has indices"):
            pool_with_indices(np.zeros((4, 4)), spec)


@settings(deadline=None, max_examples=200)
@given(
    hnp.arrays("int16", st.tuples(*[st.integers(1, 2)] * 2, *[st.integers(4, 7)] * 2)),
    st.sampled_from(SPECS),
    st.sampled_from(["NCHW", "NHWC"]),
)
def test_unpooling_is_the_oracles(array: NDArray[Any], spec: str, layout: str) -> None:
    """By itself, and as a chain's stage; where windows overlap, the last one wins."""
    if layout == "NHWC":
        array = array.transpose(0, 2, 3, 1)
    axes = (layout.index("H"), layout.index("W"))
    values, indices = pool_with_indices(array, spec, layout=layout)
    expected = oracle_maps.put_back(values.tolist(), indices.tolist(), axes, array.shape)
    result = unpool(values, indices, array.shape, layout=layout)
    assert result.tolist() == expected
    assert result.dtype == array.dtype
    np.testing.assert_array_equal(pool(array, spec, "unpool", layout=layout), result)


def test_where_windows_overlap_the_last_in_row_major_order_wins() -> None:
    """A maximum at 2 is found by three windows, which carry 10, 20 and 30."""
    values, places = np.array([10, 20, 30]), np.array([2, 2, 2])
    assert unpool(values, places, (4,)).tolist() == [0, 0, 30, 0]
    square = np.array([[1, 2], [3, 4]])
    assert unpool(square, np.zeros((2, 2), int), (2, 2)).tolist() == [[4, 0], [0, 0]]
    assert unpool(square[::-1, ::-1], np.zeros((2, 2), int), (2, 2)).tolist() == [[1, 0], [0, 0]]


def test_pooling_what_was_unpooled_gives_the_same_values() -> None:
    array = np.random.default_rng(5).random((2, 3, 8, 9))
    values, indices = pool_with_indices(array, "max:2")
    again = unpool(values, indices, array.shape)
    np.testing.assert_array_equal(pool_with_indices(again, "max:2"), (values, indices))
    kept = again != 0
    np.testing.assert_array_equal(again[kept], array[kept])
    assert kept.sum() == values.size


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "uint64"])
def test_indices_may_be_of_any_integer_dtype(kind: str) -> None:
    assert unpool(np.array([4], "float16"), np.array([1], kind), (2,)).tolist() == [0, 4]


@pytest.mark.parametrize(
    ("values", "indices", "shape", "layout", "text"),
    [
        ([[1]], [0], (2, 2), None, r"values \(1, 1\), indices \(1,\), shape \(2, 2\) don't agree"),
        ([[1]], [[0]], (2, 2, 2), None, "don't agree"),
        ([[1]], [[4]], (2, 2), None, "indices lie outside a plane of 4 elements"),
        ([[1]], [[-1]], (2, 2), None, "indices lie outside a plane of 4 elements"),
        ([[1]], [[0.0]], (2, 2), None, "indices"),
        ([[1]], [[True]], (2, 2), None, "indices"),
        ([[[1]]], [[[0]]], (2, 2, 2), None, "differ beside the spatial axes"),
        ([[[1]]], [[[0]]], (1, 2, 2), "HWC", "differ beside the spatial axes"),
        ([[1]], [[0]], (2, 2), "HWC", "layout HWC names 3 axes"),
        ([[1]], [[0]], (2, 2), "HH", "layout 'HH'"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    values: Any, indices: Any, shape: tuple[int, ...], layout: str | None, text: str
) -> None:
    with pytest.raises(PoolError, match=text):
        unpool(values, indices, shape, layout=layout)


def test_ragged_and_negative_arguments_are_refused_by_poolcli_itself() -> None:
    with pytest.raises(PoolError):
        unpool([[1, 2], [3]], [[0, 1], [2]], (2, 2))
    with pytest.raises(PoolError):
        unpool([[1]], [[0]], (-2, -2))


def test_nothing_is_put_back_to_an_empty_batch() -> None:
    empty = np.zeros((0, 2, 2))
    result = unpool(empty, empty.astype(int), (0, 4, 4), layout="NHW")
    assert result.shape == (0, 4, 4)
    assert pool(np.zeros((0, 3, 4, 4)), "max:2", "unpool").shape == (0, 3, 4, 4)


def test_arguments_are_neither_changed_nor_shared() -> None:
    values, indices = np.array([1, 2]), np.array([1, 0])
    result = unpool(values, indices, (2,))
    assert not np.shares_memory(result, values)
    assert (values.tolist(), indices.tolist()) == ([1, 2], [1, 0])


CHAIN = np.array([[1, 2, 5, 3], [4, 0, 1, 1], [-3, -4, 9, 8], [-1, -2, 7, 6]])


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        (["max:2", "unpool"], [[0, 0, 5, 0], [4, 0, 0, 0], [0, 0, 9, 0], [-1, 0, 0, 0]]),
        (["max:2", "relu", "unpool"], [[0, 0, 5, 0], [4, 0, 0, 0], [0, 0, 9, 0], [0] * 4]),
        (["max:2", "max:2", "unpool", "unpool"], [[0] * 4, [0] * 4, [0, 0, 9, 0], [0] * 4]),
        (["max:2", "max:2", "unpool"], [[0, 0], [0, 9]]),
        (["max:2", "conv:1,filter=identity", "unpool"],
         [[0, 0, 5, 0], [4, 0, 0, 0], [0, 0, 9, 0], [-1, 0, 0, 0]]),
        (["max:2", "avg:1", "avg:1", "unpool"],
         [[0, 0, 5, 0], [4, 0, 0, 0], [0, 0, 9, 0], [-1, 0, 0, 0]]),
        (["max:2", "unpool", "max:2", "unpool"],
         [[0, 0, 5, 0], [4, 0, 0, 0], [0, 0, 9, 0], [0, 0, 0, 0]]),
        (["max:2", "up:2", "avg:2", "unpool"],
         [[0, 0, 5, 0], [4, 0, 0, 0], [0, 0, 9, 0], [-1, 0, 0, 0]]),
        (["max:global", "unpool"], [[0] * 4, [0] * 4, [0, 0, 9, 0], [0] * 4]),
        (["max:3,s=1", "unpool"], [[0] * 4, [0] * 4, [0, 0, 9, 0], [0] * 4]),
    ],
)  # fmt: skip
def test_unpooling_in_chains(specs: list[str], expected: list[list[int]]) -> None:
    assert pool(CHAIN, *specs).tolist() == expected


def test_unpooling_channels_that_were_pooled() -> None:
    array = np.array([[[1, 9]], [[5, 2]]])
    result = pool(array, "max:2,over=channels", "unpool")
    assert result.tolist() == [[[0, 9]], [[5, 0]]]


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
def test_unpooling_keeps_the_dtype(dtype: str) -> None:
    assert pool(np.ones(4, dtype), "max:2", "unpool").dtype == dtype


@pytest.mark.parametrize(
    ("specs", "text"),
    [
        (["unpool"], r"^stage 1 \(unpool\): there is no max stage before it left to undo$"),
        (["max:2", "unpool", "unpool"], r"^stage 3 \(unpool\): there is no max stage before it"),
        (["min:2", "unpool"], r"^stage 2 \(unpool\): there is no max stage before it"),
        (["max:2", "avg:2", "unpool"],
         r"^stage 3 \(unpool\): its input is 1x2x2, but stage 1 that it undoes gave 1x4x4$"),
        (["max:2", "max:2", "unpool", "avg:2", "unpool"],
         r"^stage 5 \(unpool\): its input is 1x2x2, but stage 1 that it undoes gave 1x4x4$"),
        (["max:2", "conv:1,out=3", "unpool"],
         r"^stage 3 \(unpool\): its input is 3x4x4, but stage 1 that it undoes gave 1x4x4$"),
    ],
)  # fmt: skip
def test_an_unpooling_that_can_not_be_is_refused(specs: list[str], text: str) -> None:
    with pytest.raises(PlanError, match=text):
        plan((1, 8, 8), *specs)


def test_plans_of_unpoolings() -> None:
    steps = plan((1, 9, 9), "max:2", "max:2", "relu", "unpool", "unpool", dtype="uint8").steps
    assert [step.undoes for step in steps] == [None, None, None, 2, 1]
    assert [step.shape for step in steps] == [(1, n, n) for n in (4, 2, 2, 4, 9)]
    assert [step.jump for step in steps] == [(n, n) for n in (2, 4, 4, 2, 1)]
    assert [step.receptive_field for step in steps] == [(n, n) for n in (2, 4, 4, 4, 4)]
    assert [step.center for step in steps] == [(n, n) for n in (0.5, 1.5, 1.5, 1.5, 1.5)]
    last = steps[-1]
    assert (last.kernel, last.stride, last.padding, last.dtype) == (None, None, None, "uint8")
    assert (last.spec, last.label, last.costs) == ("unpool", "unpool", poolcli.plan((1,)).costs)


def test_several_results_of_one_place_are_counted_once() -> None:
    """Windows of 3 at stride 1: the one large element is found by nine of them."""
    array = np.zeros((5, 5))
    array[2, 2] = 1
    indices = pool_with_indices(array, "max:3,s=1")[1]
    assert Counter(indices.reshape(-1).tolist()) == {12: 9}
    assert pool(array, "max:3,s=1", "unpool").sum() == 1


def test_a_spec_of_nothing_is_a_spec_error() -> None:
    with pytest.raises(SpecError):
        pool_with_indices([1], "")
