"""Named search spaces, ready to use or to edit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, TypeAlias, cast

from nnmass_core.codec import JsonObject, one_of
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.families import decode_space
from nnmass_core.named.scaling import decode_around, is_around
from nnmass_core.spaces.base import AnySpace, Space
from nnmass_core.spaces.several import MOST_SPACES, SeveralSpaces


@dataclass(frozen=True)
class Preset:
    """A named space.

    Args:
        name: The name by which requests refer to the space.
        description: A sentence about the purpose of the space.
        space: The space.
    """

    name: str
    description: str
    space: Space

    @cached_property
    def space_size(self) -> int:
        """The number of architectures in the space, counted once."""
        return self.space.chain().count()


CIFAR = {"channels": 3, "height": 32, "width": 32}
MNIST = {"channels": 1, "height": 28, "width": 28}

Described: TypeAlias = tuple[str, dict[str, object]]
"""A preset's description and definition."""

NEVER_FALL = {"width_rule": "never_fall"}
"""What keeps the proportions of stages: no stage has fewer channels than the one before it."""

EXPANSION = {"min": 3, "max": 6}
"""The expansions of inverted residuals that hand-designed networks have after the first stage."""


def _free(proportioned: Callable[[], Described], about: str, **fields: object) -> Described:
    """Return a preset without its rule for the widths and with other fields."""
    _, definition = proportioned()
    return about, {name: value for name, value in definition.items() if name != "width_rule"} | fields


def _convnext_imagenet() -> Described:
    definition = {
        "family": "convnext",
        "input": {"channels": 3, "height": 224, "width": 224},
        "num_classes": 1000,
        "patch": 4,
        "expansion": 4,
        "width_rule": "never_fall",
        "stages": [
            {"channels": {"min": 48, "max": 128, "step": 8}, "repeats": {"min": 2, "max": 4}},
            {"channels": {"min": 128, "max": 256, "step": 16}, "repeats": {"min": 2, "max": 4}},
            {"channels": {"min": 256, "max": 512, "step": 32}, "repeats": {"min": 3, "max": 27}},
            {"channels": {"min": 512, "max": 1024, "step": 64}, "repeats": {"min": 2, "max": 4}},
        ],
    }
    about = "Around ConvNeXt-T to ConvNeXt-B for ImageNet: channels and blocks of four stages, widths that never fall."
    return about, definition


def _densenet_bc_cifar() -> Described:
    definition = {
        "family": "densenet_bc",
        "input": CIFAR,
        "num_classes": 10,
        "stem": "small",
        "stem_channels": 24,
        "growth": {"min": 8, "max": 40, "step": 4},
        "bottleneck": 4,
        "compression": 50,
        "stages": [{"layers": {"min": 4, "max": 32}}] * 3,
    }
    about = "DenseNet-BC for CIFAR: growth and the layers of three blocks, around DenseNet-BC-100-12."
    return about, definition


def _densenet_cifar() -> Described:
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
    about = (
        "The CIFAR setting of the publication: widths w, 2w, 4w for w in 16, 32, 48, one depth, skip channels by cell."
    )
    return about, definition


def _densenet_cifar_free() -> Described:
    definition = {
        "family": "densenet_cnn",
        "input": CIFAR,
        "num_classes": 10,
        "cells": 3,
        "width": {"min": 16, "max": 256, "step": 16},
        "depth": {"min": 4, "max": 32},
        "skip_channels": {"min": 0, "max": 512, "step": 4},
    }
    about = (
        "CIFAR images, width, depth and skip channels free in each of three cells; far larger than the published range."
    )
    return about, definition


def _densenet_cifar_depthwise() -> Described:
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
    return about, definition


def _densenet_mlp_mnist() -> Described:
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
    return about, definition


def _densenet_tiny() -> Described:
    definition = {
        "family": "densenet_cnn",
        "input": MNIST,
        "num_classes": 10,
        "cells": 2,
        "width": {"min": 8, "max": 64, "step": 8},
        "depth": {"min": 3, "max": 12},
        "skip_channels": {"min": 0, "max": 128, "step": 4},
        **NEVER_FALL,
    }
    about = "Small gray images (28x28), two narrow cells: networks that train in minutes on a CPU."
    return about, definition


