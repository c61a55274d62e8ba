"""Ten thousand hostile files in one run: ``python -m tests.hostile_run --files 10000 [--seed 0]``.

Among mutated pictures, arrays and archives, bombs, empty files, links, pipes and names with escapes
lie good files. All go through one run within a limit of address space. Each input has to be done or
fail in one line; every good one has to be done.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import ClassVar, Final

import numpy as np
from PIL import Image

from poolcli.files.formats import KNOWN_SUFFIXES
from tests.conftest import environment
from tests.fuzz import corpus
from tests.fuzz_mutations import LONGEST, mutated
from tests.fuzz_targets import ARRAY_TOKENS, TARGETS

LIMIT: Final = 2_000_000 << 10
"""Bytes of address space, as ``ulimit -v 2000000``."""
_BOMB: Final = 64 << 20
_SUFFIXES: Final = sorted(KNOWN_SUFFIXES - {".npz"})
_ESCAPES: Final = (
    *(b"\x1b[31m", b"\x1b]0;title\x07", b"\r", b"\n", b"\t", b"\x7f", b"\x9b2J", b"\xff\xfe"),
    *("\u202e".encode(), "\u200b".encode(), b" ", b"%s", b"{stem}", b"[red]", b"'", b'"', b"\\"),
)


@dataclass
class Made:
    """What lies in the folder."""

    inputs: int = 0
    """Inputs that the run has to give an answer for, an archive's arrays each."""
    good: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Stems of inputs that have to be done, and the shapes of their results."""
    kinds: Counter[str] = field(default_factory=Counter)


class Maker:
    """Fills a folder with hostile files, the same for the same seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = os.fsencode(folder)
        self.rng = Random(seed)  # noqa: S311 - what is wanted is the same for the same seed
        self.made = Made()
        self.bombs = list(_bombs())
        self.archive = _archive({"m.npy": np.ones((6, 6), np.float32)}, zipfile.ZIP_DEFLATED)

    shares: ClassVar = {
        "image": 50, "array": 20, "good": 10, "member": 8, "noise": 3, "link": 3, "empty": 2,
        "named": 2, "bomb": 1, "pipe": 1, "folder": 1,
    }  # fmt: skip
    """What is made, and in which proportions."""

    def make(self, files: int) -> Made:
        """Make so many files, and at least one of every kind if there are enough."""
        kinds = [*self.shares, *self._drawn(files)]
        for number, kind in enumerate(kinds[:files]):
            getattr(self, f"_{kind}")(self._place(number))
            self.made.kinds[kind] += 1
        return self.made

    def _drawn(self, files: int) -> list[str]:
        return self.rng.choices(tuple(self.shares), tuple(self.shares.values()), k=files)

    def _place(self, number: int) -> bytes:
        """Return a path without a suffix, sometimes in deeper folders."""
        folder = os.path.join(self.folder, b"%d" % (number % 37))  # noqa: PTH118 - bytes
        if self.rng.random() < 0.05:
            folder = os.path.join(folder, *[b"deep"] * self.rng.randint(1, 60))  # noqa: PTH118
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - bytes
        return os.path.join(folder, b"%06d" % number)  # noqa: PTH118 - bytes

    def _write(self, path: bytes, content: bytes, *, inputs: int = 1) -> None:
        with open(path, "wb") as stream:  # noqa: PTH123 - bytes
            stream.write(content)
        self.made.inputs += inputs

    def _suffix(self) -> bytes:
        return self.rng.choice(_SUFFIXES).encode()

    def _mutated(self, target: str) -> bytes:
        return TARGETS[target].mutate(self.rng, corpus(target))[:LONGEST]

    def _image(self, place: bytes) -> None:
        self._write(place + self._suffix(), self._mutated("images"))

    def _array(self, place: bytes) -> None:
        self._write(place + b".npy", self._mutated("arrays"))

    def _member(self, place: bytes) -> None:
        """Make an archive that is broken, or has a broken array in it."""
        if self.rng.random() < 0.5:
            content = _archive({"m.npy": self._mutated("arrays")}, zipfile.ZIP_STORED)
        else:
            content = mutated(self.rng, [self.archive], ARRAY_TOKENS)
        # Known by its suffix as an array, so that it is opened in its turn, whatever is in it.
        self._write(place + b".npz", content, inputs=_members(content))

    def _good(self, place: bytes) -> None:
        shape = self.rng.randint(4, 40), self.rng.randint(4, 40)
        pixels = np.frombuffer(self.rng.randbytes(shape[0] * shape[1]), np.uint8).reshape(shape)
        stream = io.BytesIO()
        suffix = self.rng.choice((".npy", ".png", ".bmp", ".tiff", ".webp", ".gif"))
        if suffix == ".npy":
            np.save(stream, pixels.astype(self.rng.choice(("f4", "u1", "i8"))))
        else:
            Image.fromarray(pixels).save(stream, Image.registered_extensions()[suffix])
        self._write(place + b"-good" + suffix.encode(), stream.getvalue())
        self.made.good[os.fsdecode(os.path.basename(place)) + "-good"] = shape  # noqa: PTH119

    def _bomb(self, place: bytes) -> None:
        suffix, content = self.rng.choice(self.bombs)
        self._write(place + suffix, content)

    def _empty(self, place: bytes) -> None:
        self._write(place + self._suffix(), b"")

    def _noise(self, place: bytes) -> None:
        self._write(place + self._suffix(), self.rng.randbytes(self.rng.randint(1, 3000)))

    def _link(self, place: bytes) -> None:
        # Each to a place of its own: what is named twice counts once.
        name = os.path.basename(place)  # noqa: PTH119 - bytes
        target = self.rng.choice((b"nowhere" + name, name + b".png", b"/proc/1/root/" + name))
        os.symlink(target, place + b".png")  # noqa: PTH211 - bytes
        self.made.inputs += 1

    def _pipe(self, place: bytes) -> None:
        """Make a pipe, which is no file of the folder's."""
        os.mkfifo(place + b".npy")

    def _folder(self, place: bytes) -> None:
        """Make a folder with the name of a picture."""
        os.mkdir(place + b".png")  # noqa: PTH102 - bytes

    def _named(self, place: bytes) -> None:
        marks = b"".join(self.rng.choice(_ESCAPES) for _ in range(self.rng.randint(1, 12)))
        if self.rng.random() < 0.3:
            marks += b"n" * 200
        self._write(place + marks + b".npy", b"\x93NUMPY broken")


