"""The best wiring of each shape: enumerate shapes by a bound on their best wiring, then wire the best of them.

A shape (widths and depths, or channels and repeats) is a path on which only the integers that distinguish shapes are
chosen. Options that agree in these integers and in their nodes form a group, which is bounded by its best option under
each price and by its least use of each constraint. So the shapes that may reach a threshold are enumerated forward like
paths (enumeration.py), over groups in place of options. Where several sequences of nodes lead to one shape, as for
stages whose nodes carry what no shape distinguishes, their rows are merged: a prefix of a shape has one row for each
node that it can end at.

The rows of a finished shape are then the best that any start can add before each of its stages. With these as bounds, a
shape's wirings are enumerated backward, from its last stage to its first. Both steps are branch and bound with the
bounds of docs/theory.md (38). Prices that bound one shape well bound another badly, so that many price vectors are kept
(bounds.spread_prices), and each shape is wired under those that bound it the tightest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nnmass_core.engine.bounds import Layer, Prices
from nnmass_core.engine.chain import Floats, Ints, reaching, runs
from nnmass_core.engine.enumeration import Cut, Offer
from nnmass_core.engine.problem import RELATIVE_ERROR

ROWS = 1 << 12
"""The most rows that one step extends, unless a single prefix has more."""

BLOCK = 1 << 15
"""The most rows that one step creates, unless a single prefix or wiring has more continuations."""

SHAPES = 512
"""The number of shapes that are wired together."""

COLUMNS = 3
"""How many price vectors bound the wirings of one shape: those that bound the shape the tightest."""

VALUE = 1
"""The price vector that is zero: for a whole path, its column is the path's own value."""

DIVE = 2
"""The number of each shape's most promising wirings that are completed before all others."""


@dataclass(frozen=True, eq=False)
class Sums:
    """What parts of paths add up to, one row each, or bounds on it.

    priced: value minus prices, (n, prices). second: the second key, (n,). use: of each constraint, (n, rows).
    """

    priced: Floats
    second: Floats
    use: Floats

    def like(self, n: int, value: float) -> Sums:
        """Return n rows of one value, for uses its opposite."""
        prices, limits = self.priced.shape[1], self.use.shape[1]
        return Sums(np.full((n, prices), value), np.full(n, value), np.full((n, limits), -value))

    def take(self, rows: Ints | slice) -> Sums:
        """Return some of the rows."""
        return Sums(self.priced[rows], self.second[rows], self.use[rows])

    def plus(self, other: Sums) -> Sums:
        """Return the sums of both, row by row."""
        return Sums(self.priced + other.priced, self.second + other.second, self.use + other.use)

    def best(self, starts: Ints) -> Sums:
        """Return the best of each run of rows, separately in each column."""
        priced, second = np.maximum.reduceat(self.priced, starts), np.maximum.reduceat(self.second, starts)
        return Sums(priced, second, np.minimum.reduceat(self.use, starts))


@dataclass(frozen=True, eq=False)
class Table:
    """A stage's options in groups; the groups of one source node follow each other, the most promising first.

    options: positions in the layer, by group, the best first. sums: of each of them. start, end: where each group's
    options are. edges: where each node's groups start. bound: of each group. reach: each group's bound under the first
    price, with the best that can follow.
    """

    options: Ints
    sums: Sums
    start: Ints
    end: Ints
    edges: Ints
    target: Ints
    own: Ints
    bound: Sums
    reach: Floats


@dataclass(frozen=True, eq=False)
class Prefixes:
    """Prefixes of shapes that end before one stage, the most promising first; each has one row for every end node.

    starts: where each prefix's rows start, and where the last one's end. node, bound: of each row. before: the block of
    the prefixes one stage shorter. links: where each row's ways to it from `before` start, and where the last one's
    end; each way has a row of `before` (`parent`) and a group of the stage between (`through`). share: the fraction of
    the whole enumeration that the block covers.
    """

    stage: int
    starts: Ints
    node: Ints
    bound: Sums
    before: Prefixes | None
    links: Ints
    parent: Ints
    through: Ints
    share: float

    def __len__(self) -> int:
        return len(self.starts) - 1

    def part(self, low: int, high: int) -> Prefixes:
        """Return some of the prefixes, with their part of the share."""
        first, end = self.starts[[low, high]].tolist()
        start, stop = self.links[[first, end]].tolist()
        return replace(
            self,
            starts=self.starts[low : high + 1] - first,
            node=self.node[first:end],
            bound=self.bound.take(slice(first, end)),
            links=self.links[first : end + 1] - start,
            parent=self.parent[start:stop],
            through=self.through[start:stop],
            share=self.share * (high - low) / len(self),
        )


