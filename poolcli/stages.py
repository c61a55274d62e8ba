"""Stage and Chain: what is to be done, before any map is known.

A stage is a frozen, comparable value. Its text (``str(stage)``) is canonical: it leaves out
whatever is the default and parses back to an equal stage. No NumPy here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final, Literal, TypeVar, get_args

from poolcli.errors import SpecError
from poolcli.operations import OPERATIONS, Operation, Value
from poolcli.windows import Window

T = TypeVar("T")

Sizes = tuple[int, ...]
"""One number for every windowed axis, or one per axis in D, H, W order."""
Pads = tuple[tuple[int, int], ...]
SameRule = Literal["same-upper", "same-lower"]
PadMode = Literal["constant", "reflect", "edge", "wrap"]
Placement = Literal["sliding", "global", "adaptive", "none"]

PAD_MODES: Final[tuple[PadMode, ...]] = get_args(PadMode)
NO_PADDING: Final[Pads] = ((0, 0),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of a chain: an operation over windows, or a step between poolings.

    Make one with :meth:`parse`. Values that say the same are stored the same: ``max:2x2,stride=2``
    is ``max:2``.

    >>> Stage.parse("max:3x3,s=2,p=1")
    Stage.parse('max:3,stride=2,pad=1')
    """

    op: str
    placement: Placement = "sliding"
    kernel: Sizes = ()
    stride: Sizes = ()
    """Empty for the operation's default: the kernel, or 1 for a convolution."""
    padding: Pads | SameRule = NO_PADDING
    dilation: Sizes = (1,)
    ceil: bool = False
    count: Literal["include", "exclude"] | None = None
    """Whether padding counts in an average; None for the default of its kind of padding."""
    divisor: int | None = None
    pad_mode: PadMode = "constant"
    output: tuple[int | None, ...] = ()
    """Of an adaptive stage: how many windows; None keeps the axis as it is."""
    over_channels: bool = False
    own: tuple[tuple[str, Value], ...] = ()
    """The operation's own keys, where they differ from their defaults."""

    def __post_init__(self) -> None:
        for name in ("kernel", "stride", "dilation", "output", "padding"):
            value = getattr(self, name)
            if not isinstance(value, str):
                object.__setattr__(self, name, _collapsed(value))
        if self.stride and self.stride == self.default_stride:
            object.__setattr__(self, "stride", ())
        facts = self.operation
        if facts.averages and self.count == ("exclude" if self.is_same else "include"):
            object.__setattr__(self, "count", None)
        defaults = {key.name: key.default for key in facts.keys}
        kept = {name: value for name, value in self.own if value != defaults.get(name)}
        order = [*defaults, *sorted(kept.keys() - defaults.keys())]
        own = tuple((name, kept[name]) for name in order if name in kept)
        object.__setattr__(self, "own", own)
        _validate(self)

    @classmethod
    def parse(cls, spec: str) -> Stage:
        """Read one stage from its text, poolcli's own or a PyTorch layer as ``print`` shows it.

        Raises
        ------
        SpecError
            Naming the part that is wrong and the nearest right word.

        Examples
        --------
        >>> str(Stage.parse("AvgPool2d(kernel_size=3, stride=2, padding=1)"))
        'avg:3,stride=2,pad=1'
        >>> Stage.parse("max:2,stide=2")
        Traceback (most recent call last):
            ...
        poolcli.errors.SpecError: 'stide' in max:2,stide=2: did you mean stride?
        """
        from poolcli.specs import parse_stage

        return parse_stage(spec)

    @property
    def operation(self) -> Operation:
        """The facts of the stage's operation."""
        return OPERATIONS[self.op]

    @property
    def default_stride(self) -> Sizes:
        """The stride where none is given."""
        return (1,) if self.operation.family == "convolution" else self.kernel

    @property
    def is_same(self) -> bool:
        """Whether padding follows TensorFlow's SAME rule."""
        return isinstance(self.padding, str)

    @property
    def pads_with_values(self) -> bool:
        """Whether padding holds values of the map (reflect, edge, wrap), which then count."""
        return self.pad_mode != "constant"

    @property
    def counts_padding(self) -> bool:
        """Whether an average's divisor counts padding."""
        if self.pads_with_values:
            return True
        return not self.is_same if self.count is None else self.count == "include"

    @property
    def padding_is_absent(self) -> bool:
        """Whether padding takes no part, so that a window may hold nothing at all."""
        if self.pads_with_values:
            return False
        if self.operation.averages:
            return not self.counts_padding and self.divisor is None
        return not self.operation.zero_padded

    @property
    def can_run(self) -> bool:
        """Whether it can be run, not only planned: a convolution given by its shape can't."""
        return self.operation.family != "convolution"

    def option(self, name: str) -> Value:
        """Value of the operation's own key ``name``, its default where the spec has none.

        >>> Stage.parse("lp:2").option("norm")
        2
        """
        for given, value in self.own:
            if given == name:
                return value
        key = self.operation.key(name)
        if key is None or key.default is None:
            raise KeyError(name)
        return key.default

    def bound_text(self, windows: Sequence[Window]) -> str:
        """Text of the stage on a map: kernel and stride always, one number per axis."""
        return _text(self, windows)

    def label(self, windows: Sequence[Window]) -> str:
        """Short name of the stage on a map, for file names and pictures: ``max2x2``."""
        if self.placement == "none":
            return self.op
        if self.placement == "global":
            return f"{self.op}-global"
        if self.placement == "adaptive":
            return f"{self.op}-out{join_sizes([window.output for window in windows])}"
        return self.op + join_sizes([window.kernel for window in windows])

    def __str__(self) -> str:
        return _text(self)

    def __repr__(self) -> str:
        return f"Stage.parse({str(self)!r})"


