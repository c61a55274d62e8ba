"""What became of each input, said as it comes, and the sum of it at the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from poolcli.cli import console

if TYPE_CHECKING:
    from poolcli.batch import Outcome


@dataclass(slots=True, kw_only=True)
class Reporter:
    """Says what became of the inputs of a run, of which there are ``count``."""

    count: int
    as_json: bool
    quiet: bool
    dry_run: bool
    taken: int = 0
    complete: int = 0
    failed: list[str] = field(default_factory=list)
    again: Counter[str] = field(default_factory=Counter)
    """Why inputs that had been done were done again."""

    def take(self, outcome: Outcome) -> None:
        """Say what became of one input."""
        name = outcome.source.name
        self.taken += 1
        self.complete += outcome.complete
        if outcome.differs is not None:
            self.again[outcome.differs] += 1
        for warning in outcome.warnings:
            console.warn(f"{name}: {warning}")
        if not self.quiet:
            for path in outcome.written:
                console.note(f"wrote {path}")
        if outcome.error is not None:
            self.failed.append(name)
            console.error(f"{name}: {outcome.error}")
            for line in outcome.trace.splitlines():
                console.note(line)
        if self.as_json:
            from poolcli.report.machine import outcome_facts, to_json

            console.data(to_json(outcome_facts(outcome)))

    def end(self) -> int:
        """Say how it went on the whole, and return the exit status."""
        if not self.quiet:
            if self.complete:
                console.note(f"{self.complete} of {self.count} inputs were complete already")
            again = "would be done again" if self.dry_run else "done again"
            for reason, times in self.again.items():
                console.note(f"{times} of {self.count} inputs {again}: {reason}")
        if self.failed and self.count > 1:
            failed = f"{len(self.failed)} of {self.count} inputs failed"
            console.note(f"{failed}: {', '.join(self.failed)}")
        if self.taken < self.count:
            left = self.count - self.taken
            console.note(f"stopped at the first failure: {left} of {self.count} inputs not begun")
        return 1 if self.failed else 0
