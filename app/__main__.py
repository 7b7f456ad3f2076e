"""Run the command `nnmass` as `python -m app`."""

from nnmass.__main__ import main

main("app.cli")
