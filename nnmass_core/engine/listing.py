"""Answer by a list of every path: where a chain has few paths, one table and one sort answer every question.

Nothing here uses bounds or prices, so that it is also a second way to each answer of the engine. A list that a time
limit ends knows nothing: it raises OutOfTime.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from nnmass_core.engine.chain import Chain, Floats, Ints
from nnmass_core.engine.control import Control, OutOfTime
from nnmass_core.engine.pareto import Front, Point
from nnmass_core.engine.problem import MASS, PEAK, RANKING, ChainProblem, Key
from nnmass_core.engine.solver import Solution

Columns = Sequence[Ints | Floats]

MOST_LISTED = 2_000_000
"""The most paths of a list: it takes some 100 bytes a path."""

ROWS = 1 << 17
"""The most paths that are extended between two looks at the time limit, unless one has more continuations."""


@dataclass(frozen=True, eq=False)
class _Step:
    """Prefixes of paths that end after one stage: the row of each one's parent, and the option that it adds."""

    parent: Ints
    option: Ints


def listable(chain: Chain) -> bool:
    """Return whether a list of the chain's paths has a usable size, and exact NN-Masses that fit 64 bits."""
    return chain.count() <= MOST_LISTED and chain.masses_fit


class Listing:
    """Every path of a chain, one row each, with its sums, its exact NN-Mass as an integer, its peak and its shape.

    Raises OutOfTime. The chain must be listable.
    """

    def __init__(self, chain: Chain, control: Control) -> None:
        assert listable(chain)
        self.chain = chain
        self._control = control
        self.denominator = chain.common_denominator
        self._steps: list[_Step] = []
        self.additive = np.zeros((1, len(chain.quantities)))
        self.masses, self.peaks, self.shapes = (np.zeros(1, np.int64) for _ in range(3))
        node = np.zeros(1, np.int64)
        for stage, able in enumerate(_able(chain)):
            node = self._extend(stage, node, able)

    def __len__(self) -> int:
        return len(self.masses)

    def _extend(self, stage: int, node: Ints, able: NDArray[np.bool_]) -> Ints:
        """Add an option of one stage to every row; return the node at which each then ends."""
        this = self.chain.stages[stage]
        options = np.flatnonzero(able)
        edges = np.searchsorted(this.source[options], np.arange(self.chain.nodes[stage] + 1))
        counts = np.diff(edges)[node]
        parts: list[_Step] = []
        for rows in np.array_split(np.arange(len(node)), max(1, -(-int(counts.sum()) // ROWS))):
            if self._control.expired():
                raise OutOfTime
            number = counts[rows]
            parent = np.repeat(rows, number)
            first = np.cumsum(number) - number
            place = np.arange(len(parent)) + np.repeat(edges[node[rows]] - first, number)
            parts.append(_Step(parent, options[place]))
        step = _Step(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("parent", "option")))
        parent, option = step.parent, step.option
        exact = this.mass_numerator * (self.denominator // this.mass_denominator)
        own = self.chain.shape_numbers[stage]
        self._steps.append(step)
        self.additive = self.additive[parent] + this.additive[option]
        self.masses = self.masses[parent] + exact[option]
        self.peaks = np.maximum(self.peaks[parent], this.peak[option])
        pair = self.shapes[parent] * (int(own.max(initial=0)) + 1) + own[option]
        self.shapes = np.unique(pair, return_inverse=True)[1].reshape(-1)
        self._control.report(0.5 * (stage + 1) / len(self.chain.stages), f"{len(self)} architectures listed")
        return this.target[option]

    def paths(self, rows: Ints) -> Ints:
        """Return paths by their rows, (n, stages)."""
        found = np.zeros((len(rows), len(self._steps)), np.int64)
        for stage in range(len(self._steps) - 1, -1, -1):
            found[:, stage] = self._steps[stage].option[rows]
            rows = self._steps[stage].parent[rows]
        return found

    def able(self, problem: ChainProblem) -> Ints:
        """Return the rows that keep every limit of a problem."""
        kept = np.ones(len(self), bool)
        for column, bound in problem.caps:
            kept &= self.additive[:, column] <= bound
        for column, bound in problem.floors:
            kept &= self.additive[:, column] >= bound
        if problem.peak is not None:
            kept &= self.peaks <= problem.peak
        if problem.shared is not None:
            kept &= problem.shared.admits(self.additive, self.peaks)
        if problem.least_mass is not None:
            kept &= self.masses >= _within_64_bits(math.ceil(problem.least_mass * self.denominator))
        if problem.most_mass is not None:
            kept &= self.masses <= _within_64_bits(math.floor(problem.most_mass * self.denominator))
        rows = np.flatnonzero(kept)
        if problem.excluded is None:
            return rows
        return np.delete(rows, problem.excluded.places(self.chain, self.additive[rows], lambda i: self.paths(rows[i])))

    def ascending(self, rows: Ints, key: Key) -> Ints | Floats:
        """Return numbers that order rows by a key, the best first."""
        return -key.sign * (self.masses[rows] if key.column == MASS else self.additive[rows, key.column])

    def first(self, rows: Ints, columns: Columns, k: int, *, distinct_shapes: bool) -> Ints:
        """Return the first k rows (of each shape one) by columns, each (rows,), smaller first, then by the integers."""
        if distinct_shapes:
            order, fresh = _runs([self.shapes[rows], *columns])
            leader = np.searchsorted(self.shapes[rows][order], self.shapes[rows][order])
            near = order[np.cumsum(fresh)[leader] == np.cumsum(fresh)]  # as good as the best of its shape
        elif len(rows) > k:
            near = np.flatnonzero(columns[0] <= np.partition(columns[0], k - 1)[k - 1])
        else:
            near = np.arange(len(rows))
        ties = self.chain.path_integers(self.paths(rows[near]))
        order = near[np.lexsort([*ties.T[::-1], *(column[near] for column in reversed(columns))])]
        if distinct_shapes:
            order = order[np.sort(np.unique(self.shapes[rows][order], return_index=True)[1])]
        found: Ints = rows[order[:k]]
        return found

    def front(self, rows: Ints, costs: Columns) -> Ints:
        """Return the rows of the front of NN-Mass against costs, each (rows,), ascending in them.

        Of rows with the same NN-Mass and costs it is the first in ranking order.
        """
        others = [self.ascending(rows, key) for key in RANKING[1:]]
        order, fresh = _runs([*costs, -self.masses[rows]])
        heads = order[fresh]
        run = np.cumsum(fresh) - 1
        chosen = np.zeros(len(heads), bool)
        chosen[_undominated([column[heads] for column in costs], self.masses[rows][heads])] = True
        near = order[chosen[run]]
        number = run[chosen[run]]
        ties = self.chain.path_integers(self.paths(rows[near]))
        ranked = np.lexsort([*ties.T[::-1], *(column[near] for column in reversed(others)), number])
        found: Ints = rows[near[ranked[np.unique(number[ranked], return_index=True)[1]]]]
        return found


def listed_best(listing: Listing, problem: ChainProblem, k: int, *, of_peak: bool, distinct_shapes: bool) -> Solution:
    """Return the best k paths, proved; with `of_peak` by peak, then by the keys; the bound is the negative peak."""
    rows = listing.able(problem)
    peaks: Columns = [listing.peaks[rows]] if of_peak else []
    columns = [*peaks, *(listing.ascending(rows, key) for key in problem.keys)]
    first = listing.first(rows, columns, k, distinct_shapes=distinct_shapes)
    paths, bound = listing.paths(first), -np.inf
    if len(first):
        key = problem.keys[0]
        value = listing.peaks[first[0]] * -1.0 if of_peak else listing.additive[first[0], key.column] * key.sign
        bound = float(value)
    return Solution(
        integers=problem.chain.path_integers(paths),
        additive=listing.additive[first],
        masses=[Fraction(mass, listing.denominator) for mass in listing.masses[first].tolist()],
        complete=True,
        bound=bound,
        labels=len(listing),
        pruned=0,
    )


def listed_beats(listing: Listing, problem: ChainProblem, value: Fraction, *, of_peak: bool) -> bool:
    """Return whether a path's first key (more is better), with `of_peak` its negative peak, exceeds this value."""
    rows, first = listing.able(problem), problem.keys[0]
    own = listing.peaks[rows] if of_peak else listing.ascending(rows, first)
    unit = listing.denominator if not of_peak and first.column == MASS else 1
    return bool(len(rows)) and Fraction(-int(own.min()), unit) > value


def listed_front(listing: Listing, problem: ChainProblem, costs: Sequence[str]) -> Front:
    """Return the whole front of NN-Mass against costs, additive quantities or the peak."""
    rows, quantities = listing.able(problem), problem.chain.quantities
    columns = [listing.peaks[rows] if c == PEAK else listing.additive[rows, quantities.index(c)] for c in costs]
    front = listing.front(rows, columns) if len(rows) else rows
    place = np.searchsorted(rows, front)
    found = np.column_stack([column[place] for column in columns]).astype(np.int64).tolist()
    integers = problem.chain.path_integers(listing.paths(front)).tolist()
    masses = [Fraction(mass, listing.denominator) for mass in listing.masses[front].tolist()]
    points = [Point(tuple(c), m, tuple(i)) for c, m, i in zip(found, masses, integers, strict=True)]
    return Front(points, None, len(listing), 0)


def _able(chain: Chain) -> list[NDArray[np.bool_]]:
    """Return which options of each stage lie on a path that reaches the end."""
    onward, able = np.ones(chain.nodes[-1], bool), []
    for stage, before in zip(reversed(chain.stages), reversed(chain.nodes[:-1]), strict=True):
        able.append(onward[stage.target])
        onward = np.zeros(before, bool)
        onward[stage.source[able[-1]]] = True
    return able[::-1]


def _within_64_bits(value: int) -> int:
    return max(-(2**62), min(2**62, value))


def _runs(columns: Columns) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the order of rows by columns, and which rows in it differ from the one before."""
    order = np.lexsort(columns[::-1])
    fresh = np.ones(len(order), bool)
    fresh[1:] = np.any([column[order[1:]] != column[order[:-1]] for column in columns], axis=0)
    return order, fresh


def _undominated(costs: Columns, masses: Ints) -> Ints:
    """Return which rows no other row equals or beats in NN-Mass and all costs; rows are unequal, ascending in costs."""
    if len(costs) == 1:
        before = np.concatenate([[-1], np.maximum.accumulate(masses)[:-1]])
        return np.flatnonzero(masses > before)
    kept: list[int] = []
    steps: list[tuple[float, int]] = []  # the most NN-Mass at each level of the second cost, both ascending
    for row, (cost, mass) in enumerate(zip(costs[1].tolist(), masses.tolist(), strict=True)):
        place = bisect_right(steps, (cost, math.inf))
        if place and steps[place - 1][1] >= mass:
            continue
        kept.append(row)
        end = place
        while end < len(steps) and steps[end][1] <= mass:
            end += 1
        start = place - 1 if place and steps[place - 1][0] == cost else place
        steps[start:end] = [(cost, mass)]
    return np.array(kept, np.int64)
