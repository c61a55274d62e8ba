from __future__ import annotations

import ast
import io
import pickle  # to show that it is not used
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from poolcli.dtypes import ITEM_SIZES
from poolcli.errors import InputError
from poolcli.files import arrays
from tests.conftest import Run

Array = npt.NDArray[Any]


def npy(header: str | bytes, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode() if isinstance(header, str) else header
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


def header_of(descr: str, shape: str = "(2,)", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def saved(array: Array, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


def read(content: bytes) -> Array:
    stream = io.BytesIO(content)
    return arrays.read_elements(stream, arrays.read_header(stream))


@pytest.mark.parametrize("name", ITEM_SIZES)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_reads_what_numpy_writes(name: str, order: str, endian: str) -> None:
    dtype = np.dtype(f"{endian}{np.dtype(name).str[1:]}")
    array = np.array((np.arange(24) % 2 if name == "bool" else np.arange(24)) - 0, dtype)
    shaped = np.asarray(array.reshape(2, 3, 4), order=order)  # type: ignore[call-overload]
    found = read(saved(shaped))
    assert found.dtype == np.dtype(name)
    assert found.dtype.isnative
    assert found.flags.c_contiguous
    assert found.flags.writeable
    assert found.tolist() == shaped.tolist()


@pytest.mark.parametrize("version", [1, 2, 3])
def test_reads_every_version_of_the_format(version: int) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert read(saved(array, (version, 0))).tolist() == array.tolist()


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(
            [np.dtype(f"{end}{np.dtype(name).str[1:]}") for name in ITEM_SIZES for end in "<>"]
        ),
        hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
    ),
    st.booleans(),
)
def test_reading_and_writing_keep_every_bit(array: Array, fortran: bool) -> None:
    array = np.asfortranarray(array) if fortran else array
    found = read(saved(array))
    assert found.shape == array.shape
    assert found.tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()
    stream = io.BytesIO()
    arrays.write(stream, found)
    stream.seek(0)
    again = np.load(stream, allow_pickle=False)
    assert again.dtype == found.dtype
    assert again.tobytes() == found.tobytes()


def test_bool_bytes_other_than_0_and_1_are_true() -> None:
    found = read(npy(header_of("'|b1'", "(4,)"), bytes([0, 1, 2, 255])))
    assert found.dtype == bool
    assert found.view(np.uint8).tolist() == [0, 1, 1, 1]


def test_reads_long_integers_as_python_2_wrote_them() -> None:
    content = npy(header_of("'<i2'", "(1L, 2L)"), struct.pack("<2h", 7, -7))
    assert read(content).tolist() == [[7, -7]]


@pytest.mark.parametrize("order", ["C", "F"])
def test_reads_streams_that_give_a_few_bytes_at_a_time(order: str) -> None:
    class Trickle(io.BytesIO):
        def readinto(self, buffer: Any, /) -> int:
            return super().readinto(memoryview(buffer)[:3])

    array = np.asarray(np.arange(20, dtype=">u4").reshape(4, 5), order=order)  # type: ignore[call-overload]
    stream = Trickle(saved(array))
    assert arrays.read_elements(stream, arrays.read_header(stream)).tolist() == array.tolist()


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("command", ["run", "shape"])
def test_a_pickled_object_is_refused_and_never_loaded(
    poolcli: Run, here: Path, command: str
) -> None:
    mark = here / "loaded"
    bomb = np.array([Bomb(mark), None], object)
    np.save(here / "bomb.npy", bomb, allow_pickle=True)
    content = (here / "bomb.npy").read_bytes()
    pickle.loads(content[content.index(b"\x80") :])  # noqa: S301 - shows that the bomb is live
    assert mark.exists()
    mark.unlink()
    said = poolcli(command, "bomb.npy", "-s", "max:2").error(1)
    assert said.startswith("bomb.npy: ")
    assert "pickled" in said
    assert not mark.exists()


BROKEN = {
    "no array": (b"not an array", "does not begin as one"),
    "version 0": (npy(header_of("'<f4'"), bytes(8), 0), "version 0"),
    "version 4": (npy(header_of("'<f4'"), bytes(8), 4), "version 4"),
    "header longer than 10,000": (npy(header_of("'<f4'") + " " * 10_000, bytes(8), 2), "10,000"),
    "header of 4 GiB": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "claims 4,294,967,295"),
    "header not UTF-8": (npy(b"\xff\xfe", version=3), "not text"),
    "not Python": (npy("{'descr': '<f4',"), "can't be read"),
    "code": (npy("__import__('os').getcwd()"), "can't be read"),
    "no dict": (npy("[1, 2]"), "can't be read"),
    "no shape": (npy("{'descr': '<f4', 'fortran_order': False}"), "can't be read"),
    "no descr": (npy("{'shape': (2,), 'fortran_order': False}"), "can't be read"),
    "descr None": (npy(header_of("None"), bytes(16)), "can't be read"),
    "descr of no dtype": (npy(header_of("'nonsense'")), "can't be read"),
    "order not bool": (npy(header_of("'<f4'", order="1"), bytes(8)), "can't be read"),
    "shape a list": (npy(header_of("'<f4'", "[2]"), bytes(8)), "can't be read"),
    "shape negative": (npy(header_of("'<f4'", "(-2,)"), bytes(8)), "can't be read"),
    "shape of floats": (npy(header_of("'<f4'", "(2.0,)"), bytes(8)), "can't be read"),
    "shape of bools": (npy(header_of("'<f4'", "(True,)"), bytes(8)), "can't be read"),
    "nested too deep": (npy("(" * 5000, version=2), "can't be read"),
    "objects": (npy(header_of("'|O'"), bytes(16)), "pickled"),
    "structured": (npy(header_of("[('x', '<f4'), ('y', '<i2')]"), bytes(12)), "x, y"),
    "structured with objects": (npy(header_of("[('x', '|O')]"), bytes(16)), "pickled"),
    "sub-arrays": (npy(header_of("('<f4', (3,))"), bytes(24)), "header|known are"),
    "complex": (npy(header_of("'<c8'"), bytes(16)), "complex"),
    "strings": (npy(header_of("'<U3'"), bytes(24)), "<U3"),
    "bytes": (npy(header_of("'|S3'"), bytes(6)), "S3"),
    "dates": (npy(header_of("'<M8[s]'"), bytes(16)), "datetime64"),
    "long double": (npy(header_of("'<f16'"), bytes(32)), "known are"),
    "too few bytes": (
        npy(header_of("'<f4'"), bytes(7)),
        "promises 8 bytes of elements, it holds 7",
    ),
    "a shape beyond 64 bits": (npy(header_of("'<f4'", "(10, 99999999999999999999)")), "promises"),
    "a length beyond 64 bits, no elements": (
        npy(header_of("'<f4'", "(0, 99999999999999999999)")),
        ".",
    ),
}


