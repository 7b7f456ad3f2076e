"""The service's part of the command `nnmass`. Imports inside functions make it quick."""

from app.cli.root import app, main, service

__all__ = ["app", "main", "service"]
