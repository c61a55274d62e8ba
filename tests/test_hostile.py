"""Machines that fail on the way: full disks, closed pipes, what is removed or limited meanwhile."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import pytest

from poolcli import batch
from poolcli.batch.executing import execute
from poolcli.files import atomic, streams
from poolcli.files.inputs import Source
from poolcli.stages import Chain
from tests.conftest import Ran, Run, environment, grey, python, save, tree

FULL = Path("/dev/full")

LIMITED = """
import resource, sys
from poolcli.cli.main import main
limit = getattr(resource, sys.argv[1])
resource.setrlimit(limit, (int(sys.argv[2]), resource.getrlimit(limit)[1]))
main(sys.argv[3:])
"""


def limited(here: Path, limit: str, most: int, *arguments: str) -> Ran:
    """Run the program under one of the limits that a system sets a process."""
    return python(here, LIMITED, limit, str(most), *arguments)


def noise(height: int = 120, width: int = 160) -> np.typing.NDArray[np.uint8]:
    """Return a picture that nothing compresses."""
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("kind", ["png", "jpg", "tiff", "webp", "npy"])
def test_of_a_result_that_there_is_no_room_for_nothing_is_left(here: Path, kind: str) -> None:
    """The first bytes still find room: the system writes as many, and says so only in passing."""
    save(here / "a.png", noise())
    save(here / "b.png", noise(8, 8))
    command = ("run", "a.png", "b.png", "-s", "relu", "--format", kind, "-q")
    ran = limited(here, "RLIMIT_FSIZE", 10_000, *command)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.splitlines() == [
        f"error: a.png: pooled/a.1-relu.{kind} can't be written: File too large",
        "1 of 2 inputs failed: a.png",
    ]
    assert tree(here / "pooled") == [f"b.1-relu.{kind}"]


LEFT_EARLY = """
import os, sys, threading
from poolcli.batch.record import Record
from poolcli.cli.main import main
from poolcli.files import images
ended, write, close = threading.Event(), images.write, Record.close
def write_late(stream, array, *more):
    if array.shape == (4, 4):
        assert ended.wait(20)
    write(stream, array, *more)
def close_and_open_another(record):
    close(record)
    os.open(os.devnull, os.O_RDWR)
    ended.set()
