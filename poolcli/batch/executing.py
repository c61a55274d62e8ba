"""One input: read, pooled, its results written."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from poolcli.batch import needs
from poolcli.batch.earlier import Facts, source_facts
from poolcli.batch.jobs import Job, Options, Outcome, Result, advice
from poolcli.batch.record import Record
from poolcli.errors import InputError, OutputError, PoolError
from poolcli.files import formats
from poolcli.files.formats import Encoding
from poolcli.files.metadata import Metadata, provenance, stage_words, without_folders
from poolcli.plan import Step

if TYPE_CHECKING:
    from poolcli.blocks import Band, Frame
    from poolcli.files.arrays import ArrayWriter
    from poolcli.kernels.casts import Losses
    from poolcli.kernels.views import Array
    from poolcli.report.panels import Panel
    from poolcli.streaming import Read, Write


OnRead = Callable[[Job, int], None]
"""Told of each part of a large input that has been read."""


@dataclass(frozen=True, slots=True)
class _Writing:
    """How results are written, and where they are noted."""

    options: Options
    source: Facts
    """What they are made of."""
    job: Job
    """Which of the results may replace others, and in which folders they are."""
    stdout: BinaryIO | None
    record: Record | None
    stages: tuple[str, ...]
    """How a command line gives each stage."""

    @contextmanager
    def writing(self, path: Path) -> Iterator[BinaryIO]:
        """Open a result for writing; without an error it is then noted, and takes its name."""
        from poolcli.files import atomic

        noted, may_replace = False, path in self.job.replaceable
        spoilt, folders = path in self.job.unfinished, self.job.folders
        try:
            with atomic.writing(
                path, replace=may_replace, spoilt=spoilt, folders=folders
            ) as stream:
                yield stream
                if self.record is not None:
                    self.record.add(path, stream, self.source)
                    noted = True
        except OutputError:
            if noted and self.record is not None and not may_replace:
                self.record.give_up(path)
            raise

    def telling(self, job: Job, metadata: Metadata, index: int) -> _Writing:
        """Return one whose results carry metadata, and say how a stage's result was made."""
        options = self.options
        words: list[str] = []
        if options.layout is not None:
            words += ["--layout", options.layout]
        if options.dtype is not None:
            words += ["--dtype", options.dtype]
        if job.lighting is not None:
            words += job.lighting.words
        made = provenance(job.source.file_name, self.stages[:index], words)
        carried = replace(metadata, software=made)
        encoding = replace(options.encoding, metadata=carried)
        return replace(self, options=replace(options, encoding=encoding))


def execute(  # noqa: PLR0913 - an input, and what its results go through
    job: Job,
    options: Options,
    stdout: BinaryIO | None = None,
    *,
    record: Record | None = None,
    on_read: OnRead | None = None,
    threads: int | None = None,
) -> Outcome:
    """Read one input, pool it, and write its results, each atomically.

    A failure is an outcome, not an exception, so that the other inputs go on.
    """
    written: list[Path] = []
    warnings = list(advice(job, options))
    # Taken before it is read: a source that changes meanwhile is another one later.
    facts = {} if record is None else source_facts(job.source)
    stages = stage_words(step.stage for step in job.plan.steps)
    target = _Writing(options, facts, job, stdout, record, stages)
    try:
        for path, warning in _pool_and_write(job, target, on_read, threads):
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
    outcome = Outcome(job.source, job, failure, tuple(warnings), tuple(written))
    return outcome.without_frames(told=options.debug)


def _pool_and_write(
    job: Job, target: _Writing, on_read: OnRead | None, threads: int | None
) -> Iterator[tuple[Path | None, str | None]]:
    """Yield each path written and each warning, as they come."""
    from poolcli import engine

    options = target.options
    if job.in_parts:
        yield from _stream_and_write(job, target, on_read, threads)
        return
    array, metadata = job.source.read(options.max_pixels)
    _require_unchanged(job, array.shape, array.dtype.name)
    yield from ((None, warning) for warning in metadata.warnings)
    results = {result.step.index: result for result in job.results}
    panels = _panels_of(job)
    if panels:
        panels[0].add_whole(array)
    asked = set(results) | needs.observed(job)
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
            told = target.telling(job, metadata, step.index)
            yield from _write(results[step.index], saved, job.header.layout, told)
        if panels:
            panels[step.index].add_whole(saved)
        del saved
    yield from _write_sheet(panels, job, target)


