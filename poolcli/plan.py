"""A chain worked out for one input shape, in integers: every shape, receptive field and cost.

The calculator prints a plan; a run consumes the same plan, so that they can't disagree. No NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from poolcli.dtypes import ITEM_SIZES, carried_dtype, check_dtype, result_dtype
from poolcli.errors import PlanError, WindowError
from poolcli.layouts import layout_of, spatial_axes
from poolcli.stages import Chain, Stage, on_axis
from poolcli.windows import Window, adaptive, same, sliding

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """What one element sees of the input, per spatial axis in D, H, W order, in input pixels.

    ``size`` is the receptive field, ``jump`` the distance between neighbours' fields, ``center``
    the middle of the first element's field (0 is the first pixel's centre). None where no one
    number says it: behind an adaptive stage the windows lie at varying distances.
    """

    size: tuple[int, ...] | None
    jump: tuple[int, ...] | None
    center: tuple[float, ...] | None

    @classmethod
    def of_input(cls, axes: int) -> Field:
        """Return the field of the input's own elements: one pixel, itself."""
        return cls((1,) * axes, (1,) * axes, (0.0,) * axes)

    def through(self, windows: Sequence[Window]) -> Field:
        """Return the field of one element of a stage with these windows on this field's map.

        size += (k-1)·d·jump; center += (first window's middle)·jump; jump *= stride: Araujo,
        Norris & Sim, "Computing receptive fields of convolutional neural networks", Distill 2019,
        equations 2 and 3, with the dilation in both.
        """
        if self.size is None or self.jump is None or self.center is None:
            return (
                self if all(window.is_identity for window in windows) else Field(None, None, None)
            )
        strides = [window.stride for window in windows]
        return Field(
            size=tuple(
                size + (window.kernel - 1) * window.dilation * jump
                for size, window, jump in zip(self.size, windows, self.jump, strict=True)
            ),
            jump=None
            if None in strides
            else tuple(
                jump * (stride or 1) for jump, stride in zip(self.jump, strides, strict=True)
            ),
            center=tuple(
                center + _middle(window) * jump
                for center, window, jump in zip(self.center, windows, self.jump, strict=True)
            ),
        )


def _middle(window: Window) -> float:
    """Middle of the first window's positions, padding taken off."""
    first = window.positions(0)
    return (first[0] + first[-1]) / 2


@dataclass(frozen=True, slots=True)
class Costs:
    """What a stage takes: weights, multiply-adds, comparisons and additions. Padding is counted."""

    params: int = 0
    macs: int = 0
    comparisons: int = 0
    additions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stage bound to its input's shape. ``axes`` are the map's axes that ``windows`` are on."""

    index: int
    stage: Stage
    layout: str
    axes: tuple[int, ...]
    windows: tuple[Window, ...]
    input_shape: Shape
    shape: Shape
    dtype: str
    """Dtype of the saved result."""
    carried: str
    """Dtype that the next stage computes on."""
    field: Field
    costs: Costs

    @property
    def spec(self) -> str:
        """The stage as reports show it: kernel and stride always, one number per axis."""
        return self.stage.bound_text(self.windows)

    @property
    def label(self) -> str:
        """The stage as file names show it: ``max2x2``."""
        return self.stage.label(self.windows)

    @property
    def kernel(self) -> tuple[int, ...] | None:
        """Window sizes per axis; the largest, where they vary. None without windows."""
        return tuple(window.kernel for window in self.windows) or None

    @property
    def stride(self) -> tuple[int, ...] | None:
        """Strides per axis; None without windows, or where distances vary."""
        strides = [window.stride for window in self.windows]
        return None if None in strides else tuple(stride or 1 for stride in strides) or None

    @property
    def padding(self) -> tuple[tuple[int, int], ...] | None:
        """Padding begin and end per axis."""
        return tuple(window.padding for window in self.windows) or None

    @property
    def dilation(self) -> tuple[int, ...] | None:
        """Dilation per axis."""
        return tuple(window.dilation for window in self.windows) or None

    @property
    def receptive_field(self) -> tuple[int, ...] | None:
        """Input pixels that one element sees, per spatial axis, not clipped to the input."""
        return self.field.size

    @property
    def jump(self) -> tuple[int, ...] | None:
        """Input pixels between the fields of neighbouring elements, per spatial axis."""
        return self.field.jump

    @property
    def center(self) -> tuple[float, ...] | None:
        """Middle of the first element's field, in input pixel indices, per spatial axis."""
        return self.field.center

    @property
    def elements(self) -> int:
        """Elements of the result."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of the result in its saved dtype."""
        return self.elements * ITEM_SIZES[self.dtype]


