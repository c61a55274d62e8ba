"""What completion offers, and what each shell is told of it."""

from __future__ import annotations

import os
from unittest import mock

import click
import pytest
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class
from hypothesis import example, given, settings
from hypothesis import strategies as st

from poolcli.cli import completion, shells
from poolcli.cli.main import poolcli as group
from poolcli.dtypes import ITEM_SIZES
from poolcli.errors import SpecError
from poolcli.layouts import USUAL, check_layout
from poolcli.operations import FILTERS, MODES, OPERATIONS
from poolcli.specs import keys_of, parse_repeated, words_of
from poolcli.stages import PAD_MODES
from tests.conftest import Run

SHELLS = ("bash", "zsh", "fish")
OPTION = click.Option(["-s"])
CONTEXT = click.Context(click.Command("any"))


def items(spec: str) -> list[CompletionItem]:
    return completion.specs(CONTEXT, OPTION, spec)


def offered(spec: str) -> list[str]:
    """Return the words that are offered, without what is typed already."""
    return [item.value.removeprefix(spec) for item in items(spec) if item.type == "plain"]


def is_whole(spec: str) -> bool:
    try:
        parse_repeated(spec)
    except SpecError:
        return False
    return True


SPECS = {
    "ma": ["x:", "jority:"],
    "maj": ["ority:"],
    "blur": ["", ":"],
    "re": ["lu"],
    "unp": ["ool"],
    "up": [":"],
    "u": ["p:", "npool"],
    "max:": ["global"],
    "max:g": ["lobal"],
    "max:2": [],
    "max:2,str": ["ide="],
    "max:2,c": ["eil"],
    "max:2,inc": [],
    "avg:2,inc": ["lude-pad"],
    "avg:2,include-pad,ex": [],
    "max:2,s": ["tride=", "eed=", "amples="],
    "max:2,stride=1,s": [],
    "max:2,s=1,s": [],
    "max:2,fr": ["actional,"],
    "max:2,out=3,fr": ["actional"],
    "max:2,out=3,se": ["ed="],
    "max:2,out=3,str": [],
    "max:2,pad=same,ce": [],
    "max:2,ceil,p=": ["valid"],
    "max:2,pad=": ["same", "same-upper", "same-lower", "valid"],
    "max:2,p=same-": ["upper", "lower"],
    "max:2,pad-mode=": ["constant", "reflect", "edge", "wrap"],
    "max:2,over=": ["channels"],
    "max,over=": ["channels,"],
    "max:2,stride=": [],
    "max:global,": ["over=", "repeat="],
    "max,": ["out=", "over=", "repeat="],
    "relu,": ["repeat="],
    "relu:": [],
    "conv:g": [],
    "lp:2,n": ["orm="],
    "max:2,n": [],
    "up:2,mode=": ["nearest", "bilinear"],
    "conv:3,filter=so": ["bel-x", "bel-y"],
    "conv:5,filter=": ["identity", "box", "gaussian"],
    "conv:3,bi": ["as=", "as,"],
    "conv:3,out=4,bi": ["as"],
    "conv,weights=w.npy,bi": ["as="],
    "conv:3,filter=box,bi": [],
    "conv:3,pad=same-l": ["ower,"],
    'conv,weights="a,b.npy",str': ["ide="],
    'conv,weights="a,b': [],
    'conv,weights="a,b"': [],
    'conv,weights="a,pad=': [],
    "max:2*": [],
    "max:2*3": [],
    "max:2*3,": [],
    "max:2,repeat=3,re": [],
    "max:2,nonsense=1,": [],
    "max:2,,": [],
    "nonsense:2,": [],
    "MaxPool2d(2),": [],
    "nn.Max": [],
    "max:2,pad=(,": [],
    'max"': [],
    '"max:2",st': [],
}


