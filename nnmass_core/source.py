"""An architecture as a PyTorch file of its own: written here without torch, from the modules' own source."""

from __future__ import annotations

from nnmass_core.architecture import Architecture


def pytorch_source(architecture: Architecture, seed: int) -> str:
    """Return the file's text."""
    raise NotImplementedError
