"""What images carry beside their pixels, from inputs through the program to results."""

from __future__ import annotations

import importlib
import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from poolcli import __version__
from poolcli.files import exif
from poolcli.files.directories import Field
from poolcli.files.exif import Exif
from poolcli.files.metadata import Metadata, provenance, sensible
from tests.conftest import Run, colour, grey, pixels, save
from tests.deep_files import chunk

EXIF, GPS, SOFTWARE, ORIENTATION = 0x8769, 0x8825, 0x0131, 0x0112
SUFFIX = {"png": ".png", "tiff": ".tiff", "webp": ".webp", "jpg": ".jpg"}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

KEPT: dict[int, Any] = {
    0x010F: "Maker",
    0x0110: "Model",
    0x013B: "An artist",
    0x8298: "2024",
    0x010E: "a truck",
    0x0132: "2024:01:02 03:04:05",
    EXIF: {0x9003: "2023:01:02 03:04:05", 0xA420: "0123456789abcdef"},
    GPS: {1: "N", 2: (52.0, 30.0, 15.5)},
}
SAID = {**KEPT, EXIF: {**KEPT[EXIF], 0xA002: 12, 0xA003: 8}, ORIENTATION: 6}
"""What a camera says, and what it says of its own pixels."""


def block(said: dict[int, Any], endian: str = "<") -> bytes:
    exif = Image.Exif()
    exif.endian = endian
    for tag, value in said.items():
        exif[tag] = value
    return exif.tobytes()


def told(path: Path) -> dict[int, Any]:
    """Return what a result's EXIF says, read by Pillow, but for what is of its own pixels."""
    with Image.open(path) as image:
        said = image.getexif()
        below = {tag: dict(said.get_ifd(tag)) for tag in (EXIF, GPS) if tag in said}
        found = {**dict(said), **below}
    own = {0x011A, 0x011B, 0x0128, SOFTWARE}
    if path.suffix == ".tiff":
        own |= {0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x0111, 0x0115, 0x0116, 0x0117, 0x011C}
        own |= {0x8773}
    return {tag: value for tag, value in found.items() if tag not in own}


def source(path: Path, form: str, said: dict[int, Any], endian: str = "<", **more: Any) -> None:
    """Save a picture with EXIF, a profile and a resolution."""
    exif = {"tiffinfo": said} if form == "TIFF" else {"exif": block(said, endian)}
    options = {"icc_profile": SRGB, "dpi": (300, 150), **exif, **more}
    Image.fromarray(colour(8, 12)).save(path, form, **options)


@pytest.mark.parametrize("result", SUFFIX)
@pytest.mark.parametrize(
    ("form", "endian"),
    [("PNG", "<"), ("TIFF", "<"), ("WEBP", "<"), ("JPEG", "<"), ("JPEG", ">"), ("PNG", ">")],
)
def test_what_a_camera_says_is_carried(
    poolcli: Run, here: Path, form: str, endian: str, result: str
) -> None:
    source(here / "a", form, SAID, endian)
    ran = poolcli("run", "a", "-s", "max:2", "-s", "max:2", "--format", result)
    assert (ran.status, ran.err.count("warning")) == (0, 0), ran.err
    for index, size in ((1, (4, 6)), (2, (2, 3))):
        path = here / f"pooled/a.{index}-max2x2{SUFFIX[result]}"
        assert told(path) == KEPT
        with Image.open(path) as image:
            assert image.size == size
            assert image.info["icc_profile"] == SRGB


def said_resolution(path: Path) -> tuple[float, float] | None:
    """Return a result's own resolution in dots an inch, by Pillow."""
    with Image.open(path) as image:
        said = image.getexif()
        if image.format == "JPEG" and image.info.get("jfif_unit") != 1:
            return None
        if image.format == "TIFF" and 0x011A not in said:
            return None
        found = image.info.get("dpi")
        if image.format == "WEBP" and 0x011A in said:
            assert said[0x0128] == 2
            found = said[0x011A], said[0x011B]
    return None if found is None else (float(found[0]), float(found[1]))


