"""Several inputs at once, within the memory that they share, reported in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from threading import Condition, Event
from typing import BinaryIO, Final

from poolcli.batch.earlier import Earlier, Facts, Standing
from poolcli.batch.executing import OnRead, execute
from poolcli.batch.jobs import Job, Options, Outcome, advice
from poolcli.batch.record import Record
from poolcli.blocks import processors
from poolcli.files.machine import give_back_freed_memory, take_memory_from_one_heap
from poolcli.threads import Future, Pool

Outcomes = Generator[Outcome, None, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What is known of earlier runs, and noted of this one."""

    run: Facts = field(default_factory=dict)
    """How this run makes its results."""
    earlier: Earlier | None = None
    """What earlier runs left, if what is complete is not done again."""
    record: Record | None = None
    """Where this run's results are noted."""


@contextmanager
def recording(prepared: Iterable[Job | Outcome], options: Options, books: Books) -> Iterator[Books]:
    """Keep a record of what the results are made from, if there are any to be written."""
    jobs = [entry for entry in prepared if isinstance(entry, Job) and entry.paths]
    if not jobs or options.output is None:
        yield books
        return
    record = Record.begin(options.output, books.run, jobs, jobs[0].folders)
    try:
        yield replace(books, record=record)
    except BaseException:
        record.close()
        raise
    record.end()


def planned_all(
    prepared: Iterable[Job | Outcome], options: Options, books: Books | None = None
) -> Outcomes:
    """Yield the outcomes of a run that only plans."""
    books = books or Books()
    for entry in prepared:
        if isinstance(entry, Outcome):
            yield entry
        else:
            standing = _standing(entry, books)
            outcome = Outcome(entry.source, entry, warnings=advice(entry, options))
            yield replace(outcome, complete=standing.complete, differs=standing.differs)


def execute_all(
    prepared: Sequence[Job | Outcome],
    options: Options,
    stdout: BinaryIO | None = None,
    *,
    books: Books | None = None,
    on_read: OnRead | None = None,
) -> Outcomes:
    """Yield what became of every input, in order, several worked on at once.

    Together they stay within the memory: an input waits until enough of it is free. If the run is
    to stop at the first failure, those not begun by then are left out.

    Parameters
    ----------
    prepared
        The inputs.
    options
        What is done with them.
    stdout
        Where the last result goes, if it goes to standard output.
    books
        What is known of earlier runs, and where this one is noted.
    on_read
        Called with a job and a number of bytes when a part of a large input has been read.
    """
    books = books or Books()
    take_memory_from_one_heap()
    _load(prepared)
    jobs = options.jobs or processors()
    room = _Room(options.memory)
    planned = sum(isinstance(entry, Job) for entry in prepared)
    threads = max(1, processors() // min(jobs, planned or 1))
    failed = Event()

    def work(entry: Job | Outcome) -> Outcome | None:
        if failed.is_set() and options.fail_fast:
            return None
        outcome = entry if isinstance(entry, Outcome) else done(entry)
        if outcome.error is not None:
            failed.set()
        return outcome

    def done(job: Job) -> Outcome:
        standing = _standing(job, books)
        if standing.complete:
            return Outcome(job.source, job, warnings=advice(job, options), complete=True)
        with room.taken(job.needed):
            outcome = execute(
                job,
                options,
                stdout,
                record=books.record,
                on_read=on_read,
                threads=None if planned == 1 else threads,
            )
        return replace(outcome, differs=standing.differs)

    with closing(_at_once(work, prepared, min(jobs, len(prepared)))) as outcomes:
        yield from (outcome for outcome in outcomes if outcome is not None)


def _standing(job: Job, books: Books) -> Standing:
    if books.earlier is None:
        return Standing()
    return books.earlier.standing(job, books.run)


def _at_once(
    work: Callable[[Job | Outcome], Outcome | None], prepared: Sequence[Job | Outcome], jobs: int
) -> Generator[Outcome | None, None, None]:
    """Yield what work makes of each entry, in order, several at once.

    Not even a single one is worked on in the caller's thread, as long as there is another: Python
    handles signals in its main thread alone, which an encoder would hold up for many seconds.
    """
    pool = Pool(max(1, jobs))
    # So many that no thread waits for a slow one's turn, and few to be given up.
    ahead = _AHEAD * jobs if jobs > 1 else 0
    waiting: deque[Future[Outcome | None]] = deque()
    try:
        for entry in prepared:
            waiting.append(pool.submit(work, entry))
            while len(waiting) > ahead or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Whoever ends a run early does not wait for the inputs in work.
        pool.close()


def _load(prepared: Iterable[Job | Outcome]) -> None:
    """Load what the inputs need, before several threads would load it at once.

    One that has no memory for it leaves half of a module to the others, which fail over that.
    """
    jobs = [entry for entry in prepared if isinstance(entry, Job)]
    if jobs:
        import_module("poolcli.engine")
    if any(job.in_parts for job in jobs):
        import_module("poolcli.streaming")
    if any(job.sheet for job in jobs):
        import_module("poolcli.report.sheet")
    if any(job.header.is_image or job.sheet or _draws(job) for job in jobs):
        import_module("poolcli.files.images").silence_libtiff()


def _draws(job: Job) -> bool:
    return any(result.format != "npy" for result in job.results)


_AHEAD: Final = 16
"""Inputs for each thread that may be done before those in front of them."""


class _Room:
    """Memory that inputs share.

    What an input has freed may stay with the process: the C library keeps what lies between blocks
    that are in use. It is given back to the system where there would not be room for it, too.
    """

    def __init__(self, size: int) -> None:
        self.free = self.size = size
        self.left = 0
        """Bytes that inputs have freed since all was given back."""
        self.changed = Condition()

    @contextmanager
    def taken(self, needed: int) -> Iterator[None]:
        """Wait until so much is free, or all of it, and hold it."""
        share = min(needed, self.size)
        with self.changed:
            self.changed.wait_for(lambda: self.free >= share)
            self.free -= share
        try:
            with self.changed:
                if self.left > self.free:
                    give_back_freed_memory()
                    self.left = 0
            yield
        finally:
            with self.changed:
                self.free += share
                self.left += share
                self.changed.notify_all()
