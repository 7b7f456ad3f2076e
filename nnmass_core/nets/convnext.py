"""`convnext` as a torch module: docs/theory.md (101). Its weights have the names of torchvision's ConvNeXt."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d
from torchvision.ops.misc import Permute

from nnmass_core.families.convnext import KERNEL, ConvNeXt
from nnmass_core.wiring import Wiring

EPSILON = 1e-6
SCALE = 1e-6
"""What the scales of a block's channels start with."""


class ConvNeXtBlock(nn.Module):
    """torchvision's block with any expansion, and without stochastic depth, which does nothing at inference."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        inner = expansion * channels
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, KERNEL, padding=KERNEL // 2, groups=channels),
            Permute([0, 2, 3, 1]),
            nn.LayerNorm(channels, EPSILON),
            nn.Linear(channels, inner),
            nn.GELU(),
            nn.Linear(inner, channels),
            Permute([0, 3, 1, 2]),
        )
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps of the block."""
        found: Tensor = x + self.layer_scale * self.block(x)
        return found


class ConvNeXtModule(nn.Module):
    """The network of a `convnext`, with torchvision's initial weights: images to (n, classes) scores."""

    def __init__(self, architecture: ConvNeXt, wiring: Wiring) -> None:
        super().__init__()
        first, patch = architecture.stages[0].channels, architecture.patch
        stem = nn.Conv2d(architecture.input.channels, first, patch, patch)
        features: list[nn.Module] = [nn.Sequential(stem, LayerNorm2d(first, EPSILON))]
        before = first
        for number, stage in enumerate(architecture.stages):
            c = stage.channels
            if number:
                features.append(nn.Sequential(LayerNorm2d(before, EPSILON), nn.Conv2d(before, c, 2, 2)))
            features.append(nn.Sequential(*(ConvNeXtBlock(c, architecture.expansion) for _ in range(stage.repeats))))
            before = c
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        last = nn.Linear(before, architecture.num_classes)
        self.classifier = nn.Sequential(LayerNorm2d(before, EPSILON), nn.Flatten(1), last)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes) scores."""
        scores: Tensor = self.classifier(self.avgpool(self.features(x)))
        return scores
