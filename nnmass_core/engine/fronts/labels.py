"""Fronts by label setting with dominance: every point of NN-Mass against costs, exact and complete.

Stage by stage, each node keeps the labels (what a partial path has reached) that no other label at it makes superfluous
(docs/theory.md (41), dominance.py): what continues the one continues the other, so that no point of the front is lost.
Options that join the same nodes are thinned in the same way first. A quantity under a limit is a figure of a label as
well, unless every path keeps the limit.

Of the paths of a point the first in ranking order is returned. A label that is superfluous only since it uses more of a
limit, or has a higher peak, may still come first by the ranking order in the end: it is rescued.

Method: label setting for multi-criteria paths (E. Q. V. Martins, *On a multicriteria shortest path problem*, European
Journal of Operational Research 16(2), 1984).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from nnmass_core.engine.chain import Ints, Stage
from nnmass_core.engine.control import Control, OutOfTime
from nnmass_core.engine.fronts.dominance import superior
from nnmass_core.engine.pareto import Front, Point, ends_of_front
from nnmass_core.engine.problem import MASS, PEAK, ChainProblem

ROWS = 1 << 19
"""The most labels that are created together, unless one label has more continuations."""

MOST_KEPT = 2_000_000
"""The most labels that the nodes before one stage keep: they take some 100 bytes each."""

TIES = ("macs", "params")
"""What orders the paths of one point before their integers do."""

NEVER = 2**60
"""More than any sum."""

WORD = 61
"""The bits of a word of a mass that takes two, the higher word first."""


class TooManyLabels(Exception):
    """The labels of one stage take more memory than is given to them."""


@dataclass(frozen=True, eq=False)
class Figures:
    """What options or labels add up to, one row each.

    mass: NN-Mass over the common denominator in one word or two, (n, words). sums: the costs that are sums, then what
    is limited, (n, sums). peak: (n,). ties: (n, 2). place: their order by integers, (n,).
    """

    mass: Ints
    sums: Ints
    peak: Ints
    ties: Ints
    place: Ints

    def __len__(self) -> int:
        return len(self.mass)

    def take(self, rows: Ints | slice) -> Figures:
        """Return some of the rows."""
        return Figures(self.mass[rows], self.sums[rows], self.peak[rows], self.ties[rows], self.place[rows])


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels, and how each was reached: a row of the labels one stage before, and an option of the stage between."""

    figures: Figures
    parent: Ints
    option: Ints

    def __len__(self) -> int:
        return len(self.parent)

    def take(self, rows: Ints) -> Labels:
        """Return some of the labels."""
        return Labels(self.figures.take(rows), self.parent[rows], self.option[rows])


def fits(problem: ChainProblem) -> bool:
    """Return whether labels can hold the exact NN-Masses of a problem: two words do, but where they are limited a sum.

    A limited NN-Mass is a sum like others, so that it must stay below NEVER.
    """
    return problem.chain.largest_mass < (2 ** (WORD + 62) if problem.most_mass is None else NEVER)


def front_of_sums(problem: ChainProblem, costs: tuple[str, ...], control: Control) -> Front:
    """Return the whole front of NN-Mass against costs that are sums; only its ends where the time runs out.

    Raises OutOfTime when not even these are found, and TooManyLabels.
    """
    ends = ends_of_front(problem, costs, control)
    if not ends.points:
        return ends
    try:
        front = whole_front(problem, costs, control)
    except OutOfTime:
        return ends
    return replace(front, labels=front.labels + ends.labels, pruned=front.pruned + ends.pruned)


def whole_front(problem: ChainProblem, costs: Sequence[str], control: Control) -> Front:
    """Return the whole front of NN-Mass against costs, sums or the peak, ascending in them.

    Raises OutOfTime, and TooManyLabels. The problem must fit.
    """
    return _LabelSetting(problem, costs, control).front()