@pytest.mark.parametrize(("spec", "words"), SPECS.items(), ids=list(SPECS))
def test_what_a_spec_can_go_on_with(spec: str, words: list[str]) -> None:
    assert offered(spec) == words


def test_nothing_typed_offers_every_operation_in_the_order_of_the_table() -> None:
    names = [text.removesuffix(":") for text in offered("")]
    assert list(dict.fromkeys(names)) == list(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_key_or_flag_of_an_operation_is_forgotten(name: str) -> None:
    keys, flags = keys_of(OPERATIONS[name])
    heads = (f"{name},", f"{name}:3,", f"{name}:3,out=3,fractional,")
    found = {text for head in heads for text in offered(head)}
    assert {text for text in found if text.endswith("=")} == {f"{key}=" for key in keys}
    assert {text.rstrip(",") for text in found if not text.endswith("=")} == set(flags)


@pytest.mark.parametrize(
    ("operation", "key", "words"),
    [
        ("conv", "filter", FILTERS),
        ("up", "mode", MODES),
        ("max", "pad-mode", PAD_MODES),
        ("max", "over", ("channels",)),
        ("max", "filter", ()),
        ("max", "stride", ()),
        ("conv", "groups", ()),
    ],
)
def test_the_words_of_a_key_are_those_that_it_takes(
    operation: str, key: str, words: tuple[str, ...]
) -> None:
    assert words_of(OPERATIONS[operation], key) == words


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ("conv,weights=", ""),
        ("conv,weights=sub/w", "sub/w"),
        ("conv,weights=w.npy,bias=b", "b"),
        ("max:2,samples=", ""),
        ("max:2,out=3,fractional,samples=s", "s"),
    ],
)
def test_values_that_are_files_are_left_to_the_shell(spec: str, path: str) -> None:
    (item,) = items(spec)
    assert (item.type, item.value, item.pattern) == ("file", path, "*.npy")


def test_files_are_not_offered_where_none_fits() -> None:
    assert items("conv:3,filter=box,weights=") == []
    assert items("max:global,samples=") == []
    assert items('conv,weights="a,bias=') == []
    assert items('conv,weights="a') == []
    assert items("conv,weights=a*") == []


@settings(deadline=None)
@given(st.data())
def test_following_what_is_offered_ends_in_a_spec(data: st.DataObject) -> None:
    spec = ""
    while not is_whole(spec) or data.draw(st.booleans()):
        if spec:
            spec = spec.removesuffix(",") + ","
        choices = items(spec)
        if not choices:
            assert is_whole(spec.removesuffix(",")), spec
            return
        spec = data.draw(st.sampled_from([item.value for item in choices]))
        if spec.endswith(":"):
            spec += data.draw(st.sampled_from(["3", *offered(spec)]))
        elif spec.endswith("="):
            values = ["w.npy" if item.type == "file" else item.value for item in items(spec)]
            value = data.draw(st.sampled_from(values or ["1"]))
            spec = value if value.startswith(spec) else spec + value


ALPHABET = st.sampled_from(
    [*'max:2,stride=pc*"() ', "max:2,", "conv,", "pad=", "weights=", "é", "\udcff"]
)


@settings(deadline=None, max_examples=300)
@given(st.text() | st.lists(ALPHABET).map("".join))
@example('conv,weights="",')
@example("max:2,(" * 50)
def test_nonsense_is_never_an_error(spec: str) -> None:
    for item in items(spec):
        if item.type == "plain":
            assert item.value.startswith(spec)
            assert item.value.endswith((":", "=", ",")) or is_whole(item.value)


def test_usual_layouts_are_layouts_and_stand_once() -> None:
    assert {"W", "HW", "CHW", "NCHW", "NCDHW", "HWC", "NHWC", "NCW"} <= set(USUAL)
    assert len(set(USUAL)) == len(USUAL)
    assert [check_layout(layout) for layout in USUAL] == list(USUAL)


