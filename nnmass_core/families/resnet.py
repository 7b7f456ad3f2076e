"""`resnet`: torchvision's ResNet, ResNeXt, Wide ResNet and RegNetX, with any number of stages, also for small images.

Formulas: docs/theory.md (7), (8), (16), (17), (26), (27), (29), (85), (86).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from nnmass_core.architecture import CLASSES, Architecture, Image, LayerShape
from nnmass_core.codec import (
    JsonObject,
    Value,
    choice,
    encode,
    field_schema,
    integer,
    object_schema,
    sequence,
)
from nnmass_core.engine.chain import Chain, Ints
from nnmass_core.errors import Problem
from nnmass_core.families.costs import Costs
from nnmass_core.families.neighborhood import stages_around
from nnmass_core.families.residual import (
    CHANNELS,
    REPEATS,
    Built,
    ResidualNetwork,
    Size,
    StageAxes,
    area,
    decode_stages,
    encode_stages,
    halved,
    stages_schema,
)
from nnmass_core.families.residual_space import (
    LEFT_OUT,
    Blocks,
    Frame,
    Head,
    LargestStage,
    Place,
    always_there,
    build_stages,
    check_stages,
    form_version,
    largest_places,
    largest_stages,
    last_maps,
    layers_of_options,
    layers_of_stages,
    most,
    option_bound,
    places,
    staged_chain,
    varies_width,
)
from nnmass_core.hardware.latency import (
    LatencyModel,
    Operators,
    Work,
    convolution,
    elementwise,
    grouped,
    linear,
    pool,
)
from nnmass_core.mass import Integers, basic_block_terms, bottleneck_terms, larger
from nnmass_core.spaces.base import Fields, Space, decode_choice, decode_integer
from nnmass_core.spaces.images import Images, decode_images, images_schema
from nnmass_core.spaces.multipliers import UNIT, scaled_channels
from nnmass_core.spaces.structure import (
    NEVER_FALL,
    PartValues,
    check_rising,
    form_of_rule,
    only_present,
    ruled,
    width_rule_schema,
)

BLOCKS = ("basic", "bottleneck", "regnet_x")
LEAST_STAGES, MOST_STAGES = 1, 8
GROUPS = (1, 1024)
WIDTH_PER_GROUP = (1, 8192)
GROUP_DOC = "Inner width of a group at 64 channels; in regnet_x blocks at any number of channels."
SWITCH = (0, 1)
FIRST_STRIDE = (1, 2)
PLAIN_GROUPS, PLAIN_WIDTH = 1, 64
PLAIN_STEM, STEM_CHANNELS = "imagenet", 64
EXPANSION = 4
"""Output channels of a bottleneck per stage channel."""

SPACE_BOUNDS = {"channels": CHANNELS, "repeats": (0, REPEATS[1])}
"""The values of a space's axes."""


class StemLayout(NamedTuple):
    """A first convolution. kernel: its height and width. pooled: whether 3x3 max pooling with stride 2 follows."""

    kernel: int
    stride: int
    pooled: bool


STEMS = {
    "imagenet": StemLayout(7, 2, pooled=True),
    "small": StemLayout(3, 1, pooled=False),
    "halving": StemLayout(3, 2, pooled=False),
}
"""What precedes the stages, by `stem`."""

STEM_DOC = (
    "`imagenet`: 7x7 with stride 2 and max pooling; `small`: 3x3 with stride 1, for small images; `halving`: 3x3 with"
    " stride 2, as RegNet's."
)

DOCS = {
    "channels": "torchvision's planes: a basic block's channels, a quarter of a bottleneck's.",
    "repeats": "Blocks in the stage.",
}


