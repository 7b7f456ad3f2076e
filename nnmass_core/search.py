"""Exact search: from a request to the ranking and its certificate. A pure function, except for its time limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from threading import Lock
from types import SimpleNamespace

import numpy as np

from nnmass_core.architecture import Architecture, Evaluation
from nnmass_core.budget import AnyLimit, Budget, DensityLimit, Floor, Limit, MassLimit, quantities_of, unused_of
from nnmass_core.certificate import (
    Certificate,
    DeviceFit,
    JointRelaxation,
    Ranked,
    SearchResult,
    Share,
    Spent,
    Taken,
    Uniform,
)
from nnmass_core.codec import LARGEST_INTEGER
from nnmass_core.costs import COSTS, LEAST_MASS, Cost, counts_of
from nnmass_core.engine.chain import QUANTITIES, Chain, Ints, Stage
from nnmass_core.engine.control import Control, OutOfTime, watching_tables
from nnmass_core.engine.fronts.excluding import front_without_excluded
from nnmass_core.engine.fronts.labels import TooManyLabels, fits
from nnmass_core.engine.fronts.optima import ends_of_front, front_of_optima
from nnmass_core.engine.joint_relaxation import EASIEST, least_factor
from nnmass_core.engine.listing import Listing, listable, listed_beats, listed_best, listed_front
from nnmass_core.engine.pareto import Front, thinned
from nnmass_core.engine.peaks import admits_below, front_of_peak, least_peak, least_peaks, least_possible
from nnmass_core.engine.problem import (
    MASS,
    MEMORY,
    PEAK,
    RANKING,
    RELATIVE_ERROR,
    ChainProblem,
    Excluded,
    Key,
    SharedMemory,
    maximize,
    minimize,
)
from nnmass_core.engine.solver import Solution, Solver
from nnmass_core.engine.sums.limited import beats, best_paths
from nnmass_core.hardware.latency import LatencyModel, greatest
from nnmass_core.named.compression import uniform
from nnmass_core.request import Maximize, Minimize, Objective, Pareto, SearchRequest
from nnmass_core.spaces.base import AnySpace, Space
from nnmass_core.spaces.caveats import LEAST_USE, caveats_of_network, caveats_of_ranking
from nnmass_core.spaces.densities import densities_of, within_density
from nnmass_core.spaces.kept import KeptParams, KeptStages, keeping_stages
from nnmass_core.spaces.several import chain_of_all, size_of_all
from nnmass_core.spaces.structure import ANY, Structure, structured

HardLimit = AnyLimit | KeptStages | KeptParams
"""A limit of the budget, or one that follows from what is kept of a reference."""

COUNTED = ("params", "macs", "weights", "indices")
"""The quantities that costs are computed from."""

CACHED_CHAINS = 4
"""The most chains that are kept for later searches."""

CACHED_OPTIONS = 2_000_000
"""The most options of the chains that are kept together, to bound memory: some 110 bytes each."""

LISTED = 50_000
"""The most networks of a space that are listed, since bounds then take longer than a list."""

FIRST_SHARE = 0.5
"""The share of the time limit that the first of two solves may take."""

LABELS_SHARE = 0.8
"""The share of the time limit after which labels give way to single points of a front."""


def search(request: SearchRequest, control: Control | None = None) -> SearchResult:
    """Return the best architectures of the request with their certificate.

    Args:
        request: The space, the budget, the objective, and the size of the result.
        control: Monitors and stops the search; without one it has no time limit.

    Returns:
        The ranking, best first (for a front: ascending in its first cost), and its certificate.

    Raises:
        Interrupted: The control stopped the search.
    """
    found, within = _answered(request, (control or Control()).never_back()), request.within
    if within is None:
        return found
    taken = Taken(within.reference, within.limits(request.budget), dict(within.ratio))
    return replace(found, certificate=replace(found.certificate, within=taken))


def _answered(request: SearchRequest, control: Control) -> SearchResult:
    control.report(0.0, "building the space")
    costs = [cost for _, cost in request.costs]
    try:
        with watching_tables(control):
            chains = [_chain_of_one(one, request.budget, costs, request.structure) for one in request.space.spaces]
            question = _Question(request, chains, control)
    except OutOfTime:
        return SearchResult((), _empty(request, optimal=False, space_size=None, feasible=None, unfinished=("tables",)))
    if not question.chain.count():
        return question.nothing()
    return question.front() if isinstance(request.objective, Pareto) else question.ranking()


def problem_of(request: SearchRequest) -> ChainProblem:
    """Return the engine's problem of a request that ranks: its chain, its order and all its limits but `spend`."""
    costs = [cost for _, cost in request.costs]
    chains = [_chain_of_one(one, request.budget, costs, request.structure) for one in request.space.spaces]
    return _Question(request, chains, Control()).problem()


