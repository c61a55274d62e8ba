"""From inputs to jobs: planned, cut to the memory, their results named and checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Final

from poolcli import memory
from poolcli.batch.jobs import Job, Options, Outcome, Result
from poolcli.dtypes import ITEM_SIZES
from poolcli.errors import InputError, OutputError, PlanError, UsageError
from poolcli.files import formats, names
from poolcli.files.inputs import Source
from poolcli.plan import plan_chain
from poolcli.stages import Chain


def prepare(sources: Sequence[Source], chain: Chain, options: Options) -> list[Job | Outcome]:
    """Plan every input, in order; one that can't be planned is an outcome with its error.

    Raises
    ------
    UsageError
        If any result's name is impossible, taken, or the output folder can't be written.
    """
    wanted = names.check_template(options.template, options.format)
    for index, stage in enumerate(chain, start=1):
        if not stage.can_run:
            raise UsageError(f"stage {index} ({stage}): without weights it can only be planned")
    prepared: list[Job | Outcome] = []
    for source in sources:
        try:
            prepared.append(_plan(source, chain, options, wanted))
        except (InputError, OutputError, PlanError) as error:
            prepared.append(Outcome(source, error=error))
    _check_names([entry for entry in prepared if isinstance(entry, Job)], sources, options)
    return prepared


def _check_names(jobs: Sequence[Job], sources: Sequence[Source], options: Options) -> None:
    inputs = [source.path for source in sources if source.path]
    results = [
        (job.source.name, result.path) for job in jobs for result in job.results if result.path
    ]
    taken: dict[str, str] = {}
    if options.output is not None:
        names.check_folder(options.output)
        names.check_outputs(results, inputs, options.output, taken, force=options.force)
    if options.sheet is not None:
        names.check_sheet(options.sheet, len(sources))
        sheets = [(job.source.name, job.sheet) for job in jobs if job.sheet]
        for _, sheet in sheets:
            names.check_folder(sheet.parent)
        names.check_outputs(sheets, inputs, None, taken, force=options.force)


def _plan(source: Source, chain: Chain, options: Options, wanted: str | None) -> Job:
    header = source.read_header(options.layout, options.max_pixels)
    plan = plan_chain(chain, header.shape, layout=header.layout, dtype=header.dtype)
    plan = formats.saved_plan(plan, header, wanted, options.dtype)
    if options.sheet is not None and 0 in header.shape:
        raise OutputError("it has no elements to show on a contact sheet")
    saved = {"all": plan.steps, "last": plan.steps[-1:], "none": ()}[options.save]
    results = []
    for step in saved:
        name = formats.choose(wanted, header, step.shape, step.dtype)
        path = None
        if options.output is not None:
            suffix = formats.SUFFIXES[name]
            file_name = names.result_name(options.template, source.file_name, step, suffix)
            path = options.output / source.folder / file_name
        results.append(Result(step, name, path))
    job = Job(source, header, plan, tuple(results), _sheet_path(source, options))
    return _within_memory(job, options)


_DRAWN_IN: Final = 6
"""Bytes that a contact sheet takes for each byte of what it shows."""


def _within_memory(job: Job, options: Options) -> Job:
    """Return the job with the memory that it takes, in parts if it has to be.

    Raises
    ------
    InputError
        If it takes more than it may.
    """
    saved = {result.step.index for result in job.results}
    needed = memory.needed_at_once(job.plan, saved)
    held = prod(job.header.shape) * ITEM_SIZES[job.header.dtype]
    if job.header.is_image:
        # What is decoded is copied once.
        needed += held
    elif needed + held > options.memory and not job.source.can_be_read_in_parts():
        # Fortran order is turned into C order, which takes it twice.
        needed += held
    if job.sheet is not None:
        # Every result is kept, and drawn from.
        needed += _DRAWN_IN * (held + sum(step.bytes for step in job.plan.steps))
    if needed <= options.memory:
        return replace(job, needed=needed)
    if job.header.is_image:
        reason = "images are held whole"
    elif job.sheet is not None or any(result.path is None for result in job.results):
        reason = "a contact sheet or standard output needs whole results"
    elif any(result.format != "npy" for result in job.results):
        reason = "arrays are written as pictures whole"
    elif not job.source.can_be_read_in_parts():
        reason = "its elements are in Fortran order, which can't be read in parts"
    else:
        try:
            way = memory.streaming(job.plan, saved, options.memory)
        except PlanError as error:
            reason = str(error)
        else:
            return replace(job, needed=way.needed, in_parts=True)
    allowed = memory.in_words(options.memory)
    raise InputError(
        f"it takes {memory.in_words(needed)} at once, of which --memory allows {allowed}: {reason}"
    )


def _sheet_path(source: Source, options: Options) -> Path | None:
    if options.sheet is None:
        return None
    stem = names.stem(source.file_name)
    return Path(names.fill(options.sheet, {"stem": stem, "name": source.file_name}))


def check_folders(jobs: Iterable[Job]) -> None:
    """Make the folders of all results, before the first of them is written.

    Raises
    ------
    UsageError
        If one can't be made or written.
    """
    from poolcli.files import atomic

    for folder in dict.fromkeys(path.parent for job in jobs for path in job.paths):
        atomic.check_writable(folder)
        atomic.remove_leftovers(folder)
