"""Named search spaces, ready to use or to edit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_space
from nnmass_core.space import Space


@dataclass(frozen=True)
class Preset:
    """A named space with a sentence on what it is for."""

    name: str
    description: str
    space: Space

    @cached_property
    def space_size(self) -> int:
        """How many architectures the space holds, counted once."""
        return self.space.chain().count()


CIFAR = {"channels": 3, "height": 32, "width": 32}
MNIST = {"channels": 1, "height": 28, "width": 28}


def _densenet_cifar() -> Preset:
    definition = {
        "family": "densenet_cnn",
        "input": CIFAR,
        "num_classes": 10,
        "cells": 3,
        "width": [16, 32, 48],
        "depth": {"min": 6, "max": 30},
        "skip_channels": {"min": 0, "max": 320, "step": 5},
        "width_rule": "doubling",
        "depth_rule": "equal",
    }
    about = "The publication's CIFAR regime: widths w, 2w, 4w for w in 16, 32, 48, one depth, skip channels by cell."
    return Preset("densenet-cifar", about, decode_space(definition))


def _densenet_cifar_free() -> Preset:
    definition = {
        "family": "densenet_cnn",
        "input": CIFAR,
        "num_classes": 10,
        "cells": 3,
        "width": {"min": 16, "max": 256, "step": 16},
        "depth": {"min": 4, "max": 32},
        "skip_channels": {"min": 0, "max": 512, "step": 4},
    }
    about = "CIFAR images, width, depth and skip channels free in each of three cells; far wider than what was trained."
    return Preset("densenet-cifar-free", about, decode_space(definition))


def _densenet_cifar_depthwise() -> Preset:
    definition = {
        "family": "densenet_cnn_depthwise",
        "input": CIFAR,
        "num_classes": 10,
        "cells": 3,
        "width": [16, 32, 48, 64],
        "depth": {"min": 4, "max": 30},
        "skip_channels": {"min": 0, "max": 320, "step": 5},
        "width_rule": "doubling",
        "depth_rule": "equal",
    }
    about = "Separable cells for CIFAR in the published form: widths w, 2w, 4w, one depth, skip channels by cell."
    return Preset("densenet-cifar-depthwise", about, decode_space(definition))


def _densenet_mlp_mnist() -> Preset:
    definition = {
        "family": "densenet_mlp",
        "in_features": 784,
        "num_classes": 10,
        "width": {"min": 8, "max": 64, "step": 8},
        "depth": {"min": 4, "max": 32},
        "skip_channels": {"min": 0, "max": 64},
        "activation": "relu",
    }
    about = "Fully connected networks for MNIST, narrow and deep; the publication studied width 8, depth 16 to 32."
    return Preset("densenet-mlp-mnist", about, decode_space(definition))


def _densenet_tiny() -> Preset:
    definition = {
        "family": "densenet_cnn",
        "input": MNIST,
        "num_classes": 10,
        "cells": 2,
        "width": {"min": 8, "max": 64, "step": 8},
        "depth": {"min": 3, "max": 12},
        "skip_channels": {"min": 0, "max": 128, "step": 4},
    }
    about = "Small grey images (28x28), two narrow cells: networks that train in minutes on a CPU."
    return Preset("densenet-tiny", about, decode_space(definition))


@cache
def presets() -> dict[str, Preset]:
    """Return every preset by its name."""
    makers = (
        _densenet_cifar,
        _densenet_cifar_free,
        _densenet_cifar_depthwise,
        _densenet_mlp_mnist,
        _densenet_tiny,
    )
    return {preset.name: preset for preset in (make() for make in makers)}


def resolve_space(data: object) -> Space:
    """Read a space given as a preset's name or as a full definition. Raises DefinitionError."""
    if not isinstance(data, str):
        return decode_space(data)
    if data not in presets():
        raise DefinitionError.at("", "unknown_preset", f"must be a full definition or one of {', '.join(presets())}")
    return presets()[data].space
