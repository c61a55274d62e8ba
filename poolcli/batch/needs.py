"""How much memory one input takes: whole, or read, pooled and written in parts. Integers only."""

from __future__ import annotations

from dataclasses import dataclass

from poolcli import memory
from poolcli.batch.jobs import Job, Options, Result
from poolcli.dtypes import ITEM_SIZES
from poolcli.errors import PlanError
from poolcli.files import formats
from poolcli.files.weights import bytes_of
from poolcli.memory import Streaming

_ASIDE = 4 << 20
"""Bytes of what is cut out of a picture, and of buffers of encoders and decoders."""


@dataclass(frozen=True, slots=True)
class Parts:
    """How an input is run in parts, and how many bytes that takes with all that is held."""

    way: Streaming
    needed: int


def whole(job: Job) -> int:
    """Return how many bytes a job takes with its input whole in memory."""
    saved = {result.step.index for result in job.results} | observed(job)
    if job.lighting is None:
        running = memory.needed_at_once(job.plan, saved)
    else:
        running = job.lighting.needed(job.plan, saved)
    panels = 0 if job.panels is None else job.panels.needed
    places = sum(step.elements * 8 for step in job.plan.steps if step.index in job.plan.undone)
    writing = places + max((_writing_whole(job, result) for result in job.results), default=0)
    return max(_reading(job), running + panels, writing + panels) + _aside(job)


def in_parts(job: Job, options: Options) -> Parts:
    """Return how to run a job in parts, if it can be, within the memory.

    Raises
    ------
    PlanError
        If it can't, with the reason.
    """
    held = source_bytes(job) + sum(result.step.bytes for result in job.results if is_held(result))
    panels = 0 if job.panels is None else job.panels.needed
    held += panels + _aside(job)
    largest = max((_encoding(job, result) for result in job.results if is_held(result)), default=0)
    # What is encoded comes last, when the input is not needed any more.
    last = held - source_bytes(job) + largest
    opening = source_bytes(job) + job.header.decoding
    before = max(opening, last)
    if before > options.memory:
        what = "encoding its results" if last > opening else "reading it"
        if panels > before // 2:
            what = "its contact sheet"
        raise PlanError(f"{what} takes {memory.in_words(before)}")
    if held >= options.memory:
        raise PlanError(f"what is held beside its parts takes {memory.in_words(held)}")
    plan = job.plan if job.lighting is None else job.lighting.plan
    saved = {result.step.index for result in job.results} | observed(job)
    way = memory.streaming(plan, saved, options.memory - held)
    return Parts(way, max(before, held + way.needed))


def observed(job: Job) -> set[int]:
    """Return the indices of the steps that a contact sheet shows."""
    return set() if job.panels is None else {step.index for step in job.plan.steps}


def is_held(result: Result) -> bool:
    """Whether a result is held whole until it is written, although its input is read in parts."""
    return result.format != "npy" or result.path is None


def source_bytes(job: Job) -> int:
    """Return how many bytes an input takes from which parts are read."""
    if job.header.is_image:
        return job.header.picture
    # What is not in C order is held whole.
    return job.size if job.header.decoding else 0


def _reading(job: Job) -> int:
    """Return how many bytes it takes to decode an input and to make one array of it."""
    header = job.header
    if header.is_image:
        # Frames are one array already.
        copied = 0 if header.layout.startswith("N") else job.size
        return header.picture + max(header.decoding, copied)
    return job.size + header.decoding


def _writing_whole(job: Job, result: Result) -> int:
    """Return how many bytes are held, at most, while a result is encoded."""
    step = result.step
    carried = step.carried if job.lighting is None else "float64"
    held = step.elements * ITEM_SIZES[carried] + (step.bytes if step.dtype != carried else 0)
    return held + _encoding(job, result)


def _encoding(job: Job, result: Result) -> int:
    step = result.step
    in_memory = result.path is None
    return formats.encoding_bytes(
        result.format, step.shape, job.header.layout, step.dtype, in_memory=in_memory
    )


def _aside(job: Job) -> int:
    pictured = job.header.is_image or any(result.format != "npy" for result in job.results)
    largest = max((result.step.bytes for result in job.results), default=0)
    light = 0 if job.lighting is None else job.lighting.aside
    return light + _weights(job) + (min(_ASIDE, job.size + largest) if pictured else 0)


def _weights(job: Job) -> int:
    """Return how many bytes the files take that stages name."""
    paths = dict.fromkeys(path for step in job.plan.steps for path in step.stage.files)
    try:
        return bytes_of(paths, whole_numbers=job.plan.dtype[0] != "f")
    except OSError as error:
        raise PlanError(f"weights: {error.strerror or error}") from error
