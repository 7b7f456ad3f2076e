"""Concatenation (DenseNet-type) cells as torch modules: docs/theory.md (1), (13).

As soon as a layer's output exists, the channels that later layers sample are sent to them: one `index_select` for all
of them, whose backward adds all their gradients in one step. A cell therefore pays for the sampled channels, forward
and backward, and not for all channels (docs/adr/0006-skip-wiring.md has the measurements).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, fx, nn

from nnmass_core.wiring import Layer, chooses

WIRING = "wiring"
"""The name of the buffer with a cell's wiring, in the module and in the exported source."""

OTHER_WIRING = "the weights have the wiring of another seed than this network. Build it with the seed of their training"
NO_WIRING = (
    "the weights do not contain their wiring, as those stored by nnmass 0.1.0. If this network has the seed of their "
    "training, load {**module.state_dict(), **weights}"
)


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

    Its state contains the wiring: the integer buffer `wiring`, (sum of L_j,), has the sampled channels of layer after
    layer. Weights load only into a cell of the same wiring; others raise RuntimeError, as wrong sizes do. A cell whose
    wiring is the same for every seed has no such buffer: weights of every seed load.

    Args:
        layers: The layers. The input channels of layer j are those of the previous output, then those that it samples.
        width: The channels of the output of each layer.
        wiring: The channels that each layer samples, as in `Wiring.cells`.
    """

    def __init__(self, layers: Sequence[nn.Module], width: int, wiring: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self._taken = tuple(wiring)
        if chooses(width, [len(taken) for taken in wiring]):
            flat = [channel for taken in wiring for channel in taken]
            self.register_buffer(WIRING, torch.tensor(flat, dtype=torch.int64))
        self._readers: list[dict[int, int]] = []
        for source in range(len(layers)):
            pieces = {j: [n % width for n in taken if n // width == source] for j, taken in enumerate(wiring)}
            self._readers.append({j: len(channels) for j, channels in pieces.items() if channels})
            sent = torch.tensor([channel for channels in pieces.values() for channel in channels], dtype=torch.int64)
            self.register_buffer(f"sent_{source}", sent, persistent=False)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Load a state; one of other wiring is an error, and leaves the wiring as it is."""
        error = self._error_in(state_dict, prefix) if WIRING in self._buffers else None
        if error is not None:
            rest[-1].append(error)  # torch raises these together
            state_dict = {**state_dict, f"{prefix}{WIRING}": self.get_buffer(WIRING)}
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _error_in(self, state_dict: dict[str, Tensor], prefix: str) -> str | None:
        """Return what is wrong with the wiring in a state; None where it is equal, or the cell is not in the state."""
        place, found = prefix.rstrip(".") or "the cell", state_dict.get(f"{prefix}{WIRING}")
        if found is None:
            there = any(name.startswith(prefix) for name in state_dict)
            return f"{place}: {NO_WIRING}" if there else None
        numbers, start = found.tolist(), 0
        for j, end in enumerate(accumulate(map(len, self._taken))):
            if numbers[start:end] != list(self._taken[j]):
                return f"{place}, layer {j}: {OTHER_WIRING}"
            start = end
        return None

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


def with_wiring(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Return a state with the module's wiring where the state has none, as those stored by nnmass 0.1.0.

    Args:
        state: The state of a module of the same architecture and seed; the caller must know that.
        module: The module that is to load it.
    """
    own = {name: buffer for name, buffer in module.named_buffers() if name.rpartition(".")[2] == WIRING}
    return {**own, **state}
