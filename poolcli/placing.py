"""The rules that bind windows to an axis: lengths and padding.

A *rule* (:func:`sliding`, :func:`same`, :func:`adaptive`, …) takes an axis of a given length and
returns a bound window. Plain integers, as in :mod:`poolcli.windows`.
"""

from __future__ import annotations

from poolcli.errors import WindowError
from poolcli.windows import Adaptive, Enlarged, Fractional, Sliding, ceil_div


def output_length(padded: int, extent: int, stride: int) -> int:
    """How many windows fit: floor((padded - extent) / stride) + 1; 0 or less where none does.

    The rule of every framework, Dumoulin & Visin, "A guide to convolution arithmetic for deep
    learning", 2016, relationship 6, with the dilation folded into ``extent``.

    >>> output_length(224 + 2, 3, 2)
    112
    """
    return (padded - extent) // stride + 1


def ceil_output_length(padded: int, extent: int, stride: int, inside: int) -> int:
    """The same rounded up, the last window starting below ``inside`` (length and leading padding).

    ATen/native/Pool.h, pooling_output_shape_pad_lr.

    >>> ceil_output_length(9 + 4, 4, 4, inside=9 + 2)
    3
    """
    output = ceil_div(padded - extent, stride) + 1
    return output - 1 if (output - 1) * stride >= inside else output


def sliding(  # noqa: PLR0913 - the seven numbers are what a sliding window is
    length: int,
    kernel: int,
    stride: int,
    *,
    begin: int = 0,
    end: int = 0,
    dilation: int = 1,
    ceil: bool = False,
) -> Sliding:
    """Bind a window with padding given in numbers to an axis of ``length``.

    Raises
    ------
    WindowError
        If not even one window fits.

    Examples
    --------
    >>> sliding(224, 3, 2, begin=1, end=1).output
    112
    >>> sliding(3, 5, 1)
    Traceback (most recent call last):
        ...
    poolcli.errors.WindowError: window 5 is larger than its input 3: a window of at most 3 fits
    """
    _require_positions(length)
    extent = (kernel - 1) * dilation + 1
    padded = length + begin + end
    if ceil:
        output = ceil_output_length(padded, extent, stride, length + begin)
    else:
        output = output_length(padded, extent, stride)
    if output < 1:
        raise WindowError(_too_large(length, kernel, dilation, padded))
    return Sliding(length, output, kernel, stride, dilation, begin, end)


def same(length: int, kernel: int, stride: int, *, dilation: int = 1, lower: bool) -> Sliding:
    """Bind a window under TensorFlow's SAME rule: ceil(length / stride) outputs.

    The padding is what they need; its odd position goes to the end, or with ``lower`` to the begin.
    It is 0 where strides are wide enough to need none.

    >>> same(224, 3, 2, lower=False).padding
    (0, 1)
    >>> same(224, 3, 2, lower=True).padding
    (1, 0)
    """
    _require_positions(length)
    output = ceil_div(length, stride)
    total = max((output - 1) * stride + (kernel - 1) * dilation + 1 - length, 0)
    small, large = total // 2, total - total // 2
    begin, end = (large, small) if lower else (small, large)
    return Sliding(length, output, kernel, stride, dilation, begin, end)


def adaptive(length: int, output: int | None) -> Adaptive:
    """Bind as many windows as ``output`` asks; None keeps the axis as it is."""
    _require_positions(length)
    return Adaptive(length, length if output is None else output)


def fractional(length: int, kernel: int, output: int) -> Fractional:
    """Bind ``output`` windows of ``kernel`` positions at varying distances.

    >>> fractional(7, 2, 3).output
    3
    """
    _require_positions(length)
    if output + kernel - 1 > length:
        raise WindowError(
            f"{output} windows of {kernel} need {output + kernel - 1} positions, its input has "
            f"{length}: at most {max(length - kernel + 1, 0)} fit"
        )
    return Fractional(length, output, kernel)


def enlarged(length: int, factor: int, *, linear: bool) -> Enlarged:
    """Bind an enlargement by a whole factor."""
    _require_positions(length)
    return Enlarged(length, length * factor, factor, linear)


def _require_positions(length: int) -> None:
    if length < 1:
        raise WindowError("the axis is empty: a window needs at least one position")


def _too_large(length: int, kernel: int, dilation: int, padded: int) -> str:
    extent = (kernel - 1) * dilation + 1
    window = f"window {kernel}" if dilation == 1 else f"window {kernel} at dilation {dilation}"
    spans = "" if dilation == 1 else f" (it spans {extent})"
    source = f"its input {length}" if padded == length else f"its padded input {padded}"
    fits = (padded - 1) // dilation + 1
    return f"{window}{spans} is larger than {source}: a window of at most {fits} fits"
