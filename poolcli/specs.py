"""The stage language: text to Stage. What the text means is validated by Stage itself.

SPEC = OP [":" SIZE | ":global"] { "," KEY "=" VALUE | "," FLAG }     a chain's may end in "*" N
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from poolcli.errors import SpecError
from poolcli.operations import (
    DIGITS,
    OPERATIONS,
    Operation,
    Value,
    choice,
    path,
    seed,
    whole_number,
)
from poolcli.rules import require_taken
from poolcli.sizes import NO_PADDING, Pads, Sizes
from poolcli.spelling import nearest
from poolcli.stages import MOST_STAGES, PAD_MODES, SameRule, Stage

MOST_REPEATS: Final = MOST_STAGES

_ALIASES: Final = {"s": "stride", "p": "pad", "d": "dilation"}
_FLAGS: Final = ("ceil", "include-pad", "exclude-pad", "fractional")
_OF_AVERAGES: Final = ("divisor", "include-pad", "exclude-pad")
_PARTS = re.compile(r'(?:[^,"]|"[^"]*")+')
_REPEAT = re.compile(r"\*([^*\"]*)$")


def parse_stage(spec: str) -> Stage:
    """Read one stage; see :meth:`poolcli.stages.Stage.parse`."""
    stages = parse_repeated(spec)
    if len(stages) != 1:
        raise SpecError(f"{spec} stands for {len(stages)} stages: parse it as a chain")
    return stages[0]


def parse_repeated(spec: str) -> tuple[Stage, ...]:
    """Read a chain's spec, as many equal stages as its ``*N`` or ``repeat=N`` says.

    >>> [str(stage) for stage in parse_repeated("max:2*2")]
    ['max:2', 'max:2']
    """
    text, times = spec.strip(), 1
    if found := _REPEAT.search(text):
        times = _repeats(found[1].strip(), found[0], spec)
        text = text[: found.start()].strip()
    if not text:
        raise SpecError("an empty stage: say what to do, as in max:2")
    if "(" in text:
        # Loaded only for what may be one: it takes longer than the rest of parsing.
        from poolcli.pytorch import is_layer, parse_layer

        if is_layer(text):
            return (parse_layer(text),) * times
    if re.match(r"(?:torch\.|nn\.)*[A-Z]\w*\(", text):
        raise SpecError(f"{spec}: not a layer as PyTorch prints it: is a ) missing?")
    stage, repeat = _parse_own(text)
    if repeat is not None and found:
        raise SpecError(f"{found[0]!r} in {spec}: repeat= says it already")
    return (stage,) * (times if repeat is None else repeat)


def _repeats(text: str, token: str, spec: str) -> int:
    try:
        times = whole_number(text)
    except ValueError as error:
        raise SpecError(f"{token!r} in {spec}: how often is {error}") from None
    if times > MOST_REPEATS:
        raise SpecError(f"{token!r} in {spec}: at most {MOST_REPEATS} repeats")
    return times


def _parse_own(spec: str) -> tuple[Stage, int | None]:
    """Read poolcli's own spelling: the stage, and how often it is repeated if that is said."""
    head, *rest = _split(spec)
    operation, values = _read_head(head, spec)
    tokens = {"op": head}
    own: dict[str, Value] = {}
    repeat: int | None = None
    for token in (part.strip() for part in rest):
        key, equals, text = (part.strip() for part in token.partition("="))
        key = _ALIASES.get(key, key)
        if key in tokens:
            raise SpecError(f"{token!r} in {spec}: {key} is given twice")
        _require_known(operation, key, bool(equals), token, spec)
        tokens[key] = token
        if key == "repeat":
            repeat = _repeats(text, token, spec)
        elif not equals:
            _set_flag(key, values, own)
        elif known := operation.key(key):
            own[key] = _read(known.read, _unquoted(text), token, spec)
        else:
            field, reader = _WINDOW_KEYS[key]
            values[field] = _read(reader, _unquoted(text), token, spec)
    if "output" in values:
        values.setdefault("placement", "adaptive")
    if "include-pad" in tokens and "exclude-pad" in tokens:
        raise SpecError(f"'exclude-pad' in {spec}: it contradicts include-pad")
    if "fractional" in tokens:
        if values.get("placement") == "global":
            raise SpecError(f"'fractional' in {spec}: one window is the whole map")
        values["placement"] = "fractional"
    try:
        # A key out of place is refused even where it says nothing but the default.
        require_taken(operation, values.get("placement", "sliding"), values)
        return Stage(**values, own=tuple(own.items())), repeat
    except SpecError as error:
        token = tokens.get(error.key, head)
        raise SpecError(f"{token!r} in {spec}: {error}", error.key) from None


def _read_head(head: str, spec: str) -> tuple[Operation, dict[str, Any]]:
    """Read the operation, and the stage's fields that follow from what stands before the keys."""
    name, colon, size = head.partition(":")
    operation = _operation(name.strip(), spec)
    values: dict[str, Any] = {"op": operation.name}
    if operation.family in _PLACED:
        values["placement"] = _PLACED[operation.family]
    if colon and size.strip() == "global":
        values["placement"] = "global"
    elif colon:
        values["kernel"] = _read(_sizes, size, head, spec)
    return operation, values


def _split(spec: str) -> list[str]:
    """Split a spec at its commas, but for those inside double quotes."""
    parts = _PARTS.findall(spec)
    if ",".join(parts) != spec:
        hint = "a quote is not closed" if spec.count('"') % 2 else "a part between commas is empty"
        raise SpecError(f"{spec!r}: {hint}")
    return parts


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return text[1:-1] if quoted else text


