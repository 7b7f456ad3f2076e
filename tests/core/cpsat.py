"""A CP-SAT model of a `densenet_cnn` search, written from docs/theory.md without any code of the product.

One boolean for each (width, depth, skip channels) of each cell, one for each pair of widths that meet, exact integer
costs, and NN-Mass scaled to integers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ortools.sat.python import cp_model

from tests.core.brute import BYTES, Row, axes, row
from tests.oracle import Cells

SECONDS = 120.0
COSTS = {"max_params": 0, "max_macs": 1, "max_weight_bytes": 2}


@dataclass(frozen=True)
class Option:
    """A choice: a cell's integers with its mass, or a meeting of two widths. Costs: params, MACs, weights, indices."""

    costs: tuple[int, int, int, int]
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


def taps(space: dict[str, Any]) -> int:
    """Return the numbers of a kernel: 3x3, of signals 1x3."""
    return 3 if 1 in (space["input"]["height"], space["input"]["width"]) else 9


def body(w: int, d: int, t: int, positions: int, kernel: int = 9) -> Option:
    """Layers 1 .. d-1 of a cell: layer 1 normalizes its output, layer j >= 2 its input."""
    taken = [0 if j < 2 else min(w * (j - 1), t) for j in range(1, d)]
    weights = sum(kernel * (w + more) * w for more in taken)
    norm = sum(w + more for more in taken)
    live = 0 if d == 1 else (d * w + t) if d >= 3 and t > 0 else 2 * w
    mass = Fraction(2 * d * sum(taken), (d - 1) * (d - 2)) if d >= 3 else Fraction(0)
    indices = sum(more for j, more in enumerate(taken, start=1) if 0 < more < w * (j - 1))
    return Option((weights + 2 * norm, weights * positions, weights + 4 * norm, indices), live * positions, mass)


def entry(w_in: int, w: int, before: int, after: int, kernel: int = 9) -> Option:
    """A cell's first layer, with the BatchNorm of its output."""
    weights = kernel * w_in * w
    return Option((weights + 2 * w, weights * after, weights + 4 * w, 0), w_in * before + w * after)


