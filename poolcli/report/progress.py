"""How far a run has come: a bar on standard error, if that is a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Final, TextIO

from poolcli import threads

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from poolcli.batch import Job, Outcome

_PERIOD: Final = 0.1
"""Seconds after which the bar is drawn again."""
_OF_ITS_OWN: Final = 1 << 16
"""Bytes that an input counts for beside those of its elements, so that none counts for nothing."""


class Shown:
    """What is told of a run's progress, and shows nothing."""

    def on_read(self, job: Job, size: int) -> None:
        """Take note of a part of a large input that has been read."""

    def done(self, outcome: Outcome) -> None:
        """Take note of an input that is done."""


class _Bar(Shown):
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._read: dict[int, int] = {}
        self._drawn = 0.0
        self.draws_itself = False
        """Whether no thread draws it."""

    def draw(self) -> None:
        """Show how far it has come."""
        self._progress.refresh()

    def on_read(self, job: Job, size: int) -> None:
        # A window that takes no part of some rows may have them read twice.
        size = min(size, job.size - self._read.get(id(job), 0))
        self._read[id(job)] = self._read.get(id(job), 0) + size
        self._progress.advance(self._task, size)
        self._came_on()

    def done(self, outcome: Outcome) -> None:
        left = weight(outcome) - self._read.pop(id(outcome.job), 0)
        task = self._progress.tasks[self._task]
        self._progress.update(self._task, advance=left, inputs=task.fields["inputs"] + 1)
        self._came_on()

    def _came_on(self) -> None:
        now = monotonic()
        if self.draws_itself and now - self._drawn >= _PERIOD:
            self._drawn = now
            self.draw()


def weight(entry: Job | Outcome) -> int:
    """Return what an input counts for, in bytes."""
    job = getattr(entry, "job", entry)
    return _OF_ITS_OWN + getattr(job, "size", 0)


def _is_terminal(stream: TextIO | None) -> bool:
    """Whether someone can see it; a process may be started without it."""
    return stream is not None and stream.isatty()


@contextmanager
def shown(prepared: Sequence[Job | Outcome], *, quiet: bool) -> Iterator[Shown]:
    """Show progress, the rate and the time left, where someone can see it and it takes a while."""
    long = len(prepared) > 1 or any(getattr(entry, "in_parts", False) for entry in prepared)
    if quiet or not long or not _is_terminal(sys.stderr) or os.environ.get("TERM") == "dumb":
        yield Shown()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.table import Column
    from rich.text import Text

    count = len(prepared)

    class Rate(ProgressColumn):
        """Inputs done, and how many a second; of a single one, its bytes."""

        def render(self, task: Task) -> Text:
            seconds = task.elapsed or 1e-9
            done = task.fields["inputs"]
            if count > 1:
                return Text(f"{done}/{count} inputs {done / seconds:.3g}/s")
            return Text(f"{task.percentage:.0f} % {task.completed / seconds / (1 << 20):.0f} MiB/s")

    # Lines said meanwhile stand above the bar, as long as they are.
    screen = Console(stderr=True, soft_wrap=True)
    whole = Column(no_wrap=True)
    columns = (BarColumn(None), Rate(whole), TimeRemainingColumn(elapsed_when_finished=True))
    with Progress(
        *columns,
        console=screen,
        transient=True,
        expand=True,
        redirect_stdout=_is_terminal(sys.stdout),
        auto_refresh=False,
    ) as progress:
        bar = _Bar(progress, progress.add_task("", total=sum(map(weight, prepared)), inputs=0))
        with _redrawn(bar):
            yield bar


@contextmanager
def _redrawn(bar: _Bar) -> Iterator[None]:
    """Draw a bar again and again, from a thread, or as work goes on if the system gives none.

    Rich's own thread ends the run where it can't be started.
    """
    ended = Event()

    def redraw() -> None:
        while not ended.wait(_PERIOD):
            bar.draw()

    bar.draws_itself = not threads.begin(redraw)
    try:
        yield
    finally:
        ended.set()
