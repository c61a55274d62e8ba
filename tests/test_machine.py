from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poolcli.plan import plan
from poolcli.report.machine import plan_facts, step_facts, to_csv, to_json
from tests.conftest import Run, colour, grey, save

STAGE_KEYS = [
    "index", "spec", "kernel", "stride", "padding", "dilation", "shape", "dtype",
    "receptive_field", "jump", "center", "elements", "bytes", "params", "macs", "comparisons",
    "additions",
]  # fmt: skip

CONTRACT = """{"input": {"shape": [3, 224, 224], "layout": "CHW", "dtype": "float32"},
 "stages": [{"index": 1, "spec": "max:2x2,stride=2x2", "kernel": [2, 2], "stride": [2, 2], "padding": [[0, 0], [0, 0]], "dilation": [1, 1],
             "shape": [3, 112, 112], "dtype": "float32", "receptive_field": [2, 2], "jump": [2, 2], "center": [0.5, 0.5],
             "elements": 37632, "bytes": 150528, "params": 0, "macs": 0, "comparisons": 112896, "additions": 0}],
 "total": {"reduction": 4.0, "params": 0, "macs": 0, "comparisons": 112896, "additions": 0, "peak_bytes": 752640}}"""  # noqa: E501 - as the contract has it


def test_the_contracts_own_example_letter_for_letter(poolcli: Run) -> None:
    ran = poolcli("shape", "3x224x224", "-s", "max:2", "--json")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == " ".join(line.strip() for line in CONTRACT.splitlines()) + "\n"


@pytest.mark.parametrize(
    ("shape", "spec", "expected"),
    [
        (
            (8, 8),
            "relu",
            {"kernel": None, "stride": None, "padding": None, "dilation": None, "jump": [1, 1]},
        ),
        (
            (5, 7),
            "max,out=2",
            {"kernel": [3, 4], "stride": None, "receptive_field": [3, 4], "jump": None},
        ),
        (
            (2, 5, 7),
            "avg:global",
            {"kernel": [5, 7], "receptive_field": [5, 7], "center": [2.0, 3.0], "additions": 68},
        ),
        (
            (6, 4, 4),
            "max:2,over=channels",
            {"kernel": [2], "stride": [2], "shape": [3, 4, 4], "receptive_field": [1, 1]},
        ),
        (
            (1, 9, 9),
            "max:3,stride=2,pad=1x0-1,dilation=2x1",
            {"padding": [[1, 1], [0, 1]], "dilation": [2, 1], "center": [1.0, 1.0], "jump": [2, 2]},
        ),
        (
            (3, 8, 8),
            "conv:3,pad=1,out=4,bias",
            {"params": 112, "macs": 6912, "comparisons": 0, "center": [0.0, 0.0]},
        ),
    ],
    ids=["relu", "adaptive", "global", "channels", "padded", "convolution"],
)
def test_every_stage_has_every_key_null_where_it_does_not_apply(
    poolcli: Run, shape: tuple[int, ...], spec: str, expected: dict[str, Any]
) -> None:
    ran = poolcli("shape", "x".join(map(str, shape)), "-s", spec, "--json")
    found = json.loads(ran.out)
    assert list(found) == ["input", "stages", "total"]
    (stage,) = found["stages"]
    assert list(stage) == STAGE_KEYS
    assert {key: stage[key] for key in expected} == expected


def test_what_has_no_number_is_null() -> None:
    assert to_json({"a": float("nan"), "b": [float("inf")], "c": {"d": (1.5, None)}}) == (
        '{"a": null, "b": [null], "c": {"d": [1.5, null]}}'
    )
    assert plan_facts(plan((0, 4, 4), "max:2"))["total"]["reduction"] is None


def test_csv_says_what_json_says(poolcli: Run) -> None:
    words = (
        "shape",
        "3x32x30",
        "-s",
        "max:3,stride=2,pad=0-1x1",
        "-s",
        "relu",
        "-s",
        "avg,out=3x2",
    )
    as_csv, as_json = poolcli(*words, "--csv"), json.loads(poolcli(*words, "--json").out)
    assert "\r" not in as_csv.out
    rows = list(csv.DictReader(io.StringIO(as_csv.out)))
    assert list(rows[0]) == STAGE_KEYS
    for row, stage in zip(rows, as_json["stages"], strict=True):
        for key, value in stage.items():
            if isinstance(value, list):
                parts = [
                    "-".join(map(str, one)) if isinstance(one, list) else str(one) for one in value
                ]
                assert row[key] == "x".join(parts)
            else:
                assert row[key] == ("" if value is None else str(value))
    assert rows[0]["padding"] == "0-1x1-1"
    assert rows[1]["kernel"] == ""


