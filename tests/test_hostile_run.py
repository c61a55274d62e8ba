"""Hostile files in one run: a few hundred. ``python -m tests.hostile_run`` puts 10,000 through."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Run
from tests.hostile_run import Made, Maker, problems, run

FILES = 300


@pytest.fixture(scope="module")
def ran(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Made, subprocess.CompletedProcess[bytes], Path]:
    folder = tmp_path_factory.mktemp("hostile")
    made = Maker(folder / "in", 1).make(FILES)
    return made, run(folder), folder


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited so on Linux")
def test_each_hostile_file_fails_in_a_line_and_every_good_one_is_done(
    ran: tuple[Made, subprocess.CompletedProcess[bytes], Path],
) -> None:
    made, _, _ = ran
    assert len(made.kinds) == len(Maker.shares)
    assert len(made.good) > FILES // 20
    assert problems(*ran) == []


@pytest.mark.skipif(sys.platform != "linux", reason="as above")
def test_what_is_lost_or_said_twice_is_seen(
    ran: tuple[Made, subprocess.CompletedProcess[bytes], Path],
) -> None:
    """Else the test above shows nothing."""
    made, done, folder = ran
    for out, err in (
        (done.stdout.split(b"\n", 1)[1], done.stderr),
        (done.stdout, done.stderr + b"error: once more\n"),
        (done.stdout, done.stderr + b"Traceback (most recent call last):\n"),
        (done.stdout, done.stderr + b"warning: \x1b[31m\n"),
    ):
        assert problems(made, subprocess.CompletedProcess([], 1, out, err), folder)
    assert problems(made, subprocess.CompletedProcess([], 2, done.stdout, done.stderr), folder)
    made.good["nothing"] = (1, 1)
    assert problems(made, done, folder) == ["nothing is not done"]


def test_what_libtiff_says_of_a_broken_file_is_not_heard(process: Run, here: Path) -> None:
    """It writes to the process's own standard error, in the middle of other lines."""
    pixels = np.arange(100, dtype=np.uint8).reshape(10, 10)
    for name, compression in (("a", "tiff_lzw"), ("b", "tiff_deflate"), ("c", "jpeg")):
        Image.fromarray(pixels).save(here / f"{name}.tiff", compression=compression)
        content = bytearray((here / f"{name}.tiff").read_bytes())
        content[8 : len(content) - 150] = bytes(len(content) - 158)
        (here / f"{name}.tiff").write_bytes(content)
    ran = process("run", "a.tiff", "b.tiff", "c.tiff", "-s", "max:2", "-q")
    assert ran.status == 1
    assert all(line.startswith(("error: ", "3 of 3 ")) for line in ran.err.splitlines()), ran.err
    assert len(ran.err.splitlines()) == 4
