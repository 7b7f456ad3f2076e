"""Two processes that train together as torchrun starts them, here on CPUs: the same training as in one process.

And the process from which trainings are forked.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch comes with the extra `train`")

from nnmass_core.named.recipes import Recipe
from tests.trainer import train

MLP: dict[str, Any] = {
    "family": "densenet_mlp",
    "in_features": 64,
    "num_classes": 10,
    "width": 8,
    "depth": 5,
    "skip_channels": 8,
    "activation": "relu",
}
RECIPE = Recipe(optimizer="adam", learning_rate=1e-2, batch_size=128, epochs=2)


@pytest.mark.slow
def test_two_processes_give_the_same_training_as_one(tmp_path: Path) -> None:
    what = {"architecture": MLP, "recipe": RECIPE.to_json(), "adapt": False}
    alone = train(tmp_path / "one", **what)
    together = train(tmp_path / "two", **what, processes=2, checkpoint_seconds=1e-6)
    for events in (alone, together):
        assert events[-1]["event"] == "done", events[-1]
    reported = [[event for event in events if event["event"] == "epoch"] for events in (alone, together)]
    assert [event["epoch"] for event in reported[1]] == [1, 2]  # reported once, not by each of them
    for one, two in zip(*reported, strict=True):
        for figure in ("train_loss", "test_loss"):
            assert two[figure] == pytest.approx(one[figure], rel=1e-3)
        for figure in ("train_accuracy", "test_accuracy"):
            assert two[figure] == pytest.approx(one[figure], abs=0.01)
    assert together[-1]["result"]["processes"] == 2
    seeds = [next(event for event in events if event["event"] == "seed") for events in (alone, together)]
    assert [sum(map(sum, seed["confusion"])) for seed in seeds] == [355, 355]  # every test image once
    middle = next(event for event in together if event["event"] == "checkpoint")
    assert (middle.pop("event"), middle["epoch"], middle["step"]) == ("checkpoint", 0, 1)
    rest = train(tmp_path / "two", **what, processes=2, resume=[middle], fence=2)
    again = [event for event in rest if event["event"] == "epoch"]
    for figure in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        assert [event[figure] for event in again] == pytest.approx([event[figure] for event in reported[1]], rel=1e-6)


@pytest.mark.slow
def test_two_processes_resume_an_adapted_training(tmp_path: Path) -> None:
    """The first process recomputes the statistics of BatchNorm for both, which evaluate half of the images each."""
    cell = {"width": 6, "depth": 4, "skip_channels": 7}
    image = {"channels": 1, "height": 8, "width": 8}
    network = {"family": "densenet_cnn", "input": image, "num_classes": 10, "cells": [cell]}
    what: dict[str, Any] = {"architecture": network, "recipe": RECIPE.to_json(), "processes": 2}
    whole = train(tmp_path, **what, checkpoint_seconds=1e-6)
    assert whole[-1]["event"] == "done", whole[-1]
    assert whole[-1]["result"]["adaptation"]["trained"]["batch_size"] == 72
    middle = next(event for event in whole if (event["event"], event.get("epoch")) == ("checkpoint", 1))
    rest = train(tmp_path, **what, resume=[middle], fence=2)
    last, again = ([event for event in events if event["event"] == "epoch"][-1] for events in (whole, rest))
    for figure in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        assert again[figure] == pytest.approx(last[figure], rel=1e-6)


LOOKS_AT_GPUS = """
import torch

looked = []
torch.cuda.is_available = lambda: looked.append(True) or {there}

import worker.training

written = []
write = worker.training.write
worker.training.write = lambda *what: written.append(True) or {write}
worker.training.prepare()
print(len(looked), len(written), torch.get_num_threads(), torch.cuda.is_initialized())
"""


@pytest.mark.parametrize(
    ("there", "write", "said"), [(True, "write(*what)", "0 0 1 False"), (False, "None", "0 1 1 False")]
)
def test_the_process_that_is_forked_never_looks_for_a_gpu_itself_where_there_is_one(
    there: bool, write: str, said: str
) -> None:
    """A process that has looked cannot be forked; the writer of ONNX files looks too."""
    code = LOOKS_AT_GPUS.format(there=there, write=write)
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True)
    assert done.stdout.split("\n")[0] == said
