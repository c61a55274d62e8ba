"""Options that several commands share, each defined once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

from poolcli.cli import completion
from poolcli.dtypes import check_dtype
from poolcli.errors import UsageError
from poolcli.layouts import check_layout
from poolcli.stages import Chain

stages = click.option(
    "-s",
    "--stage",
    "specs",
    metavar="SPEC",
    multiple=True,
    shell_complete=completion.specs,
    help="A stage, as max:2 or avg:3,stride=2,pad=1; repeatable, in order. See poolcli ops.",
)
recipe = click.option(
    "--recipe",
    "recipe_file",
    metavar="FILE.toml",
    type=click.Path(path_type=Path),
    shell_complete=completion.recipes,
    help="A chain from a file; -s stages follow it.",
)
preset = click.option(
    "--preset",
    metavar="NAME",
    shell_complete=completion.presets,
    help="A known network's chain, as vgg16; -s stages follow it.",
)
layout = click.option(
    "--layout",
    metavar="LETTERS",
    shell_complete=completion.layouts,
    help="Axes of an array: N batch, C channels, D H W spatial. "
    "Default: W, HW, CHW, NCHW or NCDHW by their number. Images know theirs.",
)
debug = click.option("--debug", is_flag=True, help="Errors with a traceback.")


def chain_of(
    specs: tuple[str, ...],
    recipe_file: Path | None,
    preset_name: str | None,
    layout_letters: str | None,
) -> tuple[Chain, str | None]:
    """Return the chain that a command line asks for, and the layout of its arrays.

    Raises
    ------
    UsageError
        If there is no stage, or both a recipe and a preset.
    SpecError
        If a spec, the recipe or the layout can't be read.
    """
    if recipe_file and preset_name:
        raise UsageError("--recipe and --preset are two chains: give one")
    chain = Chain.parse(*specs)
    if recipe_file or preset_name:
        from poolcli.files.recipes import load, load_preset

        recipe = load(recipe_file) if recipe_file else load_preset(preset_name or "")
        chain = Chain((*recipe.chain, *chain))
        layout_letters = layout_letters or recipe.layout
    if not len(chain):
        raise UsageError("no stage: say what to do, as -s max:2")
    return chain, None if layout_letters is None else check_layout(layout_letters)


def checked_dtype(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Check a dtype option's value."""
    return None if value is None else check_dtype(value)


_UNITS: Final = {"": 1, "b": 1} | {
    f"{letter}{rest}": (1000 if rest == "b" else 1024) ** power
    for power, letter in enumerate("kmgt", start=1)
    for rest in ("", "b", "ib")
}


def byte_count(
    _ctx: click.Context | None, _param: click.Parameter | None, value: str | None
) -> int | None:
    """Read a size option's value, as 512MiB, 2GB or 1048576; None if it is not given."""
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([A-Za-z]*)", value.strip())
    unit = _UNITS.get(found[2].lower()) if found else None
    size = int(float(found[1]) * unit) if found and unit else 0
    if size < 1:
        raise click.BadParameter(f"{value!r} is no size: give it as 512MiB, 2GB or 1048576")
    return size


def share(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Read which share of how many a shard is, as 3/8."""
    if value is None:
        return None
    found = re.fullmatch("([0-9]{1,9})/([0-9]{1,9})", value.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise click.BadParameter(f"{value!r} is no share: give it as 3/8, from 1/8 to 8/8")
    return int(found[1]), int(found[2])
