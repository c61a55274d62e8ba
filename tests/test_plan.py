from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from poolcli import Chain, PlanError, PoolError, SpecError, Stage, pool
from poolcli.engine import run
from poolcli.fields import Field
from poolcli.plan import Costs, Plan, plan
from poolcli.windows import Adaptive, Sliding

VGG16 = [
    spec
    for outputs, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
    for spec in (*[f"conv:3,pad=1,out={outputs},bias"] * convolutions, "max:2")
]


def test_vgg16_has_its_published_numbers() -> None:
    """Simonyan & Zisserman 2014, configuration D, without its three linear layers."""
    vgg = plan((3, 224, 224), *VGG16)
    assert len(vgg.steps) == 18
    assert vgg.output_shape == (512, 7, 7)
    last = vgg.steps[-1]
    assert (last.receptive_field, last.jump) == ((212, 212), (32, 32))
    assert last.center == (15.5, 15.5)
    assert vgg.costs.params == 14_714_688
    assert vgg.costs.macs == 15_346_630_656
    assert vgg.costs.additions == 0
    assert vgg.reduction == 6.0
    assert vgg.peak_bytes == 2 * 64 * 224 * 224 * 4


def test_the_numbers_of_the_contracts_example() -> None:
    worked_out = plan((3, 224, 224), "max:2")
    (step,) = worked_out.steps
    assert (worked_out.shape, worked_out.layout, worked_out.dtype) == (
        (3, 224, 224),
        "CHW",
        "float32",
    )
    assert (step.index, step.spec, step.label) == (1, "max:2x2,stride=2x2", "max2x2")
    assert (step.kernel, step.stride, step.dilation) == ((2, 2), (2, 2), (1, 1))
    assert step.padding == ((0, 0), (0, 0))
    assert (step.shape, step.input_shape) == ((3, 112, 112), (3, 224, 224))
    assert (step.layout, step.axes) == ("CHW", (1, 2))
    assert (step.dtype, step.carried) == ("float32", "float32")
    assert (step.receptive_field, step.jump, step.center) == ((2, 2), (2, 2), (0.5, 0.5))
    assert (step.elements, step.bytes) == (37_632, 150_528)
    assert step.costs == Costs(params=0, macs=0, comparisons=112_896, additions=0)
    assert worked_out.costs == step.costs
    assert (worked_out.reduction, worked_out.peak_bytes) == (4.0, 752_640)


@pytest.mark.parametrize(
    ("specs", "size", "jump", "center"),
    [
        (["max:3,s=1"], 3, 1, 1.0),
        (["max:3,s=1,p=1"], 3, 1, 0.0),
        (["max:3,s=2,p=1"], 3, 2, 0.0),
        (["max:2"] * 4, 16, 16, 7.5),
        (["max:3,s=1,d=2"], 5, 1, 2.0),
        (["max:3,s=1,d=2,p=2"], 5, 1, 0.0),
        (["max:2", "max:3,s=1,d=2"], 10, 2, 4.5),
        (["max:2", "max:3,s=1,p=1-0"], 6, 2, 0.5),
        (["max:3,s=2,pad=same"], 3, 2, 1.0),
        (["max:3,s=2,pad=same-lower"], 3, 2, 0.0),
        (["max:3,s=2,pad=same", "max:3,s=2,pad=same-lower"], 7, 4, 1.0),
        (["max:2", "relu", "max:2"], 4, 4, 1.5),
        (["max:7,s=2,p=3", "max:3,s=2,p=1"], 11, 4, 0.0),
        (["max:2,over=channels", "max:2"], 2, 2, 0.5),
    ],
)
def test_fields_worked_by_hand(specs: list[str], size: int, jump: int, center: float) -> None:
    step = plan((4, 64, 64), *specs).steps[-1]
    assert (step.receptive_field, step.jump) == ((size, size), (jump, jump))
    assert step.center == (center, center)


def test_dilation_counts_in_the_center() -> None:
    """Popular calculators forget it there: they would say 4 and 12."""
    specs = ["conv:7,s=2,p=3,out=1", "conv:3,s=2,p=1,out=1", "conv:3,s=2,out=1,d=2", "max:3"]
    field = plan((1, 200, 200), *specs).steps
    assert field[2].center == (8.0, 8.0)
    assert field[2].receptive_field == (27, 27)
    assert field[3].center == (16.0, 16.0)


