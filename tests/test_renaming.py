"""A disk without hard links: what has a name keeps it, as everywhere."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from poolcli.errors import OutputError
from poolcli.files import atomic, renaming
from tests.conftest import environment, grey, save, tree
from tests.faults import contents

WAYS = ["rename", "reserve"]


def refuse(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.EPERM, "no links here")


@pytest.fixture(params=WAYS)
def no_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(os, "link", refuse)
    if request.param == "reserve":
        monkeypatch.setattr(renaming, "_system_call", lambda: None)
    return str(request.param)


@pytest.mark.usefixtures("no_links")
def test_a_name_that_is_taken_is_kept(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"mine")
    with (
        pytest.raises(OutputError, match="exists: give --force"),
        atomic.writing(tmp_path / "r", replace=False) as stream,
    ):
        stream.write(b"new")
    assert (tmp_path / "r").read_bytes() == b"mine"
    assert tree(tmp_path) == ["r"]


@pytest.mark.usefixtures("no_links")
@pytest.mark.parametrize("kind", ["link", "dangling link", "folder"])
def test_so_is_what_is_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "r"
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("there")
    if kind == "link":
        (tmp_path / "there").write_bytes(b"mine")
    before = tree(tmp_path)
    with (
        pytest.raises(OutputError, match="exists"),
        atomic.writing(path, replace=False) as stream,
    ):
        stream.write(b"new")
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("no_links")
def test_a_name_that_is_free_is_taken(tmp_path: Path) -> None:
    with atomic.writing(tmp_path / "r", replace=False) as stream:
        stream.write(b"new")
    assert (tmp_path / "r").read_bytes() == b"new"
    assert tree(tmp_path) == ["r"]


def test_a_reserved_name_is_free_again_when_the_renaming_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(renaming, "_system_call", lambda: None)
    monkeypatch.setattr(os, "rename", full)
    with (
        pytest.raises(OutputError, match="No space left"),
        atomic.writing(tmp_path / "r", replace=False) as stream,
    ):
        stream.write(b"new")
    assert tree(tmp_path) == []


def test_a_reserved_name_that_somebody_else_took_over_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(renaming, "_system_call", lambda: None)
    fstat = os.fstat

    def replaced_meanwhile(descriptor: int) -> os.stat_result:
        if (tmp_path / "r").exists():
            (tmp_path / "mine").write_bytes(b"mine")
            (tmp_path / "mine").rename(tmp_path / "r")
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", replaced_meanwhile)
    with (
        pytest.raises(OutputError, match="exists"),
        atomic.writing(tmp_path / "r", replace=False) as stream,
    ):
        stream.write(b"new")
    assert (tmp_path / "r").read_bytes() == b"mine"
    assert tree(tmp_path) == ["r"]


@pytest.mark.skipif(renaming._system_call() is None, reason="the system has no such call")  # noqa: SLF001 - what it found
@pytest.mark.parametrize("taken", [False, True])
def test_the_systems_call(tmp_path: Path, *, taken: bool) -> None:
    (tmp_path / "a").write_bytes(b"a")
    if taken:
        (tmp_path / "b").write_bytes(b"b")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        if taken:
            with pytest.raises(FileExistsError):
                renaming.rename_exclusively(folder, "a", "b")
            assert (tmp_path / "b").read_bytes() == b"b"
        else:
            renaming.rename_exclusively(folder, "a", "b")
            assert (tmp_path / "b").read_bytes() == b"a"
        with pytest.raises(FileNotFoundError):
            renaming.rename_exclusively(folder, "missing", "c")
    finally:
        os.close(folder)


WITHOUT_LINKS = """
import os, sys, time
from pathlib import Path
from poolcli import batch
from poolcli.cli.main import main
from poolcli.files import renaming
own, way, *arguments = sys.argv[1:]
def refuse(*_, **__):
    raise OSError(1, "no links here")
os.link = refuse
if way == "reserve":
    renaming._system_call = lambda: None
check = batch.check_folders
def check_and_meet(jobs):
    check(jobs)
    Path(f"met{own}").touch()
    while len(list(Path().glob("met*"))) < 2:
        time.sleep(0.001)
batch.check_folders = check_and_meet
main(arguments)
"""


@pytest.mark.parametrize("way", WAYS)
def test_of_two_runs_at_once_none_replaces_what_the_other_has_made(here: Path, way: str) -> None:
    """Each result is said to be written once."""
    count = 400
    for number in range(count):
        save(here / f"in/{number:03}.npy", grey())
    command = ("run", "in", "-s", "max:2", "-j", "1", "--json")
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", WITHOUT_LINKS, own, way, *command],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=here, env=environment(),
        )
        for own in "ab"
    ]  # fmt: skip
    said = [child.communicate(timeout=60)[1].decode() for child in runs]
    wrote = [line for err in said for line in err.splitlines() if line.startswith("wrote ")]
    exist = [line for err in said for line in err.splitlines() if " exists: give " in line]
    assert len(wrote) == len(set(wrote)) == count
    assert len(exist) == count
    assert len(contents(here / "pooled")) == count
    assert all((here / line.removeprefix("wrote ")).stat().st_size for line in wrote)
