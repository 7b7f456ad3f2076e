"""What searches answer at the limits of MLPerf Tiny's ResNet-8, trained beside that network and random ones.

Two spaces: the one that the service chooses for ResNet-8, and cells of DenseNets whose widths, depths and skip channels
are free. The networks of each are what searches answer by different rules, and three at random near the budget.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

from nnmass.formatting import shape
from nnmass_core.architecture import Architecture
from nnmass_core.named.networks import named_network
from nnmass_core.request import SearchRequest
from nnmass_core.search import search
from nnmass_core.verification.controls import near_budget_control
from scripts.study_page import table, wrapped

# untyped: bodies and answers of the service

REFERENCE = "mlperf-tiny-resnet8"
BUDGET: dict[str, Any] = {"within": REFERENCE}
SPEND = {"quantity": "macs", "share": 0.95}
SEEDS = [0, 1]
RANDOM_SEEDS = (0, 1, 2)

CELLS: dict[str, Any] = {
    "family": "densenet_cnn",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "cells": 3,
    "width": {"min": 8, "max": 64, "step": 8},
    "depth": {"min": 3, "max": 12},
    "skip_channels": {"min": 0, "max": 128, "step": 4},
}
"""Free cells that are small enough for the limits; no preset has such."""

SPACES: dict[str, dict[str, Any]] = {"cells": {"space": CELLS}, "residual": {}}
SPACE_NAMES = {"residual": "the space chosen for ResNet-8 (residual blocks)", "cells": "free DenseNet cells"}

RULES: dict[str, dict[str, Any]] = {
    "most NN-Mass of those that spend 95 % of the MACs": {"spend": SPEND},
    "most NN-Mass": {"spend": None},
    "most MACs": {"objective": {"maximize": "macs"}},
    "most params": {"objective": {"maximize": "params"}},
}
"""The fields of a search by rule. The first is what a search asks by default in a space that the service chooses."""

DEFAULT = next(iter(RULES))
RANDOM = "random near the budget"
COLUMNS = ("space", "rules", "arch_id", "shape", "nn_mass", "params", "macs", "mean", "accuracies", "seconds")


@dataclass(frozen=True)
class Picked:
    """A network to train: the space that it is from, and the rules that answered it."""

    space: str
    rules: tuple[str, ...]
    architecture: Architecture


@cache
def picked() -> tuple[Picked, ...]:
    """Return every network to train, each once for its space; found once a process."""
    return tuple(network for space in SPACES for network in _of_space(space))


def _of_space(space: str) -> Iterator[Picked]:
    rules: dict[Architecture, list[str]] = {named_network(REFERENCE): ["ResNet-8"]} if space == "residual" else {}
    asked = SPACES[space] | {"budget": BUDGET, "top_k": 1}
    for rule, fields in RULES.items():
        answer = search(SearchRequest.from_json(asked | fields))
        assert answer.certificate.optimal
        rules.setdefault(answer.ranking[0].architecture, []).append(rule)
    request = SearchRequest.from_json(asked)
    for seed in RANDOM_SEEDS:
        candidate, taken = next(iter(rules)), frozenset(network.arch_id for network in rules)
        found = near_budget_control(request, candidate, taken, seed)
        assert found is not None
        rules[found] = [RANDOM]
    return (Picked(space, tuple(of), network) for network, of in rules.items())


def bodies(images: str) -> list[dict[str, Any]]:
    """Return the verifications, on an image folder below the worker's data root."""
    about = {"dataset": {"name": "imagefolder", "path": images}, "recipe": "cifar-quick", "seeds": SEEDS}
    return [{"architecture": one.architecture.definition(), **about, "artifacts": []} for one in picked()]