@dataclass(frozen=True)
class BasicBlocks(Blocks):
    """Two 3x3 convolutions, each with BatchNorm; a projected shortcut is a 1x1 convolution with BatchNorm.

    bias: 1 where the convolutions have biases. projection_norm: 0 where the shortcut's has no BatchNorm.
    """

    bias: int = 0
    projection_norm: int = 1

    def channels(self, c: Integers) -> Integers:
        return c

    def layers(self, c: int, before: Size, after: Size) -> tuple[LayerShape, ...]:
        return (LayerShape(c, after), LayerShape(c, after))

    def costs(
        self, i: Integers, c: Integers, before: Integers, after: Integers, projected: Integers
    ) -> Costs[Integers]:
        kernels = 9 * i * c + 9 * c * c + projected * i * c
        norm_channels = (2 + projected * self.projection_norm) * c
        biases = self.bias * (2 + projected) * c
        # the second convolution or the shortcut's: the block's input, the main branch and the tensor being written are
        # alive
        peak = i * before + 2 * c * after
        return Costs(kernels + 2 * norm_channels + biases, kernels * after, norm_channels, peak)

    def work(self, i: Integers, c: Integers, before: Integers, after: Integers, projected: Integers) -> Work:
        small, large, norms = 0 * c + after, 0 * c + before, 2 + projected * self.projection_norm
        return (
            convolution(3, i, c, large, small),
            convolution(3, c, c, small, small),
            convolution(1, i, c, large, small).times(projected),
            elementwise("normalise", norms * c * after, norms),
            elementwise("activate", 2 * c * after, 0 * c + 2),
            elementwise("add", c * after, 0 * c + 1),
        )

    def terms(self, i: Integers, c: Integers) -> tuple[Integers, Integers]:
        return basic_block_terms(i, c)


@dataclass(frozen=True)
class Bottlenecks(Blocks):
    """1x1, grouped 3x3 (with the stride) and 1x1 convolutions, each with BatchNorm; the rest as in a basic block."""

    groups: int
    width_per_group: int
    bias: int = 0
    projection_norm: int = 1

    def inner(self, c: Integers) -> Integers:
        """Return h, the width of the 3x3 convolution."""
        width: Integers = c * self.width_per_group // 64 * self.groups
        return width

    def group_width(self, h: Integers) -> Integers:
        """Return the channels of a group of the 3x3 convolution."""
        width: Integers = h // self.groups
        return width

    def spatial(self, h: Integers, before: Integers, after: Integers) -> Work:
        """Return the 3x3 convolution."""
        return (grouped(h, self.groups, before, after),)

    def channels(self, c: Integers) -> Integers:
        return EXPANSION * c

    def layers(self, c: int, before: Size, after: Size) -> tuple[LayerShape, ...]:
        h = self.inner(c)
        return (LayerShape(h, before), LayerShape(h, after), LayerShape(self.channels(c), after))

    def costs(
        self, i: Integers, c: Integers, before: Integers, after: Integers, projected: Integers
    ) -> Costs[Integers]:
        h, o = self.inner(c), self.channels(c)
        later = 9 * self.group_width(h) * h + h * o + projected * i * o
        norm_channels = 2 * h + (1 + projected * self.projection_norm) * o
        biases = self.bias * (2 * h + (1 + projected) * o)
        steps = larger(h * (before + after), (h + o) * after)
        peak = i * before + larger(steps, projected * (2 * o * after))
        return Costs(i * h + later + 2 * norm_channels + biases, i * h * before + later * after, norm_channels, peak)

    def work(self, i: Integers, c: Integers, before: Integers, after: Integers, projected: Integers) -> Work:
        h, o = self.inner(c), self.channels(c)
        small, large, projection_norm = 0 * c + after, 0 * c + before, projected * self.projection_norm
        middle: Work = self.spatial(h, large, small)
        return (
            convolution(1, i, h, large, large),
            *middle,
            convolution(1, h, o, small, small),
            convolution(1, i, o, large, small).times(projected),
            elementwise("normalise", h * (before + after) + (1 + projection_norm) * o * after, 3 + projection_norm),
            elementwise("activate", h * (before + after) + o * after, 0 * c + 3),
            elementwise("add", o * after, 0 * c + 1),
        )

    def terms(self, i: Integers, c: Integers) -> tuple[Integers, Integers]:
        return bottleneck_terms(i, self.inner(c))