@pytest.mark.parametrize(("content", "said"), BROKEN.values(), ids=list(BROKEN))
def test_broken_files_are_refused_in_words(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        read(content)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_file_cut_anywhere_is_truncated(version: int) -> None:
    content = saved(np.arange(3, dtype=np.int16), (version, 0))
    for length in range(6, len(content)):
        with pytest.raises(InputError, match=r"truncated|not an \.npy"):
            read(content[:length])


def test_a_file_that_shrinks_after_its_header_was_read_is_truncated() -> None:
    content = saved(np.arange(4, dtype=np.int16))
    header = arrays.read_header(io.BytesIO(content))
    with pytest.raises(InputError, match=r"ends after 5 of 8 bytes"):
        arrays.read_elements(io.BytesIO(content[-8:-3]), header)


def test_bytes_behind_the_elements_are_no_harm() -> None:
    assert read(saved(np.arange(3)) + b"more").tolist() == [0, 1, 2]


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.sampled_from("{}'()[],:descrshapefortran_order <f4iO|TrueFalse012L\n"), max_size=90)
)
def test_no_header_ends_in_another_error(text: str) -> None:
    try:
        header = arrays.read_header(io.BytesIO(npy(text, bytes(64))))
    except InputError:
        return
    assert header.name in ITEM_SIZES


def test_headers_are_parsed_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11 fails where collecting garbage in one thread's parse lets another one begin."""
    content = io.BytesIO()
    np.save(content, np.zeros((2, 3)))
    busy, parse = Lock(), ast.literal_eval

    def alone(text: str) -> Any:
        assert busy.acquire(blocking=False)
        try:
            time.sleep(0.02)
            return parse(text)
        finally:
            busy.release()

    monkeypatch.setattr(ast, "literal_eval", alone)
    streams = [io.BytesIO(content.getvalue()) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert [header.shape for header in pool.map(arrays.read_header, streams)] == [(2, 3)] * 6
