"""How much more accurate the networks of rankings are than the random networks that were trained beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

RESAMPLES = 2000
SEED = 0
FEWEST = 5
"""With fewer pairs there is no interval: resamples would hardly differ."""

INTERVAL = (2.5, 97.5)


class Difference(TypedDict):
    """A mean difference of accuracies over n pairs, with its 95 % bootstrap interval over pairs; None below 5."""

    n: int
    value: float
    low: float | None
    high: float | None


def difference_of(differences: Sequence[float]) -> Difference | None:
    """Return the mean of differences with its percentile interval, or None without any.

    A pure function: resamples come from a fixed seed.

    Args:
        differences: Accuracies of networks of rankings less those of their controls, each in [-1, 1].
    """
    if not differences:
        return None
    values = np.array(differences, np.float64)
    found: Difference = {"n": len(values), "value": float(values.mean()), "low": None, "high": None}
    if len(values) >= FEWEST:
        rng = np.random.Generator(np.random.PCG64(SEED))
        means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
        found["low"], found["high"] = (float(end) for end in np.percentile(means, INTERVAL))
    return found


def difference_in_words(found: Difference, controls: str) -> str:
    """State a difference and whether chance explains it.

    Args:
        found: The difference.
        controls: What the networks were compared with, as "random networks near the budget".
    """
    n, points = found["n"], found["value"] * 100
    what = f"{abs(points):.1f} points {'more' if points > 0 else 'less'} accurate than"
    count = f"{n} pair" if n == 1 else f"{n} pairs"
    low, high = found["low"], found["high"]
    if low is None or high is None:
        return f"The networks of rankings are on average {what} {controls} ({count}: no interval)."
    chance = "includes 0, so the difference may be chance" if low <= 0 <= high else "does not include 0"
    interval = f"95 % interval {low * 100:+.1f} to {high * 100:+.1f}, {chance}"
    return f"The networks of rankings are on average {what} {controls} ({count}: {interval})."
