"""What a run notes of its results, and what a later one makes of that."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest

from poolcli.batch import earlier, record
from poolcli.batch.earlier import Earlier
from poolcli.batch.record import Record
from poolcli.errors import OutputError
from poolcli.files import atomic
from tests.conftest import Ran, Run, colour, grey, pixels, save, tree

CHAIN = ("-s", "max:2", "-s", "avg:2")


def lines(here: Path, folder: str = "pooled") -> list[dict[str, Any]]:
    paths = sorted((here / folder / ".poolcli").iterdir())
    assert all(path.suffix == ".ndjson" for path in paths)
    return [json.loads(line) for path in paths for line in path.read_text("ascii").splitlines()]


def content(here: Path, folder: str = "pooled") -> dict[str, bytes]:
    paths = (here / folder / path for path in tree(here / folder))
    return {str(path.relative_to(here)): path.read_bytes() for path in paths if path.is_file()}


def three(here: Path) -> None:
    for number, name in enumerate(("a.png", "b.png", "e/c.npy")):
        save(here / "d" / name, colour(8, 10 + number) if number < 2 else grey(8, 10))


def run(poolcli: Run, *more: str | Path) -> Ran:
    return poolcli("run", "d", "-r", *CHAIN, "-j", "1", *more)


def test_the_record_says_what_each_result_was_made_from(poolcli: Run, here: Path) -> None:
    three(here)
    assert run(poolcli, "-q").status == 0
    head, *results = lines(here)
    assert head["run"]["chain"] == ["max:2", "avg:2"]
    assert head["run"]["options"]["png-level"] == 4
    assert [line["result"] for line in results] == [
        path for path in tree(here / "pooled") if "." in path
    ]
    for line in results:
        made = (here / "pooled" / line["result"]).read_bytes()
        assert hashlib.sha256(made).hexdigest() == line["sha256"]
        source = Path(line["source"]["path"])
        assert source.name == line["source"]["name"]
        facts = source.stat()
        assert line["source"]["size"] == facts.st_size
        assert line["source"]["mtime_ns"] == facts.st_mtime_ns


def test_a_run_of_one_input_keeps_no_record(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    poolcli("run", "a.png", "-s", "max:2")
    poolcli("run", "a.png", "a.png", "-s", "max:2", "--save", "none", "-o", "none")
    assert not list(here.rglob(".poolcli"))
    poolcli("run", "a.png", "-s", "max:2", "-o", "out", "--resume")
    assert poolcli("run", "a.png", "-s", "max:2", "-o", "out", "--resume", "-q").status == 0


def test_what_is_complete_is_not_done_again(poolcli: Run, here: Path) -> None:
    three(here)
    first = run(poolcli, "--json")
    before = {path: (here / path).stat().st_mtime_ns for path in content(here)}
    again = run(poolcli, "--resume", "--json")
    assert (again.status, again.out) == (0, first.out)
    assert again.err == "3 of 3 inputs were complete already\n"
    assert before == {path: (here / path).stat().st_mtime_ns for path in content(here)}


def touched(here: Path) -> None:
    os.utime(here / "d/b.png", ns=(1, 1))


def grown(here: Path) -> None:
    facts = (here / "d/b.png").stat()
    save(here / "d/b.png", colour(8, 30))
    os.utime(here / "d/b.png", ns=(facts.st_atime_ns, facts.st_mtime_ns))


def removed(here: Path) -> None:
    (here / "pooled/b.2-avg2x2.png").unlink()


def changed(here: Path) -> None:
    with (here / "pooled/b.1-max2x2.png").open("ab") as stream:
        stream.write(b"x")


def truncated(here: Path) -> None:
    os.truncate(here / "pooled/b.1-max2x2.png", 20)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (touched, "the source has changed"),
        (grown, "the source has changed"),
        (removed, "a result is missing"),
        (changed, "a result is not what was written"),
        (truncated, "a result is not what was written"),
    ],
)
def test_what_is_not_complete_or_has_changed_is_done_again(
    poolcli: Run, here: Path, spoil: Any, said: str
) -> None:
    three(here)
    run(poolcli, "-q")
    spoil(here)
    ran = run(poolcli, "--resume", "--json")
    assert ran.status == 0
    assert ran.err.splitlines() == [
        "wrote pooled/b.1-max2x2.png",
        "wrote pooled/b.2-avg2x2.png",
        "2 of 3 inputs were complete already",
        f"1 of 3 inputs done again: {said}",
    ]
    run(poolcli, "-q", "-o", "fresh")
    fresh = {
        path.replace("fresh", "pooled", 1): made for path, made in content(here, "fresh").items()
    }
    assert content(here) == fresh
    assert run(poolcli, "--resume", "-q", "-n").status == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["-s", "max:1"], "the chain was max:2 avg:2, is max:2 avg:2 max:1"),
        (["--png-level", "9"], "--png-level was 4, is 9"),
        (["--quality", "50"], "--quality was 90, is 50"),
        (["--dtype", "uint8"], "--dtype was not given, is uint8"),
        (["--layout", "HW"], "--layout was not given, is HW"),
    ],
)
def test_what_was_made_otherwise_is_done_again_and_said(
    poolcli: Run, here: Path, more: list[str], said: str
) -> None:
    three(here)
    run(poolcli, "-q")
    ran = run(poolcli, "--resume", "--json", *more)
    assert ran.status == 0
    assert ran.err.splitlines()[-1] == f"3 of 3 inputs done again: {said}"
    assert run(poolcli, "--resume", "--json", *more).err.splitlines() == [
        "3 of 3 inputs were complete already"
    ]


def test_another_version_made_it(poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three(here)
    run(poolcli, "-q")
    monkeypatch.setattr(earlier, "__version__", "99.0")
    ran = run(poolcli, "--resume", "--json")
    assert "3 of 3 inputs done again: poolcli 0.1.0 made it, this is 99.0\n" in ran.err


def test_weights_that_change_are_noticed(poolcli: Run, here: Path) -> None:
    save(here / "w.npy", [[[[1.0]]]], "float32")
    for name in "ab":
        save(here / f"{name}.npy", [[[1.0, 2.0]]], "float32")
    command = ("run", "a.npy", "b.npy", "-s", "conv,weights=w.npy", "--resume", "-q")
    assert poolcli(*command).status == 0
    save(here / "w.npy", [[[[3.0]]]], "float64")
    ran = poolcli(*command[:-1])
    assert "2 of 2 inputs done again: a file of weights has changed" in ran.err


def test_results_of_another_source_are_not_replaced(poolcli: Run, here: Path) -> None:
    """Not even of one that has the same name, size and time."""
    for folder in ("s", "t"):
        save(here / folder / "a.png", grey() if folder == "s" else grey()[::-1])
        os.utime(here / folder / "a.png", ns=(1, 1))
    command = ("-s", "max:2", "--resume")
    assert poolcli("run", "s/a.png", *command).status == 0
    before = content(here)
    said = poolcli("run", "t/a.png", *command).error(2)
    assert said.startswith("pooled/a.1-max2x2.png exists: no record says that it was made of this")
    assert content(here) == before
    ran = poolcli("run", "t/a.png", *command, "--force")
    assert "1 of 1 inputs done again: it was made of another source\n" in ran.err
    assert content(here) != before


def test_what_is_not_recorded_still_needs_force(poolcli: Run, here: Path) -> None:
    three(here)
    mine = save(here / "pooled/b.2-avg2x2.png", grey()).read_bytes()
    before = tree(here)
    assert "b.2-avg2x2.png exists" in run(poolcli, "--resume").error(2)
    assert tree(here) == before
    assert (here / "pooled/b.2-avg2x2.png").read_bytes() == mine
    assert run(poolcli, "--resume", "--force", "-q").status == 0


def test_a_file_that_appears_meanwhile_is_kept_and_not_taken_for_a_result(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(here)
    publish = atomic._publish  # noqa: SLF001 - the moment between check and write

    def appear(temporary: atomic.Temporary, path: Path, *, replace: bool) -> None:
        if path.name == "b.1-max2x2.png":
            path.write_bytes(b"mine")
        publish(temporary, path, replace=replace)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_publish", appear)
        assert run(poolcli, "-q").status == 1
    assert (here / "pooled/b.1-max2x2.png").read_bytes() == b"mine"
    assert "b.1-max2x2.png exists" in run(poolcli, "--resume").error(2)
    assert (here / "pooled/b.1-max2x2.png").read_bytes() == b"mine"


def test_a_dry_run_says_what_is_complete_and_writes_nothing(poolcli: Run, here: Path) -> None:
    three(here)
    run(poolcli, "-q")
    removed(here)
    before = content(here)
    ran = run(poolcli, "--resume", "-n")
    assert ran.err.splitlines() == [
        "2 of 3 inputs were complete already",
        "1 of 3 inputs would be done again: a result is missing",
    ]
    assert content(here) == before


def test_the_files_of_processes_that_are_no_more_become_one(poolcli: Run, here: Path) -> None:
    three(here)
    for _ in range(3):
        run(poolcli, "-q", "--force")
    run(poolcli, "-q", "--resume", "-s", "relu")
    (path,) = (here / "pooled/.poolcli").iterdir()
    assert path.name.startswith("poolcli-")
    results = [line["result"] for line in lines(here) if "result" in line]
    assert len(results) == len(set(results)) + 6
    assert run(poolcli, "-n", "--resume", "-s", "relu").err.startswith(
        "3 of 3 inputs were complete"
    )


def test_a_process_of_the_same_number_goes_on(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container that is started again, all names are as they were."""
    three(here)
    for more in ([], ["--force"], ["--resume", "-s", "relu"], ["--resume", "-n", "-s", "relu"]):
        monkeypatch.setattr(atomic, "_COUNTER", itertools.count())
        ran = run(poolcli, *more)
        assert ran.status == 0
    assert ran.err.startswith("3 of 3 inputs were complete already")


