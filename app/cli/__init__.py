"""The command `nnmass`. Imports inside functions keep it quick: most commands need little of the service."""

from app.cli.root import app, main

__all__ = ["app", "main"]