def _densenet_tiny_free() -> Described:
    return _free(_densenet_tiny, "As densenet-tiny, with widths that may fall.")


def _ds_cnn_keywords() -> Described:
    definition = {
        "family": "ds_cnn",
        "input": {"channels": 1, "height": 49, "width": 10},
        "num_classes": 12,
        "stem_channels": {"min": 16, "max": 128, "step": 8},
        "stem_kernel_height": 10,
        "stem_kernel_width": 4,
        "stages": [{"channels": {"min": 16, "max": 128, "step": 8}, "repeats": {"min": 1, "max": 8}, "stride": 1}],
    }
    about = "Around MLPerf Tiny's network for keyword spotting: 49 x 10 audio features, one stage without skips."
    return about, definition


def _mlp_anomaly() -> Described:
    definition = {
        "family": "densenet_mlp",
        "in_features": 640,
        "num_classes": 640,
        "outputs": "reconstruction",
        "cells": 3,
        "width": [{"min": 64, "max": 256, "step": 16}, [8, 16, 32], {"min": 64, "max": 256, "step": 16}],
        "depth": [{"min": 2, "max": 6}, [1], {"min": 3, "max": 7}],
        "skip_channels": {"min": 0, "max": 256, "step": 8},
        "activation": "relu",
        "batchnorm": 1,
    }
    about = "Autoencoders of 640 audio features, as MLPerf Tiny's for anomaly detection, with skip connections."
    return about, definition


def _mobilenet_v1_vww() -> Described:
    definition = {
        "family": "mobilenet_v1",
        "input": {"channels": 3, "height": 96, "width": 96},
        "num_classes": 2,
        "stem_channels": [8, 16],
        "stages": [
            {"channels": {"min": 8, "max": 32, "step": 8}, "repeats": 1, "stride": 1},
            {"channels": {"min": 16, "max": 64, "step": 8}, "repeats": {"min": 1, "max": 3}, "stride": 2},
            {"channels": {"min": 32, "max": 128, "step": 16}, "repeats": {"min": 1, "max": 3}, "stride": 2},
            {"channels": {"min": 64, "max": 256, "step": 32}, "repeats": {"min": 1, "max": 8}, "stride": 2},
            {"channels": {"min": 128, "max": 512, "step": 64}, "repeats": {"min": 1, "max": 3}, "stride": 2},
        ],
        **NEVER_FALL,
    }
    about = "Around MLPerf Tiny's network for visual wake words: 96x96 images, five stages without skips."
    return about, definition


def _mobilenet_v1_vww_free() -> Described:
    return _free(_mobilenet_v1_vww, "As mobilenet-v1-vww, with widths that may fall.")


def _mobilenet_stage(channels: Any, most_repeats: int, stride: int, expansion: Any = EXPANSION) -> JsonObject:
    return {
        "expansion": expansion,
        "channels": channels,
        "repeats": {"min": 1, "max": most_repeats},
        "stride": stride,
    }


def _any_expansion(preset: Callable[[], Described]) -> list[JsonObject]:
    """Return the stages of a preset with expansions up to 6 after the first."""
    first, *others = cast("list[JsonObject]", preset()[1]["stages"])
    # with a stride of 1 an expansion of 1 could go on a run of the stage before
    return [first, *({**stage, "expansion": {"min": 3 - cast("int", stage["stride"]), "max": 6}} for stage in others)]


