"""Architectures as torch modules (the extra `train`). A new family is one file and one line here.

Families of other packages define how their modules are built (`Family.module`).

Only this package and the code that trains, measures and exports its modules import torch; the API and the search worker
do not.
"""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

import torch
from torch import nn

from nnmass_core.architecture import Architecture
from nnmass_core.errors import NotPossible
from nnmass_core.families import FAMILIES
from nnmass_core.families.convnext import ConvNeXt
from nnmass_core.families.densenet_bc import DenseNetBc
from nnmass_core.families.densenet_cnn import DenseNetCnn
from nnmass_core.families.densenet_cnn_depthwise import DenseNetCnnDepthwise
from nnmass_core.families.densenet_mlp import DenseNetMlp
from nnmass_core.families.mobilenet_v2 import MobileNetV2
from nnmass_core.families.resnet import ResNet
from nnmass_core.families.separable import DsCnn, MobileNetV1
from nnmass_core.families.wide_resnet_cifar import WideResNetCifar
from nnmass_core.wiring import Wiring, draw_wiring

MODULES: dict[type[Architecture], str] = {
    ConvNeXt: "nnmass_core.nets.convnext:ConvNeXtModule",
    DenseNetBc: "nnmass_core.nets.densenet_bc:DenseNetBcModule",
    DenseNetCnn: "nnmass_core.nets.densenet_cnn:DenseNetCnnModule",
    DenseNetCnnDepthwise: "nnmass_core.nets.densenet_cnn_depthwise:DenseNetCnnDepthwiseModule",
    DenseNetMlp: "nnmass_core.nets.densenet_mlp:DenseNetMlpModule",
    DsCnn: "nnmass_core.nets.separable:SeparableModule",
    MobileNetV1: "nnmass_core.nets.separable:SeparableModule",
    MobileNetV2: "nnmass_core.nets.mobilenet_v2:MobileNetV2Module",
    ResNet: "nnmass_core.nets.resnet:ResNetModule",
    WideResNetCifar: "nnmass_core.nets.wide_resnet_cifar:WideResNetCifarModule",
}
"""Where the class is that builds the module of each built-in family from an architecture and its wiring.

It is imported when it is used: two of them need torchvision, which takes as long to import as torch.
"""


def assemble(architecture: Architecture, wiring: Wiring) -> nn.Module:
    """Return the module of an architecture with a wiring; its weights have torch's default initialization.

    Convolution kernels are in channels-last memory format, and so are the feature maps that they compute: on CPUs this
    makes BatchNorm and the skip wiring several times faster. Weights are drawn from torch's global generator. Raises
    DefinitionError where the wiring does not belong to the architecture, NotPossible where an installed family has no
    module.
    """
    wiring.check(architecture)
    return _maker(architecture)(architecture, wiring).to(memory_format=torch.channels_last)


def _maker(architecture: Architecture) -> Callable[[Any, Wiring], nn.Module]:
    place = MODULES.get(type(architecture))
    maker: Callable[[Any, Wiring], nn.Module] | None
    maker = resolve_name(place) if place else FAMILIES[architecture.family].module
    if maker is None:
        raise NotPossible("no_module", f"the family {architecture.family} does not define its modules")
    return maker


def build(architecture: Architecture, seed: int) -> nn.Module:
    """Return the module of an architecture.

    The state of torch's global generator is unchanged.

    Args:
        architecture: The network.
        seed: An integer from 0 to 2**53 - 1, which fixes its wiring and its initial weights.

    Raises:
        DefinitionError: The seed is not such an integer.
        NotPossible: The family belongs to an installed package that does not define its modules.
    """
    wiring = draw_wiring(architecture, seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return assemble(architecture, wiring)


__all__ = ["MODULES", "assemble", "build"]
