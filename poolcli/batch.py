"""Many inputs: every one planned and its results' names checked before the first is written."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

from poolcli import memory
from poolcli.blocks import processors
from poolcli.dtypes import ITEM_SIZES
from poolcli.errors import InputError, OutputError, PlanError, PoolError, UsageError
from poolcli.files import formats, names
from poolcli.files.formats import Encoding
from poolcli.files.inputs import MAX_PIXELS, Source
from poolcli.files.metadata import Metadata, provenance
from poolcli.layouts import layout_advice
from poolcli.lighting import Lighting, lighting
from poolcli.maps import Header
from poolcli.plan import Plan, Step, plan_chain
from poolcli.stages import Chain

if TYPE_CHECKING:
    from poolcli.blocks import Band, Frame
    from poolcli.kernels.casts import Losses
    from poolcli.kernels.views import Array

Outcomes = Generator["Outcome", None, None]
Save = Literal["all", "last", "none"]

MEMORY: Final = 512 << 20
"""Bytes that a run takes, unless told otherwise."""


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
    needed: int = 0
    """Bytes held at once."""
    in_parts: bool = False
    """Whether it is too large for the memory, and read, pooled and written in parts."""
    lighting: Lighting | None = None
    """How it is worked on as light, if it is."""

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
    written: tuple[Path, ...] = field(default=())


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
    lit = lighting(chain, header, linear=options.linear, premultiply=options.premultiply)
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
    sheet = _sheet_path(source, options)
    job = Job(source, header, plan, tuple(results), sheet, lighting=lit)
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
    needed = (
        memory.needed_at_once(job.plan, saved)
        if job.lighting is None
        else job.lighting.needed(job.plan, saved)
    )
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


def planned_all(prepared: Iterable[Job | Outcome], options: Options) -> Outcomes:
    """Yield the outcomes of a run that only plans."""
    for entry in prepared:
        if isinstance(entry, Outcome):
            yield entry
        else:
            yield Outcome(entry.source, entry, warnings=_advice(entry, options))


def execute_all(
    prepared: Sequence[Job | Outcome], options: Options, stdout: BinaryIO | None = None
) -> Outcomes:
    """Yield what became of every input, in order, several worked on at once.

    Together they stay within the memory: an input waits until enough of it is free.
    """
    jobs = options.jobs or processors()
    if jobs == 1 or len(prepared) == 1:
        for entry in prepared:
            yield entry if isinstance(entry, Outcome) else execute(entry, options, stdout)
        return
    room = _Room(options.memory)
    planned = sum(isinstance(entry, Job) for entry in prepared)
    threads = max(1, processors() // min(jobs, planned or 1))

    def work(entry: Job | Outcome) -> Outcome:
        if isinstance(entry, Outcome):
            return entry
        with room.taken(entry.needed):
            return execute(entry, options, stdout, threads=threads)

    pool = ThreadPoolExecutor(jobs, thread_name_prefix="poolcli-job")
    waiting: deque[Future[Outcome]] = deque()
    try:
        for entry in prepared:
            waiting.append(pool.submit(work, entry))
            # So many that no thread waits for a slow one's turn, and few to be given up.
            while len(waiting) > _AHEAD * jobs or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Whoever ends a run early does not wait for the inputs in work.
        pool.shutdown(wait=False, cancel_futures=True)


_AHEAD: Final = 16
"""Inputs for each thread that may be done before those in front of them."""


class _Room:
    """Memory that inputs share."""

    def __init__(self, size: int) -> None:
        self.free = self.size = size
        self.changed = Condition()

    @contextmanager
    def taken(self, needed: int) -> Iterator[None]:
        """Wait until so much is free, or all of it, and hold it."""
        share = min(needed, self.size)
        with self.changed:
            self.changed.wait_for(lambda: self.free >= share)
            self.free -= share
        try:
            yield
        finally:
            with self.changed:
                self.free += share
                self.changed.notify_all()


def execute(
    job: Job, options: Options, stdout: BinaryIO | None = None, *, threads: int | None = None
) -> Outcome:
    """Read one input, pool it, and write its results, each atomically.

    A failure is an outcome, not an exception, so that the other inputs go on.
    """
    written: list[Path] = []
    warnings = list(_advice(job, options))
    try:
        for path, warning in _pool_and_write(job, options, stdout, threads):
            if path is not None:
                written.append(path)
            if warning is not None:
                warnings.append(warning)
    except MemoryError:
        needed = f"{job.plan.peak_bytes:,} bytes at once"
        failure: PoolError | None = InputError(f"too large for this machine's memory ({needed})")
    except PoolError as error:
        failure = error
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a library raises, the other inputs go on
        failure = PoolError(f"unexpected {type(error).__name__}: {' '.join(str(error).split())}")
        failure.__cause__ = error
    else:
        failure = None
    return Outcome(job.source, job, failure, tuple(warnings), tuple(written))


def _pool_and_write(
    job: Job, options: Options, stdout: BinaryIO | None, threads: int | None
) -> Iterator[tuple[Path | None, str | None]]:
    """Yield each path written and each warning, as they come."""
    from poolcli import engine

    if job.in_parts:
        yield from _stream_and_write(job, options, threads)
        return
    array, metadata = job.source.read(options.max_pixels)
    _require_unchanged(job, array.shape, array.dtype.name)
    yield from ((None, warning) for warning in metadata.warnings)
    results = {result.step.index: result for result in job.results}
    shown = [("input", array)] if job.sheet is not None else []
    asked = None if job.sheet is not None else set(results)
    counted = options.dtype is not None
    run = engine.run if job.lighting is None else job.lighting.run
    running = run(job.plan, array, saved=asked, counted=counted, threads=threads)
    # Nothing is held here that the engine is done with.
    del array
    for step, saved, lost in ((each.step, each.array, each.losses) for each in running):
        if saved is None:
            continue
        if warning := _loss_warning(lost, step, asked=counted):
            yield None, warning
        if step.index in results:
            told = _telling(options, metadata, job, step.index)
            yield from _write(results[step.index], saved, job.header.layout, told, stdout)
        if job.sheet is not None:
            shown.append((f"{step.index}  {step.spec}", saved))
    if job.sheet is not None:
        told = _telling(options, Metadata(), job, len(job.plan.steps))
        yield from _write_sheet(job.sheet, shown, job, told)


def _stream_and_write(
    job: Job, options: Options, threads: int | None
) -> Iterator[tuple[Path | None, str | None]]:
    """Read, pool and write in parts, every result as it is produced."""
    from poolcli.files import arrays, atomic
    from poolcli.streaming import stream

    saved = {result.step.index for result in job.results}
    way = memory.streaming(job.plan, saved, options.memory)
    counted = options.dtype is not None
    with job.source.opened() as source, ExitStack() as stack:
        reader = arrays.ArrayReader.of(source)
        _require_unchanged(job, reader.header.shape, reader.header.name)
        paths = {result.step.index: result.path for result in job.results if result.path}
        writers = {}
        for result in job.results:
            step = result.step
            writing = atomic.writing(paths[step.index], replace=options.force)
            target = stack.enter_context(writing)
            writers[step.index] = arrays.ArrayWriter.of(target, step.shape, step.dtype)

        def read(frame: Frame, planes: range, low: int, high: int) -> Array:
            try:
                return reader.read(frame, planes, low, high)
            except OSError as error:
                raise InputError(f"can't be read: {error.strerror or error}") from error

        def write(step: Step, frame: Frame, band: Band, array: Array) -> None:
            try:
                writers[step.index].write(frame, band, array)
            except OSError as error:
                raise OutputError(
                    f"{paths[step.index]} can't be written: {error.strerror or error}"
                ) from error

        losses = stream(way, read, write, saved, counted=counted, threads=threads)
    for result in job.results:
        if warning := _loss_warning(losses[result.step.index], result.step, asked=counted):
            yield None, warning
        yield result.path, None


def _telling(options: Options, metadata: Metadata, job: Job, index: int) -> Options:
    """Return options by which a result carries its input's metadata, and says how it was made."""
    words: list[str] = []
    if options.layout is not None:
        words += ["--layout", options.layout]
    if options.dtype is not None:
        words += ["--dtype", options.dtype]
    if job.lighting is not None:
        words += job.lighting.words
    stages = [step.stage for step in job.plan.steps[:index]]
    software = provenance(job.source.file_name, stages, words)
    carried = replace(metadata, software=software)
    return replace(options, encoding=replace(options.encoding, metadata=carried))


