"""The networks that a campaign may train: what is known of them before any training."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

COLUMNS = ("params", "macs", "nn_mass", "depth", "width", "share", "terms")
"""The columns of `Candidates`, in the order of its fields."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Networks within the budget with the figures that a campaign learns from, one array entry per network.

    Args:
        keys: A name of each network: its `arch_id`, or a name in a list, n of them.
        params: The trainable parameters, (n,).
        macs: The multiply-accumulates for one input, (n,).
        nn_mass: The NN-Mass, (n,).
        depth: The layers or blocks, (n,).
        width: The mean of the parts' log2 width, (n,).
        share: The largest share of a limit of the budget that the network uses, (n,); 1 for all where none is limited.
        terms: Terms of the stages, such as log width and repeats, (n, terms). The fitted score is a sum over them.
    """

    keys: tuple[str, ...]
    params: Floats
    macs: Floats
    nn_mass: Floats
    depth: Floats
    width: Floats
    share: Floats
    terms: Floats

    def __len__(self) -> int:
        return len(self.keys)

    def once(self) -> Candidates:
        """Return the networks without repetitions: of each key the first."""
        first: dict[str, int] = {}
        for row, key in enumerate(self.keys):
            first.setdefault(key, row)
        return self.take(np.array([*first.values()], np.int64))

    def take(self, rows: Rows) -> Candidates:
        """Return some of the networks. rows: their positions."""
        return Candidates(tuple(self.keys[row] for row in rows), *(getattr(self, name)[rows] for name in COLUMNS))

    def joined(self, others: Candidates) -> Candidates:
        """Return these networks and the others that are not among them."""
        known = {*self.keys}
        more = others.take(np.array([row for row, key in enumerate(others.keys) if key not in known], np.int64))
        return Candidates(
            (*self.keys, *more.keys),
            *(np.concatenate([getattr(self, name), getattr(more, name)]) for name in COLUMNS),
        )


@dataclass(frozen=True, eq=False)
class Score:
    """A score of networks that is a sum over stages, in whole quanta, so that ties and proofs are exact.

    Of a stage's option it is `floor((params, macs, nn_mass, terms) . weights / quantum + 1/2)`.

    Args:
        costs: The weight of params, MACs and NN-Mass, (3,), in percent of accuracy.
        terms: The weights of the terms, (terms,).
        quantum: The size of one unit of the score.
    """

    costs: Floats
    terms: Floats
    quantum: float

    def of(self, costs: Floats, terms: Floats) -> Rows:
        """Return the score of networks or of options. costs: params, MACs and NN-Mass, (n, 3). terms: (n, terms)."""
        return np.floor((costs @ self.costs + terms @ self.terms) / self.quantum + 0.5).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Best:
    """The networks of the greatest score, best first.

    Args:
        networks: The networks.
        scores: Their scores, (n,).
        bound: No network that was asked for has a greater score.
        proved: Whether they are the true best.
    """

    networks: Candidates
    scores: Rows
    bound: int
    proved: bool


class Pool(Protocol):
    """Where a campaign's networks come from: a list, or a space with the exact engine."""

    def candidates(self, seed: int) -> Candidates:
        """Return networks within the budget to choose from, the same ones for the same seed.

        The networks of most NN-Mass, of most MACs and of most params are among them, and the best one by `spend`.
        """
        ...

    def describe(self, keys: Sequence[str]) -> Candidates:
        """Return the figures of measured networks, in this order, without those that the pool does not know."""
        ...

    def best(self, score: Score, count: int, taken: Collection[str]) -> Best:
        """Return up to `count` networks within the budget of the greatest score, without those that are taken."""
        ...


class ListPool:
    """A pool of listed networks, all within the budget."""

    def __init__(self, networks: Candidates) -> None:
        self._networks = networks
        self._row = {key: row for row, key in enumerate(networks.keys)}

    def candidates(self, seed: int) -> Candidates:
        """Return all networks, whatever the seed."""
        return self._networks

    def describe(self, keys: Sequence[str]) -> Candidates:
        """Return some of the networks, in this order, without those that are not listed."""
        return self._networks.take(np.array([self._row[key] for key in keys if key in self._row], np.int64))

    def best(self, score: Score, count: int, taken: Collection[str]) -> Best:
        """Return the networks of the greatest score, by the list's order where scores are equal."""
        scores = score.of(costs_of(self._networks), self._networks.terms)
        free = np.array([key not in taken for key in self._networks.keys], bool)
        rows = np.flatnonzero(free)
        rows = rows[np.argsort(-scores[rows], kind="stable")][:count]
        bound = int(scores[rows[0]]) if len(rows) else 0
        return Best(self._networks.take(rows), scores[rows], bound, proved=True)


def costs_of(networks: Candidates) -> Floats:
    """Return params, MACs and NN-Mass of networks, (n, 3)."""
    return np.column_stack([networks.params, networks.macs, networks.nn_mass])