@dataclass(frozen=True, slots=True)
class Chain:
    """Stages in order; each takes the one before it as input.

    >>> chain = Chain.parse("max:2*2", "avg:global")
    >>> len(chain), str(chain)
    (3, 'max:2 max:2 avg:global')
    """

    stages: tuple[Stage, ...]

    @classmethod
    def parse(cls, *specs: str) -> Chain:
        """Read a chain from specs, each of which may end in ``*N`` to stand for N stages.

        Raises
        ------
        SpecError
            Naming the spec's part that is wrong and the nearest right word.
        """
        from poolcli.specs import parse_repeated

        return cls(tuple(stage for spec in specs for stage in parse_repeated(spec)))

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    def __str__(self) -> str:
        return " ".join(map(str, self.stages))


def on_axis(axis: int, sizes: Sequence[T]) -> T:
    """Size on the ``axis``-th windowed axis, where one alone stands for all axes."""
    return sizes[axis] if len(sizes) > 1 else sizes[0]


def join_sizes(sizes: Sequence[int | None]) -> str:
    """Write sizes as specs do.

    >>> join_sizes((7, None))
    '7x_'
    """
    return "x".join("_" if size is None else str(size) for size in sizes)


def join_pads(pads: Sequence[tuple[int, int]]) -> str:
    """Write padding as specs do.

    >>> join_pads(((1, 1), (0, 1)))
    '1x0-1'
    """
    return "x".join(str(a) if a == b else f"{a}-{b}" for a, b in pads)


def quote(value: str) -> str:
    """Quote a key's value if the spec language would otherwise split it."""
    return f'"{value}"' if any(mark in value for mark in ",*") else value


def _collapsed(values: tuple[T, ...]) -> tuple[T, ...]:
    """Equal sizes are stored once: (2, 2) is (2,)."""
    return values[:1] if len(set(values)) == 1 else values


def _text(stage: Stage, windows: Sequence[Window] | None = None) -> str:
    """Write a stage's text, canonical, or bound to its windows on a map."""
    bound = windows is not None and stage.placement == "sliding"
    kernel: Sequence[int] = stage.kernel
    stride: Sequence[int] = stage.stride
    padding, dilation, output = stage.padding, stage.dilation, stage.output
    if windows is not None and stage.placement == "adaptive":
        output = tuple(window.output for window in windows)
    if windows is not None and bound:
        kernel = [window.kernel for window in windows]
        stride = [window.stride or 0 for window in windows]
        if not isinstance(padding, str) and padding != NO_PADDING:
            padding = tuple(window.padding for window in windows)
        if dilation != (1,):
            dilation = tuple(window.dilation for window in windows)
    size = "global" if stage.placement == "global" else join_sizes(kernel)
    keys: dict[str, Value | None] = {
        "stride": join_sizes(stride),
        "pad": padding.removesuffix("-upper") if isinstance(padding, str) else join_pads(padding),
        "dilation": join_sizes(dilation),
        "ceil": stage.ceil,
        f"{stage.count}-pad": stage.count is not None,
        "divisor": stage.divisor,
        "pad-mode": stage.pad_mode,
        "out": join_sizes(output),
        "over": "channels" if stage.over_channels else "",
    }
    defaults = {"pad": "0", "dilation": "1", "pad-mode": "constant"}
    parts = [f"{stage.op}:{size}" if size else stage.op]
    parts += [_key_text(key, value) for key, value in keys.items() if value != defaults.get(key)]
    parts += [_key_text(key, value) for key, value in stage.own]
    return ",".join(part for part in parts if part)


