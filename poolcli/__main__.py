"""``python -m poolcli``, and where the command ``poolcli`` begins."""

# Both are built in, so that nothing is loaded before the handlers stand.
import _signal  # type: ignore[import-not-found] # signal takes a millisecond for its enumerations
import posix


def _end(number: int, _frame: object) -> None:
    """End the process by a signal that comes while the program loads."""
    posix._exit(128 + number)  # noqa: SLF001 - os._exit, before there is an os


for _number, _usual in (
    # Python's own handler raises KeyboardInterrupt, which ends in a traceback.
    (_signal.SIGINT, _signal.default_int_handler),
    (_signal.SIGTERM, _signal.SIG_DFL),
):
    # A job in the background is started with SIGINT ignored, and stays so.
    if _signal.getsignal(_number) == _usual:
        _signal.signal(_number, _end)

from poolcli.cli.main import main  # noqa: E402 - what it loads takes most of the time

if __name__ == "__main__":
    main()
