"""Arrays of .npz archives, and what comes through a pipe: each an input of its own, of any size."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from poolcli.errors import InputError
from poolcli.files import streams
from poolcli.files.archives import members, opened_member
from poolcli.files.discovery import find, named
from poolcli.files.inputs import Source
from tests.conftest import Run, environment, grey, save, tree
from tests.peaks import measured

LARGE = (np.arange(60 * 500 * 600) % 251).astype(np.uint8).reshape(60, 500, 600)
MEMORY = "12MB"


def saved(path: Path, packed: Any = False, **arrays: Any) -> bytes:
    (np.savez_compressed if packed else np.savez)(path, **arrays)
    return path.read_bytes()


@pytest.mark.parametrize("packed", [False, True], ids=["stored", "packed"])
def test_each_array_of_an_archive_is_an_input(poolcli: Run, here: Path, *, packed: bool) -> None:
    maps = np.arange(24.0).reshape(2, 3, 4)
    saved(here / "m.npz", packed=packed, a=grey(), **{"b/c.d": maps, "é": grey(2, 2)})
    ran = poolcli("run", "m.npz", "-s", "max:2", "--json", "-q")
    assert ran.status == 0
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["input"] for line in lines] == ["m.npz:a", "m.npz:b/c.d", "m.npz:é"]
    assert [line["shape"] for line in lines] == [[4, 6], [2, 3, 4], [2, 2]]
    assert tree(here / "pooled") == [
        "m.a.1-max2x2.npy",
        "m.b.c.d.1-max2x2.npy",
        "m.é.1-max2x2.npy",
    ]
    result = np.load(here / "pooled/m.b.c.d.1-max2x2.npy")
    assert result.tolist() == maps[:, 1:2, 1::2].tolist()


def test_one_array_of_an_archive_is_named_behind_a_colon(poolcli: Run, here: Path) -> None:
    saved(here / "m.npz", a=grey(), b=grey(2, 2))
    assert poolcli("run", "m.npz:b", "-s", "max:2", "-q").status == 0
    assert tree(here / "pooled") == ["m.b.1-max2x2.npy"]
    assert "1×1" in poolcli("shape", "m.npz:b", "-s", "max:2").out
    assert poolcli("run", "m.npz:c", "-s", "max:2").error(1) == "m.npz:c: it has no array c"
    assert poolcli("run", "n.npz:c", "-s", "max:2").error(1) == "n.npz:c: no such file"
    said = poolcli("shape", "m.npz", "-s", "max:2").error(1)
    assert said == "m.npz: several arrays: name one, as m.npz:a (of a, b)"


def test_a_file_with_a_colon_in_its_name_is_that_file(poolcli: Run, here: Path) -> None:
    saved(here / "m.npz", a=grey())
    save(here / "x.npy", grey(2, 2)).rename(here / "m.npz:a")
    assert json.loads(poolcli("run", "m.npz:a", "-s", "max:2", "--json").out)["shape"] == [2, 2]


def test_an_archive_named_twice_counts_once(here: Path) -> None:
    saved(here / "m.npz", a=grey(), b=grey())
    found = find(["m.npz:b", "m.npz", "./m.npz", "."], None).sources
    assert [source.name for source in found] == ["m.npz:b", "m.npz:a"]


def test_an_archive_is_known_by_its_content_or_its_suffix(here: Path) -> None:
    saved(here / "m.npz", a=grey())
    (here / "m.npz").rename(here / "maps")
    assert named("maps").read_header(None).shape == (4, 6)
    assert named("maps").name == "maps:a"


def test_arrays_of_an_archive_in_a_folder_lie_where_it_lies(poolcli: Run, here: Path) -> None:
    (here / "d/e").mkdir(parents=True)
    saved(here / "d/e/m.npz", a=grey())
    assert poolcli("run", "d", "-r", "-s", "max:2", "-q").status == 0
    assert tree(here / "pooled") == ["e", "e/m.a.1-max2x2.npy"]


ALIKE = {
    "slash and dot": (["a/b", "a.b"], ["m.a%2Fb", "m.a.b"]),
    "two slashes": (["a/b/c", "a.b/c", "a/b.c"], ["m.a%2Fb%2Fc", "m.a.b%2Fc", "m.a%2Fb.c"]),
    "capitals": (["w", "W", "x"], ["m.w", "m.%57", "m.x"]),
    "capitals alone": (["AB", "Ab"], ["m.AB", "m.%41b"]),
    "what stands for them": (["a/b", "a.b", "a%2Fb"], ["m.a%2Fb-2", "m.a.b", "m.a%2Fb"]),
    "none alike": (["a/b", "c/d", "E"], ["m.a.b", "m.c.d", "m.E"]),
    "other letters": (
        ["straße", "strasse", "É", "é"],
        ["m.stra%C3%9Fe", "m.strasse", "m.%C3%89", "m.é"],
    ),
}


@pytest.mark.parametrize("kind", ALIKE)
@pytest.mark.parametrize("each", [False, True], ids=["whole", "each by its name"])
def test_two_arrays_never_share_a_result(
    poolcli: Run, here: Path, kind: str, *, each: bool
) -> None:
    names, results = ALIKE[kind]
    saved(here / "m.npz", **{name: grey(2, 2) + index for index, name in enumerate(names)})
    words = [f"m.npz:{name}" for name in names] if each else ["m.npz"]
    assert poolcli("run", *words, "-s", "max:2", "-q").status == 0
    assert tree(here / "pooled") == sorted(f"{result}.1-max2x2.npy" for result in results)
    for index, result in enumerate(results):
        found = np.load(here / f"pooled/{result}.1-max2x2.npy")
        assert found.tolist() == [[(grey(2, 2) + index).max()]]


@pytest.mark.parametrize(
    "name", ["../../evil", "/abs", "..", ".", "", "a\nb", "-o", "a" * 200, "C:\\x", "~", "$HOME"]
)
def test_an_arrays_name_leads_nowhere(poolcli: Run, here: Path, name: str) -> None:
    content = io.BytesIO()
    np.save(content, grey())
    with zipfile.ZipFile(here / "m.npz", "w") as archive:
        archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())
    ran = poolcli("run", "m.npz", "-s", "max:2", "-q")
    assert (ran.status, ran.err) == (0, "")
    (result,) = tree(here / "pooled")
    assert result.startswith("m.")
    assert "/" not in result
    assert tree(here.parent) == ["here", "here/m.npz", "here/pooled", f"here/pooled/{result}"]


def broken(content: bytes) -> dict[str, bytes]:
    flipped = bytearray(content)
    flipped[content.index(b"\x93NUMPY") + 140] ^= 1
    return {
        "truncated": content[: len(content) // 2],
        "only its first bytes": content[:4],
        "no directory": content[:-22],
        "another byte": bytes(flipped),
        "zeros": content[:60] + bytes(len(content) - 60),
    }


@pytest.mark.parametrize("kind", list(broken(b"\x93NUMPY" + bytes(300))))
def test_a_broken_archive_is_one_failed_input(poolcli: Run, here: Path, kind: str) -> None:
    content = broken(saved(here / "m.npz", a=grey(30, 30)))[kind]
    (here / "m.npz").write_bytes(content)
    save(here / "b.png", grey())
    ran = poolcli("run", "m.npz", "b.png", "-s", "max:2", "-q", "-j", "1")
    assert ran.status == 1
    lines = ran.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: m.npz")
    assert "broken .npz archive" in lines[0] or "truncated" in lines[0]
    assert tree(here / "pooled") == ["b.1-max2x2.png"]


def test_a_flipped_byte_of_a_stored_array_is_found_in_parts_too(poolcli: Run, here: Path) -> None:
    content = bytearray(saved(here / "m.npz", a=LARGE))
    content[len(content) // 2] ^= 1
    (here / "m.npz").write_bytes(content)
    ran = poolcli("run", "m.npz", "-s", "max:2", "--memory", MEMORY, "-q")
    assert ran.status == 1
    assert ran.err.startswith("error: m.npz:a: a broken .npz archive: Bad CRC-32")
    assert tree(here / "pooled") == []


def test_archives_of_other_things(poolcli: Run, here: Path) -> None:
    with zipfile.ZipFile(here / "words.npz", "w") as archive:
        archive.writestr("words.txt", "words")
    with zipfile.ZipFile(here / "none.npz", "w"):
        pass
    with zipfile.ZipFile(here / "text.npz", "w") as archive:
        archive.writestr("a.npy", "words")
    saved(here / "mixed.npz", a=grey(), b=np.array([None]), c=np.array([1j]))
    files = ("words.npz", "none.npz", "text.npz", "mixed.npz")
    ran = poolcli("run", *files, "-s", "max:2", "-q", "-j", "1")
    assert ran.status == 1
    assert [line.split(": ", 2)[1:] for line in ran.err.splitlines()[:-1]] == [
        ["words.npz", "an archive without .npy arrays"],
        ["none.npz", "an archive without .npy arrays"],
        ["text.npz:a", "neither an image that Pillow can read nor an .npy array"],
        ["mixed.npz:b", "it holds pickled Python objects, which are never loaded: save numbers"],
        [
            "mixed.npz:c",
            "complex numbers have no order: save their real part or magnitude",
        ],
    ]
    assert tree(here / "pooled") == ["mixed.a.1-max2x2.npy"]


def test_an_encrypted_archive_is_refused(poolcli: Run, here: Path) -> None:
    content = bytearray(saved(here / "m.npz", a=grey()))
    # The flag, of the member's own header and of the directory's entry.
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (here / "m.npz").write_bytes(content)
    said = poolcli("run", "m.npz", "-s", "max:2").error(1)
    assert said == "m.npz:a: an encrypted archive, which can't be read"


@pytest.mark.parametrize("packed", [False, True], ids=["stored", "packed"])
def test_an_array_larger_than_the_memory_goes_in_parts(
    poolcli: Run, here: Path, *, packed: bool
) -> None:
    saved(here / "m.npz", packed=packed, first=grey(12, 20), a=LARGE)
    np.save(here / "a.npy", LARGE)
    chain = ("-s", "max:3,stride=2", "-s", "avg:2")
    poolcli("run", "a.npy", *chain, "-q", "-o", "whole")
    content = (here / "m.npz").read_bytes()
    for folder, word, stdin in (("parts", "m.npz:a", b""), ("piped", "-", content)):
        ran = poolcli("run", word, *chain, "-q", "-o", folder, "--memory", MEMORY, stdin=stdin)
        assert (ran.status, ran.err) == (0, "")
        for result in ("1-max3x3,s2x2", "2-avg2x2"):
            (own,) = (path for path in (here / folder).glob(f"*.a.{result[0]}*"))
            (whole,) = (here / "whole").glob(f"a.{result[0]}*")
            assert own.read_bytes() == whole.read_bytes()


def test_a_member_is_read_at_any_place(here: Path) -> None:
    for packed in (False, True):
        saved(here / "m.npz", packed=packed, a=LARGE)
        with (here / "m.npz").open("rb") as stream:
            assert list(members(stream)) == ["a"]
            with opened_member(stream, "a", None, anywhere=True) as array:
                array.seek(-1000, os.SEEK_END)
                assert array.read() == LARGE.tobytes()[-1000:]
                array.seek(128)
                assert array.read(500) == LARGE.tobytes()[:500]
                with pytest.raises(ValueError, match="before the beginning"):
                    array.seek(-1)
        with (here / "m.npz").open("rb") as stream, opened_member(stream, "a", None) as array:
            assert array.seek(0, os.SEEK_END) == 128 + LARGE.size
            array.seek(128)
            assert array.read(500) == LARGE.tobytes()[:500]


def test_what_comes_through_a_pipe_is_held_in_memory_only_if_it_is_small(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(streams, "_IN_MEMORY", 1000)
    small, large = streams.hold(io.BytesIO(bytes(999))), streams.hold(io.BytesIO(bytes(5000)))
    assert (small.descriptor, large.data) == (-1, b"")
    for held, length in ((small, 999), (large, 5000)):
        for _ in range(2):
            with held.opened() as stream:
                assert stream.read() == bytes(length)
    # Unnamed: nothing to be left behind.
    assert list(tmp_path.iterdir()) == []


def test_pipes_share_what_is_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_IN_USE", streams._InUse())  # noqa: SLF001 - of this test alone
    monkeypatch.setattr(streams, "_IN_MEMORY", 1000)
    held = [streams.hold(io.BytesIO(bytes([index]) * 400)) for index in range(4)]
    assert [len(each.data) for each in held] == [400, 400, 0, 0]
    for index, each in enumerate(held):
        with each.opened() as stream:
            assert stream.read() == bytes([index]) * 400
    # What is held no longer makes room.
    del held[0], each
    assert len(streams.hold(io.BytesIO(bytes(500))).data) == 500


def test_many_pipes_are_held_in_bounded_memory(here: Path) -> None:
    """Eight pipes of 30 MiB each, all of which are held for the whole run."""
    np.save(here / "a.npy", np.zeros((30 << 10, 1 << 10), np.uint8))
    names = [f"f{index}" for index in range(8)]
    for name in names:
        os.mkfifo(here / name)
    writers = [
        subprocess.Popen(["/bin/sh", "-c", f"cat a.npy > {name}"], cwd=here) for name in names
    ]
    try:
        ran = measured(here, "run", *names, "-s", "max:64", "-q", "-n", "--memory", "64MiB")
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert (ran.status, ran.err) == (0, "")
    assert ran.peak < 130, ran


def test_a_file_as_standard_input_is_read_where_it_lies(here: Path) -> None:
    np.save(here / "a.npy", LARGE)
    with (here / "a.npy").open("rb") as stream:
        (source,) = find(["-"], stream).sources
        assert source.held is not None
        assert source.held.descriptor == stream.fileno()
        assert np.array_equal(source.read()[0], LARGE)
        assert source.can_be_read_in_parts()


@pytest.mark.parametrize("piped", [False, True], ids=["a file", "a pipe"])
def test_standard_input_of_any_size_goes_in_parts(here: Path, *, piped: bool) -> None:
    np.save(here / "a.npy", LARGE)
    command = [sys.executable, "-m", "poolcli", "run"]
    chain = ["-s", "max:3,stride=2", "-q"]
    subprocess.run([*command, "a.npy", *chain], env=environment(), check=True, timeout=60)
    program = "import poolcli.files.streams as s; s._IN_MEMORY = 1000; import poolcli.__main__"
    in_parts = [sys.executable, "-c", f"{program} as m; m.main()", "run", "-", *chain, "-o", "out"]
    with (here / "a.npy").open("rb") as stream:
        subprocess.run(
            [*in_parts, "--memory", MEMORY],
            env=environment(),
            timeout=60,
            check=True,
            **({"input": stream.read()} if piped else {"stdin": stream}),
        )
    (own,), (whole,) = (here / "out").glob("*.npy"), (here / "pooled").glob("*.npy")
    assert own.read_bytes() == whole.read_bytes()


def test_an_archive_that_is_not_taken_apart_says_so(here: Path) -> None:
    saved(here / "m.npz", a=grey())
    with pytest.raises(InputError, match=r"name one of its arrays, as maps\.npz:name"):
        Source("m.npz").read_header(None)


def test_an_archive_does_not_fill_the_disk(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(here / "m.npz", packed=True, a=LARGE)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    ran = poolcli("run", "m.npz", "-s", "max:2", "--memory", MEMORY, "-q")
    assert ran.status == 1
    assert ran.err.startswith("error: m.npz:a: it takes 18 MiB of temporary files, of which ")
    assert tree(here / "pooled") == []
