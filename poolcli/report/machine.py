"""Plans and outcomes for programs: JSON, CSV. The keys are those that the documentation names."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolcli.batch import Outcome
    from poolcli.plan import Plan, Step


def step_facts(step: Step) -> dict[str, Any]:
    """Return everything that is known of a step, null where it does not apply."""
    return {
        "index": step.index,
        "spec": step.spec,
        "kernel": step.kernel,
        "stride": step.stride,
        "padding": step.padding,
        "dilation": step.dilation,
        "shape": step.shape,
        "dtype": step.dtype,
        "receptive_field": step.receptive_field,
        "jump": step.jump,
        "center": step.center,
        "elements": step.elements,
        "bytes": step.bytes,
        "params": step.costs.params,
        "macs": step.costs.macs,
        "comparisons": step.costs.comparisons,
        "additions": step.costs.additions,
    }


def plan_facts(plan: Plan) -> dict[str, Any]:
    """Return a plan as ``poolcli shape --json`` prints it."""
    costs = plan.costs
    return {
        "input": {"shape": plan.shape, "layout": plan.layout, "dtype": plan.dtype},
        "stages": [step_facts(step) for step in plan.steps],
        "total": {
            "reduction": plan.reduction,
            "params": costs.params,
            "macs": costs.macs,
            "comparisons": costs.comparisons,
            "additions": costs.additions,
            "peak_bytes": plan.peak_bytes,
        },
    }


def outcome_facts(outcome: Outcome) -> dict[str, Any]:
    """Return what became of one input, as a line of ``poolcli run --json``."""
    job = outcome.job
    if outcome.error is not None or job is None:
        return {"input": outcome.source.name, "ok": False, "error": str(outcome.error)}
    paths = {result.step.index: result.path for result in job.results}
    return {
        "input": outcome.source.name,
        "ok": True,
        "shape": job.plan.shape,
        "layout": job.plan.layout,
        "dtype": job.plan.dtype,
        "stages": [
            {**step_facts(step), "output": str(path) if (path := paths.get(step.index)) else None}
            for step in job.plan.steps
        ],
    }


def to_json(facts: Mapping[str, Any]) -> str:
    """Write facts on one line, in ASCII; what JSON has no number for is null."""
    return json.dumps(_finite(facts), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value


def to_csv(plan: Plan) -> str:
    """Write a row per stage under the JSON's keys; sizes are joined by x, null is empty."""
    rows = [step_facts(step) for step in plan.steps]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, Sequence) and not isinstance(value, str):
        pairs = ("-".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in value)
        return "x".join(pairs)
    return value
