"""Many inputs in one run: no more is open or in memory for the last of them than for the first."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import python

MEASURED = Path("/proc/self/fd")
FEW, MANY = 300, 1500
SIDE = 128
PIXELS = SIDE * SIDE * 4
"""Bytes of an input."""

WATCHED = """
import os, sys
from poolcli.cli import run
from poolcli.cli.main import main
take, most = run.Reporter.take, 0
def count(self, outcome):
    global most
    most = max(most, len(os.listdir("/proc/self/fd")))
    take(self, outcome)
run.Reporter.take = count
try:
    main(sys.argv[1:])
except SystemExit as ended:
    with open("/proc/self/status") as status:
        peak = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
    print(ended.code, most, peak)
"""


def measured(here: Path, count: int, *more: str) -> tuple[int, int, int]:
    """Return the exit status of a run, how many files were open at once, and the peak in bytes."""
    folder = here / str(count)
    folder.mkdir()
    for number in range(count):
        os.link(here / "a.npy", folder / f"{number:04}.npy")
    command = ("run", str(count), "-s", "max:4", "--save", "last", "-o", f"out{count}", "-q")
    ran = python(here, WATCHED, *command, "-j", "2", *more)
    status, files, peak = map(int, ran.out.split())
    return status, files, peak << 10


@pytest.mark.skipif(not MEASURED.exists(), reason="what is open is counted in Linux's /proc")
@pytest.mark.parametrize("failing", [False, True])
def test_nothing_is_kept_of_an_input_that_is_done(here: Path, *, failing: bool) -> None:
    """Five times as many inputs: what is kept of each is a plan, and its names."""
    more = []
    np.save(here / "a.npy", np.zeros((SIDE, SIDE), np.float32))
    if failing:
        # Each is read and pooled, but then its sum is too large.
        np.save(here / "a.npy", np.full((SIDE, SIDE // 2), 2**62))
        more = ["-s", "sum:2"]
    few, many = (measured(here, count, *more) for count in (FEW, MANY))
    assert few[0] == many[0] == failing
    assert many[1] <= few[1] + 8
    assert many[2] - few[2] < (MANY - FEW) * PIXELS // 4
    assert len(list((here / f"out{MANY}").glob("*.npy"))) == (0 if failing else MANY)
