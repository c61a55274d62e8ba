"""From inputs to jobs: planned, cut to the memory, their results named and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from poolcli import memory
from poolcli.batch import needs
from poolcli.batch.earlier import Earlier
from poolcli.batch.jobs import Job, Options, Outcome, Result
from poolcli.errors import InputError, OutputError, PlanError, UsageError
from poolcli.files import formats, names
from poolcli.files.alike import Suspects, loosest_key
from poolcli.files.folders import Folders
from poolcli.files.inputs import Source
from poolcli.lighting import Lighting, lighting
from poolcli.maps import Header
from poolcli.plan import Plan, plan_chain
from poolcli.stages import Chain

if TYPE_CHECKING:
    from poolcli.report.panels import Layout


def prepare(
    sources: Sequence[Source],
    chain: Chain,
    options: Options,
    *,
    others: Sequence[Source] = (),
    earlier: Earlier | None = None,
) -> list[Job | Outcome]:
    """Plan every input, in order; one that can't be planned is an outcome with its error.

    Parameters
    ----------
    sources
        The inputs.
    chain, options
        What is done with each of them.
    others
        Inputs of the same list that are left to other runs; no result may be one of theirs.
    earlier
        What earlier runs left, if their results may be replaced.

    Raises
    ------
    UsageError
        If any result's name is impossible, taken, or the output folder can't be written.
    """
    wanted = names.check_template(options.template, options.format)
    for index, stage in enumerate(chain, start=1):
        if not stage.can_run:
            raise UsageError(f"stage {index} ({stage}): without weights it can only be planned")
    # What is known of earlier results holds of the folder that it was read in, and of no other.
    folders = Folders(options.output) if earlier is None else earlier.written
    suspects = Suspects()
    planner = _Planner(chain, options, wanted, earlier, folders, suspects)
    prepared = [planner.prepared(source) for source in sources]
    rivals = [planner.prepared(source) for source in _rivals(sources, others, options)]
    inputs = [source.path for source in (*sources, *others) if source.path]
    inputs += [Path(path) for stage in chain for path in stage.files]
    if options.output is not None:
        names.check_folder(options.output)
    if options.sheet is not None:
        names.check_sheet(options.sheet, len(sources) + len(others))
    claims = names.Claims.of(inputs, _MENDS[earlier is not None], folders, suspects)
    _claim(prepared, options, claims, own=True)
    # What others have done already is theirs to replace.
    _claim(rivals, options, claims, own=False)
    return prepared


_MENDS: Final = {
    False: "give --force to replace it, --resume to go on with a run, or another --output",
    True: "no record says that it was made of this input: give --force, or another --output",
}
"""What helps where a result exists, without ``--resume`` and with it."""


def _rivals(
    sources: Sequence[Source], others: Sequence[Source], options: Options
) -> Iterator[Source]:
    """Yield those of the others whose results might have the names of these inputs'."""
    keys = {key for source in sources if others for key in _name_keys(source, options)}
    yield from (source for source in others if keys & _name_keys(source, options))


def _name_keys(source: Source, options: Options) -> set[tuple[str, str]]:
    """Return what two inputs have to have in common for two of their results to share a name."""
    alike: dict[str, str | int] = {"index": 1, "label": "", "op": "", "ext": ""}
    own = names.fields_of(source.place)
    keys = {(source.folder, names.fill(options.template, alike | own))}
    if options.sheet is not None:
        keys.add(("sheet", names.fill(options.sheet, own)))
    # Some disks take more names for one than others.
    return {(loosest_key(folder), loosest_key(name)) for folder, name in keys}


def _claim(
    prepared: Iterable[Job | Outcome], options: Options, claims: names.Claims, *, own: bool
) -> None:
    jobs = [entry for entry in prepared if isinstance(entry, Job)]
    replaceable = {
        path for job in jobs for path in (job.replaceable | job.unfinished if own else job.paths)
    }
    results = [
        (job.source.name, result.path) for job in jobs for result in job.results if result.path
    ]
    claims.add(results, options.output, replaceable)
    sheets = [(job.source.name, job.sheet) for job in jobs if job.sheet]
    for folder in {sheet.parent for _, sheet in sheets}:
        names.check_folder(folder)
    claims.add(sheets, None, replaceable)


