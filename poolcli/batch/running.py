"""Several inputs at once, within the memory that they share, reported in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition
from typing import BinaryIO, Final

from poolcli.batch.executing import execute
from poolcli.batch.jobs import Job, Options, Outcome, advice
from poolcli.blocks import processors

Outcomes = Generator[Outcome, None, None]


def planned_all(prepared: Iterable[Job | Outcome], options: Options) -> Outcomes:
    """Yield the outcomes of a run that only plans."""
    for entry in prepared:
        if isinstance(entry, Outcome):
            yield entry
        else:
            yield Outcome(entry.source, entry, warnings=advice(entry, options))


def execute_all(
    prepared: Sequence[Job | Outcome], options: Options, stdout: BinaryIO | None = None
) -> Outcomes:
    """Yield what became of every input, in order, several worked on at once.

    Together they stay within the memory: an input waits until enough of it is free.
    """
    jobs = options.jobs or processors()
    if jobs == 1 or len(prepared) == 1:
        for entry in prepared:
            yield entry if isinstance(entry, Outcome) else execute(entry, options, stdout)
        return
    room = _Room(options.memory)
    planned = sum(isinstance(entry, Job) for entry in prepared)
    threads = max(1, processors() // min(jobs, planned or 1))

    def work(entry: Job | Outcome) -> Outcome:
        if isinstance(entry, Outcome):
            return entry
        with room.taken(entry.needed):
            return execute(entry, options, stdout, threads=threads)

    pool = ThreadPoolExecutor(jobs, thread_name_prefix="poolcli-job")
    waiting: deque[Future[Outcome]] = deque()
    try:
        for entry in prepared:
            waiting.append(pool.submit(work, entry))
            # So many that no thread waits for a slow one's turn, and few to be given up.
            while len(waiting) > _AHEAD * jobs or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Whoever ends a run early does not wait for the inputs in work.
        pool.shutdown(wait=False, cancel_futures=True)


_AHEAD: Final = 16
"""Inputs for each thread that may be done before those in front of them."""


class _Room:
    """Memory that inputs share."""

    def __init__(self, size: int) -> None:
        self.free = self.size = size
        self.changed = Condition()

    @contextmanager
    def taken(self, needed: int) -> Iterator[None]:
        """Wait until so much is free, or all of it, and hold it."""
        share = min(needed, self.size)
        with self.changed:
            self.changed.wait_for(lambda: self.free >= share)
            self.free -= share
        try:
            yield
        finally:
            with self.changed:
                self.free += share
                self.changed.notify_all()
