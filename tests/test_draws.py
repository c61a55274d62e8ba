"""Fractional windows and random draws: where they fall, and that they fall there again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolcli import PoolError, SpecError, WindowError, plan, pool, pool_with_indices
from poolcli.kernels import views
from poolcli.kernels.draws import uniform, window_samples
from poolcli.placing import fractional
from poolcli.windows import Fractional
from tests import oracle
from tests.cases import placing_draws
from tests.oracle import Lay, walk


@settings(deadline=None, max_examples=400)
@given(
    st.integers(1, 40),
    st.integers(1, 6),
    st.integers(1, 30),
    st.floats(0, 1, exclude_max=True, width=32) | st.floats(0, 1, exclude_max=True),
    st.booleans(),
)
def test_windows_lie_where_pytorchs_intervals_do(
    length: int, kernel: int, output: int, sample: float, single: bool
) -> None:
    sample = min(sample, 1 - 2**-24)
    if single:
        sample = float(np.float32(sample))
    walked = walk(length, Lay(kernel=kernel, out=output, sample=sample, single=single)).windows
    if not walked:
        with pytest.raises(WindowError, match=rf"^{output} windows of {kernel} need "):
            fractional(length, kernel, output)
        return
    assert fractional(length, kernel, output) == Fractional(length, output, kernel)
    window = Fractional(length, output, kernel, float_like(sample, single))
    assert [list(window.positions(i)) for i in range(output)] == walked
    assert window.total_positions() == sum(map(len, walked))
    assert (window.kernel, window.stride, window.pace, window.dilation) == (kernel, None, None, 1)
    assert window.padding == (0, 0)
    starts = [positions[0] for positions in walked]
    assert starts == sorted(starts)
    assert starts[-1] == length - kernel
    assert window.needed(0, output)[1] == length


def float_like(sample: float, single: bool) -> Any:
    """Sample of a float32 file, or Python's own."""
    return np.float32(sample) if single else sample


@pytest.mark.parametrize(
    ("length", "kernel", "output", "sample", "starts"),
    [
        (7, 2, 3, 0.5, [0, 2, 5]),
        (7, 2, 3, 0.0, [0, 2, 5]),
        (10, 2, 5, 0.9, [0, 2, 4, 6, 8]),
        (9, 2, 4, 0.0, [0, 2, 4, 7]),
        (9, 2, 4, 0.6, [0, 2, 5, 7]),
        (5, 2, 1, 0.3, [3]),
        (5, 5, 1, 0.0, [0]),
        (4, 1, 4, 0.7, [0, 1, 2, 3]),
    ],
)
def test_starts_worked_by_hand(
    length: int, kernel: int, output: int, sample: float, starts: list[int]
) -> None:
    window = Fractional(length, output, kernel, sample)
    assert [window.positions(i)[0] for i in range(output)] == starts


@pytest.mark.parametrize(
    ("length", "kernel", "output", "text"),
    [
        (5, 2, 5, "5 windows of 2 need 6 positions, its input has 5: at most 4 fit"),
        (3, 4, 1, "1 windows of 4 need 4 positions, its input has 3: at most 0 fit"),
        (0, 1, 1, "the axis is empty: a window needs at least one position"),
    ],
)
def test_fractional_windows_that_do_not_fit(
    length: int, kernel: int, output: int, text: str
) -> None:
    with pytest.raises(WindowError) as caught:
        fractional(length, kernel, output)
    assert str(caught.value) == text


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    op=st.sampled_from(["max", "avg", "median", "pick", "soft"]),
    layout=st.sampled_from(["W", "HW", "CW", "CHW", "HWC", "NCHW", "WNHC", "DHW", "NCDHW"]),
    numbers=st.randoms(use_true_random=False),
    kind=st.sampled_from(["float32", "float64"]),
)
def test_samples_place_the_windows_of_every_plane(
    op: str, layout: str, numbers: Any, kind: str, tmp_path: Path
) -> None:
    """PyTorch's _random_samples: of a plane in two dimensions W comes first, else in order."""
    lengths = {letter: 2 if letter in "NC" else numbers.randint(4, 6) for letter in layout}
    axes = [letter for letter in "DHW" if letter in layout]
    shape = tuple(lengths[letter] for letter in layout)
    batch, channels = lengths.get("N", 1), lengths.get("C", 1)
    rows = np.array(
        [[[numbers.random() for _ in axes] for _ in range(channels)] for _ in range(batch)], kind
    )
    rows = np.minimum(rows, np.asarray(1 - 2**-24, kind))
    np.save(tmp_path / "s.npy", rows)
    array = np.array([numbers.randint(-50, 50) for _ in range(int(np.prod(shape)))], float)
    array = array.reshape(shape)
    spec = f'{op}:2,out=3,fractional,samples="{tmp_path / "s.npy"}"'
    result = pool(array, spec, layout=layout)
    for n, c in np.ndindex(batch, channels):
        place = tuple({"N": n, "C": c}.get(letter, slice(None)) for letter in layout)
        row = rows[n, c].tolist()
        row = row[::-1] if len(axes) == 2 else row
        lays = [Lay(kernel=2, out=3, sample=u, single=kind == "float32") for u in row]
        rest = [letter for letter in layout if letter in "DHW"]
        spatial = [rest.index(letter) for letter in axes]
        expected = oracle.pool(op, array[place].tolist(), spatial, lays)
        np.testing.assert_allclose(
            result[place].reshape(-1), [float(each) for each in oracle.flat(expected)], rtol=1e-9
        )


