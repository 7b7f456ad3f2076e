"""Enumerate every feasible path of a chain that can reach a threshold, depth first, in blocks of partial paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nnmass_core.engine.bounds import Layer, Prices, best_onward, best_so_far
from nnmass_core.engine.chain import Floats, Ints, reaching, runs
from nnmass_core.engine.completions import Completions

BLOCK = 1 << 16
"""The most rows that one step creates, unless a single partial path has more continuations."""


ROWS = 1 << 13
"""The most partial paths that one step extends."""

MANY = 1 << 14
"""Partial paths after which bounds on completions are worked out: fewer are enumerated sooner than that."""

Offer = Callable[[Ints], tuple[Ints, Floats, Floats]]
"""Takes paths as positions in the layers; returns which of them are feasible, and their first and second keys."""


@dataclass(frozen=True, eq=False)
class Survey:
    """What an enumeration is of: prepared stages, the limits, (rows,), prices that prune, and what paths must reach."""

    layers: list[Layer]
    nodes: tuple[int, ...]
    budget: Floats
    prices: list[Prices]
    floor: float


class Onward(Protocol):
    """What can follow partial paths of a tally."""

    def best(self, stage: int, node: Ints, tally: Ints) -> tuple[Floats, Floats] | None:
        """Return the most of each priced sum that can follow partial paths before a stage, and the least use.

        None where that is not known. node, tally so far: (n,). The most: (n, prices), -inf where nothing can follow.
        The least use: (n, rows).
        """
        ...


class Filter(Protocol):
    """Refuses partial paths by a sum of integers, their tally."""

    def tally(self, stage: int) -> Ints:
        """Return what each option of a chain's stage adds to the tally, (n,)."""
        ...

    def admits(self, stage: int, node: Ints, tally: Ints) -> NDArray[np.bool_]:
        """Return which partial paths before a stage to keep. node, tally so far: (n,)."""
        ...

    def onward(self, survey: Survey) -> Onward | None:
        """Return what can follow partial paths; None where no tally bounds it."""
        ...

    def reaching(self, floor: float) -> Filter:
        """Return the filter of an enumeration of the paths whose first key reaches a floor."""
        ...


@dataclass(frozen=True)
class Cut:
    """What a partial path must still be able to reach.

    floor: its bound on the first key. A path that cannot exceed `tie` (at best a tie with the worst of the best k) must
    also be able to reach `second` on the second key.
    """

    floor: float
    tie: float = -np.inf
    second: float = -np.inf


@dataclass(frozen=True, eq=False)
class Block:
    """Partial paths that end before one stage, one per row.

    node: where each ends, (n,). priced: the budget's price plus value minus prices so far, (n, prices). Sums so far:
    second (n,), use (n, rows). positions: the options taken, (n, stages), as positions in the layers. share: the
    fraction of the whole enumeration that this block covers.
    """

    stage: int
    node: Ints
    priced: Floats
    second: Floats
    use: Floats
    positions: Ints
    share: float

    def __len__(self) -> int:
        return len(self.node)

    def part(self, low: int, high: int) -> Block:
        """Return some of the rows, with their part of the share."""
        return replace(self.rows(slice(low, high)), share=self.share * (high - low) / len(self))

    def rows(self, kept: Ints | slice) -> Block:
        """Return some of the rows, which cover the same share."""
        second, use, positions = self.second[kept], self.use[kept], self.positions[kept]
        return Block(self.stage, self.node[kept], self.priced[kept], second, use, positions, self.share)


def option_bounds(layers: list[Layer], nodes: tuple[int, ...], prices: list[Prices]) -> list[Floats]:
    """Return, for each layer's options, an upper bound on the value of every feasible path through the option."""
    bounds = [np.full(len(this.rows), np.inf) for this in layers]
    for p in prices:
        values = p.priced(layers)
        before = best_so_far(layers, nodes, values)
        after = best_onward(layers, nodes, values)
        for i, this in enumerate(layers):
            through = before[i][this.source] + values[i] + after[i + 1][this.target] + p.constant
            bounds[i] = np.minimum(bounds[i], through) if p.weight else np.where(through < 0, -np.inf, bounds[i])
    return bounds


