"""Search spaces of `resnet` and `wide_resnet_cifar`, whose strides are fixed: their stage tables.

Every stage but perhaps the first halves the maps, so that neighbors are never one run of equal blocks. A stage that is
left out takes its stride with it: several choices can then make one network, and the space is read run by run
(spaces/runs.py): docs/theory.md (67).
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any

import numpy as np

from nnmass_core.architecture import LayerShape
from nnmass_core.codec import Value, integer
from nnmass_core.engine.chain import Chain, Ints, Stage, lacking_last
from nnmass_core.errors import Problem
from nnmass_core.families.costs import Costs, stage_of, timed
from nnmass_core.families.residual import (
    CHANNELS,
    REPEATS,
    STAGES_KEPT,
    Block,
    Built,
    Size,
    StageAxes,
    area,
    halved,
    repeated,
)
from nnmass_core.hardware.latency import LatencyModel, Work
from nnmass_core.mass import Integers
from nnmass_core.spaces.base import MOST_OPTIONS
from nnmass_core.spaces.runs import Runs, distinct, grid, leading_on

LEFT_OUT = "Blocks in the stage; 0 leaves it out, and the stages after it move up."
STRIDE = np.array([2], np.int64)
"""What begins a run: no stage goes on as the next one."""


class Blocks(ABC):
    """How a family builds its blocks. i: channels in; c: the stage's `channels`; positions before and after."""

    @abstractmethod
    def channels(self, c: Integers) -> Integers:
        """Return the output channels of a block."""

    @abstractmethod
    def layers(self, c: int, before: Size, after: Size) -> tuple[LayerShape, ...]:
        """Return the outputs of a block's layers; before, after: the sizes of its maps. Shortcuts do not count."""

    @abstractmethod
    def costs(
        self, i: Integers, c: Integers, before: Integers, after: Integers, projected: Integers
    ) -> Costs[Integers]:
        """Return a block's costs; projected: 1 where its shortcut is a convolution, else 0."""

    @abstractmethod
    def work(self, i: Integers, c: Integers, before: Integers, after: Integers, projected: Integers) -> Work:
        """Return the operators that a block runs."""

    @abstractmethod
    def terms(self, i: Integers, c: Integers) -> tuple[Integers, Integers]:
        """Return numerator and denominator of a block's NN-Mass."""


@dataclass(frozen=True)
class Frame:
    """What precedes the stages: the stem's costs, channels and operators, the maps of the first stage and its stride.

    The stride of a network's first stage is 1 or 2, that of every other stage 2.
    """

    stem: Costs[int]
    channels: int
    size: Size
    work: Work
    first_stride: int = 1

    def sizes(self, stages: int) -> list[tuple[Size, Size]]:
        """Return the maps before and after the first block of each stage."""
        after = [halved(self.size, k + self.first_stride - 1) for k in range(stages)]
        return list(zip([self.size, *after], after, strict=False))


@dataclass(frozen=True)
class Head:
    """How a family ends, by the channels and positions of the last maps: costs and operators."""

    costs: Callable[[Ints, Ints], Costs[Ints]]
    work: Callable[[Ints, Ints], Work]

    def stage(self, channels: Ints, positions: Ints, model: LatencyModel | None) -> Stage:
        """Return the last stage: one option from each node. channels, positions: of the nodes, (n,)."""
        nodes = np.arange(len(channels))
        latency = timed(model, lambda: self.work(channels, positions))
        return stage_of(nodes, 0 * nodes, self.costs(channels, positions), latency=latency)


@dataclass(frozen=True, kw_only=True)
class LargestStage(Value):
    """A stage of a network whose costs no network of a space exceeds. left_out: 1 if networks can lack it, else 0."""

    channels: int = integer(*CHANNELS, "Most channels.")
    repeats: int = integer(*REPEATS, "Most blocks.")
    left_out: int = integer(0, 1, "Whether networks can lack it.")


@dataclass(frozen=True)
class Place:
    """Where a stage stands: its input channels and its maps; projected: 1 if its first shortcut is a convolution."""

    entering: int
    before: Size
    after: Size
    projected: int


def places(blocks: Blocks, frame: Frame, stages: Sequence[Any]) -> list[Place]:
    """Return the places of a network's stages, from definitions with `channels`."""
    found: list[Place] = []
    entering = frame.channels
    for k, (stage, maps) in enumerate(zip(stages, frame.sizes(len(stages)), strict=True)):
        given = blocks.channels(stage.channels)
        found.append(Place(entering, *maps, int(k + frame.first_stride > 1 or entering != given)))
        entering = given
    return found


