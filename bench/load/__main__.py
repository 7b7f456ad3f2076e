"""Load one API process on one core, and compare it with a bare implementation of the same work.

python -m bench.load [--rows N] [--seconds N] [--searches N] [--concurrency N]

Writes bench/results/load.json and prints the same as a table. PostgreSQL and Redis are private and run on this machine,
so that the database, the worker and the clients share its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.load import bare, phases
from bench.load.client import Client, Timings
from bench.load.rows import fill
from bench.load.servers import Running, running

RESULTS = Path(__file__).parents[1] / "results" / "load.json"
STEADY_SECONDS = 20.0
WIDE = 140
"""The width of the table in characters, wherever it is printed."""


def main() -> None:
    """Measure everything and write the results."""
    parser = argparse.ArgumentParser(description="Load the service on loopback.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="searches in the history")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long everything goes on at once")
    parser.add_argument("--searches", type=int, default=1200, help="searches that are submitted and waited for")
    parser.add_argument("--concurrency", type=int, default=2, help="searches that the worker does at once")
    chosen = parser.parse_args()
    console = Console(width=WIDE)
    with running(chosen.concurrency) as service:
        console.print(f"writing {chosen.rows:,} searches")
        fill(service.postgres_url, chosen.rows)
        figures = asyncio.run(_measure(service, chosen, console))
    if chosen.rows >= 1_000_000:
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
    console.print(_table(figures))


async def _measure(service: Running, chosen: argparse.Namespace, console: Console) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores; the API on one of them",
        "rows": chosen.rows,
        "worker_concurrency": chosen.concurrency,
    }
    async with Client(service.address, service.key, connections=phases.STREAMS + 100) as client:
        console.print("polls")
        steady, most = await phases.polls(client, STEADY_SECONDS)
        alone = await asyncio.to_thread(bare.poll, service, STEADY_SECONDS / 2)
        figures["polls, 300 a second"] = steady.to_json()
        figures["polls, as many as it takes"] = _beside(most, alone)
        console.print("submissions")
        posts, rate = await phases.submissions(client, service, chosen.searches)
        nothing = await asyncio.to_thread(bare.tasks, service, chosen.searches, chosen.concurrency)
        figures["submissions to the end"] = {
            "per_second": round(rate, 1),
            "posts": posts.to_json(),
            "bare_tasks_per_second": round(nothing, 1),
            "ratio_to_bare": round(rate / nothing, 3),
        }
        for name, query in phases.QUERIES.items():
            console.print(f"history: {name}")
            ours = await phases.pages(client, query, phases.PAGES)
            raw, made = await asyncio.to_thread(bare.pages, service, name, phases.PAGES)
            figures[f"history: {name}"] = _beside(ours, raw) | {"without_http": _beside(made, raw)}
        figures["nothing but HTTP"] = (await phases.nothing(client, phases.PAGES)).to_json()
        console.print(f"everything at once for {chosen.seconds:g} s")
        figures["at once"] = _mixed(await phases.mixed(client, service, chosen.seconds), chosen.seconds)
    return figures


def _beside(ours: Timings, alone: Timings) -> dict[str, Any]:
    """Return our figures with those of the bare implementation, and the ratios of their latencies."""
    return {
        **ours.to_json(),
        "bare": alone.to_json(),
        "ratio_p50": round(ours.percentile(50) / alone.percentile(50), 2),
        "ratio_p95": round(ours.percentile(95) / alone.percentile(95), 2),
    }


def _mixed(result: phases.Mixed, seconds: float) -> dict[str, Any]:
    return {
        "seconds": seconds,
        **{name: timings.to_json() for name, timings in result.timings.items()},
        "streams": {
            "open": phases.STREAMS,
            "opened": result.streams,
            "ended": result.streams_ended,
            "events": result.events,
            "errors": result.stream_errors,
        },
        "memory_mb": [round(size / 1e6, 1) for _, size in result.memory[:: max(1, len(result.memory) // 20)]],
        "memory_growth_after_first_minute": round(result.growth(), 4),
        "metrics": sorted(result.metrics),
    }


def _table(figures: dict[str, Any]) -> Table:
    heads = ("a second", "p50 ms", "p95 ms", "p99 ms", "errors", "bare p95 ms", "times bare", "without HTTP")
    table = Table("", *heads, box=None)
    flat = dict(figures)
    mixed = flat.pop("at once")
    submissions = flat.pop("submissions to the end")
    flat["POSTs"] = submissions["posts"]
    flat |= {f"at once: {name}": mixed[name] for name in phases.MIX}
    for name, row in flat.items():
        if isinstance(row, dict):
            figure = [str(row[key]) for key in ("per_second", "p50_ms", "p95_ms", "p99_ms", "errors")]
            alone, inside = row.get("bare", {}), row.get("without_http", {})
            beside = (alone.get("p95_ms", ""), row.get("ratio_p95", ""), inside.get("ratio_p95", ""))
            table.add_row(name, *figure, *map(str, beside))
    tasks = f"{submissions['bare_tasks_per_second']} bare tasks a second"
    table.add_row(
        "submissions to the end",
        str(submissions["per_second"]),
        "",
        "",
        "",
        "",
        tasks,
        str(submissions["ratio_to_bare"]),
    )
    streams = mixed["streams"]
    table.add_row("at once: event streams", "", "", "", "", str(streams["errors"]), f"{streams['events']} events", "")
    table.add_row("memory after the first minute, times", str(mixed["memory_growth_after_first_minute"]))
    return table


if __name__ == "__main__":
    main()
