"""SIGINT and SIGTERM: the end comes at once, in one line, and what is there is whole."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import numpy as np
import pytest

from tests.conftest import ROOT, Run, environment, grey, save, tree

SAID = {
    signal.SIGINT: "error: interrupted; results so far are whole\n",
    signal.SIGTERM: "error: terminated; results so far are whole\n",
}
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
IN_PARTS = str(20 << 20)
"""Memory in which the array of these tests is read in parts."""

SLOW = """
import os, sys, threading, time
from poolcli.cli.main import main
from poolcli.files import arrays, images
read, write = arrays.ArrayReader.read, images.write
seconds, parts = float(sys.argv[1]), iter(range(1000))
def read_slowly(*part):
    if next(parts) == 2:
        open("begun", "x").close()
    time.sleep(seconds if os.path.exists("begun") else 0)
    return read(*part)
def write_slowly(stream, array, *more):
    if array.shape != (4, 4):
        write(stream, array, *more)
        return
    stream.write(b"half")
    stream.flush()
    open("begun", "x").close()
    time.sleep(seconds)
arrays.ArrayReader.read, images.write = read_slowly, write_slowly
main(sys.argv[2:])
"""
"""The program, at an array in parts, or at a picture with a result of 4×4: half done, then slow."""


def wait_until(condition: Callable[[], object], child: subprocess.Popen[bytes]) -> None:
    for _ in range(6000):
        if condition():
            return
        assert child.poll() is None, child.communicate()
        time.sleep(0.005)
    pytest.fail("it never came to pass")


@contextmanager
def python(here: Path, *arguments: str, **streams: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start Python, which does not outlive the test."""
    environ = environment(TERM="xterm-256color")
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, cwd=here, env=environ, **streams) as child:  # type: ignore[call-overload] # streams alone
        try:
            yield child
        finally:
            child.kill()


@contextmanager
def slow(here: Path, seconds: float, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the program, and wait until it is in the middle of something slow."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with python(here, "-c", SLOW, str(seconds), "run", *arguments, **pipes) as child:
        wait_until((here / "begun").exists, child)
        yield child


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in tree(folder)}


def array(path: Path) -> Path:
    """Save an array that takes some forty parts."""
    np.save(path, np.random.default_rng(1).integers(0, 256, (3, 3000, 2000), np.uint8))
    return path


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("number", SAID)
def test_an_array_in_parts_is_not_waited_for(
    poolcli: Run, here: Path, number: signal.Signals, jobs: str
) -> None:
    """All of it would take minutes."""
    command = ["a.png", "b.npy", "-s", "max:2", "-s", "avg:2", "--memory", IN_PARTS]
    save(here / "a.png", grey())
    array(here / "b.npy")
    with slow(here, 1, *command, "-j", jobs, "-q") as child:
        wait_until((here / "pooled/a.2-avg2x2.png").exists, child)
        began = time.monotonic()
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    assert time.monotonic() - began < 20
    assert (child.returncode, out) == (128 + number, b"")
    assert err.decode() == SAID[number]
    assert tree(here / "pooled") == ["a.1-max2x2.png", "a.2-avg2x2.png"]
    ran = poolcli("run", *command, "--resume", "--json")
    assert (ran.status, ran.err.splitlines()[-1]) == (0, "1 of 2 inputs were complete already")
    assert poolcli("run", *command, "-q", "-o", "fresh").status == 0
    assert contents(here / "pooled") == contents(here / "fresh")


@pytest.mark.parametrize("number", SAID)
def test_inputs_in_work_are_not_waited_for(
    poolcli: Run, here: Path, number: signal.Signals
) -> None:
    names = [save(here / f"{name}.png", grey()).name for name in "ac"]
    names.insert(1, save(here / "b.png", grey(8, 8)).name)
    command = [*names, "-s", "max:2", "-j", "2", "-q"]
    with slow(here, 60, *command) as child:
        wait_until((here / "pooled/c.1-max2x2.png").exists, child)
        child.send_signal(number)
        out, err = child.communicate(timeout=30)
    assert (child.returncode, out) == (128 + number, b"")
    assert err.decode() == SAID[number]
    assert tree(here / "pooled") == ["a.1-max2x2.png", "c.1-max2x2.png"]
    assert poolcli("run", *command, "--resume").status == 0
    assert len(tree(here / "pooled")) == 3


