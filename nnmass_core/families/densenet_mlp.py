"""`densenet_mlp`: one concatenation cell of Linear layers with bias, the last the classifier.

Formulas: docs/theory.md (15), (25).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from nnmass_core.architecture import CLASSES, Architecture, Evaluation, LayerShape, Step
from nnmass_core.codec import JsonObject, choice, encode, field_schema, integer, object_schema
from nnmass_core.diagram import Panel
from nnmass_core.engine.chain import Chain, Ints, Stage
from nnmass_core.families.concatenation import SKIP_CHANNELS, WIDTH, Cell, skip_work
from nnmass_core.families.concatenation_space import cell_densities, cell_layers, distinct_cells
from nnmass_core.families.costs import Costs, stage_of, timed
from nnmass_core.families.neighborhood import cells_around
from nnmass_core.hardware.latency import LatencyModel, Operators, Work, elementwise, linear
from nnmass_core.mass import Integers, canonical_skip_channels, larger, links, mass_terms, sampled_links
from nnmass_core.spaces.axis import Axis, axis_schema, decode_axes
from nnmass_core.spaces.base import Fields, Space, decode_choice, decode_integer

FEATURES = (1, 10_000_000)
DEPTH = (2, 512)
"""Within these bounds every network has fewer than 2**53 MACs."""

ACTIVATIONS = ("relu", "elu")


@dataclass(frozen=True)
class Layers:
    """Costs of all layers, from `in_features` to `num_classes`; t is canonical and s the links S."""

    in_features: int
    num_classes: int

    def costs(self, w: Integers, d: Integers, t: Integers, s: Integers) -> Costs[Integers]:
        """Return the layers' costs. The last takes w + t features, the inner ones (d-2) w + S - t in total."""
        macs = self.in_features * w + ((d - 2) * w + s - t) * w + (w + t) * self.num_classes
        biases = (d - 1) * w + self.num_classes
        return Costs(macs + biases, macs, 0 * w, self.peak(w, d, t), sampled_links(w, d, t))

    def work(self, w: Integers, d: Integers, t: Integers, s: Integers) -> Work:
        """Return the operators that run. Layer 0 activates its output, later ones their input, and layer 1 nothing."""
        inner, read = d - 2, (d - 2) * w + s - t
        return (
            linear(0 * w + self.in_features, w),
            Operators("linear", inner, read * w, read, inner * w, read * w, 0 * w),
            linear(w + t, 0 * w + self.num_classes),
            elementwise("activate", w + inner * w + s, inner + 1),
            *skip_work(w, d, t, s, 1),
        )

    def peak(self, w: Integers, d: Integers, t: Integers) -> Integers:
        """Return activation elements alive at the worst step.

        The first layer has its input and output, the last its w + t inputs and the classes. Between them, with skips,
        all outputs 0 .. d-2 live until the last concatenation: d w + t; without, a layer's input and output: 2 w.
        """
        skipping = (d >= 3) * (t > 0)
        inner = (d >= 3) * (skipping * (d * w + t) + (1 - skipping) * (2 * w))
        return larger(larger(self.in_features + w, w + t + self.num_classes), inner)


@dataclass(frozen=True, kw_only=True)
class DenseNetMlp(Architecture):
    """A network of `densenet_mlp`. `skip_channels` is lowered to the most that a layer can use.

    NN-Mass, density and average degree count the classifier as one of the d layers of width w, as the publication does.
    """

    family: ClassVar[str] = "densenet_mlp"
    in_features: int = integer(*FEATURES, "Numbers in one input.", example=784)
    num_classes: int = integer(*CLASSES, "Number of classes.", example=10)
    width: int = integer(*WIDTH, "Neurons of every layer except the last, which has one for each class.", example=8)
    depth: int = integer(*DEPTH, "Linear layers.", example=16)
    skip_channels: int = integer(
        *SKIP_CHANNELS, "t_c, the maximum number of neurons that a layer takes through skip connections.", example=4
    )
    activation: str = choice(ACTIVATIONS, "Activation after a layer.")

    def __post_init__(self) -> None:
        super().__post_init__()
        canonical = canonical_skip_channels(self.width, self.depth, self.skip_channels)
        object.__setattr__(self, "skip_channels", canonical)

    @property
    def input_shape(self) -> tuple[int]:
        return (self.in_features,)

    def evaluate(self) -> Evaluation:
        w, d, t = self.width, self.depth, self.skip_channels
        costs = Layers(self.in_features, self.num_classes).costs(w, d, t, links(w, d, t))
        part = Cell(width=w, depth=d, skip_channels=t).part(costs.params, costs.macs)
        return Evaluation(
            mass=part.mass,
            params=costs.params,
            macs=costs.macs,
            weights=costs.weights,
            steps=(Step("all layers", costs.peak),),
            depth=d,
            part_name="cells",
            parts=(part,),
            indices=costs.indices,
        )

    def work(self) -> tuple[Work, ...]:
        w, d, t = self.width, self.depth, self.skip_channels
        return (Layers(self.in_features, self.num_classes).work(w, d, t, links(w, d, t)),)

    def layer_shapes(self) -> tuple[LayerShape, ...]:
        """Return the outputs of the layers, without the classifier that `depth` counts as one of them."""
        return (LayerShape(self.width),) * (self.depth - 1)

    def space_around(self) -> JsonObject:
        return {"family": self.family, **encode(self), **cells_around([self.depth], [self.skip_channels])}

    def panels(self) -> tuple[Panel, ...]:
        cell = Cell(width=self.width, depth=self.depth, skip_channels=self.skip_channels)
        return (cell.panel(f"{self.in_features} in, {self.num_classes} out", self.activation),)


