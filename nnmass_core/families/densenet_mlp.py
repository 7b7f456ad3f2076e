"""`densenet_mlp`: concatenation cells of Linear layers with bias, the last of which gives the outputs.

Formulas: docs/theory.md (15), (25) for one cell without BatchNorm, (96) for all networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import ClassVar

from nnmass_core.architecture import CLASSES, Architecture, Evaluation, LayerShape, Part, Step
from nnmass_core.codec import JsonObject, choice, encode, integer, sequence
from nnmass_core.diagram import Panel
from nnmass_core.errors import Problem
from nnmass_core.families.concatenation import MOST_CELLS, SKIP_CHANNELS, WIDTH, Cell, normalized, skip_work
from nnmass_core.families.costs import Costs
from nnmass_core.families.neighborhood import cells_around
from nnmass_core.hardware.latency import Operators, Work, elementwise, linear
from nnmass_core.mass import Integers, canonical_skip_channels, larger, links, sampled_links
from nnmass_core.spaces.multipliers import Scale, check_scaled, scaled_cell

FEATURES = (1, 10_000_000)
DEPTH = (1, 512)
"""Within these bounds every network has fewer than 2**53 MACs."""

FEWEST_LAST = 2
"""The least depth of the last cell: its last layer gives the outputs, and the one before it has the cell's width."""

ACTIVATIONS = ("relu", "elu")
OUTPUTS = ("classes", "reconstruction")

TOO_FEW = Problem("", "too_small", f"must be at least {FEWEST_LAST} in the last cell, whose last layer gives outputs")


@dataclass(frozen=True)
class Layers:
    """Costs of the layers of one cell; t is canonical and s the links S.

    Attributes:
        outputs: What the last layer of the last cell gives; None for a cell that another follows.
        batchnorm: 1 where BatchNorm precedes every activation, else 0.
    """

    outputs: int | None
    batchnorm: int

    def entry(self, w_in: Integers, w: Integers) -> Costs[Integers]:
        """Return the costs of layer 0, from `w_in` numbers to w, whose output it normalizes and activates."""
        norm = self.batchnorm * w
        return Costs(w_in * w + w + 2 * norm, w_in * w, norm, w_in + w)

    def others(self, w: Integers, d: Integers, t: Integers, s: Integers) -> Costs[Integers]:
        """Return the costs of layers 1 .. d-1."""
        activated = self._activated(w, d, s)
        norm, indices = self.batchnorm * activated, sampled_links(w, d, t)
        if self.outputs is None:
            macs, biases = activated * w, (d - 1) * w
        else:
            macs = (activated - t) * w + (w + t) * self.outputs
            biases = (d - 2) * w + self.outputs
        return Costs(macs + biases + 2 * norm, macs, norm, self._peak(w, d, t), indices)

    def all(self, w_in: Integers, w: Integers, d: Integers, t: Integers, s: Integers) -> Costs[Integers]:
        """Return the costs of all layers of the cell."""
        first, rest = self.entry(w_in, w), self.others(w, d, t, s)
        norm_channels, peak = first.norm_channels + rest.norm_channels, larger(first.peak, rest.peak)
        return Costs(first.params + rest.params, first.macs + rest.macs, norm_channels, peak, rest.indices)

    def entry_work(self, w_in: Integers, w: Integers) -> Work:
        """Return the operators of layer 0."""
        norm: Work = (elementwise("normalise", w, 0 * w + 1),) if self.batchnorm else ()
        return (linear(w_in + 0 * w, w), *norm, elementwise("activate", w, 0 * w + 1))

    def others_work(self, w: Integers, d: Integers, t: Integers, s: Integers) -> Work:
        """Return the operators of layers 1 .. d-1."""
        activated, zero = self._activated(w, d, s), 0 * w
        inner, read = (d - 1, activated) if self.outputs is None else (d - 2, activated - t)
        last: Work = () if self.outputs is None else (linear(w + t, zero + self.outputs),)
        between: Work = (elementwise("activate", activated, inner),)
        if self.batchnorm:
            between = normalized(activated, inner)
        layers = Operators("linear", inner, read * w, read, inner * w, read * w, zero)
        return (layers, *last, *between, *skip_work(w, d, t, s, 1))

    def work(self, w_in: Integers, w: Integers, d: Integers, t: Integers, s: Integers) -> Work:
        """Return the operators of all layers of the cell."""
        return (*self.entry_work(w_in, w), *self.others_work(w, d, t, s))

    def _activated(self, w: Integers, d: Integers, s: Integers) -> Integers:
        """Return the numbers that layers 1 .. d-1 activate.

        Layers 2 and later activate their inputs, (d-2) w + S numbers; where another cell follows and d >= 2, the last
        layer activates its output too.
        """
        return (d - 1) * w + s if self.outputs is None else (d - 2) * w + s

    def _peak(self, w: Integers, d: Integers, t: Integers) -> Integers:
        """Return activation elements alive at the worst step of layers 1 .. d-1.

        With skips, all outputs 0 .. d-2 live until the last concatenation: d w + t; without, a layer's input and
        output: 2 w. The last layer of all has its w + t inputs and the outputs.
        """
        skipping = (d >= 3) * (t > 0)
        inner: Integers = skipping * (d * w + t) + (1 - skipping) * (2 * w)
        if self.outputs is None:
            return (d >= 2) * inner
        return larger(w + t + self.outputs, (d >= 3) * inner)


