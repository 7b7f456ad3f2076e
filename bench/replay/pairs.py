"""Pairs of hand-designed networks of one trainer at equal params: is the one of more NN-Mass the better one?"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import TypedDict

from bench.replay.benchmarks import Row, rows_of

FILE = "published-tables.csv.gz"
EQUAL = 0.1
"""Params are equal if they differ by at most this fraction of the larger one."""


class Pairs(TypedDict):
    """Pairs of a group, and in how many the network of more NN-Mass has the higher accuracy."""

    pairs: int
    better: int


def pairs(folder: Path) -> dict[str, Pairs]:
    """Return the pairs of every group that has any, by group. A folder without the file has none."""
    path = folder / FILE
    groups = defaultdict(list)
    for row in rows_of(path) if path.is_file() else []:
        groups[row["group"]].append(row)
    found: dict[str, Pairs] = {}
    for group, rows in groups.items():
        better = [_more_is_better(one, other) for one, other in combinations(rows, 2) if _comparable(one, other)]
        if better:
            found[re.sub(r" \(\d+\)$", "", group)] = {"pairs": len(better), "better": sum(better)}
    return found


def _comparable(one: Row, other: Row) -> bool:
    params = sorted(float(row["params"]) for row in (one, other))
    return params[1] - params[0] <= EQUAL * params[1] and float(one["nn_mass"]) != float(other["nn_mass"])


def _more_is_better(one: Row, other: Row) -> bool:
    more, less = (float(one[name]) - float(other[name]) for name in ("nn_mass", "accuracy"))
    return more * less > 0
