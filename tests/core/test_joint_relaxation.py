"""The least common factor on all limits, where no single limit suffices, against brute force."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.certificate import Certificate, JointRelaxation
from nnmass_core.engine.control import Control
from nnmass_core.families import decode_space
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import search
from tests.core import residual_problems
from tests.core.brute import BYTES, LIMITS, Row, joint_relaxation, ranked
from tests.core.latencies import DEVICE
from tests.core.problems import OTHER_FAMILIES, random_space
from tests.core.test_latency import every, nanoseconds
from tests.parsed import parsed

FAMILIES = ("densenet_cnn", *OTHER_FAMILIES, *residual_problems.FAMILIES)


def run(space: dict[str, Any], budget: dict[str, Any], objective: Objective | None = None) -> Certificate:
    wanted = objective or Maximize()
    return search(SearchRequest(space=decode_space(space), budget=Budget(**budget), objective=wanted)).certificate


def space_and_rows(rng: Random, family: str) -> tuple[dict[str, Any], list[Row]]:
    if family in residual_problems.FAMILIES:
        space = residual_problems.random_space(rng, family, 200)
        return space, residual_problems.ranked(space)
    space = random_space(rng, 200, family)
    return space, ranked(space)


def below_every_network(rng: Random, rows: list[Row], precision: str) -> dict[str, int]:
    """Return two to four limits, each below what any network takes."""
    least = {name: min(row.use(name, precision) for row in rows) for name in LIMITS}
    chosen = rng.sample([name for name in LIMITS if least[name] > 1], rng.randint(2, 4))
    return {name: max(1, int(least[name] * rng.choice((0.2, 0.7, 0.97)))) for name in chosen}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(30)
def test_the_least_common_factor_equals_brute_force(family: str, seed: int) -> None:
    rng = Random(f"joint {family} {seed}")
    space, rows = space_and_rows(rng, family)
    precision = rng.choice(tuple(BYTES))
    limits = below_every_network(rng, rows, precision)
    least_mass = rng.choice((None, None, rng.choice(rows).mass))
    able = rows if least_mass is None else [row for row in rows if row.mass >= least_mass]
    objective: Objective = rng.choice((Maximize(), Pareto(("params",)), Pareto(("params", "macs"))))
    if least_mass is not None:
        objective = Minimize(rng.choice(("params", "macs", "peak_activation_bytes")), float(least_mass))
    found = run(space, {"precision": precision, **limits}, objective).joint_relaxation
    assert found is not None
    assert (found.factor, found.limits) == joint_relaxation(able, limits, precision)
    assert found.unchanged == (() if least_mass is None else ("min_nn_mass",))
    assert found.factor is not None
    assert found.factor > 1


def test_the_limits_given_admit_a_network_and_one_unit_less_of_the_tightest_does_not() -> None:
    budget: dict[str, Any] = {"max_params": 78_666, "max_macs": 12_500_000}
    space = resolve_space("densenet-cifar")
    found = search(SearchRequest(space=space, budget=Budget(**budget), top_k=1)).certificate
    assert found.relaxation == {"max_params": None, "max_macs": None}
    joint = found.joint_relaxation
    assert joint is not None
    assert joint.factor is not None
    assert joint.limits is not None
    limits: dict[str, Any] = joint.limits
    enough = search(SearchRequest(space=space, budget=Budget(**limits), top_k=1))
    (best,) = enough.ranking
    assert enough.certificate.optimal
    used = {"max_params": best.evaluation.params, "max_macs": best.evaluation.macs}
    assert max(Fraction(used[name], bound) for name, bound in budget.items()) == joint.factor
    below: dict[str, Any] = {name: -int(-joint.factor * bound // 1) - 1 for name, bound in budget.items()}
    assert search(SearchRequest(space=space, budget=Budget(**below), top_k=1)).certificate.feasible is False


@pytest.mark.random_cases(10)
def test_a_factor_on_latency_equals_brute_force(seed: int) -> None:
    rng = Random(f"joint latency {seed}")
    space = random_space(rng, most=150)
    networks = every(space)
    params = max(1, int(min(n.evaluation.params for n in networks) * 0.6))
    latency = min(map(nanoseconds, networks)) * rng.choice((0.3, 0.9)) / 1e6
    bounds = {"max_params": params, "max_latency_ms": latency}
    found = run(space, {"device": DEVICE, **bounds}).joint_relaxation
    ratios = [
        max(Fraction(n.evaluation.params, params), Fraction(nanoseconds(n), 10**6) / Fraction(latency))
        for n in networks
    ]
    assert found is not None
    assert found.factor == min(ratios)
    assert found.limits is not None
    assert run(space, {"device": DEVICE, **found.limits}).count > 0


SMALL = {
    "family": "densenet_cnn",
    "input": {"channels": 3, "height": 8, "width": 8},
    "num_classes": 10,
    "cells": 1,
    "width": [4, 6],
    "depth": {"min": 3, "max": 6},
    "skip_channels": {"min": 0, "max": 16, "step": 4},
}


def test_it_is_given_only_where_no_single_limit_suffices() -> None:
    assert run(SMALL, {"max_params": 1, "max_macs": 10**9}).joint_relaxation is None
    assert run(SMALL, {"max_params": 10**6, "max_macs": 10**9}).joint_relaxation is None
    assert run(SMALL, {"max_params": 1, "max_macs": 1}).joint_relaxation is not None


def test_where_no_factor_helps_that_is_reported() -> None:
    nothing = JointRelaxation(None, None)
    assert run(SMALL, {"max_params": 0, "max_macs": 10}).joint_relaxation == nothing
    assert run(SMALL, {"max_params": 0, "max_macs": 0}).joint_relaxation == nothing
    too_much = run(SMALL, {"max_params": 10**6, "max_macs": 10**9}, Minimize("params", 1e6)).joint_relaxation
    assert too_much == JointRelaxation(None, None, ("min_nn_mass",))


def test_it_is_left_out_when_the_time_runs_out_first() -> None:
    """A time limit without a clock: it ends after a number of checks."""
    seen: list[tuple[bool, bool]] = []
    unfinished: list[tuple[str, ...]] = []
    digests: set[str] = set()
    for patience in (100, 1000, 10**9):
        looks = iter(range(10**9))
        control = Control(expired=lambda looks=looks, patience=patience: next(looks) > patience)  # type: ignore[misc]
        budget = Budget(max_params=1506, max_macs=44_121)
        request = SearchRequest(space=decode_space(SMALL), budget=budget, objective=Minimize("params", 18.0))
        result = search(request, control)
        found = result.certificate
        assert found.feasible is False
        unfinished.append(found.unfinished)
        digests.add(result.digest)
        seen.append((found.relaxation is None, found.joint_relaxation is None))
    assert seen == [(True, True), (False, True), (False, False)]
    assert unfinished == [("relaxation",), ("joint_relaxation",), ()]
    assert len(digests) == 3


def test_the_factor_in_json_is_not_below_the_exact_one() -> None:
    for exact in (Fraction(1, 3), Fraction(10**17 + 1, 10**17), Fraction(5, 2), Fraction(2**60 + 1)):
        written = parsed(JointRelaxation(exact, {"max_params": 3.0}).to_json())
        assert Fraction(written["factor"]) >= exact
        assert Fraction(written["factor"]) - exact <= exact / 2**52
    assert parsed(JointRelaxation(None, None).to_json()) == {"factor": None, "limits": None, "unchanged": []}
