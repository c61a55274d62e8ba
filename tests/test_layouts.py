from __future__ import annotations

import re

import pytest

from poolcli.errors import PlanError, SpecError
from poolcli.layouts import check_layout, layout_of, looks_channels_last, spatial_axes


@pytest.mark.parametrize(
    ("rank", "layout"), [(1, "W"), (2, "HW"), (3, "CHW"), (4, "NCHW"), (5, "NCDHW")]
)
def test_the_number_of_axes_has_a_default_layout(rank: int, layout: str) -> None:
    assert layout_of(rank) == layout


@pytest.mark.parametrize("rank", [0, 6])
def test_other_numbers_of_axes_have_none(rank: int) -> None:
    with pytest.raises(PlanError, match=f"an array of {rank} axes has no layout: 1 to 5 axes"):
        layout_of(rank)


@pytest.mark.parametrize("layout", ["HWC", "WHC", "NHWC", "NCW", "C", "NC", "DHW", "NDHWC"])
def test_a_layout_is_taken_as_given(layout: str) -> None:
    assert check_layout(layout) == layout
    assert layout_of(len(layout), layout) == layout


@pytest.mark.parametrize(
    "text", ["", "hwc", "HWX", "HH", "CHWC", "H W", "H,W"],
    ids=["empty", "lower-case", "unknown", "twice", "twice-apart", "space", "comma"],
)  # fmt: skip
def test_what_is_no_layout_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=re.escape(f"layout {text!r}: letters out of N (batch)")):
        check_layout(text)
    with pytest.raises(SpecError, match="each once"):
        layout_of(len(text), text)


def test_a_layout_of_another_rank_is_refused() -> None:
    text = "layout HWC names 3 axes, the array has 2: say --layout with 2 letters"
    with pytest.raises(PlanError, match=f"^{text}$"):
        layout_of(2, "HWC")


@pytest.mark.parametrize(
    ("layout", "axes"),
    [
        ("W", (0,)),
        ("CHW", (1, 2)),
        ("NHWC", (1, 2)),
        ("NCDHW", (2, 3, 4)),
        ("WHC", (1, 0)),
        ("WCHDN", (3, 2, 0)),
        ("NCW", (2,)),
        ("NC", ()),
    ],
)
def test_spatial_axes_come_in_the_order_depth_height_width(
    layout: str, axes: tuple[int, ...]
) -> None:
    assert spatial_axes(layout) == axes


@pytest.mark.parametrize(
    ("shape", "layout", "likely"),
    [
        pytest.param((480, 640, 3), "CHW", True, id="colour"),
        pytest.param((480, 640, 4), "CHW", True, id="alpha"),
        pytest.param((480, 640, 1), "CHW", True, id="grey"),
        pytest.param((8, 480, 640, 3), "NCHW", True, id="batch"),
        pytest.param((480, 640, 2), "CHW", False, id="two-are-no-colours"),
        pytest.param((480, 640, 5), "CHW", False, id="five-neither"),
        pytest.param((3, 480, 640), "CHW", False, id="channels-first"),
        pytest.param((3, 480, 3), "CHW", False, id="as-many-first"),
        pytest.param((1, 480, 3), "CHW", False, id="fewer-first"),
        pytest.param((480, 640, 3), "HWC", False, id="said-so"),
        pytest.param((480, 3), "HW", False, id="no-channels"),
    ],
)
def test_channels_last_is_suspected_of_a_short_last_axis(
    shape: tuple[int, ...], layout: str, likely: bool
) -> None:
    assert looks_channels_last(shape, layout) is likely