def test_a_global_stage_sees_its_whole_map() -> None:
    worked_out = plan((8, 12), "max:2", "avg:global", layout="HW")
    step = worked_out.steps[1]
    assert step.shape == (1, 1)
    assert step.kernel == (4, 6)
    assert step.stride == (4, 6)
    assert step.receptive_field == (2 + 3 * 2, 2 + 5 * 2)
    assert step.center == (3.5, 5.5)
    assert step.spec == "avg:global"
    assert step.costs == Costs(additions=23)


def test_an_adaptive_stage_has_its_largest_window_and_no_jump() -> None:
    worked_out = plan((7, 12), "max:1", "avg,out=3x4", "max:1x2", "relu", "avg:global")
    step = worked_out.steps[1]
    assert step.shape == (3, 4)
    assert step.kernel == (3, 3)
    assert step.stride is None
    assert step.jump is None
    assert step.padding == ((0, 0), (0, 0))
    assert step.receptive_field == (3, 3)
    assert step.center == (1.0, 1.0)
    assert step.spec == "avg,out=3x4"
    assert step.label == "avg-out3x4"
    for after in worked_out.steps[2:]:
        assert (after.receptive_field, after.jump, after.center) == (None, None, None)


def test_what_changes_nothing_keeps_the_field_behind_an_adaptive_stage() -> None:
    steps = plan((7, 12), "avg,out=3x4", "max:1", "relu").steps
    assert [step.receptive_field for step in steps] == [(3, 3)] * 3
    assert [step.center for step in steps] == [steps[0].center] * 3


def test_costs_of_an_adaptive_stage_count_its_overlapping_windows() -> None:
    """Length 7 to 3 has windows of 3, 3 and 3; length 5 to 3 of 2, 3 and 2."""
    (step,) = plan((2, 7, 5), "max,out=3").steps
    assert step.costs == Costs(comparisons=2 * (9 * 7 - 9))


def test_costs_count_padding_and_overhang() -> None:
    assert plan((4,), "avg:3,s=2,p=1,ceil").costs == Costs(additions=3 * 2)
    assert plan((4,), "lp:3,s=2,p=1,ceil").costs == Costs(additions=3 * 2)
    assert plan((4,), "min:3,s=2,p=1,ceil").costs == Costs(comparisons=3 * 2)
    assert plan((4,), "pick:3,s=2,p=1,ceil").costs == Costs()
    assert plan((4, 4), "sum:2x3,s=1").costs == Costs(additions=6 * 5)
    assert plan((9,), "relu").costs == Costs()


def test_costs_of_a_convolution() -> None:
    plain = plan((4, 6, 6), "conv:3,out=8").costs
    assert plain == Costs(params=8 * 4 * 9, macs=8 * 16 * 4 * 9)
    biased = plan((4, 6, 6), "conv:3,out=8,bias").costs
    assert biased == Costs(params=8 * 4 * 9 + 8, macs=plain.macs)
    grouped = plan((4, 6, 6), "conv:3,groups=2,out=8").costs
    assert grouped == Costs(params=8 * 2 * 9, macs=8 * 16 * 2 * 9)
    batched = plan((5, 6, 4), "conv:3,out=8", layout="NWC").costs
    assert batched == Costs(params=8 * 4 * 3, macs=5 * 4 * 8 * 4 * 3)


def test_a_convolution_gives_its_channels_wherever_they_stand() -> None:
    assert plan((6, 5, 4), "conv:3,out=8", layout="HWC").output_shape == (4, 3, 8)
    assert plan((2, 4, 6, 5), "conv:3,s=2,p=1,out=8").output_shape == (2, 8, 3, 3)
    assert plan((4, 9), "conv:3,out=8", layout="CW").output_shape == (8, 7)


