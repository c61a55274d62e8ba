"""Images, drawn arrays and contact sheets in parts: the bytes of those that are held whole."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from poolcli import batch, memory
from poolcli.batch import needs
from poolcli.batch.executing import execute
from poolcli.blocks import Band, Frame
from poolcli.errors import PlanError, PoolError, SpecError
from poolcli.files import images, upright
from poolcli.files.inputs import MAX_PIXELS, Source
from poolcli.kernels.views import along
from poolcli.report import panels
from poolcli.report.panels import Panel, Tiles
from poolcli.stages import Chain
from tests.chains import Dice, drawn_chain, stage_spec
from tests.conftest import Run, save, tree
from tests.deep_files import png

Array = NDArray[Any]

MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16"]
PLAIN = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB"}


def drawn_picture(dice: Dice, mode: str) -> Image.Image:
    height, width = dice.number(3, 25), dice.number(3, 25)
    random = dice.generator
    if mode in ("I", "F", "I;16"):
        dtype = {"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode]
        return Image.fromarray(random.integers(0, 60000, (height, width)).astype(dtype))
    channels = {"LA": 2, "RGBA": 4, "PA": 4, "CMYK": 4}.get(mode, 3)
    numbers = random.integers(0, 256, (height, width, channels), np.uint8)
    if mode == "LAB":
        return Image.merge("LAB", Image.fromarray(numbers).split())
    if mode == "CMYK":
        return Image.merge("CMYK", Image.fromarray(numbers).split())
    if mode in ("LA", "RGB", "RGBA"):
        return Image.fromarray(numbers)
    if mode == "PA":
        return Image.fromarray(numbers[..., 0]).convert("P").convert("PA")
    return Image.fromarray(numbers).convert(mode)


def saved_picture(here: Path, dice: Dice) -> str:
    """Save a picture of a random mode and orientation; of 16-bit colour now and then."""
    if dice.chance(0.1):
        shape = (dice.number(3, 25), dice.number(3, 25), dice.number(2, 4))
        samples = dice.generator.integers(0, 65536, shape, dtype=np.uint16)
        (here / "a.png").write_bytes(png(samples))
        return "a.png"
    mode = dice.one_of(*MODES)
    suffix = "png" if mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else "tiff"
    exif = Image.Exif()
    exif[0x0112] = dice.number(1, 8)
    drawn_picture(dice, mode).save(here / f"a.{suffix}", exif=exif)
    return f"a.{suffix}"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_region_is_that_of_the_upright_picture(
    here: Path, monkeypatch: pytest.MonkeyPatch, mode: str, orientation: int
) -> None:
    monkeypatch.setattr(upright, "_STRIP", 40)
    monkeypatch.setattr(upright, "_NARROWEST", 2)
    dice = Dice(orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    drawn_picture(dice, mode).save(here / "a.tiff", exif=exif)
    if mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        drawn_picture(dice, mode).save(here / "a.png", exif=exif)
    for path in here.iterdir():
        # Of a name, Pillow maps the file, and then garbles a TIFF that lies on its side.
        with path.open("rb") as stream, Image.open(stream) as image:
            # It turns a TIFF when it is loaded.
            image.load()
            turned = ImageOps.exif_transpose(image)
            expected = np.asarray(turned.convert(PLAIN.get(mode, turned.mode)))
        with path.open("rb") as stream:
            decoded, _ = images.decode(stream, MAX_PIXELS)
        assert np.array_equal(decoded.whole(), expected)
        assert decoded.shape == expected.shape
        for frame in (Frame(0, 0), Frame(0, 1), Frame(1, 1), *([Frame(2, 2)] * (mode == "RGB"))):
            framed = expected.reshape(frame.shape(expected.shape))
            low, high = sorted(dice.generator.choice(framed.shape[frame.place] + 1, 2, False))
            first, last = sorted(dice.generator.choice(len(framed) + 1, 2, False))
            part = decoded.read(frame, range(first, last), int(low), int(high))
            assert np.array_equal(part, framed[first:last][along(frame.place, slice(low, high))])


def cut_small(job: batch.Job, dice: Dice) -> batch.Job:
    """Return a job that is run in parts, a few rows at a time."""
    plan = job.plan if job.lighting is None else job.lighting.plan
    saved = {result.step.index for result in job.results} | needs.observed(job)
    way = memory.streaming(plan, saved, 1 << 40)
    length = plan.shape[way.frame.cut]
    rows = dice.number(1, length)
    planes = dice.number(1, 3) if rows == length else 1
    return replace(job, way=replace(way, rows=rows, planes=planes))


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        name: (folder / name).read_bytes() for name in tree(folder) if (folder / name).is_file()
    }


def compare_in_parts_and_whole(
    here: Path, name: str, chain: Chain, dice: Dice, **options: Any
) -> bool:
    """Compare the files and warnings of a run in parts with those of one at once.

    Returns whether there was something to compare.
    """
    found = []
    for way in ("whole", "parts"):
        folder = here / way
        folder.mkdir()
        request = batch.Options(
            output=folder, sheet=str(folder / "sheet.png"), memory=1 << 40, **options
        )
        (job,) = batch.prepare([Source(name)], chain, request)
        if isinstance(job, batch.Outcome):
            return False
        if way == "parts":
            try:
                job = cut_small(job, dice)
            except PlanError:
                return False
        outcome = execute(job, request)
        said = [warning.replace(str(folder), "") for warning in outcome.warnings]
        if outcome.error is not None:
            assert isinstance(outcome.error, PoolError), outcome.error
            assert not str(outcome.error).startswith("unexpected"), outcome.error
        found.append((str(outcome.error), said, files_of(folder)))
    assert found[0] == found[1], (name, str(chain), options)
    return found[0][0] == "None"


@pytest.fixture
def small_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make panels smaller than the maps here, so that these are reduced."""
    monkeypatch.setattr(panels, "LARGEST_PANEL", 9)
    monkeypatch.setattr(panels, "SMALLEST_PANEL", 5)
    monkeypatch.setattr(panels, "_MOST_TILES", 6)
    monkeypatch.setattr(panels, "_PART", 50)
    monkeypatch.setattr(panels, "_PIECE", 7)


