"""Whatever lies in the record's folder takes a bounded part of memory, and of time."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from poolcli.batch import earlier
from poolcli.batch.earlier import Earlier, entries_of, planned_of
from tests.conftest import Run, grey, save
from tests.peaks import measured

SIZE = 300 << 20


def zeros(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(SIZE)


def one_line(path: Path) -> None:
    """Write what begins as a line of a record does."""
    with path.open("wb") as stream:
        stream.write(b'{"result": "')
        for _ in range(SIZE >> 20):
            stream.write(b"x" * (1 << 20))


def short_lines(path: Path) -> None:
    with path.open("wb") as stream:
        for _ in range(SIZE >> 20):
            stream.write(b"\n" * (1 << 20))


def peak(here: Path, *more: str) -> int:
    """Return the peak memory of a run, in bytes."""
    ran = measured(here, "run", "a.npy", "b.npy", "-s", "max:2", "-q", *more)
    assert ran.status == 0, ran
    return ran.peak << 20


@pytest.mark.parametrize("fill", [zeros, one_line, short_lines])
@pytest.mark.parametrize("suffix", [".ndjson", ".planned"])
def test_a_large_file_in_the_records_folder_takes_no_memory(
    here: Path, fill: Callable[[Path], None], suffix: str
) -> None:
    for name in ("a.npy", "b.npy"):
        save(here / name, grey())
    plain = peak(here)
    (own,) = (here / "pooled/.poolcli").iterdir()
    # As of a process of this host that is no more, so that it is put together with others.
    for junk in (own.with_name(f"{own.stem}0.ndjson"), own.with_name(f"{own.stem}0.planned")):
        if junk.suffix == suffix:
            fill(junk)
        else:
            junk.touch()
    assert peak(here, "--resume") - plain < 64 << 20


def line(name: str) -> bytes:
    return json.dumps({"result": name, "sha256": "0", "source": {}}).encode() + b"\n"


def test_lines_behind_a_line_that_is_too_long_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earlier, "_LONGEST_LINE", 200)
    for length in (150, 199, 200, 201, 399, 400, 401, 1000):
        content = line("a") + line("x" * length) + line("b") + line("c")[:-1]
        assert {"a", "b", "c"} <= set(entries_of([io.BytesIO(content)])), length
    assert "x" * 1000 not in entries_of([io.BytesIO(line("x" * 1000))])


def test_a_long_chain_is_in_a_line_that_is_read(poolcli: Run, here: Path) -> None:
    for name in ("a.npy", "b.npy"):
        save(here / name, grey())
    command = ("run", "a.npy", "b.npy", "-q", "--save", "last", "-s", "relu*1000")
    assert poolcli(*command).status == 0
    assert poolcli(*command, "--resume").status == 0
    (entry, _) = Earlier.read(here / "pooled").entries.values()
    assert len(entry.run["chain"]) == 1000


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"{}\n", b"[]\n", b'{"planned": 3}\n', b'{"planned": [], "source": []}\n',
        b'{"planned": ["a"]}\n', b'{"planned": ["a"], "source": 3}\n', b'{"planned": [' * 1000,
        b"\0" * 10_000, b'{"planned": ["a"], "source": {}',
    ],
)  # fmt: skip
def test_what_is_no_plan_plans_nothing(content: bytes) -> None:
    good = b'{"planned": ["b"], "source": {"path": "p", "name": "n"}}\n'
    for joined in (content + b"\n" + good, good + content):
        assert planned_of([io.BytesIO(joined)]) == {"b": {"path": "p", "name": "n"}}
