"""The simulation of the sizing guide against Erlang's formula, and the guide against the simulation."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

pytest.importorskip("simpy", reason="simpy comes with the extra `test`")

from bench.sizing import (
    MOST_BUSY,
    RESULTS,
    WAIT_SECONDS,
    Outcome,
    enough,
    erlang_wait,
    service_times,
    simulate,
    table,
    training_table,
)

GUIDE = Path(__file__).parents[1] / "docs" / "operate" / "sizing.md"


@pytest.mark.parametrize(("workers", "load"), [(1, 0.5), (1, 0.8), (4, 0.7), (16, 0.85)])
def test_simulated_waits_with_exponential_service_agree_with_erlang(workers: int, load: float) -> None:
    rng, mean = random.Random(1), 0.1
    services = [rng.expovariate(1 / mean) for _ in range(100_000)]
    real = sum(services) / len(services)
    rate = load * workers / real
    outcomes = [simulate(rate, workers, services, seed=seed, searches=30_000) for seed in range(3)]
    wait = sum(outcome.wait_mean for outcome in outcomes) / len(outcomes)
    assert wait == pytest.approx(erlang_wait(rate, workers, real), rel=0.15)
    assert outcomes[0].utilization == pytest.approx(load, rel=0.05)


def test_the_wait_grows_without_bound_with_too_few_workers() -> None:
    assert erlang_wait(10, 1, 0.2) == float("inf")
    assert simulate(10, 1, [0.2], searches=2000).wait_p95 > 10


def test_searches_answered_by_an_earlier_one_reduce_the_wait() -> None:
    services = service_times()
    without, half = (simulate(20, 4, services, hits=hits, searches=5000) for hits in (0.0, 0.5))
    assert half.utilization == pytest.approx(without.utilization / 2, rel=0.1)
    assert half.wait_mean < without.wait_mean


def test_the_recommended_workers_meet_the_limits_on_load_and_wait() -> None:
    stored = json.loads((RESULTS / "sizing.json").read_text(encoding="utf-8"))
    services = service_times()
    mean = sum(services) / len(services)
    assert stored["mean_service_seconds"] == pytest.approx(mean), "run python -m bench.sizing"
    for one in (Outcome(**outcome) for outcome in stored["outcomes"]):
        load = one.arrivals_per_second * (1 - one.answered_by_earlier) * mean
        assert load <= MOST_BUSY * one.workers
        assert one.wait_p95 <= WAIT_SECONDS
        assert one.utilization == pytest.approx(load / one.workers, rel=0.1)
    assert enough(10, 0.5, services) in [Outcome(**outcome) for outcome in stored["outcomes"]], "the same again"


def test_the_guide_shows_the_stored_results_of_the_simulation() -> None:
    stored = json.loads((RESULTS / "sizing.json").read_text(encoding="utf-8"))
    assert table([Outcome(**outcome) for outcome in stored["outcomes"]]) in GUIDE.read_text(encoding="utf-8")
    assert training_table() in GUIDE.read_text(encoding="utf-8")
    last = GUIDE.read_text(encoding="utf-8").split("## From one machine to many")[1]
    advised = re.findall(r"^\| ([\d,]+) \| \d+ \| (\d+) \|", last, re.MULTILINE)
    reported = [(int(rate.replace(",", "")), int(workers)) for rate, workers in advised]
    found = [
        (one["arrivals_per_second"], one["workers"]) for one in stored["outcomes"] if not one["answered_by_earlier"]
    ]
    assert reported == found
