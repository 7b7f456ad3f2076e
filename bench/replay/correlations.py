"""Spearman's rank correlation of measures with accuracy, overall and among networks of equal cost, with intervals."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from bench.replay.benchmarks import COSTS, Benchmark, Floats

GROUPS = 10
"""Networks of equal cost: sorted by a cost and cut into so many groups of equal size."""

RESAMPLES = 1000
SEED = 0


class Figure(TypedDict):
    """A correlation with its 95 % interval: the percentiles of resampled networks; None without resamples."""

    value: float
    low: float | None
    high: float | None


def correlations(benchmark: Benchmark, resamples: int = RESAMPLES) -> dict[str, dict[str, Figure]]:
    """Return the correlation of each measure with accuracy.

    Args:
        benchmark: The networks.
        resamples: How many times the networks are drawn again, with replacement; 0 gives no intervals.

    Returns:
        By scope ("all", or the cost that is equal) and measure. Within equal cost it is the mean over the groups.
    """
    everything = [np.arange(len(benchmark))]
    scopes = {"all": everything} | {cost: np.array_split(_order(benchmark, cost), GROUPS) for cost in COSTS}
    return {scope: _figures(benchmark, groups, resamples) for scope, groups in scopes.items()}


def _order(benchmark: Benchmark, cost: str) -> NDArray[np.int64]:
    return np.argsort(benchmark.measures[cost], kind="stable")


def _figures(benchmark: Benchmark, groups: list[NDArray[np.int64]], resamples: int) -> dict[str, Figure]:
    rng = np.random.default_rng(SEED)
    columns = {"accuracy": benchmark.accuracy, **benchmark.measures}
    sums = dict.fromkeys(benchmark.measures, 0.0)
    resampled = {measure: np.zeros(resamples) for measure in benchmark.measures}
    for group in groups:
        drawn = group[rng.integers(len(group), size=(resamples, len(group)))]
        ranks = {name: rankdata(values[group][None], axis=-1) for name, values in columns.items()}
        accuracy = rankdata(benchmark.accuracy[drawn], axis=-1)
        for measure, values in benchmark.measures.items():
            sums[measure] += float(_pearson(ranks[measure], ranks["accuracy"])[0])
            if resamples:
                resampled[measure] += _pearson(rankdata(values[drawn], axis=-1), accuracy)
    return {measure: _figure(total / len(groups), resampled[measure] / len(groups)) for measure, total in sums.items()}


def _pearson(a: Floats, b: Floats) -> Floats:
    """Return Pearson's r of each row, (rows,); 0 where one of them is constant: it orders nothing."""
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    scale = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    found: Floats = np.divide((a * b).sum(axis=-1), scale, out=np.zeros_like(scale), where=scale > 0)
    return found


def _figure(value: float, resampled: Floats) -> Figure:
    if not len(resampled):
        return {"value": value, "low": None, "high": None}
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {"value": value, "low": float(low), "high": float(high)}
