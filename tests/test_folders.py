"""Folders of results: links in their names are followed once, and never by a write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from poolcli.errors import OutputError
from poolcli.files import atomic, folders
from poolcli.files.folders import Folders
from tests.conftest import Run, environment, grey, save, tree


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    held = Folders(tmp_path / "out")
    held.make(tmp_path / "out/a/b/c")
    with held.opened(tmp_path / "out/a/b/c") as folder:
        os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    held.close()
    assert tree(tmp_path)[-1] == "out/a/b/c/x"


def test_a_missing_folder_is_not_made_unasked(tmp_path: Path) -> None:
    held = Folders(tmp_path)
    with pytest.raises(FileNotFoundError), held.opened(tmp_path / "a"):
        pass
    assert tree(tmp_path) == []


def test_links_are_followed_once(tmp_path: Path) -> None:
    """Where a link led when it was looked at is where the folder is found."""
    (tmp_path / "out/true").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/link").symlink_to("true")
    held = Folders(tmp_path / "out")
    assert held.real(tmp_path / "out/link") == str(tmp_path / "out/true")
    (tmp_path / "out/link").unlink()
    (tmp_path / "out/link").symlink_to(tmp_path / "elsewhere")
    with held.opened(tmp_path / "out/link") as folder:
        assert os.path.samestat(os.fstat(folder), (tmp_path / "out/true").stat())
    held.close()


@pytest.mark.parametrize("replaced", ["out", "out/a", "out/a/b"])
def test_a_link_that_has_taken_a_folders_place_is_an_error(tmp_path: Path, replaced: str) -> None:
    (tmp_path / "out/a/b").mkdir(parents=True)
    (tmp_path / "elsewhere/a/b").mkdir(parents=True)
    (tmp_path / "elsewhere/b").mkdir()
    held = Folders(tmp_path / "out")
    held.real(tmp_path / "out")
    held.real(tmp_path / "out/a/b")
    (tmp_path / replaced).rename(tmp_path / "away")
    (tmp_path / replaced).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="has been replaced by a link"):
        held.make(tmp_path / "out/a/b")
    with (
        pytest.raises(OSError, match="has been replaced by a link"),
        held.opened(tmp_path / "out/a/b"),
    ):
        pass
    assert not held.real(tmp_path / "out/a/b").startswith(str(tmp_path / "elsewhere"))


def test_no_more_folders_stay_open_than_are_allowed(tmp_path: Path) -> None:
    held = Folders(tmp_path / "out", most_open=5)
    before = descriptors()
    for number in range(40):
        held.make(tmp_path / f"out/{number}/below")
    assert descriptors() - before <= 5
    paths = [tmp_path / f"out/{number}/below" for number in range(20)]
    stack = [held.opened(path) for path in paths]
    opened = [each.__enter__() for each in stack]
    assert len(set(opened)) == 20
    for path, descriptor in zip(paths, opened, strict=True):
        # Those in use are open, however many.
        assert os.path.samestat(os.fstat(descriptor), path.stat())
    for each in stack:
        each.__exit__(None, None, None)
    assert descriptors() - before <= 5
    held.close()
    assert descriptors() == before


def test_a_deep_tree_is_opened_from_the_folder_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from its root again and again."""
    held, calls, opened = Folders(tmp_path), [], folders._opened_in  # noqa: SLF001 - counted

    def count(part: str, folder: int) -> int:
        calls.append(part)
        return opened(part, folder)

    path = tmp_path
    monkeypatch.setattr(folders, "_opened_in", count)
    held.make(path)
    calls.clear()
    for _ in range(100):
        path /= "d"
        held.make(path)
    # Looked for, made, and opened.
    assert len(calls) == 2 * 100
    held.close()


@pytest.mark.parametrize("whole", [False, True], ids=["by parts", "in one call"])
def test_systems_without_a_way_to_pass_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, whole: bool
) -> None:
    if whole:
        monkeypatch.delattr(os, "O_PATH")
    held = Folders(tmp_path / "out")
    held.make(tmp_path / "out/a/b")
    assert (tmp_path / "out/a/b").is_dir()
    with held.opened(tmp_path / "out/a/b") as folder:
        assert held.is_in_place(tmp_path / "out/a/b", folder, "x")
    held.close()