@dataclass(frozen=True, slots=True)
class Plan:
    """A chain bound to an input: its shape, layout and dtype, and a step per stage."""

    shape: Shape
    layout: str
    dtype: str
    steps: tuple[Step, ...]

    @property
    def output_shape(self) -> Shape:
        """Shape of the last result."""
        return self.steps[-1].shape if self.steps else self.shape

    @property
    def costs(self) -> Costs:
        """Sums over all stages."""
        costs = [step.costs for step in self.steps]
        return Costs(
            params=sum(cost.params for cost in costs),
            macs=sum(cost.macs for cost in costs),
            comparisons=sum(cost.comparisons for cost in costs),
            additions=sum(cost.additions for cost in costs),
        )

    @property
    def reduction(self) -> float | None:
        """Input elements per element of the last result; None if that has none."""
        last = prod(self.output_shape)
        return prod(self.shape) / last if last else None

    @property
    def peak_bytes(self) -> int:
        """The largest input plus output of one stage."""
        sizes = [prod(self.shape) * ITEM_SIZES[self.dtype], *(step.bytes for step in self.steps)]
        return max(map(sum, pairwise(sizes)), default=sizes[0])


def plan(
    shape: Iterable[int],
    *specs: str | Stage | Chain,
    layout: str | None = None,
    dtype: str = "float32",
) -> Plan:
    """Work out a chain for an input shape, without any data.

    Parameters
    ----------
    shape
        The input's shape, in its layout.
    specs
        Stage specs, stages or chains, in order.
    layout
        Letters N, C, D, H, W; by default W, HW, CHW, NCHW or NCDHW by the number of axes.
    dtype
        The input's dtype; results' dtypes and bytes follow from it.

    Raises
    ------
    SpecError
        If a spec, the layout or the dtype can't be read.
    PlanError
        If a stage does not fit what it is given; the text names stage, sizes and what would fit.

    Examples
    --------
    >>> worked_out = plan((3, 224, 224), "max:3,stride=2,pad=1", "avg:global")
    >>> [step.shape for step in worked_out.steps]
    [(3, 112, 112), (3, 1, 1)]
    >>> worked_out.steps[0].receptive_field, worked_out.steps[0].jump
    ((3, 3), (2, 2))
    """
    return plan_chain(as_chain(specs), tuple(shape), layout=layout, dtype=dtype)


def as_chain(specs: Iterable[str | Stage | Chain]) -> Chain:
    """Join specs, stages and chains to one chain."""
    stages: list[Stage] = []
    for spec in specs:
        if isinstance(spec, Stage):
            stages.append(spec)
        else:
            stages.extend(Chain.parse(spec) if isinstance(spec, str) else spec)
    return Chain(tuple(stages))


def plan_chain(
    chain: Chain,
    shape: Shape,
    *,
    layout: str | None = None,
    dtype: str = "float32",
    saved: str | None = None,
) -> Plan:
    """Bind a chain to a shape; ``saved`` is a dtype for all results, instead of each one's own."""
    layout = layout_of(len(shape), layout)
    if any(length < 0 for length in shape):
        raise PlanError(f"shape {'x'.join(map(str, shape))}: lengths can't be negative")
    steps: list[Step] = []
    result = carried = check_dtype(dtype)
    field = Field.of_input(len(spatial_axes(layout)))
    current = shape
    for index, stage in enumerate(chain, start=1):
        rule = stage.operation.rule
        result = saved or result_dtype(rule, result)
        carried = carried_dtype(rule, carried)
        try:
            axes, windows = bind(stage, current, layout)
            output = _output_shape(stage, current, layout, axes, windows)
        except (PlanError, WindowError) as error:
            raise PlanError(f"stage {index} ({stage}): {error}") from error
        field = field if stage.over_channels or not windows else field.through(windows)
        steps.append(
            Step(
                index=index,
                stage=stage,
                layout=layout,
                axes=axes,
                windows=windows,
                input_shape=current,
                shape=output,
                dtype=result,
                carried=carried,
                field=field,
                costs=_costs(stage, current, output, layout, windows),
            )
        )
        current = output
    return Plan(shape, layout, dtype, tuple(steps))


