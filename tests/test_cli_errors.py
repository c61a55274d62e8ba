from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from poolcli import __version__
from poolcli.cli.main import poolcli as group
from tests.conftest import Run, colour, grey, save, tree

SPECS = {
    "unknown operation": ("mex:2", "'mex' in mex:2: did you mean max?"),
    "unknown operation, nothing near": ("zzzz", "'zzzz' in zzzz: known are max, min"),
    "unknown key": ("max:2,stide=2", "'stide' in max:2,stide=2: did you mean stride?"),
    "key of another operation": ("max:2,norm=3", "max has no norm, lp"),
    "value of the wrong kind": ("max:two", "'max:two' in max:two: expected whole numbers above 0"),
    "zero": ("max:0", "expected whole numbers above 0"),
    "negative stride": ("max:2,stride=-1", "'stride=-1' in max:2,stride=-1: expected"),
    "unknown padding": ("max:2,pad=some", "'pad=some' in max:2,pad=some: expected"),
    "unknown pad-mode": ("avg:3,pad=1,pad-mode=egde", "did you mean edge?"),
    "norm of nothing": ("lp:2,norm=0", "expected a number above 0"),
    "given twice": ("max:2,stride=1,s=2", "stride is given twice"),
    "flag with a value": ("max:2,ceil=yes", "ceil is a flag"),
    "key without a value": ("max:2,stride", "stride takes a value"),
    "no size": ("max", "max"),
    "padding as large as the window": ("max:2,pad=2", "pad"),
    "padding as large as the dilated window": ("max:2,dilation=2,pad=3", "pad"),
    "layer's padding": ("MaxPool2d(2, padding=2)", "pad"),
    "contradiction": ("max:global,stride=2", "stride"),
    "empty": ("", "an empty stage"),
    "empty part": ("max:2,,ceil", "a part between commas is empty"),
    "open quote": ('conv,weights="a', ""),
    "too often": ("max:2*1001", "at most 1000"),
    "unknown layer": ("MaxPool9d(2)", "MaxPool9d"),
}


@pytest.mark.parametrize(("spec", "said"), SPECS.values(), ids=list(SPECS))
@pytest.mark.parametrize("command", ["run", "shape"])
def test_a_bad_spec_is_a_usage_error(
    poolcli: Run, here: Path, command: str, spec: str, said: str
) -> None:
    save(here / "a.png", grey())
    target = "a.png" if command == "run" else "3x8x8"
    assert said in poolcli(command, target, "-s", "max:2", "-s", spec).error(2)
    assert tree(here) == ["a.png"]


UNFIT = {
    "window too large": ("max:5", "stage 2 (max:5): along H: ", ["5", "4"]),
    "window too large for what is padded": ("max:7x2,pad=1x0", "along H: ", ["7", "6"]),
    "dilated window too large": ("max:3,dilation=2", "along H: ", ["5", "4"]),
    "too many numbers": ("max:2x2x3", "kernel has 3 numbers", ["one, or one per axis"]),
}


@pytest.mark.parametrize(("spec", "said", "numbers"), UNFIT.values(), ids=list(UNFIT))
@pytest.mark.parametrize("command", ["run", "shape"])
@pytest.mark.parametrize("target", ["a.npy", "3x8x8"])
def test_a_chain_that_does_not_fit_says_stage_sizes_and_mend(  # noqa: PLR0913, PLR0917 - a parameter per column
    poolcli: Run, here: Path, command: str, target: str, spec: str, said: str, numbers: list[str]
) -> None:
    save(here / "a.npy", np.zeros((3, 8, 8)), "float32")
    if (command, target) == ("run", "3x8x8"):
        (here / "a.npy").rename(here / "3x8x8")
    message = poolcli(command, target, "-s", "max:2", "-s", spec).error(1)
    assert f"stage 2 ({spec})" in message
    assert said in message
    assert all(number in message for number in numbers)
    assert ": " in message.split(said)[1]
    assert not (here / "pooled").exists()


def test_a_window_too_large_says_what_would_fit(poolcli: Run) -> None:
    message = poolcli("shape", "3x8x8", "-s", "max:9,pad=0").error(1)
    assert message.startswith("stage 1 (max:9): along H: ")
    assert "8" in message
    assert poolcli("shape", "3x8x8", "-s", "max:8").status == 0


