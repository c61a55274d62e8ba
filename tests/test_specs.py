from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from poolcli.errors import SpecError
from poolcli.operations import OPERATIONS, number, path, seed, whole_number
from poolcli.specs import MOST_REPEATS, keys_of, parse_repeated, parse_stage
from poolcli.spelling import nearest
from poolcli.stages import Stage

Fields = dict[str, object]


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ("max:2", {"op": "max", "placement": "sliding", "kernel": (2,), "stride": ()}),
        ("max:3x2", {"kernel": (3, 2)}),
        ("max:1x2x3", {"kernel": (1, 2, 3)}),
        ("max:global", {"placement": "global", "kernel": ()}),
        ("max:3,stride=2", {"stride": (2,)}),
        ("max:3,s=2x1", {"stride": (2, 1)}),
        ("max:3,pad=1", {"padding": ((1, 1),)}),
        ("max:3,p=1", {"padding": ((1, 1),)}),
        ("max:3,pad=1x2", {"padding": ((1, 1), (2, 2))}),
        ("max:3,pad=0-1", {"padding": ((0, 1),)}),
        ("max:3,pad=0-1x1-2", {"padding": ((0, 1), (1, 2))}),
        ("max:3,pad=1x0-1", {"padding": ((1, 1), (0, 1))}),
        ("max:3,pad=valid", {"padding": None, "pads": ((0, 0),)}),
        ("max:3,pad=same", {"padding": "same-upper"}),
        ("max:3,pad=same-upper", {"padding": "same-upper"}),
        ("max:3,pad=same-lower", {"padding": "same-lower"}),
        ("max:3,dilation=2", {"dilation": (2,)}),
        ("max:3,d=2x3", {"dilation": (2, 3)}),
        ("max:3,ceil", {"ceil": True}),
        ("avg:3,pad=same,include-pad", {"count": "include"}),
        ("avg:3,exclude-pad", {"count": "exclude"}),
        ("avg:3,divisor=5", {"divisor": 5}),
        ("max:3,pad=1,pad-mode=constant", {"pad_mode": None, "padding_mode": "constant"}),
        ("max:3,pad=1,pad-mode=reflect", {"pad_mode": "reflect"}),
        ("max:3,pad=1,pad-mode=edge", {"pad_mode": "edge"}),
        ("max:3,pad=1,pad-mode=wrap", {"pad_mode": "wrap"}),
        ("max,out=7", {"placement": "adaptive", "output": (7,), "kernel": ()}),
        ("max,out=7x_", {"output": (7, None)}),
        ("max,out=_x7x_", {"output": (None, 7, None)}),
        ("max:2,over=channels", {"over_channels": True}),
        ("lp:2,norm=3", {"own": (("norm", 3),)}),
        ("lp:2,norm=0.5", {"own": (("norm", 0.5),)}),
        ("conv:3,out=64", {"own": (("out", 64),), "placement": "sliding", "output": ()}),
        ("conv:3,out=64,channels=4,groups=2,bias",
         {"own": (("groups", 2), ("out", 64), ("bias", True), ("channels", 4))}),
        ("relu", {"op": "relu", "placement": "none"}),
        ("unpool", {"op": "unpool", "placement": "none"}),
        ("up:2x3", {"placement": "enlarged", "kernel": (2, 3), "own": ()}),
        ("up:2,mode=bilinear", {"own": (("mode", "bilinear"),)}),
        ("max:2,out=3,fractional",
         {"placement": "fractional", "output": (3,), "kernel": (2,), "seed": 0, "samples": None}),
        ("max:2x3,out=3x_,fractional,seed=7", {"output": (3, None), "seed": 7}),
        ("max:2,out=3,fractional,samples=a/s.npy", {"samples": "a/s.npy"}),
        ("stochastic:2,out=3,fractional,seed=7", {"own": (("seed", 7),), "seed": 0}),
        ("stochastic:2,seed=9", {"own": (("seed", 9),)}),
        ("gem:2,norm=4,eps=0.1", {"own": (("norm", 4), ("eps", 0.1))}),
        ("quantile:2,q=0.9", {"own": (("q", 0.9),)}),
        ("avgmax:2,mix=1", {"own": (("mix", 1),)}),
        ("blur", {"kernel": (3,), "stride": (), "padding": None, "pads": ((1, 1),)}),
        ("blur:4", {"kernel": (4,), "pads": ((1, 2),), "padding_mode": "reflect"}),
        ("conv:3,filter=emboss", {"own": (("filter", "emboss"),), "kernel": (3,)}),
        ("conv,weights=w.npy,bias=b.npy",
         {"own": (("weights", "w.npy"), ("bias", "b.npy")), "kernel": ()}),
        ('conv,weights="a,b*2.npy"', {"own": (("weights", "a,b*2.npy"),)}),
    ],
)  # fmt: skip
def test_every_key_and_alias_sets_its_field(spec: str, fields: Fields) -> None:
    stage = parse_stage(spec)
    assert {name: getattr(stage, name) for name in fields} == fields


