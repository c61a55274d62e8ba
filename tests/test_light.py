"""--linear and --premultiply: pictures worked on as light."""

from __future__ import annotations

import json
import tracemalloc
import weakref
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from poolcli import batch
from poolcli import lighting as lighting_module
from poolcli.errors import InputError, PlanError
from poolcli.files import formats
from poolcli.files.inputs import Source
from poolcli.kernels.light import Light, from_light, to_light
from poolcli.lighting import Lighting, lighting
from poolcli.maps import Header
from poolcli.plan import plan_chain
from poolcli.stages import Chain
from tests.conftest import Run, colour, grey, pixels, save
from tests.deep_files import png
from tests.test_metadata import said_of_making

Array = npt.NDArray[Any]
BOTH = ("--linear", "--premultiply")


def light_of(stored: float) -> float:
    """The standard's formula, for one number."""
    if stored <= 0.04045:
        return stored / 12.92
    return float(((stored + 0.055) / 1.055) ** 2.4)


def stored_of(light: float) -> float:
    if light <= 0.0031308:
        return light * 12.92
    return float(1.055 * light ** (1 / 2.4) - 0.055)


def test_the_curve_is_the_standards() -> None:
    numbers = np.arange(256) / 255
    assert to_light(numbers).tolist() == pytest.approx([light_of(n) for n in numbers], abs=1e-15)
    assert from_light(numbers).tolist() == pytest.approx([stored_of(n) for n in numbers], abs=1e-7)
    # Values that colour calculators print: middle grey, and the darkest stored as 10.
    assert to_light(np.array([188, 10]) / 255) == pytest.approx([0.502886, 0.00303527], abs=1e-6)


def test_the_curve_goes_on_above_1_and_oddly_below_0() -> None:
    numbers = np.linspace(0, 4, 999)
    assert to_light(-numbers).tolist() == (-to_light(numbers)).tolist()
    assert from_light(-numbers).tolist() == (-from_light(numbers)).tolist()
    assert to_light(np.array([2.0])) == pytest.approx(light_of(2.0))
    assert (np.diff(to_light(numbers)) > 0).all()
    assert from_light(to_light(numbers)) == pytest.approx(numbers, abs=1e-14)
    assert from_light(np.array([np.inf, -np.inf])).tolist() == [np.inf, -np.inf]


def checkerboard(white: int, dtype: str) -> Array:
    return np.asarray(np.indices((4, 6)).sum(0) % 2 * white, dtype)


