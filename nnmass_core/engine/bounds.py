"""Upper bounds on the best path of a chain, by dynamic programming over its nodes.

A multiplier per constraint (its price) moves the constraint into the objective. The best path of the priced chain, plus
the price of the whole budget, is at least the value of every feasible path (Lagrangian duality). `best_prices` finds
the multipliers with the tightest bound. Any multipliers give a valid bound, so a loose tolerance costs time but never
correctness. docs/theory.md (38).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nnmass_core.engine.chain import Floats, Groups, Ints, Stage, group
from nnmass_core.engine.control import Control

PRICES_KEPT = 3
"""How many price vectors prune together; each excludes different parts of the space."""

MOST_SPREAD = 64
SPREAD = 4.0
"""The number of price vectors that bound shapes, and the largest of them relative to the tightest."""

MOST_ROUNDS = 6

ROUNDING = 32 * float(np.finfo(np.float64).eps)
"""The most that one stage adds to the rounding error of a priced sum, relative to its size, with a safety margin."""

DUAL_TOLERANCE = 2e-4
"""How close to the tightest bound `best_prices` gets, relative to the bound's size."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One stage of a problem: options sorted by (source, target), with their values and their use of constraints.

    rows: the options' positions in the stage, (n,). value: to be maximized, (n,). use: how much each option uses of
    each constraint, (n, rows of the problem).
    """

    rows: Ints
    value: Floats
    use: Floats
    source: Ints
    target: Ints
    groups: Groups

    @cached_property
    def group_of(self) -> Ints:
        """The number of each option's group, ascending, (n,)."""
        numbers = np.zeros(len(self.rows), np.int64)
        numbers[self.groups.starts[1:]] = 1
        return np.cumsum(numbers)

    @cached_property
    def edges(self) -> list[int]:
        """Where the options of each node start, and where those of the last one end; without nodes after the last."""
        last = int(self.source[-1]) if len(self.source) else -1
        edges: list[int] = np.searchsorted(self.source, np.arange(last + 2)).tolist()
        return edges

    def kept(self, keep: NDArray[np.bool_] | Ints) -> Layer:
        """Return the layer with only these options, given as a mask or as ascending positions."""
        source, target = self.source[keep], self.target[keep]
        return Layer(self.rows[keep], self.value[keep], self.use[keep], source, target, group(source, target))


def layer(stage: Stage, value: Floats, use: Floats) -> Layer:
    """Convert a stage to a layer."""
    return Layer(np.arange(len(stage)), value, use, stage.source, stage.target, stage.groups)


def best_onward(layers: list[Layer], nodes: tuple[int, ...], values: list[Floats]) -> list[Floats]:
    """Return, for each boundary between stages, the best sum of `values` from each node to the end (-inf: no path)."""
    onward = [np.zeros(nodes[-1])]
    for this, value, before in zip(reversed(layers), reversed(values), reversed(nodes[:-1]), strict=True):
        best = np.full(before, -np.inf)
        if len(value):
            through = np.maximum.reduceat(value, this.groups.starts) + onward[-1][this.groups.target]
            np.maximum.at(best, this.groups.source, through)
        onward.append(best)
    return onward[::-1]


def best_so_far(layers: list[Layer], nodes: tuple[int, ...], values: list[Floats]) -> list[Floats]:
    """Return, for each boundary between stages, the best sum of `values` from the start to each node."""
    reached = [np.zeros(nodes[0])]
    for this, value, after in zip(layers, values, nodes[1:], strict=True):
        best = np.full(after, -np.inf)
        if len(value):
            through = np.maximum.reduceat(value, this.groups.starts) + reached[-1][this.groups.source]
            np.maximum.at(best, this.groups.target, through)
        reached.append(best)
    return reached


def best_path(layers: list[Layer], values: list[Floats], onward: list[Floats]) -> list[int]:
    """Return one path, as positions in each layer, whose sum of `values` is onward[0]."""
    node, path = 0, []
    for this, value, after in zip(layers, values, onward[1:], strict=True):
        low, high = this.edges[node : node + 2]
        position = low + int((value[low:high] + after[this.target[low:high]]).argmax())
        path.append(position)
        node = int(this.target[position])
    return path


