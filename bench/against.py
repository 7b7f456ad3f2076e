"""Compare this checkout with another one: `python -m bench.against FOLDER [--rounds N] [--rows N]`.

Searches, commands from a cold start, and a short load run alternately in both checkouts with the same interpreter, so
that other load on the machine affects both. With --in-turn commands, polls and lists, which take milliseconds, run in
turn, the latter while both services run. Prints medians and ratios, and keeps them in bench/results/against.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.load import phases
from bench.load.client import Client, Timings, at_rate

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
SERVE = """
import json, sys
from bench.load.rows import fill
from bench.load.servers import running
with running(2) as service:
    fill(service.postgres_url, int(sys.argv[1]))
    print(json.dumps({"address": service.address, "key": service.key, "process": str(service.api.pid)}), flush=True)
    sys.stdin.read()
"""
TURNS = 40
"""How often each of the two services has its turn in a round."""

STARTS = 8
"""How often each command is started in a round."""

PAGES_A_TURN = 10
POLLING_SECONDS = 0.5

Figures = dict[str, list[float]]


def environment_of(root: Path) -> dict[str, str]:
    """Return the environment in which Python takes its modules from a checkout, and stores their bytecode there.

    Else a command that finds no bytecode would compile all that it imports at every start.
    """
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": str(root)}


def run(root: Path, *arguments: str) -> str:
    """Run Python in a checkout and return what it prints."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=root, env=environment_of(root), check=True, stdout=subprocess.PIPE, text=True)
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


@dataclass(frozen=True)
class Side:
    """A running service of one checkout, its API's process, and where its figures go."""

    client: Client
    process: str
    figures: Figures

    def busy(self) -> float:
        """Return the processor time of the API in ms, which other load affects least."""
        times = psutil.Process(int(self.process)).cpu_times()
        return (times.user + times.system) * 1000


@contextmanager
def serving(root: Path, rows: int) -> Iterator[dict[str, str]]:
    """Run the service of a checkout with a history, and yield its address and key."""
    command = [sys.executable, "-c", SERVE, str(rows)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=root, env=environment_of(root), stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())


async def alternate(name: str, sides: list[Side], turn: Callable[[Client], Awaitable[Timings]]) -> None:
    """Give each service its turn, many times, the first one changing; add the medians of what requests took."""
    latencies: list[list[float]] = [[] for _ in sides]
    began = [side.busy() for side in sides]
    for number in range(TURNS):
        order = range(len(sides)) if number % 2 else reversed(range(len(sides)))
        for place in order:
            timings = await turn(sides[place].client)
            if timings.errors:
                raise SystemExit(f"{name}: {timings.errors} requests failed")
            latencies[place] += timings.latencies
    for side, values, before in zip(sides, latencies, began, strict=True):
        side.figures[f"{name}, p50 ms"].append(statistics.median(values) * 1000)
        side.figures[f"{name}, processor ms each"].append((side.busy() - before) / len(values))


async def measure_in_turn(services: list[dict[str, str]], figures: list[Figures]) -> None:
    """Add one round of figures of polls and lists, of both services while both run."""
    async with AsyncExitStack() as stack:
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[1:]))  # both services answer on the first core
        sides = [
            Side(
                await stack.enter_async_context(Client(one["address"], one["key"], connections=100)),
                one["process"],
                into,
            )
            for one, into in zip(services, figures, strict=True)
        ]
        searches = {}
        for side in sides:
            searches[side.client] = f"/v1/searches/{await phases.submit(side.client)}"
            await side.client.follow(f"{searches[side.client]}/events")

        async def polled(client: Client) -> Timings:
            return await at_rate(phases.POLLS_PER_SECOND, POLLING_SECONDS, lambda: client.read(searches[client]))

        await alternate("polls, 300 a second", sides, polled)
        for name, query in phases.QUERIES.items():

            async def paged(client: Client, query: str = query) -> Timings:
                return await phases.pages(client, query, PAGES_A_TURN)

            await alternate(f"history: {name}", sides, paged)


def start_in_turn(roots: tuple[Path, ...], figures: list[Figures]) -> None:
    """Run each command from a cold start in all checkouts in turn, and add one round of their processor times."""
    for name, arguments in COMMANDS.items():
        busy: list[list[float]] = [[] for _ in roots]
        for number in range(STARTS):
            for place in range(len(roots)) if number % 2 else reversed(range(len(roots))):
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                run(roots[place], "-m", "app", *arguments)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                busy[place].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        for into, values in zip(figures, busy, strict=True):
            into[f"cold start: {name}, processor s"].append(statistics.median(values))


def serve_in_turn(roots: tuple[Path, ...], rows: int, figures: list[Figures]) -> None:
    """Run the services of all checkouts together, and add one round of their polls and lists."""
    cores = os.sched_getaffinity(0)
    with ExitStack() as stack:
        services = [stack.enter_context(serving(root, rows)) for root in roots]
        asyncio.run(measure_in_turn(services, figures))
    os.sched_setaffinity(0, cores)


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
    parser.add_argument(
        "--in-turn",
        action="store_true",
        help="measure commands, polls and lists alone, many times in turn; other work on the machine may go on",
    )
    chosen = parser.parse_args()
    roots = (chosen.folder.resolve(), ROOT)
    figures: list[Figures] = [defaultdict(list), defaultdict(list)]
    for number in range(1, chosen.rounds + 1):
        if chosen.in_turn:
            start_in_turn(roots, figures)
            serve_in_turn(roots, chosen.rows, figures)
            continue
        if number == 1:  # compiles modules, and does not count
            for root in roots:
                measure(root, defaultdict(list), 0)
        for root, into in zip(roots, figures, strict=True):
            measure(root, into, chosen.rows)
    others, ours = figures
    table = {
        name: {
            "before": round(before := statistics.median(others[name]), 5),
            "now": round(now := statistics.median(values), 5),
            "ratio": round(now / before, 3),
        }
        for name, values in ours.items()
    }
    kept = json.loads(RESULTS.read_text())
    kept["in turn" if chosen.in_turn else "one after the other"] = {
        "rounds": chosen.rounds,
        "rows": chosen.rows,
        "figures": table,
    }
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    for name, row in table.items():
        print(f"{row['before']:12.5f} {row['now']:12.5f} {row['ratio']:7.3f}  {name}")


if __name__ == "__main__":
    main()
