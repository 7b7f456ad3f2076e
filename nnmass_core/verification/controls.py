"""Choose control networks for a candidate of a search, so that a claim about NN-Mass can fail.

If a candidate trains better than the networks that rankings by params and by MACs would choose at its cost, and than
random networks at its cost, then NN-Mass carries information that cost does not. If it trains better than random
networks near the budget, then the search was of use. NN-Mass plays no part in choosing controls.

Random networks come from a tilted distribution over the paths of the chain (`nnmass_core.verification.tilted`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nnmass_core.architecture import Architecture
from nnmass_core.budget import Budget
from nnmass_core.engine.chain import QUANTITIES, Chain, Floats, Ints
from nnmass_core.engine.control import Control
from nnmass_core.engine.problem import MEMORY, PEAK, ChainProblem, Key, SharedMemory, maximize
from nnmass_core.engine.solver import Solver
from nnmass_core.search import chain_for, shared_memory
from nnmass_core.spaces.base import AnySpace
from nnmass_core.spaces.structure import Structure
from nnmass_core.verification.tilted import Mask, Tilted, every_path, path_sums, tilt_below, tilt_to_mean

WINDOWS = (0.05, 0.1, 0.2, 0.4)
"""How far a random network's params and MACs may differ from the candidate's, as fractions, in the order of trial."""

BY_PARAMS = (maximize("params"), maximize("macs"))
BY_MACS = (maximize("macs"), maximize("params"))
"""The order of rankings by a cost; the architecture's integers, smaller first, break the remaining ties."""

NEAR = 0.9
"""The least share of a limit that a network near the budget uses."""

NEAR_AIM = 0.95
"""The mean share of the limits among the networks that are drawn near a budget."""

PARAMS, MACS = (QUANTITIES.index(name) for name in ("params", "macs"))
COSTS = [PARAMS, MACS]

CHECKS = 300
"""Checks of its control after which the engine stops proving the params control: about a second on a large space."""

LISTED = 100_000
"""Spaces with at most this number of networks are listed completely instead of sampled."""

BATCH = 100_000
"""Paths drawn in one batch."""

DRAWS = 3
"""Batches that the params control draws where the engine cannot prove it."""

MOST_BATCHES = 30
"""The most batches that a random control draws."""

ENOUGH_HITS = 1000
"""Hits in the narrowest window after which drawing stops: choosing among them is close to uniform."""


class ControlRequest(Protocol):
    """The parts of a SearchRequest that are read here (SearchRequest is in a higher layer)."""

    @property
    def space(self) -> AnySpace:
        """The space that contains the control."""

    @property
    def budget(self) -> Budget:
        """The limits of the control."""

    @property
    def structure(self) -> Structure:
        """What the parts of the control must have in common."""


def params_control(request: ControlRequest, candidate: Architecture, taken: frozenset[str]) -> Architecture | None:
    """Return the network that a ranking by params would choose at the candidate's cost, or None when there is none.

    Of the networks of the request's space that keep every limit of its budget, and whose params, MACs, weights (stored
    numbers) and peak activation elements do not exceed the candidate's: the one of most params, then most MACs.

    The result is exact wherever the engine can prove it in a fixed amount of work. In spaces of trillions, thousands of
    networks tie to the last parameter; there it is the best of what the engine found and of a fixed sample of networks
    at the candidate's cost. A pure function in either case.

    Args:
        request: The space and the budget.
        candidate: The network to compare with.
        taken: arch_ids to exclude, such as the other candidates and controls; the candidate itself is always excluded.
    """
    return _first_by(BY_PARAMS, request, candidate, taken)


def macs_control(request: ControlRequest, candidate: Architecture, taken: frozenset[str]) -> Architecture | None:
    """Return the network that a ranking by MACs would choose at the candidate's cost, or None when there is none.

    As `params_control`, but the one of most MACs, then most params.

    Args:
        request: The space and the budget.
        candidate: The network to compare with.
        taken: arch_ids to exclude, such as the other candidates and controls; the candidate itself is always excluded.
    """
    return _first_by(BY_MACS, request, candidate, taken)


