"""Tests that need a GPU: mixed precision, several processes, and a network that does not fit into memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nnmass_core.named.recipes import Recipe
from tests.trainer import train

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU, and this machine has none"),
]

CNN: dict[str, Any] = {
    "family": "densenet_cnn",
    "input": {"channels": 1, "height": 8, "width": 8},
    "num_classes": 10,
    "cells": [{"width": 16, "depth": 6, "skip_channels": 20}, {"width": 32, "depth": 6, "skip_channels": 40}],
}
RECIPE = Recipe(optimizer="sgd", learning_rate=0.1, momentum=0.9, schedule="one_cycle", batch_size=128, epochs=6)


def train_here(folder: Path, **order: Any) -> list[dict[str, Any]]:
    """Train the small network on the GPU, for what the order does not say otherwise; returns the events."""
    usual = {"architecture": CNN, "recipe": RECIPE.to_json(), "device": "cuda", "artifacts": ["weights", "onnx"]}
    return train(folder, **(usual | order))


def accuracy(events: list[dict[str, Any]]) -> float:
    (found,) = [event["accuracy"] for event in events if event["event"] == "seed"]
    assert events[-1]["event"] == "done", events[-1]
    return float(found)


@pytest.mark.parametrize("precision", ["fp32", "fp16-mixed", "bf16-mixed"])
def test_mixed_precision_training_reaches_accuracy(tmp_path: Path, precision: str) -> None:
    events = train_here(tmp_path, recipe=replace(RECIPE, precision=precision).to_json())
    assert accuracy(events) > 0.9
    assert torch.cuda.get_device_name(0) == events[-1]["result"]["device"]


def test_a_mixed_precision_training_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    recipe = replace(RECIPE, precision="fp16-mixed").to_json()
    whole = train_here(tmp_path, recipe=recipe)
    points = [{k: v for k, v in event.items() if k != "event"} for event in whole if event["event"] == "checkpoint"]
    rest = train_here(tmp_path, recipe=recipe, resume=[points[2]], fence=2)
    assert [event["epoch"] for event in rest if event["event"] == "epoch"] == [4, 5, 6]
    assert accuracy(rest) == pytest.approx(accuracy(whole), abs=0.02)  # a GPU does not promise the same bits


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs: NCCL needs one per process")
def test_training_in_two_processes_reaches_accuracy(tmp_path: Path) -> None:
    assert accuracy(train_here(tmp_path, processes=2)) > 0.9


def test_a_network_that_does_not_fit_fails_and_the_next_one_trains(tmp_path: Path) -> None:
    big = {
        "family": "densenet_cnn",
        "input": {"channels": 3, "height": 512, "width": 512},
        "num_classes": 10,
        "cells": [{"width": 512, "depth": 12, "skip_channels": 512}],
    }
    events = train_here(
        tmp_path,
        architecture=big,
        dataset={"name": "fake", "seed": 0},
        recipe=replace(RECIPE, batch_size=512).to_json(),
    )
    assert (events[-1]["event"], events[-1]["code"]) == ("error", "out_of_memory")
    assert accuracy(train_here(tmp_path)) > 0.9
