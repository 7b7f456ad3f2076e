"""What the rows ask: small searches that differ, long ones to be interrupted, and what a calm run answers."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from nnmass_core.engine.control import Control
from nnmass_core.request import SearchRequest
from nnmass_core.search import search

Json = dict[str, Any]


def _space(cells: int, width: int, depth: int, skip_channels: int) -> Json:
    return {
        "family": "densenet_cnn",
        "input": {"channels": 3, "height": 32, "width": 32},
        "num_classes": 10,
        "cells": cells,
        "width": {"min": 16, "max": width, "step": 16},
        "depth": {"min": 4, "max": depth},
        "skip_channels": {"min": 0, "max": skip_channels, "step": 8},
    }


QUICK: list[Json] = [
    {"space": space, "budget": {"max_params": params}, "top_k": top_k, "fresh": True}
    for space, params in (
        ("densenet-tiny-free", 100_000),
        (_space(2, 64, 8, 64), 200_000),
        (_space(3, 64, 8, 64), 300_000),
    )
    for top_k in (1, 3, 5, 10)
]
"""Ten milliseconds or two each."""


def _free(top_k: int) -> Json:
    return {
        "space": "densenet-cifar-free",
        "budget": {"max_params": 5_000_000, "max_macs": 3_000_000_000},
        "top_k": top_k,
        "diversity": "shape",
        "time_limit_seconds": 600,
        "fresh": True,
    }


BRISK: list[Json] = [_free(top_k) for top_k in (30, 60, 100)]
"""A quarter of a second, so that a kill every other second hits some."""

SLOW: list[Json] = [_free(top_k) for top_k in (300, 400, 500)]
"""One second or two."""

ENDLESS: Json = _free(1000) | {"budget": {"max_params": 5_000_000, "max_macs": 1_000_000_000}}
"""Minutes."""

MEASUREMENT: Json = {
    "kind": "ldi",
    "architecture": {
        "family": "densenet_mlp",
        "in_features": 784,
        "num_classes": 10,
        "width": 32,
        "depth": 40,
        "skip_channels": 60,
        "activation": "relu",
    },
    "dataset": "fake",
    "samples": 16,
    "seeds": list(range(20)),
}
"""Some seconds in a process that has torch."""


def undisturbed_digest(question: Json) -> str:
    """Return the digest of the undisturbed answer, computed by the core without the service."""
    return _undisturbed_digest(json.dumps({name: value for name, value in question.items() if name != "fresh"}))


@cache
def _undisturbed_digest(question: str) -> str:
    request = SearchRequest.from_json(json.loads(question))
    return search(request, Control()).digest
