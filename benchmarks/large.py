"""An array larger than memory: beside reading it and writing as many bytes with cat.

python -m benchmarks.large [GIB] [FOLDER]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measuring import OURS, Report
from poolcli.files.arrays import write_header

CHAIN = ("max:3,stride=2,pad=1", "avg:2", "max:2")


def main() -> None:
    """Measure it, with the file in the page cache and without."""
    gibibytes = float(sys.argv[1]) if len(sys.argv) > 1 else 8
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as name:
        folder = Path(name)
        shape = (int(gibibytes * 32), 2048, 4096)
        plane = np.random.default_rng(0).standard_normal(shape[1:], dtype=np.float32)
        # Written, not mapped: a child's peak memory counts what its parent held.
        with (folder / "in.npy").open("wb") as stream:
            write_header(stream, shape, "float32")
            for number in range(shape[0]):
                stream.write((plane + number).data)
        del plane
        stages = [word for spec in CHAIN for word in ("-s", spec)]
        ours = [sys.executable, "-m", "poolcli", "run", "in.npy", *stages, "-q", "-o", "out"]
        report = Report(
            "large",
            f"A float32 .npy of {gibibytes:g} GiB through {' '.join(CHAIN)}, all stages saved",
            ("pillow",),
        )
        for cached in (True, False):
            taken: dict[str, list[float]] = {OURS: [], "cat": []}
            peaks = []
            for _ in range(2):
                _remove(folder / "out")
                _cache(folder / "in.npy", cached=cached)
                start = time.perf_counter()
                process = subprocess.Popen(ours, cwd=folder)
                _, status, usage = os.wait4(process.pid, 0)
                subprocess.run(["sync", *map(str, (folder / "out").iterdir())], check=True)
                taken[OURS].append(time.perf_counter() - start)
                if status != 0:
                    raise SystemExit("poolcli failed")
                peaks.append(usage.ru_maxrss / 1024)
                size = sum(path.stat().st_size for path in (folder / "out").iterdir())
                _remove(folder / "out")
                _cache(folder / "in.npy", cached=cached)
                start = time.perf_counter()
                line = f"cat in.npy > /dev/null; head -c {size} /dev/zero | cat > out; sync out"
                subprocess.run(["sh", "-ec", line], cwd=folder, check=True)
                taken["cat"].append(time.perf_counter() - start)
                (folder / "out").unlink()
            state = "in the page cache" if cached else "page cache dropped"
            work = f"{state}, peak memory {max(peaks):.0f} MiB"
            report.add(
                "8 GiB" if gibibytes == 8 else f"{gibibytes:g} GiB",
                work,
                {name: min(times) for name, times in taken.items()},
            )
        report.finish()


def _remove(folder: Path) -> None:
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink()
        for hidden in folder.glob(".*"):
            hidden.unlink()
        folder.rmdir()


def _cache(path: Path, *, cached: bool) -> None:
    """Bring a file into the page cache, or out of it."""
    if cached:
        subprocess.run(["sh", "-ec", f"cat {path} > /dev/null"], check=True)
        return
    os.sync()
    with path.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
