"""Measure how fast the skip wiring of a `densenet_cnn` module trains, compared with plain and with no wiring.

python -m bench.modules [--rounds N] [--threads N ...]

One step is forward and backward of 64 images of 3x32x32 through 3 cells of depth 13, widths 32, 64, 128, t_c 40, 80,
125. Three variants alternate in one process:

* ours: the product's module;
* plain: the same layers wired as in the publication's code: at each layer concatenate all earlier outputs, index
  the sampled channels, and concatenate them with the newest output. Once in torch's default layout, once with
  kernels and images in channels-last memory like ours;
* unwired: each layer of our module (its convolution, BatchNorm and ReLU) and its head on a prepared input of its own,
  of the same shape and memory format: no gathering, no concatenation, but every gradient that the network needs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnmass_core.families import decode_architecture
from nnmass_core.nets import assemble
from nnmass_core.nets.concatenation import ConcatenationCell
from nnmass_core.wiring import Layer, draw_wiring

RESULTS = Path(__file__).parent / "results"
BATCH = 64
WARMING_UP = 3
"""Rounds that do not count: until then the heap grows."""

NETWORK = {
    "family": "densenet_cnn",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "cells": [{"width": w, "depth": 13, "skip_channels": t} for w, t in ((32, 40), (64, 80), (128, 125))],
}


class PlainCell(nn.Module):
    """A cell's layers, wired by concatenating everything and indexing it."""

    def __init__(self, cell: ConcatenationCell, wiring: tuple[Layer, ...]) -> None:
        super().__init__()
        self.layers = cell.layers
        for j, taken in enumerate(wiring):
            self.register_buffer(f"taken_{j}", torch.tensor(taken, dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the last layer's output."""
        outputs: list[Tensor] = []
        for j, layer in enumerate(self.layers):
            if j >= 2:
                x = torch.cat([x, torch.cat(outputs[:-1], dim=1)[:, self.get_buffer(f"taken_{j}")]], dim=1)
            x = layer(x)
            outputs.append(x)
        return x


def make_ours() -> Any:
    """Return the product's module, with weights of one seed."""
    torch.manual_seed(0)
    architecture = decode_architecture(NETWORK)
    return assemble(architecture, draw_wiring(architecture, 0))


def make_plain(memory_format: torch.memory_format) -> Any:
    """Return the same network with plain wiring."""
    module, wiring = make_ours(), draw_wiring(decode_architecture(NETWORK), 0)
    module.cells = nn.Sequential(*(PlainCell(cell, w) for cell, w in zip(module.cells, wiring.cells, strict=True)))
    return module.to(memory_format=memory_format)


def train(module: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Run one step."""
    module.zero_grad()
    functional.cross_entropy(module(images), labels).backward()


class Unwired:
    """The layers and the head of a network, each on a prepared input and with a prepared gradient of its output."""

    def __init__(self, module: Any, images: Tensor) -> None:
        self._module = module
        self._parts: list[tuple[nn.Module, Tensor, Tensor]] = []
        parts = [*(layer for cell in module.cells for layer in cell.layers), module.pool, module.classifier]
        hooks = [part.register_forward_hook(self._record) for part in parts]
        module(images)
        for hook in hooks:
            hook.remove()

    def _record(self, part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ready = inputs[0].detach().clone().requires_grad_(inputs[0].requires_grad)
        self._parts.append((part, ready, torch.randn_like(output)))

    def train(self) -> None:
        """Run one step."""
        self._module.zero_grad()
        for _, ready, _ in self._parts:
            ready.grad = None
        outputs = [part(ready) for part, ready, _ in self._parts]
        torch.autograd.backward(outputs, [gradient for _, _, gradient in self._parts])


def ways() -> dict[str, Callable[[], None]]:
    """Return one step of each variant by its name."""
    torch.manual_seed(0)
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))
    last = images.to(memory_format=torch.channels_last)
    ours, plain, plain_last = make_ours(), make_plain(torch.contiguous_format), make_plain(torch.channels_last)
    return {
        "ours": lambda: train(ours, images, labels),
        "plain": lambda: train(plain, images, labels),
        "plain, channels last": lambda: train(plain_last, last, labels),
        "unwired": Unwired(make_ours(), images).train,
    }


def measure(rounds: int, threads: int) -> dict[str, Any]:
    """Return seconds of each variant's steps, and the median over rounds of its time over ours in the same round."""
    torch.set_num_threads(threads)
    steps = ways()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(WARMING_UP + rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number >= WARMING_UP:
                seconds[name].append(time.perf_counter() - start)
    ratios = {
        name: statistics.median(other / own for other, own in zip(taken, seconds["ours"], strict=True))
        for name, taken in seconds.items()
    }
    least = {name: min(taken) for name, taken in seconds.items()}
    return {"threads": threads, "rounds": rounds, "least_seconds": least, "ratio": ratios}


def main() -> None:
    """Measure on one thread and on torch's default number, print a line for each variant, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, nargs="*", default=sorted({1, torch.get_num_threads()}))
    given = parser.parse_args()
    runs = [measure(given.rounds, threads) for threads in given.threads]
    for found in runs:
        print(f"{found['threads']} thread(s), median of {found['rounds']} rounds")
        for name, least in found["least_seconds"].items():
            print(
                f"  {name:22} {BATCH / least:7.1f} images/s at best; ours is {found['ratio'][name]:.2f} times as fast"
            )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "modules.json").write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