def largest_places(blocks: Blocks, frame: Frame, stages: Sequence[LargestStage]) -> list[Place]:
    """Return places whose costs no choice exceeds: the most channels in, the largest maps, a projected shortcut."""
    found: list[Place] = []
    entering, certain = frame.channels, 0  # stages before this one in every network
    for stage in stages:
        given = blocks.channels(stage.channels)
        halvings = certain + frame.first_stride - 1
        found.append(Place(entering, halved(frame.size, max(halvings - 1, 0)), halved(frame.size, halvings), 1))
        entering, certain = (max(entering, given), certain) if stage.left_out else (given, certain + 1)
    return found


def build_stages(blocks: Blocks, stages: Sequence[Any], where: Sequence[Place]) -> list[Built]:
    """Build the stages with their blocks from definitions with `channels` and `repeats`, at their places."""
    return [_built(blocks, stage, place) for stage, place in zip(stages, where, strict=True)]


@lru_cache(maxsize=STAGES_KEPT)
def _built(blocks: Blocks, stage: Any, place: Place) -> Built:
    """Return one stage; the networks of one answer have most of their stages in common."""
    c, given = stage.channels, blocks.channels(stage.channels)
    made: list[Block] = []
    i, size, projected = place.entering, place.before, place.projected
    for _ in range(stage.repeats):
        layout = (i, c, area(size), area(place.after), projected)
        mass = Fraction(*blocks.terms(i, c))
        made.append(Block(blocks.costs(*layout), mass, given, partial(blocks.work, *layout)))
        i, size, projected = given, place.after, 0
    return Built(stage, c, place.entering, made, place.after)


def layers_of_stages(blocks: Blocks, frame: Frame, stages: Sequence[Any]) -> Iterator[LayerShape]:
    """Yield the outputs of the layers of all blocks, from definitions with `channels` and `repeats`."""
    for stage, (before, after) in zip(stages, frame.sizes(len(stages)), strict=True):
        yield from blocks.layers(stage.channels, before, after)
        for _ in range(stage.repeats - 1):
            yield from blocks.layers(stage.channels, after, after)


def largest_stages(stages: tuple[StageAxes, ...]) -> tuple[LargestStage, ...]:
    """Return the stages of a space at their largest, without those that no network has."""
    return tuple(
        LargestStage(
            channels=stage["channels"].largest,
            repeats=stage["repeats"].largest,
            left_out=int(stage["repeats"].values[0] == 0),
        )
        for stage in stages
        if stage["repeats"].largest
    )


def last_maps(blocks: Blocks, stages: Sequence[LargestStage], where: Sequence[Place]) -> Iterator[tuple[int, int]]:
    """Yield channels and positions of the maps with which a network can end."""
    for stage, place in zip(reversed(stages), reversed(where), strict=True):
        yield blocks.channels(stage.channels), area(place.after)
        if not stage.left_out:
            return


def most(costs: Iterable[Costs[int]]) -> Costs[int]:
    """Return the most of each cost."""
    return Costs(*map(max, zip(*costs, strict=True)))


def check_stages(stages: tuple[StageAxes, ...], least: int) -> Iterator[Problem]:
    """Yield problems of stages that can be left out. least: the fewest stages of a network."""
    able = sum(stage["repeats"].largest > 0 for stage in stages)
    if able < least:
        yield Problem("stages", "no_blocks", f"must have at least {least} with blocks")
    elif able == least:
        for number, stage in enumerate(stages):
            if {0} < set(stage["repeats"].values):
                message = f"must not contain 0: networks have at least {least} stages"
                yield Problem(f"stages.{number}.repeats", "too_small", message)


def always_there(stages: tuple[StageAxes, ...]) -> list[tuple[int, ...]]:
    """Return the channels of each stage that all networks of a space have."""
    return [stage["channels"].values for stage in stages if stage["repeats"].values[0]]


def varies_width(stages: tuple[StageAxes, ...]) -> bool:
    """Return whether networks of a space differ in channels, or in which stages they have."""
    return any({0} < set(stage["repeats"].values) or len(stage["channels"].values) > 1 for stage in stages)


def form_version(stages: tuple[StageAxes, ...]) -> int:
    """Return the earliest version of a request's JSON form that has these stages."""
    return 2 if any(0 in stage["repeats"].values for stage in stages) else 1


def runs_of(stages: tuple[StageAxes, ...]) -> Runs:
    """Return the runs that stages can stand for: each is one stage of a network."""
    return Runs(
        tuple((stage.values("channels"), STRIDE) for stage in stages),
        tuple(stage["repeats"].values for stage in stages),
    )


def option_bound(stages: tuple[StageAxes, ...], least: int) -> int:
    """Return an upper bound on the number of options of `staged_chain`."""
    if runs_of(stages).ambiguous:
        return _bound_on_runs(stages, least)
    widths = [len(stage["channels"].values) for stage in stages]
    first = sum(a * b for a, b in zip([1, *widths], widths, strict=False))
    return 1 + first + sum(len(s["channels"].values) * len(s["repeats"].values) for s in stages) + widths[-1]


