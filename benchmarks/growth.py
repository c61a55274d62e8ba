"""How costs grow with what they depend on: time and peak memory over three decades of each.

python -m benchmarks.growth [--quick] [--only WORD]
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import RESULTS
from poolcli.blocks import processors

_LEAST_SECONDS: Final = 0.04
_LEAST_MEMORY: Final = 8.0
"""MiB. What grows by less above the start-up is noise."""
_MOST: Final = 1.1
"""An exponent above it needs a reason."""
POOL: Final = (
    "import sys, numpy, poolcli; shape = tuple(map(int, sys.argv[2].split('x'))); "
    "array = (numpy.arange(numpy.prod(shape), dtype='f4') * 17 % 251).reshape(shape); "
    "poolcli.pool(array, sys.argv[1])"
)
"""Pools an array that is made in memory."""


@dataclass(frozen=True, slots=True)
class Series:
    """One cost, as a function of one number."""

    name: str
    what: str
    """What the number counts."""
    sizes: Sequence[int]
    command: Callable[[int], Sequence[str]]
    """Arguments of Python, in the folder where the input has been made."""
    make: Callable[[int], None] = lambda _: None
    """Makes the input of a size, in the working directory."""
    expected: str = "1"
    """The exponent of time that the work itself has."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process took: seconds of processor and of the clock, MiB at once."""

    processor: float
    clock: float
    peak: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What a series took, by size, or why it came to no end."""

    series: Series
    costs: dict[int, Cost | str]

    @property
    def ended(self) -> list[tuple[int, Cost]]:
        """The sizes that came to their end."""
        return [(size, cost) for size, cost in self.costs.items() if isinstance(cost, Cost)]

    @property
    def stopped(self) -> str:
        """At which size it was stopped, and why, if it was."""
        said = [f"; {size:,} {cost}" for size, cost in self.costs.items() if isinstance(cost, str)]
        return "".join(said)

    def exponent(self, of: Callable[[Cost], float], least: float) -> float | None:
        """Return the slope over the upper decade and a half, the start-up taken off.

        None where nothing grows.
        """
        start, top = of(self.ended[0][1]), self.ended[-1][0]
        above = [(size, of(cost) - start) for size, cost in self.ended if size * 40 >= top]
        points = [(log(size), log(more)) for size, more in above if more > least]
        if not above or above[-1][1] <= least:
            return None
        if (low := [size for size, more in above if more <= least]) and len(points) < 2:
            # A cliff: below it, it was at most this.
            points.insert(0, (log(low[-1]), log(least)))
        if len(points) < 2:
            return None
        x, y = np.array(points).T
        return float(np.polyfit(x, y, 1)[0])


def half_decades(first: int, decades: float) -> list[int]:
    """Return sizes from the first on, two in every decade.

    >>> half_decades(10, 1)
    [10, 32, 100]
    """
    return [round(first * 10 ** (step / 2)) for step in range(round(2 * decades) + 1)]


def run(*arguments: str, folder: str = "in", save: str = "all") -> list[str]:
    """Return the arguments that pool a folder's or a file's inputs."""
    return ["-m", "poolcli", "run", folder, "-q", "--force", "--save", save, *arguments]


def series(*, quick: bool) -> list[Series]:
    """Return what is measured; quick, of a tenth of the sizes."""
    less = 10 if quick else 1
    line = 10_000_000 // less
    short = 300_000 // less
    lengths = half_decades(2, 3)
    found = [
        Series(
            "file size", "bytes of a uint8 .npy, max:2", half_decades(1_000_000 // less, 3),
            lambda _: run("-s", "max:2"), lambda size: _array((size // 1000, 1000), "u1"),
        ),
        Series(
            "elements in memory", "float32, max:3,stride=1", half_decades(100_000 // less, 3),
            lambda size: ["-c", POOL, "max:3,stride=1", f"{size // 100}x100"],
        ),
    ]  # fmt: skip
    found += [_windows(operation, line, lengths) for operation in ("max", "avg", "median")]
    found += [
        _windows(operation, line, lengths, ",stride=1", "0, or log n")
        for operation in ("max", "avg")
    ]
    found += [_windows("median", short, lengths, ",stride=1", "1: elements gathered")]
    found += [_windows_in_parts(spec, 2 * line, lengths) for spec in ("max:{}", "max:{},stride=1")]
    found += [
        Series(
            "chain length, relu*n", "stages, the last saved", half_decades(1, 3),
            lambda size: run("-s", f"relu*{size}", save="last"), lambda _: _array((512, 512), "f4"),
        ),
        Series(
            "chain length, max:3,stride=1,pad=1*n", "stages, all saved", half_decades(1, 3),
            lambda size: run("-s", f"max:3,stride=1,pad=1*{size}"), lambda _: _picture(64),
        ),
        Series(
            "chain length in parts, relu*n", "stages, the last saved", half_decades(1, 3),
            lambda size: run("-s", f"relu*{size}", "--memory", "64MiB", save="last"),
            lambda _: _array((4000, 4000), "f4"),
        ),
        Series(
            "inputs", "arrays of 8×8", half_decades(10, 3 if less == 1 else 2.5),
            lambda _: run("-s", "max:2"), _inputs,
        ),
        Series(
            "frames, GIF to TIFF", "of 8×8", half_decades(10, 3 if less == 1 else 2.5),
            lambda _: run("-s", "max:2", "--format", "tiff"), lambda size: _frames(size, "gif"),
        ),
        Series(
            "frames, APNG to PNG", "of 8×8", half_decades(10, 3 if less == 1 else 2.5),
            lambda _: run("-s", "max:2"), lambda size: _frames(size, "png"),
        ),
        Series(
            "frames, WebP to WebP", "of 8×8", half_decades(10, 3 if less == 1 else 2),
            lambda _: run("-s", "max:2", "--format", "webp"), lambda size: _frames(size, "webp"),
        ),
        Series(
            "archive members", "arrays of 8×8", half_decades(100 // less, 3),
            lambda _: run("-s", "max:2"), _members,
        ),
        Series(
            "folder depth", "folders above one array", half_decades(1, 3),
            lambda _: run("-s", "max:2", "-r"), _deep,
        ),
    ]  # fmt: skip
    return found


def _windows(
    operation: str, elements: int, lengths: Sequence[int], more: str = "", expected: str = "0"
) -> Series:
    return Series(
        f"window length, {operation}:n{more}", f"of a line of {elements:,}", lengths,
        lambda size: ["-c", POOL, f"{operation}:{size}{more}", str(elements)], expected=expected,
    )  # fmt: skip


def _windows_in_parts(spec: str, elements: int, lengths: Sequence[int]) -> Series:
    return Series(
        f"window length in parts, {spec.format('n')}", f"of a line of {elements:,}", lengths,
        lambda size: run("-s", spec.format(size), "--memory", "64MiB"),
        lambda _: _array((elements,), "f4"), "0, or log n",
    )  # fmt: skip


def _array(shape: tuple[int, ...], dtype: str) -> None:
    """Write an array part by part, so that none is in memory."""
    from poolcli.files.arrays import write_header

    left = int(np.prod(shape))
    part = (np.arange(1 << 20) * 17 % 251).astype(dtype)
    with Path("in/a.npy").open("wb") as stream:
        write_header(stream, shape, part.dtype.name)
        while left > 0:
            stream.write(part[:left].tobytes())
            left -= len(part)


def _picture(side: int) -> None:
    pixels = np.arange(side * side, dtype=np.uint32).astype(np.uint8)
    Image.fromarray(pixels.reshape(side, side)).save("in/a.png")


def _inputs(size: int) -> None:
    for number in range(size):
        np.save(f"in/{number}.npy", np.full((8, 8), number, np.float32))


def _frames(size: int, form: str) -> None:
    draw = np.random.default_rng(0)
    frames = (Image.fromarray(draw.integers(0, 256, (8, 8), np.uint8)) for _ in range(size))
    # WebP takes as lossless what is 100; the others take no quality.
    next(frames).save(f"in/a.{form}", save_all=True, append_images=frames, lossless=form == "webp")


def _members(size: int) -> None:
    np.save("one.npy", np.ones((8, 8), np.float32))
    content = Path("one.npy").read_bytes()
    with zipfile.ZipFile("in/a.npz", "w") as archive:
        for number in range(size):
            archive.writestr(f"m{number}.npy", content)


def _deep(size: int) -> None:
    os.chdir("in")
    for _ in range(size):
        os.mkdir("d")  # noqa: PTH102 - relative to the working directory, at any depth
        os.chdir("d")
    np.save("a.npy", np.ones((8, 8), np.float32))


def measure(series: Series, limit: float) -> Measured:
    """Run a series, up to the size that takes longer than the limit."""
    # Once for the caches.
    _costs(series, series.sizes[0], limit)
    costs: dict[int, Cost | str] = {}
    for size in series.sizes:
        cost = costs[size] = _costs(series, size, limit)
        if isinstance(cost, str) or cost.clock > limit / 3:
            break
    return Measured(series, costs)


def _costs(series: Series, size: int, limit: float) -> Cost | str:
    """Make an input in a folder of its own, and measure the run over it."""
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        # In a process of its own: a child's peak counts what its parent held.
        making = [sys.executable, "-m", "benchmarks.growth", "--make", series.name, str(size)]
        making += ["--quick"] if "--quick" in sys.argv else []
        subprocess.run(making, cwd=folder, env=environ, check=True)
        cost = _cost([sys.executable, *series.command(size)], folder, environ, limit)
        # What is too deep for Python.
        subprocess.run(["rm", "-rf", folder / "in", folder / "pooled"], check=True)
    return cost


def _cost(
    command: Sequence[str], folder: Path, environ: dict[str, str], limit: float
) -> Cost | str:
    """Run a command, and return what it took, or why it came to no end."""
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, env=environ) as process:
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            if time.perf_counter() - began > limit:
                process.kill()
                return f"takes more than {limit:g} s"
            time.sleep(0.002)
        process.returncode = os.waitstatus_to_exitcode(status)
    clock = time.perf_counter() - began
    if process.returncode:
        return "is refused"
    return Cost(usage.ru_utime + usage.ru_stime, clock, usage.ru_maxrss / 1024)


HEAD: Final = (
    *("series", "n", "processor, s", "clock, s", "peak, MiB"),
    *("time grows as", "memory grows as", "expected of time"),
)


def row(found: Measured) -> list[str]:
    """Return the cells of a series: costs of its largest size, and exponents."""
    size, cost = found.ended[-1]
    time_ = found.exponent(lambda cost: cost.processor, _LEAST_SECONDS)
    memory = found.exponent(lambda cost: cost.peak, _LEAST_MEMORY)
    sizes = f"{found.series.sizes[0]:,} to {size:,}{found.stopped}"
    cells = [f"{found.series.name}: {found.series.what}", sizes, f"{cost.processor:.2f}"]
    cells += [f"{cost.clock:.2f}", f"{cost.peak:.0f}", _power(time_), _power(memory)]
    return [*cells, found.series.expected]


def _power(exponent: float | None) -> str:
    if exponent is None:
        return "constant"
    return f"{'**' if exponent > _MOST else ''}n^{exponent:.2f}{'**' if exponent > _MOST else ''}"


_NOTE: Final = (
    "Costs are of the largest n. Exponents are slopes over the upper decade and a half, of what is "
    f"above the smallest size's cost; in bold above {_MOST}. Expected is what the work grows by."
)


def finish(found: Sequence[Measured], *, quick: bool) -> None:
    """Print a table, and write it to a file beside a plot."""
    rows = [row(one) for one in found]
    table = Table(*HEAD, title="Growth")
    for cells in rows:
        table.add_row(*(cell.replace("**", "") for cell in cells))
    Console().print(table)
    facts = f"{platform.machine()}, {processors()} processors, Python {platform.python_version()}"
    lines = [
        "# How costs grow",
        "",
        facts + f", numpy {np.__version__}{', quick' if quick else ''}. " + _NOTE,
        "",
        f"| {' | '.join(HEAD)} |",
        "|---|---|---:|---:|---:|---|---|---|",
        *(f"| {' | '.join(cells)} |" for cells in rows),
    ]
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / "growth.md"
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    _plot(found)
    print(f"written to {target}")


def _plot(found: Sequence[Measured]) -> None:
    try:
        import matplotlib as mpl
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 7))
    for one in found:
        sizes = [size / one.series.sizes[0] for size, _ in one.ended]
        for axes, values in (
            (left, [cost.processor for _, cost in one.ended]),
            (right, [cost.peak for _, cost in one.ended]),
        ):
            axes.plot(sizes, values, ".-", label=one.series.name, linewidth=1)
    for axes, title in ((left, "processor, s"), (right, "peak, MiB")):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("n / its smallest")
        axes.set_title(title, fontsize=10)
        axes.grid(which="both", linewidth=0.3)
    left.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(RESULTS / "growth.png", dpi=110)
    plt.close(figure)


def main() -> None:
    """Measure all, or those with a word in their names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes, two minutes")
    parser.add_argument("--only", default="", metavar="WORD")
    parser.add_argument("--make", nargs=2, metavar=("SERIES", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    all_series = series(quick=options.quick)
    if options.make:
        name, size = options.make
        next(one for one in all_series if one.name == name).make(int(size))
        return
    found = []
    for one in all_series:
        if options.only in one.name:
            found.append(measure(one, 6 if options.quick else 180))
            print("; ".join(row(found[-1])), flush=True)
    finish(found, quick=options.quick)


if __name__ == "__main__":
    main()
