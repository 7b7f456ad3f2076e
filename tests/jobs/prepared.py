"""A module that a fork server prepares with, in place of the training's: it loads nothing."""

from __future__ import annotations


def prepare() -> None:
    """Load nothing."""
