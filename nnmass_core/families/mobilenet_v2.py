"""`mobilenet_v2`: torchvision's MobileNetV2, generalized to any stages of inverted residuals: MnasNet, EfficientNet.

Formulas: docs/theory.md (9), (19), (28), (29).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar, Generic

import numpy as np

from nnmass_core.architecture import LayerShape
from nnmass_core.codec import Value, choice, integer, one_of, sequence
from nnmass_core.errors import Problem
from nnmass_core.families.costs import Costs
from nnmass_core.families.residual import (
    CHANNELS,
    ENDS,
    KERNELS,
    REPEATS,
    STAGES_KEPT,
    Block,
    Built,
    ResidualNetwork,
    Size,
    area,
    halved,
    merged,
    repeated,
    same_stages,
)
from nnmass_core.hardware.latency import Work, convolution, depthwise, elementwise, linear, pool
from nnmass_core.mass import Integers, bottleneck_terms, larger

EXPANSION = (1, 16)
STRIDE = (1, 2)
KERNEL = (3, 7)
SQUEEZE = (0, 64)
ACTIVATIONS = ("relu6", "relu", "hardswish", "silu")
MOST_STAGES = 16
LAYERS_OUTSIDE = 2
"""The layers that `depth` counts outside the stages: the first and the last convolution."""

KERNEL_DOC = "Height and width of the depthwise kernel: 3, 5 or 7"
SQUEEZE_DOC = (
    "Squeeze-and-excitation after the depthwise convolution: it squeezes to the block's input channels divided by this,"
    " rounded down; 0 for none"
)


@dataclass(frozen=True, eq=False)
class InvertedResidual(Generic[Integers]):
    """One inverted residual, or arrays of them.

    Attributes:
        i: Channels in.
        o: Channels out.
        expansion: Inner channels for each input channel; with 1 there is no expanding convolution.
        before: Positions of its input maps.
        after: Positions of its output maps.
        joined: 1 where it has a shortcut, else 0.
        kernel: Height and width of the depthwise kernel.
        se: Input channels for each channel that squeeze-and-excitation squeezes to; 0 for none.
    """

    i: Integers
    o: Integers
    expansion: Integers
    before: Integers
    after: Integers
    joined: Integers
    kernel: Integers
    se: Integers

    @property
    def squeezed(self) -> Integers:
        """Channels between the two layers of squeeze-and-excitation, 0 without."""
        has = (self.se > 0) * 1
        return has * larger(self.i // larger(self.se, 0 * self.se + 1), has)

    def costs(self) -> Costs[Integers]:
        """Return the costs: 1x1, depthwise and 1x1 convolutions, each with BatchNorm, and squeeze-and-excitation.

        docs/theory.md (19), (28).
        """
        i, o, before, after = self.i, self.o, self.before, self.after
        h, s, expanded, squeezes = i * self.expansion, self.squeezed, (self.expansion > 1) * 1, (self.se > 0) * 1
        kernels_before, kernels_after = expanded * i * h, self.kernel * self.kernel * h + h * o
        norm_channels = (expanded + 1) * h + o
        expanding = expanded * (i + h) * before
        # during the depthwise convolution the input stays alive for the shortcut, or as the convolution's own input
        kept = self.joined * i * before
        depthwise = h * (before + after) + expanded * kept
        squeezing = squeezes * (kept + h * after + h + s)
        projecting = kept + (h + o) * after
        return Costs(
            kernels_before + kernels_after + 2 * norm_channels + 2 * h * s + squeezes * h + s,
            kernels_before * before + kernels_after * after + 2 * h * s,
            norm_channels,
            larger(larger(expanding, squeezing), larger(depthwise, projecting)),
        )

    def work(self) -> Work:
        """Return the operators."""
        before, after = self.before, self.after
        h, s, expanded, squeezes = self.i * self.expansion, self.squeezed, (self.expansion > 1) * 1, (self.se > 0) * 1
        inner, one = h * (expanded * before + after), 0 * h + 1
        middle: Work = _depthwise(h, before, after, self.kernel)
        if np.any(self.se):  # a profile may lack what no block has
            gate: Work = (
                pool(h * after, h),
                convolution(1, h, s, one, one),
                convolution(1, s, h, one, one),
                elementwise("activate", s + h, 2 * one),
                elementwise("add", h * after, one),
            )
            middle += repeated(gate, squeezes)
        return (
            convolution(1, self.i, h, before, before).times(expanded),
            *middle,
            convolution(1, h, self.o, after, after),
            elementwise("normalise", inner + self.o * after, 2 + expanded),
            elementwise("activate", inner, 1 + expanded),
            elementwise("add", self.o * after, one).times(self.joined),
        )

    def terms(self) -> tuple[Integers, Integers]:
        """Return numerator and denominator of NN-Mass; 0 / 1 without a shortcut."""
        return inverted_residual_terms(self.i, self.expansion, self.joined)


def _depthwise(h: Integers, before: Integers, after: Integers, kernel: Integers) -> Work:
    """Return the depthwise convolutions of blocks: one for each size of the kernel, which is a kind of its own."""
    sizes = np.unique(kernel).tolist()
    return tuple(depthwise(h, before, after, size).times((kernel == size) * 1) for size in sizes)


def inverted_residual_terms(i: Integers, expansion: Integers, joined: Integers) -> tuple[Integers, Integers]:
    """Return numerator and denominator of a block's NN-Mass; 0 / 1 without its shortcut."""
    numerator, denominator = bottleneck_terms(i, i * expansion)
    return joined * numerator, joined * denominator + (1 - joined)


