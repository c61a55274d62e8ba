"""Names that a disk takes for one: two results never share a file, and no input is a result."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest

from poolcli.files import alike
from poolcli.files.alike import Likeness
from poolcli.files.folders import Folders
from tests.conftest import Run, grey, save, tree

COMPOSED, PARTED = (
    normalize(form, "caf\N{LATIN SMALL LETTER E WITH ACUTE}") for form in ("NFC", "NFD")
)


def without_case(name: str) -> str:
    return name.casefold()


def without_form(name: str) -> str:
    return normalize("NFC", name)


def without_both(name: str) -> str:
    return normalize("NFC", normalize("NFC", name).casefold())


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], str]], None]:
    """Let names in open folders be looked up as another kind of disk does."""

    def behave(key: Callable[[str], str]) -> None:
        true_stat = os.stat

        def stat(path: Any, *, dir_fd: int | None = None, **more: Any) -> os.stat_result:
            if dir_fd is not None and isinstance(path, str):
                listed = os.open(".", os.O_RDONLY, dir_fd=dir_fd)
                names = os.listdir(listed)  # noqa: PTH208 - of an open folder
                os.close(listed)
                path = next((name for name in names if key(name) == key(path)), path)
            return true_stat(path, dir_fd=dir_fd, **more)

        monkeypatch.setattr(os, "stat", stat)

    return behave


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (str, Likeness(any_case=False, any_form=False)),
        (without_case, Likeness(any_case=True, any_form=False)),
        (without_form, Likeness(any_case=False, any_form=True)),
        (without_both, Likeness(any_case=True, any_form=True)),
    ],
)
def test_a_folder_is_asked_by_a_file_that_does_not_stay(
    tmp_path: Path, disk: Any, key: Callable[[str], str], expected: Likeness
) -> None:
    disk(key)
    assert alike.likeness_of(str(tmp_path), Folders()) == expected
    assert tree(tmp_path) == []


@pytest.mark.parametrize("more", [[], ["--force"], ["--resume"]], ids=" ".join)
@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        (without_case, "A.npy", "a.npy"),
        (without_case, "stra\N{LATIN SMALL LETTER SHARP S}e.npy", "STRASSE.npy"),
        (without_form, f"{COMPOSED}.npy", f"{PARTED}.npy"),
        (without_both, f"{COMPOSED.upper()}.npy", f"{PARTED}.npy"),
        (without_case, "D/a.npy", "D/A.npy"),
    ],
)
def test_two_inputs_that_would_share_a_result_are_refused(  # noqa: PLR0913, PLR0917 - what varies
    poolcli: Run, here: Path, disk: Any, key: Any, one: str, other: str, more: list[str]
) -> None:
    save(here / f"in/{one}", grey())
    save(here / f"in/{other}", grey())
    disk(key)
    ran = poolcli("run", "in", "-r", "-s", "max:2", "-q", *more)
    said = ran.error(2)
    assert f"in/{one}" in said
    assert f"in/{other}" in said
    assert "are one name in this folder: rename an input" in said
    assert not [name for name in tree(here / "pooled") if name.endswith(".npy")]


def test_inputs_that_differ_more_are_not_refused(poolcli: Run, here: Path, disk: Any) -> None:
    for name in ("A.npy", "b.npy", "a.png", "D/a.npy"):
        save(here / f"in/{name}", grey())
    disk(without_both)
    assert poolcli("run", "in", "-r", "-s", "max:2", "-q").status == 0
    assert len([name for name in tree(here / "pooled") if "max" in name]) == 4


def test_a_disk_that_tells_names_apart_refuses_none(poolcli: Run, here: Path) -> None:
    for name in ("A.npy", "a.npy", f"{COMPOSED}.npy", f"{PARTED}.npy"):
        save(here / f"in/{name}", grey())
    assert poolcli("run", "in", "-s", "max:2", "-q").status == 0
    assert len(tree(here / "pooled")) == 4


def test_no_file_is_made_where_no_names_are_alike(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(alike, "likeness_of", lambda *_: asked.append(1))
    for name in ("a.npy", "b.npy"):
        save(here / f"in/{name}", grey())
    assert poolcli("run", "in", "-s", "max:2", "-q").status == 0
    assert asked == []


def test_a_result_that_would_be_an_input_is_refused(poolcli: Run, here: Path, disk: Any) -> None:
    """On such a disk the input itself would be replaced."""
    before = save(here / "in/A.1-max2x2.npy", grey()).read_bytes()
    save(here / "in/a.npy", grey())
    disk(without_case)
    said = poolcli("run", "in", "-s", "max:2", "-q", "-o", "in", "--force").error(2)
    # The output folder is left out of the inputs when it is searched.
    assert "no input" in said or "is the input" in said
    command = ("run", "in/A.1-max2x2.npy", "in/a.npy", "-s", "max:2", "-q", "-o", "in")
    said = poolcli(*command, "--force").error(2)
    assert said.startswith(f"{here}/in/a.1-max2x2.npy is the input {here}/in/A.1-max2x2.npy")
    assert (here / "in/A.1-max2x2.npy").read_bytes() == before


def test_shards_are_told_of_each_others_names(poolcli: Run, here: Path, disk: Any) -> None:
    for name in ("A.npy", "a.npy"):
        save(here / f"in/{name}", grey())
    disk(without_case)
    for shard in ("1/2", "2/2"):
        said = poolcli("run", "in", "-s", "max:2", "-q", "--shard", shard).error(2)
        assert "in/A.npy" in said
        assert "in/a.npy" in said


def test_folders_that_are_one_hold_results_that_are_one(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch, disk: Any
) -> None:
    """As D and d are: they are compared by what they are, not by their names."""
    for name in ("D/a.npy", "d/A.npy"):
        save(here / f"in/{name}", grey())
    disk(without_case)
    true_stat = os.stat

    def stat(path: Any, **more: Any) -> os.stat_result:
        if path == str(here / "pooled/d"):
            path = here / "pooled/D"
        return true_stat(path, **more)

    monkeypatch.setattr(os, "stat", stat)
    said = poolcli("run", "in", "-r", "-s", "max:2", "-q").error(2)
    assert "in/D/a.npy" in said
    assert "in/d/A.npy" in said


def test_many_names_that_are_alike_take_no_longer_each(tmp_path: Path) -> None:
    suspects = alike.Suspects()
    names = {f"{number:012b}".replace("0", "a").replace("1", "A") for number in range(4096)}
    for name in names:
        suspects.add(str(tmp_path / name), name)
    suspects.check(Folders())
