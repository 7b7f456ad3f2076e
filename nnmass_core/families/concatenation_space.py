"""Search spaces over concatenation cells: ranges for every cell of an image network, and their stage tables.

The number of cells can be searched: docs/theory.md (68).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any, ClassVar, Self

import numpy as np

from nnmass_core.architecture import CLASSES, Architecture, Image, ImageArchitecture
from nnmass_core.codec import JsonObject, choice_schema, field_schema, object_schema
from nnmass_core.engine.chain import Chain, Ints, Stage, lacking_last, make_stage
from nnmass_core.errors import Problem
from nnmass_core.families.concatenation import (
    CELLS_KEPT,
    DEPTH,
    MOST_CELLS,
    SKIP_CHANNELS,
    WIDTH,
    Cell,
    CellBody,
    CellEntry,
    ConcatenationCnn,
    Head,
    LargestCell,
    LargestCells,
    check_final_map,
    resolutions,
)
from nnmass_core.families.costs import Costs, stage_of, timed
from nnmass_core.hardware.latency import LatencyModel
from nnmass_core.mass import links, mass_terms
from nnmass_core.spaces.axis import (
    Axis,
    axis_schema,
    decode_axes,
    decode_axis,
    encode_axes,
    single_axis_schema,
)
from nnmass_core.spaces.base import Fields, Space, decode_choice, decode_integer
from nnmass_core.spaces.images import Images, decode_images, images_schema
from nnmass_core.spaces.joined import together
from nnmass_core.spaces.structure import NEVER_FALL, NOTHING, PartValues, check_rising


def distinct_cells(shapes: Iterable[tuple[int, int, int]], skip_channels: Axis) -> Ints:
    """Return every distinct cell of these (node, width, depth) as rows of node, width, depth, skip channels: (n, 4)."""
    skips = np.array(skip_channels.values, np.int64)
    rows: list[Ints] = []
    for node, width, depth in shapes:
        distinct = np.unique(np.minimum(skips, width * max(depth - 2, 0)))
        rows.append(np.column_stack([np.full((len(distinct), 3), (node, width, depth), dtype=np.int64), distinct]))
    return np.concatenate(rows)


def column_of(column: int, cells: Ints) -> Ints:
    """Return one column of cells, (n, 3), where a cell of width 0 is one that a network lacks."""
    return np.where(cells[:, 0] == 0, NOTHING, cells[:, column])


def densities(cells: Ints) -> Ints:
    """Return a number for the density of each cell, equal for equal densities: docs/theory.md (4).

    Args:
        cells: The width, depth and skip channels of each cell, (n, 3); zeros for one that a network lacks.
    """
    w, d, t = np.maximum(cells, [1, 1, 0]).T
    numerator, denominator = mass_terms(d, links(w, d, t))
    denominator = denominator * w * d
    common = np.gcd(numerator, denominator)
    # in lowest terms, of whole numbers below 2**31: the links of a cell are at most w (d-1)(d-2) / 2
    return np.where(cells[:, 0] == 0, NOTHING, (numerator // common << 31) + denominator // common)


WIDTH_RULES = ("doubling", NEVER_FALL)

CELL = 3
"""The integers of a cell: width, depth and skip channels."""


@dataclass(frozen=True)
class States:
    """The nodes after a cell: its width, and its depth if a rule ties it to the other cells'. Depths vary fastest."""

    width: Ints
    depth: Ints


