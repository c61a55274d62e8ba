"""Stages bound to a map's shape: which axes, which windows on them, which channels. No NumPy."""

from __future__ import annotations

from dataclasses import dataclass

from poolcli.errors import PlanError, WindowError
from poolcli.layouts import spatial_axes
from poolcli.operations import FLAT_FILTERS
from poolcli.placing import adaptive, enlarged, fractional, same, sliding
from poolcli.sizes import Sizes, collapsed, join_sizes, on_axis
from poolcli.stages import Stage
from poolcli.windows import Window

Shape = tuple[int, ...]


def bind(
    stage: Stage, shape: Shape, layout: str, kernel: Sizes
) -> tuple[tuple[int, ...], tuple[Window, ...]]:
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
    _require_rank(stage, kernel, layout, axes)
    windows = []
    for position, axis in enumerate(axes):
        try:
            windows.append(_bind_axis(stage, kernel, position, shape[axis]))
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
    if stage.samples is not None:
        _require_samples(stage.samples, shape, layout, axes)
    return axes, tuple(windows)


def _require_rank(stage: Stage, kernel: Sizes, layout: str, axes: tuple[int, ...]) -> None:
    letters = "".join(layout[axis] for axis in axes)
    said = {
        "kernel": kernel,
        "stride": stage.stride,
        "padding": stage.pads,
        "dilation": stage.dilation,
        "output": stage.output,
    }
    for name, sizes in said.items():
        if len(sizes) not in (0, 1, len(axes)):
            raise PlanError(
                f"{name} has {len(sizes)} numbers, layout {layout} has {len(axes)} such "
                f"ax{'i' if len(axes) == 1 else 'e'}s ({letters}): give one, or one per axis"
            )
    if stage.rank not in (None, len(axes)) and not stage.over_channels:
        spoken = "1 axis" if stage.rank == 1 else f"{stage.rank} axes"
        raise PlanError(
            f"it speaks of {spoken}, layout {layout} has {len(axes)} such ({letters}): "
            "give it as many, or say another layout"
        )


def _bind_axis(stage: Stage, kernel: Sizes, position: int, length: int) -> Window:
    """Bind a stage's window on its ``position``-th axis to the axis's length."""
    if stage.placement == "global":
        return sliding(length, max(length, 1), max(length, 1))
    if stage.placement == "adaptive":
        return adaptive(length, on_axis(position, stage.output))
    size = on_axis(position, kernel)
    if stage.placement == "fractional":
        output = on_axis(position, stage.output)
        return adaptive(length, None) if output is None else fractional(length, size, output)
    if stage.placement == "enlarged":
        return enlarged(length, size, linear=stage.is_linear)
    stride = on_axis(position, stage.stride or stage.default_stride)
    dilation = on_axis(position, stage.dilation)
    if isinstance(stage.padding, str):
        lower = stage.padding == "same-lower"
        return same(length, size, stride, dilation=dilation, lower=lower)
    begin, end = on_axis(position, stage.pads)
    return sliding(length, size, stride, begin=begin, end=end, dilation=dilation, ceil=stage.ceil)


def _require_samples(path: str, shape: Shape, layout: str, axes: tuple[int, ...]) -> None:
    from poolcli.files.weights import shape_of

    lengths = dict(zip(layout, shape, strict=True))
    wanted = (lengths.get("N", 1), lengths.get("C", 1), len(axes))
    if shape_of(path) != wanted:
        found = join_sizes(shape_of(path))
        raise PlanError(f"samples={path}: expected a shape of {join_sizes(wanted)}, it is {found}")


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution's numbers on a map. ``axis`` is the channels', None where each is by itself."""

    kernel: Sizes
    outputs: int
    inputs: int
    """Channels that one output is made from."""
    groups: int
    biased: bool
    axis: int | None


def convolution_of(stage: Stage, shape: Shape, layout: str) -> Convolution:
    """Work out a convolution's numbers; of a weights file the header is read.

    Raises
    ------
    PlanError
        If the map's channels or axes are not those that the weights are for.
    SpecError
        If a weights file can't be read.
    """
    own = dict(stage.own)
    spatial = len(spatial_axes(layout))
    if "filter" in own:
        if own["filter"] in FLAT_FILTERS and spatial != 2:  # noqa: PLR2004 - height and width
            raise PlanError(f"{own['filter']} is for maps of two spatial axes, layout {layout}")
        return Convolution(stage.kernel, 1, 1, 1, biased=False, axis=None)
    if "C" not in layout:
        raise PlanError(f"layout {layout} has no channels to convolve")
    axis, groups = layout.index("C"), int(stage.option("groups"))
    channels = shape[axis]
    if channels % groups:
        raise PlanError(f"{channels} channels don't divide into {groups} groups")
    inputs, kernel = channels // groups, stage.kernel
    if "weights" in own:
        outputs, inputs, kernel = _weights_shape(stage, spatial)
    else:
        outputs = int(own["out"])
    expected = int(own.get("channels", inputs * groups))
    if expected != channels or inputs * groups != channels:
        wanted = inputs * groups if expected == channels else expected
        raise PlanError(f"it expects {wanted} channels, its input has {channels}")
    return Convolution(kernel, outputs, inputs, groups, biased=bool(own.get("bias")), axis=axis)


def _weights_shape(stage: Stage, spatial: int) -> tuple[int, int, Sizes]:
    """Return outputs, inputs per group, and kernel as a weights file has them."""
    from poolcli.files.weights import shape_of

    own, groups = dict(stage.own), int(stage.option("groups"))
    path = str(own["weights"])
    found = shape_of(path)
    if len(found) != spatial + 2 or 0 in found:
        raise PlanError(
            f"weights={path}: expected out×in×kernel with {spatial} kernel axes, "
            f"its shape is {join_sizes(found)}"
        )
    outputs, inputs, *kernel = found
    if outputs % groups:
        raise PlanError(f"{outputs} outputs don't divide into {groups} groups")
    if stage.kernel and collapsed(stage.kernel) != collapsed(tuple(kernel)):
        raise PlanError(f"weights={path}: its kernel is {join_sizes(kernel)}")
    if "bias" in own and shape_of(str(own["bias"])) != (outputs,):
        raise PlanError(f"bias={own['bias']}: expected {outputs} numbers")
    return outputs, inputs, tuple(kernel)
