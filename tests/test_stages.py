from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from poolcli.errors import SpecError
from poolcli.operations import FILTERS, FLAT_FILTERS, OPERATIONS, Operation
from poolcli.placing import adaptive, same, sliding
from poolcli.sizes import join_pads, join_sizes, on_axis
from poolcli.stages import PAD_MODES, Chain, Stage, quote

WINDOW_OPS = sorted(name for name, facts in OPERATIONS.items() if facts.family == "windows")

sizes = st.integers(1, 9)


def per_axis(values: st.SearchStrategy[Any], rank: int) -> st.SearchStrategy[Any]:
    """One value for all axes, or one for each of ``rank``."""
    return st.one_of(st.tuples(values), st.tuples(*[values] * rank))


paths = st.sampled_from(["w.npy", "a b/w.npy", "a,b.npy", "x*2.npy", "../w.npy", "ü.npy"])
shares = st.one_of(st.sampled_from([0, 1, 0.5]), st.floats(0, 1))
positive = st.one_of(sizes, st.floats(1e-3, 1e3))


def tidy(number: float) -> float:
    """As the spec language reads numbers: whole ones are int."""
    return int(number) if float(number).is_integer() else number


OWN_KEYS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "lp": {"norm": positive.map(tidy)},
    "gem": {"norm": positive.map(tidy), "eps": positive.map(tidy)},
    "quantile": {"q": shares.map(tidy)},
    "stochastic": {"seed": st.integers(0, 10**12 - 1)},
    "avgmax": {"mix": shares.map(tidy)},
}


@st.composite
def convolution_keys(draw: st.DrawFn) -> tuple[tuple[str, Any], ...]:
    """Own keys of a convolution: a filter, weights, or its shape alone."""
    kind = draw(st.sampled_from(["filter", "weights", "out"]))
    if kind == "filter":
        return (("filter", draw(st.sampled_from(FILTERS))),)
    groups = draw(st.integers(1, 3))
    own: list[tuple[str, Any]] = [(kind, draw(paths))]
    bias: Any = draw(paths)
    if kind == "out":
        own, bias = [("out", groups * draw(st.integers(1, 4)))], True
    own += [("groups", groups)] * (kind == "out" or draw(st.booleans()))
    own += [("channels", draw(st.integers(1, 4)))] * draw(st.booleans())
    own += [("bias", bias)] * draw(st.booleans())
    return tuple(draw(st.permutations(own)))


@st.composite
def sliding_values(
    draw: st.DrawFn, facts: Operation, rank: int, own_keys: dict[str, Any]
) -> dict[str, Any]:
    """How the windows of a sliding stage lie."""
    values: dict[str, Any] = {}
    values["kernel"] = draw(per_axis(sizes, rank))
    if own_keys.get("filter") in FLAT_FILTERS:
        values["kernel"] = (3,)
    if "weights" in own_keys and draw(st.booleans()):
        values["kernel"] = ()
    values["stride"] = draw(st.just(()) | per_axis(sizes, rank))
    values["dilation"] = draw(per_axis(st.integers(1, 4), rank))
    values["pad_mode"] = draw(st.sampled_from([None, *PAD_MODES]))
    least = min(values["kernel"], default=5) - 1
    pads = per_axis(st.tuples(st.integers(0, least), st.integers(0, least)), rank)
    values["padding"] = draw(st.none() | st.sampled_from(["same-upper", "same-lower"]) | pads)
    is_same = isinstance(values["padding"], str)
    values["ceil"] = facts.name != "conv" and not is_same and draw(st.booleans())
    if facts.averages:
        held = values["pad_mode"] not in (None, "constant")
        values["count"] = draw(
            st.sampled_from([None, "include"] if held else [None, "include", "exclude"])
        )
    return values


