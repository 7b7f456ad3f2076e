"""Controls of a candidate: the params control against brute force, random controls against their definition."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from nnmass_core.architecture import Architecture
from nnmass_core.budget import Budget
from nnmass_core.engine.problem import MASS
from nnmass_core.families import decode_architecture, decode_space
from nnmass_core.named.presets import resolve_space
from nnmass_core.search import SearchRequest, search
from nnmass_core.verification import controls
from nnmass_core.verification.controls import (
    BY_MACS,
    BY_PARAMS,
    WINDOWS,
    macs_control,
    params_control,
    random_control,
)
from nnmass_core.verification.tilted import tilt_to_mean
from tests.core import residual_problems
from tests.core.brute import BYTES, Row, ranked
from tests.core.problems import OTHER_FAMILIES, random_space

CELLS = ("densenet_cnn", *OTHER_FAMILIES)
FAMILIES = (*CELLS, *residual_problems.FAMILIES)
PRESETS: dict[str, dict[str, Any]] = {
    "densenet-mlp-mnist": {"max_params": 30_000},
    "densenet-cifar": {"max_params": 1_000_000},
    "densenet-cifar-free": {"max_params": 1_000_000, "max_macs": 150_000_000},
    "mobilenet-v2-imagenet-free": {"max_params": 2_300_000, "max_macs": 200_000_000},
    "resnet-tiny-free": {"max_params": 500_000},
}
TINY: dict[str, Any] = {
    "family": "densenet_cnn",
    "input": {"channels": 1, "height": 8, "width": 8},
    "num_classes": 3,
    "cells": 2,
    "width": [4, 6, 8],
    "depth": [3, 4, 5],
    "skip_channels": {"min": 0, "max": 8, "step": 2},
}


def request(space: Any, budget: dict[str, Any] | None = None) -> SearchRequest:
    return SearchRequest(space=decode_space(space), budget=Budget(**(budget or {})))


def networks(space: dict[str, Any]) -> list[tuple[Architecture, Row]]:
    """Every network of a small space with figures that a walk over its layers gives."""
    if space["family"] in CELLS:
        decoded = decode_space(space)
        return [(decoded.architecture([n for cell in row.cells for n in cell]), row) for row in ranked(space)]
    definitions = residual_problems.definitions(space)
    return [(decode_architecture(d), residual_problems.row(d)) for d in definitions]


def costs(row: Row) -> tuple[int, ...]:
    return row.params, row.macs, row.weights, row.peak


def best_by(
    first: str, all_networks: list[tuple[Architecture, Row]], candidate: Row, taken: frozenset[str]
) -> str | None:
    """The control by the words of its definition."""
    second = "macs" if first == "params" else "params"
    cheap = [
        (-getattr(row, first), -getattr(row, second), row.cells, network.arch_id)
        for network, row in all_networks
        if all(own <= most for own, most in zip(costs(row), costs(candidate), strict=True))
    ]
    return next((arch_id for *_, arch_id in sorted(cheap) if arch_id not in taken), None)


def small_space(rng: Random, family: str) -> dict[str, Any]:
    if family in CELLS:
        return random_space(rng, 300, family)
    return residual_problems.random_space(rng, family, 200)


def check_first_controls(family: str, seed: int) -> None:
    rng = Random(f"params control {family} {seed}")
    space = small_space(rng, family)
    found = networks(space)
    for _ in range(4):
        candidate, row = rng.choice(found)
        others = rng.sample(found, rng.randint(0, min(5, len(found))))
        taken = frozenset(network.arch_id for network, _ in others)
        precision = rng.choice(tuple(BYTES))
        budget = rng.choice(({}, {"precision": precision, "max_weight_bytes": row.weight_bytes(precision)}))
        fitting = [one for one in found if one[1].weight_bytes(precision) <= row.weight_bytes(precision)]
        for first, choose in (("params", params_control), ("macs", macs_control)):
            control = choose(request(space, budget), candidate, taken)
            expected = best_by(first, fitting if budget else found, row, taken | {candidate.arch_id})
            assert (control and control.arch_id) == expected
    assert macs_control(request(space, budget), candidate, taken) == control


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(12)
def test_controls_by_params_and_by_macs_equal_brute_force(family: str, seed: int) -> None:
    check_first_controls(family, seed)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(3)
def test_the_fallback_controls_by_params_and_by_macs_equal_brute_force(
    family: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small space is listed in full."""
    monkeypatch.setattr(controls, "CHECKS", 0)
    check_first_controls(family, seed)


