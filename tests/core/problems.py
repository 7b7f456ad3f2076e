"""Random small search problems, hard on purpose: ties, surplus skip channels, shallow cells, budgets on the edge."""

from __future__ import annotations

from math import prod
from random import Random
from typing import Any

from tests.core.brute import BYTES, LIMITS, Row, architectures, axes, expand, shapes

OTHER_FAMILIES = ("densenet_cnn_depthwise", "densenet_mlp")
"""Families of cells other than `densenet_cnn`, on which most of the tests run."""

SIDES = (2, 3, 5, 7, 8, 9, 16)


def random_axis(rng: Random, pool: tuple[int, ...], most: int) -> Any:
    """Return one axis as a range, a range whose max is off its grid, a list of numbers, or one number."""
    form = rng.choice(("range", "off grid", "set", "set", "number"))
    if form == "number":
        return rng.choice(pool)
    if form == "set":
        return [rng.choice(pool) for _ in range(rng.randint(1, most))]
    low, step, count = rng.choice(pool), rng.randint(1, 4), rng.randint(1, most)
    surplus = rng.randint(1, step) - 1 if form == "off grid" else 0
    return {"min": low, "max": low + step * (count - 1) + surplus, "step": step}


def random_axes(rng: Random, pool: tuple[int, ...], most: int, cells: int, *, tied: bool) -> Any:
    """Return an axis for all cells or, where no rule ties them, at times a list with one entry a cell."""
    if tied or rng.random() < 0.6:
        return random_axis(rng, pool, most)
    entries = [random_axis(rng, pool, most) for _ in range(cells)]
    if all(isinstance(entry, int) for entry in entries):
        entries[0] = [entries[0]]
    return entries


def random_space(
    rng: Random, most: int = 400, family: str = "densenet_cnn", counts: tuple[Any, ...] = (1, 2, 3)
) -> dict[str, Any]:
    """Return the definition of a space of at most `most` combinations. counts: of cells, numbers or axes."""
    if family == "densenet_mlp":
        return random_mlp_space(rng, most)
    form = rng.choice(counts)
    cells = max(expand(form))
    while True:
        rules = {"width_rule": "doubling"} if rng.random() < 0.25 else {}
        rules |= {"depth_rule": "equal"} if rng.random() < 0.25 else {}
        depths = rng.choice(((1, 2), (2, 3), (1, 2, 3, 4, 5), (3, 4, 5, 6, 7), (9, 10, 11)))
        skips = rng.choice(((0,), (0, 1), (0, 1, 2, 3, 5, 8), (4, 40, 60, 1000), (0, 6, 7, 100, 101)))
        space = {
            "family": family,
            "input": random_image(rng, cells),
            "num_classes": rng.randint(1, 4),
            "cells": form,
            "width": random_axes(rng, (1, 2, 3, 4, 6, 8), 4, cells, tied="width_rule" in rules),
            "depth": random_axes(rng, depths, 3, cells, tied="depth_rule" in rules),
            "skip_channels": random_axes(rng, skips, 5, cells, tied=False),
            **rules,
        }
        if combinations(space) <= most:
            return space


def random_mlp_space(rng: Random, most: int) -> dict[str, Any]:
    """Return the definition of a space of fully connected networks; inputs or classes may outweigh the cells."""
    while True:
        cells = rng.choice((1, 1, 2, 3))
        depths = rng.choice(((2,), (2, 3), (2, 3, 4, 5), (3, 4, 5, 6, 7), (9, 10, 11)))
        skips = rng.choice(((0,), (0, 1), (0, 1, 2, 3, 5, 8), (4, 40, 60, 1000), (0, 6, 7, 100, 101)))
        space = {
            "family": "densenet_mlp",
            "in_features": rng.choice((1, 2, 9, 60)),
            "num_classes": rng.choice((1, 2, 7, 50)),
            "width": random_axes(rng, (1, 2, 3, 4, 6, 8), 8 // cells, cells, tied=False),
            "depth": random_axes(rng, depths, 8 // cells, cells, tied=False),
            "skip_channels": random_axes(rng, skips, 12 // cells, cells, tied=False),
            "activation": rng.choice(("relu", "elu")),
        }
        if cells > 1:
            space |= {"cells": cells, "batchnorm": rng.randint(0, 1)}
            if rng.random() < 0.4:
                space["depth"] = [[rng.choice((1, 2, 3))] for _ in range(cells - 1)] + [[rng.choice(depths), 4]]
        if combinations(space) <= most and architectures(space):
            return space


def random_image(rng: Random, cells: int) -> dict[str, int]:
    """Return an image that leaves the last cell a side of 2 at least, or a signal."""
    sides = [side for side in SIDES if side > 2 ** (cells - 1)]
    height, width = rng.choice(sides), rng.choice(sides)
    if rng.random() < 0.15:
        height, width = rng.choice(((1, width), (height, 1)))
    return {"channels": rng.randint(1, 4), "height": height, "width": width}


def combinations(space: dict[str, Any]) -> int:
    """Return how many (shape, skip channels) the space's values make, equal networks counted apart."""
    skips = axes(space["skip_channels"], max(expand(space.get("cells", 1))))
    return sum(prod(map(len, skips[: len(shape)])) for shape in shapes(space))


def random_budget(rng: Random, rows: list[Row]) -> dict[str, Any]:
    """Return any subset of the four limits, from loose through the exact use of an architecture to hopeless."""
    precision = rng.choice(tuple(BYTES))
    chosen = rng.sample(LIMITS, rng.randint(0, 4))
    return {"precision": precision} | {name: _random_bound(rng, rows, name, precision) for name in chosen}


def _random_bound(rng: Random, rows: list[Row], name: str, precision: str) -> int:
    used = sorted(found.use(name, precision) for found in rows)
    share = rng.choice((0.0, 0.02, 0.1, 0.3, 0.5, 0.8, 1.0))
    edge = used[int(share * (len(used) - 1))]
    return rng.choice((edge, edge, edge, edge + 1, edge + 3, max(edge - 1, 0), 2 * used[-1], used[0], 0))