@dataclass(frozen=True)
class ConcatenationCnnSpace(Space):
    """Ranges for every cell of an image network, with optional rules that tie the cells together."""

    network: ClassVar[type[ConcatenationCnn]]
    largest_network: ClassVar[type[LargestCells]]
    densest_evidence: ClassVar[float | None] = 0.75

    input: Images
    num_classes: int
    cells: Axis
    width: tuple[Axis, ...]
    depth: tuple[Axis, ...]
    skip_channels: tuple[Axis, ...]
    width_rule: str | None = None
    depth_rule: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        fields = Fields(data, cls)
        image = fields.read("input", decode_images)
        classes = fields.read("num_classes", lambda value: decode_integer(value, *CLASSES))
        cells = fields.read("cells", lambda value: decode_axis(value, (1, MOST_CELLS)))
        width_rule = fields.read("width_rule", lambda value: decode_choice(value, WIDTH_RULES), default=None)
        depth_rule = fields.read("depth_rule", lambda value: decode_choice(value, ("equal",)), default=None)
        fields.stop_if_wrong()
        bounds = {"width": WIDTH, "depth": DEPTH, "skip_channels": SKIP_CHANNELS}
        axes = {
            name: fields.read(name, partial(decode_axes, count=cells.largest, bounds=b)) for name, b in bounds.items()
        }
        fields.stop_if_wrong()
        return cls(
            input=image,
            num_classes=classes,
            cells=cells,
            **axes,
            width_rule=width_rule,
            depth_rule=depth_rule,
        )

    def cross_check(self) -> Iterator[Problem]:
        tied = "doubling" if self.doubles else None
        for name, rule, axes in (("width", tied, self.width), ("depth", self.depth_rule, self.depth)):
            if rule and any(axis != axes[0] for axis in axes):
                yield Problem(
                    name, "conflicts_with_rule", f"must be one value for all cells when {name}_rule is {rule}"
                )
        if self.doubles and self.width[0].largest * 2 ** (self.cells.largest - 1) > WIDTH[1]:
            yield Problem("width.max", "too_large", f"doubles to more than {WIDTH[1]} by the last cell")
        if self.width_rule == NEVER_FALL:
            yield from check_rising([axis.values for axis in self.width])
        yield from check_final_map(self.input.images[0], self.cells.largest)

    def to_json(self) -> JsonObject:
        rules = {"width_rule": self.width_rule, "depth_rule": self.depth_rule}
        return {
            "family": self.family,
            "input": self.input.form,
            "num_classes": self.num_classes,
            "cells": self.cells.form,
            "width": encode_axes(self.width),
            "depth": encode_axes(self.depth),
            "skip_channels": encode_axes(self.skip_channels),
        } | {name: rule for name, rule in rules.items() if rule is not None}

    @classmethod
    def schema(cls) -> JsonObject:
        axis = partial(axis_schema, most_cells=MOST_CELLS)
        properties: JsonObject = {
            "family": cls.family_schema(),
            "input": images_schema(),
            "num_classes": field_schema(ImageArchitecture, "num_classes"),
            "cells": single_axis_schema(
                1,
                MOST_CELLS,
                "Number of cells, which may be searched: a network has the first of the cells that the axes describe.",
                example=3,
            ),
            "width": axis(
                *WIDTH, "Output channels of every layer of a cell.", example={"min": 16, "max": 256, "step": 16}
            ),
            "depth": axis(*DEPTH, "Layers in a cell.", example={"min": 4, "max": 32}),
            "skip_channels": axis(
                *SKIP_CHANNELS,
                "t_c, the maximum number of skip channels of a layer.",
                example={"min": 0, "max": 512, "step": 4},
            ),
            "width_rule": choice_schema(
                WIDTH_RULES, "Rule for the widths: w, 2w, 4w, ..., or no cell narrower than the one before it."
            ),
            "depth_rule": choice_schema(("equal",), "Gives all cells one depth."),
        }
        return object_schema(cls.__name__, properties, optional=("width_rule", "depth_rule"))

    def option_bound(self) -> int:
        widths = [len(axis.values) for axis in self.width]
        depths = [len(axis.values) for axis in self.depth]
        bodies = sum(w * d * len(t.values) for w, d, t in zip(widths, depths, self.skip_channels, strict=True))
        ties = depths[0] if self.depth_rule else 1
        entries = sum(w if self.doubles else a * w for a, w in zip([1, *widths], widths, strict=False))
        ends = sum(widths[count - 1] * ties for count in self.cells.values)
        of_one = bodies + entries * ties + ends + 2 * len(widths) * (len(self.cells.values) > 1)
        return self.input.options(of_one)

    def largest(self) -> Architecture:
        tallest = [
            LargestCell(
                width=int(self._states(c).width.max()),
                depth=d.largest,
                skip_channels=t.largest,
                is_last=int(c + 1 in self.cells.values),
            )
            for c, (d, t) in enumerate(zip(self.depth, self.skip_channels, strict=True))
        ]
        return self.largest_network(input=self.input.largest, num_classes=self.num_classes, cells=tuple(tallest))

    def chain(self, model: LatencyModel | None = None) -> Chain:
        return self.input.chain(partial(self._chain, model=model))

    def _chain(self, image: Image, model: LatencyModel | None) -> Chain:
        sizes = resolutions(image, self.cells.largest)
        nothing = np.zeros(1, np.int64)
        before, states_before = sizes[0], States(nothing + image.channels, nothing)
        stages: list[Stage] = []
        nodes = [1]
        for c, after in enumerate(sizes):
            states = self._states(c)
            entry = self.network.entry(c, before, after)
            first = [self._entry_stage(entry, states_before, states, model, tied=c > 0)]
            others = [self._body_stage(self.network.body(after), states, c, model)]
            ended, node = len(states.width), len(states_before.width)  # the nodes of networks without this cell
            if c in self.cells.values:
                head = _head_stage(Head(before, self.num_classes), states_before, model)
                first.append(replace(head, target=head.target + ended))
            if c > self.cells.values[0]:
                first.append(_idle_stage(node, ended, integers=0))
            if c >= self.cells.values[0]:
                others.append(_idle_stage(ended, ended, integers=CELL))
            stages += [together(first), together(others)]
            nodes += [ended + len(others) - 1] * 2
            before, states_before = after, states
        last = [_head_stage(Head(sizes[-1], self.num_classes), states_before, model)]
        if len(self.cells.values) > 1:
            last.append(_idle_stage(len(states_before.width), 0, integers=0))
        stages.append(together(last))
        shape = [column for column in range(3 * self.cells.largest) if column % 3 < 2]
        parts = lacking_last(0, CELL) if len(self.cells.values) > 1 else None
        return Chain(tuple(stages), (*nodes, 1), tuple(shape), parts=parts)

    def architecture(self, integers: Sequence[int]) -> Architecture:
        image, integers = self.input.read(integers)
        triples = zip(integers[0::3], integers[1::3], integers[2::3], strict=True)
        cells = tuple(_cell(*triple) for triple in triples if any(triple))
        return self.network(input=image, num_classes=self.num_classes, cells=cells)

    @property
    def doubles(self) -> bool:
        """Whether each cell is twice as wide as the one before it."""
        return self.width_rule == "doubling"

    @property
    def form_version(self) -> int:
        early = isinstance(self.cells.form, int) and self.width_rule != NEVER_FALL
        return self.input.form_version if early else 2

    def part_values(self, name: str) -> PartValues | None:
        column = {"widths": 0, "skip_channels": 2}.get(name)
        cells = tuple((3 * cell, 3 * cell + 1, 3 * cell + 2) for cell in range(self.cells.largest))
        return self.input.shifted(PartValues(cells, densities if column is None else partial(column_of, column)))

    def densities(self, stage: Stage) -> tuple[Ints, Ints] | None:
        return cell_densities(stage)

    def inputs(self) -> tuple[tuple[int, ...], ...]:
        return self.input.shapes

    def shared(self) -> tuple[object, ...]:
        return (self.input.shapes, self.num_classes)

    def varies_resolution(self) -> bool:
        return self.input.vary

    def layers(self, chain: Chain) -> tuple[Ints, ...]:
        return cell_layers(chain)

    def varies_width(self) -> bool:
        return len(self.cells.values) > 1 or any(len(axis.values) > 1 for axis in self.width)

    @cached_property
    def _widths(self) -> list[tuple[int, ...]]:
        """The widths of each cell; where they never fall, without those that no network has."""
        widths = [axis.values for axis in self.width]
        if self.width_rule != NEVER_FALL:
            return widths
        for cell in range(1, len(widths)):
            widths[cell] = tuple(width for width in widths[cell] if width >= widths[cell - 1][0])
        for cell in reversed(range(len(widths) - 1)):
            if cell + 1 not in self.cells.values:  # else a network may end with it
                widths[cell] = tuple(width for width in widths[cell] if width <= widths[cell + 1][-1])
        return widths

    def _states(self, cell: int) -> States:
        base = np.array(self._widths[cell], np.int64)
        width = base * 2**cell if self.doubles else base
        if not self.depth_rule:
            return States(width, np.zeros_like(width))
        depths = np.array(self.depth[cell].values, np.int64)
        return States(np.repeat(width, len(depths)), np.tile(depths, len(width)))

    def _entry_stage(
        self, entry: CellEntry, before: States, states: States, model: LatencyModel | None, *, tied: bool
    ) -> Stage:
        source, target = self._transitions(before, states) if tied else _all_pairs(1, len(states.width))
        w_in, w = before.width[source], states.width[target]
        latency = timed(model, lambda: entry.work(w_in, w))
        return stage_of(source, target, entry.costs(w_in, w), latency=latency)

    def _transitions(self, before: States, states: States) -> tuple[Ints, Ints]:
        """Return the pairs of consecutive nodes that the rules allow."""
        ties = len(self.depth[0].values) if self.depth_rule else 1
        widths_before, widths = len(before.width) // ties, len(states.width) // ties
        source, target = _all_pairs(widths_before, widths)
        if self.doubles:
            source = target = np.arange(widths)
        elif self.width_rule == NEVER_FALL:
            rising = before.width[source * ties] <= states.width[target * ties]
            source, target = source[rising], target[rising]
        depth = np.tile(np.arange(ties), len(source))
        return np.repeat(source, ties) * ties + depth, np.repeat(target, ties) * ties + depth

    def _body_stage(self, body: CellBody, states: States, cell: int, model: LatencyModel | None) -> Stage:
        shapes = (
            (node, width, depth)
            for node, (width, tied_depth) in enumerate(zip(states.width.tolist(), states.depth.tolist(), strict=True))
            for depth in ((tied_depth,) if self.depth_rule else self.depth[cell].values)
        )
        node, w, d, t = distinct_cells(shapes, self.skip_channels[cell]).T.copy()
        s = links(w, d, t)
        costs = body.costs(w, d, t, s)
        latency = timed(model, lambda: body.work(w, d, t, s))
        return stage_of(node, node, costs, mass_terms(d, s), np.column_stack([w, d, t]), latency=latency)


