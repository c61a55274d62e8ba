"""Lines on standard error: notes, warnings, errors. Data goes to standard output elsewhere."""

from __future__ import annotations

import os

import click

from poolcli.report.words import printable


def note(text: str) -> None:
    """Say what has been done."""
    click.echo(printable(text), err=True)


def warn(text: str) -> None:
    """Say what the user may not have meant."""
    _say("warning:", "yellow", text)


def error(text: str) -> None:
    """Say what went wrong, on one line."""
    _say("error:", "red", text)


def _say(word: str, colour: str, text: str) -> None:
    if not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        word = click.style(word, fg=colour)
    click.echo(f"{word} {printable(text)}", err=True)
