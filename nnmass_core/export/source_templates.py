"""The templates of exported PyTorch files, which `pytorch_source` fills in."""

from __future__ import annotations

from string import Template

HEADER = Template('''"""A $family network: NN-Mass $mass, $params parameters, $macs multiply-accumulates.

$origin

Selected with nnmass. This file requires only torch. Definition:

$definition
"""
''')

TRAINED = Template("""\
The network of the training with seed $seed. `build()` returns it with weights that torch initializes; load the trained
ones with `build().load_state_dict(torch.load("$weights", weights_only=True))`.""")

UNTRAINED = Template("""\
Not trained: `build()` returns the network with weights that torch initializes.
$wiring""")

SEEDED = Template("""\
Its skip wiring is that of seed $seed. Weights of a training with another seed have another wiring, and do not load;
each training gives a file for its weights, network-seed<number>.py.""")

UNSEEDED = """\
The seed of a training does not change the network: `build().load_state_dict(...)` loads trained weights of every seed.\
"""

IMPORTS = """
from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
"""

TORCH_IMPORTS = """
from __future__ import annotations

import torch
from torch import Tensor, nn
"""

PLAIN_IMPORTS = """
from __future__ import annotations

from torch import Tensor, nn
"""

CELL = '''
class Cell(nn.Module):
    """Layers that each take the output before them and, from layer 2 on, sampled channels of earlier outputs.

    wiring: for each layer, {earlier layer: its channels that this layer takes}. The state has it as the buffer
    `wiring`, so that weights of another wiring do not load; but not where every layer takes all channels or none.
    """

    def __init__(self, layers: list[nn.Module], width: int, wiring: list[dict[int, list[int]]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.sources = [list(taken) for taken in wiring]
        for j, taken in enumerate(wiring):
            for source, channels in taken.items():
                self.register_buffer(f"taken_{j}_{source}", torch.tensor(channels), persistent=False)
        self.numbers = [[source * width + n for source in taken for n in taken[source]] for taken in wiring]
        if any(0 < len(numbers) < width * (j - 1) for j, numbers in enumerate(self.numbers)):
            self.register_buffer("wiring", torch.tensor([n for numbers in self.numbers for n in numbers]))

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors):
        name, place = f"{prefix}wiring", prefix.rstrip(".") or "the cell"
        if "wiring" in self._buffers and name in state_dict:
            numbers, start = state_dict[name].tolist(), 0
            for j, own in enumerate(self.numbers):
                if numbers[start : start + len(own)] != own:
                    errors.append(
                        f"{place}, layer {j}: the weights have the wiring of another seed; this file has that of seed "
                        f"{WIRING_SEED}. Take the file of their training, network-seed<number>.py"
                    )
                    state_dict = {**state_dict, name: self.wiring}
                    break
                start += len(own)
        elif "wiring" in self._buffers and any(key.startswith(prefix) for key in state_dict):
            errors.append(
                f"{place}: the weights do not contain their wiring, as those stored by nnmass 0.1.0. If they were "
                f"trained with seed {WIRING_SEED}, load {{**module.state_dict(), **weights}}"
            )
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)

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
    """Layer j of a cell: layers 0 and 1 normalize their output, the others their concatenated input."""
    if j == 0:
        return nn.Sequential(OrderedDict(conv=convolution, norm=nn.BatchNorm2d(width)))
    if j == 1:
        return nn.Sequential(OrderedDict(relu=nn.ReLU(), conv=convolution, norm=nn.BatchNorm2d(width)))
    return nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(channels), relu=nn.ReLU(), conv=convolution))


def cell(channels: int, width: int, wiring: list[dict[int, list[int]]], first: bool) -> Cell:
    """A cell. Every cell except the first halves the resolution."""
    layers: list[nn.Module] = []
    for j, taken in enumerate(wiring):
        entering = (width if j else channels) + sum(map(len, taken.values()))
        stride = 1 if first or j else 2
        layers.append(layer(j, entering, width, convolution(entering, width, stride, very_first=first and j == 0)))
    return Cell(layers, width, wiring)


class Network(nn.Module):
    """Images (n, $channels, $height, $width) to scores (n, $classes)."""

    def __init__(self) -> None:
        super().__init__()
        entering = [$channels, *WIDTHS]
        self.cells = nn.Sequential(
            *(cell(entering[i], WIDTHS[i], wiring, first=i == 0) for i, wiring in enumerate(WIRING))
        )
        self.pool = nn.AvgPool2d($pool)
        self.classifier = nn.Linear($features, $classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.cells(x)).flatten(1))


def build() -> nn.Module:
    """Return the network."""
    return Network()
'''

