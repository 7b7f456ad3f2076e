"""`densenet_bc`: DenseNets whose blocks concatenate all their layers, with bottlenecks and compressing transitions.

Formulas: docs/theory.md (94), (95).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar, NamedTuple

from nnmass_core.architecture import Evaluation, Image, ImageArchitecture, LayerShape, Part, Step
from nnmass_core.codec import LARGEST_INTEGER, JsonObject, Value, choice, encode, integer, sequence
from nnmass_core.diagram import Panel, shown
from nnmass_core.errors import Problem
from nnmass_core.families.concatenation import concatenation_arcs
from nnmass_core.families.costs import Costs
from nnmass_core.families.neighborhood import MORE_REPEATS
from nnmass_core.families.residual import CHANNELS, Size, area, halved
from nnmass_core.families.resnet import STEMS
from nnmass_core.families.wide_resnet_cifar import wide_head, wide_head_work
from nnmass_core.hardware.latency import Operators, Work, convolution, elementwise, pool
from nnmass_core.mass import Integers, larger
from nnmass_core.spaces.multipliers import Scale, check_scaled, scaled_channels, scaled_number

GROWTH = (1, 1024)
LAYERS = (1, 128)
BOTTLENECK = (0, 16)
COMPRESSION = (50, 100)
LEAST_STAGES, MOST_STAGES = 2, 8
STEM_NAMES = ("imagenet", "small")

GROWTH_UNIT = 4
"""Growth times a multiplier is a multiple of this."""

WHOLE = 100
COMPRESSION_STEP = 5
LEAST_JOINED = WHOLE // COMPRESSION_STEP
"""The fewest channels at the first transition: then every compression makes another network."""

PLAIN_STEM, PLAIN_BOTTLENECK, PLAIN_COMPRESSION = "imagenet", 4, 50

DOCS = {
    "stem": (
        "`imagenet`: 7x7 with stride 2, BatchNorm and max pooling; `small`: a plain 3x3 with stride 1, for small"
        " images."
    ),
    "stem_channels": "Channels of the first convolution.",
    "growth": "Channels that every layer adds.",
    "bottleneck": "Channels of a layer's 1x1 convolution as a multiple of growth; 0: layers have none.",
    "compression": "Percent of the channels that a transition keeps, rounded down: a multiple of 5.",
    "layers": "Layers of the block.",
}


class Maps(NamedTuple):
    """Sizes of a network's maps: of the first convolution, and of each block."""

    first: Size
    blocks: tuple[Size, ...]


def maps_of(stem: str, size: Size, stages: int) -> Maps:
    """Return the sizes of maps: docs/theory.md (94). The pooling of a transition rounds down.

    Args:
        stem: The name of the stem.
        size: Height and width of the image, or arrays of them.
        stages: How many blocks there are.
    """
    first = halved(size, STEMS[stem].stride - 1)
    height, width = halved(first) if STEMS[stem].pooled else first
    return Maps(first, tuple((height >> k, width >> k) for k in range(stages)))


@dataclass(frozen=True)
class DenseLayers:
    """How a block is built, and what joins two blocks; for numbers or for arrays of them.

    bottleneck: the channels of a layer's 1x1 convolution as a multiple of growth; 0 where it has none.
    """

    bottleneck: int

    @property
    def depth(self) -> int:
        """How many layers with weights a layer of a block has."""
        return 2 if self.bottleneck else 1

    def costs(self, c: Integers, k: Integers, n: Integers, positions: Integers) -> Costs[Integers]:
        """Return the costs of a block, docs/theory.md (94). c: channels in; k: growth; n: layers."""
        read, inner, joined = inputs(c, k, n), self.bottleneck * k, c + n * k
        kernels = read * inner + 9 * inner * k * n if self.bottleneck else 9 * read * k
        norm_channels = read + inner * n
        # a layer's input stays for the concatenation, so that its BatchNorm writes a new tensor beside it
        peak = larger(2 * joined, larger(2 * (joined - k) + inner, joined + inner)) * positions
        return Costs(kernels + 2 * norm_channels, kernels * positions, norm_channels, peak)

    def work(self, c: Integers, k: Integers, n: Integers, positions: Integers) -> Work:
        """Return the operators that a block runs."""
        read, inner = inputs(c, k, n), self.bottleneck * k
        zero = 0 * (read + positions)
        first, o = (1, inner) if self.bottleneck else (3, k)
        weights = first * first * read * o
        convolutions: Work = (
            Operators(
                f"convolution_{first}x{first}",
                n + zero,
                weights * positions,
                read * positions,
                n * o * positions,
                weights + zero,
                zero,
            ),
        )
        if self.bottleneck:
            convolutions += (convolution(3, inner, k, positions, positions).times(n),)
        normalized, joined = (read + inner * n) * positions, (read + n * k) * positions
        return (
            *convolutions,
            elementwise("normalise", normalized, n * self.depth),
            elementwise("activate", normalized, n * self.depth),
            Operators("concatenate", n + zero, zero, joined, joined, zero, n + zero),
        )


