"""Colour of 16 bits a channel, read whole or refused in words."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, features

from poolcli.errors import InputError
from poolcli.files import images
from poolcli.files.depth import with_alpha
from poolcli.files.inputs import MAX_PIXELS
from poolcli.maps import Header
from tests.conftest import Run
from tests.deep_files import chunk, png, tiff

Array = npt.NDArray[Any]


def deep(channels: int, height: int = 21, width: int = 19) -> Array:
    """Numbers whose upper and lower bytes differ, smooth in one half, so that coders differ."""
    made = np.random.default_rng(channels).integers(0, 2**16, (height, width, channels), np.uint16)
    smooth = np.arange(height * width * channels, dtype=np.uint16).reshape(made.shape) * 7
    made[: height // 2] = smooth[: height // 2]
    return made[..., 0] if channels == 1 else made


def both(content: bytes, file: Path | None = None) -> tuple[Header, Array]:
    """Read header and pixels, from memory and from a file; they must agree."""
    header = images.read_header(io.BytesIO(content), MAX_PIXELS)
    array, _ = images.read(io.BytesIO(content), MAX_PIXELS)
    assert (array.shape, array.dtype.name) == (header.shape, header.dtype)
    if file is not None:
        file.write_bytes(content)
        with file.open("rb") as stream:
            assert images.read(stream, MAX_PIXELS)[0].tolist() == array.tolist()
    return header, array


GREY_ALPHA, RGB, RGBA = deep(2), deep(3), deep(4)
READ: dict[str, tuple[bytes, Array]] = {
    "PNG RGB": (png(RGB), RGB),
    "PNG RGB, less what is left": (png(RGB, row_filter=1), RGB),
    "PNG RGB, less what is above": (png(RGB, row_filter=2), RGB),
    "PNG RGB interlaced": (png(RGB, interlaced=True), RGB),
    "PNG RGBA": (png(RGBA), RGBA),
    "PNG RGBA interlaced": (png(RGBA, interlaced=True, row_filter=1), RGBA),
    "PNG LA": (png(GREY_ALPHA), GREY_ALPHA),
    "PNG LA interlaced": (png(GREY_ALPHA, interlaced=True, row_filter=2), GREY_ALPHA),
    "PNG of one pixel": (png(RGB[:1, :1], interlaced=True), RGB[:1, :1]),
    "TIFF RGB": (tiff(RGB), RGB),
    "TIFF RGB big-endian": (tiff(RGB, order=">"), RGB),
    "TIFF RGB in strips": (tiff(RGB, rows=4), RGB),
    "TIFF RGB in tiles": (tiff(RGB, tile=(16, 16)), RGB),
    "TIFF RGB deflated": (tiff(RGB, deflated=True), RGB),
    "TIFF RGB deflated big-endian": (tiff(RGB, deflated=True, order=">"), RGB),
    "TIFF RGB deflated in tiles": (tiff(RGB, deflated=True, tile=(16, 32)), RGB),
    "TIFF RGB predicted": (tiff(RGB, deflated=True, predicted=True), RGB),
    "TIFF RGB predicted big-endian": (tiff(RGB, deflated=True, predicted=True, order=">"), RGB),
    "TIFF RGBA": (tiff(RGBA), RGBA),
    "TIFF RGBA deflated": (tiff(RGBA, deflated=True, order=">"), RGBA),
    "TIFF RGB and something": (tiff(RGBA, alpha=0), RGBA[..., :3]),
    "TIFF RGB and something deflated": (tiff(RGBA, alpha=0, deflated=True), RGBA[..., :3]),
    "TIFF frames": (tiff(RGB, RGB[::-1], RGB), np.stack([RGB, RGB[::-1], RGB])),
    "TIFF frames of two kinds": (tiff(RGB, RGB[::-1]), np.stack([RGB, RGB[::-1]])),
}


@pytest.mark.parametrize(("content", "expected"), READ.values(), ids=list(READ))
def test_16_bit_colour_is_read_whole(content: bytes, expected: Array, tmp_path: Path) -> None:
    header, array = both(content, tmp_path / "a")
    assert header.dtype == array.dtype.name == "uint16"
    assert array.flags.c_contiguous
    assert array.tolist() == expected.tolist()


def test_the_hand_written_files_are_good_where_pillow_can_read_them() -> None:
    grey = deep(1)
    for content in (
        png(grey),
        png(grey, interlaced=True, row_filter=1),
        png(grey, row_filter=2),
        tiff(grey),
        tiff(grey, order=">", rows=3),
        tiff(grey, tile=(16, 16)),
        tiff(grey, deflated=True, predicted=True),
    ):
        with Image.open(io.BytesIO(content)) as image:
            assert np.array(image).tolist() == grey.tolist()


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("form", ["PNG", "PNG LA", "TIFF"])
def test_orientation_is_applied_to_both_bytes(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    block = chunk(b"eXIf", exif.tobytes()[6:])
    content, stored = {
        "PNG": (png(RGB, before=block), RGB),
        "PNG LA": (png(GREY_ALPHA, before=block), GREY_ALPHA),
        "TIFF": (tiff(RGB, tags={0x0112: orientation}), RGB),
    }[form]
    turned = np.rot90(stored, {1: 0, 3: 2, 6: -1}[orientation])
    assert both(content)[1].tolist() == turned.tolist()


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_clear_colour_becomes_an_alpha_channel(interlaced: bool) -> None:
    rgb, grey = RGB.copy(), deep(1)
    rgb[2, 3], grey[2, 3] = (300, 301, 302), 300
    # One that is the clear one in its upper bytes only.
    rgb[4, 5], grey[4, 5] = (300, 301, 303), 301
    for samples, clear in ((rgb, (300, 301, 302)), (grey, (300,))):
        header, array = both(png(samples, clear=clear, interlaced=interlaced))
        alpha = np.full(samples.shape[:2], 65535)
        alpha[2, 3] = 0
        cube = samples[..., np.newaxis] if samples.ndim == 2 else samples
        assert array[..., :-1].tolist() == cube.tolist()
        assert array[..., -1].tolist() == alpha.tolist()
        assert header.layout == "HWC"


def test_alpha_is_0_where_every_channel_is_the_clear_one() -> None:
    samples = np.array([[[1, 2, 3], [1, 2, 4]]], np.uint16)
    assert with_alpha(samples, (1, 2, 3))[..., 3].tolist() == [[0, 65535]]


def animated() -> bytes:
    """A PNG of 16-bit colour that says it has two frames."""
    control = struct.pack(">IIIIIHHBB", 0, 19, 21, 0, 0, 1, 10, 0, 0)
    before = chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", control)
    return png(RGB, before=before)


def encoded(form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20), (1, 2, 3)).save(stream, form, **options)
    return stream.getvalue()


def jpeg_2000() -> bytes:
    """A JPEG 2000 that says of its channels that they have 12 bits."""
    content = bytearray(encoded("JPEG2000"))
    start = content.index(b"\xff\x4f\xff\x51")
    for channel in range(3):
        content[start + 42 + 3 * channel] = 11
    return bytes(content)


REFUSED: dict[str, Callable[[], bytes]] = {
    "TIFF in planes": lambda: tiff(RGB, planes=True),
    "TIFF in planes deflated": lambda: tiff(RGB, planes=True, deflated=True),
    "TIFF with alpha multiplied in": lambda: tiff(RGBA, alpha=1),
    "TIFF CMYK": lambda: tiff(RGBA, tags={262: 5, 338: None}),
    "PNG animated": animated,
    "PPM": lambda: b"P6 1 1 65535\n" + struct.pack(">3H", 300, 400, 500),
    "PPM of 10 bits": lambda: b"P6 1 1 1023\n" + struct.pack(">3H", 300, 400, 500),
    "PPM plain": lambda: b"P3 1 1 1023\n300 400 500\n",
    "SGI": lambda: encoded("SGI", bpc=2),
    "SGI packed": lambda: encoded("SGI", bpc=2).replace(b"\x01\xda\0", b"\x01\xda\1", 1),
    "JPEG 2000": jpeg_2000,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_pillow_would_cut_to_8_bits_is_refused_in_words(kind: str) -> None:
    if kind == "JPEG 2000" and not features.check("jpg_2000"):
        return
    content = REFUSED[kind]()
    for read in (images.read_header, images.read):
        with pytest.raises(InputError, match="16 bits a channel"):
            read(io.BytesIO(content), MAX_PIXELS)


@pytest.mark.parametrize(
    "content",
    [
        lambda: encoded("PPM"),
        lambda: b"P6 1 1 200\n\1\2\3",
        lambda: encoded("SGI"),
        lambda: encoded("TIFF"),
        lambda: encoded("JPEG2000") if features.check("jpg_2000") else encoded("PPM"),
        lambda: encoded("AVIF") if features.check("avif") else encoded("PPM"),
    ],
    ids=["PPM", "PPM below 8 bits", "SGI", "TIFF", "JPEG 2000", "AVIF"],
)
def test_8_bits_are_not_taken_for_more(content: Callable[[], bytes]) -> None:
    header, _ = both(content())
    assert (header.layout, header.dtype) == ("HWC", "uint8")


AVIF_OF_10_BITS = base64.b64decode(
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUIAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGljdAAAAAAA"
    "AAAAAAAAAAAAAAAOcGl0bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAAIQAAAChpaW5mAAAAAAABAAAA"
    "GmluZmUCAAAAAAEAAGF2MDFDb2xvcgAAAABqaXBycAAAAEtpcGNvAAAAFGlzcGUAAAAAAAAAAgAAAAIAAAAQcGl4aQAA"
    "AAADCgoKAAAADGF2MUOBAEwAAAAAE2NvbHJuY2x4AAEADQAGgAAAABdpcG1hAAAAAAAAAAEAAQQBAoMEAAAAKW1kYXQS"
    "AAoIGAA2qAhoNCAyExlHh4YhiaaaZoJAAJA/mwxgkWA="
)
"""2×2 pixels of about 700 of 1023, which no part of Pillow can write."""


def test_an_avif_of_more_bits_is_read_with_a_warning(poolcli: Run, here: Path) -> None:
    """It is coded with losses, so that 8 bits are what most of them mean."""
    if not features.check("avif"):
        return
    (here / "a.avif").write_bytes(AVIF_OF_10_BITS)
    ran = poolcli("run", "a.avif", "-s", "max:2", "-q")
    assert (ran.status, ran.err) == (
        0,
        "warning: a.avif: 10 or 12 bits a channel, of which Pillow reads 8\n",
    )
    (here / "a.avif").write_bytes(encoded("AVIF"))
    assert not poolcli("run", "a.avif", "-s", "max:2", "-q", "--force").err


def test_5_and_6_bits_are_no_16() -> None:
    """A BMP of 16 bits a pixel, which are three channels."""
    masks = struct.pack("<3I", 0xF800, 0x7E0, 0x1F)
    header = struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 16, 3, 4, 0, 0, 0, 0) + masks
    content = b"BM" + struct.pack("<IHHI", 70, 0, 0, 66) + header + struct.pack("<HH", 0xFFFF, 0)
    assert both(content)[1].tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("pages", [(RGB, RGB.astype(np.uint8)), (RGB.astype(np.uint8), RGB)])
def test_frames_of_unequal_depth_are_refused(pages: tuple[Array, Array]) -> None:
    content = tiff(*pages)
    with pytest.raises(InputError, match="frame 2 is of mode RGB"):
        images.read(io.BytesIO(content), MAX_PIXELS)


def test_grey_and_alpha_of_16_bits_in_a_tiff_is_unknown_to_pillow() -> None:
    with pytest.raises(InputError, match="neither an image that Pillow can read"):
        images.read_header(io.BytesIO(tiff(GREY_ALPHA)), MAX_PIXELS)


def test_16_bit_colour_through_the_program(poolcli: Run, here: Path) -> None:
    (here / "a.png").write_bytes(png(RGB))
    ran = poolcli("run", "a.png", "-s", "max:2", "-s", "avg:3")
    assert ran.status == 0, ran.err
    found = np.load(here / "pooled/a.1-max2x2.npy")
    halves = [RGB[y:20:2, x:18:2] for y in (0, 1) for x in (0, 1)]
    expected = np.maximum.reduce(halves)
    assert found.dtype == np.uint16
    assert found.tolist() == expected.tolist()
    means = expected[:9, :9].reshape(3, 3, 3, 3, 3).mean((1, 3), dtype=np.float64)
    assert np.load(here / "pooled/a.2-avg3x3.npy").tolist() == np.rint(means).tolist()
    assert "uint16" in ran.out
    said = poolcli("run", "-q", "a.png", "-s", "max:2", "--format", "png").error(1)
    assert said.startswith("a.png: png can't hold uint16 HWC 10x9x3")
