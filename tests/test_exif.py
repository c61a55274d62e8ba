from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from poolcli.files import directories, exif
from poolcli.files.directories import ASCII, LONG, RATIONAL, SHORT, Field, Form
from poolcli.files.exif import EXIF, GPS, INTEROPERABILITY, SOFTWARE, Exif

MAKER_NOTE, MAKE, ARTIST, COPYRIGHT = 0x927C, 0x010F, 0x013B, 0x8298


def entry(tag: int, kind: int, count: int, value: int, order: str = "<") -> bytes:
    """One entry of a directory, its value or its place."""
    return struct.pack(f"{order}HHII", tag, kind, count, value)


def directory(*entries: bytes, order: str = "<", following: int = 0) -> bytes:
    return struct.pack(f"{order}H", len(entries)) + b"".join(entries) + struct.pack("<I", following)


def block(*entries: bytes, behind: bytes = b"") -> bytes:
    """A block of one directory at 8, little-endian, and what stands behind it."""
    return b"II*\0\x08\0\0\0" + directory(*entries) + behind


def parsed(content: bytes) -> Exif:
    return exif.parse(io.BytesIO(content))


def by_pillow(content: bytes) -> dict[int, Any]:
    """Read a block back by Pillow, its directories within it."""
    read = Image.Exif()
    read.load(content)
    below = {tag: dict(read.get_ifd(tag)) for tag in (EXIF, GPS) if tag in read}
    return {**dict(read), **below}


def made(*, endian: str = "<") -> Image.Exif:
    """Everything that a camera says, and what it says of its pixels."""
    said = Image.Exif()
    said.endian = endian
    said[MAKE] = "Maker"
    said[0x0110] = "Model"
    said[0x0132] = "2024:01:02 03:04:05"
    said[ARTIST] = "An artist"
    said[COPYRIGHT] = "2024"
    said[0x010E] = "a truck"
    said[0x0112] = 6
    for tag in (0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x0111, 0x0115, 0x0117, 0x011C, 0x0140):
        said[tag] = 7
    said[0x011A], said[0x011B], said[0x0128] = 300.0, 150.0, 2
    below = said.get_ifd(EXIF)
    below[0x9003] = "2023:01:02 03:04:05"
    below[0xA420] = "0123456789abcdef"
    below[0xA002], below[0xA003] = 640, 480
    below[INTEROPERABILITY] = {1: "R98", 0x1001: 640, 0x1002: 480}
    place = said.get_ifd(GPS)
    place[1], place[2] = "N", (52.0, 30.0, 15.5)
    return said


@pytest.mark.parametrize("endian", ["<", ">"])
def test_what_outlives_the_pixels_is_kept_and_what_described_them_is_not(endian: str) -> None:
    found = parsed(made(endian=endian).tobytes()[6:])
    assert (found.order, found.orientation, found.resolution) == (endian, 6, (300, 150))
    assert found.unread == 0
    kept = by_pillow(found.block())
    assert kept == {
        MAKE: "Maker",
        0x0110: "Model",
        0x0132: "2024:01:02 03:04:05",
        ARTIST: "An artist",
        COPYRIGHT: "2024",
        0x010E: "a truck",
        EXIF: {
            0x9003: "2023:01:02 03:04:05",
            0xA420: "0123456789abcdef",
            INTEROPERABILITY: kept[EXIF][INTEROPERABILITY],
        },
        GPS: {1: "N", 2: (52.0, 30.0, 15.5)},
    }
    within = parsed(found.block()).fields[EXIF]
    assert not isinstance(within, Field)
    assert within[INTEROPERABILITY] == {1: Field(ASCII, b"R98\0")}


def test_a_block_that_is_read_and_written_again_stays_as_it_is() -> None:
    once = parsed(made().tobytes()[6:]).block()
    assert parsed(once).block() == once