PLAIN = '''
def convolution(channels: int, width: int, stride: int, *, very_first: bool) -> nn.Module:
    """A $by convolution."""
    return nn.Conv2d(channels, width, $kernel, stride, padding=$padding, bias=False)

'''

SEPARABLE = '''
def convolution(channels: int, width: int, stride: int, *, very_first: bool) -> nn.Module:
    """A $by convolution in the very first layer; in others 1x1, $by depthwise and 1x1, each with its BatchNorm."""
    if very_first:
        return nn.Conv2d(channels, width, $kernel, stride, padding=$padding, bias=False)
    return nn.Sequential(
        OrderedDict(
            expand=nn.Conv2d(channels, width, 1, bias=False),
            expand_norm=nn.BatchNorm2d(width),
            expand_relu=nn.ReLU(),
            depthwise=nn.Conv2d(width, width, $kernel, stride, padding=$padding, groups=width, bias=False),
            depthwise_norm=nn.BatchNorm2d(width),
            depthwise_relu=nn.ReLU(),
            project=nn.Conv2d(width, width, 1, bias=False),
            project_norm=nn.BatchNorm2d(width),
        )
    )

'''

MLP = '''
def activated(prefix: str, features: int) -> list[tuple[str, nn.Module]]:
    """$normalized."""
    return [$norm(f"{prefix}activation", nn.$activation())]


def layer(j: int, features: int, width: int, ends: bool) -> nn.Module:
    """Layer j of a cell: layer 0 activates its output, layers 2 and later their concatenated input.

    ends: whether it is the last layer of a cell that another follows; it then activates its output too.
    """
    parts = [*(activated("", features) if j >= 2 else []), ("linear", nn.Linear(features, width))]
    if j == 0 or ends:
        parts += activated("output_" if j else "", width)
    return nn.Sequential(OrderedDict(parts))


class Network(nn.Module):
    """Features (n, $features) to $gives (n, $classes)."""

    def __init__(self) -> None:
        super().__init__()
        cells = []
        for c, (wiring, width) in enumerate(zip(WIRING, WIDTHS)):
            last, layers = len(wiring) - 1, []
            for j, taken in enumerate(wiring):
                entering = (width if j else [$features, *WIDTHS][c]) + sum(map(len, taken.values()))
                ends = j == last and c + 1 < len(WIDTHS)
                layers.append(layer(j, entering, width if j < last or ends else $classes, ends))
            cells.append(Cell(layers, width, wiring))
        self.cell, self.later_cells = cells[0], nn.ModuleList(cells[1:])

    def forward(self, x: Tensor) -> Tensor:
        x = self.cell(x.flatten(1))
        for cell in self.later_cells:
            x = cell(x)
        return x


def build() -> nn.Module:
    """Return the network."""
    return Network()
'''

MOBILENET = '''
STAGES = $stages
"""$fields of each stage."""


def convolution(i: int, o: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """A convolution with BatchNorm and $activation."""
    padding = (kernel - 1) // 2
    conv = nn.Conv2d(i, o, kernel, stride, padding=padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(o), nn.$activation(inplace=True))


$squeeze$block


class Network(nn.Module):
    """Images (n, $channels, $height, $width) to scores (n, $classes)."""

    def __init__(self) -> None:
        super().__init__()
        channels, features = $stem, [convolution($channels, $stem, 3, $stem_stride)]
        for $names in STAGES:
            for block in range(repeats):
                features.append(InvertedResidual(channels, width, stride if block == 0 else 1, $given))
                channels = width
        self.features = nn.Sequential(*features, convolution(channels, $last, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear($last, $classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def build() -> nn.Module:
    """Return the network."""
    return Network()
'''

INVERTED = '''class InvertedResidual(nn.Module):
    """1x1 to expansion times the channels (omitted if expansion is 1), 3x3 depthwise, 1x1 back, and a shortcut."""

    def __init__(self, i: int, o: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = i * expansion
        layers = [convolution(i, inner, 1)] if expansion != 1 else []
        layers += [convolution(inner, inner, 3, stride, groups=inner)]
        self.conv = nn.Sequential(*layers, nn.Conv2d(inner, o, 1, bias=False), nn.BatchNorm2d(o))
        self.shortcut = stride == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)'''

SQUEEZING = '''class SqueezeExcitation(nn.Module):
    """Scales each channel by a factor between 0 and 1, which two layers compute from the means of all channels."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.$activation()

    def forward(self, x: Tensor) -> Tensor:
        scale = self.fc2(self.activation(self.fc1(x.mean((2, 3), keepdim=True))))
        return scale.sigmoid() * x


'''

