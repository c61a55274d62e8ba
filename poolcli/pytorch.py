"""PyTorch's printed layers as stage specs: ``MaxPool2d(kernel_size=3, stride=2, padding=1)``.

Each layer is described by the parameters of its constructor, in order; PyTorch's defaults hold.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from poolcli.errors import SpecError
from poolcli.operations import DIGITS
from poolcli.sizes import NO_PADDING, Pads, Sizes, on_axis
from poolcli.spelling import nearest
from poolcli.stages import Stage

_LAYER = re.compile(
    r"^(?:\(\w+\):\s*)?(?:torch\.)?(?:nn\.)?(?P<name>[A-Z]\w*)\((?P<rest>.*)\)$", re.DOTALL
)
_REQUIRED: Final = object()
_Arguments = dict[str, Any]


def is_layer(spec: str) -> bool:
    """Whether the text is spelled as PyTorch prints layers.

    >>> is_layer("nn.MaxPool2d(2)"), is_layer("max:2")
    (True, False)
    """
    return _LAYER.match(spec) is not None


def parse_layer(spec: str) -> Stage:
    """Read a layer as PyTorch prints it, or as one types it.

    >>> str(parse_layer("AdaptiveAvgPool2d(output_size=(7, None))"))
    'avg,out=7x_'
    """
    found = _LAYER.match(spec)
    assert found is not None, "is_layer said so"  # noqa: S101 - the caller's promise
    name = found["name"]
    known = _LAYERS.get(name)
    if known is None:
        raise SpecError(f"{name!r} in {spec}: {nearest_layer(name)}", "op")
    parameters, build = known
    rank = int(name[-2]) if name.endswith("d") else 0
    arguments = _arguments(parameters, spec, spec[found.start("name") :])
    try:
        return replace(build(arguments, rank), rank=rank or None)
    except (SpecError, ValueError) as error:
        raise SpecError(f"{spec}: {error}") from None


def nearest_layer(name: str) -> str:
    """Return the mend for a layer that is not known."""
    mend = nearest(name, _LAYERS, likeness=0.6)
    return mend if mend.startswith("did") else "not a layer that pools; see poolcli ops"


def _arguments(parameters: Mapping[str, Any], spec: str, call: str) -> _Arguments:
    """Match the call's arguments with the layer's parameters, as Python itself would."""
    try:
        parsed = ast.parse(call, mode="eval").body
        if not isinstance(parsed, ast.Call) or not isinstance(parsed.func, ast.Name):
            raise SyntaxError
        given = [_literal(value) for value in parsed.args]
        pairs = [(word.arg, _literal(word.value)) for word in parsed.keywords]
    except (SyntaxError, ValueError, RecursionError, MemoryError, TypeError):
        raise SpecError(f"{spec}: not a layer as PyTorch prints it") from None
    if len(given) > len(parameters):
        raise SpecError(f"{spec}: it takes at most {len(parameters)} arguments")
    arguments = dict(zip(parameters, given, strict=False))
    for word, value in pairs:
        if word is None or word not in parameters:
            raise SpecError(f"{word!r} in {spec}: {nearest(str(word), parameters)}")
        if word in arguments:
            raise SpecError(f"{word!r} in {spec}: given twice")
        arguments[word] = value
    for word, value in arguments.items():
        if isinstance(value, _Word) and word not in _WORDED:
            raise SpecError(f"{spec}: not a layer as PyTorch prints it")
    for word, default in parameters.items():
        if word not in arguments:
            if default is _REQUIRED:
                raise SpecError(f"{spec}: {word} is missing")
            arguments[word] = default
    return arguments


class _Word(str):
    """A value that was printed without quotes."""

    __slots__ = ()


def _literal(node: ast.expr) -> Any:
    """Return a constant, or a word: ``padding=same`` is printed without quotes."""
    if isinstance(node, ast.Name):
        return _Word(node.id)
    return ast.literal_eval(node)


def _flag(arguments: _Arguments, word: str) -> bool:
    if not isinstance(arguments[word], bool):
        raise ValueError(f"{word}={arguments[word]!r}: True or False is expected")
    return bool(arguments[word])


def _sizes(value: object, rank: int, word: str, least: int = 1) -> Sizes:
    sizes = value if isinstance(value, tuple | list) else (value,)
    if len(sizes) not in (1, rank):
        raise ValueError(f"{word} has {len(sizes)} numbers for {rank} axes")
    for size in sizes:
        if not isinstance(size, int) or isinstance(size, bool) or size < least:
            raise ValueError(f"{word}={value!r}: whole numbers from {least} are expected")
        if size >= 10**DIGITS:
            raise ValueError(f"{word}: whole numbers of at most {DIGITS} digits are expected")
    return tuple(sizes)


def _pads(value: object, rank: int) -> Pads:
    return tuple((size, size) for size in _sizes(value, rank, "padding", least=0))


def _sliding(arguments: _Arguments, rank: int) -> dict[str, Any]:
    """Fields of a sliding window, within PyTorch's own limit of half the window's padding."""
    kernel = _sizes(arguments["kernel_size"], rank, "kernel_size")
    stride = arguments["stride"]
    dilation = _sizes(arguments.get("dilation", 1), rank, "dilation")
    padding = _pads(arguments.get("padding", 0), rank)
    for axis in range(max(len(kernel), len(padding))):
        # Whatever the dilation: aten/src/ATen/native/Pool.h, pool2d_shape_check.
        half = on_axis(axis, kernel) // 2
        if on_axis(axis, padding)[0] > half:
            raise ValueError(f"PyTorch allows padding of at most half the window, {half}")
    return {
        "kernel": kernel,
        "stride": () if stride is None else _sizes(stride, rank, "stride"),
        "padding": padding,
        "dilation": dilation,
        "ceil": _flag(arguments, "ceil_mode"),
    }


def _max(arguments: _Arguments, rank: int) -> Stage:
    return Stage(op="max", **_sliding(arguments, rank))


def _avg(arguments: _Arguments, rank: int) -> Stage:
    divisor = arguments["divisor_override"]
    return Stage(
        op="avg",
        count="include" if _flag(arguments, "count_include_pad") else "exclude",
        divisor=None if divisor is None else _sizes(divisor, 1, "divisor_override")[0],
        **_sliding(arguments, rank),
    )


def _lp(arguments: _Arguments, rank: int) -> Stage:
    norm = arguments["norm_type"]
    if isinstance(norm, bool) or not isinstance(norm, int | float) or not 0 < norm <= _LARGEST:
        raise ValueError("norm_type is a number above 0")
    norm = int(norm) if float(norm).is_integer() else norm
    return Stage(op="lp", own=(("norm", norm),), **_sliding(arguments, rank))


def _adaptive(op: str) -> Callable[[_Arguments, int], Stage]:
    def build(arguments: _Arguments, rank: int) -> Stage:
        value = arguments["output_size"]
        sizes = value if isinstance(value, tuple | list) else (value,)
        if len(sizes) not in (1, rank):
            raise ValueError(f"output_size has {len(sizes)} numbers for {rank} axes")
        output = tuple(
            None if size is None else _sizes(size, 1, "output_size")[0] for size in sizes
        )
        return Stage(op=op, placement="adaptive", output=output)

    return build


def _conv(arguments: _Arguments, rank: int) -> Stage:
    if arguments["padding_mode"] != "zeros":
        raise ValueError("only padding_mode='zeros' is known")
    padding = arguments["padding"]
    own: dict[str, Any] = {
        "out": _sizes(arguments["out_channels"], 1, "out_channels")[0],
        "channels": _sizes(arguments["in_channels"], 1, "in_channels")[0],
        "groups": _sizes(arguments["groups"], 1, "groups")[0],
    }
    if _flag(arguments, "bias"):
        own["bias"] = True
    return Stage(
        op="conv",
        kernel=_sizes(arguments["kernel_size"], rank, "kernel_size"),
        stride=_sizes(arguments["stride"], rank, "stride"),
        padding=_conv_padding(padding, rank),
        dilation=_sizes(arguments["dilation"], rank, "dilation"),
        own=tuple(own.items()),
    )


def _conv_padding(padding: object, rank: int) -> Any:
    if padding == "same":
        return "same-upper"
    return NO_PADDING if padding == "valid" else _pads(padding, rank)


def _relu(_arguments: _Arguments, _rank: int) -> Stage:
    return Stage(op="relu", placement="none")


def _fractional(arguments: _Arguments, rank: int) -> Stage:
    if arguments["output_ratio"] is not None or arguments["output_size"] is None:
        raise ValueError("give its output_size: an output_ratio depends on the map")
    return Stage(
        op="max",
        placement="fractional",
        kernel=_sizes(arguments["kernel_size"], rank, "kernel_size"),
        output=_sizes(arguments["output_size"], rank, "output_size"),
    )


def _unpool(_arguments: _Arguments, _rank: int) -> Stage:
    # The stage that it undoes says where its windows lie.
    return Stage(op="unpool", placement="none")


_UPSAMPLING: Final = {
    "nearest": "nearest",
    "linear": "bilinear",
    "bilinear": "bilinear",
    "trilinear": "bilinear",
}


def _upsample(arguments: _Arguments, rank: int) -> Stage:
    factors, word = arguments["scale_factor"], str(arguments["mode"])
    if arguments["size"] is not None or factors is None:
        raise ValueError("give its scale_factor: a size depends on the map")
    if arguments["align_corners"] not in (None, False):
        raise ValueError("only align_corners=False is known")
    mode = _UPSAMPLING.get(word)
    if mode is None:
        raise ValueError(f"mode={word!r}: {nearest(word, _UPSAMPLING)}")
    factors = tuple(factors) if isinstance(factors, tuple | list) else (factors,)
    # PyTorch prints whole factors as 2.0.
    whole = tuple(
        int(factor) if isinstance(factor, float) and factor.is_integer() else factor
        for factor in factors
    )
    kernel = _sizes(whole, rank or min(len(whole), _MOST_AXES), "scale_factor")
    return Stage(op="up", placement="enlarged", kernel=kernel, own=(("mode", mode),))


_MOST_AXES: Final = 3
_LARGEST: Final = sys.float_info.max


def _upsample_as(mode: str, *, align_corners: bool) -> Callable[[_Arguments, int], Stage]:
    def build(arguments: _Arguments, rank: int) -> Stage:
        return _upsample(arguments | {"mode": mode, "align_corners": align_corners}, rank)

    return build


_WORDED: Final = ("padding", "padding_mode", "mode")
"""Parameters whose values are words."""
_SLIDING: Final = {"kernel_size": _REQUIRED, "stride": None, "padding": 0}
_MAX: Final = {**_SLIDING, "dilation": 1, "return_indices": False, "ceil_mode": False}
_AVG: Final = {**_SLIDING, "ceil_mode": False, "count_include_pad": True, "divisor_override": None}
_LP: Final = {"norm_type": _REQUIRED, "kernel_size": _REQUIRED, "stride": None, "ceil_mode": False}
_ADAPTIVE_MAX: Final = {"output_size": _REQUIRED, "return_indices": False}
_ADAPTIVE_AVG: Final = {"output_size": _REQUIRED}
_FRACTIONAL: Final = {
    "kernel_size": _REQUIRED,
    "output_size": None,
    "output_ratio": None,
    "return_indices": False,
}
_UNPOOL: Final = {"kernel_size": _REQUIRED, "stride": None, "padding": 0}
_UPSAMPLE: Final = {
    "size": None,
    "scale_factor": None,
    "mode": "nearest",
    "align_corners": None,
    "recompute_scale_factor": None,
}
_UPSAMPLE_2D: Final = {"size": None, "scale_factor": None, "mode": None}
_CONV: Final = {
    "in_channels": _REQUIRED,
    "out_channels": _REQUIRED,
    "kernel_size": _REQUIRED,
    "stride": 1,
    "padding": 0,
    "dilation": 1,
    "groups": 1,
    "bias": True,
    "padding_mode": "zeros",
}

_Layer = tuple[Mapping[str, Any], Callable[[_Arguments, int], Stage]]

_RANKED: Final[dict[str, _Layer]] = {
    "MaxPool": (_MAX, _max),
    "AvgPool": (_AVG, _avg),
    "LPPool": (_LP, _lp),
    "AdaptiveMaxPool": (_ADAPTIVE_MAX, _adaptive("max")),
    "AdaptiveAvgPool": (_ADAPTIVE_AVG, _adaptive("avg")),
    "Conv": (_CONV, _conv),
    "MaxUnpool": (_UNPOOL, _unpool),
}
_LAYERS: Final[dict[str, _Layer]] = {
    "ReLU": ({"inplace": False}, _relu),
    "Upsample": (_UPSAMPLE, _upsample),
    "UpsamplingNearest2d": (_UPSAMPLE_2D, _upsample_as("nearest", align_corners=False)),
    "UpsamplingBilinear2d": (_UPSAMPLE_2D, _upsample_as("bilinear", align_corners=True)),
    "FractionalMaxPool2d": (_FRACTIONAL, _fractional),
    "FractionalMaxPool3d": (_FRACTIONAL, _fractional),
    **{f"{name}{rank}d": layer for name, layer in _RANKED.items() for rank in (1, 2, 3)},
}
