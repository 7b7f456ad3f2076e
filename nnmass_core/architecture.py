"""Architectures as frozen values, each with one id."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

from nnmass_core.codec import JsonObject, Value, encode, integer, nested, sha256_of
from nnmass_core.costs import COSTS
from nnmass_core.diagram import Panel, draw
from nnmass_core.errors import DefinitionError
from nnmass_core.hardware.latency import Work

# untyped: the name of the parts' field depends on the family

DEFINITION_VERSION = 1
"""Version of the JSON form; it changes when stored definitions get another meaning."""

ARCH_ID = "arch_[0-9a-f]{32}"
"""The form of an architecture's id."""

PartName = Literal["cells", "stages"]
"""What the parts of a network are called, and the key under which public JSON lists them."""

BYTES_PER_ELEMENT = {"fp32": 4, "fp16": 2, "int8": 1}
"""Bytes of one stored number at each precision that a budget can have."""


CLASSES = (1, 1_000_000)
"""Bounds of the number of classes of the built-in families."""


@dataclass(frozen=True, kw_only=True)
class Image(Value):
    """The shape of one input image.

    Args:
        channels: Channels of the input image, 1 to 1,024.
        height: Height of the input image in pixels, 1 to 8,192.
        width: Width of the input image in pixels, 1 to 8,192.

    Raises:
        DefinitionError: A field is out of its range; each problem names its field.
    """

    channels: int = integer(1, 1024, "Channels of the input image.", example=3)
    height: int = integer(1, 8192, "Height of the input image in pixels.", example=32)
    width: int = integer(1, 8192, "Width of the input image in pixels.", example=32)


@dataclass(frozen=True)
class Part:
    """The figures of one cell or stage of an architecture.

    Density and average degree exist only for concatenation cells, never for the network: docs/theory.md (4), (6).

    Args:
        definition: The cell or stage itself.
        width: The width of the cell, or the channels of the stage.
        mass: The NN-Mass.
        params: The trainable parameters.
        macs: The multiply-accumulates for one input.
        density: The fraction of the cell's possible links that exist; None except for concatenation cells.
        average_degree: The average degree of the cell; None except for concatenation cells.
    """

    definition: Value
    width: int
    mass: Fraction
    params: int
    macs: int
    density: Fraction | None = None
    average_degree: Fraction | None = None

    def report(self) -> JsonObject:
        """Return the part as JSON-ready figures."""
        return dict(self._figures)

    @cached_property
    def _figures(self) -> JsonObject:
        figures: JsonObject = {**encode(self.definition), "nn_mass": float(self.mass)}
        if self.density is not None and self.average_degree is not None:
            figures |= {"density": float(self.density), "average_degree": float(self.average_degree)}
        return figures | {"params": self.params, "macs": self.macs}


class LayerShape(NamedTuple):
    """The output of one layer with weights.

    Attributes:
        channels: The channels or neurons.
        size: Height and width of its feature maps; None of a layer without maps.
    """

    channels: int
    size: tuple[int, int] | None = None


class Step(NamedTuple):
    """Some consecutive layers, and the most activation elements alive at the same time for one input while they run.

    Attributes:
        name: The name of the layers.
        peak_elements: The activation elements.
    """

    name: str
    peak_elements: int


@dataclass(frozen=True)
class Evaluation:
    """NN-Mass and costs of one architecture, in closed form.

    Args:
        mass: The NN-Mass.
        params: The trainable parameters.
        macs: The multiply-accumulates for one input.
        weights: The stored numbers: parameters and the running statistics of BatchNorm.
        steps: How many activations are alive, in the order of execution.
        depth: The layers on the longest path, without the head, as the family counts them: docs/theory.md (69).
        part_name: What the parts are called: `cells` or `stages`.
        parts: The figures of each cell or stage, from input to output.
        indices: The channel numbers of sampled skips that a device stores: docs/theory.md (21).
    """

    mass: Fraction
    params: int
    macs: int
    weights: int
    steps: tuple[Step, ...]
    depth: int
    part_name: PartName
    parts: tuple[Part, ...]
    indices: int = 0

    @property
    def peak_elements(self) -> int:
        """The most activation elements alive at the same time for one input: docs/theory.md (22)."""
        return max(step.peak_elements for step in self.steps)

    @property
    def mass_per_width(self) -> Fraction:
        """The sum of NN-Mass / width over the parts, which no search has as its goal: docs/theory.md (100)."""
        return sum((part.mass / part.width for part in self.parts), start=Fraction(0))

    def report(self, precision: str, batch: int = 1) -> dict[str, Any]:
        """Return the evaluation as JSON-ready figures.

        The name of the parts' field depends on the family, so that no TypedDict describes it.

        Args:
            precision: The precision at which bytes are counted: `fp32`, `fp16` or `int8`.
            batch: The inputs whose activations are counted.
        """
        size = BYTES_PER_ELEMENT[precision]
        return {
            "nn_mass": float(self.mass),
            "precision": precision,
            self.part_name: [part.report() for part in self.parts],
            **{cost.name: cost.value(self, None, size, batch) for cost in COSTS.values() if not cost.timed},
        }


