"""Files that say that they are long, and are: opened in bounded memory and time, or refused."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from poolcli.errors import InputError
from poolcli.files import directories, gif, images, jpeg, opening, png, webp
from poolcli.files.inputs import MAX_PIXELS, Source
from poolcli.files.streams import Held, Metered, RefusedError, spool
from tests.conftest import ROOT, Run, environment, grey, pixels, save, tree
from tests.hostile_images import (
    HOSTILE,
    encoded,
    gif_with,
    jpeg_with,
    png_with,
    tiff_with,
    webp_with,
    write,
)
from tests.peaks import measured

LENGTH = 200 << 20
"""Bytes of the long part: more than what may be taken, less than a test should write."""
PEAK = 150
"""MiB: what the program takes, and two times the bytes that it may read before pixels."""
SECONDS = 4
"""Of the processor, for a file; reading byte by byte is slow, and bounded."""

READ_EACH = """
import json, resource, sys
from poolcli.errors import InputError
from poolcli.files.inputs import Source

def peak():
    return next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if "VmHWM" in line)

def seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

for path in sys.argv[1:]:
    with open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")
    begun, error = seconds(), None
    try:
        Source(path).read_header(None, memory=64 << 20)
        Source(path).read()
    except InputError as raised:
        error = str(raised)
    print(json.dumps([path, error, peak(), seconds() - begun]), flush=True)
"""


@pytest.fixture(scope="module")
def read_each(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str | None, int, float]]:
    """Read every hostile file, all in one process, and measure each."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, made in HOSTILE.items():
        write(folder / name, made(LENGTH))
    ran = subprocess.run(
        [sys.executable, "-c", READ_EACH, *HOSTILE],
        cwd=folder,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
        check=True,
    )
    for name in HOSTILE:
        (folder / name).unlink()
    found = map(json.loads, ran.stdout.splitlines())
    return {path: (error, peak, seconds) for path, error, peak, seconds in found}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_long_is_read_in_bounded_memory(
    read_each: dict[str, tuple[str | None, int, float]], name: str
) -> None:
    error, peak, seconds = read_each[name]
    assert error is not None
    assert "\n" not in error
    assert peak < PEAK, (error, peak)
    assert seconds < SECONDS, (error, seconds)


def test_a_file_of_zeros_is_hardly_read(here: Path) -> None:
    write(here / "big.bin", [3 << 30])
    for options in (("-n",), ()):
        ran = measured(here, "run", "big.bin", "-s", "max:2", *options)
        said = "error: big.bin: neither an image that Pillow can read nor an .npy array\n"
        assert (ran.status, ran.err) == (1, said)
        assert ran.peak < 100
        assert ran.seconds < 3


BEFORE = "a broken image: it takes more than 64 MiB to read what stands before its pixels"
BEHIND = (
    "a broken image: its chunk tEXt of 73,400,320 bytes is too long, or one of more than 262,144"
)


def test_the_others_are_done(poolcli: Run, here: Path) -> None:
    write(here / "a.png", png_with(b"tEXt", 70 << 20, b"Comment\0"))
    write(here / "b.png", png_with(b"tEXt", 70 << 20, b"Comment\0", behind=True))
    save(here / "c.png", grey())
    ran = poolcli("run", "a.png", "b.png", "c.png", "-s", "max:2", "-q", "-j", "1")
    assert ran.status == 1
    assert ran.err.splitlines() == [
        f"error: a.png: {BEFORE}",
        f"error: b.png: {BEHIND}",
        "2 of 3 inputs failed: a.png, b.png",
    ]
    assert tree(here / "pooled") == ["c.1-max2x2.png"]


def noise(height: int = 160, width: int = 200, channels: int = 3) -> np.typing.NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (height, width, channels), np.uint8)


