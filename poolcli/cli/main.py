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
from typing import NoReturn

import click

from poolcli import __version__
from poolcli.cli import console
from poolcli.errors import PoolError, SpecError, UsageError

_COMMANDS = ("run", "shape", "ops")

FAILED = 1
MISUSED = 2


class _Stopped(BaseException):
    """A signal asks the process to end. Nothing but the boundary catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


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
    if arguments is None and not sys.warnoptions:
        # Of a broken input the error says enough; what Python or Pillow warn of stands beside it.
        warnings.simplefilter("ignore")
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if sys.stdout is None:
        console.error("standard output is closed")
        sys.exit(FAILED)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows no × shows an escape instead of a traceback.
            stream.reconfigure(errors="backslashreplace")
    for number in (signal.SIGINT, signal.SIGTERM):
        # A job in the background is started with SIGINT ignored, and stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        status = poolcli.main(arguments, prog_name="poolcli", standalone_mode=False) or 0
        sys.stdout.flush()
    except _Stopped as stopped:
        how = "interrupted" if stopped.number == signal.SIGINT else "terminated"
        console.error(f"{how}; results so far are whole")
        _end_now(128 + stopped.number)
    except Exception as error:  # noqa: BLE001 - the one boundary, where every error ends in a line
        status = _report(error, debug="--debug" in arguments)
    sys.exit(status)


def _end_now(status: int) -> NoReturn:
    """End the process without waiting for threads that still read, pool or write."""
    if atomic := sys.modules.get("poolcli.files.atomic"):
        atomic.remove_open()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _report(error: Exception, *, debug: bool) -> int:
    """Say what went wrong, on one line, and return the exit status."""
    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, BrokenPipeError):
        # Whoever read the output has left; that is no error.
        _drop_stdout()
        return FAILED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return MISUSED
    if isinstance(error, click.ClickException | PoolError):
        console.error(_text(error))
        misused = isinstance(error, click.ClickException | UsageError | SpecError)
        return MISUSED if misused else FAILED
    if isinstance(error, OSError):
        # Files have errors of their own; what is left is standard output, on a full disk, say.
        console.error(f"standard output: {error.strerror or error}")
        _drop_stdout()
        return FAILED
    console.error(f"unexpected {type(error).__name__}: {error} (--debug shows where)")
    return FAILED


def _drop_stdout() -> None:
    """Let what is left in the buffer go nowhere: Python would complain once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _text(error: click.ClickException | PoolError) -> str:
    if not isinstance(error, click.ClickException):
        return str(error)
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f" (see {context.command_path} --help)" if context else ""
    return f"{error.format_message()}{hint}"


def _stop(number: int, _frame: object) -> None:
    raise _Stopped(number)
