"""Fronts of spaces of ordinary size: how many labels they take, and which points they have."""

from __future__ import annotations

import itertools
from fractions import Fraction
from random import Random

import pytest

from nnmass_core.architecture import Evaluation
from nnmass_core.budget import Budget
from nnmass_core.costs import COSTS
from nnmass_core.engine.control import Control
from nnmass_core.named.presets import presets
from nnmass_core.request import Pareto, SearchRequest
from nnmass_core.search import search
from tests.core.brute import Row
from tests.core.every_limit import FAMILIES, found, random_small

EXAMPLE = Budget(max_params=1_000_000, max_macs=150_000_000)


def test_labels_that_grow_from_the_output_are_few() -> None:
    space = presets()["densenet-cifar-free"].space
    result = search(SearchRequest(space=space, budget=EXAMPLE, objective=Pareto(("params", "macs"))))
    # from the input there are 1,379,979; NN-Mass in doubles would give 99 points more, which are no points of the front
    assert result.certificate.labels < 500_000
    assert result.certificate.optimal
    assert len(result.ranking) == 12_914


def test_labels_that_become_no_point_are_dropped() -> None:
    space = presets()["densenet-cifar-depthwise"].space
    result = search(SearchRequest(space=space, budget=EXAMPLE, objective=Pareto(("macs",))))
    assert result.certificate.labels < 1_000_000  # 6,860,518 where they are not bounded
    assert result.certificate.optimal
    assert len(result.ranking) == 804


def test_labels_that_differ_only_in_limits_that_they_keep_are_compared() -> None:
    space = presets()["densenet-cifar-depthwise"].space
    result = search(SearchRequest(space=space, budget=EXAMPLE, objective=Pareto(("peak_activation_bytes", "macs"))))
    assert result.certificate.labels < 1_000_000  # 2,438,730 where all limits are compared, at each width of the input
    assert result.certificate.optimal
    assert len(result.ranking) == 2016


def test_masses_of_three_words_have_a_whole_front() -> None:
    space, budget = presets()["resnet-imagenet-free"].space, Budget(max_params=12_000_000, max_macs=2_000_000_000)
    result = search(SearchRequest(space=space, budget=budget, objective=Pareto(("params", "macs"))))
    assert (result.certificate.optimal, len(result.ranking)) == (True, 1572)  # single points: 477 in two minutes


PAIRS = list(itertools.permutations(("params", "macs", "weight_bytes", "peak_activation_bytes", "latency_ms"), 2))


@pytest.mark.parametrize("costs", PAIRS)
@pytest.mark.random_cases(4)
def test_a_front_in_any_two_costs_equals_brute_force(costs: tuple[str, str], seed: int) -> None:
    rng = Random(f"pair {sorted(costs)} {seed}")
    small = random_small(rng, rng.choice(FAMILIES), most=60)
    budget = small.budget(rng)
    rows = small.within(budget)
    figures: list[tuple[Fraction, ...]] = [
        (*(Fraction(small.cost(row, cost)) for cost in costs), -row.mass) for row in rows
    ]
    front: dict[tuple[Fraction, ...], Row] = {}
    for row, own in zip(rows, figures, strict=True):  # in ranking order, so that the first of equal ones stays
        if not any(other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in figures):
            front.setdefault(own[:2], row)
    result = small.search(budget, Pareto(costs))
    assert found(small, result) == [front[own] for own in sorted(front)]
    assert (result.certificate.optimal, result.certificate.resolution) == (True, None)


@pytest.mark.parametrize(("costs", "least"), [(("params", "macs"), 20), (("peak_activation_bytes", "macs"), 7)])
def test_a_front_whose_labels_take_too_long_has_points_all_over_its_range(
    costs: tuple[str, ...], least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = presets()["densenet-tiny-free"].space
    request = SearchRequest(space=space, budget=Budget(max_params=200_000), objective=Pareto(costs))
    whole = {one.architecture: one.evaluation for one in search(request).ranking}
    monkeypatch.setattr("nnmass_core.search.LABELS_SHARE", -1.0)
    looks = itertools.count()
    cut = search(request, Control.timed(lambda: next(looks) / 12_000))  # a clock that every look advances
    points = [one.architecture for one in cut.ranking]
    assert not cut.certificate.optimal
    assert {*points} < {*whole}
    assert len(points) >= least  # its ends alone are three
    assert cut.certificate.resolution is not None
    gaps = cut.certificate.resolution
    for missing in (figures for network, figures in whole.items() if network not in points):
        near = [whole[one] for one in points if whole[one].mass >= missing.mass]
        assert any(all(of(one, cost) - of(missing, cost) <= gap for cost, gap in gaps.items()) for one in near)


def of(figures: Evaluation, cost: str) -> float:
    """Return a cost in its unit, at fp32."""
    return COSTS[cost].value(figures, None, 4) or 0
