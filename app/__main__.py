"""Run the command `nnmass` as `python -m app`."""

from app.cli import main

main()