@dataclass(frozen=True, kw_only=True)
class DenseNetMlp(Architecture):
    """A network of `densenet_mlp`. `skip_channels` is lowered to the most that a layer can use.

    NN-Mass, density and average degree count the last layer as one of the d layers of width w, as the publication does.
    """

    family: ClassVar[str] = "densenet_mlp"
    in_features: int = integer(*FEATURES, "Numbers in one input.", example=784)
    num_classes: int = integer(
        *CLASSES, "Number of classes; of outputs where these are a reconstruction of the input.", example=10
    )
    width: int = integer(*WIDTH, "Neurons of every layer of the first cell; the very last layer has others.", example=8)
    depth: int = integer(*DEPTH, "Linear layers of the first cell, at least 2 where it is the only one.", example=16)
    skip_channels: int = integer(
        *SKIP_CHANNELS, "t_c, the maximum number of neurons that a layer takes through skip connections.", example=4
    )
    activation: str = choice(ACTIVATIONS, "Activation after a layer.")
    batchnorm: int = integer(0, 1, "1 where BatchNorm precedes every activation.", 0, added=True)
    outputs: str = choice(
        OUTPUTS,
        "What the outputs are: scores of classes, or, of an autoencoder, a reconstruction of the input.",
        "classes",
        added=True,
    )
    later_cells: tuple[Cell, ...] = sequence(
        Cell,
        0,
        MOST_CELLS - 1,
        "Cells after the first, from input to output; the last has 2 layers or more.",
        (),
        added=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        canonical = canonical_skip_channels(self.width, self.depth, self.skip_channels)
        object.__setattr__(self, "skip_channels", canonical)

    def cross_check(self) -> Iterator[Problem]:
        depth = f"later_cells.{len(self.later_cells) - 1}.depth" if self.later_cells else "depth"
        last = self.later_cells[-1].depth if self.later_cells else self.depth
        if last < FEWEST_LAST:
            yield TOO_FEW.under(depth)
        yield from check_outputs(self.outputs, self.in_features, self.num_classes)
        yield from self._check_neighbors()

    def _check_neighbors(self) -> Iterator[Problem]:
        for index, (before, cell) in enumerate(pairwise(self.cells)):
            if before.width == cell.width and not (before.skip_channels or cell.skip_channels):
                message = "has the width of the cell before it, and neither has skip channels: write them as one cell"
                yield Problem(f"later_cells.{index}", "same_cell", message)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells from input to output."""
        return (Cell(width=self.width, depth=self.depth, skip_channels=self.skip_channels), *self.later_cells)

    @property
    def input_shape(self) -> tuple[int]:
        return (self.in_features,)

    @property
    def classifies(self) -> bool:
        return self.outputs == "classes"

    def placed(self) -> Iterator[tuple[Cell, int, Layers]]:
        """Yield each cell with the numbers that it reads and what gives its costs."""
        w_in, cells = self.in_features, self.cells
        for index, cell in enumerate(cells):
            outputs = self.num_classes if index + 1 == len(cells) else None
            yield cell, w_in, Layers(outputs, self.batchnorm)
            w_in = cell.width

    def evaluate(self) -> Evaluation:
        parts, steps, norm_channels, indices = list[Part](), list[Step](), 0, 0
        for index, (cell, w_in, layers) in enumerate(self.placed(), start=1):
            w, d, t = cell.width, cell.depth, cell.skip_channels
            costs = layers.all(w_in, w, d, t, links(w, d, t))
            parts.append(cell.part(costs.params, costs.macs))
            norm_channels += costs.norm_channels
            indices += costs.indices
            if not self.later_cells:
                steps.append(Step("all layers", costs.peak))
                continue
            steps.append(Step(f"cell {index}, first layer", layers.entry(w_in, w).peak))
            if d > 1:
                steps.append(Step(f"cell {index}, other layers", layers.others(w, d, t, links(w, d, t)).peak))
        params = sum(part.params for part in parts)
        return Evaluation(
            mass=sum((part.mass for part in parts), start=Fraction(0)),
            params=params,
            macs=sum(part.macs for part in parts),
            weights=params + 2 * norm_channels,
            steps=tuple(steps),
            depth=sum(cell.depth for cell in self.cells),
            part_name="cells",
            parts=tuple(parts),
            indices=indices,
        )

    def work(self) -> tuple[Work, ...]:
        work: list[Work] = []
        for cell, w_in, layers in self.placed():
            w, d, t = cell.width, cell.depth, cell.skip_channels
            s = links(w, d, t)
            if not work:  # one stage of the chain
                work.append(layers.work(w_in, w, d, t, s))
            else:
                work += [layers.entry_work(w_in, w), layers.others_work(w, d, t, s)]
        return tuple(work)

    def smallest_normalized_map(self) -> int | None:
        return 1 if self.batchnorm else None

    def layer_shapes(self) -> tuple[LayerShape, ...]:
        """Return the outputs of the layers, without the last one that `depth` counts as one of them."""
        layers = tuple(LayerShape(cell.width) for cell in self.cells for _ in range(cell.depth))
        return layers[:-1]

    def space_around(self) -> JsonObject:
        form = {name: value for name, value in encode(self).items() if name != "later_cells"}
        if not self.later_cells:
            return {"family": self.family, **form, **cells_around([self.depth], [self.skip_channels])}
        ranges = [cells_around([cell.depth], [cell.skip_channels]) for cell in self.cells]
        axes: JsonObject = {name: [each[name] for each in ranges] for name in ranges[0]}
        widths = [[cell.width] for cell in self.cells]
        return {"family": self.family, **form, "cells": len(self.cells), "width": widths, **axes}

    def scaled(self, scale: Scale) -> DenseNetMlp:
        """Return the network of other widths and depths, its cells of about their density: docs/theory.md (91).

        Raises:
            DefinitionError: There is no such network; the problem names `width` or `depth`.
        """
        cells = [scaled_cell(cell.width, cell.depth, cell.skip_channels, scale) for cell in self.cells]
        check_scaled(max(w for w, _, _ in cells), max(d for _, d, _ in cells), WIDTH[1], DEPTH[1])
        (w, d, t), *others = cells
        later = tuple(Cell(width=width, depth=depth, skip_channels=skips) for width, depth, skips in others)
        return replace(self, width=w, depth=d, skip_channels=t, later_cells=later)

    def panels(self) -> tuple[Panel, ...]:
        gives = f"{self.in_features} in, {self.num_classes} out"
        if not self.later_cells:
            return (self.cells[0].panel(gives, self.activation),)
        named = enumerate(self.cells, start=1)
        return tuple(cell.panel(f"cell {i}: {gives}" if i == 1 else f"cell {i}", self.activation) for i, cell in named)


def check_outputs(outputs: str, in_features: int, num_classes: int) -> Iterator[Problem]:
    """Yield what is wrong with the number of outputs: a reconstruction has those of the input.

    Args:
        outputs: One of `OUTPUTS`.
        in_features: The numbers of one input.
        num_classes: The outputs.
    """
    if outputs == "reconstruction" and num_classes != in_features:
        message = f"must be in_features, {in_features:,}, where outputs are a reconstruction of the input"
        yield Problem("num_classes", "conflicts_with_outputs", message)
