from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Run, colour, grey, save


def test_vgg16(poolcli: Run) -> None:
    ran = poolcli("shape", "3x224x224", "--preset", "vgg16")
    assert (ran.status, ran.err) == (0, "")
    last = ran.out.splitlines()[-2]
    assert last.split()[:2] == ["31", "max:2x2,stride=2x2"]
    assert {"512×7×7", "212×212", "32×32"} <= set(last.split())
    stages = json.loads(poolcli("shape", "3x224x224", "--preset", "vgg16", "--json").out)["stages"]
    assert len(stages) == 31
    assert (stages[-1]["shape"], stages[-1]["receptive_field"]) == ([512, 7, 7], [212, 212])
    assert stages[-1]["jump"] == [32, 32]


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"], ["--markdown"], ["--explain"]])
def test_commas_mean_what_x_means(poolcli: Run, form: list[str]) -> None:
    one = poolcli("shape", "3,224,224", "-s", "max:2", *form)
    other = poolcli("shape", "3x224x224", "-s", "max:2", *form)
    assert one.status == other.status == 0
    assert one.out.replace("3,224,224", "3x224x224") == other.out


def test_a_shape_beats_a_file_of_that_name(poolcli: Run, here: Path) -> None:
    np.save(here / "x.npy", np.zeros((9, 9)))
    (here / "x.npy").rename(here / "4x4")
    found = json.loads(poolcli("shape", "4x4", "-s", "max:2", "--json").out)
    assert found["input"] == {"shape": [4, 4], "layout": "HW", "dtype": "float32"}
    found = json.loads(poolcli("shape", "./4x4", "-s", "max:2", "--json").out)
    assert found["input"] == {"shape": [9, 9], "layout": "HW", "dtype": "float64"}


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("a.npy", ">f2", {"shape": [4, 6, 3], "layout": "CHW", "dtype": "float16"}),
        ("a.png", "uint8", {"shape": [4, 6, 3], "layout": "HWC", "dtype": "uint8"}),
        ("a.tiff", "uint8", {"shape": [4, 6, 3], "layout": "HWC", "dtype": "uint8"}),
    ],
)
def test_of_a_file(
    poolcli: Run, here: Path, name: str, dtype: str, expected: dict[str, object]
) -> None:
    save(here / name, colour(), dtype)
    ran = poolcli("shape", name, "-s", "max:2,stride=1", "--json")
    assert (ran.status, json.loads(ran.out)["input"]) == (0, expected)
    assert poolcli("shape", name, "-s", "max:2,stride=1").out.startswith(f"{name}\n")


def test_results_of_an_image_are_of_its_dtype_as_in_a_run(poolcli: Run, here: Path) -> None:
    save(here / "a.png", colour())
    of_shape = json.loads(poolcli("shape", "a.png", "-s", "avg:2", "--json").out)["stages"][0]
    of_run = json.loads(poolcli("run", "a.png", "-s", "avg:2", "-n", "--json").out)["stages"][0]
    assert of_shape == {key: value for key, value in of_run.items() if key != "output"}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP"])
def test_pixels_are_not_decoded(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    Image.fromarray(colour(32, 32)).save(here / "a.img", form)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pixels are decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    ran = poolcli("shape", "a.img", "-s", "max:2")
    assert (ran.status, ran.err) == (0, "")
    assert "16×16×3" in ran.out


def test_a_huge_array_is_not_read(poolcli: Run, here: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 50000, 50000), }"
    with (here / "huge.npy").open("wb") as stream:
        stream.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        stream.truncate(10 + len(header) + 3 * 50_000**2 * 4)  # a hole: it takes no space
    ran = poolcli("shape", "huge.npy", "-s", "max:2")
    assert ran.status == 0
    assert "3×25000×25000" in ran.out


def test_layout_and_dtype(poolcli: Run) -> None:
    ran = poolcli(
        "shape", "1x224x224x3", "--layout", "NHWC", "--dtype", "uint8", "-s", "avg:2", "--json"
    )
    found = json.loads(ran.out)
    assert found["input"] == {"shape": [1, 224, 224, 3], "layout": "NHWC", "dtype": "uint8"}
    assert (found["stages"][0]["shape"], found["stages"][0]["dtype"]) == (
        [1, 112, 112, 3],
        "float32",
    )


def test_of_a_file_the_dtype_can_be_given_too(poolcli: Run, here: Path) -> None:
    save(here / "a.npy", grey(), "uint8")
    found = json.loads(poolcli("shape", "a.npy", "--dtype", "float64", "-s", "max:2", "--json").out)
    assert (found["input"]["dtype"], found["stages"][0]["bytes"]) == ("float64", 48)


@pytest.mark.parametrize("target", ["224x224x3", "a.npy"])
def test_a_layout_that_looks_wrong_is_a_warning_that_names_the_flag(
    poolcli: Run, here: Path, target: str
) -> None:
    np.save(here / "a.npy", np.zeros((224, 224, 3), np.uint8))
    ran = poolcli("shape", target, "-s", "max:2,stride=1", "--json")
    assert ran.status == 0
    (line,) = ran.err.splitlines()
    assert line.startswith("warning: ")
    assert "--layout HWC" in line
    assert json.loads(ran.out)["input"]["layout"] == "CHW"


def test_markdown(poolcli: Run) -> None:
    ran = poolcli("shape", "3x8x8", "-s", "max:2", "--markdown")
    assert (ran.status, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {12}
    assert "| 3×4×4 |" in lines[3]


@pytest.mark.parametrize(
    ("target", "status", "said"),
    [
        ("missing.png", 1, "missing.png: no such file, nor a shape, as 3x224x224"),
        ("3x224x", 1, "3x224x: no such file, nor a shape, as 3x224x224"),
        ("3x-4", 1, "3x-4: no such file, nor a shape, as 3x224x224"),
        (".", 2, ".: expected a shape, as 3x224x224, or one file"),
        ("-", 2, "-: expected a shape, as 3x224x224, or one file"),
        ("empty", 1, "empty: empty"),
        ("words", 1, "words: neither an image that Pillow can read nor an .npy array"),
        ("scalar.npy", 1, "scalar.npy: an array of 0 axes has no layout: 1 to 5 axes are expected"),
        ("1x2x3x4x5x6", 1, "an array of 6 axes has no layout: 1 to 5 axes are expected"),
        ("3x8x8", 1, ""),
        ("3x0x8", 1, ""),
        ("8.png", 1, "8.png: stage 1 (max:9): along H: "),
    ],
)
def test_what_is_no_shape_and_no_file(
    poolcli: Run, here: Path, target: str, status: int, said: str
) -> None:
    (here / "empty").touch()
    (here / "words").write_text("words")
    np.save(here / "scalar.npy", np.float32(1))
    save(here / "8.png", grey(8, 8))
    message = poolcli("shape", target, "-s", "max:9").error(status)
    assert message.startswith(said)


@pytest.mark.parametrize("target", ["3x4x4", "a.png"])
def test_shape_plans_what_cannot_be_run(poolcli: Run, here: Path, target: str) -> None:
    save(here / "a.png", colour(4, 4))
    ran = poolcli("shape", target, "-s", "conv:3,pad=1,out=8")
    assert ran.status == 0
    assert "MAC" in ran.out
