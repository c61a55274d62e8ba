"""Animations: every frame, how long it is shown, and how often all are."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from poolcli.errors import OutputError
from poolcli.files import png, webp
from tests.conftest import Run, colour, pixels

Array = npt.NDArray[Any]


def timing(path: Path) -> tuple[list[float | None], int | None]:
    """Return how long each frame is shown, and how often all are, read by Pillow alone."""
    with Image.open(path) as image:
        durations = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            durations.append(image.info.get("duration"))
        return durations, image.info.get("loop")


def rolled(count: int, channels: int = 3) -> list[Array]:
    return [np.roll(colour(channels=channels), index, axis=1) for index in range(count)]


def animated(path: Path, form: str, frames: list[Array], **options: Any) -> None:
    first, *rest = [Image.fromarray(frame) for frame in frames]
    if form == "WEBP":
        options["lossless"] = True
    first.save(path, form, save_all=True, append_images=rest, **options)


MOVING, STILL = rolled(4), [colour(), colour(), colour()[::-1], colour()[::-1]]
CLEAR = [np.concatenate([frame, frame[..., :1] // 200 * 255], axis=-1) for frame in rolled(3)]
FRAMES = {
    "moving": (MOVING, [40, 100, 20, 10]),
    "equal": ([colour(), colour(), colour()], [40, 50, 60]),
    "equal in pairs": (STILL, [100, 100, 30, 30]),
    "of no duration": (MOVING, [0, 0, 0, 0]),
    "clear": (CLEAR, [40, 50, 60]),
}


@pytest.mark.parametrize("result", ["png", "webp", "tiff"])
@pytest.mark.parametrize("name", FRAMES)
def test_frames_are_kept_with_their_durations(
    poolcli: Run, here: Path, name: str, result: str
) -> None:
    frames, durations = FRAMES[name]
    # Pillow merges equal frames that it is told durations of, unless they are cleared in turn.
    turns = [index % 2 for index in range(len(frames))]
    animated(here / "a.png", "PNG", frames, duration=durations, disposal=turns, loop=3)
    assert timing(here / "a.png") == (durations, 3)
    assert poolcli("run", "a.png", "-s", "pick:1", "-s", "max:2", "--format", result).status == 0
    for stage in ("1-pick1x1", "2-max2x2"):
        path = here / f"pooled/a.{stage}.{result}"
        found = pixels(path)
        step = 1 if stage.startswith("1") else 2
        expected = np.stack(frames)
        if step == 2:
            halves = [expected[:, y::2, x::2] for y in (0, 1) for x in (0, 1)]
            expected = np.maximum.reduce(halves)
        assert found.tolist() == expected.tolist()
        if result != "tiff":
            assert timing(path) == (durations, 3)


@pytest.mark.parametrize("result", ["png", "webp"])
@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
@pytest.mark.parametrize("loop", [0, 1, 5])
def test_durations_and_plays_of_every_animated_format(
    poolcli: Run, here: Path, form: str, result: str, loop: int
) -> None:
    animated(here / "a", form, MOVING, duration=[40, 100, 20, 10], loop=loop)
    assert poolcli("run", "a", "-s", "max:2", "--format", result).status == 0
    # A GIF says how often it is repeated, the others how often it is shown.
    plays = loop + 1 if form == "GIF" and loop else loop
    assert timing(here / f"pooled/a.1-max2x2.{result}") == ([40, 100, 20, 10], plays)


def test_a_gif_that_says_nothing_of_repeating_is_shown_once(poolcli: Run, here: Path) -> None:
    animated(here / "a.gif", "GIF", MOVING, duration=50)
    with Image.open(here / "a.gif") as image:
        assert "loop" not in image.info
    assert poolcli("run", "a.gif", "-s", "max:2").status == 0
    assert timing(here / "pooled/a.1-max2x2.png") == ([50] * 4, 1)


def test_pages_become_frames_without_delay(poolcli: Run, here: Path) -> None:
    animated(here / "a.tif", "TIFF", MOVING)
    for result in ("png", "webp"):
        assert poolcli("run", "a.tif", "-s", "max:2", "--format", result).status == 0
        assert timing(here / f"pooled/a.1-max2x2.{result}") == ([0] * 4, 0)


@pytest.mark.parametrize("count", [1, 3])
def test_a_picture_for_where_animations_are_not_shown_stays_one(
    poolcli: Run, here: Path, count: int
) -> None:
    frames = [colour()[::-1], *MOVING[:count]]
    options = {"default_image": True, "duration": [30] * count, "loop": 2}
    animated(here / "a.png", "PNG", frames, **options)
    assert poolcli("run", "a.png", "-s", "pick:1").status == 0
    path = here / "pooled/a.1-pick1x1.png"
    assert pixels(path).tolist() == np.stack(frames).tolist()
    assert timing(path) == ([None, *[30] * count], 2)
    with Image.open(path) as image:
        assert image.info["default_image"]
    assert poolcli("run", "a.png", "-s", "pick:1", "--format", "webp").status == 0
    assert pixels(here / "pooled/a.1-pick1x1.webp").tolist() == np.stack(frames).tolist()


def test_one_frame_is_a_still(poolcli: Run, here: Path) -> None:
    animated(here / "a.gif", "GIF", MOVING[:1], duration=50, loop=0)
    for result in ("png", "webp"):
        assert poolcli("run", "a.gif", "-s", "max:2", "--format", result).status == 0
        with Image.open(here / f"pooled/a.1-max2x2.{result}") as image:
            assert getattr(image, "n_frames", 1) == 1
    assert b"acTL" not in (here / "pooled/a.1-max2x2.png").read_bytes()


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        (0, (0, 1)),
        (-5, (0, 1)),
        (10, (1, 100)),
        (1000 / 3, (1, 3)),
        (1, (1, 1000)),
        (655_350, (13107, 20)),
        (65_535_000, (65535, 1)),
        (1e12, (65535, 1)),
        (0.001, (0, 1)),
    ],
)
def test_delays_are_fractions_of_a_second(milliseconds: float, expected: tuple[int, int]) -> None:
    assert png.delay(milliseconds) == expected


@pytest.mark.parametrize("milliseconds", [7, 33, 16_777_215, 65_534_999, 1e3 / 60])
def test_delays_are_as_near_as_16_bits_are(milliseconds: float) -> None:
    above, below = png.delay(milliseconds)
    assert max(above, below) < 2**16
    assert above / below * 1000 == pytest.approx(milliseconds, rel=1e-4)


def test_a_webp_is_no_larger_than_its_lengths_can_say(monkeypatch: pytest.MonkeyPatch) -> None:
    stills = [bytes(12) + b"VP8L\0\0\0\0"] * 2
    size = len(webp.animation(stills, (1, 1), [0, 0], alpha=False)) - 8
    monkeypatch.setattr(webp, "_LARGEST", size)
    assert webp.animation(stills, (1, 1), [0, 0], alpha=False).startswith(b"RIFF")
    monkeypatch.setattr(webp, "_LARGEST", size - 1)
    with pytest.raises(OutputError, match=f"its frames take {size} bytes, of which a WebP holds"):
        webp.animation(stills, (1, 1), [0, 0], alpha=False)


def test_durations_of_a_webp_are_24_bits() -> None:
    still = io.BytesIO()
    Image.new("RGB", (2, 2)).save(still, "WEBP", lossless=True)
    stills = [still.getvalue()] * 3
    content = webp.animation(stills, (2, 2), [2**30, None, 0.6], alpha=False, plays=2**20)
    places = [at for at in range(len(content)) if content[at : at + 4] == b"ANMF"]
    shown = [struct.unpack("<I", content[at + 20 : at + 23] + b"\0")[0] for at in places]
    assert shown == [2**24 - 1, 0, 1]
    with Image.open(io.BytesIO(content)) as image:
        assert (getattr(image, "n_frames", 1), image.info["loop"]) == (3, 2**16 - 1)


@pytest.mark.parametrize("result", ["png", "webp"])
def test_an_animation_carries_what_a_still_does(poolcli: Run, here: Path, result: str) -> None:
    from tests.test_metadata import KEPT, SRGB, block, said_of_making, told

    animated(here / "a.png", "PNG", MOVING, duration=50, exif=block(KEPT), icc_profile=SRGB)
    assert poolcli("run", "a.png", "-s", "max:2", "--format", result).status == 0
    path = here / f"pooled/a.1-max2x2.{result}"
    assert told(path) == KEPT
    assert said_of_making(path).endswith("a.png -s max:2")
    with Image.open(path) as image:
        assert image.info["icc_profile"] == SRGB