def test_a_spec_with_commas_is_one_csv_cell() -> None:
    text = to_csv(plan((4, 4), "max:2,ceil"))
    assert '1,"max:2x2,stride=2x2,ceil",2x2,2x2,0-0x0-0,1x1,2x2,' in text


def test_facts_are_plain_numbers() -> None:
    facts = step_facts(plan((8, 8), "max:2").steps[0])
    assert json.loads(to_json(facts))["kernel"] == [2, 2]
    assert type(facts["elements"]) is int


def test_run_prints_a_line_per_input_in_input_order(poolcli: Run, here: Path) -> None:
    save(here / "truck.png", np.zeros((480, 640, 3)))
    (here / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    save(here / "z.npy", np.zeros((2, 6, 6)), ">f8")
    ran = poolcli(
        "run",
        "z.npy",
        "broken.png",
        "truck.png",
        "missing.png",
        "-s",
        "max:2",
        "-s",
        "relu",
        "--json",
    )
    assert ran.status == 1
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["input"] for line in lines] == ["z.npy", "broken.png", "truck.png", "missing.png"]
    assert [line["ok"] for line in lines] == [True, False, True, False]
    assert [list(line) for line in lines] == [
        ["input", "ok", "shape", "layout", "dtype", "stages"],
        ["input", "ok", "error"],
    ] * 2
    assert lines[3] == {"input": "missing.png", "ok": False, "error": "no such file"}
    assert (lines[0]["layout"], lines[0]["dtype"]) == ("CHW", "float64")
    truck = lines[2]
    assert (truck["shape"], truck["layout"], truck["dtype"]) == ([480, 640, 3], "HWC", "uint8")
    assert [list(stage) for stage in truck["stages"]] == [[*STAGE_KEYS, "output"]] * 2
    assert truck["stages"][0] | {"output": ""} == {
        "index": 1, "spec": "max:2x2,stride=2x2", "kernel": [2, 2], "stride": [2, 2],
        "padding": [[0, 0], [0, 0]], "dilation": [1, 1], "shape": [240, 320, 3], "dtype": "uint8",
        "receptive_field": [2, 2], "jump": [2, 2], "center": [0.5, 0.5], "elements": 230400,
        "bytes": 230400, "params": 0, "macs": 0, "comparisons": 691200, "additions": 0,
        "output": "",
    }  # fmt: skip
    assert [stage["output"] for stage in truck["stages"]] == [
        "pooled/truck.1-max2x2.png",
        "pooled/truck.2-relu.png",
    ]
    assert all((here / stage["output"]).is_file() for stage in truck["stages"])


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--save", "last"], [None, "pooled/a.2-max2x2.png"]),
        (["--save", "none"], [None, None]),
        (["-n"], ["pooled/a.1-max2x2.png", "pooled/a.2-max2x2.png"]),
        (["-q", "-o", "o"], ["o/a.1-max2x2.png", "o/a.2-max2x2.png"]),
    ],
)
def test_outputs_are_null_where_not_saved(
    poolcli: Run, here: Path, more: list[str], expected: list[str | None]
) -> None:
    save(here / "a.png", grey())
    ran = poolcli("run", "a.png", "-s", "max:2", "-s", "max:2", "--json", *more)
    assert [stage["output"] for stage in json.loads(ran.out)["stages"]] == expected


def test_names_of_any_bytes_come_through_json(poolcli: Run, here: Path) -> None:
    for name in (
        "a[b]\n.png",
        "ä.png",
        'q"uote.png',
        b"\xff.png".decode("utf-8", "surrogateescape"),
    ):
        save(here / "x.png", colour()).rename(here / name)
        ran = poolcli("run", name, "-s", "max:2", "--json")
        assert ran.data.isascii()
        (line,) = ran.out.splitlines()
        found = json.loads(line)
        assert found["input"] == name
        assert (here / found["stages"][0]["output"]).is_file()


def test_standard_output_holds_nothing_but_json(process: Run, here: Path) -> None:
    save(here / "a.png", np.full((4, 4), 200))
    save(here / "d/b.npy", np.zeros((9, 9, 3)))
    (here / "d/notes.txt").touch()
    ran = process("run", "a.png", "d", "nothing", "-s", "sum:2", "--sheet", "{stem}.jpg", "--json")
    assert [json.loads(line)["ok"] for line in ran.out.splitlines()] == [True, True, False]
    for said in (
        "warning: a.png",
        "warning: d/b.npy",
        "wrote a.jpg",
        "passed over",
        "error: nothing",
    ):
        assert said in ran.err
