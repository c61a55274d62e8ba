"""Convolution with weights from files and by built-in filters."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from poolcli import PlanError, PoolError, SpecError, Stage, plan, pool
from poolcli.operations import FILTERS, FLAT_FILTERS
from poolcli.plan import Costs
from tests import oracle, oracle_maps
from tests.cases import FLOATS, INTEGERS, assert_near, real_dtype
from tests.oracle import Lay

ONE = np.zeros((3, 3))
ONE[1, 1] = 1


def saved(folder: Path, array: Any, name: str = "w.npy") -> str:
    np.save(folder / name, np.asarray(array))
    return str(folder / name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("identity", [[0, 0, 0], [0, 1, 0], [0, 0, 0]]),
        ("box", np.full((3, 3), 1 / 9)),
        ("gaussian", np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16),
        ("laplacian", [[0, 1, 0], [1, -4, 1], [0, 1, 0]]),
        ("sharpen", [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
        # Correlation of a single one gives the weights turned by half a turn.
        ("sobel-x", [[1, 0, -1], [2, 0, -2], [1, 0, -1]]),
        ("sobel-y", [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]),
        ("emboss", [[2, 1, 0], [1, 1, -1], [0, -1, -2]]),
    ],
)
def test_what_filters_make_of_a_single_one(name: str, expected: Any) -> None:
    np.testing.assert_allclose(pool(ONE, f"conv:3,filter={name},pad=1"), expected, rtol=1e-15)


RAMP = np.array([[1, 2, 4, 8], [1, 2, 4, 8], [3, 3, 3, 3], [0, 0, 0, 9]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("identity", [[2, 4], [3, 3]]),
        ("box", [[23 / 9, 37 / 9], [16 / 9, 32 / 9]]),
        ("gaussian", [[39 / 16, 66 / 16], [33 / 16, 51 / 16]]),
        ("laplacian", [[2, 1], [-4, -2]]),
        ("sharpen", [[0, 3], [7, 5]]),
        ("sobel-x", [[9, 18], [3, 15]]),
        ("sobel-y", [[3, -6], [-9, -9]]),
        ("emboss", [[10, 11], [-1, 13]]),
    ],
)
def test_filters_worked_by_hand(name: str, expected: list[list[float]]) -> None:
    for dtype in ("int16", "uint8", "float64"):
        result = pool(RAMP.astype(dtype), f"conv:3,filter={name}")
        np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("conv:2,filter=identity", [1, 2, 3]),
        ("conv:4,filter=identity", [2]),
        ("conv:2,filter=box", [1.5, 2.5, 3.5]),
        ("conv:4,filter=gaussian", [(1 + 6 + 9 + 4) / 8]),
        ("conv:1,filter=gaussian", [1, 2, 3, 4]),
        ("conv:3,filter=gaussian,s=2,pad=1", [1, 3]),
        ("conv:3,filter=box,pad=same", [1, 2, 3, 7 / 3]),
        ("conv:3,filter=box,pad=1,pad-mode=edge", [4 / 3, 2, 3, 11 / 3]),
        ("conv:3,filter=box,pad=1,pad-mode=reflect", [5 / 3, 2, 3, 10 / 3]),
        ("conv:3,filter=box,pad=1,pad-mode=wrap", [7 / 3, 2, 3, 8 / 3]),
        ("conv:2,filter=box,d=3", [2.5]),
    ],
)
def test_filters_in_one_dimension(spec: str, expected: list[float]) -> None:
    np.testing.assert_allclose(pool([1.0, 2, 3, 4], spec), expected, rtol=1e-15)


@st.composite
def filterings(draw: st.DrawFn) -> tuple[str, str, tuple[int, ...], list[Lay], NDArray[Any], str]:
    name = draw(st.sampled_from(FILTERS))
    flat = name in FLAT_FILTERS
    layout = draw(st.sampled_from(["HW", "WH", "HWC", "NCHW"] + ["W", "CW", "DHW"] * (not flat)))
    axes = tuple(layout.index(letter) for letter in "DHW" if letter in layout)
    dtype = draw(st.sampled_from(INTEGERS + FLOATS))
    keys, lays = "", []
    common = draw(st.sampled_from([1, len(axes)]))
    count = 1 if flat else common
    kernel = [3] if flat else [draw(st.integers(1, 4)) for _ in range(count)]
    stride, dilation = ([draw(st.integers(1, 3)) for _ in range(count)] for _ in range(2))
    pads = [
        draw(st.tuples(*[st.integers(0, min((k - 1) * d, 3))] * 2))
        for k, d in zip(kernel, dilation, strict=True)
    ]
    for k, s, d, (begin, end) in zip(kernel, stride, dilation, pads, strict=True):
        lays.append(Lay(k, s, begin, end, d))
    mode = draw(st.sampled_from(["constant", "reflect", "edge", "wrap"]))
    keys = (
        f"conv:{'x'.join(map(str, kernel))},filter={name},s={'x'.join(map(str, stride))}"
        f",d={'x'.join(map(str, dilation))},pad-mode={mode}"
        f",pad={'x'.join(f'{begin}-{end}' for begin, end in pads)}"
    )
    shape = tuple(draw(st.integers(1, 5 if axis in axes else 2)) for axis in range(len(layout)))
    numbers = (
        st.floats(-100, 100, width=16) | st.sampled_from([math.nan, math.inf, -math.inf])
        if dtype in FLOATS
        else hnp.from_dtype(np.dtype(dtype))
    )
    array = draw(hnp.arrays(dtype, shape, elements=numbers))
    lays = lays * len(axes) if len(lays) < len(axes) else lays
    return keys, layout, axes, lays, array, mode


@settings(deadline=None, max_examples=400)
@given(filterings())
def test_filters_are_the_oracles(
    case: tuple[str, str, tuple[int, ...], list[Lay], NDArray[Any], str],
) -> None:
    spec, layout, axes, lays, array, mode = case
    name = str(dict(Stage.parse(spec).own)["filter"])
    if not all(
        oracle.walk(array.shape[axis], lay).windows for axis, lay in zip(axes, lays, strict=True)
    ):
        with pytest.raises(PlanError, match="is larger than its"):
            pool(array, spec, layout=layout)
        return
    expected = oracle_maps.filtered(name, array.tolist(), axes, lays, pad_mode=mode)
    sizes = np.nan_to_num(np.abs(array.astype(np.float64)), nan=0, posinf=0)
    held = oracle.pool("sum", sizes.tolist(), axes, lays, pad_mode=mode)  # type: ignore[arg-type]
    slack = [float(each) * 1e-13 for each in oracle.flat(held)]
    result = pool(array, spec, layout=layout)
    assert list(result.shape) == oracle.shape_of(expected)
    assert_near(result, real_dtype(array.dtype), oracle.flat(expected), slack)


@pytest.mark.parametrize("name", FLAT_FILTERS)
def test_flat_filters_are_for_two_dimensions(name: str) -> None:
    for shape, layout in (((5,), "W"), ((5, 5, 5), "DHW"), ((3, 5), "CW")):
        with pytest.raises(PlanError, match=f"{name} is for maps of two spatial axes, layout"):
            pool(np.ones(shape), f"conv:3,filter={name}", layout=layout)
    for size in ("1", "2", "5", "3x2"):
        with pytest.raises(SpecError, match=f"{name} is 3×3 and nothing else"):
            Stage.parse(f"conv:{size},filter={name}")


def test_a_filter_works_on_every_channel_by_itself() -> None:
    array = np.stack([RAMP, -RAMP, RAMP * 0])
    result = pool(array, "conv:3,filter=sobel-x")
    assert result.tolist() == [[[9, 18], [3, 15]], [[-9, -18], [-3, -15]], [[0, 0], [0, 0]]]
    (step,) = plan(array.shape, "conv:3,filter=sobel-x").steps
    assert step.costs == Costs(macs=3 * 4 * 9)


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    layout = draw(st.sampled_from(["CW", "WC", "CHW", "HWC", "NCHW", "NWHC", "CDHW", "DCHW"]))
    axes = tuple(layout.index(letter) for letter in "DHW" if letter in layout)
    groups, inputs = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    outputs = groups * draw(st.integers(1, 2))
    kernel = tuple(draw(st.integers(1, 3)) for _ in axes)
    stride, dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    mode = draw(st.sampled_from(["constant", "constant", "reflect", "edge", "wrap"]))
    same: Any = draw(st.sampled_from([None, None, "upper", "lower"]))
    most = (min(kernel) - 1) * dilation
    begin, end = draw(st.integers(0, most)), draw(st.integers(0, most))
    keys = f",stride={stride},dilation={dilation},pad-mode={mode}"
    keys += f",pad=same-{same}" if same else f",pad={begin}-{end}"
    lays = [
        Lay(size, stride, dilation=dilation, same=same)
        if same
        else Lay(size, stride, begin, end, dilation)
        for size in kernel
    ]
    lengths = dict(zip(layout, (draw(st.integers(2, 4)) for _ in layout), strict=True))
    lengths["C"], lengths["N"] = groups * inputs, 2
    dtype = draw(st.sampled_from(["uint8", "int16", "bool", *FLOATS]))
    whole = st.integers(0, 1) if dtype == "bool" else st.integers(0, 20)
    elements = st.floats(-8, 8, width=16) if dtype in FLOATS else whole
    shape = tuple(lengths[letter] for letter in layout)
    tap = st.floats(-4, 4, width=16)
    return {
        "keys": keys,
        "layout": layout,
        "axes": axes,
        "lays": lays,
        "groups": groups,
        "mode": mode,
        "array": draw(hnp.arrays(dtype, shape, elements=elements)),
        "weights": draw(hnp.arrays("float64", (outputs, inputs, *kernel), elements=tap)),
        "bias": draw(st.none() | hnp.arrays("float32", (outputs,), elements=tap)),
    }


@settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=convolutions())
def test_convolutions_are_the_oracles(case: dict[str, Any], tmp_path: Path) -> None:
    array, weights, bias = case["array"], case["weights"], case["bias"]
    spec = f'conv,weights="{saved(tmp_path, weights)}"{case["keys"]},groups={case["groups"]}'
    if bias is not None:
        spec += f',bias="{saved(tmp_path, bias, "b.npy")}"'
    lengths = [array.shape[axis] for axis in case["axes"]]
    if not all(oracle.walk(n, lay).windows for n, lay in zip(lengths, case["lays"], strict=True)):
        with pytest.raises(PlanError, match="is larger than its"):
            pool(array, spec, layout=case["layout"])
        return
    expected = oracle_maps.convolved(
        array.tolist(),
        weights.tolist(),
        case["layout"].index("C"),
        case["axes"],
        case["lays"],
        bias=None if bias is None else bias.tolist(),
        groups=case["groups"],
        pad_mode=case["mode"],
    )
    result = pool(array, spec, layout=case["layout"])
    assert list(result.shape) == oracle.shape_of(expected)
    # At most 54 products of 20·4 and a bias, added in float32 (float64 of integers).
    unit = float(np.finfo(np.promote_types(array.dtype, np.float32)).eps)
    flat = oracle.flat(expected)
    slack = 55 * 8 * 4 * 55 * unit if array.dtype.kind == "f" else 1e-9
    assert_near(result, real_dtype(array.dtype), flat, [slack] * len(flat))


def test_a_convolution_worked_by_hand(tmp_path: Path) -> None:
    """Two channels of three to two outputs: taps are correlated, not flipped."""
    array = np.array([[1, 2, 3], [4, 5, 6]])
    weights = saved(tmp_path, [[[1, 0], [0, 10]], [[0, 1], [-1, 0]]])
    bias = saved(tmp_path, [100, 0.5], "b.npy")
    result = pool(array, f"conv,weights={weights}", layout="CW")
    assert result.tolist() == [[51, 62], [-2, -2]]
    result = pool(array, f"conv:2,weights={weights},bias={bias},pad=1-0", layout="CW")
    assert result.tolist() == [[140, 151, 162], [1.5, -1.5, -1.5]]
    assert result.dtype == "float64"
    last = pool(array.T, f"conv,weights={weights}", layout="WC")
    assert last.tolist() == [[51, -2], [62, -2]]


def test_grouped_channels_do_not_mix(tmp_path: Path) -> None:
    weights = saved(tmp_path, np.ones((2, 1, 1)))
    array = np.array([[1.0, 2], [30, 40]])
    result = pool(array, f"conv,weights={weights},groups=2", layout="CW")
    assert result.tolist() == [[1, 2], [30, 40]]
    wide = saved(tmp_path, np.ones((4, 1, 1)), "wide.npy")
    result = pool(array, f"conv,weights={wide},groups=2", layout="CW")
    assert result.tolist() == [[1, 2], [1, 2], [30, 40], [30, 40]]


def test_costs_and_shapes_of_a_weights_file(tmp_path: Path) -> None:
    weights = saved(tmp_path, np.ones((6, 2, 3, 5)))
    bias = saved(tmp_path, np.ones(6), "b.npy")
    (step,) = plan((4, 9, 9), f"conv,weights={weights},bias={bias},groups=2,channels=4").steps
    assert (step.shape, step.kernel, step.stride) == ((6, 7, 5), (3, 5), (1, 1))
    assert step.costs == Costs(params=6 * 2 * 15 + 6, macs=6 * 35 * 2 * 15)
    assert step.receptive_field == (3, 5)
    assert step.label == "conv3x5"


@pytest.mark.parametrize(
    ("shape", "bias", "keys", "text"),
    [
        ((2, 3, 3), None, "", "expected out×in×kernel with 2 kernel axes, its shape is 2x3x3"),
        ((2, 3, 3, 3, 3), None, "", "expected out×in×kernel with 2 kernel axes"),
        ((0, 4, 3, 3), None, "", "its shape is 0x4x3x3"),
        ((2, 3, 3, 3), None, "", "it expects 3 channels, its input has 4"),
        ((2, 4, 3, 3), None, ",groups=2", "it expects 8 channels, its input has 4"),
        ((2, 4, 3, 3), None, ",groups=3", "4 channels don't divide into 3 groups"),
        ((3, 2, 3, 3), None, ",groups=2", "3 outputs don't divide into 2 groups"),
        ((2, 4, 3, 3), None, ",channels=3", "it expects 3 channels, its input has 4"),
        ((2, 4, 9, 3), None, "", "along H: window 9 is larger than its input 6"),
        ((2, 4, 3, 3), (3,), "", "expected 2 numbers"),
        ((2, 4, 3, 3), (2, 1), "", "expected 2 numbers"),
        ((2, 4, 3, 3), (), "", "expected 2 numbers"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, shape: tuple[int, ...], bias: tuple[int, ...] | None, keys: str, text: str
) -> None:
    spec = f"conv,weights={saved(tmp_path, np.ones(shape))}{keys}"
    if bias is not None:
        spec += f",bias={saved(tmp_path, np.ones(bias), 'b.npy')}"
    for act in (lambda: pool(np.ones((4, 6, 6)), spec), lambda: plan((4, 6, 6), spec)):
        with pytest.raises(PlanError, match=text) as caught:
            act()
        assert str(caught.value).startswith("stage 1 (conv,weights=")


def test_a_size_beside_weights_must_be_theirs(tmp_path: Path) -> None:
    weights = saved(tmp_path, np.ones((2, 4, 3, 3)))
    assert plan((4, 6, 6), f"conv:3x3,weights={weights}").output_shape == (2, 4, 4)
    for size in ("5", "3x2"):
        with pytest.raises(PlanError, match=r"w\.npy: its kernel is 3x3"):
            plan((4, 6, 6), f"conv:{size},weights={weights}")


@pytest.mark.parametrize("key", ["weights", "bias"])
def test_files_that_are_no_arrays_of_numbers(tmp_path: Path, key: str) -> None:
    good = saved(tmp_path, np.ones((2, 1, 1)), "good.npy")
    path = tmp_path / "bad.npy"
    spec = f"conv,weights={path}" if key == "weights" else f"conv,weights={good},bias={path}"
    array = np.ones((1, 4))
    with pytest.raises(SpecError, match=r"stage 1 .*bad\.npy: no such file"):
        pool(array, spec, layout="CW")
    path.mkdir()
    with pytest.raises(PoolError, match=r"bad\.npy"):
        pool(array, spec, layout="CW")
    path.rmdir()
    np.save(path, np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(SpecError, match="pickled Python objects, which are never loaded"):
        pool(array, spec, layout="CW")
    path.write_bytes(b"no array")
    with pytest.raises(SpecError, match=r"not an \.npy array"):
        pool(array, spec, layout="CW")
    path.write_bytes(b"")
    with pytest.raises(PoolError, match=r"bad\.npy"):
        pool(array, spec, layout="CW")
    whole = Path(good).read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(SpecError, match="truncated"):
        pool(array, spec, layout="CW")


def test_weights_are_read_anew_when_their_file_changes(tmp_path: Path) -> None:
    import os

    path = saved(tmp_path, np.ones((1, 1, 1)))
    array = np.ones((1, 2))
    assert pool(array, f"conv,weights={path}", layout="CW").tolist() == [[1, 1]]
    saved(tmp_path, np.full((1, 1, 1), 5))
    os.utime(path, ns=(1, 1))
    assert pool(array, f"conv,weights={path}", layout="CW").tolist() == [[5, 5]]


def test_a_convolution_given_by_its_shape_can_not_be_run() -> None:
    with pytest.raises(PlanError, match="without weights it can't be run"):
        pool(np.ones((2, 4, 4)), "conv:3,out=2,bias")


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "i2", "?", "u1"])
def test_weights_may_be_of_any_dtype(tmp_path: Path, dtype: str) -> None:
    weights = saved(tmp_path, np.ones((1, 2, 2), dtype))
    result = pool(np.array([[1, 2], [3, 4]], "uint8"), f"conv,weights={weights}", layout="CW")
    assert (result.tolist(), result.dtype.name) == ([[10]], "float32")


def test_fortran_ordered_weights_are_read_in_their_own_order(tmp_path: Path) -> None:
    weights = np.arange(12.0).reshape(2, 3, 2)
    array = np.arange(12.0).reshape(3, 4)
    plain = pool(array, f"conv,weights={saved(tmp_path, weights)}", layout="CW")
    turned = saved(tmp_path, np.asfortranarray(weights), "f.npy")
    np.testing.assert_array_equal(pool(array, f"conv,weights={turned}", layout="CW"), plain)


def test_between_stages_what_came_of_integers_is_not_rounded(tmp_path: Path) -> None:
    weights = saved(tmp_path, np.full((1, 1, 3), 1 / 3))
    array = np.array([[255, 254, 254, 255]], "uint8")
    result = pool(array, f"conv,weights={weights}", "sum:2", layout="CW")
    assert result[0, 0] == np.float32((763 + 763) / 3)
