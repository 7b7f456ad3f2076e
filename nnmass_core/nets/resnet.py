"""`resnet` as a torch module: torchvision's network with any stem and stages, docs/theory.md (16), (17), (85)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from nnmass_core.families.resnet import STEMS, ResNet
from nnmass_core.wiring import Wiring


class ResNetModule(TorchvisionResNet):
    """torchvision's ResNet with other stages; weights have torchvision's names, `layer1`, `layer2` and so on."""

    def __init__(self, architecture: ResNet, wiring: Wiring) -> None:
        nn.Module.__init__(self)
        block = BasicBlock if architecture.block == "basic" else Bottleneck
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
            made = self._make_layer(block, stage.channels, stage.repeats, stride=1 if k == 1 else 2)
            self.add_module(f"layer{k}", made)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(architecture.stages[-1].channels * block.expansion, architecture.num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if architecture.bias:
                    module.bias = nn.Parameter(torch.zeros(module.out_channels))
            elif isinstance(module, BasicBlock | Bottleneck) and module.downsample and not architecture.projection_norm:
                del module.downsample[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes) scores for images (n, channels, height, width)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self._stages:
            x = self.get_submodule(stage)(x)
        scores: Tensor = self.fc(self.avgpool(x).flatten(1))
        return scores
