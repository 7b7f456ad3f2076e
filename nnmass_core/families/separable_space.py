"""Search spaces of `mobilenet_v1` and `ds_cnn`: ranges for the stem, for every stage and for the input's resolution."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

from nnmass_core.architecture import CLASSES, Architecture, Image
from nnmass_core.codec import JsonObject, field_schema, object_schema
from nnmass_core.engine.chain import Ints
from nnmass_core.errors import Problem
from nnmass_core.families.costs import Costs
from nnmass_core.families.residual import (
    CHANNELS,
    REPEATS,
    ResidualNetwork,
    StageAxes,
    decode_stages,
    encode_stages,
    merged,
    stages_schema,
)
from nnmass_core.families.resnet import head_costs, head_work
from nnmass_core.families.separable import (
    DOCS,
    MOST_STAGES,
    PLAIN_KERNEL,
    STEM_KERNEL,
    STRIDE,
    DsCnn,
    MobileNetV1,
    SeparableBlock,
    SeparableNetwork,
    SeparableStage,
    Stem,
    check_stem_kernel,
)
from nnmass_core.families.strided_space import StridedSpace
from nnmass_core.hardware.latency import Work
from nnmass_core.spaces.axis import Axis, decode_axis, single_axis_schema
from nnmass_core.spaces.base import Fields, decode_choice, decode_integer
from nnmass_core.spaces.images import decode_images, images_schema
from nnmass_core.spaces.structure import NEVER_FALL, form_of_rule, width_rule_schema

BOUNDS = {"channels": CHANNELS, "repeats": (0, REPEATS[1]), "stride": STRIDE}
SPACE_DOCS = DOCS | {"repeats": "Blocks in the stage; 0 leaves it out, with its stride."}
CONSTANT = tuple((name, Axis((value,), value)) for name, value in (("expansion", 1), ("kernel", 3), ("se", 0)))
"""The axes that these families lack, as `StridedSpace` reads them."""

STEM_STRIDE = 2
KERNEL_FIELDS = ("stem_kernel_height", "stem_kernel_width")


def _decode_stages(data: object) -> tuple[StageAxes, ...]:
    stages = decode_stages(data, BOUNDS, 1, MOST_STAGES)
    return tuple(StageAxes((*stage.named, *CONSTANT)) for stage in stages)


@dataclass(frozen=True)
class SeparableSpace(StridedSpace):
    """Ranges for every stage of a chain of depthwise separable blocks."""

    has_skips: ClassVar[bool] = False
    axes: ClassVar[tuple[str, ...]] = tuple(BOUNDS)
    layers_outside: ClassVar[int] = 1

    network: ClassVar[type[SeparableNetwork]]
    largest_network: ClassVar[type[SeparableNetwork]]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        fields = Fields(data, cls)
        found = {
            "input": fields.read("input", decode_images),
            "num_classes": fields.read("num_classes", lambda value: decode_integer(value, *CLASSES)),
            "stem_channels": fields.read("stem_channels", lambda value: decode_axis(value, CHANNELS)),
            "stem_stride": fields.read("stem_stride", lambda value: decode_integer(value, *STRIDE), STEM_STRIDE),
            "stages": fields.read("stages", _decode_stages),
            "width_rule": fields.read("width_rule", lambda value: decode_choice(value, (NEVER_FALL,)), None),
            **{name: fields.read(name, read) for name, read in cls.stem_readers().items()},
        }
        fields.stop_if_wrong()
        return cls(**found)

    @classmethod
    def stem_readers(cls) -> dict[str, Callable[[object], int]]:
        """Return the readers of what the family's stem has beside channels and stride, by field."""
        return {}

    def stem_form(self) -> dict[str, int]:
        """Return what the family's stem has beside channels and stride."""
        return {}

    @property
    def stem(self) -> Stem:
        """The first convolution."""
        return Stem(self.input.channels, (PLAIN_KERNEL, PLAIN_KERNEL), self.network.bias)

    def to_json(self) -> JsonObject:
        return {
            "family": self.family,
            "input": self.input.form,
            "num_classes": self.num_classes,
            "stem_channels": self.stem_channels.form,
            "stem_stride": self.stem_stride,
            **self.stem_form(),
            "stages": encode_stages(tuple(StageAxes(stage.named[: len(BOUNDS)]) for stage in self.stages)),
            **form_of_rule(self.width_rule),
        }

    @classmethod
    def schema(cls) -> JsonObject:
        channels = partial(single_axis_schema, *CHANNELS)
        properties: JsonObject = {
            "family": cls.family_schema(),
            "input": images_schema(),
            "num_classes": field_schema(cls.network, "num_classes"),
            "stem_channels": channels("Channels of the first convolution.", example=[16, 32]),
            "stem_stride": field_schema(cls.network, "stem_stride"),
            **{name: field_schema(cls.network, name) for name in cls.stem_readers()},
            "stages": stages_schema(f"{cls.network.__name__}Stages", BOUNDS, SPACE_DOCS, 1, MOST_STAGES),
            "width_rule": width_rule_schema(),
        }
        return object_schema(cls.__name__, properties, optional=("stem_stride", "width_rule"))

    def block(
        self, i: Ints, o: Ints, expansion: Ints, before: Ints, after: Ints, joined: Ints, kernel: Ints, se: Ints
    ) -> SeparableBlock[Ints]:
        return SeparableBlock(i, o, before, after, self.network.bias)

    def stem_costs(self, channels: Ints, before: Ints, after: Ints) -> Costs[Ints]:
        return self.stem.costs(channels, before, after)

    def stem_work(self, channels: Ints, before: Ints, after: Ints) -> Work:
        return self.stem.work(channels, before, after)

    def head_costs(self, channels: Ints, last: Ints, positions: Ints) -> Costs[Ints]:
        return head_costs(channels, positions, self.num_classes)

    def head_work(self, channels: Ints, last: Ints, positions: Ints) -> Work:
        return head_work(channels, positions, self.num_classes)

    def largest(self) -> Architecture:
        stages: list[SeparableStage] = []
        before = self.stem_channels.largest
        for stage in self.stages:
            channels, stride = stage["channels"].largest, stage["stride"].values[0]
            if 0 in stage["repeats"].values:  # without it the next stage has wider inputs, or larger maps
                channels, stride = max(channels, before), 1
            before = channels
            if repeats := stage["repeats"].largest:
                stages.append(SeparableStage(channels=channels, repeats=repeats, stride=stride))
        return self._network(self.largest_network, self.input.largest, self.stem_channels.largest, stages)

    def architecture(self, integers: Sequence[int]) -> Architecture:
        image, (stem,), stages = self.read(integers)
        return self._network(self.network, image, stem, merged(SeparableStage(**stage) for stage in stages))

    def _network(
        self, kind: type[SeparableNetwork], image: Image, stem: int, stages: Sequence[SeparableStage]
    ) -> SeparableNetwork:
        return kind(
            input=image,
            num_classes=self.num_classes,
            stem_channels=stem,
            stem_stride=self.stem_stride,
            stages=tuple(stages),
            **self.stem_form(),
        )

    def shared(self) -> tuple[object, ...]:
        return (self.input.shapes, self.num_classes, self.stem_stride, *self.stem_form().values())

    @property
    def form_version(self) -> int:
        return 2