@pytest.mark.parametrize("result", SUFFIX)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "BMP"])
def test_resolution_is_carried(poolcli: Run, here: Path, form: str, result: str) -> None:
    Image.fromarray(colour()).save(here / "a", form, dpi=(300, 72))
    assert poolcli("run", "a", "-s", "pick:1", "--format", result).status == 0
    found = said_resolution(here / f"pooled/a.1-pick1x1{SUFFIX[result]}")
    assert found == pytest.approx((300, 72), abs=0.02)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG"])
def test_resolution_turns_with_the_picture(poolcli: Run, here: Path, form: str) -> None:
    source(here / "a", form, {ORIENTATION: 8})
    assert poolcli("run", "a", "-s", "pick:1").status == 0
    found = said_resolution(here / "pooled/a.1-pick1x1.png")
    assert found == pytest.approx((150, 300), abs=0.02)


def test_resolution_does_not_turn_with_what_xmp_says_of_a_tiff(poolcli: Run, here: Path) -> None:
    said = {700: b'<rdf:Description tiff:Orientation="6"/>'}
    Image.fromarray(colour()).save(here / "a.tif", dpi=(300, 150), tiffinfo=said)
    assert poolcli("run", "a.tif", "-s", "pick:1").status == 0
    found = said_resolution(here / "pooled/a.1-pick1x1.png")
    assert found == pytest.approx((300, 150), abs=0.02)


def test_resolution_that_exif_alone_says(poolcli: Run, here: Path) -> None:
    said = {0x011A: 118.0, 0x011B: 59.0, 0x0128: 3}
    Image.fromarray(colour()).save(here / "a.jpg", exif=block(said))
    Image.fromarray(colour()).save(here / "b.webp", exif=block(said))
    assert poolcli("run", "a.jpg", "b.webp", "-s", "pick:1", "--format", "tiff").status == 0
    for name in ("a", "b"):
        found = said_resolution(here / f"pooled/{name}.1-pick1x1.tiff")
        assert found == pytest.approx((118 * 2.54, 59 * 2.54))


@pytest.mark.parametrize("result", SUFFIX)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_where_nothing_is_said_of_resolution_none_is_invented(
    poolcli: Run, here: Path, form: str, result: str
) -> None:
    Image.fromarray(colour()).save(here / "a", form, exif=block({0x010F: "Maker"}))
    assert poolcli("run", "a", "-s", "pick:1", "--format", result).status == 0
    assert said_resolution(here / f"pooled/a.1-pick1x1{SUFFIX[result]}") is None


@pytest.mark.parametrize(
    ("dpi", "expected"),
    [
        ((72, 72), (72, 72)),
        ((0, 72), None),
        ((float("nan"), 72), None),
        ((float("inf"), 72), None),
        ((-1, 72), None),
        ((1e-9, 72), None),
        ((2**31, 72), None),
        ((72,), None),
        (("a", "b"), None),
        (None, None),
    ],
)
def test_what_is_a_resolution(dpi: Any, expected: tuple[float, float] | None) -> None:
    assert sensible(dpi) == expected


@pytest.mark.parametrize(
    "number", [(0, 1), (300, 0), (2**32 - 1, 1), (0, 0)], ids=["0", "x/0", "huge", "0/0"]
)
def test_a_nonsensical_resolution_is_no_error(
    poolcli: Run, here: Path, number: tuple[int, int]
) -> None:
    stream = io.BytesIO()
    Image.fromarray(colour()).save(stream, "TIFF", dpi=(300, 300))
    content = stream.getvalue().replace(struct.pack("<2I", 300, 1), struct.pack("<2I", *number))
    assert content != stream.getvalue()
    (here / "a.tif").write_bytes(content)
    for result, suffix in SUFFIX.items():
        ran = poolcli("run", "a.tif", "-s", "pick:1", "--format", result)
        assert (ran.status, ran.err.count("warning")) == (0, 0), ran.err
        assert said_resolution(here / f"pooled/a.1-pick1x1{suffix}") is None


