"""`mobilenet_v2`: torchvision's MobileNetV2, generalized to any stages of inverted residuals.

Formulas: docs/theory.md (9), (19), (28), (29).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from typing import ClassVar

from nnmass_core.architecture import LayerShape
from nnmass_core.codec import Value, integer, sequence
from nnmass_core.errors import Problem
from nnmass_core.families.costs import Costs
from nnmass_core.families.residual import (
    CHANNELS,
    REPEATS,
    STAGES_KEPT,
    Block,
    Built,
    ResidualNetwork,
    Size,
    area,
    halved,
)
from nnmass_core.hardware.latency import Work, convolution, depthwise, elementwise, linear, pool
from nnmass_core.mass import Integers, bottleneck_terms, larger

EXPANSION = (1, 16)
STRIDE = (1, 2)
MOST_STAGES = 16


def inverted_residual(
    i: Integers, o: Integers, expansion: Integers, before: Integers, after: Integers, joined: Integers
) -> Costs[Integers]:
    """Return the costs of one block: 1x1 (none where expansion is 1), 3x3 depthwise, 1x1, each with BatchNorm.

    i, o: channels in, out. before, after: positions of its maps. joined: 1 where it has a shortcut, else 0.
    """
    h, expanded = i * expansion, (expansion > 1) * 1
    kernels_before, kernels_after = expanded * i * h, 9 * h + h * o
    norm_channels = (expanded + 1) * h + o
    expanding = expanded * (i + h) * before
    # during the depthwise convolution the block's input stays alive for the shortcut, or as the convolution's own input
    depthwise = h * (before + after) + expanded * joined * i * before
    projecting = joined * i * before + (h + o) * after
    return Costs(
        kernels_before + kernels_after + 2 * norm_channels,
        kernels_before * before + kernels_after * after,
        norm_channels,
        larger(expanding, larger(depthwise, projecting)),
    )


def inverted_residual_work(
    i: Integers, o: Integers, expansion: Integers, before: Integers, after: Integers, joined: Integers
) -> Work:
    """Return the operators of one block."""
    h, expanded = i * expansion, (expansion > 1) * 1
    inner = h * (expanded * before + after)
    return (
        convolution(1, i, h, before, before).times(expanded),
        depthwise(h, before, after),
        convolution(1, h, o, after, after),
        elementwise("normalise", inner + o * after, 2 + expanded),
        elementwise("activate", inner, 1 + expanded),
        elementwise("add", o * after, 0 * h + 1).times(joined),
    )


def inverted_residual_terms(i: Integers, expansion: Integers, joined: Integers) -> tuple[Integers, Integers]:
    """Return numerator and denominator of a block's NN-Mass; 0 / 1 without its shortcut."""
    numerator, denominator = bottleneck_terms(i, i * expansion)
    return joined * numerator, joined * denominator + (1 - joined)


def stem_costs(image_channels: int, stem_channels: Integers, before: Integers, after: Integers) -> Costs[Integers]:
    """Return the costs of the stem: a 3x3 convolution with stride 2 and BatchNorm."""
    kernels = 9 * image_channels * stem_channels
    peak = image_channels * before + stem_channels * after
    return Costs(kernels + 2 * stem_channels, kernels * after, stem_channels, peak)


def stem_work(image_channels: int, stem_channels: Integers, before: Integers, after: Integers) -> Work:
    """Return the operators of the stem."""
    c, one = stem_channels, 0 * stem_channels + 1
    stem = convolution(3, image_channels * one, c, before, after)
    return (stem, elementwise("normalise", c * after, one), elementwise("activate", c * after, one))


def head_costs(channels: Integers, last_channels: Integers, positions: Integers, num_classes: int) -> Costs[Integers]:
    """Return the costs of the last 1x1 convolution with BatchNorm, global average pooling and one Linear with bias."""
    kernels, linear = channels * last_channels, last_channels * num_classes
    pooling = last_channels * positions + last_channels
    peak = larger((channels + last_channels) * positions, larger(pooling, last_channels + num_classes))
    params = kernels + 2 * last_channels + linear + num_classes
    return Costs(params, kernels * positions + linear, last_channels, peak)


def head_work(channels: Integers, last_channels: Integers, positions: Integers, num_classes: int) -> Work:
    """Return the operators of the head."""
    o, one = last_channels, 0 * last_channels + 1
    return (
        convolution(1, channels, o, positions, positions),
        elementwise("normalise", o * positions, one),
        elementwise("activate", o * positions, one),
        pool(o * positions, o),
        linear(o, num_classes * one),
    )


