"""The families of networks: how each is defined, searched and costed. A new family is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnmass_core.architecture import ARCH_ID, DEFINITION_VERSION, Architecture
from nnmass_core.codec import as_integer, decode, json_schema
from nnmass_core.errors import DefinitionError
from nnmass_core.families.densenet_cnn import DenseNetCnn, DenseNetCnnSpace
from nnmass_core.families.densenet_cnn_depthwise import DenseNetCnnDepthwise, DenseNetCnnDepthwiseSpace
from nnmass_core.families.densenet_mlp import DenseNetMlp, DenseNetMlpSpace
from nnmass_core.families.mobilenet_v2 import MobileNetV2
from nnmass_core.families.mobilenet_v2_space import MobileNetV2Space
from nnmass_core.families.resnet import ResNet, ResNetSpace
from nnmass_core.families.wide_resnet_cifar import WideResNetCifar, WideResNetCifarSpace
from nnmass_core.space import Space


@dataclass(frozen=True)
class Family:
    """One family: its architectures and its spaces."""

    architecture: type[Architecture]
    space: type[Space]


FAMILIES = {
    family.architecture.family: family
    for family in (
        Family(DenseNetCnn, DenseNetCnnSpace),
        Family(DenseNetCnnDepthwise, DenseNetCnnDepthwiseSpace),
        Family(DenseNetMlp, DenseNetMlpSpace),
        Family(MobileNetV2, MobileNetV2Space),
        Family(ResNet, ResNetSpace),
        Family(WideResNetCifar, WideResNetCifarSpace),
    )
}
"""Every family by its name."""


def decode_architecture(data: object) -> Architecture:
    """Read an architecture's definition from parsed JSON. Raises DefinitionError with every problem found."""
    family = _family_of(data)
    assert isinstance(data, Mapping)
    version = as_integer(data.get("version", DEFINITION_VERSION))
    if isinstance(version, bool) or version != DEFINITION_VERSION:
        raise DefinitionError.at("version", "unknown_version", f"must be {DEFINITION_VERSION}")
    rest = {key: value for key, value in data.items() if key not in ("family", "version")}
    return decode(family.architecture, rest)


def decode_space(data: object) -> Space:
    """Read a full definition of a space from parsed JSON. Raises DefinitionError with every problem found."""
    family = _family_of(data)
    assert isinstance(data, Mapping)
    return family.space.from_json(data)


def input_shape(architecture: Architecture) -> tuple[int, ...]:
    """Return the shape of one input: (channels, height, width), or (features,) for `densenet_mlp`."""
    if isinstance(architecture, DenseNetMlp):
        return (architecture.in_features,)
    image = architecture.input  # type: ignore[attr-defined]  # every other family takes images
    return (image.channels, image.height, image.width)


def num_classes(architecture: Architecture) -> int:
    """Return how many classes a network tells apart."""
    classes: int = architecture.num_classes  # type: ignore[attr-defined]  # every family has them
    return classes


def widths(architecture: Architecture) -> tuple[int, ...]:
    """Return the width of each cell or the channels of each stage: where they are equal NN-Mass compares fairly."""
    definitions: list[Any] = [part.definition for part in architecture.evaluation.parts]
    return tuple(cell.width if hasattr(cell, "width") else cell.channels for cell in definitions)


def architecture_schema() -> dict[str, Any]:
    """Describe the definitions of all families as JSON Schema."""
    return {"oneOf": [_architecture_schema(family) for family in FAMILIES.values()]}


def known_architecture_schema() -> dict[str, Any]:
    """Describe an object that names an architecture by its id as JSON Schema."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["arch_id"],
        "properties": {"arch_id": {"type": "string", "pattern": f"^{ARCH_ID}$"}},
    }


def space_schema() -> dict[str, Any]:
    """Describe the spaces of all families as JSON Schema."""
    return {"oneOf": [family.space.schema() for family in FAMILIES.values()]}


def _architecture_schema(family: Family) -> dict[str, Any]:
    schema = json_schema(family.architecture)
    schema["properties"] = {
        "version": {"type": "integer", "const": DEFINITION_VERSION},
        "family": {"const": family.architecture.family},
        **schema["properties"],
    }
    schema["required"] = ["family", *schema["required"]]
    return schema


def _family_of(data: object) -> Family:
    if not isinstance(data, Mapping):
        raise DefinitionError.at("", "not_an_object", "must be an object")
    if "family" not in data:
        raise DefinitionError.at("family", "required", "is required")
    name = data["family"]
    if not isinstance(name, str) or name not in FAMILIES:
        raise DefinitionError.at("family", "unknown_choice", f"must be one of {', '.join(FAMILIES)}")
    return FAMILIES[name]