def staged_chain(
    blocks: Blocks, frame: Frame, stages: tuple[StageAxes, ...], least: int, head: Head, model: LatencyModel | None
) -> Chain:
    """Return the chain: stem, then for each stage its first block and its other blocks, then the head.

    The integers are each stage's channels and repeats, which are also its shape. least: the fewest stages of a network.
    """
    shape = tuple(range(2 * len(stages)))
    if runs_of(stages).ambiguous:
        chained, nodes = _stages_of_runs(blocks, frame, stages, least, head, model)
        return Chain(leading_on(chained, nodes), (*nodes, 1), shape, parts=lacking_last(0, 2))
    chained = [_stem_stage(frame, model)]
    nodes, entering, after = [1, 1], np.array([frame.channels], np.int64), frame.size
    for k, (stage, (before, after)) in enumerate(zip(stages, frame.sizes(len(stages)), strict=True)):
        channels, repeats = stage.values("channels"), stage.values("repeats")
        sizes = (area(before), area(after))
        chained.append(_first_blocks(blocks, entering, channels, sizes, model, stride=2 if k else frame.first_stride))
        chained.append(_other_blocks(blocks, channels, repeats, area(after), model))
        nodes += [len(channels)] * 2
        entering = blocks.channels(channels)
    chained.append(head.stage(entering, 0 * entering + area(after), model))
    return Chain(tuple(chained), (*nodes, 1), shape)


def layers_of_options(chain: Chain, each: int) -> tuple[Ints, ...]:
    """Return the layers that each option of `staged_chain` adds: docs/theory.md (69). each: the layers of a block."""
    before = len(chain.stages) % 2  # a stage that chooses the image, where there are several
    stem, *stages, head = chain.stages[before:]
    chosen = (np.zeros(len(stage), np.int64) for stage in chain.stages[:before])
    firsts = [each * np.minimum(stage.integers[:, 0], 1) for stage in stages[0::2]]
    others = [each * np.maximum(stage.integers[:, 0] - 1, 0) for stage in stages[1::2]]
    pairs = itertools.chain.from_iterable(zip(firsts, others, strict=True))
    return (*chosen, np.ones(len(stem), np.int64), *pairs, np.zeros(len(head), np.int64))


def _stem_stage(frame: Frame, model: LatencyModel | None) -> Stage:
    one = np.ones(1, np.int64)
    costs = Costs(*(figure * one for figure in frame.stem))
    return stage_of(0 * one, 0 * one, costs, latency=timed(model, lambda: repeated(frame.work, one)))


def _first_blocks(
    blocks: Blocks,
    entering: Ints,
    channels: Ints,
    areas: tuple[int, int],
    model: LatencyModel | None,
    *,
    stride: int,
) -> Stage:
    source = np.repeat(np.arange(len(entering)), len(channels))
    target = np.tile(np.arange(len(channels)), len(entering))
    i, c = entering[source], channels[target]
    projected = np.maximum(i != blocks.channels(c), stride == 2).astype(np.int64)
    layout = (i, c, 0 * c + areas[0], 0 * c + areas[1], projected)
    latency = timed(model, lambda: blocks.work(*layout))
    return stage_of(source, target, blocks.costs(*layout), blocks.terms(i, c), c[:, None], latency=latency)


def _other_blocks(blocks: Blocks, channels: Ints, repeats: Ints, positions: int, model: LatencyModel | None) -> Stage:
    node = np.repeat(np.arange(len(channels)), len(repeats))
    c, counts = channels[node], np.tile(repeats, len(channels))
    return _repeats(blocks, (node, node), c, counts, 0 * c + positions, model)


def _repeats(
    blocks: Blocks, ends: tuple[Ints, Ints], c: Ints, repeats: Ints, positions: Ints, model: LatencyModel | None
) -> Stage:
    """Return the stage of the blocks after the first. ends: source and target. repeats: all blocks, or 0."""
    more, i = np.maximum(repeats - 1, 0), blocks.channels(c)
    layout = (i, c, positions, positions, 0 * c)
    costs, (numerator, denominator) = blocks.costs(*layout), blocks.terms(i, c)
    together = Costs(more * costs.params, more * costs.macs, more * costs.norm_channels, (more > 0) * costs.peak)
    latency = timed(model, lambda: repeated(blocks.work(*layout), more))
    return stage_of(*ends, together, (more * numerator, denominator), repeats[:, None], latency=latency)


# Where stages can be left out. A node is (stages so far, channels, set of stages); inside a stage one more entry is 1
# where the stage has begun, and 0 where the node waits for a later one.


