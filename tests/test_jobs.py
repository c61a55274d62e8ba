"""Many inputs at once, within a given memory; and how hard results are compressed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from poolcli import batch
from poolcli.batch import executing, running
from poolcli.cli.options import byte_count
from poolcli.files.inputs import Source
from poolcli.stages import Chain
from tests.conftest import Ran, Run, colour, grey, pixels, save, tree

CHAIN = ("-s", "avg:3,stride=2,pad=1", "-s", "max:2")


def twelve(here: Path) -> list[str]:
    """Make ten inputs of several kinds and sizes, and two broken ones, in no order of size."""
    names = []
    for number in range(5):
        names += [f"i{number}.png", f"a{number}.npy"]
        save(here / names[-2], colour(40 - 5 * number, 30 + number))
        array = np.random.default_rng(number).standard_normal((3, 64 >> number, 50))
        save(here / names[-1], array, "float32")
    content = save(here / "x.png", colour(64, 64)).read_bytes()
    (here / "broken.png").write_bytes(content[: len(content) // 2])
    (here / "broken.npy").write_bytes((here / "a0.npy").read_bytes()[:400])
    (here / "x.png").unlink()
    return [*names[:3], "broken.npy", *names[3:7], "broken.png", *names[7:]]


def results(here: Path, folder: str) -> dict[str, bytes]:
    return {name: (here / folder / name).read_bytes() for name in tree(here / folder)}


def without_folder(ran: Ran, folder: str) -> Ran:
    return Ran(ran.status, ran.data.replace(folder.encode(), b"o"), ran.err.replace(folder, "o"))


def test_inputs_at_once_give_what_they_give_one_by_one(poolcli: Run, here: Path) -> None:
    names = twelve(here)
    ran = {
        jobs: poolcli("run", *names, *CHAIN, "-j", str(jobs), "-o", f"out{jobs}", "--json")
        for jobs in (1, 3)
    }
    assert ran[3].status == 1
    assert without_folder(ran[3], "out3") == without_folder(ran[1], "out1")
    found = results(here, "out3")
    assert len(found) == 20
    assert found == results(here, "out1")
    lines = [json.loads(line) for line in ran[3].out.splitlines()]
    assert [line["input"] for line in lines] == names
    assert [line["input"] for line in lines if not line["ok"]] == ["broken.npy", "broken.png"]
    said = [line for line in ran[3].err.splitlines() if "inputs failed" in line]
    assert said == ["2 of 12 inputs failed: broken.npy, broken.png"]


def test_a_slow_first_input_is_still_reported_first(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []
    execute = executing.execute

    def slow_at_first(job: batch.Job, *arguments: Any, **more: Any) -> batch.Outcome:
        if job.source.name == "a.png":
            time.sleep(0.3)
        outcome = execute(job, *arguments, **more)
        ended.append(job.source.name)
        return outcome

    monkeypatch.setattr(running, "execute", slow_at_first)
    names = [save(here / f"{name}.png", grey()).name for name in "abcd"]
    ran = poolcli("run", *names, "-s", "max:2", "-j", "3", "--json", "-q")
    assert ended[-1] == "a.png"
    assert [json.loads(line)["input"] for line in ran.out.splitlines()] == names


def watched(
    monkeypatch: pytest.MonkeyPatch, wait: Callable[[], object]
) -> tuple[list[int], list[int]]:
    """Return what becomes the number of inputs at work, and their bytes, whenever one is begun."""
    counts, sizes = list[int](), list[int]()
    working: dict[int, int] = {}
    lock = threading.Lock()
    execute = executing.execute

    def watched_execute(job: batch.Job, *arguments: Any, **more: Any) -> batch.Outcome:
        with lock:
            working[id(job)] = job.needed
            counts.append(len(working))
            sizes.append(sum(working.values()))
        wait()
        try:
            return execute(job, *arguments, **more)
        finally:
            with lock:
                del working[id(job)]

    monkeypatch.setattr(running, "execute", watched_execute)
    return counts, sizes


def needed(name: str, *specs: str) -> int:
    (job,) = batch.prepare([Source(name)], Chain.parse(*specs), batch.Options())
    assert isinstance(job, batch.Job)
    return job.needed


def test_inputs_that_fit_alone_wait_for_their_turn(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [save(here / f"{number}.npy", grey(40, 40 + number)).name for number in range(6)]
    memory = max(needed(name, "max:2") for name in names)
    counts, sizes = watched(monkeypatch, lambda: time.sleep(0.02))
    ran = poolcli("run", *names, "-s", "max:2", "-q", "-j", "3", "--memory", str(memory))
    assert (ran.status, ran.err) == (0, "")
    assert len(tree(here / "pooled")) == 6
    assert counts == [1] * 6
    assert max(sizes) <= memory


def test_inputs_that_fit_together_are_worked_on_together(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of a size fit, three don't: each pair meets, or the barrier breaks."""
    names = [save(here / f"{number}.npy", grey(40, 40)).name for number in range(6)]
    memory = needed(names[0], "max:2") * 5 // 2
    meeting = threading.Barrier(2, timeout=20)
    counts, sizes = watched(monkeypatch, meeting.wait)
    ran = poolcli("run", *names, "-s", "max:2", "-q", "-j", "3", "--memory", str(memory))
    assert (ran.status, ran.err) == (0, "")
    assert max(counts) == 2
    assert max(sizes) <= memory


