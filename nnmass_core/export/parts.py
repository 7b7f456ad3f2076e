"""The parts of a network in public JSON: a list of its cells or of its stages, under the key of that name.

The core writes the lists and the client reads them, also those of families that the client does not have. So what
depends on the kind of part is decided here and nowhere else, and this module loads nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

HEADINGS = {
    "cells": "cells: width x depth, skip channels",
    "stages": "stages: channels x blocks",
}
"""The heading of a column that shows networks by their parts, by the key of the list (`PartName`)."""

BLOCKS_HEADING = "stages: growth x layers"
"""The heading of stages that are dense blocks."""

ANY_HEADING = "cells or stages"


def parts_of(network: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the cells or stages of a network, from input to output.

    Args:
        network: The network's figures, or a definition that lists its parts.

    Returns:
        The parts as they are in the JSON; none where it lists none.
    """
    return next((tuple(network[name]) for name in HEADINGS if network.get(name)), ())


def width_of(part: Mapping[str, Any]) -> int | None:
    """Return the width of a cell, or the channels of a stage.

    Args:
        part: One entry of `parts_of`.
    """
    width: int | None = part.get("width") or part.get("channels")
    return width


def heading_of(networks: Iterable[Mapping[str, Any]]) -> str:
    """Return the heading of a column that shows networks by their parts.

    Args:
        networks: The figures of each network in the column.
    """
    found = {_heading(name, row[name]) for row in networks for name in HEADINGS if name in row}
    return " or ".join(heading for heading in (*HEADINGS.values(), BLOCKS_HEADING) if heading in found) or ANY_HEADING


def is_dense_block(part: Mapping[str, Any]) -> bool:
    """Return whether a part is a dense block: its width is the growth of its layers.

    Args:
        part: One entry of `parts_of`.
    """
    return "layers" in part and "width" in part


def _heading(name: str, parts: Sequence[Mapping[str, Any]]) -> str:
    return BLOCKS_HEADING if any(map(is_dense_block, parts)) else HEADINGS[name]
