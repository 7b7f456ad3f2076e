"""Search spaces of `resnet` and `wide_resnet_cifar`, whose strides are fixed: their stage tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from nnmass_core.chain import Chain, Ints, Stage
from nnmass_core.families.costs import Costs, stage_of
from nnmass_core.families.residual import Size, StageAxes, area, halved
from nnmass_core.mass import Integers


class Blocks(ABC):
    """How a family makes its blocks. i: channels in; c: the stage's `channels`; positions before and after."""

    @abstractmethod
    def channels(self, c: Integers) -> Integers:
        """Return the channels that a block gives."""

    @abstractmethod
    def costs(self, i: Integers, c: Integers, before: int, after: int, projected: Integers) -> Costs[Integers]:
        """Return what a block costs; projected: 1 where its shortcut is a convolution, else 0."""

    @abstractmethod
    def terms(self, i: Integers, c: Integers) -> tuple[Integers, Integers]:
        """Return numerator and denominator of a block's NN-Mass."""


@dataclass(frozen=True)
class Frame:
    """What surrounds the stages: the stem's costs and channels, the first stage's maps, and the head's costs."""

    stem: Costs[int]
    channels: int
    size: Size

    def sizes(self, stages: int) -> list[tuple[Size, Size]]:
        """Return the maps before and after the first block of each stage: every stage but the first halves them."""
        after = [halved(self.size, k) for k in range(stages)]
        return list(zip([self.size, *after], after, strict=False))


def staged_chain(blocks: Blocks, frame: Frame, stages: tuple[StageAxes, ...], head: Stage) -> Chain:
    """Return the chain: stem, then for each stage its first block (channels to channels) and its other blocks.

    The integers are each stage's channels and repeats, which are also its shape.
    """
    chained = [_stem_stage(frame.stem)]
    nodes, entering = [1, 1], np.array([frame.channels], np.int64)
    for k, (stage, (before, after)) in enumerate(zip(stages, frame.sizes(len(stages)), strict=True)):
        channels, repeats = stage.values("channels"), stage.values("repeats")
        chained.append(_first_blocks(blocks, entering, channels, (area(before), area(after)), stride=2 if k else 1))
        chained.append(_other_blocks(blocks, channels, repeats, area(after)))
        nodes += [len(channels)] * 2
        entering = blocks.channels(channels)
    return Chain((*chained, head), (*nodes, 1), tuple(range(2 * len(stages))))


def head_stage(costs: Costs[Ints]) -> Stage:
    """Return the last stage: one option from each node."""
    nodes = np.arange(len(costs.params))
    return stage_of(nodes, 0 * nodes, costs)


def _stem_stage(stem: Costs[int]) -> Stage:
    one = np.ones(1, np.int64)
    return stage_of(0 * one, 0 * one, Costs(*(figure * one for figure in stem)))


def _first_blocks(blocks: Blocks, entering: Ints, channels: Ints, areas: tuple[int, int], *, stride: int) -> Stage:
    source = np.repeat(np.arange(len(entering)), len(channels))
    target = np.tile(np.arange(len(channels)), len(entering))
    i, c = entering[source], channels[target]
    projected = np.maximum(i != blocks.channels(c), stride == 2).astype(np.int64)
    return stage_of(source, target, blocks.costs(i, c, *areas, projected), blocks.terms(i, c), c[:, None])


def _other_blocks(blocks: Blocks, channels: Ints, repeats: Ints, positions: int) -> Stage:
    node = np.repeat(np.arange(len(channels)), len(repeats))
    c, more = channels[node], np.tile(repeats, len(channels)) - 1
    costs = blocks.costs(blocks.channels(c), c, positions, positions, 0 * c)
    numerator, denominator = blocks.terms(blocks.channels(c), c)
    together = Costs(more * costs.params, more * costs.macs, more * costs.norm_channels, (more > 0) * costs.peak)
    return stage_of(node, node, together, (more * numerator, denominator), more[:, None] + 1)