def chain_for(space: AnySpace, budget: Budget, costs: Iterable[Cost], structure: Structure = ANY) -> Chain:
    """Return the chain of the networks of a space that keep a structure, with what these costs need.

    It has latencies of the budget's devices and computed quantities.

    Args:
        space: The space, or several.
        budget: The limits of the hardware.
        costs: The costs that are limited or an objective.
        structure: What the parts of each network must have in common.

    Raises:
        DefinitionError: The chain would have too many options for a rule of the structure.
    """
    needed = [*costs]
    return chain_of_all([_chain_of_one(one, budget, needed, structure) for one in space.spaces])


def _chain_of_one(space: Space, budget: Budget, costs: Iterable[Cost], structure: Structure = ANY) -> Chain:
    needed = dict.fromkeys(costs)
    if any(cost.together for cost in needed):
        needed[COSTS["weight_bytes"]] = None
    models = tuple(model for _, model in budget.timed_devices()) if any(cost.timed for cost in needed) else ()
    # columns that few questions need: what is computed, and the layers
    computed = tuple(cost for cost in needed if cost.compute is not None or cost.layers)
    of_bytes = any(cost.compute is not None for cost in computed)
    chain = chain_of(
        space, models[0] if models else None, computed, budget.element_bytes if of_bytes else 0, models[1:]
    )
    if structure == ANY:
        return chain
    known: Chain | None = chain.memory.get(structure)
    if known is None:
        known = chain.memory[structure] = structured(space.part_values, chain, structure)
    return known


def chain_of(
    space: Space,
    model: LatencyModel | None = None,
    computed: tuple[Cost, ...] = (),
    element_bytes: int = 0,
    others: tuple[LatencyModel, ...] = (),
) -> Chain:
    """Return the space's chain, with latencies by a model, from a small cache unless it is too large.

    Args:
        space: The space.
        model: The source of latencies; without one they are 0.
        computed: Costs that are computed from the space's quantities, and the depth.
        element_bytes: Bytes of one stored number, which costs that are computed need.
        others: The sources of latencies on further devices.
    """
    return _kept.chain(space, model, computed, element_bytes, others)


def _chain(
    space: Space,
    model: LatencyModel | None,
    computed: tuple[Cost, ...],
    element_bytes: int,
    others: tuple[LatencyModel, ...],
) -> Chain:
    chain = space.chain() if model is None else space.chain(model)
    for quantity, other in zip(quantities_of(COSTS["latency_ms"], len(others) + 1)[1:], others, strict=True):
        # the options of a space and their order do not depend on the device
        stages = iter(space.chain(other).stages)
        chain = chain.with_quantities({quantity: partial(_latency, stages)})
    if not computed:
        return chain
    return chain.with_quantities({cost.quantity: _column(cost, space, chain, element_bytes) for cost in computed})


class _Kept:
    """The chains of the latest searches, by the arguments of `_chain`; a chain that is too large by itself is not kept.

    Threads may build one chain twice.
    """

    def __init__(self) -> None:
        self._chains = dict[tuple[Hashable, ...], Chain]()
        self._lock = Lock()

    def chain(
        self,
        space: Space,
        model: LatencyModel | None,
        computed: tuple[Cost, ...],
        element_bytes: int,
        others: tuple[LatencyModel, ...],
    ) -> Chain:
        """Return a chain that is kept, or a new one."""
        key = space, model, computed, element_bytes, others
        with self._lock:
            known = self._chains.pop(key, None)
            if known is not None:
                self._chains[key] = known  # the latest is the last
                return known
        found = _chain(*key)
        if found.options() <= CACHED_OPTIONS:
            with self._lock:
                self._chains[key] = found
                while len(self._chains) > CACHED_CHAINS or self.options() > CACHED_OPTIONS:
                    self._chains.pop(next(iter(self._chains)))
        return found

    def options(self) -> int:
        """Return the number of options of the chains that are kept."""
        return sum(chain.options() for chain in self._chains.values())


_kept = _Kept()


def _latency(stages: Iterator[Stage], _: Stage) -> Ints:
    column: Ints = next(stages).additive[:, QUANTITIES.index("latency")].astype(np.int64)
    return column


def _column(cost: Cost, space: Space, chain: Chain, element_bytes: int) -> Callable[[Stage], Ints]:
    """Return what gives a cost of each of a stage's options, of one stage after the other."""
    if not cost.layers:
        return partial(_computed, cost, element_bytes)
    layers = space.layers(chain)
    assert layers is not None  # a request is refused where a family does not define them
    following = iter(layers)
    return lambda _: next(following)


def _computed(cost: Cost, element_bytes: int, stage: Stage) -> Ints:
    assert cost.compute is not None
    counted = {name: stage.additive[:, QUANTITIES.index(name)].astype(np.int64) for name in COUNTED}
    column: Ints = cost.compute(counts_of(SimpleNamespace(**counted), element_bytes))
    return column


def _within(space: Space, chain: Chain, density: Fraction | None, kept: KeptStages | None) -> Chain:
    """Return the chain of the networks of a space whose cells and stages keep limits."""
    if kept is not None:
        chain = keeping_stages(space, chain, kept)
    return chain if density is None else within_density(space, chain, density)


