"""Run the command `nnmass`, also as `python -m nnmass`."""

from __future__ import annotations

import sys
from importlib import import_module

from nnmass_core.errors import NotPossible


def main(commands: str = "nnmass.cli") -> None:
    """Run a command line. A cost of an installed package that is refused ends it with one line and code 1.

    Args:
        commands: The module whose `main` runs it. Its options are made of the table of costs while it is loaded.
    """
    try:
        run = import_module(commands).main
    except NotPossible as error:
        sys.exit(f"nnmass: {error}")
    run()


if __name__ == "__main__":
    main()