@dataclass(frozen=True, kw_only=True)
class LargestMobileNetV1(MobileNetV1):
    """A network that costs at least as much as each of a space: it stands for them, and is none of them."""

    def cross_check(self) -> Iterator[Problem]:
        yield from ResidualNetwork.cross_check(self)  # equal neighbors may stand for stages of different networks


@dataclass(frozen=True, kw_only=True)
class LargestDsCnn(DsCnn):
    """A network that costs at least as much as each of a space: it stands for them, and is none of them."""

    def cross_check(self) -> Iterator[Problem]:
        yield from ResidualNetwork.cross_check(self)  # equal neighbors may stand for stages of different networks


@dataclass(frozen=True)
class MobileNetV1Space(SeparableSpace):
    """Ranges for every stage of a `mobilenet_v1`."""

    family: ClassVar[str] = "mobilenet_v1"
    network = MobileNetV1
    largest_network = LargestMobileNetV1


@dataclass(frozen=True)
class DsCnnSpace(SeparableSpace):
    """Ranges for every stage of a `ds_cnn`; the stem's kernel is given."""

    family: ClassVar[str] = "ds_cnn"
    network = DsCnn
    largest_network = LargestDsCnn

    stem_kernel_height: int
    stem_kernel_width: int

    @classmethod
    def stem_readers(cls) -> dict[str, Callable[[object], int]]:
        return dict.fromkeys(KERNEL_FIELDS, lambda value: decode_integer(value, *STEM_KERNEL))

    def stem_form(self) -> dict[str, int]:
        return {"stem_kernel_height": self.stem_kernel_height, "stem_kernel_width": self.stem_kernel_width}

    @property
    def stem(self) -> Stem:
        return Stem(self.input.channels, (self.stem_kernel_height, self.stem_kernel_width), self.network.bias)

    def cross_check(self) -> Iterator[Problem]:
        yield from check_stem_kernel((self.stem_kernel_height, self.stem_kernel_width), self.stem_stride)
        yield from super().cross_check()
