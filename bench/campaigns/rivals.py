"""The other ways to choose networks to train: at random, by a figure, by Optuna's samplers, by evolution.

Each returns the rows of the networks in the order of their training. Samplers do not see the budget. Their proposal is
replaced by the nearest network, by Hamming distance over the choices, that is listed, within the budget and not trained
yet; among equally near ones the seed chooses. They then learn the accuracy of that network, not of their proposal.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from bench.campaigns.budgets import Ints, Listed
from bench.replay.benchmarks import Floats
from bench.replay.picks import NN_MASS

POPULATION = 8
"""Networks in the population of the evolution, of which the oldest leaves."""

TOURNAMENT = 3
"""Networks drawn from the population, the best of which is changed at one position."""

Rival = Callable[[Listed, int, int], list[int]]
"""From the networks, the number of trainings and the seed to the rows that are trained."""


class Trained:
    """The networks that a sampler trained, and what replaces its proposals."""

    def __init__(self, listed: Listed, seed: int) -> None:
        self._listed = listed
        self._seen = np.zeros(len(listed), bool)
        self._rng = np.random.default_rng(seed)
        self.rows: list[int] = []

    def nearest(self, proposal: Ints) -> int:
        """Train the network nearest to a proposal and return its row. proposal: (positions,)."""
        distance = (self._listed.choices != proposal).sum(axis=1)
        distance[self._seen] = proposal.size + 1
        row = int(self._rng.choice(np.flatnonzero(distance == distance.min())))
        self._seen[row] = True
        self.rows.append(row)
        return row


def near_the_budget(listed: Listed, trainings: int, seed: int) -> list[int]:
    """Train random networks near the budget; where none is left, random others."""
    rng = np.random.default_rng(seed)
    near: list[int] = rng.permutation(listed.near).tolist()
    others: list[int] = rng.permutation(np.setdiff1d(np.arange(len(listed)), listed.near)).tolist()
    return [*near, *others][:trainings]


def first_by(order: tuple[tuple[str, int], ...], listed: Listed, trainings: int, seed: int) -> list[int]:
    """Train the first networks in an order of measures and signs, whatever the seed."""
    keys = [sign * _figure(listed, measure) for measure, sign in reversed(order)]
    rows: list[int] = np.lexsort(keys)[:trainings].tolist()
    return rows


def _figure(listed: Listed, measure: str) -> Floats:
    figures: Floats = getattr(listed.networks, measure)
    return figures


def evolution(listed: Listed, trainings: int, seed: int) -> list[int]:
    """Train by regularized evolution (Real et al. 2019): the oldest network leaves, whatever its accuracy.

    The first `POPULATION` networks are random. After that the best of `TOURNAMENT` random members of the population is
    changed at one position to another value.
    """
    rng = np.random.default_rng(seed)
    values = [np.unique(column) for column in listed.choices.T]
    free = [position for position, found in enumerate(values) if len(found) > 1]
    trained = Trained(listed, seed)
    while len(trained.rows) < min(trainings, len(listed)):
        if len(trained.rows) < POPULATION:
            proposal = np.array([rng.choice(found) for found in values])
        else:
            drawn = rng.choice(trained.rows[-POPULATION:], TOURNAMENT, replace=False)
            proposal = listed.choices[max(drawn, key=lambda row: listed.accuracy[row])].copy()
            position = rng.choice(free)
            proposal[position] = rng.choice(values[position][values[position] != proposal[position]])
        trained.nearest(proposal)
    return trained.rows


def _sampled(sampler: str, listed: Listed, trainings: int, seed: int) -> list[int]:
    """Train what a sampler of Optuna proposes. sampler: `tpe` or `gp`."""
    from bench.campaigns.samplers import sampled  # Optuna comes with the extra `bench`

    return sampled(sampler, listed, trainings, seed)


RIVALS: dict[str, Rival] = {
    "random near the budget": near_the_budget,
    "most MACs": partial(first_by, (("macs", -1), *NN_MASS)),
    "most params": partial(first_by, (("params", -1), *NN_MASS)),
    "most NN-Mass": partial(first_by, NN_MASS),
    "Optuna, TPE": partial(_sampled, "tpe"),
    "Optuna, Gaussian process": partial(_sampled, "gp"),
    "regularized evolution": evolution,
}
"""Every other way, by its name."""

SEEDLESS = ("most MACs", "most params", "most NN-Mass")
"""Those that give the same networks for every seed."""
