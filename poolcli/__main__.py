"""``python -m poolcli``."""

from poolcli.cli.main import main

if __name__ == "__main__":
    main()
