"""Defects that a review by hand found, each with the smallest case that showed it."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import poolcli
from poolcli.errors import PlanError, PoolError, SpecError
from poolcli.kernels.reducers import REDUCERS
from tests import oracle
from tests.conftest import Run, colour, grey, save, tree


def test_every_operation_has_its_oracle() -> None:
    assert set(oracle.RULES) == set(REDUCERS)


def test_a_quantile_of_integers_does_not_wrap() -> None:
    values = np.array([-100, 100], np.int8)
    assert poolcli.pool(values, "quantile:2").tolist() == [0.0]
    assert poolcli.pool(values, "median:2").tolist() == [0.0]


def test_an_average_of_64_bits_over_a_huge_divisor() -> None:
    values = np.array([2**63 - 1, 2**63 - 2])
    (average,) = poolcli.pool(values, "avg:2,divisor=10000000000")
    assert average == (2**64 - 3) / 10**10


def test_draws_differ_between_planes_whose_windows_are_told(tmp_path: Path) -> None:
    samples = tmp_path / "samples.npy"
    np.save(samples, np.zeros((1, 8, 2)))
    same = np.broadcast_to(np.arange(1.0, 82).reshape(9, 9), (8, 9, 9))
    drawn = poolcli.pool(same, f"stochastic:3,out=3,fractional,samples={samples}")
    assert len({plane.tobytes() for plane in drawn}) > 1


@pytest.mark.parametrize("spec", ["sum:9,stride=1", "avg:33,stride=1", "soft:9", "gem:5", "lp:40"])
def test_a_result_depends_on_its_window_alone(spec: str) -> None:
    """Neither on how many windows there are, nor on the other planes, nor on the memory's order."""
    rng = np.random.default_rng(0)
    row = rng.standard_normal((1, 200)).astype(np.float32)
    whole = poolcli.pool(row, spec.replace(":", ":1x"), layout="HW")
    window = poolcli.plan((200,), spec).steps[0].windows[0]
    for index in range(0, window.output, 7):
        low, high = window.needed(index, index + 1)
        part = poolcli.pool(row[:, low:high], spec.replace(":", ":1x"), layout="HW")
        assert part.tobytes() == whole[:, index : index + 1].tobytes()
    planes = rng.standard_normal((5, 45, 47)).astype(np.float32)
    together = poolcli.pool(planes, spec)
    assert poolcli.pool(np.asfortranarray(planes), spec).tobytes() == together.tobytes()
    for plane, expected in zip(planes, together, strict=True):
        assert poolcli.pool(plane, spec).tobytes() == expected.tobytes()


@pytest.mark.parametrize("shape", [(0, 1, 4, 4), (2, 0, 4, 4)])
@pytest.mark.parametrize("specs", [["max:2", "unpool"], ["median:2"], ["avg:2"], ["up:2"]])
def test_an_empty_batch_stays_empty(shape: tuple[int, ...], specs: list[str]) -> None:
    assert poolcli.pool(np.zeros(shape), *specs).size == 0


def test_a_layer_of_another_rank_is_refused() -> None:
    assert poolcli.plan((3, 32), "MaxPool1d(2)", layout="CW").output_shape == (3, 16)
    for spec in ("MaxPool1d(2)", "Conv3d(3, 8, 3)", "max:2x2x2", "AdaptiveAvgPool1d(5)"):
        with pytest.raises(PlanError, match=r"it speaks of (1 axis|3 axes), layout CHW has 2"):
            poolcli.plan((3, 32, 32), spec)
    assert poolcli.Stage.parse("max:2x2") == poolcli.Stage.parse("max:2")


@pytest.mark.parametrize(
    "make",
    [
        lambda: poolcli.Stage(op="foo"),
        lambda: poolcli.Stage(op="max", kernel=(0,)),
        lambda: poolcli.Stage(op="max", kernel=2),  # type: ignore[arg-type]
        lambda: poolcli.Stage(op="max", kernel=(2,), padding=((-1, 0),)),
        lambda: poolcli.Stage(op="max", kernel=(2,), own=(("norm", 2),)),
        lambda: poolcli.pool([1.0], ["max:1"]),  # type: ignore[arg-type]
        lambda: poolcli.plan((3, 4.5, 4), "max:2"),  # type: ignore[arg-type]
        lambda: poolcli.plan("3x4", "max:2"),  # type: ignore[arg-type]
        lambda: poolcli.plan((3, 4, 4), 5),  # type: ignore[arg-type]
        lambda: poolcli.pool([1.0], "max:1", dtype="no such"),
        lambda: poolcli.unpool([[1, 2], [3]], [[0]], (2, 2)),
        lambda: poolcli.unpool([[1]], [[0]], (-2, -2)),
        lambda: poolcli.unpool([[1]], [[0.0]], (2, 2)),
        lambda: poolcli.unpool([[1]], [[0]], (2.0, 2)),  # type: ignore[arg-type]
    ],
)
def test_what_python_hands_over_wrong_is_a_pool_error(make: object) -> None:
    assert callable(make)
    with pytest.raises(PoolError) as raised:
        make()
    assert isinstance(raised.value, ValueError)


