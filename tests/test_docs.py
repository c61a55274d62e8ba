"""The documents' commands run as they are written, and print what is shown.

``python tests/test_docs.py`` writes the README's shown outputs anew.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import click
import pytest

from poolcli.cli.main import poolcli as program
from poolcli.files.recipes import load

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(README.read_text("utf-8")) if found == language]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell line where the samples are, as in a terminal of 80 columns."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "80", "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    return tmp_path


def shown_commands() -> list[tuple[str, str]]:
    return [
        (command.removeprefix("$ "), output)
        for block in blocks("console")
        for command, _, output in [block.partition("\n")]
    ]


@pytest.mark.parametrize(("command", "shown"), shown_commands(), ids=lambda text: text[:40])
def test_the_readme_shows_what_a_command_prints(command: str, shown: str, folder: Path) -> None:
    done = run(command, folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == shown


def plain_commands() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith(("poolcli ", "find "))]


@pytest.mark.parametrize("command", plain_commands())
def test_the_readmes_commands_run(command: str, folder: Path) -> None:
    done = run(command, folder)
    assert done.returncode == 0, done.stderr


def test_the_readme_has_commands_of_every_kind() -> None:
    assert len(plain_commands()) >= 5
    assert len(shown_commands()) >= 3


def test_the_readmes_python_runs(folder: Path) -> None:
    for block in blocks("python"):
        (folder / "example.py").write_text(block, "utf-8")
        done = run(f"{sys.executable} example.py", folder)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_the_readmes_recipe_is_one(folder: Path) -> None:
    for block in blocks("toml"):
        (folder / "recipe.toml").write_text(block, "utf-8")
        assert len(load(folder / "recipe.toml").chain) > 0


def command_names() -> list[str]:
    return program.list_commands(click.Context(program))


@cache
def help_examples() -> list[str]:
    pages = [run(f"poolcli {name} --help", ROOT).stdout for name in ("", *command_names())]
    lines = [line.strip() for page in pages for line in page.splitlines()]
    return [line for line in lines if line.startswith(("poolcli ", "find ")) and "[" not in line]


@pytest.mark.parametrize("command", sorted(set(help_examples())))
def test_the_examples_of_help_run(command: str, folder: Path) -> None:
    for name in ("truck.png", "in.png"):
        shutil.copy(ROOT / "samples" / "truck.png", folder / name)
    (folder / "maps").mkdir()
    shutil.copy(ROOT / "samples" / "feature_map.npy", folder / "maps")
    done = run(command, folder)
    assert done.returncode == 0, done.stderr


def test_every_command_of_help_has_an_example() -> None:
    assert command_names()
    for name in command_names():
        assert any(line.startswith(f"poolcli {name}") for line in help_examples()), name


def test_the_readmes_pictures_exist() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README.read_text("utf-8"))
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).stat().st_size > 10_000


def rewrite() -> None:
    """Write what each command of the README prints in its place."""
    text = README.read_text("utf-8")
    for block in blocks("console"):
        command = block.partition("\n")[0]
        folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"poolcli-docs-{os.getpid()}"  # noqa: S108
        shutil.copytree(ROOT / "samples", folder / "samples")
        done = run(command.removeprefix("$ "), folder)
        shutil.rmtree(folder)
        text = text.replace(f"```console\n{block}```", f"```console\n{command}\n{done.stdout}```")
    README.write_text(text, "utf-8")


if __name__ == "__main__":
    rewrite()
