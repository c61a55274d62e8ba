"""Lines on standard error: notes, warnings, errors. Data goes to standard output elsewhere."""

from __future__ import annotations

import click

from poolcli.report.words import printable


def note(text: str) -> None:
    """Say what has been done."""
    click.echo(printable(text), err=True)


def warn(text: str) -> None:
    """Say what the user may not have meant."""
    click.echo(f"{click.style('warning:', fg='yellow')} {printable(text)}", err=True)


def error(text: str) -> None:
    """Say what went wrong, on one line."""
    click.echo(f"{click.style('error:', fg='red')} {printable(text)}", err=True)
