"""Find the architectures with the smallest peak, and the front of NN-Mass against peak.

A peak is a maximum over a path, so that a cap on it only removes options (docs/theory.md (39)). Nothing else is needed:

- Least peak: bisection over the caps finds the least one that admits k paths. Each solve either finds k paths, whose
  greatest peak is the new upper end, or proves that there are fewer and knows all of them. The paths of a lower peak
  are then known, fewer than k, and the best k within the cap by the ranking order contain the others.
- Front: the best path under a cap is a point of the front, unless a path of equal NN-Mass has a smaller peak; the next
  cap is just below its peak. So one sweep downward solves once for each point.

The solves share what they learn of prices (Solver), since their problems differ by a few options.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import numpy as np

from nnmass_core.engine.chain import Chain, Floats, Ints
from nnmass_core.engine.control import Control, OutOfTime
from nnmass_core.engine.pareto import Front, Point
from nnmass_core.engine.problem import RANKING, ChainProblem, Key, maximize, minimize
from nnmass_core.engine.ranking import Pool
from nnmass_core.engine.solver import CandidatePool, Solution, Solver

EASIEST = (minimize("params"), maximize("nn_mass"))
"""An objective under which feasible paths are found early."""


class LowestPeaks:
    """The k paths of the smallest peak seen so far; with `distinct_shapes` only the lowest of each shape counts."""

    def __init__(self, chain: Chain, k: int, *, distinct_shapes: bool) -> None:
        self._chain = chain
        self._k = k
        self._distinct_shapes = distinct_shapes
        self.paths = np.zeros((0, len(chain.stages)), np.int64)
        self.additive = np.zeros((0, len(chain.quantities)))

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def greatest(self) -> int:
        """The greatest peak of the paths."""
        return int(self._chain.path_peaks(self.paths).max())

    def worst(self, key: Key) -> float:
        """Return -inf: any feasible path is of interest."""
        return -np.inf

    def add(self, paths: Ints, additive: Floats) -> None:
        """Offer paths, (n, stages), with their sums, (n, quantities)."""
        paths, additive = np.concatenate([self.paths, paths]), np.concatenate([self.additive, additive])
        order = np.argsort(self._chain.path_peaks(paths), kind="stable")
        paths, additive = paths[order], additive[order]
        columns = list(self._chain.shape_columns)
        same = self._chain.path_integers(paths)[:, columns] if self._distinct_shapes else paths
        keep = np.sort(np.unique(same, axis=0, return_index=True)[1])[: self._k]
        self.paths, self.additive = paths[keep], additive[keep]


class _Caps:
    """Solves one problem under caps on its peak; `peaks` are the caps that make a difference, ascending."""

    def __init__(self, problem: ChainProblem, control: Control, k: int = 1, *, distinct_shapes: bool = False) -> None:
        self.problem = problem
        self.peaks = [peak for peak in problem.chain.peaks if problem.peak is None or peak <= problem.peak]
        self.labels = self.pruned = 0
        self._control = control
        self._k = k
        self._distinct_shapes = distinct_shapes
        self.low = bisect_left(self.peaks, least_possible(problem.chain)) - 1
        self.none, self.high = self.low, len(self.peaks)
        self.below, self.within = self._pool(problem.chain), self._pool(problem.chain)

    def bisect(self) -> None:
        """Find the least cap that admits k paths. Raises OutOfTime.

        Between steps, and so after OutOfTime, peaks[low] admits fewer than k, all of them in `below` (of a shape only
        one path, not always its lowest); peaks[high] admits those in `within`; peaks[none] admits none. In the end high
        is low + 1: len(peaks) if no cap admits k.
        """
        middle = len(self.peaks) - 1
        while self.low < middle:
            if self._admits(middle):
                self.high = bisect_left(self.peaks, self.within.greatest)
            else:
                self.low = middle
            middle = (self.low + self.high) // 2

    @property
    def least(self) -> float:
        """No path has a smaller peak, whatever else is unknown; infinite when no path is feasible."""
        if len(self.below) and not self._distinct_shapes:
            return float(self.problem.chain.path_peaks(self.below.paths).min())
        return self.peaks[self.none + 1] if self.none + 1 < len(self.peaks) else np.inf

    def best(self, peak: int | None, k: int = 1) -> Solver:
        """Return the solver of the best k within a cap, in ranking order, solved. Raises OutOfTime."""
        problem = replace(self.problem, peak=peak, keys=RANKING)
        solver = Solver(problem, k, self._control, distinct_shapes=self._distinct_shapes)
        solution = solver.solve()
        self._count(solver)
        if not solution.complete:
            raise OutOfTime
        return solver

    def _admits(self, cap: int) -> bool:
        problem = replace(self.problem, peak=self.peaks[cap], keys=EASIEST)
        solver = Solver(problem, self._k, self._control, distinct_shapes=self._distinct_shapes, pool=self._pool)
        admitted = solver.admits(self._k)
        self._count(solver)
        assert isinstance(solver.pool, LowestPeaks)
        if admitted is None:
            raise OutOfTime
        if admitted:
            self.within = solver.pool
        else:
            self.below = solver.pool
            self.none = self.none if len(solver.pool) else cap
        return admitted

    def _pool(self, chain: Chain) -> LowestPeaks:
        return LowestPeaks(chain, self._k, distinct_shapes=self._distinct_shapes)

    def _count(self, solver: Solver) -> None:
        self.labels += solver.labels
        self.pruned += solver.pruned


def least_possible(chain: Chain) -> int:
    """Return the least peak of any path of the chain, feasible or not."""
    onward = np.zeros(chain.nodes[-1], np.int64)
    for stage, before in zip(reversed(chain.stages), reversed(chain.nodes[:-1]), strict=True):
        through = np.maximum(stage.peak, onward[stage.target])
        onward = np.full(before, np.iinfo(np.int64).max)
        np.minimum.at(onward, stage.source, through)
    return int(onward[0])


def least_peak(problem: ChainProblem, control: Control) -> int | None:
    """Return the least peak of a feasible path, in elements; None when nothing is feasible. Raises OutOfTime."""
    caps = _Caps(problem, control)
    caps.bisect()
    return caps.peaks[caps.high] if caps.high < len(caps.peaks) else None


def admits_below(problem: ChainProblem, peak: int, control: Control) -> bool | None:
    """Return whether a feasible path has a smaller peak than this, in elements; None when the time ran out."""
    if peak <= least_possible(problem.chain):
        return False
    most = peak - 1 if problem.peak is None else min(peak - 1, problem.peak)
    return Solver(replace(problem, peak=most, keys=EASIEST), 1, control).admits()


def least_peaks(problem: ChainProblem, k: int, control: Control, *, distinct_shapes: bool) -> Solution:
    """Return the best k paths by peak, then by the ranking order. The bound is the least peak possible, negative."""
    caps = _Caps(problem, control, k, distinct_shapes=distinct_shapes)
    ranked: list[CandidatePool] = []
    try:
        caps.bisect()
        ranked = _lowest_of_each_shape(caps, k) if distinct_shapes else _within_the_least_cap(caps, k)
        complete = True
    except OutOfTime:
        ranked, complete = [caps.within], False
    paths, additive = _in_order(problem.chain, [caps.below, *ranked], k, distinct_shapes=distinct_shapes)
    found = complete and len(paths)
    least = float(problem.chain.path_peaks(paths[:1])[0]) if found else caps.least
    return Solution(
        integers=problem.chain.path_integers(paths),
        additive=additive,
        masses=[problem.chain.path_mass(path) for path in paths.tolist()],
        complete=complete,
        bound=-least,
        labels=caps.labels,
        pruned=caps.pruned,
    )


def _within_the_least_cap(caps: _Caps, k: int) -> list[CandidatePool]:
    return [caps.best(caps.peaks[caps.high], k).pool] if caps.high < len(caps.peaks) else []


def _lowest_of_each_shape(caps: _Caps, k: int) -> list[CandidatePool]:
    """Return paths with the best of each shape by peak, then by the ranking order. Raises OutOfTime.

    Between two caps that admit equally many shapes, no shape has its least peak. Between others a middle cap is solved,
    down to neighbors: there, the best of a new shape in ranking order has exactly the greater cap as its peak.
    """
    top = min(caps.high, len(caps.peaks) - 1)
    if top <= caps.none:
        return []
    pools = [caps.best(caps.peaks[top], k).pool]
    waiting = [(caps.none, 0, top, len(pools[0]))]
    while waiting:
        low, fewer, high, more = waiting.pop()
        if fewer < more and high - low > 1:
            middle = (low + high) // 2
            pools.append(caps.best(caps.peaks[middle], k).pool)
            waiting += [(low, fewer, middle, len(pools[-1])), (middle, len(pools[-1]), high, more)]
    return pools


def _in_order(chain: Chain, pools: list[CandidatePool], k: int, *, distinct_shapes: bool) -> tuple[Ints, Floats]:
    """Return the first k paths by peak, then by the ranking order, and their sums."""
    ranked = Pool(chain, RANKING, max(1, sum(len(pool) for pool in pools)))
    for pool in pools:
        ranked.add(pool.paths, pool.additive)
    order = np.argsort(chain.path_peaks(ranked.paths), kind="stable")
    if distinct_shapes:
        shapes = chain.path_integers(ranked.paths)[order][:, list(chain.shape_columns)]
        order = order[np.sort(np.unique(shapes, axis=0, return_index=True)[1])]
    return ranked.paths[order[:k]], ranked.additive[order[:k]]


def front_of_peak(problem: ChainProblem, control: Control) -> Front:
    """Return the front of NN-Mass against peak activation elements. Raises OutOfTime when not even its end is found.

    Of a front that is cut short, the points of the greatest peaks are returned: each was confirmed by a next one.
    """
    caps = _Caps(problem, control)
    points: list[Point] = []
    cap, gaps = problem.peak, None
    least, greatest = caps.peaks[caps.low + 1 :][:1], caps.peaks[-1:]
    try:
        while (point := _best_point(caps, cap)) is not None:
            if points and points[-1].mass == point.mass:
                points.pop()
            points.append(point)
            cap = point.costs[0] - 1
            done = (greatest[0] - cap) / max(greatest[0] - least[0], 1)
            control.report(min(0.99, done), f"{len(points)} points of the front")
    except OutOfTime:
        if len(points) < 2:
            raise
        points.pop()  # a path of the same NN-Mass may have a smaller peak
        gaps = {"peak": points[-1].costs[0] - least[0]}
    return Front(points[::-1], gaps, caps.labels, caps.pruned)


def _best_point(caps: _Caps, cap: int | None) -> Point | None:
    """Return the first path in ranking order within a cap, with its peak; None when there is none. Raises OutOfTime."""
    pool = caps.best(cap).pool
    if not len(pool):
        return None
    chain, path = caps.problem.chain, pool.paths[:1]
    integers = tuple(chain.path_integers(path)[0].tolist())
    return Point((int(chain.path_peaks(path)[0]),), chain.path_mass(path[0].tolist()), integers)
