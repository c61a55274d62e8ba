"""Help reads as a manual page: every option explained under a heading, examples that run."""

from __future__ import annotations

import click
import pytest

from poolcli.cli.main import poolcli as program
from poolcli.cli.manual import Manual
from tests.conftest import Run

NAMES = program.list_commands(click.Context(program))


def command(name: str) -> Manual:
    found = program.get_command(click.Context(program), name)
    assert isinstance(found, Manual)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_words_and_its_place(name: str) -> None:
    own = command(name)
    placed = [parameter for names in own.sections.values() for parameter in names]
    assert len(placed) == len(set(placed))
    options = [each for each in own.params if isinstance(each, click.Option)]
    assert {option.name for option in options} >= set(placed)
    assert {option.name for option in options} - set(placed) <= {"debug"}
    for option in options:
        assert option.help, option.name
        assert option.help.endswith("."), option.name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_a_page_shows_all_of_them_and_its_examples_unbroken(
    poolcli: Run, monkeypatch: pytest.MonkeyPatch, name: str, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    page = poolcli(name, "--help").out
    own = command(name)
    for option in own.params:
        if isinstance(option, click.Option):
            assert option.opts[-1] in page
    for heading in (*own.sections, "Examples"):
        assert f"{heading}:\n" in page
    for _, example in own.examples:
        assert f"    {example}\n" in page
    examples = [example for _, example in own.examples]
    others = [line for line in page.splitlines() if line.strip() not in examples]
    assert max(map(len, others)) <= max(int(columns), 60)


def test_the_list_of_commands_says_each_in_a_line(poolcli: Run) -> None:
    page = poolcli("--help").out
    for name in NAMES:
        (line,) = (line for line in page.splitlines() if line.startswith(f"  {name} "))
        assert not line.endswith("...")
