"""Compare this checkout with another one: `python -m bench.against FOLDER [--rounds N] [--rows N]`.

Searches, commands from a cold start, and a short load run alternately in both checkouts with the same interpreter, so
that other load on the machine affects both. Prints medians and ratios, and writes bench/results/against.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "against.json"
SEARCHES = ("densenet-3-middling", "mobilenet-middling")
COMMANDS = {
    "nnmass --help": ("--help",),
    "nnmass search": ("search", "--preset", "densenet-cifar", "--max-params", "1M", "--max-macs", "150M"),
}
SEARCH = """
import json, sys
from bench.cases import CASES
from bench.ours import ours
answer = ours(CASES[sys.argv[1]], 60.0)
print(json.dumps({"first search": answer.setup_seconds, "search with cached tables": answer.seconds}))
"""
LOAD = """
import argparse, asyncio, json, sys
from rich.console import Console
from bench.load import __main__ as load
from bench.load.rows import fill
from bench.load.servers import running
load.STEADY_SECONDS = 5.0
chosen = argparse.Namespace(rows=int(sys.argv[1]), seconds=10.0, searches=200, concurrency=2)
with running(chosen.concurrency) as service:
    fill(service.postgres_url, chosen.rows)
    print(json.dumps(asyncio.run(load._measure(service, chosen, Console(stderr=True)))))
"""

Figures = dict[str, list[float]]


def run(root: Path, *arguments: str) -> str:
    """Run Python in a checkout and return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=root, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def measure(root: Path, figures: Figures, rows: int) -> None:
    """Add one round of figures of a checkout; all are seconds, but those of the load that say otherwise."""
    for name in SEARCHES:
        for what, seconds in json.loads(run(root, "-c", SEARCH, name)).items():
            figures[f"{what}: {name}, s"].append(seconds)
    for name, arguments in COMMANDS.items():
        began = time.perf_counter()
        run(root, "-m", "app", *arguments)
        figures[f"cold start: {name}, s"].append(time.perf_counter() - began)
    if not rows:
        return
    load = json.loads(run(root, "-c", LOAD, str(rows)).splitlines()[-1])
    figures["load: seconds for a submission to the end"].append(1 / load["submissions to the end"]["per_second"])
    load |= {f"everything: {name}": value for name, value in load["at once"].items()}
    for name, value in load.items():
        if isinstance(value, dict) and "p50_ms" in value:
            figures[f"load: {name}, p50 ms"].append(value["p50_ms"])


def main() -> None:
    """Measure both checkouts in turn, print the ratios and write them."""
    parser = argparse.ArgumentParser(
        description="Compare this checkout with another one: searches, cold starts, and a load on the service. Run it "
        "on an idle machine, with the interpreter of an environment for the tests, which both checkouts use. It prints "
        "the medians of the other checkout and of this one, their ratio, and writes bench/results/against.json.",
        epilog="Example: git worktree add ../before COMMIT; .venv-dev/bin/python -m bench.against ../before",
    )
    parser.add_argument("folder", type=Path, help="the other checkout")
    parser.add_argument(
        "--rounds", type=int, default=5, help="how often each is measured, after one that does not count"
    )
    parser.add_argument("--rows", type=int, default=20_000, help="searches in the history of the load; 0: no load")
    chosen = parser.parse_args()
    ours: Figures = defaultdict(list)
    others: Figures = defaultdict(list)
    for number in range(chosen.rounds + 1):  # a first round compiles modules and does not count
        rows = chosen.rows if number else 0
        for root, figures in ((chosen.folder.resolve(), others), (ROOT, ours)):
            measure(root, figures if number else defaultdict(list), rows)
    table = {
        name: {
            "before": round(before := statistics.median(others[name]), 5),
            "now": round(now := statistics.median(values), 5),
            "ratio": round(now / before, 3),
        }
        for name, values in ours.items()
    }
    RESULTS.write_text(json.dumps({"rounds": chosen.rounds, "rows": chosen.rows, "figures": table}, indent=1) + "\n")
    for name, row in table.items():
        print(f"{row['before']:12.5f} {row['now']:12.5f} {row['ratio']:7.3f}  {name}")


if __name__ == "__main__":
    main()