def test_the_params_control_ignores_nn_mass() -> None:
    assert all(key.column != MASS for key in (*BY_PARAMS, *BY_MACS))


def test_the_cheapest_network_has_no_params_control() -> None:
    found = networks(TINY)
    cheapest = min((row.params, network.arch_id, network) for network, row in found)[2]
    assert params_control(request(TINY), cheapest, frozenset()) is None


@pytest.mark.parametrize("name", PRESETS)
def test_controls_of_the_best_network_of_a_preset_have_similar_costs(name: str) -> None:
    search_request = SearchRequest(space=resolve_space(name), budget=Budget(**PRESETS[name]), top_k=4)
    ranking = search(search_request).ranking
    candidate = ranking[0].architecture
    taken = frozenset(place.architecture.arch_id for place in ranking)
    by_params, drawn = (
        params_control(search_request, candidate, taken),
        random_control(search_request, candidate, taken, 3),
    )
    assert by_params is not None
    assert drawn is not None
    own, cheap, near = candidate.evaluation, by_params.evaluation, drawn.evaluation
    for quantity in ("params", "macs", "weights", "peak_elements"):
        assert getattr(cheap, quantity) <= getattr(own, quantity)
    assert cheap.params >= 0.999 * own.params
    assert by_params.arch_id not in taken
    assert drawn.arch_id not in taken
    assert max(abs(near.params / own.params - 1), abs(near.macs / own.macs - 1)) <= WINDOWS[0]
    assert all(limit.slack(near) >= 0 for limit in search_request.budget.limits())


def test_a_control_in_a_space_of_trillions_has_costs_near_the_candidate() -> None:
    """Millions of networks tie for the most params there; the one of most MACs cannot be proved, but nearly found."""
    name = "densenet-cifar-free"
    search_request = SearchRequest(space=resolve_space(name), budget=Budget(**PRESETS[name]), top_k=1)
    candidate = search(search_request).ranking[0].architecture
    control = params_control(search_request, candidate, frozenset())
    assert control is not None
    assert control.evaluation.params == candidate.evaluation.params
    assert control.evaluation.macs >= 0.98 * candidate.evaluation.macs


def within(row: Row, own: Row, window: float) -> bool:
    return max(abs(row.params / own.params - 1), abs(row.macs / own.macs - 1)) <= window


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(4)
def test_a_random_control_lies_in_the_first_window_that_is_not_empty(family: str, seed: int) -> None:
    rng = Random(f"random control {family} {seed}")
    space = small_space(rng, family)
    found = networks(space)
    rows = {network.arch_id: row for network, row in found}
    for _ in range(4):
        candidate, own = rng.choice(found)
        taken = frozenset(network.arch_id for network, _ in rng.sample(found, min(len(found), rng.randint(0, 2))))
        budget = {"max_params": own.params + rng.randint(0, own.params), "max_peak_activation_bytes": 4 * own.peak}
        control = random_control(request(space, budget), candidate, taken, seed)
        allowed = [
            row
            for arch_id, row in rows.items()
            if row.params <= budget["max_params"] and row.peak <= own.peak and arch_id not in taken and row is not own
        ]
        window = next((w for w in WINDOWS if any(within(row, own, w) for row in allowed)), None)
        assert (control is None) == (window is None)
        if control is not None and window is not None:
            assert rows[control.arch_id] in allowed
            assert within(rows[control.arch_id], own, window)


