"""Which inputs words, folders, patterns and lists name, and where their results go."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from poolcli.errors import UsageError
from poolcli.files.discovery import Found, Search, find, read_list, shard
from poolcli.files.inputs import Source
from tests.conftest import Run, grey, save, tree


def found(*words: str, recursive: bool = True, globs: tuple[str, ...] = ()) -> Found:
    return find(words, io.BytesIO(), Search(recursive=recursive, globs=globs))


def names(*words: str, recursive: bool = True, globs: tuple[str, ...] = ()) -> list[str]:
    return [source.name for source in found(*words, recursive=recursive, globs=globs).sources]


def planted(here: Path, *paths: str) -> None:
    for path in paths:
        save(here / path, grey())


def test_a_tree_is_gone_through_in_the_order_of_bytes(here: Path) -> None:
    planted(here, "d/b/z.png", "d/b.png", "d/b-c/y.png", "d/a/x.npy", "d/é/w.png", "d/B.png")
    expected = ["d/B.png", "d/a/x.npy", "d/b-c/y.png", "d/b.png", "d/b/z.png", "d/é/w.png"]
    assert names("d") == expected
    assert names("d", recursive=False) == ["d/B.png", "d/b.png"]


def test_hidden_folders_and_files_are_left_out(here: Path) -> None:
    planted(here, "d/.git/a.png", "d/.a.png", "d/e/.b.png", "d/e/c.png")
    assert names("d") == ["d/e/c.png"]


def test_results_mirror_the_tree_without_the_folders_own_name(poolcli: Run, here: Path) -> None:
    planted(here, "in/d/a.png", "in/d/e/a.png", "in/d/e/f/b.npy", "c.png")
    ran = poolcli("run", "in/d", "c.png", "-r", "-s", "max:2", "-q", "-o", "out")
    assert (ran.status, ran.err) == (0, "")
    assert [path for path in tree(here / "out") if "." in path] == [
        "a.1-max2x2.png",
        "c.1-max2x2.png",
        "e/a.1-max2x2.png",
        "e/f/b.1-max2x2.npy",
    ]


def test_a_second_run_does_not_take_the_results_of_the_first(poolcli: Run, here: Path) -> None:
    planted(here, "a.png", "d/b.png")
    for _ in range(2):
        ran = poolcli("run", ".", "-r", "-s", "max:2", "-q", "--force")
        assert (ran.status, ran.err) == (0, "")
        assert tree(here / "pooled") == ["a.1-max2x2.png", "d", "d/b.1-max2x2.png"]


def test_links_to_folders_are_followed_and_loops_end(here: Path) -> None:
    planted(here, "d/e/a.png", "other/b.png", "other/f/c.png")
    (here / "d/loop").symlink_to("..", target_is_directory=True)
    (here / "d/e/up").symlink_to("../../d", target_is_directory=True)
    (here / "d/self").symlink_to("self")
    (here / "other/back").symlink_to("../d", target_is_directory=True)
    assert names("d") == ["d/e/a.png", "d/loop/other/b.png", "d/loop/other/f/c.png"]


def test_a_folder_has_its_own_name_rather_than_that_of_a_link_to_it(here: Path) -> None:
    planted(here, "d/z/a.png")
    (here / "d/first").symlink_to("z", target_is_directory=True)
    assert names("d") == ["d/z/a.png"]


def test_a_link_that_leads_nowhere_is_an_input_that_is_missing(poolcli: Run, here: Path) -> None:
    planted(here, "d/b.png")
    (here / "d/a.png").symlink_to("gone.png")
    ran = poolcli("run", "d", "-s", "max:2", "-q")
    assert ran.status == 1
    assert ran.err.splitlines()[0] == "error: d/a.png: no such file"
    assert tree(here / "pooled") == ["b.1-max2x2.png"]


def test_a_folder_below_that_cannot_be_read_does_not_stop_the_others(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(here, "d/a.png", "d/locked/b.png", "d/z/c.png")
    scandir = os.scandir

    def refuse(path: str | Path) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    ran = poolcli("run", "d", "-r", "-s", "max:2", "-q", "-j", "1")
    assert ran.status == 1
    assert ran.err.splitlines()[0] == (
        "error: d/locked/: a folder that can't be read: Permission denied"
    )
    assert tree(here / "pooled") == ["a.1-max2x2.png", "z", "z/c.1-max2x2.png"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("*.npy",), ["d/b.npy"]),
        (("*_l.png",), ["d/e/a_l.png", "d/e/f/g/a_l.png"]),
        (("*_l.png", "b*"), ["d/b.npy", "d/e/a_l.png", "d/e/f/g/a_l.png"]),
        (("e/*",), ["d/e/a_l.png", "d/e/a_r.png"]),
        (("e/**/*.png",), ["d/e/a_l.png", "d/e/a_r.png", "d/e/f/g/a_l.png"]),
        (("**/g/*",), ["d/e/f/g/a_l.png"]),
        (("**/*.npy",), ["d/b.npy"]),
        (("**",), ["d/b.npy", "d/e/a_l.png", "d/e/a_r.png", "d/e/f/g/a_l.png"]),
        (("a_[lm].png",), ["d/e/a_l.png", "d/e/f/g/a_l.png"]),
        (("e/*/a_l.png",), []),
        (("A_L.PNG",), []),
    ],
)
def test_patterns_choose_among_the_files_of_folders(
    here: Path, patterns: tuple[str, ...], expected: list[str]
) -> None:
    planted(here, "d/b.npy", "d/e/a_l.png", "d/e/a_r.png", "d/e/f/g/a_l.png")
    if not expected:
        with pytest.raises(UsageError, match="no input"):
            names("d", globs=patterns)
        return
    assert names("d", globs=patterns) == expected


def test_patterns_leave_files_alone_that_are_named(here: Path) -> None:
    planted(here, "d/b.npy", "a.png")
    assert names("a.png", "d", globs=("*.npy",)) == ["a.png", "d/b.npy"]


def test_files_that_no_pattern_matches_are_not_counted_as_unknown(here: Path) -> None:
    planted(here, "d/a.png", "d/b.png")
    for name in ("d/a.txt", "d/b.txt"):
        (here / name).touch()
    assert found("d", globs=("a.*",)).passed_over == 1


STRANGE = [
    b"line\nbreak.png",
    b"-leading.png",
    b"br[ack]et.png",
    b"not\xff\xfeutf8.png",
    b"quote'\"s $HOME.png",
    b" space .png",
    "ünï.png".encode(),
    b"\x1b[31mred.png",
]


def test_names_of_all_kinds_come_through_a_folder_a_list_and_the_results(
    poolcli: Run, here: Path
) -> None:
    (here / "d").mkdir()
    for name in STRANGE:
        save(here / "x.png", grey()).rename(here / os.fsdecode(b"d/" + name))
    assert [os.fsencode(source.file_name) for source in found("d").sources] == sorted(STRANGE)
    ran = poolcli("run", "d", "-s", "max:2", "-q", "-o", "folder")
    assert (ran.status, ran.err) == (0, "")
    (here / "list").write_bytes(b"\0".join(b"d/" + name for name in STRANGE))
    ran = poolcli("run", "--files-from", "list", "-0", "-s", "max:2", "-o", "list.d", "--json")
    assert ran.status == 0
    assert [os.fsencode(json.loads(line)["input"]) for line in ran.out.splitlines()] == [
        b"d/" + name for name in STRANGE
    ]
    assert "\x1b" not in ran.err
    assert len(ran.err.splitlines()) == len(STRANGE)
    wanted = sorted(os.fsdecode(name[:-4] + b".1-max2x2.png") for name in STRANGE)
    assert tree(here / "folder") == tree(here / "list.d") == wanted


def test_names_with_dashes_in_front_are_options_or_stand_behind_two(
    poolcli: Run, here: Path
) -> None:
    planted(here, "-s.png")
    assert poolcli("run", "-s", "max:2", "-q", "--", "-s.png").status == 0
    assert tree(here / "pooled") == ["-s.1-max2x2.png"]


def test_a_list_has_a_name_a_line(poolcli: Run, here: Path) -> None:
    planted(here, "a.png", "d/b.png", "d/c.png", "x.png")
    (here / "x.png").rename(here / "-")
    lines = "d/c.png\n\n-\nd\nd/c.png\n"
    ran = poolcli("run", "a.png", "--files-from", "-", "-s", "max:2", "--json", "-q",
                  stdin=lines.encode())  # fmt: skip
    assert ran.status == 0
    read = [json.loads(line)["input"] for line in ran.out.splitlines()]
    assert read == ["a.png", "d/c.png", "-", "d/b.png"]
    assert "-.1-max2x2.png" in tree(here / "pooled")


def test_a_list_from_a_file_is_the_same(here: Path) -> None:
    (here / "list").write_bytes(b"a b.png\nc\xff.png\r\n")
    assert read_list("list", None, null=False) == ["a b.png", "c\udcff.png\r"]
    assert read_list("-", io.BytesIO(b"a\nb\0c\0"), null=True) == ["a\nb", "c"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["--files-from", "missing"], b"", "--files-from missing: no such file"),
        (["--files-from", "."], b"", "--files-from .: a folder"),
        (["--files-from", "-"], b"", "no input, nothing to read"),
        (["--files-from", "-", "-"], b"a.png\n", "standard input is either an input or the list"),
        (["a.png", "-0"], b"", "-0 tells how the list"),
        (["a.png", "--shard", "0/3"], b"", "no share"),
        (["a.png", "--shard", "4/3"], b"", "no share"),
        (["a.png", "--shard", "1"], b"", "no share"),
        (["a.png", "--shard", "1/0"], b"", "no share"),
        (["a.png", "--resume", "-o", "-"], b"", "without --resume"),
    ],
)
def test_inputs_that_are_not_as_they_should_be_typed(
    poolcli: Run, here: Path, arguments: list[str], stdin: bytes, said: str
) -> None:
    planted(here, "a.png")
    assert said in poolcli("run", *arguments, "-s", "max:2", stdin=stdin).error(2)
    assert tree(here) == ["a.png"]


def test_a_list_with_nul_in_it_is_read_with_the_option_for_that_alone(
    poolcli: Run, here: Path
) -> None:
    """A name can't hold one, and as lines all the names would be one."""
    save(here / "a.png", grey())
    command = ("run", "--files-from", "-", "-s", "max:2", "-q")
    said = poolcli(*command, stdin=b"a.png\0b.png\0").error(2)
    assert said == "--files-from -: it has NUL in it, as between names: give -0 too"
    assert tree(here) == ["a.png"]
    assert poolcli(*command, "-0", stdin=b"a.png\0").status == 0


