"""Layouts: which axis of a map is which, as letters. N batch, C channels, D H W spatial."""

from __future__ import annotations

from typing import Final

from poolcli.errors import PlanError, SpecError

SPATIAL: Final = "DHW"
"""Windows slide over these, in this order."""

_BY_RANK: Final = {1: "W", 2: "HW", 3: "CHW", 4: "NCHW", 5: "NCDHW"}
_LIKELY_CHANNELS: Final = (1, 3, 4)

USUAL: Final = tuple(
    batch + axes
    for spatial in ("W", "HW", "DHW")
    for batch in ("", "N")
    for axes in (spatial, f"C{spatial}", f"{spatial}C")
)
"""Layouts that arrays mostly have: one map or a batch, channels none, first or last."""


def check_layout(text: str) -> str:
    """Return the layout if it is one: each of N, C, D, H, W at most once.

    >>> check_layout("NHWC")
    'NHWC'
    """
    if not text or set(text) - set("NCDHW") or len(set(text)) != len(text):
        raise SpecError(
            f"layout {text!r}: letters out of N (batch), C (channels), D, H, W (spatial), each once"
        )
    return text


def layout_of(rank: int, layout: str | None = None) -> str:
    """Return the layout of an array with ``rank`` axes: the one given, or the default.

    Raises
    ------
    PlanError
        If the layout has another number of axes, or there is no default.

    Examples
    --------
    >>> layout_of(4)
    'NCHW'
    """
    if layout is None:
        if rank not in _BY_RANK:
            raise PlanError(f"an array of {rank} axes has no layout: 1 to 5 axes are expected")
        return _BY_RANK[rank]
    if len(check_layout(layout)) != rank:
        raise PlanError(
            f"layout {layout} names {len(layout)} axes, the array has {rank}: "
            f"say --layout with {rank} letters"
        )
    return layout


def spatial_axes(layout: str) -> tuple[int, ...]:
    """Positions of the spatial axes, in D, H, W order wherever they stand.

    >>> spatial_axes("NHWC")
    (1, 2)
    """
    return tuple(layout.index(letter) for letter in SPATIAL if letter in layout)


def looks_channels_last(shape: tuple[int, ...], layout: str) -> bool:
    """Whether the default layout is probably wrong: a last axis of 1, 3 or 4, a larger first one.

    >>> looks_channels_last((480, 640, 3), "CHW"), looks_channels_last((3, 480, 640), "CHW")
    (True, False)
    """
    first = layout.find("C")
    return (
        first >= 0
        and first < len(shape) - 1
        and shape[-1] in _LIKELY_CHANNELS
        and shape[first] > shape[-1]
    )


def layout_advice(shape: tuple[int, ...], layout: str) -> str | None:
    """Return what to say where the default layout is probably wrong."""
    if not looks_channels_last(shape, layout):
        return None
    lengths, other = "x".join(map(str, shape)), layout.replace("C", "") + "C"
    return f"{lengths} is taken as {layout}: say --layout {other} if it is that"
