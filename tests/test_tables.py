from __future__ import annotations

import io
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

import pytest

from poolcli.plan import plan
from poolcli.report.tables import print_plan, print_rows
from tests.conftest import Run, environment, grey, save

CHAIN = ("-s", "max:3,stride=2,pad=1", "-s", "relu", "-s", "avg,out=7")
LONG = (
    "-s",
    "max:3x5,stride=2x3,pad=1x0-2,dilation=1x2,ceil",
    "-s",
    "avg:2,exclude-pad,pad=1,ceil",
)

NATURAL = """\
3x224x224
#  stage                       kernel  stride  padding  output shape  receptive field  jump  elements   memory  operations
──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
   input (CHW float32)                                  3×224×224                             150,528  588 KiB
1  max:3x3,stride=2x2,pad=1x1  3×3     2×2     1×1      3×112×112     3×3              2×2     37,632  147 KiB   301 k cmp
2  relu                        -       -                3×112×112     3×3              2×2     37,632  147 KiB
3  avg,out=7x7                 16×16   -       0×0      3×7×7         33×33            -          147    588 B  37.5 k add
1,024× fewer elements, 301 k cmp, 37.5 k add, peak 735 KiB
"""  # noqa: E501 - as wide as it is

SIMPLE = """\
4x6
#  stage               kernel  stride  padding  output shape  receptive field  jump  elements  memory  operations
─────────────────────────────────────────────────────────────────────────────────────────────────────────────────
   input (HW float32)                           4×6                                        24    96 B
1  max:2x2,stride=2x2  2×2     2×2     0×0      2×3           2×2              2×2          6    24 B      18 cmp
4× fewer elements, 18 cmp, peak 120 B
"""  # noqa: E501 - as wide as it is


def test_piped_a_table_is_as_wide_as_it_needs(poolcli: Run) -> None:
    ran = poolcli("shape", "3x224x224", *CHAIN)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == NATURAL


def test_the_table_of_the_simplest_chain(poolcli: Run) -> None:
    assert poolcli("shape", "4x6", "-s", "max:2").out == SIMPLE


