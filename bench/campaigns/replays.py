"""Replay every way to choose networks on every budget, in parts that are kept as they end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.campaigns.budgets import Listed, budgets_of
from bench.campaigns.rivals import RIVALS, SEEDLESS
from bench.replay.benchmarks import Benchmark
from nnmass_core.campaigns.plan import ROUNDS, Measured, plan, share_of_round
from nnmass_core.campaigns.pool import ListPool

# untyped: results, as JSON holds them

TRAININGS = (8, 16, 32)
SEEDS = 20

CAMPAIGN = "campaign"
ROUNDS_TRIED = (2, 3, 9)
SEEDS_OF_ROUNDS = 1

SLOW = "Optuna, Gaussian process"
"""The way that takes most of the time."""

DIGITS = 6
"""Decimals of the stored points."""


def campaign(rounds: int, listed: Listed, trainings: int, seed: int) -> list[int]:
    """Return the rows that a campaign trains, in order."""
    pool, measured = ListPool(listed.networks), list[Measured]()
    for begun in range(rounds):
        proposals = plan(pool, measured, share_of_round(trainings, len(measured), rounds, begun), seed).proposals
        measured += [Measured(one.key, float(listed.accuracy[int(one.key)])) for one in proposals]
    return [int(one.key) for one in measured]


Parts = Iterator[tuple[str, int, Callable[[Listed, int], list[int]]]]


def parts(seeds: int, slow_seeds: int) -> Parts:
    """Yield what is replayed: the name, the seed, and what gives the rows for a number of trainings.

    seeds: of each way; those that need no seed have one. slow_seeds: of `SLOW`.
    """
    for seed in range(seeds):
        yield CAMPAIGN, seed, partial(_seeded, partial(campaign, ROUNDS), seed)
        for name, rival in RIVALS.items():
            if (name not in SEEDLESS or seed == 0) and (name != SLOW or seed < slow_seeds):
                yield name, seed, partial(_seeded, rival, seed)
        for rounds in ROUNDS_TRIED if seed < SEEDS_OF_ROUNDS else ():
            yield f"{CAMPAIGN}, {rounds} rounds", seed, partial(_seeded, partial(campaign, rounds), seed)


def _seeded(way: Callable[[Listed, int, int], list[int]], seed: int, listed: Listed, trainings: int) -> list[int]:
    return way(listed, trainings, seed)


def replay(
    benchmarks: tuple[Benchmark, ...],
    seeds: int,
    slow_seeds: int,
    kept: Path | None,
    only: tuple[str, ...] = (),
    *,
    as_kept: bool = False,
) -> dict[str, Any]:
    """Return the shortfall of each way by benchmark, and its seeds, as JSON-ready objects.

    Args:
        benchmarks: The benchmarks.
        seeds: How many of each way.
        slow_seeds: Of `SLOW`.
        kept: A file with one line for each part that is done, which is not done again; None keeps nothing.
        only: The names of what to replay; nothing for everything.
        as_kept: Leave out the seeds that are not done for every benchmark, in place of replaying them.
    """
    lines = kept.read_text().splitlines() if kept is not None and kept.is_file() else []
    done = {(one["way"], one["benchmark"], one["seed"]): one for one in map(json.loads, lines)}
    budgets = {one.name: budgets_of(one) for one in benchmarks}
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for way, seed, rows_of in parts(seeds, slow_seeds):
        if (only and way not in only) or (as_kept and any((way, name, seed) not in done for name in budgets)):
            continue
        for name, listed in budgets.items():
            part = done.get((way, name, seed)) or _part(way, name, seed, listed, rows_of)
            if kept is not None and (way, name, seed) not in done:
                with kept.open("a") as file:
                    file.write(json.dumps(part) + "\n")
            found.setdefault(way, {}).setdefault(seed, {})[name] = part["shortfall"]
    ways = {
        way: {"seeds": [*by_seed], "points": {name: _mean([one[name] for one in by_seed.values()]) for name in budgets}}
        for way, by_seed in found.items()
    }
    return {"trainings": [*TRAININGS], "rounds": ROUNDS, "ways": ways}


def _mean(shortfalls: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean points over seeds, by the number of trainings."""
    return {number: round(float(np.mean([one[number] for one in shortfalls])), DIGITS) for number in shortfalls[0]}


def _part(
    way: str, name: str, seed: int, budgets: list[Listed], rows_of: Callable[[Listed, int], list[int]]
) -> dict[str, Any]:
    """Return the mean shortfall over the budgets of a benchmark, by the number of trainings."""
    shortfalls: dict[int, list[float]] = {trainings: [] for trainings in TRAININGS}
    for listed in budgets:
        longest = [] if way.startswith(CAMPAIGN) else rows_of(listed, max(TRAININGS))
        for trainings, found in shortfalls.items():
            # only a campaign plans for the number of its trainings
            rows = rows_of(listed, trainings) if way.startswith(CAMPAIGN) else longest[:trainings]
            found.append(listed.shortfall(rows))
    means = {str(trainings): round(float(np.mean(found)), DIGITS) for trainings, found in shortfalls.items()}
    return {"way": way, "benchmark": name, "seed": seed, "shortfall": means}
