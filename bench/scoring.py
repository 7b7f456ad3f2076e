"""Measure how many random 3-cell networks `score_densenet_cnn` scores per second on one core: numpy, machine code.

python bench/scoring.py [networks]
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import sys
import time
from typing import Any

import numpy as np

from nnmass_core.architecture import Image
from nnmass_core.engine.chain import Ints
from nnmass_core.scoring.batch import score_densenet_cnn

NETWORKS = 1_000_000
ROUNDS = 20
IMAGE = Image(channels=3, height=32, width=32)


def random_cells(n: int) -> Ints:
    """Return networks of 3 cells, (n, 3, 3): widths 16 to 256, depths 4 to 32, skip channels 0 to 512."""
    draw = np.random.default_rng(0).integers
    return np.stack([draw(16, 257, (n, 3)), draw(4, 33, (n, 3)), draw(0, 513, (n, 3))], axis=2)


def seconds(cells: Ints, *, compiled: bool) -> float:
    """Return the duration of one call."""
    start = time.perf_counter()
    score_densenet_cnn(IMAGE, 10, cells, compiled=compiled)
    return time.perf_counter() - start


def measure(n: int = NETWORKS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Return networks per second for both paths: the median of some alternating rounds, after one to warm up."""
    paths = {"numpy": False, "compiled": True} if importlib.util.find_spec("numba") else {"numpy": False}
    cells = random_cells(n)
    taken: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(rounds + 1):
        for name, compiled in paths.items():
            taken[name].append(seconds(cells, compiled=compiled))
    a_second = {name: round(n / statistics.median(times[1:])) for name, times in taken.items()}
    ratio = a_second["compiled"] / a_second["numpy"] if "compiled" in a_second else None
    return {"networks": n, "rounds": rounds, "per_second": a_second, "ratio": ratio and round(ratio, 2)}


def main() -> None:
    """Measure on one core; print a line for people and one of JSON."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found = measure(int(sys.argv[1]) if len(sys.argv) > 1 else NETWORKS)
    rates = ", ".join(f"{name} {rate / 1e6:.1f} M/s" for name, rate in found["per_second"].items())
    print(f"{found['networks']:,} networks, median of {found['rounds']}: {rates}; ratio {found['ratio']}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
