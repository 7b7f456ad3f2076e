"""Larger spaces (up to 1e14 architectures): OR-Tools CP-SAT must prove the optimum NN-Mass that the engine claims.

The model is written from nn-mass.md, with nothing of the product in it: one boolean for each (width, depth, skip
channels) of each cell, one for each pair of widths that meet, exact integer costs, and NN-Mass scaled to integers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from ortools.sat.python import cp_model

from nnmass_core.budget import Budget
from nnmass_core.families import decode_space
from nnmass_core.families.densenet_cnn import DenseNetCnn
from nnmass_core.search import SearchRequest, SearchResult, search
from tests.core.brute import BYTES, Row, axes, row

SECONDS = 120.0
COSTS = {"max_params": 0, "max_macs": 1, "max_weight_bytes": 2}


@dataclass(frozen=True)
class Option:
    """One choice: a cell's integers with its mass, or a meeting of two widths; costs are (params, macs, weights)."""

    costs: tuple[int, int, int]
    peak: int
    mass: Fraction = Fraction(0)


@dataclass
class Model:
    """A CP-SAT model under construction."""

    cp: cp_model.CpModel = field(default_factory=cp_model.CpModel)
    options: list[Option] = field(default_factory=list)
    chosen: list[cp_model.IntVar] = field(default_factory=list)
    cells: list[dict[tuple[int, int, int], cp_model.IntVar]] = field(default_factory=list)

    def choice(self, option: Option) -> cp_model.IntVar:
        """Add a boolean that takes an option."""
        variable = self.cp.new_bool_var("")
        self.options.append(option)
        self.chosen.append(variable)
        return variable


def sizes(space: dict[str, Any]) -> list[tuple[int, int]]:
    """Return height and width of each cell's maps."""
    found = [(space["input"]["height"], space["input"]["width"])]
    for _ in range(space["cells"] - 1):
        found.append((math.ceil(found[-1][0] / 2), math.ceil(found[-1][1] / 2)))
    return found


def body(w: int, d: int, t: int, positions: int) -> Option:
    """Layers 1 .. d-1 of a cell: layer 1 normalises its output, layer j >= 2 its input."""
    taken = [0 if j < 2 else min(w * (j - 1), t) for j in range(1, d)]
    weights = sum(9 * (w + more) * w for more in taken)
    norm = sum(w + more for more in taken)
    live = 0 if d == 1 else (d * w + t) if d >= 3 and t > 0 else 2 * w
    mass = Fraction(2 * d * sum(taken), (d - 1) * (d - 2)) if d >= 3 else Fraction(0)
    return Option((weights + 2 * norm, weights * positions, weights + 4 * norm), live * positions, mass)


def entry(w_in: int, w: int, before: int, after: int) -> Option:
    """A cell's first layer, with the BatchNorm of its output."""
    weights = 9 * w_in * w
    return Option((weights + 2 * w, weights * after, weights + 4 * w), w_in * before + w * after)