def _require_unchanged(job: Job, shape: tuple[int, ...], dtype: str) -> None:
    if shape != job.header.shape or dtype != job.header.dtype:
        raise InputError("it changed while it was read")


def _write(
    result: Result, array: Array, layout: str, options: Options, stdout: BinaryIO | None
) -> Iterator[tuple[Path | None, str | None]]:
    from poolcli.files import atomic

    warning = options.encoding.metadata.loss(result.format)
    if result.format != "npy":
        from poolcli.files.pictures import draw

        if not formats.holds(result.format, array.shape, layout, array.dtype.name):
            array, layout, warning = draw(array, layout, result.format)
    if warning:
        yield None, f"stage {result.step.index} ({result.step.stage}): {warning}"
    if result.path is None:
        assert stdout is not None, "the caller gives it where there is no path"  # noqa: S101 - narrows it
        encoded = io.BytesIO()
        _encode(encoded, array, layout, result.format, options.encoding)
        try:
            stdout.write(encoded.getbuffer())
            stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"standard output: {error.strerror or error}") from error
        return
    with atomic.writing(result.path, replace=options.force) as stream:
        _encode(stream, array, layout, result.format, options.encoding)
    yield result.path, None


def _encode(stream: BinaryIO, array: Array, layout: str, name: str, encoding: Encoding) -> None:
    if name == "npy":
        from poolcli.files import arrays

        arrays.write(stream, array)
    else:
        from poolcli.files import images

        images.write(stream, array, layout, name, encoding)


