"""Machines that fail on the way: full disks, closed pipes, what is removed or limited meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Ran, Run, environment, grey, python, save, tree

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


LEFT_EARLY = """
import os, sys, threading
from poolcli.batch.record import Record
from poolcli.cli.main import main
from poolcli.files import images
ended, write, close = threading.Event(), images.write, Record.close
def write_late(stream, array, *more):
    if array.shape == (4, 4):
        assert ended.wait(20)
    write(stream, array, *more)
def close_and_open_another(record):
    close(record)
    os.open(os.devnull, os.O_RDWR)
    ended.set()
images.write, Record.close = write_late, close_and_open_another
main(sys.argv[1:])
"""


def test_what_is_written_after_the_reader_has_left_is_not_lost_on_resume(
    poolcli: Run, here: Path
) -> None:
    """An input is in work while the run ends: a result without a line would be in the way."""
    names = [save(here / f"{name}.png", grey()).name for name in "acd"]
    names.insert(1, save(here / "b.png", grey(8, 8)).name)
    command = ["run", *names, "-s", "max:2", "-j", "2", "-q"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", LEFT_EARLY, *command, "--json"],
        stdout=writer, stderr=subprocess.PIPE, cwd=here, env=environment(), timeout=60, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.stderr == b""
    ran = poolcli(*command, "--resume")
    assert (ran.status, ran.err) == (0, "")
    assert len(tree(here / "pooled")) == 4


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_log_on_a_full_disk_does_not_stop_the_work(here: Path, jobs: str) -> None:
    names = [save(here / f"{number} {'long ' * 20}.png", grey()).name for number in range(120)]
    (here / "broken.png").write_bytes(b"broken")
    command = ["run", *names, "-s", "max:2", "-j", jobs, "--json"]
    for more, status in (([], 0), (["broken.png", "--force"], 1)):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "poolcli", *command, *more],
                stdout=subprocess.PIPE, stderr=full, cwd=here, env=environment(), timeout=60,
                check=False,
            )  # fmt: skip
        assert done.returncode == status
        assert len(done.stdout.splitlines()) == 120 + status
        assert len(tree(here / "pooled")) == 120


@pytest.mark.parametrize(
    "command",
    [
        "run d -s max:2 --json -q",
        "run d -s max:2",
        "run d -s max:2 -n",
        "shape 3x224x224 -s max:2",
        "ops",
        "--help",
        "run --help",
        "--version",
        "nonsense",
        "run missing.png -s max:2",
    ],
)
def test_a_pipe_of_both_outputs_that_is_closed_is_no_accident(here: Path, command: str) -> None:
    """Where Python itself fails to flush at its end, it exits with 120."""
    for number in range(8):
        save(here / f"d/{number}.png", grey())
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "poolcli", *command.split()],
        stdout=writer, stderr=writer, cwd=here, env=environment(), timeout=60, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode in (0, 1, 2)


def test_a_reader_that_leaves_after_the_first_line_hears_of_nothing_else(
    process: Run, here: Path
) -> None:
    for number in range(40):
        save(here / f"d/{number:02}.png", grey())
    child = subprocess.Popen(
        [sys.executable, "-m", "poolcli", "run", "d", "-s", "max:2", "--json", "-q"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=here, env=environment(),
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline().startswith(b'{"input": "d/00.png"')
        child.stdout.close()
        assert child.stderr.read() == b""
    ran = process("run", "d", "-s", "max:2", "--resume", "-q")
    assert (ran.status, ran.err) == (0, "")
    assert len(tree(here / "pooled")) == 40