def _problem(chain: Chain, limits: tuple[HardLimit, ...], objective: Objective) -> ChainProblem:
    """Return the engine's problem. For a least peak its keys are the ranking order, since the peak is not a sum."""
    uppers = [limit for limit in limits if isinstance(limit, Limit)]
    caps = {quantity: limit.elements for limit in uppers for quantity in limit.quantities}
    peak, shared = caps.pop(PEAK, None), None
    if caps.pop(MEMORY, None) is not None:
        shared = shared_memory(chain, next(limit for limit in uppers if limit.cost.together))
        whole = shared.bound // shared.element  # the activations alone
        peak = whole if peak is None else min(peak, whole)
    floors = {limit.cost.quantity: limit.elements for limit in limits if isinstance(limit, Floor)}
    kept = [limit.elements for limit in limits if isinstance(limit, KeptParams)]
    if kept:
        floors["params"] = max(*kept, floors.get("params", 0))
    masses = [limit for limit in limits if isinstance(limit, MassLimit)]
    least = [limit.mass for limit in masses if limit.lower]
    asked = objective.least_mass if isinstance(objective, Minimize) else None
    least += [] if asked is None else [asked]
    return ChainProblem(
        chain,
        keys=_keys(chain, objective),
        caps=_by_column(chain, caps),
        peak=peak,
        least_mass=max(least, default=None),
        floors=_by_column(chain, floors),
        most_mass=min((limit.mass for limit in masses if not limit.lower), default=None),
        shared=shared,
    )


def shared_memory(chain: Chain, limit: Limit) -> SharedMemory:
    """Return the engine's form of a limit on weights and activations together."""
    column = chain.quantities.index(COSTS["weight_bytes"].quantity)
    return SharedMemory(column, limit.element_bytes * limit.batch, limit.elements, least_possible(chain))


def _by_column(chain: Chain, bounds: Mapping[str, int]) -> tuple[tuple[int, int], ...]:
    return tuple((chain.quantities.index(quantity), bound) for quantity, bound in bounds.items())


def _keys(chain: Chain, objective: Objective) -> tuple[Key, ...]:
    cost = _cost_of(objective)
    if cost is None or cost.quantity == PEAK:
        return RANKING
    first = Key(chain.quantities.index(cost.quantity), _sign(objective))
    return (first, *(key for key in RANKING if key.column != first.column))


def _cost_of(objective: Objective) -> Cost | None:
    """Return the cost that a ranking is by; None where it is by NN-Mass, and for a front."""
    match objective:
        case Maximize(quantity=name) | Minimize(cost=name):
            return COSTS.get(name)
    return None


def _sign(objective: Objective) -> int:
    """Return the sign of an objective's quantity for which more is better."""
    return -1 if isinstance(objective, Minimize) else 1