@dataclass(frozen=True)
class DenseNetMlpSpace(Space):
    """Ranges for the one cell of a `densenet_mlp`."""

    family: ClassVar[str] = "densenet_mlp"
    densest_evidence: ClassVar[float | None] = 0.2  # width 8, depth 16 and t_c 12 make 0.195

    in_features: int
    num_classes: int
    width: Axis
    depth: Axis
    skip_channels: Axis
    activation: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        fields = Fields(data, cls)
        found = {
            "in_features": fields.read("in_features", lambda value: decode_integer(value, *FEATURES)),
            "num_classes": fields.read("num_classes", lambda value: decode_integer(value, *CLASSES)),
            "width": fields.read("width", lambda value: decode_axes(value, 1, WIDTH)[0]),
            "depth": fields.read("depth", lambda value: decode_axes(value, 1, DEPTH)[0]),
            "skip_channels": fields.read("skip_channels", lambda value: decode_axes(value, 1, SKIP_CHANNELS)[0]),
            "activation": fields.read("activation", lambda value: decode_choice(value, ACTIVATIONS)),
        }
        fields.stop_if_wrong()
        return cls(**found)

    def to_json(self) -> JsonObject:
        return {
            "family": self.family,
            "in_features": self.in_features,
            "num_classes": self.num_classes,
            "width": self.width.form,
            "depth": self.depth.form,
            "skip_channels": self.skip_channels.form,
            "activation": self.activation,
        }

    @classmethod
    def schema(cls) -> JsonObject:
        properties: JsonObject = {
            "family": cls.family_schema(),
            "in_features": field_schema(DenseNetMlp, "in_features"),
            "num_classes": field_schema(DenseNetMlp, "num_classes"),
            "width": axis_schema(
                *WIDTH, "Neurons of every layer except the last.", most_cells=1, example={"min": 4, "max": 64}
            ),
            "depth": axis_schema(*DEPTH, "Linear layers.", most_cells=1, example={"min": 4, "max": 32, "step": 2}),
            "skip_channels": axis_schema(
                *SKIP_CHANNELS,
                "t_c, the maximum number of neurons that a layer takes through skip connections.",
                most_cells=1,
                example=[0, 8, 16],
            ),
            "activation": field_schema(DenseNetMlp, "activation"),
        }
        return object_schema(cls.__name__, properties)

    def option_bound(self) -> int:
        return len(self.width.values) * len(self.depth.values) * len(self.skip_channels.values)

    def largest(self) -> Architecture:
        return self.architecture((self.width.largest, self.depth.largest, self.skip_channels.largest))

    def chain(self, model: LatencyModel | None = None) -> Chain:
        """Return a single stage: all costs depend on width, depth and skip channels together."""
        shapes = ((0, width, depth) for width in self.width.values for depth in self.depth.values)
        node, w, d, t = distinct_cells(shapes, self.skip_channels).T.copy()
        s = links(w, d, t)
        layers = Layers(self.in_features, self.num_classes)
        latency = timed(model, lambda: layers.work(w, d, t, s))
        integers = np.column_stack([w, d, t])
        stage = stage_of(node, node, layers.costs(w, d, t, s), mass_terms(d, s), integers, latency=latency)
        return Chain((stage,), (1, 1), (0, 1))

    def architecture(self, integers: Sequence[int]) -> Architecture:
        width, depth, skip_channels = integers
        return DenseNetMlp(
            in_features=self.in_features,
            num_classes=self.num_classes,
            width=width,
            depth=depth,
            skip_channels=skip_channels,
            activation=self.activation,
        )

    def densities(self, stage: Stage) -> tuple[Ints, Ints] | None:
        return cell_densities(stage)

    def layers(self, chain: Chain) -> tuple[Ints, ...]:
        return cell_layers(chain)

    def shared(self) -> tuple[object, ...]:
        return (self.in_features, self.num_classes, self.activation)

    def varies_width(self) -> bool:
        return len(self.width.values) > 1