@pytest.mark.parametrize(
    ("kind", "sample", "starts"),
    [
        ("float32", 0.1, [0, 3, 6, 10]),
        ("float64", 0.1, [0, 3, 7, 10]),
        ("float32", 0.7, [0, 3, 7, 10]),
        ("float64", 0.7, [0, 3, 7, 10]),
    ],
)
def test_the_precision_of_samples_is_part_of_the_rule(
    tmp_path: Path, kind: str, sample: float, starts: list[int]
) -> None:
    """Measured with PyTorch 2.13, fractional_max_pool2d with _random_samples of these dtypes."""
    np.save(tmp_path / "s.npy", np.full((1, 1, 1), sample, kind))
    spec = f'max:1,out=4,fractional,samples="{tmp_path / "s.npy"}"'
    assert pool(np.arange(11), spec).tolist() == starts


def test_samples_place_indices_too(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.array([[[0.0], [0.6]]]))
    array = np.tile([0, 1, 2, 3, 4, 5, 6, 7, 8], (2, 1))
    spec = f'max:2,out=4,fractional,samples="{tmp_path / "s.npy"}"'
    values, indices = pool_with_indices(array, spec, layout="CW")
    assert values.tolist() == indices.tolist() == [[1, 3, 5, 8], [1, 3, 6, 8]]
    assert pool(array, spec, "unpool", layout="CW")[1].tolist() == [0, 1, 0, 3, 0, 0, 6, 0, 8]