def joined(text: str) -> str:
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("width", [80, 72])
@pytest.mark.parametrize(
    "chain", [CHAIN, LONG, ("--preset", "vgg16")], ids=["short", "long", "vgg16"]
)
def test_a_narrow_table_is_no_wider_and_cuts_no_spec_and_no_shape(
    poolcli: Run, monkeypatch: pytest.MonkeyPatch, width: int, chain: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = poolcli("shape", "3x224x224", *chain).out
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    loaded = poolcli("shape", "3x224x224", *chain, "--csv").out
    for row in loaded.splitlines()[1:]:
        spec = re.match(r'\d+,("[^"]*"|[^,]*),', row)
        assert spec is not None
        for part in re.findall("[^,]+,?", spec[1].strip('"')):
            assert part in text
    for shape in re.findall(r",(\d+x\d+x\d+),float32", loaded):
        assert shape.replace("x", "×") in (text if width >= 72 else joined(text))


def test_at_80_columns_the_important_columns_stay(
    poolcli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = poolcli("shape", "3x224x224", *CHAIN).out
    for heading in (
        "stage",
        "output",
        "shape",
        "receptive",
        "field",
        "jump",
        "memory",
        "operations",
    ):
        assert heading in text
    for value in (
        "3×112×112",
        "33×33",
        "2×2",
        "147 KiB",
        "301 k cmp",
        "max:3x3,stride=2x2,pad=1x1",
    ):
        assert value in text
    assert "1,024× fewer elements, 301 k cmp, 37.5 k add, peak 735 KiB" in text


@pytest.mark.parametrize("width", [1, 5, 20, 40])
def test_no_terminal_is_too_narrow(
    poolcli: Run, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    ran = poolcli("shape", "3x224x224", *LONG)
    assert ran.status == 0
    assert "…" not in ran.out
    assert max(map(len, ran.out.splitlines())) <= width


@pytest.mark.parametrize("width", ["", "80"])
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a[b].png", "a[b].png"),
        ("[bold]a[red].png", "[bold]a[red].png"),
        ("a\nb.png", "a\\nb.png"),
        (":smile:.png", ":smile:.png"),
        ("a\x1b[31m.png", "a\\x1b[31m.png"),
        ("long-" * 40 + ".png", "long-" * 40 + ".png"),
        ("画" * 70 + ".png", "画" * 70 + ".png"),
        ("two  words.png", "two  words.png"),
    ],
    ids=["brackets", "markup", "newline", "emoji", "escape", "long", "wide", "spaces"],
)
def test_names_are_shown_truly(  # noqa: PLR0913, PLR0917 - a parameter per column
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch, name: str, shown: str, width: str
) -> None:
    if width:
        monkeypatch.setenv("COLUMNS", width)
    save(here / "x.png", grey()).rename(here / name)
    ran = poolcli("run", name, "-s", "max:2")
    assert ran.status == 0
    # A table may fold a title that is longer than itself, but drops nothing of it.
    head = ran.out.splitlines()
    folded = head[: next(index for index, line in enumerate(head) if re.match(" {9}|#", line))]
    assert "".join(folded) == shown
    result = shown.removesuffix(".png")
    assert ran.err == f"wrote pooled/{result}.1-max2x2.png\n"
    missing = poolcli("run", f"no {name}"[:200], "-s", "max:2")
    assert missing.error(1) == f"no {shown}"[:200] + ": no such file" or len(name) > 190


def test_a_long_path_is_folded_never_cut(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folder = "a-folder/" * 20
    save(here / folder / "x.png", grey())
    ran = poolcli("run", f"{folder}x.png", "-s", "max:2", "--save", "none")
    assert f"{folder}x.png" in joined(ran.out)
    assert max(map(len, ran.out.splitlines())) <= 80


def terminal(here: Path, *arguments: str, **more: str) -> str:
    """Run the program on a terminal of 80 columns, and return what is seen on it."""
    primary, secondary = pty.openpty()
    ioctl(secondary, TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    done = subprocess.run(
        [sys.executable, "-m", "poolcli", *arguments],
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        cwd=here,
        env=environment(**({"TERM": "xterm-256color"} | more)),
        timeout=30,
        check=False,
    )
    assert done.returncode in (0, 1)
    os.close(secondary)
    seen = b""
    # Linux says EIO where a terminal's other end is closed.
    with suppress(OSError):
        while part := os.read(primary, 4096):
            seen += part
    os.close(primary)
    return seen.decode()


COLOUR = re.compile(r"\x1b\[(?:\d+;)*[34]\d")
WORDS = ("run", "x.png", "missing.png", "-s", "sum:2")


def test_on_a_terminal_there_is_style_and_no_line_is_too_long(here: Path) -> None:
    save(here / "x.png", grey(8, 8) * 4)
    seen = terminal(here, *WORDS)
    assert COLOUR.search(seen)
    assert "\x1b[1m" in seen
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", seen))
    assert max(len(line) for line in lines if not line.startswith("warning:")) <= 80


def test_no_color_holds(here: Path) -> None:
    save(here / "x.png", grey(8, 8) * 4)
    seen = terminal(here, *WORDS, NO_COLOR="1")
    assert "error: missing.png" in seen
    assert not COLOUR.search(seen)


def test_a_dumb_terminal_gets_no_escapes(here: Path) -> None:
    save(here / "x.png", grey(8, 8) * 4)
    seen = terminal(here, *WORDS, TERM="dumb")
    assert "error: missing.png" in seen
    assert "\x1b" not in seen


def test_a_plan_is_printed_to_any_stream(here: Path) -> None:
    assert here.is_dir()
    stream = io.StringIO()
    print_plan(plan((4, 4), "max:2"), "title", stream)
    assert stream.getvalue().startswith("title\n#  stage")
    assert not any(line.endswith(" ") for line in stream.getvalue().splitlines())


def test_rows_are_printed_as_text(here: Path) -> None:
    assert here.is_dir()
    stream = io.StringIO()
    print_rows(("a", "b"), [("[bold]x[/bold]", ":smile:"), ("", "y")], stream)
    assert stream.getvalue() == (
        "a               b\n───────────────────────\n[bold]x[/bold]  :smile:\n                y\n"
    )


def test_inputs_that_share_a_plan_share_a_table(poolcli: Run, here: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        save(here / name, grey())
    save(here / "d.png", grey(8, 8))
    out = poolcli("run", "a.png", "d.png", "b.png", "c.png", "-s", "max:2").out
    assert [line for line in out.splitlines() if ".png" in line] == ["a.png and 2 more", "d.png"]
