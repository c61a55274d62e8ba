"""poolcli: pool images and feature maps, and work out what pooling does to their shapes.

>>> import poolcli
>>> poolcli.pool([[1, 2], [3, 4]], "max:2")
array([[4]])
>>> poolcli.plan((3, 224, 224), "max:2").steps[0].shape
(3, 112, 112)
"""

from __future__ import annotations

import sys

try:
    from typing import TYPE_CHECKING, Any

    from poolcli.errors import (
        InputError,
        OutputError,
        PlanError,
        PoolError,
        RangeError,
        SpecError,
        UsageError,
        WindowError,
    )

    # `plan` is bound here, at once, because importing the module of that name later would hide it.
    from poolcli.plan import Plan, Step, plan
    from poolcli.stages import Chain, Stage
except KeyboardInterrupt:
    # Ctrl-C while the program loads: Python calls it -m until it is found.
    if sys.argv[0] == "-m" or sys.argv[0].endswith("/poolcli"):
        sys.exit(130)
    raise

if TYPE_CHECKING:
    from poolcli.api import pool, pool_with_indices, unpool

__version__ = "0.1.0"

__all__ = [
    "Chain",
    "InputError",
    "OutputError",
    "Plan",
    "PlanError",
    "PoolError",
    "RangeError",
    "SpecError",
    "Stage",
    "Step",
    "UsageError",
    "WindowError",
    "plan",
    "pool",
    "pool_with_indices",
    "unpool",
]

_NEEDS_NUMPY = ("pool", "pool_with_indices", "unpool")


if not TYPE_CHECKING:
    # Hidden from type checkers, to which every unknown name would be one that exists.
    def __getattr__(name: str) -> Any:
        """Load what needs NumPy when it is first asked for."""
        if name in _NEEDS_NUMPY:
            from poolcli import api

            return getattr(api, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
