"""The bar: on a terminal only, above it what is said, and gone at the end."""

from __future__ import annotations

import json
import os
import pty
import re
import struct
import subprocess
import sys
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from poolcli.report import progress
from tests.conftest import Run, colour, environment, grey, save

CONTROL = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"


def on_terminal(
    here: Path, *arguments: str, stdout: Any = None, columns: int = 100, **more: str
) -> tuple[str, bytes]:
    """Run the program, its standard error a terminal: return what is seen there, and the rest."""
    primary, secondary = pty.openpty()
    ioctl(secondary, TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    program = subprocess.Popen(
        [sys.executable, "-m", "poolcli", "run", *arguments],
        stdin=secondary,
        stdout=secondary if stdout is None else stdout,
        stderr=secondary,
        cwd=here,
        env=environment(**({"TERM": "xterm-256color"} | more)),
    )
    os.close(secondary)
    seen = b""
    with suppress(OSError):
        while part := os.read(primary, 4096):
            seen += part
    os.close(primary)
    data = program.stdout.read() if program.stdout else b""
    if program.stdout:
        program.stdout.close()
    assert program.wait(30) in (0, 1)
    return seen.decode(), data


def lines(seen: str) -> list[str]:
    """Return what stays on the terminal: a line that is erased and written again counts once."""
    kept = re.sub(r"[^\n]*\x1b\[2K", "", seen.replace("\r\n", "\n"))
    return [line for line in CONTROL.sub("", kept).split("\n") if line]


def eight(here: Path) -> list[str]:
    return [save(here / f"{number} a b.png", colour(80, 60)).name for number in range(8)]


def test_a_terminal_shows_how_far_it_is_how_fast_and_how_long_yet(here: Path) -> None:
    seen, _ = on_terminal(here, *eight(here), "-s", "max:2")
    shown = re.findall(r"(\d)/8 inputs [\d.]+/s", CONTROL.sub("", seen))
    assert shown[0] == "0"
    assert shown[-1] == "8"
    assert re.search(r"\d:\d\d:\d\d", seen)
    assert seen.index(HIDDEN) < seen.rindex(SHOWN)


def test_what_is_said_stands_above_the_bar_on_lines_of_its_own(here: Path) -> None:
    names = [*eight(here), "missing " * 30]
    seen, _ = on_terminal(here, *names, "-s", "max:2", "--json", "-j", "1")
    said = [line for line in lines(seen) if "━" not in line]
    assert said[0] == "wrote pooled/0 a b.1-max2x2.png"
    assert json.loads(said[1])["input"] == "0 a b.png"
    assert f"error: {names[-1]}: no such file" in said
    assert said[-1] == f"1 of 9 inputs failed: {names[-1]}"
    assert len(said) == 8 * 2 + 3


@pytest.mark.parametrize(
    "arguments",
    [["-q"], ["-n"], ["--json", "-q"]],
    ids=" ".join,
)
def test_no_bar_where_none_is_wanted(here: Path, arguments: list[str]) -> None:
    seen, _ = on_terminal(here, *eight(here), "-s", "max:2", *arguments)
    assert "inputs" not in seen
    assert HIDDEN not in seen


def test_no_bar_on_a_dumb_terminal_and_none_for_a_single_picture(here: Path) -> None:
    names = eight(here)
    for seen, _ in (
        on_terminal(here, *names, "-s", "max:2", TERM="dumb"),
        on_terminal(here, names[0], "-s", "max:2", "--force"),
    ):
        assert "/s" not in seen
        assert HIDDEN not in seen


def test_no_bar_where_standard_error_is_no_terminal(process: Run, here: Path) -> None:
    ran = process("run", *eight(here), "-s", "max:2")
    assert len(ran.err.splitlines()) == 8
    assert "\x1b" not in ran.err + ran.out


def test_a_run_without_standard_error_is_a_run(here: Path) -> None:
    command = [sys.executable, "-m", "poolcli", "run", *eight(here), "-s", "max:2", "--json"]
    shell = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    done = subprocess.run(shell, cwd=here, env=environment(), stdout=subprocess.PIPE, check=True)
    assert len(done.stdout.splitlines()) == 8


def test_standard_output_that_is_piped_holds_the_data_alone(here: Path) -> None:
    names = eight(here)
    seen, data = on_terminal(here, *names, "-s", "max:2", "--json", stdout=subprocess.PIPE)
    assert [json.loads(line)["input"] for line in data.splitlines()] == names
    assert "8/8 inputs" in seen
    assert '"ok"' not in seen


def test_a_large_array_shows_its_share_and_bytes_a_second(here: Path) -> None:
    np.save(here / "a.npy", np.zeros((8, 2000, 2000), np.uint8))
    seen, _ = on_terminal(here, "a.npy", "-s", "max:2", "--memory", "20MB")
    assert re.search(r"\d+ % \d+ MiB/s", CONTROL.sub("", seen))


def test_the_bar_comes_to_its_end_whatever_is_read_twice() -> None:
    shown = SimpleNamespace(total=0)
    bar = progress._Bar(  # noqa: SLF001 - what it adds up
        SimpleNamespace(
            tasks={0: SimpleNamespace(fields={"inputs": 0})},
            advance=lambda _, size: shown.__dict__.update(total=shown.total + size),
            update=lambda _, advance, inputs: shown.__dict__.update(
                total=shown.total + advance, inputs=inputs
            ),
        ),  # type: ignore[arg-type] # as much of Rich's as it takes
        0,  # type: ignore[arg-type] # the same
    )
    job: Any = SimpleNamespace(size=1000)
    for size in (400, 400, 400, 400):
        bar.on_read(job, size)
    assert shown.total == 1000
    outcome: Any = SimpleNamespace(job=job)
    bar.done(outcome)
    failed: Any = SimpleNamespace(job=None)
    bar.done(failed)
    assert shown.total == progress.weight(outcome) + progress.weight(failed)


def test_names_on_a_terminal_stay_as_they_are(here: Path) -> None:
    for name in ("[red]a.png", "b[bold].png", ":smile:.png"):
        save(here / name, grey())
    seen, _ = on_terminal(here, ".", "-s", "max:2", "-j", "1")
    assert [line for line in lines(seen) if line.startswith("wrote")] == [
        "wrote pooled/:smile:.1-max2x2.png",
        "wrote pooled/[red]a.1-max2x2.png",
        "wrote pooled/b[bold].1-max2x2.png",
    ]