@dataclass(frozen=True, eq=False)
class Wirings:
    """Ends of paths from one stage on, each of a shape; what they still need is a way from the start to their row.

    shape: the number of the shape, (n,). row: in the block of prefixes before `stage`, (n,). sums: of the options
    taken. positions: these options, (n, stages). dive: complete the best of each shape first.
    """

    stage: int
    shape: Ints
    row: Ints
    sums: Sums
    positions: Ints
    dive: bool

    def __len__(self) -> int:
        return len(self.shape)

    def take(self, rows: Ints | slice, *, dive: bool) -> Wirings:
        """Return some of the wirings."""
        parts = self.shape[rows], self.row[rows], self.sums.take(rows), self.positions[rows]
        return Wirings(self.stage, *parts, dive)


@dataclass(frozen=True, eq=False)
class Bars:
    """What rows must still be able to reach: `floor` on the first key and, where they cannot exceed a `tie`, `second`.

    Each is one number for all rows or one for each.
    """

    floor: Floats | float
    ties: tuple[tuple[Floats | float, Floats | float], ...]

    @staticmethod
    def of(cut: Cut) -> Bars:
        """Return the bars of an enumeration's cut."""
        return Bars(cut.floor, ((cut.tie, cut.second),) if np.isfinite(cut.tie) else ())