def _operation(name: str, spec: str) -> Operation:
    if name in OPERATIONS:
        return OPERATIONS[name]
    raise SpecError(f"{name!r} in {spec}: {nearest(name, OPERATIONS)}", "op")


def _require_known(operation: Operation, key: str, valued: bool, token: str, spec: str) -> None:
    """Refuse a key that no operation has, that this one hasn't, or that is spelled otherwise."""
    keys, flags = keys_of(operation)
    if key in (keys if valued else flags):
        return
    word = key if valued else token.strip()
    if key in _OF_AVERAGES and operation.family == "windows" and not operation.averages:
        reason = f"only an average has a divisor, {operation.name} has none"
        raise SpecError(f"{token.strip()!r} in {spec}: {reason}")
    if key in keys:
        raise SpecError(f"{word!r} in {spec}: {key} takes a value, as {key}=…")
    if key in flags:
        raise SpecError(f"{token.strip()!r} in {spec}: {key} is a flag, without a value")
    owners = [other.name for other in OPERATIONS.values() if other.key(key)]
    if owners:
        raise SpecError(
            f"{word!r} in {spec}: {operation.name} has no {key}, {', '.join(owners)} has"
        )
    raise SpecError(f"{word!r} in {spec}: {nearest(key, dict.fromkeys((*keys, *flags)))}")


def keys_of(operation: Operation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keys with a value, and flags, that a spec of this operation can have."""
    own = [key.name for key in operation.keys]
    if operation.family == "windows":
        apart = () if operation.averages else _OF_AVERAGES
        shared = [key for key in _WINDOW_KEYS if key not in (*own, *apart)]
        flags = tuple(flag for flag in _FLAGS if flag not in apart)
        return (*shared, *own, "repeat"), flags
    if operation.family == "convolution":
        return (*_CONVOLUTION_KEYS, *own, "repeat"), ("bias",)
    return (*own, "repeat"), ()


def words_of(operation: Operation, key: str) -> tuple[str, ...]:
    """Words that a key's value can be; those of ``pad`` stand beside numbers.

    >>> words_of(OPERATIONS["up"], "mode")
    ('nearest', 'bilinear')
    """
    if known := operation.key(key):
        return known.words
    return _WORDS.get(_ALIASES.get(key, key), ())


def takes_file(operation: Operation, key: str) -> bool:
    """Whether a key's value is the path of an ``.npy`` file."""
    if known := operation.key(key):
        return known.read is path
    return key in _WINDOW_KEYS and _WINDOW_KEYS[key][1] is path


def _set_flag(key: str, values: dict[str, Any], own: dict[str, Value]) -> None:
    if key == "ceil":
        values["ceil"] = True
    elif key == "bias":
        own["bias"] = True
    elif key != "fractional":
        values["count"] = key.removesuffix("-pad")


def _read(reader: Callable[[str], Any], text: str, token: str, spec: str) -> Any:
    try:
        return reader(text.strip())
    except ValueError as error:
        raise SpecError(f"{token.strip()!r} in {spec}: expected {error}") from None


def _sizes(text: str) -> Sizes:
    try:
        sizes = tuple(whole_number(part) for part in text.split("x"))
    except ValueError:
        sizes = ()
    if not 1 <= len(sizes) <= _MOST_AXES:
        raise ValueError("whole numbers above 0, one for all axes or one per axis (3 or 3x2)")
    return sizes


def _output(text: str) -> tuple[int | None, ...]:
    parts = text.split("x")
    if len(parts) > _MOST_AXES:
        raise ValueError("at most three numbers, for D, H and W")
    return tuple(None if part == "_" else _sizes(part)[0] for part in parts)


def _padding(text: str) -> Pads | SameRule:
    if text in _PADDING_RULES:
        return _PADDING_RULES[text]
    pads = tuple(_pair(part) for part in text.split("x"))
    if len(pads) > _MOST_AXES:
        raise ValueError("at most three numbers, for D, H and W")
    return pads


def _pair(text: str) -> tuple[int, int]:
    begin, dash, end = text.partition("-")
    ends = (begin, end) if dash else (begin, begin)
    if not all(part.isascii() and part.isdigit() and len(part) <= DIGITS for part in ends):
        raise ValueError("numbers (1, 1x2, 0-1, 0-1x1-2), same, same-lower or valid")
    return int(ends[0]), int(ends[1])


_MOST_AXES = 3

_PADDING_RULES: Final[dict[str, Pads | SameRule]] = {
    "same": "same-upper",
    "same-upper": "same-upper",
    "same-lower": "same-lower",
    "valid": NO_PADDING,
}
_WORDS: Final = {"pad": tuple(_PADDING_RULES), "pad-mode": PAD_MODES, "over": ("channels",)}

_WINDOW_KEYS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "stride": ("stride", _sizes),
    "pad": ("padding", _padding),
    "dilation": ("dilation", _sizes),
    "divisor": ("divisor", whole_number),
    "pad-mode": ("pad_mode", choice(*_WORDS["pad-mode"])),
    "out": ("output", _output),
    "seed": ("seed", seed),
    "samples": ("samples", path),
    "over": ("over_channels", lambda text: bool(choice(*_WORDS["over"])(text))),
}
"""The keys that say where windows lie: the stage's field, and how to read it."""

_CONVOLUTION_KEYS: Final = ("stride", "pad", "dilation", "pad-mode")
_PLACED: Final = {"plain": "none", "enlargement": "enlarged"}
"""How the windows lie of operations that leave no choice."""
