"""Definitions of well-known networks, by the names that torchvision, or else their source, gives them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from math import ceil

from nnmass_core.architecture import Architecture
from nnmass_core.codec import JsonObject, one_of
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_architecture
from nnmass_core.named.model_files import TAKEN, is_model_file
from nnmass_core.spaces.multipliers import nearest_multiple

IMAGENET: JsonObject = {"input": {"channels": 3, "height": 224, "width": 224}, "num_classes": 1000}

INVERTED = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, repeats and stride of MobileNetV2's stages (Sandler et al., CVPR 2018, table 2)."""

Setting = tuple[int, ...]
"""Expansion, channels, repeats, stride, and where they are not the usual ones kernel and se of one stage."""

MNASNET = (
    *((1, 16, 1, 1), (3, 24, 3, 2), (3, 40, 3, 2, 5), (6, 80, 3, 2, 5), (6, 96, 2, 1), (6, 192, 4, 2, 5)),
    (6, 320, 1, 1),
)
"""MnasNet-B1 (Tan et al., CVPR 2019, figure 7)."""

MNASNETS = {"0_5": 0.5, "0_75": 0.75, "1_0": 1.0, "1_3": 1.3}
"""Multipliers of the width."""

EFFICIENTNET = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 40, 2, 2, 5), (6, 80, 3, 2), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5)),
    (6, 320, 1, 1),
)
"""EfficientNet-B0 without squeeze-and-excitation (Tan and Le, ICML 2019, table 1)."""

EFFICIENTNETS = {
    "efficientnet_b0": (1.0, 1.0, 224),
    "efficientnet_b1": (1.0, 1.1, 240),
    "efficientnet_b2": (1.1, 1.2, 288),
    "efficientnet_b3": (1.2, 1.4, 300),
    "efficientnet_b4": (1.4, 1.8, 380),
}
"""Multipliers of width and depth, and the side of the images with which torchvision's weights were tested."""

SQUEEZED_TO_A_QUARTER = 4

PROXYLESS = (
    *((1, 16, 1, 1), (3, 32, 1, 2, 5), (3, 32, 1, 1), (3, 40, 1, 2, 7), (3, 40, 1, 1), (3, 40, 2, 1, 5)),
    *((6, 80, 1, 2, 7), (3, 80, 3, 1, 5), (6, 96, 1, 1, 5), (3, 96, 3, 1, 5), (6, 192, 2, 2, 7), (3, 192, 2, 1, 7)),
    (6, 320, 1, 1, 7),
)
"""ProxylessNAS for mobile phones (Cai, Zhu, Han, ICLR 2019)."""

SEPARABLE = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
"""Channels, repeats and stride of MobileNetV1's stages (Howard et al., 2017, table 1)."""

WAKE_WORDS: JsonObject = {"input": {"channels": 3, "height": 96, "width": 96}, "num_classes": 2}
KEYWORDS: JsonObject = {"input": {"channels": 1, "height": 49, "width": 10}, "num_classes": 12}
"""Inputs and classes of two of MLPerf Tiny's tasks (Banbury et al., NeurIPS 2021, table 1)."""

SOUNDS = 640
"""Numbers of one input of MLPerf Tiny's anomaly detection: five frames of 128 frequencies."""

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

REGNETS = {
    "400mf": (16, (32, 64, 160, 400), (1, 2, 7, 12)),
    "800mf": (16, (64, 128, 288, 672), (1, 3, 7, 5)),
    "1_6gf": (24, (72, 168, 408, 912), (2, 4, 10, 2)),
    "3_2gf": (48, (96, 192, 432, 1008), (2, 6, 15, 2)),
    "8gf": (120, (80, 240, 720, 1920), (2, 5, 15, 1)),
    "16gf": (128, (256, 512, 896, 2048), (2, 6, 13, 1)),
    "32gf": (168, (336, 672, 1344, 2520), (2, 7, 13, 1)),
}
"""RegNetX (Radosavovic et al., CVPR 2020), as torchvision has them: group width, channels, repeats of each stage."""

DENSENETS = {
    "densenet121": (32, (6, 12, 24, 16)),
    "densenet161": (48, (6, 12, 36, 24)),
    "densenet169": (32, (6, 12, 32, 32)),
    "densenet201": (32, (6, 12, 48, 32)),
}
"""Growth and layers of each block (Huang et al., CVPR 2017, table 1); 161 as torchvision has it."""