def test_pooling_over_channels_leaves_the_field_alone() -> None:
    (step,) = plan((6, 5, 5), "max:3,over=channels").steps
    assert step.shape == (2, 5, 5)
    assert step.axes == (0,)
    assert step.receptive_field == (1, 1)
    assert step.spec == "max:3,stride=3,over=channels"
    assert plan((5, 5, 6), "avg:global,over=channels", layout="HWC").output_shape == (5, 5, 1)
    assert plan((2, 6), "max:2,over=channels", layout="NC").steps[0].receptive_field == ()


def test_a_step_without_windows_has_none_of_their_numbers() -> None:
    (step,) = plan((4, 4), "relu").steps
    assert (step.kernel, step.stride, step.padding, step.dilation) == (None,) * 4
    assert (step.spec, step.label, step.shape, step.axes) == ("relu", "relu", (4, 4), ())
    assert (step.receptive_field, step.jump) == ((1, 1), (1, 1))


@pytest.mark.parametrize(
    ("dtype", "specs", "results", "carried"),
    [
        ("uint8", ["avg:1", "max:1", "avg:1", "sum:1"], ["float32"] * 4, ["float64"] * 4),
        ("uint8", ["max:1", "sum:1", "avg:1"], ["uint8", "uint64", "float64"],
         ["uint8", "uint64", "float64"]),
        ("int32", ["avg:1", "max:1"], ["float64"] * 2, ["float64"] * 2),
        ("int8", ["sum:1", "sum:1", "relu"], ["int64"] * 3, ["int64"] * 3),
        ("float16", ["avg:1", "sum:1", "lp:1"], ["float16"] * 3, ["float16"] * 3),
        ("bool", ["max:1", "lp:1"], ["bool", "float32"], ["bool", "float64"]),
    ],
)  # fmt: skip
def test_dtypes_along_a_chain(
    dtype: str, specs: list[str], results: list[str], carried: list[str]
) -> None:
    steps = plan((4,), *specs, dtype=dtype).steps
    assert [step.dtype for step in steps] == results
    assert [step.carried for step in steps] == carried


def test_peak_bytes_are_of_the_stage_with_most_input_and_output() -> None:
    """In bytes: 100 uint8, then 100 float32, then 25, then 25 of 8 each."""
    assert plan((100,), "avg:1", "avg:4", dtype="uint8").peak_bytes == 100 + 400
    assert plan((100,), "avg:4", dtype="uint8").peak_bytes == 100 + 100
    assert plan((100,), "sum:4", "sum:1", dtype="uint8").peak_bytes == 200 + 200
    assert plan((100,), dtype="uint8").peak_bytes == 100


def test_an_empty_chain_gives_its_input() -> None:
    empty = plan((3, 4))
    assert (empty.steps, empty.output_shape, empty.reduction) == ((), (3, 4), 1.0)
    assert empty.costs == Costs()


def test_an_empty_batch_is_planned() -> None:
    batch = plan((0, 3, 4, 4), "max:2")
    assert (batch.output_shape, batch.reduction) == ((0, 3, 2, 2), None)
    assert batch.costs == Costs()


def test_specs_stages_and_chains_are_one_chain() -> None:
    parts = ("max:2*2", Stage.parse("relu"), Chain.parse("avg:2", "max:1"))
    worked_out = plan((64, 64), *parts)
    assert [str(step.stage) for step in worked_out.steps] == [
        "max:2", "max:2", "relu", "avg:2", "max:1",
    ]  # fmt: skip
    assert [step.index for step in worked_out.steps] == [1, 2, 3, 4, 5]
    assert plan(iter((64, 64)), *parts) == worked_out


