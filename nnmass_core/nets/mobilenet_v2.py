"""`mobilenet_v2` as a torch module: torchvision's network with its channels taken literally, docs/theory.md (19)."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.mobilenetv2 import MobileNetV2 as TorchvisionMobileNetV2
from torchvision.ops import Conv2dNormActivation, SqueezeExcitation

from nnmass_core.families.mobilenet_v2 import InvertedStage, MobileNetV2
from nnmass_core.wiring import Wiring

DROPOUT = 0.2
ACTIVATIONS = {"relu6": nn.ReLU6, "relu": nn.ReLU, "hardswish": nn.Hardswish, "silu": nn.SiLU}


class InvertedResidual(nn.Module):
    """An inverted residual; without squeeze-and-excitation its weights have the names of torchvision's."""

    def __init__(self, i: int, stage: InvertedStage, stride: int, activation: type[nn.Module]) -> None:
        super().__init__()
        h, o = i * stage.expansion, stage.channels
        layers: list[nn.Module] = []
        if stage.expansion > 1:
            layers.append(Conv2dNormActivation(i, h, 1, activation_layer=activation))
        layers.append(Conv2dNormActivation(h, h, stage.kernel, stride, groups=h, activation_layer=activation))
        if stage.se:
            layers.append(SqueezeExcitation(h, max(1, i // stage.se), activation=activation))
        self.conv = nn.Sequential(*layers, nn.Conv2d(h, o, 1, bias=False), nn.BatchNorm2d(o))
        self.joined = stride == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps of the block, with its input added where it has a shortcut."""
        found: Tensor = self.conv(x)
        return x + found if self.joined else found


class MobileNetV2Module(TorchvisionMobileNetV2):
    """torchvision's MobileNetV2 with other stages, stem and last channels; weights have torchvision's names."""

    def __init__(self, architecture: MobileNetV2, wiring: Wiring) -> None:
        nn.Module.__init__(self)
        channels, activation = architecture.stem_channels, ACTIVATIONS[architecture.activation]
        image, stride = architecture.input.channels, architecture.stem_stride
        features: list[nn.Module] = [Conv2dNormActivation(image, channels, stride=stride, activation_layer=activation)]
        for stage in architecture.stages:
            for block in range(stage.repeats):
                stride = stage.stride if block == 0 else 1
                features.append(InvertedResidual(channels, stage, stride, activation))
                channels = stage.channels
        last = architecture.last_channels
        features.append(Conv2dNormActivation(channels, last, kernel_size=1, activation_layer=activation))
        self.features = nn.Sequential(*features)
        self.last_channel = last
        self.classifier = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(last, architecture.num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)