def test_a_line_of_a_list_that_is_missing_is_one_failed_input(poolcli: Run, here: Path) -> None:
    planted(here, "a.png")
    (here / "list").write_text("gone.png\na.png\n")
    ran = poolcli("run", "--files-from", "list", "-s", "max:2", "-q")
    assert ran.status == 1
    assert ran.err.splitlines() == [
        "error: gone.png: no such file",
        "1 of 2 inputs failed: gone.png",
    ]
    assert tree(here / "pooled") == ["a.1-max2x2.png"]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 30])
def test_shards_together_are_the_list_and_no_input_is_in_two(count: int) -> None:
    sources = [Source(f"{number}.png") for number in range(20)]
    shares = [shard(sources, index, count)[0] for index in range(1, count + 1)]
    assert sorted((s for share in shares for s in share), key=sources.index) == sources
    for index, share in enumerate(shares, start=1):
        assert set(share) ^ set(shard(sources, index, count)[1]) == set(sources)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_shards_write_what_one_run_writes(poolcli: Run, here: Path) -> None:
    planted(here, *(f"d/{letter}.png" for letter in "abcdefgh"))
    poolcli("run", "d", "-s", "max:2", "-q", "-o", "one")
    for index in (1, 2, 3):
        ran = poolcli("run", "d", "-s", "max:2", "-q", "-o", "three", "--shard", f"{index}/3")
        assert (ran.status, ran.err) == (0, "")
    assert tree(here / "three") == tree(here / "one")
    ran = poolcli("run", "d", "-s", "max:2", "-o", "three", "--resume", "--json")
    assert ran.err == "8 of 8 inputs were complete already\n"


