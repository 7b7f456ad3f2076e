"""Search spaces of `densenet_mlp`: ranges for every cell, as stages of a chain: docs/theory.md (96)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np

from nnmass_core.architecture import CLASSES, Architecture
from nnmass_core.codec import JsonObject, field_schema, object_schema
from nnmass_core.engine.chain import Chain, Ints, Stage
from nnmass_core.errors import Problem
from nnmass_core.families.concatenation import MOST_CELLS, SKIP_CHANNELS, WIDTH, Cell
from nnmass_core.families.concatenation_space import (
    CELL,
    cell_densities,
    cell_layers,
    column_of,
    densities,
    distinct_cells,
)
from nnmass_core.families.costs import stage_of, timed
from nnmass_core.families.densenet_mlp import (
    ACTIVATIONS,
    DEPTH,
    FEATURES,
    FEWEST_LAST,
    OUTPUTS,
    TOO_FEW,
    DenseNetMlp,
    Layers,
    check_outputs,
)
from nnmass_core.hardware.latency import LatencyModel
from nnmass_core.mass import links, mass_terms
from nnmass_core.spaces.axis import Axis, axis_schema, decode_axes, encode_axes
from nnmass_core.spaces.base import Fields, Space, decode_choice, decode_integer
from nnmass_core.spaces.structure import PartValues

SIZES = {"width": WIDTH, "depth": DEPTH, "skip_channels": SKIP_CHANNELS}


@dataclass(frozen=True, kw_only=True)
class LargestDenseNetMlp(DenseNetMlp):
    """A network that costs at least as much as each of a space: it stands for them, and is none of them."""

    def cross_check(self) -> Iterator[Problem]:
        yield from ()  # equal neighbors may stand for cells of different networks


State = tuple[int, bool]
"""What matters of a cell to the next one: its width, and whether it has skip channels."""


def are_two(before: State, after: State) -> bool:
    """Return whether neighbors are two cells: two of one width, both without skip channels, are one cell."""
    return before[0] != after[0] or before[1] or after[1]


@dataclass(frozen=True)
class DenseNetMlpSpace(Space):
    """Ranges for every cell of a `densenet_mlp`."""

    family: ClassVar[str] = "densenet_mlp"
    densest_evidence: ClassVar[float | None] = 0.2  # width 8, depth 16 and t_c 12 make 0.195

    in_features: int
    num_classes: int
    width: tuple[Axis, ...]
    depth: tuple[Axis, ...]
    skip_channels: tuple[Axis, ...]
    activation: str
    batchnorm: int = 0
    outputs: str = OUTPUTS[0]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        fields = Fields(data, cls)
        cells = fields.read("cells", lambda value: decode_integer(value, 1, MOST_CELLS), default=1)
        found = {
            "in_features": fields.read("in_features", lambda value: decode_integer(value, *FEATURES)),
            "num_classes": fields.read("num_classes", lambda value: decode_integer(value, *CLASSES)),
            "activation": fields.read("activation", lambda value: decode_choice(value, ACTIVATIONS)),
            "batchnorm": fields.read("batchnorm", lambda value: decode_integer(value, 0, 1), default=0),
            "outputs": fields.read("outputs", lambda value: decode_choice(value, OUTPUTS), default=OUTPUTS[0]),
        }
        if cells is None:
            fields.stop_if_wrong()
        for name, bounds in (SIZES | ({"depth": (FEWEST_LAST, DEPTH[1])} if cells == 1 else {})).items():
            found[name] = fields.read(name, partial(decode_axes, count=cells, bounds=bounds))
        fields.stop_if_wrong()
        return cls(**found)

    def cross_check(self) -> Iterator[Problem]:
        if self.depth[-1].values[0] < FEWEST_LAST:
            everywhere = all(axis == self.depth[0] for axis in self.depth)
            yield TOO_FEW.under("depth" if everywhere else f"depth.{len(self.depth) - 1}")
        yield from check_outputs(self.outputs, self.in_features, self.num_classes)
        if not all(self._states()):
            message = "makes every network one of fewer cells: neighbors of one width, without skip channels, are one"
            yield Problem("width", "same_cells", message)

    def to_json(self) -> JsonObject:
        later = {"batchnorm": (self.batchnorm, 0), "outputs": (self.outputs, OUTPUTS[0]), "cells": (len(self.width), 1)}
        return {
            "family": self.family,
            "in_features": self.in_features,
            "num_classes": self.num_classes,
            "width": encode_axes(self.width),
            "depth": encode_axes(self.depth),
            "skip_channels": encode_axes(self.skip_channels),
            "activation": self.activation,
        } | {name: value for name, (value, default) in later.items() if value != default}

    @classmethod
    def schema(cls) -> JsonObject:
        axis = partial(axis_schema, most_cells=MOST_CELLS)
        cells: JsonObject = {"type": "integer", "minimum": 1, "maximum": MOST_CELLS, "default": 1}
        properties: JsonObject = {
            "family": cls.family_schema(),
            "in_features": field_schema(DenseNetMlp, "in_features"),
            "num_classes": field_schema(DenseNetMlp, "num_classes"),
            "width": axis(
                *WIDTH, "Neurons of every layer of a cell, except the very last.", example={"min": 4, "max": 64}
            ),
            "depth": axis(
                *DEPTH,
                "Linear layers of a cell, at least 2 in the last one.",
                example={"min": 4, "max": 32, "step": 2},
            ),
            "skip_channels": axis(
                *SKIP_CHANNELS,
                "t_c, the maximum number of neurons that a layer takes through skip connections.",
                example=[0, 8, 16],
            ),
            "activation": field_schema(DenseNetMlp, "activation"),
            "batchnorm": field_schema(DenseNetMlp, "batchnorm"),
            "outputs": field_schema(DenseNetMlp, "outputs"),
            "cells": cells | {"description": "Number of cells.", "examples": [3]},
        }
        return object_schema(cls.__name__, properties, optional=("batchnorm", "outputs", "cells"))

    def option_bound(self) -> int:
        widths = [len(axis.values) for axis in self.width]
        counts = zip(widths, self.depth, self.skip_channels, strict=True)
        bodies = sum(count * len(d.values) * len(t.values) for count, d, t in counts)
        return bodies + sum(4 * before * after for before, after in pairwise(widths))

    def largest(self) -> Architecture:
        axes = (self.width, self.depth, self.skip_channels)
        integers = [axis.largest for of_cell in zip(*axes, strict=True) for axis in of_cell]
        return self._network(LargestDenseNetMlp, integers)

    def chain(self, model: LatencyModel | None = None) -> Chain:
        """Return a stage of the first cell, and two of each later one: its first layer, and the others.

        A node is the state after a cell, so that neighbors that are one cell have no option between them.
        """
        stages: list[Stage] = []
        nodes, states = [1], self._states()
        for cell, after in enumerate(states):
            is_last = cell + 1 == len(states)
            layers = Layers(self.num_classes if is_last else None, self.batchnorm)
            if cell:
                stages.append(_entry_stage(layers, states[cell - 1], after, model))
                nodes.append(len(after))
            stages.append(self._cell_stage(layers, cell, after, model))
            nodes.append(1 if is_last else len(after))
        shape = [column for column in range(CELL * len(states)) if column % CELL < 2]
        return Chain(tuple(stages), tuple(nodes), tuple(shape))

    def _cell_stage(self, layers: Layers, cell: int, states: list[State], model: LatencyModel | None) -> Stage:
        """Return all layers of the first cell, or those of a later one after its first."""
        node_of = {state: node for node, state in enumerate(states)}
        widths = sorted({width for width, _ in states})
        shapes = ((0, w, d) for w in widths for d in self.depth[cell].values)
        _, w, d, t = distinct_cells(shapes, self.skip_channels[cell]).T.copy()
        pairs = zip(w.tolist(), (t > 0).tolist(), strict=True)
        node = np.array([node_of.get(state, -1) for state in pairs], np.int64)
        node, w, d, t = (each[node >= 0] for each in (node, w, d, t))
        s = links(w, d, t)
        if cell:
            costs = layers.others(w, d, t, s)
            latency = timed(model, lambda: layers.others_work(w, d, t, s))
        else:
            features = self.in_features + 0 * w
            costs = layers.all(features, w, d, t, s)
            latency = timed(model, lambda: layers.work(features, w, d, t, s))
        source = node if cell else 0 * node
        target = 0 * node if layers.outputs is not None else node
        integers = np.column_stack([w, d, t])
        return stage_of(source, target, costs, mass_terms(d, s), integers, latency=latency)

    def architecture(self, integers: Sequence[int]) -> Architecture:
        return self._network(DenseNetMlp, integers)

    def _network(self, kind: type[DenseNetMlp], integers: Sequence[int]) -> DenseNetMlp:
        (width, depth, skips), *later = zip(integers[0::CELL], integers[1::CELL], integers[2::CELL], strict=True)
        return kind(
            in_features=self.in_features,
            num_classes=self.num_classes,
            width=width,
            depth=depth,
            skip_channels=skips,
            activation=self.activation,
            batchnorm=self.batchnorm,
            outputs=self.outputs,
            later_cells=tuple(Cell(width=w, depth=d, skip_channels=t) for w, d, t in later),
        )

    def _states(self) -> list[list[State]]:
        """Return the states after each cell that lie on a path; none where no network has this many cells."""
        states: list[list[State]] = []
        for widths, depths, skips in zip(self.width, self.depth, self.skip_channels, strict=True):
            without = skips.values[0] == 0 or depths.values[0] <= 2
            having = skips.largest > 0 and depths.largest > 2
            flags = [flag for flag, exists in ((False, without), (True, having)) if exists]
            states.append([(width, flag) for width in widths.values for flag in flags])
        for at in range(1, len(states)):
            states[at] = [after for after in states[at] if any(are_two(before, after) for before in states[at - 1])]
        for at in range(len(states) - 1, 0, -1):
            states[at - 1] = [before for before in states[at - 1] if any(are_two(before, one) for one in states[at])]
        return states

    @property
    def form_version(self) -> int:
        return 2 if {"batchnorm", "outputs", "cells"} & self.to_json().keys() else 1

    def part_values(self, name: str) -> PartValues | None:
        number = len(self.width)
        if number == 1:
            return None
        column = {"widths": 0, "skip_channels": 2}.get(name)
        cells = tuple((CELL * cell, CELL * cell + 1, CELL * cell + 2) for cell in range(number))
        return PartValues(cells, densities if column is None else partial(column_of, column))

    def densities(self, stage: Stage) -> tuple[Ints, Ints] | None:
        return cell_densities(stage)

    def layers(self, chain: Chain) -> tuple[Ints, ...]:
        return cell_layers(chain)

    def shared(self) -> tuple[object, ...]:
        fixed = (self.in_features, self.num_classes, self.activation, self.batchnorm, self.outputs)
        return (*fixed, len(self.width))

    def varies_width(self) -> bool:
        return any(len(axis.values) > 1 for axis in self.width)


def _entry_stage(layers: Layers, before: list[State], after: list[State], model: LatencyModel | None) -> Stage:
    """Return the first layer of a later cell, between the states of two cells."""
    (w_in, skips_in), (w, skips) = (np.array(states, np.int64).T for states in (before, after))
    two = (w_in[:, None] != w) | (skips_in[:, None] > 0) | (skips > 0)
    source, target = np.nonzero(two)
    w_in, w = w_in[source], w[target]
    latency = timed(model, lambda: layers.entry_work(w_in, w))
    return stage_of(source, target, layers.entry(w_in, w), latency=latency)
