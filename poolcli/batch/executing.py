"""One input: read, pooled, its results written."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from poolcli import memory
from poolcli.batch.earlier import Facts, source_facts
from poolcli.batch.jobs import Job, Options, Outcome, Result, advice
from poolcli.batch.record import Record
from poolcli.errors import InputError, OutputError, PoolError
from poolcli.files import formats
from poolcli.files.formats import Encoding
from poolcli.files.metadata import Metadata, provenance, without_folders
from poolcli.plan import Step

if TYPE_CHECKING:
    from poolcli.blocks import Band, Frame
    from poolcli.kernels.casts import Losses
    from poolcli.kernels.views import Array


OnRead = Callable[[Job, int], None]
"""Told of each part of a large input that has been read."""


@dataclass(frozen=True, slots=True)
class _Writing:
    """How results are written, and where they are noted."""

    options: Options
    source: Facts
    """What they are made of."""
    replaceable: Collection[Path]
    stdout: BinaryIO | None
    record: Record | None

    @contextmanager
    def writing(self, path: Path) -> Iterator[BinaryIO]:
        """Open a result for writing; without an error it is then noted, and takes its name."""
        from poolcli.files import atomic

        noted, may_replace = False, path in self.replaceable
        try:
            with atomic.writing(path, replace=may_replace) as stream:
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
        stages = [step.stage for step in job.plan.steps[:index]]
        carried = replace(metadata, software=provenance(job.source.file_name, stages, words))
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
    target = _Writing(options, facts, job.replaceable, stdout, record)
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
            told = target.telling(job, metadata, step.index)
            yield from _write(results[step.index], saved, job.header.layout, told)
        if job.sheet is not None:
            # No path leaves the machine in a result.
            spec = without_folders(step.stage).bound_text(step.windows)
            shown.append((f"{step.index}  {spec}", saved))
    if job.sheet is not None:
        told = target.telling(job, Metadata(), len(job.plan.steps))
        yield from _write_sheet(job.sheet, shown, job, told)


def _stream_and_write(
    job: Job, target: _Writing, on_read: OnRead | None, threads: int | None
) -> Iterator[tuple[Path | None, str | None]]:
    """Read, pool and write in parts, every result as it is produced."""
    from poolcli.files import arrays
    from poolcli.streaming import stream

    options = target.options
    saved = {result.step.index for result in job.results}
    way = memory.streaming(job.plan, saved, options.memory)
    counted = options.dtype is not None
    with job.source.opened(anywhere=True) as source, ExitStack() as stack:
        reader = arrays.ArrayReader.of(source)
        _require_unchanged(job, reader.header.shape, reader.header.name)
        paths = {result.step.index: result.path for result in job.results if result.path}
        writers = {}
        for result in job.results:
            step = result.step
            result_file = stack.enter_context(target.writing(paths[step.index]))
            writers[step.index] = arrays.ArrayWriter.of(result_file, step.shape, step.dtype)

        def read(frame: Frame, planes: range, low: int, high: int) -> Array:
            try:
                part = reader.read(frame, planes, low, high)
            except OSError as error:
                raise InputError(f"can't be read: {error.strerror or error}") from error
            if on_read is not None:
                on_read(job, part.nbytes)
            return part

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


def _require_unchanged(job: Job, shape: tuple[int, ...], dtype: str) -> None:
    if shape != job.header.shape or dtype != job.header.dtype:
        raise InputError("it changed while it was read")


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
    if result.path is None:
        assert stdout is not None, "the caller gives it where there is no path"  # noqa: S101 - narrows it
        encoded = io.BytesIO()
        _encode(encoded, array, layout, result.format, encoding)
        try:
            stdout.write(encoded.getbuffer())
            stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"standard output: {error.strerror or error}") from error
        return
    with target.writing(result.path) as stream:
        _encode(stream, array, layout, result.format, encoding)
    yield result.path, None


def _encode(stream: BinaryIO, array: Array, layout: str, name: str, encoding: Encoding) -> None:
    if name == "npy":
        from poolcli.files import arrays

        arrays.write(stream, array)
    else:
        from poolcli.files import images

        images.write(stream, array, layout, name, encoding)


def _write_sheet(
    path: Path, shown: list[tuple[str, Array]], job: Job, target: _Writing
) -> Iterator[tuple[Path | None, str | None]]:
    from poolcli.files import images
    from poolcli.report.sheet import contact_sheet

    title = job.source.file_name
    sheet = contact_sheet([(title, shown[0][1]), *shown[1:]], job.header.layout)
    name = formats.of_suffix(path.suffix)
    assert name is not None, "check_sheet saw to it"  # noqa: S101 - narrows it
    with target.writing(path) as stream:
        images.write(stream, sheet, "HWC", name, target.options.encoding)
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
