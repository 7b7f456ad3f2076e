"""An architecture as a PyTorch file of its own, which needs torch alone; written here without torch.

The file builds the module that `nnmass_core.nets` builds, with the same names of weights and the same wiring, in fewer
words: state dicts go back and forth between the two.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import groupby
from string import Template
from typing import Any

from nnmass_core.architecture import Architecture
from nnmass_core.families.concatenation import ConcatenationCnn, resolutions
from nnmass_core.families.densenet_cnn import DenseNetCnn
from nnmass_core.families.densenet_cnn_depthwise import DenseNetCnnDepthwise
from nnmass_core.families.densenet_mlp import DenseNetMlp
from nnmass_core.wiring import Layer, draw_wiring

HEADER = Template('''"""A $family network: NN-Mass $mass, $params parameters, $macs multiply-accumulates.

Chosen with nnmass; this file needs torch alone. `build()` returns the module, its weights as torch initialises them;
load trained ones with `build().load_state_dict(...)`. The definition, and the seed that drew the skip wiring, if any:

$definition
seed $seed
"""
''')

IMPORTS = """
from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
"""

CELL = '''
class Cell(nn.Module):
    """Layers that each take the output before them and, from layer 2 on, sampled channels of earlier outputs.

    wiring: for each layer, {earlier layer: its channels that are taken}.
    """

    def __init__(self, layers: list[nn.Module], wiring: list[dict[int, list[int]]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.sources = [list(taken) for taken in wiring]
        for j, taken in enumerate(wiring):
            for source, channels in taken.items():
                self.register_buffer(f"taken_{j}_{source}", torch.tensor(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for j, layer in enumerate(self.layers):
            skips = [outputs[i].index_select(1, self.get_buffer(f"taken_{j}_{i}")) for i in self.sources[j]]
            x = layer(torch.cat([x, *skips], dim=1) if skips else x)
            outputs.append(x)
        return x
'''

CNN_LAYER = '''
def layer(j: int, channels: int, width: int, convolution: nn.Module) -> nn.Module:
    """Layer j of a cell: layers 0 and 1 normalise their output, the others their concatenated input."""
    if j == 0:
        return nn.Sequential(OrderedDict(conv=convolution, norm=nn.BatchNorm2d(width)))
    if j == 1:
        return nn.Sequential(OrderedDict(relu=nn.ReLU(), conv=convolution, norm=nn.BatchNorm2d(width)))
    return nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(channels), relu=nn.ReLU(), conv=convolution))


def cell(channels: int, width: int, wiring: list[dict[int, list[int]]], first: bool) -> Cell:
    """A cell; every one but the first halves the resolution."""
    layers: list[nn.Module] = []
    for j, taken in enumerate(wiring):
        entering = (width if j else channels) + sum(map(len, taken.values()))
        stride = 1 if first or j else 2
        layers.append(layer(j, entering, width, convolution(entering, width, stride, very_first=first and j == 0)))
    return Cell(layers, wiring)


class Network(nn.Module):
    """Images (n, $channels, $height, $width) to scores (n, $classes)."""

    def __init__(self) -> None:
        super().__init__()
        entering = [$channels, *WIDTHS]
        self.cells = nn.Sequential(
            *(cell(entering[i], WIDTHS[i], wiring, first=i == 0) for i, wiring in enumerate(WIRING))
        )
        self.pool = nn.AvgPool2d(2)
        self.classifier = nn.Linear($features, $classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.cells(x)).flatten(1))


def build() -> nn.Module:
    """Return the network."""
    return Network()
'''

PLAIN = '''
def convolution(channels: int, width: int, stride: int, *, very_first: bool) -> nn.Module:
    """A 3x3 convolution."""
    return nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)

'''

SEPARABLE = '''
def convolution(channels: int, width: int, stride: int, *, very_first: bool) -> nn.Module:
    """A 3x3 convolution in the very first layer; then 1x1, 3x3 depthwise and 1x1, each with its BatchNorm."""
    if very_first:
        return nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
    return nn.Sequential(
        OrderedDict(
            expand=nn.Conv2d(channels, width, 1, bias=False),
            expand_norm=nn.BatchNorm2d(width),
            expand_relu=nn.ReLU(),
            depthwise=nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False),
            depthwise_norm=nn.BatchNorm2d(width),
            depthwise_relu=nn.ReLU(),
            project=nn.Conv2d(width, width, 1, bias=False),
            project_norm=nn.BatchNorm2d(width),
        )
    )

'''

MLP = '''
def layer(j: int, features: int, width: int) -> nn.Module:
    """Layer j: layer 0 activates its output, layers from 2 on their concatenated input, layer 1 nothing."""
    linear = nn.Linear(features, width)
    if j == 0:
        return nn.Sequential(OrderedDict(linear=linear, activation=nn.$activation()))
    if j == 1:
        return nn.Sequential(OrderedDict(linear=linear))
    return nn.Sequential(OrderedDict(activation=nn.$activation(), linear=linear))


class Network(nn.Module):
    """Features (n, $features) to scores (n, $classes)."""

    def __init__(self) -> None:
        super().__init__()
        (wiring,), (width,) = WIRING, WIDTHS
        last, layers = len(wiring) - 1, []
        for j, taken in enumerate(wiring):
            entering = (width if j else $features) + sum(map(len, taken.values()))
            layers.append(layer(j, entering, $classes if j == last else width))
        self.cell = Cell(layers, wiring)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x.flatten(1))


def build() -> nn.Module:
    """Return the network."""
    return Network()
'''

ACTIVATIONS = {"relu": "ReLU", "elu": "ELU"}


def pytorch_source(architecture: Architecture, seed: int) -> str:
    """Return the file's text. The seed draws the wiring. Raises DefinitionError for a bad seed."""
    figures = architecture.evaluation
    header = HEADER.substitute(
        family=architecture.family,
        mass=f"{float(figures.mass):,.2f}",
        params=f"{figures.params:,}",
        macs=f"{figures.macs:,}",
        definition=json.dumps(architecture.definition()),
        seed=seed,
    )
    return header + WRITERS[type(architecture)](architecture, seed)


