"""Search spaces of `convnext`: ranges for every stage and for the input's resolution, and their stage tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, ClassVar, Self

import numpy as np

from nnmass_core.architecture import CLASSES, Architecture, Image
from nnmass_core.codec import JsonObject, field_schema, object_schema
from nnmass_core.engine.chain import Chain, Ints, Stage
from nnmass_core.errors import Problem
from nnmass_core.families.convnext import (
    DOCS,
    EXPANSION,
    LAYERS_A_BLOCK,
    LEAST_STAGES,
    MOST_STAGES,
    PATCH,
    PLAIN_EXPANSION,
    PLAIN_PATCH,
    ConvNeXt,
    ConvNeXtStage,
    Plan,
    block_terms,
    norm_head_costs,
    norm_head_work,
)
from nnmass_core.families.costs import Costs, stage_of, timed
from nnmass_core.families.residual import (
    CHANNELS,
    REPEATS,
    StageAxes,
    area,
    decode_stages,
    encode_stages,
    repeated,
    stages_schema,
)
from nnmass_core.families.residual_space import Head, always_there, varies_width
from nnmass_core.hardware.latency import LatencyModel
from nnmass_core.spaces.base import Fields, Space, decode_choice, decode_integer
from nnmass_core.spaces.images import Images, decode_images, images_schema
from nnmass_core.spaces.runs import grid
from nnmass_core.spaces.structure import (
    NEVER_FALL,
    PartValues,
    check_rising,
    form_of_rule,
    only_present,
    ruled,
    width_rule_schema,
)

BOUNDS = {"channels": CHANNELS, "repeats": REPEATS}
"""The values of the axes of a stage."""


@dataclass(frozen=True)
class ConvNeXtSpace(Space):
    """Ranges for every stage of a `convnext`; all networks have the same patches and expansion.

    A node of the chain is the channels of a stage: the first half of a stage chooses them and pays for the layers that
    enter it, the second half chooses the number of its blocks.
    """

    family: ClassVar[str] = "convnext"

    input: Images
    num_classes: int
    patch: int
    expansion: int
    stages: tuple[StageAxes, ...]
    width_rule: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        fields = Fields(data, cls)
        found = {
            "input": fields.read("input", decode_images),
            "num_classes": fields.read("num_classes", lambda value: decode_integer(value, *CLASSES)),
            "patch": fields.read("patch", lambda value: decode_integer(value, *PATCH), PLAIN_PATCH),
            "expansion": fields.read("expansion", lambda value: decode_integer(value, *EXPANSION), PLAIN_EXPANSION),
            "stages": fields.read("stages", lambda value: decode_stages(value, BOUNDS, LEAST_STAGES, MOST_STAGES)),
            "width_rule": fields.read("width_rule", lambda value: decode_choice(value, (NEVER_FALL,)), None),
        }
        fields.stop_if_wrong()
        return cls(**found)

    def cross_check(self) -> Iterator[Problem]:
        problems = (p for image in self.input.images for p in self.plan.problems(image, len(self.stages)))
        yield from islice(problems, 1)
        if self.width_rule is not None:
            yield from check_rising(always_there(self.stages))

    def to_json(self) -> JsonObject:
        return {
            "family": self.family,
            "input": self.input.form,
            "num_classes": self.num_classes,
            "patch": self.patch,
            "expansion": self.expansion,
            "stages": encode_stages(self.stages),
            **form_of_rule(self.width_rule),
        }

    @classmethod
    def schema(cls) -> JsonObject:
        same = {name: field_schema(ConvNeXt, name) for name in ("num_classes", "patch", "expansion")}
        stages = stages_schema("ConvNeXtStages", BOUNDS, DOCS, LEAST_STAGES, MOST_STAGES)
        own: JsonObject = {"family": cls.family_schema(), "input": images_schema()}
        properties = {**own, **same, "stages": stages, "width_rule": width_rule_schema()}
        return object_schema(cls.__name__, properties, optional=("patch", "expansion", "width_rule"))

    @property
    def plan(self) -> Plan:
        """What its networks have in common beside image, classes and stages."""
        return Plan(self.patch, self.expansion)

    def option_bound(self) -> int:
        entering, total = 1, 0
        for stage in self.stages:
            channels = len(stage["channels"].values)
            total += channels * (entering + len(stage["repeats"].values))
            entering = channels
        return self.input.options(total + entering)

    def largest(self) -> Architecture:
        largest = [(stage["channels"].largest, stage["repeats"].largest) for stage in self.stages]
        return self._network(self.input.largest, largest)

    def architecture(self, integers: Sequence[int]) -> Architecture:
        image, integers = self.input.read(integers)
        return self._network(image, zip(integers[0::2], integers[1::2], strict=True))

    def _network(self, image: Image, stages: Any) -> ConvNeXt:
        return ConvNeXt(
            input=image,
            num_classes=self.num_classes,
            patch=self.patch,
            expansion=self.expansion,
            stages=tuple(ConvNeXtStage(channels=c, repeats=n) for c, n in stages),
        )

    def chain(self, model: LatencyModel | None = None) -> Chain:
        return ruled(self.part_values, self.input.chain(partial(self._chain_of, model=model)), self.width_rule)

    def _chain_of(self, image: Image, model: LatencyModel | None) -> Chain:
        """Return the chain of one size of images."""
        areas = [area(size) for size in self.plan.sizes(image, len(self.stages))]
        entering = np.array([image.channels], np.int64)
        chained, nodes = list[Stage](), [1]
        for k, stage in enumerate(self.stages):
            channels = stage.values("channels")
            chained.append(self._entry(k, entering, channels, (areas[k], areas[k + 1]), model))
            chained.append(self._blocks(channels, stage.values("repeats"), areas[k + 1], model))
            nodes += [len(channels)] * 2
            entering = channels
        classes = self.num_classes
        head = Head(lambda c, at: norm_head_costs(c, at, classes), lambda c, at: norm_head_work(c, at, classes))
        chained.append(head.stage(entering, 0 * entering + areas[-1], model))
        return Chain(tuple(chained), (*nodes, 1), tuple(range(2 * len(self.stages))))

    def _entry(
        self, number: int, entering: Ints, channels: Ints, areas: tuple[int, int], model: LatencyModel | None
    ) -> Stage:
        source, target = grid(np.arange(len(entering)), np.arange(len(channels)))
        c = channels[target]
        layout = (number, entering[source], c, 0 * c + areas[0], 0 * c + areas[1])
        latency = timed(model, lambda: self.plan.entry_work(*layout))
        return stage_of(source, target, self.plan.entry_costs(*layout), integers=c[:, None], latency=latency)

    def _blocks(self, channels: Ints, repeats: Ints, positions: int, model: LatencyModel | None) -> Stage:
        node, n = grid(np.arange(len(channels)), repeats)
        c = channels[node]
        layout = (c, 0 * c + positions)
        one, (numerator, denominator) = self.plan.block_costs(*layout), block_terms(c)
        costs = Costs(n * one.params, n * one.macs, one.norm_channels, one.peak)
        latency = timed(model, lambda: repeated(self.plan.block_work(*layout), n))
        return stage_of(node, node, costs, (n * numerator, denominator), n[:, None], latency=latency)

    @property
    def form_version(self) -> int:
        return 2

    def part_values(self, name: str) -> PartValues | None:
        columns = tuple((2 * stage,) for stage in range(len(self.stages)))
        return self.input.shifted(PartValues(columns, only_present)) if name == "widths" else None

    def inputs(self) -> tuple[tuple[int, ...], ...]:
        return self.input.shapes

    def shared(self) -> tuple[object, ...]:
        return (self.input.shapes, self.num_classes, self.plan, len(self.stages))

    def varies_resolution(self) -> bool:
        return self.input.vary

    def varies_width(self) -> bool:
        return varies_width(self.stages)

    def layers(self, chain: Chain) -> tuple[Ints, ...]:
        before = len(chain.stages) - 1 - 2 * len(self.stages)  # a stage that chooses the image, where there are several
        chosen, staged, head = chain.stages[:before], chain.stages[before:-1], chain.stages[-1]
        pairs = zip(staged[0::2], staged[1::2], strict=True)
        found = ((np.ones(len(entry), np.int64), LAYERS_A_BLOCK * blocks.integers[:, 0]) for entry, blocks in pairs)
        nothing = (np.zeros(len(stage), np.int64) for stage in (*chosen, head))
        *first, last = nothing
        return (*first, *(each for pair in found for each in pair), last)
