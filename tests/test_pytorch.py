from __future__ import annotations

from pathlib import Path

import pytest

from poolcli.errors import SpecError
from poolcli.pytorch import is_layer, nearest_layer
from poolcli.stages import Stage


@pytest.mark.parametrize(
    ("layer", "spec"),
    [
        ("MaxPool2d(kernel_size=3, stride=2, padding=1, dilation=1, ceil_mode=False)",
         "max:3,stride=2,pad=1"),
        ("MaxPool1d(2)", "max:2"),
        ("MaxPool3d((1, 2, 3))", "max:1x2x3"),
        ("MaxPool2d([3, 2], 1)", "max:3x2,stride=1"),
        ("MaxPool2d(3, None, 1, 2, True, True)", "max:3,pad=1,dilation=2,ceil"),
        ("MaxPool2d(3, padding=1, dilation=2)", "max:3,pad=1,dilation=2"),
        ("MaxPool2d((3, 5), (2, 1), (1, 2), (1, 2))",
         "max:3x5,stride=2x1,pad=1x2,dilation=1x2"),
        ("AvgPool2d(2)", "avg:2"),
        ("AvgPool1d(kernel_size=(3,), stride=(2,), padding=(1,))", "avg:3,stride=2,pad=1"),
        ("AvgPool2d(3, 2, 1, True, False, 4)",
         "avg:3,stride=2,pad=1,ceil,exclude-pad,divisor=4"),
        ("AvgPool3d(2, count_include_pad=True)", "avg:2"),
        ("LPPool2d(2, 3)", "lp:3"),
        ("LPPool1d(norm_type=1.5, kernel_size=3, stride=None, ceil_mode=True)",
         "lp:3,ceil,norm=1.5"),
        ("LPPool3d(3.0, 2)", "lp:2,norm=3"),
        ("AdaptiveAvgPool2d(output_size=(7, 7))", "avg,out=7"),
        ("AdaptiveAvgPool2d((7, None))", "avg,out=7x_"),
        ("AdaptiveAvgPool1d(5)", "avg,out=5"),
        ("AdaptiveMaxPool3d([1, 2, 3], True)", "max,out=1x2x3"),
        ("Conv2d(3, 64, kernel_size=(7, 7), stride=(2, 2), padding=(3, 3))",
         "conv:7,stride=2,pad=3,out=64,bias,channels=3"),
        ("Conv2d(3, 64, 3, bias=False)", "conv:3,out=64,channels=3"),
        ("Conv1d(4, 6, 3, groups=2)", "conv:3,groups=2,out=6,bias,channels=4"),
        ("Conv3d(4, 6, 3, 1, 2, 2)", "conv:3,pad=2,dilation=2,out=6,bias,channels=4"),
        ("Conv2d(3, 8, 3, padding='same')", "conv:3,pad=same,out=8,bias,channels=3"),
        ("Conv2d(3, 8, 3, padding='valid')", "conv:3,out=8,bias,channels=3"),
        ("Conv2d(3, 8, 3, padding=2)", "conv:3,pad=2,out=8,bias,channels=3"),
        ("FractionalMaxPool2d(3, output_size=(13, 12))", "max:3,out=13x12,fractional"),
        ("FractionalMaxPool2d((3, 2), 5)", "max:3x2,out=5,fractional"),
        ("FractionalMaxPool3d(kernel_size=2, output_size=(4, 5, 6), return_indices=True)",
         "max:2,out=4x5x6,fractional"),
        ("Upsample(scale_factor=2.0, mode='nearest')", "up:2"),
        ("Upsample(scale_factor=2)", "up:2"),
        ("Upsample(None, (2, 3), 'bilinear')", "up:2x3,mode=bilinear"),
        ("Upsample(scale_factor=2, mode='linear', align_corners=False)", "up:2,mode=bilinear"),
        ("Upsample(scale_factor=(2.0, 2.0, 3.0), mode='trilinear')", "up:2x2x3,mode=bilinear"),
        ("UpsamplingNearest2d(scale_factor=2.0)", "up:2"),
        ("UpsamplingNearest2d(None, 3)", "up:3"),
        ("MaxUnpool1d(2)", "unpool"),
        ("MaxUnpool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))", "unpool"),
        ("nn.MaxUnpool3d(3, 2, 1)", "unpool"),
        ("ReLU()", "relu"),
        ("ReLU(inplace=True)", "relu"),
        ("nn.MaxPool2d(2)", "max:2"),
        ("torch.nn.MaxPool2d(2)", "max:2"),
        ("(0): MaxPool2d(2)", "max:2"),
        ("(pool1):MaxPool2d(2)", "max:2"),
        ("  MaxPool2d(\n    2,\n    stride=1,\n)  ", "max:2,stride=1"),
    ],
)  # fmt: skip
def test_a_layer_is_the_stage_that_pytorch_means(layer: str, spec: str) -> None:
    assert is_layer(layer.strip())
    assert str(Stage.parse(layer)) == spec


