"""The command `nnmass`. Imports inside functions make it quick: a command loads only what it uses."""

from nnmass.cli.root import app, main

__all__ = ["app", "main"]
