"""The program run by itself, with the most memory that it held and the time of its processor."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import environment

_MEASURING = """
import resource, sys
from poolcli.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    status = ended.code or 0
else:
    status = 0
used = resource.getrusage(resource.RUSAGE_SELF)
# Unlike ru_maxrss, this is of the program alone, not of what it was forked from.
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
sys.stdout.flush()
print(f"\\n{status} {int(peak) >> 10} {used.ru_utime + used.ru_stime}")
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run of the program took."""

    status: int
    peak: int
    """MiB held at most."""
    seconds: float
    """Of the processor."""
    err: str


def measured(here: Path, *arguments: str) -> Measured:
    """Run the program in a process of its own, and measure it."""
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURING, *arguments],
        cwd=here,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    status, peak, seconds = ran.stdout.splitlines()[-1].split()
    return Measured(int(status), int(peak), float(seconds), ran.stderr)