def head(w: int, size: tuple[int, int], classes: int) -> Option:
    """Pooling and the Linear layer."""
    pooled = w * (size[0] // 2) * (size[1] // 2)
    params = pooled * classes + classes
    peak = max(w * size[0] * size[1] + pooled, pooled + classes)
    return Option((params, pooled * classes, params), peak)


def triples(space: dict[str, Any], cell: int) -> Iterator[tuple[int, int, int]]:
    """Return a cell's distinct (width, depth, skip channels)."""
    widths = [w * 2**cell if "width_rule" in space else w for w in axes(space["width"], space["cells"])[cell]]
    depths, skips = (axes(space[name], space["cells"])[cell] for name in ("depth", "skip_channels"))
    yield from sorted({(w, d, min(t, w * max(d - 2, 0))) for w, d, t in itertools.product(widths, depths, skips)})


def add_cells(model: Model, space: dict[str, Any]) -> list[dict[int, cp_model.IntVar]]:
    """Add a boolean for each triple of each cell, exactly one a cell; return booleans of each cell's widths."""
    widths: list[dict[int, cp_model.IntVar]] = []
    for cell, (height, width) in enumerate(sizes(space)):
        model.cells.append({abc: model.choice(body(*abc, height * width)) for abc in triples(space, cell)})
        model.cp.add_exactly_one(model.cells[-1].values())
        widths.append({})
        for w in sorted({abc[0] for abc in model.cells[-1]}):
            widths[-1][w] = model.cp.new_bool_var("")
            model.cp.add(sum(v for abc, v in model.cells[-1].items() if abc[0] == w) == widths[-1][w])
    return widths


def add_meetings(model: Model, space: dict[str, Any], widths: list[dict[int, cp_model.IntVar]]) -> None:
    """Add a boolean for each pair of widths that meet, with the costs of the layer between them."""
    size = [height * width for height, width in sizes(space)]
    for w, variable in widths[0].items():
        model.cp.add(model.choice(entry(space["input"]["channels"], w, size[0], size[0])) == variable)
    for cell, (before, after) in enumerate(itertools.pairwise(widths), start=1):
        pairs = {(a, b): model.choice(entry(a, b, size[cell - 1], size[cell])) for a in before for b in after}
        for a, variable in before.items():
            model.cp.add(sum(pairs[a, b] for b in after) == variable)
        for b, variable in after.items():
            model.cp.add(sum(pairs[a, b] for a in before) == variable)
    for w, variable in widths[-1].items():
        model.cp.add(model.choice(head(w, sizes(space)[-1], space["num_classes"])) == variable)


def add_rules(model: Model, space: dict[str, Any], widths: list[dict[int, cp_model.IntVar]]) -> None:
    """Tie widths and depths together where the space does."""
    if "width_rule" in space:
        for first, second in itertools.pairwise(widths):
            for w, variable in first.items():
                model.cp.add(variable == second[2 * w])
    if "depth_rule" in space:
        for first_cell, second_cell in itertools.pairwise(model.cells):
            for depth in {d for _, d, _ in first_cell}:
                model.cp.add(of_depth(first_cell, depth) == of_depth(second_cell, depth))


def of_depth(cell: dict[tuple[int, int, int], cp_model.IntVar], depth: int) -> cp_model.LinearExprT:
    return sum(variable for (_, d, _), variable in cell.items() if d == depth)


def add_budget(model: Model, budget: dict[str, Any]) -> None:
    """Add the limits: sums for the additive costs, forbidden options for the peak."""
    size = BYTES[budget.get("precision", "fp32")]
    for name, column in COSTS.items():
        if name in budget:
            unit = size if name == "max_weight_bytes" else 1
            costs = [option.costs[column] for option in model.options]
            model.cp.add(cp_model.LinearExpr.weighted_sum(model.chosen, costs) <= budget[name] // unit)
    if "max_peak_activation_bytes" in budget:
        for option, variable in zip(model.options, model.chosen, strict=True):
            if option.peak * size > budget["max_peak_activation_bytes"]:
                model.cp.add(variable == 0)


def scale_of(model: Model) -> int:
    """Return the least integer that makes every mass an integer; sums are then exact in CP-SAT's doubles."""
    scale = math.lcm(*(option.mass.denominator for option in model.options))
    assert scale * sum(max(o.mass for o in map(option_of(model), cell.values())) for cell in model.cells) < 2**53
    return scale


def option_of(model: Model) -> Any:
    """Return a function from a boolean to its option."""
    found = {variable.index: option for variable, option in zip(model.chosen, model.options, strict=True)}
    return lambda variable: found[variable.index]


def build(space: dict[str, Any], budget: dict[str, Any]) -> tuple[Model, int]:
    """Return the model with its objective, and the scale of the objective."""
    model = Model()
    widths = add_cells(model, space)
    add_meetings(model, space, widths)
    add_rules(model, space, widths)
    add_budget(model, budget)
    scale = scale_of(model)
    masses = [int(option.mass * scale) for option in model.options]
    model.cp.maximize(cp_model.LinearExpr.weighted_sum(model.chosen, masses))
    return model, scale


def prove(space: dict[str, Any], budget: dict[str, Any]) -> tuple[Fraction, Row] | None:
    """Return the optimum that CP-SAT proves and a network that has it, costed by the oracle; None if there is none."""
    model, scale = build(space, budget)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 2
    solver.parameters.random_seed = 0
    solver.parameters.max_time_in_seconds = SECONDS
    status = solver.solve(model.cp)
    assert status in (cp_model.OPTIMAL, cp_model.INFEASIBLE), solver.status_name(status)
    if status == cp_model.INFEASIBLE:
        return None
    cells = tuple(next(abc for abc, v in cell.items() if solver.boolean_value(v)) for cell in model.cells)
    return Fraction(round(solver.objective_value), scale), row(space, cells)


def find(space: dict[str, Any], budget: dict[str, Any]) -> SearchResult:
    return search(SearchRequest(space=decode_space(space), budget=Budget(**budget), top_k=3))


def check_best(result: SearchResult, space: dict[str, Any], budget: dict[str, Any], proved: Fraction) -> None:
    """Check that the engine's first place has the proved optimum and, by the oracle, keeps the budget."""
    best = result.ranking[0].architecture
    assert isinstance(best, DenseNetCnn)
    walked = row(space, tuple((c.width, c.depth, c.skip_channels) for c in best.cells))
    assert walked.mass == proved
    precision = budget.get("precision", "fp32")
    assert all(walked.use(name, precision) <= bound for name, bound in budget.items() if name != "precision")
    assert result.certificate.optimal
    assert result.certificate.objective_value == result.certificate.bound == float(proved)


def space_of(cells: int, width: Any, depth: Any, skip_channels: Any, **more: Any) -> dict[str, Any]:
    image = {"channels": 3, "height": 32, "width": 32}
    axes_given = {"width": width, "depth": depth, "skip_channels": skip_channels}
    return {"family": "densenet_cnn", "input": image, "num_classes": 10, "cells": cells, **axes_given, **more}


def span(low: int, high: int, step: int = 1) -> dict[str, int]:
    return {"min": low, "max": high, "step": step}


WIDE = space_of(3, span(16, 128, 16), span(4, 12), span(0, 240, 10))
FOUR = space_of(4, span(8, 64, 8), span(3, 9), span(0, 150, 6))
GREAT = space_of(4, span(8, 96, 8), span(3, 14), span(0, 200, 8))
DOUBLING = space_of(3, span(8, 48, 4), span(3, 16), span(0, 160, 5), width_rule="doubling")
EQUAL = space_of(3, span(8, 96, 8), span(3, 14), span(0, 160, 5), depth_rule="equal")
PUBLISHED = space_of(3, [16, 32, 48], span(6, 16), span(0, 320, 5), width_rule="doubling", depth_rule="equal")
SMALL = space_of(3, span(8, 32, 8), span(1, 6), span(0, 40, 5))
UNEVEN = space_of(
    3,
    [[16, 24, 40], span(10, 60, 10), span(20, 80, 15)],
    [span(3, 9), [4, 6, 9], span(2, 8)],
    span(0, 300, 15),
    input={"channels": 1, "height": 27, "width": 50},
)

PROBLEMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "wide-loose": (WIDE, {"max_params": 5_000_000, "max_macs": 900_000_000}),
    "wide-middling": (WIDE, {"max_params": 800_000, "max_macs": 120_000_000}),
    "wide-tight": (WIDE, {"max_params": 90_000, "max_macs": 9_000_000}),
    "wide-memory": (
        WIDE,
        {"max_weight_bytes": 700_000, "max_peak_activation_bytes": 260_000, "precision": "fp16"},
    ),
    "four-middling": (FOUR, {"max_params": 300_000, "max_macs": 40_000_000}),
    "four-all-limits": (
        FOUR,
        {
            "max_params": 250_000,
            "max_macs": 35_000_000,
            "max_weight_bytes": 255_000,
            "max_peak_activation_bytes": 110_000,
            "precision": "int8",
        },
    ),
    "great-middling": (GREAT, {"max_params": 500_000, "max_macs": 80_000_000}),
    "great-tight": (GREAT, {"max_params": 60_000, "max_macs": 9_000_000, "max_peak_activation_bytes": 200_000}),
    "doubling-middling": (DOUBLING, {"max_params": 400_000, "max_macs": 60_000_000}),
    "doubling-memory": (DOUBLING, {"max_weight_bytes": 1_500_000, "max_peak_activation_bytes": 300_000}),
    "equal-middling": (EQUAL, {"max_params": 300_000, "max_macs": 45_000_000}),
    "equal-tight": (EQUAL, {"max_macs": 4_000_000, "max_peak_activation_bytes": 150_000}),
    "published-middling": (PUBLISHED, {"max_params": 2_000_000, "max_macs": 400_000_000}),
    "published-loose": (PUBLISHED, {"max_params": 9_000_000}),
    "small-tight": (SMALL, {"max_params": 30_000, "max_macs": 4_000_000}),
    "small-infeasible": (SMALL, {"max_params": 4_000, "max_macs": 10_000_000}),
    "uneven-middling": (UNEVEN, {"max_params": 200_000, "max_macs": 60_000_000, "max_peak_activation_bytes": 400_000}),
}


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_cp_sat_proves_the_same_optimum(name: str) -> None:
    space, budget = PROBLEMS[name]
    result, proof = find(space, budget), prove(space, budget)
    if proof is None:
        assert (result.certificate.feasible, result.certificate.optimal, result.ranking) == (False, True, ())
        return
    proved, witness = proof
    assert witness.mass == proved
    check_best(result, space, budget, proved)


def test_the_problems_are_of_the_size_they_are_meant_to_be() -> None:
    counts = [decode_space(space).chain().count() for space, _ in PROBLEMS.values()]
    assert min(counts) > 10**6
    assert max(counts) > 10**13


def test_the_models_costs_are_those_of_the_oracle() -> None:
    """The formulation is itself checked: costs of one path of options add up to the walk over the layers."""
    space = UNEVEN
    cells = ((24, 5, 30), (10, 4, 15), (65, 8, 0))
    size = sizes(space)
    flat = [height * width for height, width in size]
    widths = [space["input"]["channels"], *(w for w, _, _ in cells)]
    parts = [body(*abc, positions) for abc, positions in zip(cells, flat, strict=True)]
    parts += [
        entry(a, b, before, after)
        for (a, b), before, after in zip(itertools.pairwise(widths), [flat[0], *flat], flat, strict=False)
    ]
    parts.append(head(widths[-1], size[-1], space["num_classes"]))
    walked = row(space, cells)
    totals = tuple(sum(part.costs[column] for part in parts) for column in range(3))
    assert totals == (walked.params, walked.macs, walked.weights)
    assert max(part.peak for part in parts) == walked.peak
    assert sum(part.mass for part in parts) == walked.mass
