"""The program with something that happens at one of its steps on the file system.

To be run in a process of its own, which loads the program once and forks for every run.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

from poolcli.cli.main import main

for _name in (
    "batch.executing", "batch.record", "cli.run", "engine", "files.archives", "files.arrays",
    "files.atomic", "files.discovery", "files.images", "report.progress",
):  # fmt: skip
    # All that a run loads, so that a fork does not load it again.
    import_module(f"poolcli.{_name}")

_EVENTS: Final = {
    "open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.truncate", "os.scandir",
    "fcntl.flock",
}  # fmt: skip
_SHORT: Final = 100
"""Bytes that are written at once."""
TEMPORARY: Final = re.compile(r"\.poolcli-.*\.tmp")


Do = Callable[[], None]


@dataclass(frozen=True)
class Ended:
    """How a run ended: its status, negative for a signal's, what it said, whether it happened."""

    status: int
    err: str
    happened: bool


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, but for the record."""
    files = (path for path in folder.rglob("*") if path.is_file())
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    return {name: content for name, content in found.items() if not name.startswith(".poolcli/")}


def temporaries(folder: Path) -> list[str]:
    """Return the names of temporary files, wherever they lie below a folder."""
    return sorted(path.name for path in folder.rglob("*") if TEMPORARY.fullmatch(path.name))


def run(arguments: Sequence[str], steps: Container[int] = (), do: Do = lambda: None) -> Ended:
    """Run the program in a process of its own, and do something at some steps, counted from 0.

    What is done may be to raise OSError: that is what the step then does.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _child(arguments, steps, do, writer)
    os.close(writer)
    with open(reader, "rb") as stream:  # noqa: PTH123 - from a descriptor
        said = stream.read()
    _, status = os.waitpid(child, 0)
    err = said.replace(b"\0", b"").decode()
    return Ended(os.waitstatus_to_exitcode(status), err, b"\0" in said)


def _child(arguments: Sequence[str], chosen: Container[int], do: Do, writer: int) -> NoReturn:
    sys.stdout, sys.stderr = (open(place, "w") for place in (os.devnull, writer))  # noqa: PTH123, SIM115 - the child's own
    steps, write = itertools.count(), os.write

    def step() -> None:
        if next(steps) in chosen:
            write(writer, b"\0")
            do()

    def watch(event: str, happening: tuple[Any, ...]) -> None:
        if event in _EVENTS and not str(happening[0]).endswith((".py", ".pyc")):
            step()

    def write_half(descriptor: int, content: memoryview) -> int:
        whole = len(content) < _SHORT
        written = write(descriptor, content if whole else content[: len(content) // 2])
        step()
        return written

    sys.addaudithook(watch)
    os.write = write_half  # type: ignore[assignment] # of the record's lines, for which it is used
    try:
        main(arguments)
    except SystemExit as ended:
        os._exit(int(ended.code or 0))


def each_step(
    command: Sequence[str], do: Do, *, lasting: bool = False
) -> Iterator[tuple[Ended, dict[str, bytes]]]:
    """Run a command again and again, something done a step later each time, until it is over.

    ``lasting``, it is done at all further steps, too. Yields how each run ended, and what it should
    have written; then the command is run once more, to go on.
    """
    whole = run([*command, "-o", "undisturbed"])
    assert (whole.status, whole.happened) == (0, False), whole
    expected = contents(Path("undisturbed"))
    folder = Path("out")
    for at in itertools.count():
        ended = run([*command, "-o", "out"], range(at, sys.maxsize if lasting else at + 1), do)
        if not ended.happened:
            return
        for name, content in contents(folder).items():
            if not TEMPORARY.fullmatch(Path(name).name):
                assert content == expected[name], f"{name} has {len(content)} bytes"
        yield ended, expected
        resumed = run([*command, "-o", "out", "--resume"])
        assert (resumed.status, resumed.err) == (0, ""), (at, resumed)
        assert contents(folder) == expected
        assert temporaries(folder) == []
        shutil.rmtree(folder)


def killed_at_each_step(command: Sequence[str]) -> None:
    """Kill a run at each of its steps: what bears a name is whole, and it can be gone on with."""
    number = 0
    for ended, _ in each_step(command, lambda: os.kill(os.getpid(), signal.SIGKILL)):
        assert ended == Ended(-signal.SIGKILL, "", happened=True), (number, ended)
        number += 1
    print(number)  # noqa: T201 - for the test


def failed_at_each_step(command: Sequence[str], number: int, *, lasting: bool) -> None:
    """Let each step of a run fail in turn: it is said in a line, and the other inputs are done."""
    reason = os.strerror(number)
    count = 0

    def fail() -> NoReturn:
        raise OSError(number, reason)

    for ended, expected in each_step(command, fail, lasting=lasting):
        count += 1
        lines = ended.err.splitlines()
        missing = {name.split(".")[0] for name in expected.keys() - contents(Path("out")).keys()}
        expected_status = 0 if not missing else 1 if "inputs failed" in ended.err else 2
        assert ended.status == expected_status, (count, ended)
        assert len(lines) == (0 if not missing else len(missing) + 1 if ended.status == 1 else 1)
        assert all(line.endswith(reason) for line in lines[: len(missing)]), ended
        assert "standard output" not in ended.err
        assert lasting or len(missing) <= 1 or ended.status == 2
    print(count)  # noqa: T201 - for the test
