"""`wide_resnet_cifar` as a torch module: pre-activation wide residual networks, docs/theory.md (18)."""

from __future__ import annotations

from torch import Tensor, nn

from nnmass_core.families.wide_resnet_cifar import STEM, WideResNetCifar
from nnmass_core.wiring import Wiring


class WideBlock(nn.Module):
    """BatchNorm, ReLU, 3x3, BatchNorm, ReLU, 3x3, and a shortcut: a 1x1 convolution where channels or size change."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(i)
        self.conv1 = nn.Conv2d(i, o, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if i != o or stride != 1:
            self.shortcut = nn.Conv2d(i, o, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        main = self.conv1(self.relu(self.norm1(x)))
        main = self.conv2(self.relu(self.norm2(main)))
        out: Tensor = main + self.shortcut(x)
        return out


class WideResNetCifarModule(nn.Module):
    """The network of a `wide_resnet_cifar`, with torch's default weights: images to (n, classes) scores."""

    def __init__(self, architecture: WideResNetCifar, wiring: Wiring) -> None:
        super().__init__()
        self.stem = nn.Conv2d(architecture.input.channels, STEM, 3, padding=1, bias=False)
        channels, stages = STEM, []
        for k, stage in enumerate(architecture.stages):
            blocks: list[nn.Module] = []
            for block in range(stage.repeats):
                blocks.append(WideBlock(channels, stage.channels, 2 if k and block == 0 else 1))
                channels = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, architecture.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes) scores."""
        x = self.relu(self.norm(self.stages(self.stem(x))))
        scores: Tensor = self.classifier(self.pool(x).flatten(1))
        return scores
