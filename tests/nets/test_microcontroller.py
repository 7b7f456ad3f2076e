"""A network for a microcontroller: proved within the part's memory, and then measured on the built module."""

from __future__ import annotations

from typing import Any

import pytest

from nnmass_core.architecture import Architecture
from nnmass_core.budget import Budget
from nnmass_core.hardware.devices import devices
from nnmass_core.named.presets import resolve_space
from nnmass_core.nets import build
from nnmass_core.nets.liveness import peak_elements
from nnmass_core.request import SearchRequest
from nnmass_core.search import search
from nnmass_core.wiring import concatenation_cells, draw_wiring

GRAY: dict[str, Any] = {
    "input": {"channels": 1, "height": 48, "width": 48},
    "num_classes": 2,
    "cells": 3,
    "width": {"min": 8, "max": 64, "step": 8},
    "depth": {"min": 3, "max": 12},
    "skip_channels": {"min": 0, "max": 128, "step": 4},
}


def channel_numbers(architecture: Architecture) -> int:
    """Return how many channel numbers a device stores for one wiring: those of layers that sample a part."""
    cells = zip(concatenation_cells(architecture), draw_wiring(architecture, 0).cells, strict=True)
    layers = [(len(taken), cell.width * max(j - 1, 0)) for cell, wiring in cells for j, taken in enumerate(wiring)]
    return sum(taken for taken, available in layers if taken < available)


@pytest.mark.parametrize("family", ["densenet_cnn", "densenet_cnn_depthwise"])
@pytest.mark.parametrize("name", ["stm32f746", "rp2040"])
def test_proved_memory_use_equals_that_of_the_built_module(name: str, family: str) -> None:
    """Liveness is simulated over the built module's graph, wiring by wiring; weights are what a device stores."""
    space = resolve_space({"family": family, **GRAY})
    found = search(SearchRequest(space=space, budget=Budget(device=name, precision="int8"), top_k=3))
    assert found.certificate.optimal
    limits = devices()[name].limits()
    for ranked in found.ranking:
        assert ranked.slack.keys() == limits.keys()
        module = build(ranked.architecture, 0)
        norms: list[Any] = [m for m in module.modules() if type(m).__name__.startswith("BatchNorm")]
        stored = sum(p.numel() for p in module.parameters()) + 2 * sum(norm.num_features for norm in norms)
        stored += 4 * channel_numbers(ranked.architecture)
        assert limits["max_weight_bytes"] - ranked.slack["max_weight_bytes"] == stored <= limits["max_weight_bytes"]
        reported = limits["max_peak_activation_bytes"] - ranked.slack["max_peak_activation_bytes"]
        for seed in range(3):
            measured = peak_elements(ranked.architecture, draw_wiring(ranked.architecture, seed))
            assert measured <= reported <= limits["max_peak_activation_bytes"]
            assert measured > reported / 2
