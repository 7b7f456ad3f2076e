"""Small random spaces of every family with every limit, latency included, and their networks by brute force."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any

from nnmass_core.budget import Budget
from nnmass_core.engine.control import Control
from nnmass_core.families import decode_space
from nnmass_core.hardware.latency import estimate
from nnmass_core.request import Maximize, Objective, SearchRequest
from nnmass_core.search import SearchResult, search
from tests.core import brute, residual_problems
from tests.core.brute import LIMITS, Row, within
from tests.core.latencies import DEVICE, model
from tests.core.problems import OTHER_FAMILIES, random_budget, random_space

FAMILIES = ("densenet_cnn", *OTHER_FAMILIES, *residual_problems.FAMILIES)
WITH_SKIPS = tuple(family for family in FAMILIES if family not in residual_problems.SEPARABLE)
"""Families of networks with NN-Mass: fronts of the others have a single point."""

LATENCY = "max_latency_ms"
PRECISION = "fp32"


@dataclass(frozen=True)
class Small:
    """A space and all its networks in ranking order, each with its latency in nanoseconds."""

    space: dict[str, Any]
    rows: list[Row]
    nanoseconds: dict[Any, int]

    def cost(self, row: Row, cost: str) -> int:
        """Return a cost of a network in the engine's unit."""
        if cost == "latency_ms":
            return self.nanoseconds[row.cells]
        if cost == "weight_bytes":
            return row.weight_bytes(PRECISION)
        if cost == "depth":
            return depth_of(self.space, row)
        return {"params": row.params, "macs": row.macs, "peak_activation_bytes": row.peak}[cost]

    def within(self, budget: dict[str, Any], least: Fraction | None = None) -> list[Row]:
        """Return the networks that keep a budget and have at least this NN-Mass, in ranking order."""
        limits = {name: budget[name] for name in LIMITS if name in budget}
        kept = within(self.rows, limits, budget["precision"])
        if LATENCY in budget:
            kept = [row for row in kept if self.nanoseconds[row.cells] / 1e6 <= budget[LATENCY]]
        return [row for row in kept if least is None or row.mass >= least]

    def budget(self, rng: Random) -> dict[str, Any]:
        """Return any subset of the limits, latency included; a latency profile is of one precision."""
        while (budget := random_budget(rng, self.rows))["precision"] != PRECISION:
            pass
        if rng.random() < 0.4:
            budget[LATENCY] = rng.choice(sorted(self.nanoseconds.values())[len(self.rows) // 3 :]) / 1e6
        return budget

    def search(
        self,
        budget: dict[str, Any],
        objective: Objective | None = None,
        control: Control | None = None,
        **more: Any,
    ) -> SearchResult:
        """Ask the product."""
        space, kept = decode_space(self.space), Budget(**budget, device=DEVICE)
        return search(SearchRequest(space=space, budget=kept, objective=objective or Maximize(), **more), control)


def depth_of(space: dict[str, Any], row: Row) -> int:
    """Return a network's layers, counted from its integers as docs/theory.md (69) says."""
    match space["family"]:
        case "resnet":
            return 1 + (2 if space["block"] == "basic" else 3) * sum(stage[-1] for stage in row.cells)
        case "densenet_bc":
            layers = sum(stage[1] for stage in row.cells[1:])
            return len(row.cells[1:]) + layers * (2 if space["bottleneck"] else 1)
        case "convnext" | "wide_resnet_cifar" as family:
            outside, each = (len(row.cells), 3) if family == "convnext" else (1, 2)
            return outside + each * sum(stage[-1] for stage in row.cells)
        case "ds_cnn" | "mobilenet_v1":
            return 1 + 2 * sum(stage[1] for stage in row.cells[1:])
        case "mobilenet_v2":
            return 2 + sum((3 if stage[0] > 1 else 2) * stage[2] for stage in row.cells[1:])
    return sum(cell[1] for cell in row.cells)


def random_small(rng: Random, family: str, most: int = 150) -> Small:
    """Return a random space of a family with at most this many combinations."""
    if family in residual_problems.FAMILIES:
        space = residual_problems.random_space(rng, family, most)
        rows = residual_problems.ranked(space)
    else:
        space = random_space(rng, most, family)
        rows = brute.ranked(space)
    read = decode_space(space)
    works = {row.cells: read.architecture(flat(row)).work() for row in rows}
    return Small(space, rows, {cells: estimate(model(), "", work).nanoseconds for cells, work in works.items() if work})


def flat(row: Row) -> list[int]:
    """Return a network's integers in the order of its definition."""
    return [number for cell in row.cells for number in cell]


def found(small: Small, result: SearchResult) -> list[Row]:
    """Return the rows of the networks that a search found, in its order."""
    read = decode_space(small.space)
    by_id = {read.architecture(flat(row)).arch_id: row for row in small.rows}
    return [by_id[place.architecture.arch_id] for place in result.ranking]
