"""What a campaign trains next. A pure function of what was measured, so that a repeated call gives the same plan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from nnmass_core.campaigns.fit import Fitted, fit
from nnmass_core.campaigns.pool import Candidates, Pool
from nnmass_core.campaigns.spread import Role, in_order, spread
from nnmass_core.errors import DefinitionError, Problem

Strategy = Literal["spread-fit-confirm", "random", "top"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
"""`spread-fit-confirm`: see `plan`. `random`: networks near the budget. `top`: the ranking of a search by NN-Mass."""

ROUNDS = 5
"""The rounds of a campaign unless said otherwise: docs/benchmarks.md compares them."""

TOP = 64
"""The networks of the greatest fitted score that are considered beside the candidates."""


@dataclass(frozen=True)
class Measured:
    """The result of one training.

    Args:
        key: Of the network in the pool.
        accuracy: In percent, on the part of the data that choosing reads; None of a training without a result.
        seed: Of the training.
        known: Whether the result is older than the campaign, which then spends no training on it.
    """

    key: str
    accuracy: float | None
    seed: int = 0
    known: bool = False


@dataclass(frozen=True)
class Prediction:
    """What the model expected of a network before its training.

    Args:
        accuracy: In percent.
        low: The lower end of the 95 % interval.
        high: The upper end.
        error: The root mean square of the model's leave-one-out errors, in points.
    """

    accuracy: float
    low: float
    high: float
    error: float


@dataclass(frozen=True)
class Proposal:
    """A network to train next.

    Args:
        key: Of the network in the pool.
        role: Why it is trained.
        predicted: What the model expects; None where the choice needed no model.
        seed: Which training of the network: 0 for the first, 1 and so on for those that confirm.
    """

    key: str
    role: Role
    predicted: Prediction | None = None
    seed: int = 0


def plan(
    pool: Pool, measured: Iterable[Measured], trainings: int, rounds: int, strategy: Strategy, seed: int
) -> list[Proposal]:
    """Return what to train in the next round; nothing where the trainings are spent or no network is left.

    The first round of `spread-fit-confirm` takes half of the trainings: `nnmass_core.campaigns.spread`. Each later one
    fits two models to everything measured, a sum over stages and a Gaussian process (`nnmass_core.campaigns.fit`). Of
    the candidates and the networks of the greatest sum it takes those of the greatest expected improvement: the best
    predicted and the most uncertain ones. With too few results it takes those that `spend` the budget, without a
    prediction. The rounds after the first divide the other half evenly. `random` and `top` have the same rounds.

    The plan depends on its arguments alone. Call it with the results that were known when the round began: in the
    middle of a round it would plan the rest of the trainings anew.

    Args:
        pool: The networks within the budget.
        measured: The results so far, one for each training.
        trainings: The trainings of the campaign in all, each of another network, without those that confirm.
        rounds: The rounds in which they are planned, at least 1.
        strategy: How networks are chosen.
        seed: Of everything that is random.

    Raises:
        DefinitionError: trainings, rounds or strategy is wrong; each problem names its field.
        NotPossible: scikit-learn is not installed.
    """
    _check(trainings, rounds, strategy)
    results = sorted(measured, key=lambda one: (one.key, one.seed))
    spent = len({one.key for one in results if not one.known})
    count = _end_of_round(spent, trainings, rounds) - spent
    if count <= 0:
        return []
    candidates = pool.candidates(seed)
    taken = {one.key for one in results}
    if strategy != "spread-fit-confirm":
        role: Role = "random" if strategy == "random" else "most_nn_mass"
        rows = in_order(candidates, role, seed, taken)[:count]
        return [Proposal(candidates.keys[row], role) for row in rows]
    if spent == 0:
        return [Proposal(key, role) for key, role in spread(candidates, count, seed, taken)]
    fitted = fit_results(pool, results, candidates)
    if fitted is None:
        rows = in_order(candidates, "spend", seed, taken)[:count]
        return [Proposal(candidates.keys[row], "spend") for row in rows]
    return _best_of(candidates.joined(pool.best(fitted.score, TOP, taken).networks), fitted, count, taken)


def fit_results(pool: Pool, measured: Iterable[Measured], candidates: Candidates) -> Fitted | None:
    """Return the models fitted to the mean accuracy of each network; None with too few results.

    Args:
        pool: The networks within the budget.
        measured: The results, one for each training.
        candidates: The pool's candidates, by which figures are standardized.

    Raises:
        NotPossible: scikit-learn is not installed.
    """
    accuracies = dict(leaders(measured))
    networks = pool.describe(sorted(accuracies))
    return fit(networks, np.array([accuracies[key] for key in networks.keys]), candidates)


def _best_of(candidates: Candidates, fitted: Fitted, count: int, taken: Collection[str]) -> list[Proposal]:
    """Return the networks of the greatest expected improvement, each as if those before it were measured."""
    free = candidates.take(np.array([row for row, key in enumerate(candidates.keys) if key not in taken], np.int64))
    found: list[Proposal] = []
    left = np.ones(len(free), bool)
    mean, first = fitted.predict(free) if len(free) else (np.zeros(0), np.zeros(0))
    deviation = first
    while len(found) < count and left.any():
        improvement = fitted.improvement(mean, deviation)
        row = int(np.argmax(np.where(left, improvement, -np.inf)))
        role: Role = "best_predicted" if mean[row] == mean[left].max() else "most_uncertain"
        left[row] = False
        low, high = fitted.interval(mean[row], first[row])
        found.append(Proposal(free.keys[row], role, Prediction(float(mean[row]), low, high, fitted.error)))
        if len(found) < count:
            deviation = fitted.deviation_after(free, free.take(np.flatnonzero(~left)))
    return found


def confirmations(measured: Iterable[Measured], confirm: int) -> list[Proposal]:
    """Return further trainings of the leaders: one more seed for each of the `confirm` networks that lead.

    Args:
        measured: The results, one for each training.
        confirm: How many trainings.
    """
    results = [*measured]
    last = {key: max(one.seed for one in results if one.key == key) for key in {one.key for one in results}}
    return [Proposal(key, "confirm", seed=last[key] + 1) for key, _ in leaders(results)[:confirm]]


def leaders(measured: Iterable[Measured]) -> list[tuple[str, float]]:
    """Return every network with a result and its mean accuracy over seeds, best first; equal ones by their key."""
    by_key: defaultdict[str, list[float]] = defaultdict(list)
    for one in measured:
        if one.accuracy is not None:
            by_key[one.key].append(one.accuracy)
    means = [(key, float(np.mean(sorted(values)))) for key, values in by_key.items()]
    return sorted(means, key=lambda one: (-one[1], one[0]))


def _end_of_round(spent: int, trainings: int, rounds: int) -> int:
    """Return the number of trainings after the round that begins when so many are spent."""
    first = (trainings + 1) // 2
    ends = [first + (trainings - first) * number // max(rounds - 1, 1) for number in range(rounds)]
    ends[-1] = trainings
    return next((end for end in ends if end > spent), trainings)


def _check(trainings: int, rounds: int, strategy: str) -> None:
    problems = [
        Problem(name, "out_of_range", "must be at least 1")
        for name, value in (("trainings", trainings), ("rounds", rounds))
        if value < 1
    ]
    if strategy not in STRATEGIES:
        problems.append(Problem("strategy", "unknown_choice", f"must be one of {', '.join(STRATEGIES)}"))
    if problems:
        raise DefinitionError(problems)