def test_a_jpeg_holds_no_more_than_16_bits_of_resolution(poolcli: Run, here: Path) -> None:
    Image.fromarray(colour()).save(here / "a.png", dpi=(254_000, 254_000))
    assert poolcli("run", "a.png", "-s", "pick:1", "--format", "jpg").status == 0
    assert said_resolution(here / "pooled/a.1-pick1x1.jpg") is None
    assert poolcli("run", "a.png", "-s", "pick:1").status == 0
    assert said_resolution(here / "pooled/a.1-pick1x1.png") == pytest.approx((254_000, 254_000))


PROFILES = {
    "RGB for colour": (b"RGB ", colour(), True),
    "RGB for colour and alpha": (b"RGB ", colour(channels=4), True),
    "RGB for grey": (b"RGB ", grey(), False),
    "grey for grey": (b"GRAY", grey(), True),
    "grey for grey and alpha": (b"GRAY", colour(channels=2), True),
    "grey for colour": (b"GRAY", colour(), False),
    "CMYK for colour": (b"CMYK", colour(), False),
    "Lab for colour": (b"Lab ", colour(), False),
}


@pytest.mark.parametrize(("space", "array", "carried"), PROFILES.values(), ids=list(PROFILES))
def test_a_profile_is_carried_where_it_fits_the_result(
    poolcli: Run, here: Path, space: bytes, array: Any, carried: bool
) -> None:
    profile = SRGB[:16] + space + SRGB[20:]
    Image.fromarray(array).save(here / "a.png", icc_profile=profile)
    for result in ("png", "tiff"):
        assert poolcli("run", "a.png", "-s", "max:2", "--format", result).status == 0
        with Image.open(here / f"pooled/a.1-max2x2{SUFFIX[result]}") as image:
            assert image.info.get("icc_profile") == (profile if carried else None)


def test_a_profile_that_fits_the_input_alone_is_dropped(poolcli: Run, here: Path) -> None:
    Image.fromarray(colour()).save(here / "a.png", icc_profile=SRGB)
    cmyk = Image.fromarray(colour()).convert("CMYK")
    cmyk.save(here / "b.tif", icc_profile=SRGB[:16] + b"CMYK" + SRGB[20:])
    assert poolcli("run", "a.png", "-s", "avg:3,over=channels").status == 0
    assert poolcli("run", "b.tif", "-s", "avg:2").status == 0
    for result in (here / "pooled").iterdir():
        with Image.open(result) as image:
            assert "icc_profile" not in image.info


def test_grey_of_32_bits_carries_too(poolcli: Run, here: Path) -> None:
    for mode in ("I", "F", "I;16"):
        picture = Image.new(mode, (6, 4))
        picture.save(here / "a.tif", dpi=(300, 300), tiffinfo=KEPT)
        assert poolcli("run", "a.tif", "-s", "max:2", "--format", "tiff", "--force").status == 0
        path = here / "pooled/a.1-max2x2.tiff"
        assert told(path).items() >= KEPT.items()
        assert said_resolution(path) == (300, 300)


