"""The service's commands of `nnmass`. Imports inside functions keep the start fast."""

from app.cli.root import app, main, service

__all__ = ["app", "main", "service"]
