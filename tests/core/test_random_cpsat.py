"""Random spaces of up to 1e9 architectures: CP-SAT must prove what the engine claims, for every objective.

Each case is proved at two places: the optimum, and what is best once it (with `diversity: shape`, its shape) is
forbidden; of a front, one of its points and the step before it.
"""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

import pytest

from nnmass_core.budget import Budget
from nnmass_core.certificate import Ranked
from nnmass_core.families import decode_space
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.search import search
from tests.core.brute import BYTES, LIMITS, axes, row
from tests.core.cpsat import Model, build, cost_of, doubles, forbid, mass_of, solve
from tests.core.problems import random_image
from tests.oracle import Cells, canonical
from tests.parsed import parsed

COSTS = {"params": "params", "macs": "macs", "peak_activation_bytes": "peak"}


def random_space(rng: Random) -> dict[str, Any]:
    cells = rng.randint(1, 3)
    rules = {"width_rule": rng.choice(("doubling", "never_fall"))} if rng.random() < 0.5 else {}
    rules |= {"depth_rule": "equal"} if rng.random() < 0.3 else {}
    low, step = rng.randint(1, 12), rng.randint(1, 9)
    return {
        "family": "densenet_cnn",
        "input": random_image(rng, cells),
        "num_classes": rng.randint(1, 12),
        "cells": cells,
        "width": {"min": low, "max": low + 5 * step, "step": step},
        "depth": {"min": rng.randint(1, 4), "max": rng.randint(5, 12)},
        "skip_channels": {"min": rng.choice((0, 0, 5)), "max": 120, "step": rng.choice((6, 8, 11))},
        **rules,
    }


def random_cells(rng: Random, space: dict[str, Any]) -> Cells:
    """Return one architecture of the space."""
    widths, depths, skips = (axes(space[name], space["cells"]) for name in ("width", "depth", "skip_channels"))
    count = space["cells"]
    w = [rng.choice(values) for values in widths]
    d = [rng.choice(values) for values in depths]
    w = [w[0] * 2**c for c in range(count)] if doubles(space) else sorted(w) if "width_rule" in space else w
    d = [d[0]] * count if "depth_rule" in space else d
    return canonical(tuple(zip(w, d, [rng.choice(values) for values in skips], strict=True)))


def random_budget(rng: Random, space: dict[str, Any]) -> dict[str, Any]:
    """Return limits around what an architecture of the space takes."""
    used, precision = row(space, random_cells(rng, space)), rng.choice(tuple(BYTES))
    limits = rng.sample(LIMITS, rng.randint(1, 3))
    scales = {name: rng.choice((0.6, 1.0, 1.0, 1.5)) for name in limits}
    return {"precision": precision} | {name: int(used.use(name, precision) * scales[name]) for name in limits}


def cells_of(place: Ranked) -> Cells:
    cells = parsed(place.architecture.definition())["cells"]
    return tuple((cell["width"], cell["depth"], cell["skip_channels"]) for cell in cells)


def found_by(space: dict[str, Any], budget: dict[str, Any], objective: Objective, **more: Any) -> tuple[Ranked, ...]:
    request = SearchRequest(space=decode_space(space), budget=Budget(**budget), objective=objective, **more)
    result = search(request)
    assert result.certificate.optimal
    return result.ranking


def proved(model: Model) -> int | None:
    found = solve(model)
    return None if found is None else found[0]


def most_mass(space: dict[str, Any], budget: dict[str, Any], cost: str, bound: int) -> Fraction | None:
    """Return the most NN-Mass, by CP-SAT, of the networks whose cost keeps one more bound."""
    model = build(space, budget)
    mass, scale = mass_of(model)
    model.cp.add(cost_of(model, cost) <= bound)
    model.cp.maximize(mass)
    value = proved(model)
    return None if value is None else Fraction(value, scale)


def cost_in(place: Ranked, cost: str) -> int:
    figures = place.evaluation
    return {"params": figures.params, "macs": figures.macs, "peak": figures.peak_elements}[cost]


@pytest.mark.random_cases(20)
def test_cp_sat_proves_the_most_nn_mass(seed: int) -> None:
    rng = Random(f"most {seed}")
    space, diversity = random_space(rng), rng.choice(("none", "shape"))
    budget = random_budget(rng, space)
    ranking = found_by(space, budget, Maximize(), top_k=2, diversity=diversity)
    model = build(space, budget)
    mass, scale = mass_of(model)
    model.cp.maximize(mass)
    for place in ranking:
        assert proved(model) == place.evaluation.mass * scale
        forbid(model, cells_of(place), shape=diversity == "shape")
    if len(ranking) < 2:
        assert proved(model) is None


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.random_cases(10)
def test_cp_sat_proves_the_least_cost(cost: str, seed: int) -> None:
    rng = Random(f"least {cost} {seed}")
    space, diversity = random_space(rng), rng.choice(("none", "shape"))
    budget = random_budget(rng, space)
    least = int(row(space, random_cells(rng, space)).mass)
    ranking = found_by(space, budget, Minimize(cost, float(least)), top_k=2, diversity=diversity)
    model = build(space, budget)
    mass, scale = mass_of(model)
    model.cp.add(mass >= least * scale)
    model.cp.minimize(cost_of(model, COSTS[cost]))
    for place in ranking:
        assert proved(model) == cost_in(place, COSTS[cost])
        forbid(model, cells_of(place), shape=diversity == "shape")
    if len(ranking) < 2:
        assert proved(model) is None


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.random_cases(5)
def test_cp_sat_proves_a_point_of_the_front(cost: str, seed: int) -> None:
    rng = Random(f"front {cost} {seed}")
    space = random_space(rng)
    budget = random_budget(rng, space)
    front = found_by(space, budget, Pareto((cost,)))
    if not front:
        assert proved(build(space, budget)) is None
        return
    i = rng.randrange(len(front))
    at = cost_in(front[i], COSTS[cost])
    assert most_mass(space, budget, COSTS[cost], at) == front[i].evaluation.mass
    before = front[i - 1].evaluation.mass if i else None
    assert most_mass(space, budget, COSTS[cost], at - 1) == before
