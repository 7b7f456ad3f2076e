"""`densenet_mlp` as a torch module: docs/theory.md (15), (96)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from nnmass_core.families.concatenation import Cell
from nnmass_core.families.densenet_mlp import DenseNetMlp, Layers
from nnmass_core.mass import layer_links
from nnmass_core.nets.concatenation import ConcatenationCell
from nnmass_core.wiring import Wiring

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU}


class DenseNetMlpModule(nn.Module):
    """The network of a `densenet_mlp`, with torch's default weights: (n, in_features) to (n, classes) scores."""

    def __init__(self, architecture: DenseNetMlp, wiring: Wiring) -> None:
        super().__init__()
        cells: list[ConcatenationCell] = []
        for (cell, w_in, costs), drawn in zip(architecture.placed(), wiring.cells, strict=True):
            layers = [_layer(architecture, cell, j, w_in, costs) for j in range(cell.depth)]
            cells.append(ConcatenationCell(layers, cell.width, drawn))
        self.cell, self.later_cells = cells[0], nn.ModuleList(cells[1:])

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes) scores; inputs with more dimensions are flattened first."""
        x = self.cell(x.flatten(1))
        for cell in self.later_cells:
            x = cell(x)
        return x


def _layer(network: DenseNetMlp, cell: Cell, j: int, w_in: int, costs: Layers) -> nn.Sequential:
    """Return layer j of a cell that reads w_in numbers.

    Layer 0 activates its output, layers from 2 on their concatenated input, layer 1 nothing; the last layer of a cell
    that another follows activates its output too. BatchNorm, where the network has it, precedes each activation.
    """
    inputs = (cell.width if j else w_in) + layer_links(cell.width, j, cell.skip_channels)
    is_last = j == cell.depth - 1
    gives = costs.outputs if is_last and costs.outputs is not None else cell.width
    parts: dict[str, nn.Module] = {}
    if j >= 2:
        parts |= _activated(network, "", inputs)
    parts["linear"] = nn.Linear(inputs, gives)
    if j == 0:
        parts |= _activated(network, "", gives)
    elif is_last and costs.outputs is None:
        parts |= _activated(network, "output_", gives)
    return nn.Sequential(OrderedDict(parts))


def _activated(network: DenseNetMlp, prefix: str, numbers: int) -> dict[str, nn.Module]:
    """Return BatchNorm, where the network has it, and the activation of some numbers."""
    norm: dict[str, nn.Module] = {f"{prefix}norm": nn.BatchNorm1d(numbers)} if network.batchnorm else {}
    return {**norm, f"{prefix}activation": ACTIVATIONS[network.activation]()}
