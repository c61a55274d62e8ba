"""A chain worked out for one input shape, in integers: every shape, receptive field and cost.

The calculator prints a plan; a run consumes the same plan, so that they can't disagree. No NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from operator import index
from typing import Final

from poolcli.binding import Convolution, Shape, bind, convolution_of
from poolcli.dtypes import ITEM_SIZES, carried_dtype, check_dtype, result_dtype
from poolcli.errors import PlanError, SpecError, WindowError
from poolcli.fields import Field
from poolcli.layouts import layout_of, spatial_axes
from poolcli.stages import Chain, Stage
from poolcli.windows import Window, undone


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
    undoes: int | None = None
    """Of an unpooling, the index of the max stage that it undoes."""

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
    def jump(self) -> tuple[float, ...] | None:
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
    def undone(self) -> frozenset[int]:
        """Indices of the max stages that later stages undo."""
        return frozenset(step.undoes for step in self.steps if step.undoes is not None)

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
    try:
        lengths = tuple(index(length) for length in shape)
    except TypeError:
        raise PlanError(f"shape {shape!r}: expected whole numbers, as (3, 224, 224)") from None
    return plan_chain(as_chain(specs), lengths, layout=layout, dtype=dtype)


def as_chain(specs: Iterable[str | Stage | Chain]) -> Chain:
    """Join specs, stages and chains to one chain."""
    stages: list[Stage] = []
    for spec in specs:
        if isinstance(spec, Stage):
            stages.append(spec)
        elif isinstance(spec, Chain):
            stages.extend(spec)
        elif isinstance(spec, str):
            stages.extend(Chain.parse(spec))
        else:
            raise SpecError(f"{spec!r} is no stage: give specs one by one, as 'max:2', 'avg:2'")
    return Chain(tuple(stages))


def plan_chain(
    chain: Chain,
    shape: Shape,
    *,
    layout: str | None = None,
    dtype: str = "float32",
) -> Plan:
    """Bind a chain to a shape."""
    layout = layout_of(len(shape), layout)
    if any(length < 0 for length in shape):
        raise PlanError(f"shape {'x'.join(map(str, shape))}: lengths can't be negative")
    _require_64_bits(shape)
    start = check_dtype(dtype)
    before = _Before(shape, start, start, Field.of_input(len(spatial_axes(layout))))
    steps: list[Step] = []
    poolings: list[Step] = []
    for number, stage in enumerate(chain, start=1):
        try:
            if stage.op == "unpool":
                step = _undo(number, stage, before, layout, poolings)
            else:
                step = _step(number, stage, before, layout)
            _require_64_bits(step.shape, step.jump or ())
        except (PlanError, WindowError) as error:
            raise PlanError(f"stage {number} ({stage}): {error}") from error
        except SpecError as error:
            raise SpecError(f"stage {number} ({stage}): {error}") from error
        if stage.op == "max":
            poolings.append(step)
        steps.append(step)
        before = _Before(step.shape, step.dtype, step.carried, step.field)
    return Plan(shape, layout, dtype, tuple(steps))


def _require_64_bits(shape: Shape, jump: Iterable[float] = ()) -> None:
    """Refuse what no array can have, before its numbers grow too long to be written.

    All others follow from a map's length and its jump.
    """
    if prod(shape) >= _BEYOND:
        raise PlanError("the map would have more elements than 64 bits can count")
    if any(pixels >= _BEYOND for pixels in jump):
        raise PlanError("its jump would be more pixels than 64 bits can count")


_BEYOND: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class _Before:
    """The map that a stage is given."""

    shape: Shape
    dtype: str
    carried: str
    field: Field


def _step(index: int, stage: Stage, before: _Before, layout: str) -> Step:
    """Bind one stage to the map before it."""
    weights = None
    if stage.operation.family == "convolution":
        weights = convolution_of(stage, before.shape, layout)
    axes, windows = bind(stage, before.shape, layout, weights.kernel if weights else stage.kernel)
    lengths = list(before.shape)
    for axis, window in zip(axes, windows, strict=True):
        lengths[axis] = window.output
    if weights is not None and weights.axis is not None:
        lengths[weights.axis] = weights.outputs
    shape = tuple(lengths)
    spatial = windows and not stage.over_channels
    return Step(
        index=index,
        stage=stage,
        layout=layout,
        axes=axes,
        windows=windows,
        input_shape=before.shape,
        shape=shape,
        dtype=result_dtype(stage.rule, before.dtype),
        carried=carried_dtype(stage.rule, before.carried),
        field=before.field.through(windows) if spatial else before.field,
        costs=_costs(stage, shape, windows, weights),
    )


def _undo(index: int, stage: Stage, before: _Before, layout: str, poolings: list[Step]) -> Step:
    """Bind an unpooling to the latest max stage that is not yet undone."""
    if not poolings:
        raise PlanError("there is no max stage before it left to undo")
    pooling = poolings.pop()
    if pooling.shape != before.shape:
        given, gave = ("x".join(map(str, shape)) for shape in (before.shape, pooling.shape))
        raise PlanError(
            f"its input is {given}, but stage {pooling.index} that it undoes gave {gave}"
        )
    windows = [undone(window) for window in pooling.windows]
    return Step(
        index=index,
        stage=stage,
        layout=layout,
        axes=pooling.axes,
        windows=(),
        input_shape=before.shape,
        shape=pooling.input_shape,
        dtype=before.dtype,
        carried=before.carried,
        field=before.field if pooling.stage.over_channels else before.field.through(windows),
        costs=Costs(),
        undoes=pooling.index,
    )


def _costs(
    stage: Stage, output: Shape, windows: tuple[Window, ...], weights: Convolution | None
) -> Costs:
    outputs = prod(output)
    if weights is not None:
        taps = weights.inputs * prod(window.kernel for window in windows)
        if weights.axis is None:
            return Costs(macs=outputs * taps)
        params = weights.outputs * (taps + weights.biased)
        return Costs(params=params, macs=outputs * taps)
    windowed = prod(window.output for window in windows)
    looked_at = prod(window.total_positions() for window in windows) * (outputs // windowed)
    facts = stage.operation
    return Costs(
        macs=looked_at if facts.weighs or stage.is_linear else 0,
        comparisons=looked_at - outputs if facts.compares else 0,
        additions=looked_at - outputs if facts.adds else 0,
    )
