"""What a stage may be: one table of what each kind of stage takes, and a few rules of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from poolcli.errors import SpecError
from poolcli.operations import FLAT_FILTERS, OPERATIONS, Operation
from poolcli.sizes import NO_PADDING, on_axis
from poolcli.spelling import nearest

if TYPE_CHECKING:
    from poolcli.stages import Placement, Stage

_ANYWHERE: Final = {"divisor", "over_channels"}
_TAKES: Final = {
    "sliding": {"kernel", "stride", "padding", "dilation", "ceil", "count", "pad_mode"} | _ANYWHERE,
    "global": _ANYWHERE,
    "adaptive": {"output"} | _ANYWHERE,
    "fractional": {"kernel", "output", "samples", "seed"} | _ANYWHERE,
    "enlarged": {"kernel"},
    "none": set[str](),
}
_CONVOLUTION_TAKES: Final = {"kernel", "stride", "padding", "dilation", "pad_mode"}
_WHY: Final = {
    "sliding": "only fractional windows are drawn",
    "global": "one window is the whole map",
    "adaptive": "out= places the windows",
    "fractional": "fractional windows lie where they are drawn",
    "enlarged": "it enlarges by its size",
    "none": "it works element by element",
}
_PLACEMENTS: Final = {
    "windows": ("sliding", "global", "adaptive", "fractional"),
    "convolution": ("sliding",),
    "enlargement": ("enlarged",),
    "plain": ("none",),
}
_KEYS: Final = {
    "kernel": "op",
    "padding": "pad",
    "pad_mode": "pad-mode",
    "output": "out",
    "over_channels": "over",
}
"""Where a field's name is not its key's."""


def validate(stage: Stage) -> None:
    """Refuse what no map could make sense of.

    Raises
    ------
    SpecError
        Naming the key that is out of place.
    """
    family = stage.operation.family
    given = {name: getattr(stage, name) for name in stage.fields_given()}
    require_taken(stage.operation, stage.placement, given)
    if stage.placement in ("sliding", "fractional", "enlarged"):
        _require_size(stage)
    if stage.placement in ("adaptive", "fractional") and not stage.output:
        raise SpecError("fractional windows need their number, out=", "fractional")
    if stage.is_same and stage.ceil:
        raise SpecError("ceil and same padding contradict each other: same rounds up", "ceil")
    if stage.pads_with_values and stage.count == "exclude":
        raise SpecError(f"padding by {stage.padding_mode} holds values, which count", "exclude-pad")
    if family == "convolution":
        _require_weights(stage)
    _require_padding_below_extent(stage)


def require_taken(operation: Operation, placement: Placement, given: Mapping[str, object]) -> None:
    """Refuse a kind of window, or a field, that an operation does not take: one rule for all.

    Raises
    ------
    SpecError
        Naming the key that is out of place.
    """
    if placement not in _PLACEMENTS[operation.family]:
        key = {"adaptive": "out", "fractional": "fractional"}.get(placement, "op")
        raise SpecError(f"{operation.name} takes no {placement} windows", key)
    takes, why = _TAKES[placement], _WHY[placement]
    if operation.family == "convolution":
        takes, why = _CONVOLUTION_TAKES, "a convolution mixes a window of all channels"
    if given.get("samples") is not None and given.get("over_channels"):
        raise SpecError("samples= are for planes, not for channels", "samples")
    if given.get("samples") is not None and "seed" in given:
        raise SpecError("samples= say where windows lie: no seed is drawn from", "seed")
    for name, value in given.items():
        key = f"{value}-pad" if name == "count" else _KEYS.get(name, name)
        if name in ("count", "divisor") and not operation.averages:
            raise SpecError(f"only an average has a divisor, {operation.name} has none", key)
        if name == "kernel" and placement == "adaptive":
            raise SpecError("a size together with out= needs the flag fractional", key)
        if name not in takes and name not in ("op", "placement"):
            raise SpecError(f"{why}: it takes no {'size' if name == 'kernel' else key}", key)


def _require_size(stage: Stage) -> None:
    if stage.kernel or "weights" in dict(stage.own):
        return
    if stage.operation.family == "windows":
        raise SpecError(f"{stage.op} needs a window: {stage.op}:2, {stage.op}:global or out=", "op")
    raise SpecError(f"{stage.op} needs a size: {stage.op}:3", "op")


def _require_weights(stage: Stage) -> None:
    """A convolution has its weights from a filter's name, from a file, or has none."""
    own = dict(stage.own)
    given = [name for name in ("filter", "weights", "out") if name in own]
    if len(given) != 1:
        raise SpecError(
            "a convolution needs one of filter=, weights= or, to plan its shape, out="
            if not given
            else f"{' and '.join(given)} contradict each other",
            given[-1] if given else "op",
        )
    if given == ["filter"]:
        for name in ("bias", "groups", "channels"):
            if name in own:
                raise SpecError(f"a filter works on every channel by itself: no {name}", name)
        if own["filter"] in FLAT_FILTERS and stage.kernel != (3,):
            raise SpecError(f"{own['filter']} is 3×3 and nothing else", "op")
    if given == ["weights"] and own.get("bias") is True:
        raise SpecError("the bias of weights is a file: bias=FILE.npy", "bias")
    if given == ["out"]:
        if isinstance(own.get("bias"), str):
            raise SpecError("without weights the bias is only counted: the flag bias", "bias")
        outputs, groups = int(own["out"]), int(stage.option("groups"))
        if outputs % groups:
            raise SpecError(f"{outputs} outputs don't divide into {groups} groups", "groups")