class Shapes:
    """Every shape of a set of layers that may reach a threshold, and the best wirings of each.

    layers: prepared stages. own: for each layer, a number for each option that differs where shapes do, (n,). second:
    each layer's second key. prices: vectors that prune, the tightest first. quantum: the smallest difference between
    unequal first keys, or 0 if unknown. settled: no path that keeps the budget is refused when it is offered.
    """

    def __init__(
        self,
        layers: list[Layer],
        own: list[Ints],
        second: list[Floats],
        nodes: tuple[int, ...],
        budget: Floats,
        prices: list[Prices],
        *,
        quantum: float,
        settled: bool,
    ) -> None:
        self.labels = 0
        self.pruned = 0
        self.quantum = quantum
        self.settled = settled
        self._budget = budget
        free = Prices(np.zeros(len(budget)), 0.0, 0.0, [])
        prices = [*prices[:VALUE], free, *prices[VALUE:]]
        weights, multipliers = np.array([p.weight for p in prices]), np.array([p.multipliers for p in prices])
        self.of_value = weights > 0
        self._constants = np.array([[p.constant for p in prices]])
        sums = [
            Sums(this.value[:, None] * weights - this.use @ multipliers.T, column, this.use)
            for this, column in zip(layers, second, strict=True)
        ]
        self._after = _onward(layers, nodes, sums)
        self.tables = [_table(*parts) for parts in zip(layers, own, sums, self._after[1:], nodes[:-1], strict=True)]

    @property
    def examined(self) -> int:
        """How many partial paths were looked at."""
        return self.labels + self.pruned

    def steps(self, cut: Callable[[], Cut], offer: Offer) -> Iterator[float]:
        """Offer the best wirings of every shape that passes the cut; yield the share that is done before each step."""
        stack, done = [self.root()], 0.0
        while stack:
            yield done
            block = stack.pop()
            if block.stage == len(self.tables):
                for _ in self._wire(block, cut, offer):
                    yield done
                done += block.share
                continue
            more = self.extend(block, cut())
            done += block.share - sum(part.share for part in more)
            stack += more

    def root(self) -> Prefixes:
        """Return the block of the one empty prefix."""
        nothing, one_way = np.zeros(1, np.int64), np.zeros(2, np.int64)
        bound = Sums(self._constants, np.zeros(1), np.zeros((1, len(self._budget))))
        none = np.zeros(0, np.int64)
        return Prefixes(0, np.array([0, 1]), nothing, bound, None, one_way, none, none, 1.0)

    def extend(self, block: Prefixes, cut: Cut) -> list[Prefixes]:
        """Return the block's surviving continuations, the best last, preceded by the prefixes left for later."""
        table = self.tables[block.stage]
        rows = min(len(block.node), max(ROWS, int(block.starts[1])))
        node = block.node[:rows]
        low, end = table.edges[node], table.edges[node + 1]
        able = reaching(table.reach, low, end, cut.floor - block.bound.priced[:rows, 0])
        total = np.concatenate([[0], np.cumsum(able - low)])
        ends = block.starts[1:][block.starts[1:] <= rows]
        upto = max(1, int(np.searchsorted(total[ends], BLOCK, side="right")))
        row, through = runs(low[: ends[upto - 1]], able[: ends[upto - 1]])
        rest = [block.part(upto, len(block))] if upto < len(block) else []
        child = self._child(block, row, through, cut, block.share * upto / len(block))
        self.labels += len(child.node)
        self.pruned += int((end - able)[: ends[upto - 1]].sum())
        return [*rest, child] if len(child) else rest

    def _child(self, block: Prefixes, row: Ints, through: Ints, cut: Cut, share: float) -> Prefixes:
        table = self.tables[block.stage]
        sums = block.bound.take(row).plus(table.bound.take(through))
        target = table.target[through]
        reach = sums.plus(self._after[block.stage + 1].take(target))
        keep = self.fitting(reach.use)
        keep = keep[self.passing(reach.priced[keep], reach.second[keep], Bars.of(cut), self.of_value)[0]]
        self.pruned += len(row) - len(keep)
        prefix = np.repeat(np.arange(len(block)), np.diff(block.starts))[row]
        keep = keep[np.lexsort([target[keep], table.own[through[keep]], prefix[keep]])]
        return self._merged(block, row[keep], through[keep], sums.take(keep), prefix[keep], share)

    def _merged(self, block: Prefixes, row: Ints, through: Ints, sums: Sums, prefix: Ints, share: float) -> Prefixes:
        """Return the block of prefixes from their ways, which are sorted by prefix, own number and target."""
        table = self.tables[block.stage]
        own, target = table.own[through], table.target[through]
        links = _changes(prefix, own, target)
        bound, node = sums.best(links), target[links]
        starts = _changes(prefix[links], own[links])
        reach = bound.priced + self._after[block.stage + 1].priced[node]
        promise = np.min(reach, axis=1, where=self.of_value, initial=np.inf)
        order = np.argsort(-np.maximum.reduceat(promise, starts), kind="stable")
        rows, starts = _reordered(starts, len(links), order)
        ways, links = _reordered(links, len(row), rows)
        return Prefixes(
            block.stage + 1, starts, node[rows], bound.take(rows), block, links, row[ways], through[ways], share
        )

    def fitting(self, use: Floats) -> Ints:
        """Return which rows can still keep the limits. use: with the least that is to come, (n, rows)."""
        return np.flatnonzero(np.all(use <= self._budget, axis=1))

    def passing(self, priced: Floats, second: Floats, bars: Bars, of_value: NDArray[np.bool_]) -> tuple[Ints, Floats]:
        """Return which rows can still reach the bars, and the bound of every row on the first key.

        priced, second: with the best that is to come, (n, prices) and (n,). of_value: which prices bound the first key.
        """
        bound = np.min(priced, axis=1, where=of_value, initial=np.inf)
        keep: NDArray[np.bool_] = bound >= bars.floor
        keep &= np.all(priced[:, ~of_value] >= 0.0, axis=1)
        for tie, most in bars.ties:
            keep &= (bound >= tie) | (second >= most)
        return np.flatnonzero(keep), bound

    def _wire(self, block: Prefixes, cut: Callable[[], Cut], offer: Offer) -> Iterator[None]:
        """Offer the best wirings of each finished shape that may pass the cut; yield between steps."""
        done = 0
        while done < len(block):
            rows, _ = self.passing(block.bound.priced, block.bound.second, Bars.of(cut()), self.of_value)
            rows = rows[rows >= done][:SHAPES]
            if not len(rows):
                return
            yield from Wiring(self, block, rows, cut, offer).steps()
            done = int(rows[-1]) + 1


