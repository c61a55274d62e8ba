"""Trees of any depth, and links that can't be followed: each input fails or is done by itself."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from random import Random

import numpy as np
import pytest

from poolcli.files.discovery import Search, find
from poolcli.files.folders import Folders
from poolcli.files.places import Places
from tests.conftest import Run, grey, save, tree

DEEP = 1100
"""Folders in each other, more than Python's functions may call each other."""


def dig(top: Path, name: str, depth: int, every: int | None = None) -> Path:
    """Make folders in each other, and arrays in the last and in every so many of them."""
    top.mkdir()
    with chdir(top):
        for number in range(1, depth + 1):
            os.mkdir(name)  # noqa: PTH102 - a path of pathlib's can't be that long
            os.chdir(name)
            if number == depth or (every and number % every == 0):
                np.save("a.npy", grey())
    return top


@pytest.fixture(autouse=True)
def _cleared(here: Path) -> Iterator[None]:
    """Remove what is too deep for pytest."""
    yield
    subprocess.run(["rm", "-rf", *here.iterdir()], check=True)


def test_a_tree_deeper_than_python_calls_is_gone_through(poolcli: Run, here: Path) -> None:
    dig(here / "in", "d", DEEP, every=400)
    ran = poolcli("run", "-r", "in", "-s", "max:2", "-q")
    assert (ran.status, ran.err) == (0, "")
    for depth in (400, 800, DEEP):
        assert os.path.exists("pooled/" + "d/" * depth + "a.1-max2x2.npy")  # noqa: PTH110 - so deep


def test_what_lies_too_deep_for_a_name_fails_alone(poolcli: Run, here: Path) -> None:
    """A path has 4,095 bytes at most: its folder can't be opened, or its result not be written."""
    dig(here / "in", "e" * 250, 20, every=1)
    save(here / "in/b.npy", grey())
    ran = poolcli("run", "-r", "in", "-s", "max:2", "-q")
    assert ran.status == 1
    *lines, last = ran.err.splitlines()
    found = [line.partition("a.npy: ")[2] or line.rpartition("/: ")[2] for line in lines]
    assert found[-1] == "a folder that can't be read: File name too long"
    assert all(line.startswith("its result's path would have ") for line in found[:-1])
    assert last.startswith(f"{len(lines)} of ")
    results = list((here / "pooled").rglob("*.npy"))
    assert len(results) == int(last.split()[2]) - len(lines)
    assert (here / "pooled/b.1-max2x2.npy") in results


