"""The shortfalls of the replay as tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from bench.campaigns.replays import CAMPAIGN

# untyped: results, as JSON holds them


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Return every table, by its name. results: as `bench.campaigns.replays.replay` returns them."""
    found, trainings = results["ways"], [str(number) for number in results["trainings"]]
    ways = {name: way for name, way in found.items() if not name.startswith(f"{CAMPAIGN}, ")}
    rounds = {name: way for name, way in found.items() if name not in ways} | {
        f"{CAMPAIGN}, {results['rounds']} rounds": found[CAMPAIGN]
    }
    ordered = dict(sorted(rounds.items(), key=lambda one: int(one[0].split()[1])))
    return {
        "campaigns": _means(ways, trainings),
        "campaigns by benchmark": _by_benchmark(ways, trainings[1:]),
        "campaigns by rounds": _means(ordered, trainings),
    }


def shortfall(way: dict[str, Any], trainings: str) -> float:
    """Return the mean shortfall over the benchmarks, each with its mean over budgets and seeds."""
    return float(np.mean([points[trainings] for points in way["points"].values()]))


def _means(ways: dict[str, Any], trainings: list[str]) -> str:
    rows = [
        (name, *(f"{shortfall(way, number):.2f}" for number in trainings), len(way["seeds"]))
        for name, way in ways.items()
    ]
    return _table(("networks chosen by", *(f"{number} trainings" for number in trainings), "seeds"), rows)


def _by_benchmark(ways: dict[str, Any], trainings: list[str]) -> str:
    names = [*ways[CAMPAIGN]["points"]]
    rows = [
        (name, *(" / ".join(f"{way['points'][benchmark][number]:.2f}" for number in trainings) for benchmark in names))
        for name, way in ways.items()
    ]
    return _table(("networks chosen by", *names), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = [*head]
    lines = [names, ["---", *(["--:"] * (len(names) - 1))], *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)
