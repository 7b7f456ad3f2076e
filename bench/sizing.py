"""Find how many search workers a load needs: a simulation of the queue, and the formula that it must agree with.

Searches arrive at random (Poisson). A fraction of them is answered from an earlier equal search and never queues; the
others wait for a free worker. Service times are those of bench/results/search.json, plus the time to claim and store.
The results are for the steady state: the time in which the queue fills is left out.

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
"""The least duration of a load: near its limit, a queue of many workers takes a minute to settle."""

MOST_BUSY = 0.9
"""The largest fraction of time that workers may be busy: closer to 1, a small rise makes the queue grow without end."""

SETTLING = 0.2
"""The fraction of searches, the first ones, that find the queue still filling."""

RATES = (1, 10, 100, 1000)
"""Searches per second."""

HITS = (0.0, 0.5, 0.9)
"""Fractions of searches that are answered from an earlier equal search."""

WAIT_SECONDS = 0.5
"""The longest wait of 95 of 100 searches."""

TRAININGS = ((8, 1.0), (24, 1.0), (24, 4.0), (100, 2.0))
"""Trainings per day, and the hours of one on a GPU."""

WAIT_SHARE = 0.5
"""The longest average wait of a training, as a fraction of its duration."""


@dataclass(frozen=True)
class Outcome:
    """The result for a number of workers: seconds that searches waited in the queue, and the workers' busy fraction."""

    arrivals_per_second: float
    answered_by_earlier: float
    workers: int
    utilization: float
    wait_mean: float
    wait_p50: float
    wait_p95: float


def service_times() -> list[float]:
    """Return the durations in seconds of the benchmark's searches, each including the time to store it."""
    cases = json.loads((RESULTS / "search.json").read_text(encoding="utf-8"))["cases"]
    runs = [seconds for case in cases.values() for seconds in case["ours"]["more"]["runs"]]
    return [seconds + storing_seconds() for seconds in runs]


def storing_seconds() -> float:
    """Return the time that a worker needs for a search in addition to its computation, from load.json.

    That is the time between two searches of a worker that is never idle, with searches of milliseconds: claiming,
    storing and finishing, on cores that it shares with the API, the database and the clients. It is therefore an upper
    bound.
    """
    load = json.loads((RESULTS / "load.json").read_text(encoding="utf-8"))
    return float(load["worker_concurrency"] / load["submissions to the end"]["per_second"])


def simulate(
    rate: float, workers: int, services: Sequence[float], *, hits: float = 0.0, seed: int = 0, searches: int = SEARCHES
) -> Outcome:
    """Simulate `workers` workers at `rate` searches per second, of which a fraction `hits` never queues."""
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
    blocked = 1.0  # Erlang's B by its recurrence, in which no factorial can overflow
    for n in range(1, workers + 1):
        blocked = load * blocked / (n + load * blocked)
    waiting = blocked / (1 - load / workers * (1 - blocked))
    return waiting * mean_service / (workers - load)


def enough(rate: float, hits: float, services: Sequence[float]) -> Outcome:
    """Return the outcome of the smallest number of workers whose load is at most MOST_BUSY.

    Also, 95 of 100 searches wait at most WAIT_SECONDS. With fewer workers than the load, the queue grows without end,
    however short it is at first, which a simulation of some minutes would not show.
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
    """Return how many training workers some loads need, in Markdown, by Erlang's formula: their durations vary."""
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
