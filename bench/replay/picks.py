"""What searches pick by different rules, against random networks near the budget."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from bench.replay.benchmarks import Benchmark, Floats

QUANTILES = (0.2, 0.35, 0.5, 0.65, 0.8)
"""The quantiles of a benchmark's costs at which limits are set."""

BUDGETS = {"params": ("params",), "MACs": ("macs",), "both": ("params", "macs")}
"""The limits of each kind of budget."""

NEAR = 0.9
"""A network is near the budget if it uses at least this share of the limit: of the nearer one where both are given."""

TOP = 3
SHARE = 0.95
"""The share of the reachable MACs that the rule `spend` asks for."""

Order = tuple[tuple[str, int], ...]
NN_MASS: Order = (("nn_mass", -1), ("macs", 1), ("params", 1))
"""The ranking order of a search, docs/theory.md (11): more NN-Mass first, then fewer MACs, then fewer params."""

RULES: dict[str, tuple[Order, float]] = {
    "most NN-Mass": (NN_MASS, 0.0),
    "most NN-Mass, ties by most MACs": ((("nn_mass", -1), ("macs", -1), ("params", -1)), 0.0),
    "most NN-Mass of those that spend 95 % of the MACs": (NN_MASS, SHARE),
    "most MACs": ((("macs", -1), *NN_MASS), 0.0),
    "most params": ((("params", -1), *NN_MASS), 0.0),
}
"""The order of each rule, and the least share of the most MACs within the budget that its networks use."""

DEFAULT = "most NN-Mass of those that spend 95 % of the MACs"


class Picked(TypedDict):
    """Searches by one rule: how many, how many were ahead of random networks, and by how many points on average."""

    searches: int
    ahead: int
    points: float


def picks(benchmarks: tuple[Benchmark, ...]) -> dict[str, dict[str, Picked]]:
    """Return the result of every rule, by rule and kind of budget, "all" included.

    A search's result is the mean accuracy of its best three, minus the mean of all networks near the budget.
    """
    found: dict[str, dict[str, Picked]] = {}
    for rule in RULES:
        by_kind = {kind: [d for one in benchmarks for d in _differences(one, rule, kind)] for kind in BUDGETS}
        everything = [d for differences in by_kind.values() for d in differences]
        found[rule] = {kind: _summary(differences) for kind, differences in {**by_kind, "all": everything}.items()}
    return found


def picks_by_benchmark(benchmarks: tuple[Benchmark, ...]) -> dict[str, dict[str, Picked]]:
    """Return the result of every rule, by benchmark and rule."""
    return {one.name: {rule: found["all"] for rule, found in picks((one,)).items()} for one in benchmarks}


def _summary(differences: list[float]) -> Picked:
    ahead = sum(difference > 0 for difference in differences)
    return {"searches": len(differences), "ahead": ahead, "points": float(np.mean(differences))}


def _differences(benchmark: Benchmark, rule: str, kind: str) -> list[float]:
    """Return the result of a rule's searches at every quantile."""
    found = []
    for quantile in QUANTILES:
        limits = {cost: float(np.quantile(benchmark.measures[cost], quantile)) for cost in BUDGETS[kind]}
        used: Floats = np.max([benchmark.measures[cost] / limit for cost, limit in limits.items()], axis=0)
        near = (used <= 1) & (used >= NEAR)
        best = best_of(benchmark, used <= 1, rule)[:TOP]
        found.append(float(benchmark.accuracy[best].mean() - benchmark.accuracy[near].mean()))
    return found


def best_of(benchmark: Benchmark, feasible: NDArray[np.bool_], rule: str) -> NDArray[np.int64]:
    """Return the feasible networks by a rule, best first. feasible: (n,)."""
    order, share = RULES[rule]
    macs = benchmark.measures["macs"]
    rows = np.flatnonzero(feasible & (macs >= share * macs[feasible].max()))
    ranked: NDArray[np.int64] = rows[ordered(benchmark, rows, order)]
    return ranked


def ordered(benchmark: Benchmark, rows: NDArray[np.int64], order: Order) -> NDArray[np.int64]:
    """Return the places of some networks in an order: by its first measure, then the next; last, as in the file."""
    return np.lexsort([sign * benchmark.measures[measure][rows] for measure, sign in reversed(order)])
