"""Defects that the fuzzer (``python -m tests.fuzz``) found, each with a case that shows it."""

from __future__ import annotations

import io
import struct
from math import comb
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from PIL import Image

import poolcli
from poolcli.errors import InputError, PlanError, SpecError
from poolcli.files import arrays, images, recipes, weights
from poolcli.files.inputs import MAX_PIXELS
from poolcli.kernels.reducers import binomial
from poolcli.memory import needed_at_once
from poolcli.plan import plan
from poolcli.report.explain import explain
from poolcli.report.machine import plan_facts, to_json
from poolcli.report.words import total
from poolcli.stages import Chain, Stage
from tests.conftest import Run, save
from tests.fuzz_targets import sealed
from tests.test_arrays import header_of, npy

BEYOND_DECIMAL = "0x" + "f" * 5000
"""Python reads it, but refuses to write it in decimal digits."""


def test_a_length_of_thousands_of_digits_is_more_than_the_file_holds() -> None:
    content = npy(header_of("'<f4'", f"({BEYOND_DECIMAL},)"))
    with pytest.raises(InputError, match=r"promises more than 2\^64 bytes of elements, it holds 0"):
        arrays.read_header(io.BytesIO(content))


def test_a_date_that_ends_the_process_within_numpy_never_reaches_it(
    process: Run, here: Path
) -> None:
    (here / "a.npy").write_bytes(npy(header_of("'<M8[s/0]'"), bytes(16)))
    assert "can't be read" in process("shape", "a.npy", "-s", "max:1").error(1)


@pytest.mark.parametrize(
    ("descr", "said"),
    [
        ("[('a', '<M8[s/0]'), ('b', '<f4')]", r"one of its fields \(a, b\)"),
        ("{'names': ['a'], 'formats': ['<f4'], 'offsets': [99999999999999999999]}", "can't be"),
        ("{'a': ('<f4', 99999999999999999999)}", "can't be read"),
        ("('<f4', (99999999999999999999,))", "can't be read"),
        (f"('<f4', {BEYOND_DECIMAL})", "can't be read"),
        ("[()]", "can't be read"),
        ("[3]", "can't be read"),
        ("3", "can't be read"),
    ],
)
def test_dtypes_that_are_not_plain_are_refused_unread(descr: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        arrays.read_header(io.BytesIO(npy(header_of(descr), bytes(64), 2)))


@pytest.mark.parametrize(
    "layer",
    [
        "MaxPool2d(1000000000000)",
        f"MaxPool2d({BEYOND_DECIMAL})",
        "MaxPool2d(2, padding=(0, 99999999999999))",
        "AvgPool2d(2, divisor_override=1000000000000)",
        "AdaptiveAvgPool2d((None, 1000000000000))",
        f"Conv2d(3, {BEYOND_DECIMAL}, 1)",
        "Upsample(scale_factor=1e300)",
        f"LPPool2d({BEYOND_DECIMAL}, 2)",
        f"LPPool2d(1{'0' * 400}, 2)",
    ],
)
def test_a_layers_numbers_are_no_longer_than_a_specs(layer: str) -> None:
    with pytest.raises(SpecError, match=r"12 digits|a number above 0"):
        Stage.parse(layer)


@pytest.mark.parametrize("layer", ["MaxPool2d(999999999999)", "LPPool2d(1e300, 2)"])
def test_a_layers_largest_numbers_print_and_parse_again(layer: str) -> None:
    assert Stage.parse(str(Stage.parse(layer))) == Stage.parse(layer)


@pytest.mark.parametrize("name", ["a\0.npy", "a\ud800.npy"])
def test_a_name_that_no_file_can_have_is_an_error_of_its_spec(name: str) -> None:
    with pytest.raises(SpecError, match=r"stage 1 \(conv,weights=a"):
        plan((3, 4, 4), f"conv,weights={name}")
    with pytest.raises(SpecError, match=r"^a"):
        weights.load(name)


@pytest.mark.parametrize(("pad", "empty"), [(119999999988, False), (119999999982, True)])
def test_as_many_windows_as_a_spec_can_ask_for_are_planned_at_once(pad: int, empty: bool) -> None:
    spec = f"median:10000000000,stride=12,dilation=12,pad={pad}"
    if not empty:
        assert plan((6,), spec).output_shape == (10**10,)
        return
    with pytest.raises(PlanError, match="nothing but padding"):
        plan((6,), spec)


@pytest.mark.parametrize("specs", [["max:1*1000", "relu"], ["max:1*1000"] * 100_000])
def test_a_chain_of_more_stages_than_one_can_mean_is_refused(specs: list[str]) -> None:
    with pytest.raises(SpecError, match="more than 1,000 stages in a chain"):
        Chain.parse(*specs)
    assert len(Chain.parse("max:1*999", "relu")) == 1000


@pytest.mark.parametrize(
    ("shape", "spec", "said"),
    [
        ((10**12, 10**12), "max:1", r"^the map would have more elements than 64 bits can count"),
        ((4,), "up:2*1000", r"^stage 61 \(up:2\): the map would have more"),
        ((1,), "max,out=999999999999*2", None),
        ((1, 1), "max,out=999999999999", r"stage 1 .*the map would have more"),
        (
            (1,),
            "max:1,stride=999999999999*1000",
            r"stage 2 .*its jump would be more pixels",
        ),
    ],
)
def test_what_more_than_64_bits_count_is_no_plan(
    shape: tuple[int, ...], spec: str, said: str | None
) -> None:
    if said is None:
        assert plan(shape, spec).output_shape == (10**12 - 1,)
        return
    with pytest.raises(PlanError, match=said):
        plan(shape, spec)


@pytest.mark.parametrize(
    ("specs", "field"),
    [
        (["up:2*6", "max:3,stride=1,pad=1*994"], (33,)),
        (["up:3", "max:1,stride=2", "up:2", "max:1,stride=3"] * 250, (1,)),
        (["max:3,stride=2,pad=1", "unpool"] * 500, (2001,)),
        (["max:999999999999,stride=1,pad=499999999999*1000"], (999999999998001,)),
    ],
)
def test_a_long_chain_is_explained_in_seconds(specs: list[str], field: tuple[int, ...]) -> None:
    """Which took minutes when every stage went through all those before it."""
    started = process_time()
    worked_out = plan((8,), *specs)
    assert worked_out.steps[-1].receptive_field == field
    assert explain(worked_out).count("\nstage ") == len(worked_out.steps) == 1000
    assert to_json(plan_facts(worked_out))
    assert process_time() - started < 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"layout = {BEYOND_DECIMAL}", "layout: expected letters in quotes"),
        ("a." * 30_000 + "a = 1", "line 1 has more than 100 dots"),
        ("\n[" + "a ." * 30_000 + "a]", "line 2 has more than 100 dots"),
        ('[[stage]]\nspec = "max:2"\n' * 1_000_000, "more than 262,144 characters"),
        ('[[stage]]\nspec = "max:1*1000"\n' * 1000, "more than 1,000 stages in a chain"),
        ("a = " + "[" * 10_000, "recursion"),
        ("a = " + "{a=" * 10_000, "recursion"),
    ],
    ids=["digits", "dots", "header", "stages", "repeats", "lists", "tables"],
)
def test_recipes_that_would_take_for_ever_are_refused(here: Path, text: str, said: str) -> None:
    path = here / "r.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match=said):
        recipes.load(path)


