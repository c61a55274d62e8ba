"""Windows combined along their axes: against plain loops, and always in the same order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poolcli.errors import WindowError
from poolcli.kernels import long_windows
from poolcli.kernels.folding import fold
from poolcli.kernels.long_windows import accumulate
from poolcli.placing import adaptive, sliding
from poolcli.windows import Window
from tests.chains import Dice

Array = NDArray[Any]

WINDOWS = [
    sliding(90, 2, 2),
    sliding(90, 3, 2, begin=1, end=1),
    sliding(90, 3, 3),
    sliding(90, 5, 1, begin=2, end=2),
    sliding(90, 4, 3, dilation=2),
    sliding(90, 7, 9, ceil=True),
    sliding(90, 64, 3),
    sliding(90, 70, 5),
    adaptive(90, 7),
    adaptive(90, 1),
]
"""Of every way of combining: by shifts, apart, one after the other."""
AS_WORDS = [f"{type(window).__name__}-{window.kernel}-{window.stride}" for window in WINDOWS]


def plain(  # noqa: PLR0913, PLR0917 - what fold is given
    array: Array,
    axes: list[int],
    windows: list[Window],
    combine: np.ufunc,
    identity: float,
    dtype: np.dtype[Any],
) -> Array:
    """Combine every window by itself, one axis after the other."""
    for axis, window in zip(axes, windows, strict=True):
        columns = []
        for index in range(window.output):
            elements = np.take(array, list(window.present(index)), axis=axis)
            columns.append(combine.reduce(elements, axis=axis, dtype=dtype, initial=identity))
        array = np.stack(columns, axis=axis)
    return array


def drawn_windows(dice: Dice, shape: tuple[int, ...]) -> tuple[list[int], list[Window]]:
    count = dice.number(1, min(3, len(shape)))
    axes = [int(axis) for axis in dice.generator.permutation(len(shape))[:count]]
    while True:
        try:
            return axes, [drawn_window(dice, shape[axis]) for axis in axes]
        except WindowError:
            continue


def drawn_window(dice: Dice, length: int) -> Window:
    if dice.chance(0.2):
        return adaptive(length, dice.number(1, 5))
    size, spacing = dice.number(1, 6), dice.one_of(1, 1, 2)
    extent = (size - 1) * spacing + 1
    return sliding(
        length,
        size,
        dice.number(1, 7),
        begin=dice.number(0, extent - 1),
        end=dice.number(0, extent - 1),
        dilation=spacing,
        ceil=dice.chance(0.3),
    )


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("seed", range(60))
def test_windows_are_combined_as_by_plain_loops(seed: int, dtype: str) -> None:
    """Whole numbers, whose sums don't depend on the order."""
    dice = Dice(seed)
    shape = tuple(dice.number(1, 12) for _ in range(dice.number(1, 4)))
    axes, windows = drawn_windows(dice, shape)
    low = 0 if dtype == "uint8" else -20
    array = dice.generator.integers(low, 20, shape).astype(dtype)
    before = array.copy()
    array.flags.writeable = False
    wide = np.dtype(np.int64) if array.dtype.kind in "iu" else array.dtype
    for combine, identity, own in (
        (np.maximum, low - 1 if low else 0, array.dtype),
        (np.minimum, 100, array.dtype),
        (np.add, 0, wide if array.dtype.kind in "iu" else np.dtype(np.float64)),
    ):
        expected = plain(array, axes, windows, combine, identity, own)
        found = fold(array, axes, windows, combine, identity, dtype=own)
        assert found.dtype == own
        np.testing.assert_array_equal(found, expected, err_msg=f"{shape} {axes} {windows}")
    np.testing.assert_array_equal(array, before)


def uneven(*shape: int, dtype: str = "float32") -> Array:
    """Return numbers of many magnitudes, whose sums depend on the order to the last bits."""
    generator = np.random.default_rng(5)
    return (generator.standard_normal(shape) * 10.0 ** generator.integers(-3, 4, shape)).astype(
        dtype
    )


def test_the_order_of_these_sums_shows() -> None:
    array = uneven(50, 20)
    differ = np.add.reduce(array, axis=1) != np.add.reduce(array[:, ::-1], axis=1)
    assert np.count_nonzero(differ) > 10


@pytest.mark.parametrize("window", WINDOWS, ids=AS_WORDS)
@pytest.mark.parametrize("inner", [1, 3, 5000])
def test_the_bits_of_a_sum_do_not_depend_on_other_planes(window: Window, inner: int) -> None:
    array = uneven(4, 90, inner)
    every = fold(array, (1,), (window,), np.add, 0)
    for plane in range(4):
        alone = fold(array[plane : plane + 1], (1,), (window,), np.add, 0)
        assert alone.tobytes() == every[plane : plane + 1].tobytes()


