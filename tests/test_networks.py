"""Order statistics by comparator networks, against sorting and counting."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poolcli.kernels.networks import most_frequent, network, ranked
from tests.cases import FLOATS, INTEGERS

WHOLE = [dtype for dtype in INTEGERS if dtype != "bool"]
Wires = list[NDArray[Any]]


def zeros_and_ones(size: int) -> Wires:
    """Return all vectors of zeros and ones, a wire for each of their elements."""
    every = np.arange(1 << size)
    return [(every >> wire) & 1 for wire in range(size)]


def wires_of(dtype: str, size: int, seed: int, few: int = 0) -> Wires:
    """Return wires with ties and with the dtype's extremes; of a few values only, if wanted."""
    generator = np.random.default_rng(seed)
    if dtype == "bool":
        return [generator.random(50) < 0.5 for _ in range(size)]
    if dtype in FLOATS:
        values = generator.standard_normal((size, 50)).astype(dtype)
        values[generator.random(values.shape) < 0.2] = np.inf
        values[generator.random(values.shape) < 0.2] = -np.inf
        values[generator.random(values.shape) < 0.2] = 0.5
        return list(values)
    bounds = np.iinfo(dtype)
    if few:
        choices = np.array([bounds.min, bounds.max, *range(1, few)], dtype)
        return list(generator.choice(choices, (size, 50)))
    low, high = int(bounds.min), int(bounds.max)
    return list(generator.integers(low, high, (size, 50), dtype, endpoint=True))


def locked(wires: Wires) -> Wires:
    """Return copies that can't be written to."""
    copies = [wire.copy() for wire in wires]
    for copy in copies:
        copy.flags.writeable = False
    return copies


@pytest.mark.parametrize("size", range(1, 13))
def test_a_network_sorts_all_zeros_and_ones_and_so_everything(size: int) -> None:
    """Knuth, volume 3, 5.3.4, theorem Z."""
    wires = zeros_and_ones(size)
    expected = np.sort(np.stack(wires), axis=0)
    np.testing.assert_array_equal(np.stack(ranked(wires, range(size))), expected)


@pytest.mark.parametrize("size", range(1, 13))
def test_a_network_for_some_ranks_finds_these(size: int) -> None:
    wires = zeros_and_ones(size)
    expected = np.sort(np.stack(wires), axis=0)
    for low in range(size):
        for high in range(low, size):
            found = ranked(wires, (high, low))
            np.testing.assert_array_equal(found[0], expected[high])
            np.testing.assert_array_equal(found[1], expected[low])


def test_fewer_ranks_take_no_more_comparisons() -> None:
    def cost(ranks: tuple[int, ...]) -> int:
        return sum(each.smaller + each.larger for each in network(9, ranks))

    assert cost((4,)) < cost((3, 4, 5)) < cost(tuple(range(9)))
    assert cost((0,)) == 8
    assert network(1, (0,)) == ()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9, 16, 25])
@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
def test_ranks_are_those_of_sorting(dtype: str, size: int) -> None:
    wires = locked(wires_of(dtype, size, seed=size))
    found = np.stack(ranked(wires, range(size)))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.sort(np.stack(wires), axis=0))
    for rank in (0, size // 2, size - 1):
        np.testing.assert_array_equal(ranked(wires, [rank])[0], found[rank])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9, 12])
@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_on_any_wire_makes_every_rank_nan_and_only_there(dtype: str, size: int) -> None:
    wires = wires_of(dtype, size, seed=7)
    for place in range(size):
        wires[place][place] = np.nan
    expected = np.sort(np.stack(wires), axis=0)
    expected[:, :size] = np.nan
    np.testing.assert_array_equal(np.stack(ranked(wires, range(size))), expected)
    for rank in range(size):
        np.testing.assert_array_equal(ranked(wires, [rank])[0], expected[rank])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 9, 25, 64])
@pytest.mark.parametrize("dtype", WHOLE)
def test_the_most_frequent_is_the_smallest_of_a_tie(dtype: str, size: int) -> None:
    for few in (2, 4, 0):
        wires = locked(wires_of(dtype, size, seed=size + few, few=few))
        expected = []
        for values in np.stack(wires).T.tolist():
            counts = Counter(values)
            most = max(counts.values())
            expected.append(min(value for value, count in counts.items() if count == most))
        found = most_frequent(wires)
        assert found.dtype == dtype
        assert found.tolist() == expected


def test_the_most_frequent_of_every_pattern_of_four() -> None:
    """Four wires have a way of their own: all that four of four values can be."""
    every = np.arange(4**4, dtype=np.uint8)
    wires = [(every >> np.uint8(2 * wire)) & np.uint8(3) for wire in range(4)]
    expected = []
    for values in np.stack(wires).T.tolist():
        most = max(Counter(values).values())
        expected.append(min(value for value, count in Counter(values).items() if count == most))
    assert most_frequent(wires).tolist() == expected
