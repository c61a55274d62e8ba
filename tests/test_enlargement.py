"""Enlargement by repetition and by interpolation, and the fields of what comes after."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from poolcli import PlanError, plan, pool
from poolcli.placing import enlarged
from poolcli.plan import Costs
from tests import oracle, oracle_maps
from tests.cases import FLOATS, INTEGERS, assert_near, real_dtype

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("values", "spec", "expected"),
    [
        ([1, 2], "up:1", [1, 2]),
        ([1, 2], "up:3", [1, 1, 1, 2, 2, 2]),
        ([[1, 2]], "up:2x1", [[1, 2], [1, 2]]),
        ([[1, 2]], "up:1x2", [[1, 1, 2, 2]]),
        ([0, 4], "up:2,mode=bilinear", [0, 1, 3, 4]),
        ([0, 6], "up:3,mode=bilinear", [0, 0, 2, 4, 6, 6]),
        ([0, 8, 4], "up:2,mode=bilinear", [0, 2, 6, 7, 5, 4]),
        ([5], "up:4,mode=bilinear", [5, 5, 5, 5]),
        ([3, 7], "up:1,mode=bilinear", [3, 7]),
        ([[0, 4], [8, 12]], "up:2,mode=bilinear",
         [[0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]]),
        ([[0, 4], [8, 12]], "up:1x2,mode=bilinear", [[0, 1, 3, 4], [8, 9, 11, 12]]),
    ],
)  # fmt: skip
def test_enlargements_worked_by_hand(values: list[Any], spec: str, expected: list[Any]) -> None:
    for dtype in ("int16", "uint8", "float16", "float64"):
        result = pool(np.array(values, dtype), spec)
        np.testing.assert_allclose(result, expected, rtol=1e-12)
        keeps = dtype.startswith("float") or "bilinear" not in spec
        assert result.dtype == (dtype if keeps else "float32")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, INF], [NAN, INF, INF, INF]),
        ([INF, 1], [INF, INF, INF, 1]),
        ([1, 2, -INF], [1, 1.25, 1.75, -INF, -INF, -INF]),
        ([1, 2, NAN], [1, 1.25, 1.75, NAN, NAN, NAN]),
    ],
)
def test_infinities_are_interpolated_as_pytorch_does(
    values: list[float], expected: list[float]
) -> None:
    """Measured with PyTorch 2.13, torch.nn.functional.interpolate."""
    np.testing.assert_array_equal(pool(np.array(values), "up:2,mode=bilinear"), expected)


@st.composite
def maps(draw: st.DrawFn) -> tuple[NDArray[Any], str, tuple[int, ...], tuple[int, ...]]:
    layout = draw(st.sampled_from(["W", "HW", "WH", "CHW", "NHWC", "DHW", "WCDH", "NCDHW"]))
    axes = tuple(layout.index(letter) for letter in "DHW" if letter in layout)
    shape = tuple(draw(st.integers(1, 4 if axis in axes else 2)) for axis in range(len(layout)))
    dtype = draw(st.sampled_from(INTEGERS + FLOATS))
    elements = (
        st.floats(-100, 100, width=16) if dtype in FLOATS else hnp.from_dtype(np.dtype(dtype))
    )
    array = draw(hnp.arrays(dtype, shape, elements=elements))
    return array, layout, axes, tuple(draw(st.integers(1, 4)) for _ in axes)


@settings(deadline=None, max_examples=250)
@given(maps(), st.booleans())
def test_enlargements_are_the_oracles(
    case: tuple[NDArray[Any], str, tuple[int, ...], tuple[int, ...]], linear: bool
) -> None:
    array, layout, axes, factors = case
    spec = "up:" + "x".join(map(str, factors)) + ",mode=bilinear" * linear
    result = pool(array, spec, layout=layout)
    if not linear:
        expected = oracle_maps.repeated(array.tolist(), axes, factors)
        assert (result.tolist(), result.dtype) == (expected, array.dtype)
        return
    expected = oracle_maps.interpolated(array.tolist(), axes, factors)
    assert list(result.shape) == oracle.shape_of(expected)
    unit = np.finfo(np.promote_types(array.dtype, np.float32) if array.dtype.kind == "f" else "f8")
    largest = float(np.abs(array.astype(np.float64)).max())
    flat = oracle.flat(expected)
    assert_near(result, real_dtype(array.dtype), flat, [8 * float(unit.eps) * largest] * len(flat))


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_enlarging_neither_shares_nor_changes_its_input(mode: str) -> None:
    array = np.arange(6.0).reshape(2, 3)
    for factor in (1, 2):
        result = pool(array, f"up:{factor},mode={mode}")
        assert not np.shares_memory(result, array)
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_plans_of_enlargements() -> None:
    nearest, linear = plan((3, 5, 4), "up:2x3", "up:2,mode=bilinear", dtype="uint8").steps
    assert (nearest.shape, nearest.kernel, nearest.stride) == ((3, 10, 12), (2, 3), None)
    assert (nearest.dtype, nearest.carried, nearest.costs) == ("uint8", "uint8", Costs())
    assert (nearest.spec, nearest.label) == ("up:2x3", "up2x3")
    assert (linear.shape, linear.dtype, linear.carried) == ((3, 20, 24), "float32", "float64")
    assert linear.costs == Costs(macs=3 * 20 * 24 * 4)
    assert linear.spec == "up:2x2,mode=bilinear"
    assert plan((2, 2, 2), "up:2,mode=bilinear", layout="DHW").costs.macs == 64 * 8
    assert plan((9,), "up:2").reduction == 0.5


@pytest.mark.parametrize(
    ("shape", "layout", "spec", "text"),
    [
        ((2, 0), "HW", "up:2", "along W: the axis is empty"),
        ((2, 2), "NC", "up:2", "layout NC has no spatial axis to slide over"),
        ((2, 2), "HW", "up:2x2x3", "kernel has 3 numbers"),
    ],
)
def test_enlargements_that_do_not_fit_are_refused(
    shape: tuple[int, ...], layout: str, spec: str, text: str
) -> None:
    with pytest.raises(PlanError, match=text):
        plan(shape, spec, layout=layout)


def test_an_enlarged_window_says_what_it_needs() -> None:
    window = enlarged(3, 2, linear=True)
    assert [window.needed(i, i + 1) for i in range(6)] == [
        (0, 2), (0, 2), (0, 2), (1, 3), (1, 3), (2, 3),
    ]  # fmt: skip
    assert window.needed(0, 6) == (0, 3)
    plain = enlarged(3, 2, linear=False)
    assert [plain.needed(i, i + 1) for i in range(6)] == [
        (0, 1), (0, 1), (1, 2), (1, 2), (2, 3), (2, 3),
    ]  # fmt: skip
    assert not window.has_empty()
    assert enlarged(3, 1, linear=True).is_identity
    assert not plain.is_identity


def seen_by(specs: list[str], length: int) -> NDArray[np.bool_]:
    """Which inputs (rows) each output (columns) changes with: one perturbed at a time."""
    plain = pool(np.zeros((length, length)), *specs, layout="NW")
    seen: NDArray[np.bool_] = pool(np.eye(length), *specs, layout="NW") != plain
    return seen


def widths(seen: NDArray[np.bool_], margin: int) -> list[int]:
    """How many inputs each output sees from first to last, but for those near the border."""
    found = [np.flatnonzero(column) for column in seen.T]
    inner = [at for at in found if len(at) and margin <= at[0] and at[-1] < len(seen) - margin]
    return [int(at[-1] - at[0] + 1) for at in inner]


@pytest.mark.parametrize(
    ("specs", "size", "jump"),
    [
        (["up:2"], 1, 1 / 2),
        (["up:2,mode=bilinear"], 2, 1 / 2),
        (["up:3,mode=bilinear"], 2, 1 / 3),
        (["up:2", "avg:3,s=1"], 2, 1 / 2),
        (["up:2", "avg:4,s=1"], 3, 1 / 2),
        (["up:3", "avg:2,s=1"], 2, 1 / 3),
        (["up:3", "avg:5,s=1"], 3, 1 / 3),
        (["up:2", "avg:2"], 1, 1),
        (["up:2,mode=bilinear", "avg:3,s=1"], 3, 1 / 2),
        (["avg:2", "up:2"], 2, 1),
        (["avg:2", "up:2", "avg:3,s=1"], 4, 1),
        (["avg:2", "up:2,mode=bilinear"], 4, 1),
        (["avg:2", "up:2", "avg:2,s=1"], 4, 1),
        (["avg:3,s=2", "up:2", "up:2", "avg:3,s=1"], 5, 1 / 2),
        (["blur"], 3, 2),
        (["blur:4,s=1"], 4, 1),
        (["blur", "blur:3,s=1,d=2"], 11, 2),
        (["conv:3,filter=gaussian,pad=1", "blur:5"], 7, 2),
        (["conv:5,filter=box,d=2", "up:2"], 9, 1 / 2),
    ],
)
def test_fields_are_what_perturbing_one_input_at_a_time_finds(
    specs: list[str], size: int, jump: float
) -> None:
    step = plan((48, 48), *specs, layout="NW").steps[-1]
    assert step.receptive_field == (size,)
    assert step.jump == pytest.approx((jump,))
    seen = seen_by(specs, 48)
    found = widths(seen, 10)
    assert max(found) == size
    middles = [np.flatnonzero(column).mean() for column in seen.T[5:-5]]
    steps = np.diff(middles)
    assert steps.mean() == pytest.approx(jump, abs=1.5 / len(steps))


@pytest.mark.parametrize(
    ("specs", "center"),
    [
        (["up:2"], 0.0),
        (["up:2,mode=bilinear"], -0.5),
        (["avg:2", "up:2"], 0.5),
        (["avg:2", "up:2", "avg:3,s=1"], 1.5),
        (["up:2", "avg:3,s=1"], 0.5),
        (["up:3", "avg:3"], 0.0),
        (["blur"], 0.0),
        (["blur:4,s=1"], 0.5),
        (["blur:3,pad=0"], 1.0),
        (["max:4,out=3,fractional"], 1.5),
    ],
)
def test_centers_worked_by_hand(specs: list[str], center: float) -> None:
    assert plan((12,), *specs).steps[-1].center == pytest.approx((center,))


def test_a_fractional_stage_has_a_field_but_no_jump() -> None:
    first, second = plan((9, 12), "max:2", "avg:3x2,out=2x4,fractional").steps
    assert (second.shape, second.kernel, second.stride) == ((2, 4), (3, 2), None)
    assert (second.receptive_field, second.jump, second.center) == ((6, 4), None, (2.5, 1.5))
    assert second.costs == Costs(additions=8 * 5)
    assert second.label == "avg3x2"
    assert plan((9,), "max:2,out=4,fractional", "max:2").steps[1].receptive_field is None
    seen = seen_by(["avg:3,out=5,fractional"], 40)
    assert {int(column.sum()) for column in seen.T} == {3}
    assert first.jump == (2, 2)


def test_a_value_that_was_put_back_brings_its_field() -> None:
    """Behind max:2 and unpool an element depends on the two that were compared, no others."""
    step = plan((16,), "max:2", "unpool").steps[-1]
    assert (step.receptive_field, step.jump) == ((2,), (1,))
    base = np.arange(16.0) + 1
    plain = pool(base, "max:2", "unpool")
    for at in range(16):
        moved = base.copy()
        moved[at] += 0.5
        changed = np.flatnonzero(pool(moved, "max:2", "unpool") != plain)
        assert set(changed) <= {at // 2 * 2, at // 2 * 2 + 1}
        assert len(changed) == at % 2


@pytest.mark.parametrize(
    ("spec", "costs"),
    [
        ("gem:3", Costs(additions=4 * 8)),
        ("median:3", Costs(comparisons=4 * 8)),
        ("quantile:3,q=0.1", Costs(comparisons=4 * 8)),
        ("majority:3", Costs(comparisons=4 * 8)),
        ("soft:3", Costs(comparisons=4 * 8, additions=4 * 8)),
        ("stochastic:3", Costs(comparisons=4 * 8, additions=4 * 8)),
        ("avgmax:3", Costs(comparisons=4 * 8, additions=4 * 8)),
        ("blur:3,s=3,pad=0", Costs(macs=4 * 9)),
        ("conv:3,filter=box,s=3", Costs(macs=4 * 9)),
        ("conv:3,filter=sobel-x,s=3", Costs(macs=4 * 9)),
        ("unpool", Costs()),
        ("max:3,out=2,fractional", Costs(comparisons=4 * 8)),
    ],
)
def test_costs(spec: str, costs: Costs) -> None:
    specs = ["max:1", "unpool"] if spec == "unpool" else [spec]
    assert plan((6, 6), *specs).steps[-1].costs == costs
