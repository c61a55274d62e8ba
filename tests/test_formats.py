from __future__ import annotations

import io
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poolcli.dtypes import ITEM_SIZES
from poolcli.errors import OutputError
from poolcli.files import images
from poolcli.files.formats import (
    KNOWN_SUFFIXES,
    SUFFIXES,
    can_draw,
    choose,
    holds,
    is_picture,
    of_suffix,
    saved_plan,
)
from poolcli.files.inputs import MAX_PIXELS
from poolcli.maps import Header
from poolcli.plan import plan

SHAPES = {
    "HW": (2, 3),
    "HWC": (2, 3, 3),
    "HWC ": (2, 3, 1),
    "HWC  ": (2, 3, 2),
    "HWC   ": (2, 3, 4),
    "HWC    ": (2, 3, 5),
    "NHW": (2, 2, 3),
    "NHWC": (2, 2, 3, 3),
    "NHWC ": (2, 2, 3, 4),
    "W": (3,),
    "CHW": (3, 2, 3),
    "NCHW": (1, 3, 2, 3),
}
HELD = [
    (name, layout.strip(), shape, dtype)
    for name, (layout, shape), dtype in product(SUFFIXES, SHAPES.items(), ITEM_SIZES)
    if name != "npy" and holds(name, shape, layout.strip(), dtype)
]


@pytest.mark.parametrize(("name", "layout", "shape", "dtype"), HELD)
def test_what_a_format_is_said_to_hold_comes_back_out_of_it(
    name: str, layout: str, shape: tuple[int, ...], dtype: str
) -> None:
    array = (np.arange(np.prod(shape)) * 3).reshape(shape).astype(dtype)
    stream = io.BytesIO()
    images.write(stream, array, layout, name)
    found = images.read(stream, MAX_PIXELS)[0].astype(float)
    if layout == "HWC" and shape[-1] == 1:
        array = array[..., 0]
    if name == "webp" and array.ndim != found.ndim:
        assert (found[..., :1] == found[..., :3]).all()  # WebP has no grey: equal red, green, blue
        found = found[..., 0]
    if found.shape[-1] == 4 and array.shape[-1] == 2:
        found = found[..., 2:]
    assert found.shape == array.shape
    assert np.abs(found - array).max() <= (3 if name == "jpg" else 0)


def test_every_lossless_format_is_said_to_hold_something() -> None:
    held = {(name, dtype) for name, _, _, dtype in HELD}
    assert held >= {("png", "uint16"), ("tiff", "float32"), ("tiff", "int32"), ("webp", "uint8")}


@pytest.mark.parametrize(
    ("name", "shape", "layout", "dtype", "expected"),
    [
        ("png", (2, 3), "HW", "float32", False),
        ("png", (2, 3), "HW", "int32", False),
        ("png", (2, 3, 3), "HWC", "uint16", False),
        ("png", (2, 3, 5), "HWC", "uint8", False),
        ("png", (3, 2, 3), "CHW", "uint8", False),
        ("png", (0, 3), "HW", "uint8", False),
        ("jpg", (2, 3, 4), "HWC", "uint8", False),
        ("jpg", (2, 3, 2), "HWC", "uint8", False),
        ("jpg", (2, 2, 3), "NHW", "uint8", False),
        ("tiff", (2, 3), "HW", "float64", False),
        ("npy", (0,), "W", "bool", True),
    ],
)
def test_what_a_format_does_not_hold(
    name: str, shape: tuple[int, ...], layout: str, dtype: str, expected: bool
) -> None:
    assert holds(name, shape, layout, dtype) is expected


def test_suffixes_name_formats_in_any_case() -> None:
    assert {name: of_suffix(suffix) for name, suffix in SUFFIXES.items()} == {
        name: name for name in SUFFIXES
    }
    assert [of_suffix(suffix) for suffix in (".JPEG", ".Tif", ".PNG")] == ["jpg", "tiff", "png"]
    assert [of_suffix(suffix) for suffix in ("", ".gif", "png", ".ext")] == [None] * 4


NO_PICTURES = {
    "BUFR": "meteorological data, which Pillow hands on to others",
    "GRIB": "likewise",
    "HDF5": "arrays of any kind, which Pillow hands on to others",
    "MPEG": "a film, of which Pillow reads the size",
    "EPS": "a page, which Ghostscript draws",
    "PDF": "a page, which Pillow writes only",
    "WMF": "a drawing, which Windows draws",
    "PALM": "written only",
    "IPTC": "records of news, which may hold a picture",
}


def test_every_picture_that_pillow_reads_is_found_in_folders() -> None:
    Image.init()
    # Pillow counts the suffix of any file that it once wrote as SPIDER among them, even none.
    registered = {suffix: form for suffix, form in Image.registered_extensions().items() if suffix}
    known = {suffix: form for suffix, form in registered.items() if suffix in KNOWN_SUFFIXES}
    missing = {suffix: form for suffix, form in registered.items() if suffix not in known}
    assert set(missing.values()) <= set(NO_PICTURES)
    assert not set(known.values()) & set(NO_PICTURES)
    assert {form for form in known.values() if form not in Image.OPEN} <= {"MPO"}
    assert len(known) >= 40


