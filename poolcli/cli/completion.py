"""What a shell can offer where the cursor stands; :mod:`poolcli.cli.shells` speaks with the shells.

Options name these functions, so every start imports this module: what a function needs beyond
names is loaded when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from poolcli.dtypes import ITEM_SIZES
from poolcli.errors import SpecError
from poolcli.layouts import USUAL
from poolcli.operations import OPERATIONS, Operation

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

FOLDERS: Final = "*/"
"""The pattern of a path that is to be a folder."""

_ENDINGS: Final = ("", ",out=1", ",fractional", ",out=1,fractional", ",weights=w.npy")
"""One of these makes a whole spec of any that can be gone on with."""


def specs(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer what a stage's spec can go on with: whatever its parser takes, by no rules but its own.

    What is no whole spec yet ends in the mark that it goes on with: a colon, ``=`` or a comma.
    """
    # A comma inside quotes parts nothing, but what would be offered there is no spec either.
    before, comma, begun = incomplete.rpartition(",")
    return _parts(before + comma, begun) if comma else _heads(begun)


def _heads(begun: str) -> list[CompletionItem]:
    """Offer operations and, behind an operation's colon, ``global``."""
    name, colon, size = begun.partition(":")
    if colon:
        text = f"{name}:global"
        return [_spec(text)] if "global".startswith(size) and _can_go_on(text) else []
    items = []
    for operation in OPERATIONS.values():
        if operation.name.startswith(begun):
            if _is_whole(operation.name):
                items.append(_spec(operation.name, operation.formula))
            if _can_go_on(f"{operation.name}:3"):
                items.append(_spec(f"{operation.name}:", operation.formula))
    return items


def _parts(before: str, begun: str) -> list[CompletionItem]:
    """Offer keys and flags or, behind a key's ``=``, its values."""
    operation = OPERATIONS.get(before.partition(",")[0].partition(":")[0].strip())
    key, equals, value = begun.partition("=")
    if operation is None:
        return []
    if not equals:
        return _keys(operation, before, begun)
    from poolcli.specs import takes_file, words_of

    before += f"{key}="
    if takes_file(operation, key) and _can_go_on(f"{before}{value}w.npy"):
        return [_file(value, "*.npy")]
    texts = [before + word for word in words_of(operation, key) if word.startswith(value)]
    return [_spec(text) for text in texts if _can_go_on(text)]


def _keys(operation: Operation, before: str, begun: str) -> list[CompletionItem]:
    from poolcli.specs import keys_of, words_of

    keys, flags = keys_of(operation)
    items = []
    for key in keys:
        text = f"{before}{key}="
        values = words_of(operation, key) or ("1", "w.npy")
        if key.startswith(begun) and any(_can_go_on(text + value) for value in values):
            known = operation.key(key)
            items.append(_spec(text, known.meaning if known else None))
    texts = [before + flag for flag in flags if flag.startswith(begun)]
    return items + [_spec(text) for text in texts if _can_go_on(text)]


def _can_go_on(spec: str) -> bool:
    return any(_is_whole(spec + ending) for ending in _ENDINGS)


def _is_whole(spec: str) -> bool:
    from poolcli.specs import parse_repeated

    try:
        parse_repeated(spec)
    except SpecError:
        return False
    return True


def _spec(text: str, meaning: str | None = None) -> CompletionItem:
    """Offer a spec, with a comma if it has to go on and no other mark says so."""
    marked = text.endswith((":", "=")) or _is_whole(text)
    return _item(text if marked else f"{text},", meaning)


def operations(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the operations that are not named yet."""
    given = ctx.params.get(param.name or "") or ()
    return [
        _item(operation.name, operation.formula)
        for operation in OPERATIONS.values()
        if operation.name.startswith(incomplete) and operation.name not in given
    ]


def presets(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the recipes that come with the package."""
    from poolcli.files.recipes import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def layouts(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the layouts that arrays mostly have."""
    return [layout for layout in USUAL if layout.startswith(incomplete)]


def dtypes(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer every dtype that maps can have."""
    return [name for name in ITEM_SIZES if name.startswith(incomplete)]


def files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer files and folders."""
    return [_file(incomplete)]


def recipes(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer TOML files, and folders that may hold some."""
    return [_file(incomplete, "*.toml")]


def folders(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer folders."""
    return [_file(incomplete, FOLDERS)]


def _item(text: str, meaning: str | None = None) -> CompletionItem:
    from click.shell_completion import CompletionItem

    return CompletionItem(text, help=meaning)


def _file(begun: str, pattern: str = "*") -> CompletionItem:
    """Leave it to the shell to offer folders, and the files that match a pattern."""
    from click.shell_completion import CompletionItem

    return CompletionItem(begun, type="file", pattern=pattern)
