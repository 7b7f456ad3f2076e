"""Excluded networks and rankings that start below the best, against brute force on the oracle."""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.engine.control import Control
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.named.networks import named_network
from nnmass_core.named.presets import resolve_space
from nnmass_core.named.spending import Spend
from nnmass_core.request import LAST_RANK, Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import search
from tests.core.brute import Row, first_of_each_shape
from tests.core.every_limit import FAMILIES, Small, flat, found, random_small
from tests.core.test_spend import spending

MINIMIZED = ("params", "macs", "weight_bytes", "peak_activation_bytes", "latency_ms")
OBJECTIVES: tuple[Objective, ...] = (Maximize(), Maximize(), Maximize("macs"), *(Minimize(cost) for cost in MINIMIZED))


def ordered(small: Small, rows: list[Row], objective: Objective) -> list[Row]:
    """Return rows, the best first."""
    if objective == Maximize():
        return rows
    cost = objective.quantity if isinstance(objective, Maximize) else objective.cost  # type: ignore[union-attr]
    sign = -1 if isinstance(objective, Maximize) else 1
    return sorted(rows, key=lambda row: (sign * small.cost(row, cost), *row.place))


def excluded(small: Small, rows: list[Row]) -> tuple[Any, ...]:
    read = decode_space(small.space)
    return tuple(read.architecture(flat(row)) for row in rows)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(20)
def test_ranks_of_what_is_not_excluded_equal_brute_force(family: str, seed: int) -> None:
    rng = Random(f"ranks {family} {seed}")
    check(rng, family)


@pytest.mark.listed
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(12)
def test_ranks_from_a_list_equal_brute_force(family: str, seed: int) -> None:
    check(Random(f"listed ranks {family} {seed}"), family)


def check(rng: Random, family: str) -> None:
    """Compare a random question about a random space with brute force."""
    small = random_small(rng, family)
    budget = small.budget(rng)
    objective, diversity = rng.choice(OBJECTIVES), rng.choice(("none", "none", "shape"))
    share = rng.choice(("1", "0.9", "0.5")) if objective == Maximize() and rng.random() < 0.3 else None
    # the best ones are excluded more often than others
    within = small.within(budget)
    likely = ordered(small, within, objective)[:8]
    out = rng.sample(likely, min(len(likely), rng.choice((0, 1, 3, 8)))) + rng.choices(
        small.rows, k=rng.choice((0, 1, 2))
    )
    top_k, first_rank = rng.choice((1, 3, 1000)), rng.choice((1, 2, 5, 30))
    asked: dict[str, Any] = {"top_k": top_k, "diversity": diversity, "first_rank": first_rank}
    asked |= {"exclude": excluded(small, out), "spend": share and Spend("macs", float(share))}
    answer = small.search(budget, objective, **asked)

    def able(limits: dict[str, Any]) -> list[Row]:
        kept = [row for row in small.within(limits) if row not in out]
        return ordered(small, kept if share is None else spending(small, kept, "macs", share), objective)

    every = able(budget)
    expected = first_of_each_shape(every) if diversity == "shape" else every
    assert found(small, answer) == expected[first_rank - 1 :][:top_k]
    assert [place.rank for place in answer.ranking] == [*range(first_rank, first_rank + len(answer.ranking))]
    certificate = answer.certificate
    assert (certificate.optimal, certificate.feasible) == (True, bool(expected))
    assert (certificate.count, certificate.first_rank) == (len(answer.ranking), first_rank)
    if not expected:
        assert certificate.relaxation is not None
        for name in certificate.relaxation:
            others = {limit: bound for limit, bound in budget.items() if limit != name}
            assert (certificate.relaxation[name] is None) == (not able(others))
        return
    best = expected[0]
    assert certificate.best_nn_mass == float(best.mass)
    assert certificate.bound == certificate.objective_value
    binding = [] if share is None or able_without_share(small, budget, out)[0].mass == best.mass else ["spend"]
    for name in budget:
        rest = able({limit: bound for limit, bound in budget.items() if limit != name or limit == "precision"})
        least = isinstance(objective, Minimize)
        without, with_it = key(small, rest[0], objective), key(small, best, objective)
        # without a limit on a cost the share of a spend is of more, so that the best may be worse
        if name != "precision" and (without < with_it if least else without > with_it):
            binding.append(name)
    assert sorted(certificate.binding or ()) == sorted(binding)


def able_without_share(small: Small, budget: dict[str, Any], out: list[Row]) -> list[Row]:
    return [row for row in small.within(budget) if row not in out]


def key(small: Small, row: Row, objective: Objective) -> Any:
    """Return the objective's value of a network."""
    match objective:
        case Maximize(quantity="nn_mass"):
            return row.mass
        case Maximize(quantity=cost) | Minimize(cost=cost):
            return small.cost(row, cost)


