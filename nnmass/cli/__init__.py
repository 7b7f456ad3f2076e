"""The command `nnmass`. Imports inside functions keep it fast: a command loads only what it uses."""

from nnmass.cli.root import app, main

__all__ = ["app", "main"]
