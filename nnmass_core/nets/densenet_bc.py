"""`densenet_bc` as a torch module: docs/theory.md (94). Its weights have the names of torchvision's DenseNet."""

from __future__ import annotations

from torch import Tensor, nn

from nnmass_core.families.densenet_bc import DenseNetBc
from nnmass_core.families.resnet import STEMS
from nnmass_core.nets import concatenation
from nnmass_core.wiring import Wiring


class DenseLayer(nn.Module):
    """BatchNorm, ReLU and a 3x3 convolution, with a bottleneck after a 1x1 convolution; the result joins the input.

    Args:
        i: Channels in.
        growth: Channels that the layer adds.
        bottleneck: Channels of the 1x1 convolution as a multiple of growth; 0: there is none.
    """

    def __init__(self, i: int, growth: int, bottleneck: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if bottleneck:
            inner = bottleneck * growth
            layers += [nn.BatchNorm2d(i), nn.ReLU(inplace=True), nn.Conv2d(i, inner, 1, bias=False)]
            i = inner
        layers += [nn.BatchNorm2d(i), nn.ReLU(inplace=True), nn.Conv2d(i, growth, 3, padding=1, bias=False)]
        for place, layer in enumerate(layers):
            self.add_module(f"{('norm', 'relu', 'conv')[place % 3]}{place // 3 + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return the channels of `x`, (n, i, height, width), and after them those that the layer adds."""
        new = x
        for layer in self.children():
            new = layer(new)
        return concatenation.concatenate(x, [new])


def dense_block(i: int, growth: int, bottleneck: int, layers: int) -> nn.Sequential:
    """Return a block of layers."""
    block = nn.Sequential()
    for number in range(layers):
        block.add_module(f"denselayer{number + 1}", DenseLayer(i + number * growth, growth, bottleneck))
    return block


def transition(i: int, o: int) -> nn.Sequential:
    """Return BatchNorm, ReLU, a 1x1 convolution and 2x2 average pooling."""
    layers = nn.Sequential()
    layers.add_module("norm", nn.BatchNorm2d(i))
    layers.add_module("relu", nn.ReLU(inplace=True))
    layers.add_module("conv", nn.Conv2d(i, o, 1, bias=False))
    layers.add_module("pool", nn.AvgPool2d(2))
    return layers


class DenseNetBcModule(nn.Module):
    """The network of a `densenet_bc`, with torch's default weights: images to (n, classes) scores."""

    def __init__(self, architecture: DenseNetBc, wiring: Wiring) -> None:
        super().__init__()
        stem, s, blocks = STEMS[architecture.stem], architecture.stem_channels, architecture.placed()
        features = nn.Sequential()
        features.add_module(
            "conv0",
            nn.Conv2d(architecture.input.channels, s, stem.kernel, stem.stride, padding=stem.kernel // 2, bias=False),
        )
        if stem.pooled:
            features.add_module("norm0", nn.BatchNorm2d(s))
            features.add_module("relu0", nn.ReLU(inplace=True))
            features.add_module("pool0", nn.MaxPool2d(3, 2, padding=1))
        for number, block in enumerate(blocks, start=1):
            layers = dense_block(block.entering, architecture.growth, architecture.bottleneck, block.layers)
            features.add_module(f"denseblock{number}", layers)
            if block.kept:
                features.add_module(f"transition{number}", transition(block.joined, block.kept))
        channels = blocks[-1].joined
        features.add_module(f"norm{len(blocks) + 1}", nn.BatchNorm2d(channels))
        self.features = features
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, architecture.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes) scores."""
        scores: Tensor = self.classifier(self.pool(self.relu(self.features(x))).flatten(1))
        return scores
