"""Search spaces of `resnet` and `wide_resnet_cifar`, whose strides are fixed: their stage tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from nnmass_core.architecture import LayerShape
from nnmass_core.engine.chain import Chain, Ints, Stage
from nnmass_core.families.costs import Costs, stage_of, timed
from nnmass_core.families.residual import Size, StageAxes, area, halved, repeated
from nnmass_core.hardware.latency import LatencyModel, Work
from nnmass_core.mass import Integers


class Blocks(ABC):
    """How a family builds its blocks. i: channels in; c: the stage's `channels`; positions before and after."""

    @abstractmethod
    def channels(self, c: Integers) -> Integers:
        """Return the output channels of a block."""

    @abstractmethod
    def layers(self, c: int, before: Size, after: Size) -> tuple[LayerShape, ...]:
        """Return the outputs of a block's layers; before, after: the sizes of its maps. Shortcuts do not count."""

    @abstractmethod
    def costs(self, i: Integers, c: Integers, before: int, after: int, projected: Integers) -> Costs[Integers]:
        """Return a block's costs; projected: 1 where its shortcut is a convolution, else 0."""

    @abstractmethod
    def work(self, i: Integers, c: Integers, before: int, after: int, projected: Integers) -> Work:
        """Return the operators that a block runs."""

    @abstractmethod
    def terms(self, i: Integers, c: Integers) -> tuple[Integers, Integers]:
        """Return numerator and denominator of a block's NN-Mass."""


@dataclass(frozen=True)
class Frame:
    """What precedes the stages: the stem's costs, channels and operators, and the first stage's maps."""

    stem: Costs[int]
    channels: int
    size: Size
    work: Work

    def sizes(self, stages: int) -> list[tuple[Size, Size]]:
        """Return the maps before and after the first block of each stage: every stage but the first halves them."""
        after = [halved(self.size, k) for k in range(stages)]
        return list(zip([self.size, *after], after, strict=False))


def staged_chain(
    blocks: Blocks, frame: Frame, stages: tuple[StageAxes, ...], head: Stage, model: LatencyModel | None
) -> Chain:
    """Return the chain: stem, then for each stage its first block (channels to channels) and its other blocks.

    The integers are each stage's channels and repeats, which are also its shape.
    """
    chained = [_stem_stage(frame, model)]
    nodes, entering = [1, 1], np.array([frame.channels], np.int64)
    for k, (stage, (before, after)) in enumerate(zip(stages, frame.sizes(len(stages)), strict=True)):
        channels, repeats = stage.values("channels"), stage.values("repeats")
        sizes = (area(before), area(after))
        chained.append(_first_blocks(blocks, entering, channels, sizes, model, stride=2 if k else 1))
        chained.append(_other_blocks(blocks, channels, repeats, area(after), model))
        nodes += [len(channels)] * 2
        entering = blocks.channels(channels)
    return Chain((*chained, head), (*nodes, 1), tuple(range(2 * len(stages))))


def head_stage(costs: Costs[Ints], latency: Ints | None) -> Stage:
    """Return the last stage: one option from each node."""
    nodes = np.arange(len(costs.params))
    return stage_of(nodes, 0 * nodes, costs, latency=latency)


def _stem_stage(frame: Frame, model: LatencyModel | None) -> Stage:
    one = np.ones(1, np.int64)
    costs = Costs(*(figure * one for figure in frame.stem))
    return stage_of(0 * one, 0 * one, costs, latency=timed(model, lambda: repeated(frame.work, one)))


def _first_blocks(
    blocks: Blocks,
    entering: Ints,
    channels: Ints,
    areas: tuple[int, int],
    model: LatencyModel | None,
    *,
    stride: int,
) -> Stage:
    source = np.repeat(np.arange(len(entering)), len(channels))
    target = np.tile(np.arange(len(channels)), len(entering))
    i, c = entering[source], channels[target]
    projected = np.maximum(i != blocks.channels(c), stride == 2).astype(np.int64)
    costs, latency = blocks.costs(i, c, *areas, projected), timed(model, lambda: blocks.work(i, c, *areas, projected))
    return stage_of(source, target, costs, blocks.terms(i, c), c[:, None], latency=latency)


def _other_blocks(blocks: Blocks, channels: Ints, repeats: Ints, positions: int, model: LatencyModel | None) -> Stage:
    node = np.repeat(np.arange(len(channels)), len(repeats))
    c, more = channels[node], np.tile(repeats, len(channels)) - 1
    i = blocks.channels(c)
    costs = blocks.costs(i, c, positions, positions, 0 * c)
    numerator, denominator = blocks.terms(i, c)
    together = Costs(more * costs.params, more * costs.macs, more * costs.norm_channels, (more > 0) * costs.peak)
    latency = timed(model, lambda: repeated(blocks.work(i, c, positions, positions, 0 * c), more))
    return stage_of(node, node, together, (more * numerator, denominator), more[:, None] + 1, latency=latency)
