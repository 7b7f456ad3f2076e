"""`densenet_cnn`: chains of 3x3-convolution cells with DenseNet-type skip connections (nn-mass.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, ClassVar

import numpy as np

from nnmass_core import mass
from nnmass_core.architecture import Architecture, Evaluation, Image, Part
from nnmass_core.axis import Axis, axis_schema, decode_axes, encode_axes
from nnmass_core.chain import Chain, Ints, Stage, make_stage
from nnmass_core.codec import LARGEST_INTEGER, Value, decode, encode, integer, json_schema, nested, sequence
from nnmass_core.errors import Problem
from nnmass_core.mass import Integers, canonical_skip_channels, links, mass_terms
from nnmass_core.space import Fields, Space, decode_choice, decode_integer

MOST_CELLS = 12
WIDTH = (1, 8192)
DEPTH = (1, 512)
SKIP_CHANNELS = (0, WIDTH[1] * DEPTH[1])
CLASSES = (1, 1_000_000)


@dataclass(frozen=True, kw_only=True)
class Cell(Value):
    """A run of layers of equal width at one resolution. A `skip_channels` that no layer can fill is lowered."""

    width: int = integer(*WIDTH, "Output channels of every layer of the cell.")
    depth: int = integer(*DEPTH, "Layers in the cell.")
    skip_channels: int = integer(*SKIP_CHANNELS, "t_c, the most channels that a layer takes through skip connections.")

    def __post_init__(self) -> None:
        super().__post_init__()
        canonical = canonical_skip_channels(self.width, self.depth, self.skip_channels)
        object.__setattr__(self, "skip_channels", canonical)


def resolutions(image: Image, cells: int) -> list[tuple[int, int]]:
    """Return height and width of each cell's feature maps: each cell after the first halves both, rounding up."""
    sizes = [(image.height, image.width)]
    for _ in range(cells - 1):
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    return sizes


def check_final_map(image: Image, cells: int) -> Iterator[Problem]:
    """Yield the problem of an input too small for its number of cells: the head pools 2x2."""
    if min(resolutions(image, cells)[-1]) < 2:
        yield Problem("input", "too_small", f"leaves the last of {cells} cells a feature map with a side below 2")


@dataclass(frozen=True)
class Entry:
    """Costs of a cell's first layer: a 3x3 convolution from `w_in` channels, then BatchNorm."""

    before: tuple[int, int]
    after: tuple[int, int]

    def params(self, w_in: Integers, w: Integers) -> Integers:
        """Return trainable parameters: 9 w_in w of the convolution, 2 w of BatchNorm."""
        return 9 * w_in * w + 2 * w

    def norm_channels(self, w: Integers) -> Integers:
        """Return BatchNorm channels."""
        return w

    def macs(self, w_in: Integers, w: Integers) -> Integers:
        """Return multiply-accumulates."""
        return 9 * w_in * w * (self.after[0] * self.after[1])

    def peak(self, w_in: Integers, w: Integers) -> Integers:
        """Return activation elements alive: the incoming map and the one being written."""
        return w_in * (self.before[0] * self.before[1]) + w * (self.after[0] * self.after[1])


@dataclass(frozen=True)
class Body:
    """Costs of a cell's layers after its first: 3x3 convolutions at one resolution.

    Every channel that enters a layer is normalised once: layer 1 normalises its w outputs, layer j >= 2 its w + L_j
    inputs. So the cell's BatchNorm channels, c = (d-1) w + S, are its input channels too, and give the other costs.
    """

    size: tuple[int, int]

    def norm_channels(self, w: Integers, d: Integers, s: Integers) -> Integers:
        """Return c, the BatchNorm channels; s: the links S."""
        return (d - 1) * w + s

    def params(self, w: Integers, c: Integers) -> Integers:
        """Return trainable parameters: 9 w of the convolution and 2 of BatchNorm for each channel that enters."""
        return c * (9 * w + 2)

    def macs(self, w: Integers, c: Integers) -> Integers:
        """Return multiply-accumulates."""
        return c * (9 * w) * (self.size[0] * self.size[1])

    def peak(self, w: Integers, d: Integers, t: Integers) -> Integers:
        """Return activation elements alive at the worst step.

        With skips and d >= 3 all outputs 0 .. d-2 live until the last concatenation: d w + t channels. Without, a
        layer's input and output: 2 w. A cell of one layer has its entry alone: 0. (`t` is canonical.)
        """
        skipping = (d >= 3) * (t > 0)
        channels = (d >= 2) * (skipping * (d * w + t) + (1 - skipping) * (2 * w))
        elements: Integers = channels * (self.size[0] * self.size[1])
        return elements


