"""The exact engine: the best k paths of a chain under any number of constraints, with a proof.

1. Lagrangian prices bound the value of every feasible path from above (bounds.py).
2. The first feasible paths come from the priced optima, improved by exchanging one option at a time.
3. For a threshold, options whose bound lies below it are dropped, and every path that could reach it is enumerated
   (enumeration.py). All feasible paths at or above the threshold are then known, so the result is proved as soon as
   there are k of them. The threshold starts just under the bound and falls until that is so.

Doubles hold the bounds, with a tolerance on the safe side; close values are compared exactly (ranking.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nnmass_core.engine.bounds import (
    PRICES_KEPT,
    Layer,
    Prices,
    best_onward,
    best_prices,
    layer,
    price,
    spread_prices,
    surplus_prices,
    with_unpriced,
)
from nnmass_core.engine.chain import Chain, Floats, Ints, Stage
from nnmass_core.engine.control import Control
from nnmass_core.engine.enumeration import BLOCK, Cut, Enumeration, Filter, Offer, Survey, option_bounds
from nnmass_core.engine.problem import MASS, RELATIVE_ERROR, ChainProblem, Key, column_of
from nnmass_core.engine.ranking import Pool
from nnmass_core.engine.shapes import Shapes

STARTS = 8
"""The number of priced optima from which the exchange heuristic starts."""

COLUMNS_KEPT = 200_000
"""Columns of chains with at most this number of options are kept: 8 bytes an option for each key of a question."""

WIDTH = 256
"""The fewest partial paths before each stage that a dive goes on with, where the exchanges found too few paths."""

FIRST_STEP = 1 / 16
"""The first threshold's distance below the bound, as a fraction of the gap to the best k known."""

LITTLE = 1 << 10
"""The partial paths of an enumeration that takes no longer than preparing some: its threshold then falls faster."""

FEW = 1 << 13
"""The partial paths after which an attempt at prices that are already known is given up: they take a millisecond."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The best paths in order, and what is proved about them.

    integers: each path's architecture, (n, integers). additive: its sums, (n, quantities). masses: its exact NN-Mass.
    complete: these are the true best k, or all that exist. bound: no feasible path has a better first key (with the
    sign for which more is better); -inf when none exists. labels: partial paths created; pruned: options and partial
    paths cut.
    """

    integers: Ints
    additive: Floats
    masses: list[Fraction]
    complete: bool
    bound: float
    labels: int
    pruned: int


class CandidatePool(Protocol):
    """Receives the feasible paths that the engine finds."""

    paths: Ints
    additive: Floats

    def __len__(self) -> int: ...

    def worst(self, key: Key) -> float:
        """Return what a path's signed quantity must reach to be of interest."""
        ...

    def add(self, paths: Ints, additive: Floats) -> None:
        """Offer paths, (n, stages), with their sums, (n, quantities)."""
        ...


@dataclass(frozen=True)
class _Latest:
    """The tightest prices of an objective's latest solve, by the key of each limit, and their bound."""

    multipliers: list[dict[Key, float]]
    bound: float


