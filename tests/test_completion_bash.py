"""What bash makes of completion: its function called by hand, and the tab key at a terminal."""

from __future__ import annotations

import os
import pty
import select
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import environment, save


@pytest.fixture
def program(here: Path) -> Path:
    """Give the test a folder with the program in it, to be put on PATH, and files beside it."""
    folder = here.parent / "bin"
    folder.mkdir()
    script = folder / "poolcli"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m poolcli "$@"\n')
    script.chmod(0o755)
    for name in ("weights.npy", "a b.npy", "net.toml", "nets/deep.npy", "notes.txt"):
        save(here / name, [1]) if name.endswith(".npy") else (here / name).touch()
    return folder


def shell_environment(program: Path) -> dict[str, str]:
    path = f"{program}{os.pathsep}{os.environ['PATH']}"
    return environment(PATH=path, HOME=str(program), TERM="dumb", INPUTRC=os.devnull)


CALL = """
compopt() { shift; options+=("$1"); }
eval "$(_POOLCLI_COMPLETE=bash_source poolcli)"
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
_poolcli_completion "$2" "${@: -1}" "${@: -2:1}"
printf '%s\\n' "${options[*]}" "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "replies"),
    [
        (["poolcli ", "r"], ["", "run"]),
        (["poolcli ", "run ", "-s ", "ma"], ["nospace nospace", "max:", "majority:"]),
        (["poolcli ", "run ", "-s ", "max", ":", "2,str"], ["nospace", "2,stride="]),
        (["poolcli ", "run ", "-s ", "max", ":", "2,ce"], ["", "2,ceil"]),
        (["poolcli ", "run ", "-s ", "max", ":", "2,pad", "=", "same-l"], ["", "same-lower"]),
        (["poolcli ", "run ", "--save", "=", "l"], ["", "last"]),
        (["poolcli ", "run ", "--stage", "=", "max", ":", ""], ["", "global"]),
        (["poolcli ", "run ", "-s ", "conv,weights", "=", "w"], ["filenames", "weights.npy"]),
        (["poolcli ", "run ", "--recipe ", "n"], ["filenames", "net.toml", "nets"]),
        (["poolcli ", "run ", "-o ", ""], ["filenames", "nets"]),
        (["poolcli ", "run ", "no"], ["filenames", "notes.txt"]),
        (["poolcli ", "run ", "-s ", "nonsense", ":", "2,"], [""]),
        (["/nowhere/poolcli ", "r"], [""]),
    ],
    ids="".join,
)
def test_the_function_that_bash_calls(
    here: Path, program: Path, words: list[str], replies: list[str]
) -> None:
    """Its words are those that bash makes of the line: it breaks at colons and equals signs."""
    done = subprocess.run(
        ["bash", "--norc", "-c", CALL, "bash", "".join(words), *(word.strip() for word in words)],
        capture_output=True,
        cwd=here,
        env=shell_environment(program),
        timeout=30,
        check=False,
    )
    lines = done.stdout.decode().splitlines()
    assert [*lines[:1], *sorted(lines[1:], key=replies.index)] == replies
    assert (done.returncode, done.stderr) == (0, b"")


TYPED = {
    "poolcli run -s maj": "poolcli run -s majority:",
    "poolcli run -s max:2,str": "poolcli run -s max:2,stride=",
    "poolcli run -s max:2,stride=1,ce": "poolcli run -s max:2,stride=1,ceil ",
    "poolcli run --stage=max:2,pad=same-l": "poolcli run --stage=max:2,pad=same-lower ",
    'poolcli run -s "max:2,ce': 'poolcli run -s "max:2,ceil" ',
    "poolcli run -s 'max:2,pad=v": "poolcli run -s 'max:2,pad=valid' ",
    "poolcli run -s conv,weights=w": "poolcli run -s conv,weights=weights.npy ",
    "poolcli run -s conv,weights=a\\ b.npy,str": "poolcli run -s conv,weights=a\\ b.npy,stride=",
    "poolcli run -s max:2,non": "poolcli run -s max:2,non",
    "poolcli run -s max:2,str x\x02\x02": "poolcli run -s max:2,stride= x",
    "poolcli run -o n": "poolcli run -o nets/",
    "~/poolcli r": "~/poolcli run ",
    "poolcli run a": "poolcli run a\\ b.npy ",
    "X=1 poolcli run é -s max:2,ce": "X=1 poolcli run é -s max:2,ceil ",
}
RC = """
PS1='ready> '
bind 'set bell-style none'
eval "$(_POOLCLI_COMPLETE=bash_source poolcli)"
bind -x '"\\C-g": echo "$READLINE_LINE" >> typed; READLINE_LINE='
"""


def test_what_the_tab_key_makes_of_a_line_in_bash(here: Path, program: Path) -> None:
    (here / "rc").write_text(RC)
    keyboard, terminal = pty.openpty()
    with subprocess.Popen(
        ["bash", "--noprofile", "--rcfile", "rc", "-i"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=here,
        env=shell_environment(program) | {"LC_ALL": "C.UTF-8"},
        start_new_session=True,
    ):
        os.close(terminal)
        type_at_the_prompt(keyboard, "".join(f"{line}\t\a" for line in TYPED) + "exit\n")
    assert (here / "typed").read_text("utf-8").splitlines() == list(TYPED.values())


def type_at_the_prompt(keyboard: int, keys: str) -> None:
    """Type once the shell is ready, and follow what it shows until it ends."""
    shown = b""
    while select.select([keyboard], [], [], 30)[0]:
        try:
            heard = os.read(keyboard, 4096)
        except OSError:
            heard = b""  # So Linux says that nobody is left at the terminal.
        if not heard:
            break
        shown += heard
        if keys and b"ready> " in shown:
            os.write(keyboard, keys.encode())
            keys = ""
    os.close(keyboard)
