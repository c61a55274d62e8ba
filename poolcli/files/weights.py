"""Arrays that a spec names: weights, biases, samples."""

from __future__ import annotations

from collections.abc import Iterable
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


def load(path: str, dtype: str | None = None) -> Array:
    """Return the array of an ``.npy`` file that a spec names, read once for a whole batch.

    ``dtype`` is what it is converted to, once, too; None leaves it as it is.
    """
    try:
        return _converted(path, Path(path).stat().st_mtime_ns, dtype)
    except (InputError, OSError, ValueError) as error:
        raise SpecError(f"{path}: {error}") from error


_LARGEST: Final = 1 << 30
"""Bytes: the largest layers in use take half as many."""


def bytes_of(paths: Iterable[str], *, whole_numbers: bool) -> int:
    """Return how many bytes files that a spec names take in memory, as read and as converted.

    Maps of whole numbers are computed in float64, which may be twice as wide.
    """
    sizes = (Path(path).stat().st_size for path in paths)
    return sum(sizes) * (_WIDENED if whole_numbers else _CONVERTED)


_WIDENED: Final = 3
_CONVERTED: Final = 2


@lru_cache(maxsize=64)
def _converted(path: str, changed: int, dtype: str | None) -> Array:
    array = _load(path, changed)
    if dtype is None or array.dtype == dtype:
        return array
    converted = array.astype(dtype)
    converted.flags.writeable = False
    return converted


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
