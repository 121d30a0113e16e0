"""``python -m swim``: the command line, without an installation."""

from swim.cli import main

if __name__ == "__main__":
    main()