@pytest.mark.parametrize("window", WINDOWS, ids=AS_WORDS)
@pytest.mark.parametrize("inner", [1, 3, 5000])
def test_the_bits_of_a_sum_do_not_depend_on_other_rows(window: Window, inner: int) -> None:
    array = uneven(2, 90, inner)
    every = fold(array, (1,), (window,), np.add, 0)
    for first in range(0, window.output, max(1, window.output // 5)):
        for last in {first + 1, window.output}:
            low, high, part = window.part(first, last)
            alone = fold(array[:, low:high], (1,), (part,), np.add, 0)
            assert alone.tobytes() == every[:, first:last].tobytes()


@pytest.mark.parametrize("window", WINDOWS, ids=AS_WORDS)
@pytest.mark.parametrize("inner", [1, 3])
def test_the_bits_of_a_sum_do_not_depend_on_its_neighbours(window: Window, inner: int) -> None:
    array = uneven(2, 90, inner)
    every = fold(array, (1,), (window,), np.add, 0)
    for index in range(0, window.output, max(1, window.output // 5)):
        other = np.full_like(array, np.nan)
        other[:, list(window.present(index))] = array[:, list(window.present(index))]
        alone = fold(other, (1,), (window,), np.add, 0)[:, index]
        assert alone.tobytes() == every[:, index].tobytes()


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_the_bits_of_a_sum_over_two_axes_do_not_depend_on_the_map_around(
    size: int, stride: int
) -> None:
    array = uneven(3, 40, 40)
    window = sliding(40, size, stride, begin=1, end=1)
    every = fold(array, (1, 2), (window, window), np.add, 0)
    low, high, part = window.part(2, 5)
    alone = fold(array[1:2, low:high, low:high], (1, 2), (part, part), np.add, 0)
    assert alone.tobytes() == np.ascontiguousarray(every[1:2, 2:5, 2:5]).tobytes()
    turned = np.ascontiguousarray(array.transpose(1, 0, 2)).transpose(1, 0, 2)
    assert fold(turned, (1, 2), (window, window), np.add, 0).tobytes() == every.tobytes()


@pytest.mark.parametrize("combine", [np.maximum, np.minimum, np.add])
@pytest.mark.parametrize(
    ("size", "stride"), [(2, 2), (3, 2), (3, 3), (3, 1), (5, 7), (4, 1)], ids=str
)
def test_the_result_goes_where_it_is_asked_to(combine: np.ufunc, size: int, stride: int) -> None:
    array = uneven(3, 31, 37)
    rows, columns = sliding(31, size, stride), sliding(37, size, stride)
    expected = fold(array, (1, 2), (rows, columns), combine, 0)
    out = np.full_like(expected, np.nan)
    assert fold(array, (1, 2), (rows, columns), combine, 0, out=out) is out
    assert out.tobytes() == expected.tobytes()
    within = np.full((3, rows.output, 2 * columns.output), np.nan, np.float32)
    part = within[:, :, ::2]
    assert fold(array, (1, 2), (rows, columns), combine, 0, out=part) is part
    np.testing.assert_array_equal(part, expected)
    assert np.isnan(within[:, :, 1::2]).all()


def test_a_place_of_another_dtype_or_shape_is_left_alone() -> None:
    array = uneven(3, 30)
    window = sliding(30, 3, 2)
    expected = fold(array, (1,), (window,), np.add, 0)
    for out in (np.full((3, 14), 7, np.float64), np.full((3, 13), 7, np.float32)):
        found = fold(array, (1,), (window,), np.add, 0, out=out)
        assert found.tobytes() == expected.tobytes()
        assert (out == 7).all()


def test_where_no_window_acts_the_array_itself_is_returned() -> None:
    array = uneven(3, 30)
    assert fold(array, (1,), (sliding(30, 1, 1),), np.add, 0) is array


@pytest.mark.parametrize("window", WINDOWS, ids=AS_WORDS)
@pytest.mark.parametrize("combine", [np.maximum, np.add])
def test_the_input_is_never_changed_nor_its_memory_given_away(
    window: Window, combine: np.ufunc
) -> None:
    array = uneven(2, 90, 3)
    before = array.tobytes()
    array.flags.writeable = False
    found = fold(array, (1,), (window,), combine, 0)
    assert not np.may_share_memory(found, array)
    assert array.tobytes() == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("outer", "inner"), [(1, 1), (3, 1), (1, 2), (2, 7), (1, 600)])
@pytest.mark.parametrize("chunks", [1, 2, 5])
def test_a_window_in_parts_of_whole_chunks_has_the_bits_of_one_at_once(
    monkeypatch: pytest.MonkeyPatch, outer: int, inner: int, chunks: int, dtype: str
) -> None:
    monkeypatch.setattr(long_windows, "CHUNK", 64)
    rows = uneven(outer, 64 * 11 + 17, inner)
    at_once = accumulate(None, rows, np.add, np.dtype(dtype))
    assert at_once.dtype == dtype
    total = None
    for start in range(0, rows.shape[1], 64 * chunks):
        part = rows[:, start : start + 64 * chunks]
        total = accumulate(total, part, np.add, np.dtype(dtype))
    assert total is not None
    assert total.tobytes() == at_once.tobytes()
    exact = rows.astype(np.float64).sum(axis=1)
    np.testing.assert_allclose(at_once, exact, rtol=1e-3, atol=1)


def test_rows_widened_a_few_at_a_time_are_summed_in_one_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = uneven(1, 500, 9)
    at_once = accumulate(None, rows, np.add, np.dtype(np.float32))
    for limit in (1, 50, 1000):
        monkeypatch.setattr(long_windows, "_ROWS", limit)
        assert accumulate(None, rows, np.add, np.dtype(np.float32)).tobytes() == at_once.tobytes()