def test_the_file_of_a_process_that_still_writes_is_left_alone(poolcli: Run, here: Path) -> None:
    three(here)
    other = Record.begin(here / "pooled", {"chain": ["other"]})
    try:
        run(poolcli, "-q")
        assert len(list((here / "pooled/.poolcli").iterdir())) == 2
        run(poolcli, "-q", "--force")
        assert len(list((here / "pooled/.poolcli").iterdir())) == 2
    finally:
        other.close()
    run(poolcli, "-q", "--force")
    assert len(list((here / "pooled/.poolcli").iterdir())) == 1


def test_lines_that_are_none_are_passed_by(poolcli: Run, here: Path) -> None:
    """As after a kill in the middle of one, or whatever else may lie there."""
    three(here)
    run(poolcli, "-q")
    (path,) = (here / "pooled/.poolcli").iterdir()
    whole = path.read_bytes()
    for spoilt in (
        whole + b'{"result": "x.png", "sha',
        b"\xff\xfe\n{}\n[]\n0\nnull\n" + whole,
        b'{"run": 3}\n{"result": [], "source": 1, "sha256": {}}\n' + whole,
        b"[" * 100_000 + b"\n" + whole,
    ):
        path.write_bytes(spoilt)
        assert run(poolcli, "--resume", "-n").err.startswith("3 of 3 inputs were complete")
    path.write_bytes(whole[: len(whole) * 2 // 3])
    ran = run(poolcli, "--resume", "--json", "--force")
    assert ran.status == 0
    assert "were complete already" in ran.err


@pytest.mark.parametrize(
    "stray",
    [
        os.mkfifo,
        os.mkdir,
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.symlink_to("x.ndjson"),
        lambda path: path.symlink_to("../../outside.ndjson"),
    ],
    ids=["pipe", "folder", "dangling link", "link to itself", "link that leads out"],
)
def test_what_is_no_file_of_the_record_is_passed_by(
    poolcli: Run, process: Run, here: Path, stray: Any
) -> None:
    """A pipe would be waited for, a link that leads nowhere looked for again and again."""
    three(here)
    run(poolcli, "-q")
    stray(here / "pooled/.poolcli/x.ndjson")
    outside = here / "outside.ndjson"
    outside.write_text('{"result": "e/mine", "sha256": "", "source": {}}')
    for way, more in ((process, ["--resume"]), (poolcli, ["--resume", "-s", "relu"])):
        ran = run(way, "-q", *more)
        assert (ran.status, ran.err) == (0, "")
    assert os.path.lexists(here / "pooled/.poolcli/x.ndjson")
    assert outside.read_text().endswith("{}}")
    assert "e/mine" not in Earlier.read(here / "pooled").entries


def test_a_record_that_cannot_be_read_is_a_usage_error(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(here)
    run(poolcli, "-q")

    def unreadable(*_: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(atomic, "open_file", unreadable)
    said = run(poolcli, "--resume").error(2)
    assert said == "the record pooled/.poolcli can't be read: Permission denied"


def test_a_process_puts_together_what_another_one_does_not_take_away(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs are begun at once: the other one has the old file, and removes it."""
    path = save(here / "pooled/a.npy", grey())
    old = Record.begin(here / "pooled", {})
    with path.open("rb") as result:
        old.add(path, result, {"size": 1})
    old.close()
    dead = record._dead  # noqa: SLF001 - the moment between finding and opening it

    def another_was_quicker(folder: int, name: str, stack: Any) -> Any:
        monkeypatch.setattr(record, "_dead", dead)
        Record.begin(here / "pooled", {}).close()
        assert not (here / "pooled/.poolcli" / name).exists()
        return dead(folder, name, stack)

    monkeypatch.setattr(record, "_dead", another_was_quicker)
    Record.begin(here / "pooled", {}).close()
    assert Earlier.read(here / "pooled").entries["a.npy"].source == {"size": 1}


def test_a_record_that_cannot_be_kept_is_said_before_anything_is_written(
    poolcli: Run, here: Path
) -> None:
    three(here)
    (here / "pooled").mkdir()
    (here / "pooled/.poolcli").write_text("mine")
    for more in ("--force", "--resume"):
        assert "record" in run(poolcli, more).error(2)
    (here / "pooled/.poolcli").unlink()
    (here / "elsewhere").mkdir()
    (here / "pooled/.poolcli").symlink_to("../elsewhere", target_is_directory=True)
    assert "is a link" in run(poolcli).error(2)
    assert content(here) == {}
    assert tree(here / "elsewhere") == []


def test_results_are_not_written_where_they_cannot_be_noted(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(here)
    write = record._write  # noqa: SLF001 - as a full disk would

    def full(descriptor: int, *facts: Any) -> None:
        if facts[0].get("result", "").startswith("b.2"):
            os.write(descriptor, b'{"result": "b.2')
            raise OSError(28, "No space left on device")
        write(descriptor, *facts)

    with monkeypatch.context() as patch:
        patch.setattr(record, "_write", full)
        ran = run(poolcli, "-q")
    assert ran.status == 1
    assert ran.err.splitlines() == [
        "error: d/b.png: the record pooled/.poolcli can't be written: No space left on device",
        "1 of 3 inputs failed: d/b.png",
    ]
    assert "pooled/b.2-avg2x2.png" not in content(here)
    ran = run(poolcli, "--resume", "--json")
    assert ran.err.splitlines()[-2:] == [
        "2 of 3 inputs were complete already",
        "1 of 3 inputs done again: a result is missing",
    ]


def test_a_vanished_file_of_the_record_is_looked_for_again(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(here)
    run(poolcli, "-q")
    (path,) = (here / "pooled/.poolcli").iterdir()
    open_file, times = atomic.open_file, iter([1])

    def vanish(folder: int, name: str) -> int:
        for _ in times:
            path.rename(path.with_name("other.ndjson"))
        return open_file(folder, name)

    monkeypatch.setattr(atomic, "open_file", vanish)
    assert len(Earlier.read(here / "pooled").entries) == 6
    assert not path.exists()


def test_sheets_are_results_too(poolcli: Run, here: Path) -> None:
    three(here)
    sheet = ("--sheet", "sheets/{stem}.png")
    run(poolcli, "-q", *sheet)
    assert run(poolcli, "-n", "--resume", *sheet).err.startswith("3 of 3 inputs were complete")
    (here / "sheets/b.png").unlink()
    ran = run(poolcli, "-q", "--resume", *sheet)
    assert (ran.status, ran.err) == (0, "")
    assert pixels(here / "sheets/b.png").ndim == 3


def test_standard_input_is_done_again(poolcli: Run, here: Path) -> None:
    data = save(here / "x.png", grey()).read_bytes()
    command = ("run", "-", "x.png", "-s", "max:2", "--resume", "--json")
    poolcli(*command, stdin=data)
    ran = poolcli(*command, stdin=data)
    assert "1 of 2 inputs were complete already\n" in ran.err
    assert "1 of 2 inputs done again: a pipe can't be told from another\n" in ran.err


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_fail_fast_begins_nothing_after_a_failure(poolcli: Run, here: Path, jobs: str) -> None:
    names = [save(here / f"{number:02}.png", grey()).name for number in range(60)]
    (here / names[2]).write_bytes(b"broken")
    ran = poolcli("run", *names, "-s", "max:2", "-j", jobs, "--fail-fast", "--json", "-q")
    assert ran.status == 1
    told = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["input"] for line in told][:3] == names[:3]
    assert [line["ok"] for line in told][:3] == [True, True, False]
    assert len(told) == 3 if jobs == "1" else len(told) < 60
    assert len(tree(here / "pooled")) == len(told) - 1
    left = 60 - len(told)
    assert ran.err.splitlines()[-1] == (
        f"stopped at the first failure: {left} of 60 inputs not begun"
    )
    (here / names[2]).unlink()
    poolcli("run", *names[:2], *names[3:], "-s", "max:2", "--resume", "-q")
    assert len(tree(here / "pooled")) == 59


def test_what_is_noted_after_the_end_goes_into_no_other_file(here: Path) -> None:
    save(here / "pooled/a.npy", grey())
    ended = Record.begin(here / "pooled", {"chain": []})
    ended.close()
    with (here / "mine").open("wb") as other, (here / "pooled/a.npy").open("rb") as result:
        assert other.fileno() > 0
        with pytest.raises(OutputError, match="is closed"):
            ended.add(here / "pooled/a.npy", result, {})
        ended.give_up(here / "pooled/a.npy")
    assert (here / "mine").read_bytes() == b""
    assert Earlier.read(here / "pooled").entries == {}


def test_what_another_process_wrote_counts_although_it_was_given_up_here(here: Path) -> None:
    """Two runs of the same inputs at once: whoever comes second gives a result up."""
    path = save(here / "pooled/a.npy", grey())
    for winner in (0, 1):
        both = [Record.begin(here / "pooled", {"chain": [winner]}) for _ in range(2)]
        with path.open("rb") as result:
            both[winner].add(path, result, {"size": 1})
            both[1 - winner].add(path, result, {"size": 2})
        both[1 - winner].give_up(path)
        for one in both:
            one.close()
        assert Earlier.read(here / "pooled").entries["a.npy"].source == {"size": 1}
        for _ in range(2):
            Record.begin(here / "pooled", {}).close()
            assert Earlier.read(here / "pooled").entries["a.npy"].source == {"size": 1}


def test_a_result_given_up_is_what_it_was_before(here: Path) -> None:
    path = save(here / "pooled/a.npy", grey())
    for size in (1, 2, 3):
        run = Record.begin(here / "pooled", {})
        with path.open("rb") as result:
            run.add(path, result, {"size": size})
        if size > 1:
            run.give_up(path)
        run.close()
        assert Earlier.read(here / "pooled").entries["a.npy"].source == {"size": 1}


def test_the_last_of_several_processes_to_write_a_result_is_believed(here: Path) -> None:
    """One process takes over old lines, goes on for long, and is the last to end."""
    path = save(here / "pooled/a.npy", grey())

    def add(run: Record, size: int, name: str = "a.npy") -> None:
        with path.open("rb") as result:
            run.add(here / "pooled" / name, result, {"size": size})

    old = Record.begin(here / "pooled", {})
    add(old, 1)
    old.close()
    long = Record.begin(here / "pooled", {})
    (of_long,) = (here / "pooled/.poolcli").iterdir()
    short = Record.begin(here / "pooled", {})
    add(short, 2)
    short.close()
    add(long, 7, "b.npy")
    long.close()
    os.utime(of_long, ns=(2**62, 2**62))
    for _ in range(3):
        assert Earlier.read(here / "pooled").entries["a.npy"].source == {"size": 2}
        Record.begin(here / "pooled", {}).close()