def _stream_and_write(
    job: Job, target: _Writing, on_read: OnRead | None, threads: int | None
) -> Iterator[tuple[Path | None, str | None]]:
    """Read, pool and write in parts: arrays as they are produced, pictures once they are whole."""
    counted = target.options.dtype is not None
    panels = _panels_of(job)
    whole = {
        result.step.index: _Whole.of(result.step) for result in job.results if needs.is_held(result)
    }
    running = _RunInParts(job, target, whole, panels, on_read, threads)
    # The input is freed by now, and pictures are encoded in its place.
    losses, metadata = running.run()
    yield from ((None, warning) for warning in metadata.warnings)
    results = {result.step.index: result for result in job.results}
    for step in job.plan.steps:
        if step.index not in losses:
            continue
        if warning := _loss_warning(losses[step.index], step, asked=counted):
            yield None, warning
        if step.index in whole:
            told = target.telling(job, metadata, step.index)
            array = whole.pop(step.index).array
            yield from _write(results[step.index], array, job.header.layout, told)
        elif step.index in results:
            yield results[step.index].path, None
    yield from _write_sheet(panels, job, target)


@dataclass(frozen=True, slots=True)
class _RunInParts:
    """A job that is pooled in parts, and what becomes of each."""

    job: Job
    target: _Writing
    whole: dict[int, _Whole]
    """The results that are put together in memory."""
    panels: list[Panel]
    on_read: OnRead | None
    threads: int | None

    def run(self) -> tuple[dict[int, Losses], Metadata]:
        """Pool the input, and return what each result lost and what the input carries."""
        from poolcli.streaming import stream

        job, options = self.job, self.target.options
        assert job.way is not None, "it is pooled in parts"  # noqa: S101 - narrows it
        counted = options.dtype is not None
        with ExitStack() as stack:
            source = stack.enter_context(_opened(job, options))
            files = {
                result.step.index: stack.enter_context(_written_in_parts(result, self.target))
                for result in job.results
                if not needs.is_held(result)
            }
            sinks: dict[int, tuple[_Sink, ...]] = {
                step.index: tuple(
                    kind[step.index] for kind in (files, self.whole) if step.index in kind
                )
                for step in job.plan.steps
            }
            lost: dict[int, Losses] = {}
            read, write = self._reading(source.read), self._writing(sinks, lost)
            saved = {*self.whole, *files, *needs.observed(job)}
            losses = stream(job.way, read, write, saved, counted=counted, threads=self.threads)
            if job.lighting is not None:
                losses = lost
        return {index: losses[index] for index in saved if index in losses}, source.metadata

    def _reading(self, source: Read) -> Read:
        from poolcli.blocks import Band

        job, panels, light = self.job, self.panels, self.job.lighting

        def read(frame: Frame, planes: range, low: int, high: int) -> Array:
            try:
                part = source(frame, planes, low, high)
            except OSError as error:
                raise InputError(f"can't be read: {error.strerror or error}") from error
            if self.on_read is not None:
                self.on_read(job, part.nbytes)
            if panels:
                panels[0].add(frame, Band(planes, low, high), part)
            return part if light is None else light.decoded(part, self.threads)

        return read

    def _writing(self, sinks: dict[int, tuple[_Sink, ...]], lost: dict[int, Losses]) -> Write:
        from poolcli.kernels.casts import Losses

        light, panels = self.job.lighting, self.panels
        dtypes = {step.index: step.dtype for step in self.job.plan.steps}

        def write(step: Step, frame: Frame, band: Band, array: Array) -> None:
            index = step.index
            if light is not None:
                array, losses = light.stored(array, dtypes[index], self.threads)
                lost[index] = lost.get(index, Losses()) + losses
            for sink in sinks[index]:
                sink.write(frame, band, array)
            if panels:
                panels[index].add(frame, band, array)

        return write


@dataclass(frozen=True, slots=True)
class _Opened:
    """An input of which parts are read, and what it carries."""

    read: Read
    metadata: Metadata


@contextmanager
def _opened(job: Job, options: Options) -> Iterator[_Opened]:
    """Open an input to read parts of it: an array's from its file, of all else from memory."""
    if job.header.is_image or job.header.decoding:
        decoded, metadata = job.source.decode(options.max_pixels)
        _require_unchanged(job, decoded.shape, decoded.dtype)
        yield _Opened(decoded.read, metadata)
        return
    from poolcli.files import arrays

    with job.source.opened(anywhere=True) as stream:
        reader = arrays.ArrayReader.of(stream)
        _require_unchanged(job, reader.header.shape, reader.header.name)
        if reader.header.fortran_order:
            raise InputError(_CHANGED)
        yield _Opened(reader.read, Metadata())