def middling(found: list[tuple[Architecture, Row]], window: float) -> tuple[Architecture, Row]:
    """The network that has most others about it."""
    return max(found, key=lambda one: sum(within(row, one[1], window) for _, row in found))


@pytest.mark.parametrize("listed", [0, controls.LISTED])
def test_random_controls_are_drawn_uniformly_from_the_window(listed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the space is too large to be listed, which this one is taken for in one case."""
    monkeypatch.setattr(controls, "LISTED", listed)
    monkeypatch.setattr(controls, "BATCH", 4_000)
    monkeypatch.setattr(controls, "ENOUGH_HITS", 300)
    found = networks(TINY | {"depth": [4, 5]})
    candidate, own = middling(found, WINDOWS[0])
    expected = {n.arch_id for n, row in found if within(row, own, WINDOWS[0])} - {candidate.arch_id}
    search_request = request(TINY | {"depth": [4, 5]})
    drawn = [random_control(search_request, candidate, frozenset(), seed) for seed in range(6 * len(expected))]
    counts = Counter(control.arch_id for control in drawn if control is not None)
    assert set(counts) == expected
    assert len(expected) > 10
    assert chisquare([counts[arch_id] for arch_id in sorted(expected)]).pvalue > 0.01


def test_a_seed_determines_the_random_control() -> None:
    search_request = SearchRequest(space=resolve_space("densenet-tiny-free"), budget=Budget())
    candidate = search(SearchRequest(space=search_request.space, budget=Budget(max_params=80_000), top_k=1)).ranking[0]
    drawn = [random_control(search_request, candidate.architecture, frozenset(), seed) for seed in (5, 5, 6, 7)]
    assert drawn[0] == drawn[1]
    assert len({control.arch_id for control in drawn if control}) == 3


def test_taken_networks_are_never_drawn_again() -> None:
    space = TINY | {"depth": 4}
    found = networks(space)
    candidate, own = middling(found, WINDOWS[-1])
    near = sum(within(row, own, WINDOWS[-1]) for _, row in found) - 1
    taken: set[str] = set()
    while (control := random_control(request(space), candidate, frozenset(taken), len(taken))) is not None:
        assert control.arch_id not in taken | {candidate.arch_id}
        taken.add(control.arch_id)
    assert len(taken) == near


def test_no_control_is_drawn_when_no_network_fits_the_budget() -> None:
    candidate = networks(TINY)[0][0]
    assert random_control(request(TINY, {"max_params": 10}), candidate, frozenset(), 0) is None
    assert random_control(request(TINY, {"max_peak_activation_bytes": 10}), candidate, frozenset(), 0) is None


def test_paths_are_drawn_with_the_probability_of_their_cost() -> None:
    space = decode_space(TINY | {"cells": 1, "width": [4, 6], "skip_channels": [0, 2, 4]})
    chain = space.chain()
    found = [space.architecture([w, d, t]) for ((w, d, t),) in (row.cells for row in ranked(space.to_json()))]
    figures = np.array([[network.evaluation.params, network.evaluation.macs] for network in found], np.float64)
    cost = figures.mean(axis=0)
    aim = figures[::3].mean(axis=0) / cost
    tilted = tilt_to_mean(chain, controls.COSTS, cost, aim)
    weight = np.exp(figures / cost @ tilted.tilt)
    expected = weight / weight.sum()
    assert expected @ figures / cost == pytest.approx(aim, rel=1e-4)
    integers = chain.path_integers(tilted.draw(50_000, np.random.default_rng(1))).tolist()
    counts = Counter(map(tuple, integers))
    by_id = {space.architecture(row).arch_id: count for row, count in counts.items()}
    observed = [by_id.get(network.arch_id, 0) for network in found]
    assert sum(observed) == 50_000
    assert chisquare(observed, 50_000 * expected).pvalue > 0.01