def test_a_recipe_that_does_not_end_is_not_read_to_its_end() -> None:
    with pytest.raises(SpecError, match="more than 262,144 characters"):
        recipes.load(Path("/dev/zero"))


def test_dots_may_stand_in_a_recipes_comments(here: Path) -> None:
    path = here / "r.toml"
    path.write_text(f'# {"." * 200}\n[[stage]]\nspec = "max:2"\n')
    assert len(recipes.load(path).chain) == 1


def test_postscript_is_never_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose loops need not end; a program of that name would leave a file."""
    (here / "gs").write_text("#!/bin/sh\ntouch was-run\n")
    (here / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(here))
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 7\n%%EndComments\n{} loop\n"
    for read in (images.read_header, images.read):
        with pytest.raises(InputError, match="PostScript is a program"):
            read(io.BytesIO(content), MAX_PIXELS)
    assert not (here / "was-run").exists()


def tiff_of_too_many_samples() -> bytes:
    """Return a TIFF whose pixels have 70,000 samples each, which Pillow logs as an error."""
    stream = io.BytesIO()
    Image.new("RGB", (2, 2)).save(stream, "TIFF")
    tag = struct.pack("<HH", 277, 3)
    before, after = stream.getvalue().split(tag, 1)
    return before + struct.pack("<HHII", 277, 4, 1, 70_000) + after[8:]


@pytest.mark.parametrize(
    ("words", "content"),
    [
        (["shape", "8x8", "-s", "MaxPool2d(1if 1else 2)"], b""),
        (["shape", "broken", "-s", "max:1"], npy("{1if 1else 2}")),
        (["shape", "broken", "-s", "max:1"], tiff_of_too_many_samples()),
    ],
    ids=["layer", "header", "tiff"],
)
def test_an_error_stands_alone_without_the_warnings_of_libraries(
    process: Run, here: Path, words: list[str], content: bytes
) -> None:
    (here / "broken").write_bytes(content)
    ran = process(*words)
    assert ran.error(ran.status or 1)


@pytest.fixture
def pillows_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a test Pillow's own limit, which larger ones of other tests may have raised."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", MAX_PIXELS // 2)


def large_second_frame(form: str, side: int = 20_000) -> bytes:
    """Return a picture of 9×7 whose second frame is so many pixels long, or wide too."""
    stream = io.BytesIO()
    first, second = (Image.new("L", (9, 7), shade) for shade in (0, 255))
    first.save(stream, form, save_all=True, append_images=[second], duration=9)
    content = bytearray(stream.getvalue())
    mark, large = struct.pack("<HHI", 257, 4, 1), struct.pack("<I", side)
    if form == "GIF":
        mark, large = b",\0\0\0\0", struct.pack("<HH", side, side)
    at = content.rindex(mark) + len(mark)
    content[at : at + len(large)] = large
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (large_second_frame("TIFF"), "^frame 2 has another size"),
        (large_second_frame("GIF"), "^more than 178,956,970 pixels: raise --max-pixels"),
        (large_second_frame("GIF", 2000), "^frame 2 has another size"),
    ],
    ids=["TIFF", "GIF", "smaller GIF"],
)
@pytest.mark.usefixtures("pillows_limit")
def test_a_later_frame_is_not_decoded_at_a_size_of_its_own(content: bytes, said: str) -> None:
    """Of which the header says nothing: memory is counted by the first one's."""
    assert images.read_header(io.BytesIO(content), MAX_PIXELS).shape[:3] == (2, 7, 9)
    with pytest.raises(InputError, match=said):
        images.read(io.BytesIO(content), MAX_PIXELS)


