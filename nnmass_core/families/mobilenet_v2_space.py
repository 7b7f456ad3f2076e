"""Search spaces of `mobilenet_v2`: ranges for every stage and for the input's resolution, and their stage tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

from nnmass_core.architecture import CLASSES, Architecture
from nnmass_core.codec import (
    JsonObject,
    field_schema,
    object_schema,
    one_of,
)
from nnmass_core.engine.chain import Ints
from nnmass_core.errors import Problem
from nnmass_core.families.costs import Costs
from nnmass_core.families.mobilenet_v2 import (
    ACTIVATIONS,
    EXPANSION,
    KERNEL,
    KERNEL_DOC,
    LAYERS_OUTSIDE,
    MOST_STAGES,
    SQUEEZE,
    SQUEEZE_DOC,
    STRIDE,
    InvertedResidual,
    InvertedStage,
    LargestMobileNetV2,
    MobileNetV2,
    head_costs,
    head_work,
    stem_costs,
    stem_work,
)
from nnmass_core.families.residual import (
    CHANNELS,
    KERNELS,
    REPEATS,
    decode_stages,
    encode_stages,
    merged,
    stages_schema,
)
from nnmass_core.families.strided_space import StridedSpace
from nnmass_core.hardware.latency import Work, depthwise
from nnmass_core.spaces.axis import Axis, decode_axis, single_axis_schema
from nnmass_core.spaces.base import Fields, decode_choice, decode_integer
from nnmass_core.spaces.images import decode_images, images_schema
from nnmass_core.spaces.structure import NEVER_FALL, form_of_rule, width_rule_schema

BOUNDS = {
    "expansion": EXPANSION,
    "channels": CHANNELS,
    "repeats": (0, REPEATS[1]),
    "stride": STRIDE,
    "kernel": KERNEL,
    "se": SQUEEZE,
}
DEFAULTS = {"kernel": 3, "se": 0}
"""The values of axes that may be left out."""

DOCS = {
    "expansion": "Inner channels for each input channel of a block.",
    "channels": "Output channels of every block.",
    "repeats": "Blocks in the stage; 0 leaves it out, with its stride.",
    "stride": "Stride of the first block.",
    "kernel": f"{KERNEL_DOC}.",
    "se": f"{SQUEEZE_DOC}.",
}


@dataclass(frozen=True)
class MobileNetV2Space(StridedSpace):
    """Ranges for every stage of a `mobilenet_v2`."""

    family: ClassVar[str] = "mobilenet_v2"
    layers_outside: ClassVar[int] = LAYERS_OUTSIDE

    last_channels: Axis
    activation: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        fields = Fields(data, cls)
        found = {
            "input": fields.read("input", decode_images),
            "num_classes": fields.read("num_classes", lambda value: decode_integer(value, *CLASSES)),
            "stem_channels": fields.read("stem_channels", lambda value: decode_axis(value, CHANNELS)),
            "last_channels": fields.read("last_channels", lambda value: decode_axis(value, CHANNELS)),
            "stages": fields.read("stages", lambda value: decode_stages(value, BOUNDS, 1, MOST_STAGES, DEFAULTS)),
            "activation": fields.read("activation", lambda value: decode_choice(value, ACTIVATIONS), ACTIVATIONS[0]),
            "stem_stride": fields.read("stem_stride", lambda value: decode_integer(value, *STRIDE), STRIDE[1]),
            "width_rule": fields.read("width_rule", lambda value: decode_choice(value, (NEVER_FALL,)), None),
        }
        fields.stop_if_wrong()
        return cls(**found)

    def cross_check(self) -> Iterator[Problem]:
        yield from super().cross_check()
        for number, stage in enumerate(self.stages):
            if not set(stage["kernel"].values) <= set(KERNELS):
                yield Problem(f"stages.{number}.kernel", "unknown_choice", one_of(None, map(str, KERNELS)))

    def to_json(self) -> JsonObject:
        return {
            "family": self.family,
            "input": self.input.form,
            "num_classes": self.num_classes,
            "stem_channels": self.stem_channels.form,
            "last_channels": self.last_channels.form,
            "stages": encode_stages(self.stages, DEFAULTS),
            **({} if self.activation == ACTIVATIONS[0] else {"activation": self.activation}),
            **({} if self.stem_stride == STRIDE[1] else {"stem_stride": self.stem_stride}),
            **form_of_rule(self.width_rule),
        }

    @classmethod
    def schema(cls) -> JsonObject:
        channels = partial(single_axis_schema, *CHANNELS)
        properties: JsonObject = {
            "family": cls.family_schema(),
            "input": images_schema(),
            "num_classes": field_schema(MobileNetV2, "num_classes"),
            "stem_channels": channels("Channels of the first convolution.", example=[16, 32]),
            "last_channels": channels("Channels of the last convolution.", example=1280),
            "stages": stages_schema("MobileNetV2Stages", BOUNDS, DOCS, 1, MOST_STAGES, DEFAULTS),
            "activation": field_schema(MobileNetV2, "activation"),
            "stem_stride": field_schema(MobileNetV2, "stem_stride"),
            "width_rule": width_rule_schema(),
        }
        return object_schema(cls.__name__, properties, optional=("activation", "stem_stride", "width_rule"))

    @property
    def last_widths(self) -> tuple[int, ...]:
        return self.last_channels.values

    def block(
        self, i: Ints, o: Ints, expansion: Ints, before: Ints, after: Ints, joined: Ints, kernel: Ints, se: Ints
    ) -> InvertedResidual[Ints]:
        return InvertedResidual(i, o, expansion, before, after, joined, kernel, se)

    def stem_costs(self, channels: Ints, before: Ints, after: Ints) -> Costs[Ints]:
        return stem_costs(self.input.channels, channels, before, after)

    def stem_work(self, channels: Ints, before: Ints, after: Ints) -> Work:
        return stem_work(self.input.channels, channels, before, after)

    def head_costs(self, channels: Ints, last: Ints, positions: Ints) -> Costs[Ints]:
        return head_costs(channels, last, positions, self.num_classes)

    def head_work(self, channels: Ints, last: Ints, positions: Ints) -> Work:
        return head_work(channels, last, positions, self.num_classes)

    def largest(self) -> Architecture:
        kernel = max(stage["kernel"].largest for stage in self.stages)
        se = min((value for stage in self.stages for value in stage["se"].values if value), default=0)
        stages: list[InvertedStage] = []
        before = self.stem_channels.largest
        for stage in self.stages:
            channels, stride = stage["channels"].largest, stage["stride"].values[0]
            if 0 in stage["repeats"].values:  # without it the next stage has wider inputs, or larger maps
                channels, stride = max(channels, before), 1
            before, expansion = channels, stage["expansion"].largest
            if repeats := stage["repeats"].largest:
                shared = {"expansion": expansion, "channels": channels, "kernel": kernel, "se": se}
                stages.append(InvertedStage(**shared, repeats=repeats, stride=stride))
        return LargestMobileNetV2(
            input=self.input.largest,
            num_classes=self.num_classes,
            stem_channels=self.stem_channels.largest,
            last_channels=self.last_channels.largest,
            stages=tuple(stages),
            activation=self.activation,
            stem_stride=self.stem_stride,
        )

    def work(self) -> tuple[Work, ...] | None:
        kernels = {kernel for stage in self.stages for kernel in stage["kernel"].values}
        return (*(super().work() or ()), tuple(depthwise(1, 1, 1, kernel) for kernel in sorted(kernels)))

    def architecture(self, integers: Sequence[int]) -> Architecture:
        image, (stem, last), stages = self.read(integers)
        return MobileNetV2(
            input=image,
            num_classes=self.num_classes,
            stem_channels=stem,
            last_channels=last,
            stages=merged(InvertedStage(**stage) for stage in stages),
            activation=self.activation,
            stem_stride=self.stem_stride,
        )

    @property
    def form_version(self) -> int:
        usual = {name: (value,) for name, value in DEFAULTS.items()}
        added = any(stage[name].values != values for stage in self.stages for name, values in usual.items())
        plain = (self.activation, self.stem_stride, self.width_rule) == (ACTIVATIONS[0], STRIDE[1], None)
        return 2 if self.runs.ambiguous or added or not plain else 1

    def shared(self) -> tuple[object, ...]:
        return (self.input.shapes, self.num_classes, self.activation, self.stem_stride)