def test_pages_of_a_ranking_join_to_the_ranking() -> None:
    space, budget = resolve_space("densenet-cifar"), Budget(max_params=10**6, max_macs=150 * 10**6)
    for diversity in ("none", "shape"):
        whole = search(SearchRequest(space=space, budget=budget, top_k=60, diversity=diversity))
        pages = [
            search(SearchRequest(space=space, budget=budget, top_k=20, first_rank=first, diversity=diversity))
            for first in (1, 21, 41)
        ]
        assert [place for page in pages for place in page.ranking] == [*whole.ranking]
        for page in pages:
            assert page.certificate.binding == whole.certificate.binding
            assert page.certificate.objective_value == whole.certificate.objective_value


def test_a_rank_that_is_cut_short_is_not_proved() -> None:
    small = random_small(Random(11), "densenet_cnn", 300)
    proofs = set()
    for patience in range(0, 60, 2):
        looks = itertools.count()
        control = Control(expired=lambda looks=looks, patience=patience: next(looks) >= patience)  # type: ignore[misc]
        answer = small.search({"precision": "fp32"}, control=control, first_rank=4, top_k=3)
        proofs.add(answer.certificate.optimal)
        if answer.certificate.optimal:
            assert found(small, answer) == small.rows[3:6]
        elif answer.certificate.bound is not None:
            assert answer.certificate.bound >= float(small.rows[0].mass)
    assert proofs == {True, False}


def test_a_request_that_excludes_nothing_keeps_its_form_and_its_digest() -> None:
    space, budget = resolve_space("densenet-tiny-free"), Budget(max_params=100_000)
    plain = SearchRequest(space=space, budget=budget)
    best = [place.architecture for place in search(plain).ranking]
    other = SearchRequest(space=space, budget=budget, exclude=(best[1], best[0], best[1]), first_rank=3.0)  # type: ignore[arg-type]
    assert (plain.version, other.version) == (1, 2)
    assert plain.to_json().keys() & {"exclude", "first_rank"} == set()
    assert {arch.arch_id for arch in other.exclude} == {arch.arch_id for arch in best[:2]}
    assert other.to_json()["first_rank"] == 3
    assert SearchRequest.from_json(other.to_json()) == other
    same = SearchRequest(space=space, budget=budget, exclude=tuple(best[:2]), first_rank=3)
    assert same.digest == other.digest != plain.digest
    off: dict[str, Any] = {**plain.to_json(), "exclude": [], "first_rank": 1}
    assert SearchRequest.from_json(off).digest == plain.digest
    digests = {search(one).digest for one in (plain, other, SearchRequest(space=space, budget=budget, first_rank=11))}
    assert len(digests) == 3


def test_networks_are_excluded_by_name_id_and_definition() -> None:
    known = named_network("resnet50")
    asked = {"space": "resnet-tiny-free", "exclude": ["mobilenet_v2", {"arch_id": known.arch_id}]}
    read = SearchRequest.from_json(asked, {known.arch_id: known.definition()}.get)
    assert {one.arch_id for one in read.exclude} == {named_network("mobilenet_v2").arch_id, known.arch_id}
    # those that the space does not contain change nothing
    plain = search(SearchRequest(space=read.space, budget=Budget(), top_k=5))
    assert (
        search(SearchRequest(space=read.space, budget=Budget(), exclude=read.exclude, top_k=5)).ranking == plain.ranking
    )


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"first_rank": 0}, "first_rank"),
        ({"first_rank": "2"}, "first_rank"),
        ({"first_rank": LAST_RANK}, "first_rank"),
        ({"first_rank": LAST_RANK + 1, "top_k": 1}, "first_rank"),
        ({"exclude": "mobilenet_v2"}, "exclude"),
        ({"exclude": ["mobilenet_v2"] * 101}, "exclude"),
        ({"exclude": ["mobilenet_v2", "mobilenet"]}, "exclude.1"),
        ({"exclude": [{"arch_id": "arch_0"}]}, "exclude.0.arch_id"),
        ({"exclude": [{"family": "resnet"}]}, "exclude.0.input"),
        ({"first_rank": 1, "objective": {"pareto": ["nn_mass", "macs"]}}, "first_rank"),
    ],
)
def test_an_invalid_field_is_named(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        SearchRequest.from_json({"space": "densenet-tiny-free", **asked})
    assert field in [problem.field for problem in refused.value.problems]


def test_a_front_has_no_ranks() -> None:
    with pytest.raises(DefinitionError, match="first_rank: does not apply to a Pareto front, which has no ranks"):
        SearchRequest(
            space=resolve_space("densenet-tiny-free"), budget=Budget(), objective=Pareto(("macs",)), first_rank=2
        )
