"""Search spaces of stages whose strides are given: the stage tables that `mobilenet_v2` and the chains share.

Two neighboring stages can be one run of equal blocks, and stages can be left out: a space is read run by run
(spaces/runs.py), docs/theory.md (40).
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import ClassVar, Protocol

import numpy as np

from nnmass_core.architecture import Image
from nnmass_core.engine.chain import Chain, Ints, Stage, lacking_last
from nnmass_core.errors import Problem
from nnmass_core.families.costs import Costs, stage_of, timed
from nnmass_core.families.mobilenet_v2 import EXPANSION, KERNEL
from nnmass_core.families.residual import REPEATS, StageAxes, repeated
from nnmass_core.families.residual_space import always_there
from nnmass_core.hardware.latency import LatencyModel, Work
from nnmass_core.spaces.axis import Axis
from nnmass_core.spaces.base import MOST_OPTIONS, Space
from nnmass_core.spaces.images import Images
from nnmass_core.spaces.runs import Runs, distinct, grid, leading_on
from nnmass_core.spaces.structure import PartValues, check_rising, only_present, ruled

AXES = ("expansion", "channels", "repeats", "stride", "kernel", "se")
"""The axes of a stage. A family without some of them has stages of one value there: 1, 3 and 0."""

SHARED = ("expansion", "channels", "kernel", "se", "stride")
"""What the blocks of a run share, with the stride of the first."""

BLOCK = 3
"""What a node has of its blocks beside their channels: expansion, kernel and se."""


class StridedBlock(Protocol):
    """A block, or arrays of blocks, as `StridedSpace.block` returns them."""

    def costs(self) -> Costs[Ints]:
        """Return the costs."""

    def work(self) -> Work:
        """Return the operators."""

    def terms(self) -> tuple[Ints, Ints]:
        """Return numerator and denominator of NN-Mass."""


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
class StridedSpace(Space):
    """Ranges for every stage of a network between a stem and a head."""

    axes: ClassVar[tuple[str, ...]] = AXES
    """The axes of a stage that the family has, in the order of its definition: the integers of a path have these."""

    layers_outside: ClassVar[int]
    """The layers that `depth` counts outside the stages."""

    input: Images
    num_classes: int
    stem_channels: Axis
    stages: tuple[StageAxes, ...]
    stem_stride: int
    width_rule: str | None = field(default=None, kw_only=True)

    @property
    def last_widths(self) -> tuple[int, ...]:
        """The channels of a convolution after the stages; 0 alone where there is none."""
        return (0,)

    @property
    def ends(self) -> int:
        """How many integers precede those of the stages: height, width, channels of the stem and of the last layer."""
        return 3 if self.last_widths == (0,) else 4

    @abstractmethod
    def block(
        self, i: Ints, o: Ints, expansion: Ints, before: Ints, after: Ints, joined: Ints, kernel: Ints, se: Ints
    ) -> StridedBlock:
        """Return blocks. joined: 1 where input and output have one shape, else 0; the others are the block's own."""

    @abstractmethod
    def stem_costs(self, channels: Ints, before: Ints, after: Ints) -> Costs[Ints]:
        """Return the costs of stems, by channels and positions before and after."""

    @abstractmethod
    def stem_work(self, channels: Ints, before: Ints, after: Ints) -> Work:
        """Return the operators of stems."""

    @abstractmethod
    def head_costs(self, channels: Ints, last: Ints, positions: Ints) -> Costs[Ints]:
        """Return the costs of heads, by channels, channels of the last convolution, and positions."""

    @abstractmethod
    def head_work(self, channels: Ints, last: Ints, positions: Ints) -> Work:
        """Return the operators of heads."""

    def cross_check(self) -> Iterator[Problem]:
        for number in self.runs.too_long(REPEATS[1]):
            message = f"can form a run of more than {REPEATS[1]} equal blocks with the stages before it"
            yield Problem(f"stages.{number - 1}.repeats", "too_many_blocks", message)
        if not any(stage["repeats"].largest for stage in self.stages):
            yield Problem("stages", "no_blocks", "must have a stage with at least one block")
        if self.width_rule is not None:
            yield from check_rising(always_there(self.stages))

    @cached_property
    def runs(self) -> Runs:
        """The runs of equal blocks that the stages can stand for."""
        return runs_of(self.stages)

    def option_bound(self) -> int:
        configs = len(self.input.sizes) * len(self.stem_channels.values) * len(self.last_widths)
        if self.runs.ambiguous:
            return _bound_on_runs(self.stages, configs)
        entering, scales, total = 1, 1, configs
        for stage in self.stages:
            expansions, channels, repeats, strides, kernels, se = (len(stage[name].values) for name in AXES)
            kinds = expansions * channels * strides * kernels * se
            total += configs * scales * kinds * (entering + repeats * scales)
            scales += strides - 1
            entering = channels
        return total + configs * scales * entering

    def chain(self, model: LatencyModel | None = None) -> Chain:
        configs = np.array(
            list(itertools.product(self.input.sizes, self.stem_channels.values, self.last_widths)),
            dtype=object,
        )
        sizes = np.array([size for size, _, _ in configs], np.int64).reshape(-1, 2)
        stem, last = configs[:, 1].astype(np.int64), configs[:, 2].astype(np.int64)
        chained = [self._stem(sizes, stem, last, model)]
        nodes = Nodes.at_stem(self._after_stem(sizes), stem, self.runs)
        counts = [1, len(nodes)]
        for number in range(1, len(self.stages) + 1):
            first, inside = _first_blocks(self, nodes, number, model)
            others, nodes = _other_blocks(self, inside, number, model)
            chained += [first, others]
            counts += [len(inside), len(nodes)]
        ends = (nodes.channels, last[nodes.config], nodes.positions)
        latency = timed(model, lambda: self.head_work(*ends))
        zeros = np.zeros(counts[-1], np.int64)
        chained.append(stage_of(np.arange(counts[-1]), zeros, self.head_costs(*ends), latency=latency))
        shape = tuple(self.column(stage, name) for stage in range(len(self.stages)) for name in ("channels", "repeats"))
        if not self.runs.ambiguous:
            return ruled(self.part_values, Chain(tuple(chained), (*counts, 1), shape), self.width_rule)
        lacking = lacking_last(self.ends, len(self.axes))
        chain = Chain(leading_on(chained, counts), (*counts, 1), shape, parts=lacking)
        return ruled(self.part_values, chain, self.width_rule)

    def column(self, stage: int, name: str) -> int:
        """Return where the integers of a path have a field of a stage, from 0."""
        return self.ends + len(self.axes) * stage + self.axes.index(name)

    def _stem(self, sizes: Ints, stem: Ints, last: Ints, model: LatencyModel | None) -> Stage:
        before, after = sizes.prod(axis=1), self._after_stem(sizes).prod(axis=1)
        costs = self.stem_costs(stem, before, after)
        latency = timed(model, lambda: self.stem_work(stem, before, after))
        nodes = np.arange(len(stem))
        return stage_of(
            0 * nodes, nodes, costs, integers=np.column_stack([sizes, stem, last])[:, : self.ends], latency=latency
        )

    def _after_stem(self, sizes: Ints) -> Ints:
        """Return the sizes of maps after the stem, (n, 2)."""
        return -(-sizes // self.stem_stride)

    def read(self, integers: Sequence[int]) -> tuple[Image, Sequence[int], list[dict[str, int]]]:
        """Return what a path stands for: image, channels of the stem and of the last layer, stages with blocks.

        Args:
            integers: The integers of a path.
        """
        height, width, *channels = integers[: self.ends]
        number = len(self.axes)
        rows = (integers[place : place + number] for place in range(self.ends, len(integers), number))
        stages = (dict(zip(self.axes, row, strict=True)) for row in rows)
        image = Image(channels=self.input.channels, height=height, width=width)
        return image, channels, [stage for stage in stages if stage["repeats"]]

    def most_parts(self) -> int:
        return len(self.stages)

    def inputs(self) -> tuple[tuple[int, ...], ...]:
        return self.input.shapes

    def varies_resolution(self) -> bool:
        return self.input.vary

    def part_values(self, name: str) -> PartValues | None:
        columns = tuple((self.column(stage, "channels"),) for stage in range(len(self.stages)))
        return PartValues(columns, only_present) if name == "widths" else None

    def layers(self, chain: Chain) -> tuple[Ints, ...]:
        stem, *stages, head = chain.stages
        found = [np.full(len(stem), self.layers_outside, np.int64)]
        for first, others, nodes in zip(stages[0::2], stages[1::2], chain.nodes[2::2], strict=False):
            begun, more = self._layers_a_block(first), np.maximum(others.integers[:, 0] - 1, 0)
            each = np.zeros(nodes, np.int64)  # the layers of a block, by the node inside the stage
            each[first.target] = begun
            found += [begun, each[others.source] * more]
        return (*found, np.zeros(len(head), np.int64))

    def _layers_a_block(self, first: Stage) -> Ints:
        """Return the layers of blocks: 3, 2 without an expanding convolution, and none where no block begins."""
        expansion = first.integers[:, 0] if self.axes[0] == "expansion" else np.minimum(first.integers[:, 0], 1)
        layers: Ints = np.where(expansion > 1, 3, 2 * expansion)
        return layers

    def varies_width(self) -> bool:
        left_out = any({0} < set(stage["repeats"].values) for stage in self.stages)
        widths = [self.stem_channels.values, self.last_widths, *(stage["channels"].values for stage in self.stages)]
        return left_out or any(len(values) > 1 for values in widths)


def runs_of(stages: tuple[StageAxes, ...]) -> Runs:
    """Return the runs of equal blocks that stages can stand for."""
    kinds = tuple(tuple(stage.values(name) for name in SHARED) for stage in stages)
    return Runs(kinds, tuple(stage["repeats"].values for stage in stages))


def _columns(space: StridedSpace, **fields: Ints) -> Ints:
    """Return the fields of stages that the family has, (n, fields)."""
    return np.column_stack([values for name, values in fields.items() if name in space.axes])


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


def _first_blocks(space: StridedSpace, nodes: Nodes, number: int, model: LatencyModel | None) -> tuple[Stage, Nodes]:
    """Return the stage of first blocks, and the nodes after the block, with its fields known."""
    source, columns = _begun(nodes, number, space.stages[number - 1], space.runs)
    entering, before = nodes.channels[source], nodes.positions[source]
    after = Nodes(columns)
    channels, stride = after.channels, after.stride
    columns[:, 1:3] = np.where(stride[:, None] == 2, (columns[:, 1:3] + 1) // 2, columns[:, 1:3])
    inside, target = _nodes(columns)
    begun: Ints = np.minimum(stride, 1)
    expansion, kernel, se = after.usable_block
    joined = ((stride == 1) & (entering == channels)).astype(np.int64)
    block = space.block(entering, channels, expansion, before, after.positions, joined, kernel, se)
    costs = Costs(*(begun * figure for figure in block.costs()))
    latency = timed(model, lambda: repeated(block.work(), begun))
    integers = _columns(space, expansion=begun * expansion, channels=begun * channels)
    return stage_of(source, target, costs, block.terms(), integers, latency=latency), inside


def _ended(inside: Nodes, number: int, runs: Runs) -> tuple[Ints, Ints, Ints]:
    """Return the node before each possible end of a run, (n,), its blocks, (n,), and the columns after it."""
    source, blocks, stages, matters = runs.ended(number, inside.stages, inside.going_on(runs), inside.stride == 0)
    rows = Nodes(inside.columns[source])
    kept = matters[:, None] * rows.block
    return source, blocks, np.column_stack([rows.columns[:, :4], kept, np.zeros_like(stages), stages])


def _other_blocks(space: StridedSpace, inside: Nodes, number: int, model: LatencyModel | None) -> tuple[Stage, Nodes]:
    """Return the stage of the blocks after the first, and the nodes after them."""
    source, repeats, columns = _ended(inside, number, space.runs)
    more, run = np.maximum(repeats - 1, 0), Nodes(inside.columns[source])
    channels, (expansion, kernel, se) = run.channels, run.usable_block
    positions, joined = run.positions, np.ones_like(channels)
    block = space.block(channels, channels, expansion, positions, positions, joined, kernel, se)
    one, latency = block.costs(), timed(model, lambda: repeated(block.work(), more))
    costs = Costs(more * one.params, more * one.macs, more * one.norm_channels, (more > 0) * one.peak)
    numerator, denominator = block.terms()
    nodes, target = _nodes(columns)
    terms = (more * numerator, denominator)
    _, kernel, se = (run.stride > 0) * run.block.T
    integers = _columns(space, repeats=repeats, stride=run.stride, kernel=kernel, se=se)
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
