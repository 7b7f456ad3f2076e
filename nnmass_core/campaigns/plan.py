"""What a campaign trains next. A pure function of what was measured, so that a repeated call gives the same plan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from nnmass_core.campaigns.fit import Fitted, fit
from nnmass_core.campaigns.pool import Best, Candidates, Pool
from nnmass_core.campaigns.spread import Role, controls, in_order, spread

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
    """

    key: str
    role: Role
    predicted: Prediction | None = None


@dataclass(frozen=True)
class Fit:
    """What a round knew of its models, and the networks of the greatest fitted score.

    Scores are a sum over stages in whole quanta of `nnmass_core.campaigns.fit.QUANTUM`, without a constant: they order
    networks, and are no accuracy.

    Args:
        networks: The networks that the models were fitted to.
        error: The root mean square of the Gaussian process's leave-one-out errors, in points.
        score_error: That of the fitted score, in points.
        best: The greatest score of a network that was not measured; None where all are.
        bound: No network within the budget has a greater score.
        proved: Whether the engine proved that its networks have the greatest scores.
    """

    networks: int
    error: float
    score_error: float
    best: int | None
    bound: int
    proved: bool

    @classmethod
    def of(cls, fitted: Fitted, best: Best) -> Fit:
        """Return what a round knew."""
        greatest = int(best.scores[0]) if len(best.scores) else None
        return cls(fitted.networks, fitted.error, fitted.score_error, greatest, best.bound, best.proved)


@dataclass(frozen=True)
class Round:
    """What to train in one round.

    Args:
        proposals: The networks; in the first round with those controls that are known, which cost nothing.
        controls: Of the first round: the network that is first by each order (`nnmass_core.campaigns.spread.CONTROLS`).
        fit: What the models said; None in the first round, and with too few results.
    """

    proposals: list[Proposal]
    controls: Mapping[Role, str] = field(default_factory=dict)
    fit: Fit | None = None


def share_of_round(trainings: int, spent: int, rounds: int, begun: int) -> int:
    """Return how many networks the next round trains: half of all in the first, then equal shares; 0 after the last.

    Args:
        trainings: The trainings of the campaign in all, each of another network, without those that confirm.
        spent: The trainings so far.
        rounds: The rounds of the campaign, at least 1.
        begun: The rounds so far.
    """
    rest, left = trainings - spent, rounds - begun
    if left <= 0 or rest <= 0:
        return 0
    if begun == 0 and left > 1:
        return (trainings + 1) // 2
    return -(-rest // left)


def plan(pool: Pool, measured: Iterable[Measured], count: int, seed: int) -> Round:
    """Return what to train in the next round; no network where none is left.

    As long as no training is spent it is a spread over the budget that begins with the controls:
    `nnmass_core.campaigns.spread`. Each later round fits two models to everything measured, a sum over stages and a
    Gaussian process (`nnmass_core.campaigns.fit`). Of the candidates and the networks of the greatest sum it takes
    those of the greatest expected improvement: the best predicted and the most uncertain ones. With too few results it
    takes those that `spend` the budget, without a prediction.

    The plan depends on its arguments alone. Call it with the results that were known when the round began.

    Args:
        pool: The networks within the budget.
        measured: The results so far, one for each training.
        count: How many networks to train: `share_of_round`.
        seed: Of everything that is random.

    Raises:
        NotPossible: scikit-learn is not installed.
    """
    results = sorted(measured, key=lambda one: (one.key, one.seed))
    if count <= 0:
        return Round([])
    candidates = pool.candidates(seed)
    if not len(candidates):
        return Round([])
    taken = {one.key for one in results}
    if all(one.known for one in results):
        first, chosen = controls(candidates), dict[str, Role]()
        for role, key in first.items():
            if key in taken:
                chosen.setdefault(key, role)
        chosen |= dict(spread(candidates, count, seed, taken))
        return Round([Proposal(key, role) for key, role in chosen.items()], first)
    fitted = fit_results(pool, results, candidates)
    if fitted is None:
        rows = in_order(candidates, "spend", seed, taken)[:count]
        return Round([Proposal(candidates.keys[row], "spend") for row in rows])
    best = pool.best(fitted.score, TOP, taken)
    proposals = _best_of(candidates.joined(best.networks), fitted, count, taken)
    return Round(proposals, fit=Fit.of(fitted, best))


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


def leaders(measured: Iterable[Measured]) -> list[tuple[str, float]]:
    """Return every network with a result and its mean accuracy over seeds, best first; equal ones by their key."""
    by_key: defaultdict[str, list[float]] = defaultdict(list)
    for one in measured:
        if one.accuracy is not None:
            by_key[one.key].append(one.accuracy)
    means = [(key, float(np.mean(sorted(values)))) for key, values in by_key.items()]
    return sorted(means, key=lambda one: (-one[1], one[0]))
