"""Means over seeds and their intervals, compared with scipy's own interval of Student's t."""

from __future__ import annotations

import pytest
from scipy.stats import sem, t

from nnmass_core.verification.seeds import over_seeds


def test_the_interval_over_seeds_is_that_of_student() -> None:
    values = [0.912, 0.925, 0.918]
    found = over_seeds(values)
    assert found is not None
    assert found["n"] == 3
    assert found["mean"] == pytest.approx(sum(values) / 3)
    assert (found["low"], found["high"]) == pytest.approx(t.interval(0.95, 2, sum(values) / 3, sem(values)))


def test_one_seed_has_no_interval_and_none_no_mean() -> None:
    assert over_seeds([0.5]) == {"n": 1, "mean": 0.5, "std": None, "low": None, "high": None}
    assert over_seeds([]) is None


def test_an_interval_ends_where_accuracies_end() -> None:
    found = over_seeds([1.0, 0.9])
    assert found is not None
    assert found["high"] == 1.0
