"""Pareto fronts of NN-Mass against costs, from exact constrained optima: the way where labels take too much memory.

Find the most NN-Mass under a cap on each cost, and the cheapest of the paths that have it: this is a point of the
front, since no path has as much for less. One cost: the interval between two neighboring points is either enumerated
completely (every path there that could be on the front) or, where that is too much work, split at a new point, the
widest interval first. Two costs: the caps run over a grid. Either way every point returned is on the true front;
missing points can only lie in gaps whose width is reported.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from nnmass_core.engine.chain import Chain, Floats, Ints
from nnmass_core.engine.control import Control, OutOfTime
from nnmass_core.engine.problem import MASS, RANKING, RELATIVE_ERROR, ChainProblem, Key, maximize, minimize
from nnmass_core.engine.solver import Solver

MOST_LABELS = 40_000
"""The most partial paths that an interval's enumeration may create before the interval is split instead."""

GRID = 24
"""Levels of each cost for a front in two costs."""


@dataclass(frozen=True)
class Point:
    """A point of the front: its costs in the requested order, its exact NN-Mass, and its architecture's integers."""

    costs: tuple[int, ...]
    mass: Fraction
    integers: tuple[int, ...]


@dataclass(frozen=True)
class Front:
    """Points, ascending in the first cost. gaps: by cost, the widest gap with missing points; None: none missing."""

    points: list[Point]
    gaps: dict[str, int] | None
    labels: int
    pruned: int


class Interval(NamedTuple):
    """Costs between two points of the front where others may lie, from `start`, which is at least the lower's cost.

    width: start minus the higher point's cost, negative so that the widest sorts first.
    """

    width: int
    start: int
    low: Point
    high: Point


class FrontPool:
    """Paths that no other path seen so far beats in both NN-Mass and one cost; a pool that the engine fills."""

    def __init__(self, chain: Chain, cost: str) -> None:
        self._chain = chain
        self._column = chain.quantities.index(cost)
        self.paths = np.zeros((0, len(chain.stages)), np.int64)
        self.additive = np.zeros((0, len(chain.quantities)))

    def __len__(self) -> int:
        return len(self.paths)

    def worst(self, key: Key) -> float:
        """Return -inf: only the threshold prunes."""
        return -np.inf

    def add(self, paths: Ints, additive: Floats) -> None:
        """Offer paths, (n, stages), with their sums, (n, quantities)."""
        paths, additive = np.concatenate([self.paths, paths]), np.concatenate([self.additive, additive])
        order = np.lexsort([-additive[:, MASS], additive[:, self._column]])
        mass = additive[order, MASS]
        before = np.concatenate([[-np.inf], np.maximum.accumulate(mass)[:-1]])
        near = order[mass >= before - RELATIVE_ERROR * (1.0 + mass)]
        self.paths, self.additive = paths[near], additive[near]

    def points(self, cost: str) -> list[Point]:
        """Return the exact front of these paths; at each of its points the first path in ranking order."""
        if not len(self):
            return []
        integers = self._chain.path_integers(self.paths)
        masses = self._chain.exact_masses(self.paths)
        columns = [self._chain.quantities.index(name) for name in (cost, "macs", "params")]
        costs = self.additive[:, columns].astype(np.int64).tolist()
        order = sorted(range(len(self)), key=lambda i: (costs[i][0], -masses[i], *costs[i][1:], *integers[i].tolist()))
        points: list[Point] = []
        best = None
        for i in order:
            if best is None or masses[i] > best:
                best = masses[i]
                mass = self._chain.path_mass(self.paths[i].tolist())
                points.append(Point((costs[i][0],), mass, tuple(integers[i].tolist())))
        return points


class _Explorer:
    """Solves capped problems of one front and counts them."""

    def __init__(self, problem: ChainProblem, costs: tuple[str, ...], control: Control) -> None:
        self._problem = problem
        self._quantities = problem.chain.quantities
        self._costs = costs
        self._control = control
        self.labels = self.pruned = 0

    def best(self, caps: tuple[int | None, ...]) -> Point | None:
        """Return the best point under these caps; None when nothing fits. Raises OutOfTime."""
        ties = [minimize(cost, self._quantities) for cost in self._costs]
        rest = [key for key in (minimize("macs"), minimize("params")) if key not in ties]
        return self._solve(self._capped(caps), (maximize("nn_mass"), *ties, *rest))

    def cheapest(self, cost: str) -> Point | None:
        """Return the point of least cost; None when nothing is feasible. Raises OutOfTime."""
        first, *others = (
            minimize(name, self._quantities) for name in sorted(self._costs, key=lambda name: name != cost)
        )
        rest = [key for key in RANKING[1:] if key not in (first, *others)]
        return self._solve(self._problem, (first, maximize("nn_mass"), *others, *rest))

    def between(self, low: Point, high: Point) -> list[Point] | None:
        """Return the points of a one-cost front between two others; None when there are too many paths to enumerate."""
        (cost,) = self._costs
        problem = self._capped((high.costs[0] - 1,))
        solver = Solver(problem, 1, self._control, pool=lambda chain: FrontPool(chain, cost))
        done = solver.collect(float(low.mass), MOST_LABELS)
        self.labels += solver.labels
        self.pruned += solver.pruned
        if done is None:
            raise OutOfTime
        assert isinstance(solver.pool, FrontPool)
        inside = [point for point in solver.pool.points(cost) if point.mass > low.mass and point.costs > low.costs]
        return inside if done else None

    def _capped(self, caps: tuple[int | None, ...]) -> ChainProblem:
        problem = self._problem
        for cost, cap in zip(self._costs, caps, strict=True):
            if cap is not None:
                problem = problem.capped(self._quantities.index(cost), cap)
        return problem

    def _solve(self, problem: ChainProblem, keys: tuple[Key, ...]) -> Point | None:
        solution = Solver(replace(problem, keys=keys), 1, self._control).solve()
        self.labels += solution.labels
        self.pruned += solution.pruned
        if not solution.complete:
            raise OutOfTime
        if not len(solution.integers):
            return None
        costs = tuple(int(solution.additive[0, self._quantities.index(cost)]) for cost in self._costs)
        return Point(costs, solution.masses[0], tuple(solution.integers[0].tolist()))