def test_a_module_may_be_named_as_its_layer() -> None:
    assert Stage.parse("(MaxPool2d): MaxPool2d(2)") == Stage.parse("max:2")


@pytest.mark.parametrize(
    ("layer", "spec"),
    [
        ("Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=same)",
         "conv:3,pad=same,out=8,bias,channels=3"),
        ("Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=valid)",
         "conv:3,out=8,bias,channels=3"),
    ],
)  # fmt: skip
def test_pytorch_prints_the_word_for_padding_without_quotes(layer: str, spec: str) -> None:
    assert str(Stage.parse(layer)) == spec


@pytest.mark.parametrize("spec", ["max:2", "relu", "MaxPool2d", "maxPool2d(2)", "x.MaxPool2d(2)"])
def test_other_texts_are_no_layers(spec: str) -> None:
    assert not is_layer(spec)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ("MaxPol2d(2)", "'MaxPol2d' in MaxPol2d(2): did you mean MaxPool2d?"),
        ("MaxPool4d(2)", "'MaxPool4d' in MaxPool4d(2): did you mean MaxPool3d?"),
        ("Linear(1, 2)",
         "'Linear' in Linear(1, 2): not a layer that pools; see poolcli ops"),
        ("MaxPool2d()", "MaxPool2d(): kernel_size is missing"),
        ("LPPool2d(2)", "LPPool2d(2): kernel_size is missing"),
        ("Conv2d(3, 4)", "Conv2d(3, 4): kernel_size is missing"),
        ("AdaptiveMaxPool1d()", "AdaptiveMaxPool1d(): output_size is missing"),
        ("MaxPool2d(2, 2, 0, 1, False, False, 7)",
         "MaxPool2d(2, 2, 0, 1, False, False, 7): it takes at most 6 arguments"),
        ("MaxPool2d(2, strid=3)", "'strid' in MaxPool2d(2, strid=3): did you mean stride?"),
        ("MaxPool2d(2, kernel_size=3)",
         "'kernel_size' in MaxPool2d(2, kernel_size=3): given twice"),
        ("AvgPool2d(2, dilation=2)",
         ("'dilation' in AvgPool2d(2, dilation=2): known are kernel_size, stride, padding, "
         "ceil_mode, count_include_pad, divisor_override")),
        ("MaxPool2d(True)",
         "MaxPool2d(True): kernel_size=True: whole numbers from 1 are expected"),
        ("MaxPool2d(2.0)", "MaxPool2d(2.0): kernel_size=2.0: whole numbers from 1 are expected"),
        ("MaxPool2d('2')", "MaxPool2d('2'): kernel_size='2': whole numbers from 1 are expected"),
        ("MaxPool2d(0)", "MaxPool2d(0): kernel_size=0: whole numbers from 1 are expected"),
        ("MaxPool2d(2, 0)", "MaxPool2d(2, 0): stride=0: whole numbers from 1 are expected"),
        ("MaxPool2d(2, padding=-1)",
         "MaxPool2d(2, padding=-1): padding=-1: whole numbers from 0 are expected"),
        ("MaxPool2d((2, 3, 4))", "MaxPool2d((2, 3, 4)): kernel_size has 3 numbers for 2 axes"),
        ("MaxPool3d((2, 3))", "MaxPool3d((2, 3)): kernel_size has 2 numbers for 3 axes"),
        ("MaxPool2d(())", "MaxPool2d(()): kernel_size has 0 numbers for 2 axes"),
        ("MaxPool2d(2, padding=2)",
         "MaxPool2d(2, padding=2): PyTorch allows padding of at most half the window, 1"),
        ("MaxPool2d(3, padding=2)",
         "MaxPool2d(3, padding=2): PyTorch allows padding of at most half the window, 1"),
        ("MaxPool2d((5, 3), padding=2)",
         "MaxPool2d((5, 3), padding=2): PyTorch allows padding of at most half the window, 1"),
        ("MaxPool2d(3, padding=(1, 2))",
         "MaxPool2d(3, padding=(1, 2)): PyTorch allows padding of at most half the window, 1"),
        ("AvgPool2d(2, divisor_override=0)",
         ("AvgPool2d(2, divisor_override=0): divisor_override=0: "
         "whole numbers from 1 are expected")),
        ("LPPool2d(0, 2)", "LPPool2d(0, 2): norm_type is a number above 0"),
        ("LPPool2d('2', 2)", "LPPool2d('2', 2): norm_type is a number above 0"),
        ("LPPool2d(1e999, 2)", "LPPool2d(1e999, 2): norm_type is a number above 0"),
        ("AdaptiveAvgPool2d((1, 2, 3))",
         "AdaptiveAvgPool2d((1, 2, 3)): output_size has 3 numbers for 2 axes"),
        ("AdaptiveAvgPool2d(0)",
         "AdaptiveAvgPool2d(0): output_size=0: whole numbers from 1 are expected"),
        ("Conv2d(3, 6, 3, padding_mode='reflect')",
         "Conv2d(3, 6, 3, padding_mode='reflect'): only padding_mode='zeros' is known"),
        ("Conv2d(3, 6, 3, padding='full')",
         "Conv2d(3, 6, 3, padding='full'): padding='full': whole numbers from 0 are expected"),
        ("Conv2d(4, 6, 3, groups=4)",
         "Conv2d(4, 6, 3, groups=4): 6 outputs don't divide into 4 groups"),
        ("FractionalMaxPool2d(3)",
         "FractionalMaxPool2d(3): give its output_size: an output_ratio depends on the map"),
        ("FractionalMaxPool2d(3, None, 0.5)",
         ("FractionalMaxPool2d(3, None, 0.5): give its output_size: an output_ratio depends on the "
         "map")),
        (
            "FractionalMaxPool2d(3, (4, 4), 0.5)",
            ("FractionalMaxPool2d(3, (4, 4), 0.5): give its output_size: "
            "an output_ratio depends on "
            "the map"),
        ),
        ("FractionalMaxPool2d(3, (1, 2, 3))",
         "FractionalMaxPool2d(3, (1, 2, 3)): output_size has 3 numbers for 2 axes"),
        ("FractionalMaxPool2d(3, 0)",
         "FractionalMaxPool2d(3, 0): output_size=0: whole numbers from 1 are expected"),
        ("FractionalMaxPool2d()", "FractionalMaxPool2d(): kernel_size is missing"),
        ("Upsample()", "Upsample(): give its scale_factor: a size depends on the map"),
        ("Upsample(size=(4, 4))",
         "Upsample(size=(4, 4)): give its scale_factor: a size depends on the map"),
        ("UpsamplingNearest2d(size=4)",
         "UpsamplingNearest2d(size=4): give its scale_factor: a size depends on the map"),
        ("Upsample(scale_factor=2, mode='bilinear', align_corners=True)",
         ("Upsample(scale_factor=2, mode='bilinear', align_corners=True): only align_corners=False "
         "is known")),
        ("Upsample(scale_factor=1.5)",
         "Upsample(scale_factor=1.5): scale_factor=(1.5,): whole numbers from 1 are expected"),
        ("Upsample(scale_factor=0)",
         "Upsample(scale_factor=0): scale_factor=(0,): whole numbers from 1 are expected"),
        ("Upsample(scale_factor=2, mode='bicubic')",
         ("Upsample(scale_factor=2, mode='bicubic'): mode='bicubic': known are nearest, linear, "
         "bilinear, trilinear")),
        ("MaxUnpool2d()", "MaxUnpool2d(): kernel_size is missing"),
        ("MaxUnpool2d(2, ceil_mode=True)",
         "'ceil_mode' in MaxUnpool2d(2, ceil_mode=True): known are kernel_size, stride, padding"),
        ("MaxPool2d(2) + MaxPool2d(3)",
         "MaxPool2d(2) + MaxPool2d(3): not a layer as PyTorch prints it"),
        ("MaxPool2d(2,,3)", "MaxPool2d(2,,3): not a layer as PyTorch prints it"),
        ("MaxPool2d(stride=1, 2)", "MaxPool2d(stride=1, 2): not a layer as PyTorch prints it"),
        ("MaxPool2d(x)", "MaxPool2d(x): not a layer as PyTorch prints it"),
        ("MaxPool2d(2\0)", "MaxPool2d(2\0): not a layer as PyTorch prints it"),
    ],
)  # fmt: skip
def test_what_is_no_layer_is_refused_with_its_mend(layer: str, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        Stage.parse(layer)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "layer",
    [
        "MaxPool2d(2)(3)",
        "MaxPool2d(2).foo(3)",
        "MaxPool2d(kernel_size=2, kernel_size=3)",
        "MaxPool2d(*[2])",
        "MaxPool2d(**{'kernel_size': 2})",
        "MaxPool2d(10**9)",
        "Upsample(scale_factor=True)",
        "AvgPool2d(2, ceil_mode=foo)",
        "Conv2d(3, 4, 3, bias=maybe)",
        "ReLU(x)",
        "Upsample(scale_factor=1e999)",
        "Upsample(scale_factor='2')",
        "Upsample(scale_factor=2, mode=[])",
        "Upsample(scale_factor=())",
        "Upsample(scale_factor=(2, 2, 2, 2))",
        "UpsamplingNearest2d(scale_factor=(2, 2, 2))",
        "FractionalMaxPool1d(2, 3)",
    ],
)
def test_what_pytorch_would_not_print_is_not_read_as_something_else(layer: str) -> None:
    with pytest.raises(SpecError):
        Stage.parse(layer)