def test_every_result_is_a_known_input() -> None:
    assert set(SUFFIXES.values()) <= KNOWN_SUFFIXES
    assert {".jpeg", ".gif", ".bmp", ".tif", ".npy"} <= KNOWN_SUFFIXES
    assert ".txt" not in KNOWN_SUFFIXES


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((2, 3), "HW", True),
        ((2, 3, 4), "HWC", True),
        ((2, 3, 5), "HWC", False),
        ((2, 3, 0), "HWC", False),
        ((9, 2, 3), "NHW", True),
        ((3, 2, 3), "CHW", False),
        ((3,), "W", False),
    ],
)
def test_which_maps_are_pictures(shape: tuple[int, ...], layout: str, expected: bool) -> None:
    assert is_picture(shape, layout) is expected


PHOTO = Header((4, 4, 3), "HWC", "uint8", "png")
DEEP = Header((4, 4), "HW", "int32", "tiff")
MAP = Header((8, 4, 4), "CHW", "float32", "npy")


@pytest.mark.parametrize(
    ("asked", "header", "shape", "dtype", "expected"),
    [
        (None, PHOTO, (2, 2, 3), "uint8", "png"),
        (None, PHOTO, (2, 2, 3), "float32", "npy"),
        (None, DEEP, (2, 2), "int32", "tiff"),
        (None, DEEP, (2, 2), "float32", "tiff"),
        (None, DEEP, (2, 2), "float64", "npy"),
        (None, DEEP, (2, 2), "uint16", "png"),
        (None, MAP, (8, 2, 2), "float32", "npy"),
        ("same", MAP, (8, 2, 2), "float32", "npy"),
        ("same", Header((4, 4, 3), "HWC", "uint8", "mpo"), (2, 2, 3), "uint8", "jpg"),
        ("png", MAP, (8, 2, 2), "float32", "png"),
        ("jpg", MAP, (8, 2, 2), "float32", "jpg"),
    ],
)
def test_the_format_of_a_result(
    asked: str | None, header: Header, shape: tuple[int, ...], dtype: str, expected: str
) -> None:
    assert choose(asked, header, shape, dtype) == expected


@pytest.mark.parametrize(
    ("asked", "header", "shape", "dtype", "said"),
    [
        (
            "jpg",
            PHOTO,
            (2, 2, 4),
            "uint8",
            "jpg can't hold uint8 HWC 2x2x4: say --format png or",
        ),
        ("png", DEEP, (2, 2), "int32", "png can't hold int32 HW 2x2"),
        ("png", MAP, (8, 0, 2), "float32", "png can't hold float32 CHW 8x0x2"),
        ("same", Header((4, 4), "HW", "uint8", "gif"), (2, 2), "uint8", "written as gif"),
    ],
)
def test_a_format_that_cannot_hold_the_result(
    asked: str, header: Header, shape: tuple[int, ...], dtype: str, said: str
) -> None:
    with pytest.raises(OutputError, match=said):
        choose(asked, header, shape, dtype)


def test_an_array_with_alpha_is_no_jpg() -> None:
    assert not can_draw("jpg", (2, 2, 4), "HWC")
    assert can_draw("jpg", (2, 2, 3), "HWC")
    assert can_draw("png", (2, 2, 4), "HWC")
    assert not can_draw("png", (2, 0), "HW")


@pytest.mark.parametrize(
    ("form", "requested", "dtype", "expected"),
    [
        ("png", None, None, ["uint8", "uint8"]),
        ("png", "npy", None, ["float32", "float32"]),
        ("png", None, "int16", ["int16", "int16"]),
        ("npy", None, None, ["float32", "float32"]),
        ("npy", "png", None, ["float32", "float32"]),
    ],
)
def test_results_of_images_are_saved_in_the_images_dtype(
    form: str, requested: str | None, dtype: str | None, expected: list[str]
) -> None:
    worked_out = plan((8, 8), "avg:2", "max:2", dtype="uint8")
    header = Header((8, 8), "HW", "uint8", form)
    steps = saved_plan(worked_out, header, requested, dtype).steps
    assert [step.dtype for step in steps] == expected
    assert [step.carried for step in steps] == ["float64", "float64"]


def test_what_is_no_picture_keeps_the_dtype_of_its_operation(tmp_path: Path) -> None:
    weights = tmp_path / "weights.npy"
    np.save(weights, np.ones((8, 3, 1, 1), "float32"))
    worked_out = plan((8, 8, 3), f"conv,weights={weights}", layout="HWC", dtype="uint8")
    (step,) = saved_plan(worked_out, Header((8, 8, 3), "HWC", "uint8", "png"), None, None).steps
    assert (step.shape, step.dtype) == ((8, 8, 8), "float32")
