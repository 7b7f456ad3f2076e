"""The space around a given network in which to search for a cheaper one, for the same inputs and classes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from nnmass.search_options import Definition, definition_of
from nnmass_core.codec import JsonObject

# untyped: definitions and spaces of any family, taken apart here

FEWEST_LAYERS = 3
"""The least depth of a cell: smaller depths leave no skip connection."""

MOST_SKIP_CHANNELS = 512
MOST_VALUES = 4096
"""The most values of a range."""

CHANNEL_STEP = 8
MORE_REPEATS = 2
EXPANSIONS = (2, 6)


def space_around(network: str | Definition) -> JsonObject:
    """Return a space around a network, which you can edit and search.

    For concatenation cells the widths stay, since NN-Mass compares networks fairly only at equal width; depth and skip
    channels vary. For residual stages, channels vary from about half to one and a half times the network's, and up to
    two blocks are added. Raises DefinitionError.
    """
    from nnmass_core.families import decode_architecture  # imported here: the client needs no numpy

    definition: dict[str, Any] = decode_architecture(definition_of(network)).definition()
    del definition["version"]
    if "cells" in definition:
        cells = definition.pop("cells")
        widths = [[cell["width"]] for cell in cells]
        return definition | {"cells": len(cells), "width": widths} | _free(cells)
    if "stages" in definition:
        return definition | {"stages": _stages_around(definition["stages"])}
    return definition | _free([definition])


def _free(cells: list[dict[str, int]]) -> JsonObject:
    """Return ranges of depth and skip channels that contain those of every cell."""
    depths = [cell["depth"] for cell in cells]
    most = max(MOST_SKIP_CHANNELS, *(cell["skip_channels"] for cell in cells))
    return {
        "depth": {"min": min(FEWEST_LAYERS, *depths), "max": max(depths)},
        "skip_channels": {"min": 0, "max": most, "step": -(-(most + 1) // MOST_VALUES)},
    }


def _stages_around(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    around = [_stage_around(stage) for stage in stages]
    for (first, before), (second, after) in pairwise(zip(stages, around, strict=True)):
        if second.get("stride") == 1:
            _tell_apart(first, before, second, after)
    return around


def _stage_around(stage: dict[str, Any]) -> dict[str, Any]:
    channels = stage["channels"]
    step = max(CHANNEL_STEP, channels // 64 * CHANNEL_STEP)
    either_way = channels // 2 // step * step
    ranges: dict[str, Any] = {
        "channels": list(range(channels - either_way, channels + either_way + 1, step)),
        "repeats": {"min": 1, "max": stage["repeats"] + MORE_REPEATS},
    }
    if stage.get("expansion", 1) > 1:
        fewest, most = EXPANSIONS
        ranges["expansion"] = {"min": fewest, "max": max(most, stage["expansion"])}
    return stage | ranges


def _tell_apart(first: dict[str, Any], before: dict[str, Any], second: dict[str, Any], after: dict[str, Any]) -> None:
    """Prevent equal channels and expansion in two stages: with stride 1 between them networks would count twice."""
    if first["channels"] == second["channels"]:
        before["expansion"], after["expansion"] = first["expansion"], second["expansion"]
        return
    middle = (first["channels"] + second["channels"]) / 2
    for stage, around in ((first, before), (second, after)):
        below = stage["channels"] < middle
        around["channels"] = [value for value in around["channels"] if (value < middle) == below]
