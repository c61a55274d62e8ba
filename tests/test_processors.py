"""Results are the same bytes on processors with and without NumPy's vector instructions."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from tests.conftest import python

_PROGRAM = """
import hashlib
import numpy as np
from poolcli import engine
from poolcli.errors import PoolError
from poolcli.operations import OPERATIONS
from poolcli.plan import plan

MAY_DIFFER = {"gem", "soft"}
FORMS = (("CHW", (3, 37, 41)), ("HWC", (40, 41, 3)), ("W", (3001,)))
PLACES = ("{}:2", "{}:3,stride=2", "{}:5,stride=1,pad=2", "{}:70", "{},out=5", "{}:global")
OTHERS = ("lp:2,norm=1", "relu", "up:2", "up:2,mode=bilinear", "conv:3,filter=box", "blur:4")
windows = [name for name, facts in OPERATIONS.items() if facts.family == "windows"]
specs = [place.format(name) for name in windows if name not in MAY_DIFFER for place in PLACES]
dice = np.random.default_rng(0)
special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0])
for dtype in ("float16", "float32", "float64", "int32"):
    for layout, shape in FORMS:
        array = (dice.standard_normal(shape) * 50).astype(dtype)
        if array.dtype.kind == "f":
            where = dice.random(shape) < 0.05
            array = np.where(where, dice.choice(special, shape), array).astype(dtype)
        for spec in (*specs, *OTHERS):
            try:
                planned = plan(shape, spec, layout=layout, dtype=dtype)
            except PoolError:
                continue
            for result in engine.run(planned, array):
                print(dtype, layout, spec, hashlib.sha256(result.array.tobytes()).hexdigest())
"""


def vector_instructions() -> list[str]:
    """Return the names of those that NumPy uses here beyond its baseline."""
    core = importlib.import_module("numpy._core._multiarray_umath")
    found: list[str] = [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]
    return found


@pytest.mark.skipif(not vector_instructions(), reason="NumPy knows no instructions to do without")
def test_no_vector_instruction_changes_a_result(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But in what is made of powers and exponentials, which NumPy rounds as its processor does."""
    with_them = python(here, _PROGRAM)
    monkeypatch.setenv("NPY_DISABLE_CPU_FEATURES", " ".join(vector_instructions()))
    assert "NPY_DISABLE_CPU_FEATURES" in os.environ
    without = python(here, _PROGRAM)
    assert (with_them.status, without.status, with_them.err) == (0, 0, "")
    lines = with_them.out.splitlines()
    assert len(lines) > 500
    assert without.out.splitlines() == lines
