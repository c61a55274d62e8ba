"""The later operations over windows against the oracle, and by hand."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from poolcli import PlanError, RangeError, Stage, engine
from poolcli.api import pool
from poolcli.operations import OPERATIONS
from tests import oracle
from tests.cases import (
    ANSWER_EMPTY,
    EXACT,
    FLOATS,
    INTEGERS,
    Case,
    cases,
    check_exactly,
    check_nearly,
    sizes_of,
)

WINDOWED = sorted(name for name, facts in OPERATIONS.items() if facts.family == "windows")
OUTGROWN = ("sum", "lp", "gem")
INF, NAN = math.inf, math.nan


def test_the_oracle_knows_every_operation_over_windows() -> None:
    assert sorted(oracle.RULES) == WINDOWED


@settings(deadline=None, max_examples=1000)
@given(
    cases(
        [op for op in WINDOWED if op not in OUTGROWN],
        INTEGERS + FLOATS,
        moderate=True,
        endless=False,
    )
)
def test_every_operation_is_the_oracles(case: Case) -> None:
    """Loosely, so that a new operation is held from its first day; other tests are closer.

    Those that outgrow their elements have tests of their own.
    """
    if case.is_refused():
        return
    result = case.result()
    unit = float(np.finfo(result.dtype if is_float(result) else np.float64).eps)
    unit = max(unit, unit_of(case))
    flat, sizes = oracle.flat(case.expected()), sizes_of(case)
    for got, each, size in zip(result.reshape(-1).tolist(), flat, sizes, strict=True):
        if each is not None:
            assert float(got) == pytest.approx(
                float(each), abs=64 * unit * size, rel=unit, nan_ok=True
            )


@settings(deadline=None, max_examples=700)
@given(cases(["majority", "stochastic"], INTEGERS + FLOATS))
def test_majority_and_stochastic_are_the_oracles(case: Case) -> None:
    check_exactly(case)


@settings(deadline=None, max_examples=400)
@given(cases(["gem"], INTEGERS + FLOATS))
def test_generalised_means_are_the_oracles(case: Case) -> None:
    if not case.is_refused():
        flat = oracle.flat(case.expected())
        check_nearly(case, flat, [abs(each) * 1e-12 for each in flat])


@settings(deadline=None, max_examples=500)
@given(cases(["median", "quantile"], INTEGERS + FLOATS, endless=False))
def test_medians_and_quantiles_are_the_oracles(case: Case) -> None:
    if not case.is_refused():
        flat = oracle.flat(case.expected())
        unit = unit_of(case)
        check_nearly(case, flat, [size * 8 * unit for size in sizes_of(case)])


@settings(deadline=None, max_examples=300)
@given(cases(["soft"], INTEGERS + FLOATS))
def test_soft_pooling_is_the_oracles(case: Case) -> None:
    if not case.is_refused():
        flat = oracle.flat(case.expected())
        check_nearly(case, flat, [size * 1e-14 for size in sizes_of(case)])


@settings(deadline=None, max_examples=400)
@given(cases(["avgmax"], INTEGERS + FLOATS))
def test_mixtures_are_the_oracles(case: Case) -> None:
    if not case.is_refused():
        flat = oracle.flat(case.expected())
        unit = unit_of(case)
        check_nearly(case, flat, [size * 64 * unit for size in sizes_of(case)])


@settings(deadline=None, max_examples=400)
@given(cases(["blur"], INTEGERS + FLOATS))
def test_blurs_are_the_oracles(case: Case) -> None:
    if not case.is_refused():
        flat = oracle.flat(case.expected())
        check_nearly(case, flat, [size * 1e-14 for size in sizes_of(case)])


def unit_of(case: Case) -> float:
    """Relative precision of what a float case is computed in."""
    if case.array.dtype.kind != "f":
        return float(np.finfo(np.float64).eps)
    return float(np.finfo(np.promote_types(case.array.dtype, np.float32)).eps)


@settings(deadline=None, max_examples=600)
@given(cases(WINDOWED, INTEGERS + FLOATS, moderate=False))
def test_any_values_at_all_are_pooled_or_refused_in_poolclis_words(case: Case) -> None:
    """Extremes, subnormals, NaN and infinities: a result without a warning, or a PoolError."""
    before = case.array.copy()
    if not case.is_refused():
        if sums_overflow(case):
            with pytest.raises(RangeError, match="does not fit in"):
                case.result()
        else:
            result = case.result()
            assert list(result.shape) == case.output_shape()
            assert_between_extremes(case, result)
    np.testing.assert_array_equal(case.array, before)


def sums_overflow(case: Case) -> bool:
    """Whether a sum of integers lies beyond 64 bits."""
    if case.op != "sum" or is_float(case.array):
        return False
    bounds = np.iinfo("uint64" if case.array.dtype.kind == "u" else "int64")
    return any(not bounds.min <= each <= bounds.max for each in oracle.flat(case.expected()))


def assert_between_extremes(case: Case, result: NDArray[Any]) -> None:
    """Whatever picks, mixes or averages lies between the least and the largest element."""
    averages = case.op in ("avg", "avgmax", "blur")
    if case.op in ("sum", "lp", "gem", *ANSWER_EMPTY) or averages:
        return
    elements = case.array.astype(np.float64)
    if not np.isfinite(elements).all() or abs(elements).max() > LIMIT:
        return
    slack = 0.0
    if is_float(result):
        # Halves of the least number that there is are nothing.
        facts = np.finfo(result.dtype)
        slack = abs(elements).max() * 2 * float(facts.eps) + 2 * float(facts.smallest_subnormal)
    assert result.min() >= elements.min() - slack
    assert result.max() <= elements.max() + slack


LIMIT = 1e307
"""Where numpy.median of two float64 does not yet overflow."""


def is_float(array: NDArray[Any]) -> bool:
    return array.dtype.kind == "f"


@pytest.mark.parametrize(
    ("values", "spec", "expected"),
    [
        pytest.param([1, 2, 3, 0], "gem:4,norm=1", [1.5 + 2.5e-7], id="gem-norm-1"),
        pytest.param([1, 3], "gem:2", [14 ** (1 / 3)], id="gem"),
        pytest.param([-5, 2], "gem:2,norm=2,eps=1", [2.5**0.5], id="gem-floor"),
        pytest.param([3, 3], "gem:3,s=3,p=1-0", [3], id="gem-padding-is-absent"),
        pytest.param([1, 9, 4, 5], "median:4", [4.5], id="median-of-an-even-number"),
        pytest.param([1, 9, 4], "median:3,s=1,p=1", [5, 4, 6.5], id="median-of-what-is-there"),
        pytest.param([1, 2, 3, 4, 5], "quantile:5,q=0.25", [2], id="quantile"),
        pytest.param([1, 2, 3, 4], "quantile:4,q=0.1", [1.3], id="quantile-between"),
        pytest.param([1, 2, 3, 4], "quantile:2,q=0", [1, 3], id="quantile-0"),
        pytest.param([1, 2, 3, 4], "quantile:2,q=1", [2, 4], id="quantile-1"),
        pytest.param([3, 1, 3, 1, 2], "majority:5", [1], id="majority-tie"),
        pytest.param([3, 1, 3, 1, 3], "majority:5", [3], id="majority"),
        pytest.param([7, 5], "majority:2", [5], id="majority-all-once"),
        pytest.param([-2, -1, -2], "majority:2,s=1", [-2, -2], id="majority-negative"),
        pytest.param([0, 0], "soft:2", [0], id="soft-equal"),
        pytest.param([1, 3], "soft:2", [(1 + 3 * math.e**2) / (1 + math.e**2)], id="soft"),
        pytest.param([2, 6], "avgmax:2", [5], id="avgmax"),
        pytest.param([2, 6], "avgmax:2,mix=0.25", [5.5], id="avgmax-mix"),
        pytest.param([2, 6], "avgmax:2,mix=0", [6], id="avgmax-max"),
        pytest.param([2, 6], "avgmax:2,mix=1", [4], id="avgmax-avg"),
        pytest.param([-6, -3], "avgmax:3,s=3,p=1-0", [-3], id="avgmax-counts-padding"),
        pytest.param([-6, -2], "avgmax:3,s=3,p=1-0,exclude-pad", [-3], id="avgmax-excluded"),
        pytest.param([-6, -2], "avgmax:2,divisor=1", [-5], id="avgmax-divisor"),
        pytest.param([4, 8, 4, 0], "blur:3,s=1,pad=0", [6, 4], id="blur"),
        pytest.param([4, 8, 4, 0], "blur", [6, 4], id="blur-reflects-and-strides"),
        pytest.param([4, 8, 4, 0], "blur:2,s=1", [6, 6, 2, 2], id="blur-2-pads-behind"),
        pytest.param([8, 0, 0, 0, 8], "blur:5,s=1,pad=0", [1], id="blur-5"),
        pytest.param([4, 8], "blur:3,s=1,pad-mode=constant", [4, 5], id="blur-zeros"),
        pytest.param([4, 8], "blur:1,s=1", [4, 8], id="blur-1"),
        pytest.param([4, 8, 4], "blur:global", [6], id="blur-global"),
        pytest.param([8, 2, 5, 4], "blur:3,s=2,pad=0,ceil", [4.25, 13 / 3], id="blur-overhang"),
        pytest.param([0, -1, -5], "stochastic:3", [0], id="stochastic-without-positives"),
        pytest.param([0, 7, 0], "stochastic:3", [7], id="stochastic-sure"),
    ],
)
def test_values_worked_by_hand(values: list[float], spec: str, expected: list[float]) -> None:
    for dtype in ("int16", "float64"):
        result = pool(np.array(values, dtype), spec)
        np.testing.assert_allclose(result, expected, rtol=1e-6 if dtype == "int16" else 1e-12)


@pytest.mark.parametrize(
    ("spec", "values", "expected"),
    [
        ("gem:2", [INF, 1], INF),
        ("gem:2", [-INF, -INF], 1e-6),
        ("gem:2", [NAN, 1], NAN),
        ("median:3", [1, INF, -INF], 1),
        ("median:2", [INF, INF], INF),
        ("median:2", [1, NAN], NAN),
        ("quantile:3,q=0", [1, INF, 2], 1),
        ("quantile:3,q=1", [1, 5, NAN], NAN),
        ("majority:3", [NAN, NAN, 1], NAN),
        ("majority:2", [NAN, 1], 1),
        ("majority:2", [NAN, INF], INF),
        ("majority:4", [NAN, 2, NAN, 2], 2),
        ("majority:3", [-INF, INF, -INF], -INF),
        ("soft:2", [INF, 1], INF),
        ("soft:3", [INF, INF, -INF], INF),
        ("soft:2", [-INF, 1], 1),
        ("soft:2", [-INF, -INF], -INF),
        ("soft:2", [NAN, INF], NAN),
        ("soft:2", [-1e308, 1e308], 1e308),
        ("soft:2", [1000, 999], 999 + 1 / (1 + math.exp(-1))),
        ("soft:2", [-1000, -1000], -1000),
        ("stochastic:2", [INF, 1], INF),
        ("stochastic:2", [-INF, -1], -1),
        ("stochastic:2", [-INF, 2], 2),
        ("stochastic:2", [NAN, 1], NAN),
        ("stochastic:2", [1e308, 1e308], 1e308),
        ("stochastic:2", [5e-324, 0], 5e-324),
        ("avgmax:2", [INF, 1], INF),
        ("avgmax:2", [-INF, 1], -INF),
        ("avgmax:2,mix=0", [-INF, 1], 1),
        ("avgmax:2", [INF, -INF], NAN),
        ("avgmax:2,mix=0", [INF, -INF], INF),
        ("avgmax:2", [NAN, 1], NAN),
        ("blur:2,pad=0", [INF, 1], INF),
        ("blur:2,pad=0", [INF, -INF], NAN),
        ("blur:2,pad=0", [NAN, 1], NAN),
    ],
)
def test_nan_and_infinity_worked_by_hand(spec: str, values: list[float], expected: float) -> None:
    result = pool(np.array([*values, *values, 1, 1, 1, 1]), spec)
    np.testing.assert_allclose(result[:2], [expected] * 2, rtol=1e-15)
    assert result[-1] == 1


@pytest.mark.parametrize("q", [0, 0.25, 0.5, 0.75, 0.9, 1])
@pytest.mark.parametrize("values", [[1, INF], [-INF, INF], [INF, INF], [1, 2, INF], [-INF, 1, 2]])
def test_quantiles_of_infinities_are_what_numpy_gives(values: list[float], q: float) -> None:
    array = np.array(values)
    with np.errstate(all="ignore"):
        expected = np.quantile(array, float(q)), np.median(array)
    result = pool(array, f"quantile:global,q={q}")[0], pool(array, "median:global")[0]
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("norm", [1, 3, 20, 2000])
@pytest.mark.parametrize("factor", [1e-300, 1e-30, 1, 1e300])
def test_a_generalised_mean_neither_overflows_nor_vanishes(norm: int, factor: float) -> None:
    result = float(pool(np.array([factor, factor / 2]), f"gem:2,norm={norm},eps=1e-305")[0])
    mean = (1 + Fraction(1, 2) ** norm) / 2
    assert result == pytest.approx(factor * float(mean) ** (1 / norm), rel=1e-9, abs=0)


@pytest.mark.parametrize("op", [op for op in WINDOWED if op not in ANSWER_EMPTY])
def test_nothing_can_be_made_of_padding_alone(op: str) -> None:
    """Length 1, kernel 2 at dilation 2 with padding 1: positions -1 and 1, both padding."""
    spec = f"{op}:2,s=1,d=2,pad=1"
    text = f"along W: a window holds nothing but padding, of which {op} has no value"
    if op in ("avg", "blur"):
        assert pool(np.ones(1), f"{spec},pad-mode=constant").tolist() == [0]
    else:
        with pytest.raises(PlanError, match=text):
            pool(np.ones(1), spec)
    assert pool(np.full(1, 3.0), f"{spec},pad-mode=edge") == pytest.approx([3])


@pytest.mark.parametrize("op", WINDOWED)
@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
def test_dtypes_of_results(op: str, dtype: str) -> None:
    result = pool(np.ones((4, 4), dtype), f"{op}:2")
    real = {"int32": "float64", "int64": "float64", "uint32": "float64", "uint64": "float64"}
    if dtype in FLOATS or op in EXACT:
        assert result.dtype == dtype
    elif op == "sum":
        assert result.dtype == ("uint64" if dtype.startswith("u") else "int64")
    else:
        assert result.dtype == real.get(dtype, "float32")


@pytest.mark.parametrize("op", WINDOWED)
def test_a_constant_map_stays_constant(op: str) -> None:
    keys = ",pad=same" if op != "blur" else ",pad=1"
    result = pool(np.full((5, 7), 3, "float32"), f"{op}:3,s=2{keys}")
    assert result.shape == (3, 4)
    if op not in ("sum", "lp"):
        np.testing.assert_allclose(result, 3, rtol=1e-6)


def test_large_integers_keep_their_place_in_medians_and_votes() -> None:
    big = 2**63 - 1
    assert pool(np.array([big, big - 2, big]), "majority:3").tolist() == [big]
    assert pool(np.array([big, big - 2, big - 2]), "stochastic:3,seed=4")[0] in (big, big - 2)
    assert pool(np.array([2**64 - 1] * 3, "uint64"), "median:3").tolist() == [2.0**64]


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_draws_are_counted_by_the_results_own_index(seed: int, index: int) -> None:
    """Every window holds 1..4; behind ``index`` - 1 stages that change nothing."""
    array = np.tile(np.arange(1.0, 5), (3, 5))
    specs = ["max:1"] * (index - 1)
    result = pool(array, *specs, f"stochastic:1x4,seed={seed}")
    key = np.array([seed, index], np.uint64)
    numbers = np.random.Generator(np.random.Philox(key=key)).random(15).tolist()
    # The shares of 1 to 4 end at 0.1, 0.3, 0.6 and 1.
    expected = [1 + (u >= 0.1) + (u >= 0.3) + (u >= 0.6) for u in numbers]
    assert result.reshape(-1).tolist() == expected


def test_elements_are_drawn_in_proportion_to_their_size() -> None:
    array = np.tile([1.0, 0, -5, 3], 10_000)
    values, counts = np.unique(pool(array, "stochastic:4"), return_counts=True)
    assert values.tolist() == [1, 3]
    # Five standard deviations of a binomial distribution.
    assert abs(counts[1] - 7500) < 5 * math.sqrt(10_000 * 0.75 * 0.25)


def test_seeds_and_stages_have_draws_of_their_own() -> None:
    array = np.arange(1.0, 401)
    first = pool(array, "stochastic:2")
    assert np.array_equal(first, pool(array, "stochastic:2,seed=0"))
    assert not np.array_equal(first, pool(array, "stochastic:2,seed=1"))
    assert not np.array_equal(first, pool(array, "max:1", "stochastic:2"))


def test_own_keys_are_heeded() -> None:
    array = np.array([1.0, 2, 3, 9])
    for one, other in (
        ("gem:4", "gem:4,norm=4"),
        ("gem:4", "gem:4,eps=5"),
        ("quantile:4", "quantile:4,q=0.75"),
        ("avgmax:4", "avgmax:4,mix=0.25"),
    ):
        assert pool(array, one) != pool(array, other)
        assert Stage.parse(one) != Stage.parse(other)


@pytest.mark.parametrize(
    ("draw", "values", "expected"),
    [
        (0.0, [0, -1, 5, 3], 5),
        (0.5, [1, 2, 3, 6], 6),
        (0.25, [2, 4, 2, 0], 4),
        (np.nextafter(1, 0), [5, 3, 2, 0], 2),
        (np.nextafter(1, 0), [0.1, 0.2, 0.3, -1], 0.3),
    ],
)
def test_a_draw_on_a_border_belongs_to_the_next_share(
    draw: float, values: list[float], expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An element without weight is never drawn, not even by 0 or the greatest number below 1."""
    monkeypatch.setattr(
        engine, "uniform", lambda _seed, _stream, _start, count: np.full(count, draw)
    )
    assert pool(np.array(values), "stochastic:4")[0] == expected
