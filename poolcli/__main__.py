"""``python -m poolcli``, and where the command ``poolcli`` begins."""

import sys

try:
    from poolcli.cli.main import main
except KeyboardInterrupt:
    # Ctrl-C while the program loads: it has no handlers of its own yet.
    sys.exit(130)

if __name__ == "__main__":
    main()
