"""Spaces of 2 to 12 stages, for time against depth: each stage has the same number of options."""

from __future__ import annotations

from typing import Any

from nnmass.search_options import question_of
from nnmass_core.request import SearchRequest

MOST_STAGES = 12
STRIDES = (2, 2, 2, 1, 2, *[1] * (MOST_STAGES - 5))


def space(stages: int) -> dict[str, Any]:
    """Return a space of `mobilenet_v2` with this many stages."""
    axes = [
        {"expansion": [2, 4, 6], "channels": {"min": 32 * k, "max": 32 * k + 24, "step": 8}, "repeats": [1, 2, 3, 4]}
        for k in range(1, stages + 1)
    ]
    return {
        "family": "mobilenet_v2",
        "input": {"channels": 3, "height": 224, "width": 224},
        "num_classes": 1000,
        "stem_channels": 32,
        "last_channels": 1280,
        "stages": [axis | {"stride": stride} for axis, stride in zip(axes, STRIDES, strict=False)],
    }


def question(stages: int) -> dict[str, Any]:
    """Return the best ten within limits that grow with the number of stages."""
    return {
        "space": space(stages),
        "max_params": 60_000 * stages**2 + 1_400_000,
        "max_macs": 300_000_000 + 60_000_000 * stages,
    }


STAGES = {number: question(number) for number in range(2, MOST_STAGES + 1)}
"""The questions by the number of stages."""


def request_of(question: dict[str, Any]) -> SearchRequest:
    """Return the arguments of `nnmass.search` as a request."""
    options: Any = {name: value for name, value in question.items() if name != "space"}
    return SearchRequest.from_json(question_of(question["space"], options))
