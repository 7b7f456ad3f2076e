"""The depth of networks as a limit on both sides and as an objective, against every network of small spaces."""

from __future__ import annotations

from fractions import Fraction
from operator import le
from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import search
from nnmass_core.spaces.base import Space
from tests.core.brute import Row
from tests.core.every_limit import FAMILIES, Small, depth_of, found, random_small


def limited(rng: Random, small: Small) -> tuple[dict[str, Any], list[Row]]:
    """Return random limits with one on depth from above, from below or on both sides, and the networks within."""
    budget, depths = small.budget(rng), sorted(depth_of(small.space, row) for row in small.rows)
    edges = sorted(rng.choice(depths) for _ in range(2))
    kind = rng.choice(("max", "min", "both"))
    budget |= {"min_depth": edges[0]} if kind != "max" else {}
    budget |= {"max_depth": edges[1]} if kind != "min" else {}
    least, most = budget.get("min_depth", 0), budget.get("max_depth", depths[-1])
    return budget, [row for row in small.within(budget) if least <= depth_of(small.space, row) <= most]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(20)
def test_rankings_within_limits_on_depth_equal_brute_force(family: str, seed: int) -> None:
    rng = Random(f"depth {family} {seed}")
    small = random_small(rng, family)
    budget, rows = limited(rng, small)
    objective: Objective = rng.choice((Maximize(), Maximize("depth"), Minimize("depth"), Minimize("macs")))
    sign = -1 if objective == Maximize("depth") else 1
    if objective != Maximize():
        name = "macs" if objective == Minimize("macs") else "depth"
        rows = sorted(rows, key=lambda row: (sign * small.cost(row, name), *row.place))
    answer = small.search(budget, objective, top_k=5)
    assert found(small, answer) == rows[:5]
    assert (answer.certificate.optimal, answer.certificate.feasible) == (True, bool(rows))
    for place, row in zip(answer.ranking, rows, strict=False):
        depth = depth_of(small.space, row)
        assert place.evaluation.depth == place.evaluation.report("fp32")["depth"] == depth
        if "max_depth" in budget:
            assert place.slack["max_depth"] == budget["max_depth"] - depth
        if "min_depth" in budget:
            assert place.slack["min_depth"] == depth - budget["min_depth"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(12)
def test_fronts_in_depth_equal_brute_force(family: str, seed: int) -> None:
    rng = Random(f"depth front {family} {seed}")
    small = random_small(rng, family, 60)
    budget, rows = limited(rng, small)
    costs = rng.choice((("depth",), ("depth", "params"), ("peak_activation_bytes", "depth")))

    def of(row: Row) -> tuple[int, ...]:
        return tuple(small.cost(row, cost) for cost in costs)

    front: dict[tuple[int, ...], Row] = {}
    for row in rows:
        near = [r for r in rows if r.mass >= row.mass and all(map(le, of(r), of(row)))]
        if all((r.mass, of(r)) == (row.mass, of(row)) for r in near):
            front.setdefault(of(row), row)
    answer = small.search(budget, Pareto(costs))
    assert found(small, answer) == [front[point] for point in sorted(front)]
    assert answer.certificate.resolution is None


def test_depth_counts_what_a_preset_says() -> None:
    request = SearchRequest(space=resolve_space("densenet-tiny-free"), budget=Budget(max_depth=12, max_params=100_000))
    answer = search(request)
    assert [sum(cell.depth for cell in place.architecture.cells) for place in answer.ranking] == [  # type: ignore[attr-defined]
        place.evaluation.depth for place in answer.ranking
    ]
    assert max(place.evaluation.depth for place in answer.ranking) <= 12
    assert answer.certificate.optimal


def test_the_least_depth_that_is_enough_is_reported() -> None:
    request = SearchRequest(space=resolve_space("resnet-tiny-free"), budget=Budget(max_depth=2))
    certificate = search(request).certificate
    assert (certificate.feasible, certificate.relaxation) == (False, {"max_depth": 7})


def test_a_family_without_layers_refuses_limits_on_depth_and_depth_as_an_objective(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = resolve_space("densenet-tiny-free")
    monkeypatch.setattr(type(space), "layers", Space.layers)
    asked: list[tuple[dict[str, Any], Objective, str]] = [
        ({"max_depth": 5}, Maximize(), "budget.max_depth"),
        ({"min_depth": 5}, Maximize(), "budget.min_depth"),
        ({}, Maximize("depth"), "objective.maximize"),
        ({}, Minimize("depth"), "objective.minimize"),
        ({}, Pareto(("depth",)), "objective.pareto"),
    ]
    for budget, objective, field in asked:
        with pytest.raises(DefinitionError) as refused:
            SearchRequest(space=space, budget=Budget(**budget), objective=objective)
        assert [(problem.field, problem.code) for problem in refused.value.problems] == [(field, "no_depth")]


def test_questions_on_depth_have_version_2_of_the_form() -> None:
    space = resolve_space("densenet-tiny-free")
    asked: list[tuple[dict[str, Any], Objective]] = [
        ({"max_depth": 12}, Maximize()),
        ({"min_depth": 12}, Maximize()),
        ({}, Minimize("depth", float(Fraction(1, 2)))),
        ({}, Maximize("depth")),
        ({}, Pareto(("depth",))),
    ]
    for budget, objective in asked:
        request = SearchRequest(space=space, budget=Budget(**budget), objective=objective)
        assert request.version == 2
        assert SearchRequest.from_json(request.to_json(), version=2) == request


@pytest.mark.parametrize(
    "preset", ["densenet-tiny-free", "resnet-tiny-free", "wide-resnet-cifar-free", "mobilenet-v2-tiny-free"]
)
def test_depth_is_that_of_networks_of_every_resolution(preset: str) -> None:
    space = resolve_space(preset).to_json() | {"input": {"channels": 3, "resolution": [32, 48]}}
    request = SearchRequest(space=decode_space(space), budget=Budget(max_params=300_000), objective=Maximize("depth"))
    answer = search(request)
    assert answer.certificate.optimal
    assert answer.certificate.objective_value == answer.ranking[0].evaluation.depth
