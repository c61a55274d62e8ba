from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from poolcli.report.sheet import contact_sheet
from tests.conftest import TRUCK, Run, colour, grey, pixels, save

Array = npt.NDArray[Any]


def places(sheet: Array, panel: Array) -> list[tuple[int, int]]:
    """Where on the sheet a panel is seen, pixel for pixel."""
    height, width = panel.shape[:2]
    starts = np.argwhere((sheet == panel[0, 0]).all(axis=-1))
    return [
        (top, left)
        for top, left in starts.tolist()
        if (sheet[top : top + height, left : left + width].shape == panel.shape)
        and (sheet[top : top + height, left : left + width] == panel).all()
    ]


def enlarged(array: Array, times: int) -> Array:
    grown = array.repeat(times, 0).repeat(times, 1)
    return np.stack([grown] * 3, -1) if grown.ndim == 2 else grown


def test_small_maps_are_enlarged_by_whole_pixels_side_by_side() -> None:
    first, second = colour(8, 8), colour(4, 4) + 3
    sheet = contact_sheet([("a", first), ("1  max", second)], "HWC")
    assert sheet.dtype == np.uint8
    (one,), (two,) = places(sheet, enlarged(first, 30)), places(sheet, enlarged(second, 60))
    assert one[0] == two[0]
    assert two[1] >= one[1] + 240


def test_every_panel_has_a_label_below_it() -> None:
    plain, labelled = (
        contact_sheet([(label, grey(8, 8))], "HW") for label in ("", "a label of some words")
    )
    assert plain.shape == labelled.shape
    changed = np.argwhere((plain != labelled).any(axis=-1))
    ((top, left),) = places(labelled, enlarged(grey(8, 8), 30))
    assert len(changed) > 50
    assert changed[:, 0].min() >= top + 240
    assert changed[:, 1].min() >= left
    assert changed[:, 1].max() < left + 240


def test_the_shape_and_dtype_are_on_the_sheet() -> None:
    bytes_, words = (
        contact_sheet([("a", np.zeros((8, 8), dtype))], "HW") for dtype in ("uint8", "uint16")
    )
    assert (bytes_ != words).any()


def test_a_label_too_long_stays_on_its_panel() -> None:
    sheet = contact_sheet([("long name " * 30, grey(8, 8)), ("b", grey(8, 8))], "HW")
    one, two = places(sheet, enlarged(grey(8, 8), 30))
    assert (sheet[:, one[1] + 240 : two[1]] == sheet[0, 0]).all()


def test_a_label_that_no_font_can_write_is_no_accident() -> None:
    sheet = contact_sheet([("a\nb\udcff", grey(8, 8)), ("画", grey(8, 8))], "HW")
    assert len(places(sheet, enlarged(grey(8, 8), 30))) == 2


def test_panels_go_on_in_a_new_row() -> None:
    sheet = contact_sheet([(str(index), grey(8, 8)) for index in range(6)], "HW")
    found = places(sheet, enlarged(grey(8, 8), 30))
    assert len(found) == 6
    assert len({top for top, _ in found}) == 2
    assert sheet.shape[1] > 4 * 240


def test_large_pictures_are_reduced_by_averaging() -> None:
    board = np.indices((2000, 1000)).sum(axis=0) % 2 * 255
    sheet = contact_sheet([("a", board.astype(np.uint8))], "HW")
    assert max(sheet.shape) < 1400
    middle = sheet[200:400, 200:300].astype(int)
    assert 100 < middle.min() <= middle.max() < 156


@pytest.mark.parametrize(
    ("array", "layout"),
    [
        (colour(4, 6, 4), "HWC"),
        (colour(4, 6, 2), "HWC"),
        (colour(4, 6, 1), "HWC"),
        (np.full((3, 4, 4), np.nan), "CHW"),
        (np.zeros((64, 7, 7), np.float16), "CHW"),
        (np.arange(120).reshape(2, 3, 4, 5), "NCHW"),
        (np.arange(120).reshape(2, 3, 1, 4, 5), "NCDHW"),
        (np.stack([colour(), colour()]), "NHWC"),
        (np.stack([grey(), grey()]), "NHW"),
        (np.arange(9), "W"),
        (np.array([[True, False]]), "HW"),
        (np.arange(6, dtype=np.uint64).reshape(2, 3) * 2**60, "HW"),
        (np.ones((1, 5000)), "HW"),
        (np.ones((500, 2, 2)), "CHW"),
    ],
    ids=str,
)
def test_maps_of_every_kind_are_shown(array: Array, layout: str) -> None:
    sheet = contact_sheet([("a", array), ("1  relu", array)], layout)
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    assert max(sheet.shape) < 4000


def test_the_first_frame_is_shown() -> None:
    sheet = contact_sheet([("a", np.stack([grey(8, 8), grey(8, 8)[::-1]]))], "NHW")
    assert len(places(sheet, enlarged(grey(8, 8), 30))) == 1


def test_clear_pixels_are_shown_on_white() -> None:
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[:4] = (200, 30, 10, 255)
    expected = np.full((8, 8, 3), 255, np.uint8)
    expected[:4] = (200, 30, 10)
    assert places(contact_sheet([("a", picture)], "HWC"), enlarged(expected, 30))


def test_the_sheet_of_the_truck(poolcli: Run, here: Path) -> None:
    ran = poolcli(
        "run", TRUCK, "-s", "max:2", "-s", "max:2", "--sheet", "sheet.png", "--save", "none"
    )
    assert ran.status == 0
    assert "wrote sheet.png\n" in ran.err
    sheet = pixels(here / "sheet.png")
    with Image.open(TRUCK) as truck:
        assert places(sheet, np.asarray(truck))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
def test_the_sheets_suffix_is_its_format(poolcli: Run, here: Path, suffix: str) -> None:
    save(here / "a.npy", np.arange(32).reshape(2, 4, 4), "float32")
    assert poolcli("run", "a.npy", "-s", "max:2", "--sheet", f"s.{suffix}").status == 0
    with Image.open(here / f"s.{suffix}") as image:
        assert image.format == {"jpg": "JPEG"}.get(suffix, suffix.upper())


def test_no_folder_of_a_file_that_a_stage_reads_is_drawn(poolcli: Run, here: Path) -> None:
    """A sheet may be shown to others; its label is the same wherever the weights lie."""
    save(here / "a.png", colour(8, 8))
    for name in ("private/place/w.npy", "w.npy"):
        save(here / name, np.ones((3, 3, 3, 3)), "float32")
    command = ("run", "a.png", "--save", "none", "-q", "--sheet")
    for sheet, name in (("far.png", "private/place/w.npy"), ("near.png", "w.npy")):
        assert poolcli(*command, sheet, "-s", f"conv,weights={name}").status == 0
    assert np.array_equal(pixels(here / "far.png"), pixels(here / "near.png"))
