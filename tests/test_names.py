from __future__ import annotations

import os
from pathlib import Path

import pytest

from poolcli.errors import UsageError
from poolcli.files import names
from poolcli.plan import plan
from tests.conftest import Run, grey, save, tree

STEP = plan((9, 9), "relu", "avg:3x2").steps[1]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (names.DEFAULT_TEMPLATE, "truck.2-avg3x2.png"),
        ("{name}-{index}{ext}", "truck.jpeg-2.png"),
        ("{op}/{label}/{stem}{ext}", "avg/avg3x2/truck.png"),
        ("{index:03d}{ext}", "002.png"),
        ("{stem:.3}{ext}", "tru.png"),
        ("{stem:_>8}{ext}", "___truck.png"),
        ("{stem:s}{ext}", "truck.png"),
        ("{{{stem}}}{ext}", "{truck}.png"),
        ("plain{ext}", "plain.png"),
    ],
)
def test_templates_are_filled_in(template: str, expected: str) -> None:
    names.check_template(template, None)
    assert names.result_name(template, "truck.jpeg", STEP, ".png") == expected


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [("a.png", "a"), ("a.tar.gz", "a.tar"), (".png", ".png"), ("a", "a"), ("a.b.", "a.b.")],
)
def test_stems(file_name: str, expected: str) -> None:
    assert names.stem(file_name) == expected


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{steam}{ext}", "{steam} in the template"),
        ("{}{ext}", "known are {stem}, {name}, {index}, {label}, {op}, {ext}"),
        ("{0}{ext}", "{0}"),
        ("{stem!r}{ext}", "{stem}"),
        ("{stem.__class__}{ext}", "__class__"),
        ("{stem[0]}{ext}", "stem"),
        ("{stem{ext}", "template"),
        ("stem}{ext}", "template"),
        ("{index:q}{ext}", "template"),
        ("{index:{stem}}{ext}", "template"),
        ("../{stem}{ext}", "inside the output folder"),
        ("a/../../{stem}{ext}", "inside the output folder"),
        ("/tmp/{stem}{ext}", "inside the output folder"),  # noqa: S108 - refused
        ("..", "inside the output folder"),
        ("", "inside the output folder"),
        ("a{ext}/", "inside the output folder"),
        ("{stem}", "end it in {ext} or one of .png .npy .tiff .webp .jpg"),
        ("{stem}.gif", "end it in {ext}"),
        ("{stem}{ext}.bak", "end it in {ext}"),
    ],
)
def test_templates_that_are_refused(poolcli: Run, here: Path, template: str, said: str) -> None:
    save(here / "a.png", grey())
    message = (
        poolcli("run", "a.png", "-s", "max:2", "--name", template).error(2) if template else ""
    )
    assert said in message or not template
    with pytest.raises(UsageError):
        names.check_template(template, None)
    assert tree(here) == ["a.png"]


@pytest.mark.parametrize(
    ("template", "asked", "expected"),
    [
        ("{stem}{ext}", None, None),
        ("{stem}{ext}", "jpg", "jpg"),
        ("{stem}.{ext}", None, None),
        ("{stem}.npy", None, "npy"),
        ("{stem}.TIF", None, "tiff"),
        ("{stem}.jpeg", "jpg", "jpg"),
    ],
)
def test_a_templates_suffix_asks_for_a_format(
    template: str, asked: str | None, expected: str | None
) -> None:
    assert names.check_template(template, asked) == expected


