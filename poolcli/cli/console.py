"""Lines on standard error: notes, warnings, errors. Data goes to standard output elsewhere.

They are written to whatever standard error is at the moment: while a bar shows progress, that is
what puts them above it, which ``click.echo`` would go round.
"""

from __future__ import annotations

import os
import sys

import click

from poolcli.report.words import printable


def note(text: str) -> None:
    """Say what has been done."""
    _write(printable(text))


def warn(text: str) -> None:
    """Say what the user may not have meant."""
    _say("warning:", "yellow", text)


def error(text: str) -> None:
    """Say what went wrong, on one line."""
    _say("error:", "red", text)


def data(text: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _say(word: str, colour: str, text: str) -> None:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if not plain and sys.stderr is not None and sys.stderr.isatty():
        word = click.style(word, fg=colour)
    _write(f"{word} {printable(text)}")


def _write(text: str) -> None:
    # A process may be started without one.
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except BrokenPipeError:
        raise
    except OSError:
        # A log on a full disk, a terminal that is gone: no reason to leave the work undone.
        pass
