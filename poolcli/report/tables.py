"""Tables for people, by Rich. Names are handed over as text, never as markup."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from poolcli.report import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

    from poolcli.plan import Plan


def print_plan(plan: Plan, title: str, stream: TextIO | None = None) -> None:
    """Print the table of a plan: shapes, receptive fields and costs.

    A terminal too narrow for all columns goes without those that others say too, then breaks the
    stages' texts at their commas.
    """
    stream = stream or sys.stdout
    rows = words.rows(plan)
    columns: tuple[str, ...] = words.COLUMNS
    table = _plan_table(rows, columns)
    heading, footing = Text(title, style="bold"), Text(words.total(plan))
    console, full = _console_for(stream, table, heading, footing)
    for dispensable in words.DISPENSABLE:
        if full > console.width:
            columns = tuple(name for name in columns if name not in dispensable)
            table.columns = _plan_table(rows, columns).columns
            full = _full_width(console, table)
    spare = console.width - full
    if spare < 0:
        longest = max(len(row["stage"]) for row in rows)
        width = max(longest + spare, _NARROWEST_STAGE)
        rows = [row | {"stage": words.broken_at_commas(row["stage"], width)} for row in rows]
        table.columns = _plan_table(rows, columns).columns
    _print(console, heading, table, footing)


_NARROWEST_STAGE: Final = 12


def print_rows(
    headers: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO | None = None
) -> None:
    """Print a plain table of texts."""
    table = _empty_table()
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console, _ = _console_for(stream or sys.stdout, table)
    _print(console, table)


def _plan_table(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> Table:
    table = _empty_table()
    for name in columns:
        table.add_column(
            name if columns == words.COLUMNS else name.replace(" ", "\n"),
            justify="right" if name in words.NUMERIC else "left",
            style="bold" if name == "output shape" else "",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(row[name]) for name in columns))
    return table


def _print(console: Console, *parts: RenderableType) -> None:
    """Print texts and tables; into a pipe without the blanks that fill their lines."""
    with console.capture() as captured:
        for part in parts:
            console.print(part, overflow="fold")
    if console.is_terminal:
        console.file.write(captured.get())
        return
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _empty_table() -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )


def _console_for(stream: TextIO, table: Table, *texts: Text) -> tuple[Console, int]:
    """Return a console as wide as the terminal, and how wide the table is with nothing folded.

    Where there is no terminal, it is as wide as what it shows.
    """
    console = Console(file=stream, markup=False, highlight=False, emoji=False)
    full = _full_width(console, table)
    if not stream.isatty() and "COLUMNS" not in os.environ:
        console.width = max(full, *(text.cell_len for text in texts), 1)
    return console, full


def _full_width(console: Console, table: Table) -> int:
    """Measure a table, which takes as long as printing it."""
    unlimited = console.options.update(width=10_000)
    return Measurement.get(console, unlimited, table).maximum
