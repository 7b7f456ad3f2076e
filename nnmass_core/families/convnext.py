"""`convnext`: torchvision's ConvNeXt with any number of stages, and patches of any size, also for small images.

Formulas: docs/theory.md (101).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar, NamedTuple

from nnmass_core.architecture import Image, LayerShape
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
    repeated,
)
from nnmass_core.families.resnet import head_costs, head_work
from nnmass_core.hardware.latency import Work, convolution, depthwise, elementwise, patches
from nnmass_core.mass import Integers, larger

PATCH = (1, 32)
EXPANSION = (1, 16)
LEAST_STAGES, MOST_STAGES = 1, 8
PLAIN_PATCH, PLAIN_EXPANSION = 4, 4
KERNEL = 7
"""Height and width of the depthwise kernels."""

LAYERS_A_BLOCK = 3

DOCS = {
    "patch": "Height, width and stride of the first convolution: 4, or less for small images.",
    "expansion": "Inner channels of a block for each of its channels.",
    "channels": "Channels of every block; the first stage's are the stem's too.",
    "repeats": "Blocks in the stage.",
}


class Plan(NamedTuple):
    """What networks of a space have in common beside image, classes and stages."""

    patch: int = PLAIN_PATCH
    expansion: int = PLAIN_EXPANSION

    def sizes(self, image: Image, stages: int) -> list[Size]:
        """Return the maps of the image and of each stage: docs/theory.md (101). What is left over is not read."""
        first = (image.height // self.patch, image.width // self.patch)
        return [(image.height, image.width), *((first[0] >> k, first[1] >> k) for k in range(stages))]

    def problems(self, image: Image, stages: int) -> Iterator[Problem]:
        """Yield a problem where an image leaves no map for the last stage."""
        if min(self.sizes(image, stages)[-1]) < 1:
            message = f"is too small: patches of {self.patch} and {stages - 1} strides of 2 leave no map"
            yield Problem("input", "too_small", message)

    def entry_costs(self, number: int, i: Integers, c: Integers, before: Integers, after: Integers) -> Costs[Integers]:
        """Return the costs of what precedes the blocks of a stage.

        Args:
            number: The stage, from 0: the stem of the first, and the LayerNorm and the convolution before any other.
            i: Channels of the image, or of the stage before.
            c: Channels of the stage.
            before: Positions of the maps of the image, or of the stage before.
            after: Positions of the maps of the stage.
        """
        kernels = self._kernel(number) ** 2 * i * c
        normalized = i if number else c
        peak = i * before + c * after
        return Costs(kernels + c + 2 * normalized, kernels * after, 0 * c, peak)

    def entry_work(self, number: int, i: Integers, c: Integers, before: Integers, after: Integers) -> Work:
        """Return the operators of what precedes the blocks of a stage; arguments as of `entry_costs`."""
        normalized = i * before if number else c * after
        kernel, one = self._kernel(number), 0 * c + 1
        # patches of one pixel are an ordinary 1x1 convolution
        first = patches(kernel, i, c, before, after) if kernel > 1 else convolution(1, i, c, before, after)
        return (first, elementwise("layer_norm", normalized, one))

    def _kernel(self, number: int) -> int:
        return 2 if number else self.patch

    def block_costs(self, c: Integers, positions: Integers) -> Costs[Integers]:
        """Return the costs of a block: depthwise 7x7, LayerNorm, Linear, GELU, Linear, and a scale of each channel."""
        h = self.expansion * c
        kernels = KERNEL * KERNEL * c + 2 * c * h
        biases_and_scales = c + 2 * c + h + c + c
        # the input stays for the shortcut; beside it are the inner channels with what either Linear reads or gives
        return Costs(kernels + biases_and_scales, kernels * positions, 0 * c, (2 * c + h) * positions)

    def block_work(self, c: Integers, positions: Integers) -> Work:
        """Return the operators of a block. A Linear of maps is a 1x1 convolution."""
        h, elements, one = self.expansion * c, c * positions, 0 * c + 1
        at = 0 * c + positions
        return (
            depthwise(c, at, at, KERNEL),
            elementwise("layer_norm", elements, one),
            convolution(1, c, h, at, at),
            elementwise("activate", h * positions, one),
            convolution(1, h, c, at, at),
            elementwise("add", 2 * elements, 2 * one),  # the scales, and the shortcut
        )


def block_terms(c: Integers) -> tuple[Integers, Integers]:
    """Return numerator and denominator of a block's NN-Mass: as of a basic block from c to c channels."""
    return 2 * c, 0 * c + 1


def norm_head_costs(channels: Integers, positions: Integers, num_classes: int) -> Costs[Integers]:
    """Return the costs of global average pooling, LayerNorm and one Linear with bias."""
    head = head_costs(channels, positions, num_classes)
    return Costs(head.params + 2 * channels, head.macs, 0 * channels, head.peak)


