"""What a power cut leaves: a later run knows it for its own, and nobody else's file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from poolcli.batch.earlier import Earlier
from poolcli.batch.record import Record
from poolcli.errors import OutputError
from poolcli.files import atomic
from tests.conftest import Ran, Run, colour, grey, save
from tests.faults import contents

CHAIN = ("-s", "max:2", "-s", "avg:2")


def make(here: Path) -> None:
    for name in ("a.png", "b.png", "e/c.png"):
        save(here / "d" / name, colour(64, 70))
    save(here / "d/e/f.npy", np.random.default_rng(1).random((40, 50)), "float32")


def run(poolcli: Run, *more: str) -> Ran:
    return poolcli("run", "d", "-r", *CHAIN, "-q", *more)


def cut(poolcli: Run, monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    """Run, but never come to the end: the plan is as it was."""
    with monkeypatch.context() as patch:
        patch.setattr(Record, "end", Record.close)
        assert run(poolcli, *more).status == 0


def record_of(here: Path) -> Path:
    (path,) = (here / "pooled/.poolcli").glob("*.ndjson")
    return path


def results_of(here: Path) -> list[Path]:
    found = [path for path in (here / "pooled").rglob("*") if path.suffix in (".png", ".npy")]
    assert len(found) == 8
    return sorted(found)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def holed(path: Path) -> None:
    """Leave zeros where sectors never came to the disk."""
    with path.open("r+b") as stream:
        stream.seek(512)
        stream.write(bytes(max(0, min(1024, path.stat().st_size - 512))))


def untouched(_: Path) -> None:
    pass


@pytest.mark.parametrize("spoil", [emptied, halved, holed, untouched, Path.unlink])
@pytest.mark.parametrize("unnote", [emptied, halved, Path.unlink, untouched])
def test_what_a_power_cut_left_is_done_again_without_force(
    poolcli: Run,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], None],
    unnote: Callable[[Path], None],
) -> None:
    make(here)
    assert run(poolcli, "-o", "undisturbed").status == 0
    cut(poolcli, monkeypatch)
    for path in results_of(here):
        spoil(path)
    unnote(record_of(here))
    if unnote is Path.unlink:
        # A file without a name has a plan without a record beside it.
        assert list((here / "pooled/.poolcli").iterdir())
    ran = run(poolcli, "--resume")
    assert (ran.status, ran.err) == (0, "")
    assert contents(here / "pooled") == contents(here / "undisturbed")
    assert poolcli("run", "d", "-r", *CHAIN, "--resume", "--json").err == (
        "4 of 4 inputs were complete already\n"
    )


def test_a_hole_in_the_record_costs_the_lines_in_it_alone(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(here)
    cut(poolcli, monkeypatch)
    lines = record_of(here).read_bytes().splitlines(keepends=True)
    record_of(here).write_bytes(lines[0] + bytes(len(lines[1])) + b"".join(lines[2:]))
    assert len(Earlier.read(here / "pooled").entries) == 7


@pytest.mark.parametrize("mine", [b"mine", b"\0" * 600 + b"mine"])
def test_a_file_of_somebody_else_under_a_planned_name_is_kept(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch, mine: bytes
) -> None:
    make(here)
    cut(poolcli, monkeypatch)
    record_of(here).write_bytes(b"")
    path = here / "pooled/b.1-max2x2.png"
    path.write_bytes(mine)
    ran = run(poolcli, "--resume")
    assert ran.status == 1
    assert ran.err.splitlines() == [
        "error: d/b.png: pooled/b.1-max2x2.png exists: give --force to replace it",
        "1 of 4 inputs failed: d/b.png",
    ]
    assert path.read_bytes() == mine
    assert run(poolcli, "--resume").error(2).startswith("pooled/b.1-max2x2.png exists")


def test_a_run_that_came_to_its_end_has_no_plans(poolcli: Run, here: Path) -> None:
    """Not even for an input that failed, so that its name is anybody's."""
    make(here)
    (here / "d/z.png").write_bytes(b"broken")
    halved(save(here / "d/y.png", colour(64, 70)))
    assert run(poolcli).status == 1
    assert Earlier.read(here / "pooled").planned == {}
    (here / "pooled/y.1-max2x2.png").write_bytes(b"mine")
    assert "y.1-max2x2.png exists" in run(poolcli, "--resume").error(2)


