"""Concatenation (DenseNet-type) cells, and the shared code of the image networks built from them.

Formulas: docs/theory.md (1) to (6), (12), (21), (23), (33), (97).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import prod
from typing import Any, ClassVar, NamedTuple

from nnmass_core import mass
from nnmass_core.architecture import Evaluation, Image, ImageArchitecture, LayerShape, Part, Step
from nnmass_core.codec import LARGEST_INTEGER, JsonObject, Value, encode, integer, sequence
from nnmass_core.diagram import Arc, Panel, shown
from nnmass_core.errors import Problem
from nnmass_core.families.costs import Costs
from nnmass_core.families.neighborhood import cells_around
from nnmass_core.hardware.latency import Operators, Work, elementwise, linear, pool
from nnmass_core.mass import Integers, canonical_skip_channels, links
from nnmass_core.spaces.multipliers import Scale, check_scaled, scaled_cell

MOST_CELLS = 12
WIDTH = (1, 8192)
DEPTH = (1, 512)
SKIP_CHANNELS = (0, WIDTH[1] * DEPTH[1])

CELLS_KEPT = 1 << 13
"""The number of cells whose figures are kept, some 2 kB each."""


@dataclass(frozen=True, kw_only=True)
class Cell(Value):
    """A run of layers of equal width at one resolution. `skip_channels` is lowered to the most that a layer can use."""

    width: int = integer(*WIDTH, "Output channels of every layer of the cell.", example=32)
    depth: int = integer(*DEPTH, "Layers in the cell.", example=13)
    skip_channels: int = integer(
        *SKIP_CHANNELS, "t_c, the maximum number of channels that a layer takes through skip connections.", example=40
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        canonical = canonical_skip_channels(self.width, self.depth, self.skip_channels)
        object.__setattr__(self, "skip_channels", canonical)

    def part(self, params: int, macs: int) -> Part:
        """Return the cell's figures, given the costs of its layers."""
        w, d, t = self.width, self.depth, self.skip_channels
        return Part(
            definition=self,
            width=w,
            mass=mass.mass(w, d, t),
            params=params,
            macs=macs,
            density=mass.density(w, d, t),
            average_degree=mass.average_degree(w, d, t),
        )

    def panel(self, name: str, size: str) -> Panel:
        """Return what a diagram shows of the cell."""
        w, d, t = self.width, self.depth, self.skip_channels
        density = float(mass.density(w, d, t))
        return Panel(
            name=name,
            size=size,
            channels=(w,) * len(shown(d)),
            arcs=concatenation_arcs(w, d, t),
            lines=(f"width {w}, depth {d}", f"{t} skip channels, density {density:.2f}"),
            mass=float(mass.mass(w, d, t)),
        )


def concatenation_arcs(width: int, depth: int, skip_channels: int) -> tuple[Arc, ...]:
    """Return the expected skip wiring between the layers shown: each layer samples evenly from all eligible layers."""
    layers, arcs = shown(depth), list[Arc]()
    for end, layer in enumerate(layers):
        possible = width * max(layer - 1, 0)
        share = min(possible, skip_channels) / possible if possible else 0.0
        arcs += [Arc(start, end, share) for start, source in enumerate(layers) if source < layer - 1 and share > 0]
    return tuple(arcs)


def resolutions(image: Image, cells: int) -> list[tuple[int, int]]:
    """Return height and width of each cell's feature maps: each cell after the first halves both, rounding up."""
    sizes = [(image.height, image.width)]
    for _ in range(cells - 1):
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    return sizes


