"""The budgets of a benchmark, and what a campaign knows of the networks within each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.replay.benchmarks import ACCEL_CHANNELS, MACRO_BLOCKS, MACRO_CHANNELS, TRANSNAS_STEM, Benchmark, Floats
from bench.replay.picks import BUDGETS, NEAR
from nnmass_core.campaigns.pool import Candidates

Ints = NDArray[np.int64]

QUANTILES = (0.3, 0.5, 0.7)
"""The quantiles of a benchmark's costs at which limits are set: nine budgets with the kinds of `BUDGETS`."""

VALUES_OF_A_STAGE = 4
"""Accel-NASBench has expansion, kernel, repeats, and squeeze-and-excitation or none of each stage."""

RESOLUTIONS = 5


@dataclass(frozen=True, eq=False)
class Listed:
    """The networks of a benchmark within a budget.

    Args:
        name: Of the benchmark.
        budget: The kind of the limits and their quantile.
        accuracy: In percent, (n,): what a training gives.
        choices: What distinguishes the networks, (n, positions).
        networks: What a campaign knows of them.
    """

    name: str
    budget: str
    accuracy: Floats
    choices: Ints
    networks: Candidates

    def __len__(self) -> int:
        return len(self.accuracy)

    @cached_property
    def near(self) -> Ints:
        """The networks near the budget."""
        return np.flatnonzero(self.networks.share >= NEAR)

    def shortfall(self, rows: list[int]) -> float:
        """Return how many points the best of some networks is below the best of all."""
        return float(self.accuracy.max() - self.accuracy[rows].max())


def budgets_of(benchmark: Benchmark) -> list[Listed]:
    """Return the networks within each of the nine budgets of a benchmark."""
    terms, width = _terms_of(benchmark)
    found = []
    for kind, costs in BUDGETS.items():
        for quantile in QUANTILES:
            limits = {cost: float(np.quantile(benchmark.measures[cost], quantile)) for cost in costs}
            used: Floats = np.max([benchmark.measures[cost] / limit for cost, limit in limits.items()], axis=0)
            rows = np.flatnonzero(used <= 1)
            params, macs, mass, blocks = (
                benchmark.measures[name][rows] for name in ("params", "macs", "nn_mass", "blocks")
            )
            keys = tuple(str(row) for row in range(len(rows)))
            networks = Candidates(keys, params, macs, mass, blocks, width[rows], used[rows], terms[rows])
            budget = f"{kind}, {quantile:.0%}"
            found.append(Listed(benchmark.name, budget, benchmark.accuracy[rows], benchmark.choices[rows], networks))
    return found


def _terms_of(benchmark: Benchmark) -> tuple[Floats, Floats]:
    """Return the terms of the stages, (n, terms), and the mean log2 width, (n,)."""
    return next(read for name, read in TERMS.items() if benchmark.name.startswith(name))(benchmark.choices)


def _macro(choices: Ints) -> tuple[Floats, Floats]:
    """Return of each stage of NAS-Bench-Macro: repeats, the blocks with expansion 6, and whether its first one exists.

    The channels of a stage are the same in all networks.
    """
    columns = []
    for stage in np.split(choices, np.cumsum(MACRO_BLOCKS)[:-1], axis=1):
        columns += [(stage > 0).sum(axis=1), (stage == 2).sum(axis=1), stage[:, 0] > 0]
    return _columns(columns), np.full(len(choices), np.log2(MACRO_CHANNELS).mean())


def _accel(choices: Ints) -> tuple[Floats, Floats]:
    """Return of each stage of Accel-NASBench: log expansion, log kernel, log repeats, squeeze-and-excitation or none.

    The channels of a stage are the same in all networks.
    """
    terms = choices.astype(np.float64)
    sizes = np.arange(terms.shape[1]) % VALUES_OF_A_STAGE != VALUES_OF_A_STAGE - 1
    terms[:, sizes] = np.log(terms[:, sizes])
    return terms, np.full(len(choices), np.log2(ACCEL_CHANNELS).mean())


def _transnas(choices: Ints) -> tuple[Floats, Floats]:
    """Return of each resolution of TransNAS-Bench-101's macro space: its modules, and the log2 of its last width.

    A resolution without modules has the width of the one before.
    """
    modules, widths = np.zeros((2, len(choices), RESOLUTIONS))
    for row, network in enumerate(choices.tolist()):
        resolution, width = 0, 0.0
        for module in filter(None, network):
            resolution += module > 2
            width += module % 2 == 0
            modules[row, resolution] += 1
            widths[row, resolution:] = width
    widths += np.log2(TRANSNAS_STEM)
    return np.column_stack([modules, widths]), widths.mean(axis=1)


def _columns(columns: list[NDArray[np.int64] | NDArray[np.bool_]]) -> Floats:
    return np.column_stack(columns).astype(np.float64)


TERMS: dict[str, Callable[[Ints], tuple[Floats, Floats]]] = {
    "NAS-Bench-Macro": _macro,
    "Accel-NASBench": _accel,
    "TransNAS": _transnas,
}
