from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest

from poolcli.errors import InputError, UsageError
from poolcli.files.discovery import Search, find
from poolcli.files.inputs import Source
from poolcli.files.metadata import Metadata
from tests.conftest import Run, colour, grey, save, tree


def found(*words: str, output: Path | None = None) -> list[str]:
    search = Search(output=output)
    return [source.name for source in find(words, io.BytesIO(), search).sources]


def test_words_keep_their_order(here: Path) -> None:
    for name in ("b.png", "a.png", "d/z.png", "d/y.npy"):
        save(here / name, grey())
    assert found("b.png", "d", "a.png") == ["b.png", "d/y.npy", "d/z.png", "a.png"]


def test_a_folder_is_read_in_the_order_of_bytes(here: Path) -> None:
    for name in ("é.png", "b.png", "B.png", "a10.png", "a9.png", "Z.PNG"):
        save(here / "d" / name, grey())
    assert found("d") == [
        f"d/{name}" for name in ("B.png", "Z.PNG", "a10.png", "a9.png", "b.png", "é.png")
    ]


def test_of_a_folder_known_suffixes_only_and_nothing_hidden(poolcli: Run, here: Path) -> None:
    for name in ("a.png", ".hidden.png", "sub/b.png"):
        save(here / "d" / name, grey())
    for name in ("notes.txt", "LICENSE", ".DS_Store"):
        (here / "d" / name).write_text("words")
    (here / "d/folder.png").mkdir()
    assert found("d") == ["d/a.png"]
    ran = poolcli("run", "d", "-s", "max:2")
    assert ran.status == 0
    assert "2 files of no known kind passed over\n" in ran.err
    assert tree(here / "pooled") == ["a.1-max2x2.png"]


def test_a_pipe_in_a_folder_is_passed_by(here: Path) -> None:
    save(here / "d/a.png", grey())
    os.mkfifo(here / "d/b.png")
    assert found("d") == ["d/a.png"]


def test_a_file_named_twice_counts_once(here: Path) -> None:
    save(here / "d/a.png", grey())
    save(here / "d/b.png", grey())
    (here / "link.png").symlink_to("d/a.png")
    assert found("d/a.png", "./d/a.png", "d", str(here / "d/a.png"), "link.png", "-", "-") == [
        "d/a.png",
        "d/b.png",
        "-",
    ]


def test_the_output_folder_is_no_input(here: Path) -> None:
    save(here / "pooled/a.png", grey())
    with pytest.raises(UsageError, match="no input"):
        found("pooled", output=Path("pooled"))
    assert found("pooled", output=Path("other")) == ["pooled/a.png"]


@pytest.mark.parametrize(
    ("files", "said"),
    [([], "no input, nothing to read"), (["a.txt", "b"], "no input, 2 files are of no known kind")],
)
def test_a_folder_without_images(poolcli: Run, here: Path, files: list[str], said: str) -> None:
    (here / "d").mkdir()
    for name in files:
        (here / "d" / name).touch()
    before = tree(here)
    assert poolcli("run", "d", "-s", "max:2").error(2).startswith(said)
    assert tree(here) == before


def test_a_folder_that_cannot_be_read(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (here / "d").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    assert poolcli("run", "d", "-s", "max:2").error(2) == "d: can't be read: Permission denied"


def test_what_a_file_is_says_its_content_not_its_name(poolcli: Run, here: Path) -> None:
    save(here / "a.npy", colour(), "uint8").rename(here / "a.png")
    save(here / "b.png", colour()).rename(here / "b")
    assert Source("a.png").read_header("HWC").format == "npy"
    assert Source("b").read_header(None).format == "png"
    assert poolcli("run", "a.png", "b", "-s", "max:2", "--layout", "HWC").status == 0
    assert tree(here / "pooled") == ["a.1-max2x2.npy", "b.1-max2x2.png"]


def test_an_images_layout_is_its_own(here: Path) -> None:
    save(here / "b.png", colour())
    assert Source("b.png").read_header("CHW").layout == "HWC"


def test_standard_input_is_held_and_can_be_read_twice() -> None:
    stream = io.BytesIO()
    np.save(stream, np.arange(6.0).reshape(2, 3))
    (source,) = find(["-"], io.BytesIO(stream.getvalue())).sources
    assert source.path is None
    assert source.file_name == "stdin"
    assert source.read_header(None).shape == (2, 3)
    for _ in range(2):
        elements, metadata = source.read()
        assert elements.tolist() == [[0, 1, 2], [3, 4, 5]]
        assert metadata == Metadata()


def test_inputs_that_cannot_be_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "empty").touch()
    (here / "loop").symlink_to("loop")
    for name, said in {
        "missing": "no such file",
        "empty": "empty",
        "loop": "can't be read: ",
        str(here): "a folder, not a file",
    }.items():
        with pytest.raises(InputError, match=said):
            Source(name).read_header(None)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match="can't be read: Permission denied"):
        Source("empty").read()


def test_a_pipe_as_an_input_is_an_error_or_an_input(process: Run, here: Path) -> None:
    """As from the shell's <(…): it can be read only once, from its beginning."""
    content = save(here / "a.png", grey()).read_bytes()
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    try:
        os.set_inheritable(reader, True)
        ran = process("run", "-q", f"/proc/{os.getpid()}/fd/{reader}", "-s", "max:2")
    finally:
        os.close(reader)
    assert ran.status in (0, 1)
    assert "Traceback" not in ran.err
    assert len(ran.err.splitlines()) == ran.status


@pytest.mark.parametrize("command", ["run", "shape"])
def test_a_name_too_long_for_the_disk_is_an_input_that_is_missing(
    poolcli: Run, here: Path, command: str
) -> None:
    said = poolcli(command, "a" * 300 + ".png", "-s", "max:2").error(1)
    assert said.startswith("aaa")
    assert tree(here) == []
