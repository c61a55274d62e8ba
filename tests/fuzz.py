"""Fuzz what reads text and files: ``python -m tests.fuzz --inputs 100000 [--seed 0]``.

Inputs are mutated at random from a corpus that is made here, the same for the same seed. Each is
run in a child process, within 10 seconds and 2 GiB of address space above what the process has at
its start. What fails is saved, and printed in base64; ``--replay FILE`` runs it alone.
"""

from __future__ import annotations

import argparse
import base64
import mmap
import multiprocessing
import os
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from typing import Final

from poolcli.errors import PoolError
from tests.fuzz_mutations import LONGEST
from tests.fuzz_targets import TARGETS, Target, prepare

_SECONDS: Final = 10.0
_MEMORY: Final = 2 << 30
_BLOCK: Final = 1000
"""Inputs after which a process ends, and the next begins with the corpus again."""
_LEAST_SHARE: Final = 0.05
"""Of a target's inputs, how many must be accepted, and how many refused."""
_NOW: Final = struct.Struct("=dII")
"""What a process is at: since when (0 for nothing), the input's index in its block, its length."""


@dataclass(frozen=True)
class Block:
    """Some inputs of one target. ``deadly`` are those that ended a process before."""

    name: str
    seed: str
    inputs: int
    deadly: frozenset[int] = frozenset()


@dataclass
class Tally:
    """What came of some inputs."""

    accepted: int = 0
    refused: int = 0
    reasons: set[str] = field(default_factory=set)
    """For which inputs were refused, values left out."""
    failures: dict[str, bytes] = field(default_factory=dict)
    """For each way to fail the first input."""
    failed: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    peak: int = 0
    """KiB that a process grew by, at most."""

    def fail(self, how: str, content: bytes) -> None:
        """Note a failure."""
        self.failures.setdefault(how, content)
        self.failed[how] += 1

    def add(self, other: Tally) -> None:
        """Take in what came of other inputs."""
        self.accepted += other.accepted
        self.refused += other.refused
        self.reasons |= other.reasons
        self.failures = other.failures | self.failures
        self.failed += other.failed
        self.slowest, self.peak = max(self.slowest, other.slowest), max(self.peak, other.peak)


def run_block(block: Block, now: mmap.mmap) -> Tally:
    """Run inputs. Those that were accepted, or refused for a new reason, are mutated further."""
    target, tally = TARGETS[block.name], Tally()
    rng = Random(block.seed)  # noqa: S311 - what is wanted is the same for the same seed
    pool = list(corpus(block.name))
    for index in range(block.inputs):
        content = target.mutate(rng, pool)[:LONGEST]
        place = rng.randrange(2 * len(pool))
        if index in block.deadly:
            continue
        now[_NOW.size : _NOW.size + len(content)] = content
        _NOW.pack_into(now, 0, time.monotonic(), index, len(content))
        started = time.perf_counter()
        if run_one(target, content, tally) and place < len(pool):
            pool[place] = content
        tally.slowest = max(tally.slowest, time.perf_counter() - started)
    _NOW.pack_into(now, 0, 0.0, 0, 0)
    return tally


def run_one(target: Target, content: bytes, tally: Tally) -> bool:
    """Run one input; return whether more may come of it."""
    said = os.fstat(2).st_size
    new = True
    try:
        target.run(content)
        tally.accepted += 1
    except PoolError as error:
        tally.refused += 1
        reason = re.sub(r"'[^']*'|\S*[^a-z\s]\S*", "…", str(error)[:500])
        new = reason not in tally.reasons
        tally.reasons.add(reason)
        if memory := _hidden(MemoryError, error):
            tally.fail(f"out of memory at {_place(memory)}: {str(error)[:200]}", content)
    except Exception as error:  # noqa: BLE001 - it is what is looked for
        tally.fail(f"{type(error).__name__} at {_place(error)}: {str(error)[:200]}", content)
    words = os.pread(2, 300, said).decode(errors="replace").splitlines()
    if not all(_OF_LIBTIFF.match(line) for line in words):
        tally.fail(f"on standard error: {words}", content)
    return new


_OF_LIBTIFF: Final = re.compile(r"\w*:|tempfile.tif:|$")
"""It complains past Python, to the process's own standard error."""


