"""Folders of photographs, from files to files: a bare thread pool, and the command-line tools.

python -m benchmarks.files [COUNT]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import poolcli
from benchmarks.measuring import OURS, Report, in_turn
from poolcli.blocks import processors
from poolcli.files.formats import PNG_LEVEL, QUALITY

HEIGHT, WIDTH = 866, 1154
OPTIONS: dict[str, dict[str, Any]] = {
    "png": {"compress_level": PNG_LEVEL},
    "jpg": {"quality": QUALITY},
}

BARE = """
    import sys
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path
    import numpy as np
    from PIL import Image
    source, ready, target = map(Path, sys.argv[1:4])
    options = eval(sys.argv[4])
    target.mkdir()
    def work(path):
        with Image.open(path) as image:
            image.load()
        Image.fromarray(np.load(ready / (path.stem + ".npy"))).save(target / path.name, **options)
    with ThreadPoolExecutor(int(sys.argv[5])) as pool:
        list(pool.map(work, sorted(source.iterdir())))
"""
WITH_TORCH = """
    import sys
    from pathlib import Path
    import numpy as np, torch
    from PIL import Image
    source, target, options = Path(sys.argv[1]), Path(sys.argv[2]), eval(sys.argv[3])
    target.mkdir()
    for path in sorted(source.iterdir()):
        array = np.asarray(Image.open(path))
        tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float()
        small = torch.nn.functional.avg_pool2d(tensor, 2).round().byte()[0].permute(1, 2, 0)
        Image.fromarray(small.contiguous().numpy()).save(target / path.name, **options)
"""


def photograph(seed: int) -> np.ndarray:
    """Return a picture with detail at all scales, as photographs have, and a little noise."""
    random = np.random.default_rng(seed)
    picture = np.zeros((HEIGHT, WIDTH, 3))
    for octave in range(2, 10):
        coarse = random.standard_normal((2**octave, 2**octave, 3))
        grown = [
            Image.fromarray(coarse[..., c].astype(np.float32)).resize(
                (WIDTH, HEIGHT), Image.Resampling.BICUBIC
            )
            for c in range(3)
        ]
        picture += np.stack([np.asarray(plane) for plane in grown], axis=-1) * 60 / octave**1.5
    noise = random.standard_normal((HEIGHT, WIDTH, 3)) * 2
    return np.clip(picture + noise + 128, 0, 255).astype(np.uint8)


def prepare(folder: Path, count: int) -> None:
    """Write photographs of both formats, and what pooling makes of them."""
    for name in ("png", "jpg", "max-png", "avg-png", "max-jpg", "avg-jpg"):
        (folder / name).mkdir()
    distinct = [photograph(seed) for seed in range(min(count, 20))]
    for number in range(count):
        array = np.roll(distinct[number % len(distinct)], number, axis=1)
        for suffix in ("png", "jpg"):
            path = folder / suffix / f"{number:04}.{suffix}"
            Image.fromarray(array).save(path, **OPTIONS[suffix])
            decoded = np.asarray(Image.open(path))
            for op in ("max", "avg"):
                pooled = poolcli.pool(decoded, f"{op}:2", layout="HWC", dtype="uint8")
                np.save(folder / f"{op}-{suffix}" / f"{number:04}.npy", pooled)


def command(folder: Path, *words: str) -> Callable[[], object]:
    """Return a call of a command that writes into a new folder, which {out} stands for."""

    def call() -> None:
        target = folder / "out"
        shutil.rmtree(target, ignore_errors=True)
        filled = [word.replace("{out}", str(target)) for word in words]
        subprocess.run(filled, check=True, capture_output=True, cwd=folder)

    return call


def shell(folder: Path, line: str) -> Callable[[], object]:
    """Return a call of a shell's line that writes into the empty folder {out}."""
    return command(folder, "sh", "-ec", f"mkdir {{out}}; {line}")


def main() -> None:
    """Measure everything."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    report = Report(
        "files",
        f"{count} photographs of 1 MP, from files to files",
        ("pillow", "torch"),
        f"Whole processes, start-up counted; PNG level {PNG_LEVEL}, JPEG quality {QUALITY}. "
        "The bare pool decodes each file and encodes pixels that were pooled before.",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, count)
        for suffix in ("png", "jpg"):
            options = repr(OPTIONS[suffix])
            for op in ("max", "avg"):
                calls = {
                    OURS: command(
                        folder, sys.executable, "-m", "poolcli", "run", suffix, "-s", f"{op}:2",
                        "-q", "--format", "same", "-o", "{out}",
                    ),
                    "bare thread pool": command(
                        folder, sys.executable, "-c", textwrap.dedent(BARE), suffix,
                        f"{op}-{suffix}", "{out}", options, str(processors()),
                    ),
                }  # fmt: skip
                if op == "avg":
                    calls["PyTorch script"] = command(
                        folder, sys.executable, "-c", textwrap.dedent(WITH_TORCH), suffix, "{out}",
                        options,
                    )  # fmt: skip
                    if shutil.which("mogrify"):
                        calls["mogrify"] = shell(
                            folder,
                            f"mogrify -path {{out}} -quality {_magick(suffix)} "
                            f"-scale 50% {suffix}/*",
                        )
                    if shutil.which("vips"):
                        written = {"png": f"[compression={PNG_LEVEL}]", "jpg": f"[Q={QUALITY}]"}
                        calls["vips shrink"] = shell(
                            folder,
                            f"ls {suffix} | xargs -P{processors()} -I@ vips shrink {suffix}/@ "
                            f"'{{out}}/@{written[suffix]}' 2 2",
                        )
                report.add(suffix.upper(), f"{op}:2", in_turn(calls, 1, 2))
    report.finish()


def _magick(suffix: str) -> int:
    """Return ImageMagick's quality: of PNG its level times ten, and 5 for adaptive filters."""
    return PNG_LEVEL * 10 + 5 if suffix == "png" else QUALITY


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    main()
