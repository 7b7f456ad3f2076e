"""`densenet_mlp` as a torch module: docs/theory.md (15)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from nnmass_core.families.densenet_mlp import DenseNetMlp
from nnmass_core.mass import layer_links
from nnmass_core.nets.concatenation import ConcatenationCell
from nnmass_core.wiring import Wiring

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU}


class DenseNetMlpModule(nn.Module):
    """The network of a `densenet_mlp`, with torch's default weights: (n, in_features) to (n, classes) scores."""

    def __init__(self, architecture: DenseNetMlp, wiring: Wiring) -> None:
        super().__init__()
        layers = [_layer(architecture, j) for j in range(architecture.depth)]
        self.cell = ConcatenationCell(layers, architecture.width, wiring.cells[0])

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, classes) scores; inputs with more dimensions are flattened first."""
        scores: Tensor = self.cell(x.flatten(1))
        return scores


def _layer(network: DenseNetMlp, j: int) -> nn.Sequential:
    """Return layer j: layer 0 activates its output, layers from 2 on their concatenated input, layer 1 nothing."""
    w_in = (network.width if j else network.in_features) + layer_links(network.width, j, network.skip_channels)
    linear = nn.Linear(w_in, network.num_classes if j == network.depth - 1 else network.width)
    activation = ACTIVATIONS[network.activation]()
    parts: dict[str, nn.Module] = {"linear": linear}
    if j == 0:
        parts = {"linear": linear, "activation": activation}
    elif j >= 2:
        parts = {"activation": activation, "linear": linear}
    return nn.Sequential(OrderedDict(parts))
