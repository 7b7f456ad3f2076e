"""Concatenation (DenseNet-type) cells as torch modules: docs/theory.md (1), (13).

As soon as a layer's output exists, the channels that later layers sample are sent to them: one `index_select` for all
of them, whose backward adds all their gradients in one step. A cell therefore pays for the sampled channels, forward
and backward, and not for all channels (docs/adr/0006-skip-wiring.md has the measurements).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from nnmass_core.wiring import Layer


@fx.wrap  # one step of the traced graph
def send(output: Tensor, channels: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """Return the selected channels of a layer's output, (n, w, ...), split into one piece per receiving layer."""
    if torch.compiler.is_exporting() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        # the runtime that loads an exported file has its own layout: a plain gather leaves no transpositions in the
        # graph
        return output.index_select(1, channels).split(list(sizes), dim=1)
    last = output.movedim(1, -1)
    # The rows are a view where channels are last in memory, and selecting columns of a matrix is torch's fast path.
    pieces = last.flatten(0, -2).index_select(1, channels).split(list(sizes), dim=1)
    # Copies join faster than views, and each copy's memory is free as soon as its layer has read it.
    return tuple(piece.contiguous().unflatten(0, last.shape[:-1]).movedim(-1, 1) for piece in pieces)


@fx.wrap
def concatenate(newest: Tensor, pieces: Sequence[Tensor]) -> Tensor:
    """Return a layer's input: the previous output, then the sampled channels of the others in their order."""
    return torch.cat([newest, *pieces], dim=1)


class ConcatenationCell(nn.Module):
    """A cell of layers 0 .. d-1; each takes the previous output and its sampled channels of earlier outputs.

    Args:
        layers: The layers. The input channels of layer j are those of the previous output, then those that it samples.
        width: The channels of the output of each layer.
        wiring: The channels that each layer samples, as in `Wiring.cells`.
    """

    def __init__(self, layers: Sequence[nn.Module], width: int, wiring: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self._readers: list[dict[int, int]] = []
        for source in range(len(layers)):
            pieces = {j: [n % width for n in taken if n // width == source] for j, taken in enumerate(wiring)}
            self._readers.append({j: len(channels) for j, channels in pieces.items() if channels})
            sent = torch.tensor([channel for channels in pieces.values() for channel in channels], dtype=torch.int64)
            self.register_buffer(f"sent_{source}", sent, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the last layer's output for the cell's input.

        Args:
            x: The input of the cell, (n, channels, ...).
        """
        waiting: dict[int, list[Tensor]] = defaultdict(list)
        for j, layer in enumerate(self.layers):
            pieces = waiting.pop(j, [])
            x = layer(concatenate(x, pieces) if pieces else x)
            readers = self._readers[j]
            if readers:
                sent = send(x, self.get_buffer(f"sent_{j}"), list(readers.values()))
                for place, reader in enumerate(readers):
                    waiting[reader].append(sent[place])
        return x
