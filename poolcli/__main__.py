"""``python -m poolcli``, and where the command ``poolcli`` begins."""

import signal

# The program sets up its own handlers once it is loaded; until then, Ctrl-C ends it without a word.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from poolcli.cli.main import main

if __name__ == "__main__":
    main()
