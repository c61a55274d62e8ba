from __future__ import annotations

import pytest

from poolcli.operations import OPERATIONS
from tests.conftest import Run

CARD = """\
avg: Σx / count
  source   ATen/native/cpu/AvgPoolKernel.cpp; count per include-pad, exclude-pad, divisor
  dtype    float32 of integers, float64 from 32 bits up; floats keep theirs
"""


def test_every_operation_is_listed_with_its_names(poolcli: Run) -> None:
    ran = poolcli("ops")
    assert (ran.status, ran.err) == (0, "")
    heading, _, *lines = ran.out.splitlines()
    for word in ("op", "one output element", "own keys", "PyTorch", "ONNX", "Keras"):
        assert word in heading
    assert [line.split()[0] for line in lines] == list(OPERATIONS)
    for line, facts in zip(lines, OPERATIONS.values(), strict=True):
        for text in (facts.formula, facts.pytorch, facts.onnx, facts.keras):
            assert text in line
        for key in facts.keys:
            assert f" {key.name}=" in line


@pytest.mark.parametrize("width", ["80", "100"])
def test_a_narrow_list_loses_nothing(
    poolcli: Run, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    out = poolcli("ops").out
    assert max(map(len, out.splitlines())) <= int(width)
    assert "".join(["channels=…"]) in "".join(out.split())
    for name in OPERATIONS:
        assert any(line.startswith(f"{name} ") for line in out.splitlines())


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_a_card(poolcli: Run, name: str) -> None:
    ran = poolcli("ops", name)
    facts = OPERATIONS[name]
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"{name}: {facts.formula}\n  source   {facts.source}\n")
    for text in (facts.pytorch, facts.onnx, facts.keras):
        assert f" {text}\n" in ran.out
    for key in facts.keys:
        assert f" {key.name}: {key.meaning}\n" in ran.out
        assert f" {key.name}=" in ran.out
    assert (" stride= " in ran.out) == (facts.family in ("windows", "convolution"))
    assert (" exclude-pad" in ran.out.split("  keys")[1]) == facts.averages


def test_cards_come_in_the_order_asked_for(poolcli: Run) -> None:
    out = poolcli("ops", "avg", "max").out
    assert out.startswith(CARD)
    assert out.index("avg: ") < out.index("\nmax: ")


def test_an_unknown_operation_and_the_nearest(poolcli: Run) -> None:
    assert poolcli("ops", "mx").error(2) == "operation mx: did you mean max?"
    assert "known are max, min, avg" in poolcli("ops", "zzz").error(2)
