"""The families of networks: how each is defined, searched and costed.

A new family is one file and one line here, or a package of its own that is found when it is installed
(docs/adding-a-family.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from threading import RLock
from typing import Any

from nnmass_core.architecture import ARCH_ID, DEFINITION_VERSION, Architecture
from nnmass_core.codec import as_integer, decode, json_schema
from nnmass_core.errors import DefinitionError, NotPossible
from nnmass_core.families.densenet_cnn import DenseNetCnn, DenseNetCnnSpace
from nnmass_core.families.densenet_cnn_depthwise import DenseNetCnnDepthwise, DenseNetCnnDepthwiseSpace
from nnmass_core.families.densenet_mlp import DenseNetMlp, DenseNetMlpSpace
from nnmass_core.families.mobilenet_v2 import MobileNetV2
from nnmass_core.families.mobilenet_v2_space import MobileNetV2Space
from nnmass_core.families.resnet import ResNet, ResNetSpace
from nnmass_core.families.wide_resnet_cifar import WideResNetCifar, WideResNetCifarSpace
from nnmass_core.spaces.base import Space

ENTRY_POINTS = "nnmass.families"
"""The entry point under which an installed package names its `Family`."""

NAME = "[a-z][a-z0-9_]{0,63}"
"""The form of a family's name: it stands in JSON, in addresses and in the database."""


@dataclass(frozen=True)
class Family:
    """One family: its architectures and its spaces.

    module: gives the torch module of an architecture and its wiring, and imports torch only when called. source: writes
    what a PyTorch file of an architecture holds below its heading, given the seed of its wiring, without torch.
    Families of this package have theirs in `nnmass_core.nets` and `nnmass_core.export.pytorch_source`.
    """

    architecture: type[Architecture]
    space: type[Space]
    module: Callable[[Any, Any], Any] | None = None
    source: Callable[[Any, int], str] | None = None


class Families(Mapping[str, Family]):
    """Families by their names: those given, and after them those of installed packages.

    Packages are loaded when a family is first looked up, so that they may import anything of this one. One that cannot
    be loaded is an error there and then: without it stored networks could not be read.
    """

    def __init__(self, *own: Family) -> None:
        self._known = {family.architecture.family: family for family in own}
        self._loaded = False
        self._lock = RLock()

    def __getitem__(self, name: str) -> Family:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Family]:
        with self._lock:
            if not self._loaded:
                self._loaded = True  # a package that looks families up while it is loaded finds ours
                try:
                    self._known = self._known | self._installed()
                except BaseException:
                    self._loaded = False
                    raise
            return self._known

    def _installed(self) -> dict[str, Family]:
        """Return the families of installed packages. Raises NotPossible for what is none, and what imports raise."""
        found: dict[str, Family] = {}
        for point in entry_points(group=ENTRY_POINTS):
            family = _checked(point)
            name = family.architecture.family
            if name in self._known or name in found:
                raise NotPossible("bad_family", f"{point.value} brings a second family of the name {name}")
            found[name] = family
        return found


def _checked(point: EntryPoint) -> Family:
    family = point.load()
    if not isinstance(family, Family):
        raise NotPossible("bad_family", f"{point.value} is not a Family")
    if not re.fullmatch(NAME, family.architecture.family):
        raise NotPossible("bad_family", f"{point.value} has a name that is not lower-case letters, digits and _")
    if family.space.family != family.architecture.family:
        raise NotPossible("bad_family", f"{point.value} has spaces of another family")
    return family


FAMILIES = Families(
    Family(DenseNetCnn, DenseNetCnnSpace),
    Family(DenseNetCnnDepthwise, DenseNetCnnDepthwiseSpace),
    Family(DenseNetMlp, DenseNetMlpSpace),
    Family(MobileNetV2, MobileNetV2Space),
    Family(ResNet, ResNetSpace),
    Family(WideResNetCifar, WideResNetCifarSpace),
)
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