class Wiring:
    """Wire some finished shapes, given by their rows: depth first, in blocks of ends of paths, from last to first."""

    def __init__(self, shapes: Shapes, block: Prefixes, rows: Ints, cut: Callable[[], Cut], offer: Offer) -> None:
        self._shapes = shapes
        self._cut = cut
        self._offer = offer
        self._blocks = [block]
        while block.before is not None:
            block = block.before
            self._blocks.insert(0, block)
        self._rows = rows
        self._columns, self._of_value = _tightest(self._blocks[-1].bound.priced[rows], shapes.of_value)
        self._forced = self._forced_stages() if shapes.settled else -1
        self._value = np.full(len(rows), -np.inf)
        self._second = np.full(len(rows), -np.inf)

    def steps(self) -> Iterator[None]:
        """Offer the best wirings of each shape; yield between steps."""
        stack = [self._roots()]
        while stack:
            yield
            wirings = stack.pop()
            if wirings.stage:
                stack += self._extend(wirings)
            else:
                self._finish(wirings)

    def _roots(self) -> Wirings:
        n, stages = len(self._rows), len(self._blocks) - 1
        nothing = replace(self._blocks[0].bound.like(n, 0.0), priced=np.zeros(self._columns.shape))
        return Wirings(stages, np.arange(n), self._rows, nothing, np.zeros((n, stages), np.int64), dive=True)

    def _finish(self, wirings: Wirings) -> None:
        """Offer complete paths; the best feasible one of each shape raises the bars for the shape's others."""
        feasible, value, second = self._offer(wirings.positions)
        shape = wirings.shape[feasible]
        known, tied = self._value[shape], self._second[shape]
        better = np.flatnonzero((value > known) | ((value == known) & (second > tied)))
        better = better[np.lexsort([second[better], value[better]])]  # of several of one shape, the last one stays
        self._value[shape[better]], self._second[shape[better]] = value[better], second[better]

    def _bars(self, shape: Ints) -> Bars:
        """Return what wirings of these shapes must reach: to be among the best k, and to be the best of its shape."""
        bars, value, second = Bars.of(self._cut()), self._value[shape], self._second[shape]
        floor = np.maximum(bars.floor, value - RELATIVE_ERROR * (1.0 + np.abs(value)))
        if not self._shapes.quantum:
            return Bars(floor, bars.ties)
        tie = value + self._shapes.quantum / 2, second - RELATIVE_ERROR * (1.0 + np.abs(second))
        return Bars(floor, (*bars.ties, tie))

    def _extend(self, whole: Wirings) -> list[Wirings]:
        """Return the surviving continuations, the best last, preceded by the wirings left for later."""
        stage = whole.stage - 1
        ahead = whole.take(slice(ROWS), dive=whole.dive)
        at, before, table = self._blocks[whole.stage], self._blocks[stage], self._shapes.tables[stage]
        wiring, way = runs(at.links[ahead.row], at.links[ahead.row + 1])
        parent, group = at.parent[way], at.through[way]
        needed = (
            np.asarray(self._bars(ahead.shape).floor)[wiring]
            - ahead.sums.priced[wiring, 0]
            - before.bound.priced[parent, 0]
        )
        low = table.start[group]
        able = reaching(table.sums.priced[:, 0], low, table.end[group], needed)
        total = np.cumsum(np.bincount(wiring, able - low, len(ahead)))
        upto = max(1, int(np.searchsorted(total, BLOCK, side="right")))
        ways = int(np.searchsorted(wiring, upto))
        way, option = runs(low[:ways], able[:ways])
        self._shapes.pruned += int((table.end[group] - able)[:ways].sum())
        child = self._child(ahead, wiring[way], parent[way], option)
        rest = [whole.take(slice(upto, None), dive=whole.dive)] if upto < len(whole) else []
        return [*rest, *(_split(child) if child.dive else [child])] if len(child) else rest

    def _child(self, wirings: Wirings, wiring: Ints, parent: Ints, option: Ints) -> Wirings:
        stage = wirings.stage - 1
        before, table = self._blocks[stage].bound, self._shapes.tables[stage]
        use = wirings.sums.use[wiring] + table.sums.use[option]
        fits = self._shapes.fitting(use + before.use[parent])
        self._shapes.pruned += len(use) - len(fits)
        wiring, parent, option, shape = wiring[fits], parent[fits], option[fits], wirings.shape[wiring[fits]]
        columns = self._columns[shape]
        priced = wirings.sums.priced[wiring] + table.sums.priced[option[:, None], columns]
        second = wirings.sums.second[wiring] + table.sums.second[option]
        reach = priced + before.priced[parent[:, None], columns]
        keep, bound = self._shapes.passing(reach, second + before.second[parent], self._bars(shape), self._of_value)
        if stage == self._forced:
            keep = keep[_near_best(shape[keep], reach[keep, VALUE])]
        self._shapes.labels += len(keep)
        self._shapes.pruned += len(shape) - len(keep)
        keep = keep[np.argsort(-bound[keep], kind="stable")]
        positions = wirings.positions[wiring[keep]]
        positions[:, stage] = table.options[option[keep]]
        sums = Sums(priced[keep], second[keep], use[fits[keep]])
        return Wirings(stage, shape[keep], parent[keep], sums, positions, wirings.dive)

    def _forced_stages(self) -> int:
        """Return how many stages, from the first, leave no choice to a shape whose later options are known."""
        for stage, (block, table) in enumerate(zip(self._blocks[1:], self._shapes.tables, strict=True)):
            if len(block.parent) > len(block.node) or np.any(table.end - table.start > 1):
                return stage
        return len(self._blocks) - 1


