"""Chains over maps that arrive in parts: the same bits, in bounded memory, or refused in words."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poolcli import batch, engine, memory, streaming
from poolcli.blocks import Frame
from poolcli.errors import PlanError
from poolcli.files.inputs import Source
from poolcli.kernels import long_windows
from poolcli.memory import Streaming
from poolcli.plan import Plan, plan
from poolcli.stages import Chain
from tests.chains import Dice, drawn_chain
from tests.conftest import Run, python, save, tree
from tests.parts import CHUNK, differences, in_parts, totalled

Array = NDArray[Any]

SMALL = 24 << 20
"""Bytes that a run may take: less than the arrays here, more than two threads' own buffers."""
MEASURED = Path("/proc/self/status")


@pytest.fixture(autouse=True)
def _two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each processor has buffers of its own, which count."""
    monkeypatch.setattr(memory, "processors", lambda: 2)


def parts(plan: Plan, frame: Frame, planes: int, rows: int) -> Streaming:
    """Return a way of parts in which long windows are totals wherever they may be."""
    return Streaming(plan, frame, planes, rows, 0, totalled(plan, frame))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make rows of one element be summed in chunks that maps this small have several of."""
    monkeypatch.setattr(long_windows, "CHUNK", CHUNK)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("seed", range(300))
def test_in_parts_chains_give_the_bits_of_a_run_at_once(seed: int) -> None:
    """More of them: ``python -m tests.parts``."""
    assert differences(drawn_chain(10_000 + seed), Dice(seed)) == []


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize("operation", ["max", "min", "avg", "sum", "lp", "gem", "avgmax", "pick"])
@pytest.mark.parametrize("dtype", ["float32", "int16"])
@pytest.mark.parametrize("layout", ["W", "HW", "CHW"])
def test_long_windows_look_at_padding_that_holds_values(
    layout: str, dtype: str, operation: str, mode: str
) -> None:
    """NumPy's own padding of the map says what each window holds."""
    lengths = {"C": 2, "H": 150 if layout != "W" else 1, "W": 5 if layout != "W" else 150}
    shape = tuple(lengths[axis] for axis in layout)
    array = np.random.default_rng(6).integers(1, 100, shape).astype(dtype)
    spec = f"{operation}:67,pad=5" if layout == "W" else f"{operation}:67x2,pad=5x1"
    planned = plan(shape, f"{spec},pad-mode={mode}", layout=layout, dtype=dtype)
    room = [(0, 0) if axis == "C" else (5, 5) for axis in layout]
    room = room if layout == "W" else [*room[:-1], (1, 1)]
    wide = np.pad(array, room, mode=mode)  # type: ignore[call-overload] # any of its modes
    bare = operation + (":67" if layout == "W" else ":67x2")
    (expected,) = engine.run(plan(wide.shape, bare, layout=layout, dtype=dtype), wide)
    assert expected.array is not None
    for frame in memory.frames(planned):
        for rows in (1, 64, 65, 150):
            found = in_parts(parts(planned, frame, 1, rows), array).results[1]
            np.testing.assert_array_equal(found, expected.array, err_msg=f"{frame} {rows}")


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("rows", [1, 2, 5, 7, 40])
@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize(
    "spec", ["avg:5,stride=2,pad=2", "avg:4,stride=2,pad=3", "max:4,stride=3,pad=3,dilation=2"]
)
def test_padding_that_holds_values_needs_rows_from_further_on(
    spec: str, mode: str, rows: int
) -> None:
    planned = plan((3, 40, 9), f"{spec},pad-mode={mode}", "median:2", dtype="float32")
    array = np.random.default_rng(1).standard_normal((3, 40, 9)).astype(np.float32)
    found = in_parts(parts(planned, Frame(1, 1), 1, rows), array).results
    for result in engine.run(planned, array):
        assert result.array is not None
        assert found[result.step.index].tobytes() == result.array.tobytes()


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("rows", [1, 3, 15, 16, 17, 100, 149, 150])
@pytest.mark.parametrize("spec", ["avg:global", "sum,out=4", "lp:70,stride=75", "gem:global"])
@pytest.mark.parametrize("layout", ["W", "HW", "HWC"])
def test_running_totals_have_the_bits_of_sums_at_once(layout: str, spec: str, rows: int) -> None:
    """Numbers of many magnitudes in the dtype of sums, so that another order would show."""
    shape = (150, 80, 2)[: len(layout)]
    generator = np.random.default_rng(2)
    array = generator.standard_normal(shape) * 10.0 ** generator.integers(-3, 4, shape)
    planned = plan(shape, spec, layout=layout, dtype="float64")
    found = in_parts(parts(planned, Frame(0, 0), 1, rows), array).results
    for result in engine.run(planned, array):
        assert result.array is not None
        assert found[result.step.index].tobytes() == result.array.tobytes()