CODED: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {"compress_level": 0}),
    "jpeg": ("JPEG", {"quality": 100, "subsampling": 0}),
    "progressive": ("JPEG", {"quality": 100, "progressive": True}),
    "lossless webp": ("WEBP", {"lossless": True}),
    "lossy webp": ("WEBP", {"quality": 100}),
    "avif": ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
    "tiff": ("TIFF", {}),
    "lzw tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "bitmap": ("BMP", {}),
    "portable": ("PPM", {}),
    "jpeg 2000": ("JPEG2000", {"irreversible": False}),
    "targa": ("TGA", {}),
    "sgi": ("SGI", {}),
    "dds": ("DDS", {}),
    "pcx": ("PCX", {}),
    "qoi": ("QOI", {}),
}


@pytest.mark.parametrize("name", CODED)
def test_pixels_that_nothing_compresses_are_read(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Even where next to nothing may stand beside them."""
    form, options = CODED[name]
    stream = io.BytesIO()
    Image.fromarray(noise()).save(stream, form, **options)
    monkeypatch.setattr(opening, "_MOST_BESIDE", 1 << 14)
    read, _ = images.read(stream, MAX_PIXELS)
    with Image.open(stream) as image:
        assert np.array_equal(read[..., :3], np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("form", ["WEBP", "AVIF"])
def test_what_is_held_whole_has_to_fit_the_memory(poolcli: Run, here: Path, form: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(noise(600, 800)).save(stream, form, lossless=True, quality=100)
    (here / "a").write_bytes(stream.getvalue())
    copies = 2 if form == "WEBP" else 1
    size = copies * len(stream.getvalue())
    assert Source("a").read_header(None, memory=size).shape == (600, 800, 3)
    with pytest.raises(InputError, match=r"at once, of which --memory allows .* held whole"):
        Source("a").read_header(None, memory=size - 1)
    said = poolcli("run", "a", "-s", "max:2", "--memory", "100KiB").error(1)
    assert "of which --memory allows 100 KiB" in said


def test_a_large_picture_of_a_format_that_is_held_whole(here: Path) -> None:
    """What it says of its length is as true as what it says of its pixels."""
    stream = io.BytesIO()
    Image.fromarray(noise(2000, 3000)).save(stream, "WEBP", lossless=True, quality=0, method=0)
    content = stream.getvalue()
    (here / "a.webp").write_bytes(content)
    opened = opening.opened(io.BytesIO(content), MAX_PIXELS)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(opening, "_MOST_BESIDE", 1 << 14)
        with opened as image:
            assert image.size == (3000, 2000)
    assert measured(here, "run", "a.webp", "-s", "max:100", "-q").status == 0


BESIDE = {
    "png text": png_with(b"tEXt", 4 << 20, b"Comment\0"),
    "png exif behind": png_with(b"eXIf", 60_000, b"MM\0*\0\0\0\x08", behind=True),
    "png of its own kind": png_with(b"prIv", 20 << 20),
    "jpeg of its own kind": jpeg_with(0xEB, 20 << 20),
    "jpeg extended description": jpeg_with(0xE1, 20 << 20, b"http://ns.adobe.com/xmp/extension/\0"),
    "tiff description": tiff_with(270, 2, 20 << 20),
    "webp of its own kind": webp_with(b"junk", 20 << 20),
    "gif comment": gif_with(4 << 20),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_long_but_sensible_is_read(here: Path, name: str) -> None:
    path = write(here / "a", BESIDE[name])
    with path.open("rb") as stream, Image.open(path) as image:
        found = images.read(stream, MAX_PIXELS)[0]
        assert np.array_equal(found, np.asarray(image.convert("RGB")))


def test_a_jpeg_of_broken_exif_is_not_copied(here: Path) -> None:
    """Pillow does not know it any more, because its EXIF has a resolution by zero."""
    fields = struct.pack("<HHHIIHHIII", 2, 0x011A, 5, 1, 38, 0x0128, 3, 1, 2, 0)
    block = b"II*\0\x08\0\0\0" + fields + struct.pack("<II", 1, 0)
    plain = encoded("JPEG", (64, 64))
    segment = b"\xff\xe1" + struct.pack(">H", 8 + len(block)) + b"Exif\0\0" + block
    content = plain[:2] + segment + plain[2:]
    write(here / "a.jpg", [content, 200 << 20])
    ran = measured(here, "run", "a.jpg", "-s", "pick:1", "-q")
    assert ran.status == 0, ran
    assert ran.peak < 100
    expected = np.asarray(Image.open(io.BytesIO(plain)).convert("RGB"))
    assert np.array_equal(pixels(here / "pooled/a.1-pick1x1.png"), expected)


def test_exif_that_is_repeated_without_end_is_refused() -> None:
    """Pillow joins it segment by segment, in time that grows as the square of their number."""
    content = b"".join(
        bytes(each) if isinstance(each, int) else each
        for each in jpeg_with(0xE1, 5 << 20, b"Exif\0\0")
    )
    with pytest.raises(ValueError, match="its EXIF takes more than 4 MiB"):
        jpeg.refuse_excess(io.BytesIO(content))
    jpeg.refuse_excess(io.BytesIO(encoded("JPEG")))


@pytest.mark.parametrize("held", ["in memory", "in a temporary file"])
def test_a_compressed_tiff_through_a_pipe(held: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(noise()).save(stream, "TIFF", compression="tiff_lzw")
    content = stream.getvalue()
    kept = Held(content) if held == "in memory" else spool(io.BytesIO(content))
    array, _ = Source("-", file="-", held=kept).read()
    assert np.array_equal(array, noise())


class Noting(io.BytesIO):
    """A stream that notes the largest read."""

    largest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.largest = max(self.largest, len(data))
        return data


def test_a_metered_stream_gives_what_it_may() -> None:
    content = bytes(range(256)) * 1000
    metered = Metered(io.BytesIO(content))
    metered.allow(len(content))
    assert metered.read() == content
    metered.seek(10)
    with pytest.raises(RefusedError, match="it takes more than 250 KiB"):
        metered.read(65)
    with pytest.raises(RefusedError):
        metered.read(1)
    metered.allow_again()
    assert (metered.read(5), metered.tell()) == (content[10:15], 15)
    assert metered.readline() == content[15:].partition(b"\n")[0] + b"\n"
    assert metered.tell() == 256 + content.index(b"\n") + 1
    # What is not there does not count.
    metered.seek(-10, io.SEEK_END)
    metered.allow(1000)
    assert metered.read(10**12) == content[-10:]
    assert metered.refusal == ""


def test_reads_of_a_byte_count_for_more() -> None:
    metered = Metered(io.BytesIO(bytes(1000)))
    metered.allow(640, least=64)
    for _ in range(10):
        assert metered.read(1) == b"\0"
    with pytest.raises(RefusedError):
        metered.read(1)
    metered.allow(640)
    for _ in range(640):
        assert metered.read(1) == b"\0"


def test_lines_are_no_longer_than_what_is_left() -> None:
    stream = Noting(b"x" * 10**6)
    metered = Metered(stream)
    metered.allow(1000)
    with pytest.raises(RefusedError):
        metered.readline()
    assert stream.tell() <= 1001
    endless = Metered(io.BytesIO(b"x" * 3_000_000))
    endless.allow(10**9)
    with pytest.raises(RefusedError):
        endless.readline()


@pytest.mark.parametrize("step", [1, 3, 7, 100])
@pytest.mark.parametrize("place", [0, 5, 94])
def test_a_patch_is_read_in_its_place(step: int, place: int) -> None:
    content = bytes(range(100))
    metered = Metered(io.BytesIO(content), (place, b"PATCH"))
    metered.allow(10**6)
    parts = iter(lambda: metered.read(step), b"")
    assert b"".join(parts) == content[:place] + b"PATCH" + content[place + 5 :]


GIFS = [
    ([], b""),
    ([b"\x21\xfe\x03abc\0"], b""),
    ([b"\x21\xff\x0bNETSCAPE2.0\x03\1\0\0\0", b"\x21\xf9\4\0\5\0\0\0"], b""),
    ([b"junk", b"\x21\x01\x02ab\0"], b"junk"),
    ([b"\x21\xfe\x03abc\0" * 3], b"\x21\xfe\0"),
]


@pytest.mark.parametrize(("before", "behind"), GIFS)
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("end", [b";", b"", b";junk", b"\0\0"])
def test_frames_of_a_gif_are_counted_as_pillow_counts_them(
    before: list[bytes], behind: bytes, count: int, end: bytes
) -> None:
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "GIF")
    content = stream.getvalue()
    head, picture = content[:13], content[content.index(b",") : -1]
    colours = content[13 : 13 + (3 << (content[10] & 7) + 1)]
    whole = head + colours + (b"".join(before) + picture + behind) * count + end
    with Image.open(io.BytesIO(whole)) as image:
        assert gif.count_frames(io.BytesIO(whole)) == getattr(image, "n_frames", 1)


def test_frames_of_mutated_gifs_are_counted_as_pillow_counts_them() -> None:
    stream = io.BytesIO()
    frames = [Image.fromarray(noise(9, 9, 1)[..., 0]).rotate(90 * turn) for turn in range(4)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], comment=b"said")
    rng, told = np.random.default_rng(0), 0
    for _ in range(2000):
        content = bytearray(stream.getvalue()[: rng.integers(20, stream.tell() + 1)])
        for at in rng.integers(13, len(content), rng.integers(0, 4)):
            content[at] = rng.integers(0, 256)
        if (expected := counted_by_pillow(bytes(content))) is None:
            continue
        told += 1
        assert gif.count_frames(io.BytesIO(bytes(content))) == expected
    assert told > 300


def counted_by_pillow(content: bytes) -> int | None:
    """Return how many frames Pillow finds; None where it refuses a file, in whatever way."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # noqa: BLE001 - anything that broken bytes lead to
        return None


def test_pages_of_mutated_tiffs_are_counted_as_pillow_counts_them() -> None:
    stream = io.BytesIO()
    frames = [Image.fromarray(noise(9, 9)).rotate(90 * turn) for turn in range(3)]
    frames[0].save(stream, "TIFF", save_all=True, append_images=frames[1:])
    rng, told = np.random.default_rng(0), 0
    content = stream.getvalue()
    places = directories.pages(stream)
    assert len(places) == 3
    for _ in range(500):
        changed = bytearray(content)
        # Where a page says what follows: to an earlier one, to itself, to nothing.
        at = places[rng.integers(0, 3)]
        (count,) = struct.unpack_from("<H", changed, at)
        leading = [*places, 0, rng.integers(0, len(content))]
        struct.pack_into("<I", changed, at + 2 + 12 * count, leading[rng.integers(0, len(leading))])
        if (expected := counted_by_pillow(bytes(changed))) is None:
            continue
        told += 1
        assert len(directories.pages(io.BytesIO(changed))) == expected
    assert told > 200


def test_a_page_that_leads_beyond_the_file_is_an_error_in_words(poolcli: Run, here: Path) -> None:
    content = bytearray(encoded("TIFF"))
    (place,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, place)
    struct.pack_into("<I", content, place + 2 + 12 * count, 10**9)
    (here / "a.tif").write_bytes(content)
    said = poolcli("run", "a.tif", "-s", "max:2").error(1)
    assert said == "a.tif: a broken image: page 2 lies beyond its end"


def test_fields_of_a_tiff_are_kept_no_further_than_sensible(here: Path) -> None:
    """Many fields of no more than a megabyte each: each is worth keeping, not all of them."""
    pieces = tiff_with(0x9286, 7, 1 << 20)
    head = pieces[0]
    assert isinstance(head, bytes)
    (place,) = struct.unpack_from("<I", head, 4)
    (count,) = struct.unpack_from("<H", head, place)
    entry = head[place + 2 + 12 * (count - 1) :][:12]
    own = [struct.pack("<H", 0x9400 + index) + entry[2:] for index in range(64)]
    listed = head[place + 2 :][: 12 * (count - 1)] + b"".join(own)
    # Behind the values, so that they keep their place.
    values = len(head)
    directory = struct.pack("<H", count - 1 + len(own)) + listed + bytes(4)
    start = head[:4] + struct.pack("<I", values + (1 << 20)) + head[8:]
    path = write(here / "a.tif", [start, 1 << 20, directory])
    with path.open("rb") as stream:
        form, at = directories.read_head(stream)
        found, unread = directories.read(stream, form, at, lambda tag: tag >= 0x9000)
    assert (len(found), unread) == (1, 63)


@pytest.mark.parametrize("chunks", [999, 1001])
def test_a_webp_of_parts_without_number_is_refused(chunks: int) -> None:
    plain = encoded("WEBP", lossless=True)
    content = plain + b"junk\0\0\0\0" * (chunks - 1)
    if chunks > 1000:
        with pytest.raises(InputError, match="more than 262,144 frames, or 1,000 chunks"):
            webp.refuse_excess(io.BytesIO(content), 1 << 20)
    else:
        webp.refuse_excess(io.BytesIO(content), 1 << 20)


def test_a_png_of_parts_without_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "_MOST_OTHERS", 10)
    chunk = struct.pack(">I4sI", 0, b"prIv", zlib.crc32(b"prIv"))
    plain = encoded("PNG")
    at = plain.index(b"IDAT") - 4
    for count in (7, 20):
        content = plain[:at] + chunk * count + plain[at:]
        if count == 7:
            png.refuse_excess(io.BytesIO(content), 1 << 20)
            continue
        with pytest.raises(ValueError, match="prIv of 0 bytes is too long, or one of more than 10"):
            png.refuse_excess(io.BytesIO(content), 1 << 20)