INVERTED_WITH_MORE = '''class InvertedResidual(nn.Module):
    """1x1 to expansion times the channels (omitted if expansion is 1), depthwise, 1x1 back, and a shortcut.

    se: input channels for each channel that squeeze-and-excitation squeezes to; 0 for none.
    """

    def __init__(self, i: int, o: int, stride: int, expansion: int, kernel: int, se: int) -> None:
        super().__init__()
        inner = i * expansion
        layers = [convolution(i, inner, 1)] if expansion != 1 else []
        layers += [convolution(inner, inner, kernel, stride, groups=inner)]
        layers += [SqueezeExcitation(inner, max(1, i // se))] if se else []
        self.conv = nn.Sequential(*layers, nn.Conv2d(inner, o, 1, bias=False), nn.BatchNorm2d(o))
        self.shortcut = stride == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)'''

RESNET = '''
STAGES = $stages
"""Channels (planes) and repeats of each stage."""


class Block(nn.Module):
$block

class Network(nn.Module):
    """Images (n, $channels, $height, $width) to scores (n, $classes)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d($channels, $stem, $kernel, $stem_stride, padding=$padding, bias=$bias)
        self.bn1 = nn.BatchNorm2d($stem)
$pool        channels = $stem
        for k, (planes, repeats) in enumerate(STAGES, start=1):
            blocks = []
            for block in range(repeats):
                blocks.append(Block(channels, planes, 2 if ${begins}block == 0 else 1))
                channels = $expansion * planes
            self.add_module(f"layer{k}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, $classes)

    def forward(self, x: Tensor) -> Tensor:
        x = $pooled
        for k in range(len(STAGES)):
            x = self.get_submodule(f"layer{k + 1}")(x)
        return self.fc(x.mean((2, 3)))


def build() -> nn.Module:
    """Return the network."""
    return Network()
'''

BASIC_BLOCK = '''    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, i: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(i, planes, 3, stride, padding=1, bias=$bias)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=$bias)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or i != planes:
            self.downsample = nn.Sequential(nn.Conv2d(i, planes, 1, stride, bias=$bias)$norm)

    def forward(self, x: Tensor) -> Tensor:
        main = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(main + (x if self.downsample is None else self.downsample(x)))
'''

BOTTLENECK = '''    """1x1, grouped 3x3 and 1x1 convolutions and a shortcut."""

    def __init__(self, i: int, planes: int, stride: int) -> None:
        super().__init__()
        $widths
        self.conv1 = nn.Conv2d(i, inner, 1, bias=$bias)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=$grouped, bias=$bias)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, o, 1, bias=$bias)
        self.bn3 = nn.BatchNorm2d(o)
        self.downsample = None
        if stride != 1 or i != o:
            self.downsample = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=$bias)$norm)

    def forward(self, x: Tensor) -> Tensor:
        main = torch.relu(self.bn1(self.conv1(x)))
        main = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(main)))))
        return torch.relu(main + (x if self.downsample is None else self.downsample(x)))
'''

WIDE = '''
STAGES = $stages
"""Channels and repeats of each stage."""


class Block(nn.Module):
    """BatchNorm, ReLU, 3x3, BatchNorm, ReLU, 3x3, and a shortcut."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(i)
        self.conv1 = nn.Conv2d(i, o, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(i, o, 1, stride, bias=False) if stride != 1 or i != o else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        main = self.conv2(torch.relu(self.norm2(self.conv1(torch.relu(self.norm1(x))))))
        return main + self.shortcut(x)


class Network(nn.Module):
    """Images (n, $channels, $height, $width) to scores (n, $classes)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d($channels, 16, 3, padding=1, bias=False)
        channels, stages = 16, []
        for k, (width, repeats) in enumerate(STAGES):
            blocks = []
            for block in range(repeats):
                blocks.append(Block(channels, width, 2 if k and block == 0 else 1))
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, $classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stages(self.stem(x))))
        return self.classifier(x.mean((2, 3)))


def build() -> nn.Module:
    """Return the network."""
    return Network()
'''

