from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from poolcli.errors import SpecError
from poolcli.operations import OPERATIONS, number, whole_number
from poolcli.specs import MOST_REPEATS, keys_of, parse_repeated, parse_stage
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
        ("max:3,pad=valid", {"padding": ((0, 0),)}),
        ("max:3,pad=same", {"padding": "same-upper"}),
        ("max:3,pad=same-upper", {"padding": "same-upper"}),
        ("max:3,pad=same-lower", {"padding": "same-lower"}),
        ("max:3,dilation=2", {"dilation": (2,)}),
        ("max:3,d=2x3", {"dilation": (2, 3)}),
        ("max:3,ceil", {"ceil": True}),
        ("avg:3,pad=same,include-pad", {"count": "include"}),
        ("avg:3,exclude-pad", {"count": "exclude"}),
        ("avg:3,divisor=5", {"divisor": 5}),
        ("max:3,pad=1,pad-mode=constant", {"pad_mode": "constant"}),
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
         {"own": (("out", 64), ("groups", 2), ("channels", 4), ("bias", True))}),
        ("relu", {"op": "relu", "placement": "none"}),
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


WINDOW_KEYS = "known are stride, pad, dilation, divisor, pad-mode, out, over, repeat"
FLAGS = "ceil, include-pad, exclude-pad"
SIZES = "expected whole numbers above 0, one for all axes or one per axis (3 or 3x2)"
PADS = "expected numbers (1, 1x2, 0-1, 0-1x1-2), same, same-lower or valid"
NAMES = ", ".join(OPERATIONS)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        # words that are not known
        ("maxx:2", "'maxx' in maxx:2: did you mean max?"),
        ("MAX:2", "'MAX' in MAX:2: did you mean max?"),
        ("zzz:2", f"'zzz' in zzz:2: known are {NAMES}"),
        (":2", f"'' in :2: known are {NAMES}"),
        ("2", f"'2' in 2: known are {NAMES}"),
        ("max:2,stide=2", "'stide' in max:2,stide=2: did you mean stride?"),
        ("max:2,Stride=2", "'Stride' in max:2,Stride=2: did you mean stride?"),
        ("max:2,zzzzz=2", f"'zzzzz' in max:2,zzzzz=2: {WINDOW_KEYS}, {FLAGS}"),
        ("max:2,=2", f"'' in max:2,=2: {WINDOW_KEYS}, {FLAGS}"),
        ("max:2,cell", "'cell' in max:2,cell: did you mean ceil?"),
        ("max:2,exclude_pad", "'exclude_pad' in max:2,exclude_pad: did you mean exclude-pad?"),
        ("relu,stide=2", "'stide' in relu,stide=2: known are repeat"),
        ("relu,stride=2", "'stride' in relu,stride=2: known are repeat"),
        # right words in the wrong place
        ("max:2,stride", "'stride' in max:2,stride: stride takes a value, as stride=…"),
        ("max:2,s", "'s' in max:2,s: stride takes a value, as stride=…"),
        ("lp:2,norm", "'norm' in lp:2,norm: norm takes a value, as norm=…"),
        ("max:2,ceil=1", "'ceil=1' in max:2,ceil=1: ceil is a flag, without a value"),
        ("max:2,ceil=", "'ceil=' in max:2,ceil=: ceil is a flag, without a value"),
        ("conv:3,out=4,bias=1", "'bias=1' in conv:3,out=4,bias=1: bias is a flag, without a value"),
        ("max:2,norm=3", "'norm' in max:2,norm=3: max has no norm, lp has"),
        ("max:2,groups=3", "'groups' in max:2,groups=3: max has no groups, conv has"),
        ("conv:3,out=4,norm=2", "'norm' in conv:3,out=4,norm=2: conv has no norm, lp has"),
        # values
        ("max:", f"'max:' in max:: {SIZES}"),
        ("max:0", f"'max:0' in max:0: {SIZES}"),
        ("max:-1", f"'max:-1' in max:-1: {SIZES}"),
        ("max:+2", f"'max:+2' in max:+2: {SIZES}"),
        ("max:2.5", f"'max:2.5' in max:2.5: {SIZES}"),
        ("max:1e3", f"'max:1e3' in max:1e3: {SIZES}"),
        ("max:1_0", f"'max:1_0' in max:1_0: {SIZES}"),
        ("max:٣", f"'max:٣' in max:٣: {SIZES}"),
        ("max:2x", f"'max:2x' in max:2x: {SIZES}"),
        ("max:2X3", f"'max:2X3' in max:2X3: {SIZES}"),
        ("max:2x2x2x2", f"'max:2x2x2x2' in max:2x2x2x2: {SIZES}"),
        ("max:1234567890123", f"'max:1234567890123' in max:1234567890123: {SIZES}"),
        ("max:glob", f"'max:glob' in max:glob: {SIZES}"),
        ("max:2,stride=0", f"'stride=0' in max:2,stride=0: {SIZES}"),
        ("max:2,s=", f"'s=' in max:2,s=: {SIZES}"),
        ("max:2,dilation=0", f"'dilation=0' in max:2,dilation=0: {SIZES}"),
        ("max:2,pad=-1", f"'pad=-1' in max:2,pad=-1: {PADS}"),
        ("max:2,pad=", f"'pad=' in max:2,pad=: {PADS}"),
        ("max:2,pad=1-", f"'pad=1-' in max:2,pad=1-: {PADS}"),
        ("max:2,pad=0-1-0", f"'pad=0-1-0' in max:2,pad=0-1-0: {PADS}"),
        ("max:2,pad=full", f"'pad=full' in max:2,pad=full: {PADS}"),
        ("max:2,pad=1234567890123", f"'pad=1234567890123' in max:2,pad=1234567890123: {PADS}"),
        ("max:2,pad=0x0x0x1",
         "'pad=0x0x0x1' in max:2,pad=0x0x0x1: expected at most three numbers, for D, H and W"),
        ("max,out=1x1x1x2",
         "'out=1x1x1x2' in max,out=1x1x1x2: expected at most three numbers, for D, H and W"),
        ("max,out=0", f"'out=0' in max,out=0: {SIZES}"),
        ("max,out=7x", f"'out=7x' in max,out=7x: {SIZES}"),
        ("max:2,pad=1,pad-mode=reflct",
         ("'pad-mode=reflct' in max:2,pad=1,pad-mode=reflct: "
         "expected one of constant, reflect, edge, wrap; did you mean reflect?")),
        ("max:2,over=rows",
         "'over=rows' in max:2,over=rows: expected one of channels; known are channels"),
        ("avg:2,divisor=0", "'divisor=0' in avg:2,divisor=0: expected a whole number above 0"),
        ("avg:2,divisor=1.5",
         "'divisor=1.5' in avg:2,divisor=1.5: expected a whole number above 0"),
        ("lp:2,norm=0", "'norm=0' in lp:2,norm=0: expected a number above 0"),
        ("lp:2,norm=-2", "'norm=-2' in lp:2,norm=-2: expected a number above 0"),
        ("lp:2,norm=inf", "'norm=inf' in lp:2,norm=inf: expected a number above 0"),
        ("lp:2,norm=nan", "'norm=nan' in lp:2,norm=nan: expected a number above 0"),
        ("lp:2,norm=two", "'norm=two' in lp:2,norm=two: expected a number above 0"),
        ("conv:3,out=0", "'out=0' in conv:3,out=0: expected a whole number above 0"),
        ("conv:3,out=2x2", "'out=2x2' in conv:3,out=2x2: expected a whole number above 0"),
        # said twice
        ("max:2,stride=1,stride=1", "'stride=1' in max:2,stride=1,stride=1: stride is given twice"),
        ("max:2,s=1,stride=2", "'stride=2' in max:2,s=1,stride=2: stride is given twice"),
        ("max:2,ceil,ceil", "'ceil' in max:2,ceil,ceil: ceil is given twice"),
        ("lp:2,norm=2,norm=2", "'norm=2' in lp:2,norm=2,norm=2: norm is given twice"),
        ("max:2,repeat=2,repeat=2",
         "'repeat=2' in max:2,repeat=2,repeat=2: repeat is given twice"),
        ("max:2,repeat=2*2", "'*2' in max:2,repeat=2*2: repeat= says it already"),
        ("max:2,repeat=1*1", "'*1' in max:2,repeat=1*1: repeat= says it already"),
        # that contradict each other
        ("avg:2,include-pad,exclude-pad",
         "'exclude-pad' in avg:2,include-pad,exclude-pad: it contradicts include-pad"),
        ("max:2,pad=same,ceil",
         ("'ceil' in max:2,pad=same,ceil: ceil and same padding contradict each other: "
         "same rounds up")),
        ("max:global,stride=2",
         "'stride=2' in max:global,stride=2: one window is the whole map: it takes no stride"),
        ("max:global,p=1", "'p=1' in max:global,p=1: one window is the whole map: it takes no pad"),
        ("max:global,pad=same",
         "'pad=same' in max:global,pad=same: one window is the whole map: it takes no pad"),
        ("max:global,d=2",
         "'d=2' in max:global,d=2: one window is the whole map: it takes no dilation"),
        ("max:global,ceil",
         "'ceil' in max:global,ceil: one window is the whole map: it takes no ceil"),
        ("max:global,pad-mode=edge",
         ("'pad-mode=edge' in max:global,pad-mode=edge: one window is the whole map: "
         "it takes no pad-mode")),
        ("avg:global,exclude-pad",
         ("'exclude-pad' in avg:global,exclude-pad: one window is the whole map: "
         "it takes no exclude-pad")),
        ("max:2,out=7", "'max:2' in max:2,out=7: out= places windows: it takes no size besides"),
        ("max,out=7,stride=2", ("'stride=2' in max,out=7,stride=2: out= places windows: "
         "it takes no stride")),
        ("max,out=7,pad=1", "'pad=1' in max,out=7,pad=1: out= places windows: it takes no pad"),
        ("max,out=7,dilation=2",
         "'dilation=2' in max,out=7,dilation=2: out= places windows: it takes no dilation"),
        ("max,out=7,ceil", "'ceil' in max,out=7,ceil: out= places windows: it takes no ceil"),
        ("avg:3,pad=1,pad-mode=edge,exclude-pad",
         ("'exclude-pad' in avg:3,pad=1,pad-mode=edge,exclude-pad: "
         "padding by edge holds values, which count")),
        ("max:2,divisor=3",
         "'divisor=3' in max:2,divisor=3: only an average has a divisor, max has none"),
        ("sum:2,include-pad",
         "'include-pad' in sum:2,include-pad: only an average has a divisor, sum has none"),
        ("max:2,exclude-pad",
         "'exclude-pad' in max:2,exclude-pad: only an average has a divisor, max has none"),
        ("relu:2", "'relu:2' in relu:2: relu works element by element: it takes no kernel"),
        # sizes that are missing, too many, or don't agree
        ("max", "'max' in max: max needs a window: max:2, max:global or out="),
        ("max,stride=2", "'max' in max,stride=2: max needs a window: max:2, max:global or out="),
        ("conv,out=3", "'conv' in conv,out=3: conv needs a window: conv:2, conv:global or out="),
        ("max:2x3,stride=1x2x3",
         ("'max:2x3' in max:2x3,stride=1x2x3: the numbers of axes differ "
         "(kernel 2, stride 3, pad 1, dilation 1)")),
        ("max:2x3x2,pad=0x1", ("'max:2x3x2' in max:2x3x2,pad=0x1: the numbers of axes differ "
         "(kernel 3, pad 2, dilation 1)")),
        ("max:2x3,over=channels",
         "'max:2x3' in max:2x3,over=channels: channels are one axis: give one size"),
        # padding as large as the window
        ("max:2,pad=2",
         ("'pad=2' in max:2,pad=2: padding must be smaller than the window, which spans 2: "
         "at most 1")),
        ("max:3,pad=0-3",
         ("'pad=0-3' in max:3,pad=0-3: padding must be smaller than the window, which spans 3: "
         "at most 2")),
        ("max:3x2,p=2",
         "'p=2' in max:3x2,p=2: padding must be smaller than the window, which spans 2: at most 1"),
        ("max:3,p=0x3",
         ("'p=0x3' in max:3,p=0x3: padding must be smaller than the window, which spans 3: "
         "at most 2")),
        ("max:2,d=1x3,p=2",
         ("'p=2' in max:2,d=1x3,p=2: padding must be smaller than the window, which spans 2: "
         "at most 1")),
        ("max:2,d=3,p=4",
         ("'p=4' in max:2,d=3,p=4: padding must be smaller than the window, which spans 4: "
         "at most 3")),
        # convolutions
        ("conv:3", ("'conv:3' in conv:3: a convolution without weights needs its number of "
         "outputs: out=64")),
        ("conv:global,out=3",
         ("'conv:global' in conv:global,out=3: a convolution's weights have one size: "
         "give it, as in conv:3")),
        ("conv:3,groups=2,out=5",
         "'groups=2' in conv:3,groups=2,out=5: 5 output channels don't divide into 2 groups"),
        # shapes of the text
        ("", "an empty stage: say what to do, as in max:2"),
        ("  ", "an empty stage: say what to do, as in max:2"),
        ("*2", "an empty stage: say what to do, as in max:2"),
        (",", "',': a part between commas is empty"),
        ("max:2,", "'max:2,': a part between commas is empty"),
        ("max:2,,ceil", "'max:2,,ceil': a part between commas is empty"),
        ("max:2, ,ceil", f"'' in max:2, ,ceil: {WINDOW_KEYS}, {FLAGS}"),
        # repeats
        ("max:2*", "'*' in max:2*: how often is a whole number above 0"),
        ("max:2*0", "'*0' in max:2*0: how often is a whole number above 0"),
        ("max:2*x", "'*x' in max:2*x: how often is a whole number above 0"),
        ("max:2*1001", "'1001' in max:2*1001: at most 1000 repeats"),
        ("max:2*2*2", f"'max:2*2' in max:2*2: {SIZES}"),
        ("max:2,repeat=1001", "'1001' in max:2,repeat=1001: at most 1000 repeats"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_mend(spec: str, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_repeated(spec)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "spec", ["max:global,out=3", "max,out=3,over=channels,stride=1", "relu:global", "relu,out=3"]
)
def test_contradictions_are_refused(spec: str) -> None:
    with pytest.raises(SpecError):
        parse_repeated(spec)


@pytest.mark.parametrize(
    "spec",
    [
        "max:global,pad=0",
        "max:global,dilation=1",
        "max,out=7,pad=valid",
        "max,out=7,dilation=1",
    ],
)
def test_a_key_that_means_nothing_is_refused_even_with_its_default_value(spec: str) -> None:
    with pytest.raises(SpecError, match="it takes no"):
        parse_repeated(spec)


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


@pytest.mark.parametrize(
    ("op", "keys", "flags"),
    [
        ("max", ("stride", "pad", "dilation", "divisor", "pad-mode", "out", "over", "repeat"),
         ("ceil", "include-pad", "exclude-pad")),
        ("lp",
         ("stride", "pad", "dilation", "divisor", "pad-mode", "out", "over", "norm", "repeat"),
         ("ceil", "include-pad", "exclude-pad")),
        ("conv", ("stride", "pad", "dilation", "pad-mode", "out", "groups", "channels", "repeat"),
         ("bias",)),
        ("relu", ("repeat",), ()),
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


@pytest.mark.parametrize(
    "text", ["", "0", "000", "-1", "+1", "1.0", "1e2", " 1", "1_0", "²", "٣", "1" * 13, "9" * 9999]
)
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a whole number above 0$"):
        whole_number(text)


@pytest.mark.parametrize(
    ("text", "value"), [("2", 2), ("2.0", 2), ("2.5", 2.5), ("1e-6", 1e-6), ("1e3", 1000)]
)
def test_numbers_above_a_bound(text: str, value: float) -> None:
    number = number(0, open_low=True)(text)
    assert number == value
    assert type(number) is type(value)


@pytest.mark.parametrize("text", ["2", "1.999", "-3", "nan", "inf", "", "two"])
def test_numbers_not_above_a_bound(text: str) -> None:
    read: Callable[[str], object] = number_above(2)
    with pytest.raises(ValueError, match=r"^a number above 2$"):
        read(text)