class _Sink(Protocol):
    """What takes a result in parts."""

    def write(self, frame: Frame, band: Band, array: Array, /) -> None: ...


@dataclass(frozen=True, slots=True)
class _Whole:
    """A result that is put together in memory."""

    array: Array

    @classmethod
    def of(cls, step: Step) -> _Whole:
        import numpy as np

        return cls(np.empty(step.shape, step.dtype))

    def write(self, frame: Frame, band: Band, array: Array) -> None:
        from poolcli.kernels.views import along

        framed = self.array.reshape(frame.shape(self.array.shape))
        planes = framed[band.planes.start : band.planes.stop]
        planes[along(frame.place, slice(band.first, band.last))] = array


@dataclass(frozen=True, slots=True)
class _InFile:
    """A result that is written as it is produced."""

    writer: ArrayWriter
    path: Path

    def write(self, frame: Frame, band: Band, array: Array) -> None:
        try:
            self.writer.write(frame, band, array)
        except OSError as error:
            raise OutputError(f"{self.path} can't be written: {error.strerror or error}") from error


@contextmanager
def _written_in_parts(result: Result, target: _Writing) -> Iterator[_InFile]:
    from poolcli.files import arrays

    assert result.path is not None, "else it is held"  # noqa: S101 - narrows it
    with target.writing(result.path) as stream:
        writer = arrays.ArrayWriter.of(stream, result.step.shape, result.step.dtype)
        yield _InFile(writer, result.path)


def _panels_of(job: Job) -> list[Panel]:
    """Return the panels of a job's contact sheet, the input's first; none without a sheet."""
    if job.panels is None:
        return []
    from poolcli.report.panels import Panel

    header, size = job.header, job.panels.size
    panels = [Panel(job.source.file_name, header.shape, header.dtype, header.layout, size)]
    for step in job.plan.steps:
        # No path leaves the machine in a result.
        label = f"{step.index}  {without_folders(step.stage).bound_text(step.windows)}"
        panels.append(Panel(label, step.shape, step.dtype, header.layout, size))
    return panels


def _require_unchanged(job: Job, shape: tuple[int, ...], dtype: str) -> None:
    if shape != job.header.shape or dtype != job.header.dtype:
        raise InputError(_CHANGED)


_CHANGED: Final = "it changed while it was read"


def _write(
    result: Result, array: Array, layout: str, target: _Writing
) -> Iterator[tuple[Path | None, str | None]]:
    encoding, stdout = target.options.encoding, target.stdout
    said = [*encoding.metadata.losses(result.format)]
    if result.format != "npy":
        from poolcli.files.pictures import draw

        if not formats.holds(result.format, array.shape, layout, array.dtype.name):
            array, layout, drawn = draw(array, layout, result.format)
            said += [drawn] if drawn else []
    for warning in said:
        yield None, f"stage {result.step.index} ({result.step.stage}): {warning}"
    if result.path is None and result.format == "npy":
        assert stdout is not None, "the caller gives it where there is no path"  # noqa: S101 - narrows it
        with _standard_output(stdout):
            _encode(stdout, array, layout, result.format, encoding)
        return
    if result.path is None:
        assert stdout is not None, "the caller gives it where there is no path"  # noqa: S101 - narrows it
        encoded = io.BytesIO()
        _encode(encoded, array, layout, result.format, encoding)
        with _standard_output(stdout):
            stdout.write(encoded.getbuffer())
        return
    with target.writing(result.path) as stream:
        _encode(stream, array, layout, result.format, encoding)
    yield result.path, None


@contextmanager
def _standard_output(stream: BinaryIO) -> Iterator[None]:
    """Write to standard output inside, and out of its buffer in the end."""
    try:
        yield
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output: {error.strerror or error}") from error


def _encode(stream: BinaryIO, array: Array, layout: str, name: str, encoding: Encoding) -> None:
    if name == "npy":
        from poolcli.files import arrays

        arrays.write(stream, array)
    else:
        from poolcli.files import images

        images.write(stream, array, layout, name, encoding)


def _write_sheet(
    panels: list[Panel], job: Job, target: _Writing
) -> Iterator[tuple[Path | None, str | None]]:
    if job.sheet is None:
        return
    from poolcli.files import images
    from poolcli.report.sheet import laid_out

    told = target.telling(job, Metadata(), len(job.plan.steps))
    name = formats.of_suffix(job.sheet.suffix)
    assert name is not None, "check_sheet saw to it"  # noqa: S101 - narrows it
    with told.writing(job.sheet) as stream:
        images.write(stream, laid_out(panels), "HWC", name, told.options.encoding)
    yield job.sheet, None


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
