"""A run that is killed: what bears a result's name is whole, and the next run goes on there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from poolcli import batch
from poolcli.files.inputs import Source
from poolcli.stages import Chain
from tests.conftest import colour, environment, grey, save
from tests.faults import TEMPORARY, contents, temporaries

KILLS = int(os.environ.get("POOLCLI_KILLS", "6"))
COMMAND = ("run", "d", "-r", "-s", "max:2", "-s", "avg:2", "-j", "2", "--memory", "20MiB", "-q")


def make(folder: Path) -> None:
    """Make pictures, arrays, archives, and an array that is read in parts, in a tree."""
    generator = np.random.default_rng(1)
    for number in range(16):
        save(folder / f"{number % 3}/i{number}.png", colour(90 + number, 120))
        save(folder / f"{number % 3}/g{number}.png", grey(40, 30 + number))
        save(folder / f"a{number}.npy", generator.random((3, 40, 30 + number)), "float32")
    for name, saved in (("packed", np.savez_compressed), ("stored", np.savez)):
        saved(folder / f"{name}.npz", m=generator.random((2, 50, 60)), n=np.arange(600))
    np.save(folder / "large.npy", generator.integers(0, 256, (2, 2000, 3000), np.uint8))


def start(here: Path, output: str, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "poolcli", *COMMAND, "-o", output, *more],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=here, env=environment(),
    )  # fmt: skip


def finish(here: Path, output: str, *more: str) -> None:
    with start(here, output, *more) as child:
        _, err = child.communicate(timeout=100)
    assert (child.returncode, err) == (0, b"")


def kill(child: subprocess.Popen[bytes], when: Callable[[], bool]) -> bool:
    """Kill a run at a moment, and return whether it was before its end."""
    with child:
        while child.poll() is None and not when():
            time.sleep(0.002)
        child.kill()
        assert child.stderr is not None
        assert child.stderr.read() == b""
    return child.returncode == -signal.SIGKILL


def is_past(moment: float) -> Callable[[], bool]:
    return lambda: time.monotonic() > moment


def check_whole(folder: Path, expected: dict[str, bytes]) -> None:
    for name, content in contents(folder).items():
        if not TEMPORARY.fullmatch(Path(name).name):
            assert content == expected[name], f"{name} has {len(content)} bytes"


def check_finished(folder: Path, expected: dict[str, bytes]) -> None:
    assert contents(folder) == expected
    assert temporaries(folder) == []
    assert len(list((folder / ".poolcli").iterdir())) == 1


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Return a folder with a batch in ``d`` and its results in ``whole``; how long they took."""
    here = tmp_path_factory.mktemp("killed")
    make(here / "d")
    (large,) = batch.prepare(
        [Source(str(here / "d/large.npy"))],
        Chain.parse("max:2", "avg:2"),
        batch.Options(memory=20 << 20),
    )
    assert isinstance(large, batch.Job)
    assert large.in_parts
    began = time.monotonic()
    finish(here, "whole")
    return here, time.monotonic() - began


def test_killed_at_any_moment_a_run_can_be_gone_on_with(undisturbed: tuple[Path, float]) -> None:
    """At six moments, or as many as the environment variable POOLCLI_KILLS says."""
    here, length = undisturbed
    expected = contents(here / "whole")
    moments = random.Random(1)  # noqa: S311 - the same moments in every run
    for number in range(KILLS):
        output = f"killed{number}"
        kill(start(here, output), is_past(time.monotonic() + moments.uniform(0, length)))
        check_whole(here / output, expected)
        finish(here, output, "--resume")
        check_finished(here / output, expected)


def made(folder: Path) -> int:
    """Return how many files bear a result's name."""
    names = [name for _, _, names in os.walk(folder) for name in names]
    return sum(Path(name).suffix in (".png", ".npy") for name in names)


def has_more(folder: Path, enough: int) -> Callable[[], bool]:
    return lambda: made(folder) > enough


def test_killed_again_and_again_a_run_comes_to_its_end(undisturbed: tuple[Path, float]) -> None:
    """Each time when some more results are there."""
    here, _ = undisturbed
    expected = contents(here / "whole")
    folder = here / "chain"
    enough = kills = 0
    more = random.Random(2)  # noqa: S311 - the same in every run
    while kill(start(here, "chain", "--resume"), has_more(folder, enough)):
        check_whole(folder, expected)
        kills += 1
        enough = made(folder) + more.randint(len(expected) // 5, len(expected) // 3)
    assert kills > 1
    finish(here, "chain", "--resume")
    check_finished(folder, expected)


def each_step(here: Path, call: str) -> int:
    """Run a few inputs again and again, by a function of tests.faults; return how many steps."""
    save(here / "a.png", grey(6, 8))
    np.savez(here / "c.npz", m=grey(6, 8))
    command = ["run", "a.png", "c.npz", "-s", "max:2", "-q", "-j", "1"]
    done = subprocess.run(
        [sys.executable, "-c", f"from tests.faults import *; {call.format(command)}"],
        capture_output=True, cwd=here, env=environment(), timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return int(done.stdout)


def test_killed_at_each_of_its_steps_a_run_can_be_gone_on_with(here: Path) -> None:
    assert each_step(here, "killed_at_each_step({})") > 25


@pytest.mark.parametrize(("name", "lasting"), [("ENOSPC", False), ("EROFS", True)])
def test_whatever_step_fails_the_others_are_made_and_it_can_be_gone_on_with(
    here: Path, name: str, *, lasting: bool
) -> None:
    call = f"failed_at_each_step({{}}, errno.{name}, lasting={lasting})"
    assert each_step(here, f"import errno; {call}") > 25
