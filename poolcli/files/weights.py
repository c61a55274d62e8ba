"""Arrays that a spec names: weights, biases, samples."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from poolcli.errors import InputError, SpecError
from poolcli.files.inputs import Source

if TYPE_CHECKING:
    from poolcli.kernels.views import Array


def shape_of(path: str) -> tuple[int, ...]:
    """Return the shape of an ``.npy`` file that a spec names; its elements are not read.

    Raises
    ------
    SpecError
        If there is no such file, or it is no array.
    """
    from poolcli.files import arrays

    try:
        with Source(path).opened() as stream:
            return arrays.read_header(stream).shape
    except (InputError, ValueError) as error:
        # A name that no file can have, with a NUL in it, is a ValueError.
        raise SpecError(f"{path}: {error}") from error


def load(path: str) -> Array:
    """Return the array of an ``.npy`` file that a spec names, read once for a whole batch."""
    try:
        return _load(path, Path(path).stat().st_mtime_ns)
    except (InputError, OSError, ValueError) as error:
        raise SpecError(f"{path}: {error}") from error


@lru_cache(maxsize=64)
def _load(path: str, _changed: int) -> Array:
    array, _ = Source(path).read()
    array.flags.writeable = False
    return array