@st.composite
def stages(draw: st.DrawFn) -> Stage:
    """Any stage that can be said."""
    op = draw(st.sampled_from([*WINDOW_OPS, "conv", "conv", "relu", "up", "unpool"]))
    if op in ("relu", "unpool"):
        return Stage(op=op, placement="none")
    facts = OPERATIONS[op]
    rank = draw(st.integers(1, 3))
    if op == "up":
        mode = draw(st.sampled_from(["nearest", "bilinear"]))
        factors = draw(per_axis(sizes, rank))
        return Stage(op=op, placement="enlarged", kernel=factors, own=(("mode", mode),))
    values: dict[str, Any] = {"op": op}
    placement = "sliding"
    if op == "conv":
        values["own"] = draw(convolution_keys())
    else:
        placement = draw(
            st.sampled_from(["sliding", "sliding", "global", "adaptive", "fractional"])
        )
        values["placement"] = placement
        values["over_channels"] = over = draw(st.booleans())
        rank = 1 if over else rank
        own = {name: draw(value) for name, value in OWN_KEYS.get(op, {}).items()}
        values["own"] = tuple(draw(st.permutations(list(own.items()))))
    if facts.averages:
        values["divisor"] = draw(st.none() | sizes)
    if placement in ("adaptive", "fractional"):
        values["output"] = draw(per_axis(st.none() | sizes, rank))
    if placement == "fractional":
        values["kernel"] = draw(per_axis(sizes, rank))
        placed = draw(st.sampled_from(["default", "seed", "samples"]))
        if placed == "seed" and op != "stochastic":
            values["seed"] = draw(sizes)
        if placed == "samples" and not values["over_channels"]:
            values["samples"] = draw(paths)
    if placement == "sliding":
        values |= draw(sliding_values(facts, rank, dict(values.get("own", ()))))
    return Stage(**values)


@settings(deadline=None, max_examples=500)
@given(stages())
def test_the_text_of_a_stage_parses_to_an_equal_stage(stage: Stage) -> None:
    again = Stage.parse(str(stage))
    assert again == stage
    assert hash(again) == hash(stage)
    assert str(again) == str(stage)
    assert eval(repr(stage), {"Stage": Stage}) == stage  # noqa: S307 - what repr promises


@settings(deadline=None, max_examples=200)
@given(stages(), stages())
def test_equal_texts_mean_equal_stages(one: Stage, other: Stage) -> None:
    assert (one == other) == (str(one) == str(other))


