"""The best network of each shape against brute force, with every limit, in every family."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from nnmass_core.engine import bounds, shapes
from nnmass_core.engine.control import Control
from nnmass_core.request import Minimize
from tests.core.brute import Row, first_of_each_shape
from tests.core.every_limit import FAMILIES, WITH_SKIPS, Small, found, random_small

SIZES = {"ROWS": (1, 3, 40), "BLOCK": (1, 5, 60), "SHAPES": (1, 2, 7), "COLUMNS": (1, 3), "DIVE": (1, 2)}


def make_blocks_small(rng: Random, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small spaces fit in one block; with small ones what was found early cuts what comes late, as in large spaces."""
    for name, sizes in SIZES.items():
        monkeypatch.setattr(shapes, name, rng.choice(sizes))
    monkeypatch.setattr(bounds, "MOST_SPREAD", rng.choice((1, 4, 64)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(15)
def test_the_best_of_each_shape_equals_brute_force(family: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(f"shape {family} {seed}")
    small = random_small(rng, family)
    if seed % 2:
        make_blocks_small(rng, monkeypatch)
    for _ in range(2):
        budget, top_k = small.budget(rng), rng.choice((2, 3, 10, 1000))
        expected = first_of_each_shape(small.within(budget))[:top_k]
        result = small.search(budget, top_k=top_k, diversity="shape")
        assert found(small, result) == expected
        certificate, best = result.certificate, float(expected[0].mass) if expected else None
        assert (certificate.optimal, certificate.bound, certificate.objective_value) == (True, best, best)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cost", ["params", "macs", "latency_ms"])
@pytest.mark.random_cases(5)
def test_the_cheapest_of_each_shape_equals_brute_force(
    cost: str, family: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = Random(f"cheapest {cost} {family} {seed}")
    small = random_small(rng, family)
    if seed % 2:
        make_blocks_small(rng, monkeypatch)
    for _ in range(2):
        budget, least, top_k = small.budget(rng), rng.choice(small.rows).mass, rng.choice((2, 5, 1000))
        able = sorted(small.within(budget, least), key=lambda row: (small.cost(row, cost), *row.place))
        result = small.search(budget, Minimize(cost, float(least)), top_k=top_k, diversity="shape")
        assert found(small, result) == first_of_each_shape(able)[:top_k]
        assert result.certificate.optimal


@pytest.mark.parametrize("family", WITH_SKIPS)
@pytest.mark.random_cases(2)
def test_a_search_for_shapes_that_is_cut_short_claims_no_more_than_it_knows(
    family: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = Random(f"cut {family} {seed}")
    small, budget = shapes_that_fit(rng, family)
    make_blocks_small(rng, monkeypatch)
    expected = first_of_each_shape(small.within(budget))[:10]
    outcomes: set[bool] = set()
    for patience in (round(1.4**n) - 1 for n in itertools.count()):
        looks, reached = itertools.count(), [0.0]
        control = Control(
            lambda looks=looks, patience=patience: next(looks) >= patience,  # type: ignore[misc]
            lambda fraction, _, reached=reached: reached.append(fraction),  # type: ignore[misc]
        )
        result = small.search(budget, control=control, top_k=10, diversity="shape")
        certificate = result.certificate
        outcomes.add(certificate.optimal)
        assert reached == sorted(reached)
        assert certificate.bound is not None
        assert certificate.bound >= float(expected[0].mass)
        assert set(found(small, result)) <= set(small.within(budget))
        if certificate.optimal:
            assert found(small, result) == expected
            break
    assert outcomes == {False, True}


def shapes_that_fit(rng: Random, family: str) -> tuple[Small, dict[str, object]]:
    """Return a space and a budget within which there are several shapes, with more wirings than shapes."""
    while True:
        small = random_small(rng, family)
        budget = small.budget(rng)
        fitting: list[Row] = small.within(budget)
        if len(first_of_each_shape(fitting)) >= 3 and fitting[0].mass > 0:
            return small, budget