def _near_best(shape: Ints, value: Floats) -> NDArray[np.bool_]:
    """Return which rows have the best value of their shape; all of them where several tie."""
    best = np.full(int(shape.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(best, shape, value)
    near: NDArray[np.bool_] = value >= best[shape] - RELATIVE_ERROR * (1.0 + np.abs(best[shape]))
    return near


def _tightest(bounds: Floats, of_value: NDArray[np.bool_]) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the first price vectors, each row's tightest and those not of value; and which of these are of value.

    bounds: (n, prices).
    """
    value, others = np.flatnonzero(of_value), np.flatnonzero(~of_value)
    least = value[np.argsort(bounds[:, value], axis=1, kind="stable")[:, :COLUMNS]]
    first = np.tile(np.arange(VALUE + 1), (len(bounds), 1))
    chosen = np.column_stack([first, least, np.tile(others, (len(bounds), 1))])
    return chosen, np.arange(chosen.shape[1]) < first.shape[1] + least.shape[1]


def _split(wirings: Wirings) -> list[Wirings]:
    """Return the wirings left for later and, last, the best of each shape."""
    order = np.argsort(wirings.shape, kind="stable")
    first = np.searchsorted(wirings.shape[order], wirings.shape[order])
    ahead = np.arange(len(order)) - first < DIVE
    best, others = np.sort(order[ahead]), np.sort(order[~ahead])
    later = [wirings.take(others, dive=False)] if len(others) else []
    return [*later, wirings.take(best, dive=True)]


def _table(this: Layer, own: Ints, sums: Sums, after: Sums, nodes: int) -> Table:
    options = np.lexsort([-sums.priced[:, 0], this.target, own, this.source])
    source, target, own, sums = this.source[options], this.target[options], own[options], sums.take(options)
    start = _changes(source, own, target)
    end = np.append(start[1:], len(options))
    bound = sums.best(start)
    reach = bound.priced[:, 0] + after.priced[target[start], 0]
    order = np.lexsort([-reach, source[start]])
    edges = np.searchsorted(source[start][order], np.arange(nodes + 1))
    groups = target[start][order], own[start][order], bound.take(order), reach[order]
    return Table(options, sums, start[order], end[order], edges, *groups)


def _onward(layers: list[Layer], counts: tuple[int, ...], sums: list[Sums]) -> list[Sums]:
    """Return, for each boundary between stages, the best that can follow each node, separately in each column."""
    onward = [sums[-1].like(counts[-1], 0.0)]
    for this, own, before in zip(reversed(layers), reversed(sums), reversed(counts[:-1]), strict=True):
        through = own.best(this.groups.starts).plus(onward[-1].take(this.groups.target))
        starts = _changes(this.groups.source)
        nodes, best, reached = this.groups.source[starts], own.like(before, -np.inf), through.best(starts)
        best.priced[nodes], best.second[nodes], best.use[nodes] = reached.priced, reached.second, reached.use
        onward.append(best)
    return onward[::-1]


def _changes(*columns: Ints) -> Ints:
    """Return where runs of rows that agree in all columns start."""
    fresh = np.ones(len(columns[0]), bool)
    fresh[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return np.flatnonzero(fresh)


def _reordered(starts: Ints, total: int, order: Ints) -> tuple[Ints, Ints]:
    """Return the rows of runs in another order of the runs, and where each run then starts, and the last one ends."""
    ends = np.append(starts[1:], total)
    _, rows = runs(starts[order], ends[order])
    return rows, np.concatenate([[0], np.cumsum(ends[order] - starts[order])])
