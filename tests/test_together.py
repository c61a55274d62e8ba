"""Several runs into one folder at once: each result is one run's, and whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Ran, Run, colour, environment, grey, save
from tests.faults import contents, temporaries

COMMAND = ("run", "d", "-r", "-s", "max:2", "-s", "avg:2", "-j", "2")

MEETING = """
import sys, time
from pathlib import Path
from poolcli import batch
from poolcli.cli.main import main
own, count, *arguments = sys.argv[1:]
check = batch.check_folders
def check_and_meet(jobs):
    check(jobs)
    Path(f"met{own}").touch()
    while len(list(Path().glob("met*"))) < int(count):
        time.sleep(0.002)
batch.check_folders = check_and_meet
main(arguments)
"""
"""The program, which waits for others of its kind between what it checks and what it writes."""


def make(here: Path) -> None:
    for number in range(8):
        save(here / f"d/i{number}.png", colour(60 + number, 80))
        save(here / f"d/e/a{number}.npy", grey(30, 40 + number), "float32")
    np.savez(here / "d/e/z.npz", m=grey(), n=grey(8, 8))


def at_once(here: Path, *each: list[str]) -> list[Ran]:
    """Run the program several times at once, and return what came of it."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", MEETING, str(own), str(len(each)), *COMMAND, *more],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=here, env=environment(),
        )
        for own, more in enumerate(each)
    ]  # fmt: skip
    ran = []
    for child in children:
        out, err = child.communicate(timeout=100)
        ran.append(Ran(child.returncode, out, err.decode()))
    for path in here.glob("met*"):
        path.unlink()
    return ran


def check(poolcli: Run, here: Path, *more: str) -> None:
    """Check that the results are one run's, and that a later one finds them complete."""
    assert poolcli(*COMMAND, "-o", "alone", "-q", "--force", *more).status == 0
    assert contents(here / "pooled") == contents(here / "alone")
    assert temporaries(here / "pooled") == []
    ran = poolcli(*COMMAND, "--resume", "--json", *more)
    assert ran.err == "18 of 18 inputs were complete already\n"


@pytest.mark.parametrize("more", [[], ["--resume"]], ids=["first", "resumed"])
def test_the_same_inputs_at_once(poolcli: Run, here: Path, more: list[str]) -> None:
    """Each result is made by the first to have it; the others say so of the input."""
    make(here)
    if more:
        # Some are there, and are to be replaced; one more stage is new.
        assert poolcli(*COMMAND, "--shard", "1/2", "-q").status == 0
        more = ["--resume", "-s", "relu"]
    failed = 0
    for ran in at_once(here, *[[*more, "-q"]] * 3):
        *errors, summary = ran.err.splitlines() or [""]
        assert ran.status == bool(summary), ran
        for error in errors:
            assert error.startswith("error: d/")
            assert error.endswith(" exists: give --force to replace it")
        assert summary.startswith(f"{len(errors)} of 18 inputs failed" if errors else "")
        failed += len(errors)
    assert failed == 2 * 18
    check(poolcli, here, *more[1:])


def test_the_same_inputs_at_once_with_leave_to_replace(poolcli: Run, here: Path) -> None:
    make(here)
    ran = at_once(here, *[["--force", "-q"]] * 3)
    assert [(each.status, each.err) for each in ran] == [(0, "")] * 3
    check(poolcli, here)


def test_shards_at_once(poolcli: Run, here: Path) -> None:
    """Then once more, otherwise: whoever takes over the old notes does not undo the others'."""
    make(here)
    for more in ([], ["--resume", "--png-level", "9"]):
        shards = [["--shard", f"{number}/3", "-q", *more] for number in (1, 2, 3)]
        assert [(ran.status, ran.err) for ran in at_once(here, *shards)] == [(0, "")] * 3
        check(poolcli, here, *more[1:])
