"""`python -m app` is the command `nnmass`."""

from app.cli import main

main()
