"""Whatever text or file comes in is read or refused in words: a few hundred, at random.

``python -m tests.fuzz`` tries a few hundred thousand.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcli.errors import InputError, PoolError
from tests import fuzz
from tests.fuzz_targets import DESCRS, SPEC_TOKENS, TARGETS, array_file, prepare, sealed

pytestmark = pytest.mark.filterwarnings("ignore")  # as the program does

few = settings(max_examples=60, deadline=None)
many = settings(max_examples=200, deadline=None)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Work where the files are that specs name."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("fuzz"))
    prepare(Path())
    yield
    os.chdir(before)


def is_read(name: str, content: bytes) -> bool:
    """Run an input; it is read or refused, and nothing else."""
    try:
        TARGETS[name].run(content)
    except PoolError:
        return False
    return True


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_of_inputs_that_are_read(name: str) -> None:
    read = [is_read(name, content) for content in fuzz.corpus(name)]
    assert sum(read) > 0.6 * len(read)


@pytest.mark.parametrize("name", TARGETS)
@many
@given(rng=st.randoms(use_true_random=False))
def test_mutated_inputs_are_read_or_refused(name: str, rng: Random) -> None:
    is_read(name, TARGETS[name].mutate(rng, fuzz.corpus(name)))


@many
@given(st.lists(st.sampled_from(SPEC_TOKENS), max_size=8))
def test_the_spec_languages_own_words_in_any_order(words: list[bytes]) -> None:
    is_read("specs", b"".join(words))


class Hex(int):
    """A number that is written in hexadecimal digits, of which there may be thousands."""

    def __repr__(self) -> str:
        return hex(self)


numbers = st.integers() | st.sampled_from([0, 1, 2**31, 2**63, 2**64, 10**13, Hex(16**5000)])
literals = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@many
@given(literals)
def test_headers_of_any_literal(value: object) -> None:
    is_read("arrays", array_file(repr(value).encode(), bytes(64), 3))


def header(descr: str, shape: object, order: object) -> bytes:
    return f"{{'descr': {descr}, 'shape': {shape!r}, 'fortran_order': {order!r}}}".encode()


lengths = st.lists(st.integers(0, 3), max_size=6).map(tuple)
long_ones = st.lists(st.integers(0, 3) | numbers, max_size=4).map(tuple)


@many
@given(st.sampled_from(DESCRS) | literals.map(repr), lengths, st.booleans(), st.integers(1, 3))
def test_headers_of_any_dtype(descr: str, shape: object, order: bool, version: int) -> None:
    is_read("arrays", array_file(header(descr, shape, order), bytes(256), version))


@many
@given(st.sampled_from(["'<f4'", "'|u1'"]), long_ones | literals, st.booleans() | literals)
def test_headers_of_any_shape_and_order(descr: str, shape: object, order: object) -> None:
    is_read("arrays", array_file(header(descr, shape, order), bytes(256), 3))


dates = st.dates() | st.datetimes() | st.times() | st.datetimes(timezones=st.just(UTC))
values = st.recursive(
    st.booleans() | numbers | st.floats() | st.text(max_size=9) | dates,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def in_toml(value: object) -> str:
    """Write a value as TOML does."""
    if isinstance(value, bool | str):
        return json.dumps(value)
    if isinstance(value, int):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(in_toml, value))}]"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {in_toml(entry)}" for key, entry in value.items())
        return f"{{{', '.join(pairs)}}}"
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


stages = st.sampled_from(["max:2", "avg:global", "relu"])


@many
@given(
    st.dictionaries(st.sampled_from(["layout", "stage", "spec", "x"]), values, max_size=3),
    st.lists(st.dictionaries(st.sampled_from(["spec", "x"]), stages | values), max_size=3),
)
def test_recipes_of_any_values(top: dict[str, object], tables: list[dict[str, object]]) -> None:
    lines = [f"{key} = {in_toml(value)}" for key, value in top.items()]
    for table in tables:
        lines += ["[[stage]]", *(f"{key} = {in_toml(value)}" for key, value in table.items())]
    is_read("recipes", "\n".join(lines).encode(errors="replace"))


pictures = st.sampled_from(fuzz.corpus("images"))
shares = st.floats(0, 1)


@many
@given(pictures, shares, st.integers(0, 7))
def test_pictures_with_one_bit_of_another_value(content: bytes, place: float, bit: int) -> None:
    changed = bytearray(content)
    changed[int(place * (len(content) - 1))] ^= 1 << bit
    is_read("images", bytes(changed))
    is_read("images", sealed(bytes(changed)))


@few
@given(pictures, shares)
def test_pictures_cut_short(content: bytes, share: float) -> None:
    is_read("images", content[: int(share * len(content))])


@few
@given(pictures, pictures, shares, shares)
def test_pictures_that_go_on_as_another_format(
    first: bytes, second: bytes, end: float, start: float
) -> None:
    is_read("images", first[: int(end * len(first))] + second[int(start * len(second)) :])


def refuse_for_want_of_memory() -> None:
    try:
        bytearray(1 << 40)
    except MemoryError:
        raise InputError("too large") from None


@pytest.mark.parametrize(
    ("defect", "said"),
    [
        (lambda: 1 // 0, "ZeroDivisionError at test_fuzz.py:"),
        (lambda: os.write(2, b"odd\n"), "on standard error: ['odd']"),
        (refuse_for_want_of_memory, "out of memory at test_fuzz.py:"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "died (-9)"),
        (lambda: time.sleep(60), "ran for 2 s"),
    ],
    ids=["error", "word", "memory", "death", "hang"],
)
def test_the_fuzzer_finds_a_defect_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    defect: Callable[[], Any],
    said: str,
) -> None:
    def run(content: bytes) -> None:
        if content == b"3":
            defect()
        if content > b"5":
            raise InputError("above 5")

    numbered = iter(range(20))
    target = replace(
        TARGETS["specs"],
        corpus=lambda: [b"0"],
        mutate=lambda _rng, _parents: b"%d" % (next(numbered) % 10),
        run=run,
    )
    monkeypatch.setitem(TARGETS, "planted", target)
    if said.startswith("ran"):
        monkeypatch.setattr(fuzz, "_SECONDS", 2.0)
    tally = fuzz.fuzz("planted", 20, seed=0, jobs=1)
    assert tally.accepted + tally.refused + sum(tally.failed.values()) >= 20
    (how,) = tally.failures
    assert how.startswith(said)
    assert tally.failures[how] == b"3"
    assert not fuzz.report("planted", tally, 1.0, tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"3"]
    assert "Mw==" in capsys.readouterr().out


def test_the_fuzzer_does_the_same_for_the_same_seed() -> None:
    first, second, other = (fuzz.fuzz("specs", 60, seed=seed, jobs=2) for seed in (7, 7, 8))
    assert (first.accepted, first.reasons) == (second.accepted, second.reasons)
    assert first.reasons != other.reasons
    assert min(first.accepted, first.refused) > 0
    assert not first.failures
