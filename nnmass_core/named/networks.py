"""Definitions of well-known networks, by the names that torchvision gives them."""

from __future__ import annotations

from functools import cache

from nnmass_core.architecture import Architecture
from nnmass_core.codec import JsonObject, one_of
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_architecture
from nnmass_core.named.model_files import TAKEN, is_model_file

IMAGENET: JsonObject = {"input": {"channels": 3, "height": 224, "width": 224}, "num_classes": 1000}

INVERTED = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, repeats and stride of MobileNetV2's stages (Sandler et al., CVPR 2018, table 2)."""

PLANES = (64, 128, 256, 512)
RESNETS: dict[str, tuple[str, tuple[int, ...], int, int]] = {
    "resnet18": ("basic", (2, 2, 2, 2), 1, 64),
    "resnet34": ("basic", (3, 4, 6, 3), 1, 64),
    "resnet50": ("bottleneck", (3, 4, 6, 3), 1, 64),
    "resnet101": ("bottleneck", (3, 4, 23, 3), 1, 64),
    "resnet152": ("bottleneck", (3, 8, 36, 3), 1, 64),
    "resnext50_32x4d": ("bottleneck", (3, 4, 6, 3), 32, 4),
    "resnext101_32x8d": ("bottleneck", (3, 4, 23, 3), 32, 8),
    "resnext101_64x4d": ("bottleneck", (3, 4, 23, 3), 64, 4),
    "wide_resnet50_2": ("bottleneck", (3, 4, 6, 3), 1, 128),
    "wide_resnet101_2": ("bottleneck", (3, 4, 23, 3), 1, 128),
}
"""Block, repeats of each stage, groups and width per group."""


def _mobilenet_v2() -> Architecture:
    keys = ("expansion", "channels", "repeats", "stride")
    stages = [dict(zip(keys, stage, strict=True)) for stage in INVERTED]
    form = {"family": "mobilenet_v2", **IMAGENET, "stem_channels": 32, "last_channels": 1280, "stages": stages}
    return decode_architecture(form)


def _resnet(block: str, repeats: tuple[int, ...], groups: int, width_per_group: int) -> Architecture:
    stages = [{"channels": planes, "repeats": n} for planes, n in zip(PLANES, repeats, strict=True)]
    form = {"family": "resnet", **IMAGENET, "block": block, "stages": stages}
    return decode_architecture(form | {"groups": groups, "width_per_group": width_per_group})


@cache
def named_networks() -> dict[str, Architecture]:
    """Return every network by its name, for ImageNet's 1,000 classes at 224 x 224."""
    return {"mobilenet_v2": _mobilenet_v2()} | {name: _resnet(*form) for name, form in RESNETS.items()}


def named_network(name: str) -> Architecture:
    """Return a network by its name. Raises DefinitionError."""
    if is_model_file(name):
        raise DefinitionError.at("", "model_file", f"cannot be a model file; {TAKEN}")
    if name not in named_networks():
        raise DefinitionError.at("", "unknown_network", one_of(name, named_networks()))
    return named_networks()[name]
