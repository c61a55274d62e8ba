"""Mutations that know nothing of what is mutated: bits, bytes, slices, numbers, splices."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

LONGEST: Final = 1 << 17
"""Bytes of the longest input."""

_NUMBERS: Final = (
    *(b"0 1 2 3 7 00 -1 255 256 65535 65536 2147483647 2147483648 4294967295 999999999999").split(),
    *(b"1000000000000 9223372036854775807 9223372036854775808 18446744073709551616").split(),
    *(b"0.5 1e-6 1e300 1e400 nan inf 1_0 0x10 1j 5L").split(),
    b"9" * 400,
    b"9" * 5000,
    b"0x" + b"f" * 5000,
)


def mutated(rng: Random, parents: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """Return one of the parents with a few changes, some of them between tokens."""
    content = rng.choice(parents)
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 2, 3, 5, 8))):
        content = rng.choice(_CHANGES)(rng, content, parents, tokens)[:LONGEST]
    return content


_Change = Callable[[Random, bytes, Sequence[bytes], Sequence[bytes]], bytes]


def _slice(rng: Random, content: bytes) -> tuple[int, int]:
    start = rng.randint(0, len(content))
    longest = rng.choice((1, 2, 4, 8, 32, len(content)))
    return start, min(len(content), start + rng.randint(0, longest))


def _flip(rng: Random, content: bytes, *_rest: object) -> bytes:
    changed = bytearray(content or b"\0")
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(rng: Random, content: bytes, *_rest: object) -> bytes:
    form = rng.choice(("<B", "<H", ">H", "<I", ">I"))
    top = 1 << 8 * struct.calcsize(form)
    value = rng.choice((0, 1, 2, 16, top // 2 - 1, top // 2, top - 1, rng.randrange(top)))
    at = rng.randint(0, len(content))
    packed = struct.pack(form, value)
    return content[:at] + packed + content[at + len(packed) :]


def _insert(
    rng: Random, content: bytes, _parents: Sequence[bytes], tokens: Sequence[bytes]
) -> bytes:
    start, end = _slice(rng, content)
    new = rng.choice((rng.choice(tokens), rng.choice(_NUMBERS), rng.randbytes(rng.randint(1, 8))))
    return content[:start] + new + content[rng.choice((start, end)) :]


def _cut(rng: Random, content: bytes, *_rest: object) -> bytes:
    start, end = _slice(rng, content)
    return content[:start] + content[end:] if rng.random() < 0.7 else content[:start]


def _repeat(rng: Random, content: bytes, *_rest: object) -> bytes:
    start, end = _slice(rng, content)
    times = min(rng.choice((1, 2, 3, 10, 300, 10_000)), LONGEST // max(1, end - start))
    return content[:end] + content[start:end] * times + content[end:]


def _splice(rng: Random, content: bytes, parents: Sequence[bytes], *_rest: object) -> bytes:
    other = rng.choice(parents)
    (_, end), (start, _) = _slice(rng, content), _slice(rng, other)
    return content[:end] + other[start:]


def _renumber(rng: Random, content: bytes, *_rest: object) -> bytes:
    found = list(re.finditer(rb"\d+", content[:LONGEST]))
    if not found:
        return content
    one = rng.choice(found)
    new = rng.choice(_NUMBERS) if rng.random() < 0.5 else str(rng.randint(0, 12)).encode()
    return content[: one.start()] + new + content[one.end() :]


_CHANGES: Final[tuple[_Change, ...]] = (
    _flip, _overwrite, _insert, _insert, _cut, _repeat, _splice, _renumber, _renumber,
)  # fmt: skip
