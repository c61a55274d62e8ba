"""``poolcli run``: pool files."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from poolcli.cli import completion, console, options
from poolcli.cli.manual import Manual
from poolcli.cli.reporting import Reporter
from poolcli.errors import UsageError
from poolcli.files.formats import PNG_LEVEL, QUALITY, Encoding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcli.batch import Job, Outcome, Save
    from poolcli.files.discovery import Found, Search
    from poolcli.plan import Plan

_STDIN = _STDOUT = "-"


_SECTIONS = {
    "The chain": ("specs", "recipe_file", "preset", "linear", "premultiply"),
    "Inputs": ("recursive", "globs", "list_name", "null", "shard", "layout", "max_pixels"),
    "Results": (
        "output", "save", "file_format", "template", "dtype", "png_level", "quality", "sheet",
    ),
    "The run": ("jobs", "memory", "force", "resume", "fail_fast", "dry_run"),
    "What is said": ("as_json", "quiet", "debug"),
}  # fmt: skip
_EXAMPLES = (
    (
        "A truck after one and after two max pools, and a sheet of both:",
        "poolcli run truck.png -s max:2 -s max:2 --sheet sheet.png",
    ),
    (
        "All arrays of a folder, the last stage's results only:",
        "poolcli run maps -s avg:3,stride=2,pad=same -o out --save last",
    ),
    (
        "A tree of folders, gone on with where an earlier run was stopped:",
        "poolcli run -r . --glob '*.png' -s max:2 -o halves --resume",
    ),
    (
        "Whatever another program finds, one of three shares of it:",
        "find maps -print0 | poolcli run --files-from - -0 --shard 1/3 -s blur",
    ),
    ("In a pipe:", "poolcli run - -s max:2 -o - < in.png > out.png"),
)


@click.command("run", cls=Manual, sections=_SECTIONS, examples=_EXAMPLES)
@click.argument("inputs", metavar="INPUT...", nargs=-1, shell_complete=completion.files)
@options.stages
@options.recipe
@options.preset
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    default="pooled",
    shell_complete=completion.folders,
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
    help="Names of results; default {stem}.{index}-{label}{ext}. Also {name}, the input's whole "
    "name, {parent}, its folder's, and {op}.",
)
@options.layout
@click.option(
    "--dtype",
    metavar="DTYPE",
    callback=options.checked_dtype,
    shell_complete=completion.dtypes,
    help="Cast saved results: rounded, saturated, NaN to 0.",
)
@click.option(
    "-r", "--recursive", is_flag=True, help="Folders with all below them; results mirror the tree."
)
@click.option(
    "--glob",
    "globs",
    metavar="PATTERN",
    multiple=True,
    help="Of folders, only files whose name matches, as '*_left.png'; with a slash, whose path "
    "below the folder does, as 'train/**/*.png'. Repeatable.",
)
@click.option(
    "--files-from",
    "list_name",
    metavar="FILE",
    shell_complete=completion.files,
    help="Inputs, a line each, from a file or - for standard input.",
)
@click.option("-0", "--null", is_flag=True, help="NUL, not newlines, ends the names of that list.")
@click.option(
    "--shard",
    callback=options.share,
    metavar="I/N",
    help="Only every N-th input, from the I-th on: N runs with 1/N to N/N do all.",
)
@click.option("--linear", is_flag=True, help="Pool pictures in linear light, by sRGB's curve.")
@click.option("--premultiply", is_flag=True, help="Weigh the colours of pictures by their alpha.")
@click.option("--force", is_flag=True, help="Replace results that exist.")
@click.option(
    "--resume",
    is_flag=True,
    help="Skip inputs whose results an earlier run completed in the same way; do the rest.",
)
@click.option("--fail-fast", is_flag=True, help="Begin no further input once one has failed.")
@click.option(
    "--sheet",
    metavar="FILE",
    shell_complete=completion.files,
    help="A picture of the input and every stage at one size; {stem}, {name} or {parent} in it for "
    "several inputs.",
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
    metavar="SIZE",
    help="Memory for all of them together; what is larger is pooled in parts. Default: a quarter "
    "of the machine's memory, or of what its control group allows, and at least 1GiB.",
)
@click.option(
    "--png-level",
    type=click.IntRange(0, 9),
    metavar="0-9",
    default=PNG_LEVEL,
    show_default=True,
    help="How hard PNGs are compressed.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    metavar="1-100",
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
    recursive: bool,
    globs: tuple[str, ...],
    list_name: str | None,
    null: bool,
    shard: tuple[int, int] | None,
    linear: bool,
    premultiply: bool,
    force: bool,
    resume: bool,
    fail_fast: bool,
    sheet: str | None,
    max_pixels: int | None,
    jobs: int | None,
    memory: int | None,
    png_level: int,
    quality: int,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """Pool images and arrays, and save what each stage gives.

    INPUT is an image, an .npy array, an .npz archive or one array of it (maps.npz:name), a folder,
    or - for standard input. Of a folder, files of known suffixes are read, in the order of their
    names' bytes; hidden ones and the output folder are left out; results mirror the tree.

    A stage is an operation and its window, as max:2 (2×2, stride 2), avg:3,stride=2,pad=same,
    avg:global or avg,out=7x7; poolcli ops lists operations and what they take.

    A result is whole or absent, and nothing is replaced without --force. A run of several inputs
    notes in DIR/.poolcli what each result was made from, which is what --resume goes by.
    """
    from poolcli import batch
    from poolcli.files import discovery, machine
    from poolcli.files import inputs as sources
    from poolcli.files.names import DEFAULT_TEMPLATE
    from poolcli.report import progress

    if not output or template == "":
        raise UsageError("an empty --output or --name: leave it out for the default")
    chain, letters = options.chain_of(specs, recipe_file, preset, layout)
    to_stdout = output == _STDOUT
    for given, name in ((sheet, "--sheet"), (as_json, "--json"), (resume, "--resume")):
        if to_stdout and given:
            raise UsageError(f"-o - gives the last result and nothing else: it goes without {name}")
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
        memory=memory or machine.default_memory(),
        jobs=jobs,
        encoding=Encoding(png_level, quality),
        fail_fast=fail_fast,
        debug=debug,
        linear=linear,
        premultiply=premultiply,
    )
    search = discovery.Search(recursive=recursive, globs=globs, output=request.output)
    found = _found(inputs, search, list_name, null=null)
    if to_stdout and len(found.sources) > 1:
        raise UsageError(f"-o - takes one input, not {len(found.sources)}")
    if found.passed_over and not quiet:
        console.note(f"{found.passed_over} files of no known kind passed over")
    index, count = shard or (1, 1)
    mine, others = discovery.shard(found.sources, index, count)
    if not mine and not quiet:
        console.note(f"shard {index}/{count} of {len(others)} inputs is empty")
    if not mine:
        return 0
    earlier = batch.Earlier.read(request.output) if resume and request.output else None
    prepared = batch.prepare(mine, chain, request, others=others, earlier=earlier)
    books = batch.Books(run=batch.making(chain, request), earlier=earlier)
    reporter = Reporter(count=len(mine), as_json=as_json, quiet=quiet, dry_run=dry_run)
    table = None if as_json or quiet else sys.stderr if to_stdout else sys.stdout
    if dry_run:
        _print_tables(prepared, table)
        for outcome in batch.planned_all(prepared, request, books):
            reporter.take(outcome)
        return reporter.end()
    with ExitStack() as stack:
        stack.callback(batch.close_folders, prepared)
        batch.check_folders(prepared)
        if len(found.sources) > 1 or resume:
            books = stack.enter_context(batch.recording(prepared, request, books))
        _print_tables(prepared, table)
        shown = stack.enter_context(progress.shown(prepared, quiet=quiet))
        stdout = sys.stdout.buffer if to_stdout else None
        outcomes = batch.execute_all(prepared, request, stdout, books=books, on_read=shown.on_read)
        # Closed whatever happens, so that no input is begun after the run has come to its end.
        stack.enter_context(closing(outcomes))
        for outcome in outcomes:
            reporter.take(outcome)
            shown.done(outcome)
    return reporter.end()


def _found(words: tuple[str, ...], search: Search, list_name: str | None, *, null: bool) -> Found:
    """Return the inputs that the words, and the list if there is one, name."""
    from poolcli.files import discovery

    stdin = None if sys.stdin is None else sys.stdin.buffer
    if null and list_name is None:
        raise UsageError("-0 tells how the list of --files-from is written: give that too")
    if list_name is None:
        return discovery.find(words, stdin, search)
    if list_name == _STDIN and _STDIN in words:
        raise UsageError("standard input is either an input or the list of --files-from, not both")
    return discovery.find(words, stdin, search, discovery.read_list(list_name, stdin, null=null))


def _print_tables(prepared: Iterable[Job | Outcome], stream: TextIO | None) -> None:
    """Print a table for each distinct plan, under the names of the inputs that share it."""
    from poolcli import batch
    from poolcli.report.tables import print_plan
    from poolcli.report.words import printable

    if stream is None:
        return
    sharing: dict[Plan, list[str]] = {}
    for entry in prepared:
        if isinstance(entry, batch.Job):
            sharing.setdefault(entry.plan, []).append(printable(entry.source.name))
    for plan, names in sharing.items():
        title = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        print_plan(plan, title, stream)
