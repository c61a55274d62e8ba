"""scipy.ndimage's filters are poolcli's at stride 1, and scipy.stats.mode is majority.

SciPy's names of what lies outside differ from NumPy's, which poolcli has: SciPy's mirror, as in
d c b | a b c d | c b a, is reflect; SciPy's reflect, as in c b a | a b c d | d c b, is NumPy's
symmetric, which poolcli hasn't; nearest is edge; wrap is wrap.

Order statistics are exact. Means and correlations of n elements differ by at most n·ε·Σ|terms|, ε
that of float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb, prod
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.random import Generator
from numpy.typing import NDArray

from poolcli import pool

ndimage = pytest.importorskip("scipy.ndimage")
stats = pytest.importorskip("scipy.stats")

Array = NDArray[Any]
Sizes = tuple[int, ...]

LAYOUTS = {1: "W", 2: "HW", 3: "DHW"}
MODES = {"mirror": "reflect", "nearest": "edge", "wrap": "wrap"}
"""SciPy's name of a padding, and poolcli's."""
MAPS = 25
"""How many maps each test draws."""
EPS = float(np.finfo(np.float64).eps)


def draws(*parts: object) -> Iterator[Generator]:
    seed = [ord(letter) for letter in " ".join(map(str, parts))]
    for case in range(MAPS):
        yield np.random.default_rng([case, *seed])


def drawn_sizes(rng: Generator, rank: int) -> Sizes:
    """Draw a window's sizes, even ones among them."""
    most = {1: 9, 2: 6, 3: 4}[rank]
    return tuple(int(size) for size in rng.integers(1, most + 1, rank))


