"""What a slightly larger budget gains, and the front near the budget: several more searches, each proved."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from nnmass_core.architecture import Architecture
from nnmass_core.budget import Budget, Limit
from nnmass_core.costs import COSTS, Cost
from nnmass_core.engine.control import Control
from nnmass_core.request import Maximize, SearchRequest
from nnmass_core.search import search

FACTORS = (1.1, 1.25, 1.5)
SHARES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0)
"""Fractions of the best network's cost at which points of the front are computed."""

SECONDS = 2.0
MOST_OPTIONS = 250_000


def charted() -> dict[str, Cost]:
    """Return the costs that a chart can show: those of every network."""
    return {name: cost for name, cost in COSTS.items() if not cost.timed}


FrontPoint = dict[str, int | float]
"""A point of the front: its cost, by name, and its NN-Mass."""


@dataclass(frozen=True)
class Gain:
    """The most NN-Mass when only one limit is raised by each of FACTORS; None where the time ran out."""

    limit: str
    bound: float
    masses: tuple[float | None, ...]


def gains(request: SearchRequest) -> list[Gain]:
    """Return the gain from raising each limit separately; empty for other objectives, or slow spaces."""
    if not _quick(request):
        return []
    control = _control()
    limits = request.budget.limits()
    return [Gain(one.name, one.bound, tuple(_raised(request, one, control))) for one in limits]


def _quick(request: SearchRequest) -> bool:
    return request.objective == Maximize() and request.space.option_bound() <= MOST_OPTIONS


def _control() -> Control:
    deadline = time.monotonic() + SECONDS
    return Control(expired=lambda: time.monotonic() > deadline)


def _raised(request: SearchRequest, limit: Limit, control: Control) -> Iterator[float | None]:
    for factor in FACTORS:
        best = _best(request, _scaled(limit.cost, limit.bound, factor), control)
        yield None if best is None else float(best.evaluation.mass)


def _scaled(cost: Cost, bound: float, factor: float) -> dict[str, float]:
    return {cost.limit: int(bound * factor) if cost.whole else bound * factor}


def _best(request: SearchRequest, limits: dict[str, float], control: Control) -> Architecture | None:
    """Return the architecture with the most NN-Mass within other limits; None without one, or when the time is over."""
    floors = {floor.cost.limit: floor.bound for floor in request.budget.floors()}
    if control.expired() or any(bound < floors.get(name, 0) for name, bound in limits.items()):
        return None
    # the devices' limits as numbers, so that they can be raised too; of a device itself only its speed remains
    bounds = {limit.name: limit.bound for limit in request.budget.all_limits()} | limits
    devices = [replace(device, flash_bytes=None, ram_bytes=None) for device in request.budget.devices]
    batch = request.budget.batch
    budget = Budget(precision=request.budget.precision, device=None, devices=devices, batch=batch, **bounds)
    found = search(replace(request, budget=budget, top_k=1, first_rank=1), control)
    return found.ranking[0].architecture if found.ranking and found.certificate.optimal else None


def front(request: SearchRequest, cost: str, best: float) -> list[FrontPoint]:
    """Return points with the most NN-Mass at a cost near `best`, the result's cost, with the other limits unchanged."""
    if not _quick(request):
        return []
    control, found = _control(), dict[str, FrontPoint]()
    for share in SHARES:
        point = _best(replace(request, spend=None), _scaled(COSTS[cost], best, share), control)
        if point is not None:
            found[point.arch_id] = point.evaluation.report(request.budget.precision, request.budget.batch)
    return [{cost: figures[cost], "nn_mass": figures["nn_mass"]} for figures in found.values()]