def _stem_nodes(runs: Runs) -> Ints:
    return np.array([[0, 0, runs.stem]], np.int64)


def _begun(nodes: Ints, number: int, stage: StageAxes, runs: Runs) -> tuple[Ints, Ints]:
    """Return the runs that start with a stage, and no earlier one, and the nodes that wait for a later stage.

    Return the node before each, (n,), and the columns inside the stage, (n, 4).
    """
    able, waiting = (np.flatnonzero(after > 0) for after in (nodes[:, 2] >> number - 1 & 1, nodes[:, 2] >> number))
    node, channels = grid(able, stage.values("channels"))
    starts = runs.starts(nodes[node, 2], runs.containing(channels))
    fresh = (starts & -starts) == 1 << number
    begun = np.column_stack([nodes[node, 0] + 1, channels, starts, np.ones_like(starts)])[fresh]
    waits = np.column_stack([nodes[waiting], np.zeros_like(waiting)])
    return np.concatenate([node[fresh], waiting]), np.concatenate([begun, waits])


def _ended(inside: Ints, number: int, runs: Runs, least: int) -> tuple[Ints, Ints, Ints]:
    """Return the node before each possible end of a run, (n,), its blocks, (n,), and the columns after it, (n, 3)."""
    going_on = np.zeros(len(inside), np.int64)
    source, repeats, stages, _ = runs.ended(number, inside[:, 2], going_on, inside[:, 3] == 0)
    columns = np.column_stack([inside[source, :2], stages])
    enough = (columns[:, 0] >= least) | (number < len(runs))
    return source[enough], repeats[enough], columns[enough]


def _stages_of_runs(
    blocks: Blocks, frame: Frame, stages: tuple[StageAxes, ...], least: int, head: Head, model: LatencyModel | None
) -> tuple[list[Stage], list[int]]:
    """Return the chain's stages, and the nodes before each."""
    runs, sizes = runs_of(stages), frame.sizes(len(stages))
    areas = np.array([area(frame.size), *(area(after) for _, after in sizes)], np.int64)  # by the stages so far
    nodes = _stem_nodes(runs)
    chained, counts = [_stem_stage(frame, model)], [1, 1]
    for number, stage in enumerate(stages, start=1):
        source, columns = _begun(nodes, number, stage, runs)
        inside, target = distinct(columns)
        chained.append(_first_or_waiting(blocks, frame, nodes[source], columns, areas, (source, target), model))
        source, repeats, columns = _ended(inside, number, runs, least)
        nodes, target = distinct(columns)
        c = np.maximum(columns[:, 1], 1)
        chained.append(_repeats(blocks, (source, target), c, repeats, areas[columns[:, 0]], model))
        counts += [len(inside), len(nodes)]
    chained.append(head.stage(blocks.channels(nodes[:, 1]), areas[nodes[:, 0]], model))
    return chained, counts


def _first_or_waiting(
    blocks: Blocks,
    frame: Frame,
    before: Ints,
    columns: Ints,
    areas: Ints,
    ends: tuple[Ints, Ints],
    model: LatencyModel | None,
) -> Stage:
    """Return the stage of first blocks, and of options that cost nothing for nodes that wait for a later stage."""
    begun, c = columns[:, 3], np.maximum(columns[:, 1], 1)
    i = np.where(before[:, 0] == 0, frame.channels, blocks.channels(np.maximum(before[:, 1], 1)))
    projected = ((before[:, 0] + frame.first_stride > 1) | (i != blocks.channels(c))).astype(np.int64)
    layout = (i, c, areas[before[:, 0]], areas[columns[:, 0]], projected)
    costs = Costs(*(begun * figure for figure in blocks.costs(*layout)))
    latency = timed(model, lambda: repeated(blocks.work(*layout), begun))
    numerator, denominator = blocks.terms(i, c)
    return stage_of(*ends, costs, (begun * numerator, denominator), (begun * c)[:, None], latency=latency)


@lru_cache(maxsize=64)
def _bound_on_runs(stages: tuple[StageAxes, ...], least: int) -> int:
    """Return the options of `_stages_of_runs`, at least `MOST_OPTIONS` + 1 where they are more."""
    runs = runs_of(stages)
    nodes, total = _stem_nodes(runs), 1
    for number, stage in enumerate(stages, start=1):
        total += len(nodes) * (len(stage["channels"].values) + 1)
        if total > MOST_OPTIONS:
            return total
        inside, _ = distinct(_begun(nodes, number, stage, runs)[1])
        going_on = np.zeros(len(inside), np.int64)
        total += runs.count_ends(inside[:, 2], going_on, inside[:, 3] == 0)
        if total > MOST_OPTIONS:
            return total
        nodes, _ = distinct(_ended(inside, number, runs, least)[2])
    return total + len(nodes)