@settings(deadline=None, max_examples=200)
@given(stages(), st.data())
def test_the_order_of_keys_does_not_matter(stage: Stage, data: st.DataObject) -> None:
    assume('"' not in str(stage))
    head, *keys = str(stage).split(",")
    assume(len(keys) > 1)
    shuffled = ",".join([head, *data.draw(st.permutations(keys))])
    assert str(Stage.parse(shuffled)) == str(stage)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("max:2", "max:2"),
        ("max:2x2", "max:2"),
        ("max:2x2x2,s=2", "max:2"),
        ("max:2,stride=2x2", "max:2"),
        ("max:3x2,s=3x2", "max:3x2"),
        ("max:3x2,s=2,p=1", "max:3x2,stride=2,pad=1"),
        ("max:3,s=2x1", "max:3,stride=2x1"),
        ("max:3,p=0", "max:3"),
        ("max:3,p=0-0x0", "max:3"),
        ("max:3,p=valid", "max:3"),
        ("max:3,p=1-1x1", "max:3,pad=1"),
        ("max:3,p=0-1", "max:3,pad=0-1"),
        ("max:3,p=1x0-1", "max:3,pad=1x0-1"),
        ("max:3,p=same-upper", "max:3,pad=same"),
        ("max:3,p=same-lower", "max:3,pad=same-lower"),
        ("max:3,d=1x1", "max:3"),
        ("max:3,d=2x2", "max:3,dilation=2"),
        ("max:3,p=1,pad-mode=constant", "max:3,pad=1"),
        ("max:3,pad-mode=wrap,p=1", "max:3,pad=1,pad-mode=wrap"),
        ("max:3,ceil,d=2,p=1,s=2", "max:3,stride=2,pad=1,dilation=2,ceil"),
        ("avg:3,p=1,include-pad", "avg:3,pad=1"),
        ("avg:3,p=1,exclude-pad", "avg:3,pad=1,exclude-pad"),
        ("avg:3,p=same,exclude-pad", "avg:3,pad=same"),
        ("avg:3,p=same,include-pad", "avg:3,pad=same,include-pad"),
        ("avg:3,divisor=9,ceil", "avg:3,ceil,divisor=9"),
        ("max:global", "max:global"),
        ("max:global,over=channels", "max:global,over=channels"),
        ("max,out=7x7", "max,out=7"),
        ("max,out=7x_", "max,out=7x_"),
        ("max,out=_", "max,out=_"),
        ("avg:2,over=channels,s=1", "avg:2,stride=1,over=channels"),
        ("lp:2,norm=2", "lp:2"),
        ("lp:2,norm=2.0", "lp:2"),
        ("lp:2,norm=3.0", "lp:2,norm=3"),
        ("lp:2,norm=1", "lp:2,norm=1"),
        ("lp:2,norm=1e-5", "lp:2,norm=1e-05"),
        ("conv:3,out=64,s=1", "conv:3,out=64"),
        ("conv:3,out=64,s=3", "conv:3,stride=3,out=64"),
        ("conv:3,bias,channels=4,groups=1,out=64,p=1", "conv:3,pad=1,out=64,bias,channels=4"),
        ("relu", "relu"),
        ("unpool", "unpool"),
        ("up:2x2", "up:2"),
        ("up:2x3,mode=nearest", "up:2x3"),
        ("up:2,mode=bilinear", "up:2,mode=bilinear"),
        ("gem:2,eps=1e-6,norm=3", "gem:2"),
        ("gem:2,eps=0.5,norm=4.0", "gem:2,norm=4,eps=0.5"),
        ("quantile:2,q=0.5", "quantile:2"),
        ("quantile:2,q=1.0", "quantile:2,q=1"),
        ("quantile:2,q=0", "quantile:2,q=0"),
        ("avgmax:2,mix=.5,p=1,exclude-pad", "avgmax:2,pad=1,exclude-pad"),
        ("avgmax:2,mix=0.25", "avgmax:2,mix=0.25"),
        ("stochastic:2,seed=0", "stochastic:2"),
        ("stochastic:2,seed=007", "stochastic:2,seed=7"),
        ("max:2,fractional,seed=0,out=3", "max:2,out=3,fractional"),
        ("max:2,seed=4,out=3x3,fractional", "max:2,out=3,fractional,seed=4"),
        ("max:2,samples=s.npy,out=3x_,fractional", "max:2,out=3x_,fractional,samples=s.npy"),
        ("stochastic:2,seed=4,out=3,fractional", "stochastic:2,out=3,fractional,seed=4"),
        ("blur:3,s=2,p=1,pad-mode=reflect", "blur"),
        ("blur:4,p=1-2", "blur:4"),
        ("blur:4,p=2-1", "blur:4,pad=2-1"),
        ("blur:3x5,p=1x2", "blur:3x5"),
        ("blur:3x5,p=1", "blur:3x5,pad=1"),
        ("blur,s=3", "blur,stride=3"),
        ("blur,p=0", "blur,pad=0"),
        ("blur,pad=same", "blur,pad=same"),
        ("blur,pad-mode=constant", "blur,pad-mode=constant"),
        ("blur:global", "blur:global"),
        ("blur,out=3", "blur,out=3"),
        ("conv:3x3,filter=box,s=1", "conv:3,filter=box"),
        ("conv:3,filter=sobel-x,pad-mode=edge,pad=1", "conv:3,pad=1,pad-mode=edge,filter=sobel-x"),
        ("conv,groups=2,bias=b.npy,weights=w.npy", "conv,weights=w.npy,bias=b.npy,groups=2"),
        ('conv,weights="a,b*.npy",s=2', 'conv,stride=2,weights="a,b*.npy"'),
        ('conv,weights="a b.npy"', "conv,weights=a b.npy"),
        ("conv:3,bias,channels=4,groups=2,out=4", "conv:3,groups=2,out=4,bias,channels=4"),
    ],
)
def test_canonical_text(spec: str, text: str) -> None:
    assert str(Stage.parse(spec)) == text
    assert Stage.parse(text) == Stage.parse(spec)
    assert repr(Stage.parse(spec)) == f"Stage.parse({text!r})"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("max:2", "min:2"),
        ("max:2", "max:2,stride=1"),
        ("max:3", "max:3,pad=1"),
        ("max:3,pad=same", "max:3,pad=same-lower"),
        ("max:2", "max:2,ceil"),
        ("max:2", "max:2,dilation=2"),
        ("max:2", "max:2,over=channels"),
        ("max:global", "max,out=1"),
        ("avg:3,pad=1", "avg:3,pad=1,exclude-pad"),
        ("avg:3", "avg:3,divisor=9"),
        ("lp:2", "lp:2,norm=1"),
        ("blur", "blur,pad=0"),
        ("blur", "blur,pad-mode=edge"),
        ("up:2", "up:2,mode=bilinear"),
        ("max:2,out=3,fractional", "max:2,out=3,fractional,seed=1"),
        ("max:2,out=3,fractional", "max:2,out=3,fractional,samples=s.npy"),
        ("stochastic:2", "stochastic:2,seed=1"),
        ("conv:3,filter=box", "conv:3,filter=gaussian"),
        ("conv,weights=a.npy", "conv,weights=b.npy"),
        ("gem:2", "gem:2,eps=1"),
        ("avgmax:2", "avgmax:2,mix=1"),
    ],
)
def test_stages_that_differ_are_not_equal(one: str, other: str) -> None:
    assert Stage.parse(one) != Stage.parse(other)


