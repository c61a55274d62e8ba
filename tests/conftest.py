"""What the tests of the edge share: the program in this process, and in one of its own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from poolcli.cli.main import main

ROOT = Path(__file__).parent.parent
TRUCK = ROOT / "samples" / "truck.png"

_TERMINAL = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE")
_RICH = ("TTY_COMPATIBLE", "TTY_INTERACTIVE")


@dataclass(frozen=True)
class Ran:
    """What a run of the program left: its exit status, standard output, standard error."""

    status: int
    data: bytes
    err: str

    @property
    def out(self) -> str:
        return self.data.decode()

    def error(self, status: int) -> str:
        """Return the one line that a failed run says, without ``error:``."""
        lines = self.err.splitlines()
        assert (self.status, len(lines)) == (status, 1), self
        assert lines[0].startswith("error: ")
        assert not self.data
        return lines[0].removeprefix("error: ")


class Run(Protocol):
    """A way to run the program: arguments as a shell would hand them over."""

    def __call__(self, *arguments: str | Path, stdin: bytes = b"") -> Ran: ...


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test an empty working directory, and no word about the terminal it runs in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in (*_TERMINAL, *_RICH):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def poolcli(here: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the program in this process, standard streams binary-safe, no terminal."""
    assert here.is_dir()

    def run(*arguments: str | Path, stdin: bytes = b"") -> Ran:
        out, err = io.BytesIO(), io.BytesIO()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8", write_through=True))
            patch.setattr(
                sys,
                "stderr",
                io.TextIOWrapper(err, "utf-8", "backslashreplace", line_buffering=True),
            )
            try:
                main([str(argument) for argument in arguments])
            except SystemExit as ended:
                status = ended.code
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
                sys.stdout.flush()
                sys.stderr.flush()
                # What Python closes must not close what is still to be read.
                data, said = out.getvalue(), err.getvalue().decode()
        assert isinstance(status, int)
        return Ran(status, data, said)

    return run


def environment(**more: str) -> dict[str, str]:
    """Return an environment for the program in a process of its own: this tree's, no terminal."""
    kept = {name: value for name, value in os.environ.items() if name not in (*_TERMINAL, *_RICH)}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"} | more


@pytest.fixture
def process(here: Path) -> Run:
    """Run the program in a process of its own."""

    def run(*arguments: str | Path, stdin: bytes = b"") -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "poolcli", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            cwd=here,
            env=environment(),
            timeout=30,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr.decode())

    return run


def python(here: Path, code: str, *arguments: str) -> Ran:
    """Run a piece of Python in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        cwd=here,
        env=environment(),
        timeout=30,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr.decode())


def save(path: Path, array: npt.ArrayLike, dtype: str = "uint8") -> Path:
    """Save numbers as an image or as ``.npy``, by the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.asarray(array, dtype)
    if path.suffix == ".npy":
        np.save(path, numbers)
    else:
        Image.fromarray(numbers).save(path)
    return path


def grey(height: int = 4, width: int = 6) -> npt.NDArray[np.uint8]:
    """Return a small grey picture, all its pixels different."""
    return np.arange(height * width, dtype=np.uint8).reshape(height, width)


def colour(height: int = 4, width: int = 6, channels: int = 3) -> npt.NDArray[np.uint8]:
    """Return a small coloured picture, all its numbers different."""
    count = height * width * channels
    return (np.arange(count) * 3 % 251).astype(np.uint8).reshape(height, width, channels)


def pixels(path: Path) -> npt.NDArray[np.generic]:
    """Read a picture back, all its frames, by Pillow alone."""
    with Image.open(path) as image:
        frames = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            frames.append(np.array(image))
    return frames[0] if len(frames) == 1 else np.stack(frames)


def tree(folder: Path) -> list[str]:
    """List every file and folder below a folder, but for the records of runs."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if ".poolcli" not in path.parts
    )