@dataclass(frozen=True, kw_only=True)
class Architecture(Value):
    """A network's definition: the integers that determine its layers.

    Values are canonical: two definitions of the same network are equal and have the same `arch_id`.
    """

    family: ClassVar[str]

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input: (channels, height, width), or (features,) of a network that flattens its inputs."""

    @cached_property  # not `property`: dataclasses could not set the field of the same name
    def num_classes(self) -> int:
        """The number of classes. Each family declares it as a field."""
        raise NotImplementedError  # a family without the field: a mistake of its author, found by its first test

    @property
    def classifies(self) -> bool:
        """Whether the outputs are scores of classes; others are not trained."""
        return True

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each cell or the channels of each stage: NN-Mass is a fair comparison where they are equal."""
        return tuple(part.width for part in self.evaluation.parts)

    @abstractmethod
    def evaluate(self) -> Evaluation:
        """Return NN-Mass and every cost in closed form."""

    def work(self) -> tuple[Work, ...] | None:
        """Return the operators that run, stage by stage of the family's chain; None where they are not defined.

        Without them the family's networks have no latency.
        """
        return None

    def smallest_normalized_map(self) -> int | None:
        """Return the positions of the smallest feature map that BatchNorm normalizes; None where it is not defined.

        A network without BatchNorm has none. At 1, a training needs batches of two images or more.
        """
        return None

    def layer_shapes(self) -> tuple[LayerShape, ...] | None:
        """Return the outputs of the layers that `depth` counts, from input to output; None where they are not defined.

        Without them the network has no caveats about its feature maps and inner channels.
        """
        return None

    @abstractmethod
    def panels(self) -> tuple[Panel, ...]:
        """Return what the diagram shows of each cell or stage."""

    def space_around(self) -> JsonObject:
        """Return the JSON form of a space around the network, in which to look for a cheaper one.

        Raises:
            DefinitionError: The family defines no space around a network.
        """
        message = f"is required: the family {self.family} defines no space around a network"
        raise DefinitionError.at("space", "required", message)

    def diagram(self) -> str:
        """Return a diagram of the network as self-contained SVG."""
        figures = self.evaluation
        subtitle = f"NN-Mass {float(figures.mass):,.1f} · {figures.params:,} params · {figures.macs:,} MACs"
        return draw(self.family, subtitle, self.panels())

    @cached_property
    def evaluation(self) -> Evaluation:
        """NN-Mass and every cost, computed once."""
        return self.evaluate()

    def definition(self) -> JsonObject:
        """Return the full, versioned JSON form."""
        return {"version": DEFINITION_VERSION, "family": self.family, **encode(self)}

    @property
    def arch_id(self) -> str:
        """The hash of the canonical definition: the same network always has the same id."""
        return id_of(self.definition())


def id_of(definition: JsonObject) -> str:
    """Return the id of the architecture with a canonical definition, as `Architecture.definition` writes it."""
    return f"arch_{sha256_of(definition)[:32]}"


@dataclass(frozen=True, kw_only=True)
class ImageArchitecture(Architecture):
    """An architecture whose inputs are images.

    Args:
        input: The shape of one input image.
        num_classes: The number of classes, 1 to 1,000,000.

    Raises:
        DefinitionError: A field is wrong; each problem names its field.
    """

    input: Image = nested(Image, "Shape of one input image.")
    num_classes: int = integer(*CLASSES, "Number of classes.", example=10)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape of one input: (channels, height, width)."""
        return (self.input.channels, self.input.height, self.input.width)
