"""The dtypes that maps can have, and what an operation makes of each. Names only, no NumPy.

Two dtypes travel with a map. The *result* dtype is what a saved array has; the *carried* dtype is
what the next stage computes on. They differ after an average of integers: the result is float32,
but float64 is carried, so that nothing is rounded between stages.
"""

from __future__ import annotations

from typing import Literal

from poolcli.errors import SpecError
from poolcli.spelling import nearest

ITEM_SIZES = {
    "bool": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
}

Rule = Literal["same", "sum", "real"]
"""What an operation gives of integers: the same dtype, a 64-bit sum, or real numbers."""


def check_dtype(name: str) -> str:
    """Return ``name`` if maps can have this dtype.

    >>> check_dtype("float32")
    'float32'
    """
    if name in ITEM_SIZES:
        return name
    raise SpecError(f"dtype {name!r}: {nearest(name, ITEM_SIZES)}")


def is_float(name: str) -> bool:
    """Whether ``name`` is a floating-point dtype."""
    return name.startswith("float")


def result_dtype(rule: Rule, dtype: str) -> str:
    """Dtype of an operation's saved result on a map whose result dtype is ``dtype``.

    >>> [result_dtype("real", name) for name in ("uint8", "int32", "float16")]
    ['float32', 'float64', 'float16']
    >>> [result_dtype("sum", name) for name in ("bool", "int8", "uint8")]
    ['int64', 'int64', 'uint64']
    """
    if is_float(dtype) or rule == "same":
        return dtype
    if rule == "sum":
        return "uint64" if dtype.startswith("uint") else "int64"
    return "float64" if ITEM_SIZES[dtype] >= 4 else "float32"  # noqa: PLR2004 - bytes: 32 bits up


def carried_dtype(rule: Rule, dtype: str) -> str:
    """Dtype that the next stage computes on, from the carried ``dtype`` before this one."""
    if is_float(dtype) or rule == "same":
        return dtype
    return result_dtype(rule, dtype) if rule == "sum" else "float64"
