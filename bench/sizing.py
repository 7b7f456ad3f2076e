"""How many search workers a load needs: a simulation of the queue, beside the formula that it must agree with.

Searches arrive at random (Poisson); a share of them is answered by an earlier equal one and never queues; the others
wait for a free worker. Service times are those of bench/results/search.json, with what claiming and storing take.
What is told is of a queue that has settled: the time in which it fills is left out.

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
LEAST_SECONDS = 300.0
"""How long a load lasts at least: near its limit, a queue of many workers takes a minute to settle."""

MOST_BUSY = 0.9
"""The share of their time that workers may be busy: closer to all of it, a small rise and the queue only grows."""

SETTLING = 0.2
"""The share of searches, the first ones, that find the queue still filling."""

RATES = (1, 10, 100, 1000)
"""Searches a second."""

HITS = (0.0, 0.5, 0.9)
"""Shares of searches that an earlier equal one answers."""

WAIT_SECONDS = 0.5
"""What 95 of 100 searches should wait at most."""

TRAININGS = ((8, 1.0), (24, 1.0), (24, 4.0), (100, 2.0))
"""Trainings a day, and the hours of one on a GPU."""

WAIT_SHARE = 0.5
"""What a training should wait on average, of the time that it takes."""


@dataclass(frozen=True)
class Outcome:
    """How a number of workers kept up: seconds that searches waited in the queue, and the share of time they worked."""

    arrivals_per_second: float
    answered_by_earlier: float
    workers: int
    utilization: float
    wait_mean: float
    wait_p50: float
    wait_p95: float


def service_times() -> list[float]:
    """Return the seconds that searches of the benchmark's cases took, each with what storing takes."""
    cases = json.loads((RESULTS / "search.json").read_text(encoding="utf-8"))["cases"]
    runs = [seconds for case in cases.values() for seconds in case["ours"]["more"]["runs"]]
    return [seconds + storing_seconds() for seconds in runs]


def storing_seconds() -> float:
    """Return what a search takes of a worker beside its computation, by load.json.

    That is the time between two searches of a worker that is never idle, there with searches of milliseconds: claiming,
    storing and finishing, on cores that it shares with the API, the database and the clients. So it is an upper bound.
    """
    load = json.loads((RESULTS / "load.json").read_text(encoding="utf-8"))
    return float(load["worker_concurrency"] / load["submissions to the end"]["per_second"])


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
    waits = waits[int(SETTLING * len(waits)) :]
    ordered = sorted(waits)
    return Outcome(
        arrivals_per_second=rate,
        answered_by_earlier=hits,
        workers=workers,
        utilization=sum(worked) / (workers * environment.now),
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
    """Return the outcome with the fewest workers that are busy for MOST_BUSY of their time at most by the load.

    Nor do 95 of 100 searches wait for more than WAIT_SECONDS. With fewer workers than the load the queue grows for
    ever, however short it is at first, so that no simulation of some minutes tells.
    """
    mean = sum(services) / len(services)
    least = math.ceil(rate * (1 - hits) * mean / MOST_BUSY)
    searches = max(SEARCHES, round(rate * LEAST_SECONDS))
    outcomes = (simulate(rate, workers, services, hits=hits, searches=searches) for workers in itertools.count(least))
    return next(outcome for outcome in outcomes if outcome.wait_p95 <= WAIT_SECONDS)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as a table in Markdown."""
    head = "| searches a second | answered by an earlier one | workers | busy | wait p50 | wait p95 |\n"
    lines = [
        f"| {one.arrivals_per_second:g} | {one.answered_by_earlier:.0%} | {one.workers} | {one.utilization:.0%} "
        f"| {1000 * one.wait_p50:.0f} ms | {1000 * one.wait_p95:.0f} ms |"
        for one in outcomes
    ]
    return head + "|--:|--:|--:|--:|--:|--:|\n" + "\n".join(lines)


def training_table() -> str:
    """Return how many training workers do for some loads, in Markdown, by Erlang's formula: their lengths vary."""
    lines = ["| trainings a day | hours of one | GPUs | busy | mean wait |", "|--:|--:|--:|--:|--:|"]
    for a_day, hours in TRAININGS:
        waits = ((gpus, erlang_wait(a_day / 24, gpus, hours)) for gpus in itertools.count(1))
        gpus, wait = next(pair for pair in waits if pair[1] <= WAIT_SHARE * hours)
        lines.append(f"| {a_day} | {hours:g} | {gpus} | {a_day * hours / 24 / gpus:.0%} | {60 * wait:.0f} min |")
    return "\n".join(lines)


def main() -> None:
    """Simulate, print and write."""
    services = service_times()
    outcomes = [enough(rate, hits, services) for rate in RATES for hits in HITS]
    mean = sum(services) / len(services)
    found = {"mean_service_seconds": mean, "outcomes": [asdict(outcome) for outcome in outcomes]}
    (RESULTS / "sizing.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"mean service time {1000 * mean:.0f} ms")
    print(table(outcomes))
    print(training_table())


if __name__ == "__main__":
    main()
