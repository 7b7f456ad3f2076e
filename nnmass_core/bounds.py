"""Upper bounds on the best path of a chain, by dynamic programming over its nodes.

Pricing each constraint with a multiplier moves it into the objective; the best path of the priced chain, plus the
price of the whole budget, is at least the value of every feasible path (Lagrangian duality). `best_prices` finds the
multipliers whose bound is tightest. Any multipliers give a valid bound, so its tolerance costs speed and never truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnmass_core.chain import Floats, Ints, Stage
from nnmass_core.control import Control

DUAL_TOLERANCE = 2e-4
"""How close to the tightest bound `best_prices` gets, relative to the bound's size."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One stage prepared for dynamic programming: its options sorted by (source, target) and their groups."""

    rows: Ints
    value: Floats
    use: Floats
    source: Ints
    target: Ints
    starts: Ints
    group_source: Ints
    group_target: Ints

    def kept(self, keep: NDArray[np.bool_]) -> Layer:
        """Return the layer with these options alone."""
        return grouped(self.rows[keep], self.value[keep], self.use[keep], self.source[keep], self.target[keep])


def layer(stage: Stage, value: Floats, use: Floats, nodes_after: int) -> Layer:
    """Prepare a stage. value: (n,), to be maximised; use: (n, rows), what each option takes of each constraint."""
    order = np.argsort(stage.source * nodes_after + stage.target, kind="stable")
    return grouped(order, value[order], use[order], stage.source[order], stage.target[order])


def grouped(rows: Ints, value: Floats, use: Floats, source: Ints, target: Ints) -> Layer:
    """Build a layer from columns that are sorted by (source, target) already."""
    fresh = np.ones(len(rows), bool)
    fresh[1:] = (source[1:] != source[:-1]) | (target[1:] != target[:-1])
    starts = np.flatnonzero(fresh)
    return Layer(rows, value, use, source, target, starts, source[starts], target[starts])


def best_onward(layers: list[Layer], nodes: tuple[int, ...], values: list[Floats]) -> list[Floats]:
    """Return, for each boundary between stages, the best sum of `values` from each node to the end (-inf: no way)."""
    onward = [np.zeros(nodes[-1])]
    for this, value, before in zip(reversed(layers), reversed(values), reversed(nodes[:-1]), strict=True):
        best = np.full(before, -np.inf)
        if len(value):
            through = np.maximum.reduceat(value, this.starts) + onward[-1][this.group_target]
            np.maximum.at(best, this.group_source, through)
        onward.append(best)
    return onward[::-1]


def best_so_far(layers: list[Layer], nodes: tuple[int, ...], values: list[Floats]) -> list[Floats]:
    """Return, for each boundary between stages, the best sum of `values` from the start to each node."""
    reached = [np.zeros(nodes[0])]
    for this, value, after in zip(layers, values, nodes[1:], strict=True):
        best = np.full(after, -np.inf)
        if len(value):
            through = np.maximum.reduceat(value, this.starts) + reached[-1][this.group_source]
            np.maximum.at(best, this.group_target, through)
        reached.append(best)
    return reached


def best_path(layers: list[Layer], values: list[Floats], onward: list[Floats]) -> list[int]:
    """Return one path, as positions in each layer, whose sum of `values` is onward[0]."""
    node, path = 0, []
    for this, value, after in zip(layers, values, onward[1:], strict=True):
        low, high = np.searchsorted(this.source, [node, node + 1])
        position = int(low + np.argmax(value[low:high] + after[this.target[low:high]]))
        path.append(position)
        node = int(this.target[position])
    return path


@dataclass(frozen=True, eq=False)
class Prices:
    """Multipliers (one a constraint row) with the bound they give, and a path that attains the priced optimum."""

    multipliers: Floats
    bound: float
    path: list[int]

    def priced(self, layers: list[Layer]) -> list[Floats]:
        """Return every option's value less the price of what it uses."""
        return [this.value - this.use @ self.multipliers for this in layers]


def price(layers: list[Layer], nodes: tuple[int, ...], budget: Floats, multipliers: Floats) -> Prices:
    """Return the bound that these multipliers give. budget: (rows,), what each constraint allows."""
    values = [this.value - this.use @ multipliers for this in layers]
    onward = best_onward(layers, nodes, values)
    path = best_path(layers, values, onward)
    return Prices(multipliers, float(onward[0][0] + multipliers @ budget), path)


def best_prices(
    layers: list[Layer], nodes: tuple[int, ...], budget: Floats, reach: Floats, hopeless: float, control: Control
) -> list[Prices]:
    """Return tried multipliers, tightest bound first, by the ellipsoid method with deep cuts.

    reach: (rows,), the largest multiplier worth trying for each row. Stops early at a bound below `hopeless`. The bound
    is convex in the multipliers, and (budget - use of the attained path) is a subgradient.
    """
    n = len(budget)
    tried = [price(layers, nodes, budget, np.zeros(n))]
    if n == 0:
        return tried
    centre = reach / 2
    shape = np.diag(reach**2) * (n / 4)
    best = tried[0].bound
    for _ in range(80 * n):
        if control.expired():
            break
        lowest = int(np.argmin(centre / reach))
        if centre[lowest] < 0:
            slope, depth = -np.eye(n)[lowest], -centre[lowest]
        else:
            attempt = price(layers, nodes, budget, centre)
            tried.append(attempt)
            slope = budget - _use_of(layers, attempt.path)
            depth = max(0.0, attempt.bound - best)
            best = min(best, attempt.bound)
        width = float(np.sqrt(max(slope @ shape @ slope, 0.0)))
        converged = centre[lowest] >= 0 and width - depth <= DUAL_TOLERANCE * (1e-12 + abs(best))
        if best < hopeless or width == 0.0 or depth >= width or converged:
            break
        centre, shape = _cut(centre, shape, slope / width, depth / width)
    return sorted(tried, key=lambda prices: prices.bound)


def _cut(centre: Floats, shape: Floats, slope: Floats, depth: float) -> tuple[Floats, Floats]:
    """Return the smallest ellipsoid around the part of this one that a deep cut leaves (Bland, Goldfarb, Todd 1981)."""
    n = len(centre)
    step = shape @ slope
    if n == 1:
        return centre - step * (1 + depth) / 2, shape * ((1 - depth) / 2) ** 2
    centre = centre - step * (1 + n * depth) / (n + 1)
    shrink = 2 * (1 + n * depth) / ((n + 1) * (1 + depth))
    shape = (shape - shrink * np.outer(step, step)) * (n * n * (1 - depth * depth) / (n * n - 1))
    return centre, (shape + shape.T) / 2


def _use_of(layers: list[Layer], path: list[int]) -> Floats:
    total: Floats = np.sum([this.use[position] for this, position in zip(layers, path, strict=True)], axis=0)
    return total
