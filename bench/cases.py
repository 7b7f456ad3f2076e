"""The problems that every method solves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nnmass_core.budget import Budget
from nnmass_core.families import decode_space
from nnmass_core.named.presets import presets
from nnmass_core.spaces.base import Space

CIFAR = {"channels": 3, "height": 32, "width": 32}


@dataclass(frozen=True)
class Case:
    """Maximize NN-Mass in a space within a budget."""

    name: str
    definition: dict[str, Any]
    budget: Budget

    @property
    def space(self) -> Space:
        """The space, decoded again on each access."""
        return decode_space(self.definition)

    def caps(self) -> dict[str, int]:
        """Return the largest allowed params and MACs, by the engine's names of the columns."""
        return {limit.cost.quantity: limit.elements for limit in self.budget.limits()}


def densenet(cells: int, *, depths: int = 29, skip_step: int = 4, width_step: int = 16) -> dict[str, Any]:
    """Return the space of the README's example with this many cells, or one with finer or coarser grids."""
    return {
        "family": "densenet_cnn",
        "input": CIFAR,
        "num_classes": 10,
        "cells": cells,
        "width": {"min": 16, "max": 256, "step": width_step},
        "depth": {"min": 4, "max": 3 + depths},
        "skip_channels": {"min": 0, "max": 512, "step": skip_step},
    }


MOBILENET_BUDGETS = {
    "tight": Budget(max_params=1_800_000, max_macs=60_000_000),
    "middling": Budget(max_params=2_300_000, max_macs=200_000_000),
    "loose": Budget(max_params=3_700_000, max_macs=393_000_000),
}
"""The medium and loose budgets are the publication's (docs/published.md)."""

BUDGETS = {
    "tight": Budget(max_params=100_000, max_macs=15_000_000),
    "middling": Budget(max_params=1_000_000, max_macs=150_000_000),
    "loose": Budget(max_params=10_000_000, max_macs=1_500_000_000),
}

CASES = {
    f"densenet-{cells}-{name}": Case(f"densenet-{cells}-{name}", densenet(cells), budget)
    for cells in (3, 4)
    for name, budget in BUDGETS.items()
} | {
    f"mobilenet-{name}": Case(f"mobilenet-{name}", presets()["mobilenet-v2-imagenet-free"].space.to_json(), budget)
    for name, budget in MOBILENET_BUDGETS.items()
}
