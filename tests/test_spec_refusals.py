"""Specs that are refused, and the words that say why."""

from __future__ import annotations

import pytest

from poolcli.errors import SpecError
from poolcli.operations import OPERATIONS
from poolcli.specs import parse_repeated, parse_stage

WINDOW_KEYS = "known are stride, pad, dilation, pad-mode, out, seed, samples, over, repeat"
FLAGS = "ceil, fractional"
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
        ("avg:2,exclude_pad", "'exclude_pad' in avg:2,exclude_pad: did you mean exclude-pad?"),
        ("relu,stide=2", "'stide' in relu,stide=2: known are repeat"),
        ("relu,stride=2", "'stride' in relu,stride=2: known are repeat"),
        # right words in the wrong place
        ("max:2,stride", "'stride' in max:2,stride: stride takes a value, as stride=…"),
        ("max:2,s", "'s' in max:2,s: stride takes a value, as stride=…"),
        ("lp:2,norm", "'norm' in lp:2,norm: norm takes a value, as norm=…"),
        ("max:2,ceil=1", "'ceil=1' in max:2,ceil=1: ceil is a flag, without a value"),
        ("max:2,ceil=", "'ceil=' in max:2,ceil=: ceil is a flag, without a value"),
        ("conv:3,out=4,bias=1",
         "'bias=1' in conv:3,out=4,bias=1: expected the path of an .npy file"),
        ("max:2,norm=3", "'norm' in max:2,norm=3: max has no norm, lp, gem has"),
        ("max:2,groups=3", "'groups' in max:2,groups=3: max has no groups, conv has"),
        ("conv:3,out=4,norm=2", "'norm' in conv:3,out=4,norm=2: conv has no norm, lp, gem has"),
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
         "'over=rows' in max:2,over=rows: expected one of channels"),
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
        ("max:2,out=7",
         "'max:2' in max:2,out=7: a size together with out= needs the flag fractional"),
        ("max,out=7,stride=2", ("'stride=2' in max,out=7,stride=2: out= places the windows: "
         "it takes no stride")),
        ("max,out=7,pad=1", "'pad=1' in max,out=7,pad=1: out= places the windows: it takes no pad"),
        ("max,out=7,dilation=2",
         "'dilation=2' in max,out=7,dilation=2: out= places the windows: it takes no dilation"),
        ("max,out=7,ceil", "'ceil' in max,out=7,ceil: out= places the windows: it takes no ceil"),
        ("avg:3,pad=1,pad-mode=edge,exclude-pad",
         ("'exclude-pad' in avg:3,pad=1,pad-mode=edge,exclude-pad: "
         "padding by edge holds values, which count")),
        ("max:2,divisor=3",
         "'divisor=3' in max:2,divisor=3: only an average has a divisor, max has none"),
        ("sum:2,include-pad",
         "'include-pad' in sum:2,include-pad: only an average has a divisor, sum has none"),
        ("max:2,exclude-pad",
         "'exclude-pad' in max:2,exclude-pad: only an average has a divisor, max has none"),
        ("relu:2", "'relu:2' in relu:2: it works element by element: it takes no size"),
        # sizes that are missing, too many, or don't agree
        ("max", "'max' in max: max needs a window: max:2, max:global or out="),
        ("max,stride=2", "'max' in max,stride=2: max needs a window: max:2, max:global or out="),
        ("conv,out=3", "'conv' in conv,out=3: conv needs a size: conv:3"),
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
        ("conv:3", ("'conv:3' in conv:3: a convolution needs one of filter=, weights= or, to plan "
         "its shape, out=")),
        ("conv:global,out=3",
         "'conv:global' in conv:global,out=3: conv takes no global windows"),
        ("conv:3,groups=2,out=5",
         "'groups=2' in conv:3,groups=2,out=5: 5 outputs don't divide into 2 groups"),
        ("conv:3,filter=gauss",
         ("'filter=gauss' in conv:3,filter=gauss: expected one of identity, box, gaussian, "
         "laplacian, sharpen, sobel-x, sobel-y, emboss; did you mean gaussian?")),
        ("conv:3,filter=box,bias",
         "'bias' in conv:3,filter=box,bias: a filter works on every channel by itself: no bias"),
        ("conv:3,filter=box,groups=2",
         ("'groups=2' in conv:3,filter=box,groups=2: a filter works on every channel by itself: "
         "no groups")),
        ("conv:3,filter=box,channels=2",
         ("'channels=2' in conv:3,filter=box,channels=2: a filter works on every channel by "
         "itself: no channels")),
        ("conv:5,filter=sobel-x",
         "'conv:5' in conv:5,filter=sobel-x: sobel-x is 3×3 and nothing else"),
        ("conv:3x2,filter=emboss",
         "'conv:3x2' in conv:3x2,filter=emboss: emboss is 3×3 and nothing else"),
        ("conv,filter=box", "'conv' in conv,filter=box: conv needs a size: conv:3"),
        ("conv:3,filter=box,weights=a.npy",
         ("'weights=a.npy' in conv:3,filter=box,weights=a.npy: filter and weights contradict each "
         "other")),
        ("conv,weights=a.npy,out=3",
         "'out=3' in conv,weights=a.npy,out=3: weights and out contradict each other"),
        ("conv,weights=a.npy,bias",
         "'bias' in conv,weights=a.npy,bias: the bias of weights is a file: bias=FILE.npy"),
        ("conv:3,out=3,bias=b.npy",
         ("'bias=b.npy' in conv:3,out=3,bias=b.npy: without weights the bias is only counted: "
         "the flag bias")),
        ("conv,weights=a.txt",
         "'weights=a.txt' in conv,weights=a.txt: expected the path of an .npy file"),
        ("conv,weights=", "'weights=' in conv,weights=: expected the path of an .npy file"),
        ('conv,weights="a"b.npy"', """'conv,weights="a"b.npy"': a quote is not closed"""),
        ("conv:3,out=4,filter",
         "'filter' in conv:3,out=4,filter: filter takes a value, as filter=…"),
        # windows that are drawn
        ("max:2,fractional",
         "'fractional' in max:2,fractional: fractional windows need their number, out="),
        ("max,out=3,fractional",
         "'max' in max,out=3,fractional: max needs a window: max:2, max:global or out="),
        ("max:global,fractional",
         "'fractional' in max:global,fractional: one window is the whole map"),
        ("max:2,out=3,fractional=1",
         "'fractional=1' in max:2,out=3,fractional=1: fractional is a flag, without a value"),
        ("max:2,out=3,fractional,stride=1",
         ("'stride=1' in max:2,out=3,fractional,stride=1: fractional windows lie where they are "
         "drawn: it takes no stride")),
        ("max:2,out=3,fractional,pad=1",
         ("'pad=1' in max:2,out=3,fractional,pad=1: fractional windows lie where they are drawn: "
         "it takes no pad")),
        ("max:2,out=3,fractional,d=2",
         ("'d=2' in max:2,out=3,fractional,d=2: fractional windows lie where they are drawn: "
         "it takes no dilation")),
        ("max:2,out=3,fractional,ceil",
         ("'ceil' in max:2,out=3,fractional,ceil: fractional windows lie where they are drawn: "
         "it takes no ceil")),
        ("max:2,out=3,fractional,pad-mode=edge",
         ("'pad-mode=edge' in max:2,out=3,fractional,pad-mode=edge: fractional windows lie where "
         "they are drawn: it takes no pad-mode")),
        ("avg:2,out=3,fractional,include-pad",
         ("'include-pad' in avg:2,out=3,fractional,include-pad: fractional windows lie where they "
         "are drawn: it takes no include-pad")),
        ("max:2,out=3,fractional,seed=x",
         "'seed=x' in max:2,out=3,fractional,seed=x: expected a whole number from 0"),
        ("max:2,out=3,fractional,samples=s.txt",
         ("'samples=s.txt' in max:2,out=3,fractional,samples=s.txt: expected the path of an .npy "
         "file")),
        ("max:global,seed=3",
         "'seed=3' in max:global,seed=3: one window is the whole map: it takes no seed"),
        ("stochastic:2,seed=-1",
         "'seed=-1' in stochastic:2,seed=-1: expected a whole number from 0"),
        ("stochastic:2,seed=1234567890123",
         ("'seed=1234567890123' in stochastic:2,seed=1234567890123: "
         "expected a whole number from 0")),
        # enlargement, unpooling
        ("up", "'up' in up: up needs a size: up:3"),
        ("up:global", "'up:global' in up:global: up takes no global windows"),
        ("up:2,stride=2", "'stride' in up:2,stride=2: known are mode, repeat"),
        ("up:2,mode=bilinea",
         ("'mode=bilinea' in up:2,mode=bilinea: expected one of nearest, bilinear; "
         "did you mean bilinear?")),
        ("up:2,mode", "'mode' in up:2,mode: mode takes a value, as mode=…"),
        ("unpool:2", "'unpool:2' in unpool:2: it works element by element: it takes no size"),
        ("unpool,stride=2", "'stride' in unpool,stride=2: known are repeat"),
        # own values
        ("quantile:2,q=1.5", "'q=1.5' in quantile:2,q=1.5: expected a number from 0 to 1"),
        ("quantile:2,q=-0.1", "'q=-0.1' in quantile:2,q=-0.1: expected a number from 0 to 1"),
        ("avgmax:2,mix=2", "'mix=2' in avgmax:2,mix=2: expected a number from 0 to 1"),
        ("avgmax:2,mix=nan", "'mix=nan' in avgmax:2,mix=nan: expected a number from 0 to 1"),
        ("gem:2,eps=0", "'eps=0' in gem:2,eps=0: expected a number above 0"),
        ("gem:2,norm=0", "'norm=0' in gem:2,norm=0: expected a number above 0"),
        ("gem:2,q=1", "'q' in gem:2,q=1: gem has no q, quantile has"),
        ("blur:2,divisor=4",
         "'divisor=4' in blur:2,divisor=4: only an average has a divisor, blur has none"),
        ("gem:2,include-pad",
         "'include-pad' in gem:2,include-pad: only an average has a divisor, gem has none"),
        ("blur,pad=3",
         ("'pad=3' in blur,pad=3: padding must be smaller than the window, which spans 3: "
         "at most 2")),
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
        ("max:2*1001", "'*1001' in max:2*1001: at most 1000 repeats"),
        ("max:2*2*2", f"'max:2*2' in max:2*2: {SIZES}"),
        ("max:2,repeat=1001", "'repeat=1001' in max:2,repeat=1001: at most 1000 repeats"),
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


@pytest.mark.parametrize("key", ["seed=3", "samples=s.npy", "seed=0"])
def test_a_draw_without_drawn_windows_is_refused_with_its_reason(key: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_stage(f"max:2,{key}")
    text = str(caught.value)
    assert text.startswith(f"'{key}' in max:2,{key}: ")
    assert ": :" not in text
    assert "fractional" in text


def test_a_seed_and_samples_contradict_each_other() -> None:
    with pytest.raises(SpecError, match=r"seed.*samples|samples.*seed"):
        parse_stage("max:2,out=3,fractional,seed=3,samples=s.npy")


def test_a_convolutions_keys_are_told_once() -> None:
    with pytest.raises(SpecError) as caught:
        parse_stage("conv:3,out=3,zzzzz=1")
    words = str(caught.value).split("known are ")[1].split(", ")
    assert sorted(set(words)) == sorted(words)
