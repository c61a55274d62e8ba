"""Frames and pages by the thousand: read and written in time and memory that grow as they do."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from poolcli.errors import OutputError
from poolcli.files import directories, images
from poolcli.files.directories import Field, PageWriter
from poolcli.files.formats import Encoding
from poolcli.files.inputs import MAX_PIXELS
from poolcli.files.metadata import Metadata
from tests.conftest import Run, pixels
from tests.peaks import measured

Array = npt.NDArray[Any]


def noise(*shape: int, dtype: str = "uint8") -> Array:
    return np.random.default_rng(5).integers(0, 256, shape).astype(dtype)


def written(path: Path, form: str, count: int) -> None:
    """Write a file of so many small frames, in time that grows as their number does."""
    frames = [Image.fromarray(frame) for frame in noise(count, 8, 8)]
    if form in ("TIFF", "DEEP"):
        page = io.BytesIO()
        if form == "TIFF":
            frames[0].save(page, form, compression="tiff_adobe_deflate")
        else:
            page.write(deep_page(noise(8, 8, 3, dtype="uint16")))
        with path.open("w+b") as stream:
            writer = PageWriter(stream)
            for _ in frames:
                writer.write(page.getvalue())
        return
    frames[0].save(path, form, save_all=True, append_images=frames[1:], duration=20, lossless=True)


def deep_page(colour: Array) -> bytes:
    """Return a TIFF of 16-bit colour without compression, which Pillow does not write."""
    stream = io.BytesIO()
    Image.fromarray(colour[..., 0]).save(stream, "TIFF")
    stream.seek(0)
    form, place = directories.read_head(stream)
    fields, _ = directories.read(stream, form, place, lambda _: True)
    pixels = colour.astype(f"{form.order}u2").tobytes()
    at = 8 + len(pixels)
    lengths = {0x111: 8, 0x117: len(pixels), 0x116: len(colour)}
    bits = struct.pack(f"{form.order}3H", 16, 16, 16)
    changed = {
        0x102: Field(directories.SHORT, bits),
        0x106: Field(directories.SHORT, struct.pack(f"{form.order}H", 2)),
        0x115: Field(directories.SHORT, struct.pack(f"{form.order}H", 3)),
    } | {
        tag: Field(directories.LONG, struct.pack(f"{form.order}I", value))
        for tag, value in lengths.items()
    }
    content, directory = directories.write({**fields, **changed}, form, at)
    head = stream.getvalue()[:4] + struct.pack(f"{form.order}I", directory)
    return head + pixels + content


@pytest.mark.parametrize(
    ("form", "result"),
    [
        ("GIF", "tiff"),
        ("TIFF", "tiff"),
        ("TIFF", "npy"),
        ("DEEP", "npy"),
        ("PNG", "png"),
        ("WEBP", "webp"),
    ],
)
def test_time_grows_as_the_number_of_frames(here: Path, form: str, result: str) -> None:
    # Opened anew for its upper and its lower bytes, a page of 16-bit colour takes longer.
    seconds, counts = [], (250, 1000) if form == "DEEP" else (1000, 4000)
    for count in counts:
        written(here / f"{count}", form, count)
        ran = measured(here, "run", f"{count}", "-s", "pick:1", "-q", "--format", result)
        assert (ran.status, ran.err) == (0, "")
        seconds.append(ran.seconds)
    # It was 10 times as long, the program's start included.
    assert seconds[1] < 5.5 * seconds[0], seconds


@pytest.mark.parametrize("form", ["TIFF", "GIF"])
def test_planning_grows_as_the_number_of_frames(here: Path, form: str) -> None:
    seconds = []
    for count in (5000, 20_000):
        written(here / f"{count}", form, count)
        ran = measured(here, "run", f"{count}", "-s", "pick:1", "-q", "-n")
        assert (ran.status, ran.err) == (0, "")
        seconds.append(ran.seconds)
    assert seconds[1] < 4 * seconds[0], seconds


def test_frames_are_encoded_one_by_one(here: Path) -> None:
    """Twenty frames of 12 MB each as TIFF: none of them has to be held encoded, or copied."""
    np.save(here / "a.npy", np.zeros((20, 2000, 2000, 3), np.uint8))
    shown = ("--layout", "NHWC", "--format", "tiff", "-q", "--memory", "2GiB")
    ran = measured(here, "run", "a.npy", "-s", "pick:1", *shown)
    whole = 20 * 12
    assert (ran.status, ran.err) == (0, "")
    assert ran.peak < 2 * whole + 150, ran


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
@pytest.mark.parametrize("size", [(3, 5), (300, 400)], ids=["of a strip", "of strips"])
def test_pages_are_those_that_pillow_writes(dtype: str, size: tuple[int, int]) -> None:
    frames = noise(4, *size, dtype=dtype)
    stream = io.BytesIO()
    images.write(stream, frames, "NHW", "tiff", Encoding(metadata=Metadata(dpi=(72, 96))))
    with Image.open(stream) as image:
        assert getattr(image, "n_frames", 1) == 4
        for number, frame in enumerate(frames):
            image.seek(number)
            assert np.array_equal(np.asarray(image), frame)
            assert image.info["dpi"] == (72, 96)
    if dtype == "float32":
        # Of several strips Pillow's own writer can't.
        return
    first, *others = [Image.fromarray(frame) for frame in frames]
    expected = io.BytesIO()
    options = {"compression": "tiff_adobe_deflate", "dpi": (72, 96)}
    first.save(expected, "TIFF", save_all=True, append_images=others, **options)
    assert stream.getvalue() == expected.getvalue()


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("kind", ["H", "I"])
@pytest.mark.parametrize("strips", [1, 2, 3])
def test_pages_of_any_order_of_bytes_are_moved(byte_order: str, kind: str, strips: int) -> None:
    """Their strips lie where 16 bits say where, and no longer do in the whole."""
    page = hand_made(byte_order, kind, strips)
    stream = io.BytesIO()
    writer = PageWriter(stream)
    for _ in range(3000):
        writer.write(page)
    assert len(stream.getvalue()) > 2**16
    found, _ = images.read(stream, MAX_PIXELS)
    assert found.shape == (3000, 6, 4)
    assert (found == np.arange(24, dtype=np.uint8).reshape(6, 4)).all()


def hand_made(byte_order: str, kind: str, strips: int) -> bytes:
    """Return a TIFF of 6 by 4 bytes in some strips, whose places have a type."""
    rows = 6 // strips
    number = {"H": 3, "I": 4}[kind]
    values = np.arange(24, dtype=np.uint8).tobytes()
    places = struct.pack(f"{byte_order}{strips}{kind}", *(8 + 4 * rows * i for i in range(strips)))
    sizes = struct.pack(f"{byte_order}{strips}I", *[4 * rows] * strips)
    numbers = {0x100: 4, 0x101: 6, 0x102: 8, 0x103: 1, 0x106: 1, 0x115: 1, 0x116: rows}
    entries = {
        tag: struct.pack(f"{byte_order}HHII", tag, 4, 1, value) for tag, value in numbers.items()
    }
    at = 8 + len(values)
    behind = b""
    for tag, kind_number, content in ((0x111, number, places), (0x117, 4, sizes)):
        held = content.ljust(4, b"\0")
        if len(content) > 4:
            held = struct.pack(f"{byte_order}I", at + len(behind))
            behind += content + bytes(len(content) % 4)
        entries[tag] = struct.pack(f"{byte_order}HHI", tag, kind_number, strips) + held
    head = {"<": b"II*\0", ">": b"MM\0*"}[byte_order]
    listed = b"".join(entries[tag] for tag in sorted(entries))
    directory = struct.pack(f"{byte_order}H", len(entries)) + listed + bytes(4)
    place = struct.pack(f"{byte_order}I", at + len(behind))
    return head + place + values + behind + directory


def test_a_tiff_is_no_larger_than_its_places_can_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "_LAST_PLACE", 10_000)
    with pytest.raises(OutputError, match="its frames take more than the 10,000 bytes of a TIFF"):
        images.write(io.BytesIO(), noise(200, 8, 8), "NHW", "tiff")


def test_pages_of_large_files_are_read(here: Path, poolcli: Run) -> None:
    """BigTIFF has longer places; files are read whose mark is in the other order of bytes."""
    frames = noise(3, 6, 7)
    first, *others = [Image.fromarray(frame) for frame in frames]
    first.save(here / "a.tif", "TIFF", save_all=True, append_images=others, big_tiff=True)
    first.save(here / "b.tif", "TIFF", save_all=True, append_images=others)
    content = (here / "b.tif").read_bytes()
    (here / "c.tif").write_bytes(b"II\0*" + content[4:])
    assert poolcli("run", "a.tif", "b.tif", "-s", "pick:1", "-q").status == 0
    for name in ("a", "b"):
        assert pixels(here / f"pooled/{name}.1-pick1x1.png").tolist() == frames.tolist()
    with Image.open(here / "c.tif") as image:
        expected = getattr(image, "n_frames", 1)
    with (here / "c.tif").open("rb") as stream:
        assert len(directories.pages(stream)) == expected


def test_more_pages_than_are_sensible_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    images.write(stream, noise(12, 8, 8), "NHW", "tiff")
    monkeypatch.setattr(directories, "_MOST_PAGES", 12)
    assert len(directories.pages(stream)) == 12
    monkeypatch.setattr(directories, "_MOST_PAGES", 11)
    with pytest.raises(ValueError, match="more than 11 pages"):
        directories.pages(stream)


def second_page(size: tuple[int, int], strips: int, length: int) -> bytes:
    """Return a TIFF of 64 by 64, with a second page of a size, its strips all at one place."""
    packed = zlib.compress(bytes(64 * 64))
    body = bytes(8) + packed + bytes(length)
    places = []
    for page, (width, height), at, count, many in (
        (0, (64, 64), 8, len(packed), 1),
        (1, size, 8 + len(packed), length, strips),
    ):
        numbers = {0x100: width, 0x101: height, 0x102: 8, 0x103: 8, 0x106: 1, 0x115: 1}
        numbers[0x116] = -(-height // many)
        fields: dict[int, Field | directories.Directory] = {
            tag: Field(directories.LONG, struct.pack("<I", value)) for tag, value in numbers.items()
        }
        for tag, value in ((0x111, at), (0x117, count)):
            fields[tag] = Field(directories.LONG, struct.pack(f"<{many}I", *[value] * many))
        body += bytes(len(body) % 2)
        content, directory = directories.write(fields, directories.Form("<"), len(body))
        places.append(directory)
        body += content
        if page:
            # Where the first directory says where the next one stands.
            (entries,) = struct.unpack_from("<H", body, places[0])
            behind = places[0] + 2 + 12 * entries
            body = body[:behind] + struct.pack("<I", places[1]) + body[behind + 4 :]
    return b"II*\0" + struct.pack("<I", places[0]) + body[8:]


@pytest.mark.parametrize(
    ("size", "strips", "reason"),
    [
        ((40_000, 40_000), 400, "frame 2 has another size than the first"),
        ((64, 64), 64, "a page has more bytes than its pixels can need, or than the file"),
    ],
    ids=["larger", "as large"],
)
def test_a_later_page_is_not_copied_beyond_what_the_first_needs(
    here: Path, size: tuple[int, int], strips: int, reason: str
) -> None:
    """A file of 1 MiB, the second page of which says that it has 60 or 400 MiB of pixels."""
    (here / "a.tif").write_bytes(second_page(size, strips, 1 << 20))
    shown = ("-s", "max:2", "-q", "--memory", "64MiB", "--max-pixels", "2000000000")
    ran = measured(here, "run", "a.tif", *shown)
    assert (ran.status, reason in ran.err) == (1, True), ran
    assert ran.peak < 80, ran


def test_copies_of_pages_count() -> None:
    """A page that is decoded by itself is copied, which one alone is not."""
    stream = io.BytesIO()
    images.write(stream, noise(3, 600, 600, 3), "NHWC", "tiff")
    one = images.read_header(stream, MAX_PIXELS).decoding
    page = io.BytesIO()
    images.write(page, noise(600, 600, 3), "HWC", "tiff")
    alone = images.read_header(page, MAX_PIXELS).decoding
    files = len(stream.getvalue()) - len(page.getvalue())
    assert one - alone - files >= 16 * 600**2 + 3 * 600**2 * 3


def test_pages_of_16_bit_colour_are_held_once(here: Path) -> None:
    """Forty pages of 400 by 800: their upper and lower bytes are joined page by page."""
    frames = noise(40, 400, 800, 3, dtype="uint16") * 251
    with (here / "a.tif").open("w+b") as stream:
        writer = PageWriter(stream)
        for frame in frames:
            writer.write(deep_page(frame))
        assert np.array_equal(images.read(stream, MAX_PIXELS)[0], frames)
    shown = ("-s", "max:4", "-q", "--memory", "1GiB", "--format", "npy")
    ran = measured(here, "run", "a.tif", *shown)
    whole = frames.nbytes >> 20
    assert (ran.status, ran.err) == (0, "")
    assert ran.peak < 1.6 * whole + 60, (ran, whole)


COMPRESSIONS = (
    *("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "jpeg", "lzma", "zstd"),
)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("big", [False, True], ids=["small", "big"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16", "CMYK"])
def test_pages_of_every_compression_are_read_as_pillow_reads_them(
    compression: str, mode: str, *, big: bool
) -> None:
    if compression == "jpeg" and mode in ("RGBA", "I;16"):
        return
    sources = [Image.fromarray(frame) for frame in noise(3, 150, 160, 3)]
    frames = [frame.convert("L").convert("I") if mode == "I;16" else frame for frame in sources]
    frames = [frame.convert(mode) for frame in frames]
    stream = io.BytesIO()
    options = {"compression": compression, "big_tiff": big, "dpi": (72, 72), "exif": exif()}
    frames[0].save(stream, "TIFF", save_all=True, append_images=frames[1:], **options)
    read, _ = images.read(stream, MAX_PIXELS)
    with Image.open(stream) as image:
        for number, frame in enumerate(read):
            image.seek(number)
            shown = image.convert("RGB") if mode == "CMYK" else image
            assert np.array_equal(frame, np.asarray(shown))


def exif() -> Image.Exif:
    """Return a description, an orientation, and a directory that it leads to."""
    made = Image.Exif()
    made[0x010E], made[0x0112] = "a description", 3
    made.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    return made