CONVNEXTS = {
    "convnext_tiny": ((96, 192, 384, 768), (3, 3, 9, 3)),
    "convnext_small": ((96, 192, 384, 768), (3, 3, 27, 3)),
    "convnext_base": ((128, 256, 512, 1024), (3, 3, 27, 3)),
    "convnext_large": ((192, 384, 768, 1536), (3, 3, 27, 3)),
}
"""Channels and blocks of each stage (Liu et al., CVPR 2022, section 3)."""

SMALL_IMAGES: JsonObject = {"input": {"channels": 3, "height": 32, "width": 32}, "num_classes": 10}
CIFAR_RESNETS = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9, "resnet110": 18}
"""Blocks of each of the three stages of 16, 32 and 64 channels (He et al., CVPR 2016, section 4.2)."""


CIFAR_DENSENETS = {"densenet40_k12": (16, 12, 0, 100), "densenet100_k12_bc": (24, 16, 4, 50)}
"""Stem channels, layers of each of the three blocks, bottleneck and compression (Huang et al., section 4.2)."""


def _inverted(
    settings: Iterable[Setting], *, stem: int = 32, last: int = 1280, side: int = 224, activation: str = "relu6"
) -> Architecture:
    keys = ("expansion", "channels", "repeats", "stride", "kernel", "se")
    stages = [dict(zip(keys, setting, strict=False)) for setting in settings]
    form: JsonObject = {"family": "mobilenet_v2", **IMAGENET, "stem_channels": stem, "last_channels": last}
    image: JsonObject = {"channels": 3, "height": side, "width": side}
    return decode_architecture(form | {"input": image, "stages": stages, "activation": activation})


def _mnasnet(width: float) -> Architecture:
    settings = [(e, nearest_multiple(c * width), *rest) for e, c, *rest in MNASNET]
    return _inverted(settings, stem=nearest_multiple(32 * width), activation="relu")


def _efficientnet(width: float, depth: float, side: int) -> Architecture:
    settings = []
    for expansion, channels, repeats, stride, *kernel in EFFICIENTNET:
        scaled = (expansion, nearest_multiple(channels * width), ceil(repeats * depth), stride)
        settings.append((*scaled, *(kernel or [3]), SQUEEZED_TO_A_QUARTER))
    last = 4 * settings[-1][1]
    return _inverted(settings, stem=nearest_multiple(32 * width), last=last, side=side, activation="silu")


def _separable(image: JsonObject, width: float) -> Architecture:
    keys = ("channels", "repeats", "stride")
    stages = [dict(zip(keys, (int(c * width), *rest), strict=True)) for c, *rest in SEPARABLE]
    form = {"family": "mobilenet_v1", **image, "stem_channels": int(32 * width), "stages": stages}
    return decode_architecture(form)


def _keyword_spotter() -> Architecture:
    """Return MLPerf Tiny's network for keyword spotting, the DS-CNN of Zhang et al., 2017, for 49 x 10 features."""
    kernel = {"stem_kernel_height": 10, "stem_kernel_width": 4}
    stages = [{"channels": 64, "repeats": 4, "stride": 1}]
    return decode_architecture({"family": "ds_cnn", **KEYWORDS, "stem_channels": 64, **kernel, "stages": stages})


def _autoencoder() -> Architecture:
    """Return MLPerf Tiny's network for anomaly detection, 640-128x4-8-128x4-640, which reconstructs its input."""
    outputs: JsonObject = {"in_features": SOUNDS, "num_classes": SOUNDS, "outputs": "reconstruction"}
    first, *later = ({"width": w, "depth": d, "skip_channels": 0} for w, d in ((128, 4), (8, 1), (128, 5)))
    kind: JsonObject = {"family": "densenet_mlp", "activation": "relu", "batchnorm": 1}
    return decode_architecture({**kind, **outputs, **first, "later_cells": later})


def _resnet(block: str, repeats: tuple[int, ...], groups: int, width_per_group: int) -> Architecture:
    stages = [{"channels": planes, "repeats": n} for planes, n in zip(PLANES, repeats, strict=True)]
    form = {"family": "resnet", **IMAGENET, "block": block, "stages": stages}
    return decode_architecture(form | {"groups": groups, "width_per_group": width_per_group})


