"""Operations take no more memory than they are budgeted, which peaks of processes tell."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import ROOT, python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from Linux's /proc")


@pytest.mark.parametrize("seed", range(3))
def test_operations_stay_within_their_budgets(seed: int) -> None:
    """Every kind of window, form and dtype, a few at random: ``python -m tests.budgets``.

    In a process of its own, whose children begin small.
    """
    program = "import sys; from tests.budgets import main; sys.exit(main())"
    ran = python(ROOT, program, "--cases", "40", "--seed", str(seed))
    assert ran.status == 0, ran.out + ran.err
    assert "0 beyond their budgets" in ran.out


def test_a_budget_that_is_too_small_is_noticed() -> None:
    program = (
        "import sys; from poolcli import memory; from tests import budgets\n"
        "memory._BUFFERS = memory._FEW_BUFFERS = 0; budgets.SLACK = 6 << 20\n"
        "sys.exit(budgets.main())"
    )
    ran = python(ROOT, program, "--cases", "60", "--seed", "1")
    assert ran.status == 1, ran.out + ran.err
