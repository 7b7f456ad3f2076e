"""Pareto fronts of NN-Mass against costs: what each way to find one returns (fronts/, peaks.py, listing.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True)
class Point:
    """A point of the front: its costs in the requested order, its exact NN-Mass, and its architecture's integers.

    path: the option of each stage, where labels found it.
    """

    costs: tuple[int, ...]
    mass: Fraction
    integers: tuple[int, ...]
    path: tuple[int, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Front:
    """Points, ascending in the first cost.

    gaps: for each missing point there is one here with as much NN-Mass that costs at most this much more of each cost;
    None: none is missing.
    """

    points: list[Point]
    gaps: dict[str, int] | None
    labels: int
    pruned: int
