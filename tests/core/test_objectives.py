"""Least costs, compression and Pareto fronts against brute force on the oracle."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.certificate import Ranked, SearchResult
from nnmass_core.engine import solver
from nnmass_core.engine.bounds import best_prices
from nnmass_core.engine.control import Control
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_architecture, decode_space
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import Minimize, Objective, Pareto, SearchRequest, decode_objective
from nnmass_core.search import search
from tests.core.brute import BYTES, LIMITS, Row, first_of_each_shape, ranked, within
from tests.core.problems import OTHER_FAMILIES, random_budget, random_space
from tests.parsed import parsed

COSTS = ("params", "macs", "peak_activation_bytes")
FAMILIES = ("densenet_cnn", *OTHER_FAMILIES)


def cost_of(row: Row, cost: str) -> int:
    return {"params": row.params, "macs": row.macs, "peak_activation_bytes": row.peak}[cost]


def cells_of(place: Ranked) -> tuple[tuple[int, int, int], ...]:
    cells = place.evaluation.report("fp32")["cells"]
    return tuple((cell["width"], cell["depth"], cell["skip_channels"]) for cell in cells)


def run(space: dict[str, Any], budget: dict[str, Any], objective: Objective, **more: Any) -> SearchResult:
    return search(SearchRequest(space=decode_space(space), budget=Budget(**budget), objective=objective, **more))


def limits_of(budget: dict[str, Any]) -> dict[str, int]:
    return {name: budget[name] for name in LIMITS if name in budget}


def expected_minimum(rows: list[Row], budget: dict[str, Any], cost: str, least: Fraction) -> list[Row]:
    fitting = [r for r in within(rows, limits_of(budget), budget["precision"]) if r.mass >= least]
    return sorted(fitting, key=lambda r: (cost_of(r, cost), *r.place))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(60)
@pytest.mark.parametrize("cost", COSTS)
def test_a_least_cost_equals_brute_force(cost: str, family: str, seed: int) -> None:
    rng = Random(f"{cost} {seed}")
    space = random_space(rng, most=200, family=family)
    rows = ranked(space)
    budget = random_budget(rng, rows)
    wanted = rng.choice(rows).mass
    diversity, top_k = rng.choice(("none", "shape")), rng.choice((1, 3, 10, 1000))
    found = run(space, budget, Minimize(cost, float(wanted)), top_k=top_k, diversity=diversity)
    expected = expected_minimum(rows, budget, cost, wanted)
    ranking = (first_of_each_shape(expected) if diversity == "shape" else expected)[:top_k]
    assert [cells_of(place) for place in found.ranking] == [r.cells for r in ranking]
    certificate = found.certificate
    assert (certificate.optimal, certificate.upper_bound) == (True, None)
    assert certificate.feasible == bool(ranking)
    others = {
        name: expected_minimum(rows, {k: v for k, v in budget.items() if k != name}, cost, wanted)
        for name in limits_of(budget)
    }
    if ranking:
        unit = BYTES[budget["precision"]] if cost == "peak_activation_bytes" else 1
        assert certificate.objective_value == certificate.bound == cost_of(ranking[0], cost) * unit
        better = tuple(n for n, remaining in others.items() if cost_of(remaining[0], cost) < cost_of(ranking[0], cost))
        assert certificate.binding == better
    else:
        relaxation: dict[str, float | None] = {
            name: min((r.use(name, budget["precision"]) for r in remaining), default=None)
            for name, remaining in others.items()
        }
        fitting = within(rows, limits_of(budget), budget["precision"])
        relaxation["min_nn_mass"] = float(fitting[0].mass) if fitting else None
        assert certificate.relaxation == relaxation


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(60)
@pytest.mark.parametrize("cost", COSTS)
def test_a_front_equals_brute_force(cost: str, family: str, seed: int) -> None:
    rng = Random(f"front {cost} {seed}")
    space = random_space(rng, most=200, family=family)
    rows = ranked(space)
    budget = random_budget(rng, rows)
    found = run(space, budget, Pareto((cost,)))
    expected: list[Row] = []
    for row in sorted(within(rows, limits_of(budget), budget["precision"]), key=lambda r: (cost_of(r, cost), *r.place)):
        if not expected or row.mass > expected[-1].mass:
            expected.append(row)
    assert [cells_of(place) for place in found.ranking] == [r.cells for r in expected]
    assert (found.certificate.optimal, found.certificate.resolution) == (True, None)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(10)
def test_a_front_in_two_costs_equals_brute_force(seed: int, family: str) -> None:
    rng = Random(f"two {seed}")
    space = random_space(rng, most=60, family=family)
    rows = ranked(space)
    budget = random_budget(rng, rows)
    found = run(space, budget, Pareto(("params", "macs")))
    fitting = within(rows, limits_of(budget), budget["precision"])
    front: dict[tuple[int, int], Row] = {}
    for row in fitting:
        if not any(_beats(other, row) for other in fitting):
            front.setdefault((row.params, row.macs), row)
    assert [cells_of(place) for place in found.ranking] == [front[costs].cells for costs in sorted(front)]
    assert (found.certificate.optimal, found.certificate.resolution) == (True, None)


def _beats(other: Row, row: Row) -> bool:
    weakly = other.mass >= row.mass and other.params <= row.params and other.macs <= row.macs
    return weakly and (other.mass, other.params, other.macs) != (row.mass, row.params, row.macs)


@pytest.mark.parametrize("cost", ["params", "macs", "weight_bytes"])
def test_limits_that_prices_do_not_need_do_not_bind_without_new_prices(
    cost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    priced: list[int] = []

    def counted(*given: Any) -> Any:
        priced.append(1)
        return best_prices(*given)

    monkeypatch.setattr(solver, "best_prices", counted)
    found = search(
        SearchRequest(
            space=resolve_space("wide-resnet-cifar-free"),
            budget=Budget(max_params=2_000_000, max_macs=300_000_000),
            objective=Minimize(cost, 0.8 * 2448),
            top_k=1,
        )
    ).certificate
    assert (found.optimal, found.binding, len(priced)) == (True, (), 1)


def test_compress_reports_what_is_saved() -> None:
    reference = decode_architecture(
        {
            "family": "densenet_cnn",
            "input": {"channels": 3, "height": 32, "width": 32},
            "num_classes": 10,
            "cells": [{"width": w, "depth": 13, "skip_channels": t} for w, t in ((32, 100), (64, 160), (128, 110))],
        }
    )
    space = {
        "family": "densenet_cnn",
        "input": {"channels": 3, "height": 32, "width": 32},
        "num_classes": 10,
        "cells": 3,
        "width": [16, 32, 48],
        "depth": {"min": 6, "max": 30},
        "skip_channels": {"min": 0, "max": 320, "step": 5},
        "width_rule": "doubling",
        "depth_rule": "equal",
    }
    found = run(space, {}, Minimize("params", reference=reference), top_k=1)
    (best,) = found.ranking
    certificate = parsed(found.certificate.to_json())
    assert best.evaluation.mass >= reference.evaluation.mass
    assert certificate["reference"]["arch_id"] == reference.arch_id
    assert certificate["savings"] == {
        "params": 5069086 / best.evaluation.params,
        "macs": 972492800 / best.evaluation.macs,
    }


def test_a_reported_cost_as_a_limit_admits_the_same_network() -> None:
    # 784.1333333333333 as a double lies above 11762 / 15, which it stands for
    assert Fraction(784.1333333333333) != Fraction(11762, 15)
    below, above = (Minimize("params", least).least_mass for least in (784.1333333333333, 784.1333333333334))
    assert below is not None
    assert above is not None
    assert below <= Fraction(11762, 15) < above


@pytest.mark.parametrize("costs", [*((cost,) for cost in COSTS), ("params", "macs")])
def test_a_front_stopped_by_the_time_limit_has_only_true_points(costs: tuple[str, ...]) -> None:
    space = random_space(Random(5), most=400) | {"width": {"min": 4, "max": 40}, "depth": {"min": 3, "max": 12}}
    space |= {"skip_channels": {"min": 0, "max": 60, "step": 4}, "input": {"channels": 3, "height": 32, "width": 32}}
    whole = {cells_of(place) for place in run(space, {}, Pareto(costs)).ranking}
    looks = iter(range(10**9))
    request = SearchRequest(space=decode_space(space), budget=Budget(), objective=Pareto(costs))
    cut = search(request, Control(expired=lambda: next(looks) > 45))
    assert not cut.certificate.optimal
    assert cut.certificate.resolution is not None
    assert set(cut.certificate.resolution) == set(costs)
    assert cut.ranking
    assert {cells_of(place) for place in cut.ranking} < whole


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, ""),
        ([], ""),
        ({"maximize": "nn_mass", "minimize": "params"}, ""),
        ({"maximize": "accuracy"}, "maximize"),
        ({"maximize": "nn_mass", "min_nn_mass": 1}, "min_nn_mass"),
        ({"minimize": "params", "min_nn_mass": 1, "reference": "resnet18"}, "min_nn_mass"),
        ({"minimize": "beauty", "min_nn_mass": 1}, "minimize"),
        ({"minimize": ["params"], "min_nn_mass": 1}, "minimize"),
        ({"minimize": "params", "min_nn_mass": -1}, "min_nn_mass"),
        ({"minimize": "params", "min_nn_mass": "1"}, "min_nn_mass"),
        ({"minimize": "params", "min_nn_mass": True}, "min_nn_mass"),
        ({"minimize": "params", "reference": {"family": "densenet_cnn", "cells": 5}}, "reference.cells"),
        ({"minimize": "params", "reference": "nonsense"}, "reference"),
        ({"pareto": "macs"}, "pareto"),
        ({"pareto": ["macs", "nn_mass"]}, "pareto"),
        ({"pareto": ["nn_mass"]}, "pareto"),
        ({"pareto": ["nn_mass", "params", "params"]}, "pareto"),
        ({"pareto": ["nn_mass", "macs"], "reference": {}}, "reference"),
    ],
)
def test_an_invalid_objective_names_its_field(data: Any, field: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        decode_objective(data)
    assert field in {problem.field for problem in refused.value.problems}
