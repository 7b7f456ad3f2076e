"""`densenet_cnn` as a torch module, and what `densenet_cnn_depthwise` shares: docs/theory.md (13), (14), (97)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from nnmass_core.families.concatenation import Cell, ConcatenationCnn, Head, kernel_of, pool_of, resolutions
from nnmass_core.mass import layer_links
from nnmass_core.nets.concatenation import ConcatenationCell
from nnmass_core.wiring import Layer, Wiring


class DenseNetCnnModule(nn.Module):
    """The network of a `densenet_cnn`, with torch's default weights: images (n, channels, height, width) to scores."""

    def __init__(self, architecture: ConcatenationCnn, wiring: Wiring) -> None:
        super().__init__()
        channels, cells = architecture.input.channels, []
        self.kernel = kernel_of((architecture.input.height, architecture.input.width))
        self.padding = (self.kernel[0] // 2, self.kernel[1] // 2)
        for index, (cell, taken) in enumerate(zip(architecture.cells, wiring.cells, strict=True)):
            cells.append(self._cell(index, channels, cell, taken))
            channels = cell.width
        height, width = resolutions(architecture.input, len(cells))[-1]
        self.cells = nn.Sequential(*cells)
        self.pool = nn.AvgPool2d(pool_of((height, width)))
        pooled = Head((height, width), architecture.num_classes).pooled
        self.classifier = nn.Linear(pooled * channels, architecture.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes) scores."""
        scores: Tensor = self.classifier(self.pool(self.cells(x)).flatten(1))
        return scores

    def convolution(self, w_in: int, w: int, stride: int, *, very_first: bool) -> nn.Module:
        """Return a layer's convolution."""
        return nn.Conv2d(w_in, w, self.kernel, stride, padding=self.padding, bias=False)

    def _cell(self, index: int, w_in: int, cell: Cell, wiring: tuple[Layer, ...]) -> ConcatenationCell:
        w, layers = cell.width, []
        for j in range(cell.depth):
            channels = (w if j else w_in) + layer_links(w, j, cell.skip_channels)
            stride = 2 if index and not j else 1
            layers.append(_layer(j, channels, w, self.convolution(channels, w, stride, very_first=index + j == 0)))
        return ConcatenationCell(layers, w, wiring)


def _layer(j: int, w_in: int, w: int, convolution: nn.Module) -> nn.Sequential:
    """Return layer j: layers 0 and 1 normalize their output, the others their concatenated input."""
    parts: dict[str, nn.Module]
    if j == 0:
        parts = {"conv": convolution, "norm": nn.BatchNorm2d(w)}
    elif j == 1:  # its input is output 0, which later layers take without the ReLU
        parts = {"relu": nn.ReLU(), "conv": convolution, "norm": nn.BatchNorm2d(w)}
    else:
        parts = {"norm": nn.BatchNorm2d(w_in), "relu": nn.ReLU(inplace=True), "conv": convolution}
    return nn.Sequential(OrderedDict(parts))