def ends_of_front(problem: ChainProblem, costs: tuple[str, ...], control: Control) -> Front:
    """Return the points of most NN-Mass and of least of each cost, all additive. Raises OutOfTime.

    Its gaps are the whole range of each cost; None when nothing is feasible.
    """
    explorer = _Explorer(problem, costs, control)
    found = [explorer.best((None,) * len(costs)), *(explorer.cheapest(cost) for cost in costs)]
    points = {point.costs: point for point in found if point is not None}
    ordered = [points[key] for key in sorted(points)]
    ranges = {cost: [point.costs[i] for point in ordered] for i, cost in enumerate(costs)}
    gaps = {cost: max(values) - min(values) for cost, values in ranges.items()} if ordered else None
    return Front(ordered, gaps, explorer.labels, explorer.pruned)


def front_of_one_cost(problem: ChainProblem, cost: str, control: Control) -> Front:
    """Return the front of NN-Mass against one additive cost. Raises OutOfTime when not even its ends are found."""
    explorer = _Explorer(problem, (cost,), control)
    cheapest, best = explorer.cheapest(cost), explorer.best((None,))
    if cheapest is None or best is None:
        return Front([], None, explorer.labels, explorer.pruned)
    points = {cheapest.costs: cheapest, best.costs: best}
    waiting = [Interval(cheapest.costs[0] - best.costs[0], cheapest.costs[0], cheapest, best)]
    whole = best.costs[0] - cheapest.costs[0]
    try:
        while waiting:
            widest = waiting[0]
            control.report(min(0.99, 1 + widest.width / max(whole, 1)), f"{len(points)} points of the front")
            inside = explorer.between(widest.low, widest.high)
            parts = _split(explorer, widest) if inside is None else []
            heapq.heappop(waiting)
            for point in [*(inside or []), *(part.low for part in parts)]:
                points[point.costs] = point
            for part in parts:
                heapq.heappush(waiting, part)
    except OutOfTime:
        pass  # unexplored intervals are reported as a gap
    gaps = {cost: -waiting[0].width} if waiting else None
    ordered = [points[costs] for costs in sorted(points)]
    return Front(ordered, gaps, explorer.labels, explorer.pruned)


def _split(explorer: _Explorer, interval: Interval) -> list[Interval]:
    """Return the intervals that remain of one when its best point up to the middle is known."""
    low, high = interval.low, interval.high
    middle = (interval.start + high.costs[0]) // 2
    if middle == interval.start:
        return []  # no cost lies between
    best = explorer.best((middle,))
    assert best is not None
    # no point of the front lies between the best point up to the middle and the middle itself
    right = Interval(middle - high.costs[0], middle, best, high)
    if best.costs == low.costs:
        return [right]
    return [Interval(interval.start - best.costs[0], interval.start, low, best), right]


def front_of_two_costs(problem: ChainProblem, costs: tuple[str, str], control: Control) -> Front:
    """Return points of the front of NN-Mass against two additive costs, on a grid of caps. Raises OutOfTime.

    Every point is on the true front. Points between neighboring levels of the grid may be missing; `gaps` reports them.
    """
    explorer = _Explorer(problem, costs, control)
    points: dict[tuple[int, ...], Point] = {}
    corner = explorer.best((None, None))
    least = [explorer.cheapest(cost) for cost in costs]
    if corner is None or None in least:
        return Front([], None, explorer.labels, explorer.pruned)
    levels = [_levels(point.costs[i], corner.costs[i]) for i, point in enumerate(least) if point is not None]
    gaps = {cost: int(np.diff(level).max(initial=0)) for cost, level in zip(costs, levels, strict=True)}
    total = len(levels[0]) * len(levels[1])
    try:
        for done, caps in enumerate(itertools.product(*levels)):
            control.report(min(0.99, done / total), f"{len(points)} points of the front")
            point = explorer.best(caps)
            if point is not None:
                points[point.costs] = point
    except OutOfTime:
        gaps = {cost: level[-1] - level[0] for cost, level in zip(costs, levels, strict=True)}
    return Front([points[key] for key in sorted(points)], gaps, explorer.labels, explorer.pruned)


def _levels(low: int, high: int) -> list[int]:
    """Return the levels of one cost, in a geometric sequence."""
    return sorted({round(level) for level in np.geomspace(max(low, 1), max(high, 1), GRID).tolist()} | {low, high})
