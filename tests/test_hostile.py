"""Machines that fail on the way: full disks, closed pipes, what is removed or limited meanwhile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Ran, python, save, tree

LIMITED = """
import resource, sys
from poolcli.cli.main import main
limit = getattr(resource, sys.argv[1])
resource.setrlimit(limit, (int(sys.argv[2]), resource.getrlimit(limit)[1]))
main(sys.argv[3:])
"""


def limited(here: Path, limit: str, most: int, *arguments: str) -> Ran:
    """Run the program under one of the limits that a system sets a process."""
    return python(here, LIMITED, limit, str(most), *arguments)


def noise(height: int = 120, width: int = 160) -> np.typing.NDArray[np.uint8]:
    """Return a picture that nothing compresses."""
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("kind", ["png", "jpg", "tiff", "webp", "npy"])
def test_of_a_result_that_there_is_no_room_for_nothing_is_left(here: Path, kind: str) -> None:
    """The first bytes still find room: the system writes as many, and says so only in passing."""
    save(here / "a.png", noise())
    save(here / "b.png", noise(8, 8))
    command = ("run", "a.png", "b.png", "-s", "relu", "--format", kind, "-q")
    ran = limited(here, "RLIMIT_FSIZE", 10_000, *command)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.splitlines() == [
        f"error: a.png: pooled/a.1-relu.{kind} can't be written: File too large",
        "1 of 2 inputs failed: a.png",
    ]
    assert tree(here / "pooled") == [f"b.1-relu.{kind}"]