def encoded(form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(colour()).save(stream, form, **options)
    return stream.getvalue()


RAW_PROFILE = b"Raw profile type exif\0\0" + zlib.compress(
    b"\nexif\n%8d\n%s\n" % (len(block(SAID)), block(SAID).hex().encode())
)


def far(size: int = 100_000) -> bytes:
    """A picture of so many bytes at least, in which what is sought is found by chance."""
    noise = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
    decoy = chunk(b"teXt", b"eXIf" + noise + b"eXIf")
    return encoded().replace(chunk(b"IEND", b""), decoy)


ODD_PLACES = {
    "far behind": lambda: far() + chunk(b"eXIf", block(SAID)[6:]) + chunk(b"IEND", b""),
    "far before the end": lambda: (
        encoded().replace(chunk(b"IEND", b""), chunk(b"eXIf", block(SAID)[6:]))
        + far()[len(encoded()) - 12 :]
        + chunk(b"IEND", b"")
    ),
    "behind the pixels": lambda: encoded().replace(
        chunk(b"IEND", b""), chunk(b"eXIf", block(SAID)[6:]) + chunk(b"IEND", b"")
    ),
    "as ImageMagick writes it": lambda: encoded().replace(
        encoded()[33:41], chunk(b"zTXt", RAW_PROFILE) + encoded()[33:41], 1
    ),
    "marked twice": lambda: encoded(exif=b"Exif\0\0" + block(SAID)),
}


@pytest.mark.parametrize("place", ODD_PLACES)
def test_exif_is_found_wherever_it_stands_and_its_orientation_applied(
    poolcli: Run, here: Path, place: str
) -> None:
    (here / "a.png").write_bytes(ODD_PLACES[place]())
    ran = poolcli("run", "a.png", "-s", "pick:1")
    assert (ran.status, ran.err.count("warning")) == (0, 0), ran.err
    path = here / "pooled/a.1-pick1x1.png"
    assert told(path) == KEPT
    assert pixels(path).tolist() == np.rot90(colour(), -1).tolist()


BROKEN = {
    "no block": (b"garbage", "can't be read and is dropped"),
    "cut short": (block(KEPT)[6:90], "fields can't be read and are dropped"),
    "of other offsets": (b"MM\0*\0\0\0\x08\xff\xff", "fields can't be read and are dropped"),
}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("how", BROKEN)
def test_broken_exif_is_dropped_in_words_and_the_pixels_kept(
    poolcli: Run, here: Path, how: str, form: str
) -> None:
    content, said = BROKEN[how]
    mark = b"Exif\0\0" if form == "JPEG" else b""
    (here / "a").write_bytes(encoded(form, exif=mark + content, dpi=(72, 72)))
    ran = poolcli("run", "a", "-s", "pick:1", "-q")
    (line,) = ran.err.splitlines()
    assert ran.status == 0
    assert line.startswith("warning: a: EXIF")
    assert said in line
    with Image.open(here / "a") as image:
        assert pixels(here / "pooled/a.1-pick1x1.png").tolist() == np.array(image).tolist()


def test_exif_by_which_pillow_knows_a_jpeg_no_more(poolcli: Run, here: Path) -> None:
    """It takes the resolution for two numbers, whatever its type says."""
    said = block({0x010F: "Maker", 0x0128: 2, ORIENTATION: 6})
    # What was a place of a description becomes a resolution of one byte.
    content = block({0x010F: "Maker", 0x011A: 1, 0x0128: 2, ORIENTATION: 6})
    number = content.index(struct.pack("<H", 0x011A))
    content = content[: number + 2] + struct.pack("<HII", 1, 1, 7) + content[number + 12 :]
    (here / "a.jpg").write_bytes(encoded("JPEG", exif=content, quality=100))
    (here / "b.jpg").write_bytes(encoded("JPEG", exif=said, quality=100))
    for name in ("a", "b"):
        assert poolcli("run", f"{name}.jpg", "-s", "pick:1", "-q").err == ""
    found, expected = (here / f"pooled/{name}.1-pick1x1.png" for name in ("a", "b"))
    assert told(found) == {0x010F: "Maker"}
    assert pixels(found).tolist() == pixels(expected).tolist()


def test_exif_that_a_jpeg_has_no_room_for_is_dropped_in_words(poolcli: Run, here: Path) -> None:
    source(here / "a.png", "PNG", {0x010E: "x" * 70_000})
    ran = poolcli("run", "a.png", "-s", "max:2", "--format", "jpg", "-q")
    assert ran.status == 0
    assert ran.err.startswith("warning: a.png: stage 1 (max:2): EXIF of 70,")
    assert "is dropped: JPEG has room for" in ran.err
    assert told(here / "pooled/a.1-max2x2.jpg") == {}
    assert poolcli("run", "a.png", "-s", "max:2", "-q").err == ""
    assert len(told(here / "pooled/a.1-max2x2.png")[0x010E]) == 70_000


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}])
def test_nothing_of_how_a_tiff_was_stored_leaks_into_its_results(
    poolcli: Run, here: Path, options: dict[str, Any]
) -> None:
    picture = Image.fromarray(colour(40, 30))
    picture.save(here / "a.tif", **options, strip_size=300, tiffinfo={0x010F: "Maker", 65000: "x"})
    indexed = picture.convert("P")
    indexed.save(here / "b.tif")
    for name in ("a.tif", "b.tif"):
        assert poolcli("run", name, "-s", "max:2").status == 0
        assert poolcli("run", name, "-s", "max:2", "--format", "tiff").status == 0
    assert told(here / "pooled/a.1-max2x2.png") == {0x010F: "Maker"}
    assert told(here / "pooled/b.1-max2x2.png") == {}
    assert told(here / "pooled/a.1-max2x2.tiff") == {0x010F: "Maker"}
    assert told(here / "pooled/b.1-max2x2.tiff") == {}
    with Image.open(here / "pooled/a.1-max2x2.tiff") as image:
        assert image.size == (15, 20)