def rows(trained: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the rows of the table: the networks with the accuracies of their trainings."""
    by_id = {item["arch_id"]: item for item in trained}
    return [_row(one, by_id[one.architecture.arch_id]) for one in picked() if one.architecture.arch_id in by_id]


def _row(one: Picked, item: Mapping[str, Any]) -> dict[str, str]:
    accuracy = item["accuracy"]
    each = [seed["accuracy"] for seed in accuracy["by_seed"]]
    values = (
        one.space,
        "; ".join(one.rules),
        one.architecture.arch_id,
        shape(one.architecture.definition()),
        f"{item['nn_mass']:.1f}",
        item["params"],
        item["macs"],
        f"{accuracy['mean']:.4f}",
        " ".join(f"{value:.4f}" for value in each),
        f"{item['seconds']:.0f}",
    )
    return dict(zip(COLUMNS, map(str, values), strict=True))


def write_within(part: Mapping[str, Any], docs: Path) -> None:
    """Write `study/within.csv` and `study-within.md` from the stored results."""
    found = rows(part["verifications"])
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    (docs / "study").mkdir(parents=True, exist_ok=True)
    (docs / "study/within.csv").write_text(out.getvalue())
    (docs / "study-within.md").write_text("\n\n".join(map(wrapped, page(found, part["verifications"]))) + "\n")


def page(found: list[dict[str, str]], trained: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the blocks of the page."""
    reference, first = named_network(REFERENCE).evaluation, trained[0]
    data, versions = first["data"], first["versions"]
    yield "# Trained at the limits of ResNet-8"
    yield (
        f"What searches answer within the costs of MLPerf Tiny's ResNet-8 (`--within {REFERENCE}`), trained beside "
        f"it: at most {reference.params:,} params, {reference.macs:,} MACs, its bytes of weights and its peak bytes of "
        "activations. `python -m scripts.study --only within --images FOLDER` trains it all anew through the service "
        "and writes this page and its [points](study/within.csv)."
    )
    yield (
        f"{data['train']:,} images of CIFAR-10 to train on and {data['test']:,} to test on, recipe `cifar-quick` (8 "
        f"epochs), seeds {', '.join(map(str, SEEDS))}; torch {versions['torch']} on {first['device']}. Accuracy is "
        "that on the test images after the last epoch, in percent. A network that several rules answer is trained "
        'once for each seed. The column "ahead of random" has the points by which its mean exceeds that of the three '
        "random networks."
    )
    for space, name in SPACE_NAMES.items():
        of = [row for row in found if row["space"] == space]
        yield f"## {name[0].upper()}{name[1:]}"
        headings = ["answer", "network", "NN-Mass", "params", "MACs", "mean", "ahead of random", "by seed"]
        yield table(headings, (_cells(row, of) for row in of))
    yield "## What this does not show"
    spreads = [max(values) - min(values) for values in map(_each, found)]
    yield (
        f"Two seeds of one network differ by {100 * min(spreads):.1f} to {100 * max(spreads):.1f} points, "
        f"{100 * mean(spreads):.1f} on average: smaller differences between networks are noise. So few images and 8 "
        "epochs are far from a full training, and networks may be ordered otherwise after one. There is one budget "
        "and one recipe, tuned for none of the networks, and three random networks a space. Params and MACs stand "
        "beside each network because accuracy alone compares unequal costs."
    )


def _cells(row: Mapping[str, str], of: Iterable[Mapping[str, str]]) -> list[str]:
    figures = f"{float(row['nn_mass']):,.1f}", f"{int(row['params']):,}", f"{int(row['macs']):,}"
    beside = mean(float(other["mean"]) for other in of if other["rules"] == RANDOM)
    ahead = "" if row["rules"] == RANDOM else f"{100 * (float(row['mean']) - beside):+.1f}"
    by_seed = ", ".join(f"{100 * value:.1f}" for value in _each(row))
    return [row["rules"], row["shape"], *figures, f"{100 * float(row['mean']):.1f}", ahead, by_seed]


def _each(row: Mapping[str, str]) -> list[float]:
    return [float(value) for value in row["accuracies"].split()]