@dataclass(frozen=True, kw_only=True)
class InvertedStage(Value):
    """A run of inverted residuals of equal output channels; the first carries the stride."""

    expansion: int = integer(*EXPANSION, "Inner channels for each input channel of a block.")
    channels: int = integer(*CHANNELS, "Output channels of every block.")
    repeats: int = integer(*REPEATS, "Blocks in the stage.")
    stride: int = integer(*STRIDE, "Stride of the first block.")

    def goes_on_after(self, before: InvertedStage) -> bool:
        """Return whether this stage and the one before it are a single run of equal blocks."""
        return (self.expansion, self.channels, self.stride) == (before.expansion, before.channels, 1)


@dataclass(frozen=True, kw_only=True)
class MobileNetV2(ResidualNetwork):
    """A network of `mobilenet_v2`. Channels are taken literally; a run of equal blocks is one stage."""

    family: ClassVar[str] = "mobilenet_v2"
    stem_channels: int = integer(*CHANNELS, "Channels of the first convolution.")
    last_channels: int = integer(*CHANNELS, "Channels of the last convolution, before the classifier.")
    stages: tuple[InvertedStage, ...] = sequence(InvertedStage, 1, MOST_STAGES, "Stages from input to output.")

    def cross_check(self) -> Iterator[Problem]:
        problems = [
            Problem(f"stages.{k}", "same_stage", "repeats the previous stage; merge the two")
            for k, (before, stage) in enumerate(itertools.pairwise(self.stages), start=1)
            if stage.goes_on_after(before)
        ]
        yield from problems or super().cross_check()

    def built(self) -> list[Built]:
        stages: list[Built] = []
        entering, size = self.stem_channels, self._stem_size()
        for stage in self.stages:
            stages.append(_stage(stage, entering, size))
            entering, size = stage.channels, stages[-1].size
        return stages

    def ends(self) -> tuple[Costs[int], Costs[int]]:
        before, after = area((self.input.height, self.input.width)), area(self._stem_size())
        last = halved(self._stem_size(), sum(stage.stride - 1 for stage in self.stages))
        return (
            stem_costs(self.input.channels, self.stem_channels, before, after),
            head_costs(self.stages[-1].channels, self.last_channels, area(last), self.num_classes),
        )

    def ends_work(self) -> tuple[Work, Work]:
        before, after = area((self.input.height, self.input.width)), area(self._stem_size())
        last = halved(self._stem_size(), sum(stage.stride - 1 for stage in self.stages))
        return (
            stem_work(self.input.channels, self.stem_channels, before, after),
            head_work(self.stages[-1].channels, self.last_channels, area(last), self.num_classes),
        )

    def layer_shapes(self) -> tuple[LayerShape, ...]:
        entering, size = self.stem_channels, self._stem_size()
        layers = [LayerShape(entering, size)]
        for stage in self.stages:
            after = halved(size, stage.stride - 1)
            for _ in range(stage.repeats):
                hidden = entering * stage.expansion
                layers += [LayerShape(hidden, size)] if stage.expansion > 1 else []
                layers += [LayerShape(hidden, after), LayerShape(stage.channels, after)]
                entering, size = stage.channels, after
        return (*layers, LayerShape(self.last_channels, size))

    def layers(self) -> int:
        return 2 + sum(stage.repeats * (2 if stage.expansion == 1 else 3) for stage in self.stages)

    def _stem_size(self) -> Size:
        return halved((self.input.height, self.input.width))


@lru_cache(maxsize=STAGES_KEPT)
def _stage(stage: InvertedStage, entering: int, size: Size) -> Built:
    """Return a stage after maps of a size; the networks of one answer have most of their stages in common."""
    after = halved(size, stage.stride - 1)
    first = _block(entering, stage, size, after, joined=int(stage.stride == 1 and entering == stage.channels))
    others = [_block(stage.channels, stage, after, after, joined=1)] * (stage.repeats - 1)
    return Built(stage, stage.channels, entering, [first, *others], after)


def _block(i: int, stage: InvertedStage, before: Size, after: Size, *, joined: int) -> Block:
    layout = (i, stage.channels, stage.expansion, area(before), area(after), joined)
    mass = Fraction(*inverted_residual_terms(i, stage.expansion, joined))
    work = partial(inverted_residual_work, *layout)
    return Block(inverted_residual(*layout), mass, stage.channels, work, shortcut=bool(joined))