def head(w: int, size: tuple[int, int], classes: int) -> Option:
    """Pooling and the Linear layer."""
    pooled = w * math.prod(side // 2 if side > 1 else 1 for side in size)
    params = pooled * classes + classes
    peak = max(w * size[0] * size[1] + pooled, pooled + classes)
    return Option((params, pooled * classes, params, 0), peak)


def doubles(space: dict[str, Any]) -> bool:
    """Return whether a space's widths are w, 2w, 4w, ..."""
    return space.get("width_rule") == "doubling"


def triples(space: dict[str, Any], cell: int) -> Iterator[tuple[int, int, int]]:
    """Return a cell's distinct (width, depth, skip channels)."""
    widths = [w * 2**cell if doubles(space) else w for w in axes(space["width"], space["cells"])[cell]]
    depths, skips = (axes(space[name], space["cells"])[cell] for name in ("depth", "skip_channels"))
    yield from sorted({(w, d, min(t, w * max(d - 2, 0))) for w, d, t in itertools.product(widths, depths, skips)})


def add_cells(model: Model, space: dict[str, Any]) -> list[dict[int, cp_model.IntVar]]:
    """Add a boolean for each triple of each cell, exactly one a cell; return booleans of each cell's widths."""
    widths: list[dict[int, cp_model.IntVar]] = []
    for cell, (height, width) in enumerate(sizes(space)):
        model.cells.append({abc: model.choice(body(*abc, height * width, taps(space))) for abc in triples(space, cell)})
        model.cp.add_exactly_one(model.cells[-1].values())
        widths.append({})
        for w in sorted({abc[0] for abc in model.cells[-1]}):
            widths[-1][w] = model.cp.new_bool_var("")
            model.cp.add(sum(v for abc, v in model.cells[-1].items() if abc[0] == w) == widths[-1][w])
    return widths


def add_meetings(model: Model, space: dict[str, Any], widths: list[dict[int, cp_model.IntVar]]) -> None:
    """Add a boolean for each pair of widths that meet, with the costs of the layer between them."""
    size, kernel = [height * width for height, width in sizes(space)], taps(space)
    for w, variable in widths[0].items():
        model.cp.add(model.choice(entry(space["input"]["channels"], w, size[0], size[0], kernel)) == variable)
    for cell, (before, after) in enumerate(itertools.pairwise(widths), start=1):
        pairs = {(a, b): model.choice(entry(a, b, size[cell - 1], size[cell], kernel)) for a in before for b in after}
        for a, variable in before.items():
            model.cp.add(sum(pairs[a, b] for b in after) == variable)
        for b, variable in after.items():
            model.cp.add(sum(pairs[a, b] for a in before) == variable)
        if space.get("width_rule") == "never_fall":
            model.cp.add(sum(variable for (a, b), variable in pairs.items() if b < a) == 0)
    for w, variable in widths[-1].items():
        model.cp.add(model.choice(head(w, sizes(space)[-1], space["num_classes"])) == variable)


def add_rules(model: Model, space: dict[str, Any], widths: list[dict[int, cp_model.IntVar]]) -> None:
    """Tie widths and depths together where the space does."""
    if doubles(space):
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
            costs = [option.costs[column] for option in model.options]
            if name == "max_weight_bytes":
                costs = [size * option.costs[2] + 4 * option.costs[3] for option in model.options]
            model.cp.add(cp_model.LinearExpr.weighted_sum(model.chosen, costs) <= budget[name])
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


def build(space: dict[str, Any], budget: dict[str, Any]) -> Model:
    """Return the model of what is feasible, without an objective."""
    model = Model()
    widths = add_cells(model, space)
    add_meetings(model, space, widths)
    add_rules(model, space, widths)
    add_budget(model, budget)
    return model


def mass_of(model: Model) -> tuple[cp_model.LinearExprT, int]:
    """Return the network's NN-Mass times a scale that makes it an integer, and the scale."""
    scale = scale_of(model)
    return cp_model.LinearExpr.weighted_sum(model.chosen, [int(option.mass * scale) for option in model.options]), scale


def cost_of(model: Model, cost: str) -> cp_model.LinearExprT:
    """Return params, macs or peak (activation elements) of the network."""
    if cost != "peak":
        column = ("params", "macs").index(cost)
        return cp_model.LinearExpr.weighted_sum(model.chosen, [option.costs[column] for option in model.options])
    peak = model.cp.new_int_var(0, max(option.peak for option in model.options), "")
    for option, variable in zip(model.options, model.chosen, strict=True):
        model.cp.add(peak >= option.peak * variable)
    return peak


def forbid(model: Model, cells: Cells, *, shape: bool) -> None:
    """Exclude one network or, with `shape`, every network of its widths and depths."""
    columns = 2 if shape else 3
    alike = [
        variable
        for known, cell in zip(model.cells, cells, strict=True)
        for abc, variable in known.items()
        if abc[:columns] == cell[:columns]
    ]
    model.cp.add(sum(alike) <= len(cells) - 1)


def solve(model: Model) -> tuple[int, Cells] | None:
    """Return the proved optimum of the model's objective with a network that has it, or None if nothing is feasible."""
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 2
    solver.parameters.random_seed = 0
    solver.parameters.max_time_in_seconds = SECONDS
    status = solver.solve(model.cp)
    assert status in (cp_model.OPTIMAL, cp_model.INFEASIBLE), solver.status_name(status)
    if status == cp_model.INFEASIBLE:
        return None
    cells = tuple(next(abc for abc, v in cell.items() if solver.boolean_value(v)) for cell in model.cells)
    return round(solver.objective_value), cells


def prove(space: dict[str, Any], budget: dict[str, Any]) -> tuple[Fraction, Row] | None:
    """Return the most NN-Mass that CP-SAT proves and a network that has it, costed by the oracle; None if none."""
    model = build(space, budget)
    mass, scale = mass_of(model)
    model.cp.maximize(mass)
    found = solve(model)
    return None if found is None else (Fraction(found[0], scale), row(space, found[1]))
