"""Help that reads as a manual page: what a command does, its options by purpose, examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

STATUS = (
    ("0", "all is done"),
    ("1", "an input is missing, unreadable, or doesn't fit the chain; the others are done"),
    ("2", "the command can't be carried out as typed; nothing was written"),
    ("130, 143", "interrupted, terminated; results so far are whole"),
)
ENVIRONMENT = (
    ("NO_COLOR", "if set, nothing is coloured; TERM=dumb does without a progress bar too"),
    ("COLUMNS", "the width of tables, if it is not that of the terminal"),
    ("_POOLCLI_COMPLETE", "bash_source, zsh_source or fish_source prints the shell's completion"),
    ("TMPDIR", "where pipes and packed arrays are held that are too large for the memory"),
)


class Manual(click.Command):
    """A command with sections of options and examples.

    Parameters
    ----------
    sections
        Headings, and the names of the parameters under each, in order. Options in none, as
        ``--help``, stand at the end. Without sections there is little to say of the run.
    examples
        What is done, and the command that does it.
    """

    def __init__(
        self,
        *arguments: Any,
        sections: Mapping[str, Sequence[str]],
        examples: Sequence[tuple[str, str]],
        **settings: Any,
    ) -> None:
        super().__init__(*arguments, **settings)
        self.sections, self.examples = sections, examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        left = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        for heading, names in self.sections.items():
            chosen = [parameter for parameter in left if parameter.name in names]
            chosen.sort(key=lambda parameter: names.index(str(parameter.name)))
            left = [parameter for parameter in left if parameter not in chosen]
            _write(heading, chosen, ctx, formatter)
        _write("Other options" if self.sections else "Options", left, ctx, formatter)

    def format_epilog(
        self,
        ctx: click.Context,  # noqa: ARG002 - Click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        for heading, facts in (("Exit status", STATUS), ("Environment", ENVIRONMENT)):
            if self.sections:
                with formatter.section(heading):
                    formatter.write_dl(facts)
        with formatter.section("Examples"):
            for number, (purpose, command) in enumerate(self.examples):
                if number:
                    formatter.write_paragraph()
                formatter.write_text(purpose)
                formatter.indent()
                # A command is never broken: it is there to be copied.
                formatter.write(f"{'':>{formatter.current_indent}}{command}\n")
                formatter.dedent()


def _write(
    heading: str,
    parameters: Sequence[click.Parameter],
    ctx: click.Context,
    formatter: click.HelpFormatter,
) -> None:
    records = [parameter.get_help_record(ctx) for parameter in parameters]
    with formatter.section(heading):
        formatter.write_dl([record for record in records if record is not None])
