"""The memory that a run takes if nobody says: a share of the machine's or its control group's."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolcli import batch
from poolcli.files import machine
from tests.conftest import Run, grey, save

GIB = 1 << 30


def groups(here: Path, membership: str, limits: dict[str, str]) -> list[int]:
    """Return the limits that are found where groups look like this."""
    (here / "cgroup").write_text(membership)
    for name, text in limits.items():
        path = here / "mounts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return list(machine.control_group_limits(here / "cgroup", here / "mounts"))


UNLIMITED = "9223372036854771712"


@pytest.mark.parametrize(
    ("membership", "limits", "expected"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": str(8 * GIB)}, [8 * GIB]),
        ("0::/\n", {"memory.max": str(2 * GIB)}, [2 * GIB]),
        ("0::/outside/of/it\n", {"memory.max": str(3 * GIB)}, [3 * GIB]),
        ("0::/a\n", {"unified/a/memory.max": str(GIB)}, [GIB]),
        (
            "9:cpu:/x\n4:memory:/a\n0::/\n",
            {"memory/a/memory.limit_in_bytes": "5", "memory/memory.limit_in_bytes": UNLIMITED},
            [5, int(UNLIMITED)],
        ),
        ("3:cpu,memory:/a\n", {"cpu,memory/a/memory.limit_in_bytes": "7"}, [7]),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "seven"}, []),
        ("nonsense\n:\n", {}, []),
    ],
)
def test_limits_of_control_groups_of_both_versions(
    here: Path, membership: str, limits: dict[str, str], expected: list[int]
) -> None:
    assert groups(here, membership, limits) == expected


def test_without_control_groups_there_is_no_limit(here: Path) -> None:
    assert list(machine.control_group_limits(here / "none", here)) == []


@pytest.mark.parametrize(
    ("physical", "limits", "expected"),
    [
        (64 * GIB, [], 16 * GIB),
        (64 * GIB, [8 * GIB], 2 * GIB),
        (8 * GIB, [int(UNLIMITED)], 2 * GIB),
        (2 * GIB, [], GIB),
        (None, [], GIB),
        (None, [16 * GIB], 4 * GIB),
    ],
)
def test_the_default_is_a_quarter_and_at_least_a_gibibyte(
    monkeypatch: pytest.MonkeyPatch, physical: int | None, limits: list[int], expected: int
) -> None:
    monkeypatch.setattr(machine, "_physical", lambda: physical)
    monkeypatch.setattr(machine, "control_group_limits", lambda *_: iter(limits))
    assert machine.default_memory() == expected


def test_a_run_takes_the_default_unless_told(
    poolcli: Run, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    execute_all = batch.execute_all

    def seen(
        prepared: object, options: batch.Options, *arguments: object, **more: object
    ) -> object:
        taken.append(options.memory)
        return execute_all(prepared, options, *arguments, **more)  # type: ignore[arg-type] # as given

    monkeypatch.setattr(batch, "execute_all", seen)
    monkeypatch.setattr(machine, "default_memory", lambda: 5 * GIB)
    save(here / "a.png", grey())
    assert poolcli("run", "a.png", "-s", "max:2", "-q").status == 0
    assert poolcli("run", "a.png", "-s", "max:2", "-q", "--force", "--memory", "9MB").status == 0
    assert taken == [5 * GIB, 9_000_000]
    said = " ".join(poolcli("run", "--help").out.split())
    assert "Default: a quarter of the machine's memory" in said
    assert "at least 1GiB" in said
