"""Time and memory grow as the work does, without cliffs: ratios of processor time in one run."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from time import process_time

import numpy as np
import pytest

from poolcli import engine, memory, threads
from poolcli.kernels.views import Array
from poolcli.plan import plan
from tests.conftest import Run, tree
from tests.peaks import measured
from tests.test_streaming import zeros


def least(do: Callable[[], object], times: int = 3) -> float:
    """Return the least processor time of a few calls, in seconds."""
    taken = []
    for _ in range(times):
        start = process_time()
        do()
        taken.append(process_time() - start)
    return min(taken)


def pooled(array: Array, spec: str) -> Callable[[], object]:
    planned = plan(array.shape, spec, layout="W"[: array.ndim], dtype=array.dtype.name)
    return lambda: list(engine.run(planned, array, threads=1))


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("max:64,stride=64", "max:65,stride=65"),
        ("sum:64,stride=64", "sum:65,stride=65"),
        ("max:64,stride=8", "max:300,stride=8"),
        ("avg:64,stride=64", "avg,out=15625"),
        ("blur:64,stride=32", "blur:65,stride=32"),
        ("max:64,stride=64", "max:60,out=15625,fractional"),
    ],
)
def test_windows_that_are_not_short_are_no_cliff(short: str, long: str) -> None:
    array = np.random.default_rng(0).standard_normal(1_000_000).astype(np.float32)
    assert least(pooled(array, long)) < 8 * least(pooled(array, short)) + 0.02


def test_time_grows_as_the_length_of_a_chain(poolcli: Run, here: Path) -> None:
    """All results are saved, and each says how it was made."""
    from PIL import Image

    Image.fromarray(np.zeros((16, 16), np.uint8)).save(here / "a.png")
    seconds = {}
    for count in (250, 1000):
        ran = measured(here, "run", "a.png", "-s", f"max:3,stride=1,pad=1*{count}", "-q")
        assert (ran.status, ran.err) == (0, "")
        assert len(tree(here / "pooled")) == count
        seconds[count] = ran.seconds
        poolcli("run", "a.png", "-s", "max:2", "-q", "-o", "warm", "--force")
        for path in (here / "pooled").iterdir():
            path.unlink()
    # Starting takes a third of a second of both.
    assert seconds[1000] < 5 * seconds[250]


@pytest.mark.parametrize("spec", ["relu*{}", "max:3,stride=1,pad=1*{}"])
def test_memory_of_a_long_chain_in_parts_is_that_of_its_windows(spec: str) -> None:
    few = memory.streaming(plan((3, 1000, 1000), spec.format(10)), {10}, 48 << 20)
    many = memory.streaming(plan((3, 1000, 1000), spec.format(1000)), {1000}, 48 << 20)
    assert many.needed < few.needed + (24 << 20)


def test_a_chain_of_a_thousand_stages_runs_in_parts(poolcli: Run, here: Path) -> None:
    np.save(here / "a.npy", np.random.default_rng(0).standard_normal((400, 1000)).astype("f4"))
    chain = ("run", "a.npy", "-s", "relu*1000", "--save", "last", "-q")
    for folder, allowed in (("parts", "2MB"), ("whole", "1GiB")):
        ran = poolcli(*chain, "-o", folder, "--memory", allowed)
        assert (ran.status, ran.err) == (0, "")
    (parts,), (whole,) = ((here / folder).iterdir() for folder in ("parts", "whole"))
    assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("spec", ["pick:1,stride=9000", "max:2,stride=19000", "avg:3,stride=20000"])
def test_rows_that_no_window_looks_at_are_not_held(here: Path, spec: str) -> None:
    zeros(here / "a.npy", (20_000, 5000))
    ran = measured(here, "run", "a.npy", "-s", spec, "-q", "--memory", "64MiB")
    assert (ran.status, ran.err) == (0, "")
    assert ran.peak < 64 + 100


@pytest.mark.parametrize("spec", ["max:1x2", "pick:1x2", "avg:global", "median:2"])
@pytest.mark.parametrize("shape", [(2, 30_000_000), (1, 2, 30_000_000)], ids=str)
def test_rows_longer_than_the_memory_are_cut(here: Path, shape: tuple[int, ...], spec: str) -> None:
    zeros(here / "a.npy", shape)
    ran = measured(here, "run", "a.npy", "-s", spec, "-q", "--memory", "64MiB")
    assert (ran.status, ran.err) == (0, "")
    assert ran.peak < 64 + 100
    (result,) = (here / "pooled").iterdir()
    assert prod(np.load(result, mmap_mode="r").shape) > 0


def test_threads_are_as_many_as_the_processors_whatever_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[int] = []
    begin = threads.begin

    def counted(do: Callable[[], object]) -> bool:
        begun.append(1)
        return begin(do)

    monkeypatch.setattr(threads, "processors", lambda: 8)
    monkeypatch.setattr(threads, "begin", counted)
    threads._helpers.cache_clear()  # noqa: SLF001 - the pool of so many processors
    done: list[int] = []
    for count in range(2, 40):
        threads.on_threads(done.append, range(count), None)
    threads._helpers.cache_clear()  # noqa: SLF001 - as it was
    assert len(done) == sum(range(2, 40))
    assert len(begun) <= 7