def _resnet_of_small_images(planes: tuple[int, ...], repeats: int, *, stem: int, **more: str | int) -> Architecture:
    stages = [{"channels": channels, "repeats": repeats} for channels in planes]
    kind: JsonObject = {"block": "basic", "stem": "small", "stem_channels": stem, **more}
    return decode_architecture({"family": "resnet", **SMALL_IMAGES, **kind, "stages": stages})


def _regnet(group_width: int, channels: tuple[int, ...], repeats: tuple[int, ...]) -> Architecture:
    stages = [{"channels": c, "repeats": n} for c, n in zip(channels, repeats, strict=True)]
    kind: JsonObject = {"block": "regnet_x", "width_per_group": group_width, "first_stride": 2}
    stem: JsonObject = {"stem": "halving", "stem_channels": 32}
    return decode_architecture({"family": "resnet", **IMAGENET, **kind, **stem, "stages": stages})


def _convnext(channels: tuple[int, ...], repeats: tuple[int, ...]) -> Architecture:
    stages = [{"channels": c, "repeats": n} for c, n in zip(channels, repeats, strict=True)]
    return decode_architecture({"family": "convnext", **IMAGENET, "stages": stages})


def _densenet(growth: int, layers: tuple[int, ...]) -> Architecture:
    form: JsonObject = {"family": "densenet_bc", **IMAGENET, "stem_channels": 2 * growth, "growth": growth}
    return decode_architecture(form | {"stages": [{"layers": n} for n in layers]})


def _densenet_of_small_images(stem: int, layers: int, bottleneck: int, compression: int) -> Architecture:
    form: JsonObject = {"family": "densenet_bc", **SMALL_IMAGES, "stem": "small", "stem_channels": stem, "growth": 12}
    kind: JsonObject = {"bottleneck": bottleneck, "compression": compression}
    return decode_architecture(form | kind | {"stages": [{"layers": layers}] * 3})


@cache
def named_networks() -> dict[str, Architecture]:
    """Return every network by its name: for ImageNet's 1,000 classes, for CIFAR-10's 10, or for MLPerf Tiny's tasks."""
    chains = {
        "mobilenet_v1": _separable(IMAGENET, 1.0),
        "mlperf-tiny-vww": _separable(WAKE_WORDS, 0.25),
        "mlperf-tiny-kws": _keyword_spotter(),
        "mlperf-tiny-ad": _autoencoder(),
    }
    inverted = {
        "mobilenet_v2": _inverted(INVERTED),
        **{f"mnasnet{name}": _mnasnet(width) for name, width in MNASNETS.items()},
        **{name: _efficientnet(*form) for name, form in EFFICIENTNETS.items()},
        "efficientnet_lite0": _inverted(EFFICIENTNET),
        "proxyless_mobile": _inverted(PROXYLESS),
    }
    small = {
        **{name: _resnet_of_small_images((16, 32, 64), n, stem=16) for name, n in CIFAR_RESNETS.items()},
        "resnet18_cifar": _resnet_of_small_images(PLANES, 2, stem=64),
        "resnext29_8x64d": _resnet_of_small_images(
            PLANES[:3], 3, stem=64, block="bottleneck", groups=8, width_per_group=64
        ),
        "mlperf-tiny-resnet8": _resnet_of_small_images((16, 32, 64), 1, stem=16, bias=1, projection_norm=0),
    }
    return (
        inverted
        | chains
        | {name: _resnet(*form) for name, form in RESNETS.items()}
        | small
        | {f"regnet_x_{name}": _regnet(*form) for name, form in REGNETS.items()}
        | {name: _convnext(*form) for name, form in CONVNEXTS.items()}
        | {name: _densenet(*form) for name, form in DENSENETS.items()}
        | {name: _densenet_of_small_images(*form) for name, form in CIFAR_DENSENETS.items()}
    )


def named_network(name: str) -> Architecture:
    """Return a network by its name. Raises DefinitionError."""
    if is_model_file(name):
        raise DefinitionError.at("", "model_file", f"cannot be a model file; {TAKEN}")
    if name not in named_networks():
        raise DefinitionError.at("", "unknown_network", one_of(name, named_networks()))
    return named_networks()[name]