@dataclass(frozen=True)
class RegNetBlocks(Bottlenecks):
    """Bottlenecks whose inner width is that of their output, in groups of equal width: docs/theory.md (86)."""

    def inner(self, c: Integers) -> Integers:
        return c

    def channels(self, c: Integers) -> Integers:
        return c

    def group_width(self, h: Integers) -> Integers:
        width: Integers = h // larger(h // self.width_per_group, 0 * h + 1)
        return width

    def spatial(self, h: Integers, before: Integers, after: Integers) -> Work:
        # blocks of one group are ordinary convolutions; a profile may lack the kind that no block has
        whole, weights = (h <= self.width_per_group) * 1, 9 * self.group_width(h) * h
        of_one = convolution(3, h, h, before, after)
        of_more = Operators("grouped_3x3", 0 * h + 1, weights * after, h * before, h * after, weights, 0 * h)
        kinds = ((of_one, whole), (of_more, 1 - whole))
        return tuple(operators.times(has) for operators, has in kinds if np.any(has))


@dataclass(frozen=True)
class Kind:
    """What all networks of a space have in common beside image, classes and stages: fields of `ResNet`."""

    block: str
    groups: int = PLAIN_GROUPS
    width_per_group: int = PLAIN_WIDTH
    stem: str = PLAIN_STEM
    stem_channels: int = STEM_CHANNELS
    bias: int = 0
    projection_norm: int = 1
    first_stride: int = 1

    @property
    def added(self) -> JsonObject:
        """The fields that came later, without those at their defaults."""
        return {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self)[3:] if getattr(self, f.name) != f.default
        }

    @property
    def layers_a_block(self) -> int:
        """How many layers a block adds to a network's depth."""
        return 2 if self.block == "basic" else 3

    def blocks(self) -> Blocks:
        """Return the builder of the blocks."""
        if self.block == "basic":
            return BasicBlocks(self.bias, self.projection_norm)
        kind = Bottlenecks if self.block == "bottleneck" else RegNetBlocks
        return kind(self.groups, self.width_per_group, self.bias, self.projection_norm)

    def stem_size(self, image: Image) -> Size:
        """Return the size of the maps of the first convolution."""
        return halved((image.height, image.width), STEMS[self.stem].stride - 1)

    def frame(self, image: Image) -> Frame:
        """Return the stem: a convolution with BatchNorm, and max pooling in that of ImageNet. docs/theory.md (85)."""
        layout, s, size = STEMS[self.stem], self.stem_channels, self.stem_size(image)
        before, first = area((image.height, image.width)), area(size)
        kernels = layout.kernel**2 * image.channels * s
        peak = image.channels * before + s * first
        work: Work = (
            convolution(layout.kernel, image.channels, s, before, first),
            elementwise("normalise", s * first, 1),
            elementwise("activate", s * first, 1),
        )
        if layout.pooled:
            size = halved(size)
            peak = max(peak, s * (first + area(size)))
            work += (pool(s * first, s * area(size)),)
        costs = Costs(kernels + (2 + self.bias) * s, kernels * first, s, peak)
        return Frame(costs, s, size, work, self.first_stride)

    def problems(self, channels: Sequence[Sequence[int]]) -> Iterator[Problem]:
        """Yield what is wrong with groups and width_per_group. channels: those of each stage, ascending."""
        if self.block == "basic":
            for name, plain in (("groups", PLAIN_GROUPS), ("width_per_group", PLAIN_WIDTH)):
                if getattr(self, name) != plain:
                    yield Problem(name, "conflicts_with_block", f"must be {plain} for basic blocks")
        elif self.block == "regnet_x":
            if self.groups != PLAIN_GROUPS:
                message = f"must be {PLAIN_GROUPS} for regnet_x blocks: width_per_group gives the groups"
                yield Problem("groups", "conflicts_with_block", message)
            for number, values in enumerate(channels):
                if any(c > self.width_per_group and c % self.width_per_group for c in values):
                    message = f"must be multiples of width_per_group, {self.width_per_group}, or fewer"
                    yield Problem(f"stages.{number}.channels", "conflicts_with_groups", message)
        elif min(values[0] for values in channels) * self.width_per_group < 64:
            yield Problem("width_per_group", "too_small", "leaves no inner channels in the narrowest stage")


