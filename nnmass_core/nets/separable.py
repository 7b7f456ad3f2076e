"""`mobilenet_v1` and `ds_cnn` as torch modules: chains of depthwise separable blocks, docs/theory.md (80)."""

from __future__ import annotations

from torch import Tensor, nn

from nnmass_core.families.separable import SeparableNetwork
from nnmass_core.wiring import Wiring


def separable(i: int, o: int, stride: int, *, bias: bool) -> nn.Sequential:
    """Return a 3x3 depthwise and a 1x1 convolution, each with BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(i, i, 3, stride, padding=1, groups=i, bias=bias),
        nn.BatchNorm2d(i),
        nn.ReLU(inplace=True),
        nn.Conv2d(i, o, 1, bias=bias),
        nn.BatchNorm2d(o),
        nn.ReLU(inplace=True),
    )


class SeparableModule(nn.Module):
    """The network of a `mobilenet_v1` or `ds_cnn`, with torch's default weights: images to (n, classes) scores."""

    def __init__(self, architecture: SeparableNetwork, wiring: Wiring) -> None:
        super().__init__()
        image, channels, bias = architecture.input, architecture.stem_channels, bool(architecture.bias)
        stride, around = architecture.stem_stride, architecture.stem_padding
        stem = nn.Conv2d(image.channels, channels, architecture.stem_kernel, stride, around, bias=bias)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        blocks: list[nn.Module] = []
        for stage in architecture.stages:
            for block in range(stage.repeats):
                blocks.append(separable(channels, stage.channels, stage.stride if block == 0 else 1, bias=bias))
                channels = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, architecture.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes) scores."""
        scores: Tensor = self.classifier(self.pool(self.blocks(self.stem(x))).flatten(1))
        return scores