def _write_sheet(
    path: Path, shown: list[tuple[str, Array]], job: Job, options: Options
) -> Iterator[tuple[Path | None, str | None]]:
    from poolcli.files import atomic, images
    from poolcli.report.sheet import contact_sheet

    title = job.source.file_name
    sheet = contact_sheet([(title, shown[0][1]), *shown[1:]], job.header.layout)
    name = formats.of_suffix(path.suffix)
    assert name is not None, "check_sheet saw to it"  # noqa: S101 - narrows it
    with atomic.writing(path, replace=options.force) as stream:
        images.write(stream, sheet, "HWC", name, options.encoding)
    yield path, None


def _loss_warning(losses: Losses, step: Step, *, asked: bool) -> str | None:
    """Say what a cast lost. Rounding to the image's own range is the rule, so it is not news."""
    counts = {
        "rounded": losses.rounded if asked else 0,
        "saturated": losses.saturated,
        "NaN made 0": losses.nan,
    }
    said = [f"{count:,} {what}" for what, count in counts.items() if count]
    if not said:
        return None
    where = f"stage {step.index} ({step.stage})"
    mend = "" if asked else " (--dtype float32 keeps them)"
    return f"{where}: of {step.elements:,} values {', '.join(said)} to fit {step.dtype}{mend}"


def _advice(job: Job, options: Options) -> tuple[str, ...]:
    if options.layout is not None or job.header.is_image:
        return ()
    advice = layout_advice(job.header.shape, job.header.layout)
    return () if advice is None else (advice,)
