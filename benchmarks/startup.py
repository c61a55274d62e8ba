"""The calculator's whole process beside the imports that it can't do without.

python -m benchmarks.startup
"""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.measuring import OURS, Report, in_turn

IMPORTS = [sys.executable, "-c", "import click, rich.console, rich.table"]
SHAPE = [sys.executable, "-m", "poolcli", "shape", "3x224x224", "-s", "max:2"]


def main() -> None:
    """Measure it."""
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }

    def run(command: list[str]) -> None:
        subprocess.run(command, check=True, capture_output=True, env=environment)

    report = Report("startup", "Start-up of the calculator", ("click", "rich"))
    calls = {OURS: lambda: run(SHAPE), "import click, rich": lambda: run(IMPORTS)}
    report.add("poolcli shape", "3x224x224 -s max:2", in_turn(calls, 10, 60))
    report.finish()


if __name__ == "__main__":
    main()