@dataclass(slots=True)
class _Planner:
    """Plans inputs, those of the same shape and kind but once."""

    chain: Chain
    options: Options
    wanted: str | None
    earlier: Earlier | None
    folders: Folders
    suspects: Suspects
    known: dict[Header, tuple[Plan, Lighting | None]] = field(default_factory=dict)

    def prepared(self, source: Source) -> Job | Outcome:
        try:
            options = self.options
            header = source.read_header(options.layout, options.max_pixels, options.memory)
            if header not in self.known:
                self.known[header] = self._planned(header)
            return _within_memory(self._job(source, header), self.options)
        except (InputError, OutputError, PlanError) as error:
            return Outcome(source, error=error).without_frames(told=self.options.debug)

    def _planned(self, header: Header) -> tuple[Plan, Lighting | None]:
        chain, options = self.chain, self.options
        plan = plan_chain(chain, header.shape, layout=header.layout, dtype=header.dtype)
        plan = formats.saved_plan(plan, header, self.wanted, options.dtype)
        return plan, lighting(chain, header, linear=options.linear, premultiply=options.premultiply)

    def _job(self, source: Source, header: Header) -> Job:
        options = self.options
        plan, light = self.known[header]
        panels = _panels(header, plan, options)
        saved = {"all": plan.steps, "last": plan.steps[-1:], "none": ()}[options.save]
        results = []
        for step in saved:
            form = formats.choose(self.wanted, header, step.shape, step.dtype)
            path = None
            if options.output is not None:
                suffix = formats.SUFFIXES[form]
                name = names.result_name(options.template, source.place, step, suffix)
                path = options.output / source.folder / name
                names.check_length(path)
            results.append(Result(step, form, path))
        sheet = _sheet_path(source, options)
        if sheet is not None:
            names.check_length(sheet)
        job = Job(
            source,
            header,
            plan,
            tuple(results),
            sheet,
            folders=self.folders,
            suspects=self.suspects,
            lighting=light,
            panels=panels,
        )
        replaceable = frozenset(filter(self._may_replace(source), job.paths))
        job = replace(job, replaceable=replaceable)
        if self.earlier is None or len(replaceable) == len(job.paths):
            return job
        left = (path for path in job.paths if path not in replaceable)
        unfinished = frozenset(path for path in left if self.earlier.may_be_spoilt(path, source))
        return replace(job, unfinished=unfinished)

    def _may_replace(self, source: Source) -> Callable[[Path], bool]:
        earlier = self.earlier
        if self.options.force:
            return lambda _: True
        if earlier is None:
            return lambda _: False
        return lambda path: earlier.is_of(path, source)


def _within_memory(job: Job, options: Options) -> Job:
    """Return the job with the memory that it takes, in parts if it has to be.

    Raises
    ------
    InputError
        If it takes more than it may.
    """
    needed = needs.whole(job)
    if needed <= options.memory:
        return replace(job, needed=needed)
    try:
        parts = needs.in_parts(job, options)
    except PlanError as error:
        allowed = memory.in_words(options.memory)
        raise InputError(
            f"it takes {memory.in_words(needed)} at once, of which --memory allows {allowed}: "
            f"{error}"
        ) from error
    return replace(job, needed=parts.needed, way=parts.way)


def _panels(header: Header, plan: Plan, options: Options) -> Layout | None:
    """Return the panels of an input's contact sheet, if there is to be one."""
    if options.sheet is None:
        return None
    from poolcli.report.panels import Layout

    if 0 in header.shape:
        raise OutputError("it has no elements to show on a contact sheet")
    maps = [(header.shape, header.dtype), *((step.shape, step.dtype) for step in plan.steps)]
    return Layout.of(maps, header.layout)


def _sheet_path(source: Source, options: Options) -> Path | None:
    if options.sheet is None:
        return None
    filled = names.fill(options.sheet, names.fields_of(source.place))
    if PurePath(filled).parts.count("..") > PurePath(options.sheet).parts.count(".."):
        # A file may be called ...png.
        raise UsageError(f"{filled} lies outside the folder of --sheet {options.sheet}")
    return Path(filled)


def check_folders(prepared: Iterable[Job | Outcome]) -> None:
    """Make the folders of all results, before the first of them is written.

    Raises
    ------
    UsageError
        If one can't be made or written, or takes the names of two results for one.
    """
    from poolcli.files import atomic

    jobs = [entry for entry in prepared if isinstance(entry, Job)]
    for folder, folders in {path.parent: job.folders for job in jobs for path in job.paths}.items():
        atomic.check_writable(folder, folders)
        atomic.remove_leftovers(folder, folders)
    if jobs:
        jobs[0].suspects.check(jobs[0].folders)


def close_folders(prepared: Iterable[Job | Outcome]) -> None:
    """Close the folders of all results, which were open for the run."""
    for entry in prepared:
        if isinstance(entry, Job):
            entry.folders.close()
            return
