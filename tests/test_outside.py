"""Nothing is written outside the output folder, whatever names, links and templates say."""

from __future__ import annotations

import io
import os
import socket
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from poolcli.files import atomic
from tests.conftest import Run, grey, save

NAMES: Final = (
    "..png", "...png", "....png", ".png", "-s.png", "--force.png", "-.png", "[a].png", "[!a.png",
    "*.png", "?.png", "a\nb.png", "a\rb.png", "\x1b[31ma.png", "{stem}.png", "{0}.png", "{.png",
    "%s.png", "~.png", "$HOME.png", "..\\..\\a.png", "a:b.png", "a.npz:m.png", " .png", "é.png",
    "\u202ea.png", ".poolcli.png", "x" * 251 + ".png", "é" * 125 + ".png", "\udcff\udcfe.png",
)  # fmt: skip
"""Of files; some without their suffix would lead out as a folder's name, or into the record."""

MEMBERS: Final = (
    "../../evil", "../evil", "/abs", "a/b", "..", ".", "", "/", "//", "./a", "a/../../../evil",
    "..\\..\\evil", "C:\\evil", ".poolcli/evil", "../.poolcli/evil", "a\nb", "-rf", "x" * 300, "é",
    "a.npy/b", "~", "{stem}",
)  # fmt: skip
"""Of arrays in an archive."""

TEMPLATES: Final = (
    "{stem}.{index}{ext}", "{stem}/{index}{ext}", "{name}/{index}{ext}", "{stem:.2}/{index}{ext}",
    "{stem:.1}./x{ext}", "{stem:/>9}{ext}", "{stem:/<9}{ext}", "{stem}/../{index}{ext}",
    "../{stem}{ext}", "{stem}/../../x{ext}", "/abs/{stem}{ext}", ".poolcli/{stem}{ext}",
    "{stem}/{stem}/{stem}{ext}", "{index:/^3}x{ext}", "./{stem}{ext}", "~/{stem}{ext}",
)  # fmt: skip


def outside(here: Path) -> dict[str, tuple[int, object]]:
    """Return all that is not in the output folder: modes, contents, and where links lead."""
    found: dict[str, tuple[int, object]] = {}
    for folder, folders, files in os.walk(here.parent):
        if Path(folder) == here and "pooled" in folders:
            folders.remove("pooled")
        for path in (Path(folder, name) for name in (*folders, *files)):
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
            target = path.readlink() if path.is_symlink() else None
            found[str(path)] = path.lstat().st_mode, content or target
    return found


@contextmanager
def unchanged(here: Path) -> Iterator[None]:
    """Check that all outside stays as it is."""
    before = outside(here)
    yield
    assert outside(here) == before


def run(poolcli: Run, *arguments: str, stdin: bytes = b"") -> int:
    """Run the program, which may refuse what it is told, and return its exit status."""
    ran = poolcli("run", "-s", "max:2", "-q", *arguments, stdin=stdin)
    assert ran.status in (0, 1, 2), ran
    assert len(ran.err.splitlines()) == (ran.status != 0), ran
    return ran.status


@pytest.fixture
def inputs(here: Path) -> Path:
    """Return a folder of pictures with names of all kinds; some more lie around."""
    for name in NAMES:
        save(here / "x.png", grey()).rename(here / "x")
        (here / "d").mkdir(exist_ok=True)
        (here / "x").rename(here / "d" / name)
    for name in ("d.png", "evil.png", "pooled.png", "x.png", "1.png"):
        save(here / name, grey(2, 2))
        save(here.parent / name, grey(2, 2))
    return here / "d"


def test_names_of_files_lead_nowhere(poolcli: Run, here: Path, inputs: Path) -> None:
    done = 0
    with unchanged(here):
        for template in TEMPLATES:
            command = ("--force", "--name", template)
            done += not run(poolcli, *command, "d")
            for name in NAMES:
                listed = os.fsencode(f"d/{name}\0")
                done += not run(poolcli, *command, "--files-from", "-", "-0", stdin=listed)
    assert done > len(NAMES) * 5
    assert len(list(inputs.iterdir())) == len(NAMES)


