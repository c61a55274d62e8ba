from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from fcntl import ioctl
from pathlib import Path
from termios import FIONREAD
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TRUCK, Ran, Run, colour, environment, grey, pixels, save, tree

Rows = list[list[list[int]]]


def halved(rows: Rows) -> Rows:
    """Pool by 2×2 maxima, written out."""
    result: Rows = []
    for top in range(0, len(rows) - 1, 2):
        line = []
        for left in range(0, len(rows[0]) - 1, 2):
            element = []
            for channel in range(len(rows[0][0])):
                largest = rows[top][left][channel]
                for down in range(2):
                    for right in range(2):
                        largest = max(largest, rows[top + down][left + right][channel])
                element.append(largest)
            line.append(element)
        result.append(line)
    return result


def test_the_truck_pooled_twice_is_what_plain_loops_give(poolcli: Run, here: Path) -> None:
    with Image.open(TRUCK) as image:
        assert image.mode == "RGB"
        width, height = image.size
        data = list(image.tobytes())
    rows = [
        [data[3 * (y * width + x) : 3 * (y * width + x) + 3] for x in range(width)]
        for y in range(height)
    ]
    ran = poolcli("run", TRUCK, "-s", "max:2", "-s", "max:2")
    assert ran.status == 0
    assert tree(here / "pooled") == ["truck.1-max2x2.png", "truck.2-max2x2.png"]
    for index in (1, 2):
        rows = halved(rows)
        with Image.open(here / f"pooled/truck.{index}-max2x2.png") as result:
            assert (result.format, result.mode) == ("PNG", "RGB")
            assert result.size == (len(rows[0]), len(rows))
            assert list(result.tobytes()) == [
                number for line in rows for pixel in line for number in pixel
            ]
        assert f"{len(rows)}×{len(rows[0])}×3" in ran.out.splitlines()[3 + index]
    assert ran.err == "wrote pooled/truck.1-max2x2.png\nwrote pooled/truck.2-max2x2.png\n"


def test_the_same_as_a_program(process: Run, here: Path) -> None:
    ran = process("run", TRUCK, "-s", "max:2*2")
    assert ran.status == 0
    assert "240×320×3" in ran.out
    assert "120×160×3" in ran.out
    assert len(tree(here / "pooled")) == 2


def picture(array: Any = None, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(grey() if array is None else array).save(stream, form)
    return stream.getvalue()


def numbers(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_from_standard_input_to_standard_output(process: Run, here: Path) -> None:
    ran = process("run", "-", "-s", "max:2", "-s", "pick:1", "-o", "-", stdin=picture(colour()))
    assert ran.status == 0
    with Image.open(io.BytesIO(ran.data)) as image:
        assert image.format == "PNG"
        rows: Rows = colour().tolist()
        assert np.array(image).tolist() == halved(rows)
    assert "2×3×3" in ran.err
    assert "wrote" not in ran.err
    assert tree(here) == []


def test_an_array_from_standard_input_to_standard_output(process: Run, here: Path) -> None:
    array = np.arange(32, dtype=">f8").reshape(2, 4, 4)
    ran = process("run", "-", "-s", "max:2", "-o", "-", "-q", stdin=numbers(array))
    assert (ran.status, ran.err) == (0, "")
    result = np.load(io.BytesIO(ran.data))
    assert result.dtype == np.float64
    assert result.tolist() == [[[5, 7], [13, 15]], [[21, 23], [29, 31]]]
    assert tree(here) == []


def test_what_goes_to_standard_output_is_what_would_be_in_the_file(
    poolcli: Run, here: Path
) -> None:
    save(here / "a.png", colour())
    assert poolcli("run", "a.png", "-s", "avg:2").status == 0
    ran = poolcli("run", "a.png", "-s", "avg:2", "-o", "-", "-q")
    assert ran.data == (here / "pooled/a.1-avg2x2.png").read_bytes()
    webp = poolcli("run", "a.png", "-s", "avg:2", "-o", "-", "-q", "--format", "webp")
    assert webp.data[8:12] == b"WEBP"


def test_standard_inputs_stem_is_stdin(poolcli: Run, here: Path) -> None:
    ran = poolcli("run", "-", "-s", "max:2", "--sheet", "{stem}.png", stdin=picture())
    assert ran.status == 0
    assert tree(here) == ["pooled", "pooled/stdin.1-max2x2.png", "stdin.png"]
    ran = poolcli("run", "-", "-s", "relu", stdin=numbers(np.ones((2, 2))))
    assert "wrote pooled/stdin.1-relu.npy\n" in ran.err


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "-: empty"), (b"words", "-: neither an image"), (b"\x93NUMPY\x01", "-: not an .npy")],
)
def test_standard_input_that_is_nothing(
    poolcli: Run, here: Path, content: bytes, said: str
) -> None:
    assert poolcli("run", "-", "-s", "max:2", "-o", "-", stdin=content).error(1).startswith(said)
    assert tree(here) == []


