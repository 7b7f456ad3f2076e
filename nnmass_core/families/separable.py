"""`mobilenet_v1` and `ds_cnn`: chains of depthwise separable blocks, which have no skip connections.

Their NN-Mass is 0: it says nothing about which of them is better. Formulas: docs/theory.md (80).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar, Generic

from nnmass_core.architecture import LayerShape
from nnmass_core.codec import Value, integer, sequence
from nnmass_core.errors import Problem
from nnmass_core.families.costs import Costs
from nnmass_core.families.residual import (
    CHANNELS,
    REPEATS,
    Block,
    Built,
    ResidualNetwork,
    Size,
    area,
    halved,
    merged,
    same_stages,
)
from nnmass_core.families.resnet import head_costs, head_work
from nnmass_core.hardware.latency import Operators, Work, convolution, depthwise, elementwise
from nnmass_core.mass import Integers, larger

STRIDE = (1, 2)
MOST_STAGES = 16
STEM_KERNEL = (1, 31)
PLAIN_KERNEL = 3
DOCS = {
    "channels": "Output channels of every block.",
    "repeats": "Blocks in the stage.",
    "stride": "Stride of the first block.",
}


@dataclass(frozen=True, eq=False)
class SeparableBlock(Generic[Integers]):
    """A 3x3 depthwise and a 1x1 convolution, each with BatchNorm and ReLU; or arrays of such blocks.

    Attributes:
        i: Channels in.
        o: Channels out.
        before: Positions of its input maps.
        after: Positions of its output maps.
        bias: 1 where its convolutions have biases, else 0.
    """

    i: Integers
    o: Integers
    before: Integers
    after: Integers
    bias: int

    def costs(self) -> Costs[Integers]:
        """Return the costs: docs/theory.md (80)."""
        i, o, after = self.i, self.o, self.after
        kernels, channels = 9 * i + i * o, i + o
        peak = larger(i * (self.before + after), (i + o) * after)
        return Costs(kernels + (2 + self.bias) * channels, kernels * after, channels, peak)

    def terms(self) -> tuple[Integers, Integers]:
        """Return numerator and denominator of NN-Mass: 0 / 1."""
        zero = 0 * (self.i + self.o)
        return zero, zero + 1

    def work(self) -> Work:
        """Return the operators."""
        i, o, after, two = self.i, self.o, self.after, 0 * (self.i + self.o) + 2
        return (
            depthwise(i, self.before, after),
            convolution(1, i, o, after, after),
            elementwise("normalise", (i + o) * after, two),
            elementwise("activate", (i + o) * after, two),
        )


@dataclass(frozen=True)
class Stem:
    """A convolution with BatchNorm and ReLU.

    Attributes:
        image_channels: Channels of the image.
        kernel: Height and width of the kernel.
        bias: 1 where the convolution has biases, else 0.
    """

    image_channels: int
    kernel: tuple[int, int]
    bias: int

    def costs(self, channels: Integers, before: Integers, after: Integers) -> Costs[Integers]:
        """Return the costs: docs/theory.md (80)."""
        kernels = self.kernel[0] * self.kernel[1] * self.image_channels * channels
        peak = self.image_channels * before + channels * after
        return Costs(kernels + (2 + self.bias) * channels, kernels * after, channels, peak)

    def work(self, channels: Integers, before: Integers, after: Integers) -> Work:
        """Return the operators. A kernel of any size is of the kind of 3x3, with its own MACs and weights."""
        one, zero = 0 * channels + 1, 0 * channels
        weights = self.kernel[0] * self.kernel[1] * self.image_channels * channels
        read, written = self.image_channels * before + zero, channels * after
        stem = Operators("convolution_3x3", one, weights * after, read, written, weights, zero)
        return (
            stem,
            elementwise("normalise", channels * after, one),
            elementwise("activate", channels * after, one),
        )


@dataclass(frozen=True, kw_only=True)
class SeparableStage(Value):
    """A run of depthwise separable blocks of equal output channels; the first carries the stride."""

    channels: int = integer(*CHANNELS, DOCS["channels"])
    repeats: int = integer(*REPEATS, DOCS["repeats"])
    stride: int = integer(*STRIDE, DOCS["stride"])

    def goes_on_after(self, before: SeparableStage) -> bool:
        """Return whether this stage and the one before it are a single run of equal blocks."""
        return self == replace(before, repeats=self.repeats, stride=1)


@dataclass(frozen=True, kw_only=True)
class SeparableNetwork(ResidualNetwork):
    """A stem, stages of depthwise separable blocks, global average pooling and one Linear; no skip connections."""

    bias: ClassVar[int]
    """1 where the convolutions have biases, else 0."""

    searched_ends: ClassVar[tuple[str, ...]] = ("stem_channels",)
    stem_channels: int = integer(*CHANNELS, "Channels of the first convolution.")
    stem_stride: int = integer(*STRIDE, "Stride of the first convolution.", 2)
    stages: tuple[SeparableStage, ...] = sequence(SeparableStage, 1, MOST_STAGES, "Stages from input to output.")

    @property
    def stem_kernel(self) -> tuple[int, int]:
        """Height and width of the first convolution's kernel."""
        return (PLAIN_KERNEL, PLAIN_KERNEL)

    @property
    def stem_padding(self) -> tuple[int, int]:
        """Padding of the first convolution above and below, and on the left and the right."""
        sides = zip(self.stem_kernel, (self.input.height, self.input.width), strict=True)
        above, left = (_padding(kernel, side, self.stem_stride) for kernel, side in sides)
        return above, left

    @property
    def stem(self) -> Stem:
        """The first convolution."""
        return Stem(self.input.channels, self.stem_kernel, self.bias)

    def cross_check(self) -> Iterator[Problem]:
        yield from list(same_stages(self.stages)) or super().cross_check()

    def of_runs(self, stages: Sequence[SeparableStage]) -> tuple[SeparableStage, ...]:
        return merged(stages)

    def built(self) -> list[Built]:
        stages: list[Built] = []
        entering, size = self.stem_channels, self._stem_size()
        for stage in self.stages:
            after = halved(size, stage.stride - 1)
            first = self._block(entering, stage.channels, size, after)
            others = [self._block(stage.channels, stage.channels, after, after)] * (stage.repeats - 1)
            stages.append(Built(stage, stage.channels, entering, [first, *others], after))
            entering, size = stage.channels, after
        return stages

    def _block(self, i: int, o: int, before: Size, after: Size) -> Block:
        block = SeparableBlock(i, o, area(before), area(after), self.bias)
        return Block(block.costs(), Fraction(0), o, block.work, shortcut=False)

    def ends(self) -> tuple[Costs[int], Costs[int]]:
        before, after = area((self.input.height, self.input.width)), area(self._stem_size())
        return self.stem.costs(self.stem_channels, before, after), head_costs(*self._last_maps(), self.num_classes)

    def ends_work(self) -> tuple[Work, Work]:
        before, after = area((self.input.height, self.input.width)), area(self._stem_size())
        return self.stem.work(self.stem_channels, before, after), head_work(*self._last_maps(), self.num_classes)

    def layer_shapes(self) -> tuple[LayerShape, ...]:
        entering, size = self.stem_channels, self._stem_size()
        layers = [LayerShape(entering, size)]
        for stage in self.stages:
            size = halved(size, stage.stride - 1)
            for _ in range(stage.repeats):
                layers += [LayerShape(entering, size), LayerShape(stage.channels, size)]
                entering = stage.channels
        return tuple(layers)

    def layers(self) -> int:
        return 1 + 2 * sum(stage.repeats for stage in self.stages)

    def _stem_size(self) -> Size:
        return halved((self.input.height, self.input.width), self.stem_stride - 1)

    def _last_maps(self) -> tuple[int, int]:
        """Return the channels and positions of the maps that the head reads."""
        last = halved(self._stem_size(), sum(stage.stride - 1 for stage in self.stages))
        return self.stages[-1].channels, area(last)