@pytest.mark.parametrize("rows", [1, 4, 33, 90])
def test_losses_are_those_of_a_run_at_once(rows: int) -> None:
    planned = plan((2, 90, 30), "avg:3,stride=1", "sum,out=3", dtype="uint8")
    array = np.random.default_rng(3).integers(0, 256, (2, 90, 30)).astype(np.uint8)
    narrow = replace(planned, steps=tuple(replace(step, dtype="int8") for step in planned.steps))
    expected = {result.step.index: result.losses for result in engine.run(narrow, array)}
    assert expected[1].rounded > 1000
    assert all(each.saturated for each in expected.values())

    def read(frame: Frame, planes: range, low: int, high: int) -> Array:
        assert frame == way.frame
        return array[planes.start : planes.stop, low:high].copy()

    way = parts(narrow, Frame(1, 1), 1, rows)
    assert streaming.stream(way, read, lambda *_: None, {1, 2}) == expected


def large(path: Path, shape: tuple[int, ...] = (4, 1500, 1600)) -> Path:
    """Save 38 MB of float32."""
    np.save(path, np.random.default_rng(4).standard_normal(shape, np.float32))
    return path


@pytest.mark.parametrize(
    "specs",
    [
        ("max:3,stride=2,pad=1", "avg:2", "max:2"),
        ("avg:global",),
        ("max,out=3",),
        ("relu", "avg:5,stride=5,pad=2,pad-mode=reflect", "sum:global"),
    ],
    ids=" ".join,
)
def test_a_file_larger_than_the_memory_gives_the_same_files(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch, specs: tuple[str, ...]
) -> None:
    large(here / "a.npy")
    parts = []
    stream = streaming.stream

    def counted_stream(way: Streaming, *arguments: Any, **more: Any) -> Any:
        parts.append(way)
        return stream(way, *arguments, **more)

    monkeypatch.setattr(streaming, "stream", counted_stream)
    stages = [word for spec in specs for word in ("-s", spec)]
    for folder, size in (("small", str(SMALL)), ("plenty", "2GiB")):
        ran = poolcli("run", "a.npy", *stages, "-q", "-o", folder, "--memory", size)
        assert (ran.status, ran.err) == (0, "")
    (way,) = parts
    assert way.needed <= SMALL
    assert way.rows < 1500
    names = tree(here / "small")
    assert len(names) == len(specs)
    assert names == tree(here / "plenty")
    for name in names:
        assert (here / "small" / name).read_bytes() == (here / "plenty" / name).read_bytes()


@pytest.mark.parametrize("order", [">f4", "|b1"])
def test_other_byte_orders_and_planes_are_read_in_parts_too(
    poolcli: Run, here: Path, order: str
) -> None:
    length = 3000 if order == ">f4" else 6000
    array = np.random.default_rng(5).integers(0, 2, (3, length, 1000)).astype(order)
    np.save(here / "a.npy", array)
    for folder, size in (("small", str(17 << 20)), ("plenty", "2GiB")):
        ran = poolcli("run", "a.npy", "-s", "avg:3", "-q", "-o", folder, "--memory", size)
        assert (ran.status, ran.err) == (0, "")
    name = "a.1-avg3x3.npy"
    assert (here / "small" / name).read_bytes() == (here / "plenty" / name).read_bytes()


