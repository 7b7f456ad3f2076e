"""Fronts by label setting with dominance: every point of NN-Mass against costs, exact and complete.

Stage by stage, each node keeps the labels (what a partial path has reached) that no other label at it makes superfluous
(docs/theory.md (41), dominance.py): what continues the one continues the other, so that no point of the front is lost.
Options that join the same nodes are thinned in the same way first. A quantity under a limit is a figure of a label as
well, unless every path keeps the limit.

A front in one sum, with or without the peak, also drops labels that cannot become a point any more, once there are many
(ceilings.py).

Paths grow from the output to the input. A network is widest at its output, where options differ the most in their
costs, so that labels which start there meet the limits sooner: half as many are created as from the input.

Of the paths of a point the first in ranking order is returned. A label that is superfluous only since it uses more of a
limit, or has a higher peak, may still come first by the ranking order in the end: it is rescued.

Method: label setting for multi-criteria paths (E. Q. V. Martins, *On a multicriteria shortest path problem*, European
Journal of Operational Research 16(2), 1984).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import numpy as np

from nnmass_core.engine.chain import Floats, Groups, Ints, Stage, group, runs
from nnmass_core.engine.control import Control, OutOfTime
from nnmass_core.engine.fronts.ceilings import CELLS, LEVELS, Added, Ceilings, Known, Lines
from nnmass_core.engine.fronts.dominance import Grid, superior
from nnmass_core.engine.pareto import Front, Point
from nnmass_core.engine.problem import MASS, PEAK, RANKING, ChainProblem, Key
from nnmass_core.engine.solver import Solver

ROWS = 1 << 19
"""The most labels that are created together, unless one label has more continuations."""

PARTS = 8
"""Labels of one node are thinned this many times as often where those that stay then drop most others at once."""

MOST_KEPT = 2_000_000
"""The most labels that the nodes before one stage keep: they take some 100 bytes each."""

TIES = ("macs", "params")
"""What orders the paths of one point before their integers do."""

NEVER = 2**60
"""More than any sum."""

MOST_PLACES = 2**60
"""The most places that labels are numbered with; beyond it the numbers without a label are dropped."""

WORD = 61
"""The bits of a word of a mass that takes several, the higher words first."""


MANY = 1 << 18
"""The number of labels, before and after a stage, from which they are bounded: fewer are set sooner than that."""

BEAM = 24
"""The number of labels before each stage that look for points to compare bounds with, for each level and cell."""


class TooManyLabels(Exception):
    """The labels of one stage take more memory than is given to them."""


@dataclass(frozen=True, eq=False)
class Figures:
    """What options or labels add up to, one row each.

    mass: NN-Mass over the common denominator in one word or more, (n, words). sums: the costs that are sums, then what
    is limited, (n, sums). peak: (n, 1) where it is a cost, else (n, 0).
    """

    mass: Ints
    sums: Ints
    peak: Ints

    def __len__(self) -> int:
        return len(self.mass)

    def take(self, rows: Ints | slice) -> Figures:
        """Return some of the rows."""
        return Figures(self.mass[rows], self.sums[rows], self.peak[rows])

    def joined(self, other: Figures) -> Figures:
        """Return what rows and those of other figures add up to, pair by pair."""
        return Figures(_carried(self.mass + other.mass), self.sums + other.sums, np.maximum(self.peak, other.peak))


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels, and how each was reached: a row of the labels one stage before, and an option of the stage between.

    Args:
        figures: What they have reached.
        parent: The row of the label that each continues, (n,).
        option: The row of the option that each adds, (n,).
    """

    figures: Figures
    parent: Ints
    option: Ints

    def __len__(self) -> int:
        return len(self.parent)

    def take(self, rows: Ints) -> Labels:
        """Return some of the labels."""
        return Labels(self.figures.take(rows), self.parent[rows], self.option[rows])


@dataclass(frozen=True, eq=False)
class Joint:
    """The nodes that each option of a stage joins, (n,), sorted by (source, target)."""

    source: Ints
    target: Ints

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def groups(self) -> Groups:
        """The runs of options that share source and target."""
        return group(self.source, self.target)


