"""The mend for a word that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str], likeness: float = 0.55) -> str:
    """Return the nearest known word that is at least so like, or all of them.

    >>> nearest("stide", ("stride", "pad"))
    'did you mean stride?'
    >>> nearest("zzz", ("stride", "pad"))
    'known are stride, pad'
    """
    words = list(known)
    folded = {entry.lower(): entry for entry in reversed(words)}
    near = get_close_matches(word.lower(), list(folded), n=1, cutoff=likeness)
    return f"did you mean {folded[near[0]]}?" if near else f"known are {', '.join(words)}"