def test_an_animation_with_fewer_frames_than_it_promises_is_truncated() -> None:
    stream = io.BytesIO()
    first, second = (Image.new("L", (9, 7), shade) for shade in (0, 255))
    first.save(stream, "PNG", save_all=True, append_images=[second])
    content = sealed(stream.getvalue().replace(b"fdAT", b"fdAU"))
    assert images.read_header(io.BytesIO(content), MAX_PIXELS).shape == (2, 7, 9)
    with pytest.raises(InputError, match=r"^truncated: it holds 1 of 2 frames$"):
        images.read(io.BytesIO(content), MAX_PIXELS)


@pytest.mark.filterwarnings("ignore")  # as the program ignores Pillow's
@pytest.mark.usefixtures("pillows_limit")
def test_the_limit_on_pixels_holds_however_far_it_is_passed() -> None:
    content = b"P5 30000 30000 255\n"
    for limit in (1000, MAX_PIXELS):
        with pytest.raises(InputError, match=rf"more than {limit:,} pixels: raise --max-pixels"):
            images.read_header(io.BytesIO(content), limit)
    assert images.read_header(io.BytesIO(content), 30_000**2).shape == (30_000, 30_000)


@pytest.mark.parametrize("size", [1025, 1026])
def test_binomial_weights_of_long_windows_are_those_of_whole_numbers(size: int) -> None:
    exact = np.array([comb(size - 1, tap) / 2 ** (size - 1) for tap in range(size)])
    np.testing.assert_allclose(binomial(size), exact, rtol=1e-13, atol=1e-300)


def test_a_blur_much_longer_than_its_map_takes_no_minutes() -> None:
    started = process_time()
    assert poolcli.pool(np.full(12, 5.0), "blur:65535") == pytest.approx([5.0] * 6)
    assert process_time() - started < 10


def test_a_map_that_comes_from_nothing_is_reported() -> None:
    assert total(plan((0, 4, 4), "conv:2,out=4")).startswith("no elements at first, peak ")


@pytest.mark.parametrize(
    ("spec", "least"),
    [
        ("max:3,pad=same,dilation=1000000", 8),
        ("gem:3,pad=1000000,dilation=1000000", 8),
        ("max:2000000,pad=1000000,pad-mode=edge", 20),
        ("median:2000000,pad=1000000,pad-mode=wrap", 20),
        ("conv:2000000,filter=box,pad=1000000", 8),
        ("blur:2000000", 20),
    ],
)
def test_windows_longer_than_their_map_are_counted_before_memory_is_taken(
    poolcli: Run, here: Path, spec: str, least: int
) -> None:
    """The least is what they were measured to take, in bytes for each position that they span."""
    save(here / "a.npy", np.ones(12), "float32")
    assert needed_at_once(plan((12,), spec), {1}) >= least * 2_000_000
    said = poolcli("run", "a.npy", "-s", spec, "--memory", "16MiB").error(1)
    assert said.startswith("a.npy: it takes ")


def test_padding_of_a_few_values_is_counted_as_a_few() -> None:
    with_values = plan((3, 2000, 2000), "max:3,stride=1,pad=1,pad-mode=reflect")
    without = plan((3, 2000, 2000), "max:3,stride=1,pad=1")
    assert needed_at_once(with_values, {1}) < needed_at_once(without, {1}) * 1.02
