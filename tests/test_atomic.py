from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt
import pytest

from poolcli.errors import OutputError, UsageError
from poolcli.files import atomic
from tests.conftest import Run, environment, grey, python, save, tree


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_a_result_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new/a.bin"
    atomic.check_writable(path.parent)
    with atomic.writing(path, replace=False) as stream:
        stream.write(b"whole")
        stream.flush()
        assert not path.exists()
        assert len(tree(tmp_path / "new")) == 1
    assert path.read_bytes() == b"whole"
    assert tree(tmp_path / "new") == ["a.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("replace", [False, True])
def test_a_failure_on_the_way_leaves_everything_as_it_was(
    tmp_path: Path, error: type[BaseException], replace: bool
) -> None:
    path = tmp_path / "a.bin"
    if replace:
        path.write_bytes(b"mine")
    before = tree(tmp_path)

    def write() -> None:
        with atomic.writing(path, replace=replace) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert tree(tmp_path) == before
    assert not replace or path.read_bytes() == b"mine"


def test_the_disk_is_full_midway(poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(stream: BinaryIO, *_: object) -> NoReturn:
        stream.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save(here / "a.png", grey())
    save(here / "pooled/b.1-max2x2.png", grey())
    before = tree(here)
    monkeypatch.setattr("poolcli.files.images.write", full)
    said = poolcli("run", "-q", "a.png", "-s", "max:2").error(1)
    assert said == "a.png: pooled/a.1-max2x2.png can't be written: No space left on device"
    assert tree(here) == before


FULL = """
import resource, sys
from poolcli.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
main(sys.argv[1:])
"""


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_the_system_refuses_more_bytes_midway(here: Path, force: list[str]) -> None:
    """A true failure of write(2), at a limit on the size of files."""
    save(here / "a.npy", np.zeros((1, 64, 64)), "float32")
    if force:
        save(here / "pooled/a.1-pick1x1.npy", [1, 2, 3])
    ran = python(here, FULL, "run", "-q", "a.npy", "-s", "max:2", "-s", "pick:1", *force)
    assert ran.status == 0
    for path in (here / "pooled").glob("a.1-max*"):
        path.unlink()
    (here / "pooled/a.2-pick1x1.npy").unlink()
    kept = {path: path.read_bytes() for path in (here / "pooled").iterdir()}
    ran = python(here, FULL, "run", "-q", "a.npy", "-s", "pick:1", *force)
    assert "pooled/a.1-pick1x1.npy can't be written: File too large" in ran.error(1)
    assert {path: path.read_bytes() for path in (here / "pooled").iterdir()} == kept


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_a_file_that_appears_in_the_meantime_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "a.bin"

    def write(*, meanwhile: bool) -> None:
        with atomic.writing(path, replace=False) as stream:
            stream.write(b"new")
            if meanwhile:
                path.write_bytes(b"mine")

    with pytest.raises(OutputError, match=r"a.bin exists: give --force"):
        write(meanwhile=True)
    assert path.read_bytes() == b"mine"
    path.unlink()
    write(meanwhile=False)
    assert path.read_bytes() == b"new"
    assert tree(tmp_path) == ["a.bin"]


def test_a_failure_of_the_last_step_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "link", refuse)
    with (
        pytest.raises(OutputError, match="input/output error"),
        atomic.writing(tmp_path / "a", replace=False),
    ):
        pass
    assert tree(tmp_path) == []


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_file_modes_follow_the_umask(
    poolcli: Run, here: Path, mask: int, mode: int, force: list[str]
) -> None:
    save(here / "a.png", grey())
    with umask(mask):
        ran = poolcli("run", "a.png", "-s", "max:2", "--sheet", "s.png", *force)
        assert ran.status == 0
        if force:
            assert poolcli("run", "a.png", "-s", "max:2", "--sheet", "s.png", *force).status == 0
    for path in ("pooled/a.1-max2x2.png", "s.png"):
        assert stat.S_IMODE((here / path).stat().st_mode) == mode


def read_only(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize(("module", "step"), [(os, "open"), (os, "mkdir")])
def test_a_read_only_disk(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch, module: object, step: str
) -> None:
    save(here / "a.png", grey())
    monkeypatch.setattr(module, step, read_only)
    said = poolcli("run", "a.png", "-s", "max:2").error(2)
    assert said == "the output folder pooled can't be written: Read-only file system"
    assert not list(here.rglob("*.tmp"))
    assert not list(here.rglob("a.1*"))


def test_a_disk_that_becomes_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", read_only)
    with (
        pytest.raises(OutputError, match="a can't be written: Read-only file system"),
        atomic.writing(tmp_path / "a", replace=True),
    ):
        pass


def test_trying_a_folder_leaves_nothing_in_it(tmp_path: Path) -> None:
    atomic.check_writable(tmp_path / "new/folder")
    assert tree(tmp_path) == ["new", "new/folder"]


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"output folder .*file/below can't be written"):
        atomic.check_writable(tmp_path / "file/below")


def test_what_a_killed_run_left_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container every run may have the same host name and process id."""
    made = iter(["first.tmp", "second.tmp", "third.tmp"])
    monkeypatch.setattr(atomic, "_temporary_name", lambda: next(made))
    (tmp_path / "first.tmp").write_bytes(b"left behind")
    with atomic.writing(tmp_path / "a", replace=False) as stream:
        stream.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


STUCK = """
import sys, time
from poolcli.cli.main import main
from poolcli.files import images
def write(stream, *_):
    stream.write(b"half")
    stream.flush()
    print("writing", flush=True)
    time.sleep(60)
if sys.argv[1] == "stuck":
    images.write = write
main(sys.argv[2:])
"""


def stuck(here: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a run that hangs in the middle of writing its first picture."""
    child = subprocess.Popen(
        [sys.executable, "-c", STUCK, "stuck", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=here,
        env=environment(),
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"writing\n"
    return child


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_run_that_is_ended_leaves_nothing_half_written(
    here: Path, number: signal.Signals, status: int, said: str
) -> None:
    save(here / "a.npy", [[1, 2], [3, 4]])
    save(here / "b.png", grey())
    with stuck(here, "run", "-q", "-j", "1", "a.npy", "b.png", "-s", "max:2") as child:
        child.send_signal(number)
        _, err = child.communicate(timeout=30)
    assert child.returncode == status
    lines = err.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"error: {said}")
    assert tree(here) == ["a.npy", "b.png", "pooled", "pooled/a.1-max2x2.npy"]


def test_temporaries_of_dead_processes_are_removed(process: Run, here: Path) -> None:
    save(here / "b.png", grey())
    save(here / "c.png", grey())
    with stuck(here, "run", "-q", "-j", "1", "b.png", "c.png", "-s", "max:2") as child:
        child.kill()
        child.communicate(timeout=30)
    assert len(list((here / "pooled").iterdir())) >= 1
    assert process("run", "-q", "b.png", "c.png", "-s", "max:2").status == 0
    left = [path.name for path in (here / "pooled").rglob("*") if path.suffix == ".tmp"]
    assert left == []


def left_by(process: int, folder: Path) -> Path:
    """Make what a process left, in the middle of a write, when it was killed."""
    name = atomic._temporary_name().replace(f"-{os.getpid()}-", f"-{process}-")  # noqa: SLF001 - as it names them
    (folder / name).write_bytes(b"half")
    return folder / name


def gone() -> int:
    """Return the number of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        return child.pid


def test_what_no_process_is_writing_any_more_is_removed(tmp_path: Path) -> None:
    """A container that is started again gives its processes the numbers of those before."""
    own, dead = left_by(os.getpid(), tmp_path), left_by(gone(), tmp_path)
    folder = os.open(tmp_path, os.O_RDONLY)
    others, open_here = left_by(os.getppid(), tmp_path), atomic.create(folder)
    atomic.remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {others, tmp_path / open_here.name}
    atomic.remove(open_here)
    os.close(open_here.descriptor)
    os.close(folder)
    assert not own.exists()
    assert not dead.exists()


def test_what_a_process_of_another_container_is_writing_is_kept(tmp_path: Path) -> None:
    """Its number says nothing here, but it holds a lock."""
    path = left_by(gone(), tmp_path)
    with path.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        atomic.remove_leftovers(tmp_path)
        assert path.exists()
    atomic.remove_leftovers(tmp_path)
    assert not path.exists()


def test_a_pipe_or_link_that_is_called_as_a_leftover_is_not_waited_for(tmp_path: Path) -> None:
    path = left_by(gone(), tmp_path)
    path.unlink()
    path.symlink_to(tmp_path / "mine")
    (tmp_path / "mine").touch()
    pipe = left_by(gone(), tmp_path)
    pipe.unlink()
    os.mkfifo(pipe)
    atomic.remove_leftovers(tmp_path)
    assert (tmp_path / "mine").exists()


def test_a_disk_without_locks_is_no_error(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As network disks may be."""

    def no_locks(*_: object) -> NoReturn:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    names = [save(here / f"{name}.png", grey()).name for name in "ab"]
    (here / "pooled").mkdir()
    dead, own = left_by(gone(), here / "pooled"), left_by(os.getpid(), here / "pooled")
    assert poolcli("run", *names, "-s", "max:2", "-q").status == 0
    assert not dead.exists()
    assert own.exists()
    for _ in range(2):
        ran = poolcli("run", *names, "-s", "max:2", "--resume", "--json")
        assert ran.err == "2 of 2 inputs were complete already\n"


def test_temporary_names_carry_host_and_process(tmp_path: Path) -> None:
    with atomic.writing(tmp_path / "a", replace=False):
        (name,) = tree(tmp_path)
        host = os.uname().nodename
        assert name.startswith(".")
        assert host[:20] in name
        assert str(os.getpid()) in name.split("-")


def test_numbers_of_any_size_are_written_whole(tmp_path: Path) -> None:
    numbers: npt.NDArray[Any] = np.arange(100_000)
    with atomic.writing(tmp_path / "a.npy", replace=False) as stream:
        np.save(stream, numbers)
    assert np.load(tmp_path / "a.npy").tolist() == numbers.tolist()
