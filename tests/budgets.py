"""What operations take against what they are budgeted: peaks of processes, one for each case.

    python -m tests.budgets

prints every case that takes more than its budget, and the closest of the others.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from poolcli import engine, memory, streaming
from poolcli.blocks import Band, Frame
from poolcli.errors import PoolError
from poolcli.kernels.views import Array
from poolcli.operations import OPERATIONS
from poolcli.plan import Step, plan

SLACK = 12 << 20
"""Bytes that a process takes for anything else: threads, what Python loads late, the C library."""
MEMORY = 64 << 20
"""Bytes that runs in parts may take."""

SPECS = (
    "{}:2",
    "{}:3,stride=1,pad=1",
    "{}:5,stride=2,pad=2,pad-mode=reflect",
    "{}:9,stride=4",
    "{}:70,stride=70",
    "{}:2,stride=300",
    "{}:90,stride=97",
    "{}:3,dilation=40,pad=same",
    "{},out=7",
    "{}:global",
    "{}:2,over=channels",
)
FORMS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("HW", (1400, 1500)),
    ("CHW", (3, 800, 900)),
    ("HWC", (800, 900, 3)),
    ("W", (2_000_000,)),
    ("HW", (4, 500_000)),
    ("DHW", (60, 180, 190)),
    ("NHW", (8000, 16, 16)),
)
DTYPES = ("uint8", "float16", "float32", "float64", "int64", "bool")
OTHERS = ("relu", "up:2", "up:2,mode=bilinear", "conv:3,filter=sobel-x", "conv:5,filter=gaussian")


@dataclass(frozen=True, slots=True)
class Case:
    """A stage over a map, at once or in parts."""

    spec: str
    layout: str
    shape: tuple[int, ...]
    dtype: str
    in_parts: bool


def cases() -> Iterator[Case]:
    """Yield every operation over windows in every kind of window, form and dtype that fits."""
    names = [name for name, facts in OPERATIONS.items() if facts.family == "windows"]
    specs = [spec.format(name) for name in names for spec in SPECS] + list(OTHERS)
    for layout, shape in FORMS:
        for dtype in DTYPES:
            for spec in specs:
                for in_parts in (False, True):
                    yield Case(spec, layout, shape, dtype, in_parts)


def measured(case: Case) -> tuple[int, int] | None:
    """Return a process's peak and its budget, in bytes; None if the case can't be run."""
    try:
        planned = plan(case.shape, case.spec, layout=case.layout, dtype=case.dtype)
        volume = prod(window.kernel for window in planned.steps[0].windows)
        if planned.steps[0].elements * volume > 60_000_000:
            return None
        way = memory.streaming(planned, {1}, MEMORY) if case.in_parts else None
    except PoolError:
        return None
    needed = memory.needed_at_once(planned, {1}) if way is None else way.needed
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            peak = peak_of(case, way)
            os.write(writable, str(peak).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writable)
    with os.fdopen(readable) as said:
        text = said.read()
    os.waitpid(child, 0)
    return (int(text), needed) if text else None


def peak_of(case: Case, way: memory.Streaming | None) -> int:
    """Run a case in this process, and return by how much its peak grew."""
    generator = np.random.default_rng(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    if way is None:
        planned = plan(case.shape, case.spec, layout=case.layout, dtype=case.dtype)
        array = numbers(generator, case.shape, case.dtype)
        for result in engine.run(planned, array, threads=2):
            assert result.array is not None
    else:

        def read(frame: Frame, planes: range, low: int, high: int) -> Array:
            shape = list(frame.shape(case.shape))
            shape[0], shape[frame.place] = len(planes), high - low
            return numbers(generator, tuple(shape), case.dtype)

        def write(step: Step, frame: Frame, band: Band, array: Array) -> None:
            del step, frame, band, array

        streaming.stream(way, read, write, {1}, threads=2)
    return status("VmHWM") - before


def numbers(generator: np.random.Generator, shape: Sequence[int], dtype: str) -> Array:
    """Return numbers without taking more than they do."""
    array = np.empty(shape, dtype)
    flat = array.reshape(-1)
    step = 1 << 16
    for start in range(0, flat.size, step):
        flat[start : start + step] = generator.integers(0, 9, min(step, flat.size - start))
    return array


def status(name: str) -> int:
    """Return a number of bytes that Linux knows of this process."""
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


def main() -> int:
    """Measure cases drawn at random, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    # Two threads, on any machine.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    every = list(cases())
    random.Random(asked.seed).shuffle(every)  # noqa: S311 - no secret
    found = [(case, *taken) for case in every[: asked.cases] if (taken := measured(case))]
    found.sort(key=lambda entry: entry[2] - entry[1])
    beyond = [entry for entry in found if entry[1] > entry[2] + SLACK]
    for case, peak, needed in found:
        print(f"{peak / 2**20:8.1f} of {needed / 2**20:8.1f} MiB: {case}")  # noqa: T201 - a program
    print(f"{len(found)} cases, {len(beyond)} beyond their budgets")  # noqa: T201 - a program
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
