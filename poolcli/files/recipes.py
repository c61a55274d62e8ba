"""Recipes: chains in TOML files. A recipe is data; nothing in it runs or is imported.

layout = "CHW"          # optional
[[stage]]
spec = "max:2"
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from poolcli.errors import SpecError, UsageError
from poolcli.layouts import check_layout
from poolcli.spelling import nearest
from poolcli.stages import Chain

PRESETS: Final = Path(__file__).parent.parent / "recipes"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A chain, and the layout of the arrays it is for, if it names one."""

    chain: Chain
    layout: str | None = None


def preset_names() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


def load_preset(name: str) -> Recipe:
    """Load a recipe that comes with the package, such as ``vgg16``."""
    if name not in preset_names():
        raise SpecError(f"preset {name}: {nearest(name, preset_names())}")
    return load(PRESETS / f"{name}.toml")


def load(path: Path) -> Recipe:
    """Load a recipe file.

    Raises
    ------
    UsageError
        If the file can't be read.
    SpecError
        If it is not a recipe; the text names the stage that is wrong.
    """
    try:
        content = tomllib.loads(_text(path))
    except OSError as error:
        raise UsageError(f"recipe {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise SpecError(f"recipe {path}: {' '.join(str(error).split())}") from None
    try:
        recipe = _recipe(content)
        return replace(recipe, chain=_relative_to(path.parent, recipe.chain))
    except SpecError as error:
        raise SpecError(f"recipe {path}: {error}") from None


def _text(path: Path) -> str:
    """Read no more than a recipe can be, and nothing that takes the parser for ever."""
    with path.open(encoding="utf-8") as stream:
        text = stream.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise ValueError(f"more than {_LONGEST:,} characters are no recipe")
    for number, line in enumerate(text.split("\n"), start=1):
        # A key a.b.c takes time and memory that grow as the square of its parts.
        if line.count(".") > _MOST_DOTS and not line.lstrip().startswith("#"):
            raise ValueError(f"line {number} has more than {_MOST_DOTS} dots: give keys one by one")
    return text


_LONGEST: Final = 1 << 18
_MOST_DOTS: Final = 100


def _relative_to(folder: Path, chain: Chain) -> Chain:
    """Return a chain whose files are looked for from the recipe's folder."""
    stages = []
    for stage in chain:
        own = tuple(
            (key, str(folder / value) if key in _FILES and isinstance(value, str) else value)
            for key, value in stage.own
        )
        samples = None if stage.samples is None else str(folder / stage.samples)
        stages.append(replace(stage, own=own, samples=samples))
    return Chain(tuple(stages))


_FILES: Final = ("weights", "bias")
"""Keys whose values are paths."""


def _recipe(content: dict[str, Any]) -> Recipe:
    for key in content:
        if key not in ("layout", "stage"):
            raise SpecError(f"{key!r}: {nearest(key, ('layout', 'stage'))}")
    layout, stages = content.get("layout"), content.get("stage")
    if layout is not None and not isinstance(layout, str):
        raise SpecError('layout: expected letters in quotes, as layout = "CHW"')
    if layout is not None:
        check_layout(layout)
    if not isinstance(stages, list) or not stages:
        raise SpecError("it has no stage: begin each with [[stage]]")
    specs = []
    for number, stage in enumerate(stages, start=1):
        if (
            not isinstance(stage, dict)
            or list(stage) != ["spec"]
            or not isinstance(stage["spec"], str)
        ):
            raise SpecError(f'stage {number}: expected one line, spec = "…"')
        specs.append(stage["spec"])
    return Recipe(Chain.parse(*specs), layout)