def swap(folder: Path, away: Path, elsewhere: Path) -> None:
    folder.rename(away)
    folder.symlink_to(elsewhere)


@pytest.mark.parametrize("above", [False, True])
def test_a_result_goes_nowhere_when_its_folder_is_replaced(tmp_path: Path, *, above: bool) -> None:
    for name in ("out/sub/e", "elsewhere/e"):
        (tmp_path / name).mkdir(parents=True)
    held = Folders(tmp_path / "out")
    path = tmp_path / "out/sub/e/r"
    swapped = tmp_path / "out/sub" if above else tmp_path / "out/sub/e"

    def write() -> None:
        with atomic.writing(path, replace=True, folders=held) as stream:
            stream.write(b"new")
            if not swapped.is_symlink():
                swap(swapped, tmp_path / "away", tmp_path / "elsewhere")

    for _ in range(2):
        with pytest.raises(OutputError, match="was moved or replaced during the run: put it back"):
            write()
    assert [name for name in tree(tmp_path) if name.endswith(("r", ".tmp"))] == []
    held.close()


SWAPPED = """
import os, sys
from pathlib import Path
from poolcli.cli.main import main
from poolcli.files import images
folder, away, elsewhere, *arguments = sys.argv[1:]
write, count = images.write, iter(range(10**6))
def write_and_swap(*more):
    write(*more)
    if next(count) == 3:
        os.rename(folder, away)
        os.symlink(os.path.abspath(elsewhere), folder)
images.write = write_and_swap
main(arguments)
"""
"""The program, whose folder is replaced by a link in the middle of its fourth picture."""


@pytest.mark.parametrize("more", [[], ["--force"], ["--resume"]], ids=" ".join)
@pytest.mark.parametrize(
    ("folder", "failed"),
    [("out/sub", 3), ("out", 6), ("out/.poolcli", 6), ("sheets", 6), ("out/sub/deep", 3)],
)
def test_nothing_lands_where_a_link_leads_that_comes_during_the_run(
    here: Path, folder: str, failed: int, more: list[str]
) -> None:
    for number in range(3):
        for below in ("sub", "sub/deep", "too"):
            save(here / f"in/{below}/{number}.png", grey(8, 8))
    for name in ("sub/deep", "deep", "too"):
        (here / "elsewhere" / name).mkdir(parents=True)
    command = ["run", "-r", "in", "-s", "max:2", "-o", "out", "-q", "-j", "1", *more]
    if folder == "sheets":
        command += ["--save", "none", "--sheet", "sheets/{stem}{parent}.png"]
    done = subprocess.run(
        [sys.executable, "-c", SWAPPED, folder, "away", "elsewhere", *command],
        capture_output=True, cwd=here, env=environment(), timeout=60, check=False,
    )  # fmt: skip
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1, lines
    assert tree(here / "elsewhere") == ["deep", "sub", "sub/deep", "too"]
    assert not list((here / "elsewhere").rglob(".poolcli"))
    assert not list(here.rglob("*.tmp"))
    assert len(lines) == failed + 1
    assert lines[-1].startswith(f"{failed} of 9 inputs failed")
    assert all("Traceback" not in line for line in lines)
    assert all("--resume" in line or " exists" in line for line in lines[:-1])
    # Put back, the run can be gone on with.
    (here / folder).unlink()
    (here / "away").rename(here / folder)
    again = subprocess.run(
        [sys.executable, "-m", "poolcli", *command, "--resume"],
        capture_output=True, cwd=here, env=environment(), timeout=60, check=False,
    )  # fmt: skip
    assert (again.returncode, again.stderr) == (0, b"")


BETWEEN = """
import os, sys
from poolcli import batch
from poolcli.cli.main import main
folder, elsewhere, *arguments = sys.argv[1:]
check = batch.check_folders
def swap_and_check(jobs):
    os.rename(folder, "away")
    os.symlink(os.path.abspath(elsewhere), folder)
    check(jobs)
batch.check_folders = swap_and_check
main(arguments)
"""
"""The program, whose folder is replaced by a link between the check of names and the writing."""


