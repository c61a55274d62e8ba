"""``poolcli run``: pool files."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poolcli.cli import console, options
from poolcli.errors import UsageError
from poolcli.files.formats import PNG_LEVEL, QUALITY, Encoding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcli.batch import Job, Outcome, Save
    from poolcli.plan import Plan

_STDOUT = "-"


@click.command("run")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@options.stages
@options.recipe
@options.preset
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    default="pooled",
    show_default=True,
    help="Where results go; - writes the last one to standard output.",
)
@click.option(
    "--save",
    type=click.Choice(["all", "last", "none"]),
    default="all",
    show_default=True,
    help="Which stages' results are saved.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["same", "png", "npy", "tiff", "webp", "jpg"]),
    help="Format of results. Default: of images PNG (TIFF for 32-bit and float), of arrays .npy.",
)
@click.option(
    "--name",
    "template",
    metavar="TEMPLATE",
    help="Names of results; default {stem}.{index}-{label}{ext}. Also {name}, {op}.",
)
@options.layout
@click.option(
    "--dtype",
    metavar="DTYPE",
    callback=options.checked_dtype,
    help="Cast saved results: rounded, saturated, NaN to 0.",
)
@click.option("--linear", is_flag=True, help="Pool pictures in linear light, by sRGB's curve.")
@click.option("--premultiply", is_flag=True, help="Weigh the colours of pictures by their alpha.")
@click.option("--force", is_flag=True, help="Replace results that exist.")
@click.option(
    "--sheet",
    metavar="FILE",
    help="A picture of the input and every stage at one size; {stem} in it for several inputs.",
)
@click.option(
    "--max-pixels", type=click.IntRange(min=1), metavar="N", help="Limit on an image's size."
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Inputs at once; default: as many as there are processors.",
)
@click.option(
    "--memory",
    callback=options.byte_count,
    default="512MiB",
    show_default=True,
    metavar="SIZE",
    help="Memory for all of them together; larger .npy arrays are pooled in parts.",
)
@click.option(
    "--png-level",
    type=click.IntRange(0, 9),
    default=PNG_LEVEL,
    show_default=True,
    help="How hard PNGs are compressed.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    default=QUALITY,
    show_default=True,
    help="Quality of JPEGs.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Plan only: read headers, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON per input, and no table.")
@click.option("-q", "--quiet", is_flag=True, help="No table, no notes; warnings and errors stay.")
@options.debug
def command(  # noqa: PLR0913 - a parameter per option of the command line
    *,
    inputs: tuple[str, ...],
    specs: tuple[str, ...],
    recipe_file: Path | None,
    preset: str | None,
    output: str,
    save: Save,
    file_format: str | None,
    template: str | None,
    layout: str | None,
    dtype: str | None,
    linear: bool,
    premultiply: bool,
    force: bool,
    sheet: str | None,
    max_pixels: int | None,
    jobs: int | None,
    memory: int,
    png_level: int,
    quality: int,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """Pool images and .npy arrays through a chain of stages.

    INPUT is a file, a folder, or - for standard input.

    \b
    poolcli run truck.png -s max:2 -s max:2 --sheet sheet.png
    poolcli run maps/*.npy -s avg:3,stride=2,pad=same -o out --save last
    poolcli run - -s max:2 -o - < in.png > out.png
    """
    from poolcli import batch
    from poolcli.files import inputs as sources
    from poolcli.files.names import DEFAULT_TEMPLATE

    if not output or template == "":
        raise UsageError("an empty --output or --name: leave it out for the default")
    chain, letters = options.chain_of(specs, recipe_file, preset, layout)
    to_stdout = output == _STDOUT
    request = batch.Options(
        output=None if to_stdout else Path(output),
        save="last" if to_stdout else save,
        format=file_format,
        template=template or DEFAULT_TEMPLATE,
        layout=letters,
        dtype=dtype,
        sheet=sheet,
        force=force,
        max_pixels=max_pixels or sources.MAX_PIXELS,
        memory=memory,
        jobs=jobs,
        encoding=Encoding(png_level, quality),
        linear=linear,
        premultiply=premultiply,
    )
    if to_stdout and sheet is not None:
        raise UsageError("-o - saves nothing else: it goes without --sheet")
    if to_stdout and as_json:
        raise UsageError("-o - fills standard output with the result: it goes without --json")
    stdin = None if sys.stdin is None else sys.stdin.buffer
    found, passed_over = sources.find(inputs, stdin, request.output)
    if to_stdout and len(found) > 1:
        raise UsageError(f"-o - takes one input, not {len(found)}")
    if passed_over and not quiet:
        console.note(f"{passed_over} files of no known kind passed over")
    prepared = batch.prepare(found, chain, request)
    if not dry_run:
        batch.check_folders(entry for entry in prepared if isinstance(entry, batch.Job))
    if not as_json and not quiet:
        _print_tables(prepared, to_stderr=to_stdout)
    if dry_run:
        outcomes = batch.planned_all(prepared, request)
    else:
        outcomes = batch.execute_all(prepared, request, sys.stdout.buffer if to_stdout else None)
    # Closed whatever happens, so that no input is begun after the run has come to its end.
    with closing(outcomes):
        return _report(outcomes, len(found), as_json=as_json, quiet=quiet, debug=debug)


def _report(
    outcomes: Iterable[Outcome], count: int, *, as_json: bool, quiet: bool, debug: bool
) -> int:
    """Report each outcome as it comes, and return the exit status."""
    failed: list[str] = []
    for outcome in outcomes:
        name = outcome.source.name
        for warning in outcome.warnings:
            console.warn(f"{name}: {warning}")
        if not quiet:
            for path in outcome.written:
                console.note(f"wrote {path}")
        if outcome.error is not None:
            failed.append(name)
            console.error(f"{name}: {outcome.error}")
            if debug:
                import traceback

                traceback.print_exception(outcome.error)
        if as_json:
            from poolcli.report.machine import outcome_facts, to_json

            click.echo(to_json(outcome_facts(outcome)))
    if failed and count > 1:
        console.note(f"{len(failed)} of {count} inputs failed: {', '.join(failed)}")
    return 1 if failed else 0


def _print_tables(prepared: Iterable[Job | Outcome], *, to_stderr: bool) -> None:
    """Print a table for each distinct plan, under the names of the inputs that share it."""
    from poolcli import batch
    from poolcli.report.tables import print_plan
    from poolcli.report.words import printable

    sharing: dict[Plan, list[str]] = {}
    for entry in prepared:
        if isinstance(entry, batch.Job):
            sharing.setdefault(entry.plan, []).append(printable(entry.source.name))
    for plan, names in sharing.items():
        title = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        print_plan(plan, title, sys.stderr if to_stderr else sys.stdout)
