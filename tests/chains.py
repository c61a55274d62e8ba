"""Chains at random, by seeds: stages of every kind over small maps of every layout and dtype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.plan import Plan, plan
from tests.cases import FLOATS, INTEGERS

T = TypeVar("T")
Array = NDArray[Any]

OPERATIONS = [
    "max",
    "min",
    "avg",
    "sum",
    "lp",
    "lp,norm=3",
    "gem",
    "median",
    "quantile,q=0.3",
    "majority",
    "soft",
    "stochastic",
    "avgmax",
    "pick",
    "avg,include-pad",
    "avg,divisor=3",
]
LAYOUTS = ["W", "HW", "CHW", "NCHW", "HWC", "NHWC", "CW", "NW", "CDHW", "WC", "WHC", "DWCH"]
WITHOUT_PADDING = ("include-pad", "divisor")
"""Words of operations that windows without padding don't know."""


class Dice:
    """Random choices, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def one_of(self, *choices: T) -> T:
        return choices[int(self.generator.integers(len(choices)))]

    def number(self, low: int, high: int) -> int:
        """Return a number from low to high, both of them possible."""
        return int(self.generator.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        return bool(self.generator.random() < share)


@dataclass(frozen=True)
class Drawn:
    """A chain that can be planned, and a map for it."""

    plan: Plan
    array: Array

    def __str__(self) -> str:
        plan = self.plan
        specs = " ".join(step.spec for step in plan.steps)
        return f"{plan.layout} {plan.shape} {plan.dtype} {specs}"


def drawn_chain(seed: int, *, undone: bool = False) -> Drawn:
    """Return the chain of a seed; some unpool what they pooled, if ``undone`` says so."""
    dice = Dice(seed)
    while True:
        layout = dice.one_of(*LAYOUTS)
        shape = tuple(dice.number(1, 4) if axis in "NC" else dice.number(3, 18) for axis in layout)
        if "D" in layout:
            shape = tuple(min(length, 9) for length in shape)
        if dice.chance(0.2):
            longest = layout.index(dice.one_of(*(axis for axis in layout if axis not in "NCD")))
            shape = (*shape[:longest], dice.number(64, 300), *shape[longest + 1 :])
        dtype = dice.one_of(*INTEGERS, *FLOATS, *FLOATS)
        specs = [stage_spec(dice) for _ in range(dice.number(1, 3))]
        if undone and dice.chance(0.1):
            specs = ["max:2,stride=2", "unpool", *specs[:1]]
        try:
            planned = plan(shape, *specs, layout=layout, dtype=dtype)
        except PoolError:
            continue
        return Drawn(planned, numbers(dice, shape, dtype))


def numbers(dice: Dice, shape: tuple[int, ...], dtype: str) -> Array:
    """Return a map of numbers whose sums no dtype of sums overflows, with some ties."""
    if dtype == "bool":
        return dice.generator.random(shape) < 0.5
    if dtype in FLOATS:
        array = np.asarray(dice.generator.standard_normal(shape) * 50, dtype)
        if dice.chance(0.3):
            special = dice.generator.choice([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0], shape)
            array = np.where(dice.generator.random(shape) < 0.1, special, array).astype(dtype)
        return array
    low = 0 if dtype.startswith("u") else -100
    return dice.generator.integers(low, 120, shape).astype(dtype)


def stage_spec(dice: Dice) -> str:
    """Return a stage, which need not fit."""
    operation, _, rest = dice.one_of(*OPERATIONS).partition(",")
    rest = "," + rest if rest else ""
    bare = "" if any(word in rest for word in WITHOUT_PADDING) else rest
    size = dice.number(1, 4)
    kinds = ["other", "global", "out", "channels", "fractional", *["long"] * 3, *["sliding"] * 6]
    kind = dice.one_of(*kinds)
    if kind == "other":
        return dice.one_of(
            "relu",
            "up:2",
            "up:2,mode=bilinear",
            "conv:3,filter=gaussian,pad=1",
            "conv:3,filter=sobel-x",
            "blur",
            "blur:3,stride=1",
            "blur:2",
        )
    if kind == "global":
        return f"{operation}:global{bare}"
    if kind == "out":
        return f"{operation},out={dice.number(1, 4)}{bare}"
    if kind == "channels":
        return f"{operation}:{size},stride={dice.number(1, 3)},over=channels{rest}"
    if kind == "fractional":
        return f"{operation}:2,out=3,fractional{bare}"
    if kind == "long":
        return long_spec(dice) + rest
    spec = f"{operation}:{size},stride={dice.number(1, 4)}"
    padded = size > 1 and dice.chance(0.5)
    if padded:
        spec += dice.one_of(f",pad={dice.number(1, size - 1)}", ",pad=same")
    if dice.chance(0.2):
        spec += ",dilation=2"
    if dice.chance(0.2):
        spec += ",ceil"
    if padded and "include" not in rest and dice.chance(0.35):
        spec += ",pad-mode=" + dice.one_of("reflect", "edge", "wrap")
    return spec + rest


def long_spec(dice: Dice) -> str:
    """Return a stage of a window about as long as those that are no longer combined by shifts."""
    operation = dice.one_of(*(name for name in OPERATIONS if "," not in name))
    size = dice.number(60, 75) if dice.chance(0.7) else dice.number(2, 140)
    spacing = dice.one_of(1, 1, 1, 2)
    across = dice.one_of("", "", "", "x1", "x2")
    stride = dice.one_of(size, size, size + dice.number(0, 9), size // 2, dice.number(1, 9))
    spec = f"{operation}:{size}{across},stride={stride}{across}"
    if across:
        spec += f",pad={dice.number(0, size - 1)}x0" if dice.chance(0.5) else ""
    elif dice.chance(0.6):
        spec += f",pad={dice.number(0, size - 1)}-{dice.number(0, size - 1)}"
    if spacing > 1:
        spec += f",dilation={spacing}" + across.replace("2", "1")
    if dice.chance(0.3):
        spec += ",ceil"
    if "pad=" in spec and dice.chance(0.7):
        spec += ",pad-mode=" + dice.one_of("reflect", "edge", "wrap")
    return spec
