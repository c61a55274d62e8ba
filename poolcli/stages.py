"""Stage and Chain: what is to be done, before any map is known.

A stage is a frozen, comparable value. Its text (``str(stage)``) is canonical: it leaves out
whatever is the default and parses back to an equal stage. No NumPy here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Final, Literal, get_args

from poolcli.dtypes import Rule
from poolcli.errors import SpecError
from poolcli.operations import OPERATIONS, Operation, PadMode, Value
from poolcli.rules import require_agreeing_ranks, require_numbers, validate
from poolcli.sizes import NO_PADDING, Pads, Sizes, collapsed, join_pads, join_sizes
from poolcli.windows import Window

SameRule = Literal["same-upper", "same-lower"]
Placement = Literal["sliding", "global", "adaptive", "fractional", "enlarged", "none"]

MOST_STAGES: Final = 1000
"""A chain longer than this is a typing error."""

PAD_MODES: Final[tuple[PadMode, ...]] = get_args(PadMode)


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
    """Empty for the operation's default: the kernel, 1 for a convolution, 2 for blur."""
    padding: Pads | SameRule | None = None
    """None for the operation's default: none at all, or half the window for blur."""
    dilation: Sizes = (1,)
    ceil: bool = False
    count: Literal["include", "exclude"] | None = None
    """Whether padding counts in an average; None for the default of its kind of padding."""
    divisor: int | None = None
    pad_mode: PadMode | None = None
    """What padding holds; None for the operation's default: constant, or reflect for blur."""
    output: tuple[int | None, ...] = ()
    """Of an adaptive or fractional stage: how many windows; None keeps the axis as it is."""
    samples: str | None = None
    """Of a fractional stage: an .npy file of PyTorch's random samples, N×C×axes."""
    seed: int = 0
    """Of a fractional stage without samples: which draw."""
    over_channels: bool = False
    own: tuple[tuple[str, Value], ...] = ()
    """The operation's own keys, where they differ from their defaults."""
    rank: int | None = field(default=None, compare=False)
    """How many axes its text spoke of, where it did: ``max:2x2`` is ``max:2``, but of two axes."""

    def __post_init__(self) -> None:
        require_numbers(self)
        facts = self.operation
        spoken = [self.kernel, self.stride, self.dilation, self.output, self.pads]
        if (rank := max(map(len, spoken))) > 1 and self.rank is None:
            self._store("rank", rank)
        require_agreeing_ranks(self)
        for name in ("kernel", "stride", "dilation", "output"):
            self._store(name, collapsed(getattr(self, name)))
        if not self.kernel:
            self._store("kernel", self.default_kernel)
        if self.stride == self.default_stride:
            self._store("stride", ())
        if isinstance(self.padding, tuple):
            self._store("padding", collapsed(self.padding))
        if self.padding == self.default_padding:
            self._store("padding", None)
        if self.pad_mode == self.default_pad_mode:
            self._store("pad_mode", None)
        if facts.averages and self.count == self.default_count:
            self._store("count", None)
        self._store("own", self._own_in_order())
        validate(self)

    def _store(self, name: str, value: object) -> None:
        """Set a field while the value is being made; it is frozen from then on."""
        object.__setattr__(self, name, value)

    def _own_in_order(self) -> tuple[tuple[str, Value], ...]:
        """Return the own keys that differ from their defaults, in the order that they are told in.

        The flag ``bias`` belongs to ``out``, the file ``bias`` to ``weights``.
        """
        keys = {key.name: key.default for key in self.operation.keys}
        given = {name: value for name, value in self.own if value != keys[name]}
        order = [name for name in keys if name in given]
        if given.get("bias") is True and "out" in given:
            order.remove("bias")
            order.insert(order.index("out") + 1, "bias")
        return tuple((name, given[name]) for name in order)

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
    def default_kernel(self) -> Sizes:
        """The window's size where none is given; empty for operations that need one."""
        size = self.operation.kernel if self.placement == "sliding" else None
        return () if size is None else (size,)

    @property
    def default_stride(self) -> Sizes:
        """The stride where none is given."""
        return self.kernel if self.operation.stride is None else (self.operation.stride,)

    @property
    def default_padding(self) -> Pads:
        """The padding where none is given."""
        if not self.operation.centred or self.placement != "sliding":
            return NO_PADDING
        return tuple(((size - 1) // 2, size // 2) for size in self.kernel)

    @property
    def default_pad_mode(self) -> PadMode:
        """What padding holds where nothing is said."""
        return self.operation.pad_mode if self.placement == "sliding" else "constant"

    @property
    def pads(self) -> Pads:
        """The padding in numbers, given or default; none under the SAME rule."""
        return NO_PADDING if isinstance(self.padding, str) else self.padding or self.default_padding

    @property
    def is_same(self) -> bool:
        """Whether padding follows TensorFlow's SAME rule."""
        return isinstance(self.padding, str)

    @property
    def padding_mode(self) -> PadMode:
        """What padding holds, given or default."""
        return self.pad_mode or self.default_pad_mode

    @property
    def pads_with_values(self) -> bool:
        """Whether padding holds values of the map (reflect, edge, wrap), which then count."""
        return self.padding_mode != "constant"

    @property
    def default_count(self) -> Literal["include", "exclude"]:
        """Whether padding counts in an average where nothing is said; values always do."""
        return "exclude" if self.is_same and not self.pads_with_values else "include"

    @property
    def counts_padding(self) -> bool:
        """Whether an average's divisor counts padding."""
        return (self.count or self.default_count) == "include"

    @property
    def padding_is_absent(self) -> bool:
        """Whether padding takes no part, so that a window may hold nothing at all."""
        if self.pads_with_values:
            return False
        if not self.operation.zero_padded:
            return True
        return self.operation.averages and not self.counts_padding and self.divisor is None

    @property
    def rule(self) -> Rule:
        """What the stage gives of integers."""
        return "real" if self.is_linear else self.operation.rule

    @property
    def is_linear(self) -> bool:
        """Whether it is an enlargement that interpolates."""
        return dict(self.own).get("mode") == "bilinear"

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files that weights, a bias and samples come from."""
        own = dict(self.own)
        paths = (own.get("weights"), own.get("bias"), self.samples)
        return tuple(path for path in paths if isinstance(path, str))

    @property
    def mixes_channels(self) -> bool:
        """Whether an output is made from all channels: a convolution with weights."""
        return self.op == "conv" and "filter" not in dict(self.own)

    @property
    def can_run(self) -> bool:
        """Whether it can be run, not only planned: a convolution given by its shape can't."""
        return self.operation.family != "convolution" or "out" not in dict(self.own)

    def fields_given(self) -> tuple[str, ...]:
        """Names of the fields that say where windows lie and differ from their defaults."""
        defaults = {known.name: known.default for known in fields(self)}
        for name in ("op", "placement", "own", "rank"):
            del defaults[name]
        defaults["kernel"] = self.default_kernel
        return tuple(name for name, value in defaults.items() if getattr(self, name) != value)

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

    def __post_init__(self) -> None:
        if len(self.stages) > MOST_STAGES:
            raise SpecError(f"more than {MOST_STAGES:,} stages in a chain: leave some out")

    @classmethod
    def parse(cls, *specs: str) -> Chain:
        """Read a chain from specs, each of which may end in ``*N`` to stand for N stages.

        Raises
        ------
        SpecError
            Naming the spec's part that is wrong and the nearest right word.
        """
        from poolcli.specs import parse_repeated

        stages: list[Stage] = []
        for spec in specs:
            if len(stages) > MOST_STAGES:
                break  # which the chain refuses, before more stages than memory holds
            try:
                stages += parse_repeated(spec)
            except SpecError as error:
                place = f"stage {len(stages) + 1}: " if len(specs) > 1 else ""
                raise SpecError(f"{place}{error}", error.key) from None
        return cls(tuple(stages))

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    def __str__(self) -> str:
        return " ".join(map(str, self.stages))


def quote(value: str) -> str:
    """Quote a key's value if the spec language would otherwise split it."""
    return f'"{value}"' if any(mark in value for mark in ",*") else value


def _text(stage: Stage, windows: Sequence[Window] = ()) -> str:
    """Write a stage's text, canonical, or bound to its windows on a map."""
    said: dict[str, tuple[int | None, ...]] = {
        "kernel": stage.kernel if stage.kernel != stage.default_kernel else (),
        "stride": stage.stride,
        "output": stage.output,
        "dilation": stage.dilation,
    }
    pads: Pads | SameRule | None = stage.padding
    if windows and stage.placement in ("sliding", "fractional", "enlarged"):
        said["kernel"] = tuple(window.kernel for window in windows)
    if windows and stage.placement == "sliding":
        said["stride"] = tuple(window.stride or 0 for window in windows)
        if stage.dilation != (1,):
            said["dilation"] = tuple(window.dilation for window in windows)
        if not stage.is_same and stage.pads != NO_PADDING:
            pads = tuple(window.padding for window in windows)
    if windows and stage.output:
        said["output"] = tuple(window.output for window in windows)
    size = "global" if stage.placement == "global" else join_sizes(said["kernel"])
    keys: dict[str, Value | None] = {
        "stride": join_sizes(said["stride"]),
        "pad": join_pads(pads) if isinstance(pads, tuple) else (pads or "").removesuffix("-upper"),
        "dilation": join_sizes(said["dilation"]) if said["dilation"] != (1,) else None,
        "ceil": stage.ceil,
        f"{stage.count}-pad": stage.count is not None,
        "divisor": stage.divisor,
        "pad-mode": stage.pad_mode,
        "out": join_sizes(said["output"]),
        "fractional": stage.placement == "fractional",
        "seed": stage.seed or None,
        "samples": stage.samples,
        "over": "channels" if stage.over_channels else None,
    }
    parts = [f"{stage.op}:{size}" if size else stage.op]
    parts += [_key_text(key, value) for key, value in keys.items() if value]
    parts += [_key_text(key, value) for key, value in stage.own]
    return ",".join(parts)


def _key_text(key: str, value: Value | None) -> str:
    """Write a key, or a flag."""
    if value is True:
        return key
    return f"{key}={quote(value) if isinstance(value, str) else repr(value)}"
