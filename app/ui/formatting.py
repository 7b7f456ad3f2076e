"""Formatting of figures that only pages need; formatting shared with the command line is in `nnmass.formatting`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from nnmass.formatting import UNKNOWN


def percent(value: float | None) -> str:
    """Return a fraction as a percentage with two decimals."""
    return UNKNOWN if value is None else f"{100 * value:.2f} %"


def points(value: float) -> str:
    """Return a difference of two fractions in percentage points, with its sign."""
    return f"{100 * value:+.2f} points"


def moment(value: datetime | None) -> str:
    """Return a moment in UTC, to the second."""
    return UNKNOWN if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"


def estimate(figure: Mapping[str, float | None]) -> str:
    """Return a figure with its interval: 0.90 (0.81 to 0.95)."""
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None:
        return UNKNOWN
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f} to {high:.2f})"
