"""Chains in parts against the same chains at once: the same bits, wherever the map is cut.

    python -m tests.parts --runs 5000

draws chains, maps, and parts by seeds, and prints each that differs with its seed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolcli import engine, streaming
from poolcli.blocks import Band, Frame
from poolcli.errors import RangeError
from poolcli.kernels import long_windows
from poolcli.kernels.views import along
from poolcli.memory import Streaming, frames, may_be_totalled
from poolcli.plan import Plan, Step
from tests.chains import Dice, Drawn, drawn_chain

Array = NDArray[Any]

CHUNK = 16
"""Elements of a row that are summed pairwise here, so that small maps have several chunks."""


def totalled(plan: Plan, frame: Frame) -> frozenset[int]:
    """Return the indices of all steps whose long windows may be totals."""
    return frozenset(step.index for step in plan.steps if may_be_totalled(step, frame))


def drawn_ways(drawn: Drawn, dice: Dice) -> list[Streaming]:
    """Return ways to run a chain in parts: each frame, cut somewhere, long windows held or not."""
    plan, ways = drawn.plan, []
    for frame in frames(plan):
        length = plan.shape[frame.cut]
        rows = dice.number(1, length)
        planes = dice.number(1, 3) if rows == length else 1
        at_once, block = dice.one_of(1, 100, 1 << 20), dice.one_of(50, 500, 1 << 21)
        some = frozenset(index for index in totalled(plan, frame) if dice.chance(0.7))
        ways.append(Streaming(plan, frame, planes, rows, 0, some, 3, at_once, block))
    return ways


@dataclass(frozen=True)
class InParts:
    """What a run in parts wrote: every step's result, each element written once."""

    results: dict[int, Array]
    losses: dict[int, Any]


def in_parts(way: Streaming, array: Array, threads: int = 1) -> InParts:
    """Run in parts, and put every step's result together from what is written."""
    whole = array.reshape(way.frame.shape(array.shape))
    found = {step.index: np.zeros(step.shape, step.dtype) for step in way.plan.steps}
    times = {step.index: np.zeros(step.shape, np.uint8) for step in way.plan.steps}

    def read(frame: Frame, planes: range, low: int, high: int) -> Array:
        rows = along(frame.place, slice(low, high))
        return np.ascontiguousarray(whole[planes.start : planes.stop][rows])

    def write(step: Step, frame: Frame, band: Band, part: Array) -> None:
        outputs = along(frame.place - 1, slice(band.first, band.last))
        where = (slice(band.planes.start, band.planes.stop), *outputs)
        found[step.index].reshape(frame.shape(step.shape))[where] = part
        times[step.index].reshape(frame.shape(step.shape))[where] += 1

    losses = streaming.stream(way, read, write, set(found), threads=threads)
    assert all((each == 1).all() for each in times.values())
    return InParts(found, losses)


def differences(drawn: Drawn, dice: Dice) -> list[str]:
    """Return where a chain in parts gives other bits than at once, in words."""
    at_once = list(engine.run(drawn.plan, drawn.array))
    said = []
    for way in drawn_ways(drawn, dice):
        try:
            parts = in_parts(way, drawn.array, threads=dice.one_of(1, 3))
        except RangeError as error:
            # Powers that can't be added up in parts are refused; the run at once came to its end.
            if "raise --memory" not in str(error):
                said.append(f"{drawn}: {error}")
            continue
        for whole in at_once:
            assert whole.array is not None
            index = whole.step.index
            same = parts.results[index].tobytes() == whole.array.tobytes()
            if not same or parts.losses[index] != whole.losses:
                cut = replace(way, plan=replace(way.plan, steps=()))
                said.append(f"{drawn}: stage {index}, {cut}")
    return said


def main() -> int:
    """Compare as many chains as asked, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5000, help="runs in parts")
    parser.add_argument("--seed", type=int, default=1_000_000, help="the first seed")
    asked = parser.parse_args()
    long_windows.CHUNK = CHUNK  # type: ignore[misc] # small maps have to have several chunks
    runs, seed, failed = 0, asked.seed, 0
    while runs < asked.runs:
        drawn = drawn_chain(seed)
        try:
            said = differences(drawn, Dice(seed))
            runs += len(list(frames(drawn.plan)))
        except RangeError:
            # A sum that overflows, at once as in parts.
            said = []
        except Exception as error:  # noqa: BLE001 - what goes wrong is what is looked for
            said = [f"{drawn}: {type(error).__name__} {error}"]
        for line in said:
            failed += 1
            print(f"seed {seed}: {line}")  # noqa: T201 - a program
        seed += 1
    print(f"{runs} runs in parts, {failed} differ")  # noqa: T201 - a program
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