@pytest.mark.parametrize(
    "spec",
    [
        " max : 3 , stride = 2 , ceil ",
        "\tmax:3,s=2,ceil\n",
        "max:3,ceil,stride=2",
        "max:3x3,s=2x2,ceil",
    ],
)
def test_spaces_and_the_order_of_keys_do_not_matter(spec: str) -> None:
    assert parse_stage(spec) == parse_stage("max:3,stride=2,ceil")


@pytest.mark.parametrize(
    ("spec", "plain"),
    [
        ('lp:2,norm="3"', "lp:2,norm=3"),
        ('conv:3,out="64",groups="2"', "conv:3,groups=2,out=64"),
        ('lp:2,norm="3"*2', "lp:2,norm=3*2"),
    ],
)
def test_a_value_can_be_quoted(spec: str, plain: str) -> None:
    assert parse_repeated(spec) == parse_repeated(plain)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ('lp:2,norm="3,5"', """'norm="3,5"' in lp:2,norm="3,5": expected a number above 0"""),
        ('lp:2,norm="3*2"', """'norm="3*2"' in lp:2,norm="3*2": expected a number above 0"""),
        ('lp:2,norm="', """'lp:2,norm="': a quote is not closed"""),
        ('lp:2,norm="3', """'lp:2,norm="3': a quote is not closed"""),
        ('lp:2,norm="""', """'lp:2,norm=\"\"\"': a quote is not closed"""),
        ('lp:2,norm=""', """'norm=""' in lp:2,norm="": expected a number above 0"""),
    ],
)
def test_quotes_hold_their_value_together(spec: str, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_repeated(spec)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("spec", "times"),
    [
        ("max:2*1", 1),
        ("max:2*5", 5),
        ("max:2 * 5", 5),
        ("max:2,repeat=5", 5),
        ("max:2,repeat=1", 1),
        ("relu*3", 3),
        ("relu,repeat=3", 3),
        ("MaxPool2d(2)*4", 4),
        (f"max:2*{MOST_REPEATS}", MOST_REPEATS),
    ],
)
def test_repeats_give_equal_stages(spec: str, times: int) -> None:
    stages = parse_repeated(spec)
    assert len(stages) == times
    assert len(set(stages)) == 1
    assert stages[0] == parse_stage("relu" if "relu" in spec else "max:2")


