"""Fronts of the networks that are not excluded, against brute force: docs/theory.md (83)."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from nnmass_core.budget import Budget
from nnmass_core.engine.chain import Chain
from nnmass_core.engine.control import Control
from nnmass_core.engine.fronts.excluding import front_without_excluded, without
from nnmass_core.engine.fronts.optima import ends_of_front
from nnmass_core.engine.problem import Excluded
from nnmass_core.families import decode_space
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import Pareto, SearchRequest
from nnmass_core.search import search
from tests.core.brute import Row
from tests.core.every_limit import WITH_SKIPS, Small, flat, found, random_small
from tests.core.random_chains import every_path, random_chain
from tests.core.test_random_chains import COSTS, front_of, random_problem

FRONTS = (
    *(("params",), ("macs",), ("peak_activation_bytes",), ("latency_ms",), ("params", "macs")),
    *(("peak_activation_bytes", "macs"), ("weight_bytes", "params")),
)


def front(small: Small, rows: list[Row], costs: tuple[str, ...]) -> list[Row]:
    """Return the front of rows in ranking order, ascending in its costs."""
    points: list[Row] = []
    for row in sorted(rows, key=lambda row: (*(small.cost(row, cost) for cost in costs), *row.place)):
        if not any(
            point.mass >= row.mass and all(small.cost(point, cost) <= small.cost(row, cost) for cost in costs)
            for point in points
        ):
            points.append(row)
    return points


@pytest.mark.parametrize("family", WITH_SKIPS)
@pytest.mark.random_cases(100)
def test_a_front_without_networks_equals_brute_force(family: str, seed: int) -> None:
    check(Random(f"without {family} {seed}"), family)


@pytest.mark.listed
@pytest.mark.parametrize("family", WITH_SKIPS)
@pytest.mark.random_cases(10)
def test_a_listed_front_without_networks_equals_brute_force(family: str, seed: int) -> None:
    check(Random(f"listed without {family} {seed}"), family)


def check(rng: Random, family: str) -> None:
    """Compare the front of a random space, without some of its points and others, with brute force."""
    small = random_small(rng, family, 100)
    budget, costs = small.budget(rng), rng.choice(FRONTS)
    able = small.within(budget)
    out = list[Row]()
    for _ in range(rng.choice((1, 1, 2, 4))):  # a point that only shows once another is excluded, too
        likely = front(small, [row for row in able if row not in out], costs)
        out += rng.sample(likely, min(len(likely), rng.choice((1, 2))))
    out += rng.choices(small.rows, k=rng.choice((0, 2)))
    read = decode_space(small.space)
    result = small.search(budget, Pareto(costs), exclude=tuple(read.architecture(flat(row)) for row in out))
    expected = front(small, [row for row in able if row not in out], costs)
    assert found(small, result) == expected
    certificate = result.certificate
    assert (certificate.optimal, certificate.resolution) == (True, None)
    assert certificate.feasible is bool(expected)


@pytest.mark.parametrize("costs", COSTS)
@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.random_cases(30)
def test_labels_without_paths_equal_brute_force(costs: tuple[str, ...], seed: int, *, bounded: bool) -> None:
    rng = Random(f"labels without {costs} {bounded} {seed}")
    problem, able = random_problem(rng)
    hidden = [point.integers for point in front_of(able, costs)]
    out = {*rng.sample(hidden, min(len(hidden), rng.choice((1, 3)))), *(path.integers for path in able[:3])}
    params, macs = (
        np.array([getattr(path, name) for path in able if path.integers in out], np.int64)
        for name in ("params", "macs")
    )
    problem = replace(problem, excluded=Excluded(params, macs, lambda integers: tuple(integers) in out))
    rest = front_of([path for path in able if path.integers not in out], costs)
    ends = ends_of_front(problem, costs, Control()).points if bounded else ()
    assert front_without_excluded(problem, costs, Control(), ends).points == rest


@pytest.mark.random_cases(200)
def test_a_chain_without_paths_has_all_others_once(seed: int) -> None:
    rng = Random(f"chain without {seed}")
    chain = random_chain(rng)
    every = every_path(chain)
    out = rng.sample(every, rng.randint(1, min(len(every), 5)))
    rest = without(chain, np.array([positions(chain, path.integers) for path in out]))
    assert every_path(rest) == [path for path in every if path not in out]
    assert rest.count() == len(every) - len(out)


def positions(chain: Chain, integers: tuple[int, ...]) -> list[int]:
    """Return the options of a path of a random chain, whose integers name each of them."""
    pairs = zip(integers[::2], integers[1::2], strict=True)
    rows = (
        np.flatnonzero((stage.integers == pair).all(axis=1)) for stage, pair in zip(chain.stages, pairs, strict=True)
    )
    return [int(row.item()) for row in rows]


def test_a_front_of_a_large_space_without_its_points() -> None:
    asked = {"space": resolve_space("densenet-tiny-free"), "budget": Budget(max_params=200_000)}
    whole = search(SearchRequest(**asked, objective=Pareto(("params",))))  # type: ignore[arg-type]
    points = [one.architecture for one in whole.ranking]
    out = (*points[::3], points[-1])
    rest = search(SearchRequest(**asked, objective=Pareto(("params",)), exclude=out))  # type: ignore[arg-type]
    kept = [one.architecture for one in rest.ranking]
    assert not {*out} & {*kept}
    assert {*points} - {*out} <= {*kept}
    assert rest.certificate.optimal
