"""What blocks, parts, divisors and forks must not change: defects that were found by readers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from poolcli import engine, memory, plan, pool, streaming
from poolcli.blocks import Frame, tile_of
from poolcli.kernels.views import Array, along
from tests.conftest import Run, save


@pytest.mark.parametrize("divisor", [256, 1024, 4096, 8192, 16384, 65536])
def test_a_divisor_of_a_users_own_overflows_nothing(divisor: int) -> None:
    white = np.full((16, 16), 255, np.uint8)
    expected = round(256 * 255 / divisor)
    assert pool(white, f"avg:16,divisor={divisor}", dtype="uint8").tolist() == [[expected]]


@pytest.fixture
def weights(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(here)
    random = np.random.default_rng(0)
    save(here / "w.npy", random.standard_normal((32, 64, 1, 1)), "float32")
    return "conv,weights=w.npy"


def test_a_convolutions_bits_do_not_depend_on_blocks(
    weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.random.default_rng(1).standard_normal((64, 90, 53), dtype=np.float32)
    whole = pool(array, weights)
    monkeypatch.setattr(engine, "BLOCK", 1000)
    assert pool(array, weights).tobytes() == whole.tobytes()


@pytest.mark.parametrize("rows", [1, 7, 50])
@pytest.mark.parametrize("more", ["", ",pad=1,pad-mode=reflect"])
def test_a_convolutions_bits_do_not_depend_on_parts(
    here: Path, weights: str, rows: int, more: str
) -> None:
    if more:
        random = np.random.default_rng(2)
        save(here / "w.npy", random.standard_normal((32, 64, 3, 3)), "float32")
        weights += more
    array = np.random.default_rng(1).standard_normal((64, 90, 53), dtype=np.float32)
    planned = plan(array.shape, weights, "max:2")
    frame = Frame(0, 1)
    assert tile_of(planned.steps[0], frame) == 2048 // 53
    results = {step.index: np.empty(step.shape, step.dtype) for step in planned.steps}

    def read(_frame: Frame, _planes: range, low: int, high: int) -> Array:
        return array[np.newaxis, :, low:high]

    def write(step: object, _frame: object, band: object, part: Array) -> None:
        target = results[step.index]  # type: ignore[attr-defined] # a Step
        target[along(1, slice(band.first, band.last))] = part[0]  # type: ignore[attr-defined] # a Band

    way = memory.Streaming(planned, frame, 1, rows, 0)
    streaming.stream(way, read, write, {1, 2})
    for number in (1, 2):
        expected = pool(array, *[weights, "max:2"][:number])
        assert results[number].tobytes() == expected.tobytes()


@pytest.mark.parametrize("spec", ["lp:global", "gem:global", "lp,out=3"])
def test_an_infinity_in_a_late_part_is_an_answer(poolcli: Run, here: Path, spec: str) -> None:
    array = np.ones((3000, 2000), np.float32)
    array[2990, 3] = np.inf
    save(here / "a.npy", array, "float32")
    assert poolcli("run", "a.npy", "-s", spec, "-q", "-o", "parts", "--memory", "24MiB").status == 0
    (result,) = (here / "parts").iterdir()
    assert np.array_equal(np.load(result), pool(array, spec))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_pools_too() -> None:
    """As PyTorch's loaders do: threads don't come along with a fork."""
    array = np.zeros((64, 300, 300), np.float32)
    pool(array, "median:2")
    child = os.fork()
    if child == 0:
        import signal

        signal.alarm(20)
        pool(array, "median:2")
        os._exit(7)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