@pytest.mark.parametrize("number", SAID)
def test_a_second_signal_does_not_wait_for_a_disk_that_does_not_answer(
    here: Path, number: signal.Signals
) -> None:
    array(here / "a.npy")
    command = ["a.npy", "-s", "max:2", "--memory", IN_PARTS]
    with slow(here, 60, *command, "-j", "1", "-q") as child:
        for _ in range(100):
            child.send_signal(number)
            time.sleep(0.1)
            if child.poll() is not None:
                break
        _, err = child.communicate(timeout=10)
    assert child.returncode == 128 + number
    assert err.decode() == SAID[number]
    assert tree(here / "pooled") == []


@pytest.mark.parametrize("times", [1, 20])
@pytest.mark.parametrize("number", SAID)
def test_the_cursor_is_shown_again(here: Path, number: signal.Signals, times: int) -> None:
    """The bar hides it, and whoever presses Ctrl-C does so more than once."""
    array(here / "a.npy")
    primary, secondary = pty.openpty()
    terminal = dict.fromkeys(("stdin", "stdout", "stderr"), secondary)
    command = ("run", "a.npy", "-s", "max:2", "--memory", IN_PARTS)
    seen = b""
    with python(here, "-c", SLOW, "1", *command, **terminal) as child:
        os.close(secondary)
        # A terminal that nobody has open any more can't be read.
        with suppress(OSError):
            while part := os.read(primary, 4096):
                seen += part
                if (here / "begun").exists() and times:
                    child.send_signal(number)
                    times -= 1
        assert child.wait(30) == 128 + number
    os.close(primary)
    shown = seen.decode()
    assert HIDDEN in shown
    assert shown.rindex(SHOWN) > shown.rindex(HIDDEN)
    last = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown).splitlines()[-1]
    assert last.endswith(SAID[number].strip())


def test_what_nobody_reads_does_not_hold_up_the_end(here: Path) -> None:
    """As of a program that starts this one, terminates it, and waits, without reading its pipe."""
    names = [save(here / f"{number}.png", grey()).name for number in range(8)]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(1))
    os.set_blocking(writer, True)
    command = ("-m", "poolcli", "run", *names, "-s", "max:2", "--json", "-j", "1")
    with python(here, *command, stdout=subprocess.DEVNULL, stderr=writer) as child:
        wait_until((here / "pooled/0.1-max2x2.png").exists, child)
        child.terminate()
        assert child.wait(30) == 143
    os.close(writer)
    os.close(reader)


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("number", SAID)
def test_a_library_that_looks_at_no_signal_is_not_waited_for(
    here: Path, number: signal.Signals, jobs: str
) -> None:
    """As an encoder at a large picture; a single input is not worked on in the main thread."""
    save(here / "a.png", grey(8, 8))
    with python(here, "-c", DEAF, "run", "a.png", "-s", "max:2", "-q", "-j", jobs) as child:
        wait_until((here / "begun").exists, child)
        began = time.monotonic()
        child.send_signal(number)
        assert child.wait(60) == 128 + number
    assert time.monotonic() - began < 10
    assert tree(here / "pooled") == []


DEAF = """
import hashlib, sys
from poolcli.cli.main import main
from poolcli.files import images
def write(stream, *more):
    stream.write(b"half")
    stream.flush()
    open("begun", "x").close()
    # A minute or two of C, without the interpreter's lock.
    hashlib.pbkdf2_hmac("sha256", b"", b"", 100_000_000)
images.write = write
main(sys.argv[1:])
"""

LOADING = """
import os, signal
os.kill(os.getpid(), signal.{})
"""
"""A module that the program loads, and while it does so, a signal comes."""


@pytest.mark.parametrize("number", SAID)
@pytest.mark.parametrize("module", ["click", "dataclasses", "typing", "poolcli.errors"])
def test_a_signal_while_the_program_loads_is_no_traceback(
    here: Path, module: str, number: signal.Signals
) -> None:
    """Neither in the package itself nor in what it loads first."""
    if module == "poolcli.errors":
        shutil.copytree(ROOT / "poolcli", here / "poolcli")
    place = here / f"{module.replace('.', '/')}.py"
    place.write_text(LOADING.format(number.name))
    command = ("-m", "poolcli", "shape", "8", "-s", "max:2")
    with python(here, *command, stderr=subprocess.PIPE) as child:
        _, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (128 + number, b"")


