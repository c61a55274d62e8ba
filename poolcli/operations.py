"""Every operation's facts: formula, keys, dtype rule, costs, names elsewhere. No NumPy.

What an operation *does* stands in :mod:`poolcli.kernels.reducers` under the same name. The two
together are all that an operation is; where its windows lie is nobody's business here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from poolcli.dtypes import Rule

Value = int | float | str
Family = Literal["windows", "convolution", "elementwise"]


@dataclass(frozen=True, slots=True)
class Key:
    """A key that only some operations have: how to read its value, and what it means.

    ``read`` turns the text after ``=`` into a value, or raises ValueError with what is expected.
    """

    name: str
    default: Value | None
    read: Callable[[str], Value]
    meaning: str


@dataclass(frozen=True, slots=True)
class Operation:
    """The facts of one operation; see ``poolcli ops`` for all of them as a table."""

    name: str
    formula: str
    source: str
    pytorch: str
    onnx: str
    keras: str
    family: Family = "windows"
    rule: Rule = "same"
    keys: tuple[Key, ...] = ()
    zero_padded: bool = False
    """Numeric padding is zeros that take part, rather than absent."""
    averages: bool = False
    """The result is divided by a count, so include-pad, exclude-pad and divisor apply."""
    answers_empty: bool = False
    """A window that holds nothing but absent padding has a defined result."""
    compares: bool = False
    """Costs (window size - 1) comparisons per output."""
    adds: bool = False
    """Costs (window size - 1) additions per output."""

    def key(self, name: str) -> Key | None:
        """Return the operation's own key of this name, if it has one."""
        return next((key for key in self.keys if key.name == name), None)


def number_above(least: float) -> Callable[[str], Value]:
    """Return a reader of finite numbers above ``least``; whole ones come back as int.

    >>> number_above(0)("2.0")
    2
    """

    def read(text: str) -> Value:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least < value < float("inf"):
            raise ValueError(f"a number above {least:g}")
        return int(value) if value.is_integer() else value

    return read


def whole_number(text: str) -> int:
    """Read a whole number above 0, in plain digits."""
    if not (text.isascii() and text.isdigit() and int(text[:20]) > 0) or len(text) > _DIGITS:
        raise ValueError("a whole number above 0")
    return int(text)


_DIGITS = 12
"""Longer numbers are typing errors; no array has 10^12 elements along an axis."""


_OPERATIONS = (
    Operation(
        "max",
        "max x",
        "ATen/native/cpu/MaxPoolKernel.cpp; padding never wins, NaN always does",
        pytorch="MaxPool, AdaptiveMaxPool",
        onnx="MaxPool, GlobalMaxPool",
        keras="MaxPooling, GlobalMaxPooling",
        answers_empty=True,
        compares=True,
    ),
    Operation(
        "min",
        "min x",
        "max of the negated map; grey erosion where stride is 1",
        pytorch="-MaxPool(-x)",
        onnx="-MaxPool(-x)",
        keras="-MaxPooling(-x)",
        answers_empty=True,
        compares=True,
    ),
    Operation(
        "avg",
        "Σx / count",
        "ATen/native/cpu/AvgPoolKernel.cpp; count per include-pad, exclude-pad, divisor",
        pytorch="AvgPool, AdaptiveAvgPool",
        onnx="AveragePool, GlobalAveragePool",
        keras="AveragePooling, GlobalAveragePooling",
        rule="real",
        zero_padded=True,
        averages=True,
        adds=True,
    ),
    Operation(
        "sum",
        "Σx",
        "AvgPool with divisor_override=1",
        pytorch="AvgPool(divisor_override=1)",
        onnx="LpPool(p=1) where x ≥ 0",
        keras="AveragePooling · count",
        rule="sum",
        zero_padded=True,
        answers_empty=True,
        adds=True,
    ),
    Operation(
        "lp",
        "(Σ|x|ⁿ)^(1/n)",
        "ONNX LpPool; PyTorch's LPPool leaves out the absolute value",
        pytorch="LPPool where x ≥ 0",
        onnx="LpPool, GlobalLpPool",
        keras="-",
        rule="real",
        keys=(Key("norm", 2, number_above(0), "the exponent n"),),
        zero_padded=True,
        answers_empty=True,
        adds=True,
    ),
    Operation(
        "pick",
        "first x",
        "plain striding: the window's first element that is not padding",
        pytorch="x[..., ::s, ::s]",
        onnx="Slice with steps",
        keras="x[:, ::s, ::s]",
    ),
    Operation(
        "conv",
        "Σw·x + bias",
        "torch.nn.Conv2d: correlation, zero padding",
        pytorch="Conv",
        onnx="Conv",
        keras="Conv",
        family="convolution",
        rule="real",
        keys=(
            Key("out", None, whole_number, "output channels, without weights: for shape only"),
            Key("groups", 1, whole_number, "groups of channels that don't mix"),
            Key("channels", None, whole_number, "input channels that the map must have"),
        ),
        zero_padded=True,
    ),
    Operation(
        "relu",
        "max(x, 0)",
        "the detector stage between convolution and pooling",
        pytorch="ReLU",
        onnx="Relu",
        keras="ReLU",
        family="elementwise",
    ),
)

OPERATIONS: dict[str, Operation] = {operation.name: operation for operation in _OPERATIONS}
