"""Measure what a training takes in addition to its epochs, in the real service: `python -m bench.overhead`.

[--trainings N] [--epochs N]

The overhead of a training is the time from its claim to its end, minus the seconds that its epochs took: process,
imports, reading the data, files, and the worker's rows. Two services run side by side: one forks its trainings from a
process that has imported torch, the other (`NNMASS_TRAIN_IDLE_SECONDS=0`) starts a process for each. They train the
same networks in turn, so that other load on the machine affects both; with all files, then with the weights alone.
Beside it stands the processor time of a whole training, epochs included, of the worker and all processes below it.
Writes overhead.json into bench/results.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import psutil

from nnmass_core.named.recipes import resolve_recipe
from tests.processes.service import ENDED, Service, wait_for

RESULTS = Path(__file__).parent / "results"
SERVICES = {"forked": "300", "started": "0"}
"""How each service makes a training's process, and its NNMASS_TRAIN_IDLE_SECONDS."""

FILES: dict[str, dict[str, Any]] = {"all files": {}, "weights alone": {"artifacts": ["weights"]}}
ENDS_WITHIN_SECONDS = 300.0
FIRST_DEPTH = 6


class Taken(NamedTuple):
    """What one training took, in seconds."""

    overhead: float
    epochs: float
    cpu: float


def body(depth: int, epochs: int) -> dict[str, Any]:
    """Return the request for a training of a small MLP on mnist-5k."""
    network = {"family": "densenet_mlp", "in_features": 784, "num_classes": 10, "width": 8, "depth": depth}
    recipe = resolve_recipe("mlp-paper").to_json() | {"epochs": epochs}
    return {
        "architecture": network | {"skip_channels": 8, "activation": "relu"},
        "dataset": "mnist-5k",
        "recipe": recipe,
    }


def train(service: Service, request: dict[str, Any]) -> Taken:
    """Train once. Raises RuntimeError when the training fails."""
    worker = service.child("train")
    before = cpu_seconds(worker)
    answer = httpx2.post(f"{service.address}/v1/verifications", json=request, timeout=30, trust_env=False)
    path = f"/v1/verifications/{answer.raise_for_status().json()['id']}"

    def ended() -> dict[str, Any] | None:
        found = service.get(path)
        return found if found["status"] in ENDED else None

    done = wait_for(ended, "the training has ended", ENDS_WITHIN_SECONDS)
    if done["status"] != "succeeded":
        raise RuntimeError(f"the training failed: {done['error']}")
    wait_for(lambda: not trainers(worker), "its process has ended")
    began, finished = (datetime.fromisoformat(done[name]) for name in ("started_at", "finished_at"))
    epochs = float(done["result"]["seconds"])
    return Taken((finished - began).total_seconds() - epochs, epochs, cpu_seconds(worker) - before)


def trainers(worker: psutil.Process) -> list[psutil.Process]:
    """Return the processes below a worker that train; the one from which they are forked has none of its own then."""
    below = worker.children(recursive=True)
    return [process for process in below if process.name() == "nnmass trainer" or "worker.trainer" in process.cmdline()]


def cpu_seconds(worker: psutil.Process) -> float:
    """Return the processor time of a worker and of all that it started, ended or not."""
    return sum(sum(process.cpu_times()[:4]) for process in [worker, *worker.children(recursive=True)])


def measure(trainings: int, epochs: int) -> dict[str, Any]:
    """Return what each training took, by files and by service, in their order."""
    found: dict[str, Any] = {files: {name: [] for name in SERVICES} for files in FILES}
    with tempfile.TemporaryDirectory(prefix="nnmass-bench-") as folder:
        for files, fields in FILES.items():
            with ExitStack() as stack:
                services = {}
                for name, seconds in SERVICES.items():
                    place = Path(folder) / f"{name} {files}"
                    service = Service(place, {"NNMASS_TRAIN_IDLE_SECONDS": seconds})
                    services[name] = stack.enter_context(service)
                for depth in range(FIRST_DEPTH, FIRST_DEPTH + trainings):
                    for name, service in services.items():
                        taken = train(service, body(depth, epochs) | fields)
                        found[files][name].append({field: round(value, 3) for field, value in taken._asdict().items()})
                        print(
                            f"{files}, {name}, depth {depth}: {taken.overhead:.2f} s beside {taken.epochs:.2f} s of "
                            f"epochs; {taken.cpu:.2f} s of processor time",
                            flush=True,
                        )
    return found


def main() -> None:
    """Measure, print the first training and the median of the later ones, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=5, help="at least 2")
    parser.add_argument("--epochs", type=int, default=2)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    found = measure(given.trainings, given.epochs)
    for files, services in found.items():
        for name, taken in services.items():
            first, later = taken[0], taken[1:]
            medians = {field: statistics.median(one[field] for one in later) for field in Taken._fields}
            print(
                f"{files}, {name}: overhead of the first {first['overhead']:.1f} s, later {medians['overhead']:.1f} s; "
                f"processor time of the first {first['cpu']:.1f} s, later {medians['cpu']:.1f} s"
            )
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "load_at_start": round(load, 2)}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "overhead.json").write_text(json.dumps(machine | {"trainings": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
