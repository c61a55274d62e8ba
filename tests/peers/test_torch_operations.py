"""PyTorch and poolcli on the same random maps: shapes, options and values are drawn, seeds fixed.

Maxima, indices, copies and drawn windows are exact. Sums of n terms in any two orders differ by at
most n·ε·Σ|terms| (Higham, "Accuracy and stability of numerical algorithms", 2002, chapter 4), with
the ε of the dtype that PyTorch adds in; a result in float16 may be one unit of that off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray

import poolcli
from poolcli import Stage

torch = pytest.importorskip("torch")
nn = torch.nn
functional = torch.nn.functional

Array = NDArray[Any]
Sizes = tuple[int, ...]

LAYOUTS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}
RANKS = (1, 2, 3)
FLOATS = ("float32", "float64")
HALVES = ("float16", *FLOATS)
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
AVERAGED = {1: (*HALVES, "int64"), 2: (*HALVES, "int64"), 3: (*FLOATS, "int64")}
"""What PyTorch's average pooling takes on a CPU."""

NORMS = (1, 2, 3, 4, 1.5, 0.5)

CASES = {
    "max": 100,
    "avg": 200,
    "lp": 40,
    "adaptive": 100,
    "fractional": 150,
    "conv": 100,
    "up": 60,
    "unpool": 80,
    "relu": 20,
    "printed": 25,
}
"""How many cases a test draws, by what is tested."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small maps are quickest on one thread, and PyTorch's pooling is reproducible there."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- drawing cases


class Drawn(NamedTuple):
    """A window on a map: numbers per axis, as PyTorch takes them."""

    lengths: Sizes
    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    ceil: bool

    @property
    def spec(self) -> str:
        """The window as poolcli writes it, after the operation's name and a colon."""
        parts = [
            size(self.kernel),
            f"stride={size(self.stride)}",
            f"pad={size(self.padding)}",
            f"dilation={size(self.dilation)}",
        ]
        return ",".join([*parts, "ceil"] if self.ceil else parts)


def size(sizes: Sizes) -> str:
    return "x".join(map(str, sizes))


def integers(rng: Generator, low: int, high: int, rank: int) -> Sizes:
    """Draw a number per axis, from ``low`` up to and with ``high``."""
    return tuple(int(drawn) for drawn in rng.integers(low, high + 1, rank))