def test_a_shard_without_inputs_has_nothing_to_do(poolcli: Run, here: Path) -> None:
    planted(here, "a.png", "b.png")
    ran = poolcli("run", "a.png", "b.png", "-s", "max:2", "--shard", "3/3")
    assert (ran.status, ran.out, ran.err) == (0, "", "shard 3/3 of 2 inputs is empty\n")
    assert tree(here) == ["a.png", "b.png"]


@pytest.mark.parametrize("template", ["{stem}{ext}", "all{ext}", "{name}{ext}"])
def test_an_input_of_another_shard_is_no_less_in_the_way(
    poolcli: Run, here: Path, template: str
) -> None:
    """Both results would have one name, and the second run would find it taken."""
    planted(here, "d/a.png", "e/a.png")
    said = poolcli("run", "d/a.png", "e/a.png", "-s", "max:2", "--name", template,
                   "--shard", "1/2").error(2)  # fmt: skip
    assert "is the result of d/a.png and e/a.png" in said
    assert tree(here) == ["d", "d/a.png", "e", "e/a.png"]


def test_no_result_is_an_input_of_another_shard(poolcli: Run, here: Path) -> None:
    planted(here, "d/a.png", "d/a.1-max2x2.png")
    said = poolcli("run", "d/a.png", "d/a.1-max2x2.png", "-s", "max:2", "-o", "d", "--force",
                   "--shard", "1/2").error(2)  # fmt: skip
    assert "d/a.1-max2x2.png is an input" in said


def test_a_device_is_no_input(poolcli: Run) -> None:
    assert poolcli("run", "/dev/zero", "-s", "max:2").error(1) == "/dev/zero: a device, not a file"


def test_a_result_never_lies_in_the_records_folder(poolcli: Run, here: Path) -> None:
    planted(here, "a.png")
    ran = poolcli("run", "a.png", "-s", "max:2", "--name", ".poolcli/{stem}{ext}")
    assert ".poolcli is kept for the record" in ran.error(2)
    assert not (here / "pooled").exists()
