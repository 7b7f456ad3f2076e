"""The results of the replay as tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.replay.picks import BUDGETS

# untyped: results, as JSON holds them

LABELS = {"nn_mass": "NN-Mass", "params": "params", "macs": "MACs", "blocks": "blocks"}
SCOPES = {"all": "all networks", "params": "equal params", "macs": "equal MACs"}


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Return every table, by its name. results: as `bench.replay.results` returns them."""
    return {
        "correlations": _correlations(results["correlations"], ("nn_mass", "params", "macs", "blocks"), SCOPES),
        "proxies": _proxies(results["correlations"]),
        "picks": _picks(results["picks"]),
        "picks by benchmark": _picks_by_benchmark(results["picks_by_benchmark"]),
        "compressions": _compressions(results["compressions"]),
        "pairs": _pairs(results["pairs"]),
    }


def _table(head: Iterable[str], rows: Iterable[Iterable[object]], texts: int = 1) -> str:
    """Return a table. texts: how many of the first columns hold text; the others hold figures."""
    names = [*head]
    lines = [names, [*(["---"] * texts), *(["--:"] * (len(names) - texts))], *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def _figure(found: dict[str, Any]) -> str:
    if found["low"] is None:
        return f"{found['value']:.2f}"
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def _correlations(by_benchmark: dict[str, Any], measures: tuple[str, ...], scopes: dict[str, str]) -> str:
    rows = [
        (name, found["networks"], label, *(_figure(found["rho"][scope][measure]) for measure in measures))
        for name, found in by_benchmark.items()
        for scope, label in scopes.items()
    ]
    return _table(("benchmark", "networks", "among", *(LABELS[name] for name in measures)), rows, texts=3)


def _proxies(by_benchmark: dict[str, Any]) -> str:
    """Return the correlations among all networks of the benchmarks that come with proxies, one row a measure."""
    having = {
        name: found["rho"]["all"] for name, found in by_benchmark.items() if len(found["rho"]["all"]) > len(LABELS)
    }
    measures = [*next(iter(having.values()), {})]
    rows = [
        (LABELS.get(measure, f"`{measure}`"), *(_figure(rho[measure]) for rho in having.values()))
        for measure in measures
    ]
    return _table(("measure", *having), rows)


def _picked(found: dict[str, Any]) -> str:
    return f"{found['ahead']} of {found['searches']}, {found['points']:+.2f}"


def _picks(by_rule: dict[str, Any]) -> str:
    kinds = (*BUDGETS, "all")
    rows = [(rule, *(_picked(found[kind]) for kind in kinds)) for rule, found in by_rule.items()]
    return _table(("rule", "limit on params", "limit on MACs", "limits on both", "all"), rows)


def _picks_by_benchmark(by_benchmark: dict[str, Any]) -> str:
    rules = [*next(iter(by_benchmark.values()))]
    rows = [(rule, *(_picked(found[rule]) for found in by_benchmark.values())) for rule in rules]
    return _table(("rule", *by_benchmark), rows)


def _compressions(by_benchmark: dict[str, Any]) -> str:
    rows = [
        (
            name,
            rule,
            f"{found['loss']:.2f}",
            f"{found['random']:.2f}",
            f"{found['fewer']:.2f}",
            f"{found['impossible']} of {found['references']}",
        )
        for name, by_rule in by_benchmark.items()
        for rule, found in by_rule.items()
    ]
    head = ("benchmark", "rule", "points lost", "by random networks of these MACs", "times fewer MACs", "cannot")
    return _table(head, rows, texts=2)


def _pairs(by_group: dict[str, Any]) -> str:
    rows = [(group, found["better"], found["pairs"]) for group, found in by_group.items()]
    total = [sum(found[name] for found in by_group.values()) for name in ("better", "pairs")]
    return _table(("networks of", "more NN-Mass is better", "pairs"), [*rows, ("all", *total)])
