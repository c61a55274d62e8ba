"""The program: its commands, loaded when they are asked for, and the one place where errors end."""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from threading import Lock
from types import FrameType
from typing import Final, NoReturn, TextIO

import click

from poolcli import __version__, threads
from poolcli.cli import console
from poolcli.errors import PoolError, SpecError, UsageError

_COMMANDS = ("run", "shape", "ops")

FAILED = 1
MISUSED = 2

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_PATIENCE: Final = 1.0
"""Seconds that the last line may take."""
_CLEARED: Final = "\r\x1b[2K\x1b[?25h"
"""Erases the line of a bar, and shows the cursor, which it hides."""


class _Commands(click.Group):
    """Commands are modules of their name, imported only when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - Click's signature
        return list(_COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - Click's signature
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(f"poolcli.cli.{cmd_name}").command
        return command if isinstance(command, click.Command) else None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def poolcli() -> None:
    """Pool images and feature maps, and work out what pooling does to their shapes.

    \b
    poolcli run truck.png -s max:2 -s max:2
    poolcli shape 3x224x224 -s max:3,stride=2,pad=1 -s avg:global
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and end the process with its exit status.

    0 all done; 1 an input failed; 2 the command can't be carried out as typed; 130 interrupted;
    143 terminated.
    """
    _handle_signals()
    if arguments is None and not sys.warnoptions:
        # Of a broken input the error says enough; what Python or Pillow warn of stands beside it.
        warnings.simplefilter("ignore")
        # An error that nobody can catch, in a library's clearing up, concerns no result.
        sys.unraisablehook = lambda _: None
    # Blocks are worked on by threads of our own. OpenBLAS ends the process where it gets none.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        status = _status(sys.argv[1:] if arguments is None else list(arguments))
        _flush_stderr()
    except MemoryError:
        # Not even for a line of our own was there enough.
        os.write(2, b"error: out of memory\n")
        os._exit(FAILED)
    sys.exit(status)


def _status(arguments: Sequence[str]) -> int:
    if sys.stdout is None:
        console.error("standard output is closed")
        return FAILED
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows no × shows an escape instead of a traceback.
            stream.reconfigure(errors="backslashreplace")
    if "_POOLCLI_COMPLETE" in os.environ:
        from poolcli.cli import shells

        shells.register()
    try:
        status: int = poolcli.main(arguments, prog_name="poolcli", standalone_mode=False) or 0
        sys.stdout.flush()
    except Exception as error:  # noqa: BLE001 - the one boundary, where every error ends in a line
        status = _report(error, debug="--debug" in arguments)
    return status


def _handle_signals() -> None:
    for number in _SIGNALS:
        # A job in the background is started with SIGINT ignored, and stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end_now)


def _end_now(number: int, _frame: FrameType | None = None) -> NoReturn:
    """End the process, because of a signal, without waiting for threads that still work.

    Nothing is raised: a library may catch it, and Python drops what is raised while it clears up.
    """
    for more in _SIGNALS:
        signal.signal(more, signal.SIG_IGN)
    if atomic := sys.modules.get("poolcli.files.atomic"):
        atomic.remove_open()
    # Nobody may be reading what is said: that is waited for but a moment.
    said = Lock()
    said.acquire()

    def say() -> None:
        try:
            _say_last(number)
        finally:
            said.release()

    if threads.begin(say):
        said.acquire(timeout=_PATIENCE)
    else:
        # Python 3.12 begins no thread any more while it ends; an alarm, too, ends the process.
        signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + number))
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
        _say_last(number)
    os._exit(128 + number)


def _say_last(number: int) -> None:
    # Not what a bar may have put in their place, which may be at work.
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    with suppress(OSError, ValueError):
        if "rich.progress" in sys.modules and sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write(_CLEARED)
        how = "interrupted" if number == signal.SIGINT else "terminated"
        console.error(f"{how}; results so far are whole")
    with suppress(OSError, ValueError):
        if sys.stdout is not None:
            sys.stdout.flush()


def _report(error: Exception, *, debug: bool) -> int:
    """Say what went wrong, on one line, and return the exit status."""
    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        # Whoever read the output has left; that is no error.
        _drop(sys.stdout)
        return FAILED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return MISUSED
    if isinstance(error, click.ClickException | PoolError):
        console.error(_text(error))
        misused = isinstance(error, click.ClickException | UsageError | SpecError)
        return MISUSED if misused else FAILED
    if isinstance(error, MemoryError):
        console.error(f"out of memory: {_FREE_SOME}")
        return FAILED
    if isinstance(error, ImportError):
        console.error(_not_loaded(error))
        return FAILED
    if isinstance(error, FileNotFoundError) and error.filename is None:
        console.error("the working directory is gone: change to another")
        return MISUSED
    if isinstance(error, OSError):
        # Files have errors of their own; what is left is standard output, on a full disk, say.
        console.error(f"standard output: {error.strerror or error}")
        _drop(sys.stdout)
        return FAILED
    console.error(f"unexpected {type(error).__name__}: {error} (--debug shows where)")
    return FAILED


def _not_loaded(error: ImportError) -> str:
    """Say which library could not be loaded; most often there is no memory for it."""
    first: BaseException = error
    while (before := first.__cause__ or first.__context__) is not None:
        first = before
    said = " ".join(str(first).split()) or type(first).__name__
    no_memory = isinstance(first, MemoryError) or "map segment" in said or "allocate" in said
    return f"a library can't be loaded: {said}{f': {_FREE_SOME}' if no_memory else ''}"


_FREE_SOME: Final = "lower --memory or --jobs, or raise the limit that the shell sets (ulimit -v)"


def _flush_stderr() -> None:
    if sys.stderr is not None:
        try:
            sys.stderr.flush()
        except OSError:
            _drop(sys.stderr)


def _drop(stream: TextIO) -> None:
    """Let what is left in the buffer go nowhere: Python would complain once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _text(error: click.ClickException | PoolError) -> str:
    if not isinstance(error, click.ClickException):
        return str(error)
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f" (see {context.command_path} --help)" if context else ""
    return f"{error.format_message()}{hint}"