def said_of_making(path: Path) -> str:
    """Return what a result says of how it was made, by Pillow."""
    with Image.open(path) as image:
        if image.format == "PNG":
            return str(image.info["Software"])
        if image.format == "JPEG":
            return str(image.info["comment"].decode())
        return str(image.getexif()[SOFTWARE])


@pytest.mark.parametrize("result", SUFFIX)
def test_each_result_says_how_it_was_made(poolcli: Run, here: Path, result: str) -> None:
    save(here / "in/truck.png", colour(16, 16))
    ran = poolcli(
        "run", "in", "-s", "MaxPool2d(2)", "-s", "avg:3x3,p=1", "-o", "x", "--format", result
    )
    assert ran.status == 0, ran.err
    start = f"poolcli {__version__}: truck.png -s max:2"
    assert said_of_making(here / f"x/truck.1-max2x2{SUFFIX[result]}") == start
    last = said_of_making(here / f"x/truck.2-avg3x3{SUFFIX[result]}")
    assert last == f"{start} -s avg:3,pad=1"


@pytest.mark.parametrize("result", SUFFIX)
@pytest.mark.parametrize("name", ["ärger.png", "漢字.png", "a b.png", "back\\slash.png"])
def test_any_name_can_be_told(poolcli: Run, here: Path, name: str, result: str) -> None:
    save(here / name, colour())
    assert poolcli("run", name, "-s", "max:2", "--format", result).status == 0
    (path,) = (here / "pooled").iterdir()
    expected = provenance(name, ["-s max:2"])
    if result in ("tiff", "webp"):
        expected = expected.encode("ascii", "backslashreplace").decode()
    assert said_of_making(path) == expected


def test_options_that_change_values_are_told_and_paths_are_not(poolcli: Run, here: Path) -> None:
    np.save(here / "weights,1.npy", np.ones((3, 3, 1, 1), np.float32))
    np.save(here / "a.npy", np.ones((4, 4, 3), np.float32))
    spec = f'conv,weights="{here}/weights,1.npy"'
    options = ("--layout", "HWC", "--dtype", "uint8", "--format", "png")
    ran = poolcli("run", here / "a.npy", "-s", spec, *options)
    assert ran.status == 0, ran.err
    (path,) = (here / "pooled").iterdir()
    assert said_of_making(path) == (
        f"poolcli {__version__}: a.npy -s 'conv,weights=\"weights,1.npy\"' "
        "--layout HWC --dtype uint8"
    )


def test_names_that_are_no_text_stay_on_one_line() -> None:
    assert provenance("a\n\udcff\x1b.png", []) == rf"poolcli {__version__}: 'a\n\udcff\x1b.png'"


def test_standard_input_and_output_say_so_too(poolcli: Run, here: Path) -> None:
    ran = poolcli("run", "-", "-s", "max:2", "-o", "-", stdin=encoded())
    (here / "a.png").write_bytes(ran.data)
    assert said_of_making(here / "a.png") == f"poolcli {__version__}: stdin -s max:2"


def test_a_contact_sheet_tells_the_whole_chain(poolcli: Run, here: Path) -> None:
    save(here / "a.png", colour(16, 16))
    options = ("--save", "none", "--sheet", "sheet.png")
    assert poolcli("run", "a.png", "-s", "max:2*2", *options).status == 0
    assert said_of_making(here / "sheet.png") == f"poolcli {__version__}: a.png -s max:2 -s max:2"


