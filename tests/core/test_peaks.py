"""The least peak and the front of NN-Mass against peak, by brute force, with every limit, in every family."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from nnmass_core.engine.control import Control
from nnmass_core.request import Minimize, Pareto
from tests.core.brute import BYTES, Row, first_of_each_shape
from tests.core.every_limit import FAMILIES, PRECISION, WITH_SKIPS, Small, found, random_small

PEAK = "peak_activation_bytes"
SIZE = BYTES[PRECISION]
LOOKS = [round(1.6**n) for n in range(24)]
"""After how many looks at the time limit it ends: enough, in the end, for every search here."""


def by_peak(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.peak, *row.place))


def front(rows: list[Row]) -> list[Row]:
    points: list[Row] = []
    for row in by_peak(rows):
        if not points or row.mass > points[-1].mass:
            points.append(row)
    return points


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(6)
def test_the_networks_of_least_peak_equal_brute_force(family: str, seed: int) -> None:
    rng = Random(f"least peak {family} {seed}")
    small = random_small(rng, family)
    for diversity in ("none", "shape"):
        budget, least, top_k = small.budget(rng), rng.choice(small.rows).mass, rng.choice((1, 3, 10, 1000))
        able = by_peak(small.within(budget, least))
        expected = (first_of_each_shape(able) if diversity == "shape" else able)[:top_k]
        result = small.search(budget, Minimize(PEAK, float(least)), top_k=top_k, diversity=diversity)
        assert found(small, result) == expected
        certificate, best = result.certificate, expected[0].peak * SIZE if expected else None
        assert (certificate.optimal, certificate.objective_value, certificate.bound) == (True, best, best)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(6)
def test_the_front_of_peak_equals_brute_force(family: str, seed: int) -> None:
    rng = Random(f"front of peak {family} {seed}")
    small = random_small(rng, family)
    for _ in range(2):
        budget = small.budget(rng)
        result = small.search(budget, Pareto((PEAK,)))
        assert found(small, result) == front(small.within(budget))
        assert (result.certificate.optimal, result.certificate.resolution) == (True, None)


def out_of_time_after(looks: int) -> Control:
    """A time limit without a clock: it ends after a number of checks."""
    counter = itertools.count()
    return Control(expired=lambda: next(counter) >= looks)


@pytest.mark.parametrize("diversity", ["none", "shape"])
@pytest.mark.parametrize("family", WITH_SKIPS)
def test_a_least_peak_that_is_cut_short_claims_no_more_than_it_knows(family: str, diversity: str) -> None:
    small = with_a_front(family)
    least = front(small.rows)[1].mass
    able = by_peak(small.within({"precision": PRECISION}, least))
    expected = (first_of_each_shape(able) if diversity == "shape" else able)[:10]
    outcomes: set[bool] = set()
    for patience in LOOKS:
        asked = {"top_k": 10, "diversity": diversity}
        result = small.search(
            {"precision": PRECISION}, Minimize(PEAK, float(least)), out_of_time_after(patience), **asked
        )
        certificate = result.certificate
        outcomes.add(certificate.optimal)
        assert certificate.bound is not None
        assert certificate.bound <= expected[0].peak * SIZE
        assert set(found(small, result)) <= set(able)
        assert found(small, result) == by_peak(found(small, result))
        if certificate.optimal:
            assert found(small, result) == expected
            break
    assert outcomes == {False, True}


@pytest.mark.parametrize("family", WITH_SKIPS)
def test_a_front_of_peak_that_is_cut_short_has_only_true_points(family: str) -> None:
    small = with_a_front(family)
    whole = front(small.rows)
    counts: set[int] = set()
    for patience in LOOKS:
        result = small.search({"precision": PRECISION}, Pareto((PEAK,)), out_of_time_after(patience))
        points = found(small, result)
        counts.add(len(points))
        assert points == whole[len(whole) - len(points) :]
        if result.certificate.optimal:
            break
        if points:
            assert result.certificate.resolution == {PEAK: (points[0].peak - least_possible(small)) * SIZE}
    assert {0, len(whole)} < counts


def least_possible(small: Small) -> int:
    return min(row.peak for row in small.rows)


def with_a_front(family: str) -> Small:
    """Return a space with several points on its front."""
    for seed in itertools.count():
        small = random_small(Random(f"{family} {seed}"), family)
        if len(front(small.rows)) > 3:
            return small
    raise AssertionError
