from __future__ import annotations

import numpy as np
import pytest

from poolcli.dtypes import ITEM_SIZES, Rule, carried_dtype, check_dtype, is_float, result_dtype
from poolcli.errors import SpecError

INTEGERS = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]


def test_the_dtypes_are_these_twelve() -> None:
    assert sorted(ITEM_SIZES) == sorted(INTEGERS + FLOATS)


@pytest.mark.parametrize("name", INTEGERS + FLOATS)
def test_a_known_dtype_passes_and_has_numpys_size(name: str) -> None:
    assert check_dtype(name) == name
    assert np.dtype(name).name == name
    assert ITEM_SIZES[name] == np.dtype(name).itemsize
    assert is_float(name) == (name in FLOATS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uint9", "dtype 'uint9': did you mean uint8?"),
        ("flaot32", "dtype 'flaot32': did you mean float32?"),
        ("", f"dtype '': known are {', '.join(ITEM_SIZES)}"),
        ("zzz", f"dtype 'zzz': known are {', '.join(ITEM_SIZES)}"),
    ],
)
def test_an_unknown_dtype_is_refused_with_the_nearest(name: str, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_dtype(name)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("rule", "dtype", "result", "carried"),
    [
        *[("same", name, name, name) for name in INTEGERS + FLOATS],
        *[("sum", name, name, name) for name in FLOATS],
        *[("real", name, name, name) for name in FLOATS],
        *[("sum", name, "uint64", "uint64") for name in INTEGERS if name.startswith("u")],
        *[("sum", name, "int64", "int64") for name in INTEGERS if not name.startswith("u")],
        *[("real", name, "float32", "float64") for name in INTEGERS if ITEM_SIZES[name] < 4],
        *[("real", name, "float64", "float64") for name in INTEGERS if ITEM_SIZES[name] >= 4],
    ],
)
def test_result_and_carried_dtypes(rule: Rule, dtype: str, result: str, carried: str) -> None:
    assert result_dtype(rule, dtype) == result
    assert carried_dtype(rule, dtype) == carried