def test_a_job_in_the_background_is_not_interrupted_while_it_loads(here: Path) -> None:
    """A shell without job control starts it with SIGINT ignored."""
    code = (
        "import signal, runpy, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        "sys.argv[:] = ['poolcli', '--version']; runpy.run_module('poolcli', run_name='__main__')"
    )
    (here / "click.py").write_text(
        LOADING.format("SIGINT") + f"import sys; sys.path.remove({str(here)!r})\n"
        "del sys.modules['click']; import click\n"
    )
    environ = environment() | {"PYTHONPATH": f"{here}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=ROOT, env=environ, timeout=30,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"poolcli ")


TRIES = 40
SPAN = 0.06
"""Seconds after the start in which the program loads."""
BARE = """
import _signal
_signal.signal(_signal.SIGINT, _signal.SIG_DFL)
import time
time.sleep(1)
"""
"""A program that takes signals over as early as a program can."""


def test_ctrl_c_at_any_moment_of_the_start_is_no_more_a_traceback_than_in_any_program(
    here: Path,
) -> None:
    """Until the first line of a program runs, Python answers, and nothing can be done about it.

    Of 300 tries a bare program fails 13, this one 28; without early handlers it fails 258.
    """
    (here / "bare.py").write_text(BARE)
    moments = Random(0)  # noqa: S311 - the same in every run
    programs = {"bare": ("-m", "bare"), "poolcli": ("-m", "poolcli", "shape", "8", "-s", "max:2")}
    failed = dict.fromkeys(programs, 0)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    for _ in range(TRIES):
        moment = moments.uniform(0, SPAN)
        # In turn, so that both meet the same load.
        for name, command in programs.items():
            with python(here, *command, **quiet) as child:
                time.sleep(moment)
                child.send_signal(signal.SIGINT)
                _, err = child.communicate(timeout=30)
            failed[name] += b"Traceback" in err
    assert failed["poolcli"] <= failed["bare"] + TRIES // 3


def test_another_program_that_loads_the_library_is_interrupted_as_ever(here: Path) -> None:
    (here / "dataclasses.py").write_text(LOADING.format("SIGINT"))
    with python(here, "-c", "import poolcli; poolcli.Chain", stderr=subprocess.PIPE) as child:
        _, err = child.communicate(timeout=30)
    assert err.endswith(b"KeyboardInterrupt\n")


def test_the_command_begins_where_the_module_does() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"poolcli": "poolcli.__main__:main"}


LEFT = """
import sys, time
from poolcli import threads
from poolcli.batch.record import Record
from poolcli.cli import main as cli
from poolcli.files import images
write, close = images.write, Record.close
def write_slowly(stream, array, *more):
    if array.shape == (4, 4):
        time.sleep(60)
    write(stream, array, *more)
def close_and_say_so(record):
    close(record)
    if sys.argv[1] == "refused":
        threads.start_new_thread = refuse
    open("begun", "x").close()
def refuse(*_):
    raise RuntimeError("can't create new thread at interpreter shutdown")
images.write, Record.close = write_slowly, close_and_say_so
cli.main(sys.argv[2:])
"""


@pytest.mark.parametrize("threads", ["begun", "refused"])
@pytest.mark.parametrize("number", SAID)
def test_a_signal_behind_the_end_of_the_run_is_no_traceback(
    here: Path, number: signal.Signals, threads: str
) -> None:
    """The reader of the report has left, and the process waits for an input in work.

    Python 3.12 begins no thread any more by then.
    """
    names = [save(here / f"{name}.png", grey()).name for name in "ac"]
    names.insert(1, save(here / "b.png", grey(8, 8)).name)
    reader, writer = os.pipe()
    os.close(reader)
    command = (threads, "run", *names, "-s", "max:2", "-j", "2", "--json", "-q")
    with python(here, "-c", LEFT, *command, stdout=writer, stderr=subprocess.PIPE) as child:
        os.close(writer)
        wait_until((here / "begun").exists, child)
        child.send_signal(number)
        _, err = child.communicate(timeout=30)
    assert child.returncode == 128 + number
    assert err.decode() == SAID[number]
