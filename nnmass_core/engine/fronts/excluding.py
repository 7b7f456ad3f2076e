"""Fronts without some networks: the chain without their paths, docs/theory.md (83).

A label that replaces others may lead to an excluded network only, so that such a network is no path at all. Only those
that are points of a front hide others: they are taken out, and the front is found again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nnmass_core.engine.chain import Chain, Ints, Stage, runs
from nnmass_core.engine.control import Control, stage_built
from nnmass_core.engine.fronts.labels import whole_front
from nnmass_core.engine.pareto import Front, Point
from nnmass_core.engine.problem import ChainProblem


def front_without_excluded(
    problem: ChainProblem, costs: Sequence[str], control: Control, ends: Sequence[Point] = ()
) -> Front:
    """Return the whole front of the paths that are not excluded; as `whole_front`. ends: none of them is excluded."""
    labels = pruned = 0
    while True:
        front = whole_front(problem, costs, control, ends)
        labels, pruned = labels + front.labels, pruned + front.pruned
        paths = np.array([point.path for point in front.points], np.int64).reshape(-1, len(problem.chain.stages))
        excluded = _places(problem, paths)
        if not len(excluded):
            return replace(front, labels=labels, pruned=pruned)
        problem = replace(problem, chain=without(problem.chain, paths[excluded]))


def _places(problem: ChainProblem, paths: Ints) -> Ints:
    """Return which paths, (n, stages), are excluded."""
    if problem.excluded is None or not len(paths):
        return np.zeros(0, np.int64)
    additive = np.sum([stage.additive[paths[:, i]] for i, stage in enumerate(problem.chain.stages)], axis=0)
    return problem.excluded.places(problem.chain, additive, paths.__getitem__)


def without(chain: Chain, paths: Ints) -> Chain:
    """Return a chain of all other paths. Raises OutOfTime.

    Each beginning of a path that is left out has a node of its own, from which every option goes on: those of such a
    path to its longer beginning, the others to the node of the given chain. The last option of such a path is missing.

    Args:
        chain: The chain.
        paths: What is left out: the position of one option of each stage, (n, stages), n at least 1.
    """
    stages, counts = list[Stage](), [1]
    begun, node, free = np.zeros(len(paths), np.int64), np.zeros(1, np.int64), 0
    for number, (stage, after) in enumerate(zip(chain.stages, chain.nodes[1:], strict=True)):
        place, option = runs(*(np.searchsorted(stage.source, node, side=side) for side in ("left", "right")))
        every = np.arange(len(stage) if free else 0)  # the first node is a beginning
        stage_built(len(every) + len(option))
        longer = begun * len(stage) + paths[:, number]
        beginnings, begun = np.unique(longer, return_inverse=True)
        goes_on = np.isin(place * len(stage) + option, beginnings)
        target = stage.target[option]
        last = number + 1 == len(chain.stages)
        if last:
            place, option, target = place[~goes_on], option[~goes_on], target[~goes_on]
        else:
            target[goes_on] = after + np.searchsorted(beginnings, (place * len(stage) + option)[goes_on])
        source = np.concatenate([stage.source[every], free + place])
        target = np.concatenate([stage.target[every], target])
        order = np.lexsort([target, source])
        taken = stage.take(np.concatenate([every, option])[order])
        stages.append(replace(taken, source=source[order], target=target[order]))
        node, free = stage.target[beginnings % len(stage)], after
        counts.append(after if last else after + len(beginnings))
    return Chain(tuple(stages), tuple(counts), chain.shape_columns, chain.quantities, chain.parts)
