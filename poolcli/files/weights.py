"""Arrays that a spec names: weights, biases, samples."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from poolcli.errors import InputError, SpecError
from poolcli.files.inputs import Source
from poolcli.memory import in_words

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


_LARGEST: Final = 1 << 30
"""Bytes: the largest layers in use take half as many."""


@lru_cache(maxsize=64)
def _load(path: str, _changed: int) -> Array:
    from poolcli.files import arrays

    with Source(path).opened() as stream:
        header = arrays.read_header(stream)
        if header.nbytes > _LARGEST:
            raise InputError(f"{in_words(header.nbytes)}, of which {in_words(_LARGEST)} are read")
        array = arrays.read_elements(stream, header)
    array.flags.writeable = False
    return array
