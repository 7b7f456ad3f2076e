"""The families of networks: how each is defined, searched and costed.

A new family is one file and one line here, or a separate package that is found when it is installed
(docs/adding-a-family.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nnmass_core.architecture import ARCH_ID, DEFINITION_VERSION, Architecture
from nnmass_core.codec import JsonObject, as_integer, choice_schema, decode, json_schema, object_schema, one_of
from nnmass_core.errors import DefinitionError
from nnmass_core.families.convnext import ConvNeXt
from nnmass_core.families.convnext_space import ConvNeXtSpace
from nnmass_core.families.densenet_bc import DenseNetBc
from nnmass_core.families.densenet_bc_space import DenseNetBcSpace
from nnmass_core.families.densenet_cnn import DenseNetCnn, DenseNetCnnSpace
from nnmass_core.families.densenet_cnn_depthwise import DenseNetCnnDepthwise, DenseNetCnnDepthwiseSpace
from nnmass_core.families.densenet_mlp import DenseNetMlp
from nnmass_core.families.densenet_mlp_space import DenseNetMlpSpace
from nnmass_core.families.mobilenet_v2 import MobileNetV2
from nnmass_core.families.mobilenet_v2_space import MobileNetV2Space
from nnmass_core.families.resnet import ResNet, ResNetSpace
from nnmass_core.families.separable import DsCnn, MobileNetV1
from nnmass_core.families.separable_space import DsCnnSpace, MobileNetV1Space
from nnmass_core.families.wide_resnet_cifar import WideResNetCifar, WideResNetCifarSpace
from nnmass_core.registry import Registry
from nnmass_core.spaces.base import Space
from nnmass_core.spaces.caveats import caveats_of_network

ENTRY_POINTS = "nnmass.families"
"""The entry point group in which an installed package registers its `Family`."""


@dataclass(frozen=True)
class Family:
    """One family: its architectures and its spaces.

    The built-in families have `module` and `source` in `nnmass_core.nets` and `nnmass_core.export.pytorch_source`.

    Args:
        architecture: The class of the family's architectures.
        space: The class of the family's spaces.
        module: Returns the torch module of an architecture and its wiring, and imports torch only when called.
        source: Returns the body of an architecture's PyTorch file for the seed of its wiring, without torch.
    """

    architecture: type[Architecture]
    space: type[Space]
    module: Callable[[Any, Any], Any] | None = None
    source: Callable[[Any, int], str] | None = None


def _fault(family: Family) -> str:
    """Return what is wrong with the family of a package; empty when nothing is."""
    return "" if family.space.family == family.architecture.family else "has spaces of another family"


FAMILIES = Registry(
    Family,
    ENTRY_POINTS,
    lambda family: family.architecture.family,
    _fault,
    (
        Family(ConvNeXt, ConvNeXtSpace),
        Family(DenseNetBc, DenseNetBcSpace),
        Family(DenseNetCnn, DenseNetCnnSpace),
        Family(DenseNetCnnDepthwise, DenseNetCnnDepthwiseSpace),
        Family(DenseNetMlp, DenseNetMlpSpace),
        Family(DsCnn, DsCnnSpace),
        Family(MobileNetV1, MobileNetV1Space),
        Family(MobileNetV2, MobileNetV2Space),
        Family(ResNet, ResNetSpace),
        Family(WideResNetCifar, WideResNetCifarSpace),
    ),
)
"""Every family by its name."""


def decode_architecture(data: object) -> Architecture:
    """Read an architecture's definition from parsed JSON.

    Args:
        data: An object with `family` and the fields of the family; `version` may be left out.

    Raises:
        DefinitionError: The definition is wrong; it has every problem found.
    """
    family = _family_of(data)
    assert isinstance(data, Mapping)
    version = as_integer(data.get("version", DEFINITION_VERSION))
    if isinstance(version, bool) or version != DEFINITION_VERSION:
        raise DefinitionError.at("version", "unknown_version", f"must be {DEFINITION_VERSION}")
    rest = {key: value for key, value in data.items() if key not in ("family", "version")}
    return decode(family.architecture, rest)


def decode_space(data: object) -> Space:
    """Read a full definition of a space from parsed JSON.

    Args:
        data: An object with `family` and the fields of the family's spaces.

    Raises:
        DefinitionError: The definition is wrong; it has every problem found.
    """
    family = _family_of(data)
    assert isinstance(data, Mapping)
    return family.space.from_json(data)


def caveats_of(architecture: Architecture) -> tuple[str, ...]:
    """Return what an expert would object to in a network, as codes: docs/theory.md (36).

    Args:
        architecture: A network of any family.
    """
    return caveats_of_network(architecture, FAMILIES[architecture.family].space.densest_evidence)


def architecture_schema() -> JsonObject:
    """Describe the definitions of all families as JSON Schema."""
    return {"title": "Architecture", "oneOf": [_architecture_schema(family) for family in FAMILIES.values()]}


def known_architecture_schema() -> JsonObject:
    """Describe an object that gives an architecture's id as JSON Schema."""
    known: JsonObject = {"type": "string", "pattern": f"^{ARCH_ID}$", "description": "Id of a known architecture."}
    return object_schema("KnownArchitecture", {"arch_id": {**known, "examples": [f"arch_{'0123456789abcdef' * 2}"]}})


def space_schema() -> JsonObject:
    """Describe the spaces of all families as JSON Schema."""
    named = [{"title": family.space.__name__, **family.space.schema()} for family in FAMILIES.values()]
    return {"title": "Space", "oneOf": named}


def _architecture_schema(family: Family) -> JsonObject:
    head: JsonObject = {
        "version": {
            "type": "integer",
            "minimum": DEFINITION_VERSION,
            "maximum": DEFINITION_VERSION,
            "description": "Version of the JSON form; may be left out.",
            "examples": [DEFINITION_VERSION],
        },
        "family": choice_schema((family.architecture.family,), "Family of the network."),
    }
    return json_schema(family.architecture, head, ("family",))


def _family_of(data: object) -> Family:
    if not isinstance(data, Mapping):
        raise DefinitionError.at("", "not_an_object", "must be an object")
    if "family" not in data:
        raise DefinitionError.at("family", "required", "is required")
    name = data["family"]
    if not isinstance(name, str) or name not in FAMILIES:
        raise DefinitionError.at("family", "unknown_choice", one_of(name, FAMILIES))
    return FAMILIES[name]