@pytest.mark.parametrize("folder", ["out", "out/sub", "sheets", "."])
def test_a_link_that_comes_between_check_and_write_is_a_usage_error(
    here: Path, folder: str
) -> None:
    save(here / "in/sub/a.png", grey())
    save(here / "in/b.png", grey())
    for name in ("out/sub", "sheets", "elsewhere/sub"):
        (here / name).mkdir(parents=True)
    command = ["run", "-r", "in", "-s", "max:2", "-o", "out", "--sheet", "sheets/{stem}.png"]
    if folder == ".":
        # The working directory's own name is another program's to change.
        (here / "w").mkdir()
        folder, command[6] = "w", "w/out"
        (here / "w/out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BETWEEN, folder, "elsewhere", *command, "--force"],
        capture_output=True, cwd=here, env=environment(), timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done
    (line,) = done.stderr.decode().splitlines()
    assert line.endswith("has been replaced by a link: put the folder back and run again")
    assert tree(here / "elsewhere") == ["sub"]


def test_a_signal_removes_temporaries_where_the_folder_is_now(here: Path) -> None:
    save(here / "b.png", grey())
    code = """
import os, sys, time
from poolcli.cli.main import main
from poolcli.files import images
def write(stream, *_):
    stream.write(b"half")
    stream.flush()
    os.rename("pooled", "away")
    os.symlink(os.path.abspath("elsewhere"), "pooled")
    print("writing", flush=True)
    time.sleep(60)
images.write = write
main(sys.argv[1:])
"""
    (here / "elsewhere").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", code, "run", "b.png", "-s", "max:2", "-q"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=here, env=environment(),
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == b"writing\n"
        assert len(list((here / "away").glob("*.tmp"))) == 1
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=30)
    assert child.returncode == 143
    assert tree(here / "away") == []


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_lies_in_a_results_place_is_not_waited_for(
    poolcli: Run, here: Path, make: Callable[[Path], None]
) -> None:
    save(here / "a.png", grey())
    assert poolcli("run", "a.png", "-s", "max:2", "-q", "--resume").status == 0
    result = here / "pooled/a.1-max2x2.png"
    result.unlink()
    make(result)
    ran = poolcli("run", "a.png", "-s", "max:2", "-q", "--resume")
    assert ran.status == (0 if make is os.mkfifo else 2), ran


READ = """
import os, sys
from poolcli import batch
from poolcli.cli.main import main
prepare = batch.prepare
def swap_and_prepare(*all, **more):
    os.rename("out", "away")
    os.rename("other", "out")
    return prepare(*all, **more)
batch.prepare = swap_and_prepare
main(sys.argv[1:])
"""
"""The program, whose output folder is replaced by another one when its record has been read."""


def test_what_a_record_says_holds_of_no_other_folder(poolcli: Run, here: Path) -> None:
    """Which may have files of the same names, and they are not recorded."""
    save(here / "a.png", grey())
    command = ["run", "a.png", "-s", "max:2", "-o", "out", "--resume", "-q"]
    assert poolcli(*command).status == 0
    mine = save(here / "other/a.1-max2x2.png", grey(2, 2)).read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", READ, *command],
        capture_output=True, cwd=here, env=environment(), timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: a.png: the record out/.poolcli can't be written: it has")
    assert (here / "out/a.1-max2x2.png").read_bytes() == mine


def test_a_sheets_folder_may_be_a_link_from_the_beginning(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    (here / "elsewhere").mkdir()
    (here / "sheets").symlink_to("elsewhere")
    assert poolcli("run", "a.png", "-s", "max:2", "--sheet", "sheets/a.png", "-q").status == 0
    assert tree(here / "elsewhere") == ["a.png"]


def test_a_disk_that_numbers_files_anew_each_time(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some network disks do: that a number differs is no sign of another folder."""
    for name in ("a.png", "e/b.png"):
        save(here / "d" / name, grey())
    with monkeypatch.context() as patch:
        patch.setattr(os.path, "samestat", lambda *_: False)
        ran = poolcli("run", "d", "-r", "-s", "max:2", "-q")
    assert (ran.status, ran.err) == (0, "")
    ran = poolcli("run", "d", "-r", "-s", "max:2", "--resume", "--json")
    assert ran.err == "2 of 2 inputs were complete already\n"
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    ran = poolcli("run", "d", "-r", "-s", "max:2", "-s", "relu", "--resume", "-q")
    assert (ran.status, ran.err) == (0, "")
