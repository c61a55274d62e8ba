from __future__ import annotations

import re
from math import ceil, floor

import pytest

from poolcli.plan import plan
from poolcli.report.explain import explain
from tests.conftest import Run

GOLDEN = """\
input 3×9×8 (CHW float32)
n length, k kernel, s stride, p padding, d dilation, o output

stage 1: max:3x3,stride=2x2,pad=1x1,ceil
  H: o = ceil((n + p - d·(k-1) - 1)/s) + 1 = ceil((9 + 1+1 - 1·(3-1) - 1)/2) + 1 = 5
  W: o = ceil((n + p - d·(k-1) - 1)/s) + 1 = ceil((8 + 1+1 - 1·(3-1) - 1)/2) + 1 = 5
  H: field = 1 + (3-1)·1·1 = 3; center = 0 + 0·1 = 0; jump = 1·2 = 2
  W: field = 1 + (3-1)·1·1 = 3; center = 0 + 0·1 = 0; jump = 1·2 = 2
  shape 3×9×8 -> 3×5×5
  comparisons = 75 outputs · (9 - 1) = 600

stage 2: relu
  element by element: the shape stays 3×5×5

stage 3: avg:global
  H: o = floor((n + p - d·(k-1) - 1)/s) + 1 = floor((5 + 0+0 - 1·(5-1) - 1)/5) + 1 = 1
  W: o = floor((n + p - d·(k-1) - 1)/s) + 1 = floor((5 + 0+0 - 1·(5-1) - 1)/5) + 1 = 1
  H: field = 3 + (5-1)·1·2 = 11; center = 0 + 2·2 = 4; jump = 2·5 = 10
  W: field = 3 + (5-1)·1·2 = 11; center = 0 + 2·2 = 4; jump = 2·5 = 10
  shape 3×5×5 -> 3×1×1
  additions = 3 outputs · (25 - 1) = 72
"""


def test_a_chain_explained() -> None:
    chain = ("max:3,stride=2,pad=1,ceil", "relu", "avg:global")
    assert explain(plan((3, 9, 8), *chain)) == GOLDEN


def test_the_program_explains_the_same(poolcli: Run) -> None:
    words = ("-s", "max:3,stride=2,pad=1,ceil", "-s", "relu", "-s", "avg:global")
    ran = poolcli("shape", "3x9x8", *words, "--explain")
    assert (ran.status, ran.out, ran.err) == (0, GOLDEN, "")


CHAINS = [
    ((3, 224, 224), ["max:3,stride=2,pad=1", "avg:2", "max:3x2,dilation=2"]),
    ((3, 17, 19), ["max:3,stride=2,pad=same", "avg:5x3,stride=3x2,pad=same-lower"]),
    ((9, 9), ["max:4,stride=4,pad=2,ceil"]),
    ((3, 16, 16), ["conv:3,pad=1,out=8,bias", "relu", "conv:3,out=4,groups=4", "max:2"]),
    ((1, 11, 5, 7), ["sum:2", "pick:1,stride=2", "lp:global"]),
    ((12, 4, 4), ["max:3,over=channels", "max:2"]),
    ((64,), ["avg:3,stride=2,pad=0-1", "max:3,stride=2,ceil"]),
]


def value(text: str) -> float:
    """Work out one side of an equation, as far as it is numbers."""
    plain = text.replace("·", "*").replace(",", "").replace("outputs", "")
    assert re.fullmatch(r"[\d\s.()+*/-]|(?:floor|ceil|max|[\d\s.()+*/-])+", plain), plain
    return float(eval(plain, {"floor": floor, "ceil": ceil, "max": max}))  # noqa: S307 - checked


@pytest.mark.parametrize(("shape", "specs"), CHAINS)
def test_every_formula_holds(shape: tuple[int, ...], specs: list[str]) -> None:
    """Worked out by Python from the text alone; the results are the plan's."""
    worked_out = plan(shape, *specs)
    text = explain(worked_out)
    equations = 0
    for line in text.splitlines()[2:]:
        # "A = B = C" with words left of the first sign that has numbers on both sides
        for part in line.split("; "):
            clean = re.sub(r"\(the last would start beyond the input\)", "", part)
            clean = re.sub(r"max\((.*), 0\)", lambda found: f"max({found[1]} + 0)", clean)
            sides = [side.strip() for side in clean.split(" = ")][1:]
            sides = [
                side
                for side in sides
                if not re.search(
                    "[a-z](?<!floor)(?<!ceil)", re.sub("floor|ceil|max|outputs", "", side)
                )
            ]
            sides = [side for side in sides if not side.startswith(("max(", "ceil(n", "floor((n"))]
            sides = [side for side in sides if not re.search(r"\d, \d", side)]
            if len(sides) > 1:
                equations += 1
                assert value(sides[0]) == value(sides[-1]), line
    assert equations >= len([step for step in worked_out.steps if step.windows])
    for step in worked_out.steps:
        assert f"stage {step.index}: {step.spec}\n" in text
        assert f"{'×'.join(map(str, step.shape))}\n" in text


def test_same_padding_is_explained_by_its_own_rule() -> None:
    text = explain(plan((17, 18), "max:3,stride=2,pad=same"))
    assert (
        "H: o = ceil(n/s) = ceil(17/2) = 9; p = max((9-1)·2 + 1·(3-1) + 1 - 17, 0) = 2, 1 + 1\n"
        in text
    )
    assert (
        "W: o = ceil(n/s) = ceil(18/2) = 9; p = max((9-1)·2 + 1·(3-1) + 1 - 18, 0) = 1, 0 + 1\n"
        in text
    )


def test_where_ceil_takes_a_window_back_it_says_so() -> None:
    text = explain(plan((9,), "max:4,stride=4,pad=2,ceil"))
    assert (
        "ceil((9 + 2+2 - 1·(4-1) - 1)/4) + 1 - 1 (the last would start beyond the input) = 3"
        in text
    )
    assert "beyond" not in explain(plan((9,), "max:3,stride=2,ceil"))


def test_adaptive_windows_are_explained_and_end_the_field() -> None:
    text = explain(plan((7, 10), "max,out=3x2", "max:2"))
    assert "H: o = 3 windows, the i-th from floor(i·7/3) to ceil((i+1)·7/3)\n" in text
    assert "H: field = 1 + (3-1)·1·1 = 3;" in text
    assert "comparisons = " in text
    assert "receptive field: no one number, windows before it differ\n" in text
    first, second = text.split("\nstage ")[1:]
    assert "jump" not in first
    assert "field = " not in second


def test_windows_over_channels_have_no_field() -> None:
    text = explain(plan((12, 4, 4), "max:3,over=channels"))
    assert (
        "  C: o = floor((n + p - d·(k-1) - 1)/s) + 1 = floor((12 + 0+0 - 1·(3-1) - 1)/3) + 1 = 4\n"
        in text
    )
    assert "field" not in text


def test_costs_of_a_convolution() -> None:
    text = explain(plan((3, 8, 8), "conv:3,out=4,bias"))
    assert "multiply-adds = 144 outputs · 27 = 3,888\n" in text
    assert "parameters = 112\n" in text


def test_costs_of_windows_that_differ() -> None:
    assert "  comparisons = 17, one fewer than each window has elements\n" in explain(
        plan((8, 2), "max,out=3x1")
    )


def test_centers_are_exact_however_far_away() -> None:
    text = explain(plan((2_469_137,), "max:global"))
    assert "center = 0 + 1234568·1 = 1234568" in text
