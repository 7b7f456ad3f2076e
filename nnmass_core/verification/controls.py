"""Choose control networks for a candidate of a search, so that a claim about NN-Mass can fail.

If a candidate trains better than the network that a ranking by params would choose at its cost, and than random
networks at its cost, then NN-Mass carries information that cost does not. NN-Mass plays no part in choosing controls.

Random networks come from a tilted distribution over the paths of the chain: a path's probability is proportional to
exp(tilt . cost), where cost is its params and MACs as fractions of the candidate's. The tilt is chosen so that the mean
is the required cost (the maximum-entropy distribution of that mean; Jaynes, Phys. Rev. 106, 1957). Networks of equal
cost are equally probable, and even a space where one network in a billion has the cost gives thousands of hits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nnmass_core.architecture import Architecture
from nnmass_core.budget import Budget
from nnmass_core.engine.chain import QUANTITIES, Chain, Floats, Ints, Stage
from nnmass_core.engine.control import Control
from nnmass_core.engine.problem import MEMORY, PEAK, ChainProblem, SharedMemory, maximize
from nnmass_core.engine.solver import Solver
from nnmass_core.search import chain_for, shared_memory
from nnmass_core.spaces.base import AnySpace
from nnmass_core.spaces.structure import Structure

WINDOWS = (0.05, 0.1, 0.2, 0.4)
"""How far a random network's params and MACs may differ from the candidate's, as fractions, in the order of trial."""

BY_PARAMS = (maximize("params"), maximize("macs"))
"""The order of a ranking by params; the architecture's integers, smaller first, break the remaining ties."""

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

STEEPEST = 300.0
"""The largest tilt: for a cost at the edge of what the space contains it would grow without bound."""

Mask = NDArray[np.bool_]


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
    numbers) and peak activation elements do not exceed the candidate's: the one of most params, then most MACs. taken:
    arch_ids to exclude, such as the other candidates and controls; the candidate itself is always excluded.

    The result is exact wherever the engine can prove it in a fixed amount of work. In spaces of trillions, thousands of
    networks tie to the last parameter; there it is the best of what the engine found and of a fixed sample of networks
    at the candidate's cost. A pure function in either case.
    """
    taken |= {candidate.arch_id}
    figures = candidate.evaluation
    own = {"params": figures.params, "macs": figures.macs, "weights": figures.weights, PEAK: figures.peak_elements}
    chain, bounds = _limited(request)
    shared = _memory(request, chain, bounds)
    most = own | {quantity: min(bound, own.get(quantity, bound)) for quantity, bound in bounds.items()}
    peak = most.pop(PEAK)
    caps = tuple((chain.quantities.index(quantity), bound) for quantity, bound in most.items())
    problem = ChainProblem(chain.within_peak(peak), keys=BY_PARAMS, caps=caps, shared=shared)
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
        kept = paths if shared is None else paths[shared.admits(_sums(chain, paths), chain.path_peaks(paths))]
        control = _first_free(request.space, chain.path_integers(kept).tolist(), taken)
        if control is not None:
            return control
    return None


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


@dataclass(frozen=True, eq=False)
class Tilted:
    """The distribution of paths with probability proportional to exp(tilt . relative cost).

    cost: the params and MACs that count as one, (2,). tilt: (2,). rows: each stage's options that lead to the end.
    steps: the probability of each of them at its own source node.
    """

    chain: Chain
    cost: Floats
    tilt: Floats
    rows: list[Ints]
    steps: list[Floats]

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        """Return n independent paths as options of the chain, (n, stages)."""
        paths = np.zeros((n, len(self.rows)), np.int64)
        node = np.zeros(n, np.int64)
        for i, (rows, steps) in enumerate(zip(self.rows, self.steps, strict=True)):
            stage = self.chain.stages[i]
            edges = np.searchsorted(stage.source[rows], np.arange(self.chain.nodes[i] + 1))
            low, end = edges[node], edges[node + 1]
            total = np.concatenate([[0.0], np.cumsum(steps)])
            level = total[low] + rng.random(n) * (total[end] - total[low])
            # rounding may put a level on the boundary of its node
            paths[:, i] = rows[np.clip(np.searchsorted(total, level, side="right") - 1, low, end - 1)]
            node = stage.target[paths[:, i]]
        return paths


def tilt_to_mean(chain: Chain, cost: Floats, aim: Floats) -> Tilted:
    """Return the tilted distribution whose mean cost is `aim`, as fractions of `cost`; the chain must have a path.

    If the space's costs do not surround the aim, the mean is as close to it as the steepest tilt allows.
    """
    from scipy.optimize import minimize  # slow to load, and few processes need it

    rows = _alive(chain)
    layers = [
        _Layer.of(stage, kept, n, cost) for stage, kept, n in zip(chain.stages, rows, chain.nodes[:-1], strict=True)
    ]

    def surprise(tilt: Floats) -> tuple[float, Floats]:
        mass, mean, _ = _backward(layers, tilt)
        return mass - float(tilt @ aim), mean - aim

    # convex: its gradient, the mean cost minus the aim, is 0 at the tilt sought
    found = minimize(surprise, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-STEEPEST, STEEPEST)] * 2)
    return Tilted(chain, cost, found.x, rows, _backward(layers, found.x)[2])


@dataclass(frozen=True, eq=False)
class _Layer:
    """A stage's options that lead to the end: source and target, (n,); cost as fractions, (n, 2); nodes before it."""

    source: Ints
    target: Ints
    shares: Floats
    nodes: int

    @classmethod
    def of(cls, stage: Stage, rows: Ints, nodes: int, cost: Floats) -> _Layer:
        return cls(stage.source[rows], stage.target[rows], stage.additive[rows][:, COSTS] / cost, nodes)


