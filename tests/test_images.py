from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
import pytest
from PIL import Image

from poolcli.errors import InputError
from poolcli.files import images
from poolcli.files.inputs import MAX_PIXELS
from poolcli.maps import Header
from tests.conftest import Run, colour, grey, pixels, save
from tests.deep_files import chunk, tiff

Array = npt.NDArray[Any]


def both(content: bytes, max_pixels: int = MAX_PIXELS) -> tuple[Header, Array]:
    """Read header and pixels; they must agree."""
    header = images.read_header(io.BytesIO(content), max_pixels)
    array, _ = images.read(io.BytesIO(content), max_pixels)
    assert (array.shape, array.dtype.name) == (header.shape, header.dtype)
    assert array.dtype.isnative
    assert len(header.layout) == array.ndim
    assert header.is_image
    return header, array


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def made(mode: str, values: list[Any]) -> Image.Image:
    """Return an image of 1 row."""
    image = Image.new(mode, (len(values), 1))
    image.putdata(values)
    return image


def palette(mode: str, indices: list[Any]) -> Image.Image:
    image = Image.new("P", (len(indices), 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata(indices)
    return image if mode == "P" else image.convert(mode)


@dataclass(frozen=True)
class Case:
    image: Callable[[], Image.Image]
    form: str
    expected: list[Any]
    """Its only row."""
    dtype: str = "uint8"
    options: tuple[tuple[str, Any], ...] = ()


RGB_VALUES = [(1, 2, 3), (250, 0, 7)]
CASES = {
    "1": Case(lambda: made("1", [0, 255, 0]), "PNG", [0, 255, 0]),
    "1 transparent": Case(
        lambda: made("1", [0, 255]), "PNG", [[0, 0], [255, 255]], options=(("transparency", 0),)
    ),
    "L": Case(lambda: made("L", [0, 7, 255]), "PNG", [0, 7, 255]),
    "L transparent": Case(
        lambda: made("L", [5, 7]), "PNG", [[5, 255], [7, 0]], options=(("transparency", 7),)
    ),
    "LA": Case(lambda: made("LA", [(5, 6), (7, 0)]), "PNG", [[5, 6], [7, 0]]),
    "P": Case(lambda: palette("P", [2, 0, 1]), "PNG", [[70, 80, 90], [10, 20, 30], [40, 50, 60]]),
    "P one transparent": Case(
        lambda: palette("P", [1, 0]),
        "PNG",
        [[40, 50, 60, 0], [10, 20, 30, 255]],
        options=(("transparency", 1),),
    ),
    "P alphas": Case(
        lambda: palette("P", [1, 0]),
        "PNG",
        [[40, 50, 60, 99], [10, 20, 30, 11]],
        options=(("transparency", bytes([11, 99])),),
    ),
    "PA": Case(lambda: palette("PA", [1, 0]), "TIFF", [[40, 50, 60, 255], [10, 20, 30, 255]]),
    "RGB": Case(lambda: made("RGB", RGB_VALUES), "PNG", [[1, 2, 3], [250, 0, 7]]),
    "RGB transparent": Case(
        lambda: made("RGB", RGB_VALUES),
        "PNG",
        [[1, 2, 3, 255], [250, 0, 7, 0]],
        options=(("transparency", (250, 0, 7)),),
    ),
    "RGBA": Case(
        lambda: made("RGBA", [(1, 2, 3, 0), (4, 5, 6, 7)]), "PNG", [[1, 2, 3, 0], [4, 5, 6, 7]]
    ),
    "RGBX": Case(lambda: made("RGBX", [(1, 2, 3, 9)]), "TIFF", [[1, 2, 3]]),
    "CMYK": Case(
        lambda: made("CMYK", [(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255)]),
        "TIFF",
        [[255, 255, 255], [0, 255, 255], [0, 0, 0]],
    ),
    "YCbCr": Case(
        lambda: made("YCbCr", [(128, 128, 128), (255, 128, 128)]), "TIFF", [[128] * 3, [255] * 3]
    ),
    "LAB": Case(
        lambda: made("LAB", [(255, 128, 128), (0, 128, 128)]), "TIFF", [[255] * 3, [0] * 3]
    ),
    "I": Case(lambda: made("I", [-5, 70_000]), "TIFF", [-5, 70_000], "int32"),
    "F": Case(lambda: made("F", [-0.5, 1e6]), "TIFF", [-0.5, 1e6], "float32"),
    "I;16 PNG": Case(
        lambda: Image.fromarray(np.array([[1, 300, 65535]], np.uint16)),
        "PNG",
        [1, 300, 65535],
        "uint16",
    ),
    "I;16 TIFF": Case(
        lambda: Image.fromarray(np.array([[1, 300, 65535]], np.uint16)),
        "TIFF",
        [1, 300, 65535],
        "uint16",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_every_mode_becomes_numbers_to_compute_with(case: Case) -> None:
    if case.image().mode == "YCbCr" and int(PIL.__version__.partition(".")[0]) < 13:
        # Pillow before 13 can't read the YCbCr that it writes, and says so.
        with pytest.raises(InputError, match="truncated"):
            both(encoded(case.image(), case.form))
        return
    header, array = both(encoded(case.image(), case.form, **dict(case.options)))
    off = 1 if case.image().mode == "LAB" else 0  # a profile's white is not exactly white
    assert array.shape == np.shape([case.expected])
    assert np.abs(array - np.array([case.expected], float)).max() <= off
    assert header == Header(
        array.shape, "HW" if array.ndim == 2 else "HWC", case.dtype, case.form.lower()
    )


BIG = np.array([[1, 300, 65535]], ">u2").tobytes()
LITTLE = np.array([[1, 300, 65535]], "<u2").tobytes()
MEMORY_CASES: dict[str, tuple[Callable[[], Image.Image], list[Any], str]] = {
    "La": (lambda: made("LA", [(200, 255), (7, 0)]).convert("La"), [[200, 255], [0, 0]], "uint8"),
    "RGBa": (lambda: made("RGBA", [(9, 8, 7, 255)]).convert("RGBa"), [[9, 8, 7, 255]], "uint8"),
    "HSV": (lambda: made("HSV", [(0, 255, 255), (0, 0, 9)]), [[255, 0, 0], [9, 9, 9]], "uint8"),
    "PA": (lambda: palette("PA", [1]), [[40, 50, 60, 255]], "uint8"),
    "I;16L": (lambda: Image.frombytes("I;16L", (3, 1), LITTLE), [1, 300, 65535], "uint16"),
    "I;16B": (lambda: Image.frombytes("I;16B", (3, 1), BIG), [1, 300, 65535], "uint16"),
}


@pytest.mark.parametrize("mode", MEMORY_CASES)
def test_modes_that_few_files_have(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image, expected, dtype = MEMORY_CASES[mode]
    assert image().mode == mode
    monkeypatch.setattr(Image, "open", lambda _stream, **_formats: image())
    header, array = both(b"")
    assert array.tolist() == [expected]
    assert header.dtype == dtype


def test_every_mode_that_the_code_names_is_tested_and_every_mode_of_pillow_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for mode in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr",
                 "LAB", "HSV", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"):  # fmt: skip
        image = Image.new(mode, (3, 2))
        monkeypatch.setattr(Image, "open", lambda _stream, image=image, **_formats: image)
        header, _ = both(b"")
        assert header.shape[:2] == (2, 3)


def test_a_mode_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("L", (2, 2))
    monkeypatch.setattr(type(image), "mode", "BGR;15")
    monkeypatch.setattr(Image, "open", lambda _stream, **_formats: image)
    with pytest.raises(InputError, match="BGR;15"):
        images.read_header(io.BytesIO(), MAX_PIXELS)


def test_a_big_endian_tiff_gives_native_numbers() -> None:
    header, array = both(tiff(np.array([[1, 300, 65535]], np.uint16), order=">"))
    assert (array.tolist(), header.dtype) == ([[1, 300, 65535]], "uint16")


UPRIGHT: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(form: str, orientation: int) -> None:
    stored = np.kron(colour(2, 3), np.ones((16, 16, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}.get(
        form, {"quality": 100, "subsampling": 0}
    )
    header, array = both(encoded(Image.fromarray(stored), form, exif=exif, **options))
    expected = UPRIGHT[orientation](stored)
    assert header.shape == expected.shape
    assert np.abs(array.astype(int) - expected).max() <= (3 if form == "JPEG" else 0)


def test_exif_orientation_through_the_program(poolcli: Run, here: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(grey()).save(here / "a.png", exif=exif)
    assert poolcli("run", "a.png", "-s", "pick:1").status == 0
    with Image.open(here / "pooled/a.1-pick1x1.png") as result:
        assert np.array(result).tolist() == np.rot90(grey(), -1).tolist()
        assert result.getexif().get(0x0112) is None


def moving(count: int = 3) -> list[Array]:
    return [np.roll(colour(4, 6), index, axis=1) for index in range(count)]


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_frames_stand_in_front(form: str) -> None:
    frames = [Image.fromarray(frame) for frame in moving()]
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:], lossless=True)
    header, array = both(content)
    assert header == Header((3, 4, 6, 3), "NHWC", "uint8", form.lower())
    assert array.tolist() == np.stack(moving()).tolist()


def test_grey_frames() -> None:
    frames = [Image.fromarray(grey() + index) for index in range(2)]
    header, array = both(encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]))
    assert (header.layout, array.tolist()) == ("NHW", [grey().tolist(), (grey() + 1).tolist()])


def test_one_frame_is_no_axis() -> None:
    for form in ("GIF", "PNG", "WEBP", "TIFF"):
        header, _ = both(encoded(Image.fromarray(colour()), form, save_all=True))
        assert header.layout == "HWC"


def test_frames_of_unequal_size_are_an_error(poolcli: Run, here: Path) -> None:
    first, second = Image.fromarray(colour(4, 6)), Image.fromarray(colour(4, 5))
    first.save(here / "a.tiff", save_all=True, append_images=[second])
    said = poolcli("run", "-q", "a.tiff", "-s", "max:2").error(1)
    assert said.startswith("a.tiff: frame 2 has another size")


@pytest.mark.parametrize("form", ["GIF", "TIFF"])
def test_a_coloured_frame_behind_a_grey_one_keeps_its_colour(form: str) -> None:
    first = Image.fromarray(np.array([[0, 255]], np.uint8))
    second = Image.fromarray(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8))
    content = encoded(first, form, save_all=True, append_images=[second])
    try:
        _, array = both(content)
    except InputError:
        return
    assert array[1].tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_a_deep_frame_behind_a_shallow_one_keeps_its_depth() -> None:
    first = Image.fromarray(np.array([[1, 2]], np.uint8))
    second = Image.fromarray(np.array([[300, 65535]], np.uint16))
    content = encoded(first, "TIFF", save_all=True, append_images=[second])
    try:
        _, array = both(content)
    except InputError:
        return
    assert array[1].tolist() == [[300, 65535]]


@pytest.mark.parametrize("form", ["JPEG", "BMP", "PPM", "TGA", "GIF"])
def test_other_formats_are_read_too(form: str) -> None:
    flat = np.full((8, 8, 3), 77, np.uint8)
    header, array = both(encoded(Image.fromarray(flat), form))
    assert header.layout == "HWC"
    assert array.tolist() == flat.tolist()


def test_the_limit_on_pixels_is_exact_and_names_its_flag() -> None:
    content = encoded(Image.fromarray(grey(4, 6)), "PNG")
    assert both(content, 24)[1].shape == (4, 6)
    for read in (images.read_header, images.read):
        with pytest.raises(InputError, match="6×4 are more than 23 pixels: raise --max-pixels"):
            read(io.BytesIO(content), 23)


def test_the_header_is_read_without_decoding() -> None:
    content = encoded(Image.fromarray(colour(40, 60)), "PNG")
    assert images.read_header(io.BytesIO(content[:60]), MAX_PIXELS).shape == (40, 60, 3)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "GIF"])
def test_a_file_cut_short_is_a_broken_image(form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    content = encoded(Image.fromarray(noise), form)
    with pytest.raises(InputError) as raised:
        images.read(io.BytesIO(content[: len(content) // 2]), MAX_PIXELS)
    assert "\n" not in str(raised.value)


def test_what_is_no_image_is_said_so() -> None:
    with pytest.raises(InputError, match="neither an image"):
        images.read_header(io.BytesIO(b"hello"), MAX_PIXELS)


def test_too_little_memory_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(_image: Image.Image) -> None:
        raise MemoryError

    content = encoded(Image.new("L", (2, 2)), "PNG")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", out_of_memory)
    with pytest.raises(InputError, match="memory"):
        images.read(io.BytesIO(content), MAX_PIXELS)


@pytest.mark.parametrize(
    ("suffix", "array"),
    [
        (".png", grey()),
        (".png", colour(channels=2)),
        (".png", colour()),
        (".png", colour(channels=4)),
        (".png", grey().astype(np.uint16) * 1000),
        (".tiff", grey().astype(np.int32) * -100_000),
        (".tiff", grey().astype(np.float32) / 7 - 1),
    ],
    ids=["L", "LA", "RGB", "RGBA", "I;16", "I", "F"],
)
def test_pick_1_gives_a_lossless_picture_back(
    poolcli: Run, here: Path, suffix: str, array: Array
) -> None:
    save(here / f"a{suffix}", array, array.dtype.name)
    assert poolcli("run", f"a{suffix}", "-s", "pick:1").status == 0
    result = pixels(here / f"pooled/a.1-pick1x1{suffix}")
    assert result.dtype == array.dtype
    assert result.tolist() == array.tolist()


FRAMES = {
    "RGB": np.stack(moving()),
    "RGBA": np.stack([colour(4, 6, 4), colour(4, 6, 4)[::-1]]),
    "RGBA clear": np.stack([colour(4, 6, 4), np.zeros((4, 6, 4), np.uint8)]),
    "L": np.stack([grey(), grey()[::-1]]),
    "LA": np.stack([colour(4, 6, 2), colour(4, 6, 2)[::-1]]),
    "I;16": np.stack([grey(), grey()[::-1]]).astype(np.uint16) * 1000,
    "I": np.stack([grey(), grey()[::-1]]).astype(np.int32) * -1000,
    "F": np.stack([grey(), grey()[::-1]]).astype(np.float32) / 7,
    "equal frames": np.stack([colour(), colour(), colour()[::-1], colour()[::-1]]),
}


@pytest.mark.parametrize("array", FRAMES.values(), ids=list(FRAMES))
def test_pick_1_gives_every_frame_back(poolcli: Run, here: Path, array: Array) -> None:
    first, *rest = [Image.fromarray(frame) for frame in array]
    first.save(here / "a.tiff", save_all=True, append_images=rest)
    ran = poolcli("run", "a.tiff", "-s", "pick:1")
    assert ran.status == 0, ran.err
    (result,) = (here / "pooled").iterdir()
    _, found = both(result.read_bytes()) if result.suffix != ".npy" else (None, np.load(result))
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


@pytest.mark.parametrize("form", ["png", "webp", "tiff"])
def test_frames_that_became_equal_are_all_kept(poolcli: Run, here: Path, form: str) -> None:
    frames = [Image.fromarray(frame) for frame in (colour(), colour(), colour())]
    frames[0].save(here / "a.tiff", save_all=True, append_images=frames[1:])
    ran = poolcli("run", "a.tiff", "-s", "max:2", "--format", form)
    assert ran.status == 0, ran.err
    (result,) = (here / "pooled").iterdir()
    assert both(result.read_bytes())[0].shape == (3, 2, 3, 3)


@pytest.mark.parametrize(("form", "side"), [("webp", 16_384), ("jpg", 65_536)])
def test_a_picture_too_long_for_its_format_fails_in_one_line(
    poolcli: Run, here: Path, form: str, side: int
) -> None:
    save(here / "a.png", np.zeros((1, side)))
    said = poolcli("run", "-q", "a.png", "-s", "pick:1", "--format", form).error(1)
    assert said.startswith("a.png: ")
    assert not list(here.rglob(f"*.{form}"))


@pytest.mark.parametrize("form", ["png", "webp", "tiff"])
def test_the_colour_of_clear_pixels_is_kept(poolcli: Run, here: Path, form: str) -> None:
    picture = colour(4, 6, 4)
    picture[..., 3] = 0
    save(here / "a.png", picture)
    assert poolcli("run", "a.png", "-s", "pick:1", "--format", form).status == 0
    assert pixels(here / f"pooled/a.1-pick1x1.{form}").tolist() == picture.tolist()


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize(
    ("form", "options", "turned"),
    [
        ("JPEG", {"quality": 100, "subsampling": 0, "xmp": XMP}, True),
        ("JPEG", {"quality": 100, "subsampling": 0, "xmp": XMP, "exif": {0x0112: 1}}, False),
        ("WEBP", {"lossless": True, "xmp": XMP}, True),
        ("TIFF", {"tiffinfo": {700: XMP}}, False),
    ],
    ids=["JPEG", "EXIF contradicts it", "WebP", "TIFF has a tag of its own"],
)
def test_orientation_that_xmp_alone_says(form: str, options: dict[str, Any], turned: bool) -> None:
    stored = np.kron(colour(2, 3), np.ones((16, 16, 1), np.uint8))
    if said := options.get("exif"):
        exif = Image.Exif()
        exif.update(said)
        options = {**options, "exif": exif}
    header, array = both(encoded(Image.fromarray(stored), form, **options))
    expected = np.rot90(stored, -1) if turned else stored
    assert header.shape == expected.shape
    assert np.abs(array.astype(int) - expected).max() <= (3 if form == "JPEG" else 0)


@pytest.mark.parametrize(("bits", "clear", "greys"), [(1, 1, 1), (2, 1, 3), (2, 3, 3), (4, 7, 15)])
def test_the_clear_grey_of_few_bits_is_clear(bits: int, clear: int, greys: int) -> None:
    """A PNG of one row: every grey there is."""
    row = sum(grey << (bits * (greys - grey)) for grey in range(greys + 1))
    packed = row.to_bytes(-(-bits * (greys + 1) // 8)) if bits > 1 else bytes([0b0100_0000])
    content = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", greys + 1, 1, bits, 0, 0, 0, 0))
        + chunk(b"tRNS", struct.pack(">H", clear))
        + chunk(b"IDAT", zlib.compress(b"\0" + packed))
        + chunk(b"IEND", b"")
    )
    expected = [[grey * 255 // greys, 0 if grey == clear else 255] for grey in range(greys + 1)]
    assert both(content)[1].tolist() == [expected]
