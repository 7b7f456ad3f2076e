"""The most of a cost, the least of one at any NN-Mass, and weight memory as an objective, against brute force."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.engine.control import Control
from nnmass_core.errors import DefinitionError
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest, decode_objective, maximized
from nnmass_core.search import search
from tests.core.brute import BYTES, Row, first_of_each_shape
from tests.core.every_limit import FAMILIES, LATENCY, Small, found, random_small

SUMS = ("params", "macs", "weight_bytes", "latency_ms")
EVERY = ("params", "macs", "weight_bytes", "peak_activation_bytes", "latency_ms")


def in_order(small: Small, rows: list[Row], objective: Maximize | Minimize) -> list[Row]:
    """Return rows by the objective, ties by the ranking order."""
    if isinstance(objective, Maximize):
        return sorted(rows, key=lambda row: (-small.cost(row, objective.quantity), *row.place))
    return sorted(rows, key=lambda row: (small.cost(row, objective.cost), *row.place))


def in_units(small: Small, row: Row, cost: str) -> float:
    elements = small.cost(row, cost)
    if cost == "latency_ms":
        return elements / 1e6
    return elements * (BYTES["fp32"] if cost == "peak_activation_bytes" else 1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(20)
def test_the_most_of_a_cost_and_the_least_at_any_nn_mass_equal_brute_force(family: str, seed: int) -> None:
    rng = Random(f"sizes {family} {seed}")
    small = random_small(rng, family)
    budget = small.budget(rng)
    objective: Maximize | Minimize = rng.choice((Maximize(rng.choice(SUMS)), Minimize(rng.choice(EVERY))))
    cost = objective.quantity if isinstance(objective, Maximize) else objective.cost
    top_k, diversity = rng.choice((1, 3, 1000)), rng.choice(("none", "none", "shape"))
    answer = small.search(budget, objective, top_k=top_k, diversity=diversity)
    expected = in_order(small, small.within(budget), objective)
    shown = first_of_each_shape(expected) if diversity == "shape" else expected
    assert found(small, answer) == shown[:top_k]
    certificate = answer.certificate
    assert (certificate.optimal, certificate.feasible) == (True, bool(expected))
    if not expected:
        assert "min_nn_mass" not in (certificate.relaxation or {})
        return
    value = in_units(small, expected[0], cost)
    assert (certificate.objective_value, certificate.bound, certificate.upper_bound) == (value, value, None)
    binding = []
    for name in budget:
        rest = in_order(
            small, small.within({k: v for k, v in budget.items() if k != name or k == "precision"}), objective
        )
        if name != "precision" and small.cost(rest[0], cost) != small.cost(expected[0], cost):
            binding.append(name)
    assert sorted(certificate.binding or ()) == sorted(binding)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(12)
def test_weight_memory_at_an_nn_mass_and_on_a_front_equals_brute_force(family: str, seed: int) -> None:
    rng = Random(f"weights {family} {seed}")
    small = random_small(rng, family)
    budget = small.budget(rng)
    least = rng.choice(small.rows).mass
    answer = small.search(budget, Minimize("weight_bytes", float(least)), top_k=5)
    assert found(small, answer) == in_order(small, small.within(budget, least), Minimize("weight_bytes"))[:5]
    points: list[Row] = []
    for row in in_order(small, small.within(budget), Minimize("weight_bytes")):
        if not points or row.mass > points[-1].mass:
            points.append(row)
    assert found(small, small.search(budget, Pareto(("weight_bytes",)))) == points


def test_what_can_be_maximized_follows_from_the_table_of_costs() -> None:
    assert maximized() == ["nn_mass", *SUMS, "depth"]
    for wrong in ("peak_activation_bytes", "beauty", ["params"], None):
        with pytest.raises(DefinitionError) as refused:
            decode_objective({"maximize": wrong})
        assert [problem.field for problem in refused.value.problems] == ["maximize"]


def test_the_most_latency_needs_a_device_with_latencies() -> None:
    with pytest.raises(DefinitionError) as refused:
        SearchRequest(space=resolve_space("densenet-tiny-free"), budget=Budget(), objective=Maximize("latency_ms"))
    assert [problem.field for problem in refused.value.problems] == ["objective.maximize"]


@pytest.mark.parametrize(
    ("objective", "version", "form"),
    [
        (Maximize(), 1, {"maximize": "nn_mass"}),
        (Maximize("macs"), 2, {"maximize": "macs"}),
        (Minimize("params", 5.0), 1, {"minimize": "params", "min_nn_mass": 5.0}),
        (Minimize("params"), 2, {"minimize": "params"}),
        (Minimize("weight_bytes", 5.0), 2, {"minimize": "weight_bytes", "min_nn_mass": 5.0}),
        (Pareto(("macs",)), 1, {"pareto": ["nn_mass", "macs"]}),
        (Pareto(("weight_bytes",)), 2, {"pareto": ["nn_mass", "weight_bytes"]}),
        (Pareto(("macs", "params")), 1, {"pareto": ["nn_mass", "macs", "params"]}),
        (Pareto(("macs", "peak_activation_bytes")), 2, {"pareto": ["nn_mass", "macs", "peak_activation_bytes"]}),
    ],
)
def test_an_objective_that_earlier_releases_cannot_read_has_version_2(
    objective: Objective, version: int, form: dict[str, Any]
) -> None:
    request = SearchRequest(space=resolve_space("densenet-tiny-free"), budget=Budget(), objective=objective)
    assert (request.version, request.to_json()["objective"]) == (version, form)
    assert decode_objective(form) == objective


def test_the_bound_of_a_maximized_cost_is_valid_without_any_time() -> None:
    for seed in range(30):
        rng = Random(f"expired {seed}")
        small = random_small(rng, "densenet_cnn")
        budget = {name: bound for name, bound in small.budget(rng).items() if name != LATENCY}
        best = in_order(small, small.within(budget), Maximize("macs"))[:1]
        cut = small.search(budget, Maximize("macs"), Control(expired=lambda: True)).certificate
        if cut.optimal:
            assert (cut.count, best) == (0, [])
        else:
            assert cut.bound is not None
            assert not best or cut.bound >= best[0].macs


def test_whole_numbers_may_be_written_as_doubles() -> None:
    space = resolve_space("densenet-tiny-free")
    budget = Budget(max_params=1e5, min_macs=1e6)  # as JSON readers of other languages give them
    assert budget == Budget(max_params=100_000, min_macs=1_000_000)
    assert all(type(bound) is int for _, bound in budget.bounds)
    request = SearchRequest(space=space, budget=budget, top_k=3.0)  # type: ignore[arg-type]
    assert (request.top_k, type(request.top_k)) == (3, int)
    assert request.digest == SearchRequest(space=space, budget=budget, top_k=3).digest
    data = {"space": "densenet-tiny-free", "budget": {"max_params": 1e5}, "top_k": 3.0}
    assert len(search(SearchRequest.from_json(data)).ranking) == 3
    for wrong in (1.5, 2.0**60, float("nan"), float("inf")):
        with pytest.raises(DefinitionError):
            Budget(max_params=wrong)