@pytest.mark.usefixtures("small_panels")
@pytest.mark.parametrize("seed", range(60))
def test_images_in_parts_have_the_bytes_of_images_at_once(here: Path, seed: int) -> None:
    dice = Dice(seed)
    for turn in range(20):
        place = here / str(turn)
        place.mkdir()
        name = saved_picture(place, dice)
        specs = [stage_spec(dice) for _ in range(dice.number(1, 3))]
        options = {
            "linear": dice.chance(0.3),
            "premultiply": dice.chance(0.3),
            "format": dice.one_of(None, None, "npy", "tiff", "png"),
            "dtype": dice.one_of(None, None, None, "uint8", "float32"),
        }
        try:
            chain = Chain.parse(*specs)
        except SpecError:
            continue
        if compare_in_parts_and_whole(place, str(place / name), chain, dice, **options):
            return
    pytest.fail("no chain fits")


@pytest.mark.usefixtures("small_panels")
@pytest.mark.parametrize("seed", range(60))
def test_arrays_drawn_in_parts_have_the_bytes_of_arrays_at_once(here: Path, seed: int) -> None:
    for turn in range(20):
        drawn, dice = drawn_chain(1000 * turn + seed), Dice(seed)
        place = here / str(turn)
        array = drawn.array
        if array.dtype.kind == "f" and dice.chance(0.3):
            array = array.copy()
            array.reshape(-1)[:: dice.number(2, 9)] = dice.one_of(np.nan, np.inf)
        save(place / "a.npy", array, str(array.dtype))
        chain = Chain(tuple(step.stage for step in drawn.plan.steps))
        options = {"layout": drawn.plan.layout, "format": dice.one_of(None, "png", "webp")}
        if compare_in_parts_and_whole(place, str(place / "a.npy"), chain, dice, **options):
            return
    pytest.fail("no chain fits")


def test_frames_in_parts_have_the_bytes_of_frames_at_once(here: Path) -> None:
    random = np.random.default_rng(0)
    frames = [Image.fromarray(random.integers(0, 256, (12, 9, 3), np.uint8)) for _ in range(4)]
    frames[0].save(here / "a.tiff", save_all=True, append_images=frames[1:])
    chain = Chain.parse("max:2", "avg:3,stride=1")
    assert compare_in_parts_and_whole(here, str(here / "a.tiff"), chain, Dice(0))


def test_an_array_in_fortran_order_is_held_and_pooled_in_parts(poolcli: Run, here: Path) -> None:
    array = np.asfortranarray(np.random.default_rng(0).standard_normal((600, 700), np.float32))
    np.save(here / "a.npy", array)
    chain = ("-s", "up:4", "-s", "avg:3", "-q")
    for memory_, folder in (("16MiB", "parts"), ("1GiB", "whole")):
        assert poolcli("run", "a.npy", *chain, "--memory", memory_, "-o", folder).status == 0
    (job,) = batch.prepare(
        [Source("a.npy")], Chain.parse("up:4", "avg:3"), batch.Options(memory=16 << 20)
    )
    assert isinstance(job, batch.Job)
    assert job.in_parts
    assert files_of(here / "parts") == files_of(here / "whole")


