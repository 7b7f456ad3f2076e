"""Search spaces of `mobilenet_v2`: ranges for every stage and for the input's resolution, and their stage tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np

from nnmass_core.architecture import CLASSES, Architecture, Image
from nnmass_core.codec import JsonObject, decode, encode, field_schema, json_schema, object_schema, unknown_fields
from nnmass_core.engine.chain import Chain, Ints, Stage
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.families.costs import Costs, stage_of, timed
from nnmass_core.families.mobilenet_v2 import (
    EXPANSION,
    MOST_STAGES,
    STRIDE,
    InvertedStage,
    MobileNetV2,
    head_costs,
    head_work,
    inverted_residual,
    inverted_residual_terms,
    inverted_residual_work,
    stem_costs,
    stem_work,
)
from nnmass_core.families.residual import (
    CHANNELS,
    REPEATS,
    StageAxes,
    decode_stages,
    encode_stages,
    repeated,
    stages_schema,
)
from nnmass_core.hardware.latency import LatencyModel
from nnmass_core.spaces.axis import Axis, decode_axis, single_axis_schema
from nnmass_core.spaces.base import Fields, Space, decode_integer

# untyped: an integer and an Axis, by name

RESOLUTION = (1, 8192)
BOUNDS = {"expansion": EXPANSION, "channels": CHANNELS, "repeats": REPEATS, "stride": STRIDE}
DOCS = {
    "expansion": "Inner channels for each input channel of a block.",
    "channels": "Output channels of every block.",
    "repeats": "Blocks in the stage.",
    "stride": "Stride of the first block.",
}
INTEGERS_A_STAGE = len(BOUNDS)
INTEGERS_BEFORE = 4
"""Integers before the stages: height, width, stem channels and last channels."""


@dataclass(frozen=True)
class Input:
    """The images: of one shape or, with `resolution`, square images of several sizes to choose from."""

    channels: int
    sizes: tuple[tuple[int, int], ...]
    form: Any

    def __hash__(self) -> int:
        return hash((self.channels, self.sizes))


def decode_input(data: object) -> Input:
    """Read the input of a space. Raises DefinitionError."""
    if not (isinstance(data, Mapping) and "resolution" in data):
        image = decode(Image, data)
        return Input(image.channels, ((image.height, image.width),), encode(image))
    problems = list(unknown_fields(data, {"channels", "resolution"}))
    found: dict[str, Any] = {}
    if "channels" not in data:
        problems.append(Problem("channels", "required", "is required"))
    for name, read in (
        ("channels", lambda value: decode_integer(value, 1, 1024)),
        ("resolution", lambda value: decode_axis(value, RESOLUTION)),
    ):
        try:
            found |= {name: read(data[name])} if name in data else {}
        except DefinitionError as error:
            problems += error.under(name).problems
    if problems:
        raise DefinitionError(problems)
    sides: Axis = found["resolution"]
    form = {"channels": found["channels"], "resolution": sides.form}
    return Input(found["channels"], tuple((side, side) for side in sides.values), form)


@dataclass(frozen=True)
class Nodes:
    """What distinguishes the nodes of one boundary, one array entry per node.

    config: the choice of resolution, stem and last channels; height and width of the maps; channels; and, inside a
    stage, the expansion and stride that its first block has fixed.
    """

    columns: Ints

    @property
    def config(self) -> Ints:
        """The configuration's index, (n,)."""
        return self.columns[:, 0]

    @property
    def positions(self) -> Ints:
        """Positions of the maps, (n,)."""
        return self.columns[:, 1] * self.columns[:, 2]

    @property
    def channels(self) -> Ints:
        """Channels, (n,)."""
        return self.columns[:, 3]


def _distinct(columns: Ints) -> tuple[Nodes, Ints]:
    """Return the distinct rows as nodes, and the node of each row."""
    rows, place = np.unique(columns, axis=0, return_inverse=True)
    return Nodes(rows), place.reshape(-1)


def _pairs(nodes: int, *choices: Ints) -> tuple[Ints, ...]:
    """Return every combination of a node and one value of each array, as columns."""
    grid = np.meshgrid(np.arange(nodes), *choices, indexing="ij")
    return tuple(column.reshape(-1) for column in grid)