@lru_cache(maxsize=64)
def _frame(kind: Kind, image: Image) -> Frame:
    """Return a stem; the networks of one answer have it in common."""
    return kind.frame(image)


KIND = tuple(field.name for field in dataclasses.fields(Kind))
OPTIONAL = KIND[1:]
"""The fields of `Kind` that may be left out."""


def head_costs(channels: Integers, positions: Integers, num_classes: int) -> Costs[Integers]:
    """Return the costs of global average pooling and one Linear with bias."""
    macs = channels * num_classes
    peak = larger(channels * positions + channels, channels + num_classes)
    return Costs(macs + num_classes, macs, 0 * channels, peak)


def head_work(channels: Integers, positions: Integers, num_classes: int) -> Work:
    """Return the operators of global average pooling and one Linear."""
    return (pool(channels * positions, channels), linear(channels, 0 * channels + num_classes))


@dataclass(frozen=True, kw_only=True)
class ResNetStage(Value):
    """A run of blocks at one resolution."""

    channels: int = integer(*CHANNELS, DOCS["channels"])
    repeats: int = integer(*REPEATS, DOCS["repeats"])


@dataclass(frozen=True, kw_only=True)
class ResNet(ResidualNetwork):
    """A network of `resnet`.

    `width_per_group` is lowered to the least value with the same inner widths, and `projection_norm` is 1 where no
    shortcut is a convolution.
    """

    family: ClassVar[str] = "resnet"
    block: str = choice(BLOCKS, "basic, bottleneck, or regnet_x: a bottleneck as wide inside as outside.")
    stages: tuple[ResNetStage, ...] = sequence(
        ResNetStage,
        LEAST_STAGES,
        MOST_STAGES,
        "Stages from input to output; every one except perhaps the first halves the resolution.",
    )
    groups: int = integer(*GROUPS, "Groups of the bottlenecks' 3x3 convolutions.", default=PLAIN_GROUPS)
    width_per_group: int = integer(*WIDTH_PER_GROUP, GROUP_DOC, default=PLAIN_WIDTH)
    stem: str = choice(tuple(STEMS), STEM_DOC, PLAIN_STEM, added=True)
    stem_channels: int = integer(*CHANNELS, "Channels of the first convolution.", STEM_CHANNELS, added=True)
    bias: int = integer(*SWITCH, "1 where convolutions have biases beside BatchNorm, else 0.", 0, added=True)
    projection_norm: int = integer(
        *SWITCH, "1 where BatchNorm follows the 1x1 convolution of a shortcut, else 0.", 1, added=True
    )
    first_stride: int = integer(*FIRST_STRIDE, "Stride of the first stage; that of every other is 2.", 1, added=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block == "bottleneck":
            widths = ((stage.channels * self.width_per_group // 64, stage.channels) for stage in self.stages)
            object.__setattr__(self, "width_per_group", max(-(-64 * width // c) for width, c in widths))
        elif self.block == "regnet_x":
            widest = max(stage.channels for stage in self.stages)
            object.__setattr__(self, "width_per_group", min(self.width_per_group, widest))
        if not (self.projection_norm or any(place.projected for place in self.places())):
            object.__setattr__(self, "projection_norm", 1)

    def cross_check(self) -> Iterator[Problem]:
        channels = [(stage.channels,) for stage in self.stages]
        yield from list(self.kind.problems(channels)) or super().cross_check()

    @property
    def kind(self) -> Kind:
        """What it has beside image, classes and stages."""
        return Kind(*(getattr(self, name) for name in KIND))

    def blocks(self) -> Blocks:
        """Return the builder of the blocks."""
        return self.kind.blocks()

    def frame(self) -> Frame:
        """Return the stem."""
        return _frame(self.kind, self.input)

    def places(self) -> list[Place]:
        """Return the places of the stages."""
        return places(self.blocks(), self.frame(), self.stages)

    def built(self) -> list[Built]:
        return build_stages(self.blocks(), self.stages, self.places())

    def ends(self) -> tuple[Costs[int], Costs[int]]:
        return self.frame().stem, head_costs(*self._last_maps(), self.num_classes)

    def ends_work(self) -> tuple[Work, Work]:
        return self.frame().work, head_work(*self._last_maps(), self.num_classes)

    def _last_maps(self) -> tuple[int, int]:
        """Return the channels and positions of the maps that the head reads."""
        return self.blocks().channels(self.stages[-1].channels), area(self.places()[-1].after)

    def layer_shapes(self) -> tuple[LayerShape, ...]:
        stem = LayerShape(self.stem_channels, self.kind.stem_size(self.input))
        return (stem, *layers_of_stages(self.blocks(), self.frame(), self.stages))

    def space_around(self) -> JsonObject:
        multiple = self.width_per_group if self.block == "regnet_x" else 1
        return super().space_around() | {"stages": stages_around([encode(stage) for stage in self.stages], multiple)}

    def scaled_channels(self, channels: int, width: Fraction) -> int:
        """Return channels that the groups divide, and with an inner channel: docs/theory.md (90)."""
        group = self.width_per_group
        if self.block == "regnet_x":
            if channels * width > group:
                return scaled_channels(channels, width, group, group)
            return min(scaled_channels(channels, width), group)
        return scaled_channels(channels, width, least=max(UNIT, -(-PLAIN_WIDTH // group)))

    def layers(self) -> int:
        return 1 + self.kind.layers_a_block * sum(stage.repeats for stage in self.stages)


@dataclass(frozen=True, kw_only=True)
class LargestResNet(ResNet):
    """A network that costs at least as much as each of a space: it stands for them, and is none of them."""

    stages: tuple[LargestStage, ...] = sequence(  # type: ignore[assignment]
        LargestStage, LEAST_STAGES, MOST_STAGES, "Stages from input to output."
    )

    def places(self) -> list[Place]:
        return largest_places(self.blocks(), self.frame(), self.stages)

    def ends(self) -> tuple[Costs[int], Costs[int]]:
        lasts = last_maps(self.blocks(), self.stages, self.places())
        return self.frame().stem, most(head_costs(*maps, self.num_classes) for maps in lasts)


@dataclass(frozen=True)
class ResNetSpace(Space):
    """Ranges for every stage of a `resnet`; all stages have the same block type and groups."""

    family: ClassVar[str] = "resnet"

    input: Images
    num_classes: int
    kind: Kind
    stages: tuple[StageAxes, ...]
    width_rule: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        fields = Fields(data, cls)
        found = {
            "input": fields.read("input", decode_images),
            "num_classes": fields.read("num_classes", lambda value: decode_integer(value, *CLASSES)),
            "stages": fields.read(
                "stages", lambda value: decode_stages(value, SPACE_BOUNDS, LEAST_STAGES, MOST_STAGES)
            ),
            "width_rule": fields.read("width_rule", lambda value: decode_choice(value, (NEVER_FALL,)), None),
        }
        kind = {
            "block": fields.read("block", lambda value: decode_choice(value, BLOCKS)),
            "groups": fields.read("groups", lambda value: decode_integer(value, *GROUPS), PLAIN_GROUPS),
            "width_per_group": fields.read(
                "width_per_group", lambda value: decode_integer(value, *WIDTH_PER_GROUP), PLAIN_WIDTH
            ),
            "stem": fields.read("stem", lambda value: decode_choice(value, tuple(STEMS)), PLAIN_STEM),
            "stem_channels": fields.read(
                "stem_channels", lambda value: decode_integer(value, *CHANNELS), STEM_CHANNELS
            ),
            "bias": fields.read("bias", lambda value: decode_integer(value, *SWITCH), 0),
            "projection_norm": fields.read("projection_norm", lambda value: decode_integer(value, *SWITCH), 1),
            "first_stride": fields.read("first_stride", lambda value: decode_integer(value, *FIRST_STRIDE), 1),
        }
        fields.stop_if_wrong()
        return cls(**found, kind=Kind(**kind))

    def cross_check(self) -> Iterator[Problem]:
        yield from self.kind.problems([stage["channels"].values for stage in self.stages])
        yield from check_stages(self.stages, LEAST_STAGES)
        if self.width_rule is not None:
            yield from check_rising(always_there(self.stages))

    def to_json(self) -> JsonObject:
        return {
            "family": self.family,
            "input": self.input.form,
            "num_classes": self.num_classes,
            "block": self.kind.block,
            "stages": encode_stages(self.stages),
            "groups": self.kind.groups,
            "width_per_group": self.kind.width_per_group,
            **self.kind.added,
            **form_of_rule(self.width_rule),
        }

    @classmethod
    def schema(cls) -> JsonObject:
        same = {name: field_schema(ResNet, name) for name in ("num_classes", *KIND)}
        stages = stages_schema("ResNetStages", SPACE_BOUNDS, DOCS | {"repeats": LEFT_OUT}, LEAST_STAGES, MOST_STAGES)
        own: JsonObject = {"family": cls.family_schema(), "input": images_schema()}
        properties = {**own, **same, "stages": stages, "width_rule": width_rule_schema()}
        return object_schema(cls.__name__, properties, optional=(*OPTIONAL, "width_rule"))

    def option_bound(self) -> int:
        return self.input.options(option_bound(self.stages, LEAST_STAGES))

    def largest(self) -> Architecture:
        stages = largest_stages(self.stages)
        return LargestResNet(input=self.input.largest, num_classes=self.num_classes, stages=stages, **asdict(self.kind))

    def work(self) -> tuple[Work, ...] | None:
        kinds: Work = (convolution(3, 1, 1, 1, 1), grouped(2, 2, 1, 1)) if self.kind.block == "regnet_x" else ()
        return (*(super().work() or ()), kinds)

    def chain(self, model: LatencyModel | None = None) -> Chain:
        blocks, frame, classes = self.kind.blocks(), self.kind.frame, self.num_classes
        head = Head(lambda c, at: head_costs(c, at, classes), lambda c, at: head_work(c, at, classes))
        chain = self.input.chain(
            lambda image: staged_chain(blocks, frame(image), self.stages, LEAST_STAGES, head, model)
        )
        return ruled(self.part_values, chain, self.width_rule)

    def architecture(self, integers: Sequence[int]) -> Architecture:
        image, integers = self.input.read(integers)
        pairs = zip(integers[0::2], integers[1::2], strict=True)
        stages = tuple(ResNetStage(channels=c, repeats=r) for c, r in pairs if r)
        return ResNet(input=image, num_classes=self.num_classes, stages=stages, **asdict(self.kind))

    @property
    def form_version(self) -> int:
        later = bool(self.kind.added) or self.kind.block == "regnet_x"
        return max(self.input.form_version, form_version(self.stages), 2 if later or self.width_rule is not None else 1)

    def part_values(self, name: str) -> PartValues | None:
        columns = tuple((2 * stage,) for stage in range(len(self.stages)))
        return self.input.shifted(PartValues(columns, only_present)) if name == "widths" else None

    def inputs(self) -> tuple[tuple[int, ...], ...]:
        return self.input.shapes

    def shared(self) -> tuple[object, ...]:
        # a network may have another width_per_group or projection_norm; where they matter they are in the costs
        kind = replace(self.kind, width_per_group=PLAIN_WIDTH, projection_norm=1)
        return (self.input.shapes, self.num_classes, kind)

    def varies_resolution(self) -> bool:
        return self.input.vary

    def layers(self, chain: Chain) -> tuple[Ints, ...]:
        return layers_of_options(chain, self.kind.layers_a_block)

    def varies_width(self) -> bool:
        return varies_width(self.stages)