SEPARABLE_BLOCKS = '''
STAGES = $stages
"""Channels, repeats and stride of each stage."""


def separable(i: int, o: int, stride: int) -> nn.Module:
    """A 3x3 depthwise and a 1x1 convolution, each with BatchNorm and ReLU."""
    depthwise = nn.Conv2d(i, i, 3, stride, padding=1, groups=i, bias=$bias)
    pointwise = nn.Conv2d(i, o, 1, bias=$bias)
    return nn.Sequential(depthwise, nn.BatchNorm2d(i), nn.ReLU(), pointwise, nn.BatchNorm2d(o), nn.ReLU())


class Network(nn.Module):
    """Images (n, $channels, $height, $width) to scores (n, $classes)."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Conv2d($channels, $stem, $kernel, $stem_stride, padding=$padding, bias=$bias)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d($stem), nn.ReLU())
        channels, blocks = $stem, []
        for width, repeats, stride in STAGES:
            for block in range(repeats):
                blocks.append(separable(channels, width, stride if block == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, $classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


def build() -> nn.Module:
    """Return the network."""
    return Network()
'''

DENSE_BC = '''
LAYERS = $layers
"""Layers of each block."""


class Layer(nn.Module):
$layer

class Network(nn.Module):
    """Images (n, $channels, $height, $width) to scores (n, $classes)."""

    def __init__(self) -> None:
        super().__init__()
        features, i = nn.Sequential(), $stem
        features.add_module("conv0", nn.Conv2d($channels, i, $kernel, $stem_stride, padding=$padding, bias=False))
$pool        for k, layers in enumerate(LAYERS, start=1):
            block = nn.Sequential()
            for layer in range(layers):
                block.add_module(f"denselayer{layer + 1}", Layer(i))
                i += $growth
            features.add_module(f"denseblock{k}", block)
            if k < len(LAYERS):
                transition, o = nn.Sequential(), i * $compression // 100
                transition.add_module("norm", nn.BatchNorm2d(i))
                transition.add_module("relu", nn.ReLU())
                transition.add_module("conv", nn.Conv2d(i, o, 1, bias=False))
                transition.add_module("pool", nn.AvgPool2d(2))
                features.add_module(f"transition{k}", transition)
                i = o
        features.add_module(f"norm{len(LAYERS) + 1}", nn.BatchNorm2d(i))
        self.features = features
        self.classifier = nn.Linear(i, $classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.relu(self.features(x)).mean((2, 3)))


def build() -> nn.Module:
    """Return the network."""
    return Network()
'''

DENSE_POOL = """        features.add_module("norm0", nn.BatchNorm2d($stem))
        features.add_module("relu0", nn.ReLU())
        features.add_module("pool0", nn.MaxPool2d(3, 2, padding=1))
"""

DENSE_BOTTLENECK = '''    """BatchNorm, ReLU and 1x1, BatchNorm, ReLU and 3x3; the result joins the input."""

    def __init__(self, i: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(i)
        self.conv1 = nn.Conv2d(i, $inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d($inner)
        self.conv2 = nn.Conv2d($inner, $growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(torch.relu(self.norm2(new)))], dim=1)
'''

DENSE_PLAIN = '''    """BatchNorm, ReLU and a 3x3 convolution; the result joins the input."""

    def __init__(self, i: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(i)
        self.conv1 = nn.Conv2d(i, $growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv1(torch.relu(self.norm1(x)))], dim=1)
'''

CONVNEXT = '''
STAGES = $stages
"""Channels and blocks of each stage."""


class Norm(nn.LayerNorm):
    """LayerNorm over the channels of maps."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Permute(nn.Module):
    """Another order of the axes."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


class Block(nn.Module):
    """Depthwise convolution, LayerNorm, Linear, GELU and Linear, scaled and added to the input."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(c, c, $kernel, padding=$padding, groups=c),
            Permute(0, 2, 3, 1),
            nn.LayerNorm(c, 1e-6),
            nn.Linear(c, $expansion * c),
            nn.GELU(),
            nn.Linear($expansion * c, c),
            Permute(0, 3, 1, 2),
        )
        self.layer_scale = nn.Parameter(torch.full((c, 1, 1), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer_scale * self.block(x)


class Network(nn.Module):
    """Images (n, $channels, $height, $width) to scores (n, $classes)."""

    def __init__(self) -> None:
        super().__init__()
        i = STAGES[0][0]
        features: list[nn.Module] = [nn.Sequential(nn.Conv2d($channels, i, $patch, $patch), Norm(i, 1e-6))]
        for k, (c, blocks) in enumerate(STAGES):
            if k:
                features.append(nn.Sequential(Norm(i, 1e-6), nn.Conv2d(i, c, 2, 2)))
            features.append(nn.Sequential(*(Block(c) for _ in range(blocks))))
            i = c
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(Norm(i, 1e-6), nn.Flatten(1), nn.Linear(i, $classes))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3), keepdim=True))


def build() -> nn.Module:
    """Return the network."""
    return Network()
'''
