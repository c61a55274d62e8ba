"""Weights count towards the memory of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.conftest import Run
from tests.peaks import measured


def test_weights_are_held_within_the_memory_or_refused(poolcli: Run, here: Path) -> None:
    np.save(here / "w.npy", np.ones((1000, 1000, 4, 4), np.float32))
    np.save(here / "a.npy", np.ones((1000, 5, 5), np.float32))
    chain = ("run", "a.npy", "-s", "conv,weights=w.npy", "-q")
    said = poolcli(*chain, "--memory", "32MiB").error(1)
    assert "MiB at once, of which --memory allows 32 MiB" in said
    ran = measured(here, *chain, "--memory", "256MiB")
    assert (ran.status, ran.err) == (0, "")
    assert ran.peak < 256 + 100