class Asked:
    def __init__(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run, self.monkeypatch = run, monkeypatch

    def __call__(self, line: str, shell: str = "fish") -> list[list[str]]:
        """Return the fields of every answer to a command line that ends at the cursor."""
        with self.monkeypatch.context() as patch:
            patch.setenv("_POOLCLI_COMPLETE", f"{shell}_complete")
            patch.setenv("COMP_LINE", line)
            ran = self.run()
        assert (ran.status, ran.err) == (0, "")
        return [answer.split("\t") for answer in ran.out.splitlines() if answer]


@pytest.fixture
def asked(poolcli: Run, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Ask as a shell does, in this process; nothing but the answer may come."""
    return Asked(poolcli, monkeypatch)


def test_bash_is_told_what_is_to_be_added(asked: Asked) -> None:
    assert asked("poolcli run -s max:2,str", "bash") == [["part", "ide="]]
    assert asked("poolcli run -s max:2,ce", "bash") == [["whole", "il"]]
    assert asked("poolcli run -s max:2,fr", "bash") == [["part", "actional,"]]
    assert asked("poolcli shape 3x8x8 -s relu", "bash") == [["whole", ""]]
    assert asked("poolcli run --stage=max:2,str", "bash") == [["part", "ide="]]


def test_zsh_is_told_meanings_behind_a_colon_and_of_colons_behind_a_backslash(asked: Asked) -> None:
    assert asked("poolcli run -s maj", "zsh") == [["part", r"majority\::most frequent x"]]
    assert asked("poolcli run -s max:2,str", "zsh") == [["part", r"max\:2,stride="]]
    assert asked("poolcli run --stage=max:2,str", "zsh") == [["part", r"--stage=max\:2,stride="]]
    assert asked(r"poolcli run -s 'conv,weights=\.npy,str", "zsh") == [
        ["part", r"conv,weights=\\.npy,stride="]
    ]


def test_fish_is_told_meanings_apart(asked: Asked) -> None:
    assert asked("poolcli run -s maj", "fish") == [["part", "majority:", "most frequent x"]]
    assert asked("poolcli run -s lp:2,n") == [["part", "lp:2,norm=", "the exponent n"]]
    assert asked("poolcli run -s max:2,str", "fish") == [["part", "max:2,stride=", ""]]
    assert asked("poolcli run --stage=max:2,str") == [["part", "--stage=max:2,stride=", ""]]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "pattern", "before"),
    [
        ("poolcli run ", "*", ""),
        ("poolcli run a.png b", "*", ""),
        ("poolcli shape f", "*", ""),
        ("poolcli run --sheet s", "*", ""),
        ("poolcli run --files-from l", "*", ""),
        ("poolcli run --sheet=s", "*", "--sheet="),
        ("poolcli run -o ", "*/", ""),
        ("poolcli run --output=o", "*/", "--output="),
        ("poolcli run --recipe r", "*.toml", ""),
        ("poolcli shape 3x8x8 --recipe=", "*.toml", "--recipe="),
        ("poolcli run -s conv,weights=w", "*.npy", "conv,weights="),
        ("poolcli run --stage=conv,weights=w", "*.npy", "--stage=conv,weights="),
    ],
)
def test_paths_are_left_to_the_shell(
    asked: Asked, shell: str, line: str, pattern: str, before: str
) -> None:
    assert asked(line, shell) == [["files", pattern, before]]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("poolcli ", ["run", "shape", "ops"]),
        ("poolcli s", ["shape"]),
        ("poolcli run --la", ["--layout"]),
        ("poolcli run --save ", ["all", "last", "none"]),
        ("poolcli run --save=l", ["--save=last"]),
        ("poolcli run --format t", ["tiff"]),
        ("poolcli run --dtype uint", ["uint8", "uint16", "uint32", "uint64"]),
        ("poolcli shape 3x8x8 --dtype ", list(ITEM_SIZES)),
        ("poolcli run --layout NCD", ["NCDHW"]),
        ("poolcli run --preset v", ["vgg16"]),
        ("poolcli shape 3x8x8 --preset=unet", ["--preset=unet", "--preset=unet-encoder"]),
        ("poolcli ops av", ["avg", "avgmax"]),
        ("poolcli ops avg av", ["avgmax"]),
        ("poolcli run a.png -s 'max:2,ce", ["max:2,ceil"]),
        ('poolcli run a.png -s "max:2,"ce', ["max:2,ceil"]),
        ("poolcli run 'a b.png' -s max:2 -s max:2,ce", ["max:2,ceil"]),
        ("poolcli run --memory nonsense --dtype nonsense -s max:2,ce", ["max:2,ceil"]),
        ("poolcli run -s nonsense --no-such-option -s max:2,ce", ["max:2,ceil"]),
    ],
)
def test_the_words_of_a_command_line(asked: Asked, line: str, words: list[str]) -> None:
    assert [text for _, text, _ in asked(line)] == words


@pytest.mark.parametrize(
    "line",
    [
        "poolcli run -s=ma",
        "poolcli run -smax:2,ce",
        "poolcli run -s 'it''s\" -s max:2,ce",
        "poolcli run -s max:2,nonsense=1,",
        "poolcli run -s 'max:2,\x1b[2J",
        "poolcli run --name ",
        "poolcli run -j ",
    ],
)
@pytest.mark.parametrize("shell", SHELLS)
def test_where_nothing_fits_nothing_is_said(asked: Asked, shell: str, line: str) -> None:
    assert asked(line, shell) == []


def speaker(shell: str, command: click.Command) -> ShellComplete:
    shells.register()
    found = get_completion_class(shell)
    assert found is not None
    return found(command, {}, "poolcli", "_POOLCLI_COMPLETE")


LINES = st.lists(
    st.sampled_from(
        ["run", "shape", "ops", "-s", "--stage=", "max:2,", "conv,", "-", "--", "'", '"', "\\"]
    )
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
)


@settings(deadline=None, max_examples=200)
@given(LINES, st.sampled_from(SHELLS))
@example(["run", "-s", "conv,weights=\udcff.npy,str"], "zsh")
def test_whatever_is_typed_is_answered_in_whole_lines(words: list[str], shell: str) -> None:
    with mock.patch.dict(os.environ, {"COMP_LINE": " ".join(["poolcli", *words])}):
        told = speaker(shell, group).complete()
    for answer in told.encode().decode().split("\n"):
        assert not answer or answer.split("\t")[0] in ("whole", "part", "files")


def test_what_no_line_can_hold_is_not_offered(asked: Asked) -> None:
    line = "poolcli run -s 'conv,weights=\t.npy,str"
    assert asked(line, "zsh") == asked(line, "fish") == []
    assert asked(line, "bash") == [["part", "ide="]]


def test_a_meaning_of_several_lines_is_told_in_one() -> None:
    option = click.Option(["--any"], help="Any,\nand more.")
    with mock.patch.dict(os.environ, {"COMP_LINE": "any --a"}):
        told = speaker("fish", click.Command("any", params=[option])).complete()
    assert told == "whole\t--any\tAny, and more."


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_names_the_program_and_the_way_to_ask_it(process: Run, shell: str) -> None:
    with mock.patch.dict(os.environ, {"_POOLCLI_COMPLETE": f"{shell}_source"}):
        ran = process()
    assert (ran.status, ran.err) == (0, "")
    assert f"_POOLCLI_COMPLETE={shell}_complete" in ran.out


@pytest.mark.parametrize("value", ["bash", "nonsense", "nonsense_complete", "bash_nonsense"])
def test_another_wish_is_refused_without_a_word(
    poolcli: Run, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("_POOLCLI_COMPLETE", value)
    ran = poolcli("ops")
    assert (ran.status, ran.out, ran.err) == (1, "", "")
