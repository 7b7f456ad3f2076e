"""Run the command `nnmass` as `python -m nnmass`."""

from nnmass.cli import main

main()
