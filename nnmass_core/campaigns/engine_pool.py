"""A campaign's networks from the space of a search: the exact engine finds optima, random ones come from its chain."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nnmass_core.architecture import Architecture
from nnmass_core.budget import Limit
from nnmass_core.campaigns.pool import Best, Candidates, Floats, Score
from nnmass_core.campaigns.spread import SHARE
from nnmass_core.codec import JsonValue
from nnmass_core.engine.chain import QUANTITIES, Chain, Ints
from nnmass_core.engine.control import Control
from nnmass_core.engine.problem import RANKING, ChainProblem, Key
from nnmass_core.engine.solver import Solver
from nnmass_core.errors import DefinitionError
from nnmass_core.hardware.latency import greatest
from nnmass_core.request import Maximize, SearchRequest
from nnmass_core.search import problem_of
from nnmass_core.verification.controls import LISTED, NearBudget
from nnmass_core.verification.tilted import every_path, path_sums

DRAWN = 1000
"""The most random networks near the budget among the candidates."""

CHECKS = 300
"""Checks of its control after which the engine stops proving: a limit on work that no clock changes."""

EQUAL = 64
"""Networks of equal params and MACs among which a known one is looked for."""

MASS, PARAMS, MACS = (QUANTITIES.index(name) for name in ("nn_mass", "params", "macs"))


def check_question(request: SearchRequest) -> list[Limit]:
    """Return the limits on costs that a network may use up.

    Args:
        request: The question of a campaign.

    Raises:
        DefinitionError: It does not maximize, or its budget limits no cost.
    """
    if not isinstance(request.objective, Maximize):
        message = "must be a maximum: a campaign looks for the most accurate network within a budget"
        raise DefinitionError.at("objective", "not_applicable", message)
    limits = [limit for limit in request.budget.limits() if not limit.cost.layers and limit.bound > 0]
    if not limits:
        message = "must limit a cost such as params or MACs: a campaign compares networks near the limits"
        raise DefinitionError.at("budget", "no_limits", message)
    return limits


class EnginePool:
    """The networks of a search's space within its budget; their keys are `arch_id`s.

    Args:
        request: The space and the limits. What else it asks for, such as `top_k`, plays no part.
        known: Networks that were measured before. Those that are not in the space or not within the budget are left
            out where networks are described.
        admits: Whether a network may be chosen; None for all. The engine's proofs are about all networks.
        report: Is called with a message several times a second; it may raise Interrupted.

    Attributes:
        optima_proved: Whether the engine has proved every optimum among the candidates that it was asked for.

    Raises:
        DefinitionError: `check_question` refuses the request.
    """

    def __init__(
        self,
        request: SearchRequest,
        known: Iterable[Architecture] = (),
        admits: Callable[[Architecture], bool] | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self._limits = check_question(request)
        self._request = request
        self._may_choose = admits or (lambda architecture: True)
        self._report = report or (lambda message: None)
        self.optima_proved = True
        self._problem = problem_of(request)
        self._known = {architecture.arch_id: architecture for architecture in known}
        self._networks: dict[str, Architecture] = {}
        self._figures: Candidates | None = None

    def architecture(self, key: str) -> Architecture:
        """Return a network that the pool gave, or a known one.

        Raises:
            KeyError: It is neither.
        """
        return self._networks[key] if key in self._networks else self._known[key]

    def candidates(self, seed: int) -> Candidates:
        """Return the optima by NN-Mass, `spend`, MACs and params, and random networks near the budget.

        Where the engine cannot prove an optimum in a fixed amount of work, its best network stands for it.
        """
        chain = self._problem.chain
        most_macs = self._first(self._problem, _most(MACS))
        optima = [self._first(self._problem, RANKING), most_macs, self._first(self._problem, _most(PARAMS))]
        if len(most_macs):
            least = int(np.ceil(SHARE * path_sums(chain, most_macs)[0, MACS]))
            floors = dict(self._problem.floors)
            floors[MACS] = max(least, floors.get(MACS, 0))
            optima.append(self._first(replace(self._problem, floors=tuple(floors.items())), RANKING))
        near = NearBudget.of(self._request, chain)
        drawn = near.draw(np.random.Generator(np.random.PCG64(seed)))
        admitted = drawn[self._admits(near.chain, drawn)][:DRAWN]
        return self._allowed(self._of(chain, np.concatenate(optima)).joined(self._of(near.chain, admitted)))

    def describe(self, keys: Sequence[str]) -> Candidates:
        """Return the figures of measured networks, in this order, without those that are not within the budget."""
        for key in keys:
            if key not in self._networks and key in self._known:
                self._locate(self._known[key])
        figures = self._figures or self._of(self._problem.chain, self._no_path())
        row = {key: row for row, key in enumerate(figures.keys)}
        return figures.take(np.array([row[key] for key in keys if key in row], np.int64))

    def best(self, score: Score, count: int, taken: Collection[str]) -> Best:
        """Return the networks of the greatest score in the whole space, proved unless that takes too much work."""
        chain = self._problem.chain
        scores = [score.of(costs, terms) for costs, terms in _options(chain)]
        least = [int(one.min(initial=0)) for one in scores]
        above = iter([one - low for one, low in zip(scores, least, strict=True)])
        scored = chain.with_quantities({"score": lambda stage: next(above)})
        column = scored.quantities.index("score")
        problem = replace(self._problem, chain=scored, keys=(Key(column, 1), *RANKING))
        # a network of several spaces is a path of each
        paths, bound, proved = self._solved(problem, (count + len(taken)) * len(self._request.space.spaces))
        networks, reached = self._of(chain, paths), path_sums(scored, paths)[:, column].astype(np.int64) + sum(least)
        by_key = dict(zip(reversed(self._keys(chain, paths)), reached[::-1].tolist(), strict=True))
        networks = self._allowed(networks)
        networks = networks.take(
            np.array([i for i, key in enumerate(networks.keys) if key not in taken][:count], np.int64)
        )
        return Best(networks, np.array([by_key[key] for key in networks.keys], np.int64), bound + sum(least), proved)

    def _first(self, problem: ChainProblem, keys: tuple[Key, ...]) -> Ints:
        """Return the first path in an order, (0 or 1, stages)."""
        paths, _, proved = self._solved(replace(problem, keys=keys), 1)
        self.optima_proved &= proved
        return paths

    def _solved(self, problem: ChainProblem, count: int) -> tuple[Ints, int, bool]:
        """Return the best paths, (n, stages), a bound on the first key rounded down, and whether they are proved."""
        checks = iter(range(CHECKS))
        control = Control(lambda: next(checks, None) is None, lambda _, __: self._report("choosing networks"))
        solver = Solver(problem, count, control)
        solution = solver.solve()
        known = solution.complete and len(solution.additive)
        bound = solution.additive[0, problem.keys[0].column] if known else solution.bound
        return solver.pool.paths, int(np.floor(bound)) if np.isfinite(bound) else 0, solution.complete

    def _allowed(self, networks: Candidates) -> Candidates:
        """Return the networks that may be chosen."""
        kept = [row for row, key in enumerate(networks.keys) if self._may_choose(self.architecture(key))]
        return networks.take(np.array(kept, np.int64))

    def _admits(self, chain: Chain, paths: Ints) -> NDArray[np.bool_]:
        """Return which paths within the upper limits keep the lower ones and those on NN-Mass too, (n,)."""
        sums = path_sums(chain, paths)
        kept = np.ones(len(paths), bool)
        for column, bound in self._problem.floors:
            kept &= sums[:, column] >= bound
        if self._problem.limits_mass:
            kept &= np.array([self._problem.admits_mass(chain.path_mass(path)) for path in paths.tolist()], bool)
        return kept

    def _locate(self, architecture: Architecture) -> None:
        """Describe a known network if the space and the budget have it: it is among those of its params and MACs.

        Chains of the options whose integers stand in its definition are looked at first: few networks consist of these.
        """
        figures, caps, floors = architecture.evaluation, dict(self._problem.caps), dict(self._problem.floors)
        for column, value in ((PARAMS, figures.params), (MACS, figures.macs)):
            if not floors.get(column, 0) <= value <= caps.get(column, value):
                return
            caps[column] = floors[column] = value
        problem = replace(self._problem, caps=tuple(caps.items()), floors=tuple(floors.items()))
        numbers, whole = [*_numbers(architecture.definition())], problem.chain
        for chain in (_with_runs(whole, numbers), _with_numbers(whole, numbers), whole):
            paths = self._equal(replace(problem, chain=chain))
            keys = self._keys(chain, paths)
            if architecture.arch_id in keys:
                self._of(chain, paths[[keys.index(architecture.arch_id)]])
                return

    def _equal(self, problem: ChainProblem) -> Ints:
        """Return the paths, or some of them, whose params and MACs are those that the limits leave, (n, stages)."""
        if not 0 < problem.chain.count() <= LISTED:
            return self._solved(problem, EQUAL)[0] if problem.chain.count() else self._no_path()
        paths, caps = every_path(problem.chain), dict(problem.caps)
        equal = path_sums(problem.chain, paths)[:, [PARAMS, MACS]] == [caps[PARAMS], caps[MACS]]
        found: Ints = paths[equal.all(axis=1)]
        return found

    def _keys(self, chain: Chain, paths: Ints) -> list[str]:
        return [self._request.space.architecture(integers).arch_id for integers in chain.path_integers(paths).tolist()]

    def _of(self, chain: Chain, paths: Ints) -> Candidates:
        """Return the networks of paths, each once, and keep them. paths: (n, stages)."""
        found = [self._request.space.architecture(integers) for integers in chain.path_integers(paths).tolist()]
        sums = path_sums(chain, paths)
        networks = Candidates(
            tuple(one.arch_id for one in found),
            params=sums[:, PARAMS],
            macs=sums[:, MACS],
            nn_mass=sums[:, MASS],
            depth=np.array([one.evaluation.depth for one in found], np.float64),
            width=np.array([np.log2(one.widths).mean() for one in found], np.float64),
            share=np.array([self._share(one) for one in found], np.float64),
            terms=np.log1p(_integers(chain, paths)),
        )
        networks = networks.once()
        self._networks |= {one.arch_id: one for one in found}
        self._figures = networks if self._figures is None else self._figures.joined(networks)
        return networks

    def _share(self, architecture: Architecture) -> float:
        """Return the largest share of a limit that a network uses."""
        latency = greatest(self._request.latencies_of(architecture))
        return max(limit.used(architecture.evaluation, latency) / limit.bound for limit in self._limits)

    def _no_path(self) -> Ints:
        return np.zeros((0, len(self._problem.chain.stages)), np.int64)


def _numbers(definition: JsonValue) -> Iterator[int]:
    """Yield every integer of a definition, in its order."""
    if isinstance(definition, int):
        yield int(definition)
    elif isinstance(definition, Mapping | list):
        for inner in definition.values() if isinstance(definition, Mapping) else definition:
            yield from _numbers(inner)


def _with_numbers(chain: Chain, numbers: list[int]) -> Chain:
    """Return the chain of the options whose integers are all among some numbers or 0."""
    return _taking(chain, [np.all(np.isin(stage.integers, [0, *numbers]), axis=1) for stage in chain.stages])


def _with_runs(chain: Chain, numbers: list[int]) -> Chain:
    """Return the chain of the options whose integers follow one another among some numbers, or are all 0."""
    kept: list[NDArray[np.bool_]] = []
    for stage in chain.stages:
        width = stage.integers.shape[1]
        rows: NDArray[np.bool_] = np.all(stage.integers == 0, axis=1)
        for first in range(len(numbers) - width + 1):
            rows |= np.all(stage.integers == numbers[first : first + width], axis=1)
        kept.append(rows)
    return _taking(chain, kept)


def _taking(chain: Chain, rows: list[NDArray[np.bool_]]) -> Chain:
    stages = tuple(stage.take(np.flatnonzero(kept)) for stage, kept in zip(chain.stages, rows, strict=True))
    return Chain(stages, chain.nodes, chain.shape_columns, chain.quantities, chain.parts)


def _most(column: int) -> tuple[Key, ...]:
    """Return the order by most of a cost, then the ranking order."""
    return (Key(column, 1), *(key for key in RANKING if key.column != column))


def _options(chain: Chain) -> Iterator[tuple[Floats, Floats]]:
    """Yield of each stage its options' params, MACs and NN-Mass, (options, 3), and their terms, (options, terms).

    The terms of other stages are 0.
    """
    widths = [stage.integers.shape[1] for stage in chain.stages]
    for place, stage in enumerate(chain.stages):
        terms = np.zeros((len(stage), sum(widths)))
        first = sum(widths[:place])
        terms[:, first : first + widths[place]] = np.log1p(stage.integers)
        yield stage.additive[:, [PARAMS, MACS, MASS]], terms


def _integers(chain: Chain, paths: Ints) -> Ints:
    """Return the integers of paths, stage by stage, (n, integers): parts that a path lacks stay where they are."""
    return np.concatenate([stage.integers[paths[:, i]] for i, stage in enumerate(chain.stages)], axis=1)