def _archive(members: dict[str, bytes | np.ndarray], method: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            if isinstance(content, np.ndarray):
                array = io.BytesIO()
                np.save(array, content)
                content = array.getvalue()  # noqa: PLW2901 - the same in bytes
            archive.writestr(name, content)
    return stream.getvalue()


def _members(content: bytes) -> int:
    """Return how many inputs an archive stands for: one that can't be read is one."""
    from poolcli.errors import InputError
    from poolcli.files.archives import members
    from poolcli.files.inputs import is_archive

    stream = io.BytesIO(content)
    try:
        return len(members(stream)) if is_archive(stream) else 1
    except InputError:
        return 1


def _bombs() -> Iterator[tuple[bytes, bytes]]:
    """Yield files that hold far more than their size tells, by the suffix that they have."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (8, 8), }"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(_BOMB)
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        packed = _archive({"m.npy": array}, method)
        # The directory and the member declare 123 bytes.
        for size in (len(array).to_bytes(4, "little"),):
            packed = packed.replace(size, (len(header) + 74).to_bytes(4, "little"))
        yield b".npz", packed
    large = io.BytesIO()
    Image.new("L", (12_000, 12_000)).save(large, "PNG", compress_level=9)
    yield b".png", large.getvalue()
    yield b".npy", array[:10].replace(b"(8, 8)", b"(9, 9)") + header


def run(folder: Path, limit: int = LIMIT) -> subprocess.CompletedProcess[bytes]:
    """Put all files of a folder through one run, within a limit of address space."""
    command = [sys.executable, "-m", "poolcli", "run", "-r", "in", "-s", "max:2", "--json"]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip


_LINE: Final = re.compile(
    r"(error|warning): [^\n]*|\d+ of \d+ inputs failed: [^\n]*|[^\n]* passed over"
)


def problems(made: Made, ran: subprocess.CompletedProcess[bytes], folder: Path) -> list[str]:
    """Return what is not as it should be."""
    found = []
    said = ran.stderr.decode().split("\n")[:-1]
    said = [line for line in said if not line.startswith("wrote ")]
    outcomes = [json.loads(line) for line in ran.stdout.splitlines()]
    failed = [outcome for outcome in outcomes if not outcome["ok"]]
    errors = [line for line in said if line.startswith("error: ")]
    if ran.returncode != 1:
        found.append(f"exit status {ran.returncode}: {said[-1:]}")
    if len(outcomes) != made.inputs:
        found.append(f"{len(outcomes)} outcomes of {made.inputs} inputs")
    if len(errors) != len(failed):
        found.append(f"{len(errors)} errors are said, {len(failed)} inputs failed")
    found += [f"said: {line[:200]!r}" for line in said if not _LINE.fullmatch(line)]
    found += [f"control characters: {line[:200]!r}" for line in said if _CONTROL.search(line)]
    found += [f"unexpected: {line[:300]}" for line in errors if "unexpected" in line]
    results = {path.name: path for path in (folder / "pooled").rglob("[!.]*") if path.is_file()}
    done = {Path(outcome["input"]).stem for outcome in outcomes if outcome["ok"]}
    for stem, shape in made.good.items():
        names = [f"{stem}.1-max2x2{suffix}" for suffix in (".png", ".npy", ".tiff")]
        paths = [results[name] for name in names if name in results]
        if stem not in done or len(paths) != 1:
            found.append(f"{stem} is not done")
        elif paths[0].suffix == ".npy":
            if np.load(paths[0]).shape != (shape[0] // 2, shape[1] // 2):
                found.append(f"{paths[0]} has another shape")
        else:
            with Image.open(paths[0]) as picture:
                picture.load()
    left = [path.name for path in (folder / "pooled").rglob(".poolcli-*.tmp")]
    return found + [f"{name} is left" for name in left]


_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


def main() -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where files are made and stay")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        made = Maker(folder / "in", options.seed).make(options.files)
        _say(f"{options.files:,} files, {made.inputs:,} inputs: {dict(made.kinds)}")
        started = time.monotonic()
        ran = run(folder)
        taken = time.monotonic() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
        wrong = problems(made, ran, folder)
        failed = ran.stdout.count(b'"ok": false')
        _say(
            f"exit status {ran.returncode}, {failed:,} failed in a line each, {len(made.good):,} "
            f"good ones done, {taken:.0f} s, {peak} MiB at most"
        )
        for text in wrong[:50]:
            _say(f"  {text}")
        _say(f"{len(wrong)} problems")
    return 1 if wrong else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
