"""Spaces of 1e6 to 1e21 architectures of four cells, for time against size: only the options per stage grow."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.cases import BUDGETS, CIFAR, Case

GRIDS = (
    (2, 4, 5),
    (4, 4, 8),
    (4, 8, 12),
    (8, 8, 20),
    (8, 15, 32),
    (16, 15, 52),
    (16, 29, 86),
    (16, 29, 257),
    (16, 29, 513),
)
"""The number of widths, depths and skip channels to choose from in each cell, over constant ranges."""


def _spread(low: int, high: int, count: int) -> list[int]:
    return sorted({round(value) for value in np.linspace(low, high, count).tolist()})


def _space(widths: int, depths: int, skips: int) -> dict[str, Any]:
    return {
        "family": "densenet_cnn",
        "input": CIFAR,
        "num_classes": 10,
        "cells": 4,
        "width": _spread(16, 256, widths),
        "depth": _spread(4, 32, depths),
        "skip_channels": _spread(0, 512, skips),
    }


GROWTH = {
    f"growth-{widths * depths * skips}": Case(
        f"growth-{widths * depths * skips}", _space(widths, depths, skips), BUDGETS["middling"]
    )
    for widths, depths, skips in GRIDS
}