def test_a_suffix_that_contradicts_the_format_is_refused(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    said = poolcli("run", "a.png", "-s", "max:2", "--name", "x.png", "--format", "npy").error(2)
    assert said == "template x.png: its suffix contradicts --format npy"


def test_results_in_folders_of_their_own(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    ran = poolcli(
        "run", "a.png", "-s", "max:2*2", "--name", "{stem}/{index:02d}-{op}{ext}", "-o", "o"
    )
    assert ran.status == 0
    assert tree(here / "o") == ["a", "a/01-max.png", "a/02-max.png"]


def test_a_name_made_of_dots_does_not_lead_out(poolcli: Run, here: Path) -> None:
    save(here / "x.png", grey()).rename(here / "...png")
    said = poolcli("run", "...png", "-s", "max:2", "--name", "{stem}/y{ext}").error(2)
    assert "lies outside the output folder" in said
    assert tree(here) == ["...png"]


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_links_do_not_lead_out_of_the_output_folder(
    poolcli: Run, here: Path, force: list[str]
) -> None:
    save(here / "a.png", grey())
    (here / "elsewhere").mkdir()
    (here / "pooled").mkdir()
    (here / "pooled/a").symlink_to(here / "elsewhere")
    (here / "pooled/a.1-max2x2.png").symlink_to(here / "elsewhere/x.png")
    for template in ("{stem}/x{ext}", names.DEFAULT_TEMPLATE):
        said = poolcli("run", "a.png", "-s", "max:2", "--name", template, *force).error(2)
        assert "lies outside the output folder" in said
    assert tree(here / "elsewhere") == []


def test_the_output_folder_itself_may_be_a_link(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    (here / "elsewhere").mkdir()
    (here / "pooled").symlink_to(here / "elsewhere")
    assert poolcli("run", "a.png", "-s", "max:2").status == 0
    assert tree(here / "elsewhere") == ["a.1-max2x2.png"]


def test_two_inputs_with_one_output_name(poolcli: Run, here: Path) -> None:
    save(here / "a/x.png", grey())
    save(here / "b/x.png", grey())
    before = tree(here)
    for words in (("a/x.png", "b/x.png"), ("a", "b")):
        said = poolcli("run", *words, "-s", "max:2", "--force").error(2)
        assert said == (
            "pooled/x.1-max2x2.png is the result of a/x.png and b/x.png: tell them apart by --name"
        )
    assert tree(here) == before


def test_two_stages_with_one_output_name(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    said = poolcli("run", "a.png", "-s", "max:2*2", "--name", "{stem}{ext}").error(2)
    assert said == "pooled/a.png is the result of stages of a.png: tell them apart by --name"
    assert (
        poolcli("run", "a.png", "-s", "max:2*2", "--name", "{stem}{ext}", "--save", "last").status
        == 0
    )


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_an_output_that_is_an_input(poolcli: Run, here: Path, force: list[str]) -> None:
    content = save(here / "a.png", grey()).read_bytes()
    save(here / "b.png", grey())
    (here / "link").symlink_to(here)
    for folder in (".", "link", here):
        said = poolcli(
            "run", "b.png", "a.png", "-s", "max:2", "-o", folder, "--name", "{name}", *force
        )
        assert "end it in {ext}" in said.error(2)
        said = poolcli(
            "run", "b.png", "a.png", "-s", "max:2", "-o", folder, "--name", "{stem}{ext}", *force
        )
        assert "b.png is an input: choose another --output or --name" in said.error(2)
    assert (here / "a.png").read_bytes() == content


def test_an_input_that_cannot_be_planned_is_still_no_output(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    (here / "a.1-max2x2.png").write_bytes(b"not an image")
    ran = poolcli("run", "a.png", "a.1-max2x2.png", "-s", "max:2", "-o", ".", "--force")
    assert ran.status == 2
    assert "is an input" in ran.err
    assert (here / "a.1-max2x2.png").read_bytes() == b"not an image"


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_a_result_that_exists(poolcli: Run, here: Path, kind: str) -> None:
    save(here / "a.png", grey())
    place = here / "pooled/a.2-max2x2.png"
    place.parent.mkdir()
    if kind == "file":
        place.write_bytes(b"mine")
    else:
        place.symlink_to(place.parent / "target")
        if kind == "link":
            place.write_bytes(b"mine")
    before = tree(here)
    said = poolcli("run", "a.png", "-s", "max:2*2").error(2)
    assert said.startswith("pooled/a.2-max2x2.png exists: give --force to replace it, --resume ")
    assert tree(here) == before
    assert place.is_symlink() == (kind != "file")
    if kind != "dangling link":
        assert place.read_bytes() == b"mine"
    assert poolcli("run", "a.png", "-s", "max:2*2", "--force").status == 0
    assert place.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_result_that_is_a_folder(poolcli: Run, here: Path, force: list[str]) -> None:
    save(here / "a.png", grey())
    (here / "pooled/a.1-max2x2.png").mkdir(parents=True)
    said = poolcli("run", "a.png", "-s", "max:2", *force).error(2)
    assert said.startswith("pooled/a.1-max2x2.png ")


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_an_output_folder_that_is_a_file(poolcli: Run, here: Path, folder: str) -> None:
    save(here / "a.png", grey())
    (here / "file").write_bytes(b"mine")
    for more in ([], ["-n"]):
        said = poolcli("run", "a.png", "-s", "max:2", "-o", folder, *more).error(2)
        assert said == f"the output folder {folder} can't be made: file is not a folder"
    assert (here / "file").read_bytes() == b"mine"


def test_an_output_folder_without_permission(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(here / "a.png", grey())
    monkeypatch.setattr(os, "access", lambda *_: False)
    said = poolcli("run", "a.png", "-s", "max:2").error(2)
    assert said == "the output folder pooled can't be written: no permission in ."
    assert tree(here) == ["a.png"]


def test_a_name_too_long_for_the_disk_is_refused_before_anything_is_written(
    poolcli: Run, here: Path
) -> None:
    save(here / "a.png", grey())
    said = poolcli("run", "a.png", "-s", "max:2", "--name", "{index:0300d}{ext}").error(2)
    assert "0001.png" in said
    said = poolcli("run", "a.png", "-s", "max:2", "--name", "{index:9999999}{ext}").error(2)
    assert said.endswith("index:9999999 is longer than a name can be")
    assert not list(here.rglob("0*"))


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("sheet", "end it in .png, .jpg, .webp or .tiff"),
        ("sheet.npy", "end it in .png, .jpg, .webp or .tiff"),
        ("sheet.gif", "end it in .png, .jpg, .webp or .tiff"),
        ("sheet.png", "several inputs need {stem} in it"),
        ("{index}.png", "known are {stem}, {name}"),
    ],
)
def test_sheets_that_are_refused(poolcli: Run, here: Path, template: str, said: str) -> None:
    save(here / "a.png", grey())
    save(here / "b.png", grey())
    assert said in poolcli("run", "a.png", "b.png", "-s", "max:2", "--sheet", template).error(2)
    assert tree(here) == ["a.png", "b.png"]


def test_a_sheet_is_no_input_no_result_and_replaces_nothing(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    (here / "s.png").write_bytes(b"mine")
    assert "s.png exists" in poolcli("run", "a.png", "-s", "max:2", "--sheet", "s.png").error(2)
    for place in ("a.png", "pooled/a.1-max2x2.png"):
        ran = poolcli("run", "a.png", "-s", "max:2", "--sheet", place, "--force")
        assert ran.error(2).startswith(place)
    assert tree(here) == ["a.png", "s.png"]


def test_a_name_made_of_dots_does_not_lead_out_of_the_sheets_folder(
    poolcli: Run, here: Path
) -> None:
    save(here / "x.png", grey()).rename(here / "...png")
    (here / "below").mkdir()
    for folder in ("sheets", "below/../sheets"):
        sheet = f"{folder}/{{stem}}/s.png"
        said = poolcli("run", "...png", "-s", "max:2", "--sheet", sheet).error(2)
        assert said == f"{folder}/../s.png lies outside the folder of --sheet {sheet}"
    assert tree(here) == ["...png", "below"]
    sheet = "below/../sheets/{stem}.png"
    assert poolcli("run", "...png", "-s", "max:2", "--sheet", sheet).status == 0
    assert (here / "sheets/...png").exists()


def test_sheets_of_several_inputs(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    save(here / "b.png", grey())
    ran = poolcli("run", "a.png", "b.png", "-s", "max:2", "--sheet", "sheets/{stem}.webp")
    assert ran.status == 0
    assert tree(here / "sheets") == ["a.webp", "b.webp"]
    assert "wrote sheets/a.webp\n" in ran.err
    ran = poolcli("run", "a.png", "b.png", "-s", "max:2", "--force", "--sheet", "sheets/{name}.png")
    assert ran.status == 0
    assert tree(here / "sheets") == ["a.png.png", "a.webp", "b.png.png", "b.webp"]


def test_no_result_replaces_the_weights(poolcli: Run, here: Path) -> None:
    save(here / "a.npy", [[[1.0]]], "float32")
    weights = save(here / "w.npy", [[[[2.0]]]], "float32").read_bytes()
    said = poolcli("run", "a.npy", "-s", "conv,weights=w.npy", "-o", ".", "--name", "w{ext}",
                   "--force").error(2)  # fmt: skip
    assert "w.npy is an input" in said
    assert (here / "w.npy").read_bytes() == weights
