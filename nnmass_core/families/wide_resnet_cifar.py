"""`wide_resnet_cifar`: pre-activation wide residual networks for small images, WRN-n-k generalized.

Formulas: docs/theory.md (7), (18), (26), (29).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from nnmass_core.architecture import CLASSES, Architecture, Image, LayerShape
from nnmass_core.codec import JsonObject, Value, field_schema, integer, object_schema, sequence
from nnmass_core.engine.chain import Chain, Ints
from nnmass_core.errors import Problem
from nnmass_core.families.costs import Costs
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
from nnmass_core.families.resnet import head_costs, head_work
from nnmass_core.hardware.latency import LatencyModel, Work, convolution, elementwise
from nnmass_core.mass import Integers, basic_block_terms, larger
from nnmass_core.spaces.base import Fields, Space, decode_choice, decode_integer
from nnmass_core.spaces.images import Images, decode_images, images_schema
from nnmass_core.spaces.structure import (
    NEVER_FALL,
    PartValues,
    check_rising,
    form_of_rule,
    only_present,
    ruled,
    width_rule_schema,
)

STAGES = (3, 8)
STEM = 16
LAYERS_A_BLOCK = 2
SPACE_BOUNDS = {"channels": CHANNELS, "repeats": (0, REPEATS[1])}
"""The values of a space's axes."""

DOCS = {"channels": "Channels of every block of the stage.", "repeats": "Blocks in the stage."}


@dataclass(frozen=True)
class WideBlocks(Blocks):
    """BatchNorm, ReLU, 3x3, BatchNorm, ReLU, 3x3; a projected shortcut is a plain 1x1 convolution.

    The shortcut reads the block's input again, so the first BatchNorm and ReLU write a new tensor beside it.
    """

    def channels(self, c: Integers) -> Integers:
        return c

    def layers(self, c: int, before: Size, after: Size) -> tuple[LayerShape, ...]:
        return (LayerShape(c, after), LayerShape(c, after))

    def costs(
        self, i: Integers, c: Integers, before: Integers, after: Integers, projected: Integers
    ) -> Costs[Integers]:
        kernels = 9 * i * c + 9 * c * c + projected * i * c
        # the first convolution has the input, its activation and its own output; the second one and the shortcut's
        # have the input, the main branch and the tensor being written
        peak = i * before + c * after + larger(i * before, c * after)
        return Costs(kernels + 2 * (i + c), kernels * after, i + c, peak)

    def work(self, i: Integers, c: Integers, before: Integers, after: Integers, projected: Integers) -> Work:
        small, large, two = 0 * c + after, 0 * c + before, 0 * c + 2
        return (
            convolution(3, i, c, large, small),
            convolution(3, c, c, small, small),
            convolution(1, i, c, large, small).times(projected),
            elementwise("normalise", i * before + c * after, two),
            elementwise("activate", i * before + c * after, two),
            elementwise("add", c * after, 0 * c + 1),
        )

    def terms(self, i: Integers, c: Integers) -> tuple[Integers, Integers]:
        return basic_block_terms(i, c)


def frame_of(image: Image) -> Frame:
    """Return the stem: a 3x3 convolution to 16 channels."""
    size = (image.height, image.width)
    kernels = 9 * image.channels * STEM
    costs = Costs(kernels, kernels * area(size), 0, (image.channels + STEM) * area(size))
    return Frame(costs, STEM, size, (convolution(3, image.channels, STEM, area(size), area(size)),))


def wide_head(channels: Integers, positions: Integers, num_classes: int) -> Costs[Integers]:
    """Return the costs of the last BatchNorm, global average pooling and one Linear with bias."""
    head = head_costs(channels, positions, num_classes)
    return Costs(head.params + 2 * channels, head.macs, channels, head.peak)


def wide_head_work(channels: Integers, positions: Integers, num_classes: int) -> Work:
    """Return the operators of the last BatchNorm and ReLU, global average pooling and one Linear."""
    elements, one = channels * positions, 0 * channels + 1
    last: Work = (elementwise("normalise", elements, one), elementwise("activate", elements, one))
    pooled: Work = head_work(channels, positions, num_classes)
    return (*last, *pooled)


@dataclass(frozen=True, kw_only=True)
class WideResNetStage(Value):
    """A run of blocks at one resolution."""

    channels: int = integer(*CHANNELS, DOCS["channels"])
    repeats: int = integer(*REPEATS, DOCS["repeats"])


