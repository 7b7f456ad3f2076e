"""The least factor by which all limits must be raised together to admit a path: docs/theory.md (37).

The factor of a path is the largest of its costs, each divided by its limit; wanted is the least factor of any path.
Bisection finds it: for a factor in the middle, the engine either finds a path within the raised limits, and the path's
own factor is the new upper end, or proves that there is none. Costs are whole numbers of elements, so a factor of a
path is a multiple of one element divided by its limit. Once no multiple of the smallest such step lies between the
ends, the engine looks for a path below the upper end until it proves that there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np

from nnmass_core.engine.control import Control, OutOfTime
from nnmass_core.engine.problem import MEMORY, PEAK, ChainProblem, maximize, minimize
from nnmass_core.engine.solver import Solver

EASIEST = (minimize("params"), maximize("nn_mass"))

Steps = Mapping[str, Fraction]
"""One element of each limited quantity, as a fraction of the quantity's limit."""


def least_factor(problem: ChainProblem, steps: Steps, control: Control) -> Fraction | None:
    """Return the least factor of at least 1 that admits a path, exactly; None when no factor does. Raises OutOfTime.

    problem: without the limits that are raised, a shared memory as large as any; its other constraints stay as they
    are. steps: of these limits.
    """
    low, high = Fraction(1), _factor(problem, steps, control)
    if high is None:
        return None
    finest = min(steps.values())
    while high > low:
        middle = (low + high) / 2 // finest * finest
        last = middle <= low
        most = _below(high) if last else _up_to(middle)
        found = _factor(_within(problem, steps, most), steps, control)
        if found is not None:
            high = found
        elif last:
            break
        else:
            low = middle
    return max(high, Fraction(1))


def _up_to(factor: Fraction) -> Callable[[Fraction], int]:
    return lambda step: int(factor // step)


def _below(factor: Fraction) -> Callable[[Fraction], int]:
    return lambda step: -int(-factor // step) - 1


def _within(problem: ChainProblem, steps: Steps, most: Callable[[Fraction], int]) -> ChainProblem:
    """Return the problem with the limits raised. most: the largest number of elements, by the size of one."""
    for quantity, step in steps.items():
        if quantity == PEAK:
            problem = replace(problem, peak=most(step))
        elif quantity == MEMORY:
            assert problem.shared is not None
            problem = replace(problem, shared=replace(problem.shared, bound=most(step)))
        else:
            problem = problem.capped(problem.chain.quantities.index(quantity), most(step))
    return problem


def _factor(problem: ChainProblem, steps: Steps, control: Control) -> Fraction | None:
    """Return the factor of a feasible path; None when there is none. Raises OutOfTime."""
    solver = Solver(replace(problem, keys=EASIEST), 1, control)
    admitted = solver.admits()
    if admitted is None:
        raise OutOfTime
    if not admitted:
        return None
    path, sums = solver.pool.paths[0].tolist(), solver.pool.additive[0].tolist()
    used = dict(zip(solver.chain.quantities, sums, strict=True))
    used[PEAK] = max(int(stage.peak[option]) for stage, option in zip(solver.chain.stages, path, strict=True))
    if problem.shared is not None:
        peaks = np.array([used[PEAK]], np.int64)
        used[MEMORY] = float(problem.shared.used(solver.pool.additive[:1], peaks)[0])
    return max(step * int(used[quantity]) for quantity, step in steps.items())
