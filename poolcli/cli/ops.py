"""``poolcli ops``: what the operations are, and what they are called elsewhere."""

from __future__ import annotations

import click

from poolcli.cli import completion, options
from poolcli.cli.manual import Manual
from poolcli.errors import SpecError
from poolcli.operations import OPERATIONS, Operation

_EXAMPLES = (
    ("All of them:", "poolcli ops"),
    ("What there is to say about two, their sources included:", "poolcli ops avg lp"),
)


@click.command("ops", cls=Manual, sections={}, examples=_EXAMPLES)
@click.argument("names", metavar="[OP]...", nargs=-1, shell_complete=completion.operations)
@options.debug
def command(names: tuple[str, ...], *, debug: bool) -> int:  # noqa: ARG001 - see main
    """List operations: formulas, keys, names elsewhere.

    With OP, all that there is to say about it, its source included. Elsewhere is PyTorch, ONNX and
    Keras.
    """
    if names:
        for name in names:
            click.echo(_card(_known(name)))
        return 0
    from poolcli.report.tables import print_rows

    print_rows(
        ("op", "one output element", "own keys", "PyTorch", "ONNX", "Keras"),
        [
            (
                operation.name,
                operation.formula,
                " ".join(_key_texts(operation)),
                operation.pytorch,
                operation.onnx,
                operation.keras,
            )
            for operation in OPERATIONS.values()
        ],
    )
    return 0


def _known(name: str) -> Operation:
    from poolcli.spelling import nearest

    if name not in OPERATIONS:
        raise SpecError(f"operation {name}: {nearest(name, OPERATIONS)}")
    return OPERATIONS[name]


def _key_texts(operation: Operation) -> list[str]:
    return [f"{key.name}={'…' if key.default is None else key.default}" for key in operation.keys]


def _card(operation: Operation) -> str:
    from poolcli.specs import keys_of

    keys, flags = keys_of(operation)
    results = {
        "same": "the input's",
        "sum": "int64 or uint64 of integers, floats keep theirs",
        "real": "float32 of integers, float64 from 32 bits up; floats keep theirs",
    }
    lines = [
        f"{operation.name}: {operation.formula}",
        f"  source   {operation.source}",
        f"  dtype    {results[operation.rule]}",
        f"  keys     {' '.join((*(f'{key}=' for key in keys), *flags))}",
        *(f"           {key.name}: {key.meaning}" for key in operation.keys),
        f"  PyTorch  {operation.pytorch}",
        f"  ONNX     {operation.onnx}",
        f"  Keras    {operation.keras}",
    ]
    return "\n".join(lines)