def _alive(chain: Chain) -> list[Ints]:
    """Return each stage's options from which the end can be reached."""
    reaches: Mask = np.ones(1, bool)
    kept: list[Ints] = []
    for stage, nodes in zip(reversed(chain.stages), reversed(chain.nodes[:-1]), strict=True):
        rows = np.flatnonzero(reaches[stage.target])
        reaches = np.bincount(stage.source[rows], minlength=nodes) > 0
        kept.insert(0, rows)
    return kept


def _backward(layers: list[_Layer], tilt: Floats) -> tuple[float, Floats, list[Floats]]:
    """Return the log of the tilted sum over all paths, the mean cost, (2,), and the probability of every option.

    The sums stay logarithms: without a tilt they count paths, whose number may overflow a double.
    """
    mass, mean = np.zeros(1), np.zeros((1, 2))
    steps: list[Floats] = []
    for layer in reversed(layers):
        value = layer.shares @ tilt + mass[layer.target]
        top = np.full(layer.nodes, -np.inf)
        np.maximum.at(top, layer.source, value)
        scaled = np.exp(value - top[layer.source])
        total = np.bincount(layer.source, scaled, layer.nodes)
        step = scaled / total[layer.source]
        onward = layer.shares + mean[layer.target]
        mean = np.column_stack([np.bincount(layer.source, step * onward[:, c], layer.nodes) for c in (0, 1)])
        mass = top + np.log(np.maximum(total, 1.0))  # at least the top itself, except for nodes without options
        steps.insert(0, step)
    return float(mass[0]), mean[0], steps


def _sums(chain: Chain, paths: Ints) -> Floats:
    """Return the additive quantities of paths, (n, quantities)."""
    total: Floats = np.sum([stage.additive[paths[:, i]] for i, stage in enumerate(chain.stages)], axis=0)
    return total