def norm_head_work(channels: Integers, positions: Integers, num_classes: int) -> Work:
    """Return the operators of global average pooling, LayerNorm and one Linear."""
    norm: Work = (elementwise("layer_norm", channels, 0 * channels + 1),)
    pooled: Work = head_work(channels, positions, num_classes)
    return norm + pooled


@dataclass(frozen=True, kw_only=True)
class ConvNeXtStage(Value):
    """A run of blocks at one resolution."""

    channels: int = integer(*CHANNELS, DOCS["channels"])
    repeats: int = integer(*REPEATS, DOCS["repeats"])


@dataclass(frozen=True, kw_only=True)
class ConvNeXt(ResidualNetwork):
    """A network of `convnext`."""

    family: ClassVar[str] = "convnext"
    patch: int = integer(*PATCH, DOCS["patch"], PLAIN_PATCH)
    expansion: int = integer(*EXPANSION, DOCS["expansion"], PLAIN_EXPANSION)
    stages: tuple[ConvNeXtStage, ...] = sequence(
        ConvNeXtStage,
        LEAST_STAGES,
        MOST_STAGES,
        "Stages from input to output; every one except the first halves the resolution, and rounds down.",
    )

    def cross_check(self) -> Iterator[Problem]:
        yield from list(self.plan.problems(self.input, len(self.stages))) or super().cross_check()

    @property
    def plan(self) -> Plan:
        """What it has beside image, classes and stages."""
        return Plan(self.patch, self.expansion)

    @property
    def sizes(self) -> list[Size]:
        """The maps of the image and of each stage."""
        return self.plan.sizes(self.input, len(self.stages))

    def built(self) -> list[Built]:
        entering = [stage.channels for stage in (self.stages[0], *self.stages)]
        sizes = self.sizes
        return [
            _stage(self.plan, int(k > 0), stage, entering[k], sizes[k], sizes[k + 1])
            for k, stage in enumerate(self.stages)
        ]

    def ends(self) -> tuple[Costs[int], Costs[int]]:
        image, first, *_ = map(area, self.sizes)
        stem = self.plan.entry_costs(0, self.input.channels, self.stages[0].channels, image, first)
        return stem, norm_head_costs(*self._last_maps(), self.num_classes)

    def ends_work(self) -> tuple[Work, Work]:
        image, first, *_ = map(area, self.sizes)
        stem = self.plan.entry_work(0, self.input.channels, self.stages[0].channels, image, first)
        return stem, norm_head_work(*self._last_maps(), self.num_classes)

    def work(self) -> tuple[Work, ...]:
        stem, head = self.ends_work()
        parts, areas = [stem], [area(size) for size in self.sizes]
        for k, stage in enumerate(self.stages):
            if k:
                before = self.stages[k - 1].channels
                parts.append(self.plan.entry_work(k, before, stage.channels, areas[k], areas[k + 1]))
            parts.append(repeated(self.plan.block_work(stage.channels, areas[k + 1]), stage.repeats))
        return (*parts, head)

    def smallest_normalized_map(self) -> None:
        return None  # LayerNorm needs no batch

    def _last_maps(self) -> tuple[int, int]:
        """Return the channels and positions of the maps that the head reads."""
        return self.stages[-1].channels, area(self.sizes[-1])

    def layer_shapes(self) -> tuple[LayerShape, ...]:
        layers: list[LayerShape] = []
        for stage, size in zip(self.stages, self.sizes[1:], strict=True):
            outer, inner = (LayerShape(c, size) for c in (stage.channels, self.expansion * stage.channels))
            layers += [outer, *[outer, inner, outer] * stage.repeats]
        return tuple(layers)

    def layers(self) -> int:
        return len(self.stages) + LAYERS_A_BLOCK * sum(stage.repeats for stage in self.stages)


@lru_cache(maxsize=STAGES_KEPT)
def _stage(plan: Plan, entered: int, stage: ConvNeXtStage, i: int, before: Size, after: Size) -> Built:
    """Return a stage; its first block includes the layers that enter it. The networks of one answer share most stages.

    entered: 1 where such layers precede the stage, 0 for the first, which the stem precedes.
    """
    c, positions = stage.channels, area(after)
    costs, mass = plan.block_costs(c, positions), Fraction(*block_terms(c))
    blocks = [Block(costs, mass, c, lambda: plan.block_work(c, positions))] * stage.repeats
    if entered:
        entry = plan.entry_costs(1, i, c, area(before), positions)
        sums = (entry.params + costs.params, entry.macs + costs.macs, 0)
        blocks[0] = blocks[0]._replace(costs=Costs(*sums, larger(entry.peak, costs.peak)))
    return Built(stage, c, i, blocks, after)
