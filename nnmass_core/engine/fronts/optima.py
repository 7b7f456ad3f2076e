"""Points of a front as exact constrained optima: the way where labels take too much time or memory.

Find the most NN-Mass under a cap on each cost, and the cheapest of the paths that have it: this is a point of the
front, since no path has as much for less. Every point is on the true front, and there are the more of them the more
time there is; missing points can only lie in gaps whose width is reported.

One cost that is a sum: the interval between two neighboring points is either enumerated completely (every path there
that could be on the front) or, where that is too much work, split at a new point, the widest interval first. Two costs:
the caps run over a grid, coarse lines first, each grid half as wide as the one before (docs/theory.md (65)).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from nnmass_core.engine.chain import Chain, Floats, Ints
from nnmass_core.engine.control import Control, OutOfTime
from nnmass_core.engine.pareto import Front, Point
from nnmass_core.engine.peaks import least_peak
from nnmass_core.engine.problem import MASS, PEAK, RANKING, RELATIVE_ERROR, ChainProblem, Key, maximize, minimize
from nnmass_core.engine.solver import Solver

MOST_LABELS = 40_000
"""The most partial paths that an interval's enumeration may create before the interval is split instead."""

ROUNDS = 5
"""How often the lines of a grid of caps in two costs are doubled, from the ends of each cost alone."""


Caps = tuple[int | None, ...]

NOT_YET: dict[str, int] = {}
"""No grid of caps is searched yet."""


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
        self.costs = costs
        self._control = control
        self.labels = self.pruned = 0

    def report(self, fraction: float, points: int) -> None:
        """Report the progress."""
        self._control.report(min(0.99, fraction), f"{points} points of the front")

    def best(self, caps: Caps) -> Point | None:
        """Return the best point under these caps; None when nothing fits. Raises OutOfTime."""
        return self._solve(self._capped(self._problem, caps), (maximize("nn_mass"), *self._sums()))

    def cheapest(self, cost: str) -> Point | None:
        """Return the point of least cost; None when nothing is feasible. Raises OutOfTime."""
        if cost == PEAK:
            peak = least_peak(self._problem, self._control)
            return None if peak is None else self.best(tuple(peak if one == PEAK else None for one in self.costs))
        first = minimize(cost, self._quantities)
        others = [key for key in self._sums() if key != first]
        return self._solve(self._problem, (first, maximize("nn_mass"), *others))

    def _sums(self) -> list[Key]:
        """Return the keys of the costs that are sums."""
        return [minimize(cost, self._quantities) for cost in self.costs if cost != PEAK]

    def between(self, low: Point, high: Point) -> list[Point] | None:
        """Return the points of a one-cost front between two others; None when there are too many paths to enumerate."""
        (cost,) = self.costs
        problem = self._capped(self._problem, (high.costs[0] - 1,))
        solver = Solver(problem, 1, self._control, pool=lambda chain: FrontPool(chain, cost))
        done = solver.collect(float(low.mass), MOST_LABELS)
        self.labels += solver.labels
        self.pruned += solver.pruned
        if done is None:
            raise OutOfTime
        assert isinstance(solver.pool, FrontPool)
        inside = [point for point in solver.pool.points(cost) if point.mass > low.mass and point.costs > low.costs]
        return inside if done else None

    def _capped(self, problem: ChainProblem, caps: Caps) -> ChainProblem:
        for cost, cap in zip(self.costs, caps, strict=True):
            if cap is None:
                continue
            if cost == PEAK:
                problem = replace(problem, peak=cap if problem.peak is None else min(cap, problem.peak))
            else:
                problem = problem.capped(self._quantities.index(cost), cap)
        return problem

    def _solve(self, problem: ChainProblem, keys: tuple[Key, ...]) -> Point | None:
        """Return the point of the first path by these keys; a peak that is a cost is the least of equal paths."""
        point = self._first(problem, (*keys, *(key for key in RANKING[1:] if key not in keys)))
        if point is None or PEAK not in self.costs:
            return point
        caps = tuple(None if cost == PEAK else own for cost, own in zip(self.costs, point.costs, strict=True))
        equal = replace(self._capped(problem, caps), least_mass=point.mass)
        return self._first(replace(equal, peak=least_peak(equal, self._control)), RANKING)

    def _first(self, problem: ChainProblem, keys: tuple[Key, ...]) -> Point | None:
        solver = Solver(replace(problem, keys=keys), 1, self._control)
        solution = solver.solve()
        self.labels += solution.labels
        self.pruned += solution.pruned
        if not solution.complete:
            raise OutOfTime
        if not len(solution.integers):
            return None
        peak = int(problem.chain.path_peaks(solver.pool.paths[:1])[0])
        sums = dict(zip(self._quantities, solution.additive[0].tolist(), strict=True))
        costs = tuple(peak if cost == PEAK else int(sums[cost]) for cost in self.costs)
        return Point(costs, solution.masses[0], tuple(solution.integers[0].tolist()))

    def greatest(self, cost: str) -> int:
        """Return a bound on a cost of all paths within the limits."""
        problem = self._problem
        if cost == PEAK:
            return problem.chain.peaks[-1] if problem.peak is None else problem.peak
        column = self._quantities.index(cost)
        most = sum(int(stage.additive[:, column].max(initial=0)) for stage in problem.chain.stages)
        return min([most, *(bound for capped, bound in problem.caps if capped == column)])