def test_a_png_of_pixels_in_short_chunks_without_number_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(png, "_MOST_OTHERS", 10)
    plain = encoded("PNG")
    at = plain.index(b"IDAT") - 4
    for name in (b"IDAT", b"fdAT"):
        chunk = struct.pack(">I4sI", 0, name, zlib.crc32(name))
        png.refuse_excess(io.BytesIO(plain[:at] + chunk * 9 + plain[at:]), 1 << 20)
        with pytest.raises(ValueError, match="more than 10 of its chunks of pixels are short"):
            png.refuse_excess(io.BytesIO(plain[:at] + chunk * 11 + plain[at:]), 1 << 20)


def test_a_jpeg_of_segments_without_number_is_refused() -> None:
    plain, segment = encoded("JPEG"), b"\xff\xfe\0\2"
    jpeg.refuse_excess(io.BytesIO(plain[:2] + segment * 9_900 + plain[2:]))
    with pytest.raises(ValueError, match="more than 10,000 segments before its pixels"):
        jpeg.refuse_excess(io.BytesIO(plain[:2] + segment * 10_001 + plain[2:]))


@pytest.mark.parametrize(
    ("start", "part"),
    [(b",\0\0\0\0\1\0\1\0\0\2", b"\1\1"), (b"", b"!\xff\0"), (b"!\xff", b"\1\1")],
    ids=["pixels", "extensions", "blocks of an extension"],
)
def test_a_gif_of_parts_without_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, start: bytes, part: bytes
) -> None:
    monkeypatch.setattr(gif, "_MOST_PARTS", 20)
    head = b"GIF89a\1\0\1\0\0\0\0"
    gif.count_frames(io.BytesIO(head + start + part * 19 + b"\0;"))
    with pytest.raises(ValueError, match="more than 20 frames, extensions and short blocks"):
        gif.count_frames(io.BytesIO(head + start + part * 22 + b"\0;"))


