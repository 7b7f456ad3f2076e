"""Search spaces of `mobilenet_v2`: ranges for every stage and for the input's resolution, and their stage tables."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any, ClassVar, Self

import numpy as np

from nnmass_core.architecture import CLASSES, Architecture, Image
from nnmass_core.codec import (
    JsonObject,
    field_schema,
    object_schema,
    one_of,
)
from nnmass_core.engine.chain import Chain, Ints, Stage, lacking_last
from nnmass_core.errors import Problem
from nnmass_core.families.costs import Costs, stage_of, timed
from nnmass_core.families.mobilenet_v2 import (
    ACTIVATIONS,
    EXPANSION,
    KERNEL,
    KERNEL_DOC,
    KERNELS,
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
    inverted_residual_terms,
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
from nnmass_core.hardware.latency import LatencyModel, Work, depthwise
from nnmass_core.spaces.axis import Axis, decode_axis, single_axis_schema
from nnmass_core.spaces.base import MOST_OPTIONS, Fields, Space, decode_choice, decode_integer
from nnmass_core.spaces.images import Images, decode_images, images_schema
from nnmass_core.spaces.runs import Runs, distinct, grid, leading_on
from nnmass_core.spaces.structure import PartValues, only_present

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
SHARED = ("expansion", "channels", "kernel", "se", "stride")
"""What the blocks of a run share, with the stride of the first."""

INTEGERS_A_STAGE = len(BOUNDS)
BLOCK = 3
"""What a node has of its blocks beside their channels: expansion, kernel and se."""

INTEGERS_BEFORE = 4
"""Integers before the stages: height, width, stem channels and last channels."""


@dataclass(frozen=True)
class Nodes:
    """What distinguishes the nodes of one boundary, one array entry per node.

    columns: the choice of resolution, stem and last channels; height, width; channels; expansion, kernel, se; stride;
    a set of stages (spaces/runs.py). Inside a stage, these are those of the run's first block, and the set has the
    stages that it can start with. Between stages the stride is 0, the set has the stages that could have ended, and
    expansion, kernel and se are 0 unless the next run must differ from the one before. A node between stages that waits
    for a later stage is the same inside the stage.
    """

    columns: Ints

    @classmethod
    def at_stem(cls, sizes: Ints, channels: Ints, runs: Runs) -> Nodes:
        """Return the nodes after the stem. sizes: of the maps, (n, 2). channels: (n,)."""
        zeros = np.zeros_like(channels)
        columns = [np.arange(len(channels)), sizes, channels, *([zeros] * (BLOCK + 1)), zeros + runs.stem]
        return cls(np.column_stack(columns))

    def __len__(self) -> int:
        return len(self.columns)

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

    @property
    def block(self) -> Ints:
        """Expansion, kernel and se, (n, 3)."""
        return self.columns[:, 4:-2]

    @property
    def usable_block(self) -> tuple[Ints, Ints, Ints]:
        """Expansion, kernel and se, (n,) each, those of any block where the node has none."""
        expansion, kernel, se = self.block.T
        return np.maximum(expansion, EXPANSION[0]), np.maximum(kernel, KERNEL[0]), se

    @property
    def stride(self) -> Ints:
        """The stride of the first block, (n,)."""
        return self.columns[:, -2]

    @property
    def stages(self) -> Ints:
        """The set of stages, (n,)."""
        return self.columns[:, -1]

    def going_on(self, runs: Runs) -> Ints:
        """Return the sets of stages whose ranges contain these blocks without a stride, (n,)."""
        expansion, kernel, se = self.block.T
        return runs.containing(expansion, self.channels, kernel, se, np.ones_like(expansion))


def _nodes(columns: Ints) -> tuple[Nodes, Ints]:
    """Return the distinct rows as nodes, and the node of each row."""
    rows, place = distinct(columns)
    return Nodes(rows), place


@dataclass(frozen=True)
class MobileNetV2Space(Space):
    """Ranges for every stage of a `mobilenet_v2`."""

    family: ClassVar[str] = "mobilenet_v2"

    input: Images
    num_classes: int
    stem_channels: Axis
    last_channels: Axis
    stages: tuple[StageAxes, ...]
    activation: str
    stem_stride: int

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
        }
        fields.stop_if_wrong()
        return cls(**found)

    def cross_check(self) -> Iterator[Problem]:
        for number in self.runs.too_long(REPEATS[1]):
            message = f"can form a run of more than {REPEATS[1]} equal blocks with the stages before it"
            yield Problem(f"stages.{number - 1}.repeats", "too_many_blocks", message)
        for number, stage in enumerate(self.stages):
            if not set(stage["kernel"].values) <= set(KERNELS):
                yield Problem(f"stages.{number}.kernel", "unknown_choice", one_of(None, map(str, KERNELS)))
        if not any(stage["repeats"].largest for stage in self.stages):
            yield Problem("stages", "no_blocks", "must have a stage with at least one block")

    @cached_property
    def runs(self) -> Runs:
        """The runs of equal blocks that the stages can stand for."""
        return runs_of(self.stages)

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
        }
        return object_schema(cls.__name__, properties, optional=("activation", "stem_stride"))

    def option_bound(self) -> int:
        configs = len(self.input.sizes) * len(self.stem_channels.values) * len(self.last_channels.values)
        if self.runs.ambiguous:
            return _bound_on_runs(self.stages, configs)
        entering, scales, total = 1, 1, configs
        for stage in self.stages:
            expansions, channels, repeats, strides, kernels, se = (len(stage[name].values) for name in BOUNDS)
            kinds = expansions * channels * strides * kernels * se
            total += configs * scales * kinds * (entering + repeats * scales)
            scales += strides - 1
            entering = channels
        return total + configs * scales * entering

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

    def chain(self, model: LatencyModel | None = None) -> Chain:
        configs = np.array(
            list(itertools.product(self.input.sizes, self.stem_channels.values, self.last_channels.values)),
            dtype=object,
        )
        sizes = np.array([size for size, _, _ in configs], np.int64).reshape(-1, 2)
        stem, last = configs[:, 1].astype(np.int64), configs[:, 2].astype(np.int64)
        chained = [self._stem(sizes, stem, last, model)]
        nodes = Nodes.at_stem(self._after_stem(sizes), stem, self.runs)
        counts = [1, len(nodes)]
        for number, axes in enumerate(self.stages, start=1):
            first, inside = _first_blocks(nodes, number, axes, self.runs, model)
            others, nodes = _other_blocks(inside, number, self.runs, model)
            chained += [first, others]
            counts += [len(inside), len(nodes)]
        ends = (nodes.channels, last[nodes.config], nodes.positions, self.num_classes)
        latency = timed(model, lambda: head_work(*ends))
        zeros = np.zeros(counts[-1], np.int64)
        chained.append(stage_of(np.arange(counts[-1]), zeros, head_costs(*ends), latency=latency))
        places = range(INTEGERS_BEFORE, INTEGERS_BEFORE + INTEGERS_A_STAGE * len(self.stages), INTEGERS_A_STAGE)
        shape = tuple(place + column for place in places for column in (1, 2))
        if not self.runs.ambiguous:
            return Chain(tuple(chained), (*counts, 1), shape)
        return Chain(
            leading_on(chained, counts), (*counts, 1), shape, parts=lacking_last(INTEGERS_BEFORE, INTEGERS_A_STAGE)
        )

    def _stem(self, sizes: Ints, stem: Ints, last: Ints, model: LatencyModel | None) -> Stage:
        before, after = sizes.prod(axis=1), self._after_stem(sizes).prod(axis=1)
        costs = stem_costs(self.input.channels, stem, before, after)
        latency = timed(model, lambda: stem_work(self.input.channels, stem, before, after))
        nodes = np.arange(len(stem))
        return stage_of(0 * nodes, nodes, costs, integers=np.column_stack([sizes, stem, last]), latency=latency)

    def _after_stem(self, sizes: Ints) -> Ints:
        """Return the sizes of maps after the stem, (n, 2)."""
        return -(-sizes // self.stem_stride)

    def architecture(self, integers: Sequence[int]) -> Architecture:
        height, width, stem, last = integers[:INTEGERS_BEFORE]
        rest = integers[INTEGERS_BEFORE:]
        stages = zip(*(rest[column::INTEGERS_A_STAGE] for column in range(INTEGERS_A_STAGE)), strict=True)
        return MobileNetV2(
            input=Image(channels=self.input.channels, height=height, width=width),
            num_classes=self.num_classes,
            stem_channels=stem,
            last_channels=last,
            stages=merged(
                InvertedStage(expansion=e, channels=c, repeats=r, stride=s, kernel=k, se=q)
                for e, c, r, s, k, q in stages
                if r
            ),
            activation=self.activation,
            stem_stride=self.stem_stride,
        )

    def most_parts(self) -> int:
        return len(self.stages)

    @property
    def form_version(self) -> int:
        usual = {name: (value,) for name, value in DEFAULTS.items()}
        added = any(stage[name].values != values for stage in self.stages for name, values in usual.items())
        plain = (self.activation, self.stem_stride) == (ACTIVATIONS[0], STRIDE[1])
        return 2 if self.runs.ambiguous or added or not plain else 1

    def inputs(self) -> tuple[tuple[int, ...], ...]:
        return self.input.shapes

    def shared(self) -> tuple[object, ...]:
        return (self.input.shapes, self.num_classes, self.activation, self.stem_stride)

    def varies_resolution(self) -> bool:
        return self.input.vary

    def part_values(self, name: str) -> PartValues | None:
        columns = (INTEGERS_BEFORE + INTEGERS_A_STAGE * stage + 1 for stage in range(len(self.stages)))
        return PartValues(tuple((column,) for column in columns), only_present) if name == "widths" else None

    def layers(self, chain: Chain) -> tuple[Ints, ...]:
        stem, *stages, head = chain.stages
        found = [np.full(len(stem), LAYERS_OUTSIDE, np.int64)]
        for first, others, nodes in zip(stages[0::2], stages[1::2], chain.nodes[2::2], strict=False):
            begun, more = _layers_a_block(first.integers[:, 0]), np.maximum(others.integers[:, 0] - 1, 0)
            each = np.zeros(nodes, np.int64)  # the layers of a block, by the node inside the stage
            each[first.target] = begun
            found += [begun, each[others.source] * more]
        return (*found, np.zeros(len(head), np.int64))

    def varies_width(self) -> bool:
        widths = [self.stem_channels, self.last_channels, *(stage["channels"] for stage in self.stages)]
        left_out = any({0} < set(stage["repeats"].values) for stage in self.stages)
        return left_out or any(len(axis.values) > 1 for axis in widths)


def _layers_a_block(expansion: Ints) -> Ints:
    """Return the layers of blocks: 3, 2 without an expanding convolution, and none where the expansion is 0."""
    layers: Ints = np.where(expansion > 1, 3, 2 * expansion)
    return layers


def runs_of(stages: tuple[StageAxes, ...]) -> Runs:
    """Return the runs of equal blocks that stages can stand for."""
    kinds = tuple(tuple(stage.values(name) for name in SHARED) for stage in stages)
    return Runs(kinds, tuple(stage["repeats"].values for stage in stages))


def merged(stages: Iterable[InvertedStage]) -> tuple[InvertedStage, ...]:
    """Return stages with every run of equal blocks as one stage."""
    found: list[InvertedStage] = []
    for stage in stages:
        if found and stage.goes_on_after(found[-1]):
            found[-1] = replace(found[-1], repeats=found[-1].repeats + stage.repeats)
        else:
            found.append(stage)
    return tuple(found)


def _begun(nodes: Nodes, number: int, axes: StageAxes, runs: Runs) -> tuple[Ints, Ints]:
    """Return the runs that start with a stage, and no earlier one, and the nodes that wait for a later stage.

    Return the node before each, (n,), and the columns after its first block, (n, columns), with maps yet to be halved.
    """
    choices = np.stack(grid(*(axes.values(name) for name in SHARED)))
    able, waiting = (np.flatnonzero(after > 0) for after in (nodes.stages >> number - 1 & 1, nodes.stages >> number))
    node, choice = grid(able, np.arange(choices.shape[1]))
    expansion, channels, kernel, se, stride = choices[:, choice]
    block = np.column_stack([expansion, kernel, se])
    starts = runs.starts(nodes.stages[node], runs.containing(*choices)[choice])
    differs = (channels != nodes.channels[node]) | np.any(block != nodes.block[node], axis=1)
    fresh = (starts & -starts) == 1 << number
    fresh &= (stride != 1) | differs  # else the run before would go on
    begun = np.column_stack([nodes.columns[node, :3], channels, block, stride, starts])[fresh]
    return np.concatenate([node[fresh], waiting]), np.concatenate([begun, nodes.columns[waiting]])


def _first_blocks(
    nodes: Nodes, number: int, axes: StageAxes, runs: Runs, model: LatencyModel | None
) -> tuple[Stage, Nodes]:
    """Return the stage of first blocks, and the nodes after the block, with its fields known."""
    source, columns = _begun(nodes, number, axes, runs)
    entering, before = nodes.channels[source], nodes.positions[source]
    after = Nodes(columns)
    channels, stride = after.channels, after.stride
    columns[:, 1:3] = np.where(stride[:, None] == 2, (columns[:, 1:3] + 1) // 2, columns[:, 1:3])
    inside, target = _nodes(columns)
    begun = np.minimum(stride, 1)
    expansion, kernel, se = after.usable_block
    joined = ((stride == 1) & (entering == channels)).astype(np.int64)
    block = InvertedResidual(entering, channels, expansion, before, after.positions, joined, kernel, se)
    costs = Costs(*(begun * figure for figure in block.costs()))
    latency = timed(model, lambda: repeated(block.work(), begun))
    terms = inverted_residual_terms(entering, expansion, joined)
    integers = np.column_stack([begun * expansion, begun * channels])
    return stage_of(source, target, costs, terms, integers, latency=latency), inside


def _ended(inside: Nodes, number: int, runs: Runs) -> tuple[Ints, Ints, Ints]:
    """Return the node before each possible end of a run, (n,), its blocks, (n,), and the columns after it."""
    source, blocks, stages, matters = runs.ended(number, inside.stages, inside.going_on(runs), inside.stride == 0)
    rows = Nodes(inside.columns[source])
    kept = matters[:, None] * rows.block
    return source, blocks, np.column_stack([rows.columns[:, :4], kept, np.zeros_like(stages), stages])


def _other_blocks(inside: Nodes, number: int, runs: Runs, model: LatencyModel | None) -> tuple[Stage, Nodes]:
    """Return the stage of the blocks after the first, and the nodes after them."""
    source, repeats, columns = _ended(inside, number, runs)
    more, run = np.maximum(repeats - 1, 0), Nodes(inside.columns[source])
    channels, (expansion, kernel, se) = run.channels, run.usable_block
    positions, joined = run.positions, np.ones_like(channels)
    block = InvertedResidual(channels, channels, expansion, positions, positions, joined, kernel, se)
    one, latency = block.costs(), timed(model, lambda: repeated(block.work(), more))
    costs = Costs(more * one.params, more * one.macs, more * one.norm_channels, (more > 0) * one.peak)
    numerator, denominator = inverted_residual_terms(channels, expansion, np.ones_like(channels))
    nodes, target = _nodes(columns)
    terms = (more * numerator, denominator)
    integers = np.column_stack([repeats, run.stride, (run.stride > 0)[:, None] * run.block[:, 1:]])
    return stage_of(source, target, costs, terms, integers, latency=latency), nodes


@lru_cache(maxsize=64)
def _bound_on_runs(stages: tuple[StageAxes, ...], configs: int) -> int:
    """Return an upper bound on the options of overlapping stages: one configuration's nodes, walked without maps.

    It is worked out no further than `MOST_OPTIONS`.
    """
    runs = runs_of(stages)
    nodes = Nodes.at_stem(np.ones((1, 2), np.int64), np.zeros(1, np.int64), runs)
    scales, total = 1, configs
    for number, axes in enumerate(stages, start=1):
        choices = math.prod(len(axes[name].values) for name in SHARED)
        total += configs * scales * len(nodes) * (choices + 1)
        if total > MOST_OPTIONS:
            return total
        same_map = 1 in axes["stride"].values or 0 in axes["repeats"].values
        scales += same_map and 2 in axes["stride"].values
        inside, _ = _nodes(_begun(nodes, number, axes, runs)[1])
        total += configs * scales * runs.count_ends(inside.stages, inside.going_on(runs), inside.stride == 0)
        if total > MOST_OPTIONS:
            return total
        nodes, _ = _nodes(_ended(inside, number, runs)[2])
    return total + configs * scales * len(nodes)