@pytest.mark.parametrize(
    ("samples", "text"),
    [
        (np.zeros((1, 2, 2)), "expected a shape of 1x3x2, it is 1x2x2"),
        (np.zeros((3, 2)), "expected a shape of 1x3x2, it is 3x2"),
        (np.full((1, 3, 2), 1.0), "expected floats from 0 up to but not 1"),
        (np.full((1, 3, 2), -0.1), "expected floats from 0 up to but not 1"),
        (np.full((1, 3, 2), np.nan), "expected floats from 0 up to but not 1"),
        (np.zeros((1, 3, 2), int), "expected floats from 0 up to but not 1"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tmp_path: Path, samples: Any, text: str) -> None:
    np.save(tmp_path / "s.npy", samples)
    spec = f'max:2,out=2,fractional,samples="{tmp_path / "s.npy"}"'
    with pytest.raises(PoolError, match=text):
        pool(np.zeros((3, 5, 5)), spec)


def test_missing_samples_are_a_spec_error(tmp_path: Path) -> None:
    spec = f'max:2,out=2,fractional,samples="{tmp_path / "none.npy"}"'
    with pytest.raises(SpecError, match=r"none\.npy: no such file"):
        plan((5,), spec)


def test_one_draw_places_the_windows_of_all_planes() -> None:
    array = np.tile(np.arange(29), (3, 4, 1))
    result = pool(array, "max:2,out=13,fractional,seed=3", layout="NCW")
    assert (result == result[0, 0]).all()
    (sample,) = placing_draws(3, 1, 1)
    walked = walk(29, Lay(kernel=2, out=13, sample=sample)).windows
    assert result[0, 0].tolist() == [positions[-1] for positions in walked]


def test_stages_and_seeds_have_windows_of_their_own() -> None:
    array = np.arange(401)
    spec = "pick:2,out=150,fractional"
    first = pool(array, spec)
    np.testing.assert_array_equal(first, pool(array, f"{spec},seed=0"))
    assert (first != pool(array, f"{spec},seed=1")).any()
    assert (first != pool(array, "max:1", spec)).any()


def test_an_axis_can_be_kept_beside_fractional_ones() -> None:
    result = pool(np.arange(20).reshape(4, 5), "max:2,out=_x2,fractional")
    assert result.shape == (4, 2)
    assert result[:, -1].tolist() == [4, 9, 14, 19]


MAP = np.random.Generator(np.random.Philox(7)).integers(1, 200, (2, 3, 13, 17))
RANDOM = ["stochastic:3,s=2,p=1,seed=5", "stochastic:2,ceil", "stochastic,out=4x3,seed=9",
          "stochastic:global", "stochastic:3,over=channels", "max:2,out=5x6,fractional,seed=5",
          "soft:2,out=5x6,fractional", "stochastic:3x2,out=4x7,fractional,seed=2",
          "stochastic:2,pad=1,pad-mode=reflect"]  # fmt: skip
GATHERED = ["median:3,s=1,p=1", "quantile:3,q=0.3", "majority,out=4x3", "soft:3,s=2,p=1",
            "gem:3,norm=400", "median:global", "lp:3,norm=900",
            "majority:2,over=channels"]  # fmt: skip


@pytest.mark.parametrize("spec", RANDOM + GATHERED)
@pytest.mark.parametrize("kind", ["int16", "float32"])
def test_results_do_not_depend_on_the_blocks(
    spec: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = MAP.astype(kind)
    at_once = pool(array, spec)
    for block in (1, 7, 1000):
        monkeypatch.setattr(views, "_BLOCK", block)
        assert pool(array, spec).tobytes() == at_once.tobytes()


@pytest.mark.parametrize("block", [1, 7, 1000])
@pytest.mark.parametrize("spec", ["max:3,s=2,p=1", "max,out=4x3", "max:2,out=5,fractional"])
def test_indices_do_not_depend_on_the_blocks(
    spec: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = pool_with_indices(MAP % 5, spec)[1]
    monkeypatch.setattr(views, "_BLOCK", block)
    np.testing.assert_array_equal(pool_with_indices(MAP % 5, spec)[1], at_once)


def test_results_are_the_same_in_another_process() -> None:
    program = (
        "import sys, numpy as np\n"
        "from poolcli import pool\n"
        "array = np.random.Generator(np.random.Philox(7)).integers(1, 200, (2, 3, 13, 17))\n"
        "for spec in sys.argv[1:]: print(pool(array, spec).tobytes().hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *RANDOM], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [pool(MAP, spec).tobytes().hex() for spec in RANDOM]


KNOWN_UNIFORM = [0.8133540609793564, 0.7513314251083365, 0.6716490436969984]
KNOWN_SQUARE = [[0.8467383873429217, 0.7168658391238749], [0.4200268380698404, 0.23027196952683293]]
KNOWN_SAMPLES = [0.26813804030884636, 0.36962415512765356, 0.09408138959106982]
KNOWN_STOCHASTIC = [[8, 10, 12], [19, 22, 18], [32, 33, 35]]
KNOWN_SECOND = [[8, 10, 11], [14, 22, 18], [32, 28, 36]]
KNOWN_FRACTIONAL = [0, 2, 5, 8, 10, 13, 15, 18, 20, 23, 25, 28]
KNOWN_PLACES = [[1, 3, 4, 5], [13, 15, 16, 17], [25, 27, 28, 29]]


def test_draws_of_a_seed_are_known() -> None:
    """Pinned: another machine or NumPy that gives other numbers would change every result."""
    assert uniform(0, 1, 0, 3).tolist() == KNOWN_UNIFORM
    assert uniform(5, 2, 0, 4).reshape(2, 2).tolist() == KNOWN_SQUARE
    assert window_samples(5, 2, 3) == KNOWN_SAMPLES
    assert [uniform(0, 1, start, 1)[0] for start in range(3)] == KNOWN_UNIFORM


def test_results_of_a_seed_are_known() -> None:
    array = np.arange(1, 37).reshape(6, 6)
    assert pool(array, "stochastic:2").tolist() == KNOWN_STOCHASTIC
    assert pool(array, "max:1", "stochastic:2,seed=5").tolist() == KNOWN_SECOND
    assert pool(np.arange(30), "pick:2,out=12,fractional,seed=5").tolist() == KNOWN_FRACTIONAL
    assert pool(array, "pick:2,out=3x4,fractional").tolist() == KNOWN_PLACES