def fits(problem: ChainProblem) -> bool:
    """Return whether labels can hold the exact NN-Masses of a problem: any in words, but where they are limited a sum.

    A limited NN-Mass is a sum like others, so that it must stay below NEVER.
    """
    return problem.most_mass is None or problem.chain.largest_mass < NEVER


def whole_front(
    problem: ChainProblem, costs: Sequence[str], control: Control, ends: Sequence[Point] = (), many: int = MANY
) -> Front:
    """Return the whole front of NN-Mass against costs, sums or the peak, ascending in them.

    Raises OutOfTime, and TooManyLabels. The problem must fit.

    Args:
        problem: What to find the front of.
        costs: One or two different costs.
        control: Ends the search.
        ends: Points of the front, those of the most NN-Mass and of the least of each cost among them; without any,
            labels are not bounded.
        many: The number of labels from which they are bounded.
    """
    return _LabelSetting(problem, costs, control, ends, many).front()


class _LabelSetting:
    def __init__(
        self, problem: ChainProblem, costs: Sequence[str], control: Control, ends: Sequence[Point], many: int
    ) -> None:
        self._problem = problem
        self._ends = ends
        self._many = many
        self._ceilings: Ceilings | None = None
        self._chain = problem.chain
        self._costs = tuple(costs)
        self._control = control
        self._common = self._chain.common_denominator
        self._created = self._pruned = 0
        peak = self._problem.peak
        rows = [_from_the_output(stage, peak) for stage in reversed(self._chain.stages)]
        turned = [_turned(stage.take(own)) for stage, own in zip(reversed(self._chain.stages), rows, strict=True)]
        self._rows = [own[:, None] for own in rows]
        self._stages = [Joint(stage.source, stage.target) for stage in turned]
        self._nodes = self._chain.nodes[::-1]
        names = self._chain.quantities
        bounds: dict[tuple[int, int], int] = {(names.index(cost), 1): NEVER for cost in costs if cost != PEAK}
        self._own = len(bounds)
        for sign, limits in ((1, problem.caps), (-1, problem.floors)):
            for column, bound in limits:
                bounds[column, sign] = min(bounds.get((column, sign), NEVER), sign * bound)
        if problem.most_mass is not None:
            bounds[MASS, 1] = min(NEVER, math.floor(problem.most_mass * self._common))
        self._set_sums(turned, bounds)
        self._join_stages()
        self._least = self._onward([options.sums for options in self._options])
        most = self._onward([-options.sums[:, self._own :] for options in self._options])
        self._enough = [self._bounds[self._own :] + after for after in most]

    def _set_sums(self, stages: list[Stage], bounds: dict[tuple[int, int], int]) -> None:
        """Choose the figures, without the limits that every path keeps."""
        quantities = self._chain.quantities
        columns = list(bounds)
        sums = [self._sums(stage, columns) for stage in stages]
        most = -self._onward([-column for column in sums])[0][0]
        kept = [i for i, key in enumerate(columns) if i < self._own or most[i] > bounds[key]]
        self._bounds = np.array([bounds[columns[i]] for i in kept])
        self._keys = [Key(*columns[i]) for i in kept]
        self._of_peak = PEAK in self._costs
        self._options = [
            Figures(self._masses(stage), column[:, kept], stage.peak[:, None][:, : int(self._of_peak)])
            for stage, column in zip(stages, sums, strict=True)
        ]
        places = [quantities.index(name) for name in TIES]
        self._ties = [
            np.column_stack([stage.additive[:, places].astype(np.int64), _places(stage.integers)]) for stage in stages
        ]
        self._rescues = self._of_peak or not self._in_order([columns[i] for i in kept[self._own :]])

    def _join_stages(self) -> None:
        """Join each stage with the next one where from every node between them at most one option leads on.

        Labels of different nodes that have nothing left to choose are then compared with each other.
        """
        for stage in range(len(self._stages) - 2, -1, -1):
            following = np.bincount(self._stages[stage + 1].source, minlength=self._nodes[stage + 1])
            if following.max(initial=0) > 1:
                continue
            this, after = self._stages[stage : stage + 2]
            own = np.flatnonzero(following[this.target])
            then = np.searchsorted(after.source, this.target[own])
            order = np.lexsort([after.target[then], this.source[own]])
            own, then = own[order], then[order]
            ties, later = self._ties[stage][own], self._ties[stage + 1][then]
            place = _numbers(np.column_stack([later[:, -1], ties[:, -1]]))
            both = slice(stage, stage + 2)
            self._stages[both] = [Joint(this.source[own], after.target[then])]
            self._options[both] = [self._options[stage].take(own).joined(self._options[stage + 1].take(then))]
            self._ties[both] = [np.column_stack([ties[:, :-1] + later[:, :-1], place])]
            self._rows[both] = [np.hstack([self._rows[stage][own], self._rows[stage + 1][then]])]
            self._nodes = (*self._nodes[: stage + 1], *self._nodes[stage + 2 :])

    def _masses(self, stage: Stage) -> Ints:
        if self._chain.masses_fit:
            return (stage.mass_numerator * (self._common // stage.mass_denominator))[:, None]
        terms = zip(stage.mass_numerator.tolist(), stage.mass_denominator.tolist(), strict=True)
        whole = [numerator * (self._common // denominator) for numerator, denominator in terms]
        shifts = range(0, self._chain.largest_mass.bit_length(), WORD)[::-1]
        return np.array([[mass >> shift & 2**WORD - 1 for shift in shifts] for mass in whole], np.int64).reshape(
            -1, len(shifts)
        )

    def _in_order(self, limited: list[tuple[int, int]]) -> bool:
        """Return whether a path that uses less of what is limited, equal in all else, comes first by the ties.

        With several limits one of them may count as equal although it is not, where both paths will keep it.
        """
        caps = [self._chain.quantities[column] for column, sign in limited if sign > 0 and column != MASS]
        first = {*self._costs, *caps} >= {TIES[0]}
        return len(caps) == len(limited) < 2 and {*caps} <= {*TIES} and (first or not caps)

    def _sums(self, stage: Stage, columns: list[tuple[int, int]]) -> Ints:
        figures = [
            self._masses(stage)[:, 0] if column == MASS else stage.additive[:, column].astype(np.int64)
            for column, _ in columns
        ]
        signed = [sign * figure for figure, (_, sign) in zip(figures, columns, strict=True)]
        return np.column_stack([np.zeros((len(stage), 0), np.int64), *signed])

    def _onward(self, sums: list[Ints]) -> list[Ints]:
        """Return the least of each sum that follows each node, (nodes, sums); NEVER where no path leads on."""
        onward = [np.zeros((self._nodes[-1], sums[0].shape[1]), np.int64)]
        for stage, column, before in reversed(list(zip(self._stages, sums, self._nodes[:-1], strict=True))):
            through = np.minimum(column + onward[-1][stage.target], NEVER)
            least = np.full((before, column.shape[1]), NEVER)
            np.minimum.at(least, stage.source, through)
            onward.append(least)
        return onward[::-1]

    def front(self) -> Front:
        """Return the front."""
        return self._points(*self._grown(self._hopeful))

    def _grown(self, kept: Callable[[int, Labels, Ints, int], Ints]) -> tuple[list[Labels], Ints]:
        """Return the labels after each stage, and what orders the last ones.

        kept: Returns which labels before a stage to go on with, ascending, from the stage, the labels, the node of each
        and how many others they would become.
        """
        none, words = np.zeros(1, np.int64), self._options[0].mass.shape[1]
        figures = Figures(*(np.zeros((1, n), np.int64) for n in (words, len(self._bounds), int(self._of_peak))))
        labels, ties, edges = Labels(figures, none, none), np.zeros((1, len(TIES) + 1), np.int64), np.array([0, 1])
        steps: list[Labels] = []
        for stage, this in enumerate(self._stages):
            self._control.report(stage / len(self._stages), f"{self._created} partial architectures examined")
            node = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
            rows = kept(stage, labels, node, int(np.bincount(this.source, minlength=len(edges) - 1)[node].sum()))
            if len(rows) < len(labels):
                self._pruned += len(labels) - len(rows)
                labels, ties, edges = labels.take(rows), ties[rows], np.searchsorted(node[rows], np.arange(len(edges)))
            if steps:
                steps[-1] = labels
            own = self._ties[stage]
            if int(own[:, -1].max(initial=0) + 1) * int(ties[:, -1].max(initial=0) + 1) > MOST_PLACES:
                ties[:, -1] = np.unique(ties[:, -1], return_inverse=True)[1]
            step = _Step(this, self._options[stage], labels.figures, edges, self._enough[stage + 1], ties, own)
            labels, edges = self._extend(step, self._least[stage + 1])
            ties = step.ties(labels)
            steps.append(labels)
        return steps, ties

    def _hopeful(self, stage: int, labels: Labels, node: Ints, many: int) -> Ints:
        """Return the labels that may still become a point; all where there are few, or no bounds."""
        if self._ceilings is None:
            if not self._ends or self._own != 1 or min(self._created, many) < self._many:
                return np.arange(len(labels))
            self._ceilings = self._all_ceilings()
        return self._ceilings.hopeful(stage, node, *self._as_reached(labels.figures))

    def _as_reached(self, figures: Figures) -> tuple[Floats, Floats, Ints]:
        """Return NN-Masses and sums in doubles, and peaks, 0 where these are no cost."""
        words = figures.mass.astype(np.float64)
        mass = words @ 2.0 ** (WORD * np.arange(words.shape[1])[::-1])
        peak = figures.peak[:, 0] if self._of_peak else np.zeros(len(figures), np.int64)
        return mass / self._common, figures.sums.astype(np.float64), peak

    def _all_ceilings(self) -> Ceilings:
        """Return the bounds on all labels, from points that a search of few labels finds (a beam search)."""
        parts = zip(self._stages, map(self._as_reached, self._options), strict=True)
        stages = [Added(*reached, stage.source, stage.target) for stage, reached in parts]
        known = self._known()
        lines = self._lines(known, float(sum(this.sums[:, 0].max(initial=0.0) for this in stages)))
        least, top = int(known.peak.min()), int(known.peak[np.argmax(known.mass)])
        peaks = np.unique(np.concatenate([this.peak for this in stages]))
        first = Ceilings(stages, self._nodes, lines, known, _spread(peaks[(peaks >= least) & (peaks <= top)]))

        def promising(stage: int, labels: Labels, node: Ints, many: int) -> Ints:
            return first.best(stage, node, *self._as_reached(labels.figures), BEAM)

        mass, sums, peak = self._as_reached(self._grown(promising)[0][-1].figures)
        known = known.joined(Known(mass, sums[:, 0].astype(np.int64), peak))
        return Ceilings(stages, self._nodes, lines, known, _spread(np.unique(known.peak)))

    def _known(self) -> Known:
        """Return the ends of the front."""
        place = next(i for i, cost in enumerate(self._costs) if cost != PEAK)
        at = self._costs.index(PEAK) if self._of_peak else None
        return Known(
            np.array([float(point.mass) for point in self._ends]),
            np.array([point.costs[place] for point in self._ends], np.int64),
            np.array([0 if at is None else point.costs[at] for point in self._ends], np.int64),
        )

    def _lines(self, known: Known, most: float) -> Lines:
        """Return the prices under caps on the front's own cost. most: no path costs more."""
        most = min(most, float(self._bounds[0])) if self._of_peak else float(known.cost.max())
        edges = np.linspace(float(known.cost.min()), most, CELLS + 1)
        problem, column = self._problem, self._keys[0].column
        found = []
        for cap in np.ceil((edges[1:] + edges[:-1]) / 2).astype(np.int64).tolist():
            capped = replace(problem, keys=RANKING, least_mass=None, most_mass=None).capped(column, cap)
            prices = Solver(capped, 1, self._control).multipliers() or {}
            found.append([prices.get(key, 0.0) for key in self._keys])
        limits = np.append(0.0, self._bounds[1:].astype(np.float64))
        return Lines(np.array(found), edges, limits)

    def _extend(self, step: _Step, least: Ints) -> tuple[Labels, Ints]:
        """Return the labels one stage later, sorted by node, and where the labels of each node start and end.

        Nodes with few labels are worked on together, as many as make ROWS labels at most: each by itself takes longer.
        """
        rows = self._useful(step)
        rows = rows[np.argsort(step.stage.target[rows], kind="stable")]
        many = np.bincount(step.stage.target[rows], weights=step.counts[step.stage.source[rows]], minlength=len(least))
        edges = np.searchsorted(step.stage.target[rows], np.arange(len(least) + 1))
        upto = np.concatenate([[0], np.cumsum(many)])
        nodes, start = list[Labels](), 0
        while start < len(least):
            end = max(start + 1, int(np.searchsorted(upto, upto[start] + ROWS, side="right")) - 1)
            own = rows[edges[start] : edges[end]]
            nodes.append(self._together(step, own, least) if end > start + 1 else self._node(step, own, least[start]))
            if sum(map(len, nodes)) > MOST_KEPT:
                raise TooManyLabels
            start = end
        labels = _joined(nodes)
        return labels, np.searchsorted(step.stage.target[labels.option], np.arange(len(least) + 1))

    def _useful(self, step: _Step) -> Ints:
        """Return the options that continue a label, without those that another of the same two nodes makes superfluous.

        They are in the order of the stage.
        """
        groups = step.stage.groups
        number = np.repeat(np.arange(len(groups.starts)), np.diff(groups.starts, append=len(step.stage)))
        rows = np.flatnonzero(step.counts[step.stage.source] > 0)
        alone = Labels(step.options.take(rows), np.zeros(len(rows), np.int64), rows)
        kept = np.sort(rows[self._kept(alone, step, number[rows], alone.figures.sums)])
        self._pruned += len(rows) - len(kept)
        return kept

    def _together(self, step: _Step, rows: Ints, least: Ints) -> Labels:
        """Return the labels of several nodes, the ends of these options, sorted by node."""
        if self._control.expired():
            raise OutOfTime
        source, target = step.stage.source[rows], step.stage.target[rows]
        place, parent = runs(step.edges[source], step.edges[source + 1])
        sums = step.before.sums[parent] + step.options.sums[rows[place]]
        fits = np.flatnonzero(np.all(sums <= (self._bounds - least)[target[place]], axis=1))
        self._created += len(fits)
        self._pruned += len(place) - len(fits)
        parent, option = parent[fits], rows[place[fits]]
        figures = step.reached(parent, option, sums[fits])
        labels = self._thinned([Labels(figures, parent, option)], step)
        return labels.take(np.argsort(step.stage.target[labels.option], kind="stable"))

    def _node(self, step: _Step, rows: Ints, least: Ints) -> Labels:
        """Return the labels of one node, the end of these options."""
        nothing = np.zeros(0, np.int64)
        kept, waiting, many = Labels(step.options.take(nothing), nothing, nothing), list[Labels](), 0
        grid, gridded = None, self._has_grid(step, rows)
        for created in self._continued(step, rows, least):
            new = created if grid is None else self._not_beaten(created, grid)
            waiting.append(new)
            many += len(new)
            if many > max(ROWS // PARTS if gridded else ROWS, len(kept)):
                kept, waiting, many = self._thinned([kept, *waiting], step), [], 0
                grid = Grid(kept.figures.mass[:, 0], self._costs_of(kept)) if gridded else None
        return self._thinned([kept, *waiting], step) if waiting else kept

    def _continued(self, step: _Step, options: Ints, least: Ints) -> Iterator[Labels]:
        before, edges = step.before, step.edges
        starts = group(step.stage.source[options], step.stage.target[options]).starts
        for rows in np.split(options, starts[1:]) if len(options) else []:
            source = int(step.stage.source[rows[0]])
            own = step.options.take(rows)
            size = max(1, ROWS // len(rows))
            for low in range(int(edges[source]), int(edges[source + 1]), size):
                if self._control.expired():
                    raise OutOfTime
                these = before.take(slice(low, min(low + size, int(edges[source + 1]))))
                sums = these.sums[:, None] + own.sums
                fits = np.all(sums <= self._bounds - least, axis=2)
                parent, option = np.nonzero(fits)
                self._created += len(parent)
                self._pruned += fits.size - len(parent)
                figures = step.reached(parent + low, rows[option], sums[fits])
                yield Labels(figures, parent + low, rows[option])

    def _has_grid(self, step: _Step, rows: Ints) -> bool:
        """Return whether labels of the node where these options end differ in two costs alone, and a word of mass."""
        target = step.stage.target[rows[:1]]
        kept = np.all(step.enough[target] >= self._bounds[self._own :])
        return bool(kept) and len(self._costs) == 2 and step.before.mass.shape[1] == 1

    def _costs_of(self, labels: Labels) -> Ints:
        return np.hstack([labels.figures.sums[:, : self._own], labels.figures.peak])

    def _not_beaten(self, labels: Labels, grid: Grid) -> Labels:
        beaten = grid.beats(labels.figures.mass[:, 0], self._costs_of(labels))
        self._pruned += int(beaten.sum())
        return labels.take(np.flatnonzero(~beaten))

    def _thinned(self, parts: list[Labels], step: _Step) -> Labels:
        labels = _joined(parts)
        target = step.stage.target[labels.option]
        sums = labels.figures.sums
        if sums.shape[1] > self._own:
            limited = np.maximum(sums[:, self._own :], step.enough[target])
            sums = np.hstack([sums[:, : self._own], limited])
        kept = labels.take(self._kept(labels, step, target, sums))
        self._pruned += len(labels) - len(kept)
        return kept

    def _kept(self, labels: Labels, step: _Step, place: Ints, sums: Ints) -> Ints:
        """Return the rows that are not superfluous; only rows of equal place, (n,), are compared with each other.

        sums: what is compared in place of the labels' sums, (n, sums).
        """
        figures = labels.figures
        limited = np.hstack([sums, figures.peak])
        different = np.any(limited != limited[:1], axis=0)
        different[:1] = True  # one is enough where all are equal
        mass, limited = _apart(place, _comparable(figures.mass), limited[:, different])
        kept = superior(mass, limited, lambda rows: step.ties(labels.take(rows)))
        if not self._rescues or len(kept) == len(figures):
            return kept
        same = _numbers(np.column_stack([mass, figures.sums[:, : self._own]]))
        doubtful = np.zeros(len(figures), bool)
        doubtful[kept] = True
        doubtful = np.isin(same, same[kept]) & np.isin(same, same[~doubtful])
        rows = np.flatnonzero(doubtful)
        order = np.lexsort([*step.ties(labels.take(rows)).T[::-1]])
        rank = np.full(len(figures), -1)
        rank[rows[order]] = np.arange(len(order))
        last = np.full(len(figures), -1)
        np.maximum.at(last, same[kept], rank[kept])
        others = np.setdiff1d(np.flatnonzero(doubtful & (rank < last[same])), kept)
        others = others[np.argsort(rank[others])]
        twins = np.concatenate([kept, others])
        return twins[np.unique(_numbers(np.column_stack([same, limited])[twins]), return_index=True)[1]]

    def _points(self, steps: list[Labels], ties: Ints) -> Front:
        last = steps[-1].figures
        masses = [_whole(words) for words in last.mass.tolist()]
        least = math.ceil((self._problem.least_mass or 0) * self._common)
        rows = np.array([row for row, mass in enumerate(masses) if mass >= least], np.int64)
        sums = iter(last.sums[:, : self._own].T)
        costs = np.column_stack([last.peak[:, 0] if cost == PEAK else next(sums) for cost in self._costs])
        rows = rows[superior(_comparable(last.mass)[rows], costs[rows], lambda some: ties[rows[some]])]
        rows = rows[np.lexsort(costs[rows].T[::-1])]
        parts, at = list[Ints](), rows
        for own, labels in zip(reversed(self._rows), reversed(steps), strict=True):
            parts.append(own[labels.option[at], ::-1])
            at = labels.parent[at]
        paths = np.hstack(parts)
        found = zip(*(each.tolist() for each in (costs[rows], self._chain.path_integers(paths), paths)), strict=True)
        exact = [Fraction(masses[row], self._common) for row in rows.tolist()]
        points = [Point(tuple(own), mass, *map(tuple, rest)) for mass, (own, *rest) in zip(exact, found, strict=True)]
        return Front(points, None, self._created, self._pruned)


@dataclass(frozen=True, eq=False)
class _Step:
    """One stage: its options, the labels before it, sorted by node, and what orders equals among both.

    Args:
        stage: The options, from the output's side to the input's.
        options: What they add.
        before: What the labels before the stage have reached.
        edges: Where the labels of each node before the stage start and end.
        enough: What a label at each node after the stage may use of each limit, whatever follows, (nodes, limits).
        earlier, own: Columns that order those labels and the options: sums of TIES, and the place by integers.
    """

    stage: Joint
    options: Figures
    before: Figures
    edges: Ints
    enough: Ints
    earlier: Ints
    own: Ints

    @cached_property
    def counts(self) -> Ints:
        """The number of labels of each node before the stage."""
        return np.diff(self.edges)

    def reached(self, parent: Ints, option: Ints, sums: Ints) -> Figures:
        """Return what labels reach that continue others, (n,), by options, (n,). sums: theirs, (n, sums)."""
        mass = _carried(self.before.mass[parent] + self.options.mass[option])
        return Figures(mass, sums, np.maximum(self.before.peak[parent], self.options.peak[option]))

    def ties(self, labels: Labels) -> Ints:
        """Return columns that order labels after the stage, which agree in all else, by the ranking order, (n, 3).

        The integers of an option come before those of the options that follow it to the output.
        """
        earlier, own = self.earlier[labels.parent], self.own[labels.option]
        place = own[:, -1] * (int(self.earlier[:, -1].max(initial=0)) + 1) + earlier[:, -1]
        return np.column_stack([earlier[:, :-1] + own[:, :-1], place])


def _spread(peaks: Ints) -> Ints:
    """Return at most LEVELS of some peaks, the least among them."""
    return peaks[np.unique(np.linspace(0, len(peaks) - 1, min(LEVELS, len(peaks))).astype(np.int64))]


def _from_the_output(stage: Stage, peak: int | None) -> Ints:
    """Return the rows of a stage's options within a peak, sorted by target, then by source."""
    rows = np.flatnonzero(stage.peak <= (np.inf if peak is None else peak))
    order: Ints = rows[np.lexsort([stage.source[rows], stage.target[rows]])]
    return order


def _turned(stage: Stage) -> Stage:
    """Return a stage whose options lead from their targets to their sources."""
    return replace(stage, source=stage.target, target=stage.source)


def _carried(mass: Ints) -> Ints:
    """Return masses with what each lower word has too much in the one above."""
    for word in range(mass.shape[1] - 1, 0, -1):
        mass[:, word - 1] += mass[:, word] >> WORD
        mass[:, word] &= 2**WORD - 1
    return mass


def _comparable(mass: Ints) -> Ints:
    """Return integers in the order of masses."""
    return mass[:, 0] if mass.shape[1] == 1 else _numbers(mass)


def _apart(place: Ints, mass: Ints, figures: Ints) -> tuple[Ints, Ints]:
    """Return masses and figures in which no row makes a row of another place superfluous, (n,) and (n, m).

    A greater place has more mass and a higher first figure than all smaller ones, and no other order changes.
    """
    if not len(place) or (place == place[0]).all():
        return mass, figures
    return _shifted(place, mass), np.column_stack([_shifted(place, figures[:, 0]), figures[:, 1:]])


def _shifted(place: Ints, figure: Ints) -> Ints:
    least, most = int(figure.min()), int(figure.max())
    if (most - least + 1) * (int(place.max()) + 1) >= MOST_PLACES:
        return _numbers(np.column_stack([place, figure]))
    return place * (most - least + 1) + (figure - least)


def _whole(words: list[int]) -> int:
    return sum(word << WORD * place for place, word in enumerate(reversed(words)))


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
    if len(parts) == 1:
        return parts[0]
    figures = [part.figures for part in parts]
    columns = (np.concatenate([getattr(one, name) for one in figures]) for name in ("mass", "sums", "peak"))
    parent, option = (np.concatenate([getattr(part, name) for part in parts]) for name in ("parent", "option"))
    return Labels(Figures(*columns), parent, option)