class _LabelSetting:
    def __init__(self, problem: ChainProblem, costs: Sequence[str], control: Control) -> None:
        self._problem = problem
        self._chain = problem.chain
        self._costs = tuple(costs)
        self._control = control
        self._common = self._chain.common_denominator
        self._created = self._pruned = 0
        names = self._chain.quantities
        bounds: dict[tuple[int, int], int] = {(names.index(cost), 1): NEVER for cost in costs if cost != PEAK}
        self._own = len(bounds)
        for sign, limits in ((1, problem.caps), (-1, problem.floors)):
            for column, bound in limits:
                bounds[column, sign] = min(bounds.get((column, sign), NEVER), sign * bound)
        if problem.most_mass is not None:
            bounds[MASS, 1] = min(NEVER, math.floor(problem.most_mass * self._common))
        self._set_sums(bounds)

    def _set_sums(self, bounds: dict[tuple[int, int], int]) -> None:
        """Choose the figures, without the limits that every path keeps."""
        chain, peak = self._chain, self._problem.peak
        self._rows = [np.flatnonzero(s.peak <= (np.inf if peak is None else peak)) for s in chain.stages]
        columns = list(bounds)
        sums = [self._sums(stage, columns) for stage in chain.stages]
        most = -self._onward([-column for column in sums])[0][0]
        kept = [i for i, key in enumerate(columns) if i < self._own or most[i] > bounds[key]]
        self._bounds = np.array([bounds[columns[i]] for i in kept])
        self._options = [
            Figures(
                self._masses(stage),
                column[:, kept],
                stage.peak,
                np.column_stack([stage.additive[:, chain.quantities.index(name)] for name in TIES]).astype(np.int64),
                _places(stage.integers),
            )
            for stage, column in zip(chain.stages, sums, strict=True)
        ]
        self._least = self._onward([options.sums for options in self._options])
        none = np.zeros(1, np.int64)
        words = np.zeros((1, self._options[0].mass.shape[1]), np.int64)
        start = Figures(words, np.zeros((1, len(kept)), np.int64), none, np.zeros((1, len(TIES)), np.int64), none)
        self._first = Labels(start, none, none)
        self._of_peak = PEAK in self._costs
        self._rescues = self._of_peak or not self._in_order([columns[i] for i in kept[self._own :]])

    def _masses(self, stage: Stage) -> Ints:
        if self._chain.masses_fit:
            return (stage.mass_numerator * (self._common // stage.mass_denominator))[:, None]
        terms = zip(stage.mass_numerator.tolist(), stage.mass_denominator.tolist(), strict=True)
        whole = [numerator * (self._common // denominator) for numerator, denominator in terms]
        return np.array([divmod(mass, 2**WORD) for mass in whole], np.int64).reshape(-1, 2)

    def _in_order(self, limited: list[tuple[int, int]]) -> bool:
        """Return whether a path that uses less of what is limited, equal in all else, comes first by the ties."""
        caps = [self._chain.quantities[column] for column, sign in limited if sign > 0 and column != MASS]
        first = {*self._costs, *caps} >= {TIES[0]}
        return len(caps) == len(limited) and {*caps} <= {*TIES} and (first or not caps)

    def _sums(self, stage: Stage, columns: list[tuple[int, int]]) -> Ints:
        figures = [
            self._masses(stage)[:, 0] if column == MASS else stage.additive[:, column].astype(np.int64)
            for column, _ in columns
        ]
        signed = [sign * figure for figure, (_, sign) in zip(figures, columns, strict=True)]
        return np.column_stack([np.zeros((len(stage), 0), np.int64), *signed])

    def _onward(self, sums: list[Ints]) -> list[Ints]:
        """Return the least of each sum that follows each node, (nodes, sums); NEVER where no path leads on."""
        onward = [np.zeros((self._chain.nodes[-1], sums[0].shape[1]), np.int64)]
        stages = zip(self._chain.stages, self._rows, sums, self._chain.nodes[:-1], strict=True)
        for stage, rows, column, before in reversed(list(stages)):
            through = np.minimum(column[rows] + onward[-1][stage.target[rows]], NEVER)
            least = np.full((before, column.shape[1]), NEVER)
            np.minimum.at(least, stage.source[rows], through)
            onward.append(least)
        return onward[::-1]

    def front(self) -> Front:
        """Return the front."""
        labels, edges = self._first, np.array([0, 1])
        steps: list[Labels] = []
        for stage in range(len(self._chain.stages)):
            self._control.report(stage / len(self._chain.stages), f"{self._created} partial architectures examined")
            labels, edges = self._extend(stage, labels.figures, edges)
            steps.append(labels)
        return self._points(steps)

    def _extend(self, stage: int, before: Figures, edges: Ints) -> tuple[Labels, Ints]:
        """Return the labels one stage later, sorted by node, and where the labels of each node start and end."""
        groups = self._groups(stage)
        nodes = []
        for target in range(self._chain.nodes[stage + 1]):
            nodes.append(self._node(stage, before, edges, groups.get(target, [])))
            if sum(map(len, nodes)) > MOST_KEPT:
                raise TooManyLabels
        labels = _joined(nodes)
        figures = labels.figures
        place = np.unique(figures.place, return_inverse=True)[1].reshape(-1)
        figures = Figures(figures.mass, figures.sums, figures.peak, figures.ties, place)
        return Labels(figures, labels.parent, labels.option), np.cumsum([0, *map(len, nodes)])

    def _groups(self, stage: int) -> dict[int, list[tuple[int, Ints]]]:
        """Return, by target node, the source nodes with their options that no other option makes superfluous."""
        this, rows = self._chain.stages[stage], self._rows[stage]
        fresh = np.ones(len(rows), bool)
        source, target = this.source[rows], this.target[rows]
        fresh[1:] = (source[1:] != source[:-1]) | (target[1:] != target[:-1])
        found: dict[int, list[tuple[int, Ints]]] = {}
        for part in np.split(rows, np.flatnonzero(fresh)[1:]) if len(rows) else []:
            kept = part[self._kept(self._options[stage].take(part))]
            self._pruned += len(part) - len(kept)
            found.setdefault(int(this.target[part[0]]), []).append((int(this.source[part[0]]), kept))
        return found

    def _node(self, stage: int, before: Figures, edges: Ints, groups: list[tuple[int, Ints]]) -> Labels:
        """Return the labels of one node."""
        kept, waiting, many = self._first.take(np.zeros(0, np.int64)), list[Labels](), 0
        for new in self._continued(stage, before, edges, groups):
            waiting.append(new)
            many += len(new)
            if many > max(ROWS, len(kept)):
                kept, waiting, many = self._thinned([kept, *waiting]), [], 0
        return self._thinned([kept, *waiting]) if waiting else kept

    def _continued(self, stage: int, before: Figures, edges: Ints, groups: list[tuple[int, Ints]]) -> Iterator[Labels]:
        this, options = self._chain.stages[stage], self._options[stage]
        width = int(options.place.max(initial=0)) + 1
        for source, rows in groups:
            to_come = self._least[stage + 1][this.target[rows[0]]]
            own = options.take(rows)
            step = max(1, ROWS // len(rows))
            for low in range(int(edges[source]), int(edges[source + 1]), step):
                if self._control.expired():
                    raise OutOfTime
                parents = np.arange(low, min(low + step, int(edges[source + 1])))
                sums = before.sums[parents][:, None] + own.sums
                fits = np.all(sums + to_come <= self._bounds, axis=2)
                parent, option = np.nonzero(fits)
                self._created += len(parent)
                self._pruned += fits.size - len(parent)
                parent = parents[parent]
                yield Labels(
                    Figures(
                        _carried(before.mass[parent] + own.mass[option]),
                        sums[fits],
                        np.maximum(before.peak[parent], own.peak[option]),
                        before.ties[parent] + own.ties[option],
                        before.place[parent] * width + own.place[option],
                    ),
                    parent,
                    rows[option],
                )

    def _thinned(self, parts: list[Labels]) -> Labels:
        labels = _joined(parts)
        kept = labels.take(self._kept(labels.figures))
        self._pruned += len(labels) - len(kept)
        return kept

    def _kept(self, figures: Figures) -> Ints:
        """Return the rows that are not superfluous."""
        ties = np.column_stack([figures.ties, figures.place])
        limited = np.column_stack([figures.sums, figures.peak]) if self._of_peak else figures.sums
        mass = _comparable(figures.mass)
        kept = superior(mass, limited, ties)
        if not self._rescues or len(kept) == len(figures):
            return kept
        same = _numbers(np.column_stack([mass, figures.sums[:, : self._own]]))
        order = np.lexsort([*ties.T[::-1]])
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        last = np.full(len(order), -1)
        np.maximum.at(last, same[kept], rank[kept])
        others = np.setdiff1d(np.flatnonzero(rank < last[same]), kept)
        others = others[np.argsort(rank[others])]
        twins = np.concatenate([kept, others])
        return twins[np.unique(_numbers(np.column_stack([same, limited])[twins]), return_index=True)[1]]

    def _points(self, steps: list[Labels]) -> Front:
        last = steps[-1].figures
        masses = [Fraction(_whole(words), self._common) for words in last.mass.tolist()]
        least = self._problem.least_mass
        rows = np.array([row for row, mass in enumerate(masses) if least is None or mass >= least], np.int64)
        sums = iter(last.sums[:, : self._own].T)
        costs = np.column_stack([last.peak if cost == PEAK else next(sums) for cost in self._costs])
        rows = rows[superior(_comparable(last.mass)[rows], costs[rows], np.column_stack([last.ties, last.place])[rows])]
        rows = rows[np.lexsort(costs[rows].T[::-1])]
        paths, at = np.zeros((len(rows), len(steps)), np.int64), rows
        for stage in range(len(steps) - 1, -1, -1):
            paths[:, stage] = steps[stage].option[at]
            at = steps[stage].parent[at]
        integers = self._chain.path_integers(paths).tolist()
        found = zip(rows.tolist(), costs[rows].tolist(), integers, strict=True)
        points = [Point(tuple(own), masses[row], tuple(path)) for row, own, path in found]
        return Front(points, None, self._created, self._pruned)


def _carried(mass: Ints) -> Ints:
    """Return masses with what the lower word has too much in the higher one."""
    if mass.shape[1] > 1:
        mass[:, 0] += mass[:, 1] >> WORD
        mass[:, 1] &= 2**WORD - 1
    return mass


def _comparable(mass: Ints) -> Ints:
    """Return integers in the order of masses."""
    return mass[:, 0] if mass.shape[1] == 1 else _numbers(mass)


def _whole(words: list[int]) -> int:
    return words[0] if len(words) == 1 else words[0] * 2**WORD + words[1]


def _places(integers: Ints) -> Ints:
    """Return the order of rows by their integers; 0 for all where there are none."""
    if not integers.shape[1]:
        return np.zeros(len(integers), np.int64)
    return _numbers(integers)


def _numbers(rows: Ints) -> Ints:
    """Return each row's number among all different rows in ascending order."""
    order = np.lexsort(rows.T[::-1])
    fresh = np.zeros(len(rows), np.int64)
    fresh[1:] = np.any(rows[order[1:]] != rows[order[:-1]], axis=1)
    numbers = np.empty(len(rows), np.int64)
    numbers[order] = np.cumsum(fresh)
    return numbers


def _joined(parts: Sequence[Labels]) -> Labels:
    figures = [part.figures for part in parts]
    names = ("mass", "sums", "peak", "ties", "place")
    columns = (np.concatenate([getattr(one, name) for one in figures]) for name in names)
    parent, option = (np.concatenate([getattr(part, name) for part in parts]) for name in ("parent", "option"))
    return Labels(Figures(*columns), parent, option)