def _key_text(key: str, value: Value | None) -> str:
    """Write a key, a flag, or nothing for what is not given."""
    if value is True:
        return key
    if value is None or value is False or value == "":
        return ""
    return f"{key}={quote(value) if isinstance(value, str) else repr(value)}"


def _validate(stage: Stage) -> None:
    """Refuse what no map could make sense of."""
    facts = stage.operation
    if facts.family == "elementwise":
        _require_plain(stage)
        return
    if stage.placement == "sliding" and not stage.kernel:
        raise SpecError(f"{stage.op} needs a window: {stage.op}:2, {stage.op}:global or out=", "op")
    if stage.placement != "sliding":
        _require_no_sliding_keys(stage)
    _require_agreeing_ranks(stage)
    if stage.is_same and stage.ceil:
        raise SpecError("ceil and same padding contradict each other: same rounds up", "ceil")
    if not facts.averages and (stage.count or stage.divisor is not None):
        key = "divisor" if stage.divisor is not None else f"{stage.count}-pad"
        raise SpecError(f"only an average has a divisor, {stage.op} has none", key)
    if stage.pads_with_values and stage.count == "exclude":
        raise SpecError(f"padding by {stage.pad_mode} holds values, which count", "exclude-pad")
    if facts.family == "convolution":
        _require_convolution(stage)
    _require_padding_below_extent(stage)


def _require_plain(stage: Stage) -> None:
    """An elementwise stage has its name and its own keys, nothing else."""
    plain = Stage.__dataclass_fields__
    for field in fields(stage):
        if field.name in ("op", "placement", "own"):
            continue
        if getattr(stage, field.name) != plain[field.name].default:
            raise SpecError(f"{stage.op} works element by element: it takes no {field.name}", "op")


def _require_no_sliding_keys(stage: Stage) -> None:
    kind = "one window is the whole map" if stage.placement == "global" else "out= places windows"
    if stage.kernel:
        raise SpecError(f"{kind}: it takes no size besides", "op")
    for given, key in (
        (stage.stride, "stride"),
        (stage.padding != NO_PADDING, "pad"),
        (stage.dilation != (1,), "dilation"),
        (stage.ceil, "ceil"),
        (stage.pads_with_values, "pad-mode"),
        (stage.count, f"{stage.count}-pad"),
    ):
        if given:
            raise SpecError(f"{kind}: it takes no {key}", key)


def _require_convolution(stage: Stage) -> None:
    own: Mapping[str, Value] = dict(stage.own)
    if stage.placement != "sliding":
        raise SpecError("a convolution's weights have one size: give it, as in conv:3", "op")
    if stage.ceil:
        raise SpecError("a convolution has no ceil mode", "ceil")
    if stage.over_channels:
        raise SpecError("a convolution mixes channels already", "over")
    if "out" not in own:
        raise SpecError("a convolution without weights needs its number of outputs: out=64", "op")
    groups, outputs = int(stage.option("groups")), int(own["out"])
    if outputs % groups:
        raise SpecError(f"{outputs} output channels don't divide into {groups} groups", "groups")


def _require_agreeing_ranks(stage: Stage) -> None:
    """Sizes given per axis must speak of equally many axes."""
    ranks = {len(sizes) for _, sizes in _sizes(stage)} - {0, 1}
    if len(ranks) > 1:
        named = ", ".join(f"{name} {len(sizes)}" for name, sizes in _sizes(stage) if sizes)
        raise SpecError(f"the numbers of axes differ ({named})", "op")
    if stage.over_channels and ranks:
        raise SpecError("channels are one axis: give one size", "op")


def _sizes(stage: Stage) -> tuple[tuple[str, Sequence[object]], ...]:
    return (
        ("kernel", stage.kernel),
        ("stride", stage.stride),
        ("pad", () if isinstance(stage.padding, str) else stage.padding),
        ("dilation", stage.dilation),
        ("out", stage.output),
    )


def _require_padding_below_extent(stage: Stage) -> None:
    if isinstance(stage.padding, str) or stage.padding == NO_PADDING:
        return
    for axis in range(max(len(sizes) for _, sizes in _sizes(stage))):
        extent = (on_axis(axis, stage.kernel) - 1) * on_axis(axis, stage.dilation) + 1
        largest = max(on_axis(axis, stage.padding))
        if largest >= extent:
            raise SpecError(
                f"padding must be smaller than the window, which spans {extent}: "
                f"at most {extent - 1}",
                "pad",
            )