def bind(stage: Stage, shape: Shape, layout: str) -> tuple[tuple[int, ...], tuple[Window, ...]]:
    """Return the axes that a stage's windows are on, and the windows."""
    if stage.placement == "none":
        return (), ()
    if stage.over_channels:
        if "C" not in layout:
            raise PlanError(f"layout {layout} has no channels to slide over")
        axes: tuple[int, ...] = (layout.index("C"),)
    else:
        axes = spatial_axes(layout)
        if not axes:
            raise PlanError(f"layout {layout} has no spatial axis to slide over")
    _require_rank(stage, layout, axes)
    windows = []
    for position, axis in enumerate(axes):
        try:
            windows.append(_bind_axis(stage, position, shape[axis]))
        except WindowError as error:
            raise PlanError(f"along {layout[axis]}: {error}") from error
    facts = stage.operation
    if stage.padding_is_absent and not facts.answers_empty:
        for axis, window in zip(axes, windows, strict=True):
            if window.has_empty():
                raise PlanError(
                    f"along {layout[axis]}: a window holds nothing but padding, of which "
                    f"{facts.name} has no value: use less padding or dilation"
                )
    return axes, tuple(windows)


def _require_rank(stage: Stage, layout: str, axes: tuple[int, ...]) -> None:
    for name in ("kernel", "stride", "padding", "dilation", "output"):
        sizes = getattr(stage, name)
        if not isinstance(sizes, str) and len(sizes) not in (0, 1, len(axes)):
            letters = "".join(layout[axis] for axis in axes)
            raise PlanError(
                f"{name} has {len(sizes)} numbers, layout {layout} has {len(axes)} such "
                f"ax{'i' if len(axes) == 1 else 'e'}s ({letters}): give one, or one per axis"
            )


def _bind_axis(stage: Stage, position: int, length: int) -> Window:
    """Bind a stage's window on its ``position``-th axis to the axis's length."""
    if stage.placement == "global":
        return sliding(length, max(length, 1), max(length, 1))
    if stage.placement == "adaptive":
        return adaptive(length, on_axis(position, stage.output))
    kernel = on_axis(position, stage.kernel)
    stride = on_axis(position, stage.stride or stage.default_stride)
    dilation = on_axis(position, stage.dilation)
    if isinstance(stage.padding, str):
        lower = stage.padding == "same-lower"
        return same(length, kernel, stride, dilation=dilation, lower=lower)
    begin, end = on_axis(position, stage.padding)
    return sliding(length, kernel, stride, begin=begin, end=end, dilation=dilation, ceil=stage.ceil)


def _output_shape(
    stage: Stage, shape: Shape, layout: str, axes: tuple[int, ...], windows: tuple[Window, ...]
) -> Shape:
    output = list(shape)
    for axis, window in zip(axes, windows, strict=True):
        output[axis] = window.output
    if stage.operation.family == "convolution":
        output[_channel_axis(stage, shape, layout)] = int(stage.option("out"))
    return tuple(output)


def _channel_axis(stage: Stage, shape: Shape, layout: str) -> int:
    """Axis of the channels that a convolution mixes, checked against what it expects."""
    if "C" not in layout:
        raise PlanError(f"layout {layout} has no channels to convolve")
    axis = layout.index("C")
    own = dict(stage.own)
    channels = shape[axis]
    if own.get("channels", channels) != channels:
        raise PlanError(f"it expects {own['channels']} channels, its input has {channels}")
    groups = int(stage.option("groups"))
    if channels % groups:
        raise PlanError(f"{channels} channels don't divide into {groups} groups")
    return axis


def _costs(
    stage: Stage, shape: Shape, output: Shape, layout: str, windows: tuple[Window, ...]
) -> Costs:
    outputs = prod(output)
    if stage.operation.family == "convolution":
        axis = layout.index("C")
        taps = shape[axis] // int(stage.option("groups")) * prod(w.kernel for w in windows)
        bias = output[axis] if dict(stage.own).get("bias") else 0
        return Costs(params=output[axis] * taps + bias, macs=outputs * taps)
    windowed = prod(window.output for window in windows)
    looked_at = prod(window.total_positions() for window in windows)
    spare = (looked_at - windowed) * (outputs // windowed)
    facts = stage.operation
    return Costs(comparisons=spare if facts.compares else 0, additions=spare if facts.adds else 0)
