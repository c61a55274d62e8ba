"""Work is done once and in order, however many threads the system gives, and however they end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from _thread import start_new_thread
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from poolcli import threads
from poolcli.threads import Pool, on_threads
from tests.conftest import environment, grey, save

Start = Callable[..., int]


def refused(*_: object) -> int:
    raise RuntimeError("can't start new thread")


def without_memory(*_: object) -> int:
    raise MemoryError


def dead(*_: object) -> int:
    """Stand for a thread that has no memory for its first step."""
    return 0


def at_random(seed: int) -> Start:
    draw = Random(seed)  # noqa: S311 - the same in every run

    def begin(*given: Any) -> int:
        return start_new_thread(*given) if draw.random() < 0.5 else refused()

    return begin


def late(*given: Any) -> int:
    """Stand for a system that takes its time."""
    timer = threading.Timer(0.05, given[0], given[1])
    # Kept pools are never closed, and Python waits for all threads but these.
    timer.daemon = True
    timer.start()
    return 0


STARTS: dict[str, Start] = {
    "all": start_new_thread,
    "none": refused,
    "no memory": without_memory,
    "dead": dead,
    "late": late,
    **{f"some, {seed}": at_random(seed) for seed in range(8)},
}


@pytest.fixture(params=list(STARTS))
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "start_new_thread", STARTS[request.param])
    monkeypatch.setattr(threads, "_PATIENCE", 0.2)
    # No thread of another test is there to help.
    threads._helpers.cache_clear()  # noqa: SLF001 - what a fork does


@pytest.mark.usefixtures("start")
@pytest.mark.parametrize("most", [1, 2, 5])
def test_each_piece_is_done_once_and_no_more_at_once_than_there_are_threads(most: int) -> None:
    done: list[int] = []
    begun: list[int] = []
    running = peak = 0
    lock = threading.Lock()

    def work(number: int) -> int:
        nonlocal running, peak
        with lock:
            begun.append(number)
            running += 1
            peak = max(peak, running)
        time.sleep(number % 3 / 1000)
        with lock:
            running -= 1
            done.append(number)
        return -number

    with Pool(most) as pool:
        pieces = [pool.submit(work, number) for number in range(40)]
        assert [piece.result() for piece in pieces[:20]] == [-number for number in range(20)]
    assert [piece.result() for piece in pieces] == [-number for number in range(40)]
    assert begun == list(range(40))
    assert sorted(done) == begun
    assert peak <= most
    assert most > 1 or done == begun


@pytest.mark.usefixtures("start")
@pytest.mark.parametrize("count", [1, 2, 7])
def test_all_work_is_done_once_on_threads(count: int) -> None:
    for _ in range(20):
        done: list[int] = []
        on_threads(done.append, range(30), count)
        assert sorted(done) == list(range(30))


@pytest.mark.usefixtures("start")
def test_an_error_ends_the_work_and_is_raised_where_it_is_waited_for() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError(number)
        return number

    with Pool(2) as pool:
        pieces = [pool.submit(work, number) for number in range(6)]
        for _ in range(2):
            with pytest.raises(ValueError, match="3"):
                pieces[3].result()
        assert pieces[5].result() == 5
    done: list[int] = []
    with pytest.raises(ValueError, match="3"):
        on_threads(lambda number: done.append(work(number)), range(1000), 3)
    assert len(done) < 1000


@pytest.mark.usefixtures("start")
def test_after_an_error_nothing_more_is_begun() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        time.sleep(0.01)
        done.append(number)

    def run() -> None:
        with Pool(1) as pool:
            pieces = [pool.submit(work, number) for number in range(100)]
            pieces[0].result()
            raise KeyError

    with pytest.raises(KeyError):
        run()
    seen = len(done)
    assert 1 <= seen < 50
    time.sleep(0.05)
    assert len(done) == seen


@pytest.mark.usefixtures("start")
def test_what_is_withdrawn_is_not_done() -> None:
    done: list[int] = []
    gate = threading.Event()
    pool = Pool(1)
    first = pool.submit(gate.wait, 5)
    second = pool.submit(done.append, 2)
    third = pool.submit(done.append, 3)
    assert second.cancel()
    assert second.done()
    gate.set()
    third.result()
    pool.close()
    assert first.done()
    assert not third.cancel()
    assert done == [3]


def test_a_closed_pool_lets_its_threads_go() -> None:
    pool = Pool(3)
    for piece in [pool.submit(time.sleep, 0.01) for _ in range(6)]:
        piece.result()
    assert pool._here  # noqa: SLF001 - nothing else shows it
    pool.close()
    for _ in range(500):
        if not pool._here:  # noqa: SLF001 - as above
            break
        time.sleep(0.01)
    assert not pool._here  # noqa: SLF001 - as above


def test_an_error_keeps_nothing_of_the_work() -> None:
    """Maps are large: that of a failed piece is freed with its error, not when Python clears up."""
    import gc
    import weakref

    class Map:
        """Something large."""

    seen: list[weakref.ref[Map]] = []

    def work(_: int) -> None:
        large = Map()
        seen.append(weakref.ref(large))
        raise ValueError

    gc.disable()
    try:
        for _ in range(5):
            with pytest.raises(ValueError):  # noqa: PT011 - whatever is in it
                on_threads(work, range(8), 4)
            with Pool(1) as pool, pytest.raises(ValueError):  # noqa: PT011 - as above
                pool.submit(work, 1).result()
            del pool
        deadline = time.monotonic() + 5
        while any(one() is not None for one in seen) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [one() for one in seen if one() is not None] == []
    finally:
        gc.enable()


WAITED_FOR = """
import sys, time
from poolcli.threads import Pool
pool = Pool(1)
pool.submit(lambda: (time.sleep(0.5), print("done", flush=True)))
pool.submit(print, "not begun")
time.sleep(0.1)
pool.close()
"""


def test_the_process_ends_when_what_is_begun_has_ended(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WAITED_FOR],
        capture_output=True, cwd=here, env=environment(), timeout=30, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (b"done\n", b"")


LIMITED = """
import resource, sys
from poolcli.cli.main import main
limit = int(sys.argv[1])
if sys.argv[2] == "refused":
    from poolcli import threads
    def refuse(*_):
        raise RuntimeError("can't start new thread")
    threads.start_new_thread = refuse
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
main(sys.argv[3:])
"""


def limited(here: Path, limit: int, threads: str, *arguments: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), threads, *arguments],
        capture_output=True, cwd=here, env=environment(), timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr.decode().splitlines()


ALL = ("run", "in", "-s", "max:2", "-s", "conv:3,filter=box", "-q", "--memory", "80MiB")


@pytest.fixture
def inputs(here: Path) -> list[str]:
    for number in range(4):
        save(here / f"in/a{number}.npy", np.ones((300, 300)), "float32")
        save(here / f"in/b{number}.png", grey(16, 16))
    # Read in parts: by a thread that reads and one that writes.
    np.save(here / "in/c.npy", np.ones((60, 1000, 1000), np.uint8))
    return sorted(path.name for path in (here / "in").iterdir())


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_with_no_thread_at_all_a_run_is_the_same(here: Path, inputs: list[str], jobs: str) -> None:
    assert limited(here, 8 << 30, "given", *ALL, "-o", "with", "-j", jobs) == (0, [])
    assert limited(here, 8 << 30, "refused", *ALL, "-o", "without", "-j", jobs) == (0, [])
    expected = sorted((here / "with").glob("[!.]*"))
    assert len(expected) == 2 * len(inputs)
    for path in expected:
        assert (here / "without" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited so on Linux")
def test_the_less_memory_there_is_the_less_is_done_and_it_is_said_in_lines(
    here: Path, inputs: list[str]
) -> None:
    """From too little to load NumPy up to enough: no limit ends in a traceback, or loses a word."""
    done = []
    for limit in (40, 70, 110, 130, 150, 170, 190, 210, 250, 300, 400):
        output = f"o{limit}"
        status, said = limited(here, limit << 20, "given", *ALL, "-o", output, "-j", "2")
        assert status in (0, 1), (limit, said)
        assert not any("Traceback" in line or line.startswith(" ") for line in said), said
        written = {path.name.split(".")[0] for path in (here / output).glob("[!.]*")}
        if len(said) > 1:
            # A line for each that is not done, and the sum.
            failed = {line.split(": ")[1].removeprefix("in/") for line in said[:-1]}
            assert len(failed) == len(said) - 1
            assert failed | {name for name in inputs if name.split(".")[0] in written} == {*inputs}
        elif not said:
            assert len(written) == len(inputs)
        done.append(status == 0)
    assert done[-1]
    assert not done[0]
