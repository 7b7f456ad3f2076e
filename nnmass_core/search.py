"""Exact search: a request in, the ranking and its certificate out. A pure function, but for its time limit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

from nnmass_core import __version__
from nnmass_core.architecture import Architecture, Evaluation
from nnmass_core.budget import Budget, Limit
from nnmass_core.chain import QUANTITIES, Chain
from nnmass_core.codec import check_integer, sha256_of
from nnmass_core.control import Control
from nnmass_core.errors import DefinitionError
from nnmass_core.errors import Problem as FieldProblem
from nnmass_core.problem import Problem, maximise, minimise
from nnmass_core.solver import Solution, Solver
from nnmass_core.space import Space

MOST_RESULTS = 1000
LONGEST_SECONDS = 3600
CACHED_OPTIONS = 500_000
"""Chains of more options than this are built anew for each search, to keep memory within bounds."""


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """What to search: the architectures of `space` within `budget`, most NN-Mass first, the best `top_k`.

    diversity: `none`, or `shape` for at most one result of each tuple of widths and depths. The time limit is kept by
    the caller's Control; it is here because it belongs to the request's identity.
    """

    space: Space
    budget: Budget
    top_k: int = 10
    diversity: str = "none"
    time_limit_seconds: float = 60.0

    def __post_init__(self) -> None:
        problems = list(check_integer(self.top_k, 1, MOST_RESULTS, "top_k"))
        if self.diversity not in ("none", "shape"):
            problems.append(FieldProblem("diversity", "unknown_choice", "must be none or shape"))
        limit = self.time_limit_seconds
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit <= LONGEST_SECONDS:
            message = f"must be above 0 and at most {LONGEST_SECONDS}"
            problems.append(FieldProblem("time_limit_seconds", "out_of_range", message))
        if problems:
            raise DefinitionError(problems)

    def to_json(self) -> dict[str, Any]:
        """Write the request in full: presets resolved, defaults filled in."""
        return {
            "space": self.space.to_json(),
            "budget": self.budget.to_json(),
            "objective": {"maximize": "nn_mass"},
            "top_k": self.top_k,
            "diversity": self.diversity,
            "time_limit_seconds": float(self.time_limit_seconds),
        }

    @property
    def digest(self) -> str:
        """The request's identity: equal requests to the same core have equal digests."""
        return f"sha256:{sha256_of({'core_version': __version__, 'request': self.to_json()})}"


@dataclass(frozen=True)
class Ranked:
    """One place of the ranking."""

    rank: int
    architecture: Architecture
    evaluation: Evaluation
    slack: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a search claims and can prove; fields as in api.md.

    optimal: the ranking is the true one, proved. bound: no architecture within the budget has more NN-Mass; gap is what
    lies between, relative to the value found. feasible: None when the time ran out before one was found. binding: the
    limits whose removal alone improves the optimum; None when the time ran out. relaxation: for an infeasible request,
    the least value of each limit that admits an architecture with the other limits kept (None: no value does).
    """

    count: int
    optimal: bool
    objective_value: float | None
    bound: float | None
    space_size: int
    feasible: bool | None
    binding: tuple[str, ...] | None
    relaxation: dict[str, int | None] | None
    caveats: tuple[str, ...]
    labels: int
    pruned: int

    @property
    def gap(self) -> float | None:
        """(bound - value) / value; 0 when they are equal, None when there is nothing to compare."""
        if self.objective_value is None or self.bound is None:
            return None
        if self.bound == self.objective_value:
            return 0.0
        return (self.bound - self.objective_value) / self.objective_value if self.objective_value else None

    def to_json(self) -> dict[str, Any]:
        """Write the certificate as JSON-ready objects."""
        return {
            "count": self.count,
            "optimal": self.optimal,
            "objective_value": self.objective_value,
            "bound": self.bound,
            "gap": self.gap,
            "best_nn_mass": self.objective_value,
            "upper_bound": self.bound,
            "space_size": str(self.space_size),
            "feasible": self.feasible,
            "binding": None if self.binding is None else list(self.binding),
            "relaxation": self.relaxation,
            "caveats": list(self.caveats),
            "explored": {"labels": self.labels, "pruned_by_bound": self.pruned},
        }


@dataclass(frozen=True)
class SearchResult:
    """The ranking, best first, with its certificate."""

    ranking: tuple[Ranked, ...]
    certificate: Certificate

    @property
    def digest(self) -> str:
        """A hash of ranking and certificate, leaving out counters: equal on every complete run of one request."""
        certificate = {key: value for key, value in self.certificate.to_json().items() if key != "explored"}
        ranking = [ranked.architecture.arch_id for ranked in self.ranking]
        return f"sha256:{sha256_of({'certificate': certificate, 'ranking': ranking})}"


class _OutOfTime(Exception):
    """The time limit passed before a side question was settled."""


def search(request: SearchRequest, control: Control | None = None) -> SearchResult:
    """Return the best architectures of the request with their certificate. Raises Interrupted when told to stop."""
    control = control or Control()
    control.report(0.0, "building the space")
    chain = chain_of(request.space)
    limits = request.budget.limits()
    problem = _problem(chain, limits)
    solution = Solver(problem, request.top_k, control, distinct_shapes=request.diversity == "shape").solve()
    ranking = _ranking(request.space, chain, problem, solution, limits)
    found, infeasible = bool(ranking), solution.complete and not ranking
    return SearchResult(
        ranking,
        Certificate(
            count=len(ranking),
            optimal=solution.complete,
            objective_value=float(ranking[0].evaluation.mass) if found else None,
            bound=_reported_bound(ranking, solution),
            space_size=chain.count(),
            feasible=True if found else False if infeasible else None,
            binding=_binding(chain, limits, ranking, control) if found else () if infeasible else None,
            relaxation=_relaxation(chain, limits, control) if infeasible else None,
            caveats=_caveats(request.space, ranking),
            labels=solution.labels,
            pruned=solution.pruned,
        ),
    )


def chain_of(space: Space) -> Chain:
    """Return the space's chain, from a small cache when it is of ordinary size."""
    return _cached_chain(space) if space.option_bound() <= CACHED_OPTIONS else space.chain()


