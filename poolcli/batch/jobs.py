"""What a run is asked for, what it does with each input, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Final, Literal

from poolcli.dtypes import ITEM_SIZES
from poolcli.files import names
from poolcli.files.alike import Suspects
from poolcli.files.folders import Folders
from poolcli.files.formats import Encoding
from poolcli.files.inputs import MAX_PIXELS, Source
from poolcli.layouts import layout_advice
from poolcli.lighting import Lighting
from poolcli.maps import Header
from poolcli.plan import Plan, Step

if TYPE_CHECKING:
    from poolcli.memory import Streaming
    from poolcli.report.panels import Layout

Save = Literal["all", "last", "none"]

MEMORY: Final = 1 << 30
"""Bytes that a run may take, if nothing is known of the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run does with every input."""

    output: Path | None = Path("pooled")
    """Folder of the results; None where the last one goes to standard output."""
    save: Save = "all"
    format: str | None = None
    template: str = names.DEFAULT_TEMPLATE
    layout: str | None = None
    dtype: str | None = None
    sheet: str | None = None
    force: bool = False
    max_pixels: int = MAX_PIXELS
    memory: int = MEMORY
    """Bytes for all inputs that are worked on at once."""
    jobs: int | None = None
    """Inputs worked on at once; by default as many as there are processors."""
    encoding: Encoding = field(default_factory=Encoding)
    linear: bool = False
    """Whether pictures are worked on in linear light."""
    premultiply: bool = False
    """Whether their colours are weighed by alpha."""
    debug: bool = False
    """Whether errors are told with a traceback."""
    fail_fast: bool = False
    """Whether no input is begun after one has failed."""


@dataclass(frozen=True, slots=True)
class Result:
    """Where one stage's result goes, and in which format; no path for standard output."""

    step: Step
    format: str
    path: Path | None


@dataclass(frozen=True, slots=True)
class Job:
    """One input, its plan, and where its results go."""

    source: Source
    header: Header
    plan: Plan
    results: tuple[Result, ...]
    sheet: Path | None = None
    replaceable: frozenset[Path] = frozenset()
    """Those of its files that may take the place of others."""
    unfinished: frozenset[Path] = frozenset()
    """Those that may take the place of others of which nothing is lost by that."""
    folders: Folders = field(default_factory=Folders, compare=False, repr=False)
    """Where they are written: the run's, which all its inputs share."""
    suspects: Suspects = field(default_factory=Suspects, compare=False, repr=False)
    """What all inputs of the run read and write."""
    needed: int = 0
    """Bytes held at once."""
    way: Streaming | None = None
    """How it is pooled in parts, if it is too large for the memory."""
    panels: Layout | None = None
    """The panels of its contact sheet, if there is one."""
    lighting: Lighting | None = None
    """How it is worked on as light, if it is."""

    @property
    def in_parts(self) -> bool:
        """Whether it is too large for the memory, and pooled in parts."""
        return self.way is not None

    @property
    def size(self) -> int:
        """Bytes that the input's elements take."""
        return prod(self.header.shape) * ITEM_SIZES[self.header.dtype]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that the job writes."""
        paths = [result.path for result in self.results if result.path is not None]
        return (*paths, *((self.sheet,) if self.sheet else ()))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one input. ``error`` is None where all went well."""

    source: Source
    job: Job | None = None
    error: Exception | None = None
    warnings: tuple[str, ...] = ()
    written: tuple[Path, ...] = ()
    complete: bool = False
    """Whether an earlier run had done it, so that there was nothing to do."""
    differs: str | None = None
    """Why it was done again, although it is in an earlier run's record."""
    trace: str = ""
    """The error's traceback, if that is to be told."""

    def without_frames(self, *, told: bool) -> Outcome:
        """Return it with an error that holds no frames, and with them no maps.

        Its turn to be said may come much later, and there may be thousands.
        """
        if self.error is None:
            return self
        trace = "".join(format_exception(self.error)) if told else ""
        error: BaseException | None = self.error
        while error is not None:
            error.__traceback__ = None
            error = error.__cause__ or error.__context__
        return replace(self, trace=trace)


def advice(job: Job, options: Options) -> tuple[str, ...]:
    """Return what to say of an array whose default layout is probably wrong."""
    if options.layout is not None or job.header.is_image:
        return ()
    said = layout_advice(job.header.shape, job.header.layout)
    return () if said is None else (said,)