class Enumeration:
    """What each node of a set of layers can still add; used to walk every path that may reach a threshold.

    layers: prepared stages; second: each layer's second key, (n,) per layer; budget: (rows,); prices: vectors that
    prune, the tightest first. second_limit: the row that limits what the second key minimizes, if there is one. within:
    refuses more partial paths. floor: no path is offered that does not reach it. block: the most rows of a step.
    """

    def __init__(
        self,
        layers: list[Layer],
        second: list[Floats],
        nodes: tuple[int, ...],
        budget: Floats,
        prices: list[Prices],
        second_limit: int | None = None,
        within: Filter | None = None,
        floor: float = -np.inf,
        block: int = BLOCK,
    ) -> None:
        self.budget = budget
        self.labels = 0
        self.examined = 0
        self.pruned = 0
        self._completions: Completions | None = None
        self._block = block
        self._layers, self._nodes, self._tightest, self._second_limit = layers, nodes, prices[0], second_limit
        self._of_value = np.array([p.weight > 0 for p in prices])
        self._constants = np.array([p.constant for p in prices])
        self._prepare(layers, second, nodes, prices)
        self._within = within
        self._onward = within.onward(Survey(layers, nodes, budget, prices, floor)) if within else None
        stages = enumerate(zip(layers, self._order, strict=True))
        self._tally = [within.tally(i)[this.rows][order] for i, (this, order) in stages] if within else []

    def _prepare(self, layers: list[Layer], second: list[Floats], nodes: tuple[int, ...], prices: list[Prices]) -> None:
        rows = range(len(self.budget))
        priced = [p.priced(layers) for p in prices]
        after = [best_onward(layers, nodes, values) for values in priced]
        least = [best_onward(layers, nodes, [-this.use[:, row] for this in layers]) for row in rows]
        self._after = [np.column_stack(columns) for columns in zip(*after, strict=True)]
        self._second_after = best_onward(layers, nodes, second)
        self._least_use = [
            np.column_stack([np.zeros((n, 0)), *(-least[row][i] for row in rows)]) for i, n in enumerate(nodes)
        ]
        reach = [
            values + onward[this.target] for this, values, onward in zip(layers, priced[0], after[0][1:], strict=True)
        ]
        self._order = [np.lexsort([-best, this.source]) for this, best in zip(layers, reach, strict=True)]
        self._source = [this.source[order] for this, order in zip(layers, self._order, strict=True)]
        self._edges = [
            np.searchsorted(source, np.arange(n + 1)) for source, n in zip(self._source, nodes[:-1], strict=True)
        ]
        self._target = [this.target[order] for this, order in zip(layers, self._order, strict=True)]
        self._use = [this.use[order] for this, order in zip(layers, self._order, strict=True)]
        self._second = [values[order] for values, order in zip(second, self._order, strict=True)]
        self._reach = [best[order] for best, order in zip(reach, self._order, strict=True)]
        self._priced = [np.column_stack([values[i] for values in priced])[order] for i, order in enumerate(self._order)]

    def steps(self, cut: Callable[[], Cut], offer: Offer) -> Iterator[float]:
        """Offer every path that passes the cut, in blocks; yield, before each step, the share that is done."""
        stack, done = [self.root()], 0.0
        while stack:
            yield done
            block = stack.pop()
            if block.stage == len(self._order):
                done += block.share
                offer(self.paths(block))
                continue
            more = self.extend(block, cut())
            done += block.share - sum(part.share for part in more)
            stack += more
            if self._completions is None and self.labels >= MANY and len(self.budget):
                self._completions = Completions(self._layers, self._nodes, self.budget, self._tightest, cut().floor)
                stack = [part for waiting in stack if len(part := self._hopeful(waiting, cut().floor))]
                done = 1.0 - sum(part.share for part in stack)

    def _hopeful(self, block: Block, floor: float) -> Block:
        """Return a block without the rows that no completion brings to the floor."""
        assert self._completions is not None
        reached = self._completions.reachable(block.stage, block.node, block.priced[:, 0], block.use)
        return block if reached is None else block.rows(np.flatnonzero(reached >= floor))

    def most_promising(self, width: int, cut: Cut) -> Ints:
        """Return the paths through the `width` best partial paths before each stage (beam search), (n, stages)."""
        block = self.root()
        while block.stage < len(self._order):
            more = self.extend(block.part(0, width), cut)
            if not more or more[-1].stage == block.stage:
                return np.zeros((0, len(self._order)), np.int64)
            block = more[-1]
        return self.paths(block)

    def root(self) -> Block:
        """Return the block of the one empty path."""
        return Block(
            stage=0,
            node=np.zeros(1, np.int64),
            priced=self._constants[None, :].copy(),
            second=np.zeros(1),
            use=np.zeros((1, len(self.budget))),
            positions=np.zeros((1, len(self._order)), np.int64),
            share=1.0,
        )

    def paths(self, block: Block) -> Ints:
        """Return a finished block's paths as positions in the layers from which the enumeration was created."""
        return np.column_stack([order[block.positions[:, i]] for i, order in enumerate(self._order)])

    def extend(self, block: Block, cut: Cut) -> list[Block]:
        """Return the block's surviving continuations, the best last, preceded by the rows left for later."""
        ahead = block.part(0, ROWS) if len(block) > ROWS else block
        low, counts, dropped = self._continuations(ahead, cut.floor)
        total = np.cumsum(counts)
        upto = max(1, int(np.searchsorted(total, self._block, side="right")))
        rest = [block.part(upto, len(block))] if upto < len(block) else []
        parent, option = runs(low[:upto], low[:upto] + counts[:upto])
        child = self._children(block, parent, option, cut, block.share * upto / len(block))
        self.labels += len(child)
        self.examined += len(parent)
        self.pruned += int(dropped[:upto].sum()) + len(parent) - len(child)
        return [*rest, child] if len(child) else rest

    def _continuations(self, block: Block, floor: float) -> tuple[Ints, Ints, Ints]:
        """Return, for each row, where its options start, how many can reach the floor, and how many cannot."""
        i = block.stage
        low, end = self._edges[i][block.node], self._edges[i][block.node + 1]
        able = reaching(self._reach[i], low, end, floor - block.priced[:, 0])
        return low, able - low, end - able

    def _children(self, block: Block, parent: Ints, option: Ints, cut: Cut, share: float) -> Block:
        i = block.stage
        node = self._target[i][option]
        priced = block.priced[parent] + self._priced[i][option]
        use = block.use[parent] + self._use[i][option]
        second = block.second[parent] + self._second[i][option]
        reachable = priced + self._after[i + 1][node]
        keep: NDArray[np.bool_] = np.all(reachable >= np.where(self._of_value, cut.floor, 0.0), axis=1)
        keep &= np.all(use + self._least_use[i + 1][node] <= self.budget, axis=1)
        rows = np.flatnonzero(keep)
        bound = np.min(reachable[rows], axis=1, where=self._of_value, initial=np.inf)
        known = self._completions
        if known is not None:
            reached = known.reachable(i + 1, node[rows], priced[rows, 0], use[rows])
            bound = bound if reached is None else np.minimum(bound, reached)
            rows, bound = rows[bound >= cut.floor], bound[bound >= cut.floor]
        if np.isfinite(cut.tie):
            able = (bound >= cut.tie) | (second[rows] + self._second_after[i + 1][node[rows]] >= cut.second)
            rows, bound = rows[able], bound[able]
            ties = np.flatnonzero(bound < cut.tie)
            if known is not None and self._second_limit is not None and len(ties):
                budget, tied = self.budget.copy(), rows[ties]
                budget[self._second_limit] = min(budget[self._second_limit], -cut.second)
                reached = known.reachable(i + 1, node[tied], priced[tied, 0], use[tied], budget)
                if reached is not None:
                    rows, bound = (np.delete(kept, ties[reached < cut.floor]) for kept in (rows, bound))
        if self._within is not None:
            tally = self._tallies(block)[parent[rows]] + self._tally[i][option[rows]]
            admitted = self._within.admits(i + 1, node[rows], tally)
            rows, bound, tally = rows[admitted], bound[admitted], tally[admitted]
            following = self._onward.best(i + 1, node[rows], tally) if self._onward else None
            if following is not None:
                reachable = priced[rows] + following[0]
                bound = np.minimum(bound, np.min(reachable, axis=1, where=self._of_value, initial=np.inf))
                able = np.all(reachable >= np.where(self._of_value, cut.floor, 0.0), axis=1)
                able &= np.all(use[rows] + following[1] <= self.budget, axis=1)
                rows, bound = rows[able], bound[able]
        order = rows[np.argsort(-bound, kind="stable")]
        positions = block.positions[parent[order]]
        positions[:, i] = option[order]
        return Block(i + 1, node[order], priced[order], second[order], use[order], positions, share)

    def _tallies(self, block: Block) -> Ints:
        """Return the tally so far of each row of a block, (n,)."""
        taken = zip(self._tally[: block.stage], block.positions.T, strict=False)
        return sum((own[positions] for own, positions in taken), np.zeros(len(block), np.int64))
