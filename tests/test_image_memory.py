"""The memory that images take: what is stated holds, for every mode, orientation and format.

A run's peak is that of a process of its own, on two processors; what the interpreter and its
libraries take is measured with a picture of a few pixels.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image, features

from poolcli import batch
from poolcli.batch import running
from poolcli.files import decoding
from poolcli.files.inputs import Source
from poolcli.stages import Chain
from tests.conftest import Run, python, save, tree
from tests.deep_files import png
from tests.test_streaming import _PEAK, MEASURED, zeros

pytestmark = pytest.mark.skipif(
    not MEASURED.exists(), reason="the peak of memory is read from Linux's /proc"
)

MIB: Final = 1 << 20
ASIDE: Final = 100 * MIB
"""Bytes beside ``--memory`` that a run may take: the interpreter, its libraries, buffers."""
HEIGHT, WIDTH = 4000, 5000


def peak_of(here: Path, *arguments: str) -> int:
    """Return the most bytes that a run of the program took."""
    ran = python(here, _PEAK, *arguments)
    assert (ran.status, ran.err) == (0, "")
    return int(ran.out.splitlines()[-1]) << 10


def picture(mode: str, height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
    """Return a picture of a mode: blocks of random numbers, quickly made and quickly compressed."""
    random = np.random.default_rng(0)
    channels = {"LA": 2, "RGBA": 4, "PA": 4}.get(mode, 3)
    blocks = random.integers(0, 256, (height // 50, width // 50, channels), np.uint8)
    numbers = blocks.repeat(50, 0).repeat(50, 1)
    if mode in ("I", "F", "I;16"):
        dtype = {"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode]
        return Image.fromarray(numbers[..., 0].astype(dtype) * dtype(200))
    if mode == "LAB":
        return Image.merge("LAB", Image.fromarray(numbers).split())
    if mode in ("LA", "RGBA", "RGB"):
        return Image.fromarray(numbers)
    if mode == "PA":
        return Image.fromarray(numbers[..., 0]).convert("P").convert("PA")
    return Image.fromarray(numbers).convert(mode)


def saved(here: Path, name: str, mode: str, orientation: int = 1, **options: Any) -> str:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(mode).save(here / name, exif=exif, **options)
    return name


FAST: Final = {"compress_level": 1}


@pytest.mark.parametrize(
    ("mode", "suffix", "orientation", "memory"),
    [
        ("1", "png", 6, 64),
        ("L", "png", 5, 64),
        ("LA", "png", 3, 128),
        ("P", "png", 6, 64),
        ("PA", "tiff", 1, 128),
        ("RGB", "png", 5, 128),
        ("RGBA", "png", 6, 128),
        ("CMYK", "jpg", 6, 128),
        ("YCbCr", "tiff", 3, 192),
        ("LAB", "tiff", 1, 128),
        ("I", "tiff", 1, 128),
        ("F", "tiff", 6, 192),
        ("I;16", "png", 6, 64),
    ],
)
def test_every_mode_and_orientation_stays_within_the_memory(
    here: Path, mode: str, suffix: str, orientation: int, memory: int
) -> None:
    """Pictures of 20 megapixels, which it does not take whole: as decoded, they almost fill it."""
    options = FAST if suffix == "png" else {}
    name = saved(here, f"a.{suffix}", mode, orientation, **options)
    arguments = ("run", name, "-s", "max:8", "-s", "avg:2", "-q", "--memory", f"{memory}MiB")
    assert peak_of(here, *arguments) < memory * MIB + ASIDE
    assert len(tree(here / "pooled")) == 2


def test_colour_of_16_bits_stays_within_the_memory(here: Path) -> None:
    numbers = np.asarray(picture("RGB", 2000, 3000)).astype(np.uint16) * 257
    (here / "a.png").write_bytes(png(numbers))
    ran = ("run", "a.png", "-s", "max:8", "-q", "--memory", "64MiB")
    assert peak_of(here, *ran) < 64 * MIB + ASIDE


@pytest.mark.parametrize("jobs", [1, 2])
def test_inputs_at_once_stay_within_the_memory_together(here: Path, jobs: int) -> None:
    """Each takes most of it, one after the other, and what one leaves behind is not in the way."""
    for name in "abc":
        saved(here, f"{name}.tiff", "F", 6)
    arguments = ("run", ".", "-s", "max:8", "-q", "-j", str(jobs), "--memory", "192MiB")
    assert peak_of(here, *arguments) < 192 * MIB + ASIDE
    assert len([name for name in tree(here / "pooled") if name.endswith(".tiff")]) == 3


def stated(name: str, chain: str, **options: Any) -> int:
    """Return how many bytes a run is planned to take that has as much as it likes."""
    request = batch.Options(memory=1 << 40, **options)
    (job,) = batch.prepare([Source(name)], Chain.parse(chain), request)
    assert isinstance(job, batch.Job), job.error
    assert not job.in_parts
    return job.needed


AT_HAND: Final = 24 * MIB
"""Bytes that a run may take beyond what is stated and what one of a few pixels takes."""


_LEAST: Final[list[int]] = []


def least_peak(here: Path) -> int:
    """Return the peak of a run that does next to nothing."""
    if not _LEAST:
        save(here / "small/s.png", np.zeros((40, 40)))
        _LEAST.append(peak_of(here, "run", "small/s.png", "-s", "max:2", "-q", "-o", "o1"))
    return _LEAST[0]


def check_what_is_stated(here: Path, name: str, chain: str, form: str | None = None) -> None:
    """Check that a run takes what is stated, and that no run is refused for far too much."""
    chosen = [] if form is None else ["--format", form]
    arguments = ("-s", chain, "-q", "--memory", "4GiB", *chosen)
    taken = peak_of(here, "run", name, *arguments, "-o", "o2") - least_peak(here)
    need = stated(name, chain, format=form, output=here / "o3")
    assert taken < need + AT_HAND
    assert need < 3 * taken + AT_HAND


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.png", "RGB", FAST),
        ("a.jpg", "RGB", {}),
        ("a.jpg", "RGB", {"progressive": True}),
        ("a.jpg", "RGB", {"progressive": True, "subsampling": 0}),
        ("a.webp", "RGB", {"quality": 50, "method": 0}),
        ("a.webp", "RGBA", {"lossless": True, "method": 0, "quality": 0}),
        ("a.tiff", "RGB", {"compression": "tiff_adobe_deflate", "strip_size": 1 << 30}),
        ("a.tiff", "RGB", {"compression": "jpeg"}),
        ("a.gif", "P", {}),
        ("a.bmp", "RGB", {}),
        ("a.dds", "RGB", {}),
        ("a.sgi", "RGB", {}),
        pytest.param(
            "a.jp2",
            "RGB",
            {},
            marks=pytest.mark.skipif(not features.check("jpg_2000"), reason="needs OpenJPEG"),
        ),
        pytest.param(
            "a.avif",
            "RGBA",
            {"speed": 10},
            marks=pytest.mark.skipif(not features.check("avif"), reason="needs libavif"),
        ),
    ],
    ids=str,
)
def test_decoders_take_what_is_stated(
    here: Path, name: str, mode: str, options: dict[str, Any]
) -> None:
    # Written in Python, its decoder takes its time.
    size = (2000, 3000) if name.endswith(".dds") else (HEIGHT, WIDTH)
    picture(mode, *size).save(here / name, **options)
    check_what_is_stated(here, name, "max:20")


@pytest.mark.parametrize("form", ["png", "jpg", "webp", "tiff"])
def test_encoders_take_what_is_stated(here: Path, form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    save(here / "a.png", noise)
    check_what_is_stated(here, "a.png", "relu", form)


def test_an_array_drawn_takes_what_is_stated(here: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (4, 1000, 3000), np.uint8)
    save(here / "a.npy", array)
    check_what_is_stated(here, "a.npy", "relu", "png")


@pytest.mark.parametrize(
    "more",
    [
        ("--format", "png"),
        ("--name", "{stem}.{index}.png"),
        ("--sheet", "s.png"),
    ],
    ids=" ".join,
)
def test_small_results_of_an_array_far_larger_than_the_memory(
    here: Path, more: tuple[str, ...]
) -> None:
    """Pictures are drawn of what is held whole; 650 MB of zeros are read in parts."""
    zeros(here / "a.npy", (2, 9000, 9000))
    ran = ("run", "a.npy", "-s", "max:2", "-s", "avg:30", "-q", "--memory", "128MiB")
    found = python(here, _PEAK, *ran, "--save", "last", *more)
    assert found.status == 0, found.err
    assert ("drawn with 0 as black" in found.err) == ("--sheet" not in more)
    assert int(found.out.splitlines()[-1]) << 10 < 128 * MIB + ASIDE


def test_a_photo_of_a_phone_needs_no_flag(here: Path) -> None:
    """As many pixels as there are: 108 millions, lying on their side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    random = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(random).resize((12000, 9000), Image.Resampling.NEAREST).save(
        here / "a.jpg", exif=exif
    )
    assert batch.Options().memory == 1 << 30
    arguments = ("run", "a.jpg", "-s", "max:2", "-q", "--memory", "1GiB", "--png-level", "1")
    assert peak_of(here, *arguments) < (1 << 30) + ASIDE
    with Image.open(here / "pooled/a.1-max2x2.png") as result:
        assert result.size == (4500, 6000)