def _by_window(chain: Chain, cost: Floats, most: Floats, rng: np.random.Generator) -> Iterator[Ints]:
    """Yield for each window the paths found in it, in a random order without preference.

    cost: the candidate's params and MACs. most: the largest allowed sum of every quantity.
    """
    if chain.count() <= LISTED:
        paths = every_path(chain)
        shares, tilt = _sums(chain, paths)[:, COSTS] / cost, np.zeros(2)
        kept = np.all(_sums(chain, paths) <= most, axis=1)
        paths, shares = paths[kept], shares[kept]
    else:
        dearest = np.minimum(1 + WINDOWS[0], most[COSTS] / cost)
        tilted = tilt_to_mean(chain, cost, (1 - WINDOWS[0] + dearest) / 2)
        paths, shares = _hits(tilted, most, rng)
        tilt = tilted.tilt
    distance = np.abs(shares - 1).max(axis=1, initial=0.0)
    # the largest log weight + Gumbel noise is one drawn by weight, the next is one drawn from the rest, and so on
    order = np.argsort(shares @ tilt - rng.gumbel(size=len(paths)), kind="stable")
    for window in WINDOWS:
        yield paths[order[distance[order] <= window]]


def every_path(chain: Chain) -> Ints:
    """Return all paths of a small chain as options, (n, stages)."""
    paths, node = np.zeros((1, 0), np.int64), np.zeros(1, np.int64)
    for stage, nodes in zip(chain.stages, chain.nodes[:-1], strict=True):
        edges = np.searchsorted(stage.source, np.arange(nodes + 1))
        counts = edges[node + 1] - edges[node]
        parent = np.repeat(np.arange(len(node)), counts)
        option = np.arange(len(parent)) + (edges[node] - np.cumsum(counts) + counts)[parent]
        paths, node = np.column_stack([paths[parent], option]), stage.target[option]
    return paths


def _hits(tilted: Tilted, most: Floats, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """Return the paths drawn within the widest window and the limits, and their costs as fractions of the candidate's.

    most: the largest allowed sum of every quantity.
    """
    found: list[Ints] = []
    costs: list[Floats] = []
    near = 0
    for _ in range(MOST_BATCHES):
        paths = tilted.draw(BATCH, rng)
        sums = _sums(tilted.chain, paths)
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
    """Offer to the solver's pool all networks, or those drawn at the cost of the caps with params filled up to the cap.

    caps: columns of the quantities and bounds, params and MACs first.
    """
    columns, most = [column for column, _ in caps], np.array([bound for _, bound in caps], np.float64)
    chain = solver.chain
    for paths in [every_path(chain)] if chain.count() <= LISTED else _draws_below(chain, most):
        sums = _sums(chain, paths)
        fits = np.all(sums[:, columns] <= most, axis=1)
        if solver.problem.shared is not None:
            fits &= solver.problem.shared.admits(sums, chain.path_peaks(paths))
        if np.any(fits):
            solver.pool.add(paths[fits], sums[fits])


def _draws_below(chain: Chain, most: Floats) -> Iterator[Ints]:
    tilted = tilt_to_mean(chain, most[:2], np.ones(2))
    rng = np.random.Generator(np.random.PCG64(0))
    for _ in range(DRAWS):
        drawn = tilted.draw(BATCH, rng)
        yield drawn
        yield _filled(chain, drawn, most[0])


def _filled(chain: Chain, paths: Ints, most: float) -> Ints:
    """Return the paths with options exchanged, stage by stage, to bring their params as close below `most` as possible.

    Options are exchanged for others between the same two nodes, so that the rest of the path stays valid.
    """
    paths = paths.copy()
    spare = most - _sums(chain, paths)[:, PARAMS]
    for i in reversed(range(len(chain.stages))):
        params, starts = chain.stages[i].additive[:, PARAMS], chain.stages[i].groups.starts
        group = np.searchsorted(starts, np.arange(len(params)), side="right") - 1
        order = np.lexsort([params, group])
        apart = group * (params.max() + 1.0)  # sorts by group, then params, in one column of exact integers
        wanted = np.clip(params[paths[:, i]] + spare, -0.5, params.max())
        place = np.searchsorted((apart + params)[order], apart[paths[:, i]] + wanted, side="right") - 1
        closest = order[np.maximum(place, 0)]
        chosen = np.where(group[closest] == group[paths[:, i]], closest, paths[:, i])
        spare -= params[chosen] - params[paths[:, i]]
        paths[:, i] = chosen
    return paths
