"""What happens to accuracy where good networks are compressed by different rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from bench.replay.benchmarks import Benchmark, Floats
from bench.replay.picks import NN_MASS, Order, ordered

BEST = 0.75
"""References are the networks of the upper quarter by accuracy."""

WITHIN = 0.02
"""Random networks of a network's MACs: all that differ from it by at most this fraction."""

ROUNDING = 1e-9

FLOORS = {
    "least MACs at equal NN-Mass": {"nn_mass": 1.0},
    "least MACs with 80 % of each stage's NN-Mass and 95 % of the params": {"stages": 0.8, "params": 0.95},
}
"""By rule, the share of the reference's figures that a network must keep."""

RATIOS = (0.8, 0.5)
"""Shares of the reference's MACs within which NN-Mass is maximized."""

DEFAULT = "least MACs with 80 % of each stage's NN-Mass and 95 % of the params"


class Compressed(TypedDict):
    """References that a rule compressed: how many, how many it cannot, and means over those that it can.

    loss: points of accuracy below the reference. random: of all networks with the result's MACs. fewer: the
    reference's MACs divided by the result's.
    """

    references: int
    impossible: int
    loss: float
    random: float
    fewer: float


def compressions(benchmark: Benchmark) -> dict[str, Compressed]:
    """Return the result of every rule. The benchmark has NN-Mass by stage."""
    found = {rule: _summary(benchmark, partial(_with_floors, benchmark, kept)) for rule, kept in FLOORS.items()}
    for ratio in RATIOS:
        rule = f"most NN-Mass within {ratio:.0%} of the MACs"
        found[rule] = _summary(benchmark, partial(_within_ratio, benchmark, ratio))
    return found


def _with_floors(benchmark: Benchmark, kept: Mapping[str, float], reference: int) -> int:
    """Return the network of fewest MACs that keeps these shares of a reference's figures."""
    able = np.ones(len(benchmark), bool)
    for name, share in kept.items():
        values = _values(benchmark, name)
        able &= np.all(values >= share * values[reference] * (1 - ROUNDING), axis=1)
    return _first(benchmark, able, (("macs", 1), ("nn_mass", -1), ("params", 1)))


def _within_ratio(benchmark: Benchmark, ratio: float, reference: int) -> int | None:
    """Return the network of most NN-Mass within a share of a reference's MACs; None where there is none."""
    macs = benchmark.measures["macs"]
    able = macs <= ratio * macs[reference]
    return _first(benchmark, able, NN_MASS) if able.any() else None


def _values(benchmark: Benchmark, name: str) -> Floats:
    """Return a figure of every network, (n, 1), or NN-Mass by stage, (n, stages)."""
    if name != "stages":
        return benchmark.measures[name][:, None]
    assert benchmark.stages is not None
    return benchmark.stages


def _first(benchmark: Benchmark, able: NDArray[np.bool_], order: Order) -> int:
    rows = np.flatnonzero(able)
    return int(rows[ordered(benchmark, rows, order)[0]])


def _summary(benchmark: Benchmark, compress: Callable[[int], int | None]) -> Compressed:
    """Return the result of a rule, which gives a network for a reference, each by its place."""
    accuracy, macs = benchmark.accuracy, benchmark.measures["macs"]
    references = np.flatnonzero(accuracy >= np.quantile(accuracy, BEST)).tolist()
    pairs = [(reference, compress(reference)) for reference in references]
    smaller = [(reference, found) for reference, found in pairs if found is not None and macs[found] < macs[reference]]
    equal = {found: accuracy[np.abs(macs / macs[found] - 1) <= WITHIN].mean() for _, found in smaller}
    return {
        "references": len(references),
        "impossible": len(references) - len(smaller),
        "loss": float(np.mean([accuracy[reference] - accuracy[found] for reference, found in smaller])),
        "random": float(np.mean([accuracy[reference] - equal[found] for reference, found in smaller])),
        "fewer": float(np.mean([macs[reference] / macs[found] for reference, found in smaller])),
    }