def drawn_map(rng: Generator, sizes: Sizes, dtype: str = "float64") -> Array:
    """Draw a map that is wider than its padding; half of the maps have few values, and so ties."""
    shape = tuple(size // 2 + 1 + int(rng.integers(0, 8)) for size in sizes)
    if dtype != "float64":
        return rng.integers(0, 200, shape).astype(dtype)
    return (
        rng.standard_normal(shape) if rng.integers(2) else rng.integers(-3, 4, shape).astype(dtype)
    )


def text(sizes: Sizes) -> str:
    return "x".join(map(str, sizes))


def centred(sizes: Sizes) -> str:
    """Write the padding of a window around its element k//2, as SciPy's origin 0 has it."""
    return "pad=" + "x".join(f"{size // 2}-{size - 1 - size // 2}" for size in sizes)


def spec_of(operation: str, sizes: Sizes, mode: str) -> str:
    return f"{operation}:{text(sizes)},stride=1,{centred(sizes)},pad-mode={mode}"


@pytest.mark.parametrize("dtype", ["float64", "uint8", "int32"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("operation", "peer"),
    [("max", "maximum_filter"), ("min", "minimum_filter")],
    ids=["max", "min"],
)
def test_extremes_of_padded_maps(
    operation: str, peer: str, rank: int, mode: str, dtype: str
) -> None:
    for rng in draws(operation, rank, mode, dtype):
        sizes = drawn_sizes(rng, rank)
        x = drawn_map(rng, sizes, dtype)
        expected = getattr(ndimage, peer)(x, size=sizes, mode=mode)
        answer = pool(x, spec_of(operation, sizes, MODES[mode]), layout=LAYOUTS[rank])
        assert answer.dtype == expected.dtype
        np.testing.assert_array_equal(answer, expected, str((sizes, x.shape)))


@pytest.mark.parametrize(
    ("operation", "peer", "outside"),
    [("max", "maximum_filter", -np.inf), ("min", "minimum_filter", np.inf)],
    ids=["max", "min"],
)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_absent_padding_is_a_constant_that_never_wins(
    operation: str, peer: str, outside: float, rank: int
) -> None:
    for rng in draws("absent", operation, rank):
        sizes = drawn_sizes(rng, rank)
        x = drawn_map(rng, sizes)
        expected = getattr(ndimage, peer)(x, size=sizes, mode="constant", cval=outside)
        answer = pool(x, spec_of(operation, sizes, "constant"), layout=LAYOUTS[rank])
        np.testing.assert_array_equal(answer, expected, str((sizes, x.shape)))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    ("operation", "peer"),
    [("max", "maximum_filter"), ("min", "minimum_filter")],
    ids=["max", "min"],
)
def test_scipys_default_is_as_good_as_absent_padding_for_odd_windows(
    operation: str, peer: str, rank: int
) -> None:
    """Symmetric padding repeats only elements that a centred window holds anyway."""
    for rng in draws("symmetric", operation, rank):
        sizes = tuple(size | 1 for size in drawn_sizes(rng, rank))
        x = drawn_map(rng, sizes)
        expected = getattr(ndimage, peer)(x, size=sizes, mode="reflect")
        answer = pool(x, spec_of(operation, sizes, "constant"), layout=LAYOUTS[rank])
        np.testing.assert_array_equal(answer, expected, str((sizes, x.shape)))


@pytest.mark.parametrize("mode", [*MODES, "constant"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_averages_are_uniform_filters(rank: int, mode: str) -> None:
    """SciPy's constant is 0 and counts, as numeric padding does unless told otherwise."""
    for rng in draws("avg", rank, mode):
        sizes = drawn_sizes(rng, rank)
        x = drawn_map(rng, sizes)
        expected = ndimage.uniform_filter(x, size=sizes, mode=mode, cval=0.0)
        answer = pool(x, spec_of("avg", sizes, MODES.get(mode, mode)), layout=LAYOUTS[rank])
        # SciPy runs a sum along each line: its terms are the line's, not only the window's.
        terms = sum(size + length for size, length in zip(sizes, x.shape, strict=True))
        atol = terms * EPS * float(np.abs(x).max())
        np.testing.assert_allclose(answer, expected, rtol=0, atol=atol, err_msg=str(sizes))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_medians_of_odd_windows_are_median_filters(rank: int, mode: str) -> None:
    """Of an even number SciPy takes the upper of the middle two, NumPy their mean."""
    for rng in draws("median", rank, mode):
        sizes = tuple(size | 1 for size in drawn_sizes(rng, rank))
        x = drawn_map(rng, sizes)
        expected = ndimage.median_filter(x, size=sizes, mode=mode)
        answer = pool(x, spec_of("median", sizes, MODES[mode]), layout=LAYOUTS[rank])
        np.testing.assert_array_equal(answer, expected, str((sizes, x.shape)))


@pytest.mark.parametrize(
    "sizes", [(3,), (5,), (9,), (3, 3), (1, 5), (3, 11), (9, 1, 1), (1, 3, 3)], ids=text
)
@pytest.mark.parametrize("mode", MODES)
def test_quantiles_at_an_element_are_percentile_filters(sizes: Sizes, mode: str) -> None:
    """SciPy takes an element, NumPy lies between two: here q·(n-1) is whole and exact."""
    rank, last = len(sizes), prod(sizes) - 1
    for rng in draws("quantile", sizes, mode):
        place = int(rng.integers(0, last + 1))
        x = drawn_map(rng, sizes)
        expected = ndimage.percentile_filter(
            x, percentile=100 * (place + 0.5) / (last + 1), size=sizes, mode=mode
        )
        spec = f"{spec_of('quantile', sizes, MODES[mode])},q={place / last}"
        answer = pool(x, spec, layout=LAYOUTS[rank])
        np.testing.assert_array_equal(answer, expected, str((sizes, x.shape, place)))


def along_each_axis(weights: Array, rank: int) -> Array:
    """Return the outer product of weights with themselves, one factor per axis."""
    product: Array = np.ones(())
    for _ in range(rank):
        product = np.multiply.outer(product, weights)
    return product


def identity(size: int) -> Array:
    weights: Array = np.zeros(size)
    weights[(size - 1) // 2] = 1
    return weights


def box(size: int) -> Array:
    return np.full(size, 1 / size)


def gaussian(size: int) -> Array:
    weights: Array = np.array([comb(size - 1, place) / 2 ** (size - 1) for place in range(size)])
    return weights


SEPARABLE = {"identity": identity, "box": box, "gaussian": gaussian}
FLAT = {
    "laplacian": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "sobel-x": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "sobel-y": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "emboss": [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]],
}


@pytest.mark.parametrize("mode", [*MODES, "constant"])
@pytest.mark.parametrize("name", FLAT)
def test_flat_filters_are_correlations(name: str, mode: str) -> None:
    weights = np.array(FLAT[name], np.float64)
    for rng in draws(name, mode):
        x = drawn_map(rng, (3, 3))
        expected = ndimage.correlate(x, weights, mode=mode, cval=0.0)
        spec = f"conv:3,filter={name},pad=1,pad-mode={MODES.get(mode, mode)}"
        atol = 9 * EPS * float(np.abs(weights).sum() * np.abs(x).max())
        np.testing.assert_allclose(pool(x, spec), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("mode", [*MODES, "constant"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("name", SEPARABLE)
def test_separable_filters_are_correlations(name: str, rank: int, mode: str) -> None:
    for rng in draws(name, rank, mode):
        size = int(rng.integers(1, 7 if rank < 3 else 5))
        sizes = (size,) * rank
        x = drawn_map(rng, sizes)
        weights = along_each_axis(SEPARABLE[name](size), rank)
        expected = ndimage.correlate(x, weights, mode=mode, cval=0.0)
        spec = f"conv:{size},filter={name},{centred(sizes)},pad-mode={MODES.get(mode, mode)}"
        answer = pool(x, spec, layout=LAYOUTS[rank])
        atol = (size**rank + 1) * EPS * float(np.abs(x).max())
        np.testing.assert_allclose(answer, expected, rtol=0, atol=atol, err_msg=str(size))


@pytest.mark.parametrize(
    ("name", "peer", "options"),
    [
        # SciPy counts axes from the first: 1 is x.
        ("sobel-x", "sobel", {"axis": 1}),
        ("sobel-y", "sobel", {"axis": 0}),
        ("laplacian", "laplace", {}),
    ],
    ids=["sobel-x", "sobel-y", "laplacian"],
)
def test_filters_that_scipy_has_by_name(name: str, peer: str, options: dict[str, int]) -> None:
    for rng in draws("named", name):
        x = drawn_map(rng, (3, 3))
        expected = getattr(ndimage, peer)(x, mode="mirror", **options)
        answer = pool(x, f"conv:3,filter={name},pad=1,pad-mode=reflect")
        # Both filters' weights add up to 8, without their signs.
        atol = 9 * EPS * 8 * float(np.abs(x).max())
        np.testing.assert_allclose(answer, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "bool"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_majorities_are_modes(rank: int, dtype: str) -> None:
    """Of a tie both take the smallest."""
    for rng in draws("majority", rank, dtype):
        sizes = drawn_sizes(rng, rank)
        stride = tuple(int(step) for step in rng.integers(1, 4, rank))
        shape = tuple(size + int(rng.integers(0, 8)) for size in sizes)
        x = rng.integers(-2 if np.dtype(dtype).kind in "if" else 0, 3, shape).astype(dtype)
        windows = sliding_window_view(x, sizes)[tuple(slice(None, None, step) for step in stride)]
        elements = windows.reshape(*windows.shape[:rank], -1)
        # SciPy takes no bools.
        ordered = elements.astype(np.uint8) if dtype == "bool" else elements
        expected = stats.mode(ordered, axis=-1).mode
        answer = pool(x, f"majority:{text(sizes)},stride={text(stride)}", layout=LAYOUTS[rank])
        assert answer.dtype == x.dtype
        np.testing.assert_array_equal(answer, expected.astype(dtype), str((sizes, stride, shape)))