@dataclass(frozen=True, eq=False)
class Prices:
    """Multipliers (one per constraint row), the bound that they give, and a path that attains the priced optimum.

    weight: of the value; 0 for prices that only separate feasible paths (at least 0) from others, whatever their value.
    constant: the price of the whole budget, plus the most that rounding can subtract from a sum of that size. Without
    this margin, large prices of large budgets could round a valid bound down. A path may use far more than the size of
    the budget only of a row for a floor, whose uses and budget are negative; its surplus then exceeds the rounding.
    """

    multipliers: Floats
    constant: float
    bound: float
    path: list[int]
    weight: float = 1.0

    def priced(self, layers: list[Layer]) -> list[Floats]:
        """Return every option's value minus the price of what it uses."""
        return [self.weight * this.value - this.use @ self.multipliers for this in layers]


def surplus_prices(prices: Prices, row: int, budget: Floats, stages: int) -> Prices:
    """Return prices of the constraints only, under which every feasible path is at least 0.

    `prices` are those of the problem of minimizing the use of constraint `row` under the other constraints; that row is
    then priced at 1.
    """
    multipliers = np.insert(prices.multipliers, row, 1.0)
    return Prices(multipliers, _constant(multipliers, budget, stages), 0.0, [], weight=0.0)


def with_unpriced(prices: Prices, priced: NDArray[np.bool_], budget: Floats, stages: int) -> Prices:
    """Return prices of all constraints from prices of some of them: those of the others are 0. priced: (rows,)."""
    multipliers = np.zeros(len(budget))
    multipliers[priced] = prices.multipliers
    return Prices(multipliers, _constant(multipliers, budget, stages), prices.bound, prices.path)


def spread_prices(tightest: Prices, reach: Floats, budget: Floats, stages: int) -> list[Prices]:
    """Return multipliers around the tightest ones, each row at zero and at scales up to `SPREAD` times as large.

    The tightest ones bound the best path. Other paths are bounded better by other multipliers.

    reach: (rows,), the largest multiplier that makes sense for each row.
    """
    rows = len(budget)
    if not rows:
        return []
    scales = min(int(MOST_SPREAD ** (1 / rows)), 16)
    factors = np.append(0.0, SPREAD ** np.linspace(-1, 1, scales - 1))
    middle = np.where(tightest.multipliers > 0, tightest.multipliers, reach / SPREAD)
    spread = [middle * np.array(factor) for factor in itertools.product(factors.tolist(), repeat=rows)]
    return [Prices(multipliers, _constant(multipliers, budget, stages), np.inf, []) for multipliers in spread]


def _constant(multipliers: Floats, budget: Floats, stages: int) -> float:
    return float(multipliers @ budget) + ROUNDING * stages * float(multipliers @ np.abs(budget))


def price(layers: list[Layer], nodes: tuple[int, ...], budget: Floats, multipliers: Floats) -> Prices:
    """Return the bound that these multipliers give. budget: (rows,), the limit of each constraint."""
    values = [this.value - this.use @ multipliers for this in layers]
    onward = best_onward(layers, nodes, values)
    path = best_path(layers, values, onward)
    constant = _constant(multipliers, budget, len(layers))
    return Prices(multipliers, constant, float(onward[0][0]) + constant, path)


def best_prices(
    layers: list[Layer],
    nodes: tuple[int, ...],
    budget: Floats,
    reach: Floats,
    hopeless: float,
    control: Control,
    worthy: list[Ints] | None,
) -> tuple[list[Prices], list[Ints]]:
    """Return the multipliers tried, with their bounds, tightest first, and the options that were ever best of a group.

    reach: (rows,), the largest multiplier to try for each row. Stops early at a bound below `hopeless`.

    Few options are the best of their group at any price. Those that were the best at some price tried so far are
    `worthy` (ascending positions in each layer; None to start from scratch, or the result of an earlier call with other
    budgets). The search runs over these. Where it ends, all options are priced; if others are better there, they are
    added.
    """
    n = len(budget)
    tried = [price(layers, nodes, budget, np.zeros(n))]
    best_somewhere = worthy or [np.zeros(0, np.int64) for _ in layers]
    if n == 0:
        return tried, best_somewhere
    first = _first_multipliers(reach)
    if worthy:  # known for other caps on the peak, it may lack an option of some group
        first = [] if all(map(_in_every_group, layers, worthy)) else [np.zeros(n)]
    for multipliers in first:
        best_somewhere = _joined(best_somewhere, layers, multipliers)
    for _ in range(MOST_ROUNDS):
        few = [this.kept(positions) for this, positions in zip(layers, best_somewhere, strict=True)]
        promising = _ellipsoid(few, nodes, budget, reach, hopeless, control)
        full = [price(layers, nodes, budget, prices.multipliers) for prices in promising[:PRICES_KEPT]]
        tried += full
        tight = full[0].bound - promising[0].bound <= DUAL_TOLERANCE * (1e-12 + abs(full[0].bound))
        if tight or full[0].bound < hopeless or control.expired():
            break
        best_somewhere = _joined(best_somewhere, layers, full[0].multipliers)
    return sorted(tried, key=lambda prices: prices.bound), best_somewhere