def _mobilenet_v2_imagenet() -> Described:
    definition = {
        "family": "mobilenet_v2",
        "input": {"channels": 3, "height": 224, "width": 224},
        "num_classes": 1000,
        "stem_channels": [16, 24, 32],
        "last_channels": 1280,
        "stages": [
            _mobilenet_stage([8, 16, 24], 3, 1, 1),
            _mobilenet_stage({"min": 16, "max": 40, "step": 8}, 4, 2),
            _mobilenet_stage({"min": 24, "max": 56, "step": 8}, 5, 2),
            _mobilenet_stage({"min": 48, "max": 80, "step": 8}, 6, 2),
            _mobilenet_stage({"min": 88, "max": 128, "step": 8}, 6, 1),
            _mobilenet_stage({"min": 136, "max": 216, "step": 16}, 6, 2),
            _mobilenet_stage({"min": 240, "max": 400, "step": 32}, 3, 1),
        ],
        **NEVER_FALL,
    }
    about = "Around MobileNetV2 for ImageNet: expansion, channels and repeats of seven stages."
    return about, definition


def _mobilenet_v2_imagenet_free() -> Described:
    about = "As mobilenet-v2-imagenet, with any expansions, widths that may fall, and the resolution."
    images = {"channels": 3, "resolution": [160, 192, 224]}
    return _free(_mobilenet_v2_imagenet, about, input=images, stages=_any_expansion(_mobilenet_v2_imagenet))


def _mobilenet_v2_tiny() -> Described:
    definition = {
        "family": "mobilenet_v2",
        "input": {"channels": 3, "height": 64, "width": 64},
        "num_classes": 10,
        "stem_channels": [8, 16],
        "last_channels": [64, 128, 256],
        "stages": [
            _mobilenet_stage([8, 16], 2, 1, 1),
            _mobilenet_stage({"min": 8, "max": 32, "step": 8}, 3, 2),
            _mobilenet_stage({"min": 16, "max": 64, "step": 8}, 4, 2),
            _mobilenet_stage({"min": 32, "max": 96, "step": 16}, 4, 2),
        ],
        **NEVER_FALL,
    }
    about = "Four short stages for small color images (64x64), for microcontrollers."
    return about, definition


def _mobilenet_v2_tiny_free() -> Described:
    about = "As mobilenet-v2-tiny, with any expansions and widths that may fall."
    return _free(_mobilenet_v2_tiny, about, stages=_any_expansion(_mobilenet_v2_tiny))


def _resnet_imagenet() -> Described:
    definition = {
        "family": "resnet",
        "input": {"channels": 3, "height": 224, "width": 224},
        "num_classes": 1000,
        "block": "bottleneck",
        "stages": [
            {"channels": {"min": 32, "max": 128, "step": 8}, "repeats": {"min": 1, "max": 6}},
            {"channels": {"min": 64, "max": 256, "step": 16}, "repeats": {"min": 1, "max": 8}},
            {"channels": {"min": 128, "max": 512, "step": 32}, "repeats": {"min": 1, "max": 36}},
            {"channels": {"min": 256, "max": 1024, "step": 64}, "repeats": {"min": 1, "max": 6}},
        ],
        **NEVER_FALL,
    }
    about = "Around ResNet-50 for ImageNet: planes and repeats of four bottleneck stages."
    return about, definition


def _resnet_imagenet_free() -> Described:
    return _free(_resnet_imagenet, "As resnet-imagenet, with widths that may fall.")


def _resnet_tiny() -> Described:
    definition = {
        "family": "resnet",
        "input": {"channels": 3, "height": 64, "width": 64},
        "num_classes": 10,
        "block": "basic",
        "stages": [
            {"channels": {"min": 16, "max": 64, "step": 8}, "repeats": {"min": 1, "max": 4}},
            {"channels": {"min": 16, "max": 128, "step": 16}, "repeats": {"min": 1, "max": 4}},
            {"channels": {"min": 32, "max": 256, "step": 32}, "repeats": {"min": 1, "max": 4}},
        ],
        **NEVER_FALL,
    }
    about = "Three short stages of basic blocks for small color images (64x64)."
    return about, definition


def _resnet_tiny_free() -> Described:
    return _free(_resnet_tiny, "As resnet-tiny, with widths that may fall.")


