"""Shapes and values against PyTorch, over thousands of random windows; skipped without PyTorch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from poolcli import PlanError, Stage, pool
from poolcli.kernels.views import Array

torch = pytest.importorskip("torch")
nn = torch.nn

CASES = {1: 2500, 2: 500, 3: 150}
RANKS = pytest.mark.parametrize("rank", [1, 2, 3])
LAYOUT = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw(
    chance: random.Random, rank: int, *, dilated: bool = True, padded: bool = True
) -> tuple[list[int], dict[str, Any]]:
    """Lengths, and the arguments of a pooling layer within PyTorch's limits."""
    kernel = [chance.randint(1, 5) for _ in range(rank)]
    dilation = [chance.randint(1, 3) if dilated else 1 for _ in range(rank)]
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    arguments: dict[str, Any] = {
        "kernel_size": tuple(kernel),
        "stride": tuple(chance.randint(1, 6) for _ in range(rank)),
        "ceil_mode": chance.random() < 0.5,
    }
    if padded:
        # Most draws stay within half the kernel, where every release of PyTorch agrees.
        arguments["padding"] = tuple(
            chance.randint(0, min(s // 2, k // 2)) for s, k in zip(spans, kernel, strict=True)
        )
    if dilated:
        arguments["dilation"] = tuple(dilation)
    most = {1: 24, 2: 12, 3: 8}[rank]
    return [chance.randint(1, most) for _ in range(rank)], arguments


def spelled(name: str, arguments: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{word}={value!r}' for word, value in arguments.items())})"


def compare(layer: str, values: Array, *, rtol: float = 0, atol: float = 0) -> bool:
    """Run a layer spelled as text in both; False where PyTorch refuses it, and then so must we.

    But for AvgPool3d, which wants the kernel to fit the input without its padding, unlike the
    length rule and the other layers.
    """
    try:
        expected = eval(f"nn.{layer}", {"nn": nn})(torch.from_numpy(values)).numpy()  # noqa: S307
    except RuntimeError as error:
        if "smaller than kernel size" in str(error):
            return False
        expected = None
    context = f"{layer} on {values.shape}"
    layout = LAYOUT[values.ndim - 2]
    if expected is None:
        with pytest.raises(PlanError):
            pool(values, layer, layout=layout)
        return False
    result = pool(values, layer, layout=layout)
    assert result.shape == expected.shape, context
    if rtol or atol:
        np.testing.assert_allclose(result, expected, rtol=rtol, atol=atol, err_msg=context)
    else:
        np.testing.assert_array_equal(result, expected, err_msg=context)
    return True


@RANKS
def test_max_pooling_is_pytorchs_to_the_last_bit(rank: int) -> None:
    chance, values = random.Random(rank), np.random.default_rng(rank)  # noqa: S311
    done = 0
    for _ in range(CASES[rank]):
        lengths, arguments = draw(chance, rank)
        array = values.standard_normal((1, 2, *lengths)).astype("float32")
        array[values.random(array.shape) < 0.02] = np.nan
        done += compare(spelled(f"MaxPool{rank}d", arguments), array)
    assert done > CASES[rank] / 4


@RANKS
def test_average_pooling_is_pytorchs(rank: int) -> None:
    chance, values = random.Random(rank), np.random.default_rng(rank)  # noqa: S311
    done = 0
    for _ in range(CASES[rank]):
        lengths, arguments = draw(chance, rank, dilated=False)
        arguments["count_include_pad"] = chance.random() < 0.5
        if rank > 1 and chance.random() < 0.3:
            arguments["divisor_override"] = chance.randint(1, 9)
        array = values.standard_normal((1, 2, *lengths)).astype("float32")
        done += compare(spelled(f"AvgPool{rank}d", arguments), array, rtol=1e-5, atol=1e-6)
    assert done > CASES[rank] / 4


@RANKS
def test_norms_of_what_is_not_negative_are_pytorchs(rank: int) -> None:
    """Without ceil mode, whose overhang PyTorch miscounts here."""
    chance, values = random.Random(rank), np.random.default_rng(rank)  # noqa: S311
    done = 0
    for _ in range(CASES[rank]):
        lengths, arguments = draw(chance, rank, dilated=False, padded=False)
        arguments = {"norm_type": chance.choice([1, 2, 3, 1.5]), **arguments, "ceil_mode": False}
        if rank == 1:  # LPPool1d takes plain numbers alone
            arguments |= {word: arguments[word][0] for word in ("kernel_size", "stride")}
        array = values.random((1, 2, *lengths)) + 0.01
        done += compare(spelled(f"LPPool{rank}d", arguments), array, rtol=1e-9)
    assert done > CASES[rank] / 4


@RANKS
@pytest.mark.parametrize("kind", ["Avg", "Max"])
def test_adaptive_pooling_is_pytorchs(rank: int, kind: str) -> None:
    chance, values = random.Random(rank), np.random.default_rng(rank)  # noqa: S311
    done = 0
    for _ in range(CASES[rank]):
        lengths = [chance.randint(1, 9) for _ in range(rank)]
        output = tuple(
            None if rank > 1 and chance.random() < 0.2 else chance.randint(1, 12)
            for _ in range(rank)
        )
        array = values.standard_normal((1, 2, *lengths)).astype("float32")
        tolerance = {"rtol": 1e-5, "atol": 1e-6} if kind == "Avg" else {}
        layer = spelled(f"Adaptive{kind}Pool{rank}d", {"output_size": output})
        done += compare(layer, array, **tolerance)
    assert done == CASES[rank]


def test_padding_over_half_the_kernel_is_allowed_where_dilation_makes_room() -> None:
    """Length 1, kernel 2, dilation 2, padding 1: PyTorch answers −∞ to a window of padding."""
    array = np.ones((1, 1, 1), "float32")
    layer = "MaxPool1d(kernel_size=2, padding=1, dilation=2)"
    assert compare(layer, array)
    assert pool(array, layer, layout="NCW").tolist() == [[[-np.inf]]]


@RANKS
@pytest.mark.parametrize("kind", ["MaxPool", "AvgPool"])
def test_padding_beyond_pytorchs_limit_is_refused_by_both(kind: str, rank: int) -> None:
    layer = f"{kind}{rank}d(3, padding=2)"
    with pytest.raises(RuntimeError, match="should be at most half"):
        eval(f"nn.{layer}", {"nn": nn})(torch.zeros((1, 1, *[9] * rank)))  # noqa: S307
    with pytest.raises(ValueError, match="padding of at most half the window, 1"):
        Stage.parse(layer)


@pytest.mark.parametrize(
    ("layer", "spec"),
    [
        ("nn.MaxPool1d(3)", "max:3"),
        ("nn.MaxPool2d(3, 2, 1)", "max:3,stride=2,pad=1"),
        ("nn.MaxPool2d((3, 2), (2, 1), (1, 0), (2, 1), ceil_mode=True)",
         "max:3x2,stride=2x1,pad=1x0,dilation=2x1,ceil"),
        ("nn.MaxPool3d(2, return_indices=True)", "max:2"),
        ("nn.AvgPool1d(3, 2, 1)", "avg:3,stride=2,pad=1"),
        ("nn.AvgPool2d((3, 2), (2, 1))", "avg:3x2,stride=2x1"),
        ("nn.AvgPool3d(2)", "avg:2"),
        ("nn.LPPool1d(2, 3)", "lp:3"),
        ("nn.LPPool2d(1.5, (3, 2), 2, True)", "lp:3x2,stride=2,ceil,norm=1.5"),
        ("nn.LPPool3d(3, 2)", "lp:2,norm=3"),
        ("nn.AdaptiveMaxPool1d(4)", "max,out=4"),
        ("nn.AdaptiveMaxPool2d((5, None))", "max,out=5x_"),
        ("nn.AdaptiveMaxPool3d(2)", "max,out=2"),
        ("nn.AdaptiveAvgPool1d(5)", "avg,out=5"),
        ("nn.AdaptiveAvgPool2d((7, 7))", "avg,out=7"),
        ("nn.AdaptiveAvgPool3d((None, 2, 3))", "avg,out=_x2x3"),
        ("nn.Conv1d(3, 6, 3, groups=3)", "conv:3,groups=3,out=6,bias,channels=3"),
        ("nn.Conv2d(3, 64, 7, 2, 3, bias=False)", "conv:7,stride=2,pad=3,out=64,channels=3"),
        ("nn.Conv2d(3, 8, (3, 1), padding=(1, 0))", "conv:3x1,pad=1x0,out=8,bias,channels=3"),
        ("nn.Conv2d(3, 8, 3, padding='same')", "conv:3,pad=same,out=8,bias,channels=3"),
        ("nn.Conv2d(3, 8, 3, padding='valid')", "conv:3,out=8,bias,channels=3"),
        ("nn.Conv3d(3, 8, 3, dilation=2)", "conv:3,dilation=2,out=8,bias,channels=3"),
        ("nn.ReLU()", "relu"),
        ("nn.ReLU(inplace=True)", "relu"),
    ],
)  # fmt: skip
def test_a_layer_as_pytorch_prints_it_is_the_expected_stage(layer: str, spec: str) -> None:
    printed = str(eval(layer, {"nn": nn}))  # noqa: S307
    assert str(Stage.parse(printed)) == spec


def test_every_line_of_a_printed_model_is_read() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    lines = [line.strip() for line in str(model).splitlines()[1:-1]]
    assert [str(Stage.parse(line)) for line in lines] == [
        "conv:3,pad=1,out=8,bias,channels=3", "relu", "max:2",
    ]  # fmt: skip


@RANKS
def test_a_convolutions_shape_and_parameters_are_pytorchs(rank: int) -> None:
    from poolcli import plan

    chance = random.Random(rank)  # noqa: S311
    for _ in range(60):
        lengths, arguments = draw(chance, rank)
        del arguments["ceil_mode"]
        groups = chance.choice([1, 2])
        arguments = {
            "in_channels": 4, "out_channels": 6, **arguments,
            "groups": groups, "bias": chance.random() < 0.5,
        }  # fmt: skip
        layer = spelled(f"Conv{rank}d", arguments)
        torched = eval(f"nn.{layer}", {"nn": nn})  # noqa: S307
        try:
            expected = tuple(torched(torch.zeros((2, 4, *lengths))).shape)
        except RuntimeError:
            with pytest.raises(PlanError):
                plan((2, 4, *lengths), str(torched), layout=LAYOUT[rank])
            continue
        worked_out = plan((2, 4, *lengths), str(torched), layout=LAYOUT[rank])
        assert worked_out.output_shape == expected
        assert worked_out.costs.params == sum(weight.numel() for weight in torched.parameters())