@lru_cache(maxsize=4)
def _cached_chain(space: Space) -> Chain:
    return space.chain()


def _problem(chain: Chain, limits: tuple[Limit, ...]) -> Problem:
    caps = tuple((QUANTITIES.index(x.quantity), x.elements) for x in limits if x.quantity in QUANTITIES)
    peak = next((x.elements for x in limits if x.quantity == "peak"), None)
    return Problem(chain, caps=caps, peak=peak)


def _ranking(
    space: Space, chain: Chain, problem: Problem, solution: Solution, limits: tuple[Limit, ...]
) -> tuple[Ranked, ...]:
    if not len(solution.paths):
        return ()
    within = chain if problem.peak is None else chain.within_peak(problem.peak)
    ranked: list[Ranked] = []
    for rank, integers in enumerate(within.path_integers(solution.paths).tolist(), start=1):
        architecture = space.architecture(integers)
        evaluation = architecture.evaluation
        slack = {limit.name: limit.slack(evaluation) for limit in limits}
        ranked.append(Ranked(rank, architecture, evaluation, slack))
    return tuple(ranked)


def _reported_bound(ranking: tuple[Ranked, ...], solution: Solution) -> float | None:
    if not ranking:
        return None if solution.complete else solution.bound
    value = float(ranking[0].evaluation.mass)
    return value if solution.complete else max(value, solution.bound)


def _binding(
    chain: Chain, limits: tuple[Limit, ...], ranking: tuple[Ranked, ...], control: Control
) -> tuple[str, ...] | None:
    """Return the limits whose removal alone gives more NN-Mass; None when the time runs out first."""
    best = ranking[0].evaluation.mass
    binding: list[str] = []
    for limit in limits:
        problem = _problem(chain, tuple(other for other in limits if other != limit))
        better = Solver(problem, 1, control).exceeds(best)
        if better is None:
            return None
        if better:
            binding.append(limit.name)
    return tuple(binding)


def _relaxation(chain: Chain, limits: tuple[Limit, ...], control: Control) -> dict[str, int | None] | None:
    """Return, for each limit, the least value that admits an architecture with the other limits kept.

    None when the time runs out first.
    """
    least: dict[str, int | None] = {}
    for limit in limits:
        others = _problem(chain, tuple(other for other in limits if other != limit))
        try:
            elements = _least_peak(others, control) if limit.quantity == "peak" else _least_sum(others, limit, control)
        except _OutOfTime:
            return None
        least[limit.name] = None if elements is None else elements * limit.unit
    return least


def _least_sum(others: Problem, limit: Limit, control: Control) -> int | None:
    keys = (minimise(limit.quantity), maximise("nn_mass"))
    solution = _proved(replace(others, keys=keys), control)
    return int(solution.additive[0, keys[0].column]) if len(solution.paths) else None


def _proved(problem: Problem, control: Control) -> Solution:
    solution = Solver(problem, 1, control).solve()
    if not solution.complete:
        raise _OutOfTime
    return solution


def _least_peak(others: Problem, control: Control) -> int | None:
    """Return the least peak that admits a path, by bisection over the peaks that occur."""
    peaks = sorted({int(peak) for stage in others.chain.stages for peak in stage.peak})
    keys = (minimise("params"), maximise("nn_mass"))

    def admits(peak: int) -> bool:
        return len(_proved(replace(others, keys=keys, peak=peak), control).paths) > 0

    if not admits(peaks[-1]):
        return None
    low, high = 0, len(peaks) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if admits(peaks[middle]) else (middle + 1, high)
    return peaks[low]


def _caveats(space: Space, ranking: tuple[Ranked, ...]) -> tuple[str, ...]:
    """Return what to keep in mind about the ranking (nn-mass.md, "What is known to bite")."""
    caveats: list[str] = []
    if ranking and space.varies_width():
        caveats.append("widths_differ")
    densities = [part.density for ranked in ranking for part in ranked.evaluation.parts if part.density is not None]
    if space.densest_evidence is not None and any(d > Fraction(space.densest_evidence) for d in densities):
        caveats.append("density_above_evidence")
    return tuple(caveats)