@pytest.mark.parametrize(
    ("shape", "layout", "specs", "text"),
    [
        ((3, 5, 5), None, ["max:2", "max:3"],
         ("stage 2 (max:3): along H: window 3 is larger than its input 2: "
         "a window of at most 2 fits")),
        ((3, 9, 4), None, ["max:3,s=1", "max:3,s=1"],
         ("stage 2 (max:3,stride=1): along W: window 3 is larger than its input 2: "
         "a window of at most 2 fits")),
        ((3, 0, 4), None, ["max:1"],
         "stage 1 (max:1): along H: the axis is empty: a window needs at least one position"),
        ((0, 4), None, ["max:global"],
         "stage 1 (max:global): along H: the axis is empty: a window needs at least one position"),
        ((0, 4), None, ["max,out=2"],
         "stage 1 (max,out=2): along H: the axis is empty: a window needs at least one position"),
        ((4, 4), None, ["max:2,over=channels"],
         "stage 1 (max:2,over=channels): layout HW has no channels to slide over"),
        ((4, 4), "NC", ["max:2"], "stage 1 (max:2): layout NC has no spatial axis to slide over"),
        ((3, 8, 8), None, ["max:2x2x3"],
         ("stage 1 (max:2x2x3): kernel has 3 numbers, layout CHW has 2 such axes (HW): "
         "give one, or one per axis")),
        ((8,), None, ["max:2,stride=1x2"],
         ("stage 1 (max:2,stride=1x2): stride has 2 numbers, layout W has 1 such axis (W): "
         "give one, or one per axis")),
        ((8, 8, 8), "DHW", ["max:3,pad=0x1"],
         ("stage 1 (max:3,pad=0x1): padding has 2 numbers, layout DHW has 3 such axes (DHW): "
         "give one, or one per axis")),
        ((8,), None, ["max:3,d=1x2"],
         ("stage 1 (max:3,dilation=1x2): dilation has 2 numbers, layout W has 1 such axis (W): "
         "give one, or one per axis")),
        ((8,), None, ["max,out=1x2"],
         ("stage 1 (max,out=1x2): output has 2 numbers, layout W has 1 such axis (W): "
         "give one, or one per axis")),
        ((8, 1), None, ["max:1", "pick:2x2,d=1x2,p=0x1"],
         ("stage 2 (pick:2,pad=0x1,dilation=1x2): along W: a window holds nothing but padding, "
         "of which pick has no value: use less padding or dilation")),
        ((1,), None, ["avg:2,d=2,pad=same"],
         ("stage 1 (avg:2,pad=same,dilation=2): along W: a window holds nothing but padding, "
         "of which avg has no value: use less padding or dilation")),
        ((4, 4), None, ["conv:3,out=2"],
         "stage 1 (conv:3,out=2): layout HW has no channels to convolve"),
        ((4, 9, 9), None, ["conv:3,out=2,channels=3"],
         "stage 1 (conv:3,out=2,channels=3): it expects 3 channels, its input has 4"),
        ((4, 9, 9), None, ["conv:3,groups=3,out=6"],
         "stage 1 (conv:3,groups=3,out=6): 4 channels don't divide into 3 groups"),
        ((4, -1), None, ["max:2"], "shape 4x-1: lengths can't be negative"),
        ((), None, ["max:2"], "an array of 0 axes has no layout: 1 to 5 axes are expected"),
        ((4, 4), "HWC", ["max:2"],
         "layout HWC names 3 axes, the array has 2: say --layout with 2 letters"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_mend(
    shape: tuple[int, ...], layout: str | None, specs: list[str], text: str
) -> None:
    with pytest.raises(PlanError) as caught:
        plan(shape, *specs, layout=layout)
    assert str(caught.value) == text
    assert isinstance(caught.value, PoolError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"dtype": "flaot32"}, "dtype 'flaot32': did you mean float32?"),
        ({"layout": "hw"}, "layout 'hw': letters out of"),
    ],
)
def test_what_can_not_be_read_is_a_spec_error(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError, match=text):
        plan((4, 4), "max:2", **arguments)


def test_a_window_that_only_its_padding_makes_large_enough_fits() -> None:
    assert plan((1,), "max:3,s=1,p=1").output_shape == (1,)
    assert plan((1,), "max:3,s=3,ceil").output_shape == (1,)
    assert plan((2,), "max:9,pad=same").output_shape == (1,)


def test_a_bound_spec_says_the_same_stage() -> None:
    for spec in ("max:3,s=2,p=1", "avg:2x3,pad=0-1x1,exclude-pad,ceil", "lp:2,norm=3,d=2"):
        worked_out = plan((20, 20), spec)
        assert plan((20, 20), worked_out.steps[0].spec) == worked_out


