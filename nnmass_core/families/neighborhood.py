"""Ranges around the cells or stages of one network: where to look for a cheaper network of the same NN-Mass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnmass_core.codec import JsonObject

# untyped: stages of any family, each with fields of its own

FEWEST_LAYERS = 3
"""The least depth of a cell: smaller depths leave no skip connection."""

MOST_SKIP_CHANNELS = 512
MOST_VALUES = 4096
"""The most values of a range."""

CHANNEL_STEP = 8
MORE_REPEATS = 2
EXPANSIONS = (2, 6)


def cells_around(depths: Sequence[int], skip_channels: Sequence[int]) -> JsonObject:
    """Return ranges of depth and skip channels that contain those of every cell.

    Args:
        depths: The depth of each cell.
        skip_channels: The skip channels of each cell.
    """
    most = max(MOST_SKIP_CHANNELS, *skip_channels)
    return {
        "depth": {"min": min(FEWEST_LAYERS, *depths), "max": max(depths)},
        "skip_channels": {"min": 0, "max": most, "step": -(-(most + 1) // MOST_VALUES)},
    }


def stages_around(stages: Sequence[dict[str, Any]], multiple: int = 1) -> list[dict[str, Any]]:
    """Return stages with channels from about half as many to half as many again, and up to two blocks more.

    Args:
        stages: The JSON form of each stage.
        multiple: Channels differ by multiples of this.
    """
    return [_stage_around(stage, multiple) for stage in stages]


def _stage_around(stage: dict[str, Any], multiple: int) -> dict[str, Any]:
    channels = stage["channels"]
    step = -(-max(CHANNEL_STEP, channels // 64 * CHANNEL_STEP) // multiple) * multiple
    either_way = channels // 2 // step * step
    ranges: dict[str, Any] = {
        "channels": list(range(channels - either_way, channels + either_way + 1, step)),
        "repeats": {"min": 1, "max": stage["repeats"] + MORE_REPEATS},
    }
    if stage.get("expansion", 1) > 1:
        fewest, most = EXPANSIONS
        ranges["expansion"] = {"min": fewest, "max": max(most, stage["expansion"])}
    return stage | ranges