@dataclass(frozen=True)
class Head:
    """Costs of the head: 2x2 average pooling (stride 2, floor), flatten, one Linear with bias."""

    size: tuple[int, int]
    num_classes: int

    @property
    def pooled(self) -> int:
        """Positions left after pooling."""
        return (self.size[0] // 2) * (self.size[1] // 2)

    def params(self, w: Integers) -> Integers:
        """Return trainable parameters."""
        return self.macs(w) + self.num_classes

    def macs(self, w: Integers) -> Integers:
        """Return multiply-accumulates of the Linear layer."""
        return self.pooled * self.num_classes * w

    def peak(self, w: Integers) -> Integers:
        """Return activation elements alive while pooling, or while the Linear layer runs if that is more."""
        pooling = w * (self.size[0] * self.size[1] + self.pooled)
        return mass.larger(pooling, w * self.pooled + self.num_classes)


@dataclass(frozen=True, kw_only=True)
class DenseNetCnn(Architecture):
    """A network of `densenet_cnn`: image, classes, and one cell at each resolution."""

    family: ClassVar[str] = "densenet_cnn"
    input: Image = nested(Image, "Shape of one input image.")
    num_classes: int = integer(*CLASSES, "Classes to tell apart.")
    cells: tuple[Cell, ...] = sequence(Cell, 1, MOST_CELLS, "Cells from input to output; each halves the resolution.")

    def cross_check(self) -> Iterator[Problem]:
        yield from check_final_map(self.input, len(self.cells))
        if self.evaluation.macs > LARGEST_INTEGER:
            yield Problem("cells", "too_large", "make a network of more than 2**53 - 1 MACs")

    def evaluate(self) -> Evaluation:
        sizes = resolutions(self.input, len(self.cells))
        w_in, before = self.input.channels, sizes[0]
        parts: list[Part] = []
        norm_channels, peak = 0, 0
        for cell, after in zip(self.cells, sizes, strict=True):
            entry, body = Entry(before, after), Body(after)
            w, d, t = cell.width, cell.depth, cell.skip_channels
            channels = body.norm_channels(w, d, links(w, d, t))
            parts.append(
                Part(
                    definition=cell,
                    mass=mass.mass(w, d, t),
                    params=entry.params(w_in, w) + body.params(w, channels),
                    macs=entry.macs(w_in, w) + body.macs(w, channels),
                    density=mass.density(w, d, t),
                    average_degree=mass.average_degree(w, d, t),
                )
            )
            norm_channels += entry.norm_channels(w) + channels
            peak = max(peak, entry.peak(w_in, w), body.peak(w, d, t))
            w_in, before = w, after
        head = Head(sizes[-1], self.num_classes)
        params = sum(part.params for part in parts) + head.params(w_in)
        return Evaluation(
            mass=sum((part.mass for part in parts), start=Fraction(0)),
            params=params,
            macs=sum(part.macs for part in parts) + head.macs(w_in),
            weights=params + 2 * norm_channels,
            peak_elements=max(peak, head.peak(w_in)),
            depth=sum(cell.depth for cell in self.cells),
            part_name="cells",
            parts=tuple(parts),
        )


@dataclass(frozen=True)
class States:
    """The nodes after a cell: its width, and its depth where that is tied to the other cells'. Depths vary fastest."""

    width: Ints
    depth: Ints


@dataclass(frozen=True)
class DenseNetCnnSpace(Space):
    """Ranges for every cell of a `densenet_cnn`, with optional rules that tie the cells together."""

    family: ClassVar[str] = "densenet_cnn"
    densest_evidence: ClassVar[float | None] = 0.75

    input: Image
    num_classes: int
    cells: int
    width: tuple[Axis, ...]
    depth: tuple[Axis, ...]
    skip_channels: tuple[Axis, ...]
    width_rule: str | None = None
    depth_rule: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DenseNetCnnSpace:
        fields = Fields(data, cls)
        image = fields.read("input", lambda value: decode(Image, value))
        classes = fields.read("num_classes", lambda value: decode_integer(value, *CLASSES))
        cells = fields.read("cells", lambda value: decode_integer(value, 1, MOST_CELLS))
        width_rule = fields.read("width_rule", lambda value: decode_choice(value, ("doubling",)), default=None)
        depth_rule = fields.read("depth_rule", lambda value: decode_choice(value, ("equal",)), default=None)
        fields.stop_if_wrong()
        bounds = {"width": WIDTH, "depth": DEPTH, "skip_channels": SKIP_CHANNELS}
        axes = {name: fields.read(name, partial(decode_axes, count=cells, bounds=b)) for name, b in bounds.items()}
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
        for name, rule, axes in (("width", self.width_rule, self.width), ("depth", self.depth_rule, self.depth)):
            if rule and any(axis != axes[0] for axis in axes):
                yield Problem(name, "conflicts_with_rule", f"must be one for all cells when {name}_rule is set")
        if self.width_rule and self.width[0].largest * 2 ** (self.cells - 1) > WIDTH[1]:
            yield Problem("width.max", "too_large", f"doubles to more than {WIDTH[1]} by the last cell")
        yield from check_final_map(self.input, self.cells)

    def to_json(self) -> dict[str, Any]:
        rules = {"width_rule": self.width_rule, "depth_rule": self.depth_rule}
        return {
            "family": self.family,
            "input": encode(self.input),
            "num_classes": self.num_classes,
            "cells": self.cells,
            "width": encode_axes(self.width),
            "depth": encode_axes(self.depth),
            "skip_channels": encode_axes(self.skip_channels),
        } | {name: rule for name, rule in rules.items() if rule is not None}

    @classmethod
    def schema(cls) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "required": ["family", "input", "num_classes", "cells", "width", "depth", "skip_channels"],
            "properties": {
                "family": {"const": cls.family},
                "input": json_schema(Image),
                "num_classes": {"type": "integer", "minimum": CLASSES[0], "maximum": CLASSES[1]},
                "cells": {"type": "integer", "minimum": 1, "maximum": MOST_CELLS},
                "width": axis_schema(*WIDTH, "Output channels of every layer of a cell."),
                "depth": axis_schema(*DEPTH, "Layers in a cell."),
                "skip_channels": axis_schema(*SKIP_CHANNELS, "t_c, the most skip channels that a layer takes."),
                "width_rule": {"const": "doubling", "description": "Ties the widths to w, 2w, 4w, ..."},
                "depth_rule": {"const": "equal", "description": "Gives all cells one depth."},
            },
        }

    def option_bound(self) -> int:
        widths = [len(axis.values) for axis in self.width]
        depths = [len(axis.values) for axis in self.depth]
        bodies = sum(w * d * len(t.values) for w, d, t in zip(widths, depths, self.skip_channels, strict=True))
        ties = depths[0] if self.depth_rule else 1
        entries = sum(w if self.width_rule else a * w for a, w in zip([1, *widths], widths, strict=False))
        return bodies + (entries + widths[-1]) * ties

    def largest(self) -> Architecture:
        tallest = [
            Cell(width=int(self._states(c).width.max()), depth=d.largest, skip_channels=t.largest)
            for c, (d, t) in enumerate(zip(self.depth, self.skip_channels, strict=True))
        ]
        return DenseNetCnn(input=self.input, num_classes=self.num_classes, cells=tuple(tallest))

    def chain(self) -> Chain:
        sizes = resolutions(self.input, self.cells)
        nothing = np.zeros(1, np.int64)
        before, states_before = sizes[0], States(nothing + self.input.channels, nothing)
        stages: list[Stage] = []
        nodes = [1]
        for c, after in enumerate(sizes):
            states = self._states(c)
            stages.append(self._entry_stage(Entry(before, after), states_before, states, tied=c > 0))
            stages.append(self._body_stage(Body(after), states, c))
            nodes += [len(states.width)] * 2
            before, states_before = after, states
        stages.append(_head_stage(Head(sizes[-1], self.num_classes), states_before))
        shape = [column for column in range(3 * self.cells) if column % 3 < 2]
        return Chain(tuple(stages), (*nodes, 1), tuple(shape))

    def architecture(self, integers: Sequence[int]) -> Architecture:
        triples = zip(integers[0::3], integers[1::3], integers[2::3], strict=True)
        cells = tuple(Cell(width=w, depth=d, skip_channels=t) for w, d, t in triples)
        return DenseNetCnn(input=self.input, num_classes=self.num_classes, cells=cells)

    def varies_width(self) -> bool:
        return any(len(axis.values) > 1 for axis in self.width)

    def _states(self, cell: int) -> States:
        base = np.array(self.width[cell].values, np.int64)
        width = base * 2**cell if self.width_rule else base
        if not self.depth_rule:
            return States(width, np.zeros_like(width))
        depths = np.array(self.depth[cell].values, np.int64)
        return States(np.repeat(width, len(depths)), np.tile(depths, len(width)))

    def _entry_stage(self, entry: Entry, before: States, states: States, *, tied: bool) -> Stage:
        source, target = self._transitions(before, states) if tied else _all_pairs(1, len(states.width))
        w_in, w = before.width[source], states.width[target]
        params = entry.params(w_in, w)
        return make_stage(
            source=source,
            target=target,
            params=params,
            macs=entry.macs(w_in, w),
            weights=params + 2 * entry.norm_channels(w),
            peak=entry.peak(w_in, w),
        )

    def _transitions(self, before: States, states: States) -> tuple[Ints, Ints]:
        """Return the pairs of nodes that the rules let follow each other."""
        ties = len(self.depth[0].values) if self.depth_rule else 1
        widths_before, widths = len(before.width) // ties, len(states.width) // ties
        source, target = _all_pairs(widths_before, widths)
        if self.width_rule:
            source = target = np.arange(widths)
        depth = np.tile(np.arange(ties), len(source))
        return np.repeat(source, ties) * ties + depth, np.repeat(target, ties) * ties + depth

    def _body_stage(self, body: Body, states: States, cell: int) -> Stage:
        skips = np.array(self.skip_channels[cell].values, np.int64)
        rows: list[Ints] = []
        for node, (width, tied_depth) in enumerate(zip(states.width.tolist(), states.depth.tolist(), strict=True)):
            depths = (tied_depth,) if self.depth_rule else self.depth[cell].values
            for depth in depths:
                distinct = np.unique(np.minimum(skips, width * max(depth - 2, 0)))
                rows.append(
                    np.column_stack([np.full((len(distinct), 3), (node, width, depth), dtype=np.int64), distinct])
                )
        node_column, w, d, t = np.concatenate(rows).T.copy()
        s = links(w, d, t)
        channels = body.norm_channels(w, d, s)
        params = body.params(w, channels)
        return make_stage(
            source=node_column,
            target=node_column,
            params=params,
            macs=body.macs(w, channels),
            weights=params + 2 * channels,
            peak=body.peak(w, d, t),
            mass_terms=mass_terms(d, s),
            integers=np.column_stack([w, d, t]),
        )


def _all_pairs(before: int, after: int) -> tuple[Ints, Ints]:
    return np.repeat(np.arange(before), after), np.tile(np.arange(after), before)


def _head_stage(head: Head, states: States) -> Stage:
    params = head.params(states.width)
    return make_stage(
        source=np.arange(len(states.width)),
        target=np.zeros(len(states.width), np.int64),
        params=params,
        macs=head.macs(states.width),
        weights=params,
        peak=head.peak(states.width),
    )
