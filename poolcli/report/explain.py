"""The formulas behind a plan, written out with their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Final

from poolcli.fields import Field
from poolcli.layouts import spatial_axes
from poolcli.report import words
from poolcli.windows import Enlarged, Fractional, Sliding, Window

if TYPE_CHECKING:
    from poolcli.plan import Plan, Step
    from poolcli.stages import Stage


def explain(plan: Plan) -> str:
    """Return the formulas of every stage, with the numbers that they were worked out with."""
    lines = [f"input {words.shape(plan.shape)} ({plan.layout} {plan.dtype})"]
    lines.append("n length, k kernel, s stride, p padding, d dilation, o output")
    before = Field.of_input(len(spatial_axes(plan.layout)))
    for step in plan.steps:
        lines += ["", f"stage {step.index}: {step.spec}"]
        lines += (f"  {line}" for line in _step_lines(step, before))
        before = step.field
    return "\n".join(lines) + "\n"


def _step_lines(step: Step, before: Field) -> Iterator[str]:
    if not step.windows and step.undoes is None:
        yield f"element by element: the shape stays {words.shape(step.shape)}"
        return
    if step.undoes is not None:
        yield f"the values of stage {step.undoes} go back to where they were found"
    letters = [step.layout[axis] for axis in step.axes]
    for letter, window in zip(letters, step.windows, strict=bool(step.windows)):
        yield f"{letter}: {_length(window, step.stage)}"
    if step.windows and not step.stage.over_channels:
        yield from _field_lines(step, before, letters)
    yield f"shape {words.shape(step.input_shape)} -> {words.shape(step.shape)}"
    yield from _cost_lines(step)


def _length(window: Window, stage: Stage) -> str:
    if isinstance(window, Sliding):
        return _same_length(window) if stage.is_same else _sliding_length(window, ceil=stage.ceil)
    n, o = window.length, window.output
    if isinstance(window, Enlarged):
        return f"o = n·{window.factor} = {n}·{window.factor} = {o}"
    if isinstance(window, Fractional) and o == 1:
        return f"o = 1 window of {window.size}, from n-k = {n}-{window.size}"
    if isinstance(window, Fractional):
        return (
            f"o = {o} windows of {window.size}, α = (n-k)/(o-1) = ({n}-{window.size})/({o}-1): "
            "the i-th from int((i+u)·α) - int(u·α), the last from n-k"
        )
    return f"o = {o} windows, the i-th from floor(i·{n}/{o}) to ceil((i+1)·{n}/{o})"


def _same_length(window: Sliding) -> str:
    n, k, s, d, o = window.length, window.size, window.step, window.spacing, window.output
    begin, end = window.padding
    return (
        f"o = ceil(n/s) = ceil({n}/{s}) = {o}; "
        f"p = max(({o}-1)·{s} + {d}·({k}-1) + 1 - {n}, 0) = {begin + end}, {begin} + {end}"
    )


def _sliding_length(window: Sliding, *, ceil: bool) -> str:
    n, k, s, d = window.length, window.size, window.step, window.spacing
    begin, end = window.padding
    rounding = "ceil" if ceil else "floor"
    text = f"o = {rounding}((n + p - d·(k-1) - 1)/s) + 1 = "
    text += f"{rounding}(({n} + {begin}+{end} - {d}·({k}-1) - 1)/{s}) + 1"
    if ceil and -((window.extent - n - begin - end) // s) + 1 > window.output:
        text += " - 1 (the last would start beyond the input)"
    return f"{text} = {window.output}"


def _field_lines(step: Step, before: Field, letters: list[str]) -> Iterator[str]:
    after = step.field
    sizes, jumps, centers = before.size, before.jump, before.center
    new_sizes, new_centers = after.size, after.center
    if None in (sizes, jumps, centers, new_sizes, new_centers):
        yield "receptive field: no one number, windows before it differ"
        return
    for axis, (letter, window) in enumerate(zip(letters, step.windows, strict=True)):
        jump, first = _at(jumps, axis), window.positions(0)
        middle = (first[0] + first[-1]) / 2
        size, center = _at(new_sizes, axis), _at(new_centers, axis)
        parts = [
            _sum("field", _at(sizes, axis), _spread(window), window.spread, jump, size),
            _sum("center", _at(centers, axis), words.number(middle), middle, jump, center),
        ]
        if window.pace is not None:
            said = f"{words.number(jump)}·{words.number(window.pace)}"
            parts.append(f"jump = {said} = {words.number(_at(after.jump, axis))}")
        yield f"{letter}: {'; '.join(parts)}"


def _sum(  # noqa: PLR0913, PLR0917 - the numbers of one formula
    name: str, start: float, said: str, step: float, jump: float, result: float
) -> str:
    """Write ``name = start + step·jump = result``, or less behind an enlargement.

    There elements differ in what they see, so that no such sum says it.
    """
    if abs(start + step * jump - result) > _ROUNDING:
        return f"{name} = {words.number(result)}, followed back to the input"
    return f"{name} = {words.number(start)} + {said}·{words.number(jump)} = {words.number(result)}"


_ROUNDING: Final = 1e-9


def _spread(window: Window) -> str:
    if isinstance(window, Enlarged):
        return str(window.spread)
    return f"({window.kernel}-1)·{window.dilation}"


def _at(numbers: tuple[float, ...] | None, axis: int) -> float:
    return 0.0 if numbers is None else numbers[axis]


def _cost_lines(step: Step) -> Iterator[str]:
    costs, outputs = step.costs, step.elements
    window = prod(window.kernel for window in step.windows)
    if costs.macs and costs.macs % outputs == 0:
        yield f"multiply-adds = {outputs:,} outputs · {costs.macs // outputs:,} = {costs.macs:,}"
    elif costs.macs:
        yield f"multiply-adds = {costs.macs:,}, one for each element of each window"
    if costs.params:
        yield f"parameters = {costs.params:,}"
    for name, count in (("comparisons", costs.comparisons), ("additions", costs.additions)):
        if count and count == outputs * (window - 1):
            yield f"{name} = {outputs:,} outputs · ({window:,} - 1) = {count:,}"
        elif count:
            yield f"{name} = {count:,}, one fewer than each window has elements"
