"""Find the architectures with the smallest peak, and the front of NN-Mass against peak.

A peak is a maximum, so bisection finds the least, not sums.

The paths whose peak lies in a range form a chain too (Chain.with_peak). Bisection finds the least peak of any path; the
engine ranks the best paths of exactly that peak; then the next peak follows, until there are enough paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nnmass_core.engine.chain import Ints
from nnmass_core.engine.control import Control, OutOfTime
from nnmass_core.engine.pareto import Front, Point
from nnmass_core.engine.problem import RANKING, ChainProblem, maximize, minimize
from nnmass_core.engine.solver import Solution, Solver


def least_peaks(problem: ChainProblem, k: int, control: Control, *, distinct_shapes: bool) -> Solution:
    """Return the best k paths by peak, then by the ranking order. The bound is the least peak possible, negative."""
    found: list[Solution] = []
    lowest, complete = -np.inf, True
    try:
        for peak, chain_problem in _levels(problem, control):
            lowest = max(lowest, -float(peak))  # the first peak is the least
            level = Solver(chain_problem, k, control, distinct_shapes=distinct_shapes).solve()
            found.append(level)
            if not level.complete:
                complete = False
                break
            if len(_chosen(found, problem, k, distinct_shapes=distinct_shapes)) >= k:
                break
    except OutOfTime:
        complete = False
    return _joined(found, problem, k, complete=complete, bound=lowest, distinct_shapes=distinct_shapes)


def least_peak(problem: ChainProblem, control: Control) -> int | None:
    """Return the least peak of a feasible path, in elements; None when nothing is feasible. Raises OutOfTime."""
    return next((peak for peak, _ in _levels(problem, control)), None)


def _levels(problem: ChainProblem, control: Control) -> Iterator[tuple[int, ChainProblem]]:
    """Yield each peak of a feasible path, ascending, with the problem of exactly that peak."""
    cap = problem.peak
    peaks = [peak for peak in problem.chain.peaks if cap is None or peak <= cap]
    low = 0
    while low < len(peaks):
        below = peaks[low - 1] if low else -1
        if not _admits(problem, below, peaks[-1], control):
            return
        first, last = low, len(peaks) - 1
        while first < last:
            middle = (first + last) // 2
            first, last = (first, middle) if _admits(problem, below, peaks[middle], control) else (middle + 1, last)
        yield peaks[first], _between(problem, peaks[first] - 1, peaks[first])
        low = first + 1


def _between(problem: ChainProblem, above: int, upto: int) -> ChainProblem:
    return replace(problem, chain=problem.chain.with_peak(above, upto), keys=RANKING, peak=None)


def _admits(problem: ChainProblem, above: int, upto: int, control: Control) -> bool:
    """Return whether a feasible path has its peak in a range. Raises OutOfTime."""
    easiest = (minimize("params"), maximize("nn_mass"))
    admitted = Solver(replace(_between(problem, above, upto), keys=easiest), 1, control).admits()
    if admitted is None:
        raise OutOfTime
    return admitted


def _chosen(found: list[Solution], problem: ChainProblem, k: int, *, distinct_shapes: bool) -> list[tuple[int, int]]:
    """Return (level, position) of the best k over all levels; with `distinct_shapes` at most one of each shape."""
    shape = list(problem.chain.shape_columns)
    seen: set[tuple[int, ...]] = set()
    chosen: list[tuple[int, int]] = []
    for level, solution in enumerate(found):
        for place, integers in enumerate(solution.integers.tolist()):
            key = tuple(integers[i] for i in shape) if distinct_shapes else tuple(integers)
            if key not in seen and len(chosen) < k:
                seen.add(key)
                chosen.append((level, place))
    return chosen


def _joined(
    found: list[Solution], problem: ChainProblem, k: int, *, complete: bool, bound: float, distinct_shapes: bool
) -> Solution:
    chosen = _chosen(found, problem, k, distinct_shapes=distinct_shapes)
    width = sum(stage.integers.shape[1] for stage in problem.chain.stages)
    integers: Ints = np.array([found[i].integers[j] for i, j in chosen], np.int64).reshape(-1, width)
    return Solution(
        integers=integers,
        additive=np.array([found[i].additive[j] for i, j in chosen]).reshape(-1, len(problem.chain.quantities)),
        masses=[found[i].masses[j] for i, j in chosen],
        complete=complete,
        bound=bound,
        labels=sum(solution.labels for solution in found),
        pruned=sum(solution.pruned for solution in found),
    )


class _Explorer:
    """Solves the problem under caps on the peak and counts partial paths."""

    def __init__(self, problem: ChainProblem, control: Control) -> None:
        self._problem = problem
        self._control = control
        self.labels = self.pruned = 0

    def best_within(self, peak: int) -> Point:
        """Return the first point in ranking order under a feasible cap on the peak. Raises OutOfTime."""
        solution = Solver(replace(self._problem, peak=peak, keys=RANKING), 1, self._control).solve()
        self.labels += solution.labels
        self.pruned += solution.pruned
        if not solution.complete:
            raise OutOfTime
        return Point((), solution.masses[0], tuple(solution.integers[0].tolist()))


def front_of_peak(problem: ChainProblem, control: Control) -> Front:
    """Return the front of NN-Mass against peak activation elements. Raises OutOfTime when not even its end is found.

    The most NN-Mass under a cap on the peak is a step function that increases with the cap. Between two caps with the
    same optimum there is no step.
    """
    explorer = _Explorer(problem, control)
    peaks = [peak for peak in problem.chain.peaks if problem.peak is None or peak <= problem.peak]
    lowest = least_peak(problem, control)
    if lowest is None:
        return Front([], None, explorer.labels, explorer.pruned)
    first, last = peaks.index(lowest), len(peaks) - 1
    known = {i: explorer.best_within(peaks[i]) for i in (first, last)}
    waiting = [(first, last)]
    try:
        while waiting:
            low, high = max(waiting, key=lambda pair: peaks[pair[1]] - peaks[pair[0]])
            control.report(min(0.99, 1 - len(waiting) / len(peaks)), f"{len(known)} limits on the peak examined")
            middle = (low + high) // 2
            if middle not in known and known[low].mass != known[high].mass:
                known[middle] = explorer.best_within(peaks[middle])
            waiting.remove((low, high))
            if known[low].mass != known[high].mass and high - low > 1:
                waiting += [(low, middle), (middle, high)]
    except OutOfTime:
        pass  # unexplored caps are reported as a gap
    gaps = {"peak": max(peaks[high] - peaks[low] for low, high in waiting)} if waiting else None
    steps: list[Point] = []
    for i in sorted(known):
        if not steps or known[i].mass > steps[-1].mass:
            steps.append(replace(known[i], costs=(peaks[i],)))
    return Front(steps, gaps, explorer.labels, explorer.pruned)
