"""The formulas behind a plan, written out with their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from poolcli.report import words
from poolcli.windows import Adaptive, Sliding, Window

if TYPE_CHECKING:
    from poolcli.plan import Plan, Step


def explain(plan: Plan) -> str:
    """Return the formulas of every stage, with the numbers that they were worked out with."""
    lines = [f"input {words.shape(plan.shape)} ({plan.layout} {plan.dtype})"]
    lines.append("n length, k kernel, s stride, p padding, d dilation, o output")
    field = None
    for step in plan.steps:
        lines += ["", f"stage {step.index}: {step.spec}"]
        lines += (f"  {line}" for line in _step_lines(step, field))
        field = step.field if step.windows else field
    return "\n".join(lines) + "\n"


def _step_lines(step: Step, before: object) -> Iterator[str]:
    from poolcli.plan import Field

    if not step.windows:
        yield f"element by element: the shape stays {words.shape(step.shape)}"
        return
    letters = [step.layout[axis] for axis in step.axes]
    for letter, window in zip(letters, step.windows, strict=True):
        yield f"{letter}: {_length(window, ceil=step.stage.ceil, same=step.stage.is_same)}"
    if not step.stage.over_channels:
        field = before if isinstance(before, Field) else Field.of_input(len(step.windows))
        yield from _field_lines(step, field, letters)
    yield f"shape {words.shape(step.input_shape)} -> {words.shape(step.shape)}"
    yield from _cost_lines(step)


def _length(window: Window, *, ceil: bool, same: bool) -> str:
    if isinstance(window, Adaptive):
        return (
            f"o = {window.output} windows, the i-th from floor(i·{window.length}/{window.output}) "
            f"to ceil((i+1)·{window.length}/{window.output})"
        )
    assert isinstance(window, Sliding)  # noqa: S101 - there are two kinds of windows
    n, k, s, d = window.length, window.size, window.step, window.spacing
    begin, end = window.padding
    if same:
        total = f"max(({window.output}-1)·{s} + {d}·({k}-1) + 1 - {n}, 0) = {begin + end}"
        return f"o = ceil(n/s) = ceil({n}/{s}) = {window.output}; p = {total}, {begin} + {end}"
    rounding = "ceil" if ceil else "floor"
    return (
        f"o = {rounding}((n + p - d·(k-1) - 1)/s) + 1 = "
        f"{rounding}(({n} + {begin}+{end} - {d}·({k}-1) - 1)/{s}) + 1{_clipped(window, ceil=ceil)} "
        f"= {window.output}"
    )


def _clipped(window: Sliding, *, ceil: bool) -> str:
    """Say it where ceil's last window would start in the padding behind the input."""
    if not ceil:
        return ""
    padded = window.length + window.begin + window.end
    rounded = -((window.extent - padded) // window.step) + 1
    return " - 1 (the last would start beyond the input)" if rounded > window.output else ""


def _field_lines(step: Step, before: object, letters: list[str]) -> Iterator[str]:
    from poolcli.plan import Field

    assert isinstance(before, Field)  # noqa: S101 - the caller's
    after = step.field
    if before.size is None or before.jump is None or before.center is None or after.size is None:
        yield "receptive field: no one number, windows before it differ"
        return
    assert after.center is not None  # noqa: S101 - known together with the size
    for axis, (letter, window) in enumerate(zip(letters, step.windows, strict=True)):
        size, jump, center = before.size[axis], before.jump[axis], before.center[axis]
        first = window.positions(0)
        middle = (first[0] + first[-1]) / 2
        text = (
            f"{letter}: field = {size} + ({window.kernel}-1)·{window.dilation}·{jump} = "
            f"{after.size[axis]}; center = {center:g} + {middle:g}·{jump} = {after.center[axis]:g}"
        )
        if after.jump is not None:
            text += f"; jump = {jump}·{window.stride} = {after.jump[axis]}"
        yield text


def _cost_lines(step: Step) -> Iterator[str]:
    costs, outputs = step.costs, step.elements
    window = prod(window.kernel for window in step.windows)
    if costs.macs:
        yield f"multiply-adds = {outputs:,} outputs · {costs.macs // outputs:,} = {costs.macs:,}"
        yield f"parameters = {costs.params:,}"
    for name, count in (("comparisons", costs.comparisons), ("additions", costs.additions)):
        if count and count == outputs * (window - 1):
            yield f"{name} = {outputs:,} outputs · ({window:,} - 1) = {count:,}"
        elif count:
            yield f"{name} = {count:,}, one fewer than each window has elements"
