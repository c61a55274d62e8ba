"""Defects that the fuzzer (``python -m tests.fuzz``) found, each with a small case that shows it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from poolcli.errors import InputError
from poolcli.files import arrays
from tests.conftest import Run
from tests.test_arrays import header_of, npy

BEYOND_DECIMAL = "0x" + "f" * 5000
"""Python reads it, but refuses to write it in decimal digits."""


def test_a_length_of_thousands_of_digits_is_more_than_the_file_holds() -> None:
    content = npy(header_of("'<f4'", f"({BEYOND_DECIMAL},)"))
    with pytest.raises(InputError, match=r"promises more than 2\^64 bytes of elements, it holds 0"):
        arrays.read_header(io.BytesIO(content))


def test_a_date_that_ends_the_process_within_numpy_never_reaches_it(
    process: Run, here: Path
) -> None:
    (here / "a.npy").write_bytes(npy(header_of("'<M8[s/0]'"), bytes(16)))
    assert "can't be read" in process("shape", "a.npy", "-s", "max:1").error(1)


@pytest.mark.parametrize(
    ("descr", "said"),
    [
        ("[('a', '<M8[s/0]'), ('b', '<f4')]", r"one of its fields \(a, b\)"),
        ("{'names': ['a'], 'formats': ['<f4'], 'offsets': [99999999999999999999]}", "can't be"),
        ("{'a': ('<f4', 99999999999999999999)}", "can't be read"),
        ("('<f4', (99999999999999999999,))", "can't be read"),
        (f"('<f4', {BEYOND_DECIMAL})", "can't be read"),
        ("[()]", "can't be read"),
        ("[3]", "can't be read"),
        ("3", "can't be read"),
    ],
)
def test_dtypes_that_are_not_plain_are_refused_unread(descr: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        arrays.read_header(io.BytesIO(npy(header_of(descr), bytes(64), 2)))