def stem_costs(image_channels: int, stem_channels: Integers, before: Integers, after: Integers) -> Costs[Integers]:
    """Return the costs of the stem: a 3x3 convolution and BatchNorm."""
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
    kernel: int = integer(*KERNEL, f"{KERNEL_DOC}.", 3, added=True)
    se: int = integer(*SQUEEZE, f"{SQUEEZE_DOC}.", 0, example=4, added=True)

    def cross_check(self) -> Iterator[Problem]:
        if self.kernel not in KERNELS:
            yield Problem("kernel", "unknown_choice", one_of(self.kernel, map(str, KERNELS)))

    def goes_on_after(self, before: InvertedStage) -> bool:
        """Return whether this stage and the one before it are a single run of equal blocks."""
        return self == replace(before, repeats=self.repeats, stride=1)


@dataclass(frozen=True, kw_only=True)
class MobileNetV2(ResidualNetwork):
    """A network of `mobilenet_v2`. Channels are taken literally; a run of equal blocks is one stage."""

    family: ClassVar[str] = "mobilenet_v2"
    searched_ends: ClassVar[tuple[str, ...]] = ENDS
    stem_channels: int = integer(*CHANNELS, "Channels of the first convolution.")
    last_channels: int = integer(*CHANNELS, "Channels of the last convolution, before the classifier.")
    stages: tuple[InvertedStage, ...] = sequence(InvertedStage, 1, MOST_STAGES, "Stages from input to output.")
    activation: str = choice(ACTIVATIONS, "Activation after BatchNorm.", "relu6", added=True)
    stem_stride: int = integer(*STRIDE, "Stride of the first convolution: 1 for small images.", 2, added=True)

    def cross_check(self) -> Iterator[Problem]:
        yield from list(same_stages(self.stages)) or super().cross_check()

    def of_runs(self, stages: Sequence[InvertedStage]) -> tuple[InvertedStage, ...]:
        return merged(stages)

    def built(self) -> list[Built]:
        stages: list[Built] = []
        entering, size = self.stem_channels, self._stem_size()
        for stage in self.stages:
            stages.append(_stage(stage, entering, size, joined=self._is_joined(entering, stage)))
            entering, size = stage.channels, stages[-1].size
        return stages

    def _is_joined(self, entering: int, stage: InvertedStage) -> bool:
        """Return whether the first block of a stage has a shortcut."""
        return stage.stride == 1 and entering == stage.channels

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
        return LAYERS_OUTSIDE + sum(stage.repeats * (2 if stage.expansion == 1 else 3) for stage in self.stages)

    def _stem_size(self) -> Size:
        return halved((self.input.height, self.input.width), self.stem_stride - 1)


@dataclass(frozen=True, kw_only=True)
class LargestMobileNetV2(MobileNetV2):
    """A network that costs at least as much as each of a space: it stands for them, and is none of them.

    Smaller channels can be equal where the largest are not, so that every block without a stride counts a shortcut.
    """

    def cross_check(self) -> Iterator[Problem]:
        yield from ResidualNetwork.cross_check(self)  # equal neighbors may stand for stages of different networks

    def _is_joined(self, entering: int, stage: InvertedStage) -> bool:
        return stage.stride == 1


@lru_cache(maxsize=STAGES_KEPT)
def _stage(stage: InvertedStage, entering: int, size: Size, *, joined: bool) -> Built:
    """Return a stage after maps of a size; the networks of one answer have most of their stages in common."""
    after = halved(size, stage.stride - 1)
    first = _block(entering, stage, size, after, joined=int(joined))
    others = [_block(stage.channels, stage, after, after, joined=1)] * (stage.repeats - 1)
    return Built(stage, stage.channels, entering, [first, *others], after)


def _block(i: int, stage: InvertedStage, before: Size, after: Size, *, joined: int) -> Block:
    layout = (i, stage.channels, stage.expansion, area(before), area(after), joined, stage.kernel, stage.se)
    block = InvertedResidual(*layout)
    mass = Fraction(*inverted_residual_terms(i, stage.expansion, joined))
    return Block(block.costs(), mass, stage.channels, block.work, shortcut=bool(joined))
