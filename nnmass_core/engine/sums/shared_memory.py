"""The best paths whose weights and activations fit one memory: docs/theory.md (71).

Weights are a sum and the peak is a maximum, so that what a path uses of the memory is no sum. A solve over a range of
peaks has a row for the weights that fit beside the least of them, which refuses no path of the range that fits, and the
exact use of each complete path decides (Solver). Ranges that take many partial paths are halved, down to a single peak,
where the row is exact. All ranges fill one pool, so that each solve only looks for what is better than the best k of
the others, and the most promising range comes first.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from heapq import heappop, heappush

import numpy as np

from nnmass_core.engine.control import Control
from nnmass_core.engine.problem import MASS, ChainProblem
from nnmass_core.engine.ranking import Pool
from nnmass_core.engine.solver import Solution, Solver

FEW = 1 << 16
"""The most partial paths that the solve of a range may look at before the range is halved."""


def best_in_memory(
    problem: ChainProblem, k: int, control: Control, *, distinct_shapes: bool = False, few: int = FEW
) -> Solution:
    """Return the best k paths of a problem with one memory, with their proof. Raises Interrupted.

    few: decides how ranges are halved, never what is found.
    """
    shared, chain, first = problem.shared, problem.chain, problem.keys[0]
    assert shared is not None
    peaks = [peak for peak in chain.peaks if shared.least <= peak <= (np.inf if problem.peak is None else problem.peak)]
    pool = Pool(chain, problem.keys, k, distinct_shapes=distinct_shapes)
    waiting = [(-np.inf, 0, len(peaks) - 1)] if peaks else []
    labels = pruned = 0
    while waiting and not control.expired():
        bound, low, high = heappop(waiting)
        part = replace(problem, peak=peaks[high], shared=replace(shared, least=peaks[low]))
        most = few if low < high else None
        solver = Solver(part, k, control, distinct_shapes=distinct_shapes, pool=lambda _: pool, most_examined=most)
        solution = solver.solve()
        labels, pruned = labels + solution.labels, pruned + solution.pruned
        if solution.complete:
            continue
        bound, middle = max(bound, -solution.bound), (low + high) // 2
        if low == high or control.expired():
            heappush(waiting, (bound, low, high))
            break
        heappush(waiting, (bound, low, middle))
        heappush(waiting, (bound, middle + 1, high))
    best = float(pool.additive[0, first.column] * first.sign) if len(pool) else -np.inf
    return Solution(
        integers=chain.path_integers(pool.paths),
        additive=pool.additive,
        masses=[chain.path_mass(path) for path in pool.paths.tolist()],
        complete=not waiting,
        bound=max(best, -waiting[0][0]) if waiting else best,
        labels=labels,
        pruned=pruned,
    )


def beats_in_memory(problem: ChainProblem, value: Fraction, control: Control) -> bool | None:
    """Return whether a path's first key (more is better) exceeds this value; None when the time ran out."""
    found, first = best_in_memory(problem, 1, control), problem.keys[0]
    if found.masses:
        best = found.masses[0] if first.column == MASS else Fraction(found.additive[0, first.column])
        if best * first.sign > value:
            return True
    return False if found.complete else None