def cell_densities(stage: Stage) -> tuple[Ints, Ints] | None:
    """Return numerators and denominators of the densities of a stage's cells, rho = m / (w d): docs/theory.md (4), (5).

    None for a stage without cells. A stage of cells has their width, depth and skip channels as integers, zeros for a
    cell that a network lacks: it has no links.
    """
    if stage.integers.shape[1] != CELL:
        return None
    width, depth = stage.integers[:, 0], stage.integers[:, 1]
    return stage.mass_numerator, stage.mass_denominator * np.maximum(width * depth, 1)


def cell_layers(chain: Chain) -> tuple[Ints, ...]:
    """Return the layers that each option adds: the depth of a cell, docs/theory.md (69)."""
    return tuple(
        stage.integers[:, 1] if stage.integers.shape[1] == CELL else np.zeros(len(stage), np.int64)
        for stage in chain.stages
    )


@lru_cache(maxsize=CELLS_KEPT)
def _cell(width: int, depth: int, skip_channels: int) -> Cell:
    """Return a cell; the networks of one answer have most of theirs in common."""
    return Cell(width=width, depth=depth, skip_channels=skip_channels)


def _idle_stage(source: int, target: int, *, integers: int) -> Stage:
    """Return the only option of networks that have ended: it costs nothing, and its integers are zeros."""
    zero = np.zeros(1, np.int64)
    nothing = Costs(zero, zero, zero, zero)
    return stage_of(zero + source, zero + target, nothing, integers=np.zeros((1, integers), np.int64))


def _all_pairs(before: int, after: int) -> tuple[Ints, Ints]:
    return np.repeat(np.arange(before), after), np.tile(np.arange(after), before)


def _head_stage(head: Head, states: States, model: LatencyModel | None) -> Stage:
    params = head.params(states.width)
    return make_stage(
        source=np.arange(len(states.width)),
        target=np.zeros(len(states.width), np.int64),
        params=params,
        macs=head.macs(states.width),
        weights=params,
        peak=head.peak(states.width),
        latency=timed(model, lambda: head.work(states.width)),
    )