def _hidden(kind: type[Exception], error: BaseException | None) -> BaseException | None:
    """Return the error of some kind that another one was raised in the place of, if there is."""
    while error is not None and not isinstance(error, kind):
        error = error.__context__
    # Python's parser has no other word for what is nested too deep.
    return None if error is None or _place(error).startswith("ast.py") else error


def _place(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


@cache
def corpus(name: str) -> tuple[bytes, ...]:
    """Return a target's corpus, made once, before processes are forked."""
    return tuple(TARGETS[name].corpus())


class Run:
    """A process that runs one block."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.now = mmap.mmap(-1, _NOW.size + LONGEST)
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("fork").Process(
            target=_work, args=(block, self.now, theirs)
        )
        self.process.start()
        theirs.close()

    def outcome(self) -> tuple[Tally, Block | None] | None:
        """Return what came of the block, and what to run instead if the process died of it.

        None while it runs.
        """
        since, index, length = _NOW.unpack_from(self.now)
        late = bool(since) and time.monotonic() - since > _SECONDS
        if not late and not self.pipe.poll():
            return None
        tally, rest = Tally(), None
        try:
            if late:
                self.process.kill()
            tally = self.pipe.recv()
        except EOFError:
            self.process.join()
            if self.process.exitcode == 1:
                raise RuntimeError("the fuzzer itself failed") from None
            ended = f"ran for {_SECONDS:g} s" if late else f"died ({self.process.exitcode})"
            tally.fail(ended, self.now[_NOW.size : _NOW.size + length])
            rest = replace(self.block, deadly=self.block.deadly | {index})
        self.process.join()
        self.pipe.close()
        return tally, rest


def _work(block: Block, now: mmap.mmap, pipe: Connection) -> None:
    """Run a block in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    warnings.simplefilter("ignore")  # as the program does
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        stderr = os.dup(2)
        os.dup2(errors.fileno(), 2)
        os.chdir(folder)
        prepare(Path(folder))
        try:
            tally = run_block(block, now)
        finally:
            os.dup2(stderr, 2)
    tally.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    pipe.send(tally)


def fuzz(name: str, inputs: int, seed: int, jobs: int) -> Tally:
    """Run a number of inputs of one target, and return what came of them."""
    corpus(name)
    starts = range(0, inputs, _BLOCK)
    blocks = [Block(name, f"{seed} {name} {at}", min(_BLOCK, inputs - at)) for at in starts]
    total, running = Tally(), list[Run]()
    while blocks or running:
        while blocks and len(running) < jobs:
            running.append(Run(blocks.pop(0)))
        wait([run.pipe for run in running], timeout=0.5)
        for run in tuple(running):
            if outcome := run.outcome():
                running.remove(run)
                tally, rest = outcome
                total.add(tally)
                blocks[:0] = [rest] if rest else []
    return total


def report(name: str, tally: Tally, seconds: float, folder: Path) -> bool:
    """Print what came of a target's inputs, save the failures; return whether all is well."""
    failed = sum(tally.failed.values())
    done = max(1, tally.accepted + tally.refused + failed)
    _say(
        f"{name:8} {done:8,} inputs {seconds:6.0f} s  {tally.accepted / done:6.1%} accepted  "
        f"{tally.refused / done:6.1%} refused for {len(tally.reasons):,} reasons  "
        f"slowest {tally.slowest:.2f} s  memory +{tally.peak >> 10} MiB  {failed} failed"
    )
    for how, content in sorted(tally.failures.items()):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}-{sha256(content).hexdigest()[:12]}"
        path.write_bytes(content)
        text = base64.b64encode(content).decode()
        _say(f"  {name} × {tally.failed[how]}: {how.strip()}\n    {path}: {text[:2000]}")
    return not failed and min(tally.accepted, tally.refused) >= _LEAST_SHARE * done


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=tuple(TARGETS), help="one target, with all inputs")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), metavar="DIR")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one saved failure")
    options = parser.parse_args()
    if options.replay:
        TARGETS[options.replay.name.partition("-")[0]].run(options.replay.read_bytes())
        return 0
    well = True
    for name in (options.only,) if options.only else TARGETS:
        inputs = options.inputs if options.only else round(options.inputs * TARGETS[name].share)
        started = time.monotonic()
        tally = fuzz(name, inputs, options.seed, options.jobs)
        well &= report(name, tally, time.monotonic() - started, options.failures)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