def test_standard_output_takes_one_input_and_no_json(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    save(here / "b.png", grey())
    assert poolcli("run", "a.png", "b.png", "-s", "max:2", "-o", "-").error(2) == (
        "-o - takes one input, not 2"
    )
    assert "--json" in poolcli("run", "a.png", "-s", "max:2", "-o", "-", "--json").error(2)
    ran = poolcli("run", "a.png", "-s", "max:2", "-o", "-", "-n")
    assert (ran.status, ran.data) == (0, b"")
    assert tree(here) == ["a.png", "b.png"]


def test_a_failed_input_puts_nothing_on_standard_output(poolcli: Run, here: Path) -> None:
    content = picture(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    (here / "a.png").write_bytes(content[: len(content) // 2])
    ran = poolcli("run", "a.png", "-s", "max:2", "-o", "-", "-q")
    assert ran.error(1).startswith("a.png: a broken image")


def test_force_replaces_results_and_only_these(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    save(here / "pooled/a.1-max2x2.png", colour(9, 9))
    save(here / "pooled/b.png", colour(9, 9))
    kept = (here / "pooled/b.png").read_bytes()
    assert poolcli("run", "a.png", "-s", "max:2", "--force").status == 0
    rows: Rows = grey()[..., None].tolist()
    assert pixels(here / "pooled/a.1-max2x2.png")[..., None].tolist() == halved(rows)
    assert (here / "pooled/b.png").read_bytes() == kept


@pytest.mark.parametrize("name", ["png", "npy", "tiff", "webp", "jpg"])
def test_results_in_the_format_asked_for(poolcli: Run, here: Path, name: str) -> None:
    save(here / "a.png", np.full((8, 8, 3), 90))
    assert poolcli("run", "a.png", "-s", "max:2", "--format", name).status == 0
    path = here / f"pooled/a.1-max2x2.{name}"
    result = np.load(path) if name == "npy" else pixels(path)
    assert result.tolist() == np.full((4, 4, 3), 90).tolist()


def test_the_same_format_as_the_input(poolcli: Run, here: Path) -> None:
    Image.fromarray(colour(8, 8)).save(here / "a.jpeg")
    save(here / "b.npy", grey())
    Image.fromarray(colour(8, 8)).save(here / "c.webp", lossless=True)
    Image.fromarray(grey()).save(here / "d.bmp")
    ran = poolcli(
        "run", "a.jpeg", "b.npy", "c.webp", "d.bmp", "-s", "max:2", "--format", "same", "-q"
    )
    assert ran.status == 1
    assert "error: d.bmp: results can't be written as bmp: say --format with one of png" in ran.err
    assert tree(here / "pooled") == ["a.1-max2x2.jpg", "b.1-max2x2.npy", "c.1-max2x2.webp"]


def test_deep_images_become_tiff_and_what_no_picture_holds_becomes_npy(
    poolcli: Run, here: Path
) -> None:
    save(here / "i.tiff", grey(), "int32")
    save(here / "f.tiff", grey(), "float32")
    save(here / "s.png", grey().astype(np.uint16) * 999, "uint16")
    assert poolcli("run", "i.tiff", "f.tiff", "s.png", "-s", "max:2").status == 0
    assert tree(here / "pooled") == ["f.1-max2x2.tiff", "i.1-max2x2.tiff", "s.1-max2x2.png"]
    save(here / "c.png", colour())
    assert poolcli("run", "c.png", "-s", "max:2", "--dtype", "float32").status == 0
    assert np.load(here / "pooled/c.1-max2x2.npy").dtype == np.float32


def test_max_pixels(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey(4, 6))
    said = poolcli("run", "a.png", "-s", "max:2", "--max-pixels", "23").error(1)
    assert said == "a.png: 6×4 are more than 23 pixels: raise --max-pixels if you trust the file"
    assert poolcli("run", "a.png", "-s", "max:2", "--max-pixels", "24").status == 0


def test_nothing_of_a_finished_run_is_left_but_its_results(poolcli: Run, here: Path) -> None:
    save(here / "a.png", grey())
    assert poolcli("run", "a.png", "-s", "max:2", "--sheet", "out/s.png").status == 0
    assert tree(here) == ["a.png", "out", "out/s.png", "pooled", "pooled/a.1-max2x2.png"]


def closed_pipe(here: Path, *arguments: str) -> Ran:
    """Run the program with a reader that has already left."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "poolcli", *arguments],
        stdout=writer,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        cwd=here,
        env=environment(),
        timeout=30,
        check=False,
    )
    os.close(writer)
    return Ran(done.returncode, b"", done.stderr.decode())


@pytest.mark.parametrize(
    "arguments",
    [
        ("shape", "3x224x224", "-s", "max:2"),
        ("shape", "3x224x224", "-s", "max:2", "--json"),
        ("shape", "3x224x224", "-s", "max:2", "--explain"),
        ("ops",),
        ("--help",),
        ("run", "a.png", "-s", "max:2", "-o", "-", "-q"),
        ("run", "a.png", "-s", "max:2", "--json", "-n"),
    ],
    ids=" ".join,
)
def test_a_closed_pipe_is_silent(here: Path, arguments: tuple[str, ...]) -> None:
    save(here / "a.png", grey())
    assert closed_pipe(here, *arguments).err == ""


def test_standard_input_that_is_closed_is_no_accident(here: Path) -> None:
    """As a service manager may start it: python has no sys.stdin then."""
    save(here / "a.png", grey())
    for word, status in (("a.png", 0), ("-", 1)):
        done = subprocess.run(
            ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-m", "poolcli", "run", word, "-q",
             "-s", "max:2"],
            capture_output=True, cwd=here, env=environment(), timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode in (status, 2 * status), done
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_run_that_is_ended_while_it_reads(
    here: Path, number: signal.Signals, status: int, said: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "poolcli", "run", "-", "-s", "max:2"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=here,
        env=environment(),
    ) as child:
        assert child.stdin is not None
        assert child.stderr is not None
        child.stdin.write(bytes(1 << 20))  # more than a pipe holds: the program is reading by now
        child.stdin.flush()
        drained = bytearray(4)
        while ioctl(child.stdin, FIONREAD, drained) == 0 and any(drained):
            time.sleep(0.01)
        # A signal between two read(2) is seen after the next one only: let the program wait in it.
        time.sleep(0.2)
        child.send_signal(number)
        try:
            child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
        err = child.stderr.read().decode()
    assert child.returncode == status
    assert err.strip().startswith(f"error: {said}")
    assert "Traceback" not in err
    assert tree(here) == []


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (lambda: picture(colour(64, 64), "TIFF")[:-20], 1, "error: a.img: a broken image: "),
        (
            lambda: picture(colour(64, 64), "JPEG").replace(
                b"\xff\xdb", b"\xff\xe1\x00\x10Exif\0\0garbage!\xff\xdb", 1
            ),
            0,
            "warning: a.img: EXIF can't be read and is dropped: ",
        ),
        (
            # A directory behind the end of its block, of which Pillow warns in its own words.
            lambda: picture(colour(64, 64), "JPEG").replace(
                b"\xff\xdb", b"\xff\xe1\x00\x12Exif\0\0II*\0\xff\0\0\0xx\xff\xdb", 1
            ),
            0,
            "warning: a.img: EXIF: 1 of its fields can't be read and are dropped",
        ),
    ],
    ids=["truncated TIFF", "corrupt EXIF", "EXIF cut short"],
)
def test_pillows_own_warnings_are_not_shown_as_python(
    process: Run, here: Path, content: Any, status: int, said: str
) -> None:
    (here / "a.img").write_bytes(content())
    ran = process("run", "a.img", "-s", "max:2", "-q")
    assert ran.status == status
    assert "Warning" not in ran.err
    assert ".py" not in ran.err
    (line,) = ran.err.splitlines()
    assert line.startswith(said)