def test_letters_and_types_stay_whatever_they_are() -> None:
    name = "Ä. Künstler".encode() + b"\0"
    content = block(entry(ARTIST, ASCII, len(name), 26), behind=name)
    assert parsed(content).fields == {ARTIST: Field(ASCII, name)}
    assert parsed(parsed(content).block()).fields == {ARTIST: Field(ASCII, name)}


SURVIVING = (
    "DocumentName ImageDescription Make Model PageName Software DateTime Artist HostComputer "
    "Rating RatingPercent Copyright ExifOffset GPSInfo"
)


def test_of_the_tags_of_tiff_those_of_storage_are_dropped() -> None:
    """Pillow's table names what there is; what is kept of it is told here."""
    known = [tag for tag in ExifTags.Base if tag < 0x8000 or tag in (COPYRIGHT, EXIF, GPS)]
    assert len(known) > 80
    found = [parsed(block(entry(tag, SHORT, 1, 8))).fields for tag in known]
    assert {ExifTags.Base(tag).name for fields in found for tag in fields} == set(SURVIVING.split())


def test_a_makers_note_stays_at_its_place_in_the_block() -> None:
    note = bytes(range(256))
    long = b"x" * 300 + b"\0"
    below = directory(
        entry(MAKER_NOTE, 7, len(note), 600),
        entry(0x9286, 7, len(long), 900),
        entry(0xA420, ASCII, len(long), 900),
    )
    content = block(
        entry(MAKE, ASCII, len(long), 900), entry(EXIF, LONG, 1, 40), behind=bytes(2) + below
    )
    content = content.ljust(600, b"\0") + note
    content = content.ljust(900, b"\0") + long
    found = parsed(content)
    assert found.unread == 0
    written = found.block()
    assert written[600 : 600 + len(note)] == note
    assert parsed(written) == found
    assert by_pillow(written)[EXIF][MAKER_NOTE] == note


def test_software_is_ascii_with_escapes() -> None:
    kept = Exif().with_software("poolcli: é 漢.png").fields
    assert kept[SOFTWARE] == Field(ASCII, rb"poolcli: \xe9 \u6f22.png" + b"\0")


@pytest.mark.parametrize("dots", [72.0, 299.9994, 0.5, 118.1 * 2.54, 5e7, 1 / 3])
def test_a_resolution_is_read_as_it_was_written(dots: float) -> None:
    found = parsed(Exif(">").with_resolution((dots, 2 * dots)).block())
    assert found.resolution is not None
    assert found.resolution == pytest.approx((dots, 2 * dots), rel=1e-5)


@pytest.mark.parametrize(
    ("unit", "across", "expected"),
    [
        (2, (300, 1), (300, 300)),
        (3, (100, 1), (254, 254)),
        (1, (300, 1), None),
        (9, (300, 1), None),
        (2, (300, 0), None),
        (None, (300, 1), (300, 300)),
    ],
)
def test_what_a_resolution_is_said_in(
    unit: int | None, across: tuple[int, int], expected: tuple[float, float] | None
) -> None:
    values = struct.pack("<4I", *across, 300 if unit != 3 else 100, 1)
    units = () if unit is None else (entry(0x0128, SHORT, 1, unit),)
    end = 8 + 2 + 12 * (2 + len(units)) + 4
    both = entry(0x011A, RATIONAL, 1, end), entry(0x011B, RATIONAL, 1, end + 8)
    assert parsed(block(*both, *units, behind=values)).resolution == expected