class _Question:
    """The computation of one request's result."""

    def __init__(self, request: SearchRequest, chains: list[Chain], control: Control) -> None:
        self._request = request
        self._objective = request.objective
        self._chains = chains
        self.chain = self._chain = chain_of_all(chains)
        self._control = control
        self._caps = request.budget.limits()
        self._limits: tuple[HardLimit, ...] = (*request.budget.all_limits(), *request.kept_limits)
        self._size = request.budget.element_bytes
        self._counted = (self._size, request.budget.batch)
        self._cost = _cost_of(request.objective)
        self._of_peak = self._cost is not None and self._cost.quantity == PEAK
        self._excluded = _excluded(request)
        self._listed: Listing | None = None
        self._within: dict[tuple[Fraction | None, KeptStages | None], Chain] = {}

    def nothing(self) -> SearchResult:
        """Return the result of a space without a network that keeps the structure: no limit changes that."""
        names = [limit.name for limit in self._limits]
        objective = self._objective
        names += [LEAST_MASS] if isinstance(objective, Minimize) and objective.least_mass is not None else []
        certificate = _empty(self._request, optimal=True, space_size=0, feasible=False)
        spaces = self._shares((), None, None)
        return SearchResult((), replace(certificate, binding=(), relaxation=dict.fromkeys(names), spaces=spaces))

    def ranking(self) -> SearchResult:
        """Return the ranks of the request, in the order of docs/theory.md (11)."""
        problem, first_rank = self._problem(self._limits), self._request.first_rank
        first = self._most(problem, self._control.until(FIRST_SHARE))
        last = first_rank - 1 + self._request.top_k
        solution = self._with_copies(self._spending(problem, first), last)
        if first is not None:
            solution = _both(first, solution, proved=self._most_is_proved(first))
        rows = self._without_copies(solution)[:last]
        ranking = self._ranked(rows[first_rank - 1 :], first_rank)
        best = next(iter(ranking if first_rank == 1 else self._ranked(rows[:1])), None)
        certificate = self._certificate(ranking, best, solution)
        return SearchResult(ranking, certificate if first is None else replace(certificate, spent=self._spent(first)))

    def problem(self) -> ChainProblem:
        """Return the engine's problem of the request with all its limits but `spend`."""
        return self._problem(self._limits)

    def _problem(self, limits: tuple[HardLimit, ...]) -> ChainProblem:
        """Return the engine's problem of the request with other limits."""
        density = next((limit.density for limit in limits if isinstance(limit, DensityLimit)), None)
        kept = next((limit for limit in limits if isinstance(limit, KeptStages)), None)
        problem = _problem(self._chain_within(density, kept), limits, self._objective)
        return replace(problem, excluded=self._excluded)

    def _chain_within(self, density: Fraction | None, kept: KeptStages | None) -> Chain:
        """Return the chain of the networks whose cells and stages keep these limits."""
        if density is None and kept is None:
            return self._chain
        if (density, kept) not in self._within:
            each = zip(self._request.space.spaces, self._chains, strict=True)
            self._within[density, kept] = chain_of_all([_within(space, chain, density, kept) for space, chain in each])
        return self._within[density, kept]

    def _most(self, problem: ChainProblem, control: Control) -> Solution | None:
        """Return the network that uses the most of the cost of which a share must be spent; None without a `spend`."""
        spend = self._request.spend
        if spend is None:
            return None
        problem = replace(problem, keys=_keys(problem.chain, Maximize(spend.quantity)))
        listing = self._listing(problem.chain)
        if listing is not None:
            return listed_best(listing, problem, 1, of_peak=False, distinct_shapes=False)
        return best_paths(problem, 1, control)

    def _spending(self, problem: ChainProblem, first: Solution | None) -> ChainProblem:
        """Return the problem with the floor that follows from the most of a cost: docs/theory.md (51)."""
        spend = self._request.spend
        if spend is None or first is None or not len(first.additive):
            return problem
        column = problem.chain.quantities.index(COSTS[spend.quantity].quantity)
        floor = spend.least(int(first.additive[0, column]))
        return replace(problem, floors=(*problem.floors, (column, floor)))

    def _spent(self, first: Solution) -> Spent | None:
        spend = self._request.spend
        if spend is None or not len(first.additive):
            return None
        cost = COSTS[spend.quantity]
        most = int(first.additive[0, self._chain.quantities.index(cost.quantity)])
        return Spent(
            quantity=spend.quantity,
            share=spend.share,
            most=float(cost.in_units(most, *self._counted)),
            bound=float(cost.in_units(max(most, first.bound), *self._counted)),
            optimal=self._most_is_proved(first),
            least=float(cost.in_units(spend.least(most), *self._counted)),
            network=self._request.space.architecture(first.integers[0].tolist()),
            precision=self._request.budget.precision,
            batch=self._request.budget.batch,
        )

    def _most_is_proved(self, first: Solution) -> bool:
        """Return whether no network uses more of the cost to spend, though others may use as much and rank before."""
        spend = self._request.spend
        assert spend is not None
        if first.complete or not len(first.additive):
            return first.complete
        column = self._chain.quantities.index(COSTS[spend.quantity].quantity)
        return bool(first.bound <= first.additive[0, column])

    def front(self) -> SearchResult:
        """Return the Pareto front."""
        assert isinstance(self._objective, Pareto)
        problem = self._problem(self._limits)
        try:
            front = self._front(problem, self._objective)
        except OutOfTime:
            return SearchResult((), self._front_certificate((), Front([], None, 0, 0), feasible=None))
        kept = thinned(front.points, self._objective.points)
        ranking = self._ranked([list(point.integers) for point in kept])
        return SearchResult(ranking, self._front_certificate(ranking, front, feasible=bool(ranking)))

    def _with_copies(self, problem: ChainProblem, k: int) -> Solution:
        """Return the first paths that have k networks: those of several spaces are a path of each."""
        paths = k
        while True:
            solution = self._solve(problem, paths)
            more = len(self._chains) > 1 and solution.complete and len(solution.integers) == paths
            if not more or len(self._without_copies(solution)) >= k:
                return solution
            paths = min(2 * paths, k * len(self._chains))

    def _without_copies(self, solution: Solution) -> list[list[int]]:
        """Return the first path of each network, in order."""
        rows: list[list[int]] = solution.integers.tolist()
        if len(self._chains) == 1:
            return rows
        first: dict[str, list[int]] = {}
        for row in rows:
            first.setdefault(self._request.space.architecture(row).arch_id, row)
        return list(first.values())

    def _solve(self, problem: ChainProblem, k: int) -> Solution:
        distinct = self._request.diversity == "shape"
        listing = self._listing(problem.chain)
        if listing is not None:
            return listed_best(listing, problem, k, of_peak=self._of_peak, distinct_shapes=distinct)
        if self._of_peak:
            return least_peaks(problem, k, self._control, distinct_shapes=distinct)
        return best_paths(problem, k, self._control, distinct_shapes=distinct)

    def _front(self, problem: ChainProblem, objective: Pareto) -> Front:
        quantities = tuple(COSTS[cost].quantity for cost in objective.costs)
        listing = self._listing(problem.chain)
        if listing is not None:
            return listed_front(listing, problem, quantities)
        if quantities == (PEAK,):
            return front_of_peak(problem, self._control)
        ends = ends_of_front(problem, quantities, self._control)
        if ends.points and fits(problem):
            try:
                front = front_without_excluded(problem, quantities, self._control.until(LABELS_SHARE), ends.points)
                return replace(front, labels=front.labels + ends.labels, pruned=front.pruned + ends.pruned)
            except (OutOfTime, TooManyLabels):
                pass  # optima take less memory, and each is a point
        return front_of_optima(problem, quantities, ends, self._control)

    def _listing(self, chain: Chain) -> Listing | None:
        """Return all networks of a chain where that answers sooner; None: it does not.

        None also where the time limit ends the list: the engine then finds what it can at once, and says so.
        """
        if chain.count() > LISTED or not listable(chain):
            return None
        try:
            if self._listed is None or self._listed.chain is not chain:
                self._listed = Listing(chain, self._control)
        except OutOfTime:
            return None
        return self._listed

    def _ranked(self, rows: list[list[int]], first_rank: int = 1) -> tuple[Ranked, ...]:
        ranked: list[Ranked] = []
        space, of_front = self._request.space, isinstance(self._objective, Pareto)
        several = len(self._chains) > 1
        for rank, integers in enumerate(rows, start=first_rank):
            architecture = space.architecture(integers)
            evaluation = architecture.evaluation
            latencies = self._request.latencies_of(architecture)
            latency = greatest(latencies)
            slack = {limit.name: limit.slack(evaluation, latency) for limit in self._limits}
            unused = unused_of(self._limits, slack)
            number = integers[0] if several else 0
            caveats = caveats_of_network(architecture, space.spaces[number].densest_evidence, latencies)
            fit, place = self._fit(architecture), number + 1 if several else None
            batch = self._request.budget.batch
            figures = (rank, architecture, evaluation, slack, unused, latency)
            ranked.append(Ranked(*figures, caveats, of_front, fit, batch, place))
        return tuple(ranked)

    def _fit(self, architecture: Architecture) -> tuple[DeviceFit, ...]:
        """Return how an architecture fits each of several devices."""
        budget = self._request.budget
        if len(budget.devices) < 2:
            return ()
        latencies = {one.device: one for one in self._request.latencies_of(architecture)}
        return tuple(
            DeviceFit.of(device, budget, architecture.evaluation, latencies.get(device.name))
            for device in budget.devices
        )

    def _certificate(self, ranking: tuple[Ranked, ...], best: Ranked | None, solution: Solution) -> Certificate:
        """Return the certificate of a ranking. best: the first of all ranks, which need not be in the ranking."""
        infeasible = solution.complete and best is None
        value = None if best is None else self._value(best)
        bound = self._bound(value, solution)
        reference = self._request.reference
        size = size_of_all(self._request.space.spaces, self._chains)
        binding = self._binding(best) if best is not None else () if infeasible else None
        relaxation, joint, unfinished = self._relaxed() if infeasible else (None, None, ())
        return Certificate(
            count=len(ranking),
            optimal=solution.complete,
            objective_value=value,
            bound=bound,
            best_nn_mass=None if best is None else float(best.evaluation.mass),
            upper_bound=bound if self._cost is None else None,
            space_size=size.networks,
            space_size_exact=size.exact,
            spaces=self._shares(ranking, solution, bound),
            feasible=True if best is not None else False if infeasible else None,
            binding=binding,
            relaxation=relaxation,
            joint_relaxation=joint,
            unfinished=("binding",) if best is not None and binding is None else unfinished,
            caveats=self._caveats(ranking, best),
            labels=solution.labels,
            pruned=solution.pruned,
            reference=reference,
            savings=None if reference is None or best is None else _savings(reference.evaluation, best.evaluation),
            uniform=None if best is None else self._uniform(best),
            first_rank=self._request.first_rank,
        )

    def _uniform(self, best: Ranked) -> Uniform | None:
        """Return the network of one width multiplier of the MACs of the best; None without a reference."""
        reference, budget = self._request.reference, self._request.budget
        found = None if reference is None else uniform(reference, {"macs": best.evaluation.macs})
        return None if found is None else Uniform(float(found[0]), found[1], budget.precision, budget.batch)

    def _front_certificate(self, ranking: tuple[Ranked, ...], front: Front, *, feasible: bool | None) -> Certificate:
        best = max((float(ranked.evaluation.mass) for ranked in ranking), default=None)
        gaps = front.gaps
        size = size_of_all(self._request.space.spaces, self._chains)
        relaxation, joint, unfinished = self._relaxed() if feasible is False else (None, None, ())
        return Certificate(
            count=len(ranking),
            optimal=feasible is not None and gaps is None,
            objective_value=None,
            bound=None,
            best_nn_mass=best,
            upper_bound=None,
            space_size=size.networks,
            space_size_exact=size.exact,
            spaces=self._shares(ranking, None, None),
            feasible=feasible,
            binding=() if feasible is False else None,
            relaxation=relaxation,
            joint_relaxation=joint,
            unfinished=unfinished,
            caveats=self._caveats(ranking, next(iter(ranking), None)),
            labels=front.labels,
            pruned=front.pruned,
            front=True,
            resolution=None if gaps is None else self._in_units(gaps),
            thinned_from=len(front.points) if len(front.points) > len(ranking) else None,
        )

    def _shares(self, ranking: tuple[Ranked, ...], solution: Solution | None, bound: float | None) -> tuple[Share, ...]:
        """Return what is proved of each of several spaces. solution: of a ranking; bound: of all spaces."""
        if len(self._chains) == 1:
            return ()
        rows = [] if solution is None else solution.integers.tolist()
        best: dict[int, list[int]] = {}
        for row in rows:
            best.setdefault(row[0], row)
        every = solution is not None and len(rows) < self._request.first_rank - 1 + self._request.top_k
        shares: list[Share] = []
        for number, chain in enumerate(self._chains):
            known = bound
            if solution is not None and solution.complete:
                # the network that none of the space is before: its own first one, or the last of the ranking
                row = best.get(number) or (None if every else rows[-1])
                known = None if row is None else self._value(self._ranked([row])[0])
                if known is not None and ranking and not every:
                    better = min if isinstance(self._objective, Minimize) else max
                    known = better(known, self._value(ranking[-1]))
            listed = sum(place.space == number + 1 for place in ranking)
            shares.append(Share(number + 1, chain.count(), listed, known))
        return tuple(shares)

    def _caveats(self, ranking: tuple[Ranked, ...], best: Ranked | None) -> tuple[str, ...]:
        """Return the caveats of the ranking (docs/theory.md (36))."""
        free = not self._caps and not isinstance(self._objective, Minimize)
        unused = best is not None and self._underused(best)
        return (
            *(["no_limits"] if free else []),
            *caveats_of_ranking(self._request.space, [ranked.caveats for ranked in ranking]),
            *(["limits_used_below_60"] if unused else []),
        )

    def _underused(self, best: Ranked) -> bool:
        """Return whether the best leaves more than 40 % of every upper limit, where NN-Mass is maximized.

        A minimum may leave all of them.
        """
        if not isinstance(self._objective, Maximize) or not self._caps:
            return False
        used = [(Fraction(one.used(best.evaluation, best.latency)), one.bound) for one in self._caps]
        masses = [one for one in self._limits if isinstance(one, MassLimit) and not one.lower]
        used += [(best.evaluation.mass, one.bound) for one in masses]
        return all(use < LEAST_USE * Fraction(bound) for use, bound in used)

    def _value(self, ranked: Ranked) -> float:
        """Return the objective's value: NN-Mass, or the cost in its unit."""
        if self._cost is None:
            return float(ranked.evaluation.mass)
        return float(self._cost.value(ranked.evaluation, ranked.latency, *self._counted) or 0)

    def _bound(self, value: float | None, solution: Solution) -> float | None:
        if solution.complete:
            return value
        if not math.isfinite(solution.bound):
            return value
        if self._cost is None:
            # the engine's sum of rounded masses may be above the double nearest to the exact sum
            if value is not None and solution.bound <= solution.additive[0, MASS]:
                return value
            # or below it
            return solution.bound + RELATIVE_ERROR * (1.0 + abs(solution.bound))
        sign = _sign(self._objective)
        bound = self._cost.in_units(sign * solution.bound, *self._counted)
        return bound if value is None else max(value, bound) if sign > 0 else min(value, bound)

    def _in_units(self, gaps: Mapping[str, int]) -> dict[str, float]:
        """Return gaps by quantity, in elements, as gaps by cost in its unit."""
        costs = {cost.quantity: cost for _, cost in self._request.costs}
        return {costs[name].name: costs[name].in_units(gap, *self._counted) for name, gap in gaps.items()}

    def _binding(self, best: Ranked) -> tuple[str, ...] | None:
        """Return the limits whose removal would give a better objective value; None when the time runs out first."""
        binding: list[str] = []
        for limit in self._limits:
            if self._never_binds(limit):
                continue
            others = tuple(other for other in self._limits if other != limit)
            problem = self._problem(others)
            first = self._most(problem, self._control)
            if first is not None and not self._most_is_proved(first):
                return None
            better = self._beats(self._spending(problem, first), best)
            if better is None:
                return None
            if better:
                binding.append(limit.name)
        if self._request.spend is not None:
            better = self._beats(self._problem(self._limits), best)
            if better is None:
                return None
            binding += ["spend"] if better else []
        return tuple(binding)

    def _never_binds(self, limit: HardLimit) -> bool:
        """Return whether all networks that a limit keeps away have a worse objective than those within it."""
        if self._request.spend is not None or not isinstance(limit, Limit | Floor | MassLimit):
            return False  # each limit decides what can be spent
        if isinstance(limit, MassLimit):
            return self._cost is None and limit.lower
        if self._cost is None or limit.quantities != (self._cost.quantity,):
            return False
        return isinstance(limit, Floor if _sign(self._objective) > 0 else Limit)

    def _beats(self, problem: ChainProblem, best: Ranked) -> bool | None:
        value = best.evaluation.mass
        if self._of_peak:
            value = Fraction(-best.evaluation.peak_elements)
        elif self._cost is not None:
            elements = self._cost.elements(best.evaluation, best.latency, self._size) or 0
            value = Fraction(_sign(self._objective) * elements)
        listing = self._listing(problem.chain)
        if listing is not None:
            return listed_beats(listing, problem, value, of_peak=self._of_peak)
        if self._control.expired():  # preparing a solve of a large space takes a while by itself
            return None
        if self._of_peak:
            return admits_below(problem, best.evaluation.peak_elements, self._control)
        return beats(problem, value, self._control)

    def _relaxed(self) -> tuple[dict[str, float | None] | None, JointRelaxation | None, tuple[str, ...]]:
        """Return what would make an infeasible request feasible, and the field that the time limit left open."""
        try:
            relaxation = self._relaxation()
        except OutOfTime:
            return None, None, ("relaxation",)
        try:
            return relaxation, self._joint_relaxation(relaxation), ()
        except OutOfTime:
            return relaxation, None, ("joint_relaxation",)

    def _relaxation(self) -> dict[str, float | None]:
        """Return, for each limit, the nearest value that makes the request feasible with the other limits unchanged.

        It is the least value of an upper limit and the greatest of a lower one; the least NN-Mass of the objective
        counts as a limit. Raises OutOfTime.
        """
        nearest: dict[str, float | None] = {}
        for limit in self._limits:
            if self._control.expired():
                raise OutOfTime
            others = self._problem(tuple(o for o in self._limits if o != limit))
            nearest[limit.name] = self._nearest_of(others, limit)
        if isinstance(self._objective, Minimize) and self._objective.least_mass is not None:
            nearest[LEAST_MASS] = self._nearest_mass(MassLimit(LEAST_MASS, 0.0))
        return nearest

    def _nearest_of(self, others: ChainProblem, limit: HardLimit) -> float | None:
        if isinstance(limit, KeptStages):
            return self._nearest_kept_stages(others, limit)
        if isinstance(limit, KeptParams):
            return self._nearest_kept_params(others, limit)
        if isinstance(limit, MassLimit):
            return self._nearest_mass(limit)
        if isinstance(limit, DensityLimit):
            return self._nearest_density(others)
        return self._nearest(others, limit)

    def _nearest_density(self, others: ChainProblem) -> float | None:
        """Return the least density that admits a network within the other limits: docs/theory.md (54)."""
        each = zip(self._request.space.spaces, self._chains, strict=True)
        densities = sorted({density for space, chain in each for density in densities_of(space, chain)})
        low, high = -1, len(densities)
        while high - low > 1:
            middle = (low + high) // 2
            chain = self._chain_within(densities[middle], self._kept_stages())
            solver = Solver(replace(others, chain=chain, keys=EASIEST), 1, self._control)
            admitted = solver.admits()
            if admitted is None:
                raise OutOfTime
            low, high = (low, middle) if admitted else (middle, high)
        return float(densities[high]) if high < len(densities) else None

    def _kept_stages(self) -> KeptStages | None:
        return next((limit for limit in self._limits if isinstance(limit, KeptStages)), None)

    def _nearest_kept_stages(self, others: ChainProblem, limit: KeptStages) -> float | None:
        """Return the greatest whole percent of each stage that a network within the other limits keeps."""
        density = next((one.density for one in self._limits if isinstance(one, DensityLimit)), None)
        low, high = 0, math.ceil(100 * limit.share)
        while low < high:
            middle = (low + high) // 2
            chain = self._chain_within(density, replace(limit, share=middle / 100))
            admitted = Solver(replace(others, chain=chain, keys=EASIEST), 1, self._control).admits()
            if admitted is None:
                raise OutOfTime
            low, high = (middle + 1, high) if admitted else (low, middle)
        return (low - 1) / 100 if low else None

    def _nearest_kept_params(self, others: ChainProblem, limit: KeptParams) -> float | None:
        """Return the greatest share of the reference's params that a network within the other limits keeps.

        It is rounded down to four decimals.
        """
        key = Key(others.chain.quantities.index("params"), 1)
        found = self._proved(replace(others, keys=(key, maximize("nn_mass"))))
        if not len(found.additive):
            return None
        return int(found.additive[0, key.column]) * 10_000 // limit.reference.evaluation.params / 10_000

    def _nearest(self, others: ChainProblem, limit: Limit | Floor) -> float | None:
        """Return what the networks within the other limits have of a limit's cost, nearest to the limit."""
        elements: int | None
        if limit.cost.quantity == PEAK:
            elements = least_peak(others, self._control)
        elif limit.cost.together:
            assert isinstance(limit, Limit)
            elements = self._least_memory(others, shared_memory(others.chain, limit))
        elif len(limit.quantities) > 1:
            assert isinstance(limit, Limit)
            elements = self._least_of_all(others, limit)
        else:
            sign = 1 if isinstance(limit, Floor) else -1
            first = Key(others.chain.quantities.index(limit.cost.quantity), sign)
            found = self._proved(replace(others, keys=(first, maximize("nn_mass"))))
            elements = int(found.additive[0, first.column]) if len(found.additive) else None
        return None if elements is None else limit.cost.in_units(elements, *self._counted)

    def _least_of_all(self, others: ChainProblem, limit: Limit) -> int | None:
        """Return the least that a network has on the device where it has the most: docs/theory.md (60)."""
        step = limit.step
        assert step is not None  # a limit on latency is above 0
        factor = least_factor(others, dict.fromkeys(limit.quantities, step), self._control)
        return None if factor is None else int(factor / step)

    def _least_memory(self, others: ChainProblem, shared: SharedMemory) -> int | None:
        """Return the least that weights and activations need together: docs/theory.md (71).

        The least weights within a cap on the peak, for one cap after another, each just below the last network's peak.
        """
        cap, best = others.peak, None
        while True:
            found = self._proved(replace(others, peak=cap, keys=(Key(shared.column, -1), *RANKING)))
            if not len(found.additive):
                return best
            weights = int(found.additive[0, shared.column])
            peak = self._request.space.architecture(found.integers[0].tolist()).evaluation.peak_elements
            used = weights + shared.element * peak
            best = used if best is None else min(best, used)
            if weights + shared.element * shared.least >= best:
                return best
            cap = peak - 1

    def _nearest_mass(self, limit: MassLimit) -> float | None:
        """Return the NN-Mass of the networks within the other limits, nearest to a limit on it."""
        problem = self._problem(self._limits)
        if limit.lower:
            problem = replace(problem, keys=RANKING, least_mass=None)
        else:
            problem = replace(problem, keys=(minimize("nn_mass"), *RANKING[1:]), most_mass=None)
        masses = self._proved(problem).masses
        return float(masses[0]) if masses else None

    def _joint_relaxation(self, relaxation: dict[str, float | None]) -> JointRelaxation | None:
        """Return the least factor on all upper limits on costs, where raising one is not enough. Raises OutOfTime.

        A limit of 0 stays 0 whatever the factor; floors and limits on NN-Mass stay as they are.
        """
        if not self._caps or any(relaxation[one.name] is not None for one in self._caps):
            return None
        steps = {quantity: limit.step for limit in self._caps for quantity in limit.quantities}
        fixed = tuple(limit for limit in self._limits if not isinstance(limit, Limit) or limit.step is None)
        unchanged = tuple(name for name in relaxation if name not in {limit.name for limit in self._caps})
        rest = self._problem(fixed)
        memory = next((limit for limit in self._caps if limit.cost.together and limit.step is not None), None)
        if memory is not None:
            rest = replace(rest, shared=replace(shared_memory(rest.chain, memory), bound=LARGEST_INTEGER))
        raised = {quantity: step for quantity, step in steps.items() if step is not None}
        factor = least_factor(rest, raised, self._control) if raised else None
        limits = None if factor is None else {limit.name: limit.raised(factor) for limit in self._caps}
        return JointRelaxation(factor, limits, unchanged)

    def _proved(self, problem: ChainProblem) -> Solution:
        solution = best_paths(problem, 1, self._control)
        if not solution.complete:
            raise OutOfTime
        return solution