def test_encoding_that_does_not_fit_is_refused_with_its_need(poolcli: Run, here: Path) -> None:
    save(here / "a.png", np.zeros((1000, 1000)))
    ran = poolcli("run", "a.png", "-s", "up:4", "--format", "webp", "-q", "--memory", "256MiB")
    assert "MiB at once, of which --memory allows 256 MiB: encoding its results takes" in ran.err
    assert ran.status == 1
    assert tree(here) == ["a.png"]


def test_what_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Freed memory is given back when a thread's would stand in the way of another's."""
    given: list[int] = []
    monkeypatch.setattr(running, "give_back_freed_memory", lambda: given.append(1))
    room = running._Room(100)  # noqa: SLF001 - the rule itself

    pools = [ThreadPoolExecutor(1) for _ in range(3)]

    def take(needed: int) -> None:
        with room.taken(needed):
            pass

    for pool, needed, expected in ((0, 40, 0), (1, 50, 0), (2, 20, 1), (0, 80, 1), (1, 90, 2)):
        pools[pool].submit(take, needed).result()
        assert len(given) == expected, needed
    for each in pools:
        each.shutdown()


def scans(*components: int) -> bytes:
    """Return the head of a JPEG of three components, the first scan of which has so many."""
    frame = (
        b"\xff\xc0" + (17).to_bytes(2) + bytes([8, 0, 16, 0, 16, 3, 1, 34, 0, 2, 17, 0, 3, 17, 0])
    )
    return (
        b"\xff\xd8\xff\xfe\0\x04hi\xff"
        + frame
        + b"".join(
            b"\xff\xda" + (6 + 2 * count).to_bytes(2) + bytes([count]) for count in components
        )
    )


@pytest.mark.parametrize(
    ("head", "apart"),
    [(scans(3), False), (scans(1, 1, 1), True), (scans(2), True), (b"\xff\xd8\xff", True)],
)
def test_a_jpeg_whose_colours_are_scans_of_their_own(*, head: bytes, apart: bool) -> None:
    """Its coefficients are all held, as those of a progressive one are."""
    stream = io.BytesIO(head)
    stream.seek(3)
    assert decoding._has_scans(stream, 3) == apart  # noqa: SLF001 - Pillow writes none
    assert stream.tell() == 3
