"""Cut the power of a disk at random moments of a run, and go on with the run on each.

The disk is an ext4 file system in an image file, mounted through a loop device, which takes root. A
copy of the image file is the disk as a power cut leaves it: what is only in memory is not in it.
Mounting the copy replays its journal. Run by hand:

    python -m tests.power_cut --moments 20
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.conftest import environment
from tests.faults import TEMPORARY, contents

Results = dict[str, bytes]


@dataclass(frozen=True)
class Disk:
    """An image file with a file system, and where it is mounted."""

    image: Path
    place: Path

    @property
    def output(self) -> Path:
        """The output folder of the run on this disk."""
        return self.place / "out"


@contextmanager
def mounted(image: Path) -> Iterator[Disk]:
    place = image.with_suffix(".mounted")
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        yield Disk(image, place)
    finally:
        subprocess.run(["umount", place], check=True)


def make_image(path: Path, size: int) -> None:
    with path.open("wb") as stream:
        stream.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True)


def make_inputs(folder: Path, count: int, side: int) -> None:
    generator = np.random.default_rng(1)
    for number in range(count):
        place = folder / f"{number % 7}/{number:05}.npy"
        place.parent.mkdir(parents=True, exist_ok=True)
        np.save(place, generator.random((side, side), np.float32))


def start(inputs: Path, output: Path, *more: str) -> subprocess.Popen[bytes]:
    command = (sys.executable, "-m", "poolcli", "run", inputs, "-r", "-s", "max:2", "-q")
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen([*command, "-o", output, *more], env=environment(), **streams)  # type: ignore[call-overload, no-any-return] # streams alone


def finish(inputs: Path, output: Path, *more: str) -> str:
    """Run to the end, and return what was said, which is nothing where all went well."""
    with start(inputs, output, *more) as child:
        _, err = child.communicate()
    return err.decode() if child.returncode or err else ""


def cut(
    work: Path, inputs: Path, disk: Disk, moments: list[float], *, writing_back: bool
) -> list[Path]:
    """Run on a disk, copy its image at some moments, in seconds, and return the copies."""
    copies: list[Path] = []
    with start(inputs, disk.output) as child:
        began = time.monotonic()
        for moment in sorted(moments):
            while time.monotonic() - began < moment and child.poll() is None:
                time.sleep(0.01)
            if writing_back and len(copies) % 2:
                # The system begins to write on its own at any time; the cut comes amid that.
                syncing = subprocess.Popen(["sync", "-f", disk.place])
                time.sleep(0.02)
            else:
                syncing = None
            copies.append(work / f"{disk.image.stem}-{len(copies)}.img")
            subprocess.run(["cp", "--sparse=always", disk.image, copies[-1]], check=True)
            if syncing is not None:
                syncing.wait()
        child.kill()
    return copies


def state_of(output: Path, expected: Results) -> Counter[str]:
    """Count what is there after the cut: whole results, empty ones, and others."""
    found: Counter[str] = Counter()
    for name, content in contents(output).items() if output.exists() else ():
        if TEMPORARY.fullmatch(Path(name).name):
            found["temporary"] += 1
        else:
            kind = "whole" if content == expected[name] else "torn" if content else "empty"
            found[kind] += 1
    return found


def check(inputs: Path, copy: Path, expected: Results) -> tuple[Counter[str], str]:
    """Mount a copy, go on with its run, and return what was there, and what is wrong then."""
    with mounted(copy) as disk:
        found = state_of(disk.output, expected)
        said = finish(inputs, disk.output, "--resume")
        wrong = said or ("" if contents(disk.output) == expected else "other bytes")
    return found, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--runs", type=int, default=4, help="runs that the moments are shared by")
    parser.add_argument("--arrays", type=int, default=6000)
    parser.add_argument("--side", type=int, default=32, help="elements of an array's sides")
    parser.add_argument("--size", type=int, default=192, help="MiB of the disk")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="power-cut-"))
    chance = random.Random(chosen.seed)  # noqa: S311 - the same moments in every run
    failures = 0
    try:
        make_inputs(work / "in", chosen.arrays, chosen.side)
        began = time.monotonic()
        if said := finish(work / "in", work / "undisturbed"):
            raise SystemExit(said)
        length = time.monotonic() - began
        expected = contents(work / "undisturbed")
        print(f"{len(expected)} results, undisturbed in {length:.1f} s")  # noqa: T201 - a program
        for run in range(chosen.runs):
            image = work / f"run{run}.img"
            make_image(image, chosen.size << 20)
            share = range(run, chosen.moments, chosen.runs)
            moments = [chance.uniform(0, length) for _ in share]
            with mounted(image) as disk:
                copies = cut(work, work / "in", disk, moments, writing_back=run % 2 == 1)
            for copy in copies:
                found, wrong = check(work / "in", copy, expected)
                failures += bool(wrong)
                ending = wrong.strip() or "as undisturbed"
                print(f"{copy.stem}: {dict(found)} -> {ending}", flush=True)  # noqa: T201 - a program
                copy.unlink()
            image.unlink()
    finally:
        shutil.rmtree(work)
    print(f"{failures} of {chosen.moments} moments failed")  # noqa: T201 - a program
    return 1 if failures else 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
