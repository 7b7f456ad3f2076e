"""Fronts that are thinned to a number of points, against the whole fronts."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import pytest

from nnmass_core.budget import Budget
from nnmass_core.engine.pareto import Point, thinned
from nnmass_core.errors import DefinitionError
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import Pareto, SearchRequest
from nnmass_core.search import search
from tests.core.random_chains import out_of_time_after


def front_of(costs: int, size: int, rng: Random) -> list[Point]:
    """Points with costs in no relation but the order of the first, as a front in two costs may have them."""
    firsts = sorted(rng.sample(range(10_000), size))
    return [
        Point((first, *(rng.randrange(1000) for _ in range(costs - 1))), Fraction(rng.randrange(1000)), (place,))
        for place, first in enumerate(firsts)
    ]


@pytest.mark.parametrize("costs", [1, 2])
@pytest.mark.random_cases(40)
def test_a_thinned_front_has_its_ends_and_lies_evenly(costs: int, seed: int) -> None:
    rng = Random(f"thinned {costs} {seed}")
    points = front_of(costs, rng.randint(1, 60), rng)
    most = rng.randint(3, 60)
    kept = thinned(points, most)
    assert len(kept) == min(most, len(points))
    places = [point.integers[0] for point in kept]
    assert places == sorted(set(places))
    masses = [point.mass for point in kept]
    assert max(masses) == max(point.mass for point in points)
    for column in range(costs):
        assert min(point.costs[column] for point in kept) == min(point.costs[column] for point in points)
    longest = max(after - before for before, after in zip([-1, *places], [*places, len(points)], strict=False))
    assert longest <= len(points) // max(1, most - 3) + 4
    assert thinned(points, None) is points


@pytest.mark.parametrize("costs", [("params",), ("macs", "peak_activation_bytes"), ("params", "macs")])
@pytest.mark.parametrize("preset", ["resnet-tiny-free", "mobilenet-v2-tiny-free"])
def test_points_of_a_thinned_front_are_points_of_the_whole(preset: str, costs: tuple[str, ...]) -> None:
    space, budget = resolve_space(preset), Budget(max_params=200_000)
    whole = search(SearchRequest(space=space, budget=budget, objective=Pareto(costs)))
    every = [point.architecture.arch_id for point in whole.ranking]
    assert len(every) > 4
    answer = search(SearchRequest(space=space, budget=budget, objective=Pareto(costs, 4)))
    kept = [point.architecture.arch_id for point in answer.ranking]
    assert len(kept) == 4
    assert kept == [one for one in every if one in kept]
    assert [point.rank for point in answer.ranking] == [*range(1, len(kept) + 1)]
    certificate = answer.certificate
    assert (certificate.optimal, certificate.resolution) == (True, None)
    assert certificate.best_nn_mass == whole.certificate.best_nn_mass
    assert (certificate.count, certificate.thinned_from) == (4, len(every))
    enough = search(SearchRequest(space=space, budget=budget, objective=Pareto(costs, len(every))))
    assert [point.architecture.arch_id for point in enough.ranking] == every
    assert "thinned_from" not in enough.certificate.to_json()


def test_a_front_that_runs_out_of_time_is_thinned_too() -> None:
    space = resolve_space("mobilenet-v2-imagenet-free")
    asked = SearchRequest(space=space, budget=Budget(), objective=Pareto(("params", "macs"), 3))
    result = search(asked, out_of_time_after(40))
    certificate = result.certificate
    assert not certificate.optimal
    assert len(result.ranking) <= 3


@pytest.mark.parametrize("points", [2, 0, -5, 100_001, 2.5, "9", True])
def test_a_wrong_number_of_points_names_its_field(points: object) -> None:
    form = {"space": "resnet-tiny-free", "objective": {"pareto": ["nn_mass", "macs"], "points": points}}
    with pytest.raises(DefinitionError) as refused:
        SearchRequest.from_json(form)
    assert [problem.field for problem in refused.value.problems] == ["objective.points"]


def test_points_are_part_of_the_stored_form_only_where_they_are_given() -> None:
    plain, none, some = (
        SearchRequest.from_json({"space": "resnet-tiny-free", "objective": {"pareto": ["nn_mass", "macs"], **more}})
        for more in ({}, {"points": None}, {"points": 9.0})
    )
    assert plain.digest == none.digest != some.digest
    assert (plain.version, some.version) == (1, 2)
    assert some.to_json()["objective"] == {"pareto": ["nn_mass", "macs"], "points": 9}
    assert SearchRequest.from_json(some.to_json(), version=2) == some