@pytest.mark.parametrize("form", ["jpg", "gif", "png"])
def test_small_parts_take_no_longer_than_their_limit(here: Path, form: str) -> None:
    """Of 8 and of 32 MiB of small parts, no more are looked at than there may be."""
    empty = struct.pack(">I4sI", 0, b"IDAT", zlib.crc32(b"IDAT"))
    plain = {"jpg": encoded("JPEG"), "png": encoded("PNG")}
    at = plain["png"].index(b"IDAT") - 4
    start, part = {
        "jpg": (plain["jpg"][:2], b"\xff\xfe\0\2"),
        "gif": (b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2", b"\1\1"),
        "png": (plain["png"][:at], empty),
    }[form]
    behind = {"jpg": plain["jpg"][2:], "gif": b"\0;", "png": plain["png"][at:]}[form]
    seconds = []
    for size in (8 << 20, 32 << 20):
        path = here / f"{size}.{form}"
        path.write_bytes(start + part * (size // len(part)) + behind)
        ran = measured(here, "run", path.name, "-s", "max:2", "-q")
        assert ran.status == 1, ran
        seconds.append(ran.seconds)
    assert seconds[1] < 1.6 * seconds[0], seconds


# Lists, recipes, weights.


def test_a_list_is_read_in_steps(here: Path, poolcli: Run) -> None:
    save(here / "a.png", grey())
    lines = "\n".join(["a.png", "./a.png", ""] * 50_000)
    (here / "list").write_text(lines)
    assert poolcli("run", "--files-from", "list", "-s", "max:2", "-q").status == 0
    write(here / "zeros", [3 << 30])
    (here / "long").write_bytes(b"x" * (200 << 10))
    for name, said in {
        "zeros": "it has NUL in it, as between names: give -0 too",
        "long": "a name of more than 65,536 bytes: it is no list of files",
    }.items():
        ran = measured(here, "run", "--files-from", name, "-s", "max:2")
        assert (ran.status, ran.err) == (2, f"error: --files-from {name}: {said}\n")
        assert ran.peak < 100


@pytest.mark.parametrize("null", [False, True], ids=["lines", "null"])
def test_a_list_without_end_is_refused(here: Path, *, null: bool) -> None:
    program = [sys.executable, "-m", "poolcli", "run", "--files-from", "-", "-s", "max:2"]
    endless = "cat /dev/zero" if null else "yes a.png"
    ran = subprocess.run(
        ["sh", "-c", f'{endless} | exec "$@"', "sh", *program, *(["-0"] if null else [])],
        cwd=here,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 2
    assert "more than 256 MiB: split it, or give folders" in ran.stderr


def test_too_many_names_are_refused(
    here: Path, poolcli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolcli.files.discovery._MOST_NAMES", 1000)
    (here / "list").write_text("\n".join(map(str, range(200_000))))
    said = poolcli("run", "--files-from", "list", "-s", "max:2").error(2)
    assert said == "--files-from list: more than 1,000 names: split it, or give folders"


def test_a_recipe_of_a_gigabyte_is_refused(here: Path) -> None:
    write(here / "r.toml", [b'[[stage]]\nspec = "max:2"\n#', 1 << 30])
    save(here / "a.png", grey())
    ran = measured(here, "run", "a.png", "--recipe", "r.toml")
    assert ran.status == 2
    assert ran.peak < 100


def test_weights_of_gigabytes_are_refused(here: Path) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (8388608, 1, 8, 8), }".ljust(117)
    start = b"\x93NUMPY\1\0" + struct.pack("<H", 118) + header.encode() + b"\n"
    write(here / "w.npy", [start, 8388608 * 64 * 4])
    save(here / "a.npy", np.zeros((1, 8, 8), np.float32))
    ran = measured(here, "run", "a.npy", "-s", "conv,weights=w.npy", "--memory", "16GiB", "-q")
    assert ran.status == 1
    assert "w.npy: 2,048 MiB, of which 1,024 MiB are read" in ran.err
    assert ran.peak < 200