def ends_of_front(problem: ChainProblem, costs: tuple[str, ...], control: Control) -> Front:
    """Return the points of most NN-Mass and of least of each cost. Raises OutOfTime.

    Its gaps are the whole range of each cost in which others may lie; None when nothing is feasible.
    """
    explorer = _Explorer(problem, costs, control)
    found = [explorer.best((None,) * len(costs)), *(explorer.cheapest(cost) for cost in costs)]
    points = {point.costs: point for point in found if point is not None}
    ordered = [points[key] for key in sorted(points)]
    if not ordered:
        return Front([], None, explorer.labels, explorer.pruned)
    gaps = {cost: _last(explorer, ordered, i) - min(_each(ordered, i)) for i, cost in enumerate(costs)}
    return Front(ordered, gaps, explorer.labels, explorer.pruned)


def front_of_optima(problem: ChainProblem, costs: tuple[str, ...], ends: Front, control: Control) -> Front:
    """Return the points of a front that the time allows, its ends among them; their gaps are where others may lie.

    Args:
        problem: What to find the front of.
        costs: One cost that is a sum, or two.
        ends: The points that `ends_of_front` returns.
        control: Ends the search.
    """
    if not ends.points:
        return ends
    explorer = _Explorer(problem, costs, control)
    points = {point.costs: point for point in ends.points}
    gaps = _refine_intervals(explorer, costs[0], points) if len(costs) == 1 else _refine_grid(explorer, costs, points)
    counts = ends.labels + explorer.labels, ends.pruned + explorer.pruned
    return Front([points[key] for key in sorted(points)], ends.gaps if gaps == NOT_YET else gaps, *counts)


def _each(points: Iterable[Point], i: int) -> list[int]:
    return [point.costs[i] for point in points]


def _last(explorer: _Explorer, points: list[Point], i: int) -> int:
    """Return the greatest that the i-th cost of a point of the front may be, given its ends.

    With one cost, no point costs more than that of the most NN-Mass; with two, one that has less of the other may.
    """
    costs = explorer.costs
    return max(_each(points, i)) if len(costs) == 1 else explorer.greatest(costs[i])


def _refine_intervals(explorer: _Explorer, cost: str, points: dict[tuple[int, ...], Point]) -> dict[str, int] | None:
    """Add the points between two ends, the widest interval first; return the widest that is not searched."""
    low, high = points[min(points)], points[max(points)]
    waiting = [Interval(low.costs[0] - high.costs[0], low.costs[0], low, high)]
    whole = high.costs[0] - low.costs[0]
    try:
        while waiting:
            widest = waiting[0]
            explorer.report(1 + widest.width / max(whole, 1), len(points))
            inside = explorer.between(widest.low, widest.high)
            parts = _split(explorer, widest) if inside is None else []
            heapq.heappop(waiting)
            for point in [*(inside or []), *(part.low for part in parts)]:
                points[point.costs] = point
            for part in parts:
                heapq.heappush(waiting, part)
    except OutOfTime:
        pass  # unexplored intervals are reported as a gap
    return {cost: -waiting[0].width} if waiting else None


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


def _refine_grid(
    explorer: _Explorer, costs: tuple[str, ...], points: dict[tuple[int, ...], Point]
) -> dict[str, int] | None:
    """Add the best points under caps on a grid, coarse lines first; return the widest gaps of the last whole grid."""
    ends = list(points.values())
    ranges = [(min(_each(ends, i)), _last(explorer, ends, i)) for i in range(len(costs))]
    gaps, solved = NOT_YET, dict[tuple[int, ...], Point | None]()
    try:
        for round_ in range(ROUNDS + 1):
            grid = [lines(*each, round_) for each in ranges]
            total = len(grid[0]) * len(grid[1])
            for done, caps in enumerate(itertools.product(*grid)):
                if not _known(solved, caps):
                    explorer.report(done / total / 2 ** (ROUNDS - round_), len(points))
                    solved[caps] = point = explorer.best(caps)
                    points |= {} if point is None else {point.costs: point}
            gaps = {cost: int(np.diff(line).max(initial=0)) for cost, line in zip(costs, grid, strict=True)}
    except OutOfTime:
        pass  # the lines of the last whole grid are reported as a gap
    return gaps


def _known(solved: dict[tuple[int, ...], Point | None], caps: tuple[int, ...]) -> bool:
    """Return whether the best under caps is known: it is the best under wider ones too, or nothing fits under these."""
    return any(
        all(cap <= wide for cap, wide in zip(caps, other, strict=True))
        and (point is None or all(own <= cap for own, cap in zip(point.costs, caps, strict=True)))
        for other, point in solved.items()
    )


def lines(low: int, high: int, round_: int) -> list[int]:
    """Return the caps on one cost of a round of grids, docs/theory.md (65).

    Args:
        low: The least that a point of the front costs.
        high: The most that one may cost.
        round_: From 0, with the ends alone, to ROUNDS.
    """
    levels = np.geomspace(max(low, 1), max(high, 1), 2**ROUNDS + 1).tolist()
    every = sorted({round(level) for level in levels} | {low, high})
    return sorted({*every[:: 2 ** (ROUNDS - round_)], high})