def require_agreeing_ranks(stage: Stage) -> None:
    """Sizes given per axis must speak of equally many axes, and of the one where channels are.

    Raises
    ------
    SpecError
        If they don't.
    """
    ranks = {len(sizes) for _, sizes in _sizes(stage)} - {0, 1}
    if len(ranks) > 1:
        named = ", ".join(f"{name} {len(sizes)}" for name, sizes in _sizes(stage) if sizes)
        raise SpecError(f"the numbers of axes differ ({named})", "op")
    if stage.over_channels and ranks:
        raise SpecError("channels are one axis: give one size", "op")


def require_numbers(stage: Stage) -> None:
    """Refuse sizes that are no whole numbers above 0, and operations that don't exist.

    The stage language gives no such stage, but one may be made by hand.

    Raises
    ------
    SpecError
        Naming what is no size.
    """
    if stage.op not in OPERATIONS:
        raise SpecError(f"{stage.op!r}: {nearest(stage.op, OPERATIONS)}", "op")
    pads = () if isinstance(stage.padding, str) else stage.padding or ()
    sized = (stage.kernel, stage.stride, stage.dilation, stage.output, pads)
    if not all(isinstance(sizes, tuple) for sizes in sized):
        raise SpecError("sizes are tuples, as in kernel=(2,)", "op")
    sizes: tuple[Any, ...] = (
        *stage.kernel,
        *stage.stride,
        *stage.dilation,
        *filter(None, stage.output),
    )
    if not all(isinstance(size, int) and size > 0 for size in sizes) or 0 in stage.output:
        raise SpecError("sizes are whole numbers above 0", "op")
    amounts: tuple[Any, ...] = tuple(size for pair in pads for size in pair)
    if not all(isinstance(size, int) and size >= 0 for size in amounts):
        raise SpecError("padding is pairs of whole numbers", "pad")
    unknown = {name for name, _ in stage.own} - {key.name for key in stage.operation.keys}
    if unknown:
        raise SpecError(f"{stage.op} has no {', '.join(sorted(unknown))}", "op")


def _sizes(stage: Stage) -> tuple[tuple[str, Sequence[object]], ...]:
    return (
        ("kernel", stage.kernel),
        ("stride", stage.stride),
        ("pad", stage.pads),
        ("dilation", stage.dilation),
        ("out", stage.output),
    )


def _require_padding_below_extent(stage: Stage) -> None:
    if stage.pads == NO_PADDING or not stage.kernel:
        return
    for axis in range(max(len(sizes) for _, sizes in _sizes(stage))):
        extent = (on_axis(axis, stage.kernel) - 1) * on_axis(axis, stage.dilation) + 1
        if max(on_axis(axis, stage.pads)) >= extent:
            raise SpecError(
                f"padding must be smaller than the window, which spans {extent}: "
                f"at most {extent - 1}",
                "pad",
            )