def kernel_of(size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the kernels on maps: 3, but 1 along a side of 1: docs/theory.md (97)."""
    height, width = (3 if side > 1 else 1 for side in size)
    return height, width


def pool_of(size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the head's pooling: 2, but 1 along a side of 1."""
    height, width = (min(side, 2) for side in size)
    return height, width


def check_final_map(image: Image, cells: int) -> Iterator[Problem]:
    """Yield a problem if the input is too small for its number of cells: the head pools 2x2, a signal's only 2."""
    last = resolutions(image, cells)[-1]
    sides = [side for side, whole in zip(last, (image.height, image.width), strict=True) if whole > 1]
    if min(sides, default=1) < 2:
        yield Problem(
            "input", "too_small", f"is too small: the feature map of the last of {cells} cells has a side below 2"
        )


def skip_work(w: Integers, d: Integers, t: Integers, s: Integers, positions: int) -> Work:
    """Return the operators of a cell's skip connections; `t` is canonical, s: the links S.

    Each of layers 0 .. d-3 sends its sampled channels, and each of layers 2 .. d-1 joins what it receives. Layer j
    samples from j - 1 layers, so it joins min(j - 1, t) pieces; a wiring that skips a layer has fewer pieces.
    """
    skipping = (d >= 3) * (t > 0)
    calls, pieces, zero = skipping * (d - 2), links(0 * w + 1, d, t), 0 * s
    joined = skipping * ((d - 2) * w + s) * positions
    return (
        Operators("send", calls, zero, s * positions, s * positions, zero, pieces),
        Operators("concatenate", calls, zero, joined, joined, zero, pieces),
    )


def normalized(c: Integers, calls: Integers) -> Work:
    """Return BatchNorm and activation of c elements in total."""
    return (elementwise("normalise", c, calls), elementwise("activate", c, calls))


@dataclass(frozen=True)
class CellEntry(ABC):
    """A cell's first layer, from the previous feature maps to the cell's own; sizes are (height, width)."""

    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def taps(self) -> int:
        """Positions of the kernel: 9, of a signal 3."""
        return prod(kernel_of(self.after))

    @abstractmethod
    def costs(self, w_in: Integers, w: Integers) -> Costs[Integers]:
        """Return the layer's costs, from `w_in` channels to `w`."""

    @abstractmethod
    def work(self, w_in: Integers, w: Integers) -> Work:
        """Return the operators that the layer runs."""


@dataclass(frozen=True)
class CellBody(ABC):
    """A cell's layers after its first, at one resolution (height, width)."""

    size: tuple[int, int]

    @property
    def taps(self) -> int:
        """Positions of the kernel: 9, of a signal 3."""
        return prod(kernel_of(self.size))

    @abstractmethod
    def costs(self, w: Integers, d: Integers, t: Integers, s: Integers) -> Costs[Integers]:
        """Return the layers' costs; `t` is canonical, s: the links S."""

    @abstractmethod
    def work(self, w: Integers, d: Integers, t: Integers, s: Integers) -> Work:
        """Return the operators that the layers run."""

    @property
    def area(self) -> int:
        """Positions of the cell's maps."""
        return self.size[0] * self.size[1]

    def peak(self, w: Integers, d: Integers, t: Integers) -> Integers:
        """Return activation elements alive at the worst step.

        With skips and d >= 3 all outputs 0 .. d-2 live until the last concatenation: d w + t channels. Without, a
        layer's input and output are alive: 2 w. A cell of one layer consists only of its entry: 0. (`t` is canonical.)
        """
        skipping = (d >= 3) * (t > 0)
        channels = (d >= 2) * (skipping * (d * w + t) + (1 - skipping) * (2 * w))
        elements: Integers = channels * self.area
        return elements


@dataclass(frozen=True)
class Head:
    """Costs of the head: 2x2 average pooling (stride 2, floor; of a signal 2), flatten, one Linear with bias."""

    size: tuple[int, int]
    num_classes: int

    @property
    def pooled(self) -> int:
        """Positions left after pooling."""
        height, width = pool_of(self.size)
        return (self.size[0] // height) * (self.size[1] // width)

    def params(self, w: Integers) -> Integers:
        """Return trainable parameters."""
        return self.macs(w) + self.num_classes

    def work(self, w: Integers) -> Work:
        """Return the operators: pooling and the Linear layer."""
        pooling = pool(w * (self.size[0] * self.size[1]), w * self.pooled)
        return (pooling, linear(w * self.pooled, 0 * w + self.num_classes))

    def macs(self, w: Integers) -> Integers:
        """Return multiply-accumulates of the Linear layer."""
        return self.pooled * self.num_classes * w

    def peak(self, w: Integers) -> Integers:
        """Return the most activation elements alive during pooling or the Linear layer."""
        pooling = w * (self.size[0] * self.size[1] + self.pooled)
        return mass.larger(pooling, w * self.pooled + self.num_classes)


class CellFigures(NamedTuple):
    """What one cell adds to a network's evaluation."""

    part: Part
    norm_channels: int
    indices: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class ConcatenationCnn(ImageArchitecture):
    """An image network of concatenation cells: image, classes, and one cell at each resolution.

    A family defines the costs of its layers: the first cell's first layer, a later cell's first layer, and the others.
    """

    first_entry: ClassVar[type[CellEntry]]
    later_entry: ClassVar[type[CellEntry]]
    body: ClassVar[type[CellBody]]

    cells: tuple[Cell, ...] = sequence(Cell, 1, MOST_CELLS, "Cells from input to output; each halves the resolution.")

    @classmethod
    def entry(cls, index: int, before: tuple[int, int], after: tuple[int, int]) -> CellEntry:
        """Return the first layer of the cell at `index`."""
        return (cls.later_entry if index else cls.first_entry)(before, after)

    def cross_check(self) -> Iterator[Problem]:
        yield from check_final_map(self.input, len(self.cells))
        if self.evaluation.macs > LARGEST_INTEGER:
            yield Problem("cells", "too_large", "make a network of more than 2**53 - 1 MACs")

    def evaluate(self) -> Evaluation:
        sizes = resolutions(self.input, len(self.cells))
        w_in, before = self.input.channels, sizes[0]
        parts: list[Part] = []
        norm_channels, indices, steps = 0, 0, list[Step]()
        network: Any = type(self)  # mypy takes the class of a dataclass for one that cannot be hashed
        for index, (cell, after) in enumerate(zip(self.cells, sizes, strict=True)):
            figures = _figures_of(network, cell, index, w_in, before, after)
            parts.append(figures.part)
            norm_channels += figures.norm_channels
            indices += figures.indices
            steps += figures.steps
            w_in, before = cell.width, after
        heads = self.heads()
        params = sum(part.params for part in parts) + max(head.params(w) for head, w in heads)
        return Evaluation(
            mass=sum((part.mass for part in parts), start=Fraction(0)),
            params=params,
            macs=sum(part.macs for part in parts) + max(head.macs(w) for head, w in heads),
            weights=params + 2 * norm_channels,
            steps=(*steps, Step("head", max(head.peak(w) for head, w in heads))),
            depth=sum(cell.depth for cell in self.cells),
            part_name="cells",
            parts=tuple(parts),
            indices=indices,
        )

    def heads(self) -> list[tuple[Head, int]]:
        """Return the head, and the width of the cell that it reads."""
        last = resolutions(self.input, len(self.cells))[-1]
        return [(Head(last, self.num_classes), self.cells[-1].width)]

    def work(self) -> tuple[Work, ...]:
        sizes = resolutions(self.input, len(self.cells))
        w_in, before = self.input.channels, sizes[0]
        parts: list[Work] = []
        for index, (cell, after) in enumerate(zip(self.cells, sizes, strict=True)):
            w, d, t = cell.width, cell.depth, cell.skip_channels
            parts += [self.entry(index, before, after).work(w_in, w), self.body(after).work(w, d, t, links(w, d, t))]
            w_in, before = w, after
        return (*parts, Head(sizes[-1], self.num_classes).work(w_in))

    def smallest_normalized_map(self) -> int:
        height, width = resolutions(self.input, len(self.cells))[-1]
        return height * width

    def layer_shapes(self) -> tuple[LayerShape, ...]:
        sizes = resolutions(self.input, len(self.cells))
        by_cell = zip(self.cells, sizes, strict=True)
        return tuple(layer for cell, size in by_cell for layer in [LayerShape(cell.width, size)] * cell.depth)

    def space_around(self) -> JsonObject:
        ranges = cells_around([cell.depth for cell in self.cells], [cell.skip_channels for cell in self.cells])
        widths = [[width] for width in self.widths]
        return {"family": self.family, **encode(self), "cells": len(self.cells), "width": widths, **ranges}

    def scaled(self, scale: Scale) -> ConcatenationCnn:
        """Return the network of other widths and depths, its cells of about their density: docs/theory.md (91).

        Raises:
            DefinitionError: There is no such network; the problem names `width` or `depth`.
        """
        cells = [scaled_cell(cell.width, cell.depth, cell.skip_channels, scale) for cell in self.cells]
        check_scaled(max(w for w, _, _ in cells), max(d for _, d, _ in cells), WIDTH[1], DEPTH[1])
        return replace(self, cells=tuple(Cell(width=w, depth=d, skip_channels=t) for w, d, t in cells))

    def panels(self) -> tuple[Panel, ...]:
        sizes = resolutions(self.input, len(self.cells))
        named = enumerate(zip(self.cells, sizes, strict=True), start=1)
        return tuple(cell.panel(f"cell {i}", f"{height} x {width}") for i, (cell, (height, width)) in named)


@lru_cache(maxsize=CELLS_KEPT)
def _figures_of(
    network: type[ConcatenationCnn], cell: Cell, index: int, w_in: int, before: tuple[int, int], after: tuple[int, int]
) -> CellFigures:
    """Return the figures of a cell after w_in channels; networks of one answer have most of their cells in common."""
    w, d, t = cell.width, cell.depth, cell.skip_channels
    first = network.entry(index, before, after).costs(w_in, w)
    others = network.body(after).costs(w, d, t, links(w, d, t))
    steps = [Step(f"cell {index + 1}, first layer", first.peak)]
    steps += [Step(f"cell {index + 1}, other layers", others.peak)] if d > 1 else []
    return CellFigures(
        part=cell.part(first.params + others.params, first.macs + others.macs),
        norm_channels=first.norm_channels + others.norm_channels,
        indices=others.indices,
        steps=tuple(steps),
    )


@dataclass(frozen=True, kw_only=True)
class LargestCell(Cell):
    """A cell of a network whose costs no network of a space exceeds. is_last: 1 if networks can end with it, else 0."""

    is_last: int = integer(0, 1, "Whether networks can end with it.")


@dataclass(frozen=True, kw_only=True)
class LargestCells(ConcatenationCnn):
    """A network that costs at least as much as each of a space: it stands for them, and is none of them."""

    cells: tuple[LargestCell, ...] = sequence(
        LargestCell, 1, MOST_CELLS, "Cells from input to output; each halves the resolution."
    )

    def heads(self) -> list[tuple[Head, int]]:
        sizes = resolutions(self.input, len(self.cells))
        by_cell = zip(self.cells, sizes, strict=True)
        return [(Head(size, self.num_classes), cell.width) for cell, size in by_cell if cell.is_last]