def calls(here: Path, depth: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how often the system is asked for the facts of a name while a tree is gone through."""
    top = dig(here / f"t{depth}", "d", depth, every=1)
    count = 0
    with monkeypatch.context() as patch:
        for name in ("lstat", "stat", "readlink"):
            ask = getattr(os, name)

            def counted(*given: object, ask: object = ask, **named: object) -> object:
                nonlocal count
                count += 1
                assert callable(ask)
                return ask(*given, **named)

            patch.setattr(os, name, counted)
        found = find([str(top)], search=Search(recursive=True, output=here / "out"))
        claims = Places()
        for source in found.sources:
            claims.of(source.name)
    assert len(found.sources) == depth
    return count


def test_the_system_is_asked_in_proportion_to_the_depth(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = (calls(here, depth, monkeypatch) for depth in (50, 200))
    assert many < 5 * few


@pytest.fixture
def linked(here: Path) -> Path:
    """Make folders and files, links to them, to each other, and to nothing."""
    for name in ("a/b/c", "a/d", "e"):
        (here / name).mkdir(parents=True, exist_ok=True)
        (here / name / "f").touch()
    links = {
        "l1": "a", "l2": "a/b/c/f", "a/l3": "../e", "a/b/l4": "..", "e/l5": "nowhere/x",
        "loop": "loop", "e/l6": str(here / "a"), "a/d/l7": "../../l1/b", "one": "two",
        "two": "one/x",
    }  # fmt: skip
    for name, target in links.items():
        (here / name).symlink_to(target)
    return here


def circular(path: str) -> bool:
    """Whether links on the path lead in a circle, of which nothing can be said."""
    try:
        os.stat(path)  # noqa: PTH116 - .. and doubled slashes are part of it
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def test_true_paths_are_the_systems(linked: Path) -> None:
    draw = Random(0)  # noqa: S311 - the same in every run
    names = [*"abcdef", *(f"l{number}" for number in range(1, 8)), "loop", "one", "two"]
    names += ["..", ".", "", "nothing"]
    remembering = Places()
    assert linked.exists()
    for _ in range(5000):
        path = "/".join(draw.choice(names) for _ in range(draw.randint(1, 6)))
        if draw.random() < 0.2:
            path = str(linked / path)
        if path and not circular(path):
            expected = os.path.realpath(path)
            assert Places().of(path) == remembering.of(path) == expected, path
            assert remembering.folder(path) == expected, path


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="links that can't be read")
@pytest.mark.parametrize("where", ["of a folder", "named", "a folder", "listed"])
def test_a_link_that_cannot_be_followed_is_one_failed_input(
    process: Run, here: Path, where: str
) -> None:
    """Into /proc, where a link can be read by its process alone, and ends with it."""
    save(here / "in/a.npy", grey())
    save(here / "in/z.npy", grey())
    target = "/proc/self/task/1/cwd/x" if where == "a folder" else "/proc/1234567/exe"
    (here / "in/m.npy").symlink_to(target)
    (here / "in/n.npy").symlink_to("n.npy")
    inputs = {
        "of a folder": ("in",),
        "a folder": ("in",),
        "named": ("in/a.npy", "in/m.npy", "in/n.npy", "in/z.npy"),
        "listed": ("--files-from", "-"),
    }[where]
    stdin = b"in/a.npy\nin/m.npy\nin/n.npy\nin/z.npy\n"
    ran = process("run", *inputs, "-s", "max:2", "-q", stdin=stdin)
    assert ran.status == 1
    assert ran.err.splitlines() == [
        "error: in/m.npy: no such file",
        "error: in/n.npy: can't be read: Too many levels of symbolic links",
        "2 of 4 inputs failed: in/m.npy, in/n.npy",
    ]
    assert tree(here / "pooled") == ["a.1-max2x2.npy", "z.1-max2x2.npy"]


@pytest.mark.parametrize("call", ["readlink", "lstat"])
@pytest.mark.parametrize("inputs", [["in", "-r"], ["in/a.npy", "in/m.npy", "in/s/b.npy"]])
def test_a_disk_that_fails_at_a_link_fails_that_input_alone(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch, call: str, inputs: list[str]
) -> None:
    save(here / "in/a.npy", grey())
    save(here / "in/s/b.npy", grey())
    save(here / "elsewhere.npy", grey())
    (here / "in/m.npy").symlink_to(here / "elsewhere.npy")
    ask = getattr(os, call)

    def fail(path: str | Path, *given: object, **named: object) -> object:
        if os.path.basename(os.fspath(path)) == "m.npy":  # noqa: PTH119 - as it is given
            raise OSError(5, "Input/output error")
        return ask(path, *given, **named)

    monkeypatch.setattr(os, call, fail)
    ran = poolcli("run", *inputs, "-s", "max:2", "-q")
    assert (ran.status, ran.err) == (0, "")
    results = [name for name in tree(here / "pooled") if name.endswith(".npy")]
    assert len(results) == 3


def test_folders_are_made_however_many_are_missing(here: Path) -> None:
    path = here / Path(*["d"] * DEEP)
    folders = Folders()
    folders.make(path)
    folders.make(path)
    assert path.is_dir()
    (here / "file").touch()
    for name in ("file/d", "file"):
        with pytest.raises(NotADirectoryError):
            folders.make(here / name)
    folders.make(Path("relative/d"))
    assert (here / "relative/d").is_dir()


def test_a_folder_that_another_process_makes_first_is_taken(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.mkdir

    def late(path: str, *, dir_fd: int) -> None:
        make(path, dir_fd=dir_fd)
        make(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", late)
    Folders().make(here / "d/d")
    assert (here / "d/d").is_dir()