FILES: dict[str, tuple[bytes | None, str]] = {
    "missing.png": (None, "missing.png: no such file"),
    "empty.png": (b"", "empty.png: empty"),
    "words.png": (b"words", "words.png: neither an image that Pillow can read nor an .npy array"),
    "words.npy": (b"words", "words.npy: neither an image that Pillow can read nor an .npy array"),
    "cut.npy": (b"\x93NUMPY\x01\x00v\x00{'descr'", "cut.npy: truncated: it ends within its header"),
    "zero.npy": (b"\x93NUMPY\x01\x00\x02\x00[]", "zero.npy: its header can't be read"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", ["run", "shape"])
def test_an_input_that_is_none(poolcli: Run, here: Path, command: str, name: str) -> None:
    content, said = FILES[name]
    if content is not None:
        (here / name).write_bytes(content)
    before = tree(here)
    assert poolcli(command, name, "-s", "max:2").error(1).startswith(said)
    assert tree(here) == before


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".npy", ".tiff", ".webp"])
def test_an_input_cut_in_half(poolcli: Run, here: Path, suffix: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 40, 3))
    content = save(here / f"a{suffix}", noise).read_bytes()
    (here / f"a{suffix}").write_bytes(content[: len(content) // 2])
    ran = poolcli("run", f"a{suffix}", "-s", "max:2", "-q", "--layout", "HWC")
    said = ran.error(1)
    assert said.startswith(f"a{suffix}: ")
    assert not list(here.rglob("a.1*"))
    assert not list(here.rglob("*.tmp"))


OPTIONS = {
    "no command": ([], ""),
    "unknown command": (["rnu"], "rnu"),
    "unknown option": (["run", "a.png", "--stge", "max:2"], "--stge"),
    "no input": (["run", "-s", "max:2"], "no input"),
    "no stage": (["run", "a.png"], "no stage"),
    "no stage to plan": (["shape", "3x8x8"], "no stage"),
    "no shape": (["shape", "-s", "max:2"], "SHAPE|FILE"),
    "two shapes": (["shape", "3x8x8", "3x9x9", "-s", "max:2"], "3x9x9"),
    "unknown layout": (["run", "a.png", "-s", "max:2", "--layout", "HWX"], "layout 'HWX'"),
    "layout twice": (["shape", "3x8x8", "-s", "max:2", "--layout", "HHW"], "layout 'HHW'"),
    "unknown dtype": (["run", "a.png", "-s", "max:2", "--dtype", "unit8"], "did you mean uint8?"),
    "dtype of strings": (["shape", "8x8", "-s", "max:2", "--dtype", "str"], "known are bool"),
    "unknown format": (["run", "a.png", "-s", "max:2", "--format", "gif"], "gif"),
    "unknown save": (["run", "a.png", "-s", "max:2", "--save", "some"], "some"),
    "no number": (["run", "a.png", "-s", "max:2", "--max-pixels", "many"], "many"),
    "max-pixels 0": (["run", "a.png", "-s", "max:2", "--max-pixels", "0"], "0"),
    "no value": (["run", "a.png", "-s"], "-s"),
    "recipe missing": (["run", "a.png", "--recipe", "no.toml"], "recipe no.toml: No such file"),
}


@pytest.mark.parametrize(("arguments", "said"), OPTIONS.values(), ids=list(OPTIONS))
def test_a_command_that_cannot_be_carried_out(
    poolcli: Run, here: Path, arguments: list[str], said: str
) -> None:
    save(here / "a.png", grey())
    ran = poolcli(*arguments)
    if arguments:
        assert said in ran.error(2)
    else:
        assert (ran.status, ran.out) == (2, "")
        assert "Usage: poolcli" in ran.err
    assert tree(here) == ["a.png"]


def test_a_layout_of_another_length_is_the_inputs_failure(poolcli: Run, here: Path) -> None:
    save(here / "a.npy", np.zeros((3, 8, 8)))
    said = poolcli("run", "a.npy", "-s", "max:2", "--layout", "NCHW").error(1)
    assert said == "a.npy: layout NCHW names 4 axes, the array has 3: say --layout with 3 letters"


def test_usage_errors_say_where_help_is(poolcli: Run) -> None:
    assert poolcli("shape", "3x8x8", "--stge").error(2).endswith("(see poolcli shape --help)")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("shape", "3x8x8", "-s", "mex:2"), 2),
        (("shape", "3x8x8", "-s", "max:9"), 1),
        (("shape", "3x8x8", "--stge"), 2),
        (("run", "missing.png", "-s", "max:2"), 1),
    ],
)
def test_debug_adds_a_traceback_and_keeps_the_status(
    process: Run, arguments: tuple[str, ...], status: int
) -> None:
    without, debug = process(*arguments), process(*arguments, "--debug")
    assert "Traceback" not in without.err
    assert "Traceback (most recent call last)" in debug.err
    assert (without.status, debug.status) == (status, status)


def test_errors_are_one_line_whatever_the_names_are(poolcli: Run, here: Path) -> None:
    (here / "a\nb.png").write_bytes(b"words")
    assert poolcli("run", "a\nb.png", "-s", "max:2").error(1).startswith("a\\nb.png: neither")
    assert "max\\n" in poolcli("run", "a\nb.png", "-s", "max\n:2,stide=1").error(2)
    assert poolcli("run", "\x1b[31mred", "-s", "max:2").error(1).startswith("\\x1b[31mred: ")
    bad = b"\xff.png".decode("utf-8", "surrogateescape")
    assert poolcli("run", bad, "-s", "max:2").error(1) == "\\udcff.png: no such file"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["run", "--help"], ["shape", "-h"], ["ops", "-h"]]
)
def test_help(poolcli: Run, arguments: list[str]) -> None:
    ran = poolcli(*arguments)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("Usage: poolcli")
    assert max(map(len, ran.out.splitlines())) <= 80
    for command in ("run", "shape", "ops") if len(arguments) == 1 else ():
        assert f"\n  {command} " in ran.out


def test_every_option_has_a_help_text() -> None:
    for name in ("run", "shape", "ops"):
        text = CliRunner().invoke(group, [name, "--help"]).output
        options = [line for line in text.splitlines() if line.lstrip().startswith("-")]
        assert len(options) > 1
        command = group.commands.get(name) or group.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        for option in command.params:
            assert option.param_type_name == "argument" or getattr(option, "help", None)


def test_the_version(poolcli: Run) -> None:
    assert poolcli("--version").out == f"poolcli {__version__}\n"


def test_arguments_come_from_the_command_line(
    poolcli: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from poolcli.cli.main import main

    assert poolcli("--version").status == 0
    monkeypatch.setattr(sys, "argv", ["poolcli", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"poolcli {__version__}\n"


def test_a_coloured_picture_in_words(poolcli: Run, here: Path) -> None:
    save(here / "a.png", colour(channels=4))
    said = poolcli("run", "a.png", "-s", "max:2", "--format", "jpg").error(1)
    assert said == "a.png: jpg can't hold uint8 HWC 2x3x4: say --format png or npy or tiff or webp"
    assert tree(here) == ["a.png"]
