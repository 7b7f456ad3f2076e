"""Larger spaces (up to 1e14 architectures): OR-Tools CP-SAT must prove the optimum NN-Mass that the engine claims."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.families import decode_space
from nnmass_core.families.densenet_cnn import DenseNetCnn
from nnmass_core.search import SearchRequest, SearchResult, search
from tests.core.brute import row
from tests.core.cpsat import body, entry, head, prove, sizes


def find(space: dict[str, Any], budget: dict[str, Any]) -> SearchResult:
    return search(SearchRequest(space=decode_space(space), budget=Budget(**budget), top_k=3))


def check_best(result: SearchResult, space: dict[str, Any], budget: dict[str, Any], proved: Fraction) -> None:
    """Check that the engine's first place has the proved optimum and, by the oracle, keeps the budget."""
    best = result.ranking[0].architecture
    assert isinstance(best, DenseNetCnn)
    walked = row(space, tuple((c.width, c.depth, c.skip_channels) for c in best.cells))
    assert walked.mass == proved
    precision = budget.get("precision", "fp32")
    assert all(walked.use(name, precision) <= bound for name, bound in budget.items() if name != "precision")
    assert result.certificate.optimal
    assert result.certificate.objective_value == result.certificate.bound == float(proved)


def space_of(cells: int, width: Any, depth: Any, skip_channels: Any, **more: Any) -> dict[str, Any]:
    image = {"channels": 3, "height": 32, "width": 32}
    axes_given = {"width": width, "depth": depth, "skip_channels": skip_channels}
    return {"family": "densenet_cnn", "input": image, "num_classes": 10, "cells": cells, **axes_given, **more}


def span(low: int, high: int, step: int = 1) -> dict[str, int]:
    return {"min": low, "max": high, "step": step}


WIDE = space_of(3, span(16, 128, 16), span(4, 12), span(0, 240, 10))
FOUR = space_of(4, span(8, 64, 8), span(3, 9), span(0, 150, 6))
GREAT = space_of(4, span(8, 96, 8), span(3, 14), span(0, 200, 8))
DOUBLING = space_of(3, span(8, 48, 4), span(3, 16), span(0, 160, 5), width_rule="doubling")
RISING = space_of(3, span(8, 64, 8), span(3, 10), span(0, 160, 10), width_rule="never_fall")
EQUAL = space_of(3, span(8, 96, 8), span(3, 14), span(0, 160, 5), depth_rule="equal")
PUBLISHED = space_of(3, [16, 32, 48], span(6, 16), span(0, 320, 5), width_rule="doubling", depth_rule="equal")
SMALL = space_of(3, span(8, 32, 8), span(1, 6), span(0, 40, 5))
UNEVEN = space_of(
    3,
    [[16, 24, 40], span(10, 60, 10), span(20, 80, 15)],
    [span(3, 9), [4, 6, 9], span(2, 8)],
    span(0, 300, 15),
    input={"channels": 1, "height": 27, "width": 50},
)

PROBLEMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "wide-loose": (WIDE, {"max_params": 5_000_000, "max_macs": 900_000_000}),
    "wide-middling": (WIDE, {"max_params": 800_000, "max_macs": 120_000_000}),
    "wide-tight": (WIDE, {"max_params": 90_000, "max_macs": 9_000_000}),
    "wide-memory": (
        WIDE,
        {"max_weight_bytes": 700_000, "max_peak_activation_bytes": 260_000, "precision": "fp16"},
    ),
    "four-middling": (FOUR, {"max_params": 300_000, "max_macs": 40_000_000}),
    "four-all-limits": (
        FOUR,
        {
            "max_params": 250_000,
            "max_macs": 35_000_000,
            "max_weight_bytes": 255_000,
            "max_peak_activation_bytes": 110_000,
            "precision": "int8",
        },
    ),
    "great-middling": (GREAT, {"max_params": 500_000, "max_macs": 80_000_000}),
    "great-tight": (GREAT, {"max_params": 60_000, "max_macs": 9_000_000, "max_peak_activation_bytes": 200_000}),
    "doubling-middling": (DOUBLING, {"max_params": 400_000, "max_macs": 60_000_000}),
    "doubling-memory": (DOUBLING, {"max_weight_bytes": 1_500_000, "max_peak_activation_bytes": 300_000}),
    "rising-middling": (RISING, {"max_params": 200_000, "max_macs": 30_000_000}),
    "equal-middling": (EQUAL, {"max_params": 300_000, "max_macs": 45_000_000}),
    "equal-tight": (EQUAL, {"max_macs": 4_000_000, "max_peak_activation_bytes": 150_000}),
    "published-middling": (PUBLISHED, {"max_params": 2_000_000, "max_macs": 400_000_000}),
    "published-loose": (PUBLISHED, {"max_params": 9_000_000}),
    "small-tight": (SMALL, {"max_params": 30_000, "max_macs": 4_000_000}),
    "small-infeasible": (SMALL, {"max_params": 4_000, "max_macs": 10_000_000}),
    "uneven-middling": (UNEVEN, {"max_params": 200_000, "max_macs": 60_000_000, "max_peak_activation_bytes": 400_000}),
}


LONGEST = ("equal-middling", "published-loose")
"""Half of the time of all; CI leaves them to `make test`."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONGEST)) for name in sorted(PROBLEMS)]
)
def test_cp_sat_proves_the_same_optimum(name: str) -> None:
    space, budget = PROBLEMS[name]
    result, proof = find(space, budget), prove(space, budget)
    if proof is None:
        assert (result.certificate.feasible, result.certificate.optimal, result.ranking) == (False, True, ())
        return
    proved, witness = proof
    assert witness.mass == proved
    check_best(result, space, budget, proved)


def test_the_problems_have_the_intended_sizes() -> None:
    counts = [decode_space(space).chain().count() for space, _ in PROBLEMS.values()]
    assert min(counts) > 10**6
    assert max(counts) > 10**13


def test_costs_of_the_cp_sat_model_equal_those_of_the_oracle() -> None:
    """The formulation is itself checked: costs of one path of options add up to the walk over the layers."""
    space = UNEVEN
    cells = ((24, 5, 30), (10, 4, 15), (65, 8, 0))
    size = sizes(space)
    flat = [height * width for height, width in size]
    widths = [space["input"]["channels"], *(w for w, _, _ in cells)]
    parts = [body(*abc, positions) for abc, positions in zip(cells, flat, strict=True)]
    parts += [
        entry(a, b, before, after)
        for (a, b), before, after in zip(itertools.pairwise(widths), [flat[0], *flat], flat, strict=False)
    ]
    parts.append(head(widths[-1], size[-1], space["num_classes"]))
    walked = row(space, cells)
    totals = tuple(sum(part.costs[column] for part in parts) for column in range(4))
    assert totals == (walked.params, walked.macs, walked.weights, walked.indices)
    assert max(part.peak for part in parts) == walked.peak
    assert sum(part.mass for part in parts) == walked.mass