images.write, Record.close = write_late, close_and_open_another
main(sys.argv[1:])
"""


def test_what_is_written_after_the_reader_has_left_is_not_lost_on_resume(
    poolcli: Run, here: Path
) -> None:
    """An input is in work while the run ends: a result without a line would be in the way."""
    names = [save(here / f"{name}.png", grey()).name for name in "acd"]
    names.insert(1, save(here / "b.png", grey(8, 8)).name)
    command = ["run", *names, "-s", "max:2", "-j", "2", "-q"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", LEFT_EARLY, *command, "--json"],
        stdout=writer, stderr=subprocess.PIPE, cwd=here, env=environment(), timeout=60, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.stderr == b""
    ran = poolcli(*command, "--resume")
    assert (ran.status, ran.err) == (0, "")
    assert len(tree(here / "pooled")) == 4


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_log_on_a_full_disk_does_not_stop_the_work(here: Path, jobs: str) -> None:
    names = [save(here / f"{number} {'long ' * 20}.png", grey()).name for number in range(120)]
    (here / "broken.png").write_bytes(b"broken")
    command = ["run", *names, "-s", "max:2", "-j", jobs, "--json"]
    for more, status in (([], 0), (["broken.png", "--force"], 1)):
        with FULL.open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "poolcli", *command, *more],
                stdout=subprocess.PIPE, stderr=full, cwd=here, env=environment(), timeout=60,
                check=False,
            )  # fmt: skip
        assert done.returncode == status
        assert len(done.stdout.splitlines()) == 120 + status
        assert len(tree(here / "pooled")) == 120


@pytest.mark.parametrize(
    "command",
    [
        "run d -s max:2 --json -q",
        "run d -s max:2",
        "run d -s max:2 -n",
        "shape 3x224x224 -s max:2",
        "ops",
        "--help",
        "run --help",
        "--version",
        "nonsense",
        "run missing.png -s max:2",
    ],
)
def test_a_pipe_of_both_outputs_that_is_closed_is_no_accident(here: Path, command: str) -> None:
    """Where Python itself fails to flush at its end, it exits with 120."""
    for number in range(8):
        save(here / f"d/{number}.png", grey())
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "poolcli", *command.split()],
        stdout=writer, stderr=writer, cwd=here, env=environment(), timeout=60, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode in (0, 1, 2)


def test_a_reader_that_leaves_after_the_first_line_hears_of_nothing_else(
    process: Run, here: Path
) -> None:
    for number in range(40):
        save(here / f"d/{number:02}.png", grey())
    child = subprocess.Popen(
        [sys.executable, "-m", "poolcli", "run", "d", "-s", "max:2", "--json", "-q"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=here, env=environment(),
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline().startswith(b'{"input": "d/00.png"')
        child.stdout.close()
        assert child.stderr.read() == b""
    ran = process("run", "d", "-s", "max:2", "--resume", "-q")
    assert (ran.status, ran.err) == (0, "")
    assert len(tree(here / "pooled")) == 40


def full() -> IO[bytes]:
    return FULL.open("r+b")


def nowhere() -> NoReturn:
    raise FileNotFoundError(errno.ENOENT, "No usable temporary directory")


IN_TEMPORARY = "it can't be held in a temporary file: {}: set TMPDIR to another folder"


@pytest.mark.parametrize(
    ("opened", "said"),
    [(full, "No space left on device"), (nowhere, "No usable temporary directory")],
)
def test_a_pipe_that_there_is_no_room_for(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch, opened: object, said: str
) -> None:
    data = save(here / "a.png", grey()).read_bytes()
    monkeypatch.setattr(streams, "_IN_MEMORY", 20)
    monkeypatch.setattr(tempfile, "TemporaryFile", opened)
    ran = poolcli("run", "-", "a.png", "-s", "max:2", "-q", stdin=data)
    assert ran.status == 1
    assert ran.err.splitlines() == [
        f"error: -: {IN_TEMPORARY.format(said)}",
        "1 of 2 inputs failed: -",
    ]
    assert tree(here / "pooled") == ["a.1-max2x2.png"]


def test_an_archive_that_there_is_no_room_to_inflate_is_not_called_broken(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    np.savez_compressed(here / "a.npz", m=np.zeros((3, 2500, 2500), np.uint8))
    ran = poolcli("run", "a.npz:m", "-s", "max:2", "-q", "--memory", "20MiB")
    assert ran.error(1) == f"a.npz:m: {IN_TEMPORARY.format('No space left on device')}"
    assert tree(here) == ["a.npz", "pooled"]


def after_the_first_result(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Do something when the first result of a run has taken its name."""
    publish = atomic._publish  # noqa: SLF001 - the moment

    def publish_and_do(*arguments: Any, **more: Any) -> None:
        publish(*arguments, **more)
        monkeypatch.setattr(atomic, "_publish", publish)
        do()

    monkeypatch.setattr(atomic, "_publish", publish_and_do)


@pytest.mark.parametrize("removed", ["e", ".", ".poolcli"])
def test_a_folder_that_is_removed_meanwhile_is_not_made_again(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch, removed: str
) -> None:
    """Results in others are made, as long as they can be noted."""
    for name in ("d/e/a.png", "d/e/b.png", "d/f/c.png"):
        save(here / name, grey())
    folder = here / "pooled" / removed
    after_the_first_result(monkeypatch, lambda: shutil.rmtree(folder))
    ran = poolcli("run", "d", "-r", "-s", "max:2", "-q", "-j", "1")
    assert ran.status == 1
    gone = "can't be written: No such file or directory"
    unnoted = (
        "the record pooled/.poolcli can't be written: it has been removed: run again with --resume"
    )
    said = {
        "e": [f"d/e/b.png: pooled/e/b.1-max2x2.png {gone}"],
        ".": [
            f"d/{name}: pooled/{name[:3]}.1-max2x2.png {gone}" for name in ("e/b.png", "f/c.png")
        ],
        ".poolcli": [f"d/{name}: {unnoted}" for name in ("e/b.png", "f/c.png")],
    }[removed]
    *errors, summary = ran.err.splitlines()
    assert errors == [f"error: {line}" for line in said]
    assert summary.startswith(f"{len(said)} of 3 inputs failed: ")
    assert not folder.exists()
    left = {"e": ["f", "f/c.1-max2x2.png"], ".": [], ".poolcli": ["e", "e/a.1-max2x2.png", "f"]}
    assert tree(here / "pooled") == left[removed]


