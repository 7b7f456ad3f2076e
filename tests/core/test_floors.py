"""Floors on costs and limits on NN-Mass, with every objective, against brute force on the oracle."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget, Floor, most_mass_of
from nnmass_core.costs import COSTS, costs_by_floor, costs_by_limit
from nnmass_core.engine.control import Control
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.named.networks import named_network
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import SearchResult, search
from tests.core.brute import BYTES, Row
from tests.core.every_limit import FAMILIES, Small, found, random_small
from tests.core.latencies import DEVICE
from tests.networks import AROUND_MOBILENET

UPPER = ("max_params", "max_macs", "max_weight_bytes", "max_peak_activation_bytes", "max_latency_ms", "max_depth")
LOWER = ("min_params", "min_macs", "min_weight_bytes", "min_latency_ms", "min_depth")
MASSES = ("min_nn_mass", "max_nn_mass")
MINIMIZED = ("params", "macs", "peak_activation_bytes", "latency_ms", "depth")


def value(small: Small, row: Row, limit: str) -> float | Fraction:
    """Return what a network has of a limit, in its unit."""
    name = limit.removeprefix("min_").removeprefix("max_")
    if name == "nn_mass":
        return row.mass
    if name == "weight_bytes":
        return row.weight_bytes("fp32")
    if name == "latency_ms":
        return small.nanoseconds[row.cells] / 1e6
    return small.cost(row, name) * (BYTES["fp32"] if name == "peak_activation_bytes" else 1)


def keeps(small: Small, row: Row, limit: str, bound: float) -> bool:
    """Return whether a network keeps a limit; a double stands for the exact NN-Masses that round to it."""
    has = value(small, row, limit)
    if limit in MASSES:
        has = float(has)
    return has >= bound if limit.startswith("min_") else has <= bound


def within(small: Small, limits: dict[str, float]) -> list[Row]:
    return [row for row in small.rows if all(keeps(small, row, name, bound) for name, bound in limits.items())]


def random_limits(rng: Random, small: Small) -> dict[str, float]:
    """Return two to four limits, of which at least one is a floor or on NN-Mass; some admit nothing."""
    chosen = {rng.choice((*LOWER, *MASSES)), *rng.sample((*UPPER, *LOWER, *MASSES), rng.randint(1, 3))}
    limits: dict[str, float] = {}
    for name in sorted(chosen):
        values = sorted(value(small, row, name) for row in small.rows)
        shares = (0.0, 0.0, 0.1, 0.4, 0.7, 1.0) if name.startswith("min_") else (0.0, 0.2, 0.5, 0.8, 1.0, 1.0)
        edge = values[int(rng.choice(shares) * (len(values) - 1))]
        if name in ("min_latency_ms", "max_latency_ms", *MASSES):
            limits[name] = float(edge) * rng.choice((1, 1, 1, 0.97, 1.03))
        else:
            limits[name] = int(edge) + rng.choice((0, 0, 0, -1, 1))
    return {name: max(bound, 0) for name, bound in limits.items() if bound > 0 or "latency" not in name}


def crossed(limits: dict[str, float]) -> bool:
    quantities = {name.removeprefix("min_").removeprefix("max_") for name in limits}
    both = [q for q in quantities if f"min_{q}" in limits and f"max_{q}" in limits]
    return any(limits[f"min_{q}"] > limits[f"max_{q}"] for q in both)


def a_question(rng: Random, family: str) -> tuple[Small, dict[str, float]]:
    while True:
        small = random_small(rng, family)
        limits = random_limits(rng, small)
        if any(name in limits for name in (*LOWER, *MASSES)) and not crossed(limits):
            return small, limits


def run(small: Small, limits: dict[str, float], objective: Objective | None = None, **more: Any) -> SearchResult:
    return small.search({"precision": "fp32", **limits}, objective, **more)


def in_order(small: Small, rows: list[Row], cost: str | None) -> list[Row]:
    return rows if cost is None else sorted(rows, key=lambda row: (small.cost(row, cost), *row.place))


def better(small: Small, one: Row, other: Row, cost: str | None) -> bool:
    return one.mass > other.mass if cost is None else small.cost(one, cost) < small.cost(other, cost)


def nearest(small: Small, limits: dict[str, float], name: str) -> float | None:
    """Return the value of a limit nearest to it that admits a network with the other limits unchanged."""
    others = [value(small, row, name) for row in within(small, {k: v for k, v in limits.items() if k != name})]
    most = max if name.startswith("min_") else min
    return float(most(others)) if others else None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(20)
def test_a_ranking_under_floors_equals_brute_force(family: str, seed: int) -> None:
    rng = Random(f"floors {family} {seed}")
    small, limits = a_question(rng, family)
    cost = rng.choice((None, None, *MINIMIZED))
    asked = dict(limits)
    if cost is not None:
        least = rng.choice(small.rows).mass
        if float(least) > limits.get("max_nn_mass", float("inf")):
            least = Fraction(0)
        objective: Objective = Minimize(cost, float(least))
        asked["min_nn_mass"] = max(float(least), limits.get("min_nn_mass", 0.0))
    else:
        objective = Maximize()
    top_k = rng.choice((1, 3, 1000))
    answer = run(small, limits, objective, top_k=top_k)
    expected = in_order(small, within(small, asked), cost)
    assert found(small, answer) == expected[:top_k]
    certificate = answer.certificate
    assert (certificate.optimal, certificate.feasible) == (True, bool(expected))
    if not expected:
        assert certificate.relaxation == {name: nearest(small, asked, name) for name in asked}
        return
    binding = []
    for name in limits:
        rest = {k: v for k, v in limits.items() if k != name}
        if cost is not None:
            rest["min_nn_mass"] = max(float(least), rest.get("min_nn_mass", 0.0))
        if better(small, in_order(small, within(small, rest), cost)[0], expected[0], cost):
            binding.append(name)
    assert sorted(certificate.binding or ()) == sorted(binding)
    for place, row in zip(answer.ranking, expected, strict=False):
        assert set(place.slack) == set(limits)
        for name, bound in limits.items():
            slack = float(value(small, row, name)) - bound
            assert place.slack[name] == pytest.approx(slack if name.startswith("min_") else -slack)
            assert place.slack[name] >= 0
        upper = {name: bound for name, bound in limits.items() if not name.startswith("min_")}
        shares = {name: 1 - float(value(small, row, name)) / bound if bound else 0 for name, bound in upper.items()}
        assert place.unused == pytest.approx(shares)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(12)
def test_a_front_under_floors_equals_brute_force(family: str, seed: int) -> None:
    rng = Random(f"front floors {family} {seed}")
    small, limits = a_question(rng, family)
    cost = rng.choice(MINIMIZED)
    expected: list[Row] = []
    for row in in_order(small, within(small, limits), cost):
        if not expected or row.mass > expected[-1].mass:
            expected.append(row)
    answer = run(small, limits, Pareto((cost,)))
    assert found(small, answer) == expected
    assert (answer.certificate.optimal, answer.certificate.feasible) == (True, bool(expected))
    if not expected:
        assert answer.certificate.relaxation == {name: nearest(small, limits, name) for name in limits}


def test_a_front_below_an_nn_mass_is_whole_where_the_exact_masses_exceed_60_bits() -> None:
    """Over the common denominator, the masses of this space lie between 2**60 and 2**62."""
    test_a_front_under_floors_equals_brute_force("resnet", 285)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(8)
def test_a_common_factor_leaves_floors_as_they_are(family: str, seed: int) -> None:
    rng = Random(f"joint floors {family} {seed}")
    small = random_small(rng, family)
    floors: dict[str, float] = {
        "min_params": small.rows[0].params,
        "max_nn_mass": float(small.rows[0].mass),
    }
    bounds = {"max_macs": min(row.macs for row in small.rows) // 2, "max_weight_bytes": 3}
    able = within(small, floors)
    joint = run(small, {**bounds, **floors}).certificate.joint_relaxation
    assert joint is not None
    assert joint.unchanged == ("min_params", "max_nn_mass")
    factors = [max(Fraction(row.macs, bounds["max_macs"]), Fraction(row.weight_bytes("fp32"), 3)) for row in able]
    assert joint.factor == min(factors)


def test_every_sum_has_a_floor_and_the_peak_has_none() -> None:
    assert list(costs_by_floor()) == list(LOWER)
    assert [cost.limit for cost in COSTS.values() if not cost.summed] == [
        "max_peak_activation_bytes",
        "max_memory_bytes",
    ]
    assert list(costs_by_limit()) == [*UPPER, "max_memory_bytes"]


@pytest.mark.parametrize("bound", [0.001, 0.3, 4.123456, 4.1234567, 1e-6, 123456.789012, 1e9])
def test_a_floor_on_latency_is_the_fewest_nanoseconds_that_reach_it(bound: float) -> None:
    elements = Floor(COSTS["latency_ms"], bound, 4).elements
    assert elements / 1e6 >= bound
    assert (elements - 1) / 1e6 < bound


def test_a_reported_nn_mass_as_a_limit_admits_the_same_network() -> None:
    # 784.1333333333333 as a double lies above 11762 / 15, which it stands for; 4.666666666666667 above 14 / 3
    assert most_mass_of(784.1333333333333) >= Fraction(11762, 15)
    assert most_mass_of(784.1333333333332) < Fraction(11762, 15)
    space = resolve_space("densenet-tiny-free")
    budgets: list[dict[str, Any]] = [{"max_params": 100_000}, {"max_macs": 20_000_000}]
    for limits in budgets:
        best = search(SearchRequest(space=space, budget=Budget(**limits), top_k=1)).ranking[0]
        mass = float(best.evaluation.mass)
        again = search(SearchRequest(space=space, budget=Budget(**limits, min_nn_mass=mass, max_nn_mass=mass), top_k=1))
        assert again.ranking[0].architecture == best.architecture


@pytest.mark.parametrize(
    ("limits", "field", "code"),
    [
        ({"min_params": 2, "max_params": 1}, "min_params", "min_above_max"),
        ({"min_nn_mass": 2.5, "max_nn_mass": 2}, "min_nn_mass", "min_above_max"),
        ({"min_weight_bytes": 2**21, "device": "stm32f746"}, "min_weight_bytes", "min_above_max"),
        ({"min_latency_ms": 2, "max_latency_ms": 1, "device": DEVICE}, "min_latency_ms", "min_above_max"),
        ({"min_latency_ms": 2}, "min_latency_ms", "needs_device"),
        ({"min_macs": -1}, "min_macs", "too_small"),
        ({"min_macs": "1"}, "min_macs", "not_an_integer"),
        ({"min_nn_mass": -1}, "min_nn_mass", "out_of_range"),
        ({"max_nn_mass": 1e16}, "max_nn_mass", "out_of_range"),
        ({"max_nn_mass": float("nan")}, "max_nn_mass", "out_of_range"),
        ({"max_nn_mass": True}, "max_nn_mass", "out_of_range"),
        ({"max_nn_mass": 10**400}, "max_nn_mass", "out_of_range"),
        ({"min_peak_activation_bytes": 1}, "min_peak_activation_bytes", "unknown_field"),
    ],
)
def test_an_invalid_floor_names_its_field(limits: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        Budget(**limits)
    assert [(problem.field, problem.code) for problem in refused.value.problems] == [(field, code)]


@pytest.mark.parametrize(
    ("objective", "field"),
    [
        (Minimize("params", 11.0), "objective.min_nn_mass"),
        (Minimize("params", reference=named_network("mobilenet_v2")), "objective.reference"),
    ],
)
def test_a_least_nn_mass_above_the_budgets_greatest_names_its_field(objective: Minimize, field: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        SearchRequest(space=resolve_space("densenet-tiny-free"), budget=Budget(max_nn_mass=10), objective=objective)
    assert [(problem.field, problem.code) for problem in refused.value.problems] == [(field, "min_above_max")]


def test_only_upper_limits_on_costs_count_for_the_caveats_of_limits() -> None:
    space = resolve_space("densenet-tiny-free")

    def caveats(**limits: Any) -> tuple[str, ...]:
        return search(SearchRequest(space=space, budget=Budget(**limits), top_k=1)).certificate.caveats

    assert "no_limits" in caveats(min_params=1000)
    assert "no_limits" in caveats(max_nn_mass=100)
    assert "no_limits" not in caveats(min_params=1000, max_params=100_000)
    assert "limits_used_below_60" in caveats(min_params=1, max_params=10**9)
    assert "limits_used_below_60" not in caveats(max_nn_mass=20, max_params=10**9)


@pytest.mark.parametrize(
    ("space", "version"),
    [
        (resolve_space("resnet-tiny-free").to_json(), 1),
        (resolve_space("resnet-tiny-free").to_json() | {"stages": [{"channels": 8, "repeats": [0, 1]}] * 2}, 2),
        (resolve_space("densenet-tiny-free").to_json() | {"cells": 1}, 1),
        (resolve_space("densenet-tiny-free").to_json() | {"cells": [1]}, 2),
        (resolve_space("densenet-tiny-free").to_json() | {"cells": {"min": 1, "max": 2}}, 2),
        (resolve_space("mobilenet-v2-tiny-free").to_json(), 1),
        (AROUND_MOBILENET, 2),
    ],
)
def test_the_form_of_a_request_has_the_version_of_its_space(space: dict[str, Any], version: int) -> None:
    request = SearchRequest(space=decode_space(space), budget=Budget())
    assert request.version == version
    assert SearchRequest.from_json(request.to_json(), version=version) == request


@pytest.mark.parametrize(
    ("name", "version"), [("mobilenet_v2", 1), ("resnet18", 1), ("efficientnet_b0", 2), ("mnasnet1_0", 2)]
)
def test_the_form_of_a_request_has_the_version_of_its_reference(name: str, version: int) -> None:
    objective = Minimize("macs", reference=named_network(name))
    request = SearchRequest(space=resolve_space("mobilenet-v2-tiny-free"), budget=Budget(), objective=objective)
    assert request.version == version
    assert SearchRequest.from_json(request.to_json(), version=version) == request


def test_the_form_of_a_request_without_floors_stays_that_of_version_1() -> None:
    space = resolve_space("densenet-tiny-free")
    old = SearchRequest(space=space, budget=Budget(max_params=100_000))
    new = SearchRequest(space=space, budget=Budget(max_params=100_000, min_params=1))
    assert (old.version, new.version) == (1, 2)
    assert old.to_json()["budget"] == {"max_params": 100_000, "precision": "fp32"}
    assert new.to_json()["budget"] == {"max_params": 100_000, "min_params": 1, "precision": "fp32"}
    assert old.digest != new.digest
    for request in (old, new):
        assert SearchRequest.from_json(request.to_json(), version=request.version) == request


def test_a_search_under_floors_without_time_claims_nothing_wrong() -> None:
    rng = Random(3)
    for _ in range(30):
        small, limits = a_question(rng, "densenet_cnn")
        best = within(small, limits)[:1]
        answer = run(small, limits, control=Control(expired=lambda: True)).certificate
        if answer.optimal:
            assert (answer.count, best) == (0, [])
        else:
            assert answer.bound is not None
            assert not best or answer.bound >= float(best[0].mass)
