"""The presets against the numbers that their papers publish, and recipes' paths."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from poolcli import Plan, SpecError, pool
from poolcli.errors import UsageError
from poolcli.files import recipes
from poolcli.plan import plan_chain

SOURCES = {
    "alexnet": ("Krizhevsky, Sutskever & Hinton", "NIPS 2012", (3, 227, 227)),
    "lenet": ("LeCun, Bottou, Bengio & Haffner", "Proceedings of the IEEE 1998", (1, 32, 32)),
    "resnet-stem": ("He, Zhang, Ren & Sun", "CVPR\n# 2016", (3, 224, 224)),
    "unet": ("Ronneberger, Fischer & Brox", "MICCAI 2015", (1, 572, 572)),
    "unet-encoder": ("Ronneberger, Fischer & Brox", "MICCAI 2015", (1, 572, 572)),
    "vgg16": ("Simonyan & Zisserman", "ICLR 2015", (3, 224, 224)),
}


def worked_out(name: str) -> Plan:
    recipe = recipes.load_preset(name)
    return plan_chain(recipe.chain, SOURCES[name][2], layout=recipe.layout)


def side_lengths(plan: Plan) -> list[int]:
    """Sides of the maps after every stage that changes them; all are square."""
    sides = [plan.shape[1]]
    for step in plan.steps:
        assert step.shape[1] == step.shape[2]
        if step.shape[1] != sides[-1]:
            sides.append(step.shape[1])
    return sides


def params(layers: list[tuple[int, int, int]], *, biased: bool = True) -> int:
    """Parameters of layers of (outputs, inputs that each is made from, side of the kernel)."""
    return sum(out * (inputs * side * side + biased) for out, inputs, side in layers)


def test_the_presets_are_those_named_here() -> None:
    assert recipes.preset_names() == tuple(SOURCES)


@pytest.mark.parametrize("name", list(SOURCES))
def test_a_preset_names_its_source_and_its_input(name: str) -> None:
    authors, place, shape = SOURCES[name]
    text = (recipes.PRESETS / f"{name}.toml").read_text(encoding="utf-8")
    comment = text[: text.index("\nlayout")]
    assert authors in comment
    assert place in comment
    assert "x".join(map(str, shape)) in comment
    assert recipes.load_preset(name).layout == "CHW"


def test_lenet() -> None:
    """LeCun et al. 1998, figure 2: 6@28, 6@14, 16@10, 16@5, 120@1."""
    lenet = worked_out("lenet")
    assert [step.shape for step in lenet.steps] == [
        (6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120, 1, 1),
    ]  # fmt: skip
    counts = [step.costs.params for step in lenet.steps]
    assert counts == [156, 0, 2416, 0, 48120]
    fields = [step.receptive_field for step in lenet.steps]
    assert fields == [(n, n) for n in (5, 6, 14, 16, 32)]
    last = lenet.steps[-1]
    assert (last.jump, last.stride) == ((4, 4), (1, 1))
    # Connections less biases: 122,304 in C1 of the paper are 156 per place; here without the bias.
    assert lenet.steps[0].costs.macs == 122_304 - 6 * 28 * 28


def test_alexnet() -> None:
    """Krizhevsky et al. 2012, figure 2, and Caffe's count of the parameters of its convolutions."""
    alexnet = worked_out("alexnet")
    assert alexnet.output_shape == (256, 6, 6)
    assert side_lengths(alexnet) == [227, 55, 27, 13, 6]
    layers = [(96, 3, 11), (256, 48, 5), (384, 256, 3), (384, 192, 3), (256, 192, 3)]
    assert alexnet.costs.params == params(layers) == 2_334_080
    places = (55, 27, 13, 13, 13)
    assert alexnet.costs.macs == sum(
        side * side * params([layer], biased=False)
        for side, layer in zip(places, layers, strict=True)
    )
    last = alexnet.steps[-1]
    assert (last.receptive_field, last.jump) == ((195, 195), (32, 32))
    assert [str(step.stage.op) for step in alexnet.steps].count("relu") == 5


def test_vgg16() -> None:
    """Simonyan & Zisserman 2015, table 1 and 2, without the linear layers."""
    vgg = worked_out("vgg16")
    assert vgg.output_shape == (512, 7, 7)
    assert side_lengths(vgg) == [224, 112, 56, 28, 14, 7]
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    layers = [(out, inputs, 3) for inputs, out in itertools.pairwise(widths)]
    assert len(layers) == 13
    assert vgg.costs.params == params(layers) == 14_714_688
    assert vgg.costs.macs == 15_346_630_656
    last = vgg.steps[-1]
    assert (last.receptive_field, last.jump, last.center) == ((212, 212), (32, 32), (15.5, 15.5))
    assert [step.stage.op for step in vgg.steps].count("relu") == 13


def test_resnet_stem() -> None:
    """He et al. 2016, table 1: 112x112 after conv1, 56x56 in conv2_x; no bias beside batch norm."""
    stem = worked_out("resnet-stem")
    assert [step.shape for step in stem.steps] == [(64, 112, 112), (64, 112, 112), (64, 56, 56)]
    assert stem.costs.params == params([(64, 3, 7)], biased=False) == 9_408
    assert stem.costs.macs == 118_013_952
    last = stem.steps[-1]
    assert (last.receptive_field, last.jump, last.center) == ((11, 11), (4, 4), (0.0, 0.0))