def _first_by(
    keys: tuple[Key, ...], request: ControlRequest, candidate: Architecture, taken: frozenset[str]
) -> Architecture | None:
    taken |= {candidate.arch_id}
    figures = candidate.evaluation
    own = {"params": figures.params, "macs": figures.macs, "weights": figures.weights, PEAK: figures.peak_elements}
    chain, bounds = _limited(request)
    shared = _memory(request, chain, bounds)
    most = own | {quantity: min(bound, own.get(quantity, bound)) for quantity, bound in bounds.items()}
    peak = most.pop(PEAK)
    caps = tuple((chain.quantities.index(quantity), bound) for quantity, bound in most.items())
    problem = ChainProblem(chain.within_peak(peak), keys=keys, caps=caps, shared=shared)
    copies = len(request.space.spaces)  # a network is a path of each space that has it
    solver = Solver(problem, copies * len(taken) + 1, Control(expired=_after(CHECKS)))
    if not solver.solve().complete:
        _offer_draws(solver, caps)
    found = solver.chain.path_integers(solver.pool.paths)
    return _first_free(request.space, found.tolist(), taken)


def random_control(
    request: ControlRequest, candidate: Architecture, taken: frozenset[str], seed: int
) -> Architecture | None:
    """Return a random network of the request's space at nearly the candidate's cost, or None.

    Params and MACs both lie within 5 % of the candidate's; where no such network is found that is not excluded, within
    10 %, then 20 %, then 40 %. It satisfies every limit of the budget. taken: arch_ids to exclude; the candidate itself
    is always excluded.

    Distribution: uniform over the window's networks where the space is small enough to be listed. Elsewhere up to three
    million draws from the tilted distribution (see the module), of which one in the window is chosen with the inverse
    of its probability as weight (sampling importance resampling; Rubin 1987): uniform except for sampling noise. The
    same seed gives the same network on one version of numpy and scipy.
    """
    taken |= {candidate.arch_id}
    cost = np.array([candidate.evaluation.params, candidate.evaluation.macs], np.float64)
    chain, bounds = _limited(request)
    shared = _memory(request, chain, bounds)
    most = np.array([bounds.get(name, np.inf) for name in chain.quantities])
    chain = chain.within_peak(bounds[PEAK]) if PEAK in bounds else chain
    for paths in _by_window(chain, cost, most, np.random.Generator(np.random.PCG64(seed))):
        kept = paths if shared is None else paths[shared.admits(path_sums(chain, paths), chain.path_peaks(paths))]
        control = _first_free(request.space, chain.path_integers(kept).tolist(), taken)
        if control is not None:
            return control
    return None


def near_budget_control(
    request: ControlRequest, candidate: Architecture, taken: frozenset[str], seed: int
) -> Architecture | None:
    """Return a random network of the request's space that nearly uses up the budget, or None.

    It satisfies every upper limit on a cost, and uses at least 90 % of one of them, depth aside: what somebody finds
    who only spends the budget. A limit on the peak, or on weights and activations together, counts only where no sum
    over the layers is limited: one layer can use it up, in a network that spends nothing else. It has the inputs of the
    candidate, whose cost plays no part. None where no cost is limited, or no such network is found.

    Distribution: uniform over these networks where the space is small enough to be listed. Elsewhere up to three
    million draws from the tilted distribution whose mean costs are at most 95 % of the limits, chosen as in
    `random_control`. The same seed gives the same network on one version of numpy and scipy.

    Args:
        request: The space and the budget.
        candidate: The network to compare with.
        taken: arch_ids to exclude, such as the other candidates and controls; the candidate itself is always excluded.
        seed: Draws the network.
    """
    taken |= {candidate.arch_id}
    networks = near_budget_networks(request, seed)
    return next((a for a in networks if a.arch_id not in taken and a.input_shape == candidate.input_shape), None)


def near_budget_networks(request: ControlRequest, seed: int) -> Iterator[Architecture]:
    """Yield different networks of the request's space that nearly use up the budget, in a random order.

    They are drawn as in `near_budget_control`, and none where no cost is limited. The same seed gives the same networks
    in the same order on one version of numpy and scipy.

    Args:
        request: The space and the budget.
        seed: Draws the networks.
    """
    near = NearBudget.of(request)
    if not near.limits_anything:
        return
    seen: set[str] = set()
    for integers in near.chain.path_integers(near.draw(np.random.Generator(np.random.PCG64(seed)))).tolist():
        found = request.space.architecture(integers)
        if found.arch_id not in seen:
            seen.add(found.arch_id)
            yield found


