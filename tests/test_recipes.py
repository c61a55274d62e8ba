from __future__ import annotations

from pathlib import Path

import pytest

from poolcli.errors import SpecError, UsageError
from poolcli.files.recipes import PRESETS, load, load_preset, preset_names
from poolcli.plan import plan
from poolcli.stages import Chain
from tests.conftest import ROOT, Run, save, tree


def test_a_recipe_is_a_chain_and_perhaps_a_layout(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        'layout = "NHWC"\n[[stage]]\nspec = "max:2*2"\n[[stage]]\nspec = "avg:global"\n'
    )
    recipe = load(path)
    assert recipe.chain == Chain.parse("max:2", "max:2", "avg:global")
    assert recipe.layout == "NHWC"
    path.write_text('[[stage]]\nspec = "max:2"\n')
    assert load(path).layout is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it has no stage"),
        ("stage = []", "it has no stage"),
        ("[stage]\nspec = 'max:2'", "it has no stage"),
        ("stage = ['max:2']", "stage 1: expected one line, spec"),
        ("[[stage]]", "stage 1: expected one line, spec"),
        ("[[stage]]\nspec = 'max:2'\n[[stage]]\nspec = 2", "stage 2: expected one line"),
        ("[[stage]]\nspec = 'max:2'\nname = 'x'", "stage 1: expected one line"),
        ("[[stage]]\nspec = 'mex:2'", "'mex' in mex:2: did you mean max?"),
        ("stages = 1", "'stages': did you mean stage?"),
        ("layout = 'XYZ'\n[[stage]]\nspec = 'max:2'", "layout 'XYZ'"),
        ("layout = 3\n[[stage]]\nspec = 'max:2'", 'expected letters in quotes, as layout = "CHW"'),
        ("[[stage", "recipe r.toml: "),
        ("a = \x00", "recipe r.toml: "),
        ("a = " + "[" * 5000, "recipe r.toml: "),
    ],
)
@pytest.mark.parametrize("command", ["run", "shape"])
def test_broken_recipes_are_usage_errors(
    poolcli: Run, here: Path, command: str, text: str, said: str
) -> None:
    (here / "r.toml").write_text(text)
    message = poolcli(command, "3x8x8", "--recipe", "r.toml").error(2)
    assert message.startswith("recipe r.toml: ")
    assert said in message
    assert tree(here) == ["r.toml"]


def test_recipes_that_are_not_text(here: Path) -> None:
    (here / "r.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SpecError, match=r"recipe r.toml"):
        load(Path("r.toml"))


@pytest.mark.parametrize(("name", "said"), [("missing.toml", "No such file"), (".", "directory")])
def test_recipes_that_cannot_be_read(here: Path, name: str, said: str) -> None:
    assert here.exists()
    with pytest.raises(UsageError, match=said):
        load(Path(name))


def test_presets_are_recipes_that_a_user_could_have_written(here: Path, poolcli: Run) -> None:
    assert "vgg16" in preset_names()
    for name in preset_names():
        assert load_preset(name) == load(PRESETS / f"{name}.toml")
        (here / f"{name}.toml").write_bytes((PRESETS / f"{name}.toml").read_bytes())
        own = poolcli("shape", "3x224x224", "--recipe", f"{name}.toml", "--json")
        assert own == poolcli("shape", "3x224x224", "--preset", name, "--json")
        assert own.status == 0


def test_vgg16_is_the_published_network() -> None:
    worked_out = plan((3, 224, 224), load_preset("vgg16").chain)
    assert worked_out.output_shape == (512, 7, 7)
    assert worked_out.costs.params == 14_714_688
    assert worked_out.costs.macs == 15_346_630_656


def test_an_unknown_preset_and_the_nearest(poolcli: Run) -> None:
    assert poolcli("shape", "3x8x8", "--preset", "vgg61").error(2) == (
        "preset vgg61: did you mean vgg16?"
    )
    assert "preset ../vgg16: " in poolcli("shape", "3x8x8", "--preset", "../vgg16").error(2)


def test_stages_follow_a_recipe_and_layouts_of_the_command_line_win(
    poolcli: Run, here: Path
) -> None:
    (here / "r.toml").write_text('layout = "HWC"\n[[stage]]\nspec = "max:2"\n')
    ran = poolcli("shape", "8x8x3", "--recipe", "r.toml", "-s", "avg:global", "--csv")
    assert [line.split(",")[0] for line in ran.out.splitlines()] == ["index", "1", "2"]
    assert "4x4x3" in ran.out
    ran = poolcli("shape", "3x8x8", "--recipe", "r.toml", "--layout", "CHW", "--csv")
    assert "3x4x4" in ran.out


def test_a_recipe_and_a_preset_together(poolcli: Run, here: Path) -> None:
    (here / "r.toml").write_text('[[stage]]\nspec = "max:2"\n')
    said = poolcli("shape", "3x64x64", "--recipe", "r.toml", "--preset", "vgg16").error(2)
    assert said == "--recipe and --preset are two chains: give one"


def test_the_samples_recipe_runs(poolcli: Run, here: Path) -> None:
    save(here / "a.npy", [[[float(i * j) for i in range(24)] for j in range(24)]] * 2, "float32")
    ran = poolcli("run", "a.npy", "--recipe", ROOT / "samples/recipe.toml")
    assert ran.status == 0
    assert len(tree(here / "pooled")) == 4
