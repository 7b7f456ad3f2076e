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


def thinned(points: list[Point], most: int | None) -> list[Point]:
    """Return at most this number of points of a front, in order: its ends, and as evenly as can be of the others.

    The ends are the first point of the least of each cost, and that of the most NN-Mass: three at most.

    Args:
        points: The whole front, ascending in the first cost.
        most: The number of points, 3 or more; None: all.
    """
    if most is None or len(points) <= most:
        return points
    places = range(len(points))
    ends = {min(places, key=lambda place: points[place].costs[column]) for column in range(len(points[0].costs))}
    ends.add(max(places, key=lambda place: points[place].mass))
    others = [place for place in places if place not in ends]
    wanted = most - len(ends)
    # the middles of equal parts: different places, since there are no more parts than places
    chosen = {others[(2 * part + 1) * len(others) // (2 * wanted)] for part in range(wanted)}
    return [points[place] for place in sorted(ends | chosen)]
