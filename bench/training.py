"""Compare the throughput of the product's training loop with that of a bare PyTorch loop.

python -m bench.training [--rounds N] [--threads N]

Both train the same module on the same batches from the same loader, one epoch each alternately, in one process. The
bare loop does only what is necessary: standardize, forward, loss, backward, optimizer. Ours adds Lightning Fabric, the
schedule, loss and accuracy of every step, the check for divergence and the callbacks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from nnmass_core.architecture import Architecture
from nnmass_core.families import decode_architecture
from nnmass_core.named.adaptation import batch_sizes
from nnmass_core.named.datasets import resolve_dataset
from nnmass_core.named.recipes import Recipe, resolve_recipe
from nnmass_core.nets import build
from nnmass_core.training.data import Data, Standardize, load
from nnmass_core.training.loop import (
    Epoch,
    State,
    Training,
    batches,
    loader,
    make_deterministic,
    make_fabric,
    make_optimizer,
)

RESULTS = Path(__file__).parent / "results"
SEED = 0
CASES: dict[str, tuple[dict[str, Any], Any, str]] = {
    "MLP, width 8, depth 16, batch 64": (
        {
            "family": "densenet_mlp",
            "in_features": 784,
            "num_classes": 10,
            "width": 8,
            "depth": 16,
            "skip_channels": 8,
            "activation": "relu",
        },
        "mnist-5k",
        "mlp-paper",
    ),
    "CNN, widths 8 16 32, depth 6, batch 128": (
        {
            "family": "densenet_cnn",
            "input": {"channels": 3, "height": 32, "width": 32},
            "num_classes": 10,
            "cells": [{"width": w, "depth": 6, "skip_channels": 2 * w} for w in (8, 16, 32)],
        },
        {"name": "fake", "seed": 0},
        "cifar-quick",
    ),
}


class Nobody:
    """Callbacks that do nothing."""

    def on_step(self, epoch: int, step: int, steps: int) -> bool:
        """Ignore a step."""
        return False

    def epoch(self, done: Epoch) -> None:
        """Ignore an epoch."""

    def on_checkpoint(self, state: State, epoch: int, step: int) -> None:
        """Ignore a checkpoint."""


class Bare:
    """A training loop as in a tutorial."""

    def __init__(self, architecture: Architecture, data: Data, recipe: Recipe) -> None:
        self._module = build(architecture, SEED).train()
        self._optimizer = make_optimizer(self._module, recipe)
        self._standardize = Standardize(data, architecture.input_shape)
        self._images = data.train.augmented(recipe.augmentation, SEED)
        self._sizes = batch_sizes(len(self._images), recipe.batch_size)

    def train_epoch(self) -> None:
        """Train one epoch."""
        for x, labels in loader(self._images, batches(self._sizes, SEED, 0, 0, (0, 1))):
            loss = functional.cross_entropy(self._module(self._standardize(x)), labels)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Return seconds per epoch of each loop, and the median over rounds of the bare loop's time over ours."""
    definition, dataset, recipe_name = CASES[name]
    architecture, recipe = decode_architecture(definition), replace(resolve_recipe(recipe_name), epochs=rounds + 1)
    shape, classes = architecture.input_shape, architecture.num_classes
    data = load(resolve_dataset(dataset), shape, classes, Path())
    ours = Training(make_fabric(recipe, "cpu"), architecture, data, recipe, SEED)
    bare, host = Bare(architecture, data, recipe), Nobody()
    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    loops: list[tuple[str, Callable[[], object]]] = [
        ("ours", lambda: ours.train_epoch(host)),
        ("bare", bare.train_epoch),
    ]
    for number in range(rounds + 1):
        for who, epoch in loops if number % 2 else reversed(loops):  # neither loop gains from always being second
            start = time.perf_counter()
            epoch()
            if number:
                seconds[who].append(time.perf_counter() - start)
    ratio = statistics.median(b / o for b, o in zip(seconds["bare"], seconds["ours"], strict=True))
    per_second = {who: len(data.train) / min(taken) for who, taken in seconds.items()}
    return {"case": name, "rounds": rounds, "images_per_second_at_best": per_second, "throughput_ratio": ratio}


def main() -> None:
    """Measure every case, print a line for each, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    make_deterministic()
    runs = [measure(name, given.rounds) for name in CASES]
    for run in runs:
        per_second = run["images_per_second_at_best"]
        print(
            f"{run['case']}: ours {per_second['ours']:,.0f}, bare {per_second['bare']:,.0f} images/s at best; "
            f"throughput {run['throughput_ratio']:.3f} of the bare loop (median of {run['rounds']} rounds)"
        )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "training.json").write_text(json.dumps({"threads": given.threads, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
