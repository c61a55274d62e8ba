"""Every mode of every format that Pillow writes without loss, through the program and back."""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from tests.conftest import Run, pixels

Array = npt.NDArray[Any]

MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB"]
MODES += ["HSV", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"]
OPTIONS: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True, "exact": True}}
SIDE = 16
"""What icons have."""
LEFT_OUT = {"EPS", "ICNS"}
"""The one is a program, which is refused; of the other's many sizes the largest is read, which is
never that of so small a picture."""


def made(mode: str) -> Image.Image:
    """Return a picture of noise, as far as the mode goes."""
    numbers = np.random.default_rng(MODES.index(mode))
    size, count = (SIDE, SIDE), SIDE * SIDE
    if mode in ("P", "PA"):
        image = Image.new("P", size)
        image.putpalette(numbers.integers(0, 256, 48, np.uint8).tobytes())
        image.putdata(numbers.integers(0, 16, count).tolist())
        return image if mode == "P" else image.convert("PA")
    if mode == "1":
        return Image.fromarray(numbers.integers(0, 2, size).astype(np.uint8) * 255).convert("1")
    if mode == "I":
        return Image.fromarray(numbers.integers(0, 65536, size).astype(np.int32))
    if mode == "F":
        return Image.fromarray(numbers.random(size).astype(np.float32))
    bands = 2 if mode.startswith("I;16") else len(Image.new(mode, (1, 1)).getbands())
    content = numbers.integers(0, 256, (count, bands), np.uint8)
    if mode in ("La", "RGBa"):
        content[:, :-1] = np.minimum(content[:, :-1], content[:, -1:])
    return Image.frombytes(mode, size, content.tobytes())


def same(one: Image.Image, other: Image.Image) -> bool:
    """Whether pictures of one mode have the same pixels, and look the same if of two."""
    if one.mode == other.mode:
        palettes = (one.getpalette() or [])[:48] == (other.getpalette() or [])[:48]
        return palettes and one.tobytes() == other.tobytes()
    eight = not {one.mode[0], other.mode[0]} & {"I", "F"}
    return eight and one.convert("RGBA").tobytes() == other.convert("RGBA").tobytes()


def encoded(form: str, mode: str) -> bytes | None:
    """Return a picture in a format, None if Pillow does not write it, or not what it was."""
    stream = io.BytesIO()
    image = made(mode)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image.save(stream, form, **OPTIONS.get(form, {}))
            with Image.open(io.BytesIO(stream.getvalue())) as back:
                back.load()
                whole = back.size == image.size and same(back, image)
        except (OSError, ValueError, SyntaxError, KeyError, RuntimeError):
            return None
    return stream.getvalue() if whole else None


@cache
def combinations() -> dict[tuple[str, str], bytes]:
    """Return every format and mode that Pillow writes and reads back as it was."""
    Image.init()
    found = {
        (form, mode): encoded(form, mode)
        for form in sorted(set(Image.SAVE) - LEFT_OUT)
        for mode in MODES
    }
    return {key: content for key, content in found.items() if content is not None}


def expected(content: bytes) -> Array:
    """Return the numbers that the contract's conversions give, by Pillow."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        if image.mode == "LAB":
            lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
            converted = ImageCms.applyTransform(image, transform)
            assert converted is not None
            return np.array(converted)
        becomes = {"1": "L", "P": "RGB", "PA": "RGBA", "RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
        array = np.array(image.convert(becomes.get(image.mode, image.mode)))
        return array.astype(array.dtype.newbyteorder("="))


@pytest.mark.filterwarnings("ignore:.* image format is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("form", "mode"), combinations())
def test_pick_1_gives_every_mode_of_every_format_back(
    poolcli: Run, here: Path, form: str, mode: str
) -> None:
    content = combinations()[form, mode]
    wanted = expected(content)
    (here / "a").write_bytes(content)
    ran = poolcli("run", "a", "-s", "pick:1")
    assert (ran.status, ran.err.count("warning")) == (0, 0), ran.err
    (path,) = (here / "pooled").iterdir()
    assert path.suffix == (".tiff" if wanted.dtype in (np.int32, np.float32) else ".png")
    found = pixels(path)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    assert found.tolist() == wanted.tolist()


def test_there_are_many_formats_and_modes() -> None:
    forms = {form for form, _ in combinations()}
    assert len(combinations()) >= 60
    assert {mode for _, mode in combinations()} >= {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}
    assert {mode for _, mode in combinations()} >= {"CMYK", "LAB", "I", "F", "I;16", "I;16B"}
    assert forms >= {"BMP", "GIF", "ICO", "IM", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF"}
