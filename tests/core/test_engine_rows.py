"""The engine's constraints as rows: floors on costs and both limits of NN-Mass, against brute force."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

import pytest

from nnmass_core.engine.control import Control
from nnmass_core.engine.problem import RANKING, ChainProblem, Key, maximize, minimize
from nnmass_core.engine.solver import Solver
from nnmass_core.families import decode_space
from tests.core import residual_problems
from tests.core.brute import Row, ranked
from tests.core.problems import OTHER_FAMILIES, random_space

FAMILIES = ("densenet_cnn", *OTHER_FAMILIES, *residual_problems.FAMILIES)
SUMS = ("params", "macs", "weights")
FIRST: tuple[Key, ...] = (maximize("nn_mass"), minimize("nn_mass"), maximize("macs"), minimize("params"))


def space_and_rows(rng: Random, family: str) -> tuple[dict[str, Any], list[Row]]:
    if family in residual_problems.FAMILIES:
        space = residual_problems.random_space(rng, family, 200)
        return space, residual_problems.ranked(space)
    space = random_space(rng, 200, family)
    return space, ranked(space)


def edge(rng: Random, values: list[Any]) -> Any:
    """Return a value of a row, mostly one that leaves others on both sides."""
    return sorted(values)[int(rng.choice((0.0, 0.1, 0.3, 0.5, 0.8, 1.0)) * (len(values) - 1))]


def sums_of(row: Row) -> dict[str, Any]:
    return {"nn_mass": row.mass, "params": row.params, "macs": row.macs, "weights": row.weights}


def without_missing_parts(integers: list[int]) -> list[int]:
    """Return the integers of a path without the zeros at their end: stages that it lacks, or a cell without skips."""
    while integers and integers[-1] == 0:
        integers = integers[:-1]
    return integers


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.random_cases(30)
def test_the_best_under_floors_caps_and_limits_of_mass_equal_brute_force(family: str, seed: int) -> None:
    rng = Random(f"rows {family} {seed}")
    space, rows = space_and_rows(rng, family)
    chain = decode_space(space).chain()
    able = rows
    caps: list[tuple[int, int]] = []
    floors: list[tuple[int, int]] = []
    for name in rng.sample(SUMS, rng.randint(1, 3)):
        bound = edge(rng, [sums_of(row)[name] for row in rows]) + rng.choice((-1, 0, 0, 0, 1))
        upper = rng.random() < 0.4
        (caps if upper else floors).append((chain.quantities.index(name), bound))
        able = [row for row in able if (sums_of(row)[name] - bound) * (-1 if upper else 1) >= 0]
    masses = [row.mass for row in rows]
    least = edge(rng, masses) if rng.random() < 0.5 else None
    most = edge(rng, masses) + Fraction(rng.choice((0, 0, -1, 1)), 10**12) if rng.random() < 0.5 else None
    able = [row for row in able if (least is None or row.mass >= least) and (most is None or row.mass <= most)]
    first, k = rng.choice(FIRST), rng.choice((1, 3, 1000))
    keys = (first, *(key for key in RANKING if key.column != first.column))
    problem = ChainProblem(chain, keys=keys, caps=tuple(caps), least_mass=least, floors=tuple(floors), most_mass=most)
    found = Solver(problem, k, Control()).solve()
    order = [chain.quantities[key.column] for key in keys]
    expected = sorted(
        able, key=lambda row: (*(-key.sign * sums_of(row)[n] for key, n in zip(keys, order, strict=True)), row.cells)
    )
    assert found.complete
    listed = [without_missing_parts([i for part in row.cells for i in part]) for row in expected[:k]]
    assert [without_missing_parts(path) for path in found.integers.tolist()] == listed
    assert found.masses == [row.mass for row in expected[:k]]
