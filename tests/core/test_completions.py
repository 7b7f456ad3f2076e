"""Bounds on completions: they hold for every partial path, and the engine's answers are the same with them."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from nnmass_core.budget import Budget
from nnmass_core.engine import completions, enumeration
from nnmass_core.engine.bounds import Layer, layer, price
from nnmass_core.engine.chain import Floats
from nnmass_core.engine.completions import Completions
from nnmass_core.engine.control import Control
from nnmass_core.engine.problem import RANKING, column_of, maximize, minimize
from nnmass_core.engine.solver import Solver
from nnmass_core.families import decode_space
from nnmass_core.request import SearchRequest
from nnmass_core.search import search
from tests.core.random_chains import Path, random_chain
from tests.core.test_random_chains import random_problem

Start = tuple[int, float, float, Floats]
"""A partial path: its node, value, value minus prices, and uses."""


def resnet(max_params: int, max_macs: int) -> SearchRequest:
    """Return a question whose bounds by prices leave hundreds of thousands of partial paths."""
    stage = {"channels": {"min": 32, "max": 128, "step": 8}, "repeats": {"min": 1, "max": 6}}
    image = {"channels": 3, "height": 224, "width": 224}
    form = {"family": "resnet", "input": image, "num_classes": 1000, "block": "bottleneck", "stages": [stage] * 8}
    return SearchRequest(space=decode_space(form), budget=Budget(max_params=max_params, max_macs=max_macs))


def densenet() -> SearchRequest:
    """Return a question with many networks of equal NN-Mass, of which the fewest MACs count."""
    ranges = {"width": {"min": 16, "max": 256, "step": 16}, "depth": {"min": 4, "max": 32}, "skip_channels": [0, 64]}
    image = {"channels": 3, "height": 4096, "width": 4096}
    form = {"family": "densenet_cnn", "input": image, "num_classes": 10, "cells": 12, **ranges}
    return SearchRequest(space=decode_space(form), budget=Budget(max_params=3_000_000, max_macs=2 * 10**12))


@pytest.fixture
def always(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Random:
    """Work completions out at once, with grids of some size; return the random numbers of the case."""
    rng = Random(f"completions {request.node.name}")
    monkeypatch.setattr(enumeration, "MANY", 0)
    monkeypatch.setattr(completions, "CELLS", rng.choice((1, 100, completions.CELLS)))
    monkeypatch.setattr(completions, "FEWEST", rng.choice((2, completions.FEWEST)))
    if rng.random() < 0.5:
        monkeypatch.setattr(enumeration, "BLOCK", rng.choice((1, 7)))
        monkeypatch.setattr(enumeration, "ROWS", rng.choice((1, 7)))
    return rng


@pytest.mark.random_cases(100)
def test_the_best_paths_equal_brute_force(seed: int, always: Random) -> None:
    problem, able = random_problem(always)
    first = always.choice((maximize("nn_mass"), minimize("nn_mass"), maximize("macs"), minimize("params")))
    keys = (first, *(key for key in RANKING if key.column != first.column))
    k = always.choice((1, 2, 5, 1000))
    solution = Solver(replace(problem, keys=keys), k, Control()).solve()
    names = ("mass", "params", "macs")

    def place(path: Path) -> tuple[object, ...]:
        return (*(-key.sign * getattr(path, names[key.column]) for key in keys), path.integers)

    assert solution.complete
    assert [tuple(row) for row in solution.integers.tolist()] == [p.integers for p in sorted(able, key=place)[:k]]


def starts(layers: list[Layer], multipliers: Floats, constant: float) -> list[list[Start]]:
    """Return every partial path before each stage."""
    found: list[list[Start]] = [[(0, 0.0, constant, np.zeros(len(multipliers)))]]
    for this in layers:
        longer: list[Start] = []
        for node, value, priced, use in found[-1]:
            for option in np.flatnonzero(this.source == node).tolist():
                own, used = float(this.value[option]), this.use[option]
                price = own - float(used @ multipliers)
                longer.append((int(this.target[option]), value + own, priced + price, use + used))
        found.append(longer)
    return found


@pytest.mark.random_cases(60)
def test_no_path_within_the_limits_exceeds_the_bound_of_its_start(seed: int, always: Random) -> None:
    chain = random_chain(always, most=100)
    rows = always.choice(((minimize("params"),), (minimize("params"), minimize("macs"), minimize("weights"))))
    layers = [
        layer(s, column_of(s, maximize("nn_mass")), -np.column_stack([column_of(s, row) for row in rows]))
        for s in chain.stages
    ]
    ends = starts(layers, np.zeros(len(rows)), 0.0)[-1]
    budget = np.array(always.choice(ends)[3]) + always.choice((0, 1, 100))
    scale = max(value for _, value, _, _ in ends) / np.maximum(budget, 1.0)
    prices = price(layers, chain.nodes, budget, np.array([always.random() for _ in rows]) * scale)
    threshold = always.choice((0.0, 0.5, 0.9)) * max(
        (value for _, value, _, use in ends if np.all(use <= budget)), default=0.0
    )
    known = Completions(layers, chain.nodes, budget, prices, threshold)
    bounded = 0
    for stage, partial in enumerate(starts(layers, prices.multipliers, prices.constant)):
        for node, value, priced, use in partial:
            bound = known.reachable(stage, np.array([node]), np.array([priced]), use[None, :])
            if bound is None:
                continue
            bounded += 1
            best = max(
                (value + more for more, used in completed(layers, stage, node) if np.all(use + used <= budget)),
                default=-np.inf,
            )
            assert best < threshold or best <= bound[0] + 1e-9 * (1 + best)
    assert bounded


def completed(layers: list[Layer], stage: int, node: int) -> list[tuple[float, Floats]]:
    """Return value and uses of every completion from a node before a stage."""
    if stage == len(layers):
        return [(0.0, np.zeros(layers[0].use.shape[1]))]
    this = layers[stage]
    return [
        (float(this.value[option]) + value, this.use[option] + use)
        for option in np.flatnonzero(this.source == node).tolist()
        for value, use in completed(layers, stage + 1, int(this.target[option]))
    ]


@pytest.mark.parametrize(
    ("question", "most"),
    [
        (resnet(5_000_000, 2_000_000_000), 100_000),
        (resnet(1_000_000, 10_000_000_000), 150_000),
        (densenet(), 150_000),
    ],
    ids=["resnet", "resnet with few params", "densenet"],
)
def test_questions_with_millions_of_partial_paths_are_proved_with_few(question: SearchRequest, most: int) -> None:
    certificate = search(question).certificate
    assert certificate.optimal
    assert certificate.labels < most
