"""What --explain writes of every kind of stage: its numbers are the plan's."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from poolcli import Plan, PlanError, plan
from poolcli.report.explain import explain


def stage_lines(text: str) -> list[list[str]]:
    """Lines of each stage, their indentation taken off."""
    return [part.replace("\n  ", "\n").strip().split("\n") for part in text.split("\n\n")[1:]]


@pytest.mark.parametrize(
    ("shape", "specs", "lines"),
    [
        ((3, 9), ["max:2"], [
            "stage 1: max:2x2,stride=2x2",
            ("H: o = floor((n + p - d·(k-1) - 1)/s) + 1 = "
            "floor((3 + 0+0 - 1·(2-1) - 1)/2) + 1 = 1"),
            ("W: o = floor((n + p - d·(k-1) - 1)/s) + 1 = "
            "floor((9 + 0+0 - 1·(2-1) - 1)/2) + 1 = 4"),
            "H: field = 1 + (2-1)·1·1 = 2; center = 0 + 0.5·1 = 0.5; jump = 1·2 = 2",
            "W: field = 1 + (2-1)·1·1 = 2; center = 0 + 0.5·1 = 0.5; jump = 1·2 = 2",
            "shape 3×9 -> 1×4",
            "comparisons = 4 outputs · (4 - 1) = 12",
        ]),
        ((9,), ["avg:4,s=4,p=2,ceil"], [
            "stage 1: avg:4,stride=4,pad=2,ceil",
            ("W: o = ceil((n + p - d·(k-1) - 1)/s) + 1 = "
            "ceil((9 + 2+2 - 1·(4-1) - 1)/4) + 1 - 1 (the last would start beyond the input) = 3"),
            "W: field = 1 + (4-1)·1·1 = 4; center = 0 + -0.5·1 = -0.5; jump = 1·4 = 4",
            "shape 9 -> 3",
            "additions = 3 outputs · (4 - 1) = 9",
        ]),
        ((5,), ["blur:3,s=2,pad=same"], [
            "stage 1: blur:3,stride=2,pad=same",
            "W: o = ceil(n/s) = ceil(5/2) = 3; p = max((3-1)·2 + 1·(3-1) + 1 - 5, 0) = 2, 1 + 1",
            "W: field = 1 + (3-1)·1·1 = 3; center = 0 + 0·1 = 0; jump = 1·2 = 2",
            "shape 5 -> 3",
            "multiply-adds = 3 outputs · 3 = 9",
        ]),
        ((4,), ["up:3"], [
            "stage 1: up:3",
            "W: o = n·3 = 4·3 = 12",
            "W: field = 1 + 0·1 = 1; center = 0 + 0·1 = 0; jump = 1·0.333333 = 0.333333",
            "shape 4 -> 12",
        ]),
        ((4,), ["up:2,mode=bilinear"], [
            "stage 1: up:2,mode=bilinear",
            "W: o = n·2 = 4·2 = 8",
            "W: field = 1 + 1·1 = 2; center = 0 + -0.5·1 = -0.5; jump = 1·0.5 = 0.5",
            "shape 4 -> 8",
            "multiply-adds = 8 outputs · 2 = 16",
        ]),
        ((7,), ["median,out=3"], [
            "stage 1: median,out=3",
            "W: o = 3 windows, the i-th from floor(i·7/3) to ceil((i+1)·7/3)",
            "W: field = 1 + (3-1)·1·1 = 3; center = 0 + 1·1 = 1",
            "shape 7 -> 3",
            "comparisons = 3 outputs · (3 - 1) = 6",
        ]),
        ((5,), ["soft,out=3"], [
            "stage 1: soft,out=3",
            "W: o = 3 windows, the i-th from floor(i·5/3) to ceil((i+1)·5/3)",
            "W: field = 1 + (3-1)·1·1 = 3; center = 0 + 0.5·1 = 0.5",
            "shape 5 -> 3",
            "comparisons = 4, one fewer than each window has elements",
            "additions = 4, one fewer than each window has elements",
        ]),
        ((9,), ["max:2,out=4,fractional,seed=3"], [
            "stage 1: max:2,out=4,fractional,seed=3",
            ("W: o = 4 windows of 2, α = (n-k)/(o-1) = (9-2)/(4-1): "
            "the i-th from int((i+u)·α) - int(u·α), the last from n-k"),
            "W: field = 1 + (2-1)·1·1 = 2; center = 0 + 0.5·1 = 0.5",
            "shape 9 -> 4",
            "comparisons = 4 outputs · (2 - 1) = 4",
        ]),
        ((4, 9), ["max:2x3", "unpool"], [
            "stage 2: unpool",
            "the values of stage 1 go back to where they were found",
            "shape 2×3 -> 4×9",
        ]),
        ((9,), ["max:3", "relu"], ["stage 2: relu", "element by element: the shape stays 3"]),
        ((2, 5, 5), ["conv:3,out=4,bias,groups=2"], [
            "stage 1: conv:3x3,stride=1x1,groups=2,out=4,bias",
            ("H: o = floor((n + p - d·(k-1) - 1)/s) + 1 = "
            "floor((5 + 0+0 - 1·(3-1) - 1)/1) + 1 = 3"),
            ("W: o = floor((n + p - d·(k-1) - 1)/s) + 1 = "
            "floor((5 + 0+0 - 1·(3-1) - 1)/1) + 1 = 3"),
            "H: field = 1 + (3-1)·1·1 = 3; center = 0 + 1·1 = 1; jump = 1·1 = 1",
            "W: field = 1 + (3-1)·1·1 = 3; center = 0 + 1·1 = 1; jump = 1·1 = 1",
            "shape 2×5×5 -> 4×3×3",
            "multiply-adds = 36 outputs · 9 = 324",
            "parameters = 40",
        ]),
        ((9,), ["avg,out=4", "max:2"], [
            "stage 2: max:2,stride=2",
            ("W: o = floor((n + p - d·(k-1) - 1)/s) + 1 = "
            "floor((4 + 0+0 - 1·(2-1) - 1)/2) + 1 = 2"),
            "receptive field: no one number, windows before it differ",
            "shape 4 -> 2",
            "comparisons = 2 outputs · (2 - 1) = 2",
        ]),
        ((6, 2, 2), ["avgmax:3,over=channels"], [
            "stage 1: avgmax:3,stride=3,over=channels",
            ("C: o = floor((n + p - d·(k-1) - 1)/s) + 1 = "
            "floor((6 + 0+0 - 1·(3-1) - 1)/3) + 1 = 2"),
            "shape 6×2×2 -> 2×2×2",
            "comparisons = 8 outputs · (3 - 1) = 16",
            "additions = 8 outputs · (3 - 1) = 16",
        ]),
    ],
)  # fmt: skip
def test_every_kind_of_stage(shape: tuple[int, ...], specs: list[str], lines: list[str]) -> None:
    assert stage_lines(explain(plan(shape, *specs)))[-1] == lines


def test_the_head_names_input_and_letters() -> None:
    text = explain(plan((3, 9, 8), "max:2", dtype="uint8"))
    assert text.startswith("input 3×9×8 (CHW uint8)\nn length, k kernel, s stride, p padding, ")
    assert text.endswith("\n")
    assert explain(plan((9,))).count("\n") == 2


def test_a_single_fractional_window_divides_by_nothing() -> None:
    """o = 1: there is no α, the one window starts at n-k."""
    text = explain(plan((9,), "max:2,out=1,fractional"))
    assert "(1-1)" not in text
    assert "n-k" in text


def test_weights_from_a_file_are_explained(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.ones((2, 3, 3, 1)))
    ((_, *lines),) = stage_lines(explain(plan((3, 5, 5), f"conv,weights={tmp_path / 'w.npy'}")))
    assert lines[-3:] == [
        "shape 3×5×5 -> 2×3×5",
        "multiply-adds = 30 outputs · 9 = 270",
        "parameters = 18",
    ]


STAGES = [
    "max:3,s=2,p=1", "avg:2,ceil", "gem:3,s=2,pad=same", "median:2,d=2", "quantile:3,q=0.2,s=1",
    "majority,out=5", "soft:2", "stochastic:3,s=1", "avgmax:2,s=1", "pick:2", "blur", "blur:4,s=3",
    "conv:3,filter=box,pad=1", "conv:5,out=2,bias", "relu", "up:2", "up:3,mode=bilinear", "unpool",
    "max:2", "max:2,out=3,fractional", "max:global", "min:2,over=channels", "lp:3,d=2,p=1-2",
]  # fmt: skip


def evaluated(formula: str) -> float:
    """What a formula of the text comes to: numbers, + - · / floor ceil max and parentheses."""
    plain = re.sub(r"\(the last.*?\)", "", formula).replace("·", "*").replace("outputs ", "")
    assert re.fullmatch(r"(floor|ceil|max|[\d\s.+*/(),e-])+", plain), plain
    names = {"floor": math.floor, "ceil": math.ceil, "max": max, "__builtins__": {}}
    return float(eval(plain, names))  # noqa: S307 - checked above to be a formula of numbers


def plain_digits(text: str) -> str:
    """Take off the marks between thousands."""
    return re.sub(r"(?<=\d),(?=\d{3})", "", text)


def numbers_agree(text: str) -> int:
    """Check every 'formula = number' whose formula is of numbers alone; return how many."""
    checked = 0
    for line in re.split(r"[;\n]", text):
        parts = line.split(" = ")
        if line.endswith("followed back to the input"):
            continue
        if len(parts) < 3 and not re.search(r"(field|center|jump) = ", line):
            continue
        formula, value = plain_digits(parts[-2]), plain_digits(parts[-1]).split(",")[0]
        if re.match(r"^[\d.-]+(e-\d+)?$", value) and re.match(r"^[\s\d(fcm-]", formula):
            assert evaluated(formula) == pytest.approx(float(value), rel=1e-4, abs=1e-4)
            checked += 1
    return checked


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.sampled_from(STAGES), min_size=1, max_size=5),
    st.sampled_from([((30,), "W"), ((2, 25, 31), "CHW"), ((17, 20, 4), "HWC")]),
)
def test_numbers_agree_with_the_plan(specs: list[str], place: tuple[tuple[int, ...], str]) -> None:
    shape, layout = place
    try:
        worked_out = plan(shape, *specs, layout=layout)
    except PlanError:
        reject()
    text = explain(worked_out)
    parts = stage_lines(text)
    assert len(parts) == len(worked_out.steps)
    for step, lines in zip(worked_out.steps, parts, strict=True):
        assert lines[0] == f"stage {step.index}: {step.spec}"
        given, result = ("×".join(map(str, s)) for s in (step.input_shape, step.shape))
        kept = f"element by element: the shape stays {result}"
        assert (kept if step.stage.op == "relu" else f"shape {given} -> {result}") in lines
    costs_and_lengths_agree(worked_out, parts)
    lengths = sum(
        window.__class__.__name__ in ("Sliding", "Enlarged")
        for step in worked_out.steps
        for window in step.windows
    )
    assert numbers_agree(text) >= lengths


def costs_and_lengths_agree(worked_out: Plan, parts: list[list[str]]) -> None:
    names = ("comparisons", "additions", "multiply-adds", "parameters")
    for step, lines in zip(worked_out.steps, parts, strict=True):
        said = dict.fromkeys(names, 0)
        for line in lines:
            if line.split(" = ")[0] in said:
                value = line.split(" = ")[-1].split(", one")[0]
                said[line.split(" = ")[0]] = int(value.replace(",", ""))
        costs = step.costs
        assert tuple(said.values()) == (
            costs.comparisons, costs.additions, costs.macs, costs.params,
        )  # fmt: skip
        outputs = [line for line in lines if re.match(r"[CDHW]: o = ", line)]
        assert len(outputs) == len(step.windows)
        for window, line in zip(step.windows, outputs, strict=True):
            found = re.search(r"o = (\d+) windows", line) or re.search(r"= (\d+)(;|$)", line)
            assert found is not None
            assert int(found[1]) == window.output
