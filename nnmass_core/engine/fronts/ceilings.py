"""Bounds on the points of a front that a label can still become: docs/theory.md (41).

Prices of the limits and of the front's own cost bound the NN-Mass of every path that a label can become, for each value
of the cost (as in bounds.py). A label is hopeless where the points that are known already have as much for no more:
everywhere. The range of the cost is divided into cells, each with prices of its own, so that the bound of one cell is a
straight line close to the front. Where the front is against a peak too, its points are divided into levels by their
peak: a point of a level is compared with those known of no higher peak, and may only use options within the level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnmass_core.engine.chain import Floats, Ints
from nnmass_core.engine.problem import RELATIVE_ERROR

CELLS = 16
"""The number of cells of the cost."""

LEVELS = 8
"""The most levels of the peak."""

AT_ONCE = 1 << 15
"""The number of labels that are bounded together."""


@dataclass(frozen=True, eq=False)
class Added:
    """What the options of one stage add, sorted by their source.

    mass: NN-Mass, (n,). sums: the front's own cost, then what is limited, (n, sums). peak: (n,). source, target: (n,).
    """

    mass: Floats
    sums: Floats
    peak: Ints
    source: Ints
    target: Ints


@dataclass(frozen=True, eq=False)
class Known:
    """Points that paths within the limits reach: NN-Mass, the front's own cost and peak (0 without one), (n,) each."""

    mass: Floats
    cost: Ints
    peak: Ints

    def joined(self, other: Known) -> Known:
        """Return the points of both."""
        columns = (np.concatenate(pair) for pair in zip(self._columns, other._columns, strict=True))
        return Known(*columns)

    def within(self, peak: int) -> tuple[Floats, Ints]:
        """Return the most NN-Mass within a peak for rising costs, and these costs: a staircase."""
        rows = np.flatnonzero(self.peak <= peak)
        rows = rows[np.lexsort([-self.mass[rows], self.cost[rows]])]
        mass = self.mass[rows]
        before = np.concatenate([[-np.inf], np.maximum.accumulate(mass)[:-1]])
        rising = mass > before
        return mass[rising], self.cost[rows][rising]

    @property
    def _columns(self) -> tuple[Floats, Ints, Ints]:
        return self.mass, self.cost, self.peak


@dataclass(frozen=True, eq=False)
class Lines:
    """The prices of each cell, whose lines bound NN-Mass from above, and the range of the cost.

    prices: (cells, sums), that of the front's own cost first. edges: where cells start and end, (cells + 1,). limits:
    of each sum, 0 for the cost, (sums,).
    """

    prices: Floats
    edges: Floats
    limits: Floats


class Ceilings:
    """What labels of a front in one sum, and perhaps the peak, can still become.

    levels: the least peak of each level, ascending; the first is the least peak of any path within the limits.
    """

    def __init__(self, stages: Sequence[Added], nodes: Sequence[int], lines: Lines, known: Known, levels: Ints) -> None:
        self._lines = lines
        self._levels = levels
        self._constant = np.append(lines.prices @ lines.limits, 0.0)
        self._after = self._onward(stages, nodes)
        size = sum(float(np.abs(this.mass).max(initial=0.0)) for this in stages)
        used = np.sum([np.abs(this.sums).max(axis=0, initial=0.0) for this in stages], axis=0)
        margin = RELATIVE_ERROR * (1.0 + size + lines.prices @ (used + np.abs(lines.limits)))
        self._needed = np.array([self._thresholds(*known.within(level), margin) for level in levels.tolist()])

    def _priced(self, mass: Floats, sums: Floats) -> Floats:
        """Return NN-Mass minus prices for each cell, and last the cost alone, negative; (n, cells + 1)."""
        return np.column_stack([mass[:, None] - sums @ self._lines.prices.T, -sums[:, 0]])

    def _onward(self, stages: Sequence[Added], nodes: Sequence[int]) -> list[Floats]:
        """Return the most that can follow each node before each stage, (nodes, levels, cells + 1)."""
        tops = [*(self._levels[1:] - 1).tolist(), np.inf]
        after = [np.zeros((nodes[-1], len(tops), len(self._constant)))]
        for this, before in zip(reversed(stages), reversed(nodes[:-1]), strict=True):
            most = np.full((before, len(tops), len(self._constant)), -np.inf)
            own = self._priced(this.mass, this.sums)
            for level, top in enumerate(tops):
                rows = np.flatnonzero(this.peak <= top)
                if len(rows):
                    through = own[rows] + after[-1][this.target[rows], level]
                    starts = np.flatnonzero(np.diff(this.source[rows], prepend=-1))
                    most[this.source[rows][starts], level] = np.maximum.reduceat(through, starts)
            after.append(most)
        return after[::-1]

    def _thresholds(self, mass: Floats, cost: Ints, margin: Floats) -> Floats:
        """Return what a label must reach for a point that is not known, in some cell or below all known costs."""
        if not len(cost):
            return np.full(len(self._constant), -np.inf)
        needed = np.full(len(self._constant), np.inf)
        last = np.append(cost[1:] - 1, np.inf)
        for cell, slope in enumerate(self._lines.prices[:, 0].tolist()):
            low, high = self._lines.edges[cell : cell + 2]
            here = np.flatnonzero((cost <= high) & (last >= low))
            above = mass[here] - slope * np.minimum(last[here], high)
            needed[cell] = above.min(initial=np.inf) - margin[cell]
        needed[-1] = 0.5 - cost[0]
        return needed

    def reached(
        self, stage: int, node: Ints, mass: Floats, sums: Floats, peak: Ints
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Return what labels before a stage reach at most, and whether by levels and cells it is enough.

        Both are (n, levels, cells + 1). node, mass, peak: (n,). sums: (n, sums).
        """
        value = (self._priced(mass, sums) + self._constant)[:, None, :] + self._after[stage][node]
        lower = np.searchsorted(self._levels, peak, side="right")[:, None] - 1 > np.arange(len(self._levels))
        value[lower] = -np.inf
        return value, (value >= self._needed) & (value > -np.inf)

    def hopeful(self, stage: int, node: Ints, mass: Floats, sums: Floats, peak: Ints) -> Ints:
        """Return the labels before a stage that may still become a point that is not known; as `reached`."""
        kept = [np.zeros(0, np.int64)]
        for low in range(0, len(node), AT_ONCE):
            rows = slice(low, low + AT_ONCE)
            enough = self.reached(stage, node[rows], mass[rows], sums[rows], peak[rows])[1]
            kept.append(low + np.flatnonzero(enough.any(axis=(1, 2))))
        return np.concatenate(kept)

    def best(self, stage: int, node: Ints, mass: Floats, sums: Floats, peak: Ints, width: int) -> Ints:
        """Return the most promising labels before a stage, ascending: `width` for each level and cell; as `reached`."""
        value = self.reached(stage, node, mass, sums, peak)[0].reshape(len(node), -1)
        if len(node) <= width:
            return np.arange(len(node))
        best = np.argpartition(-value, width - 1, axis=0)[:width]
        rows, columns = best.reshape(-1), np.tile(np.arange(value.shape[1]), width)
        return np.unique(rows[value[rows, columns] > -np.inf])
