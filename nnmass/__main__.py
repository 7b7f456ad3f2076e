"""`python -m nnmass` is the command `nnmass`."""

from nnmass.cli import main

main()