def test_an_input_that_does_not_fit_alone_is_refused_and_the_others_go_on(
    poolcli: Run, here: Path
) -> None:
    save(here / "large.png", grey(100, 200))
    names = [save(here / f"{number}.png", grey(4, 4)).name for number in range(3)]
    ran = poolcli(
        "run", names[0], "large.png", *names[1:], "-s", "max:2", "-q", "-j", "2", "--memory", "9kB"
    )
    assert ran.status == 1
    first = ran.err.splitlines()[0]
    assert first.startswith("error: large.png: it takes ")
    assert first.endswith(
        ", of which --memory allows 9,000 bytes: encoding its results takes 30 KiB"
    )
    assert len(tree(here / "pooled")) == 3


def test_memory_given_up_by_a_failed_input_is_free_again(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [save(here / f"{number}.npy", grey(40, 40)).name for number in range(4)]
    memory = needed(names[0], "max:2")
    monkeypatch.setattr(batch, "check_folders", lambda _: (here / "0.npy").unlink())
    ran = poolcli("run", *names, "-s", "max:2", "-q", "-j", "2", "--memory", str(memory))
    assert ran.status == 1
    assert ran.err.splitlines() == [
        "error: 0.npy: no such file",
        "1 of 4 inputs failed: 0.npy",
    ]
    assert len(tree(here / "pooled")) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("1048576", 1 << 20),
        ("512MiB", 512 << 20),
        ("512mib", 512 << 20),
        ("512M", 512 << 20),
        ("512MB", 512_000_000),
        ("2GB", 2_000_000_000),
        ("2GiB", 2 << 30),
        ("1TB", 10**12),
        ("1.5k", 1536),
        ("1.5kB", 1500),
        ("10B", 10),
        ("64 MiB", 64 << 20),
    ],
)
def test_sizes_are_understood(text: str, expected: int) -> None:
    option = click.Option(["--memory"])
    assert byte_count(click.Context(click.Command("run")), option, text) == expected


@pytest.mark.parametrize(
    "text", ["0", "-1", "abc", "5XB", "", "MiB", "1e6", "0.5", "1,000", "1.5.1", "inf", "nan", "٣"]
)
def test_what_is_no_size_is_a_usage_error(poolcli: Run, here: Path, text: str) -> None:
    save(here / "a.png", grey())
    said = poolcli("run", "a.png", "-s", "max:2", f"--memory={text}").error(2)
    assert "'--memory'" in said
    assert "512MiB, 2GB or 1048576" in said
    assert tree(here) == ["a.png"]


def test_a_size_beyond_floats_is_a_usage_error_too(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    poolcli("run", "a.png", "-s", "max:2", "--memory", "9" * 400).error(2)


@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_no_jobs_at_all_is_a_usage_error(poolcli: Run, here: Path, jobs: str) -> None:
    save(here / "a.png", grey())
    assert "'--jobs'" in poolcli("run", "a.png", "-s", "max:2", f"--jobs={jobs}").error(2)


def test_more_jobs_than_inputs_are_no_matter(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    save(here / "b.png", grey())
    assert poolcli("run", "a.png", "b.png", "-s", "max:2", "-j", "50", "-q").status == 0
    assert len(tree(here / "pooled")) == 2


def drawing() -> Any:
    """Return a picture that compresses, but not to nothing."""
    height, width = np.mgrid[0:96, 0:128]
    waves = 100 + 60 * np.sin(height / 9) + 60 * np.cos(width / 7 + height / 30)
    return np.stack([waves, waves[::-1], waves[:, ::-1]], axis=-1).astype(np.uint8)


def test_pngs_are_compressed_as_hard_as_asked(poolcli: Run, here: Path) -> None:
    save(here / "a.png", drawing())
    sizes, shown = [], []
    for level in ("0", "4", "9"):
        ran = poolcli("run", "a.png", "-s", "relu", "-q", "-o", level, "--png-level", level)
        assert (ran.status, ran.err) == (0, "")
        path = here / level / "a.1-relu.png"
        sizes.append(path.stat().st_size)
        shown.append(pixels(path))
    assert sizes[0] > 96 * 128 * 3
    assert sizes[0] > 1.2 * sizes[1]
    assert sizes[1] > sizes[2]
    for other in shown:
        np.testing.assert_array_equal(other, drawing())


def test_jpegs_are_as_good_as_asked(poolcli: Run, here: Path) -> None:
    save(here / "a.png", drawing())
    sizes, errors = [], []
    for quality in ("10", "60", "95"):
        ran = poolcli(
            "run", "a.png", "-s", "relu", "-q", "-o", quality, "--format", "jpg",
            "--quality", quality,
        )  # fmt: skip
        assert (ran.status, ran.err) == (0, "")
        path = here / quality / "a.1-relu.jpg"
        sizes.append(path.stat().st_size)
        errors.append(np.abs(pixels(path).astype(float) - drawing()).mean())
    assert sizes[0] < sizes[1] < sizes[2]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--png-level", "10"), ("--png-level", "-1"), ("--quality", "0"), ("--quality", "101")],
)
def test_levels_and_qualities_that_are_none(
    poolcli: Run, here: Path, option: str, value: str
) -> None:
    save(here / "a.png", grey())
    assert f"'{option}'" in poolcli("run", "a.png", "-s", "max:2", f"{option}={value}").error(2)
