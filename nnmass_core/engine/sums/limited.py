"""The best paths by a sum that is limited on the side to which it is to go, as the most MACs below a limit on MACs.

Prices prove little there: they allow a mixture of paths that meets the limit, and a large space has millions of paths
within a millionth of it, many of them with the same sum. So the sums themselves are walked, from the limit away. The
paths in a window of sums are found by one solve, in which partial paths that cannot end in the window are refused
(reach.py). A window of one sum is solved by the rest of the keys, so that prices bound the ties. Windows widen while
they hold few paths; one that takes too many partial paths is halved, and the next may take twice as many.
docs/theory.md (52), (53).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import numpy as np

from nnmass_core.engine.control import Control
from nnmass_core.engine.problem import MASS, ChainProblem, Key
from nnmass_core.engine.ranking import Pool
from nnmass_core.engine.solver import Solution, Solver
from nnmass_core.engine.sums.endings import MOST_ENDINGS
from nnmass_core.engine.sums.reach import MOST_REMAINDERS, MOST_SUMS, Nearest, Reach, Window, usable
from nnmass_core.engine.sums.shared_memory import beats_in_memory, best_in_memory


@dataclass(frozen=True)
class Effort:
    """What decides how the walk goes, never what it finds.

    few: the most partial paths that a solve may look at before it is cut short. single: the number of sums that are
    solved one by one before windows widen. most_sums, most_remainders: as in reach.py. most_endings: as in endings.py.
    """

    few: int = 1 << 18
    single: int = 4
    most_sums: int = MOST_SUMS
    most_remainders: int = MOST_REMAINDERS
    most_endings: int = MOST_ENDINGS


USUAL = Effort()


def best_paths(
    problem: ChainProblem, k: int, control: Control, *, distinct_shapes: bool = False, effort: Effort = USUAL
) -> Solution:
    """Return the best k paths of a problem with their proof. Raises Interrupted when the control does."""
    if problem.shared is not None:
        return best_in_memory(problem, k, control, distinct_shapes=distinct_shapes)
    if not _towards_a_limit(problem):
        return Solver(problem, k, control, distinct_shapes=distinct_shapes).solve()
    return _Walk(problem, k, control, effort, distinct_shapes=distinct_shapes).solve()


def beats(problem: ChainProblem, value: Fraction, control: Control) -> bool | None:
    """Return whether a path's first key (more is better) exceeds this value; None when the time ran out."""
    if problem.shared is not None:
        return beats_in_memory(problem, value, control)
    if not _towards_a_limit(problem):
        return Solver(problem, 1, control).beats(value)
    return _Walk(problem, 1, control, USUAL, distinct_shapes=False).beats(value)


def _towards_a_limit(problem: ChainProblem) -> bool:
    """Return whether the first key is limited on the side to which it is to go."""
    return _limit(problem, problem.keys[0]) is not None and usable(problem.chain, problem.keys[0])


