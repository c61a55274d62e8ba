"""Numbers, shapes and names as people read them. No Rich."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from poolcli.sizes import join_pads

if TYPE_CHECKING:
    from poolcli.plan import Costs, Plan, Step

COLUMNS: Final = (
    "#",
    "stage",
    "kernel",
    "stride",
    "padding",
    "output shape",
    "receptive field",
    "jump",
    "elements",
    "memory",
    "operations",
)
DISPENSABLE: Final = (("kernel", "stride", "padding"), ("elements",))
"""Columns that a narrow table goes without, in order: the stage's text and the shape say them."""
NUMERIC: Final = ("#", "elements", "memory", "operations")


def rows(plan: Plan) -> list[dict[str, str]]:
    """Return a table's rows: the input, then each stage."""
    from poolcli.dtypes import ITEM_SIZES

    elements = 1
    for length in plan.shape:
        elements *= length
    first = dict.fromkeys(COLUMNS, "")
    first |= {
        "stage": f"input ({plan.layout} {plan.dtype})",
        "output shape": shape(plan.shape),
        "elements": f"{elements:,}",
        "memory": memory(elements * ITEM_SIZES[plan.dtype]),
    }
    return [first, *(_row(step) for step in plan.steps)]


def _row(step: Step) -> dict[str, str]:
    return {
        "#": str(step.index),
        "stage": step.spec,
        "kernel": shape(step.kernel),
        "stride": shape(step.stride),
        "padding": "" if step.padding is None else join_pads(step.padding).replace("x", "×"),
        "output shape": shape(step.shape),
        "receptive field": shape(step.receptive_field),
        "jump": shape(step.jump),
        "elements": f"{step.elements:,}",
        "memory": memory(step.bytes),
        "operations": operations(step.costs),
    }


def total(plan: Plan) -> str:
    """Return a plan's totals in one line."""
    parts = [_reduction(plan.reduction)]
    if plan.costs.params:
        parts.append(f"{plan.costs.params:,} parameters")
    if done := operations(plan.costs):
        parts.append(done)
    parts.append(f"peak {memory(plan.peak_bytes)}")
    return ", ".join(parts)


def _reduction(factor: float | None) -> str:
    if factor is None:
        return "no elements"
    if factor == 0:
        return "no elements at first"
    if factor == 1:
        return "as many elements"
    word, factor = ("fewer", factor) if factor >= 1 else ("more", 1 / factor)
    times = f"{factor:,.0f}" if factor >= 100 else f"{factor:.3g}"  # noqa: PLR2004 - three digits
    return f"{times}× {word} elements"


def shape(sizes: Sequence[float] | None) -> str:
    """Write sizes: 3×224×224; a dash where there are none.

    >>> shape((3, 224, 224)), shape(None)
    ('3×224×224', '-')
    """
    return "-" if sizes is None else "×".join(map(number, sizes))


def number(value: float) -> str:
    """Write a number without more digits than it needs.

    >>> number(7), number(1.5), number(1 / 3)
    ('7', '1.5', '0.333333')
    """
    return str(value) if isinstance(value, int) else f"{value:.6f}".rstrip("0").rstrip(".")


def memory(count: int) -> str:
    """Write a number of bytes.

    >>> memory(150528), memory(12)
    ('147 KiB', '12 B')
    """
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 999.5 or unit == "TiB":  # noqa: PLR2004 - what would round to 1000
            break
        amount /= 1024
    return f"{amount:.3g} {unit}"


def thousands(count: int) -> str:
    """Write a large count in thousands, millions and so on.

    >>> thousands(15346630656), thousands(750)
    ('15.3 G', '750')
    """
    amount = float(count)
    for unit in ("", "k", "M", "G", "T", "P"):
        if amount < 999.5 or unit == "P":  # noqa: PLR2004 - what would round to 1000
            break
        amount /= 1000
    return f"{amount:.3g} {unit}".rstrip()


def operations(costs: Costs) -> str:
    """Write costs: multiply-adds, comparisons and additions, those there are."""
    counts = {"MAC": costs.macs, "cmp": costs.comparisons, "add": costs.additions}
    return ", ".join(f"{thousands(count)} {what}" for what, count in counts.items() if count)


def broken_at_commas(spec: str, width: int) -> str:
    """Break a spec into lines of at most ``width``, where it can be at its commas.

    >>> broken_at_commas("max:2x2,stride=2x2,ceil", 20).split()
    ['max:2x2,stride=2x2,', 'ceil']
    """
    return "\n".join(broken_where(spec, lambda text: len(text) <= width))


def broken_where(spec: str, fits: Callable[[str], bool]) -> list[str]:
    """Break a spec at its commas into the fewest lines that fit."""
    lines = [""]
    for part in re.findall("[^,]*,|[^,]+$", spec):
        if lines[-1] and not fits(lines[-1] + part):
            lines.append("")
        lines[-1] += part
    return lines


def broken_anywhere(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Break a text that does not fit on one line between any two letters."""
    lines = [""]
    for mark in text:
        if lines[-1] and not fits(lines[-1] + mark):
            lines.append("")
        lines[-1] += mark
    return lines


def printable(text: str) -> str:
    r"""Write a name so that it stays on one line and moves no cursor.

    >>> printable("a[b]\n.png")
    'a[b]\\n.png'
    """
    return "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape", "surrogatepass").decode()
        for mark in text
    )


def to_markdown(plan: Plan) -> str:
    """Write the table of a plan in Markdown."""
    lines = [COLUMNS, tuple("--:" if name in NUMERIC else "---" for name in COLUMNS)]
    lines += [tuple(row[name].replace("|", "\\|") for name in COLUMNS) for row in rows(plan)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