@pytest.mark.parametrize("text", ["0", "7", "007", "999999999999"])
def test_seeds(text: str) -> None:
    assert seed(text) == int(text)


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "²", "1" * 13])
def test_what_is_no_seed(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a whole number from 0$"):
        seed(text)


@pytest.mark.parametrize("text", ["", "a.txt", 'a".npy', "npy"])
def test_what_is_no_path_of_an_array(text: str) -> None:
    with pytest.raises(ValueError, match=r"^the path of an \.npy file$"):
        path(text)


def test_a_bad_number_of_repeats_is_named_as_it_was_written() -> None:
    with pytest.raises(SpecError) as caught:
        parse_repeated("max:2,repeat=0")
    assert str(caught.value).startswith("'repeat=0' in max:2,repeat=0: ")


def test_a_spec_of_several_stages_is_a_chain() -> None:
    text = r"^max:2\*3 stands for 3 stages: parse it as a chain$"
    with pytest.raises(SpecError, match=text):
        parse_stage("max:2*3")


@settings(deadline=None, max_examples=500)
@example("*2")
@example("relu:global")
@example('"')
@given(st.text(alphabet='max:vg2x3,=-_*"()sd cpile\n.N', max_size=30))
def test_any_text_is_a_stage_or_a_spec_error(text: str) -> None:
    try:
        stages = parse_repeated(text)
    except SpecError:
        return
    assert stages
    assert all(Stage.parse(str(stage)) == stage for stage in stages)


WINDOWED = ("stride", "pad", "dilation", "pad-mode", "out")
WINDOW_FLAGS = ("ceil", "fractional")
AVERAGED = ("stride", "pad", "dilation", "divisor", "pad-mode", "out", "seed", "samples", "over")


@pytest.mark.parametrize(
    ("op", "keys", "flags"),
    [
        ("max", (*WINDOWED, "seed", "samples", "over", "repeat"), WINDOW_FLAGS),
        ("lp", (*WINDOWED, "seed", "samples", "over", "norm", "repeat"), WINDOW_FLAGS),
        ("gem", (*WINDOWED, "seed", "samples", "over", "norm", "eps", "repeat"), WINDOW_FLAGS),
        ("stochastic", (*WINDOWED, "samples", "over", "seed", "repeat"), WINDOW_FLAGS),
        ("avg", (*AVERAGED, "repeat"), ("ceil", "include-pad", "exclude-pad", "fractional")),
        ("conv",
         ("stride", "pad", "dilation", "pad-mode", "filter", "weights", "bias", "groups", "out",
          "channels", "repeat"), ("bias",)),
        ("relu", ("repeat",), ()),
        ("unpool", ("repeat",), ()),
        ("up", ("mode", "repeat"), ()),
    ],
)  # fmt: skip
def test_keys_that_an_operation_can_have(
    op: str, keys: tuple[str, ...], flags: tuple[str, ...]
) -> None:
    assert keys_of(OPERATIONS[op]) == (keys, flags)


def test_the_nearest_word_or_all_of_them() -> None:
    assert nearest("PADDING", ("pad", "stride")) == "did you mean pad?"
    assert nearest("qqq", ("pad", "stride")) == "known are pad, stride"


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("007", 7), ("999999999999", 999_999_999_999)]
)
def test_whole_numbers(text: str, value: int) -> None:
    assert whole_number(text) == value


@pytest.mark.parametrize("text", ["", "0", "000", "-1", "+1", "1.0", "1e2", " 1", "1_0", "²", "٣"])
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a whole number above 0$"):
        whole_number(text)


@pytest.mark.parametrize("text", ["1" * 13, "9" * 9999])
def test_what_is_too_large_to_be_a_length(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a whole number of at most 12 digits$"):
        whole_number(text)


@pytest.mark.parametrize(
    ("text", "value"), [("2", 2), ("2.0", 2), ("2.5", 2.5), ("1e-6", 1e-6), ("1e3", 1000)]
)
def test_numbers_above_a_bound(text: str, value: float) -> None:
    result = number(0, open_low=True)(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("text", ["2", "1.999", "-3", "nan", "inf", "", "two"])
def test_numbers_not_above_a_bound(text: str) -> None:
    read: Callable[[str], object] = number(2, open_low=True)
    with pytest.raises(ValueError, match=r"^a number above 2$"):
        read(text)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("1", 1), ("0.25", 0.25), ("1.0", 1)])
def test_numbers_in_a_range_with_both_its_ends(text: str, value: float) -> None:
    result = number(0, 1)(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("text", ["-0.1", "1.0001", "nan", "inf", "-inf", "", "half"])
def test_numbers_outside_a_range(text: str) -> None:
    read: Callable[[str], object] = number(0, 1)
    with pytest.raises(ValueError, match=r"^a number from 0 to 1$"):
        read(text)


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "x"])
def test_a_range_without_an_upper_end_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a number from 0$"):
        number(0)(text)
