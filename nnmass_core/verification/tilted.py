"""Random paths of a chain at about a cost.

They come from a tilted distribution: a path's probability is proportional to exp(tilt . cost), where cost is some of
its sums as fractions of given ones. The tilt is chosen so that the mean is the required cost (the maximum-entropy
distribution of that mean; Jaynes, Phys. Rev. 106, 1957). Networks of equal cost are equally probable, and even a space
where one network in a billion has the cost gives thousands of hits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnmass_core.engine.chain import Chain, Floats, Ints, Stage

STEEPEST = 300.0
"""The largest tilt: for a cost at the edge of what the space contains it would grow without bound."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Tilted:
    """The distribution of paths with probability proportional to exp(tilt . relative cost).

    columns: the quantities that the tilt is on, k of them. cost: the sums of these that count as one, (k,). tilt: (k,).
    rows: each stage's options that lead to the end. steps: the probability of each of them at its own source node.
    """

    chain: Chain
    columns: list[int]
    cost: Floats
    tilt: Floats
    rows: list[Ints]
    steps: list[Floats]

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        """Return n independent paths as options of the chain, (n, stages)."""
        paths = np.zeros((n, len(self.rows)), np.int64)
        node = np.zeros(n, np.int64)
        for i, (rows, steps) in enumerate(zip(self.rows, self.steps, strict=True)):
            stage = self.chain.stages[i]
            edges = np.searchsorted(stage.source[rows], np.arange(self.chain.nodes[i] + 1))
            low, end = edges[node], edges[node + 1]
            total = np.concatenate([[0.0], np.cumsum(steps)])
            level = total[low] + rng.random(n) * (total[end] - total[low])
            # rounding may put a level on the boundary of its node
            paths[:, i] = rows[np.clip(np.searchsorted(total, level, side="right") - 1, low, end - 1)]
            node = stage.target[paths[:, i]]
        return paths


def tilt_to_mean(chain: Chain, columns: list[int], cost: Floats, aim: Floats) -> Tilted:
    """Return the tilted distribution whose mean cost is `aim`, as fractions of `cost`; the chain must have a path.

    If the space's costs do not surround the aim, the mean is as close to it as the steepest tilt allows.

    Args:
        chain: The space.
        columns: The quantities that have a cost, k of them.
        cost: The sums of these that count as one, (k,).
        aim: The mean cost, (k,).
    """
    return _tilted(chain, columns, cost, aim, lambda mean: [(-STEEPEST, STEEPEST)] * len(mean))


def tilt_below(chain: Chain, columns: list[int], cost: Floats, aim: float) -> Tilted:
    """Return the tilted distribution whose mean costs are at most `aim`, and reach it where the space has the networks.

    Costs that are below the aim anyway have no tilt. Where all are, the nearest one is raised to the aim.

    Args:
        chain: The space.
        columns: The quantities that have a cost, k of them.
        cost: The sums of these that count as one, (k,).
        aim: The mean cost.
    """

    def bounds(mean: Floats) -> list[tuple[float, float]]:
        raised = int(np.argmax(mean)) if np.all(mean < aim) else None
        return [(-STEEPEST, STEEPEST if place == raised else 0.0) for place in range(len(mean))]

    return _tilted(chain, columns, cost, np.full(len(cost), aim), bounds)


def _tilted(
    chain: Chain,
    columns: list[int],
    cost: Floats,
    aim: Floats,
    bounds: Callable[[Floats], list[tuple[float, float]]],
) -> Tilted:
    """Return the distribution of most entropy at an aim. bounds: of the tilt, from the mean cost without one."""
    rows = _alive(chain)
    layers = [
        _Layer.of(stage, kept, n, columns, cost)
        for stage, kept, n in zip(chain.stages, rows, chain.nodes[:-1], strict=True)
    ]
    tilt = np.zeros(len(columns))
    if columns:
        from scipy.optimize import minimize  # slow to load, and few processes need it

        def surprise(tilt: Floats) -> tuple[float, Floats]:
            mass, mean, _ = _backward(layers, tilt)
            return mass - float(tilt @ aim), mean - aim

        # convex: its gradient, the mean cost minus the aim, is 0 at the tilt sought
        limits = bounds(_backward(layers, tilt)[1])
        tilt = minimize(surprise, tilt, jac=True, method="L-BFGS-B", bounds=limits).x
    return Tilted(chain, columns, cost, tilt, rows, _backward(layers, tilt)[2])


@dataclass(frozen=True, eq=False)
class _Layer:
    """A stage's options that lead to the end: source and target, (n,); cost as fractions, (n, k); nodes before it."""

    source: Ints
    target: Ints
    shares: Floats
    nodes: int

    @classmethod
    def of(cls, stage: Stage, rows: Ints, nodes: int, columns: list[int], cost: Floats) -> _Layer:
        return cls(stage.source[rows], stage.target[rows], stage.additive[rows][:, columns] / cost, nodes)


def _alive(chain: Chain) -> list[Ints]:
    """Return each stage's options from which the end can be reached."""
    reaches: Mask = np.ones(1, bool)
    kept: list[Ints] = []
    for stage, nodes in zip(reversed(chain.stages), reversed(chain.nodes[:-1]), strict=True):
        rows = np.flatnonzero(reaches[stage.target])
        reaches = np.bincount(stage.source[rows], minlength=nodes) > 0
        kept.insert(0, rows)
    return kept


def _backward(layers: list[_Layer], tilt: Floats) -> tuple[float, Floats, list[Floats]]:
    """Return the log of the tilted sum over all paths, the mean cost, (k,), and the probability of every option.

    The sums stay logarithms: without a tilt they count paths, whose number may overflow a double.
    """
    mass, mean = np.zeros(1), np.zeros((1, len(tilt)))
    steps: list[Floats] = []
    for layer in reversed(layers):
        value = layer.shares @ tilt + mass[layer.target]
        top = np.full(layer.nodes, -np.inf)
        np.maximum.at(top, layer.source, value)
        scaled = np.exp(value - top[layer.source])
        total = np.bincount(layer.source, scaled, layer.nodes)
        step = scaled / total[layer.source]
        onward = layer.shares + mean[layer.target]
        means = [np.bincount(layer.source, step * column, layer.nodes) for column in onward.T]
        mean = np.column_stack(means) if means else np.zeros((layer.nodes, 0))
        mass = top + np.log(np.maximum(total, 1.0))  # at least the top itself, except for nodes without options
        steps.insert(0, step)
    return float(mass[0]), mean[0], steps


def path_sums(chain: Chain, paths: Ints) -> Floats:
    """Return the additive quantities of paths, (n, quantities)."""
    total: Floats = np.sum([stage.additive[paths[:, i]] for i, stage in enumerate(chain.stages)], axis=0)
    return total


def every_path(chain: Chain) -> Ints:
    """Return all paths of a small chain as options, (n, stages)."""
    paths, node = np.zeros((1, 0), np.int64), np.zeros(1, np.int64)
    for stage, nodes in zip(chain.stages, chain.nodes[:-1], strict=True):
        edges = np.searchsorted(stage.source, np.arange(nodes + 1))
        counts = edges[node + 1] - edges[node]
        parent = np.repeat(np.arange(len(node)), counts)
        option = np.arange(len(parent)) + (edges[node] - np.cumsum(counts) + counts)[parent]
        paths, node = np.column_stack([paths[parent], option]), stage.target[option]
    return paths
