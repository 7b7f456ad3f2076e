"""Two processes that train together as torchrun starts them, here on CPUs: the same training as one process does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch comes with the extra `train`")

from nnmass_core.recipe import Recipe

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


def train(folder: Path, processes: int, **changes: Any) -> list[dict[str, Any]]:
    """Give the trainer an order and return its events."""
    folder.mkdir(exist_ok=True)
    order: dict[str, Any] = {
        "do": "train",
        "architecture": MLP,
        "dataset": "digits",
        "recipe": RECIPE.to_json(),
        "seeds": [0],
        "artifacts": ["weights"],
        "finished": [],
        "data_digest": None,
        "resume": [],
        "folder": str(folder),
        "data_root": str(folder),
        "fence": 1,
        "device": "cpu",
        "processes": processes,
        "checkpoint_seconds": 300.0,
    }
    command = [sys.executable, "-m", "worker.trainer"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order | changes) + "\n")
        process.stdin.flush()
        events = [json.loads(line) for line in process.stdout]
        process.stdin.close()
        assert process.wait(60) in (0, 1)  # 1 where it saw its standard input close before it had ended
    return events


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    alone, together = train(tmp_path / "one", 1), train(tmp_path / "two", 2, checkpoint_seconds=1e-6)
    for events in (alone, together):
        assert events[-1]["event"] == "done", events[-1]
    told = [[event for event in events if event["event"] == "epoch"] for events in (alone, together)]
    assert [event["epoch"] for event in told[1]] == [1, 2]  # told once, not by each of them
    for one, two in zip(*told, strict=True):
        for figure in ("train_loss", "test_loss"):
            assert two[figure] == pytest.approx(one[figure], rel=1e-3)
        for figure in ("train_accuracy", "test_accuracy"):
            assert two[figure] == pytest.approx(one[figure], abs=0.01)
    assert together[-1]["result"]["processes"] == 2
    seeds = [next(event for event in events if event["event"] == "seed") for events in (alone, together)]
    assert [sum(map(sum, seed["confusion"])) for seed in seeds] == [355, 355]  # every test image once
    middle = next(event for event in together if event["event"] == "checkpoint")
    assert (middle.pop("event"), middle["epoch"], middle["step"]) == ("checkpoint", 0, 1)
    rest = train(tmp_path / "two", 2, resume=[middle], fence=2)
    again = [event for event in rest if event["event"] == "epoch"]
    for figure in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        assert [event[figure] for event in again] == pytest.approx([event[figure] for event in told[1]], rel=1e-6)