def _first_multipliers(reach: Floats) -> list[Floats]:
    """Return multipliers spread up to `reach`: zero, and each row separately and all rows together at each scale."""
    scales = 8.0 ** -np.arange(4)
    directions = [*np.diag(reach), reach]
    return [np.zeros_like(reach), *(direction * scale for direction in directions for scale in scales)]


def _joined(positions: list[Ints], layers: list[Layer], multipliers: Floats) -> list[Ints]:
    """Return the positions with each group's best option at these prices added."""
    joined: list[Ints] = []
    for known, this in zip(positions, layers, strict=True):
        worthy = np.zeros(len(this.rows), bool)
        worthy[known] = True
        worthy[_group_winners(this, this.value - this.use @ multipliers)] = True
        joined.append(np.flatnonzero(worthy))
    return joined


def _in_every_group(this: Layer, positions: Ints) -> bool:
    return int(np.count_nonzero(_changes(this.group_of[positions]))) == len(this.groups.starts)


def _group_winners(this: Layer, values: Floats) -> Ints:
    """Return the first best option of each group: where all tie, as without skip channels, one is enough."""
    best = np.flatnonzero(values >= np.maximum.reduceat(values, this.groups.starts)[this.group_of])
    return best[_changes(this.group_of[best])]


def _changes(numbers: Ints) -> NDArray[np.bool_]:
    """Return which numbers differ from the one before; the first does."""
    fresh = np.ones(len(numbers), bool)
    np.not_equal(numbers[1:], numbers[:-1], out=fresh[1:])
    return fresh


def _ellipsoid(
    layers: list[Layer], nodes: tuple[int, ...], budget: Floats, reach: Floats, hopeless: float, control: Control
) -> list[Prices]:
    """Return the multipliers tried, tightest bound first, by the ellipsoid method with deep cuts.

    The bound is convex in the multipliers, and (budget - use of the attained path) is a subgradient.
    """
    n = len(budget)
    tried = [price(layers, nodes, budget, np.zeros(n))]
    center = reach / 2
    shape = np.diag(reach**2) * (n / 4)
    best = tried[0].bound
    for _ in range(80 * n):
        if control.expired():
            break
        lowest = int(np.argmin(center / reach))
        if center[lowest] < 0:
            slope, depth = -np.eye(n)[lowest], -center[lowest]
        else:
            attempt = price(layers, nodes, budget, center)
            tried.append(attempt)
            slope = budget - _use_of(layers, attempt.path)
            depth = max(0.0, attempt.bound - best)
            best = min(best, attempt.bound)
        width = float(np.sqrt(max(slope @ shape @ slope, 0.0)))
        converged = center[lowest] >= 0 and width - depth <= DUAL_TOLERANCE * (1e-12 + abs(best))
        if best < hopeless or width == 0.0 or depth >= width or converged:
            break
        center, shape = _cut(center, shape, slope / width, depth / width)
    return sorted(tried, key=lambda prices: prices.bound)


def _cut(center: Floats, shape: Floats, slope: Floats, depth: float) -> tuple[Floats, Floats]:
    """Return the smallest ellipsoid around what a deep cut leaves of this one (Bland, Goldfarb, Todd 1981)."""
    n = len(center)
    step = shape @ slope
    if n == 1:
        return center - step * (1 + depth) / 2, shape * ((1 - depth) / 2) ** 2
    center = center - step * (1 + n * depth) / (n + 1)
    shrink = 2 * (1 + n * depth) / ((n + 1) * (1 + depth))
    shape = (shape - shrink * np.outer(step, step)) * (n * n * (1 - depth * depth) / (n * n - 1))
    return center, (shape + shape.T) / 2


def _use_of(layers: list[Layer], path: list[int]) -> Floats:
    total: Floats = np.sum([this.use[position] for this, position in zip(layers, path, strict=True)], axis=0)
    return total
