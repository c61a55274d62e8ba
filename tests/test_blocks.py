"""How work is cut: results never depend on it, and nothing is left out or done twice."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcli import engine
from poolcli.blocks import Band, Frame, bands, frame_of
from poolcli.placing import adaptive, enlarged, fractional, sliding
from poolcli.placing import same as same_padded
from poolcli.plan import Step, plan
from poolcli.windows import Window
from tests.chains import Drawn, drawn_chain

SPECS = ["max:2", "avg:3,stride=1,pad=1", "sum:global", "max,out=3", "relu", "up:2", "median:2"]


def run_in(
    monkeypatch: pytest.MonkeyPatch, drawn: Drawn, block: int, threads: int
) -> list[bytes | None]:
    monkeypatch.setattr(engine, "BLOCK", block)
    results = engine.run(drawn.plan, drawn.array, threads=threads)
    return [None if result.array is None else result.array.tobytes() for result in results]


@pytest.mark.parametrize("seed", range(150))
def test_results_depend_on_neither_blocks_nor_threads(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    drawn = drawn_chain(seed, undone=True)
    before = drawn.array.tobytes()
    whole = run_in(monkeypatch, drawn, 1 << 21, 1)
    assert None not in whole
    for block in (64, 1000, 1 << 21):
        for threads in (1, 3):
            results = run_in(monkeypatch, drawn, block, threads)
            assert results == whole, f"{drawn} in blocks of {block} on {threads} threads"
    assert drawn.array.tobytes() == before


def test_losses_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan((3, 40, 30), "avg:3,stride=1,pad=1", dtype="int16")
    saved = replace(planned, steps=(replace(planned.steps[0], dtype="uint8"),))
    array = np.random.default_rng(0).integers(-400, 400, (3, 40, 30)).astype(np.int16)
    lost = []
    for block in (64, 1000, 1 << 21):
        monkeypatch.setattr(engine, "BLOCK", block)
        lost.append([result.losses for result in engine.run(saved, array, threads=2)])
    assert lost[0][0].rounded > 1000
    assert lost[0][0].saturated > 100
    assert lost[1:] == lost[:1] * 2


@st.composite
def steps(draw: st.DrawFn) -> Step:
    layout = draw(st.sampled_from(["W", "HW", "CHW", "NCHW", "NHWC", "CDHW"]))
    shape = tuple(draw(st.lists(st.integers(3, 9), min_size=len(layout), max_size=len(layout))))
    spec = draw(st.sampled_from([*SPECS, *(["max:2,over=channels"] if "C" in layout else [])]))
    dtype = draw(st.sampled_from(["uint8", "float16", "float64"]))
    return plan(shape, spec, layout=layout, dtype=dtype).steps[0]


@given(step=steps(), block=st.integers(1, 4000), data=st.data())
def test_bands_cover_every_output_of_every_plane_once(
    step: Step, block: int, data: st.DataObject
) -> None:
    frame = frame_of(step)
    planes, outputs = prod(step.shape[: frame.lead]), step.shape[frame.cut]
    low, high = sorted(data.draw(st.tuples(st.integers(0, planes), st.integers(0, planes))))
    first = data.draw(st.integers(0, outputs - 1))
    last = data.draw(st.integers(first + 1, outputs))
    times = np.zeros((planes, outputs), int)
    for band in bands(step, frame, Band(range(low, high), first, last), block):
        assert len(band.planes) > 0
        assert band.first < band.last
        times[band.planes.start : band.planes.stop, band.first : band.last] += 1
    expected = np.zeros_like(times)
    expected[low:high, first:last] = 1
    assert times.tolist() == expected.tolist()


@pytest.mark.parametrize(("block", "count"), [(1, 5 * 4), (1 << 30, 1)])
def test_blocks_are_as_small_and_as_large_as_asked(block: int, count: int) -> None:
    step = plan((5, 8, 8), "max:2", dtype="uint8").steps[0]
    assert len(list(bands(step, frame_of(step), Band(range(5), 0, 4), block))) == count


@given(step=steps(), block=st.integers(1, 4000))
def test_blocks_take_no_more_bytes_than_asked_unless_they_are_one_output(
    step: Step, block: int
) -> None:
    """Input and output of a band, each of the bytes that a row of them takes on the average."""
    frame = frame_of(step)
    planes, outputs = prod(step.shape[: frame.lead]), step.shape[frame.cut]
    item = np.dtype(step.dtype).itemsize
    row = max(prod(step.input_shape), prod(step.shape)) * item // (planes * outputs)
    for band in bands(step, frame, engine.whole_band(step, frame), block):
        count = len(band.planes) * (band.last - band.first)
        assert count * row <= block or count == 1


@pytest.mark.parametrize(
    ("layout", "spec", "frame", "place", "shape", "axes"),
    [
        ("W", "max:2", Frame(0, 0), 1, (1, 5), (1,)),
        ("HW", "max:2", Frame(0, 0), 1, (1, 5, 6), (1, 2)),
        ("CHW", "max:2", Frame(1, 1), 1, (5, 6, 7), (1, 2)),
        ("NCHW", "max:2", Frame(2, 2), 1, (30, 7, 8), (1, 2)),
        ("HWC", "max:2", Frame(0, 0), 1, (1, 5, 6, 7), (1, 2)),
        ("NHWC", "max:2", Frame(1, 1), 1, (5, 6, 7, 8), (1, 2)),
        ("NCHW", "max:2,over=channels", Frame(1, 1), 1, (5, 6, 7, 8), (1,)),
        ("HWC", "max:2,over=channels", Frame(2, 2), 1, (30, 7), (1,)),
        ("CDHW", "sum:global", Frame(1, 1), 1, (5, 6, 7, 8), (1, 2, 3)),
        ("NCHW", "relu", Frame(3, 3), 1, (210, 8), ()),
    ],
)
def test_the_frame_of_a_step(  # noqa: PLR0913, PLR0917 - a parameter per column
    layout: str,
    spec: str,
    frame: Frame,
    place: int,
    shape: tuple[int, ...],
    axes: tuple[int, ...],
) -> None:
    step = plan((5, 6, 7, 8)[: len(layout)], spec, layout=layout).steps[0]
    found = frame_of(step)
    assert (found, found.place) == (frame, place)
    assert found.shape(step.input_shape) == shape
    assert found.axes(step) == axes
    if axes:
        assert found.window(step) == step.windows[0]


def test_where_a_step_has_no_window_along_the_cut_outputs_are_inputs() -> None:
    step = plan((5, 6, 7), "relu").steps[0]
    window = Frame(0, 1).window(step)
    assert window.is_identity or window.output == 6
    assert [list(window.positions(index)) for index in range(6)] == [[at] for at in range(6)]


def test_a_frame_may_cut_before_the_windows() -> None:
    frame = Frame(1, 2)
    assert frame.shape((2, 3, 4, 5)) == (2, 3, 4, 5)
    assert frame.place == 2
    assert Frame(2, 2).shape((2, 3, 4, 5)) == (6, 4, 5)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    length = draw(st.integers(1, 30))
    size, stride, dilation = (draw(st.integers(1, most)) for most in (5, 6, 3))
    extent = (size - 1) * dilation + 1
    kind = draw(st.sampled_from(["sliding", "sliding", "same", "adaptive", "fractional", "up"]))
    if kind == "adaptive":
        return adaptive(length, draw(st.integers(1, 12)))
    if kind == "up":
        return enlarged(length, draw(st.integers(1, 4)), linear=draw(st.booleans()))
    if kind == "same":
        return same_padded(length, size, stride, dilation=dilation, lower=draw(st.booleans()))
    if kind == "fractional":
        size = min(size, length)
        window = fractional(length, size, draw(st.integers(1, length - size + 1)))
        sample = draw(st.floats(0, 1, exclude_max=True))
        return replace(window, sample=sample)
    begin, end = draw(st.integers(0, extent - 1)), draw(st.integers(0, extent - 1))
    length = max(length, extent - begin - end)
    ceil = draw(st.booleans())
    return sliding(length, size, stride, begin=begin, end=end, dilation=dilation, ceil=ceil)


@given(window=windows(), data=st.data())
def test_windows_of_a_part_are_those_of_the_whole(window: Window, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, window.output - 1))
    last = data.draw(st.integers(first + 1, window.output))
    low, high, part = window.part(first, last)
    assert 0 <= low <= high <= window.length
    assert (part.length, part.output) == (high - low, last - first)
    for index in range(part.output):
        whole = first + index
        assert [at + low for at in part.positions(index)] == list(window.positions(whole))
        assert [at + low for at in part.present(index)] == list(window.present(whole))
        assert part.counted(index) == window.counted(whole)


@given(window=windows(), data=st.data())
def test_a_part_of_a_part_is_a_part_of_the_whole(window: Window, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, window.output - 1))
    last = data.draw(st.integers(first + 1, window.output))
    within = data.draw(st.integers(0, last - first - 1))
    low, _, part = window.part(first, last)
    deeper, _, inner = part.part(within, within + 1)
    positions = [at + low + deeper for at in inner.positions(0)]
    assert positions == list(window.positions(first + within))
