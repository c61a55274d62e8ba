"""Hypothesis' cases: a stage in the words of a spec and in the oracle's, with a map for it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.random import Generator, Philox
from numpy.typing import NDArray

from poolcli import PlanError
from poolcli.api import pool
from tests import oracle
from tests.oracle import Lay

INTEGERS = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]
LAYOUTS = [
    "".join(letters)
    for base in ("W", "HW", "CHW", "CW", "NCHW", "NHW", "CDHW", "NC")
    for letters in permutations(base)
] + ["NDCWH", "NCDHW", "NDHWC"]
LARGEST = {"float16": 100.0, "float32": 1e12, "float64": 1e90}
"""Where sums of some tens of powers don't overflow: overflow has tests of its own."""
ANSWER_EMPTY = ("max", "min", "sum", "lp")
"""Operations that have a value of no element at all."""
AVERAGES = ("avg", "avgmax")


def draws(seed: int, stream: int, count: int) -> NDArray[np.float64]:
    """Random numbers as the contract has them: Philox, keyed by seed and stream."""
    return Generator(Philox(key=np.array([seed, stream], np.uint64))).random(count)


def placing_draws(seed: int, stage: int, count: int) -> list[float]:
    """Samples that place fractional windows: streams of their own."""
    return [float(sample) for sample in draws(seed, (1 << 32) + stage, count)]


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
        options = dict(self.options)
        if self.op == "stochastic":
            shape = self.output_shape()
            numbers = draws(options["seed"], 1, math.prod(shape))
            options["draws"] = numbers.reshape(shape).tolist()
        return oracle.pool(self.op, self.array.tolist(), self.axes, self.lays, **options)

    def output_shape(self) -> list[int]:
        lays = dict(zip(self.axes, self.lays, strict=True))
        return [
            len(oracle.walk(length, lays[axis]).windows) if axis in lays else length
            for axis, length in enumerate(self.array.shape)
        ]

    def has_windows(self) -> bool:
        return all(
            oracle.walk(self.array.shape[axis], lay).windows
            for axis, lay in zip(self.axes, self.lays, strict=True)
        )

    def result(self) -> NDArray[Any]:
        return pool(self.array, self.spec, layout=self.layout)

    def is_refused(self) -> bool:
        """Whether the stage must be refused; checks that it is, for the right reason."""
        reason = None
        if not self.has_windows():
            fractional = self.lays[0].sample is not None
            reason = r"windows of \d+ need \d+ positions" if fractional else "is larger than its"
        elif None in oracle.flat(self.expected()) and self.op not in ANSWER_EMPTY:
            reason = f"a window holds nothing but padding, of which {self.op} has no value"
        if reason is None:
            return False
        with pytest.raises(PlanError, match=reason) as caught:
            self.result()
        assert re.match(rf"stage 1 \({self.op}.*\): along [CDHW]: ", str(caught.value))
        return True


@st.composite
def lays_and_keys(draw: st.DrawFn, rank: int) -> tuple[tuple[Lay, ...], str]:
    """How windows lie on ``rank`` axes, and the part of a spec that says so."""
    placement = draw(st.sampled_from(["sliding"] * 4 + ["global", "out", "fractional"]))
    if placement == "global":
        return (Lay(whole=True),) * rank, ":global"
    if placement == "out":
        outs = draw(st.lists(st.integers(1, 5), min_size=rank, max_size=rank))
        return tuple(Lay(out=out) for out in outs), ",out=" + "x".join(map(str, outs))
    if placement == "fractional":
        return draw(fractional(rank))
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


@st.composite
def fractional(draw: st.DrawFn, rank: int) -> tuple[tuple[Lay, ...], str]:
    """Fractional windows of the first stage of a chain, drawn for a seed."""
    kernel = draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    outs = draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    seed = draw(st.integers(0, 5))
    samples = placing_draws(seed, 1, rank)
    lays = [
        Lay(kernel=k, out=out, sample=sample)
        for k, out, sample in zip(kernel, outs, samples, strict=True)
    ]
    size, out = "x".join(map(str, kernel)), "x".join(map(str, outs))
    return tuple(lays), f":{size},out={out},fractional,seed={seed}"


def values_of(dtype: str, *, moderate: bool, endless: bool = True) -> st.SearchStrategy[Any]:
    """Values of a dtype, its extremes among them; ``moderate`` ones for sums of floats.

    ``endless`` says whether infinities are among them.
    """
    if dtype in INTEGERS:
        return hnp.from_dtype(np.dtype(dtype))
    infinities = [math.inf, -math.inf] if endless else []
    special = st.sampled_from([0.0, -0.0, math.nan, *infinities])
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


