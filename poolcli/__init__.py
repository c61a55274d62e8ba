"""poolcli: pool images and feature maps, and work out what pooling does to their shapes.

>>> import poolcli
>>> poolcli.pool([[1, 2], [3, 4]], "max:2")
array([[4]])
>>> poolcli.plan((3, 224, 224), "max:2").steps[0].shape
(3, 112, 112)
"""

# Names are loaded when they are first used. The command's first module lies in this package: what
# is loaded here stands between Ctrl-C and the handler that the command sets.
import sys

TYPE_CHECKING = False  # type checkers know the name; importing it from typing would take time
if TYPE_CHECKING:
    from poolcli.api import pool, pool_with_indices, unpool
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
    from poolcli.plan import Plan, Step, plan
    from poolcli.stages import Chain, Stage

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

_PLACES = {
    "poolcli.api": ("pool", "pool_with_indices", "unpool"),
    "poolcli.errors": (
        *("InputError", "OutputError", "PlanError", "PoolError"),
        *("RangeError", "SpecError", "UsageError", "WindowError"),
    ),
    "poolcli.plan": ("Plan", "Step"),
    "poolcli.stages": ("Chain", "Stage"),
}
"""The modules that public names lie in."""


if not TYPE_CHECKING:
    # Hidden from type checkers, to which every unknown name would be one that exists.
    def __getattr__(name: str) -> object:
        """Load a public name when it is first used."""
        from importlib import import_module

        for place, names in _PLACES.items():
            if name in names:
                found = globals()[name] = getattr(import_module(place), name)
                return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    class _Package(type(sys)):
        """The package, with the function ``plan`` under the name of the module that it lies in."""

        @property
        def plan(self) -> object:
            from importlib import import_module

            return import_module("poolcli.plan").plan

        @plan.setter
        def plan(self, _module: object) -> None:
            """Ignore the module: importing it would hide the function."""

    sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