@pytest.mark.parametrize("result", [*SUFFIX, "npy"])
def test_equal_inputs_of_equal_names_give_equal_bytes(
    poolcli: Run, here: Path, result: str
) -> None:
    for folder in ("one", "two/deep"):
        (here / folder).mkdir(parents=True)
        source(here / folder / "a.jpg", "JPEG", SAID)
        ran = poolcli(
            "run", f"{folder}/a.jpg", "-s", "max:2", "-o", f"{folder}-x", "--format", result
        )
        assert ran.status == 0, ran.err
    (first,), (second,) = (list((here / f"{name}-x").iterdir()) for name in ("one", "two/deep"))
    assert first.read_bytes() == second.read_bytes()
    assert str(here).encode() not in first.read_bytes()


def test_metadata_is_read_without_decoding_again(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "a.png").write_bytes(ODD_PLACES["behind the pixels"]())
    decoded: list[int] = []
    core = importlib.import_module("PIL._imaging")
    decoder = core.zip_decoder

    def counted(*arguments: Any) -> Any:
        decoded.append(1)
        return decoder(*arguments)

    monkeypatch.setattr(core, "zip_decoder", counted)
    assert poolcli("run", "a.png", "-s", "max:2", "-n").status == 0
    assert not decoded
    assert poolcli("run", "a.png", "-s", "max:2").status == 0
    assert len(decoded) == 1


def test_what_a_format_has_no_room_for_is_said() -> None:
    assert not Metadata(exif=bytes(65_000)).losses("jpg")
    assert "EXIF of 65,001 bytes" in Metadata(exif=bytes(65_001)).losses("jpg")[0]
    assert not Metadata(exif=bytes(65_001)).losses("png")
    profile = bytes(16) + b"RGB " + bytes(1 << 20)
    assert "colour profile of 1,048,596 bytes" in Metadata(icc=profile).losses("png")[0]
    assert Metadata(icc=profile).held_by("png", 3).icc is None
    assert Metadata(icc=profile).held_by("jpg", 3).icc == profile
    assert "maker note" in Metadata(exif=b"", has_note=True).losses("tiff")[0]


@pytest.mark.parametrize("size", [1 << 19, (1 << 20) + 1])
def test_a_large_profile_goes_on_only_where_it_is_read_again(
    poolcli: Run, here: Path, size: int
) -> None:
    profile = bytes(16) + b"RGB " + bytes(size - 20)
    Image.fromarray(colour()).save(here / "a.tif", icc_profile=profile)
    ran = poolcli("run", "a.tif", "-s", "pick:1", "-q")
    assert ran.status == 0
    assert ("colour profile" in ran.err) == (size > 1 << 20)
    with Image.open(here / "pooled/a.1-pick1x1.png") as result:
        assert len(result.info.get("icc_profile", b"")) == (size if size <= 1 << 20 else 0)


def test_a_field_that_promises_millions_of_numbers_is_not_read() -> None:
    count = 3_000_000
    entry = struct.pack("<HHII", 0x0112, 3, count, 26)
    block = b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4) + struct.pack("<H", 6) * count
    tracemalloc.start()
    found = exif.parse(io.BytesIO(block))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.orientation, found.unread) == (None, 1)
    assert peak < 1 << 20


@pytest.mark.parametrize("place", [0, 4, 100])
def test_a_maker_note_stays_where_it_is_or_is_dropped(poolcli: Run, here: Path, place: int) -> None:
    note = b"MAKER" + bytes(range(40))
    kept = Exif(fields={EXIF: {0x927C: Field(7, note, place)}})
    found = exif.parse(io.BytesIO(kept.block()))
    below = found.fields[EXIF]
    assert isinstance(below, dict)
    assert below[0x927C].values == note
    assert below[0x927C].place == (place if place >= 8 else below[0x927C].place)
    Image.fromarray(colour()).save(here / "a.jpg", exif=b"Exif\0\0" + kept.block())
    ran = poolcli("run", "a.jpg", "-s", "max:2", "--format", "tiff", "-q")
    assert "the camera's maker note is dropped" in ran.err
    assert note not in (here / "pooled/a.1-max2x2.tiff").read_bytes()
    ran = poolcli("run", "a.jpg", "-s", "max:2", "-q")
    assert (ran.status, ran.err) == (0, "")
    assert note in (here / "pooled/a.1-max2x2.png").read_bytes()