@dataclass(frozen=True, kw_only=True)
class WideResNetCifar(ResidualNetwork):
    """A network of `wide_resnet_cifar`. WRN-n-k has stages of 16 k, 32 k, 64 k channels and (n - 4) / 6 repeats."""

    family: ClassVar[str] = "wide_resnet_cifar"
    stages: tuple[WideResNetStage, ...] = sequence(
        WideResNetStage, *STAGES, "Stages from input to output; every one except the first halves the resolution."
    )

    def places(self) -> list[Place]:
        """Return the places of the stages."""
        return places(WideBlocks(), frame_of(self.input), self.stages)

    def built(self) -> list[Built]:
        return build_stages(WideBlocks(), self.stages, self.places())

    def ends(self) -> tuple[Costs[int], Costs[int]]:
        last = area(self.places()[-1].after)
        return frame_of(self.input).stem, wide_head(self.stages[-1].channels, last, self.num_classes)

    def ends_work(self) -> tuple[Work, Work]:
        last = area(self.places()[-1].after)
        return frame_of(self.input).work, wide_head_work(self.stages[-1].channels, last, self.num_classes)

    def layer_shapes(self) -> tuple[LayerShape, ...]:
        frame = frame_of(self.input)
        return (LayerShape(STEM, frame.size), *layers_of_stages(WideBlocks(), frame, self.stages))

    def layers(self) -> int:
        return 1 + LAYERS_A_BLOCK * sum(stage.repeats for stage in self.stages)


@dataclass(frozen=True, kw_only=True)
class LargestWideResNetCifar(WideResNetCifar):
    """A network that costs at least as much as each of a space: it stands for them, and is none of them."""

    stages: tuple[LargestStage, ...] = sequence(  # type: ignore[assignment]
        LargestStage, *STAGES, "Stages from input to output."
    )

    def places(self) -> list[Place]:
        return largest_places(WideBlocks(), frame_of(self.input), self.stages)

    def ends(self) -> tuple[Costs[int], Costs[int]]:
        lasts = last_maps(WideBlocks(), self.stages, self.places())
        return frame_of(self.input).stem, most(wide_head(*maps, self.num_classes) for maps in lasts)


@dataclass(frozen=True)
class WideResNetCifarSpace(Space):
    """Ranges for every stage of a `wide_resnet_cifar`."""

    family: ClassVar[str] = "wide_resnet_cifar"

    input: Images
    num_classes: int
    stages: tuple[StageAxes, ...]
    width_rule: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        fields = Fields(data, cls)
        found = {
            "input": fields.read("input", decode_images),
            "num_classes": fields.read("num_classes", lambda value: decode_integer(value, *CLASSES)),
            "stages": fields.read("stages", lambda value: decode_stages(value, SPACE_BOUNDS, *STAGES)),
            "width_rule": fields.read("width_rule", lambda value: decode_choice(value, (NEVER_FALL,)), None),
        }
        fields.stop_if_wrong()
        return cls(**found)

    def cross_check(self) -> Iterator[Problem]:
        yield from check_stages(self.stages, STAGES[0])
        if self.width_rule is not None:
            yield from check_rising(always_there(self.stages))

    def to_json(self) -> JsonObject:
        return {
            "family": self.family,
            "input": self.input.form,
            "num_classes": self.num_classes,
            "stages": encode_stages(self.stages),
            **form_of_rule(self.width_rule),
        }

    @classmethod
    def schema(cls) -> JsonObject:
        properties: JsonObject = {
            "family": cls.family_schema(),
            "input": images_schema(),
            "num_classes": field_schema(WideResNetCifar, "num_classes"),
            "stages": stages_schema("WideResNetStages", SPACE_BOUNDS, DOCS | {"repeats": LEFT_OUT}, *STAGES),
            "width_rule": width_rule_schema(),
        }
        return object_schema(cls.__name__, properties, optional=("width_rule",))

    def option_bound(self) -> int:
        return self.input.options(option_bound(self.stages, STAGES[0]))

    def largest(self) -> Architecture:
        stages = largest_stages(self.stages)
        return LargestWideResNetCifar(input=self.input.largest, num_classes=self.num_classes, stages=stages)

    def chain(self, model: LatencyModel | None = None) -> Chain:
        classes = self.num_classes
        head = Head(lambda c, at: wide_head(c, at, classes), lambda c, at: wide_head_work(c, at, classes))
        chain = self.input.chain(
            lambda image: staged_chain(WideBlocks(), frame_of(image), self.stages, STAGES[0], head, model)
        )
        return ruled(self.part_values, chain, self.width_rule)

    def architecture(self, integers: Sequence[int]) -> Architecture:
        image, integers = self.input.read(integers)
        pairs = zip(integers[0::2], integers[1::2], strict=True)
        stages = tuple(WideResNetStage(channels=c, repeats=r) for c, r in pairs if r)
        return WideResNetCifar(input=image, num_classes=self.num_classes, stages=stages)

    @property
    def form_version(self) -> int:
        return max(self.input.form_version, form_version(self.stages), 1 if self.width_rule is None else 2)

    def part_values(self, name: str) -> PartValues | None:
        columns = tuple((2 * stage,) for stage in range(len(self.stages)))
        return self.input.shifted(PartValues(columns, only_present)) if name == "widths" else None

    def inputs(self) -> tuple[tuple[int, ...], ...]:
        return self.input.shapes

    def shared(self) -> tuple[object, ...]:
        return (self.input.shapes, self.num_classes)

    def varies_resolution(self) -> bool:
        return self.input.vary

    def layers(self, chain: Chain) -> tuple[Ints, ...]:
        return layers_of_options(chain, LAYERS_A_BLOCK)

    def varies_width(self) -> bool:
        return varies_width(self.stages)