def zeros(path: Path, shape: tuple[int, ...], *, fortran: bool = False) -> Path:
    """Write an array of zeros that takes no room on the disk."""
    with path.open("wb") as stream:
        facts = {"descr": "<f4", "fortran_order": fortran, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, facts)
        stream.truncate(stream.tell() + 4 * int(np.prod(shape)))
    return path


@pytest.mark.parametrize(
    ("specs", "more", "fortran", "reason"),
    [
        (["max:2", "unpool"], [], False, "stage 2 (unpool) needs its whole input in memory"),
        (["max:2"], [], True, "reading it takes 74 MiB"),
        (["relu"], ["--format", "png"], False, "encoding its results takes "),
        (["max:2"], ["--sheet", "s.png"], False, "its contact sheet takes "),
        (["median:global"], [], False, "the smallest part that it can be cut into takes "),
    ],
    ids=["unpool", "fortran", "png", "sheet", "median"],
)
def test_what_can_not_be_done_in_parts_is_refused_with_the_need(  # noqa: PLR0913 - columns
    poolcli: Run, here: Path, *, specs: list[str], more: list[str], fortran: bool, reason: str
) -> None:
    zeros(here / "a.npy", (4, 1500, 1600), fortran=fortran)
    stages = [word for spec in specs for word in ("-s", spec)]
    said = poolcli("run", "a.npy", *stages, *more, "-q", "--memory", str(SMALL)).error(1)
    assert said.startswith("a.npy: it takes ")
    assert f" MiB at once, of which --memory allows {memory.in_words(SMALL)}: {reason}" in said
    assert tree(here) == ["a.npy"]


def test_a_result_that_fits_goes_to_standard_output(poolcli: Run, here: Path) -> None:
    path = zeros(here / "a.npy", (4, 1500, 1600))
    parts = poolcli("run", path, "-s", "max:2", "-o", "-", "--memory", str(SMALL), "-q")
    whole = poolcli("run", path, "-s", "max:2", "-o", "-", "-q")
    assert (parts.status, parts.err) == (0, "")
    assert parts.data == whole.data


def test_an_image_that_can_not_be_decoded_within_the_memory_is_refused(
    poolcli: Run, here: Path
) -> None:
    save(here / "a.png", np.zeros((200, 600)))
    said = poolcli("run", "a.png", "-s", "max:2", "-q", "--memory", "100kB").error(1)
    assert said.endswith(
        " at once, of which --memory allows 98 KiB: encoding its results takes 176 KiB"
    )
    assert tree(here) == ["a.png"]


def test_too_little_memory_for_a_single_row_is_refused(poolcli: Run, here: Path) -> None:
    zeros(here / "a.npy", (4, 1500, 1600))
    said = poolcli("run", "a.npy", "-s", "max:2", "-q", "--memory", "256KiB").error(1)
    assert ": the smallest part that it can be cut into takes " in said
    assert tree(here) == ["a.npy"]


def test_a_plan_that_needs_its_whole_input_has_no_parts() -> None:
    planned = plan((4, 64, 64), "max:2", "unpool")
    with pytest.raises(PlanError, match=r"^stage 2 \(unpool\) needs its whole input in memory$"):
        memory.streaming(planned, {1, 2}, 1 << 30)


