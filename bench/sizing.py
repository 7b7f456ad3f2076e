"""How many search workers a load needs: a simulation of the queue, beside the formula that it must agree with.

Searches arrive at random (Poisson); a share of them is answered by an earlier equal one and never queues; the others
wait for a free worker. Service times are those of bench/results/search.json, with what claiming and storing take.

`python -m bench.sizing` prints the table of docs/operate/sizing.md and writes bench/results/sizing.json.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import simpy

RESULTS = Path(__file__).parent / "results"
SEARCHES = 20_000
STORING_SECONDS = 0.015
"""Claiming, storing the ranking and finishing: a worker's transactions, at load.json's rate of submissions."""

RATES = (1, 10, 100, 1000)
"""Searches a second."""

HITS = (0.0, 0.5, 0.9)
"""Shares of searches that an earlier equal one answers."""

WAIT_SECONDS = 0.5
"""What 95 of 100 searches should wait at most."""


@dataclass(frozen=True)
class Outcome:
    """How a number of workers kept up: seconds that searches waited in the queue, and the share of time they worked."""

    arrivals_per_second: float
    answered_by_earlier: float
    workers: int
    utilisation: float
    wait_mean: float
    wait_p50: float
    wait_p95: float


def service_times() -> list[float]:
    """Return the seconds that searches of the benchmark's cases took, each with what storing takes."""
    cases = json.loads((RESULTS / "search.json").read_text(encoding="utf-8"))["cases"]
    runs = [seconds for case in cases.values() for seconds in case["ours"]["more"]["runs"]]
    return [seconds + STORING_SECONDS for seconds in runs]


def simulate(
    rate: float, workers: int, services: Sequence[float], *, hits: float = 0.0, seed: int = 0, searches: int = SEARCHES
) -> Outcome:
    """Return how `workers` keep up with `rate` searches a second, of which a share `hits` never queues."""
    rng, environment = random.Random(seed), simpy.Environment()
    pool, waits, worked = simpy.Resource(environment, workers), list[float](), list[float]()

    def search() -> Generator[Any, Any, None]:
        arrived = environment.now
        with pool.request() as turn:
            yield turn
            waits.append(environment.now - arrived)
            seconds = rng.choice(services)
            worked.append(seconds)
            yield environment.timeout(seconds)

    def arrive() -> Generator[Any, Any, None]:
        for _ in range(searches):
            yield environment.timeout(rng.expovariate(rate))
            if rng.random() >= hits:
                environment.process(search())

    environment.process(arrive())
    environment.run()
    ordered = sorted(waits)
    return Outcome(
        arrivals_per_second=rate,
        answered_by_earlier=hits,
        workers=workers,
        utilisation=sum(worked) / (workers * environment.now),
        wait_mean=sum(waits) / len(waits),
        wait_p50=ordered[len(ordered) // 2],
        wait_p95=ordered[int(0.95 * len(ordered))],
    )


def erlang_wait(rate: float, workers: int, mean_service: float) -> float:
    """Return the mean wait with exponential service times, in seconds (M/M/c, Erlang's C formula)."""
    load = rate * mean_service
    if load >= workers:
        return math.inf
    blocked = 1.0  # Erlang's B by its recurrence, which no factorial overflows
    for n in range(1, workers + 1):
        blocked = load * blocked / (n + load * blocked)
    waiting = blocked / (1 - load / workers * (1 - blocked))
    return waiting * mean_service / (workers - load)


def enough(rate: float, hits: float, services: Sequence[float]) -> Outcome:
    """Return the outcome with the fewest workers whose 95th percentile of waiting is within WAIT_SECONDS."""
    mean = sum(services) / len(services)
    least = max(1, math.ceil(rate * (1 - hits) * mean * 0.9))
    outcomes = (simulate(rate, workers, services, hits=hits) for workers in itertools.count(least))
    return next(outcome for outcome in outcomes if outcome.wait_p95 <= WAIT_SECONDS)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as a table in Markdown."""
    head = "| searches a second | answered by an earlier one | workers | busy | wait p50 | wait p95 |\n"
    lines = [
        f"| {one.arrivals_per_second:g} | {one.answered_by_earlier:.0%} | {one.workers} | {one.utilisation:.0%} "
        f"| {1000 * one.wait_p50:.0f} ms | {1000 * one.wait_p95:.0f} ms |"
        for one in outcomes
    ]
    return head + "|--:|--:|--:|--:|--:|--:|\n" + "\n".join(lines)


def main() -> None:
    """Simulate, print and write."""
    services = service_times()
    outcomes = [enough(rate, hits, services) for rate in RATES for hits in HITS]
    mean = sum(services) / len(services)
    found = {"mean_service_seconds": mean, "outcomes": [asdict(outcome) for outcome in outcomes]}
    (RESULTS / "sizing.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"mean service time {1000 * mean:.0f} ms")
    print(table(outcomes))


if __name__ == "__main__":
    main()
