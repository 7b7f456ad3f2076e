"""Several chains as one: a first stage chooses the chain, and each path of a chain is one path of the whole.

docs/theory.md (75), (76).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from nnmass_core.engine.chain import Chain, Ints, Stage, runs

NO_INTEGER = -1
"""Fills the integers of a path where another chain has more of them; architectures have none below 0."""

MOST_OPTIONS = 3_000_000
"""The most options of a stage of what chains have in common."""


def joined(chains: Sequence[Chain], choices: Ints) -> Chain:
    """Return the chain whose paths are those of all chains, each after a choice that costs nothing.

    A chain of fewer stages ends with options that cost nothing, and has `NO_INTEGER` where another has an integer.

    Args:
        chains: Chains of equal quantities.
        choices: The integers that stand for each chain, before its own, (chains, integers).
    """
    number, chosen = choices.shape
    length = max(len(chain.stages) for chain in chains)
    columns: list[list[int]] = [[] for _ in chains]
    stages, nodes, before = [_choice(choices, chains[0].stages[0])], [1, number], np.arange(number)
    end = chosen
    for place in range(length):
        parts = [_at(chain, place) for chain in chains]
        widths = [part.integers.shape[1] for part in parts]
        for own, width in zip(columns, widths, strict=True):
            own.extend(range(end, end + width))
        end += max(widths)
        last = place + 1 == length
        counts = np.array([_nodes_at(chain, place + 1) for chain in chains])
        after = 0 * counts if last else np.cumsum(counts) - counts
        stages.append(
            together([_moved(*part, max(widths)) for part in zip(parts, before.tolist(), after.tolist(), strict=True)])
        )
        nodes.append(1 if last else int(counts.sum()))
        before = after
    shapes = {tuple(own[column] for column in chain.shape_columns) for own, chain in zip(columns, chains, strict=True)}
    lacking = any(chain.parts is not None for chain in chains)
    return Chain(
        tuple(stages),
        tuple(nodes),
        shapes.pop() if len(shapes) == 1 else (),
        chains[0].quantities,
        _each(choices, [chain.parts for chain in chains], columns) if lacking else None,
    )


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


def common(first: Chain, second: Chain) -> Chain | None:
    """Return the chain of the paths that two chains have in common; None where it would be too large.

    Two paths are the same if their options are, stage by stage, in everything but their nodes.

    Args:
        first: A chain.
        second: A chain of as many stages.
    """
    pairs = np.zeros((1, 2), np.int64)
    stages: list[Stage] = []
    nodes = [1]
    for one, other in zip(first.stages, second.stages, strict=True):
        label, label_of_other = _labels(one, other)
        low, end = (np.searchsorted(one.source, pairs[:, 0], side=side) for side in ("left", "right"))
        if int((end - low).sum()) > MOST_OPTIONS:
            return None
        pair, option = runs(low, end)
        size = 1 + max(int(each.max(initial=0)) for each in (label, label_of_other))
        keys = other.source * size + label_of_other
        order = np.argsort(keys, kind="stable")
        wanted = pairs[pair, 1] * size + label[option]
        low, end = (np.searchsorted(keys[order], wanted, side=side) for side in ("left", "right"))
        if int((end - low).sum()) > MOST_OPTIONS:
            return None
        match, place = runs(low, end)
        option, source = option[match], pair[match]
        ends = np.column_stack([one.target[option], other.target[order[place]]])
        pairs, target = np.unique(ends, axis=0, return_inverse=True)
        target = target.reshape(-1)
        sort = np.lexsort([target, source])
        stages.append(replace(one.take(option[sort]), source=source[sort], target=target[sort]))
        nodes.append(max(1, len(pairs)))
    return Chain(tuple(stages), tuple(nodes), first.shape_columns, first.quantities, first.parts)


def _labels(one: Stage, other: Stage) -> tuple[Ints, Ints]:
    """Return a number for each option of two stages, equal for options that differ in their nodes alone."""
    if one.integers.shape[1] != other.integers.shape[1]:
        return np.zeros(len(one), np.int64), np.ones(len(other), np.int64)
    rows = np.concatenate([_figures(stage) for stage in (one, other)])
    _, label = np.unique(rows, axis=0, return_inverse=True)
    label = label.reshape(-1)
    return label[: len(one)], label[len(one) :]


def _figures(stage: Stage) -> Ints:
    sums = np.ascontiguousarray(stage.additive + 0.0).view(np.int64)  # as bits: exact for every double
    return np.column_stack([stage.integers, sums, stage.mass_numerator, stage.mass_denominator, stage.peak])


def _nodes_at(chain: Chain, place: int) -> int:
    """Return the nodes of a chain before a stage, or after its last one."""
    return chain.nodes[place] if place < len(chain.nodes) else 1


def _at(chain: Chain, place: int) -> Stage:
    """Return a stage of a chain; after its last one, a stage of one option that costs nothing."""
    return chain.stages[place] if place < len(chain.stages) else _choice(np.zeros((1, 0), np.int64), chain.stages[0])


def _moved(stage: Stage, source: int, target: int, width: int) -> Stage:
    """Return a stage between later nodes, with more integers."""
    missing = width - stage.integers.shape[1]
    filled = np.pad(stage.integers, ((0, 0), (0, missing)), constant_values=NO_INTEGER)
    return replace(stage, source=stage.source + source, target=stage.target + target, integers=filled)


def _each(
    choices: Ints, of_chains: Sequence[Callable[[Ints], Ints] | None], columns: Sequence[list[int]]
) -> Callable[[Ints], Ints]:
    """Return what arranges the integers of each path as its own chain does. columns: those of each chain."""

    def arranged(integers: Ints) -> Ints:
        integers = integers.copy()
        for choice, parts, own in zip(choices, of_chains, columns, strict=True):
            rows = np.flatnonzero(np.all(integers[:, : choices.shape[1]] == choice, axis=1))
            if parts is not None and len(rows):
                places = np.ix_(rows, np.array(own, np.int64))
                integers[places] = parts(integers[places])
        return integers

    return arranged


def _choice(choices: Ints, like: Stage) -> Stage:
    """Return a stage of one option for each row of integers, which costs nothing. like: a stage of its quantities."""
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