class Solver:
    """One solve of one problem; see the module's docstring for the method."""

    def __init__(
        self,
        problem: ChainProblem,
        k: int,
        control: Control,
        *,
        distinct_shapes: bool = False,
        pool: Callable[[Chain], CandidatePool] | None = None,
        within: Filter | None = None,
        most_examined: int | None = None,
    ) -> None:
        """Prepare a solve.

        distinct_shapes: of each shape only the best path counts. pool: receives the paths, in place of the best k.
        within: refuses partial paths that cannot be feasible. most_examined: the solve is cut short when it has
        looked at more partial paths.
        """
        self.problem = problem
        self.chain = problem.chain
        best_k = Pool(self.chain, problem.keys, k, distinct_shapes=distinct_shapes)
        self.pool = pool(self.chain) if pool else best_k
        self._k = k
        self._distinct_shapes = distinct_shapes
        self._control = control
        self._nodes = self.chain.nodes
        self.labels, self.pruned, self._progress = 0, 0, 0.0
        self._within = within
        self._most_labels: int | None = None
        self._most_examined, self._examined = most_examined, 0
        self._enough: Callable[[], bool] | None = None
        self._beaten: Fraction | None = None
        self._block = BLOCK
        self._first, self._second_key = problem.keys[:2]
        self._quantum = 1.0
        self._row_keys, self._budget = problem.rows()
        first, self._second = self._columns(self._first), self._columns(self._second_key)
        uses = zip(*map(self._columns, self._row_keys), strict=True) if self._row_keys else [()] * len(first)
        stages = zip(self.chain.stages, first, uses, strict=True)
        self._layers = [self._layer(stage, value, use) for stage, value, use in stages]

    def _columns(self, key: Key) -> list[Floats]:
        """Return a quantity of every option of each stage, with the key's sign; kept for later solves of small chains.

        A row of a stage's quantities is one option, so that gathering a column takes longer than adding two.
        """
        known: list[Floats] | None = self.chain.memory.get(("column", key))
        if known is None:
            known = [column_of(stage, key) for stage in self.chain.stages]
            if self.chain.options() <= COLUMNS_KEPT:
                self.chain.memory["column", key] = known
        return known

    def _layer(self, stage: Stage, value: Floats, uses: Sequence[Floats]) -> Layer:
        """Return a stage's options within the cap on the peak."""
        use = np.column_stack([np.zeros((len(stage), 0)), *uses])
        whole = layer(stage, value, use)
        peak = self.problem.peak
        return whole if peak is None or not len(stage) or stage.peak.max() <= peak else whole.kept(stage.peak <= peak)

    def beats(self, value: Fraction) -> bool | None:
        """Return whether a path's first key (more is better) exceeds this value; None when the time ran out."""
        self._beaten = value
        return self._reaches(lambda: self._has_better_than(value))

    def admits(self, number: int = 1) -> bool | None:
        """Return whether this many paths are feasible; None when the time ran out first.

        If not, the pool has all that are.
        """
        return self._reaches(lambda: len(self.pool) >= number)

    def _reaches(self, enough: Callable[[], bool]) -> bool | None:
        self._enough = enough
        complete, _ = self._run()
        return True if enough() else False if complete else None

    def solve(self) -> Solution:
        """Return the best k paths with their proof. Raises Interrupted when the control does."""
        complete, bound = self._run()
        paths = self.pool.paths
        if len(paths):
            self.chain.memory["best", self._first] = paths[0].tolist()
        masses = [self.chain.path_mass(path) for path in paths.tolist()]
        found = self.chain.path_integers(paths), self.pool.additive, masses
        return Solution(*found, complete=complete, bound=bound, labels=self.labels, pruned=self.pruned)

    def collect(self, threshold: float, most_labels: int | None = None) -> bool | None:
        """Offer to the pool every path whose first key reaches the threshold, and perhaps others.

        Return False when that takes more than `most_labels` partial paths, None when the time ran out.
        """
        prices = self._prepare()
        if prices is None:
            return True
        self._most_labels = most_labels
        prices = prices[:PRICES_KEPT]
        bounds = option_bounds(self._layers, self._nodes, prices)
        if self._enumerate(prices, bounds, threshold - _tolerance(threshold)):
            return True
        return None if self._control.expired() else False

    def multipliers(self) -> dict[Key, float] | None:
        """Return the tightest price of each limit, by its key, 0 where all keep it; None when nothing is feasible."""
        prices = self._prepare()
        if prices is None:
            return None
        found = dict.fromkeys(self.problem.rows()[0], 0.0)
        for key, multiplier in zip(self._row_keys, prices[0].multipliers.tolist(), strict=True):
            found[key] += multiplier
        return found

    def _has_enough(self) -> bool:
        return self._enough is not None and self._enough()

    def _has_better_than(self, value: Fraction) -> bool:
        if not len(self.pool):
            return False
        if self._first.column == MASS:
            best = self.chain.path_mass(self.pool.paths[0].tolist())
        else:
            best = Fraction(self.pool.additive[0, self._first.column])
        return best * self._first.sign > value

    def _run(self) -> tuple[bool, float]:
        """Fill the pool; return whether it is complete, and the bound (see Solution)."""
        if self._is_settled_soon():
            return True, np.inf
        prices = self._prepare()
        if prices is None:
            return True, -np.inf
        self._improve([attempt.path for attempt in prices])
        if self._has_enough():
            return False, prices[0].bound
        prices = prices[:PRICES_KEPT]
        bound = self._tightened(prices)
        if bound == -np.inf or bound < self._least_better():  # the filter admits no path, or none that is better
            return True, bound
        if not np.isfinite(self.pool.worst(self._first)):
            surplus = self._surplus_prices()
            if surplus is None:
                return True, -np.inf
            prices += surplus
        return self._lower_threshold(prices, bound)

    def _is_settled_soon(self) -> bool:
        """Return whether the latest prices of this objective settle, in few partial paths, whether there are enough.

        A limit that was left out is often one that prices do not need: those of the others then bound as well.
        """
        latest: _Latest | None = self.chain.memory.get(("latest", self._first))
        if self._enough is None or latest is None or not self._has_paths():
            return False
        rows = [np.array([known.get(key, 0.0) for key in self._row_keys]) for known in latest.multipliers]
        prices = [price(self._layers, self._nodes, self._budget, multipliers) for multipliers in rows]
        least, bound = self._least_better(), min(one.bound for one in prices)
        if bound < least:
            return True
        self._improve([*self._latest_best(), prices[0].path])
        if self._has_enough() or self._beaten is None or bound - least > 2 * (latest.bound - least):
            return self._has_enough()
        self._most_labels, self._block = FEW, FEW
        complete = self._enumerate(prices, option_bounds(self._layers, self._nodes, prices), least)
        self._most_labels, self._block = None, BLOCK
        return complete or self._has_enough()

    def _latest_best(self) -> list[list[int]]:
        """Return the best path of the latest solve of this objective as positions in the layers, if all are there."""
        latest: list[int] | None = self.chain.memory.get(("best", self._first))
        if latest is None:
            return []
        path = [int(np.searchsorted(this.rows, row)) for this, row in zip(self._layers, latest, strict=True)]
        there = zip(self._layers, path, latest, strict=True)
        return [path] if all(at < len(this.rows) and this.rows[at] == row for this, at, row in there) else []

    def _least_better(self) -> float:
        """Return what the first key of every path reaches that exceeds the value to beat; -inf without one."""
        if self._beaten is None:
            return -np.inf
        value = float(self._beaten)
        quantum = 1 / (self.chain.common_denominator if self._first.column == MASS else 1)
        return value + quantum / 2 - _tolerance(value)

    def _surplus_prices(self) -> list[Prices] | None:
        """Return prices that separate paths that can still be feasible from others, or None when no path can.

        Near the limit of feasibility, bounds on the value prune little. Prices from minimizing the use of one
        constraint under the others then prune more.
        """
        found: list[Prices] = []
        for row, key in enumerate(self._row_keys):
            others = np.arange(len(self._budget)) != row
            layers = [replace(this, value=-this.use[:, row], use=this.use[:, others]) for this in self._layers]
            known = ("surplus", key, *(k for i, k in enumerate(self._row_keys) if i != row))
            top = -best_onward(layers, self._nodes, [this.value for this in layers])[0][0]
            spread = max(float(self._budget[row] - top), 1.0)
            reach = spread / np.maximum(self._budget - self._least, 1.0)[others]
            prices = self._best_prices(known, layers, self._budget[others], reach, -np.inf)
            if prices[0].bound < -self._budget[row] - _tolerance(float(self._budget[row])):
                return None
            found.append(surplus_prices(prices[0], row, self._budget, len(layers)))
        return found

    def _prepare(self) -> list[Prices] | None:
        """Return the tightest prices first, or None when nothing is feasible."""
        if not self._has_paths():
            return None
        least = self._extremes(-1.0)
        if np.any(least > self._budget):
            return None
        self._drop_slack_rows(least)
        self._worst = -self._best_sum([-this.value for this in self._layers])
        prices = self._prices(self._best_sum([this.value for this in self._layers]))
        return None if prices[0].bound < self._worst - _tolerance(self._worst) else prices

    def _has_paths(self) -> bool:
        """Return whether any path leads through the options, whatever it uses."""
        return bool(np.isfinite(self._best_sum([np.zeros(len(this.rows)) for this in self._layers])))

    def _best_sum(self, values: list[Floats]) -> float:
        return float(best_onward(self._layers, self._nodes, values)[0][0])

    def _extremes(self, sign: float) -> Floats:
        """Return the least (sign -1) or largest (+1) use of every constraint over all paths."""
        rows = range(len(self._budget))
        return np.array([sign * self._best_sum([sign * this.use[:, row] for this in self._layers]) for row in rows])

    def _drop_slack_rows(self, least: Floats) -> None:
        """Drop the constraints that every path satisfies."""
        tight = self._extremes(1.0) > self._budget
        self._budget, self._least = self._budget[tight], least[tight]
        self._row_keys = [key for key, needed in zip(self._row_keys, tight.tolist(), strict=True) if needed]
        self._layers = [replace(this, use=this.use[:, tight]) for this in self._layers]

    def _prices(self, best: float) -> list[Prices]:
        """Return the tightest prices first. best: no path's first key exceeds it, (38)."""
        spread = max(best - self._worst, 1e-9)
        self._reach = reach = spread / np.maximum(self._budget - self._least, 1.0)
        own = np.array([key == self._first for key in self._row_keys], bool)
        layers = [replace(this, use=this.use[:, ~own]) for this in self._layers] if own.any() else self._layers
        known = ("worthy", self._first, *(key for key in self._row_keys if key != self._first))
        prices = self._best_prices(known, layers, self._budget[~own], reach[~own], self._worst)
        if own.any():
            prices = [with_unpriced(one, ~own, self._budget, len(layers)) for one in prices]
            prices += [price(self._layers, self._nodes, self._budget, row) for row in np.eye(len(own))[own]]
            prices.sort(key=lambda one: one.bound)
        kept = [dict(zip(self._row_keys, one.multipliers.tolist(), strict=True)) for one in prices[:PRICES_KEPT]]
        self.chain.memory["latest", self._first] = _Latest(kept, prices[0].bound)
        return prices

    def _best_prices(
        self, known: tuple[object, ...], layers: list[Layer], budget: Floats, reach: Floats, hopeless: float
    ) -> list[Prices]:
        """Return the tightest prices first; what was learned for other budgets and caps of the chain is used.

        known: what the layers' values and uses are.
        """
        empty = [np.zeros(len(stage), bool) for stage in self.chain.stages]
        remembered: list[NDArray[np.bool_]] | None = self.chain.memory.get(known)
        kept = [np.flatnonzero(mask[this.rows]) for mask, this in zip(remembered or empty, layers, strict=True)]
        start = kept if remembered else None
        prices, worthy = best_prices(layers, self._nodes, budget, reach, hopeless, self._control, start)
        masks = self.chain.memory.setdefault(known, empty)
        for mask, this, positions in zip(masks, layers, worthy, strict=True):
            mask[this.rows[positions]] = True
        return prices

    def _offer(self, positions: Ints) -> tuple[Ints, Floats]:
        """Offer complete paths, given as positions in the layers, to the pool.

        Return which of them are feasible, and the sums of these.
        """
        rows = np.arange(len(positions))
        paths = np.column_stack([this.rows[positions[:, i]] for i, this in enumerate(self._layers)])
        additive = np.sum([s.additive[paths[:, i]] for i, s in enumerate(self.chain.stages)], axis=0)
        if self.problem.limits_mass:
            outside = self._outside(paths, additive[:, MASS])
            rows, paths, additive = (np.delete(part, outside, axis=0) for part in (rows, paths, additive))
        if self.problem.excluded is not None:
            out = self.problem.excluded.places(self.chain, additive, paths.__getitem__)
            rows, paths, additive = (np.delete(part, out, axis=0) for part in (rows, paths, additive))
        if self.problem.shared is not None:
            fits = self.problem.shared.admits(additive, self.chain.path_peaks(paths))
            rows, paths, additive = rows[fits], paths[fits], additive[fits]
        if len(paths):
            self.pool.add(paths, additive)
        return rows, additive

    def _outside(self, paths: Ints, masses: Floats) -> list[int]:
        """Return the paths whose exact NN-Mass is outside its limits; only those close to one can be."""
        close = np.zeros(len(masses), bool)
        for mass, sign in ((self.problem.least_mass, -1), (self.problem.most_mass, 1)):
            if mass is not None:
                close |= sign * masses >= sign * float(mass) - _tolerance(float(mass))
        rows = np.flatnonzero(close).tolist()
        return [row for row in rows if not self.problem.admits_mass(self.chain.path_mass(paths[row].tolist()))]

    def _improve(self, starts: list[list[int]]) -> None:
        """Fill the pool with feasible neighbors of the priced optima, improving them one exchange at a time."""
        seen: set[tuple[int, ...]] = set()
        for start in starts[:STARTS]:
            path = start
            while tuple(path) not in seen and not self._has_enough() and not self._control.expired():
                seen.add(tuple(path))
                neighbors, value = self._exchanges(path)
                if not len(neighbors):
                    break
                best = np.argsort(-value, kind="stable")[: max(self._k, 64)]
                self._offer(neighbors[best])
                path = neighbors[best[0]].tolist()

    def _exchanges(self, path: list[int]) -> tuple[Ints, Floats]:
        """Return the feasible paths that differ from `path` in at most one option, and their values."""
        use = np.sum([this.use[p] for this, p in zip(self._layers, path, strict=True)], axis=0)
        total = float(sum(this.value[p] for this, p in zip(self._layers, path, strict=True)))
        found: list[Ints] = []
        values: list[Floats] = []
        for i, (this, p) in enumerate(zip(self._layers, path, strict=True)):
            group = int(np.searchsorted(this.groups.starts, p, side="right")) - 1
            edges = [*this.groups.starts[group : group + 2].tolist(), len(this.rows)]
            options = np.arange(edges[0], edges[1])
            options = options[np.all(use - this.use[p] + this.use[options] <= self._budget, axis=1)]
            neighbors = np.tile(np.array(path, np.int64), (len(options), 1))
            neighbors[:, i] = options
            found.append(neighbors)
            values.append(total - this.value[p] + this.value[options])
        return np.concatenate(found), np.concatenate(values)

    def _lower_threshold(self, prices: list[Prices], bound: float) -> tuple[bool, float]:
        """Enumerate down from a bound of all paths until the best k are known; return as `_run`."""
        covered, least = np.inf, self._least_better()
        bounds = option_bounds(self._layers, self._nodes, prices)
        if not np.isfinite(self.pool.worst(self._first)):
            self._dive(prices, bounds, bound - (bound - self._worst) * FIRST_STEP)
        depth = max((bound - self._goal(least)) * FIRST_STEP, 4 * _tolerance(bound))
        if self._beaten is not None and self._within is None and self._goes_to_limit(prices[0]):
            depth = np.inf  # every threshold below such a limit takes as many partial paths
        complete, before = False, 0
        while not complete:
            goal = self._goal(least)
            threshold = max(bound - depth, goal)
            last = threshold == goal
            threshold -= _tolerance(threshold)
            labels = self.labels
            if not self._enumerate(prices, bounds, threshold):
                break
            covered = threshold
            # with a margin: an equal mass can round to a double just below the threshold
            complete = last or self.pool.worst(self._first) >= threshold + _tolerance(threshold) / 2
            took = self.labels - labels
            depth *= 4 if took < max(LITTLE, 2 * before) else 2  # the cost of another threshold as such then counts
            before = took
        best = float(self.pool.additive[0, self._first.column] * self._first.sign) if len(self.pool) else -np.inf
        return complete, best if complete else max(best, min(bound, covered))

    def _goes_to_limit(self, prices: Prices) -> bool:
        """Return whether prices bound the first key by its own limit."""
        multipliers = zip(self._row_keys, prices.multipliers.tolist(), strict=True)
        return any(key == self._first and multiplier > 0 for key, multiplier in multipliers)

    def _goal(self, least: float) -> float:
        """Return what the first key of the paths that are still of interest reaches; at least `least`."""
        known = self.pool.worst(self._first)
        return max(known if np.isfinite(known) else self._worst, least)

    def _tightened(self, prices: list[Prices]) -> float:
        """Return the tightest bound of the prices on the paths that the filter admits."""
        of_value = [one for one in prices if one.weight]
        survey = Survey(self._layers, self._nodes, self._budget, of_value, -np.inf)
        onward, start = self._within.onward(survey) if self._within else None, np.zeros(1, np.int64)
        following = onward.best(0, start, start) if onward else None
        if following is None:
            return prices[0].bound
        constants = np.array([one.constant for one in of_value])
        return min(prices[0].bound, float((following[0][0] + constants).min()))

    def _enumerate(self, prices: list[Prices], bounds: list[Floats], threshold: float) -> bool:
        """Offer every feasible path that reaches the threshold and may enter the pool; False when it was cut short."""
        survey, offer = self._prepared(prices, bounds, threshold)
        in_time = all(self._goes_on(survey, done) for done in survey.steps(lambda: self._cut(threshold), offer))
        self.labels += survey.labels
        self.pruned += survey.pruned
        self._examined += survey.examined
        return in_time

    def _dive(self, prices: list[Prices], bounds: list[Floats], threshold: float) -> None:
        """Offer the feasible paths that go through the most promising partial paths of every stage."""
        survey, offer = self._prepared(prices, bounds, threshold)
        if isinstance(survey, Enumeration):
            offer(survey.most_promising(max(WIDTH, self._k), Cut(threshold)))
            self.labels += survey.labels

    def _prepared(
        self, prices: list[Prices], bounds: list[Floats], threshold: float
    ) -> tuple[Enumeration | Shapes, Offer]:
        """Return the enumeration of the options that can reach the threshold, and what takes the paths it finds."""
        floor = self._cut(threshold).floor
        keep = [np.flatnonzero(b >= floor) for b in bounds]
        layers = [this.kept(positions) for this, positions in zip(self._layers, keep, strict=True)]
        if self._first.column == MASS:
            self._quantum = self.chain.mass_quantum([this.rows for this in layers])
        second = [column[this.rows] for column, this in zip(self._second, layers, strict=True)]
        self.pruned += sum(len(b) for b in bounds) - sum(len(positions) for positions in keep)

        def offer(paths: Ints) -> tuple[Ints, Floats, Floats]:
            rows, additive = self._offer(np.column_stack([positions[paths[:, i]] for i, positions in enumerate(keep)]))
            first, second = (additive[:, key.column] * key.sign for key in (self._first, self._second_key))
            return rows, first, second

        return self._survey(layers, second, prices, floor), offer

    def _survey(
        self, layers: list[Layer], second: list[Floats], prices: list[Prices], floor: float
    ) -> Enumeration | Shapes:
        """Return the enumeration of these layers' paths, or of their shapes where only the best of each counts."""
        if not self._distinct_shapes:
            used = Key(self._second_key.column, -self._second_key.sign)
            limit = self._row_keys.index(used) if used in self._row_keys else None
            within = self._within.reaching(floor) if self._within else None
            of = layers, second, self._nodes, self._budget, prices, limit, within, floor
            return Enumeration(*of, block=self._block)
        own = [numbers[this.rows] for numbers, this in zip(self.chain.shape_numbers, layers, strict=True)]
        prices = prices + spread_prices(prices[0], self._reach, self._budget, len(layers))
        # else the tolerance could accept what is refused later
        settled = not self.problem.limits_mass and self.problem.excluded is None and self.problem.shared is None
        quantum = self._quantum
        return Shapes(layers, own, second, self._nodes, self._budget, prices, quantum=quantum, settled=settled)

    def _goes_on(self, survey: Enumeration | Shapes, done: float) -> bool:
        """Report the progress of an enumeration, and return whether time and labels are left for its next step."""
        self._progress = max(self._progress, min(0.99, done))
        labels = self.labels + survey.labels
        cut_short = self._most_labels is not None and labels > self._most_labels
        cut_short |= self._most_examined is not None and self._examined + survey.examined > self._most_examined
        if cut_short or self._has_enough() or self._control.expired():
            return False
        self._control.report(self._progress, f"{labels} partial architectures examined")
        return True

    def _cut(self, threshold: float) -> Cut:
        known = self.pool.worst(self._first)
        if not np.isfinite(known):
            return Cut(threshold)
        floor = max(threshold, known - _tolerance(known))
        if not self._quantum or known < threshold + _tolerance(threshold) / 2:
            return Cut(floor)  # the worst of the k may use dropped options, and differ by less
        second = self.pool.worst(self._second_key)
        return Cut(floor, known + self._quantum / 2, second - _tolerance(second))


def _tolerance(value: float) -> float:
    return RELATIVE_ERROR * (1.0 + abs(value))