def arrays(
    dtype: str, shape: tuple[int, ...], *, moderate: bool, endless: bool = True
) -> st.SearchStrategy[NDArray[Any]]:
    """Maps of a dtype: any values, few different ones (ties), or all the same."""
    values = values_of(dtype, moderate=moderate, endless=endless)
    few = st.lists(values, min_size=1, max_size=3).flatmap(
        lambda some: hnp.arrays(dtype, shape, elements=st.sampled_from(some))
    )
    return st.one_of(hnp.arrays(dtype, shape, elements=values), few)


@st.composite
def cases(
    draw: st.DrawFn,
    ops: list[str],
    dtypes: list[str],
    *,
    moderate: bool | None = None,
    endless: bool = True,
) -> Case:
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
    elif sliding and op == "blur":
        keys += ",pad-mode=constant"
    elif sliding and op in AVERAGES:
        options["counts_padding"] = counts = draw(st.sampled_from([None, True, False]))
        keys += {None: "", True: ",include-pad", False: ",exclude-pad"}[counts]
    if op in AVERAGES and draw(st.integers(0, 3)) == 0:
        options["divisor"] = draw(st.integers(1, 9))
        keys += f",divisor={options['divisor']}"
    for name, values in OWN_KEYS.get(op, {}).items():
        options[name] = value = draw(values)
        if not (name == "seed" and "seed=" in keys):
            keys += f",{name}={value!r}"
    if op == "stochastic" and lays[0].sample is not None:
        # The seed is the operation's own: the same one places the windows.
        options["seed"] = int(keys.split("seed=")[1].split(",")[0])
    if op == "blur" and sliding and ",stride=" not in keys:
        keys += f",stride={keys[1:].split(',')[0]}"
    keys += ",over=channels" * over
    if moderate is None:
        moderate = op not in EXACT
    array = draw(arrays(dtype, shape, moderate=moderate, endless=endless))
    return Case(op, op + keys, layout, axes, lays, array, options)


EXACT = ("max", "min", "pick", "majority", "stochastic")
"""Operations whose result is one of the window's elements."""

OWN_KEYS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "lp": {"norm": st.sampled_from([2, 1, 3, 0.5, 2.5])},
    "gem": {
        "norm": st.sampled_from([3, 1, 2, 0.5, 2.5, 7]),
        "eps": st.sampled_from([1e-6, 1, 0.001]),
    },
    "quantile": {"q": st.sampled_from([0.5, 0, 1, 0.25, 0.3, 0.9])},
    "stochastic": {"seed": st.integers(0, 3)},
    "avgmax": {"mix": st.sampled_from([0.5, 0, 1, 0.25, 0.1])},
}


def check_exactly(case: Case) -> None:
    """Compare with the oracle where results are elements: equal to the last bit."""
    if case.is_refused():
        return
    flat = oracle.flat(case.expected())
    dtype = case.array.dtype
    empty = least(dtype) if case.op == "max" else greatest(dtype)
    result = case.result()
    assert result.dtype == dtype
    assert list(result.shape) == case.output_shape()
    np.testing.assert_array_equal(
        result.reshape(-1), np.array([empty if each is None else each for each in flat], dtype)
    )


def check_nearly(case: Case, flat: list[Any], slack: list[float]) -> None:
    """Compare within ``slack`` and the rounding of the result's own dtype; NaN and ∞ exactly."""
    result = case.result()
    assert list(result.shape) == case.output_shape()
    assert_near(result, real_dtype(case.array.dtype), flat, slack)


def real_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Dtype of real numbers that were made of elements of ``dtype``."""
    return dtype if dtype.kind == "f" else np.dtype("float64" if dtype.itemsize >= 4 else "f4")


def assert_near(
    result: NDArray[Any], wanted: np.dtype[Any], flat: list[Any], slack: list[float]
) -> None:
    assert result.dtype == wanted
    own = np.finfo(wanted)
    for got, each, loose in zip(result.reshape(-1).tolist(), flat, slack, strict=True):
        if isinstance(each, float) and not math.isfinite(each):
            assert math.isnan(got) if math.isnan(each) else got == each
        else:
            near = float(own.eps) * abs(float(each)) + float(own.smallest_subnormal) + loose
            assert abs(float(got) - float(each)) <= near


def least(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f":
        return -math.inf
    return False if dtype.kind == "b" else np.iinfo(dtype).min


def greatest(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f":
        return math.inf
    return True if dtype.kind == "b" else np.iinfo(dtype).max


def sizes_of(case: Case) -> list[float]:
    """What each window adds up to if every finite element counts by its size: scales errors."""
    sizes = np.nan_to_num(np.abs(case.array.astype(np.float64)), nan=0, posinf=0)
    held = Case(
        "sum", case.spec, case.layout, case.axes, case.lays, sizes,
        {name: value for name, value in case.options.items() if name == "pad_mode"},
    )  # fmt: skip
    return [float(each) for each in oracle.flat(held.expected())]
