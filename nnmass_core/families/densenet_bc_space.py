"""Search spaces of `densenet_bc`: ranges for the stem, growth, compression, every block and the input's resolution.

What a layer costs depends on the channels before it, so that a node has the channels with which a block begins:
docs/theory.md (95).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from nnmass_core.architecture import CLASSES, Architecture, Image
from nnmass_core.codec import JsonObject, field_schema, object_schema
from nnmass_core.engine.chain import Chain, Ints, Stage
from nnmass_core.errors import Problem
from nnmass_core.families.costs import Costs, stage_of, timed
from nnmass_core.families.densenet_bc import (
    BOTTLENECK,
    COMPRESSION,
    DOCS,
    GROWTH,
    LAYERS,
    LEAST_STAGES,
    MOST_STAGES,
    PLAIN_BOTTLENECK,
    PLAIN_COMPRESSION,
    PLAIN_STEM,
    STEM_NAMES,
    DenseLayers,
    DenseNetBc,
    DenseStage,
    check_compression,
    check_joined,
    check_maps,
    compressed,
    maps_of,
    stem_costs,
    stem_work,
    transition_costs,
    transition_work,
)
from nnmass_core.families.residual import CHANNELS, StageAxes, decode_stages, encode_stages, stages_schema
from nnmass_core.families.wide_resnet_cifar import wide_head, wide_head_work
from nnmass_core.hardware.latency import LatencyModel, Work
from nnmass_core.mass import larger
from nnmass_core.spaces.axis import Axis, decode_axis, single_axis_schema
from nnmass_core.spaces.base import MOST_OPTIONS, Fields, Space, decode_choice, decode_integer
from nnmass_core.spaces.images import Images, decode_images, images_schema
from nnmass_core.spaces.runs import distinct, grid
from nnmass_core.spaces.structure import PartValues, only_present

BOUNDS = {"layers": LAYERS}
ENDS = ("height", "width", "stem_channels", "growth", "compression")
"""The integers of a path before those of its blocks."""

BLOCK = ("growth", "layers")
"""The integers of a block; its width, the growth, is there once more."""


@dataclass(frozen=True)
class DenseNodes:
    """What distinguishes the nodes before a block, one row per node: docs/theory.md (95).

    columns: height and width of the image, growth, compression, channels with which the block begins.
    """

    columns: Ints

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def growth(self) -> Ints:
        """Growth, (n,)."""
        return self.columns[:, 2]

    @property
    def compression(self) -> Ints:
        """Percent of the channels that a transition keeps, (n,)."""
        return self.columns[:, 3]

    @property
    def channels(self) -> Ints:
        """Channels, (n,)."""
        return self.columns[:, 4]

    def take(self, rows: Ints) -> DenseNodes:
        """Return some of the nodes."""
        return DenseNodes(self.columns[rows])


@dataclass(frozen=True)
class DenseNetBcSpace(Space):
    """Ranges for a `densenet_bc`; stem and bottleneck are given."""

    family: ClassVar[str] = "densenet_bc"

    input: Images
    num_classes: int
    stem: str
    stem_channels: Axis
    growth: Axis
    bottleneck: int
    compression: Axis
    stages: tuple[StageAxes, ...]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        fields = Fields(data, cls)
        usual = Axis((PLAIN_COMPRESSION,), PLAIN_COMPRESSION)
        found = {
            "input": fields.read("input", decode_images),
            "num_classes": fields.read("num_classes", lambda value: decode_integer(value, *CLASSES)),
            "stem": fields.read("stem", lambda value: decode_choice(value, STEM_NAMES), PLAIN_STEM),
            "stem_channels": fields.read("stem_channels", lambda value: decode_axis(value, CHANNELS)),
            "growth": fields.read("growth", lambda value: decode_axis(value, GROWTH)),
            "bottleneck": fields.read("bottleneck", lambda value: decode_integer(value, *BOTTLENECK), PLAIN_BOTTLENECK),
            "compression": fields.read("compression", lambda value: decode_axis(value, COMPRESSION), usual),
            "stages": fields.read("stages", lambda value: decode_stages(value, BOUNDS, LEAST_STAGES, MOST_STAGES)),
        }
        fields.stop_if_wrong()
        return cls(**found)

    def cross_check(self) -> Iterator[Problem]:
        yield from check_compression(self.compression.values)
        fewest = (self.stem_channels.values[0], self.growth.values[0], self.stages[0]["layers"].values[0])
        yield from check_joined(*fewest)
        problems = (
            problem for image in self.input.images for problem in check_maps(self.stem, image, len(self.stages))
        )
        yield from itertools.islice(problems, 1)

    def to_json(self) -> JsonObject:
        return {
            "family": self.family,
            "input": self.input.form,
            "num_classes": self.num_classes,
            "stem": self.stem,
            "stem_channels": self.stem_channels.form,
            "growth": self.growth.form,
            "bottleneck": self.bottleneck,
            "compression": self.compression.form,
            "stages": encode_stages(self.stages),
        }

    @classmethod
    def schema(cls) -> JsonObject:
        properties: JsonObject = {
            "family": cls.family_schema(),
            "input": images_schema(),
            "num_classes": field_schema(DenseNetBc, "num_classes"),
            "stem": field_schema(DenseNetBc, "stem"),
            "stem_channels": single_axis_schema(*CHANNELS, DOCS["stem_channels"], example=[16, 32]),
            "growth": single_axis_schema(*GROWTH, DOCS["growth"], example={"min": 8, "max": 32, "step": 4}),
            "bottleneck": field_schema(DenseNetBc, "bottleneck"),
            "compression": single_axis_schema(*COMPRESSION, DOCS["compression"], example=[50, 100]),
            "stages": stages_schema("DenseStages", BOUNDS, DOCS, LEAST_STAGES, MOST_STAGES),
        }
        return object_schema(cls.__name__, properties, optional=("stem", "bottleneck", "compression"))

    @property
    def dense(self) -> DenseLayers:
        """How the blocks are built."""
        return DenseLayers(self.bottleneck)

    def option_bound(self) -> int:
        return self._options

    @cached_property
    def _options(self) -> int:
        """The options of the chain, counted no further than the first stage at which they are too many."""
        columns = self._first_nodes(np.zeros((1, 2), np.int64))
        sizes = len(self.input.sizes)
        total = sizes * len(columns)
        nodes = DenseNodes(columns)
        for number, axes in enumerate(self.stages, start=1):
            total += sizes * len(nodes) * len(axes["layers"].values)
            if total > MOST_OPTIONS:
                return total
            _, _, after = self._after(nodes, number)
            nodes = DenseNodes(distinct(after)[0])
        return total + sizes * len(nodes)

    def largest(self) -> Architecture:
        largest = (self.stem_channels.largest, self.growth.largest, self.compression.largest)
        return self._network(self.input.largest, largest, [stage["layers"].largest for stage in self.stages])

    def architecture(self, integers: Sequence[int]) -> Architecture:
        height, width, *rest = integers
        image = Image(channels=self.input.channels, height=height, width=width)
        chosen = len(ENDS) - 2
        return self._network(image, rest[:chosen], rest[chosen + 1 :: len(BLOCK)])

    def _network(self, image: Image, chosen: Sequence[int], layers: Sequence[int]) -> DenseNetBc:
        stem_channels, growth, compression = chosen
        return DenseNetBc(
            input=image,
            num_classes=self.num_classes,
            stem=self.stem,
            stem_channels=stem_channels,
            growth=growth,
            bottleneck=self.bottleneck,
            compression=compression,
            stages=tuple(DenseStage(layers=n) for n in layers),
        )

    def chain(self, model: LatencyModel | None = None) -> Chain:
        columns = self._first_nodes(np.array(self.input.sizes, np.int64))
        nodes = DenseNodes(columns)
        chained, counts = [self._stem_stage(nodes, model)], [1, len(nodes)]
        for number in range(1, len(self.stages) + 1):
            stage, nodes = self._block_stage(nodes, number, model)
            chained.append(stage)
            counts.append(len(nodes))
        positions, every = self._positions(nodes)[-1], np.arange(len(nodes))
        ends = (nodes.channels, positions, self.num_classes)
        latency = timed(model, lambda: wide_head_work(*ends))
        chained.append(stage_of(every, 0 * every, wide_head(*ends), latency=latency))
        return Chain(tuple(chained), (*counts, 1), tuple(range(len(ENDS), len(ENDS) + len(BLOCK) * len(self.stages))))

    def _first_nodes(self, sizes: Ints) -> Ints:
        """Return the nodes before the first block, as columns. sizes: of the images, (n, 2)."""
        axes = (self.stem_channels, self.growth, self.compression)
        size, s, k, compression = grid(np.arange(len(sizes)), *(np.array(axis.values, np.int64) for axis in axes))
        return np.column_stack([sizes[size], k, compression, s])

    def _positions(self, nodes: DenseNodes) -> tuple[Ints, ...]:
        """Return the positions of the maps of each node's network: image, first convolution, blocks; (n,) each."""
        size: Any = (nodes.columns[:, 0], nodes.columns[:, 1])
        first, blocks = maps_of(self.stem, size, len(self.stages))
        sizes: list[Any] = [size, first, *blocks]
        return tuple(height * width for height, width in sizes)

    def _stem_stage(self, nodes: DenseNodes, model: LatencyModel | None) -> Stage:
        every, maps = np.arange(len(nodes)), self._positions(nodes)[:3]
        stem = (self.stem, self.input.channels, nodes.channels, maps)
        latency = timed(model, lambda: stem_work(*stem))
        integers = nodes.columns[:, [0, 1, 4, 2, 3]]  # in the order of `ENDS`
        return stage_of(0 * every, every, stem_costs(*stem), integers=integers, latency=latency)

    def _after(self, nodes: DenseNodes, number: int) -> tuple[Ints, Ints, Ints]:
        """Return the node before each option of a block, its layers, and what is after it, as columns."""
        source, layers = grid(np.arange(len(nodes)), self.stages[number - 1].values("layers"))
        rows = nodes.take(source)
        joined = rows.channels + rows.growth * layers
        if number == len(self.stages):  # the head reads maps and channels alone
            none = np.zeros_like(joined)
            return source, layers, np.column_stack([rows.columns[:, :2], none, none, joined])
        kept = compressed(joined, rows.compression)
        return source, layers, np.column_stack([rows.columns[:, :4], kept])

    def _block_stage(self, nodes: DenseNodes, number: int, model: LatencyModel | None) -> tuple[Stage, DenseNodes]:
        """Return the options of a block with the transition after it, and the nodes after them."""
        source, layers, columns = self._after(nodes, number)
        rows, last = nodes.take(source), number == len(self.stages)
        k, joined, kept = rows.growth, rows.channels + rows.growth * layers, columns[:, 4]
        positions = self._positions(rows)[2:]
        block = (rows.channels, k, layers, positions[number - 1])
        costs = self.dense.costs(*block)
        if not last:
            costs = _one_after_another(costs, transition_costs(joined, kept, *positions[number - 1 : number + 1]))

        def work() -> Work:
            of_block = self.dense.work(*block)
            return of_block if last else of_block + transition_work(joined, kept, *positions[number - 1 : number + 1])

        after, target = distinct(columns)
        mass = (k * layers, np.ones_like(layers))
        latency = timed(model, work)
        stage = stage_of(source, target, costs, mass, np.column_stack([k, layers]), latency=latency)
        return stage, DenseNodes(after)

    @property
    def form_version(self) -> int:
        return 2

    def part_values(self, name: str) -> PartValues | None:
        columns = tuple((len(ENDS) + len(BLOCK) * block,) for block in range(len(self.stages)))
        return PartValues(columns, only_present) if name == "widths" else None

    def inputs(self) -> tuple[tuple[int, ...], ...]:
        return self.input.shapes

    def shared(self) -> tuple[object, ...]:
        return (self.input.shapes, self.num_classes, self.stem, self.bottleneck, len(self.stages))

    def varies_resolution(self) -> bool:
        return self.input.vary

    def varies_width(self) -> bool:
        return len(self.growth.values) > 1

    def layers(self, chain: Chain) -> tuple[Ints, ...]:
        stem, *blocks, head = chain.stages
        counted = [self.dense.depth * stage.integers[:, 1] + 1 for stage in blocks[:-1]]
        last = self.dense.depth * blocks[-1].integers[:, 1]
        return (np.ones(len(stem), np.int64), *counted, last, np.zeros(len(head), np.int64))


def _one_after_another(first: Costs[Ints], second: Costs[Ints]) -> Costs[Ints]:
    """Return the costs of layers that run one after another."""
    sums = (first.params + second.params, first.macs + second.macs, first.norm_channels + second.norm_channels)
    return Costs(*sums, larger(first.peak, second.peak))