def test_names_of_arrays_lead_nowhere(poolcli: Run, here: Path, inputs: Path) -> None:
    content = io.BytesIO()
    np.save(content, grey())
    done = 0
    for member in MEMBERS:
        with zipfile.ZipFile(inputs / "...npz", "w") as archive:
            archive.writestr(zipfile.ZipInfo(f"{member}.npy"), content.getvalue())
        with unchanged(here):
            for template in TEMPLATES[:5]:
                for word in ("d/...npz", f"d/...npz:{member}"):
                    done += not run(poolcli, "--force", "--name", template, "--", word)
    assert done > len(MEMBERS) * 5


def predicted() -> list[str]:
    """Return the names of the next temporary files, as somebody might who means harm."""
    first = int(atomic._temporary_name().rpartition("-")[2].partition(".")[0])  # noqa: SLF001 - as it names them
    host = socket.gethostname()
    return [f".poolcli-{host}-{os.getpid()}-{first + more}.tmp" for more in range(30)]


LINKS: Final = {
    "a result to a file": ("a.1-max2x2.png", "../../x.png"),
    "a result to nothing": ("a.1-max2x2.png", "../../new.png"),
    "a result to a folder": ("a.1-max2x2.png", "../.."),
    "a result to itself": ("a.1-max2x2.png", "a.1-max2x2.png"),
    "a folder to a folder": ("e", "../.."),
    "a folder to nothing": ("e", "../../new"),
    "a folder to a file": ("e", "../../x.png"),
    "the record to a folder": (".poolcli", "../.."),
    "the record to nothing": (".poolcli", "../../new"),
    "the record to a file": (".poolcli", "../../x.png"),
    "the record's file to a file": (".poolcli/x.ndjson", "../../../x.png"),
    "the record's file to nothing": (".poolcli/x.ndjson", "../../../new"),
    "temporary files to a file": ("{}", "../../x.png"),
    "temporary files to nothing": ("{}", "../../new"),
    "the record's temporary files to a file": (".poolcli/{}", "../../../x.png"),
}


@pytest.mark.parametrize("made", LINKS)
@pytest.mark.parametrize("more", [[], ["--force"], ["--resume"]], ids=" ".join)
@pytest.mark.parametrize("recorded", [False, True])
def test_links_lead_nowhere(
    poolcli: Run, here: Path, made: str, more: list[str], *, recorded: bool
) -> None:
    """Also where a record says that the results behind them are its own."""
    save(here / "d/a.png", grey())
    save(here / "d/e/b.png", grey())
    save(here.parent / "x.png", grey(2, 2))
    pooled = here / "pooled"
    if recorded:
        assert run(poolcli, "d", "-r") == 0
        for path in pooled.iterdir():
            if path.name != ".poolcli" or "record to" in made:
                path.rename(here.parent / path.name)
    name, target = LINKS[made]
    for temporary in predicted():
        link = pooled / name.format(temporary)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(target)
    with unchanged(here):
        run(poolcli, "d", "-r", *more)


@pytest.mark.parametrize("more", [["--force"], ["--resume"]], ids=" ".join)
def test_a_file_that_is_also_called_as_a_result_stays_as_it_is(
    poolcli: Run, here: Path, more: list[str]
) -> None:
    """A name is given to another file; the file that bore it is not written to."""
    save(here / "a.png", grey())
    save(here.parent / "x.png", grey(2, 2))
    assert run(poolcli, "a.png", "--resume") == 0
    result = here / "pooled/a.1-max2x2.png"
    made = result.read_bytes()
    result.unlink()
    result.hardlink_to(here.parent / "x.png")
    with unchanged(here):
        assert run(poolcli, "a.png", *more) == 0
    assert result.read_bytes() == made