def test_spellings_that_say_the_same_about_held_padding_are_equal() -> None:
    """Padding that holds values counts anyway, so include-pad adds nothing."""
    plain = "avg:3,pad=same,pad-mode=edge"
    assert Stage.parse(f"{plain},include-pad") == Stage.parse(plain)


def test_a_stage_is_frozen() -> None:
    stage = Stage.parse("max:2")
    with pytest.raises(FrozenInstanceError):
        stage.op = "min"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("spec", "counts", "absent"),
    [
        ("max:3,pad=1", True, True),
        ("max:3,pad=1,pad-mode=edge", True, False),
        ("pick:3,pad=same", False, True),
        ("avg:3,pad=1", True, False),
        ("avg:3,pad=1,exclude-pad", False, True),
        ("avg:3,pad=1,exclude-pad,divisor=2", False, False),
        ("avg:3,pad=same", False, True),
        ("avg:3,pad=same,include-pad", True, False),
        ("avg:3,pad=same,pad-mode=wrap", True, False),
        ("sum:3,pad=1", True, False),
        ("lp:3,pad=same", False, False),
        ("blur", True, False),
        ("blur,pad-mode=constant", True, False),
        ("avgmax:3,pad=1", True, True),
        ("avgmax:3,pad=1,exclude-pad", False, True),
        ("avgmax:3,pad=1,pad-mode=edge", True, False),
        ("gem:3,pad=1", True, True),
        ("conv:3,filter=box,pad=1", True, False),
    ],
)
def test_whether_padding_counts_and_whether_it_is_absent(
    spec: str, counts: bool, absent: bool
) -> None:
    stage = Stage.parse(spec)
    assert (stage.counts_padding, stage.padding_is_absent) == (counts, absent)


def test_an_option_has_its_value_or_its_default() -> None:
    assert Stage.parse("lp:2").option("norm") == 2
    assert Stage.parse("lp:2,norm=3").option("norm") == 3
    assert Stage.parse("conv:3,groups=2,out=4").option("groups") == 2
    with pytest.raises(KeyError, match="channels"):
        Stage.parse("conv:3,out=4").option("channels")
    with pytest.raises(KeyError, match="norm"):
        Stage.parse("max:2").option("norm")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"op": "conv", "kernel": (3,), "ceil": True, "own": (("out", 2),)},
         "a convolution mixes a window of all channels: it takes no ceil"),
        ({"op": "conv", "kernel": (3,), "over_channels": True, "own": (("out", 2),)},
         "a convolution mixes a window of all channels: it takes no over"),
        ({"op": "relu", "placement": "none", "stride": (2,)},
         "it works element by element: it takes no stride"),
        ({"op": "relu", "placement": "none", "output": (2,)},
         "it works element by element: it takes no out"),
        ({"op": "max", "placement": "global", "kernel": (2,)},
         "one window is the whole map: it takes no size"),
    ],
)  # fmt: skip
def test_a_stage_made_by_hand_is_checked_too(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError) as caught:
        Stage(**fields)
    assert str(caught.value) == text


def test_numbers_of_defaults() -> None:
    blur = Stage.parse("blur:4x5")
    assert (blur.pads, blur.default_stride, blur.padding_mode) == (
        ((1, 2), (2, 2)), (2,), "reflect",
    )  # fmt: skip
    assert Stage.parse("blur").kernel == (3,)
    assert Stage.parse("blur:global").padding_mode == "constant"
    assert Stage.parse("max:3").pads == ((0, 0),)
    assert Stage.parse("max:3,pad=same").pads == ((0, 0),)
    assert Stage.parse("conv:3,filter=box").default_stride == (1,)


@pytest.mark.parametrize(
    ("spec", "can_run", "linear", "rule"),
    [
        ("conv:3,out=2", False, False, "real"),
        ("conv:3,filter=box", True, False, "real"),
        ("conv,weights=w.npy", True, False, "real"),
        ("up:2", True, False, "same"),
        ("up:2,mode=bilinear", True, True, "real"),
        ("unpool", True, False, "same"),
        ("max,out=3", True, False, "same"),
    ],
)
def test_what_a_stage_says_of_itself(spec: str, can_run: bool, linear: bool, rule: str) -> None:
    stage = Stage.parse(spec)
    assert (stage.can_run, stage.is_linear, stage.rule) == (can_run, linear, rule)


