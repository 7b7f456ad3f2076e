"""`mobilenet_v2` as a torch module: torchvision's network with its channels taken literally, docs/theory.md (19)."""

from __future__ import annotations

from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.mobilenetv2 import MobileNetV2 as TorchvisionMobileNetV2
from torchvision.ops import Conv2dNormActivation

from nnmass_core.families.mobilenet_v2 import MobileNetV2
from nnmass_core.wiring import Wiring

DROPOUT = 0.2


class MobileNetV2Module(TorchvisionMobileNetV2):
    """torchvision's MobileNetV2 with other stages, stem and last channels; weights have torchvision's names."""

    def __init__(self, architecture: MobileNetV2, wiring: Wiring) -> None:
        nn.Module.__init__(self)
        channels = architecture.stem_channels
        features: list[nn.Module] = [
            Conv2dNormActivation(architecture.input.channels, channels, stride=2, activation_layer=nn.ReLU6)
        ]
        for stage in architecture.stages:
            for block in range(stage.repeats):
                stride = stage.stride if block == 0 else 1
                features.append(InvertedResidual(channels, stage.channels, stride, stage.expansion))
                channels = stage.channels
        last = architecture.last_channels
        features.append(Conv2dNormActivation(channels, last, kernel_size=1, activation_layer=nn.ReLU6))
        self.features = nn.Sequential(*features)
        self.last_channel = last
        self.classifier = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(last, architecture.num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)
