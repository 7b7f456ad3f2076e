"""`resnet` as a torch module: torchvision's network with any stem and stages, docs/theory.md (16), (17), (85), (86)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from nnmass_core.families.resnet import STEMS, ResNet
from nnmass_core.wiring import Wiring


class RegNetBlock(nn.Module):
    """A block of RegNetX: torchvision's `ResBottleneckBlock` with the names of `Bottleneck`, the shortcut first."""

    expansion = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Sequential | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: type[nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        groups = max(planes // base_width, 1)
        self.downsample = downsample
        self.conv1, self.bn1 = nn.Conv2d(inplanes, planes, 1, bias=False), norm_layer(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, groups=groups, bias=False)
        self.bn2 = norm_layer(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, planes, 1, bias=False), norm_layer(planes)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps of the block."""
        main = self.relu(self.bn1(self.conv1(x)))
        main = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(main)))))
        found: Tensor = self.relu(main + (x if self.downsample is None else self.downsample(x)))
        return found


BLOCKS: dict[str, type[BasicBlock | Bottleneck | RegNetBlock]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
    "regnet_x": RegNetBlock,
}
"""The class of the blocks, by `block`."""


class ResNetModule(TorchvisionResNet):
    """torchvision's ResNet with other stages; weights have torchvision's names, `layer1`, `layer2` and so on."""

    def __init__(self, architecture: ResNet, wiring: Wiring) -> None:
        nn.Module.__init__(self)
        block = BLOCKS[architecture.block]
        self._norm_layer = nn.BatchNorm2d
        stem, channels = STEMS[architecture.stem], architecture.stem_channels
        self.inplanes, self.dilation = channels, 1
        self.groups, self.base_width = architecture.groups, architecture.width_per_group
        image, padding = architecture.input.channels, stem.kernel // 2
        self.conv1 = nn.Conv2d(image, channels, stem.kernel, stem.stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem.pooled else nn.Identity()
        self._stages: list[str] = []
        for k, stage in enumerate(architecture.stages, start=1):
            self._stages.append(f"layer{k}")
            made = self._make_layer(
                block, stage.channels, stage.repeats, stride=architecture.first_stride if k == 1 else 2
            )
            self.add_module(f"layer{k}", made)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(architecture.stages[-1].channels * block.expansion, architecture.num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if architecture.bias:
                    module.bias = nn.Parameter(torch.zeros(module.out_channels))
            elif isinstance(module, block) and module.downsample and not architecture.projection_norm:
                del module.downsample[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes) scores for images (n, channels, height, width)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self._stages:
            x = self.get_submodule(stage)(x)
        scores: Tensor = self.fc(self.avgpool(x).flatten(1))
        return scores