def _wide_resnet_cifar() -> Described:
    definition = {
        "family": "wide_resnet_cifar",
        "input": CIFAR,
        "num_classes": 10,
        "stages": [
            {"channels": {"min": 16, "max": 192, "step": 16}, "repeats": {"min": 1, "max": 8}},
            {"channels": {"min": 32, "max": 384, "step": 32}, "repeats": {"min": 1, "max": 8}},
            {"channels": {"min": 64, "max": 768, "step": 64}, "repeats": {"min": 1, "max": 8}},
        ],
        **NEVER_FALL,
    }
    about = "Wide residual networks for CIFAR: channels and repeats of three stages, WRN-40-2 to beyond WRN-28-10."
    return about, definition


def _wide_resnet_cifar_free() -> Described:
    return _free(_wide_resnet_cifar, "As wide-resnet-cifar, with widths that may fall.")


MAKERS = {
    "convnext-imagenet": _convnext_imagenet,
    "densenet-cifar": _densenet_cifar,
    "densenet-cifar-free": _densenet_cifar_free,
    "densenet-cifar-depthwise": _densenet_cifar_depthwise,
    "densenet-bc-cifar": _densenet_bc_cifar,
    "densenet-mlp-mnist": _densenet_mlp_mnist,
    "densenet-tiny": _densenet_tiny,
    "densenet-tiny-free": _densenet_tiny_free,
    "ds-cnn-keywords": _ds_cnn_keywords,
    "mlp-anomaly": _mlp_anomaly,
    "mobilenet-v1-vww": _mobilenet_v1_vww,
    "mobilenet-v1-vww-free": _mobilenet_v1_vww_free,
    "mobilenet-v2-imagenet": _mobilenet_v2_imagenet,
    "mobilenet-v2-imagenet-free": _mobilenet_v2_imagenet_free,
    "mobilenet-v2-tiny": _mobilenet_v2_tiny,
    "mobilenet-v2-tiny-free": _mobilenet_v2_tiny_free,
    "resnet-imagenet": _resnet_imagenet,
    "resnet-imagenet-free": _resnet_imagenet_free,
    "resnet-tiny": _resnet_tiny,
    "resnet-tiny-free": _resnet_tiny_free,
    "wide-resnet-cifar": _wide_resnet_cifar,
    "wide-resnet-cifar-free": _wide_resnet_cifar_free,
}
"""What makes a preset's description and definition, by the preset's name."""


@cache
def preset(name: str) -> Preset:
    """Return the preset of a name. Only its space is made: to check those of all takes a tenth of a small search."""
    about, definition = MAKERS[name]()
    return Preset(name, about, decode_space(definition))


def presets() -> dict[str, Preset]:
    """Return every preset by its name."""
    return {name: preset(name) for name in MAKERS}


def resolve_space(data: object) -> Space:
    """Read a space from parsed JSON.

    Args:
        data: A preset's name, a full definition, or a reference to look around (named/scaling.py).

    Raises:
        DefinitionError: There is no such preset, or the definition is wrong; each problem names its field.
    """
    if is_around(data):
        return decode_around(data).spaces[0]
    if not isinstance(data, str):
        return decode_space(data)
    if data not in MAKERS:
        raise DefinitionError.at("", "unknown_preset", one_of(data, MAKERS, "a full definition or "))
    return preset(data).space


def resolve_spaces(data: object) -> AnySpace:
    """Read a space, or a list of several, from parsed JSON.

    Args:
        data: A preset's name, a full definition, a reference to look around, or a list of these.

    Raises:
        DefinitionError: A space is wrong, or spaces do not go together; each problem names its field, after the
            position in the list.
    """
    if not isinstance(data, list):
        return decode_around(data) if is_around(data) else resolve_space(data)
    if len(data) > MOST_SPACES:
        raise DefinitionError.at("", "bad_length", f"must be one space, or a list of 2 to {MOST_SPACES}")
    found: list[Space] = []
    problems: list[Problem] = []
    for number, one in enumerate(data):
        try:
            found.append(resolve_space(one))
        except DefinitionError as error:
            problems += error.under(str(number)).problems
    if problems:
        raise DefinitionError(problems)
    return SeveralSpaces(tuple(found))
