from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from poolcli.files.pictures import draw, extremes, mosaic, planes, shades
from tests.conftest import Run, colour, grey, pixels, save

Array = npt.NDArray[Any]


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 5), st.integers(1, 5)),
               elements=st.integers(1, 255))
)  # fmt: skip
def test_a_mosaic_shows_every_tile_in_order_with_gaps_between(tiles: Array) -> None:
    count, height, width = tiles.shape
    sheet = mosaic(tiles)
    rows, columns = (sheet.shape[0] + 1) // (height + 1), (sheet.shape[1] + 1) // (width + 1)
    assert sheet.shape == (rows * (height + 1) - 1, columns * (width + 1) - 1)
    assert (rows - 1) * columns < count <= rows * columns
    painted = np.zeros_like(sheet)
    for index in range(count):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        painted[top : top + height, left : left + width] = 1
        assert sheet[top : top + height, left : left + width].tolist() == tiles[index].tolist()
    assert not sheet[painted == 0].any()


@pytest.mark.parametrize(
    ("count", "expected"), [(1, (4, 4)), (4, (9, 9)), (9, (14, 14)), (5, (9, 14))]
)
def test_a_mosaic_of_squares_is_nearly_square(count: int, expected: tuple[int, int]) -> None:
    assert mosaic(np.ones((count, 4, 4), np.uint8)).shape == expected


@pytest.mark.parametrize(
    ("layout", "shape", "expected"),
    [
        ("CHW", (2, 3, 5), (2, 3, 5)),
        ("HWC", (3, 5, 2), (2, 3, 5)),
        ("CWH", (2, 5, 3), (2, 3, 5)),
        ("NDHWC", (2, 4, 3, 5, 6), (48, 3, 5)),
        ("NCW", (2, 4, 5), (8, 1, 5)),
        ("CH", (4, 3), (4, 3, 1)),
        ("NC", (2, 3), (6, 1, 1)),
        ("W", (5,), (1, 1, 5)),
    ],
)
def test_planes_of_any_layout(
    layout: str, shape: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    found = planes(array, layout)
    assert found.shape == expected
    assert sorted(found.ravel().tolist()) == list(range(array.size))
    named = dict(zip(layout, range(array.ndim), strict=True))
    for position in np.ndindex(*shape):
        h = position[named["H"]] if "H" in named else 0
        w = position[named["W"]] if "W" in named else 0
        assert array[position] in found[:, h, w]


def test_planes_come_in_the_layouts_order() -> None:
    array = np.arange(2 * 3 * 1 * 1).reshape(2, 3, 1, 1)
    assert planes(array, "NCHW").ravel().tolist() == [0, 1, 2, 3, 4, 5]
    assert planes(array.reshape(2, 1, 1, 3), "NHWC").ravel().tolist() == [0, 1, 2, 3, 4, 5]


def test_extremes_leave_out_what_is_not_finite() -> None:
    assert extremes(np.array([np.nan, 2.0, np.inf, -3.0, -np.inf])) == (-3.0, 2.0)
    assert extremes(np.array([np.nan])) == (0.0, 0.0)
    assert extremes(np.array([True, False])) == (0.0, 1.0)


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        np.float32, (2, 2, 3), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    )
)
def test_stretching_makes_the_least_black_and_the_greatest_white(array: Array) -> None:
    drawn = shades(array)
    assert (drawn.dtype.name, drawn.shape) == ("uint8", array.shape)
    if array.min() < array.max():
        low, high = float(array.min()), float(array.max())
        expected = (array.astype(float) - low) / (high - low) * 255
        assert np.abs(drawn - expected).max() <= 0.5 + 1e-5
        assert (drawn.min(), drawn.max()) == (0, 255)
    else:
        assert (drawn == 128).all()


def test_stretching_spans_all_that_float64_holds() -> None:
    black, middle, white = shades(np.array([-1.7e308, 0.0, 1.7e308])).tolist()
    assert (black, white) == (0, 255)
    assert middle in (127, 128)


def test_stretching_shows_nan_as_black_and_infinities_as_the_ends() -> None:
    drawn = shades(np.array([np.nan, 0.0, 1.0, np.inf, -np.inf]))
    assert drawn.tolist() == [0, 0, 255, 255, 0]


def test_bytes_are_never_stretched() -> None:
    array = np.array([[[10, 20]], [[30, 40]]], np.uint8)
    drawn, layout, warning = draw(array, "CHW", "png")
    assert (layout, warning) == ("HW", None)
    assert {10, 20, 30, 40} <= set(drawn.ravel().tolist())


def test_a_mosaic_says_what_black_and_white_stand_for() -> None:
    _, _, warning = draw(np.array([[[-1.5]], [[2.25]]]), "CHW", "png")
    assert warning == "drawn with -1.5 as black and 2.25 as white"


@pytest.mark.parametrize(
    ("array", "layout", "name", "expected", "said"),
    [
        (np.array([[True, False]]), "HW", "png", [[255, 0]], None),
        (np.array([[-3.0, 0.5, 1.5, 300.0, np.nan]]), "HW", "png", [[0, 0, 2, 255, 0]], "3 of 5"),
        (np.array([[1.0, 255.4]]), "HW", "png", [[1, 255]], None),
        (np.array([[1.25, -2.0]], np.float32), "HW", "tiff", [[1.25, -2.0]], None),
        (np.array([[300, 1]], np.uint16), "HW", "png", [[300, 1]], None),
        (np.array([[300, 1]], np.uint16), "HW", "webp", [[255, 1]], "1 of 2"),
        (np.array([[[1.0, 2.0, 256.0]]]), "HWC", "png", [[[1, 2, 255]]], "1 of 3"),
    ],
)
def test_grey_and_coloured_maps_keep_their_values(
    array: Array, layout: str, name: str, expected: list[Any], said: str | None
) -> None:
    drawn, drawn_layout, warning = draw(array, layout, name)
    assert (drawn.tolist(), drawn_layout) == (expected, layout)
    assert (warning is None) if said is None else (warning is not None and said in warning)


def test_an_array_as_a_picture_through_the_program(poolcli: Run, here: Path) -> None:
    save(here / "a.npy", np.arange(8 * 4 * 4).reshape(8, 4, 4) / 127, "float32")
    ran = poolcli("run", "a.npy", "-s", "max:2", "--format", "png")
    assert ran.status == 0
    assert "warning: a.npy: stage 1 (max:2): drawn with 0.03937 as black and 1 as white" in ran.err
    picture = pixels(here / "pooled/a.1-max2x2.png")
    assert picture.shape == (8, 8)
    assert picture[0, 0] == 0
    assert picture.max() == 255


def test_a_grey_array_as_a_picture_through_the_program(poolcli: Run, here: Path) -> None:
    save(here / "a.npy", grey(), "float64")
    save(here / "b.npy", colour(), "int64")
    ran = poolcli("run", "a.npy", "-s", "pick:1", "--format", "png")
    assert (ran.status, "warning" in ran.err) == (0, False)
    assert pixels(here / "pooled/a.1-pick1x1.png").tolist() == grey().tolist()
    assert (
        poolcli("run", "b.npy", "-s", "pick:1", "--layout", "HWC", "--format", "tiff").status == 0
    )
    assert pixels(here / "pooled/b.1-pick1x1.tiff").tolist() == colour().tolist()
