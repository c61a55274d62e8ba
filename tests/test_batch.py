from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from poolcli import batch, engine
from poolcli.errors import UsageError
from poolcli.files.inputs import Source
from poolcli.stages import Chain
from tests.conftest import Run, colour, grey, pixels, save, tree


def prepared(
    *specs: str, name: str = "a.png", **options: object
) -> list[batch.Job | batch.Outcome]:
    request = batch.Options(**options)  # type: ignore[arg-type] # the tests' own words
    return batch.prepare([Source(name)], Chain.parse(*specs), request)


def job_of(*specs: str, name: str = "a.png", **options: object) -> batch.Job:
    (job,) = prepared(*specs, name=name, **options)
    assert isinstance(job, batch.Job)
    return job


def test_everything_is_checked_before_the_first_write(poolcli: Run, here: Path) -> None:
    """The last of many inputs has a result that exists: none is written."""
    for name in "abcdef":
        save(here / f"{name}.png", grey())
    save(here / "pooled/f.1-max2x2.png", grey())
    before = tree(here)
    ran = poolcli("run", "a.png", "b.png", "c.png", "d.png", "e.png", "f.png", "-s", "max:2")
    assert "f.1-max2x2.png exists" in ran.error(2)
    assert tree(here) == before


def test_a_failed_input_does_not_stop_the_others(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    (here / "b.png").write_bytes(save(here / "x.png", colour(64, 64)).read_bytes()[:-90])
    save(here / "c.npy", grey(1, 6))
    save(here / "d.png", grey())
    ran = poolcli("run", "a.png", "b.png", "c.npy", "missing.png", "d.png", "-s", "max:2", "-q")
    assert ran.status == 1
    assert ran.out == ""
    assert tree(here / "pooled") == ["a.1-max2x2.png", "d.1-max2x2.png"]
    lines = ran.err.splitlines()
    assert lines[0].startswith("error: b.png: a broken image: ")
    assert lines[1].startswith("error: c.npy: stage 1 (max:2): along H: ")
    assert lines[2] == "error: missing.png: no such file"
    assert lines[3] == "3 of 5 inputs failed: b.png, c.npy, missing.png"
    assert len(lines) == 4


def test_one_failed_input_needs_no_summary(poolcli: Run) -> None:
    assert poolcli("run", "missing.png", "-s", "max:2").error(1) == "missing.png: no such file"


@pytest.mark.parametrize(("save_word", "expected"), [("all", [1, 2]), ("last", [2]), ("none", [])])
def test_which_stages_are_saved(
    poolcli: Run, here: Path, save_word: str, expected: list[int]
) -> None:
    save(here / "a.png", grey(8, 8))
    assert poolcli("run", "a.png", "-s", "max:2*2", "--save", save_word).status == 0
    assert tree(here)[1:] == (["pooled"] if expected else []) + [
        f"pooled/a.{index}-max2x2.png" for index in expected
    ]


def test_a_dry_run_writes_nothing_and_finds_what_a_run_would(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    ran = poolcli("run", "a.png", "missing.png", "-s", "max:2", "-n", "--sheet", "s/{stem}.png")
    assert ran.status == 1
    assert "error: missing.png: no such file" in ran.err
    assert "wrote" not in ran.err
    assert "2×3" in ran.out
    assert tree(here) == ["a.png"]
    save(here / "pooled/a.1-max2x2.png", grey())
    assert "exists" in poolcli("run", "a.png", "-s", "max:2", "-n").error(2)


def test_a_dry_run_decodes_nothing(poolcli: Run, here: Path) -> None:
    content = save(here / "a.png", colour(64, 64)).read_bytes()
    (here / "a.png").write_bytes(content[:100])
    assert poolcli("run", "a.png", "-s", "max:2", "-n").status == 0
    assert poolcli("run", "a.png", "-s", "max:2", "-q").error(1).startswith("a.png: a broken image")


def test_quiet_leaves_warnings_and_errors(poolcli: Run, here: Path) -> None:
    save(here / "d/a.png", np.full((4, 4), 200))
    (here / "d/notes.txt").touch()
    ran = poolcli("run", "d", "missing.png", "-s", "sum:2", "-q")
    assert (ran.status, ran.out) == (1, "")
    assert [line.split(":")[0] for line in ran.err.splitlines()] == [
        "warning",
        "error",
        "1 of 2 inputs failed",
    ]
    assert poolcli("run", "d", "-s", "max:2", "-q") == poolcli(
        "run", "d", "-s", "max:2", "-q", "--force"
    )


@pytest.mark.parametrize(
    ("array", "dtype", "arguments", "said", "expected"),
    [
        ([[200, 100], [100, 100]], "uint8", ["-s", "sum:1x2"], "1 saturated", [[255], [200]]),
        (
            [[0.5, 1.5, 300.0, -1.0, np.nan, 2.0]],
            "float32",
            ["-s", "pick:1", "--dtype", "uint8"],
            "of 6 values 2 rounded, 2 saturated, 1 NaN made 0 to fit uint8",
            [[0, 2, 255, 0, 0, 2]],
        ),
        (
            [[1e6, 1.0]],
            "float64",
            ["-s", "pick:1", "--dtype", "float16"],
            "1 saturated to fit float16",
            [[65504.0, 1.0]],
        ),
        ([[1, 2]], "int64", ["-s", "avg:1x2", "--dtype", "int8"], "1 rounded", [[2]]),
    ],
    ids=["image", "array", "half", "average"],
)
def test_what_a_cast_loses_is_counted(  # noqa: PLR0913, PLR0917 - a parameter per column
    poolcli: Run,
    here: Path,
    array: list[list[float]],
    dtype: str,
    arguments: list[str],
    said: str,
    expected: list[list[float]],
) -> None:
    suffix = ".png" if dtype == "uint8" else ".npy"
    save(here / f"a{suffix}", array, dtype)
    ran = poolcli("run", f"a{suffix}", *arguments, "-q")
    assert ran.status == 0
    (line,) = ran.err.splitlines()
    assert line.startswith(f"warning: a{suffix}: stage 1 (")
    assert said in line
    (path,) = (here / "pooled").iterdir()
    result = np.load(path) if suffix == ".npy" else pixels(path)
    assert result.tolist() == expected


def test_large_counts_are_grouped(poolcli: Run, here: Path) -> None:
    save(here / "a.png", np.full((50, 50), 255))
    ran = poolcli("run", "a.png", "-s", "sum:3,stride=1,pad=1", "-q")
    assert "of 2,500 values 2,500 saturated to fit uint8" in ran.err


def test_a_cast_that_loses_nothing_is_no_news(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    save(here / "b.npy", grey(), "float64")
    assert poolcli("run", "a.png", "-s", "avg:2", "-q") == poolcli(
        "run", "b.npy", "-s", "max:2", "--dtype", "uint8", "-q"
    )


def test_image_results_are_rounded_half_to_even_once(poolcli: Run, here: Path) -> None:
    """Means of 0.5, 1.5, 2.5; and a mean of means, which rounding twice would get wrong."""
    save(here / "a.png", [[0, 1, 1, 2, 2, 3]])
    save(here / "b.png", [[0, 1, 0, 0]])
    assert poolcli("run", "a.png", "-s", "avg:1x2").status == 0
    assert pixels(here / "pooled/a.1-avg1x2.png").tolist() == [[0, 2, 2]]
    save(here / "c.png", [[1, 2, 1, 1]])
    assert poolcli("run", "c.png", "-s", "avg:1x2*2").status == 0
    assert pixels(here / "pooled/c.1-avg1x2.png").tolist() == [[2, 1]]
    assert pixels(here / "pooled/c.2-avg1x2.png").tolist() == [[1]]


@pytest.mark.parametrize(
    ("shape", "other"),
    [
        ((480, 640, 3), "HWC"),
        ((2, 48, 64, 4), "NHWC"),
        ((9, 9, 1), "HWC"),
        ((1, 6, 5, 4, 3), "NDHWC"),
    ],
)
def test_a_layout_that_looks_wrong_is_a_warning_that_names_the_flag(
    poolcli: Run, here: Path, shape: tuple[int, ...], other: str
) -> None:
    np.save(here / "a.npy", np.zeros(shape, np.uint8))
    text = "x".join(map(str, shape))
    for more in ([], ["-n", "--force"]):
        ran = poolcli("run", "a.npy", "-s", "relu", "-q", *more)
        assert ran.status == 0
        assert ran.err.startswith(f"warning: a.npy: {text} is taken as ")
        assert f"say --layout {other}" in ran.err
    said = poolcli("run", "a.npy", "-s", "relu", "-q", "--layout", other, "--force")
    assert (said.status, said.err) == (0, "")


@pytest.mark.parametrize("shape", [(3, 48, 64), (48, 64), (64, 9, 7), (1, 3, 48, 64), (3, 3, 3)])
def test_a_layout_that_looks_right_is_no_warning(
    poolcli: Run, here: Path, shape: tuple[int, ...]
) -> None:
    np.save(here / "a.npy", np.zeros(shape, np.uint8))
    assert poolcli("run", "a.npy", "-s", "relu", "-q").err == ""


def test_an_image_needs_no_word_about_its_layout(poolcli: Run, here: Path) -> None:
    save(here / "a.png", colour())
    assert poolcli("run", "a.png", "-s", "relu", "-q").err == ""


@pytest.mark.parametrize("shape", [(6, 4), (4, 6, 3)])
def test_an_input_that_changes_while_it_is_read(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    save(here / "a.png", grey())
    monkeypatch.setattr(batch, "check_folders", lambda _: save(here / "a.png", np.zeros(shape)))
    assert poolcli("run", "a.png", "-s", "max:2", "-q").error(1) == (
        "a.png: it changed while it was read"
    )
    assert tree(here) == ["a.png"]


def test_too_little_memory_is_said_with_the_need(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object, **__: object) -> NoReturn:
        raise MemoryError

    save(here / "a.png", grey())
    monkeypatch.setattr(engine, "run", out_of_memory)
    assert poolcli("run", "a.png", "-s", "max:2", "-q").error(1) == (
        "a.png: too large for this machine's memory (30 bytes at once)"
    )


def test_a_sum_beyond_64_bits_keeps_what_was_written_before(poolcli: Run, here: Path) -> None:
    save(here / "a.npy", [[2**62, 2**62, 2**62, 2**62]], "int64")
    ran = poolcli("run", "a.npy", "-s", "max:1x2", "-s", "sum:1x2", "-q", "--json")
    assert ran.status == 1
    assert ran.err.startswith("error: a.npy: stage 2 (sum:1x2): ")
    assert json.loads(ran.out)["ok"] is False
    assert tree(here / "pooled") == ["a.1-max1x2.npy"]


@pytest.mark.parametrize("name", ["a.png", "a.npy"])
def test_a_convolution_without_weights_is_refused_before_anything(
    poolcli: Run, here: Path, name: str
) -> None:
    save(here / name, np.zeros((3, 8, 8)) if name.endswith("npy") else grey(8, 8))
    said = poolcli("run", name, "-s", "max:2", "-s", "conv:3,out=4").error(2)
    assert said == "stage 2 (conv:3,out=4): without weights it can only be planned"
    assert tree(here) == [name]


def test_results_of_images_have_the_images_dtype_and_of_arrays_their_own(here: Path) -> None:
    save(here / "a.png", grey())
    save(here / "a.npy", grey())
    of_image, of_array = job_of("avg:2"), job_of("avg:2", name="a.npy")
    assert [of_image.plan.steps[0].dtype, of_array.plan.steps[0].dtype] == ["uint8", "float32"]
    assert job_of("avg:2", dtype="float64").plan.steps[0].dtype == "float64"
    assert [path.name for path in job_of("avg:2", dtype="float64").paths] == ["a.1-avg2x2.npy"]
    assert [path.name for path in job_of("avg:2", dtype="float32").paths] == ["a.1-avg2x2.tiff"]


def test_a_usage_error_is_never_an_outcome(here: Path) -> None:
    save(here / "a.png", grey())
    with pytest.raises(UsageError):
        prepared("max:2", template="{stem:03d}{ext}")


def test_arrays_of_no_elements_are_no_accident(poolcli: Run, here: Path) -> None:
    np.save(here / "a.npy", np.zeros((0, 4, 4), np.float32))
    ran = poolcli("run", "a.npy", "-s", "max:2", "-q")
    assert (ran.status, ran.err) == (0, "")
    assert np.load(here / "pooled/a.1-max2x2.npy").shape == (0, 2, 2)
    for more in (["--format", "png"], ["--sheet", "s.png"]):
        ran = poolcli("run", "a.npy", "-s", "max:2", "-q", "--force", *more)
        assert (ran.status, len(ran.err.splitlines())) in ((0, 0), (1, 1)), ran


def test_inputs_are_never_changed(poolcli: Run, here: Path) -> None:
    contents = {name: save(here / name, colour()).read_bytes() for name in ("a.png", "b.npy")}
    ran = poolcli(
        "run", "a.png", "b.npy", "-s", "relu", "-s", "avg:2", "--force", "--sheet", "{stem}.webp"
    )
    assert ran.status == 0
    assert {name: (here / name).read_bytes() for name in contents} == contents


def test_equal_runs_give_equal_bytes(poolcli: Run, here: Path) -> None:
    save(here / "a.png", colour(32, 32))
    for folder in ("x", "y"):
        ran = poolcli(
            "run", "a.png", "-s", "avg:2", "-s", "max:2", "-o", folder, "--sheet", f"{folder}/s.png"
        )
        assert ran.status == 0
    assert tree(here / "x") == tree(here / "y")
    for name in tree(here / "x"):
        assert (here / "x" / name).read_bytes() == (here / "y" / name).read_bytes()
