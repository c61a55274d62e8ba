from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcli.plan import plan
from poolcli.report import words


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (1024, "1 KiB"),
        (150_528, "147 KiB"),
        (752_640, "735 KiB"),
        (1 << 20, "1 MiB"),
        (5 << 30, "5 GiB"),
        (3 << 40, "3 TiB"),
    ],
)
def test_memory(count: int, expected: str) -> None:
    assert words.memory(count) == expected


@pytest.mark.parametrize("unit", ["KiB", "MiB", "GiB"])
def test_memory_never_needs_an_exponent(unit: str) -> None:
    size = 1024 ** (1 + ["KiB", "MiB", "GiB"].index(unit))
    for count in range(998 * size, 1001 * size, size // 8):
        assert "e" not in words.memory(count)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0"),
        (750, "750"),
        (999, "999"),
        (1000, "1 k"),
        (112_896, "113 k"),
        (999_499, "999 k"),
        (999_500, "1 M"),
        (15_346_630_656, "15.3 G"),
        (2 * 10**12, "2 T"),
        (3 * 10**15, "3 P"),
    ],
)
def test_thousands(count: int, expected: str) -> None:
    assert words.thousands(count) == expected


@given(st.integers(0, 10**17))
def test_thousands_keep_three_digits(count: int) -> None:
    number, _, unit = words.thousands(count).partition(" ")
    scale = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}[unit]
    assert float(number) * scale == pytest.approx(count, rel=0.006)
    assert "e" not in number
    assert float(number) < 1000


def test_shapes() -> None:
    assert words.shape((3, 224, 224)) == "3×224×224"
    assert words.shape((7,)) == "7"
    assert words.shape(None) == "-"


def test_costs_are_written_where_there_are_any() -> None:
    conv, relu, most, mean = plan((3, 8, 8), "conv:3,out=4", "relu", "max:2", "avg:global").steps
    assert [words.operations(step.costs) for step in (conv, relu, most, mean)] == [
        "3.89 k MAC",
        "",
        "108 cmp",
        "32 add",
    ]


@pytest.mark.parametrize(
    ("shape", "specs", "expected"),
    [
        ((3, 224, 224), ["max:2"], "4× fewer elements, 113 k cmp, peak 735 KiB"),
        ((1, 3), ["max:1x2"], "3× fewer elements, 1 cmp, peak 16 B"),
        (
            (1, 8, 8),
            ["conv:3,out=2,bias"],
            "1.12× more elements, 20 parameters, 648 MAC, peak 544 B",
        ),
        ((64, 224, 224), ["max:global"], "50,176× fewer elements, 3.21 M cmp, peak 12.3 MiB"),
        ((0, 4, 4), ["max:2"], "no elements, peak 0 B"),
    ],
)
def test_totals(shape: tuple[int, ...], specs: list[str], expected: str) -> None:
    assert words.total(plan(shape, *specs)) == expected


def test_rows_say_the_input_first() -> None:
    first, second = words.rows(plan((4, 4), "max:2,pad=1x0-1", dtype="uint8"))
    assert first["stage"] == "input (HW uint8)"
    assert (first["output shape"], first["elements"], first["memory"]) == ("4×4", "16", "16 B")
    assert second["padding"] == "1×0-1"
    assert tuple(first) == tuple(second) == words.COLUMNS


def test_what_does_not_apply_is_a_dash_or_nothing() -> None:
    _, row, adaptive = words.rows(plan((5, 5), "relu", "max,out=2"))
    assert (row["kernel"], row["stride"], row["padding"], row["operations"]) == ("-", "-", "", "")
    assert (adaptive["stride"], adaptive["jump"]) == ("-", "-")


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("max:2x2,stride=2x2", 40, ["max:2x2,stride=2x2"]),
        ("max:2x2,stride=2x2", 12, ["max:2x2,", "stride=2x2"]),
        ("a,b,c,d", 4, ["a,b,", "c,d"]),
        ("longer-than-that,b", 3, ["longer-than-that,", "b"]),
    ],
)
def test_specs_are_broken_at_commas(text: str, width: int, expected: list[str]) -> None:
    assert words.broken_at_commas(text, width).split("\n") == expected


@given(st.text("ab=,x", max_size=30), st.integers(1, 20))
def test_a_broken_spec_loses_nothing(text: str, width: int) -> None:
    lines = words.broken_at_commas(text, width).split("\n")
    assert "".join(lines) == text
    assert all(len(line) <= width or line.count(",") <= 1 for line in lines)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a[b].png", "a[b].png"),
        ("[red]a[/red]", "[red]a[/red]"),
        ("a\nb", "a\\nb"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("ä 画.png", "ä 画.png"),
        ("a\udcffb", "a\\udcffb"),
        ("a\u202eb", "a\\u202eb"),
    ],
)
def test_names_are_shown_on_one_line(name: str, expected: str) -> None:
    assert words.printable(name) == expected


@given(st.text())
def test_no_name_breaks_a_line_or_reaches_the_terminal(name: str) -> None:
    shown = words.printable(name)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode()


def test_markdown_is_documentation() -> None:
    assert words.to_markdown(plan((3, 8, 8), "max:2", "relu")) == (
        "| # | stage | kernel | stride | padding | output shape | receptive field | jump "
        "| elements | memory | operations |\n"
        "| --: | --- | --- | --- | --- | --- | --- | --- | --: | --: | --: |\n"
        "|  | input (CHW float32) |  |  |  | 3×8×8 |  |  | 192 | 768 B |  |\n"
        "| 1 | max:2x2,stride=2x2 | 2×2 | 2×2 | 0×0 | 3×4×4 | 2×2 | 2×2 | 48 | 192 B | 144 cmp |\n"
        "| 2 | relu | - | - |  | 3×4×4 | 2×2 | 2×2 | 48 | 192 B |  |\n"
    )