def window(
    rng: Generator, rank: int, *, dilated: bool = False, ceil: bool = True, pooling: bool = True
) -> Drawn:
    """Draw a window, and a map it fits into.

    A pooling's padding is at most half of its kernel, PyTorch's limit; a convolution's less than
    what the kernel spans, poolcli's.
    """
    kernel = integers(rng, 1, 4, rank)
    dilation = integers(rng, 1, 3, rank) if dilated else (1,) * rank
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    limits = [k // 2 for k in kernel] if pooling else [span - 1 for span in spans]
    padding = tuple(int(rng.integers(0, limit + 1)) for limit in limits)
    more = integers(rng, 0, {1: 20, 2: 9, 3: 5}[rank], rank)
    lengths = tuple(
        max(span - 2 * p, 1) + m for span, p, m in zip(spans, padding, more, strict=True)
    )
    stride = integers(rng, 1, 5, rank)
    return Drawn(lengths, kernel, stride, padding, dilation, ceil and bool(rng.integers(2)))


def averaged(rng: Generator, rank: int) -> Drawn:
    """Draw a window for an average: in three dimensions PyTorch wants maps as large as it."""
    drawn = window(rng, rank)
    if rank < 3:
        return drawn
    pairs = zip(drawn.lengths, drawn.kernel, strict=True)
    return drawn._replace(lengths=tuple(map(max, pairs)))


def values(rng: Generator, shape: Sizes, dtype: str) -> Array:
    """Draw a map: spread evenly, or of few values so that there are ties."""
    ties = rng.integers(2)
    if np.dtype(dtype).kind in "iu":
        bounds = np.iinfo(dtype)
        low, high = (max(bounds.min, -3), 3) if ties else (bounds.min, bounds.max)
        return rng.integers(low, high, shape, dtype, endpoint=True)
    drawn = rng.integers(-3, 4, shape) if ties else rng.standard_normal(shape)
    return drawn.astype(dtype)


def small_values(rng: Generator, shape: Sizes, dtype: str) -> Array:
    return rng.integers(-9, 10, shape).astype(dtype)


def a_map(rng: Generator, lengths: Sizes, dtype: str) -> Array:
    batch, channels = integers(rng, 1, 3, 2)
    return values(rng, (batch, channels, *lengths), dtype)


def draws(kind: str, *parts: object) -> Iterator[Generator]:
    """Yield as many generators as cases are drawn of a kind; their seeds depend on nothing else."""
    seed = [ord(letter) for letter in " ".join(map(str, (kind, *parts)))]
    for case in range(CASES[kind]):
        yield np.random.default_rng([case, *seed])


# --- comparing


def of_torch(kind: str, rank: int) -> Any:
    """Return PyTorch's function of this name and rank, as ``max_pool2d``."""
    return getattr(functional, f"{kind}{rank}d")


def epsilon(dtype: str) -> float:
    return float(np.finfo(dtype).eps)


def accumulator(dtype: str) -> str:
    """Return the dtype that PyTorch adds in, wherever a test doesn't say otherwise."""
    return "float32" if dtype == "float16" else dtype


def assert_near(
    answer: Array, expected: Any, sums: float, told: object, added_in: str | None = None
) -> None:
    """Compare sums: ``sums`` is how many terms there are, times the most they can add up to."""
    wanted = expected.numpy()
    assert answer.dtype == wanted.dtype, told
    assert answer.shape == wanted.shape, told
    atol = sums * epsilon(added_in or accumulator(wanted.dtype.name))
    rtol = epsilon("float16") if wanted.dtype == np.float16 else 0
    np.testing.assert_allclose(answer, wanted, rtol=rtol, atol=atol, err_msg=str(told))


def assert_same(answer: Array, expected: Any, told: object) -> None:
    wanted = expected.numpy()
    assert answer.dtype == wanted.dtype, told
    assert answer.shape == wanted.shape, told
    np.testing.assert_array_equal(answer, wanted, err_msg=str(told))


# --- windows


@pytest.mark.parametrize("dtype", [*HALVES, *INTEGERS])
@pytest.mark.parametrize("rank", RANKS)
def test_maxima_and_their_indices_are_pytorchs(rank: int, dtype: str) -> None:
    for rng in draws("max", rank, dtype):
        drawn = window(rng, rank, dilated=True)
        x = a_map(rng, drawn.lengths, dtype)
        y, places = of_torch("max_pool", rank)(
            torch.from_numpy(x),
            drawn.kernel,
            drawn.stride,
            drawn.padding,
            drawn.dilation,
            drawn.ceil,
            return_indices=True,
        )
        spec = f"max:{drawn.spec}"
        answer, found = poolcli.pool_with_indices(x, spec, layout=LAYOUTS[rank])
        assert_same(answer, y, (spec, x.shape))
        assert_same(poolcli.pool(x, spec, layout=LAYOUTS[rank]), y, (spec, x.shape))
        # Dilated windows of padding alone have no value: where it was found, nobody promises.
        seen = answer > (-np.inf if answer.dtype.kind == "f" else np.iinfo(dtype).min)
        np.testing.assert_array_equal(found[seen], places.numpy()[seen], f"{spec} {x.shape}")


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("rank", RANKS)
def test_maxima_of_infinities_and_nan_are_pytorchs(rank: int, dtype: str) -> None:
    """With several NaNs in a window PyTorch gives the last one's index, poolcli any tie's first."""
    for rng in draws("max", "odd", rank, dtype):
        drawn = window(rng, rank, dilated=True)
        # Maps that are no shorter than the dilation: no window is of padding alone.
        pairs = zip(drawn.lengths, drawn.dilation, strict=True)
        drawn = drawn._replace(lengths=tuple(map(max, pairs)))
        x = a_map(rng, drawn.lengths, dtype)
        odd = rng.random(x.shape)
        x[odd < 0.3] = -np.inf
        x[odd < 0.1] = np.nan
        x[odd < 0.05] = np.inf
        y, places = of_torch("max_pool", rank)(
            torch.from_numpy(x),
            drawn.kernel,
            drawn.stride,
            drawn.padding,
            drawn.dilation,
            drawn.ceil,
            return_indices=True,
        )
        spec = f"max:{drawn.spec}"
        answer, found = poolcli.pool_with_indices(x, spec, layout=LAYOUTS[rank])
        assert_same(answer, y, (spec, x.shape))
        nan = np.isnan(answer)
        np.testing.assert_array_equal(found[~nan], places.numpy()[~nan], str(spec))
        planes = x.reshape(*x.shape[:2], -1)
        there = np.take_along_axis(planes, found.reshape(*x.shape[:2], -1), axis=2)
        np.testing.assert_array_equal(np.isnan(there), nan.reshape(there.shape), str(spec))


@pytest.mark.parametrize(
    ("rank", "dtype"), [(rank, dtype) for rank in RANKS for dtype in AVERAGED[rank]]
)
def test_averages_with_every_option_are_pytorchs(rank: int, dtype: str) -> None:
    for rng in draws("avg", rank, dtype):
        drawn = averaged(rng, rank)
        x = a_map(rng, drawn.lengths, dtype)
        if dtype == "int64":
            # PyTorch's integer averages are truncated, and wrap: it is given whole multiples.
            x = rng.integers(-9, 10, x.shape) * 12**rank
        counted = bool(rng.integers(2))
        options: dict[str, Any] = {"ceil_mode": drawn.ceil, "count_include_pad": counted}
        spec = f"avg:{drawn.spec},{'include' if counted else 'exclude'}-pad"
        if rank > 1 and dtype != "int64" and rng.integers(3) == 0:
            options["divisor_override"] = int(rng.integers(1, 9))
            spec += f",divisor={options['divisor_override']}"
        expected = of_torch("avg_pool", rank)(
            torch.from_numpy(x), drawn.kernel, drawn.stride, drawn.padding, **options
        )
        answer = poolcli.pool(x, spec, layout=LAYOUTS[rank])
        told = (spec, x.shape)
        if dtype == "int64":
            # Every divisor divides 12^rank, so that nothing was cut off.
            assert answer.dtype == np.float64, told
            np.testing.assert_array_equal(answer, expected.numpy(), err_msg=str(told))
            continue
        terms = prod(drawn.kernel)
        # A divisor makes the sum larger or smaller; without one, it is at most the window's size.
        most = max(1.0, terms / options.get("divisor_override", terms))
        assert_near(answer, expected, terms * most * float(np.abs(x).max()), told)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("rank", RANKS)
def test_lp_norms_are_pytorchs_where_it_is_right(rank: int, dtype: str, norm: float) -> None:
    """PyTorch leaves out the absolute value and miscounts ceil: x ≥ 0 and no overhang, here."""
    for rng in draws("lp", rank, dtype, norm):
        drawn = window(rng, rank, ceil=False)._replace(padding=(0,) * rank)
        drawn = drawn._replace(
            lengths=tuple(max(n, k) for n, k in zip(drawn.lengths, drawn.kernel, strict=True))
        )
        x = np.abs(a_map(rng, drawn.lengths, dtype))
        # In one dimension PyTorch multiplies by the kernel, which has to be a number then.
        kernel = drawn.kernel if rank > 1 else drawn.kernel[0]
        expected = of_torch("lp_pool", rank)(torch.from_numpy(x), norm, kernel, drawn.stride)
        spec = f"lp:{drawn.spec},norm={norm}"
        answer = poolcli.pool(x, spec, layout=LAYOUTS[rank])
        # All terms are positive, so that errors are relative: n for the sum, a few for each power;
        # the root divides them by the norm.
        rtol = (prod(drawn.kernel) + 8) * epsilon(dtype) * max(1, 1 / norm)
        assert answer.dtype == expected.numpy().dtype
        np.testing.assert_allclose(
            answer, expected.numpy(), rtol=rtol, atol=0, err_msg=str((spec, x.shape))
        )


def output_sizes(rng: Generator, lengths: Sizes) -> tuple[int | None, ...]:
    """Draw an adaptive stage's outputs, more than the input has among them; None keeps an axis."""
    drawn = [int(rng.integers(1, length + 4)) for length in lengths]
    return tuple(None if rng.integers(6) == 0 else each for each in drawn)


def output_spec(sizes: tuple[int | None, ...]) -> str:
    return "out=" + "x".join("_" if each is None else str(each) for each in sizes)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("rank", RANKS)
def test_adaptive_maxima_and_their_indices_are_pytorchs(rank: int, dtype: str) -> None:
    for rng in draws("adaptive", "max", rank, dtype):
        lengths = integers(rng, 1, 12, rank)
        x = a_map(rng, lengths, dtype)
        sizes = output_sizes(rng, lengths)
        asked = sizes if rank > 1 else sizes[0] or lengths[0]
        y, places = of_torch("adaptive_max_pool", rank)(
            torch.from_numpy(x), asked, return_indices=True
        )
        spec = f"max,{output_spec(sizes)}"
        answer, found = poolcli.pool_with_indices(x, spec, layout=LAYOUTS[rank])
        assert_same(answer, y, (spec, x.shape))
        assert_same(found, places, (spec, x.shape))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("rank", RANKS)
def test_adaptive_averages_are_pytorchs(rank: int, dtype: str) -> None:
    for rng in draws("adaptive", "avg", rank, dtype):
        lengths = integers(rng, 1, 12, rank)
        x = a_map(rng, lengths, dtype)
        sizes = output_sizes(rng, lengths)
        asked = sizes if rank > 1 else sizes[0] or lengths[0]
        expected = of_torch("adaptive_avg_pool", rank)(torch.from_numpy(x), asked)
        spec = f"avg,{output_spec(sizes)}"
        answer = poolcli.pool(x, spec, layout=LAYOUTS[rank])
        largest = prod(
            n if o is None else -(-n // o) + 1 for n, o in zip(lengths, sizes, strict=True)
        )
        # In three dimensions PyTorch adds in float16 itself.
        added_in = dtype if rank == 3 else None
        assert_near(answer, expected, largest * float(np.abs(x).max()), (spec, x.shape), added_in)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("rank", [2, 3])
def test_fractional_windows_lie_where_pytorchs_do(rank: int, dtype: str, tmp_path: Path) -> None:
    for number, rng in enumerate(draws("fractional", rank, dtype)):
        kernel = integers(rng, 1, 3, rank)
        output = integers(rng, 1, 6, rank)
        # In three dimensions PyTorch wants one position more than the windows need.
        more = integers(rng, 0, 9, rank) if rank == 2 else integers(rng, 1, 4, rank)
        lengths = tuple(o + k - 1 + m for o, k, m in zip(output, kernel, more, strict=True))
        x = a_map(rng, lengths, dtype)
        samples = rng.random((*x.shape[:2], rank)).astype(dtype)
        samples = np.minimum(samples, np.nextafter(samples.dtype.type(1), samples.dtype.type(0)))
        y, places = of_torch("fractional_max_pool", rank)(
            torch.from_numpy(x),
            kernel,
            output_size=output,
            return_indices=True,
            _random_samples=torch.from_numpy(samples),
        )
        file = tmp_path / f"samples{number}.npy"
        np.save(file, samples)
        spec = f'max:{size(kernel)},out={size(output)},fractional,samples="{file}"'
        answer, found = poolcli.pool_with_indices(x, spec, layout=LAYOUTS[rank])
        assert_same(answer, y, (spec, x.shape))
        assert_same(found, places, (spec, x.shape))


# --- convolution, enlargement, unpooling, relu


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("same", [False, True], ids=["padded", "same"])
@pytest.mark.parametrize("dtype", [*HALVES, "int64"])
@pytest.mark.parametrize("rank", RANKS)
def test_convolutions_are_pytorchs(rank: int, dtype: str, same: bool, tmp_path: Path) -> None:
    for number, rng in enumerate(draws("conv", rank, dtype, same)):
        drawn = window(rng, rank, dilated=True, ceil=False, pooling=False)
        if same:
            drawn = drawn._replace(stride=(1,) * rank)
        groups = int(rng.integers(1, 4))
        inputs, outputs = (int(each) for each in rng.integers(1, 4, 2))
        # Small numbers for integers, which PyTorch lets wrap and poolcli answers in float64.
        numbers = values if dtype != "int64" else small_values
        batch = int(rng.integers(1, 3))
        x = numbers(rng, (batch, groups * inputs, *drawn.lengths), dtype)
        weights = numbers(rng, (groups * outputs, inputs, *drawn.kernel), dtype)
        file = tmp_path / f"weights{number}.npy"
        np.save(file, weights)
        spec = f'conv:{drawn.spec},weights="{file}",groups={groups}'
        bias = None
        if rng.integers(2):
            bias = numbers(rng, (len(weights),), dtype)
            np.save(tmp_path / f"bias{number}.npy", bias)
            spec += f',bias="{tmp_path / f"bias{number}.npy"}"'
        if same:
            spec = spec.replace(f"pad={size(drawn.padding)}", "pad=same")
        expected = of_torch("conv", rank)(
            torch.from_numpy(x),
            torch.from_numpy(weights),
            None if bias is None else torch.from_numpy(bias),
            stride=drawn.stride,
            padding="same" if same else drawn.padding,
            dilation=drawn.dilation,
            groups=groups,
        )
        answer = poolcli.pool(x, spec, layout=LAYOUTS[rank])
        if dtype == "int64":
            np.testing.assert_array_equal(answer, expected.numpy(), err_msg=spec)
            continue
        heaviest = float(np.abs(weights).reshape(len(weights), -1).sum(axis=1).max())
        magnitude = heaviest * float(np.abs(x).max()) + (
            0 if bias is None else float(np.abs(bias).max())
        )
        assert_near(answer, expected, (weights[0].size + 1) * magnitude, (spec, x.shape))


@pytest.mark.parametrize("dtype", [*HALVES, "uint8"])
@pytest.mark.parametrize("rank", RANKS)
def test_repeated_elements_are_pytorchs_nearest(rank: int, dtype: str) -> None:
    for rng in draws("up", rank, dtype):
        factors = integers(rng, 1, 4, rank)
        x = a_map(rng, integers(rng, 1, 7, rank), dtype)
        scales = tuple(map(float, factors))
        expected = functional.interpolate(torch.from_numpy(x), scale_factor=scales, mode="nearest")
        spec = f"up:{size(factors)}"
        assert_same(poolcli.pool(x, spec, layout=LAYOUTS[rank]), expected, (spec, x.shape))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("rank", RANKS)
def test_linear_enlargements_are_pytorchs(rank: int, dtype: str) -> None:
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[rank]
    for rng in draws("up", "linear", rank, dtype):
        factors = integers(rng, 1, 4, rank)
        x = a_map(rng, integers(rng, 1, 7, rank), dtype)
        expected = functional.interpolate(
            torch.from_numpy(x),
            scale_factor=tuple(map(float, factors)),
            mode=mode,
            align_corners=False,
        )
        spec = f"up:{size(factors)},mode=bilinear"
        answer = poolcli.pool(x, spec, layout=LAYOUTS[rank])
        # Per axis two products and a sum; and PyTorch's place between two elements, computed from
        # 1/factor, is off by ε times the place; weights of float16 are in float16.
        terms = sum(3 + 2 * length for length in x.shape[2:])
        assert_near(answer, expected, terms * float(np.abs(x).max()), (spec, x.shape), dtype)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("rank", RANKS)
def test_unpooling_is_pytorchs(rank: int, dtype: str) -> None:
    """Where windows overlap, PyTorch's answer is defined if equal places hold equal values."""
    for rng in draws("unpool", rank, dtype):
        drawn = window(rng, rank)
        x = a_map(rng, drawn.lengths, dtype)
        y, places = of_torch("max_pool", rank)(
            torch.from_numpy(x),
            drawn.kernel,
            drawn.stride,
            drawn.padding,
            ceil_mode=drawn.ceil,
            return_indices=True,
        )
        # The function, unlike the layer, does not hold output_size to a range around the default.
        expected = torch.zeros(x.shape, dtype=y.dtype).flatten(2)
        expected = expected.scatter(2, places.flatten(2), y.flatten(2)).reshape(x.shape)
        if can_unpool(drawn, tuple(y.shape[2:])):
            peers = of_torch("max_unpool", rank)(
                y, places, drawn.kernel, drawn.stride, drawn.padding, output_size=x.shape
            )
            assert_same(peers.numpy(), expected, drawn)
        spec = f"max:{drawn.spec}"
        answer = poolcli.unpool(y.numpy(), places.numpy(), x.shape, layout=LAYOUTS[rank])
        assert_same(answer, expected, (spec, x.shape))
        chained = poolcli.pool(x, spec, "unpool", layout=LAYOUTS[rank])
        assert_same(chained, expected, (spec, x.shape))


def can_unpool(drawn: Drawn, pooled: Sizes) -> bool:
    """Whether PyTorch lets a pooling be undone: sizes less than a stride from the default one."""
    numbers = zip(drawn.lengths, pooled, drawn.kernel, drawn.stride, drawn.padding, strict=True)
    return all(abs(n - ((o - 1) * s + k - 2 * p)) < s for n, o, k, s, p in numbers)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("rank", RANKS)
def test_values_changed_between_pooling_and_unpooling_land_where_pytorchs_do(
    rank: int, dtype: str
) -> None:
    """Windows that don't overlap have a place each, so that any values can be put back."""
    for rng in draws("unpool", "changed", rank, dtype):
        kernel, rest = integers(rng, 1, 4, rank), integers(rng, 0, 3, rank)
        lengths = tuple(
            k * int(rng.integers(1, 4)) + min(r, k - 1) for k, r in zip(kernel, rest, strict=True)
        )
        x = a_map(rng, lengths, dtype)
        y, places = of_torch("max_pool", rank)(torch.from_numpy(x), kernel, return_indices=True)
        changed = values(rng, tuple(y.shape), dtype)
        expected = of_torch("max_unpool", rank)(
            torch.from_numpy(changed), places, kernel, output_size=x.shape
        )
        answer = poolcli.unpool(changed, places.numpy(), x.shape, layout=LAYOUTS[rank])
        assert_same(answer, expected, (kernel, x.shape))


@pytest.mark.parametrize("dtype", [*HALVES, *INTEGERS])
@pytest.mark.parametrize("rank", RANKS)
def test_relu_is_pytorchs(rank: int, dtype: str) -> None:
    for rng in draws("relu", rank, dtype):
        x = a_map(rng, integers(rng, 1, 5, rank), dtype)
        if np.dtype(dtype).kind == "f":
            x[rng.random(x.shape) < 0.1] = np.nan
            x[rng.random(x.shape) < 0.1] = -np.inf
        expected = functional.relu(torch.from_numpy(x))
        assert_same(poolcli.pool(x, "relu", layout=LAYOUTS[rank]), expected, x.shape)


# --- layers as PyTorch prints them


def a_size(rng: Generator, sizes: Sizes) -> int | Sizes:
    """Say a size as one may: one number where all are equal, if the draw says so."""
    return sizes[0] if len(set(sizes)) == 1 and rng.integers(2) else sizes


def printed_max(rng: Generator, rank: int) -> tuple[Any, Sizes]:
    drawn = window(rng, rank, dilated=True)
    layer = getattr(nn, f"MaxPool{rank}d")(
        a_size(rng, drawn.kernel),
        stride=a_size(rng, drawn.stride),
        padding=a_size(rng, drawn.padding),
        dilation=a_size(rng, drawn.dilation),
        ceil_mode=drawn.ceil,
    )
    return layer, drawn.lengths


def printed_avg(rng: Generator, rank: int) -> tuple[Any, Sizes]:
    """Draw an average; its ceil_mode, count_include_pad and divisor_override aren't printed."""
    drawn = averaged(rng, rank)
    layer = getattr(nn, f"AvgPool{rank}d")(
        a_size(rng, drawn.kernel),
        stride=a_size(rng, drawn.stride),
        padding=a_size(rng, drawn.padding),
    )
    return layer, drawn.lengths


def printed_lp(rng: Generator, rank: int) -> tuple[Any, Sizes]:
    kernel, more = integers(rng, 1, 4, rank), integers(rng, 0, 6, rank)
    # An even norm, so that the absolute value that PyTorch leaves out doesn't matter.
    layer = getattr(nn, f"LPPool{rank}d")(
        2,
        a_size(rng, kernel) if rank > 1 else kernel[0],
        stride=None if rng.integers(2) else int(rng.integers(1, 4)),
    )
    return layer, tuple(k + m for k, m in zip(kernel, more, strict=True))


def printed_adaptive(kind: str) -> Callable[[Generator, int], tuple[Any, Sizes]]:
    def draw(rng: Generator, rank: int) -> tuple[Any, Sizes]:
        lengths = integers(rng, 1, 9, rank)
        sizes = output_sizes(rng, lengths)
        asked = sizes if rank > 1 else sizes[0] or 1
        return getattr(nn, f"Adaptive{kind}Pool{rank}d")(asked), lengths

    return draw


def printed_upsample(rng: Generator, rank: int) -> tuple[Any, Sizes]:
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[rank] if rng.integers(2) else "nearest"
    factors = integers(rng, 1, 4, rank)
    layer = nn.Upsample(scale_factor=a_size(rng, factors), mode=mode)
    return layer, integers(rng, 1, 5, rank)


def printed_upsampling_nearest(rng: Generator, rank: int) -> tuple[Any, Sizes]:
    factors = integers(rng, 1, 4, rank)
    return nn.UpsamplingNearest2d(scale_factor=a_size(rng, factors)), integers(rng, 1, 5, rank)


def printed_relu(rng: Generator, rank: int) -> tuple[Any, Sizes]:
    return nn.ReLU(), integers(rng, 1, 5, rank)


LAYERS: dict[str, tuple[Callable[[Generator, int], tuple[Any, Sizes]], Sizes]] = {
    "MaxPool": (printed_max, RANKS),
    "AvgPool": (printed_avg, RANKS),
    "LPPool": (printed_lp, RANKS),
    "AdaptiveMaxPool": (printed_adaptive("Max"), RANKS),
    "AdaptiveAvgPool": (printed_adaptive("Avg"), RANKS),
    "Upsample": (printed_upsample, RANKS),
    "UpsamplingNearest2d": (printed_upsampling_nearest, (2,)),
    "ReLU": (printed_relu, RANKS),
}


@pytest.mark.parametrize(
    ("name", "rank"), [(name, rank) for name, (_, ranks) in LAYERS.items() for rank in ranks]
)
def test_a_printed_layer_parses_and_gives_the_layers_result(name: str, rank: int) -> None:
    draw, _ = LAYERS[name]
    for rng in draws("printed", name, rank):
        layer, lengths = draw(rng, rank)
        x = a_map(rng, lengths, "float64")
        expected = layer(torch.from_numpy(x))
        answer = poolcli.pool(x, str(layer), layout=LAYOUTS[rank])
        assert Stage.parse(str(Stage.parse(str(layer)))) == Stage.parse(str(layer))
        terms = prod(lengths)
        magnitude = max(1.0, float(np.linalg.norm(x)))
        assert_near(answer, expected, (terms + 8) * magnitude, (str(layer), x.shape))


@pytest.mark.parametrize("kind", ["MaxPool", "AvgPool"])
@pytest.mark.parametrize("rank", RANKS)
def test_a_layer_is_refused_where_pytorch_refuses_it(rank: int, kind: str) -> None:
    """Padding is at most half of the kernel there, not of what it spans with dilation."""
    shape = (1, 1, *[12] * rank)
    dilations = (1, 2, 3) if kind == "MaxPool" else (1,)
    differing = []
    for kernel, padding, dilation in product((1, 2, 3, 4), (0, 1, 2, 3), dilations):
        options = {"dilation": dilation} if kind == "MaxPool" else {}
        layer = getattr(nn, f"{kind}{rank}d")(kernel, stride=1, padding=padding, **options)
        if layer_is_refused(layer, shape) != spec_is_refused(str(layer), shape):
            differing.append(str(layer))
    assert differing == []


def layer_is_refused(layer: Any, shape: Sizes) -> bool:
    try:
        layer(torch.zeros(shape))
    except RuntimeError:
        return True
    return False


def spec_is_refused(spec: str, shape: Sizes) -> bool:
    try:
        poolcli.plan(shape, spec, layout=LAYOUTS[len(shape) - 2])
    except poolcli.PoolError:
        return True
    return False


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("padding", ["numbers", "same", "valid"])
@pytest.mark.parametrize("rank", RANKS)
def test_a_printed_convolution_has_the_layers_shape_and_parameters(rank: int, padding: str) -> None:
    for rng in draws("printed", "Conv", rank, padding):
        drawn = window(rng, rank, dilated=True, ceil=False, pooling=False)
        # Without the padding, where it is none of the numbers.
        lengths = tuple(n + 2 * p for n, p in zip(drawn.lengths, drawn.padding, strict=True))
        groups, inputs, outputs = integers(rng, 1, 3, 3)
        layer = getattr(nn, f"Conv{rank}d")(
            groups * inputs,
            groups * outputs,
            drawn.kernel,
            stride=1 if padding == "same" else drawn.stride,
            padding=drawn.padding if padding == "numbers" else padding,
            dilation=drawn.dilation,
            groups=groups,
            bias=bool(rng.integers(2)),
        )
        shape = (2, groups * inputs, *lengths)
        plan = poolcli.plan(shape, str(layer), layout=LAYOUTS[rank])
        assert plan.output_shape == tuple(layer(torch.zeros(shape)).shape), (str(layer), shape)
        parameters = sum(parameter.numel() for parameter in layer.parameters())
        assert plan.costs.params == parameters, (str(layer), shape)


@pytest.mark.parametrize("rank", RANKS)
def test_a_printed_unpooling_undoes_a_printed_pooling(rank: int) -> None:
    for rng in draws("printed", "MaxUnpool", rank):
        kernel = integers(rng, 1, 4, rank)
        lengths = tuple(k * int(rng.integers(1, 4)) for k in kernel)
        x = a_map(rng, lengths, "float32")
        pooling = getattr(nn, f"MaxPool{rank}d")(kernel, return_indices=True)
        unpooling = getattr(nn, f"MaxUnpool{rank}d")(kernel)
        expected = unpooling(*pooling(torch.from_numpy(x)))
        answer = poolcli.pool(x, str(pooling), str(unpooling), layout=LAYOUTS[rank])
        assert_same(answer, expected, (str(pooling), str(unpooling), x.shape))


def test_thousands_of_cases_are_compared() -> None:
    """What the tests above draw, counted once more: too few would say little."""
    floats, halves, all_dtypes = len(FLOATS), len(HALVES), len(HALVES) + len(INTEGERS)
    ranks = len(RANKS)
    tests = {
        "max": ranks * (all_dtypes + halves),
        "avg": sum(map(len, AVERAGED.values())),
        "lp": ranks * floats * len(NORMS),
        "adaptive": ranks * halves * 2,
        "fractional": 2 * halves,
        "conv": ranks * (halves + 1) * 2,
        "up": ranks * (2 * halves + 1),
        "unpool": ranks * halves * 2,
        "relu": ranks * all_dtypes,
        "printed": sum(len(known) for _, known in LAYERS.values()) + ranks * 4,
    }
    assert sum(CASES[kind] * times for kind, times in tests.items()) >= 5_000
