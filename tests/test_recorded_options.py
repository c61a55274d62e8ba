"""Every option of ``run``: what it changes of a result, and that --resume notices."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from poolcli import batch
from poolcli.batch.earlier import making
from poolcli.cli.run import command
from poolcli.files.formats import Encoding
from poolcli.stages import Chain
from tests import deep_files
from tests.conftest import Run, colour, grey, save
from tests.faults import contents

CHAIN: Final = "the chain"
BYTES: Final = "an option of the record"
NAME: Final = "the results' names, by which the record knows them"
INPUTS: Final = "which inputs there are"
NOTHING: Final = "nothing of any result"

OPTIONS: Final = {
    "inputs": INPUTS, "recursive": INPUTS, "globs": INPUTS, "list_name": INPUTS, "null": INPUTS,
    "shard": INPUTS,
    "specs": CHAIN, "recipe_file": CHAIN, "preset": CHAIN,
    "layout": BYTES, "file_format": BYTES, "dtype": BYTES, "linear": BYTES, "premultiply": BYTES,
    "png_level": BYTES, "quality": BYTES,
    # A template that ends in a format's suffix is noted as the format.
    "template": NAME, "save": NAME, "sheet": NAME, "output": NAME,
    # Refused, or the same: in parts as whole, many at once as one by one.
    "max_pixels": NOTHING, "memory": NOTHING, "jobs": NOTHING, "force": NOTHING,
    "resume": NOTHING, "fail_fast": NOTHING, "dry_run": NOTHING, "as_json": NOTHING,
    "quiet": NOTHING, "debug": NOTHING,
}  # fmt: skip
"""What each parameter of the command changes."""

NOTED: Final = {
    "layout": "NCHW", "format": "npy", "dtype": "float32", "linear": True, "premultiply": True,
    "png-level": 9, "quality": 10,
}  # fmt: skip
"""Options in the record, and a value of each that is not the default."""

FIELDS: Final = {
    "layout": BYTES, "format": BYTES, "dtype": BYTES, "linear": BYTES, "premultiply": BYTES,
    "encoding": BYTES,
    "template": NAME, "save": NAME, "sheet": NAME, "output": NAME,
    "force": NOTHING, "max_pixels": NOTHING, "memory": NOTHING, "jobs": NOTHING, "debug": NOTHING,
    "fail_fast": NOTHING,
}  # fmt: skip
"""The same of what a run is asked for in Python."""


def test_every_option_of_the_command_has_its_place() -> None:
    """A new one is put into the table, and where it changes bytes, into the record."""
    assert {parameter.name for parameter in command.params} - {"help"} == set(OPTIONS)
    assert {field.name for field in dataclasses.fields(batch.Options)} == set(FIELDS)
    of_command = [name for name, changed in OPTIONS.items() if changed == BYTES]
    noted = {name.removeprefix("file_").replace("_", "-") for name in of_command}
    assert noted == set(NOTED) == set(making(Chain.parse("max:2"), batch.Options())["options"])


@pytest.mark.parametrize("name", NOTED)
def test_every_option_that_changes_bytes_changes_the_record(name: str) -> None:
    value, plain = NOTED[name], batch.Options()
    if name in ("png-level", "quality"):
        asked = dataclasses.replace(plain, encoding=Encoding(**{name.replace("-", "_"): value}))  # type: ignore[arg-type] # a number
    else:
        asked = dataclasses.replace(plain, **{name: value})  # type: ignore[arg-type] # of its type
    chain = Chain.parse("max:2")
    assert making(chain, plain)["options"][name] != making(chain, asked)["options"][name] == value


def make(here: Path) -> None:
    save(here / "d/grey.png", grey(16, 18))
    save(here / "d/alpha.png", colour(16, 18, 4))
    save(here / "d/deep.png", grey(16, 18).astype(np.uint16) * 255, "uint16")
    save(here / "d/x.npy", np.random.default_rng(1).random((3, 16, 18)), "float32")
    save(here / "d/e/y.npy", grey(16, 18))
    save(here / "d/photo.jpg", colour(16, 18))
    # Its results are arrays either way, but as a picture's they are rounded.
    (here / "d/deeper.png").write_bytes(deep_files.png(colour(16, 18).astype(np.uint16) * 257))


WAYS: Final = [
    ["--format", "npy"], ["--format", "tiff"], ["--format", "same"], ["--format", "webp"],
    ["--name", "{stem}.{index}-{label}.npy"], ["--name", "{stem}/{index}{ext}"],
    ["--dtype", "float64"], ["--layout", "HW"], ["--linear"], ["--premultiply"],
    ["--png-level", "0"], ["--quality", "5"], ["--format", "same", "--quality", "5"],
    ["--save", "last"], ["--save", "none"], ["--sheet", "{out}/sheets/{stem}.png"],
    ["--sheet", "{out}/sheets/{stem}.jpg", "--quality", "5"],
    ["--memory", "700KB"], ["-j", "2"], ["--max-pixels", "300"],
]  # fmt: skip
SHEETS: Final = ["--save", "none", "--sheet", "{out}/sheets/{stem}.png"]
SHEETS_ONLY: Final = [
    ["--format", "npy"], ["--dtype", "float64"], ["--linear"], ["--png-level", "0"],
    ["--name", "{stem}.npy"], ["--save", "all"],
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "way"),
    [
        *(([], way) for way in WAYS),
        *((way, list[str]()) for way in WAYS),
        *((SHEETS, [*SHEETS, *way]) for way in SHEETS_ONLY),
        *(([*SHEETS, *way], SHEETS) for way in SHEETS_ONLY),
    ],
    ids=lambda words: " ".join(words) or "plain",
)
def test_resume_ends_as_an_undisturbed_run(
    poolcli: Run, here: Path, before: list[str], way: list[str]
) -> None:
    """Whatever an earlier run in this folder was asked for."""
    make(here)

    def run(out: str, words: list[str], *more: str) -> int:
        told = [word.replace("{out}", out) for word in words]
        chain = ("-s", "avg:2", "-s", "max:2")
        return poolcli("run", "d", "-r", *chain, "-q", "-o", out, *told, *more).status

    fresh = run("fresh", way)
    assert run("out", before) in (0, 1)
    assert run("out", way, "--resume") == fresh
    made = contents(here / "out")
    expected = contents(here / "fresh")
    assert bool(expected) == (way != ["--save", "none"])
    assert {name: made.get(name) for name in expected} == expected
