"""The main job through the real service: start it, POST a budget, follow the job, print the ranking, end it all.

Runs in a data folder of its own that is removed at the end, on a free port; needs nothing but the installed package.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table

from scripts.running import service

LIMIT_PARAMS = 1_000_000
LIMIT_MACS = 150_000_000
REQUEST = {
    "space": {
        "family": "densenet_cnn",
        "input": {"channels": 3, "height": 32, "width": 32},
        "num_classes": 10,
        "cells": 3,
        "width": {"min": 16, "max": 256, "step": 16},
        "depth": {"min": 4, "max": 32},
        "skip_channels": {"min": 0, "max": 512, "step": 4},
    },
    "budget": {"max_params": LIMIT_PARAMS, "max_macs": LIMIT_MACS},
    "objective": {"maximize": "nn_mass"},
    "top_k": 10,
    "name": "demo",
}
CAVEATS = {
    "resolutions_differ": "NN-Mass does not see the resolution: the smallest costs least and loses nothing by it.",
    "widths_differ": "NN-Mass compares networks fairly at equal width; the widths searched here differ.",
    "density_above_evidence": "Some cells are wired more densely than any network whose training was published.",
}

console = Console()


def follow(client: httpx2.Client, search: dict[str, Any]) -> dict[str, Any]:
    """Poll the search until it has ended."""
    with console.status("searching") as status:
        while search["status"] in ("queued", "running"):
            time.sleep(0.1)
            search = client.get(f"/v1/searches/{search['id']}").raise_for_status().json()
            status.update(f"{search['status']}: {search['progress']['message']}")
    if search["status"] != "succeeded":
        raise SystemExit(f"the search ended as {search['status']}: {search['error']}")
    return search


def table_of(items: list[dict[str, Any]]) -> Table:
    """Return the ranking as a table."""
    table = Table(title="Most NN-Mass within 1 M params and 150 M MACs")
    for heading in ("rank", "NN-Mass", "params", "MACs"):
        table.add_column(heading, justify="right")
    table.add_column("cells: width x depth, skip channels (t_c)")
    for item in items:
        cells = "   ".join(f"{c['width']}x{c['depth']}, {c['skip_channels']}" for c in item["cells"])
        figures = (f"{item['nn_mass']:.3f}", f"{item['params']:,}", f"{item['macs']:,}")
        table.add_row(str(item["rank"]), *figures, cells)
    return table


def print_certificate(result: dict[str, Any]) -> None:
    """Say in words what the search can prove."""
    size, seconds = int(result["space_size"]), result["elapsed_seconds"]
    if result["optimal"]:
        console.print(f"[bold green]Proved optimal[/]: the best of {size:,} architectures, in {seconds:.2f} s.")
    else:
        console.print(f"Not proved within the time limit: nothing better than {result['bound']} in {size:,}.")
    console.print(f"Binding: {', '.join(result['binding'] or []) or 'nothing'}.")
    for caveat in result["caveats"]:
        console.print(f"[yellow]Mind[/]: {CAVEATS.get(caveat, caveat)}")


def main() -> None:
    """Run the demonstration."""
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="nnmass-demo-") as folder,
        service(Path(folder)) as address,
        httpx2.Client(base_url=address, timeout=30, trust_env=False) as client,
    ):
        console.print(f"The service runs on {address}; POST /v1/searches with {REQUEST['budget']}")
        search = follow(client, client.post("/v1/searches", json=REQUEST).raise_for_status().json())
        page = client.get(f"/v1/searches/{search['id']}/architectures").raise_for_status().json()
        console.print(table_of(page["items"]))
        print_certificate(search["result"])
    console.print(f"Done in {time.monotonic() - started:.1f} s. `make serve` keeps it running, with pages to look at.")


if __name__ == "__main__":
    main()
