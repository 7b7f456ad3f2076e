"""The networks that a campaign trains first: controls of every kind, and a spread over the networks near the budget."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np

from nnmass_core.campaigns.pool import Candidates, Floats, Rows

Role = Literal[
    "most_nn_mass",
    "spend",
    "most_macs",
    "most_params",
    "random",
    "spread",
    "best_predicted",
    "most_uncertain",
]
"""Why a network is trained."""

SPREAD_ROLES: tuple[Role, ...] = ("most_macs", "spend", "most_params", "random", "most_nn_mass")
"""The networks that every spread begins with, in this order, so that every campaign compares NN-Mass with costs."""

CONTROLS: tuple[Role, ...] = ("most_macs", "spend", "most_params", "most_nn_mass")
"""Those of them that a ranking finds, in the same order."""

NEAR = 0.9
"""A network is near the budget if it uses at least this share of a limit."""

SHARE = 0.95
"""The share of the reachable MACs that `spend` asks for."""


def spread(candidates: Candidates, count: int, seed: int, taken: Collection[str]) -> list[tuple[str, Role]]:
    """Return the networks of a campaign's first round, and why each is in it.

    It begins with those of `SPREAD_ROLES`: a network that is first by several has the first of these roles, and one
    that is measured is not trained again. Each next one is the network near the budget that is farthest from all
    chosen or measured ones, in log MACs, log NN-Mass, log params, log width and depth (farthest-point sampling;
    Gonzalez 1985, Theoretical Computer Science 38). Where too few are near the budget, those that use the most
    of it follow.

    Args:
        candidates: The networks within the budget.
        count: How many to choose.
        seed: Draws the random one.
        taken: Keys of the networks that are measured.
    """
    chosen: dict[int, Role] = {}
    for role in SPREAD_ROLES[:count]:
        rows = in_order(candidates, role, seed, taken if role == "random" else ()).tolist()
        if role == "random":
            rows = [row for row in rows if row not in chosen]
        chosen |= {row: role for row in rows[:1] if row not in chosen and candidates.keys[row] not in taken}
    places = descriptors(candidates)
    measured = [row for row, key in enumerate(candidates.keys) if key in taken]
    free = np.array([key not in taken for key in candidates.keys], bool)
    near = free & (candidates.share >= NEAR)
    near[[*chosen]] = False
    distance = _distance(places, places[[*measured, *chosen]])
    while len(chosen) < count and near.any():
        row = int(np.argmax(np.where(near, distance, -1.0)))
        chosen[row], near[row] = "spread", False
        distance = np.minimum(distance, _distance(places, places[[row]]))
    for row in np.argsort(-candidates.share, kind="stable").tolist():
        if len(chosen) < count and free[row] and row not in chosen:
            chosen[row] = "spread"
    return [(candidates.keys[row], role) for row, role in chosen.items()]


def controls(candidates: Candidates) -> dict[Role, str]:
    """Return the network that is first by each order of `CONTROLS`; nothing without candidates.

    Args:
        candidates: The networks within the budget.
    """
    if not len(candidates):
        return {}
    return {role: candidates.keys[in_order(candidates, role, 0, ())[0]] for role in CONTROLS}


def in_order(candidates: Candidates, role: Role, seed: int, taken: Collection[str]) -> Rows:
    """Return the networks that are not taken in the order of a role, first one first.

    Args:
        candidates: The networks within the budget.
        role: `most_nn_mass` has the ranking order of a search, docs/theory.md (11); `spend` has it among the networks
            that use 95 % of the most MACs, the others follow; `random` has the networks near the budget, then others.
        seed: Of the random order.
        taken: Keys of the networks to leave out.
    """
    mass, macs, params = -candidates.nn_mass, candidates.macs, candidates.params
    keys: tuple[Floats, ...]
    if role == "most_nn_mass":
        keys = (mass, macs, params)
    elif role == "spend":
        most = macs.max(initial=0.0)
        keys = ((macs < SHARE * most).astype(np.float64), mass, macs, params)
    elif role == "most_macs":
        keys = (-macs, mass, params)
    elif role == "most_params":
        keys = (-params, mass, macs)
    elif role == "random":
        drawn = np.random.Generator(np.random.PCG64(seed)).random(len(candidates))
        keys = ((candidates.share < NEAR).astype(np.float64), drawn)
    else:
        raise ValueError(f"{role} is no order")
    order: Rows = np.lexsort(keys[::-1])
    free = np.array([key not in taken for key in candidates.keys], bool)
    left: Rows = order[free[order]]
    return left


def descriptors(candidates: Candidates) -> Floats:
    """Return where networks lie: log MACs, log NN-Mass, log params, log width and depth, standardized, (n, 5)."""
    return standardized(
        np.column_stack(
            [
                np.log(candidates.macs),
                np.log1p(candidates.nn_mass),
                np.log(candidates.params),
                candidates.width,
                candidates.depth,
            ]
        )
    )


def standardized(values: Floats) -> Floats:
    """Return columns with mean 0 and standard deviation 1, those of equal values with 0. values: (n, columns)."""
    scale = values.std(axis=0)
    scaled: Floats = (values - values.mean(axis=0)) / np.where(scale > 1e-12, scale, 1.0)
    return scaled


def _distance(places: Floats, others: Floats) -> Floats:
    """Return the squared distance of each place to the nearest other, (n,); infinite without others."""
    squares = ((places[:, None] - others[None]) ** 2).sum(axis=2)
    nearest: Floats = squares.min(axis=1, initial=np.inf)
    return nearest
