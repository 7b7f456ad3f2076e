"""What the accuracies of one network at several seeds say about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

CONFIDENCE = 0.95


class OverSeeds(TypedDict):
    """A mean accuracy over n seeds, its sample standard deviation and 95 % interval; None of these for one seed."""

    n: int
    mean: float
    std: float | None
    low: float | None
    high: float | None


def over_seeds(accuracies: Sequence[float]) -> OverSeeds | None:
    """Return the mean with Student's t interval of the expected accuracy over seeds, or None without any.

    The interval is mean +- t(0.975, n - 1) std / sqrt(n), cut to [0, 1]; it assumes that accuracies are about normal
    (Student 1908, "The probable error of a mean").

    Args:
        accuracies: One for each seed, in [0, 1].
    """
    if not accuracies:
        return None
    values = np.array(accuracies, np.float64)
    found: OverSeeds = {"n": len(values), "mean": float(values.mean()), "std": None, "low": None, "high": None}
    if len(values) > 1:
        from scipy.stats import t  # loaded when first needed, so that importing this module stays fast

        std = float(values.std(ddof=1))
        half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * std / len(values) ** 0.5
        found |= {"std": std, "low": max(0.0, found["mean"] - half), "high": min(1.0, found["mean"] + half)}
    return found