@pytest.mark.parametrize(
    "attack",
    [
        "MaxPool2d(__import__('os').system('touch {target}'))",
        "MaxPool2d(kernel_size=__import__('os').system('touch {target}'))",
        "MaxPool2d(open('{target}', 'w'))",
        "MaxPool2d([open('{target}', 'w') for _ in (1,)])",
        "MaxPool2d((lambda: open('{target}', 'w'))())",
        "MaxPool2d(f\"{{open('{target}', 'w')}}\")",
    ],
)
def test_nothing_in_a_layer_is_ever_run(attack: str, tmp_path: Path) -> None:
    target = tmp_path / "touched"
    layer = attack.format(target=target)
    with pytest.raises(SpecError, match="not a layer as PyTorch prints it"):
        Stage.parse(layer)
    assert not target.exists()


@pytest.mark.parametrize(
    "inside", ["(" * 5000 + "2" + ")" * 5000, "-" * 50_000 + "2", "9" * 5000, "[" * 300],
    ids=["parentheses", "signs", "digits", "brackets"],
)  # fmt: skip
def test_a_layer_too_deep_or_long_to_read_is_refused(inside: str) -> None:
    with pytest.raises(SpecError):
        Stage.parse(f"MaxPool2d({inside})")


def test_the_nearest_layer_is_spelled_as_pytorch_spells_it() -> None:
    assert nearest_layer("avgpool2d") == "did you mean AvgPool2d?"
    assert nearest_layer("RELU") == "did you mean ReLU?"
    assert nearest_layer("Zzzzz") == "not a layer that pools; see poolcli ops"
