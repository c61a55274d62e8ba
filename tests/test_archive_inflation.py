"""Archives that say one thing and hold another: read no further than they say, or refused."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from poolcli.errors import InputError
from poolcli.files import zips
from poolcli.files.archives import members, opened_member
from poolcli.files.discovery import find
from poolcli.files.inputs import Source
from tests.conftest import Run, grey, save, tree
from tests.peaks import measured

METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}
BASE = 90
"""MiB that the program takes whatever it reads, rounded up."""


def array_file(shape: tuple[int, ...] = (8, 8)) -> bytes:
    stream = io.BytesIO()
    np.save(stream, (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape))
    return stream.getvalue()


def archive(*contents: bytes, method: str = "deflate") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", METHODS[method]) as written:
        for index, content in enumerate(contents):
            written.writestr(f"a{index}.npy", content)
    return stream.getvalue()


def packed_of(content: bytes) -> dict[str, bytes]:
    return {
        "stored": content,
        "deflate": zlib.compress(content)[2:-4],
        "bzip2": bz2.compress(content),
        "lzma": lzma_of([content]),
    }


def lzma_of(parts: list[bytes], dictionary: int = 1 << 23) -> bytes:
    """Return bytes as zip packs them by LZMA: version, properties, then what is packed."""
    told = [{"id": lzma.FILTER_LZMA1, "preset": 6, "lc": 3, "lp": 0, "pb": 2, "dict_size": 1 << 23}]
    packing = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=told)
    packed = b"".join(map(packing.compress, parts)) + packing.flush()
    return b"\x09\x04" + struct.pack("<HBI", 5, 93, dictionary) + packed


def hand_made(packed: bytes, size: int, checksum: int, method: str) -> bytes:
    """Return an archive of one member whose directory says whatever it is given."""
    flags = 2 if method == "lzma" else 0
    facts = struct.pack("<HHHIII", METHODS[method], 0, 0, checksum, len(packed), size)
    name = b"a.npy"
    local = b"PK\3\4" + struct.pack("<HH", 20, flags) + facts + struct.pack("<HH", 5, 0) + name
    entry = b"PK\1\2" + struct.pack("<HHH", 20, 20, flags) + facts
    entry += struct.pack("<HHHHHII", 5, 0, 0, 0, 0, 0, 0) + name
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(entry), len(local + packed), 0)
    return local + packed + entry + end


@cache
def zeros(method: str, start: bytes, size: int) -> bytes:
    """Return a start and then zeros, packed without ever being held."""
    parts = [start, *[bytes(1 << 22)] * (size >> 22)]
    if method == "deflate":
        packing = zlib.compressobj(9, zlib.DEFLATED, -15)
        return b"".join(map(packing.compress, parts)) + packing.flush()
    if method == "bzip2":
        squeezing = bz2.BZ2Compressor()
        return b"".join(map(squeezing.compress, parts)) + squeezing.flush()
    return lzma_of(parts)


@pytest.mark.parametrize("method", ["deflate", "bzip2", "lzma"])
@pytest.mark.parametrize("said", ["little", "much"])
def test_a_member_inflates_no_further_than_it_says(here: Path, method: str, said: str) -> None:
    """128 MiB of zeros behind an array of 64 bytes, whatever the directory says of them."""
    start, more = array_file(), 128 << 20
    packed = zeros(method, start, more)
    size = len(start) if said == "little" else len(start) + more
    (here / "m.npz").write_bytes(hand_made(packed, size, zlib.crc32(start), method))
    for options in (("-n",), (), ("--memory", "16MB")):
        ran = measured(here, "run", "m.npz", "-s", "max:2", "-q", *options)
        assert ran.peak < BASE, ran
        assert ran.seconds < 5, ran
        if said == "much":
            assert ran.status == 1
            assert "its archive says that there are 134,217,792" in ran.err
        elif "-n" not in options:
            assert ran.status == 1
            assert "a member goes on behind 192 bytes" in ran.err
        assert tree(here / "pooled") == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("anywhere", [False, True], ids=["in order", "anywhere"])
def test_members_are_read_as_zipfile_reads_them(method: str, *, anywhere: bool) -> None:
    rng = np.random.default_rng(7)
    sizes = (1, 100, 8191, 65536, 65537, 300_000)
    noise = [rng.integers(0, 256, size, np.uint8).tobytes() for size in sizes]
    contents = [*noise, *[bytes(size) for size in sizes], *[half + half for half in noise]]
    stream = io.BytesIO(archive(*contents, method=method))
    found = members(stream)
    assert list(found) == [f"a{index}" for index in range(len(contents))]
    for (name, entry), content in zip(found.items(), contents, strict=True):
        with opened_member(stream, name, entry, anywhere=anywhere) as member:
            assert member.read() == content
            # Back, and on without what lies between.
            for place in (len(content) // 2, 0, len(content), len(content) // 3):
                member.seek(place)
                assert member.read(1000) == content[place : place + 1000]


@pytest.mark.parametrize("method", METHODS)
def test_every_length_that_is_wrong_is_found(method: str) -> None:
    content = array_file((40, 40))
    packed, checksum = packed_of(content)[method], zlib.crc32(content)
    right = hand_made(packed, len(content), checksum, method)
    assert read_all(right) == content
    for name, (said, size, sum_of) in {
        "longer": (packed, len(content) + 1, checksum),
        "shorter": (packed, len(content) - 1, zlib.crc32(content[:-1])),
        "another checksum": (packed, len(content), checksum ^ 1),
        "cut short": (packed[: len(packed) // 2], len(content), checksum),
        "nothing": (b"", len(content), checksum),
    }.items():
        content_of = hand_made(said, size, sum_of, method)
        with pytest.raises(InputError, match=r"broken \.npz archive"):
            pytest.fail(f"{name}: {read_all(content_of)!r}")


def read_all(content: bytes) -> bytes:
    stream = io.BytesIO(content)
    with opened_member(stream, "a", None) as member:
        return member.read()


def test_what_packs_in_another_way_is_refused_in_words(poolcli: Run, here: Path) -> None:
    content = bytearray(archive(array_file()))
    for at in (8, content.index(b"PK\1\2") + 10):
        content[at : at + 2] = struct.pack("<H", 93)
    (here / "m.npz").write_bytes(content)
    said = poolcli("run", "m.npz", "-s", "max:2").error(1)
    assert said == (
        "m.npz:a0: packed by zip's method 93, of which 0 (stored), 8 (deflate), 12 (bzip2) and 14 "
        "(LZMA) are read: save it by numpy.savez_compressed"
    )


@pytest.mark.parametrize("dictionary", [1 << 26, 1 << 30])
def test_a_dictionary_of_lzma_is_no_larger_than_usual(here: Path, dictionary: int) -> None:
    """A member of 300 MiB, the dictionary of which would be held whole."""
    size, head = 300 << 20, io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (size >> 10, 1 << 10)}
    np.lib.format.write_array_header_1_0(head, shape)
    parts = [head.getvalue(), *[bytes(1 << 20)] * (size >> 20)]
    packed, checksum = lzma_of(parts, dictionary), 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    content = hand_made(packed, len(head.getvalue()) + size, checksum, "lzma")
    (here / "m.npz").write_bytes(content)
    ran = measured(here, "run", "m.npz", "-s", "max:64", "-q", "--memory", "64MiB")
    refusal = "packed by LZMA with a dictionary of 301 MiB, more than 64 MiB: save it by"
    assert (ran.status, refusal in ran.err) == ((0, False) if dictionary == 1 << 26 else (1, True))
    assert ran.peak < BASE + 64 + 64, ran


def overlapping() -> bytes:
    """Return an archive in which two entries lead to the same member."""
    content = archive(array_file())
    at = content.index(b"PK\1\2")
    entry = content[at : content.index(b"PK\5\6")]
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 2, 2, 2 * len(entry), at, 0)
    return content[:at] + entry * 2 + end


def of_another_name() -> bytes:
    content = bytearray(archive(array_file()))
    content[30:32] = b"b1"
    return bytes(content)


def beyond_the_directory() -> bytes:
    content = bytearray(archive(array_file()))
    at = content.index(b"PK\1\2")
    content[at + 20 : at + 24] = struct.pack("<I", 10**6)
    return bytes(content)


def with_entries(count: int) -> bytes:
    """Return an archive whose end promises so many entries."""
    content = archive(array_file())
    at = content.index(b"PK\5\6")
    long_end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, 0, at)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
    return content[:at] + long_end + locator + content[at:]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (overlapping, "its members overlap"),
        (of_another_name, "another member than its directory says"),
        (beyond_the_directory, "a member overlaps its directory"),
        (lambda: with_entries(2**40), "more than 1,048,576 members"),
        (lambda: archive(array_file())[:-22] + bytes(22), "it has no directory"),
        (lambda: archive(array_file()).replace(b"PK\1\2", b"PK\1\3"), "its directory is broken"),
    ],
)
def test_directories_that_lie(
    poolcli: Run, here: Path, made: Callable[[], bytes], said: str
) -> None:
    (here / "m.npz").write_bytes(made())
    save(here / "b.png", grey())
    ran = poolcli("run", "m.npz", "b.png", "-s", "max:2", "-q")
    assert ran.status == 1
    assert said in ran.err
    assert tree(here / "pooled") == ["b.1-max2x2.png"]


def test_an_archive_behind_something_else_and_with_a_comment() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        written.writestr("a.npy", array_file())
        written.comment = b"PK\5\6 a comment" + b"." * 60_000
    for before in (b"", b"before"):
        assert members(io.BytesIO(before + stream.getvalue()))["a"].place == len(before)
        assert read_all(before + stream.getvalue()) == array_file()


def test_numbers_of_more_than_32_bits_stand_in_a_field_of_their_own() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        with written.open("a.npy", "w", force_zip64=True) as member:
            member.write(array_file())
        # As zipfile writes what lies beyond 4 GiB.
        written.infolist()[0].file_size += 2**32
    entry = next(zips.entries(stream))
    assert (entry.name, entry.size) == ("a.npy", len(array_file()) + 2**32)


def test_names_in_any_letters() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        for name in ("é.npy", "日本.npy", "plain.npy", "..npy", ".npy", "a\\b.npy", "a\nb.npy"):
            written.writestr(name, array_file())
    with zipfile.ZipFile(stream) as read:
        names = [name.removesuffix(".npy") for name in read.namelist()]
    assert list(members(stream)) == names


def test_a_directory_of_any_size_is_read_in_bounded_memory(here: Path) -> None:
    """120 MB of entries that are mostly comments."""
    content = archive(array_file())
    at, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    first, other = bytearray(content[at:end]), bytearray(content[at:end])
    for entry in (first, other):
        entry[32:34] = struct.pack("<H", 60_000)
    # Without any bytes of its own, nothing that it could overlap with.
    other[20:24], other[28:30] = bytes(4), bytes(2)
    with (here / "m.npz").open("wb") as stream:
        stream.write(content[:at] + first + bytes(60_000))
        for _ in range(2000):
            stream.write(bytes(other[:46]) + bytes(60_000))
        size = stream.tell() - at
        stream.write(struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 2001, 2001, size, at, 0))
    ran = measured(here, "run", "m.npz", "-s", "max:2", "-q", "-n")
    (here / "m.npz").unlink()
    assert (ran.peak < BASE, ran.err) == (
        True,
        "error: m.npz: a broken .npz archive: its members overlap\n",
    )


@pytest.mark.parametrize("packed", [False, True], ids=["stored", "packed"])
def test_time_grows_as_the_number_of_members(here: Path, *, packed: bool) -> None:
    seconds = []
    for count in (1000, 4000):
        contents = [array_file((2, 2))] * count
        name = f"m{count}.npz"
        (here / name).write_bytes(archive(*contents, method="deflate" if packed else "stored"))
        ran = measured(here, "run", name, "-s", "max:2", "-q", "-n")
        assert ran.status == 0
        seconds.append(ran.seconds)
    # The start of the program makes the small one look slower: growth is below 4.
    assert seconds[1] < 6 * seconds[0], seconds


def test_arrays_named_one_by_one_read_the_directory_once(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "m.npz").write_bytes(archive(*[array_file()] * 50))
    read = []
    entries = zips.entries

    def noted(stream: BinaryIO) -> Iterator[zips.Entry]:
        read.append(stream)
        return entries(stream)

    monkeypatch.setattr("poolcli.files.archives.entries", noted)
    found = find([f"m.npz:a{index}" for index in range(50)]).sources
    assert [source.name for source in found] == [f"m.npz:a{index}" for index in range(50)]
    assert all(source.read_header(None).shape == (8, 8) for source in found)
    assert len(read) == 1


def test_an_archive_that_changes_between_is_read_anew(here: Path) -> None:
    (here / "m.npz").write_bytes(archive(array_file((4, 4))))
    assert find(["m.npz:a0"]).sources[0].read_header(None).shape == (4, 4)
    (here / "m.npz").write_bytes(archive(array_file((6, 7, 8))))
    assert find(["m.npz:a0"]).sources[0].read_header(None).shape == (6, 7, 8)
    assert Source("m.npz:a0", file="m.npz", member="a0").read_header(None).shape == (6, 7, 8)