ENCODER = [
    (64, 1, 3), (64, 64, 3), (128, 64, 3), (128, 128, 3), (256, 128, 3), (256, 256, 3),
    (512, 256, 3), (512, 512, 3), (1024, 512, 3), (1024, 1024, 3),
]  # fmt: skip


def test_unet_encoder() -> None:
    """Ronneberger et al. 2015, figure 1: the sides along the contracting path."""
    encoder = worked_out("unet-encoder")
    assert encoder.output_shape == (1024, 28, 28)
    assert side_lengths(encoder) == [
        572, 570, 568, 284, 282, 280, 140, 138, 136, 68, 66, 64, 32, 30, 28,
    ]  # fmt: skip
    assert encoder.costs.params == params(ENCODER) == 18_842_048
    last = encoder.steps[-1]
    assert (last.receptive_field, last.jump) == ((140, 140), (16, 16))


def test_unet() -> None:
    """Ronneberger et al. 2015, figure 1: both paths, and 23 convolutions."""
    unet = worked_out("unet")
    assert unet.output_shape == (2, 388, 388)
    assert side_lengths(unet)[14:] == [
        28, 56, 54, 52, 104, 102, 100, 200, 198, 196, 392, 390, 388,
    ]  # fmt: skip
    assert [step.stage.op for step in unet.steps].count("conv") == 23
    decoder = [
        layer
        for wide in (512, 256, 128, 64)
        for layer in ((wide, 2 * wide, 2), (wide, wide, 3), (wide, wide, 3))
    ]
    assert unet.costs.params == params([*ENCODER, *decoder, (2, 64, 1)])
    last = unet.steps[-1]
    assert (last.jump, last.stride) == ((1, 1), (1, 1))
    encoder = worked_out("unet-encoder")
    assert unet.steps[: len(encoder.steps)] == encoder.steps


def test_with_its_skips_it_is_the_unet_that_is_used() -> None:
    """github.com/zhixuhao/unet prints 31,031,685: it ends in 3x3 to 2 and 1x1 to 1 channels."""
    skips = sum(wide * wide * 9 for wide in (512, 256, 128, 64))
    rest = 31_031_685 - params([(2, 64, 3), (1, 2, 1)])
    assert worked_out("unet").costs.params + skips == rest + params([(2, 64, 1)])


def recipe(folder: Path, *specs: str) -> Path:
    folder.mkdir(exist_ok=True)
    stages = "".join(f"[[stage]]\nspec = '{spec}'\n" for spec in specs)
    (folder / "chain.toml").write_text(stages, encoding="utf-8")
    return folder / "chain.toml"


def test_paths_in_a_recipe_are_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "in, side*"
    path = recipe(
        inside,
        "conv,weights=w.npy,bias=sub/b.npy",
        "max:1,out=2,fractional,samples=s.npy",
    )
    (inside / "sub").mkdir()
    np.save(inside / "w.npy", np.ones((1, 1, 2)))
    np.save(inside / "sub" / "b.npy", np.array([100.0]))
    np.save(inside / "s.npy", np.zeros((1, 1, 1)))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    chain = recipes.load(path).chain
    assert dict(chain.stages[0].own) == {
        "weights": str(inside / "w.npy"),
        "bias": str(inside / "sub" / "b.npy"),
    }
    assert chain.stages[1].samples == str(inside / "s.npy")
    assert pool(np.array([[1, 2, 3, 4]]), chain, layout="CW").tolist() == [[103, 107]]
    assert str(type(chain).parse(*map(str, chain))) == str(chain)
    monkeypatch.chdir(inside)
    assert pool(np.array([[1, 2]]), "conv,weights=w.npy", layout="CW").tolist() == [[3]]


def test_absolute_paths_and_flags_in_a_recipe_stay(tmp_path: Path) -> None:
    weights = tmp_path / "w.npy"
    path = recipe(tmp_path / "r", f"conv,weights={weights}", "conv:3,out=2,bias")
    first, second = recipes.load(path).chain
    assert first.option("weights") == str(weights)
    assert second.option("bias") is True


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", r"it has no stage: begin each with \[\[stage\]\]"),
        ("stage = 3", "it has no stage"),
        ("[[stages]]\nspec = 'max:2'", "'stages': did you mean stage?"),
        ("[[stage]]\nspecs = 'max:2'", 'stage 1: expected one line, spec = "…"'),
        ("[[stage]]\nspec = 2", "stage 1: expected one line"),
        ("[[stage]]\nspec = 'max:2'\n[[stage]]\nspec = 'maks:2'", "'maks' in maks:2: did you mean"),
        ("layout = 'XY'\n[[stage]]\nspec = 'max:2'", "layout 'XY'"),
        ("layout = 3\n[[stage]]\nspec = 'max:2'", "layout: expected letters in quotes"),
        ("[[stage", "recipe "),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SpecError, match=text) as caught:
        recipes.load(path)
    assert str(caught.value).startswith(f"recipe {path}: ")
    assert "\n" not in str(caught.value)


def test_missing_recipes_and_unknown_presets(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        recipes.load(tmp_path / "none.toml")
    with pytest.raises(SpecError, match=r"preset vgg15: did you mean vgg16\?"):
        recipes.load_preset("vgg15")
    with pytest.raises(SpecError, match="preset zzz: known are alexnet, lenet"):
        recipes.load_preset("zzz")