def read_only(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_disk_that_becomes_read_only_meanwhile(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [save(here / f"{name}.png", grey()).name for name in "abc"]
    with monkeypatch.context() as patch:
        after_the_first_result(patch, lambda: patch.setattr(atomic, "create", read_only))
        ran = poolcli("run", *names, "-s", "max:2", "-q", "-j", "1")
    assert ran.status == 1
    assert ran.err.splitlines() == [
        "error: b.png: pooled/b.1-max2x2.png can't be written: Read-only file system",
        "error: c.png: pooled/c.1-max2x2.png can't be written: Read-only file system",
        "2 of 3 inputs failed: b.png, c.png",
    ]
    assert tree(here / "pooled") == ["a.1-max2x2.png"]
    assert poolcli("run", *names, "-s", "max:2", "-q", "--resume").status == 0


def sparse(path: Path) -> Path:
    """Write an array that is read in parts, and takes no room on the disk."""
    with path.open("wb") as stream:
        facts = {"descr": "<f4", "fortran_order": False, "shape": (3, 1500, 1600)}
        np.lib.format.write_array_header_1_0(stream, facts)
        stream.truncate(stream.tell() + 4 * 3 * 1500 * 1600)
    return path


def test_inputs_that_vanish_or_are_cut_short_meanwhile(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b removed", "c cut"):
        save(here / f"{name}.png", noise(20, 20))
        save(here / f"{name}.npy", grey(20, 20))
        np.savez(here / f"{name}.npz", m=grey(20, 20))
        sparse(here / f"{name} large.npy")
    names = sorted(path.name for path in here.iterdir())

    def spoil() -> None:
        for name in names:
            if "removed" in name:
                (here / name).unlink()
            if "cut" in name:
                os.truncate(here / name, (here / name).stat().st_size // 2)

    after_the_first_result(monkeypatch, spoil)
    ran = poolcli("run", *names, "-s", "max:2", "-q", "-j", "1", "--memory", str(24 << 20))
    assert ran.status == 1
    *errors, summary = ran.err.splitlines()
    assert [error.partition(": ")[2].partition(": ")[0] for error in errors] == [
        f"{name}:m" if name.endswith("npz") else name for name in names if name[0] != "a"
    ]
    assert summary.startswith("8 of 12 inputs failed: ")
    for error in errors:
        assert error.endswith(": no such file") == ("removed" in error)
        if "cut" in error:
            assert "truncated: " in error or "a broken " in error
    assert tree(here / "pooled") == [
        "a large.1-max2x2.npy", "a.1-max2x2.npy", "a.1-max2x2.png", "a.m.1-max2x2.npy",
    ]  # fmt: skip


def test_more_open_files_than_the_system_allows(here: Path) -> None:
    """An array in parts has all its results open at once."""
    names = [save(here / f"{name}.png", grey(64, 64)).name for name in "acd"]
    names.insert(1, sparse(here / "b.npy").name)
    stages = ["-s", "max:2"] * 6
    command = ["run", *names, *stages, "-q", "-j", "1", "--memory", str(24 << 20)]
    ran = limited(here, "RLIMIT_NOFILE", 9, *command)
    assert ran.status == 1
    error, summary = ran.err.splitlines()
    assert re.fullmatch(
        r"error: b\.npy: pooled/b\.\d-max2x2\.npy can't be written: Too many open files", error
    )
    assert summary == "1 of 4 inputs failed: b.npy"
    assert tree(here / "pooled") == [
        f"{name}.{number}-max2x2.png" for name in "acd" for number in range(1, 7)
    ]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("file", "can't be made: file is not a folder"),
        ("file/below", "can't be made: file is not a folder"),
        ("file/below/that", "can't be made: file is not a folder"),
        ("nowhere", "can't be made: nowhere is not a folder"),
        ("loop", "can't be made: loop is not a folder"),
        ("/dev/null", "can't be made: /dev/null is not a folder"),
        ("/proc/1", "can't be written: "),
        ("/dev/full/below", "can't be made: /dev/full is not a folder"),
    ],
)
def test_an_output_folder_that_can_be_none(
    poolcli: Run, here: Path, output: str, said: str
) -> None:
    names = [save(here / f"{name}.png", grey()).name for name in "ab"]
    (here / "file").write_text("mine")
    (here / "nowhere").symlink_to("missing")
    (here / "loop").symlink_to("loop")
    before = tree(here)
    for more in ([], ["--force"]):
        said_so = poolcli("run", *names, "-s", "max:2", "-o", output, *more).error(2)
        assert said_so.startswith(f"the output folder {output} {said}")
    assert output in poolcli("run", *names, "-s", "max:2", "-o", output, "--resume").error(2)
    assert tree(here) == before


def test_failed_inputs_hold_no_pixels_while_they_wait_for_their_turn(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def full_disk(_: object, array: Any, *__: object) -> NoReturn:
        written.append(weakref.ref(array))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("poolcli.files.images.write", full_disk)
    save(here / "a.png", grey())
    (here / "pooled").mkdir()
    options = batch.Options()
    (job,) = batch.prepare([Source("a.png")], Chain.parse("max:2"), options)
    assert isinstance(job, batch.Job)
    outcome = execute(job, options)
    assert outcome.error is not None
    assert outcome.error.__cause__ is not None
    (ref,) = written
    assert ref() is None
