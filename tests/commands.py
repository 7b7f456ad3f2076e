"""Commands of the command line, run within the process of the test."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from nnmass.cli import app

SMALL = ("--preset", "densenet-tiny-free", "--max-params", "100k")
"""A search that takes a moment."""


def run(*arguments: str, given: str | None = None) -> Any:
    """Run a command; `given` is its standard input."""
    return CliRunner().invoke(app, list(arguments), input=given)