@dataclass(frozen=True, eq=False)
class NearBudget:
    """What networks near a budget keep.

    chain: the paths within the peak. most: the largest sum of every quantity, infinite without a limit. spent: the
    columns of which networks may use up the limit. peak: the limit on the peak in elements, or None. shared: one memory
    for weights and activations, or None.
    """

    chain: Chain
    most: Floats
    spent: list[int]
    peak: int | None
    shared: SharedMemory | None

    @classmethod
    def of(cls, request: ControlRequest, narrower: Chain | None = None) -> NearBudget:
        """Return what networks near a request's budget keep. narrower: a chain with fewer paths than the space's."""
        chain, bounds = _limited(request)
        chain = chain if narrower is None else narrower
        shared = _memory(request, chain, bounds)
        peak = bounds.get(PEAK)
        layers = {quantity for limit in request.budget.limits() if limit.cost.layers for quantity in limit.quantities}
        most = np.array([bounds.get(name, np.inf) for name in chain.quantities])
        spent = [
            column for column, name in enumerate(chain.quantities) if 0 < most[column] < np.inf and name not in layers
        ]
        return cls(chain if peak is None else chain.within_peak(peak), most, spent, peak, shared)

    @property
    def limits_anything(self) -> bool:
        """Whether there is a limit that a network can use up."""
        return bool(self.spent or self.peak or self.shared)

    def admits(self, paths: Ints) -> Mask:
        """Return which paths keep every limit and use most of one, (n,)."""
        sums = path_sums(self.chain, paths)
        fits = np.all(sums <= self.most, axis=1)
        share = (sums[:, self.spent] / self.most[self.spent]).max(axis=1, initial=0.0)
        if self.shared or (self.peak and not self.spent):
            peaks = self.chain.path_peaks(paths)
            if self.peak and not self.spent:
                share = np.maximum(share, peaks / self.peak)
            if self.shared:
                used = self.shared.used(sums, peaks) / self.shared.bound
                fits &= used <= 1
                if not self.spent:
                    share = np.maximum(share, used)
        near: Mask = fits & (share >= NEAR)
        return near

    def draw(self, rng: np.random.Generator) -> Ints:
        """Return paths near the budget in a random order without preference, (n, stages)."""
        if self.chain.count() == 0:
            return np.zeros((0, len(self.chain.stages)), np.int64)
        if self.chain.count() <= LISTED:
            paths = every_path(self.chain)
            paths = paths[self.admits(paths)]
            weights = np.zeros(len(paths))
        else:
            cost = self.most[self.spent]
            tilted = tilt_below(self.chain, self.spent, cost, NEAR_AIM)
            found: list[Ints] = []
            for _ in range(MOST_BATCHES):
                drawn = tilted.draw(BATCH, rng)
                found.append(drawn[self.admits(drawn)])
                if sum(map(len, found)) >= ENOUGH_HITS:
                    break
            paths = np.concatenate(found)
            weights = (path_sums(self.chain, paths)[:, self.spent] / cost) @ tilted.tilt
        order: Ints = np.argsort(weights - rng.gumbel(size=len(paths)), kind="stable")
        return paths[order]


def _limited(request: ControlRequest) -> tuple[Chain, dict[str, int]]:
    """Return the chain of the request's space, and the bounds of its budget by quantity, in elements."""
    limits = request.budget.limits()
    chain = chain_for(request.space, request.budget, (limit.cost for limit in limits), request.structure)
    return chain, {quantity: limit.elements for limit in limits for quantity in limit.quantities}


def _memory(request: ControlRequest, chain: Chain, bounds: dict[str, int]) -> SharedMemory | None:
    """Take the limit on weights and activations together, if there is one, out of the bounds by quantity."""
    if bounds.pop(MEMORY, None) is None:
        return None
    return shared_memory(chain, next(limit for limit in request.budget.limits() if limit.cost.together))


def _after(checks: int) -> Callable[[], bool]:
    """Return a test that is False for its first `checks` calls: a limit on work that is independent of the clock."""
    remaining = iter(range(checks))
    return lambda: next(remaining, None) is None


def _first_free(space: AnySpace, integers: Iterable[Sequence[int]], taken: frozenset[str]) -> Architecture | None:
    architectures = map(space.architecture, integers)
    return next((found for found in architectures if found.arch_id not in taken), None)