@dataclass(frozen=True)
class MobileNetV2Space(Space):
    """Ranges for every stage of a `mobilenet_v2`."""

    family: ClassVar[str] = "mobilenet_v2"

    input: Input
    num_classes: int
    stem_channels: Axis
    last_channels: Axis
    stages: tuple[StageAxes, ...]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        fields = Fields(data, cls)
        found = {
            "input": fields.read("input", decode_input),
            "num_classes": fields.read("num_classes", lambda value: decode_integer(value, *CLASSES)),
            "stem_channels": fields.read("stem_channels", lambda value: decode_axis(value, CHANNELS)),
            "last_channels": fields.read("last_channels", lambda value: decode_axis(value, CHANNELS)),
            "stages": fields.read("stages", lambda value: decode_stages(value, BOUNDS, 1, MOST_STAGES)),
        }
        fields.stop_if_wrong()
        return cls(**found)

    def cross_check(self) -> Iterator[Problem]:
        for k, (before, stage) in enumerate(itertools.pairwise(self.stages), start=1):
            shared = (set(before[name].values) & set(stage[name].values) for name in ("expansion", "channels"))
            if 1 in stage["stride"].values and all(shared):
                message = "shares expansion and channels with the previous stage; stride 1 would count networks twice"
                yield Problem(f"stages.{k}", "same_stage", message)

    def to_json(self) -> JsonObject:
        return {
            "family": self.family,
            "input": self.input.form,
            "num_classes": self.num_classes,
            "stem_channels": self.stem_channels.form,
            "last_channels": self.last_channels.form,
            "stages": encode_stages(self.stages),
        }

    @classmethod
    def schema(cls) -> JsonObject:
        side = "Height and width in pixels, which may be searched."
        square = object_schema(
            "SquareImages",
            {
                "channels": field_schema(Image, "channels"),
                "resolution": single_axis_schema(*RESOLUTION, side, example=[96, 128, 160]),
            },
        )
        images = "Shape of the input images, or `resolution` for square images of several sizes."
        channels = partial(single_axis_schema, *CHANNELS)
        properties: JsonObject = {
            "family": cls.family_schema(),
            "input": {"anyOf": [json_schema(Image), square], "description": images},
            "num_classes": field_schema(MobileNetV2, "num_classes"),
            "stem_channels": channels("Channels of the first convolution.", example=[16, 32]),
            "last_channels": channels("Channels of the last convolution.", example=1280),
            "stages": stages_schema("MobileNetV2Stages", BOUNDS, DOCS, 1, MOST_STAGES),
        }
        return object_schema(cls.__name__, properties)

    def option_bound(self) -> int:
        configs = len(self.input.sizes) * len(self.stem_channels.values) * len(self.last_channels.values)
        entering, scales, total = 1, 1, configs
        for stage in self.stages:
            expansions, channels, repeats, strides = (len(stage[name].values) for name in BOUNDS)
            total += configs * scales * expansions * channels * strides * (entering + repeats * scales)
            scales += strides - 1
            entering = channels
        return total + configs * scales * entering

    def largest(self) -> Architecture:
        height, width = self.input.sizes[-1]
        before = [height, width, self.stem_channels.largest, self.last_channels.largest]
        for stage in self.stages:
            before += [stage["expansion"].largest, stage["channels"].largest, stage["repeats"].largest]
            before.append(stage["stride"].values[0])
        return self.architecture(before)

    def chain(self, model: LatencyModel | None = None) -> Chain:
        configs = np.array(
            list(itertools.product(self.input.sizes, self.stem_channels.values, self.last_channels.values)),
            dtype=object,
        )
        sizes = np.array([size for size, _, _ in configs], np.int64).reshape(-1, 2)
        stem, last = configs[:, 1].astype(np.int64), configs[:, 2].astype(np.int64)
        chained = [self._stem(sizes, stem, last, model)]
        nodes = Nodes(np.column_stack([np.arange(len(stem)), (sizes + 1) // 2, stem]))
        counts = [1, len(nodes.columns)]
        for axes in self.stages:
            first, inside = _first_blocks(nodes, axes, model)
            others, nodes = _other_blocks(inside, axes, model)
            chained += [first, others]
            counts += [len(inside.columns), len(nodes.columns)]
        ends = (nodes.channels, last[nodes.config], nodes.positions, self.num_classes)
        latency = timed(model, lambda: head_work(*ends))
        zeros = np.zeros(counts[-1], np.int64)
        chained.append(stage_of(np.arange(counts[-1]), zeros, head_costs(*ends), latency=latency))
        places = range(INTEGERS_BEFORE, INTEGERS_BEFORE + INTEGERS_A_STAGE * len(self.stages), INTEGERS_A_STAGE)
        shape = [place + column for place in places for column in (1, 2)]
        return Chain(tuple(chained), (*counts, 1), tuple(shape))

    def _stem(self, sizes: Ints, stem: Ints, last: Ints, model: LatencyModel | None) -> Stage:
        before, after = sizes.prod(axis=1), ((sizes + 1) // 2).prod(axis=1)
        costs = stem_costs(self.input.channels, stem, before, after)
        latency = timed(model, lambda: stem_work(self.input.channels, stem, before, after))
        nodes = np.arange(len(stem))
        return stage_of(0 * nodes, nodes, costs, integers=np.column_stack([sizes, stem, last]), latency=latency)

    def architecture(self, integers: Sequence[int]) -> Architecture:
        height, width, stem, last = integers[:INTEGERS_BEFORE]
        rest = integers[INTEGERS_BEFORE:]
        stages = zip(*(rest[column::INTEGERS_A_STAGE] for column in range(INTEGERS_A_STAGE)), strict=True)
        return MobileNetV2(
            input=Image(channels=self.input.channels, height=height, width=width),
            num_classes=self.num_classes,
            stem_channels=stem,
            last_channels=last,
            stages=tuple(InvertedStage(expansion=e, channels=c, repeats=r, stride=s) for e, c, r, s in stages),
        )

    def varies_resolution(self) -> bool:
        return len(self.input.sizes) > 1

    def varies_width(self) -> bool:
        widths = [self.stem_channels, self.last_channels, *(stage["channels"] for stage in self.stages)]
        return any(len(axis.values) > 1 for axis in widths)


def _first_blocks(nodes: Nodes, axes: StageAxes, model: LatencyModel | None) -> tuple[Stage, Nodes]:
    """Return the stage of first blocks, and the nodes after the block, with expansion and stride known."""
    choices = (axes.values(name) for name in ("expansion", "channels", "stride"))
    source, expansion, channels, stride = _pairs(len(nodes.columns), *choices)
    entering, maps = nodes.channels[source], nodes.columns[source, 1:3]
    after = np.where(stride[:, None] == 2, (maps + 1) // 2, maps)
    joined = ((stride == 1) & (entering == channels)).astype(np.int64)
    layout = (entering, channels, expansion, maps.prod(axis=1), after.prod(axis=1), joined)
    costs, latency = inverted_residual(*layout), timed(model, lambda: inverted_residual_work(*layout))
    inside, target = _distinct(np.column_stack([nodes.config[source], after, channels, expansion, stride]))
    terms = inverted_residual_terms(entering, expansion, joined)
    integers = np.column_stack([expansion, channels])
    return stage_of(source, target, costs, terms, integers, latency=latency), inside


def _other_blocks(inside: Nodes, axes: StageAxes, model: LatencyModel | None) -> tuple[Stage, Nodes]:
    """Return the stage of the blocks after the first, and the nodes after them."""
    source, repeats = _pairs(len(inside.columns), axes.values("repeats"))
    rows, more = inside.columns[source], repeats - 1
    channels, expansion, stride = rows[:, 3], rows[:, 4], rows[:, 5]
    positions = inside.positions[source]
    layout = (channels, channels, expansion, positions, positions, np.ones_like(channels))
    one, latency = inverted_residual(*layout), timed(model, lambda: repeated(inverted_residual_work(*layout), more))
    costs = Costs(more * one.params, more * one.macs, more * one.norm_channels, (more > 0) * one.peak)
    numerator, denominator = inverted_residual_terms(channels, expansion, np.ones_like(channels))
    nodes, target = _distinct(rows[:, :4])
    terms = (more * numerator, denominator)
    return stage_of(source, target, costs, terms, np.column_stack([repeats, stride]), latency=latency), nodes