def inputs(c: Integers, k: Integers, n: Integers) -> Integers:
    """Return the channels that the layers of a block read in total. c: channels in; k: growth; n: layers."""
    total: Integers = n * c + k * (n * (n - 1) // 2)
    return total


def compressed(joined: Integers, compression: Integers) -> Integers:
    """Return the channels after a transition."""
    kept: Integers = joined * compression // WHOLE
    return kept


def transition_costs(joined: Integers, kept: Integers, before: Integers, after: Integers) -> Costs[Integers]:
    """Return the costs of BatchNorm, ReLU, a 1x1 convolution and 2x2 average pooling."""
    kernels = joined * kept
    peak = larger((joined + kept) * before, kept * (before + after))
    return Costs(kernels + 2 * joined, kernels * before, joined, peak)


def transition_work(joined: Integers, kept: Integers, before: Integers, after: Integers) -> Work:
    """Return the operators of a transition."""
    one = 0 * joined + 1
    return (
        convolution(1, joined, kept, before, before),
        elementwise("normalise", joined * before, one),
        elementwise("activate", joined * before, one),
        pool(kept * before, kept * after),
    )


def stem_costs(stem: str, image_channels: int, s: Integers, maps: Sequence[Integers]) -> Costs[Integers]:
    """Return the costs of a stem of s channels. maps: positions of the image, the convolution and the first block."""
    before, first, after = maps
    kernels = STEMS[stem].kernel ** 2 * image_channels * s
    normalized = s * int(STEMS[stem].pooled)
    peak = larger(image_channels * before + s * first, normalized * (first + after))
    return Costs(kernels + 2 * normalized, kernels * first, normalized, peak)


def stem_work(stem: str, image_channels: int, s: Integers, maps: Sequence[Integers]) -> Work:
    """Return the operators of a stem of s channels. maps: as of `stem_costs`."""
    before, first, after = maps
    begun = convolution(STEMS[stem].kernel, image_channels, s, before, first)
    if not STEMS[stem].pooled:
        return (begun,)
    one = 0 * s + 1
    return (
        begun,
        elementwise("normalise", s * first, one),
        elementwise("activate", s * first, one),
        pool(s * first, s * after),
    )


def check_compression(values: Sequence[int]) -> Iterator[Problem]:
    """Yield a problem where a compression is no multiple of 5."""
    if any(value % COMPRESSION_STEP for value in values):
        yield Problem("compression", "not_a_multiple", f"must be a multiple of {COMPRESSION_STEP}")


def check_joined(stem_channels: int, growth: int, layers: int) -> Iterator[Problem]:
    """Yield a problem where the first block can end with too few channels."""
    if stem_channels + growth * layers < LEAST_JOINED:
        message = (
            f"must give the first block at least {LEAST_JOINED} channels at its end: stem_channels + growth x layers"
        )
        yield Problem("stages.0.layers", "too_small", message)


def check_maps(stem: str, image: Image, stages: int) -> Iterator[Problem]:
    """Yield a problem where an image is too small: each transition halves the maps and rounds down."""
    if min(maps_of(stem, (image.height, image.width), stages).blocks[-1]) < 1:
        yield Problem("input", "too_small", f"is too small: {stages - 1} transitions leave no map for the last block")


@dataclass(frozen=True, kw_only=True)
class DenseStage(Value):
    """A block of layers, each of which reads what all layers before it added."""

    layers: int = integer(*LAYERS, DOCS["layers"], example=6)


@dataclass(frozen=True, kw_only=True)
class DenseCell(Value):
    """A block as figures report it: the concatenation cell that it is."""

    width: int = integer(*GROWTH, "Growth.", example=32)
    layers: int = integer(*LAYERS, DOCS["layers"], example=6)

    @property
    def repeats(self) -> int:
        """Its layers, by the name that other stages have for their blocks."""
        return self.layers


@dataclass(frozen=True)
class Placed:
    """A block in its network: its layers, channels before and after it, those after its transition (0: none), maps."""

    layers: int
    entering: int
    joined: int
    kept: int
    size: Size
    after: Size


@dataclass(frozen=True, kw_only=True)
class DenseNetBc(ImageArchitecture):
    """A network of `densenet_bc`: DenseNet-BC, and without bottlenecks and at compression 100 the plain DenseNet."""

    family: ClassVar[str] = "densenet_bc"
    stem: str = choice(STEM_NAMES, DOCS["stem"], PLAIN_STEM)
    stem_channels: int = integer(*CHANNELS, DOCS["stem_channels"], example=64)
    growth: int = integer(*GROWTH, DOCS["growth"], example=32)
    bottleneck: int = integer(*BOTTLENECK, DOCS["bottleneck"], PLAIN_BOTTLENECK)
    compression: int = integer(*COMPRESSION, DOCS["compression"], PLAIN_COMPRESSION)
    stages: tuple[DenseStage, ...] = sequence(
        DenseStage, LEAST_STAGES, MOST_STAGES, "Blocks from input to output; each transition halves the resolution."
    )

    def cross_check(self) -> Iterator[Problem]:
        problems = [
            *check_compression((self.compression,)),
            *check_joined(self.stem_channels, self.growth, self.stages[0].layers),
            *check_maps(self.stem, self.input, len(self.stages)),
        ]
        yield from problems
        if not problems and self.evaluation.macs > LARGEST_INTEGER:
            yield Problem("stages", "too_large", "make a network of more than 2**53 - 1 MACs")

    @property
    def maps(self) -> Maps:
        """Sizes of its maps."""
        return maps_of(self.stem, (self.input.height, self.input.width), len(self.stages))

    @property
    def dense(self) -> DenseLayers:
        """How its blocks are built."""
        return DenseLayers(self.bottleneck)

    def placed(self) -> list[Placed]:
        """Return its blocks, from input to output."""
        found: list[Placed] = []
        entering, sizes = self.stem_channels, self.maps.blocks
        for stage, size, after in zip(self.stages, sizes, (*sizes[1:], None), strict=True):
            joined = entering + self.growth * stage.layers
            kept = compressed(joined, self.compression) if after else 0
            found.append(Placed(stage.layers, entering, joined, kept, size, after or size))
            entering = kept
        return found

    def evaluate(self) -> Evaluation:
        stem = stem_costs(self.stem, self.input.channels, self.stem_channels, self._stem_maps())
        blocks = self.placed()
        parts, steps, weights = list[Part](), [Step("stem", stem.peak)], stem.weights
        for number, block in enumerate(blocks, start=1):
            costs = [self.dense.costs(block.entering, self.growth, block.layers, area(block.size))]
            steps.append(Step(f"stage {number}, layers", costs[0].peak))
            if block.kept:
                costs.append(transition_costs(block.joined, block.kept, area(block.size), area(block.after)))
                steps.append(Step(f"stage {number}, transition", costs[1].peak))
            weights += sum(each.weights for each in costs)
            params, macs = (sum(getattr(each, name) for each in costs) for name in ("params", "macs"))
            cell = DenseCell(width=self.growth, layers=block.layers)
            parts.append(Part(cell, self.growth, Fraction(self.growth * block.layers), params, macs))
        head = wide_head(blocks[-1].joined, area(blocks[-1].size), self.num_classes)
        return Evaluation(
            mass=sum((part.mass for part in parts), start=Fraction(0)),
            params=stem.params + sum(part.params for part in parts) + head.params,
            macs=stem.macs + sum(part.macs for part in parts) + head.macs,
            weights=weights + head.weights,
            steps=(*steps, Step("head", head.peak)),
            depth=len(self.layer_shapes()),
            part_name="stages",
            parts=tuple(parts),
        )

    def _stem_maps(self) -> tuple[int, int, int]:
        first, blocks = self.maps
        return area((self.input.height, self.input.width)), area(first), area(blocks[0])

    def work(self) -> tuple[Work, ...]:
        parts = [stem_work(self.stem, self.input.channels, self.stem_channels, self._stem_maps())]
        blocks = self.placed()
        for block in blocks:
            work = self.dense.work(block.entering, self.growth, block.layers, area(block.size))
            if block.kept:
                work += transition_work(block.joined, block.kept, area(block.size), area(block.after))
            parts.append(work)
        return (*parts, wide_head_work(blocks[-1].joined, area(blocks[-1].size), self.num_classes))

    def smallest_normalized_map(self) -> int:
        return area(self.maps.blocks[-1])

    def layer_shapes(self) -> tuple[LayerShape, ...]:
        layers = [LayerShape(self.stem_channels, self.maps.first)]
        for block in self.placed():
            inner = [LayerShape(self.bottleneck * self.growth, block.size)] if self.bottleneck else []
            layers += [*inner, LayerShape(self.growth, block.size)] * block.layers
            layers += [LayerShape(block.kept, block.size)] if block.kept else []
        return tuple(layers)

    def scaled(self, scale: Scale) -> DenseNetBc:
        """Return the network of another growth and other numbers of layers: docs/theory.md (95).

        Raises:
            DefinitionError: There is no such network; the problem names `width` or `depth`.
        """
        growth = scaled_channels(self.growth, scale.width, GROWTH_UNIT, GROWTH_UNIT)
        layers = [scaled_number(stage.layers, scale.depth) for stage in self.stages]
        check_scaled(growth, max(layers), GROWTH[1], LAYERS[1])
        stem = scaled_channels(self.stem_channels, scale.width) if scale.ends else self.stem_channels
        return replace(self, growth=growth, stem_channels=stem, stages=tuple(DenseStage(layers=n) for n in layers))

    def space_around(self) -> JsonObject:
        k, step = self.growth, max(1, self.growth // 8)
        growth = list(range(k - k // 2 // step * step, min(k + k // 2, GROWTH[1]) + 1, step))
        fewest = max(1, min(self.stages[0].layers, -(-(LEAST_JOINED - self.stem_channels) // growth[0])))
        growth = [each for each in growth if not any(check_joined(self.stem_channels, each, fewest))]
        stages = [
            {"layers": {"min": 1 if number else fewest, "max": min(stage.layers + MORE_REPEATS, LAYERS[1])}}
            for number, stage in enumerate(self.stages)
        ]
        return {"family": self.family, **encode(self), "growth": [*growth], "stages": [*stages]}

    def panels(self) -> tuple[Panel, ...]:
        return tuple(self._panel(number, block) for number, block in enumerate(self.placed(), start=1))

    def _panel(self, number: int, block: Placed) -> Panel:
        k, n = self.growth, block.layers
        after = f", then {block.kept}" if block.kept else ""
        return Panel(
            name=f"stage {number}",
            size=f"{block.size[0]} x {block.size[1]}",
            channels=(k,) * len(shown(n)),
            arcs=concatenation_arcs(k, n, k * n),
            lines=(
                f"growth {k}, {n} layer{'s' if n > 1 else ''}",
                f"{block.entering} channels in, {block.joined} out{after}",
            ),
            mass=float(k * n),
        )