def _limit(problem: ChainProblem, key: Key) -> int | None:
    """Return the limit on a key's sum, on the side to which it is to go; of NN-Mass over the common denominator."""
    if key.column == MASS:
        mass = problem.most_mass if key.sign > 0 else problem.least_mass
        scaled = None if mass is None else key.sign * mass * problem.chain.common_denominator
        return None if scaled is None else key.sign * (scaled.numerator // scaled.denominator)
    bounds = problem.caps if key.sign > 0 else problem.floors
    nearest = min((key.sign * bound for column, bound in bounds if column == key.column), default=None)
    return None if nearest is None else key.sign * nearest


class _Walk:
    """The walk over the sums of one problem."""

    def __init__(
        self, problem: ChainProblem, k: int, control: Control, effort: Effort, *, distinct_shapes: bool
    ) -> None:
        limit = _limit(problem, problem.keys[0])
        assert limit is not None
        self._problem = problem
        self._k = k
        self._control = control
        self._effort = effort
        self._distinct_shapes = distinct_shapes
        self._key = problem.keys[0]
        self._of_mass = self._key.column == MASS
        self._unit = problem.chain.common_denominator if self._of_mass else 1
        self._pool = Pool(problem.chain, problem.keys, k, distinct_shapes=distinct_shapes)
        self._open = Fraction(self._key.sign * limit, self._unit)
        self._labels = self._pruned = 0

    @cached_property
    def _reach(self) -> Reach:
        chain, effort = self._problem.chain, self._effort
        known = ("reach", self._key, effort.most_sums, effort.most_remainders)
        if known not in chain.memory:
            most = {"most_sums": effort.most_sums, "most_remainders": effort.most_remainders}
            chain.memory[known] = Reach(chain, self._key, **most)
        found: Reach = chain.memory[known]
        return found

    def _tighten(self) -> None:
        """Leave out the sums next to the limit that no path has, whatever else limits it."""
        reach = self._reach
        near = reach.first(self._distance_of(self._open))
        for _ in range(self._effort.single):
            if near > reach.farthest or reach.occurs(near):
                break
            near = reach.first(near + 1)
        if near > reach.farthest:
            return
        limit, up = Fraction(reach.value(near), self._unit), self._key.sign > 0
        self._open = self._key.sign * limit
        self._problem = replace(self._problem, most_mass=limit) if up else replace(self._problem, least_mass=limit)

    def beats(self, value: Fraction) -> bool | None:
        """See `beats`."""
        if self._of_mass:
            self._tighten()
        if self._open <= value:
            return False
        next_below = Fraction(math.floor(value * self._unit), self._unit)  # sums are whole multiples of the unit
        better = self._solver(1, distinct_shapes=False).beats(next_below)
        if better is not None:
            return better
        solution = self.solve()
        if len(solution.masses):
            own = solution.masses[0] if self._of_mass else Fraction(solution.additive[0, self._key.column])
            if own * self._key.sign > value:
                return True
        return False if solution.complete or self._open <= value else None

    def solve(self) -> Solution:
        """See `best_paths`."""
        if self._of_mass:
            self._tighten()
        complete = self._at_once() or self._walk()
        chain, paths = self._problem.chain, self._pool.paths
        known = float(self._pool.additive[0, self._key.column] * self._key.sign) if len(paths) else -np.inf
        return Solution(
            integers=chain.path_integers(paths),
            additive=self._pool.additive,
            masses=[chain.path_mass(path) for path in paths.tolist()],
            complete=complete,
            bound=known if complete else max(known, float(self._open)),
            labels=self._labels,
            pruned=self._pruned,
        )

    def _solver(self, k: int, *, distinct_shapes: bool) -> Solver:
        """Return a solver of the whole problem that gives up after few partial paths.

        It refuses partial paths that no sum brings between the limit and what is still of interest. For sums other than
        NN-Mass, finding what can follow takes longer than most such solves.
        """
        within = Nearest(self._reach, self._reach.first(self._distance_of(self._open))) if self._of_mass else None
        few = self._effort.few
        return Solver(
            self._problem, k, self._control, distinct_shapes=distinct_shapes, within=within, most_examined=few
        )

    def _at_once(self) -> bool:
        """Solve the whole problem if that takes few partial paths; return whether it does."""
        solver = self._solver(self._k, distinct_shapes=self._distinct_shapes)
        solution = solver.solve()
        self._take(solver)
        if not solution.complete and np.isfinite(solution.bound) and not self._of_mass:
            self._open = min(self._open, Fraction(int(np.floor(solution.bound))))
        return solution.complete

    def _walk(self) -> bool:
        """Solve window after window; return whether the best k are known."""
        if self._control.expired():
            return False
        reach, solved, width, few = self._reach, 0, 0, self._effort.few
        near = start = reach.first(self._distance_of(self._open))
        other = _limit(self._problem, Key(self._key.column, -self._key.sign))
        last = reach.farthest if other is None else reach.distance(other)
        while near <= last and not self._known(near):
            self._open = Fraction(self._key.sign * reach.value(near), self._unit)
            far = min(near + width, last)
            solver = self._window(near, far, few)
            bound = self._key.sign * reach.value(far) / self._unit
            found = solver.collect(bound) if near < far else solver.solve().complete
            self._take(solver)
            if found:
                near, solved = reach.first(near + width + 1), solved + 1
                width = 2 * width or (near - start if solved >= self._effort.single else 0)
            elif not width or self._control.expired():
                return False
            else:
                width, few = width // 2, 2 * few + 1
        return True

    def _distance_of(self, value: Fraction) -> int:
        return self._reach.distance(int(self._key.sign * value * self._unit))

    def _known(self, near: int) -> bool:
        """Return whether k paths are nearer than what is still open."""
        if not self._pool.full:
            return False
        path = zip(self._reach.distances, self._pool.paths[-1].tolist(), strict=True)
        return sum(int(own[option]) for own, option in path) < near

    def _window(self, near: int, far: int, few: int) -> Solver:
        """Return the solver of the best k paths between two distances."""
        problem, column = self._problem, self._key.column
        ends = sorted(self._reach.value(distance) for distance in (near, far))
        if self._of_mass:
            least, most = (Fraction(end, self._unit) for end in ends)
            problem = replace(problem, least_mass=least, most_mass=most)
        else:
            caps = tuple(cap for cap in problem.caps if cap[0] != column)
            floors = tuple(floor for floor in problem.floors if floor[0] != column)
            problem = replace(problem, floors=(*floors, (column, ends[0])), caps=(*caps, (column, ends[1])))
        if near == far:
            problem = replace(problem, keys=problem.keys[1:])
        within = Window(self._reach, near, far, self._effort.most_endings)
        examined = None if near == far else few
        distinct = self._distinct_shapes
        return Solver(problem, self._k, self._control, distinct_shapes=distinct, within=within, most_examined=examined)

    def _take(self, solver: Solver) -> None:
        """Take over what a solver found."""
        if len(solver.pool):
            self._pool.add(solver.pool.paths, solver.pool.additive)
        self._labels += solver.labels
        self._pruned += solver.pruned