def _empty(
    request: SearchRequest,
    *,
    optimal: bool,
    space_size: int | None,
    feasible: bool | None,
    unfinished: tuple[str, ...] = (),
) -> Certificate:
    """Return the certificate of an answer without a network, for which nothing was searched."""
    objective = request.objective
    free = not request.budget.limits() and not isinstance(objective, Minimize)
    return Certificate(
        count=0,
        optimal=optimal,
        objective_value=None,
        bound=None,
        best_nn_mass=None,
        upper_bound=None,
        space_size=space_size,
        feasible=feasible,
        binding=None,
        relaxation=None,
        unfinished=unfinished,
        caveats=("no_limits",) if free else (),
        labels=0,
        pruned=0,
        reference=request.reference,
        front=isinstance(objective, Pareto),
        first_rank=request.first_rank,
    )


def _both(first: Solution, second: Solution, *, proved: bool) -> Solution:
    """Return the second of two solves with what both prove together.

    A floor from a most that is not proved is too low at worst, so that the second one's bound holds either way. Without
    any most there was no floor: what was found may spend too little, but that nothing fits is proved all the same.
    """
    complete = second.complete and (proved or not len(second.integers))
    kept = len(second.integers) if len(first.integers) else 0
    return replace(
        second,
        integers=second.integers[:kept],
        additive=second.additive[:kept],
        masses=second.masses[:kept],
        complete=complete,
        labels=first.labels + second.labels,
        pruned=first.pruned + second.pruned,
    )


def _savings(reference: Evaluation, best: Evaluation) -> dict[str, float]:
    """Return how many times fewer params and MACs the best has than the reference."""
    return {"params": reference.params / best.params, "macs": reference.macs / best.macs}


def _excluded(request: SearchRequest) -> Excluded | None:
    """Return the networks that a request excludes, as paths; those of other spaces are no path."""
    if not request.exclude:
        return None
    ids = {architecture.arch_id for architecture in request.exclude}
    params, macs = (
        np.array([getattr(architecture.evaluation, name) for architecture in request.exclude])
        for name in ("params", "macs")
    )
    return Excluded(params, macs, lambda integers: request.space.architecture(integers).arch_id in ids)


__all__ = ["SearchRequest", "SearchResult", "chain_of", "problem_of", "search"]