def _dense_cnn(convolution: str) -> Callable[[ConcatenationCnn, int], str]:
    def write(network: ConcatenationCnn, seed: int) -> str:
        height, width = resolutions(network.input, len(network.cells))[-1]
        places = {
            "channels": network.input.channels,
            "height": network.input.height,
            "width": network.input.width,
            "classes": network.num_classes,
            "features": (height // 2) * (width // 2) * network.cells[-1].width,
        }
        text = Template(convolution + CNN_LAYER).substitute(places)
        return IMPORTS + _wiring(network, [cell.width for cell in network.cells], seed) + CELL + "\n" + text

    return write


def _mlp(network: DenseNetMlp, seed: int) -> str:
    places = {
        "activation": ACTIVATIONS[network.activation],
        "features": network.in_features,
        "classes": network.num_classes,
    }
    return IMPORTS + _wiring(network, [network.width], seed) + CELL + "\n" + Template(MLP).substitute(places)


def _wiring(network: Architecture, widths: list[int], seed: int) -> str:
    lines = ["", f"WIDTHS = {widths}", "WIRING: list[list[dict[int, list[int]]]] = ["]
    for width, cell in zip(widths, draw_wiring(network, seed).cells, strict=True):
        lines += ["    [", *(f"        {_by_source(layer, width)}," for layer in cell), "    ],"]
    lines += [
        "]",
        '"""For each layer of each cell, the channels that it takes, by the layer that made them."""',
        "",
        "",
    ]
    return "\n".join(lines)


def _by_source(layer: Layer, width: int) -> dict[int, list[int]]:
    return {source: [n % width for n in taken] for source, taken in groupby(layer, key=lambda n: n // width)}


WRITERS: dict[type[Architecture], Callable[[Any, int], str]] = {
    DenseNetCnn: _dense_cnn(PLAIN),
    DenseNetCnnDepthwise: _dense_cnn(SEPARABLE),
    DenseNetMlp: _mlp,
}
