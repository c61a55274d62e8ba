"""Which module may know which: imports run one way, and heavy ones only where they are needed."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, grey, python, save

PACKAGE = ROOT / "poolcli"
MODULES = sorted(PACKAGE.rglob("*.py"))

LOADED = """
import json, sys
{}
print(json.dumps(sorted(sys.modules)))
"""
PROGRAM = """
from poolcli.cli.main import main
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main({!r})
"""


def loaded(here: Path, code: str) -> set[str]:
    ran = python(here, LOADED.format(code))
    assert ran.status == 0, ran.err
    return set(json.loads(ran.out))


HEAVY = {"numpy", "PIL"}


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["shape", "3x224x224", "-s", "max:2"], HEAVY),
        (["shape", "3,8,8", "-s", "MaxPool2d(2)", "--explain"], HEAVY | {"rich"}),
        (["shape", "3x224x224", "--preset", "vgg16", "--json"], HEAVY | {"rich"}),
        (["shape", "3x224x224", "-s", "max:2", "--csv"], HEAVY | {"rich"}),
        (["shape", "3x224x224", "-s", "max:2", "--markdown"], HEAVY | {"rich"}),
        (["shape", "3x224x224", "-s", "mex:2"], HEAVY | {"rich.table"}),
        (["--help"], HEAVY | {"rich.table"}),
        (["--version"], HEAVY | {"rich"}),
        (["run", "--help"], HEAVY | {"rich.table"}),
        (["ops"], HEAVY),
        (["ops", "avg"], HEAVY | {"rich"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_a_command_does_not_load(here: Path, arguments: list[str], heavy: set[str]) -> None:
    assert not loaded(here, PROGRAM.format(arguments)) & heavy


ASKED = """
from poolcli.cli.main import main
import contextlib, io, os
os.environ.update(_POOLCLI_COMPLETE={!r}, COMP_LINE={!r})
with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())), contextlib.suppress(SystemExit):
    main([])
"""


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        ("bash_source", ""),
        ("bash_complete", "poolcli "),
        ("bash_complete", "poolcli run -"),
        ("bash_complete", "poolcli run -s max:2,"),
        ("zsh_complete", "poolcli run -s conv:3,filter="),
        ("zsh_complete", "poolcli shape 3x8x8 --preset "),
        ("fish_complete", "poolcli shape 3x8x8 --dtype "),
        ("fish_complete", "poolcli run -s nonsense:2,"),
        ("fish_complete", "poolcli ops "),
    ],
)
def test_what_a_completion_does_not_load(here: Path, wish: str, line: str) -> None:
    assert not loaded(here, ASKED.format(wish, line)) & (HEAVY | {"rich"})


def test_what_speaks_with_shells_is_loaded_only_for_them(here: Path) -> None:
    speakers = {"poolcli.cli.shells", "click.shell_completion"}
    assert loaded(here, ASKED.format("bash_complete", "poolcli run -s ma")) >= speakers
    assert not loaded(here, PROGRAM.format(["shape", "3x8x8", "-s", "max:2"])) & speakers


def test_the_commands_did_their_work(here: Path) -> None:
    """What the test above looks at would load everything, were there a file to read."""
    save(here / "a.npy", grey())
    assert "numpy" in loaded(here, PROGRAM.format(["shape", "a.npy", "-s", "max:2"]))
    assert "rich.table" in loaded(here, PROGRAM.format(["shape", "3x8x8", "-s", "max:2"]))
    save(here / "a.png", grey())
    assert loaded(here, PROGRAM.format(["run", "a.png", "-s", "max:2", "-q"])) >= HEAVY


def test_an_array_needs_no_pillow(here: Path) -> None:
    save(here / "a.npy", grey())
    assert "PIL" not in loaded(here, PROGRAM.format(["run", "a.npy", "-s", "max:2", "--json"]))


@pytest.mark.parametrize("module", ["poolcli", "poolcli.plan", "poolcli.stages", "poolcli.windows"])
def test_the_arithmetic_loads_nothing_heavy(here: Path, module: str) -> None:
    assert not loaded(here, f"import {module}") & {"numpy", "PIL", "rich", "click"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, wherever in it, but for annotations alone."""
    code = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(code):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped.update(inner for part in node.body for inner in ast.walk(part))
    for node in ast.walk(code):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in {path}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield node.module or ""


def test_the_walk_sees_imports_inside_functions() -> None:
    assert "numpy" in set(imports(PACKAGE / "engine.py"))
    assert "poolcli.files.atomic" in set(imports(PACKAGE / "batch/executing.py"))
    assert any(name.startswith("poolcli.files") for name in imports(PACKAGE / "cli/run.py"))


def users(package: str) -> set[str]:
    return {
        name_of(path)
        for path in MODULES
        if any(name == package or name.startswith(f"{package}.") for name in imports(path))
    }


def below(name: str, *rooms: str) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def test_only_the_command_line_knows_click_and_nothing_below_knows_the_command_line() -> None:
    for package in ("click", "poolcli.cli"):
        assert users(package), package
        for name in users(package):
            assert below(name, "poolcli.cli", "poolcli.__main__"), f"{name} imports {package}"


def test_only_reports_know_rich() -> None:
    assert users("rich")
    assert all(below(name, "poolcli.report") for name in users("rich"))
    assert not any(name.startswith("rich") for name in imports(PACKAGE / "report/words.py"))


def test_only_images_and_the_sheet_know_pillow() -> None:
    readers = {"poolcli.files.images", "poolcli.files.opening"}
    assert users("PIL") == {*readers, "poolcli.report.sheet"}


def test_only_the_console_and_commands_use_reports() -> None:
    allowed = ("poolcli.report", "poolcli.cli", "poolcli.batch", "poolcli.__main__")
    assert all(below(name, *allowed) for name in users("poolcli.report"))


ORDER = ["errors", "windows", "operations", "stages", "plan", "engine", "batch", "cli"]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    """What stands to the left in ORDER imports nothing that stands to the right of it."""
    own = name_of(path).removeprefix("poolcli.").split(".")[0]
    if own not in ORDER:
        return
    later = [f"poolcli.{name}" for name in ORDER[ORDER.index(own) + 1 :]]
    assert not [name for name in imports(path) if below(name, *later)]


PURE = [
    "errors",
    "windows",
    "placing",
    "operations",
    "stages",
    "specs",
    "pytorch",
    "layouts",
    "dtypes",
    "plan",
    "maps",
]


@pytest.mark.parametrize("name", PURE)
def test_the_arithmetic_names_nothing_heavy(name: str) -> None:
    heavy = {"numpy", "PIL", "rich", "click"}
    assert not {module.split(".")[0] for module in imports(PACKAGE / f"{name}.py")} & heavy