def _by_window(chain: Chain, cost: Floats, most: Floats, rng: np.random.Generator) -> Iterator[Ints]:
    """Yield for each window the paths found in it, in a random order without preference.

    cost: the candidate's params and MACs. most: the largest allowed sum of every quantity.
    """
    if chain.count() <= LISTED:
        paths = every_path(chain)
        shares, tilt = path_sums(chain, paths)[:, COSTS] / cost, np.zeros(2)
        kept = np.all(path_sums(chain, paths) <= most, axis=1)
        paths, shares = paths[kept], shares[kept]
    else:
        dearest = np.minimum(1 + WINDOWS[0], most[COSTS] / cost)
        tilted = tilt_to_mean(chain, COSTS, cost, (1 - WINDOWS[0] + dearest) / 2)
        paths, shares = _hits(tilted, most, rng)
        tilt = tilted.tilt
    distance = np.abs(shares - 1).max(axis=1, initial=0.0)
    # the largest log weight + Gumbel noise is one drawn by weight, the next is one drawn from the rest, and so on
    order = np.argsort(shares @ tilt - rng.gumbel(size=len(paths)), kind="stable")
    for window in WINDOWS:
        yield paths[order[distance[order] <= window]]


def _hits(tilted: Tilted, most: Floats, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """Return the paths drawn within the widest window and the limits, and their costs as fractions of the candidate's.

    most: the largest allowed sum of every quantity.
    """
    found: list[Ints] = []
    costs: list[Floats] = []
    near = 0
    for _ in range(MOST_BATCHES):
        paths = tilted.draw(BATCH, rng)
        sums = path_sums(tilted.chain, paths)
        shares = sums[:, COSTS] / tilted.cost
        distance = np.abs(shares - 1).max(axis=1)
        hit = (distance <= WINDOWS[-1]) & np.all(sums <= most, axis=1)
        found.append(paths[hit])
        costs.append(shares[hit])
        near += int(np.count_nonzero(distance[hit] <= WINDOWS[0]))
        if near >= ENOUGH_HITS:
            break
    return np.concatenate(found), np.concatenate(costs)


def _offer_draws(solver: Solver, caps: tuple[tuple[int, int], ...]) -> None:
    """Offer to the solver's pool all networks, or those drawn at the cost of the caps with the first key filled up.

    caps: columns of the quantities and bounds, params and MACs first.
    """
    columns, most = [column for column, _ in caps], np.array([bound for _, bound in caps], np.float64)
    chain = solver.chain
    for paths in (
        [every_path(chain)] if chain.count() <= LISTED else _draws_below(chain, most, solver.problem.keys[0].column)
    ):
        sums = path_sums(chain, paths)
        fits = np.all(sums[:, columns] <= most, axis=1)
        if solver.problem.shared is not None:
            fits &= solver.problem.shared.admits(sums, chain.path_peaks(paths))
        if np.any(fits):
            solver.pool.add(paths[fits], sums[fits])


def _draws_below(chain: Chain, most: Floats, column: int) -> Iterator[Ints]:
    """Yield paths at the cost of caps. most: the caps, params and MACs first. column: params or MACs, to fill up."""
    tilted = tilt_to_mean(chain, COSTS, most[:2], np.ones(2))
    rng = np.random.Generator(np.random.PCG64(0))
    for _ in range(DRAWS):
        drawn = tilted.draw(BATCH, rng)
        yield drawn
        yield _filled(chain, drawn, column, most[COSTS.index(column)])


def _filled(chain: Chain, paths: Ints, column: int, most: float) -> Ints:
    """Return the paths with options exchanged, stage by stage, to bring a cost as close below `most` as possible.

    Options are exchanged for others between the same two nodes, so that the rest of the path stays valid.
    """
    paths = paths.copy()
    spare = most - path_sums(chain, paths)[:, column]
    for i in reversed(range(len(chain.stages))):
        costs, starts = chain.stages[i].additive[:, column], chain.stages[i].groups.starts
        group = np.searchsorted(starts, np.arange(len(costs)), side="right") - 1
        order = np.lexsort([costs, group])
        apart = group * (costs.max() + 1.0)  # sorts by group, then cost, in one column of exact integers
        wanted = np.clip(costs[paths[:, i]] + spare, -0.5, costs.max())
        place = np.searchsorted((apart + costs)[order], apart[paths[:, i]] + wanted, side="right") - 1
        closest = order[np.maximum(place, 0)]
        chosen = np.where(group[closest] == group[paths[:, i]], closest, paths[:, i])
        spare -= costs[chosen] - costs[paths[:, i]]
        paths[:, i] = chosen
    return paths
