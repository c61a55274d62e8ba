"""Every operation's facts: formula, keys, dtype rule, costs, names elsewhere. No NumPy.

What an operation *does* stands in :mod:`poolcli.kernels.reducers` under the same name. The two
together are all that an operation is; where its windows lie is nobody's business here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from poolcli.dtypes import Rule
from poolcli.spelling import nearest

Value = int | float | str
PadMode = Literal["constant", "reflect", "edge", "wrap"]
Family = Literal["windows", "convolution", "enlargement", "plain"]
"""Reduces windows; weighs them across channels; enlarges; takes no size at all."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that only some operations have: how to read its value, and what it means.

    ``read`` turns the text after ``=`` into a value, or raises ValueError with what is expected.
    """

    name: str
    default: Value | None
    read: Callable[[str], Value]
    meaning: str
    words: tuple[str, ...] = ()
    """All that its value can be, where that is a choice of words."""


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
    weighs: bool = False
    """Costs as many multiply-adds per output as its window has elements."""
    kernel: int | None = None
    """The window's size where none is given."""
    stride: int | None = None
    """The stride where none is given; None for the window's size."""
    pad_mode: PadMode = "constant"
    """What padding holds unless told otherwise."""
    centred: bool = False
    """Padding, unless given, is the floor and the ceil of (k-1)/2."""

    def key(self, name: str) -> Key | None:
        """Return the operation's own key of this name, if it has one."""
        return next((key for key in self.keys if key.name == name), None)


def number(
    low: float, high: float = float("inf"), *, open_low: bool = False
) -> Callable[[str], Value]:
    """Return a reader of finite numbers in a range; whole ones come back as int.

    >>> number(0, open_low=True)("2.0")
    2
    """
    words = f"a number above {low:g}" if open_low else f"a number from {low:g}"
    if high < float("inf"):
        words += f" to {high:g}"

    def read(text: str) -> Value:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        fits = low < value if open_low else low <= value
        if not (fits and value <= high and abs(value) < float("inf")):
            raise ValueError(words)
        return int(value) if value.is_integer() else value

    return read


def choice(*words: str) -> Callable[[str], str]:
    """Return a reader of one of some words."""

    def read(text: str) -> str:
        if text not in words:
            mend = nearest(text, words)
            near = f"; {mend}" if mend.startswith("did") else ""
            raise ValueError(f"one of {', '.join(words)}{near}")
        return text

    return read


def path(text: str) -> str:
    """Read the path of an .npy file, relative to the working directory."""
    if not text or '"' in text or not text.endswith(".npy"):
        raise ValueError("the path of an .npy file")
    return text


def seed(text: str) -> int:
    """Read the seed of random draws."""
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        raise ValueError("a whole number from 0")
    return int(text)


def whole_number(text: str) -> int:
    """Read a whole number above 0, in plain digits."""
    if not (text.isascii() and text.isdigit()) or not text.strip("0"):
        raise ValueError("a whole number above 0")
    if len(text) > DIGITS:
        raise ValueError(f"a whole number of at most {DIGITS} digits")
    return int(text)


DIGITS: Final = 12
"""Longer numbers are typing errors; no array has 10^12 elements along an axis."""


FILTERS: Final = (
    "identity",
    "box",
    "gaussian",
    "laplacian",
    "sharpen",
    "sobel-x",
    "sobel-y",
    "emboss",
)
"""Names of the built-in filters; their weights stand in :mod:`poolcli.kernels.convolution`."""

FLAT_FILTERS: Final = FILTERS[3:]
"""Those that are 3×3 and nothing else."""

