"""Several chains as one: a first stage chooses the chain, and each path of a chain is one path of the whole.

docs/theory.md (75).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nnmass_core.engine.chain import Chain, Ints, Stage


def joined(chains: Sequence[Chain], choices: Ints) -> Chain:
    """Return the chain whose paths are those of all chains, each after a choice that costs nothing.

    Args:
        chains: Chains of equal quantities, whose stages have equal integers.
        choices: The integers that stand for each chain, before its own, (chains, integers).
    """
    number, width = choices.shape
    stages = [_choice(choices, chains[0].stages[0])]
    nodes = [1, number]
    before = np.arange(number)
    for place in range(len(chains[0].stages)):
        last = place + 1 == len(chains[0].stages)
        counts = np.array([1 if last else chain.nodes[place + 1] for chain in chains])
        after = 0 * counts if last else np.cumsum(counts) - counts
        parts = [
            replace(part, source=part.source + source, target=part.target + target)
            for part, source, target in zip((chain.stages[place] for chain in chains), before, after, strict=True)
        ]
        stages.append(together(parts))
        nodes.append(1 if last else int(counts.sum()))
        before = after
    first = chains[0]
    shape = tuple(column + width for column in first.shape_columns)
    parts_at = None if first.parts is None else (first.parts[0] + width, first.parts[1])
    return Chain(tuple(stages), tuple(nodes), shape, first.quantities, parts_at)


def together(stages: Sequence[Stage]) -> Stage:
    """Return all options of some stages as one stage.

    Args:
        stages: The stages, each between the same nodes.
    """
    if len(stages) == 1:
        return stages[0]
    columns = {name: np.concatenate([getattr(stage, name) for stage in stages]) for name in Stage.__annotations__}
    stage = Stage(**columns)
    return stage.take(np.lexsort([stage.target, stage.source]))


def _choice(choices: Ints, like: Stage) -> Stage:
    """Return the stage of one option for each chain. like: a stage of the same quantities."""
    nodes = np.arange(len(choices))
    zeros, ones = np.zeros_like(nodes), np.ones_like(nodes)
    return Stage(
        source=zeros,
        target=nodes,
        additive=np.zeros((len(nodes), like.additive.shape[1])),
        mass_numerator=zeros,
        mass_denominator=ones,
        peak=zeros,
        integers=choices,
    )
