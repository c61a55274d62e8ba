"""What can go wrong, by who has to mend it. Nothing here knows of the command line."""


class PoolError(Exception):
    """Base of every error that poolcli raises on purpose. Its text is one line."""


class SpecError(PoolError, ValueError):
    """A stage, recipe, layout or dtype that can't be read as written.

    ``key`` names the part of a stage that is wrong, so that its text can be pointed at.
    """

    def __init__(self, reason: str, key: str = "") -> None:
        super().__init__(reason)
        self.key = key


class WindowError(PoolError, ValueError):
    """A window that has no place on one axis. The plan adds which stage and which axis."""


class PlanError(PoolError, ValueError):
    """A chain that doesn't fit the shape, layout or dtype it is asked to work on."""


class RangeError(PoolError, ValueError):
    """A result that its dtype can't hold, such as a sum beyond 64 bits."""


class InputError(PoolError):
    """An input that is missing, unreadable, or not what it says it is."""


class OutputError(PoolError):
    """A result that can't be written."""


class UsageError(PoolError):
    """A request that can't be carried out as typed; found before anything is written."""