def test_shards_that_were_cut_are_gone_on_with_one_by_one(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(here)
    assert run(poolcli, "-o", "undisturbed").status == 0
    for shard in ("1/2", "2/2"):
        cut(poolcli, monkeypatch, "--shard", shard)
        record_of(here).write_bytes(b"")
    for path in results_of(here):
        halved(path)
    for shard in ("1/2", "2/2"):
        ran = run(poolcli, "--shard", shard, "--resume")
        assert (ran.status, ran.err) == (0, "")
    assert contents(here / "pooled") == contents(here / "undisturbed")
    assert [path.suffix for path in (here / "pooled/.poolcli").iterdir()] == [".ndjson"]


def test_an_empty_result_of_a_single_input_is_replaced_by_resume_alone(
    poolcli: Run, here: Path
) -> None:
    save(here / "a.png", grey())
    command = ("run", "a.png", "-s", "max:2", "-q")
    assert poolcli(*command).status == 0
    made = (here / "pooled/a.1-max2x2.png").read_bytes()
    emptied(here / "pooled/a.1-max2x2.png")
    assert "exists" in poolcli(*command).error(2)
    assert poolcli(*command, "--resume").status == 0
    assert (here / "pooled/a.1-max2x2.png").read_bytes() == made


def test_an_empty_file_that_a_link_leads_to_is_not_replaced(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    (here / "pooled").mkdir()
    (here / "pooled/empty").touch()
    (here / "pooled/a.1-max2x2.png").symlink_to("empty")
    assert "exists" in poolcli("run", "a.png", "-s", "max:2", "--resume").error(2)


def test_the_plan_is_on_the_disk_before_the_first_result_has_its_name(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(here)
    happened: list[str] = []
    fsync, link = os.fsync, os.link

    def seen_fsync(descriptor: int) -> None:
        happened.append(str(Path(f"/proc/self/fd/{descriptor}").resolve()))
        if happened[-1].endswith(".poolcli"):
            assert list(Path(happened[-1]).glob("*.planned"))
        fsync(descriptor)

    def seen_link(*names: str, **more: int) -> None:
        happened.append("a result")
        link(*names, **more)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "link", seen_link)
    assert run(poolcli).status == 0
    before = happened[: happened.index("a result")]
    temporary = [name for name in before if name.endswith(".tmp")]
    assert len(temporary) == 2, "the record and the plan"
    assert before[-2:] == [str(here / "pooled/.poolcli"), str(here / "pooled")]
    behind = happened[len(before) :]
    assert behind[-1].endswith(".ndjson"), "what is noted, before the plan goes"
    assert behind.count("a result") == 8
    # In groups: no result waits for the disk by itself.
    assert len(happened) == 8 + 5


def test_what_was_noted_is_on_the_disk_before_the_plan_goes(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(here)
    real, times = os.fsync, iter(range(100))

    def fails_at_the_end(descriptor: int) -> None:
        if next(times) == 4:
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fails_at_the_end)
    assert run(poolcli).status == 0
    assert len(Earlier.read(here / "pooled").planned) == 8


def test_what_is_taken_over_is_on_the_disk_before_it_goes(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(here)
    cut(poolcli, monkeypatch)
    old, happened = record_of(here).name, list[str]()
    fsync, unlink = os.fsync, os.unlink

    def seen_fsync(descriptor: int) -> None:
        happened.append("sync")
        fsync(descriptor)

    def seen_unlink(name: str, **more: int) -> None:
        happened.append(name)
        unlink(name, **more)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "unlink", seen_unlink)
    assert run(poolcli, "--resume").status == 0
    assert happened[: happened.index(old)].count("sync") == 4
    assert happened.index(old.replace(".ndjson", ".planned")) < happened.index(old)


@pytest.mark.parametrize(
    ("there", "whole", "torn"),
    [
        (b"", b"abc", True),
        (b"ab", b"abc", True),
        (b"abc", b"abc", True),
        (b"abcd", b"abc", False),
        (b"abd", b"abc", False),
        (b"\0\0", b"abc", True),
        (b"\0" * 512 + b"b", b"a" * 512 + b"bc", True),
        (b"\0" * 511 + b"a" + b"b", b"a" * 512 + b"bc", False),
        (b"a" * 70_000 + b"\0" * 70_000, b"a" * 200_000, False),
        (b"a" * 70_144 + b"\0" * 70_000, b"a" * 200_000, True),
        (b"a" * 200_001, b"a" * 200_000, False),
    ],
)
def test_what_nothing_is_lost_of(tmp_path: Path, there: bytes, whole: bytes, *, torn: bool) -> None:
    (tmp_path / "r").write_bytes(there)

    def write() -> None:
        with atomic.writing(tmp_path / "r", replace=False, spoilt=True) as stream:
            stream.write(whole)

    if torn:
        write()
        assert (tmp_path / "r").read_bytes() == whole
    else:
        with pytest.raises(OutputError, match="exists"):
            write()
        assert (tmp_path / "r").read_bytes() == there
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("kind", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("x")])
def test_what_is_no_file_is_never_a_spoilt_one(
    tmp_path: Path, kind: Callable[[Path], None]
) -> None:
    kind(tmp_path / "r")
    with (
        pytest.raises(OutputError, match="exists"),
        atomic.writing(tmp_path / "r", replace=False, spoilt=True) as stream,
    ):
        stream.write(b"whole")
    assert os.path.lexists(tmp_path / "r")


def test_a_plan_of_a_live_run_is_left_alone(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As is its record, which is locked."""
    make(here)
    cut(poolcli, monkeypatch)
    shutil.copytree(here / "pooled", here / "kept")
    with record_of(here).open("rb") as stream:
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX)
        assert run(poolcli, "--resume").status == 0
        assert len(list((here / "pooled/.poolcli").glob("*.planned"))) == 1
    assert run(poolcli, "--resume").status == 0
    assert not list((here / "pooled/.poolcli").glob("*.planned"))