MODES: Final = ("nearest", "bilinear")
"""How an enlargement fills what lies between; bilinear is linear along any number of axes."""

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
        keys=(Key("norm", 2, number(0, open_low=True), "the exponent n"),),
        zero_padded=True,
        answers_empty=True,
        adds=True,
    ),
    Operation(
        "gem",
        "(mean max(x, ε)ⁿ)^(1/n)",
        'Radenović, Tolias & Chum, "Fine-tuning CNN image retrieval", TPAMI 2019, equation 3',
        pytorch="AvgPool(clamp(x)ⁿ)^(1/n)",
        onnx="AveragePool(Clip(x)ⁿ)^(1/n)",
        keras="-",
        rule="real",
        keys=(
            Key("norm", 3, number(0, open_low=True), "the exponent n"),
            Key("eps", 1e-6, number(0, open_low=True), "the floor ε of the elements"),
        ),
        adds=True,
    ),
    Operation(
        "median",
        "median x",
        "numpy.median: the mean of the middle two of an even number",
        pytorch="median over unfold",
        onnx="-",
        keras="-",
        rule="real",
        compares=True,
    ),
    Operation(
        "quantile",
        "q-quantile x",
        "numpy.quantile, linear between neighbours",
        pytorch="quantile over unfold",
        onnx="-",
        keras="-",
        rule="real",
        keys=(Key("q", 0.5, number(0, 1), "the share of elements below, 0 to 1"),),
        compares=True,
    ),
    Operation(
        "majority",
        "most frequent x",
        "the mode, the smallest of a tie: shrinks label maps without inventing labels",
        pytorch="mode over unfold",
        onnx="-",
        keras="-",
        compares=True,
    ),
    Operation(
        "soft",
        "Σ softmax(x)·x",
        'Stergiou, Poppe & Kalliatakis, "Refining activation downsampling with SoftPool", ICCV '
        "2021",
        pytorch="softpool2d (SoftPool)",
        onnx="-",
        keras="-",
        rule="real",
        compares=True,
        adds=True,
    ),
    Operation(
        "stochastic",
        "x with probability max(x, 0)/Σ",
        'Zeiler & Fergus, "Stochastic pooling for regularization", ICLR 2013; the maximum where no '
        "element is positive",
        pytorch="-",
        onnx="-",
        keras="-",
        keys=(Key("seed", 0, seed, "which draws"),),
        compares=True,
        adds=True,
    ),
    Operation(
        "avgmax",
        "mix·avg + (1-mix)·max",
        'Lee, Gallagher & Tu, "Generalizing pooling functions", AISTATS 2016: mixed pooling',
        pytorch="mix·AvgPool + (1-mix)·MaxPool",
        onnx="Add(AveragePool, MaxPool)",
        keras="Add(AveragePooling, MaxPooling)",
        rule="real",
        keys=(Key("mix", 0.5, number(0, 1), "the average's share"),),
        averages=True,
        compares=True,
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
        "blur",
        "Σ binomial·x / Σ binomial",
        'BlurPool: Zhang, "Making convolutional networks shift-invariant again", ICML 2019',
        pytorch="BlurPool (antialiased-cnns)",
        onnx="Conv with fixed weights",
        keras="-",
        rule="real",
        zero_padded=True,
        weighs=True,
        kernel=3,
        stride=2,
        pad_mode="reflect",
        centred=True,
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
            Key(
                "filter",
                None,
                choice(*FILTERS),
                f"every channel by one of {', '.join(FILTERS)}",
                FILTERS,
            ),
            Key("weights", None, path, "weights out×in/groups×kernel in an .npy file"),
            Key("bias", None, path, "a number per output in an .npy file; a flag with out="),
            Key("groups", 1, whole_number, "groups of channels that don't mix"),
            Key("out", None, whole_number, "output channels, without weights: for shape only"),
            Key("channels", None, whole_number, "input channels that the map must have"),
        ),
        zero_padded=True,
        stride=1,
    ),
    Operation(
        "relu",
        "max(x, 0)",
        "the detector stage between convolution and pooling",
        pytorch="ReLU",
        onnx="Relu",
        keras="ReLU",
        family="plain",
    ),
    Operation(
        "up",
        "x enlarged",
        "torch.nn.Upsample with align_corners=False",
        pytorch="Upsample",
        onnx="Resize (half_pixel)",
        keras="UpSampling",
        family="enlargement",
        keys=(Key("mode", "nearest", choice(*MODES), "repeated, or linear between", MODES),),
    ),
    Operation(
        "unpool",
        "x where its max was, else 0",
        'Zeiler & Fergus, "Visualizing and understanding convolutional networks", ECCV 2014',
        pytorch="MaxUnpool",
        onnx="MaxUnpool",
        keras="-",
        family="plain",
    ),
)

OPERATIONS: dict[str, Operation] = {operation.name: operation for operation in _OPERATIONS}
