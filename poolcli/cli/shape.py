"""``poolcli shape``: the calculator."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poolcli.cli import completion, console, options
from poolcli.cli.manual import Manual
from poolcli.errors import InputError, PlanError, PoolError, UsageError
from poolcli.layouts import layout_advice
from poolcli.plan import plan_chain
from poolcli.report.words import printable

if TYPE_CHECKING:
    from poolcli.plan import Plan
    from poolcli.stages import Chain

_SHAPE = re.compile(r"[0-9]{1,12}(?:[x,X×][0-9]{1,12})*")


_SECTIONS = {
    "The chain": ("specs", "recipe_file", "preset"),
    "The input": ("layout", "dtype"),
    "What is printed": ("forms",),
}
_EXAMPLES = (
    ("One pooling layer, and what comes of it:", "poolcli shape 3x224x224 -s max:3,stride=2,pad=1"),
    ("A network that is known by name:", "poolcli shape 3x224x224 --preset vgg16"),
    (
        "A layer as PyTorch prints it, every formula with its numbers:",
        'poolcli shape 1x224x224x3 --layout NHWC -s "AvgPool2d(2)" --explain',
    ),
    ("A picture's own shape, for another program:", "poolcli shape truck.png -s max:2*3 --json"),
)


@click.command("shape", cls=Manual, sections=_SECTIONS, examples=_EXAMPLES)
@click.argument("target", metavar="SHAPE|FILE", shell_complete=completion.files)
@options.stages
@options.recipe
@options.preset
@options.layout
@click.option(
    "--dtype",
    metavar="DTYPE",
    callback=options.checked_dtype,
    shell_complete=completion.dtypes,
    help="The input's dtype, for memory; default float32, of a file its own.",
)
@click.option("--json", "forms", flag_value="json", multiple=True, help="One JSON object.")
@click.option("--csv", "forms", flag_value="csv", multiple=True, help="A CSV row per stage.")
@click.option("--markdown", "forms", flag_value="markdown", multiple=True, help="In Markdown.")
@click.option("--explain", "forms", flag_value="explain", multiple=True, help="Every formula.")
@options.debug
def command(  # noqa: PLR0913 - a parameter per option of the command line
    *,
    target: str,
    specs: tuple[str, ...],
    recipe_file: Path | None,
    preset: str | None,
    layout: str | None,
    dtype: str | None,
    forms: tuple[str, ...],
    debug: bool,  # noqa: ARG001 - main looks for it
) -> int:
    """Work out shapes, receptive fields and costs without data.

    SHAPE is numbers joined by x, as 3x224x224; of a FILE only the header is read.

    The table says of each stage which shape comes out, what one of its elements sees of the input
    (receptive field), how far apart the fields of neighbours lie (jump), and what it costs.
    """
    if len(set(forms)) > 1:
        raise UsageError(f"{' and '.join(f'--{form}' for form in forms)} contradict each other")
    chain, letters = options.chain_of(specs, recipe_file, preset, layout)
    plan = _plan(target, chain, letters, dtype)
    advice = layout_advice(plan.shape, plan.layout) if letters is None else None
    if advice is not None:
        console.warn(f"{printable(target)}: {advice}")
    _print(plan, target, forms[0] if forms else None)
    return 0


def _plan(target: str, chain: Chain, layout: str | None, dtype: str | None) -> Plan:
    if _SHAPE.fullmatch(target):
        shape = tuple(int(length) for length in re.split("[x,X×]", target))
        return plan_chain(chain, shape, layout=layout, dtype=dtype or "float32")
    if target in ("", "-") or os.path.isdir(target):  # noqa: PTH112 - raises on no name
        raise UsageError(
            f"{target or 'an empty name'}: expected a shape, as 3x224x224, or one file"
        )
    try:
        return _plan_file(target, chain, layout, dtype)
    except InputError as error:
        hint = "" if os.path.exists(target) else ", nor a shape, as 3x224x224"  # noqa: PTH110
        raise InputError(f"{target}: {error}{hint}") from error
    except PoolError as error:
        raise PlanError(f"{target}: {error}") from error


def _plan_file(target: str, chain: Chain, layout: str | None, dtype: str | None) -> Plan:
    from poolcli.files import formats
    from poolcli.files.discovery import named

    header = named(target).read_header(layout)
    header = replace(header, dtype=dtype or header.dtype)
    plan = plan_chain(chain, header.shape, layout=header.layout, dtype=header.dtype)
    return formats.saved_plan(plan, header, None, None)


def _print(plan: Plan, target: str, form: str | None) -> None:
    if form is None:
        from poolcli.report.tables import print_plan

        print_plan(plan, printable(target))
        return
    if form == "json":
        from poolcli.report.machine import plan_facts, to_json

        text = to_json(plan_facts(plan)) + "\n"
    elif form == "csv":
        from poolcli.report.machine import to_csv

        text = to_csv(plan)
    elif form == "markdown":
        from poolcli.report.words import to_markdown

        text = to_markdown(plan)
    else:
        from poolcli.report.explain import explain

        text = explain(plan)
    sys.stdout.write(text)