@dataclass(frozen=True, kw_only=True)
class MobileNetV1(SeparableNetwork):
    """A network of `mobilenet_v1`. A run of equal blocks is one stage."""

    family: ClassVar[str] = "mobilenet_v1"
    bias: ClassVar[int] = 0


@dataclass(frozen=True, kw_only=True)
class DsCnn(SeparableNetwork):
    """A network of `ds_cnn`: convolutions have biases beside BatchNorm, and the stem a kernel of any size."""

    family: ClassVar[str] = "ds_cnn"
    bias: ClassVar[int] = 1
    stem_kernel_height: int = integer(*STEM_KERNEL, "Height of the first convolution's kernel.", example=10)
    stem_kernel_width: int = integer(*STEM_KERNEL, "Width of the first convolution's kernel.", example=4)

    @property
    def stem_kernel(self) -> tuple[int, int]:
        return (self.stem_kernel_height, self.stem_kernel_width)

    def cross_check(self) -> Iterator[Problem]:
        problems = list(check_stem_kernel(self.stem_kernel, self.stem_stride))
        yield from problems or super().cross_check()


def check_stem_kernel(kernel: tuple[int, int], stride: int) -> Iterator[Problem]:
    """Yield what is wrong with a stem's kernel: with stride 1 equal padding on both sides needs an odd kernel."""
    for name, side in zip(("stem_kernel_height", "stem_kernel_width"), kernel, strict=True):
        if stride == 1 and side % 2 == 0:
            yield Problem(name, "conflicts_with_stride", "must be odd where stem_stride is 1")


def _padding(kernel: int, side: int, stride: int) -> int:
    """Return the padding on both sides with which a convolution gives ceil(side / stride) positions.

    Args:
        kernel: Height or width of the kernel; odd where the stride is 1.
        side: Height or width of the input.
        stride: 1 or 2.
    """
    return kernel // 2 if kernel % 2 or (side % 2 and stride == 2) else kernel // 2 - 1