@pytest.mark.parametrize(("dtype", "white"), [("uint8", 255), ("uint16", 65535)])
def test_a_checkerboard_is_as_bright_as_its_mean(
    poolcli: Run, here: Path, dtype: str, white: int
) -> None:
    save(here / "a.png", checkerboard(white, dtype), dtype)
    found = []
    for options in ((), ("--linear",)):
        ran = poolcli("run", "a.png", "-s", "avg:2", *options, "--force")
        assert ran.status == 0, ran.err
        result = pixels(here / "pooled/a.1-avg2x2.png")
        assert result.dtype == dtype
        found.append(np.unique(result).tolist())
    assert found == [[(white + 1) // 2], [round(white * stored_of(0.5))]]
    assert white != 255 or found[1] == [188]


def test_premultiplied_means_are_weighed_by_alpha(poolcli: Run, here: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (8, 10, 4), np.uint8)
    array[:2, :2, 3] = 0
    array[2:4, :2, 3] = (255, 0), (0, 0)
    save(here / "a.png", array)
    assert poolcli("run", "a.png", "-s", "avg:2", "--premultiply").status == 0
    found = pixels(here / "pooled/a.1-avg2x2.png")
    for y, x in np.ndindex(4, 5):
        window = array[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].reshape(4, 4).astype(int).tolist()
        whole = sum(pixel[3] for pixel in window)
        sums = [sum(pixel[c] * pixel[3] for pixel in window) for c in range(3)]
        means = [round(Fraction(part, whole)) if whole else 0 for part in sums]
        assert found[y, x].tolist() == [*means, round(Fraction(whole, 4))]
    assert found[0, 0].tolist() == [0, 0, 0, 0]
    assert found[1, 0].tolist() == [*array[2, 0, :3], 64]


def test_what_is_clear_does_not_bleed(poolcli: Run, here: Path) -> None:
    save(here / "a.png", [[[200, 0, 0, 255], [0, 255, 0, 0]]] * 2)
    for options, expected in (
        ((), [100, 128, 0, 128]),
        (("--premultiply",), [200, 0, 0, 128]),
        (BOTH, [200, 0, 0, 128]),
    ):
        assert poolcli("run", "a.png", "-s", "avg:2", *options, "--force").status == 0
        assert pixels(here / "pooled/a.1-avg2x2.png").tolist() == [[expected]]


def test_both_together_are_means_of_light_weighed_by_alpha(poolcli: Run, here: Path) -> None:
    save(here / "a.png", [[[250, 10, 0, 255], [30, 90, 255, 51]]])
    assert poolcli("run", "a.png", "-s", "avg:1x2", *BOTH, "--dtype", "float64").status == 0
    (found,) = np.load(here / "pooled/a.1-avg1x2.npy")[0]
    expected = [
        255 * stored_of((light_of(a / 255) * 255 + light_of(b / 255) * 51) / 306)
        for a, b in ((250, 30), (10, 90), (0, 255))
    ]
    assert found.tolist() == pytest.approx([*expected, 153], abs=1e-5)


ALL_BYTES = np.arange(256, dtype=np.uint8).reshape(16, 16)
LOSSLESS = {
    "grey": ALL_BYTES,
    "colour": np.stack([ALL_BYTES, ALL_BYTES.T, ALL_BYTES[::-1]], -1),
    "grey and alpha": np.stack(np.meshgrid(range(256), range(256)), -1).astype(np.uint8),
    "colour and alpha": np.random.default_rng(1).integers(0, 256, (40, 50, 4), np.uint8),
    "16 bits": np.arange(65536, dtype=np.uint16).reshape(256, 256),
}


@pytest.mark.parametrize("options", [("--linear",), ("--premultiply",), BOTH])
@pytest.mark.parametrize("name", LOSSLESS)
def test_pick_1_gives_back_all_that_can_be_seen(
    poolcli: Run, here: Path, name: str, options: tuple[str, ...]
) -> None:
    array = LOSSLESS[name]
    save(here / "a.png", array, array.dtype.name)
    ran = poolcli("run", "a.png", "-s", "pick:1", "-s", "pick:1", *options)
    assert (ran.status, ran.err.count("warning")) == (0, 0)
    expected = array.copy()
    if array.ndim == 3 and array.shape[-1] in (2, 4) and "--premultiply" in options:
        expected[expected[..., -1] == 0] = 0
    for stage in (1, 2):
        assert pixels(here / f"pooled/a.{stage}-pick1x1.png").tolist() == expected.tolist()


def test_16_bit_colour_is_light_too(poolcli: Run, here: Path) -> None:
    array = np.random.default_rng(2).integers(0, 65536, (6, 8, 4), np.uint16)
    (here / "a.png").write_bytes(png(array))
    assert poolcli("run", "a.png", "-s", "pick:1", *BOTH).status == 0
    array[array[..., 3] == 0] = 0
    found = np.load(here / "pooled/a.1-pick1x1.npy")
    assert (found.dtype, found.tolist()) == (np.dtype("uint16"), array.tolist())


def test_alpha_is_no_light(poolcli: Run, here: Path) -> None:
    array = np.zeros((2, 2, 2), np.uint8)
    array[..., 0] = array[..., 1] = [[0, 255], [255, 0]]
    save(here / "a.png", array)
    assert poolcli("run", "a.png", "-s", "avg:2", "--linear").status == 0
    assert pixels(here / "pooled/a.1-avg2x2.png").tolist() == [[[188, 128]]]


def test_without_alpha_there_is_nothing_to_weigh(poolcli: Run, here: Path) -> None:
    save(here / "a.png", colour())
    for folder, options in (("x", ()), ("y", ("--premultiply",))):
        assert poolcli("run", "a.png", "-s", "avg:2", *options, "-o", folder).status == 0
    name = "a.1-avg2x2.png"
    assert (here / "x" / name).read_bytes() == (here / "y" / name).read_bytes()


def test_nothing_is_rounded_between_stages(poolcli: Run, here: Path) -> None:
    array = np.random.default_rng(3).integers(0, 256, (16, 16, 4), np.uint8)
    save(here / "a.png", array)
    assert poolcli("run", "a.png", "-s", "avg:2*3", *BOTH).status == 0
    assert poolcli("run", "a.png", "-s", "avg:8", *BOTH).status == 0
    stages = pixels(here / "pooled/a.3-avg2x2.png")
    assert stages.tolist() == pixels(here / "pooled/a.1-avg8x8.png").tolist()


def test_negative_light_is_kept_until_it_is_saved(poolcli: Run, here: Path) -> None:
    array = np.array([[0, 0, 0], [0, 200, 0], [0, 0, 0]], np.uint8)
    save(here / "a.png", array)
    spec = "conv:3,filter=laplacian"
    ran = poolcli("run", "a.png", "-s", spec, "--linear", "--dtype", "float64")
    assert ran.status == 0
    found = np.load(here / "pooled/a.1-conv3x3.npy")
    assert found[0, 0] == pytest.approx(-255 * stored_of(4 * light_of(200 / 255)), abs=1e-9)
    ran = poolcli("run", "a.png", "-s", spec, "--linear")
    assert "of 1 values 1 saturated" in ran.err
    assert pixels(here / "pooled/a.1-conv3x3.png").tolist() == [[0]]


@pytest.mark.parametrize("spec", ["max:2,d=3,pad=3", "min:2,d=3,pad=3"])
def test_windows_without_elements_are_what_they_are_without_the_options(
    poolcli: Run, here: Path, spec: str
) -> None:
    save(here / "a.png", [[[9, 8, 7, 255]]])
    assert poolcli("run", "a.png", "-s", spec, "-o", "x").status == 0
    assert poolcli("run", "a.png", "-s", spec, "-o", "y", "--linear").status == 0
    (plain,), (linear,) = (list((here / folder).iterdir()) for folder in "xy")
    assert pixels(plain).tolist() == pixels(linear).tolist()


@pytest.mark.parametrize("spec", ["max:2,d=3,pad=3", "min:2,d=3,pad=3"])
def test_windows_without_elements_have_no_colour(poolcli: Run, here: Path, spec: str) -> None:
    save(here / "a.png", [[[9, 8, 7, 255]]])
    ran = poolcli("run", "a.png", "-s", spec, *BOTH)
    assert (ran.status, "NaN" in ran.err) == (0, False)
    (path,) = (here / "pooled").iterdir()
    found = pixels(path)
    empty = (np.indices(found.shape[:2]) % 3 != 0).any(0)
    assert empty.any()
    assert (found[empty][:, :3] == 0).all()


def test_what_has_no_alpha_has_no_colour(poolcli: Run, here: Path) -> None:
    array = colour(channels=4)
    array[..., 3] = 255
    save(here / "a.png", array)
    assert poolcli("run", "a.png", "-s", "conv:3,filter=sobel-x", "--premultiply").status == 0
    assert not pixels(here / "pooled/a.1-conv3x3.png").any()


def test_frames_and_the_other_ways_out(poolcli: Run, here: Path) -> None:
    frames = [Image.fromarray(np.dstack([checkerboard(255, "uint8")] * 3) // k) for k in (1, 2)]
    frames[0].save(here / "a.tif", save_all=True, append_images=frames[1:])
    options = ("--linear", "--sheet", "sheet.png", "--save", "last")
    assert poolcli("run", "a.tif", "-s", "avg:2", *options).status == 0
    assert pixels(here / "pooled/a.1-avg2x2.png")[:, 0, 0, 0].tolist() == [
        188,
        round(255 * stored_of(light_of(127 / 255) / 2)),
    ]
    assert (here / "sheet.png").exists()
    Image.fromarray(checkerboard(255, "uint8")).save(here / "b.png")
    ran = poolcli("run", "b.png", "-s", "avg:2", "--linear", "-o", "-")
    (here / "c.png").write_bytes(ran.data)
    assert (pixels(here / "c.png") == 188).all()


def test_the_plan_shown_is_that_of_the_stored_picture(poolcli: Run, here: Path) -> None:
    save(here / "a.png", colour(8, 8, 4))
    chain = ("-s", "avg:2", "-s", "max:2", "-s", "sum:2", "--save", "none", "--json")
    plain = poolcli("run", "a.png", *chain)
    assert json.loads(plain.out)["stages"][0]["dtype"] == "uint8"
    assert poolcli("run", "a.png", *chain, *BOTH).out == plain.out
    table = poolcli("run", "a.png", *chain[:-1], "-n")
    assert poolcli("run", "a.png", *chain[:-1], "-n", *BOTH).out == table.out


def test_results_say_that_they_were_made_so(poolcli: Run, here: Path) -> None:
    save(here / "a.png", colour(channels=4))
    assert poolcli("run", "a.png", "-s", "avg:2", *BOTH).status == 0
    said = said_of_making(here / "pooled/a.1-avg2x2.png")
    assert said.endswith("a.png -s avg:2 --linear --premultiply")


REFUSED = {
    "an array": ("a.npy", grey(), "uint8", "avg:2", "an array has no alpha and no light curve"),
    "32 bits": ("a.tiff", grey(), "int32", "avg:2", "pictures of 8 and 16 bits, this one is int32"),
    "floats": ("a.tiff", grey(), "float32", "avg:2", "this one is float32"),
    "channels": (
        "a.png",
        colour(channels=4),
        "uint8",
        "max:2,over=channels",
        "stage 1 (max:2,over=channels): it mixes colours with alpha",
    ),
    "weights": (
        "a.png",
        colour(channels=2),
        "uint8",
        "conv,weights=w.npy",
        "stage 1 (conv,weights=w.npy): it mixes colours with alpha",
    ),
}


@pytest.mark.parametrize("option", BOTH)
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_light_is_refused_in_words(
    poolcli: Run, here: Path, case: str, option: str
) -> None:
    name, array, dtype, spec, said = REFUSED[case]
    save(here / name, array, dtype)
    np.save(here / "w.npy", np.ones((2, 2, 1, 1), np.float32))
    refusal = poolcli("run", "-q", name, "-s", spec, option).error(1)
    assert said in refusal
    assert option in refusal
    assert poolcli("run", "-q", name, "-s", spec).status == 0
    save(here / "good.png", grey())
    ran = poolcli("run", "-q", name, "good.png", "-s", "avg:2", "-s", spec, option, "--force")
    assert ran.err.count("error: ") >= 1


def test_channels_without_alpha_may_be_mixed(poolcli: Run, here: Path) -> None:
    save(here / "a.png", [[[0, 255, 255]]])
    assert poolcli("run", "a.png", "-s", "avg:2,s=1,over=channels", "--linear").status == 0
    (path,) = (here / "pooled").iterdir()
    # Two channels are left, of which the last is no alpha.
    assert pixels(path).tolist() == [[[188, 255]]]


def header(shape: tuple[int, ...], layout: str, dtype: str = "uint8") -> Header:
    return Header(shape, layout, dtype, "png")


def test_what_changes_nothing_is_not_done() -> None:
    chain = Chain.parse("avg:2")
    plain = header((8, 8, 3), "HWC")
    assert lighting(chain, plain, linear=False, premultiply=False) is None
    assert lighting(chain, plain, linear=False, premultiply=True) is None
    lit = lighting(chain, plain, linear=True, premultiply=True)
    assert lit is not None
    assert lit.words == ("--linear",)
    with pytest.raises(InputError, match="--linear and --premultiply"):
        lighting(chain, Header((8,), "W", "uint8", "npy"), linear=True, premultiply=True)
    mixing = Chain.parse("max:2,over=channels")
    assert lighting(mixing, plain, linear=True, premultiply=False) is not None
    with pytest.raises(PlanError):
        lighting(mixing, header((8, 8, 4), "HWC"), linear=True, premultiply=False)


@pytest.mark.parametrize("specs", [("avg:2",), ("max:3,s=1", "avg:2"), ("pick:1",), ("up:2",)])
def test_no_more_memory_is_taken_than_is_counted(specs: tuple[str, ...]) -> None:
    facts = header((700, 900, 4), "HWC")
    chain = Chain.parse(*specs)
    lit = lighting(chain, facts, linear=True, premultiply=True)
    assert lit is not None
    plan = plan_chain(chain, facts.shape, layout="HWC", dtype="uint8")
    shown = formats.saved_plan(plan, facts, None, None)
    array = np.random.default_rng(0).integers(0, 256, facts.shape, np.uint8)
    saved = {step.index for step in shown.steps}
    tracemalloc.start()
    try:
        taken = [array.copy()]
        for result in lit.run(shown, taken.pop(), saved=saved, threads=1):
            assert result.array is not None
            del result
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= lit.needed(shown, saved)
    assert peak > lit.needed(shown, saved) / 4


def test_what_the_engine_is_done_with_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = header((40, 40, 4), "HWC")
    chain = Chain.parse("max:2", "avg:2", "max:2")
    lit = lighting(chain, facts, linear=True, premultiply=True)
    assert lit is not None
    lights: list[weakref.ref[Array]] = []
    decoded = Lighting.decoded

    def recorded(self: Lighting, array: Array, threads: int | None) -> Array:
        light = decoded(self, array, threads)
        lights.append(weakref.ref(light))
        return light

    monkeypatch.setattr(Lighting, "decoded", recorded)
    shown = plan_chain(chain, facts.shape, layout="HWC", dtype="uint8")
    alive = [
        lights[0]() is not None
        for _ in lit.run(shown, np.zeros(facts.shape, np.uint8), saved={3}, threads=1)
    ]
    assert alive == [False, False, False]


def test_memory_counts_the_floats(here: Path) -> None:
    save(here / "a.png", np.zeros((600, 600, 4)))
    for linear in (False, True):
        request = batch.Options(memory=20 << 20, linear=linear)
        (job,) = batch.prepare([Source("a.png")], Chain.parse("max:600", "max:1"), request)
        assert isinstance(job, batch.Job)
        assert job.in_parts == linear


def test_blocks_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = header((61, 53, 4), "HWC")
    chain = Chain.parse("avg:3,s=1", "blur")
    lit = lighting(chain, facts, linear=True, premultiply=True)
    assert lit is not None
    shown = plan_chain(chain, facts.shape, layout="HWC", dtype="uint8")
    array = np.random.default_rng(0).integers(0, 256, facts.shape, np.uint8)

    def results(threads: int) -> list[Any]:
        found = [result.array for result in lit.run(shown, array, threads=threads)]
        return [each.tolist() for each in found if each is not None]

    whole = results(1)
    assert len(whole) == 2
    monkeypatch.setattr(lighting_module, "_BLOCK", 7)
    assert results(1) == results(3) == whole


def test_the_input_is_not_changed() -> None:
    array = colour(channels=4)
    light = Light(linear=True, premultiply=True, white=255, alpha=True)
    decoded = light.decode(array)
    kept = decoded.copy()
    light.encode(decoded)
    assert decoded.tolist() == kept.tolist()
    assert array.tolist() == colour(channels=4).tolist()


def test_what_rounding_leaves_of_no_alpha_is_none(poolcli: Run, here: Path) -> None:
    """Of alpha that is the same in all rows, an edge filter down the columns leaves nothing."""
    picture = np.random.default_rng(0).integers(0, 256, (24, 24, 4)).astype(np.uint8)
    picture[..., 3] = np.arange(24, dtype=np.uint8) * 10
    save(here / "a.png", picture)
    ran = poolcli("run", "a.png", "-s", "avg:3,s=1", "-s", "conv:3,filter=sobel-y",
                  "--premultiply", "-q", "--save", "last")  # fmt: skip
    assert (ran.status, ran.err) == (0, "")
    (result,) = (here / "pooled").iterdir()
    assert not pixels(result).any()


def test_a_window_that_cannot_be_seen_has_no_colour_by_any_mean(poolcli: Run, here: Path) -> None:
    save(here / "a.png", np.tile(np.array([200, 100, 50, 0], np.uint8), (4, 4, 1)))
    for spec in ("avg:2", "gem:2", "lp:2", "soft:2", "max:2", "median:2"):
        assert poolcli("run", "a.png", "-s", spec, "--premultiply", "-q").status == 0
    for result in (here / "pooled").iterdir():
        assert not pixels(result).any(), result