KINDS = ["bool", "uint8", "int16", "int32", "int64", "uint64", "float16", "float32", "float64"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["W", "HW", "CHW", "HWC", "NCHW", "NHWC", "CDHW"])
@pytest.mark.usefixtures("small_panels")
def test_a_panel_shows_the_mean_of_what_is_finite(kind: str, layout: str) -> None:
    random = np.random.default_rng(len(layout))
    shape = tuple({"N": 2, "C": 3, "D": 2}.get(letter, 40) for letter in layout)
    array = (random.integers(0, 2 if kind == "bool" else 200, shape)).astype(kind)
    if kind.startswith("float"):
        array.reshape(-1)[::7] = np.nan
        array.reshape(-1)[::11] = -np.inf
    panel = Panel("", shape, kind, layout, Tiles.of_map(shape, layout).panel_size())
    panel.add_whole(array)
    shown = panel.reduced()
    assert panel.is_reduced
    assert shown.shape == panel.tiles.reduced_shape(panel.size)
    first = array[0].reshape(1, 40, 40, 3) if layout == "NHWC" else array
    if layout == "HWC":
        first = array[np.newaxis]
    elif layout != "NHWC":
        first = array.reshape(-1, *(1, 40) if layout == "W" else (40, 40), 1)
    first = first.astype(np.float64) * (255 if kind == "bool" else 1)
    height, width = shown.shape[-3:-1]
    tiles = shown.reshape(-1, *shown.shape[-3:])
    for tile, whole in zip(tiles, first, strict=False):
        for row in range(height):
            for column in range(width):
                window = whole[
                    row * whole.shape[0] // height : (row + 1) * whole.shape[0] // height,
                    column * 40 // width : (column + 1) * 40 // width,
                ]
                finite = np.ma.masked_invalid(window).mean(axis=(0, 1)).filled(np.nan)
                expected = np.rint(finite) if shown.dtype == np.uint8 else finite
                assert tile[row, column] == pytest.approx(expected, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("shape", [(3, 37, 41), (2, 1, 500), (1, 90, 2)])
@pytest.mark.parametrize("kind", ["float32", "uint8", "int64"])
@pytest.mark.usefixtures("small_panels")
def test_a_panels_bits_do_not_depend_on_how_a_map_is_cut(shape: tuple[int, ...], kind: str) -> None:
    """Along rows, along columns, and plane by plane, in pieces of any size."""
    dice = Dice(prod(shape))
    array = (dice.generator.standard_normal(shape) * 1e6).astype(kind)
    for layout in ("CHW", "DHW", "HWC"):
        found = set()
        size = Tiles.of_map(shape, layout).panel_size()
        for frame in (Frame(0, 0), Frame(0, 1), Frame(0, 2), Frame(1, 1), Frame(1, 2), Frame(2, 2)):
            for _ in range(3):
                panel = Panel("", shape, kind, layout, size)
                framed = array.reshape(frame.shape(shape))
                for planes, low, high in pieces(dice, len(framed), framed.shape[frame.place]):
                    part = framed[planes.start : planes.stop][along(frame.place, slice(low, high))]
                    panel.add(frame, Band(planes, low, high), part)
                found.add((panel.reduced().tobytes(), panel.low, panel.high))
        whole = Panel("", shape, kind, layout, size)
        whole.add_whole(array)
        found.add((whole.reduced().tobytes(), whole.low, whole.high))
        assert len(found) == 1, layout


def pieces(dice: Dice, planes: int, length: int) -> list[tuple[range, int, int]]:
    """Cut planes in groups, each whole, or one by one, each in pieces."""
    if dice.chance(0.5):
        group = dice.number(1, planes)
        return [
            (range(start, min(start + group, planes)), 0, length)
            for start in range(0, planes, group)
        ]
    step = dice.number(1, length)
    return [
        (range(plane, plane + 1), low, min(low + step, length))
        for plane in range(planes)
        for low in range(0, length, step)
    ]


def test_planes_that_are_not_shown_are_said(here: Path, poolcli: Run) -> None:
    save(here / "a.npy", np.zeros((5000, 2, 2)), "float32")
    assert poolcli("run", "a.npy", "-s", "max:2", "--sheet", "s.png", "-q").status == 0
    with Image.open(here / "s.png") as sheet:
        assert max(sheet.size) < 2000
    tiles = Tiles.of_map((5000, 2, 2), "CHW")
    assert (tiles.count, tiles.of) == (4096, 5000)