def test_a_spec_error_names_the_key_that_is_wrong() -> None:
    with pytest.raises(SpecError) as caught:
        Stage.parse("max:global,ceil")
    assert caught.value.key == "ceil"


@pytest.mark.parametrize(
    ("spec", "text", "label"),
    [
        ("max:2", "max:2x2,stride=2x2", "max2x2"),
        ("max:3,s=2,p=1", "max:3x3,stride=2x2,pad=1x1", "max3x3"),
        ("max:3x2,p=0x0-1", "max:3x2,stride=3x2,pad=0x0-1", "max3x2"),
        ("max:3,d=2,ceil", "max:3x3,stride=3x3,dilation=2x2,ceil", "max3x3"),
        ("avg:3,p=1,exclude-pad", "avg:3x3,stride=3x3,pad=1x1,exclude-pad", "avg3x3"),
        ("lp:2,norm=3", "lp:2x2,stride=2x2,norm=3", "lp2x2"),
        ("conv:3,filter=box,p=1", "conv:3x3,stride=1x1,pad=1x1,filter=box", "conv3x3"),
        ("blur:4x5", "blur:4x5,stride=2x2,pad=1-2x2", "blur4x5"),
    ],
)
def test_a_stage_bound_to_its_map_says_one_number_per_axis(
    spec: str, text: str, label: str
) -> None:
    stage = Stage.parse(spec)
    windows = [
        sliding(
            20,
            on_axis(axis, stage.kernel),
            on_axis(axis, stage.stride or stage.default_stride),
            begin=on_axis(axis, stage.pads)[0],
            end=on_axis(axis, stage.pads)[1],
            dilation=on_axis(axis, stage.dilation),
        )
        for axis in range(2)
        if not isinstance(stage.padding, str)
    ]
    assert stage.bound_text(windows) == text
    assert stage.label(windows) == label
    assert Stage.parse(text) == stage


def test_same_padding_keeps_its_name_on_a_map() -> None:
    stage = Stage.parse("max:3,s=2,pad=same-lower")
    windows = [same(5, 3, 2, lower=True)] * 2
    assert stage.bound_text(windows) == "max:3x3,stride=2x2,pad=same-lower"


def test_global_and_adaptive_stages_on_a_map() -> None:
    windows = [adaptive(9, 7), adaptive(5, None)]
    stage = Stage.parse("avg,out=7x_")
    assert stage.bound_text(windows) == "avg,out=7x5"
    assert stage.label(windows) == "avg-out7x5"
    assert Stage.parse("avg:global").label([sliding(5, 5, 5)]) == "avg-global"
    assert Stage.parse("avg:global").bound_text([sliding(5, 5, 5)]) == "avg:global"
    assert Stage.parse("relu").label([]) == "relu"
    assert Stage.parse("relu").bound_text([]) == "relu"


def test_a_chain_joins_its_specs_stages() -> None:
    chain = Chain.parse("max:2*2", "relu", "avg:3,repeat=2")
    assert list(map(str, chain)) == ["max:2", "max:2", "relu", "avg:3", "avg:3"]
    assert len(chain) == 5
    assert str(chain) == "max:2 max:2 relu avg:3 avg:3"
    assert Chain.parse(*map(str, chain)) == chain


def test_a_chain_of_nothing_is_empty() -> None:
    assert len(Chain.parse()) == 0


def test_one_size_stands_for_every_axis() -> None:
    assert [on_axis(axis, (4,)) for axis in range(3)] == [4, 4, 4]
    assert [on_axis(axis, (4, 5, 6)) for axis in range(3)] == [4, 5, 6]


def test_sizes_and_padding_are_written_as_specs_write_them() -> None:
    assert join_sizes((3, None, 2)) == "3x_x2"
    assert join_pads(((1, 1), (0, 2))) == "1x0-2"


@pytest.mark.parametrize(
    ("value", "text"), [("a.npy", "a.npy"), ("a,b.npy", '"a,b.npy"'), ("a*b", '"a*b"')]
)
def test_values_are_quoted_where_the_language_would_split_them(value: str, text: str) -> None:
    assert quote(value) == text