def test_a_file_cut_short_after_it_was_planned(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zeros(here / "a.npy", (4, 1500, 1600))
    monkeypatch.setattr(batch, "check_folders", lambda _: os.truncate(path, 30_000_000))
    said = poolcli("run", "a.npy", "-s", "max:2", "-q", "--memory", str(SMALL)).error(1)
    assert said == (
        "a.npy: truncated: its header promises 38,400,000 bytes of elements, it holds 29,999,872"
    )
    assert tree(here) == ["a.npy"]


def test_a_file_cut_short_while_it_is_read_leaves_nothing(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zeros(here / "a.npy", (4, 1500, 1600))
    stream = streaming.stream

    def stream_of_less(*arguments: Any, **more: Any) -> Any:
        os.truncate(path, 30_000_000)
        return stream(*arguments, **more)

    monkeypatch.setattr(streaming, "stream", stream_of_less)
    ran = poolcli("run", "a.npy", "-s", "max:2", "-s", "avg:2", "-q", "--memory", str(SMALL))
    assert ran.error(1).startswith("a.npy: truncated: it ends after ")
    assert [name for name in tree(here) if name != "pooled"] == ["a.npy"]


def test_another_file_in_its_place_is_noticed(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zeros(here / "a.npy", (4, 1500, 1600))
    monkeypatch.setattr(batch, "check_folders", lambda _: zeros(path, (4, 1600, 1500)))
    said = poolcli("run", "a.npy", "-s", "max:2", "-q", "--memory", str(SMALL)).error(1)
    assert said == "a.npy: it changed while it was read"
    assert [name for name in tree(here) if name != "pooled"] == ["a.npy"]


def test_what_fits_is_held_whole_and_what_does_not_is_planned_in_parts(here: Path) -> None:
    zeros(here / "a.npy", (4, 1500, 1600))
    for size, is_cut in ((SMALL, True), (1 << 30, False)):
        request = batch.Options(memory=size)
        (job,) = batch.prepare([Source("a.npy")], Chain.parse("max:2"), request)
        assert isinstance(job, batch.Job)
        assert job.in_parts == is_cut
        assert job.needed <= size


_PEAK = """
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
from poolcli.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert ended.code == 0, ended.code
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""


def peak_of(here: Path, *arguments: str) -> int:
    ran = python(here, _PEAK, *arguments)
    assert (ran.status, ran.err) == (0, "")
    return int(ran.out) << 10


@pytest.mark.skipif(not MEASURED.exists(), reason="the peak of memory is read from Linux's /proc")
@pytest.mark.parametrize(
    "specs",
    [("max:3,stride=2,pad=1", "avg:2"), ("avg:global",), ("avg,out=3",)],
    ids=" ".join,
)
def test_memory_is_bounded(here: Path, specs: tuple[str, ...]) -> None:
    """200 MB within 64 MiB, and what the interpreter and its libraries take.

    The peak since the program was begun: getrusage's counts what the parent had before, too.
    """
    zeros(here / "a.npy", (2, 5000, 5000))
    stages = [word for spec in specs for word in ("-s", spec)]
    peak = peak_of(here, "run", "a.npy", *stages, "-q", "--memory", "64MiB")
    assert len(tree(here / "pooled")) == len(specs)
    assert peak < (64 + 90) << 20


@pytest.mark.skipif(not MEASURED.exists(), reason="the peak of memory is read from Linux's /proc")
def test_memory_is_bounded_along_a_single_axis(here: Path) -> None:
    zeros(here / "a.npy", (12_000_000,))
    peak = peak_of(here, "run", "a.npy", "-s", "max:2", "-q", "--memory", "32MiB")
    assert peak < (32 + 90) << 20


@pytest.mark.skipif(not MEASURED.exists(), reason="the peak of memory is read from Linux's /proc")
def test_padding_that_wraps_needs_all_rows_and_is_refused(poolcli: Run, here: Path) -> None:
    zeros(here / "a.npy", (2, 5000, 5000))
    spec = "max:3,stride=2,pad=1,pad-mode=wrap"
    said = poolcli("run", "a.npy", "-s", spec, "-q", "--memory", "64MiB").error(1)
    assert ": the smallest part that it can be cut into takes " in said


def test_many_processors_do_not_take_the_default_memory_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "processors", lambda: 64)
    planned = plan((4, 15_000, 16_000), "max:2", dtype="float32")
    assert memory.streaming(planned, {1}, batch.MEMORY).needed <= batch.MEMORY