@pytest.mark.parametrize(
    ("content", "unread"),
    [
        (block(entry(MAKE, ASCII, 100, 26)), 1),
        (block(entry(MAKE, ASCII, 2**32 - 1, 26)), 1),
        (block(entry(MAKE, ASCII, 0, 26)), 0),
        (block(entry(MAKE, 99, 1, 26)), 1),
        (block(entry(MAKE, 16, 1, 8)), 1),
        (block(entry(EXIF, LONG, 1, 2**32 - 1)), 1),
        (block(entry(EXIF, LONG, 1, 0)), 1),
        (block(entry(EXIF, ASCII, 2, 0)), 1),
        (b"II*\0\xff\xff\0\0", 1),
        (b"II*\0\x08\0\0\0\x05\0" + entry(MAKE, SHORT, 1, 5), 1),
        (block(*[entry(tag, ASCII, 20, 8) for tag in range(0x9000, 0x9010)]), 6),
        (block(entry(0x0111, ASCII, 100, 26)), 0),
    ],
    ids=lambda value: value[8:30].hex() if isinstance(value, bytes) else None,
)
def test_fields_that_cannot_be_read_are_counted_and_left_out(content: bytes, unread: int) -> None:
    found = parsed(content)
    assert found.unread == unread
    assert parsed(found.block()).unread == 0


def test_a_directory_that_leads_to_itself_ends() -> None:
    found = parsed(block(entry(MAKE, ASCII, 2, 65), entry(EXIF, LONG, 1, 8)))
    assert found.fields.keys() == {MAKE, EXIF}


@pytest.mark.parametrize("content", [b"", b"II", b"II*\0\x08\0", b"garbage!!", b"MM\0+\0\x08\0\0"])
def test_what_is_no_block_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="does not begin"):
        parsed(content)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_whatever_bytes_are_broken_the_rest_is_a_block(data: st.DataObject) -> None:
    content = bytearray(made(endian=data.draw(st.sampled_from("<>"))).tobytes()[6:])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(4, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(8, len(content)))]
    again = parsed(parsed(bytes(content)).block())
    assert again.unread == 0


def test_descriptions_that_tell_programs_of_axes_are_stale() -> None:
    for text in (b'{"shape": [3, 4]}', b"ImageJ=1.53\nimages=7\n", b"<?xml?><OME></OME>"):
        content = block(entry(0x010E, ASCII, len(text), 26), behind=text)
        assert not parsed(content).fields
    text = b"ImageJ made this"
    assert parsed(block(entry(0x010E, ASCII, len(text), 26), behind=text)).fields


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_fields_are_added_to_a_tiff_file_of_any_kind(big: bool, order: directories.Order) -> None:
    form = Form(order, big)
    head = next(head for head, known in directories.HEADS.items() if known == form)
    base = len(head) + form.place.size
    first = {0x0100: Field(SHORT, struct.pack(f"{order}H", 5)), MAKE: Field(ASCII, b"old name\0")}
    content, place = directories.write(first, form, base, following=77)
    stream = io.BytesIO(head + form.place.pack(place) + content)
    added = parsed(made(endian="<").tobytes()[6:])
    exif.append(stream, added)
    found = exif.parse(stream, is_file=True)
    assert (found.fields, found.unread) == (added.turned(order), 0)
    found_form, at = directories.read_head(stream)
    assert found_form == form
    width, _ = directories.read(stream, form, at, lambda tag: tag == 0x0100)
    assert width[0x0100].numbers(order) == (5,)
    stream.seek(at)
    (count,) = form.count.unpack(stream.read(form.count.size))
    stream.seek(count * form.entry.size, io.SEEK_CUR)
    assert form.place.unpack(stream.read(form.place.size)) == (77,)


@pytest.mark.parametrize(("number", "expected"), [(1, 1), (8, 8), (0, None), (9, None)])
def test_there_are_eight_orientations(number: int, expected: int | None) -> None:
    assert parsed(block(entry(0x0112, SHORT, 1, number))).orientation == expected


def test_a_makers_note_of_a_file_is_dropped() -> None:
    """It counts places from that file's beginning."""
    stream = io.BytesIO()
    said = {EXIF: {MAKER_NOTE: bytes(range(256)), 0x9003: "2024:01:02 03:04:05"}}
    Image.new("L", (300, 300)).save(stream, "TIFF", tiffinfo=said)
    found = exif.parse(io.BytesIO(stream.getvalue()), is_file=True)
    assert set(by_pillow(found.block())[EXIF]) == {0x9003}
    assert found.unread == 1