def test_a_dtype_may_be_numpys_shorthand() -> None:
    assert poolcli.pool([0.5], "max:1", dtype="u1").dtype == np.uint8
    assert poolcli.pool([0.5], "max:1", dtype=np.int16).dtype == np.int16


def test_many_windows_are_planned_at_once() -> None:
    assert poolcli.plan((3, 10, 10), "max,out=100000000").output_shape == (3, 10**8, 10**8)
    worked_out = poolcli.plan((10**8,), "median:90000000,pad=80000000,stride=1")
    assert worked_out.output_shape == (170_000_001,)


def test_the_stage_of_a_wrong_spec_is_numbered(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    said = poolcli("run", "a.png", "-s", "max:2*2", "-s", "bogus:2").error(2)
    assert said.startswith("stage 3: 'bogus' in bogus:2: ")


def test_a_pipe_is_read_like_standard_input(process: Run, here: Path) -> None:
    save(here / "a.png", grey(4, 4))
    os.mkfifo(here / "pipe.png")
    if os.fork() == 0:
        with (here / "pipe.png").open("wb") as stream:
            stream.write((here / "a.png").read_bytes())
        os._exit(0)
    ran = process("run", "pipe.png", "-s", "max:2")
    assert ran.status == 0, ran.err
    assert tree(here / "pooled") == ["pipe.1-max2x2.png"]
    os.wait()


@pytest.mark.parametrize("words", [["shape", "3x8x8"], ["run", "a.png", "-q", "-o", "-"]])
def test_standard_output_on_a_full_disk_is_one_line(here: Path, words: list[str]) -> None:
    save(here / "a.png", grey())
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "poolcli", *words, "-s", "max:2"],
            cwd=here,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.endswith(f"standard output: {os.strerror(errno.ENOSPC)}\n")
    assert done.stderr.count("\n") == 1


def test_a_fault_in_one_input_does_not_stop_the_others(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(here / "a.png", grey())
    save(here / "b.png", grey())
    from poolcli.files import images

    write = images.write
    calls: list[int] = []

    def faulty(stream: io.BytesIO, *rest: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("of all things")
        write(stream, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(images, "write", faulty)
    ran = poolcli("run", "a.png", "b.png", "-s", "max:2", "-j", "1")
    assert ran.status == 1
    assert "error: a.png: unexpected ZeroDivisionError: of all things\n" in ran.err
    assert tree(here / "pooled") == ["b.1-max2x2.png"]


def test_a_mosaic_too_long_for_its_format_is_refused_in_words(poolcli: Run, here: Path) -> None:
    np.save(here / "a.npy", np.zeros((3, 2, 20000), np.uint8))
    said = poolcli("run", "a.npy", "-s", "max:1", "--format", "webp").error(1)
    assert said.startswith("a.npy: webp can't hold uint8 CHW 3x2x20000")


def test_samples_out_of_range_name_their_stage(tmp_path: Path) -> None:
    samples = tmp_path / "samples.npy"
    np.save(samples, np.full((1, 1, 1), 1.5))
    with pytest.raises(SpecError, match=r"stage 1 .*expected floats from 0"):
        poolcli.pool(np.zeros(9), f"max:2,out=3,fractional,samples={samples}")


def test_results_of_an_image_that_are_no_picture_keep_their_values(
    poolcli: Run, here: Path
) -> None:
    save(here / "a.png", colour())
    np.save(here / "w.npy", -np.ones((8, 3, 1, 1), np.float32))
    ran = poolcli("run", "a.png", "-s", "conv,weights=w.npy")
    assert (ran.status, "saturated" in ran.err) == (0, False)
    assert np.load(here / "pooled" / "a.1-conv1x1.npy").min() < 0


@pytest.mark.parametrize(
    "words",
    [
        ["run", "a.png", "-s", "max:2", "-o", ""],
        ["run", "a.png", "-s", "max:2", "--name", ""],
        ["run", "", "-s", "max:2"],
        ["run", "a.png", "-s", "max:2", "-o", "-", "--sheet", "s.png"],
        ["shape", "8x8", "-s", "max:2", "--json", "--csv"],
    ],
)
def test_contradictions_and_empty_words_are_refused(
    poolcli: Run, here: Path, words: list[str]
) -> None:
    save(here / "a.png", grey())
    assert poolcli(*words).error(2)
    assert tree(here) == ["a.png"]


def test_many_enlargements_are_planned_at_once() -> None:
    step = poolcli.plan((4,), "up:2*34").steps[-1]
    assert (step.shape, step.receptive_field, step.jump) == ((4 << 34,), (1,), (2.0**-34,))
