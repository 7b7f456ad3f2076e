"""Bounds on the best completion of a partial path within what it leaves of the limits: docs/theory.md (57).

A Lagrangian bound prices what a partial path leaves of a limit, as if any fraction of it could be used. Where options
are few or large, much remains unused, and many paths pass the bound that no completion makes good. Here completions are
worked out, from the last stage to the first: at each node, what they add to the value and to the use of one or two
limits. Each node has a grid of buckets over these uses. Completions of one bucket are merged into one that adds the
most of any and uses the least of any, so that their number stays small and the bound holds. Only completions that can
reach the threshold with the best start, by the Lagrangian bound, are kept. The most that any bucket adds up to a
partial path's remaining uses bounds it.

Merged states are a state-space relaxation (N. Christofides, A. Mingozzi, P. Toth, Networks 11(2), 1981), here of the
completion bounds of constrained shortest paths (I. Dumitrescu, N. Boland, Networks 42(3), 2003).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnmass_core.engine.bounds import Layer, Prices, best_so_far
from nnmass_core.engine.chain import Floats, Ints, reaching, runs

CELLS = 1 << 18
"""The most buckets of all nodes at one boundary, unless the nodes alone are more."""

LIMITS = 2
"""The most limits that grids are over."""

BUCKETS = {1: 4096, 2: 64}
"""The most buckets of each limit, by the number of limits."""

FEWEST = 4
"""The fewest buckets of a limit."""

MOST_CREATED = 1 << 18
"""Completions of one boundary after which earlier boundaries get no bound: they would take longer than they save."""


@dataclass(frozen=True, eq=False)
class Points:
    """Completions from one boundary, one per row: node, value, value minus prices (n,), and use, (n, limits)."""

    node: Ints
    value: Floats
    priced: Floats
    use: Floats

    def __len__(self) -> int:
        return len(self.node)

    def take(self, rows: Ints) -> Points:
        """Return some of the rows."""
        return Points(self.node[rows], self.value[rows], self.priced[rows], self.use[rows])


@dataclass(frozen=True, eq=False)
class Grid:
    """The buckets of each node of a boundary.

    low: the least use of each limit, inf where no completion is, (nodes, limits). width: of a bucket, (nodes, limits).
    most: the most value of the completions up to each bucket, (nodes, *buckets).
    """

    low: Floats
    width: Floats
    most: Floats

    def bound(self, node: Ints, left: Floats) -> Floats:
        """Return the most that a completion adds within what is left of each limit, (n,); -inf where none fits."""
        fits = np.all(left >= self.low[node], axis=1)
        found = np.full(len(node), -np.inf)
        at = node[fits]
        buckets = ((left[fits] - self.low[at]) / self.width[at]).clip(max=np.array(self.most.shape[1:]) - 1.0)
        found[fits] = self.most[(at, *buckets.astype(np.int64).T)]
        return found


class Completions:
    """A grid for each boundary from which completions were worked out; `grids` lacks the earlier ones.

    layers: prepared stages. budget: (limits of the problem,), at least one; the grids are over the two that cost most.
    prices: those of the tightest bound. threshold: of paths that cannot reach it, the bounds may be too low.
    """

    def __init__(
        self, layers: list[Layer], nodes: tuple[int, ...], budget: Floats, prices: Prices, threshold: float
    ) -> None:
        weight = np.abs(prices.multipliers * budget)
        self._limits = np.sort(np.argsort(-weight, kind="stable")[:LIMITS])
        self._budget = budget
        self._multipliers = prices.multipliers
        self.grids: dict[int, Grid] = {}
        self._work_out(layers, nodes, prices, threshold)

    def reachable(
        self, stage: int, node: Ints, priced: Floats, use: Floats, budget: Floats | None = None
    ) -> Floats | None:
        """Return the most value that paths from these starts can reach, (n,); None where that was not worked out.

        stage: before which the starts end. node: where, (n,). priced: value minus prices, plus the constant of the
        prices, (n,). use: of each limit of the problem, (n, limits). budget: tighter limits, (limits,).
        """
        grid = self.grids.get(stage)
        if grid is None:
            return None
        left = (self._budget if budget is None else budget) - use
        value = priced - (self._budget - use) @ self._multipliers
        reached: Floats = value + grid.bound(node, left[:, self._limits])
        return reached

    def _work_out(self, layers: list[Layer], nodes: tuple[int, ...], prices: Prices, threshold: float) -> None:
        priced = prices.priced(layers)
        before = best_so_far(layers, nodes, priced)
        uses = [this.use[:, self._limits] for this in layers]
        least = [best_so_far(layers, nodes, [-use[:, i] for use in uses]) for i in range(len(self._limits))]
        budget = self._budget[self._limits]
        points = Points(np.zeros(1, np.int64), np.zeros(1), np.zeros(1), np.zeros((1, len(budget))))
        for stage in reversed(range(len(layers))):
            self.grids[stage + 1], points = _merged(points, nodes[stage + 1])
            this = layers[stage]
            needed = threshold - prices.constant - before[stage][this.source] - priced[stage]
            points = points.take(np.lexsort([-points.priced, points.node]))
            edges = np.searchsorted(points.node, np.arange(nodes[stage + 1] + 1))
            low = edges[this.target]
            end = reaching(points.priced, low, edges[this.target + 1], needed)
            if not 0 < int((end - low).sum()) <= MOST_CREATED:
                break
            option, point = runs(low, end)
            node, use = this.source[option], uses[stage][option] + points.use[point]
            room = np.column_stack([so_far[stage][node] for so_far in least]) + budget
            fits = np.flatnonzero(np.all(use <= room, axis=1))
            if not len(fits):
                break
            option, point = option[fits], point[fits]
            value = this.value[option] + points.value[point]
            points = Points(node[fits], value, priced[stage][option] + points.priced[point], use[fits])


def _merged(points: Points, nodes: int) -> tuple[Grid, Points]:
    """Return the grid of one boundary's completions, and one point for each of its buckets that no other excludes.

    points: by ascending node.
    """
    limits = points.use.shape[1]
    shape = (min(BUCKETS[limits], max(FEWEST, int((CELLS / nodes) ** (1 / limits)))),) * limits
    starts = np.flatnonzero(np.diff(points.node, prepend=-1))
    low, high = np.full((nodes, limits), np.inf), np.full((nodes, limits), -np.inf)
    low[points.node[starts]] = np.minimum.reduceat(points.use, starts)
    high[points.node[starts]] = np.maximum.reduceat(points.use, starts)
    width = np.ones((nodes, limits))
    np.divide(high - low, np.array(shape) - 1.0, out=width, where=high > low)
    bucket = ((points.use - low[points.node]) / width[points.node]).clip(max=np.array(shape) - 1.0).astype(np.int64)
    flat = np.ravel_multi_index((points.node, *bucket.T), (nodes, *shape))
    order = np.argsort(flat, kind="stable")
    starts = np.flatnonzero(np.diff(flat[order], prepend=-1))
    first = order[starts]
    merged = Points(
        points.node[first],
        np.maximum.reduceat(points.value[order], starts),
        np.maximum.reduceat(points.priced[order], starts),
        np.minimum.reduceat(points.use[order], starts),
    )
    most = np.full((nodes, *shape), -np.inf)
    most.reshape(-1)[flat[first]] = merged.value
    for axis in range(1, limits + 1):
        np.maximum.accumulate(most, axis=axis, out=most)
    bucket = bucket[first]
    lower = np.where(np.all(bucket > 0, axis=1), most[(merged.node, *(bucket - 1).T)], -np.inf)
    return Grid(low, width, most), merged.take(np.flatnonzero(merged.value > lower))
