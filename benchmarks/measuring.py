"""Measures contestants in turn, and reports ratios as a table, a file and a plot."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from math import exp, log
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from poolcli.blocks import processors

RESULTS = Path(__file__).parent / "results"
OURS = "poolcli"


def in_turn(
    contestants: Mapping[str, Callable[[], object]], seconds: float = 1.0, rounds: int = 100
) -> dict[str, float]:
    """Return every contestant's median time in seconds, all of them measured in every round.

    A neighbour's noise meets all alike. Before its turn each has a pause, in which threads of the
    one before stop waiting for more, and if it is quick, a call to fill the caches.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    quick = {name: _time(call) < _QUICK for name, call in contestants.items()}
    end = time.perf_counter() + seconds * len(contestants)
    while len(times[OURS]) < rounds and (time.perf_counter() < end or len(times[OURS]) < 2):
        for name, call in contestants.items():
            time.sleep(_PAUSE)
            taken = [_time(call) for _ in range(4 if quick[name] else 1)]
            times[name] += taken[1:] or taken
    return {name: median(taken) for name, taken in times.items()}


_PAUSE = 0.01
_QUICK = 0.02


def _time(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@dataclass
class Report:
    """Rows of times, each with the ratio of every peer's time to ours: above 1 we are faster."""

    name: str
    title: str
    packages: Sequence[str]
    note: str = ""
    rows: list[tuple[str, str, dict[str, float]]] = field(default_factory=list)

    def add(self, group: str, work: str, times: dict[str, float]) -> None:
        """Add a row, and show it at once."""
        self.rows.append((group, work, times))
        ratios = ", ".join(
            f"{name} {times[name] / times[OURS]:.2f}" for name in times if name != OURS
        )
        print(f"{group}: {work}: {times[OURS] * 1e3:.3f} ms; {ratios}", flush=True)

    def finish(self) -> None:
        """Print the table, and write it to a file beside a plot."""
        RESULTS.mkdir(exist_ok=True)
        peers = list(dict.fromkeys(name for *_, times in self.rows for name in times))
        peers.remove(OURS)
        table = Table("work", "poolcli, ms", *peers, title=self.title)
        lines = [
            f"# {self.title}",
            "",
            f"{self.note} " if self.note else "",
            f"{platform.machine()}, {processors()} processors, Python {platform.python_version()}, "
            + ", ".join(f"{name} {_version(name)}" for name in ("numpy", *self.packages))
            + ". Medians; the ratio of a peer's time to poolcli's: above 1, poolcli is faster.",
            "",
            f"| work | poolcli, ms | {' | '.join(peers)} |",
            f"|---|---:|{'---:|' * len(peers)}",
        ]
        for group in dict.fromkeys(group for group, *_ in self.rows):
            mine = [(work, times) for each, work, times in self.rows if each == group]
            for work, times in mine:
                cells = [_ratio(times, peer) for peer in peers]
                table.add_row(f"{group}: {work}", f"{times[OURS] * 1e3:.3g}", *cells)
                lines.append(f"| {group}: {work} | {times[OURS] * 1e3:.3g} | {' | '.join(cells)} |")
            if len(mine) > 1:
                means = [_mean([times for _, times in mine], peer) for peer in peers]
                table.add_row(
                    f"{group}: geometric mean", "", *means, style="bold", end_section=True
                )
                cells = [f"**{mean}**" if mean else "" for mean in means]
                lines.append(f"| **{group}: geometric mean** | | {' | '.join(cells)} |")
        Console().print(table)
        target = RESULTS / f"{self.name}.md"
        target.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._plot(peers)
        print(f"written to {target}")

    def _plot(self, peers: Sequence[str]) -> None:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(figsize=(9, 1.5 + 0.2 * len(self.rows)))
        names = [f"{group}: {work}" for group, work, _ in self.rows]
        for peer in peers:
            found = [
                (row, times[peer] / times[OURS])
                for row, (_, _, times) in enumerate(self.rows)
                if peer in times
            ]
            axes.plot([ratio for _, ratio in found], [row for row, _ in found], "o", label=peer)
        axes.axvline(1, color="black", linewidth=1)
        axes.set_xscale("log")
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.invert_yaxis()
        axes.grid(axis="x", which="both", linewidth=0.3)
        axes.set_xlabel("peer's time / poolcli's time (right of 1: poolcli is faster)")
        axes.set_title(self.title, fontsize=10)
        axes.legend(fontsize=8)
        figure.tight_layout()
        figure.savefig(RESULTS / f"{self.name}.png", dpi=110)
        plt.close(figure)


def _ratio(times: Mapping[str, float], peer: str) -> str:
    return f"{times[peer] / times[OURS]:.2f}" if peer in times else ""


def _mean(rows: Sequence[Mapping[str, float]], peer: str) -> str:
    """Return the geometric mean of a peer's ratios, and the least of them."""
    ratios = [times[peer] / times[OURS] for times in rows if peer in times]
    if not ratios:
        return ""
    return f"{exp(sum(map(log, ratios)) / len(ratios)):.2f} (least {min(ratios):.2f})"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "?"
