"""The largest network of a residual space: no network of the space costs more, or needs another operator."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from nnmass_core.families import decode_space
from tests.core.brute import Row
from tests.core.residual_problems import FAMILIES, definitions, random_space, row
from tests.core.test_overlapping import overlapping

Draw = Callable[[Random], dict[str, Any]]
COSTS = ("params", "macs", "weights", "peak")


def close(rng: Random) -> dict[str, Any]:
    """Return a space whose channels are near those that the stem gives, where few shortcuts are convolutions."""
    family = rng.choice(("resnet", "wide_resnet_cifar"))
    near = (62, 63, 64, [63, 64], [15, 16], [60, 64]) if family == "resnet" else (14, 15, 16, [15, 16], [14, 16])
    count = rng.choice((1, 2) if family == "resnet" else (3, 4))
    stages = [{"channels": rng.choice(near), "repeats": rng.choice((1, [1, 2]))} for _ in range(count)]
    image = {"channels": 3, "height": rng.choice((4, 32)), "width": 32}
    space = {"family": family, "input": image, "num_classes": rng.choice((2, 1000)), "stages": stages}
    stem = rng.choice(({}, {"stem": "small"}, {"stem": "halving", "first_stride": 2}))
    return space | ({"block": rng.choice(("basic", "bottleneck"))} | stem if family == "resnet" else {})


DRAWS: dict[str, Draw] = {family: lambda rng, family=family: random_space(rng, family, 100) for family in FAMILIES}  # type: ignore[misc]
DRAWS |= {"overlapping": lambda rng: overlapping(rng, 150)[0], "close": close}


@pytest.mark.random_cases(40)
@pytest.mark.parametrize("kind", DRAWS)
def test_no_network_costs_more_than_the_largest(kind: str, seed: int) -> None:
    space = DRAWS[kind](Random(f"{kind} {seed}"))
    largest = decode_space(space).largest()
    figures = largest.evaluation
    most = Row((), figures.mass, figures.params, figures.macs, figures.weights, figures.peak_elements)
    for network in map(row, definitions(space)):
        for cost in COSTS:
            assert getattr(network, cost) <= getattr(most, cost), (cost, network.cells)
