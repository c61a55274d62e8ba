"""What a picture carries beside its pixels, and what its results say of how they were made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import PurePath
from shlex import quote
from typing import TYPE_CHECKING, Final

from poolcli import __version__
from poolcli.stages import Stage

if TYPE_CHECKING:
    from poolcli.files.exif import Resolution

_SPACES: Final = {1: b"GRAY", 2: b"GRAY", 3: b"RGB ", 4: b"RGB "}
"""The colour space of an ICC profile for pictures of so many channels."""
_SPACE: Final = slice(16, 20)
"""Where a profile names it (ICC.1:2022, 7.2)."""

_INCH: Final = 0.0254
"""In metres."""
_MOST_DOTS: Final = 2**31 - 1
"""A metre: PNG holds no more."""
_MOST_DOTS_OF_JPEG: Final = 2**16 - 1
_LARGEST: Final = 2**32
_LONGEST_PROFILES: Final = {"png": 1 << 20, "jpg": 255 * 65_519}
"""Bytes of a profile: longer ones Pillow does not read again."""
_LONGEST_OF_JPEG: Final = 65_000
"""Bytes of EXIF that fit one of its segments, with what opens it, and a resolution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a picture carries beside its pixels. Nothing of it depends on their number or form.

    Read with the pixels, given to each result, and written as far as its format holds it.
    """

    icc: bytes | None = None
    """A colour profile."""
    dpi: Resolution | None = None
    """Dots an inch, across and down."""
    exif: bytes | None = None
    """An EXIF block without orientation, which has been applied; see :mod:`poolcli.files.exif`."""
    has_note: bool = False
    """Whether a maker note is in it."""
    durations: tuple[float | None, ...] = ()
    """Milliseconds that each frame is shown; None for one that stands in for all the others."""
    plays: int | None = None
    """How often the frames are played; 0 is for ever."""
    software: str = ""
    """How the picture was made; see :func:`provenance`."""
    warnings: tuple[str, ...] = ()
    """What could not be read, in words."""

    def held_by(self, name: str, channels: int) -> Metadata:
        r"""Return what a result of a format and so many channels holds of it.

        >>> Metadata(icc=b"\0" * 16 + b"RGB ").held_by("png", 1).icc is None
        True
        """
        fits = self.icc and self.icc[_SPACE] == _SPACES.get(channels) and not self._too_long(name)
        icc = self.icc if fits else None
        if name != "jpg":
            return replace(self, icc=icc)
        whole = self.dpi and all(1 <= round(dots) <= _MOST_DOTS_OF_JPEG for dots in self.dpi)
        exif = self.exif if len(self.exif or b"") <= _LONGEST_OF_JPEG else None
        return replace(self, icc=icc, dpi=self.dpi if whole else None, exif=exif)

    def _too_long(self, name: str) -> bool:
        return len(self.icc or b"") > _LONGEST_PROFILES.get(name, _LARGEST)

    def losses(self, name: str) -> tuple[str, ...]:
        """Say what a result of a format has no room for, though the format holds such."""
        said = []
        if self._too_long(name):
            room = f"{name} has room for {_LONGEST_PROFILES[name]:,}"
            said.append(f"a colour profile of {len(self.icc or b''):,} bytes is dropped: {room}")
        if name == "jpg" and len(self.exif or b"") > _LONGEST_OF_JPEG:
            room = f"JPEG has room for {_LONGEST_OF_JPEG:,}"
            said.append(f"EXIF of {len(self.exif or b''):,} bytes is dropped: {room}")
        if name == "tiff" and self.has_note:
            said.append("the camera's maker note is dropped: a TIFF would not have it in its place")
        return tuple(said)


def sensible(dpi: tuple[float, ...] | None) -> Resolution | None:
    """Return a resolution that is one: two numbers, above 0, and no more than a file can say.

    >>> [sensible(dpi) for dpi in ((300, 300), (0, 72), (float("nan"), 72), (1e12, 1e12))]
    [(300.0, 300.0), None, None, None]
    """
    try:
        across, down = map(float, dpi or ())
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    fits = all(isfinite(dots) and 1 <= round(dots / _INCH) <= _MOST_DOTS for dots in (across, down))
    return (across, down) if fits else None


def stage_words(stages: Iterable[Stage]) -> tuple[str, ...]:
    """Return how a command line gives each stage; of files that it reads, the names alone.

    >>> stage_words([Stage.parse("max:2"), Stage.parse("avg:3x3,p=1")])
    ('-s max:2', '-s avg:3,pad=1')
    """
    return tuple(f"-s {_word(str(without_folders(stage)))}" for stage in stages)


def provenance(source: str, stages: Iterable[str], options: Iterable[str] = ()) -> str:
    """Return how a result was made: version, source, stages, and options that change values.

    No time and no path is in it, so that equal inputs of equal names give equal results. ``stages``
    are :func:`stage_words`.

    >>> provenance("truck.png", ["-s max:2", "-s avg:3,pad=1"], ["--linear"])
    'poolcli 0.1.0: truck.png -s max:2 -s avg:3,pad=1 --linear'
    """
    words = [_word(source), *stages, *map(_word, options)]
    return f"poolcli {__version__}: {' '.join(words)}"


def _word(text: str) -> str:
    """Return a word as a shell would be told it, on one line."""
    return quote("".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in text))


def without_folders(stage: Stage) -> Stage:
    """Return a stage that names the files it reads without their folders."""
    own = tuple((key, PurePath(at).name if isinstance(at, str) else at) for key, at in stage.own)
    samples = None if stage.samples is None else PurePath(stage.samples).name
    return replace(stage, own=own, samples=samples)