def test_a_plan_is_frozen_and_comparable() -> None:
    worked_out = plan((4, 4), "max:2")
    assert worked_out == plan((4, 4), "max:2x2,stride=2")
    assert worked_out != plan((4, 4), "min:2")
    assert hash(worked_out) == hash(plan((4, 4), "max:2"))
    with pytest.raises(FrozenInstanceError):
        worked_out.layout = "WH"  # type: ignore[misc]


def test_a_field_passes_through_windows() -> None:
    field = Field.of_input(1).through([Sliding(9, 4, 3, 2)])
    assert (field.size, field.jump, field.center) == ((3,), (2,), (1.0,))
    field = field.through([Adaptive(4, 2)])
    assert (field.size, field.jump, field.center) == ((5,), None, (2.0,))


def test_a_plan_is_run_on_its_own_shape_and_dtype_only() -> None:
    worked_out = plan((4, 4), "max:2")
    for array in (np.zeros((4, 5), "float32"), np.zeros((4, 4), "float64")):
        with pytest.raises(PlanError, match=r"the plan is for float32 \(4, 4\), the array is"):
            next(run(worked_out, array))


@st.composite
def chains(draw: st.DrawFn) -> list[str]:
    specs = []
    for _ in range(draw(st.integers(1, 3))):
        kernel, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        most = (kernel - 1) * dilation
        spec = f"avg:{kernel},stride={draw(st.integers(1, 3))},dilation={dilation}"
        padding = draw(st.sampled_from(["numbers", "same", "same-lower"]))
        if padding == "numbers":
            spec += f",pad={draw(st.integers(0, most))}-{draw(st.integers(0, most))}"
            spec += ",ceil" * draw(st.booleans())
        else:
            spec += f",pad={padding},include-pad"
        specs.append(spec)
    return specs


@settings(deadline=None, max_examples=250)
@given(st.integers(20, 60), chains())
def test_fields_are_what_perturbing_one_input_at_a_time_finds(
    length: int, specs: list[str]
) -> None:
    """Row i of an identity matrix perturbs input i alone; a column is what one output sees."""
    try:
        step = plan((length, length), *specs, layout="NW").steps[-1]
    except PlanError:
        reject()
    assert step.receptive_field is not None
    assert step.jump is not None
    assert step.center is not None
    size, jump, center = step.receptive_field[0], step.jump[0], step.center[0]
    seen = pool(np.eye(length), *specs, layout="NW") != 0
    for index in range(seen.shape[1]):
        low = center + index * jump - (size - 1) / 2
        if low >= 0 and low + size <= length:
            found = np.flatnonzero(seen[:, index])
            assert (found[0], found[-1]) == (low, low + size - 1)


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 30), chains(), st.sampled_from(["avg:global", "max,out=3", "relu"]))
def test_a_plans_shapes_and_dtypes_are_those_of_the_run(
    length: int, specs: list[str], last: str
) -> None:
    array = np.ones((2, length), "uint8")
    try:
        worked_out = plan(array.shape, *specs, last, layout="NW", dtype="uint8")
    except PlanError:
        with pytest.raises(PlanError):
            pool(array, *specs, last, layout="NW")
        return
    for result in run(worked_out, array):
        assert result.array is not None
        assert result.array.shape == result.step.shape
        assert result.array.dtype == result.step.dtype
    assert pool(array, *specs, last, layout="NW").dtype == worked_out.steps[-1].dtype


@pytest.mark.parametrize("module", ["poolcli", "poolcli.plan", "poolcli.pytorch", "poolcli.specs"])
def test_planning_loads_nothing_heavy(module: str) -> None:
    program = (
        f"import {module}, poolcli, sys\n"
        "poolcli.plan((3, 224, 224), 'max:2', 'AvgPool2d(2)')\n"
        "print(sorted({'numpy', 'PIL', 'rich', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_plan_stays_a_function_after_its_module_is_imported() -> None:
    program = "import poolcli.plan, poolcli; print(poolcli.plan((4, 4), 'max:2').output_shape)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "(2, 2)\n"


def test_a_plan_has_a_type_of_its_own() -> None:
    assert isinstance(plan((4,), "max:2"), Plan)
