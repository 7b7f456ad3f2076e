"""Write an architecture as a standalone PyTorch file that needs only torch, or as JSON; writing does not need torch.

The file builds the same module as `nnmass_core.nets`, with the same names of weights and the same wiring, but in less
code: state dicts can be loaded in either. Weights that were trained with another wiring are refused, as the state of a
cell has its wiring.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import groupby
from string import Template
from typing import Any

from nnmass_core.architecture import Architecture, ImageArchitecture
from nnmass_core.codec import as_integer, unknown_fields
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.export.artifacts import ARTIFACTS
from nnmass_core.export.source_templates import (
    BASIC_BLOCK,
    BOTTLENECK,
    CELL,
    CNN_LAYER,
    CONVNEXT,
    DENSE_BC,
    DENSE_BOTTLENECK,
    DENSE_PLAIN,
    DENSE_POOL,
    HEADER,
    IMPORTS,
    INVERTED,
    INVERTED_WITH_MORE,
    MLP,
    MOBILENET,
    PLAIN,
    PLAIN_IMPORTS,
    RESNET,
    SEEDED,
    SEPARABLE,
    SEPARABLE_BLOCKS,
    SQUEEZING,
    TORCH_IMPORTS,
    TRAINED,
    UNSEEDED,
    UNTRAINED,
    WIDE,
)
from nnmass_core.families import FAMILIES, decode_architecture
from nnmass_core.families.concatenation import ConcatenationCnn, Head, kernel_of, pool_of, resolutions
from nnmass_core.families.convnext import KERNEL, ConvNeXt
from nnmass_core.families.densenet_bc import DenseNetBc
from nnmass_core.families.densenet_cnn import DenseNetCnn
from nnmass_core.families.densenet_cnn_depthwise import DenseNetCnnDepthwise
from nnmass_core.families.densenet_mlp import DenseNetMlp
from nnmass_core.families.mobilenet_v2 import MobileNetV2
from nnmass_core.families.resnet import EXPANSION, STEMS, ResNet
from nnmass_core.families.separable import DsCnn, MobileNetV1, SeparableNetwork
from nnmass_core.families.wide_resnet_cifar import WideResNetCifar
from nnmass_core.wiring import Layer, depends_on_seed, draw_wiring

ACTIVATIONS = {"relu": "ReLU", "elu": "ELU", "relu6": "ReLU6", "hardswish": "Hardswish", "silu": "SiLU"}


def file_without_torch(architecture: Architecture, form: str, seed: int) -> bytes | None:
    """Return an architecture as a file of a form that needs no torch to be written, `json` or `pytorch`, else None.

    Raises DefinitionError for a bad seed.
    """
    if form == "json":
        return (json.dumps(architecture.definition(), indent=2) + "\n").encode()
    if form == "pytorch":
        return pytorch_source(architecture, seed).encode()
    return None


def artifact_without_torch(architecture: Architecture, kind: str, seed: int) -> bytes:
    """Return a file of a training with a seed, `source` or `definition`.

    The source is the PyTorch file into which the weights of this seed load. The definition is a JSON object with
    `architecture`, `seed` and `wiring`, which `Wiring.from_json` reads.

    Raises:
        DefinitionError: The network is of an installed family that brings no writer of its source.
    """
    if kind == "source":
        return pytorch_source(architecture, seed, ARTIFACTS["weights"].name(seed)).encode()
    wiring = draw_wiring(architecture, seed).to_json()
    return (json.dumps({"architecture": architecture.definition(), "seed": seed, "wiring": wiring}) + "\n").encode()


def read_definition(data: Mapping[str, object]) -> tuple[Architecture, int]:
    """Return the network and the seed of a training's file `definition`.

    Args:
        data: The parsed JSON, as `artifact_without_torch` writes it.

    Raises:
        DefinitionError: A field is wrong, or the wiring is not the one that the seed draws.
    """
    names = {"architecture", "seed", "wiring"}
    missing = [Problem(name, "required", "is required") for name in sorted(names - data.keys())]
    problems = [*unknown_fields(data, names), *missing]
    if problems:
        raise DefinitionError(problems)
    try:
        architecture = decode_architecture(data["architecture"])
    except DefinitionError as error:
        raise error.under("architecture") from error
    seed = as_integer(data["seed"])
    drawn = draw_wiring(architecture, seed)  # type: ignore[arg-type]  # refuses what is no integer
    if data["wiring"] != drawn.to_json():
        raise DefinitionError.at("wiring", "other_seed", "is not the wiring that the seed draws for this network")
    return architecture, seed  # type: ignore[return-value]


def artifact_kinds(architecture: Architecture) -> list[str]:
    """Return the kinds of files that trainings of a network give: without a writer there is no source."""
    return [kind for kind in ARTIFACTS if kind != "source" or has_source(architecture)]


def has_source(architecture: Architecture) -> bool:
    """Return whether a PyTorch file of the network can be written: an installed family may bring no writer."""
    return _writer(architecture) is not None


def _writer(architecture: Architecture) -> Callable[[Any, int], str] | None:
    return WRITERS.get(type(architecture)) or FAMILIES[architecture.family].source


def pytorch_source(architecture: Architecture, seed: int, weights: str | None = None) -> str:
    """Return the text of an architecture's PyTorch file.

    Args:
        architecture: The network that the file builds.
        seed: Draws the wiring.
        weights: The name of the file with the weights of the training with this seed, which the text mentions; None
            for a network that is not trained, as the text then says.

    Raises:
        DefinitionError: The seed is out of range, or the network is of an installed family that brings no writer.
    """
    writer = _writer(architecture)
    if writer is None:
        raise DefinitionError.at("format", "no_source", f"is not available for the family {architecture.family}")
    figures = architecture.evaluation
    header = HEADER.substitute(
        family=architecture.family,
        mass=f"{float(figures.mass):,.2f}",
        params=f"{figures.params:,}",
        macs=f"{figures.macs:,}",
        origin=_origin(architecture, seed, weights),
        definition=json.dumps(architecture.definition()),
    )
    return header + writer(architecture, seed)


def _origin(architecture: Architecture, seed: int, weights: str | None) -> str:
    """Return what the file says about training and wiring."""
    if weights is not None:
        return TRAINED.substitute(seed=seed, weights=weights)
    wiring = SEEDED.substitute(seed=seed) if depends_on_seed(architecture) else UNSEEDED
    return UNTRAINED.substitute(wiring=wiring)


def _dense_cnn(convolution: str) -> Callable[[ConcatenationCnn, int], str]:
    def write(network: ConcatenationCnn, seed: int) -> str:
        last = resolutions(network.input, len(network.cells))[-1]
        kernel, pool = kernel_of(last), pool_of(last)
        places = {
            "by": "x".join(map(str, kernel)),
            "kernel": 3 if kernel == (3, 3) else kernel,
            "padding": 1 if kernel == (3, 3) else tuple(side // 2 for side in kernel),
            "pool": 2 if pool == (2, 2) else pool,
            "channels": network.input.channels,
            "height": network.input.height,
            "width": network.input.width,
            "classes": network.num_classes,
            "features": Head(last, network.num_classes).pooled * network.cells[-1].width,
        }
        text = Template(convolution + CNN_LAYER).substitute(places)
        return IMPORTS + _wiring(network, [cell.width for cell in network.cells], seed) + CELL + "\n" + text

    return write


def _mlp(network: DenseNetMlp, seed: int) -> str:
    places = {
        "activation": ACTIVATIONS[network.activation],
        "norm": '(f"{prefix}norm", nn.BatchNorm1d(features)), ' if network.batchnorm else "",
        "normalized": "BatchNorm and activation" if network.batchnorm else "The activation",
        "features": network.in_features,
        "gives": "scores" if network.classifies else "a reconstruction",
        "classes": network.num_classes,
    }
    widths = [cell.width for cell in network.cells]
    return IMPORTS + _wiring(network, widths, seed) + CELL + "\n" + Template(MLP).substitute(places)


def _mobilenet_v2(network: MobileNetV2, seed: int) -> str:
    stages = [(s.expansion, s.channels, s.repeats, s.stride, s.kernel, s.se) for s in network.stages]
    plain = all((stage.kernel, stage.se) == (3, 0) for stage in network.stages)
    activation = ACTIVATIONS[network.activation]
    places = _image(network) | {
        "stages": [stage[:4] for stage in stages] if plain else stages,
        "fields": "Expansion, channels, repeats" + (" and stride" if plain else ", stride, kernel and se"),
        "names": "expansion, width, repeats, stride" + ("" if plain else ", kernel, se"),
        "given": "expansion" if plain else "expansion, kernel, se",
        "block": INVERTED if plain else INVERTED_WITH_MORE,
        "squeeze": "" if plain else Template(SQUEEZING).substitute(activation=activation),
        "activation": activation,
        "stem": network.stem_channels,
        "stem_stride": network.stem_stride,
        "last": network.last_channels,
    }
    return PLAIN_IMPORTS + Template(MOBILENET).substitute(places)


def _resnet(network: ResNet, seed: int) -> str:
    basic = network.block == "basic"
    bias, channels = bool(network.bias), "planes" if basic else "o"
    widths = f"inner, o = planes * {network.width_per_group} // 64 * {network.groups}, {EXPANSION} * planes"
    groups: dict[str, object] = {"widths": widths, "grouped": network.groups}
    if network.block == "regnet_x":
        groups = {"widths": "inner = o = planes", "grouped": f"max(inner // {network.width_per_group}, 1)"}
    groups |= {"bias": bias, "norm": f", nn.BatchNorm2d({channels})" if network.projection_norm else ""}
    stem, stemmed = STEMS[network.stem], "torch.relu(self.bn1(self.conv1(x)))"
    places = _image(network) | {
        "stages": [(stage.channels, stage.repeats) for stage in network.stages],
        "begins": "k > 1 and " if network.first_stride == 1 else "",
        "expansion": EXPANSION if network.block == "bottleneck" else 1,
        "block": Template(BASIC_BLOCK if basic else BOTTLENECK).substitute(groups),
        "bias": bias,
        "stem": network.stem_channels,
        "kernel": stem.kernel,
        "stem_stride": stem.stride,
        "padding": stem.kernel // 2,
        "pool": "        self.maxpool = nn.MaxPool2d(3, 2, padding=1)\n" if stem.pooled else "",
        "pooled": f"self.maxpool({stemmed})" if stem.pooled else stemmed,
    }
    return TORCH_IMPORTS + Template(RESNET).substitute(places)


def _wide_resnet_cifar(network: WideResNetCifar, seed: int) -> str:
    places = _image(network) | {"stages": [(stage.channels, stage.repeats) for stage in network.stages]}
    return TORCH_IMPORTS + Template(WIDE).substitute(places)


def _separable(network: SeparableNetwork, seed: int) -> str:
    places = _image(network) | {
        "stages": [(stage.channels, stage.repeats, stage.stride) for stage in network.stages],
        "stem": network.stem_channels,
        "stem_stride": network.stem_stride,
        "kernel": network.stem_kernel,
        "padding": network.stem_padding,
        "bias": bool(network.bias),
    }
    return PLAIN_IMPORTS + Template(SEPARABLE_BLOCKS).substitute(places)


def _convnext(network: ConvNeXt, seed: int) -> str:
    places = _image(network) | {
        "stages": [(stage.channels, stage.repeats) for stage in network.stages],
        "patch": network.patch,
        "expansion": network.expansion,
        "kernel": KERNEL,
        "padding": KERNEL // 2,
    }
    return TORCH_IMPORTS + Template(CONVNEXT).substitute(places)


def _densenet_bc(network: DenseNetBc, seed: int) -> str:
    stem, bottleneck = STEMS[network.stem], network.bottleneck
    layer = {"growth": network.growth, "inner": bottleneck * network.growth}
    pooling = Template(DENSE_POOL).substitute(stem=network.stem_channels) if stem.pooled else ""
    places = _image(network) | {
        "layers": [stage.layers for stage in network.stages],
        "growth": network.growth,
        "compression": network.compression,
        "stem": network.stem_channels,
        "kernel": stem.kernel,
        "stem_stride": stem.stride,
        "padding": stem.kernel // 2,
        "pool": pooling,
        "layer": Template(DENSE_BOTTLENECK if bottleneck else DENSE_PLAIN).substitute(layer),
    }
    return TORCH_IMPORTS + Template(DENSE_BC).substitute(places)


def _image(network: ImageArchitecture) -> dict[str, object]:
    image = network.input
    places: dict[str, object] = {"channels": image.channels, "height": image.height, "width": image.width}
    return places | {"classes": network.num_classes}


def _wiring(network: Architecture, widths: list[int], seed: int) -> str:
    lines = ["", f"WIDTHS = {widths}", f"WIRING_SEED = {seed}", "WIRING: list[list[dict[int, list[int]]]] = ["]
    for width, cell in zip(widths, draw_wiring(network, seed).cells, strict=True):
        lines += ["    [", *(f"        {_by_source(layer, width)}," for layer in cell), "    ],"]
    lines += [
        "]",
        '"""For each layer of each cell: the channels that it takes, by the layer that computes them."""',
        "",
        "",
    ]
    return "\n".join(lines)


def _by_source(layer: Layer, width: int) -> dict[int, list[int]]:
    return {source: [n % width for n in taken] for source, taken in groupby(layer, key=lambda n: n // width)}


WRITERS: dict[type[Architecture], Callable[[Any, int], str]] = {
    ConvNeXt: _convnext,
    DenseNetBc: _densenet_bc,
    DenseNetCnn: _dense_cnn(PLAIN),
    DenseNetCnnDepthwise: _dense_cnn(SEPARABLE),
    DenseNetMlp: _mlp,
    DsCnn: _separable,
    MobileNetV1: _separable,
    MobileNetV2: _mobilenet_v2,
    ResNet: _resnet,
    WideResNetCifar: _wide_resnet_cifar,
}
"""The function that writes the file of each built-in family."""
