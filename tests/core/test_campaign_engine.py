"""The networks that a campaign takes from a space, against brute force over all of it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

from nnmass_core.architecture import Architecture
from nnmass_core.budget import Budget
from nnmass_core.campaigns.engine_pool import EnginePool
from nnmass_core.campaigns.plan import Measured, Proposal, plan
from nnmass_core.campaigns.pool import ListPool, Score
from nnmass_core.engine.chain import Chain, Ints
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import Minimize, SearchRequest
from nnmass_core.search import problem_of
from nnmass_core.verification.tilted import every_path, tilt_below

IMAGE = {"channels": 3, "height": 32, "width": 32}
SPACES: dict[str, dict[str, Any]] = {
    "densenet_mlp": {
        "family": "densenet_mlp",
        "in_features": 64,
        "num_classes": 10,
        "activation": "relu",
        "width": {"min": 8, "max": 16, "step": 4},
        "depth": {"min": 4, "max": 12},
        "skip_channels": {"min": 0, "max": 12},
    },
    "densenet_cnn": {
        "family": "densenet_cnn",
        "input": IMAGE,
        "num_classes": 10,
        "cells": {"min": 1, "max": 2},
        "width": {"min": 8, "max": 12, "step": 4},
        "depth": {"min": 4, "max": 6},
        "skip_channels": {"min": 0, "max": 12, "step": 4},
    },
}


def request(family: str, **budget: Any) -> SearchRequest:
    return SearchRequest(space=decode_space(SPACES[family]), budget=Budget(**budget))


REQUESTS = {
    "densenet_mlp": request("densenet_mlp", max_params=2500),
    "densenet_cnn": request("densenet_cnn", max_params=18_000, max_macs=9_000_000, min_params=12_000),
    "densenet_cnn, memory": request("densenet_cnn", max_memory_bytes=280_000),
}


@cache
def within(name: str) -> tuple[Chain, Ints, list[Architecture]]:
    """Return the chain, the paths within the budget by the evaluation of their networks, and these networks."""
    one = REQUESTS[name]
    chain, limits = problem_of(one).chain, one.budget.all_limits()
    paths = every_path(chain)
    found = [one.space.architecture(integers) for integers in chain.path_integers(paths).tolist()]
    rows = [row for row, network in enumerate(found) if all(limit.slack(network.evaluation) >= 0 for limit in limits)]
    return chain, paths[rows], [found[row] for row in rows]


@pytest.mark.parametrize("name", REQUESTS)
def test_the_optima_are_among_the_candidates(name: str) -> None:
    networks, candidates = within(name)[2], EnginePool(REQUESTS[name]).candidates(0)
    assert len(networks) > 50

    def mass(network: Architecture) -> tuple[Fraction, int, int]:
        return network.evaluation.mass, -network.evaluation.macs, -network.evaluation.params

    most = max(network.evaluation.macs for network in networks)
    full = [network for network in networks if network.evaluation.macs >= 0.95 * most]
    by_id = {network.arch_id: network for network in networks}
    assert max(candidates.macs) == most
    assert max(candidates.params) == max(network.evaluation.params for network in networks)
    chosen = [by_id[key] for key in candidates.keys]
    assert mass(max(chosen, key=mass)) == mass(max(networks, key=mass))
    spent = [network for network in chosen if network.evaluation.macs >= 0.95 * most]
    assert mass(max(spent, key=mass)) == mass(max(full, key=mass))
    assert candidates.params.tolist() == [network.evaluation.params for network in chosen]
    assert candidates.nn_mass == pytest.approx([float(network.evaluation.mass) for network in chosen])
    assert np.mean(candidates.share >= 0.9) > 0.8


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.random_cases(5)
def test_the_greatest_score_is_that_of_brute_force_and_of_the_list(name: str, seed: int) -> None:
    rng, pool = np.random.default_rng(seed), EnginePool(REQUESTS[name])
    chain, paths, networks = within(name)
    weights = [rng.normal(0, 1, stage.integers.shape[1]) for stage in chain.stages]
    score = Score(rng.normal(0, [1e-4, 1e-6, 0.02]), np.concatenate(weights), 1e-4)
    sums = np.zeros(len(paths), np.int64)
    for place, (stage, own) in enumerate(zip(chain.stages, weights, strict=True)):
        nn_mass, params, macs = stage.additive[:, :3].T
        points = np.column_stack([params, macs, nn_mass]) @ score.costs + np.log1p(stage.integers) @ own
        sums += np.floor(points / 1e-4 + 0.5).astype(np.int64)[paths[:, place]]
    order = np.argsort(-sums, kind="stable")
    keys = [network.arch_id for network in networks]
    taken = {keys[row] for row in order[:2]}
    found = pool.best(score, 5, taken)
    assert found.proved
    assert found.scores.tolist() == sums[order[2:7]].tolist()
    assert [sums[keys.index(key)] for key in found.networks.keys] == found.scores.tolist()
    assert not {*found.networks.keys} & taken
    assert found.bound == sums[order[0]]
    # the list rounds the score of a network, the engine that of each option
    listed = ListPool(pool._of(chain, paths)).best(score, 5, taken)
    assert np.abs(found.scores - listed.scores).max() <= len(chain.stages)


def test_a_campaign_repeats_its_plan_with_a_fresh_pool() -> None:
    one = REQUESTS["densenet_mlp"]

    def accuracy(network: Architecture) -> float:
        return 80 + 5 * float(np.log(network.evaluation.params)) - abs(network.widths[0] - 12)

    pool, measured, done = EnginePool(one), list[Measured](), list[Proposal]()
    for count in (8, 4, 4):
        chosen = plan(pool, measured, count, 0)
        fresh = EnginePool(one, [pool.architecture(result.key) for result in measured])
        assert plan(fresh, measured, count, 0) == chosen
        measured += [Measured(each.key, accuracy(pool.architecture(each.key))) for each in chosen.proposals]
        done += chosen.proposals
    assert len({each.key for each in done}) == 16
    best = max(accuracy(network) for network in within("densenet_mlp")[2])
    assert max(result.accuracy or 0 for result in measured) >= best - 0.2


@pytest.mark.parametrize("preset", ["mobilenet-v2-tiny", "densenet-cifar-free", "resnet-tiny", "densenet-mlp-mnist"])
def test_measured_networks_of_large_spaces_are_found_again(preset: str) -> None:
    one = SearchRequest(space=resolve_space(preset), budget=Budget(max_params=900_000))
    space, chain = one.space, problem_of(one).chain
    drawn = tilt_below(chain, [1], np.array([900_000.0]), 0.5).draw(4, np.random.default_rng(0))
    networks = [space.architecture(integers) for integers in chain.path_integers(drawn).tolist()]
    inside = [network for network in networks if network.evaluation.params <= 900_000]
    keys = [network.arch_id for network in inside]
    assert keys
    assert EnginePool(one, networks).describe(keys).keys == tuple(keys)


def test_known_networks_outside_the_budget_are_left_out() -> None:
    one, (chain, _, networks) = REQUESTS["densenet_mlp"], within("densenet_mlp")
    inside, outside = networks[7], one.space.architecture(chain.path_integers(every_path(chain))[-1].tolist())
    assert outside.evaluation.params > 2500
    pool = EnginePool(one, [outside, inside])
    described = pool.describe([outside.arch_id, inside.arch_id, "arch_unknown"])
    assert described.keys == (inside.arch_id,)
    assert described.params[0] == inside.evaluation.params
    assert pool.architecture(outside.arch_id) == outside


def test_a_question_without_a_budget_or_a_maximum_is_refused() -> None:
    for wrong, field in (
        (request("densenet_mlp"), "budget"),
        (request("densenet_mlp", max_depth=8), "budget"),
        (replace(REQUESTS["densenet_mlp"], objective=Minimize("params")), "objective"),
    ):
        with pytest.raises(DefinitionError) as caught:
            EnginePool(wrong)
        assert [problem.field for problem in caught.value.problems] == [field]
