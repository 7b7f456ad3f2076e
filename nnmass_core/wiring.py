"""Which channels the layers of concatenation cells sample through skip connections, drawn from a seed.

The rule is docs/theory.md (30).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nnmass_core.architecture import Architecture
from nnmass_core.codec import LARGEST_INTEGER, JsonObject, as_integer, check_integer, unknown_fields
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.families.concatenation import Cell
from nnmass_core.mass import layer_links

Layer = tuple[int, ...]
"""The channels that one layer samples, ascending: channel c of output i is number i * width + c."""

MOST_LINKS = 20_000_000
"""The most possible links of a network whose wiring is written to a file; drawing these takes a second or two."""


@dataclass(frozen=True)
class Wiring:
    """The skip connections of one network.

    Args:
        cells: `cells[c][j]` are the channels that layer j of cell c samples, ascending: channel n of output i is number
            i * width + n. Layers 0 and 1 sample none: (). A network without concatenation cells has no cells here
            either.
    """

    cells: tuple[tuple[Layer, ...], ...] = ()

    def to_json(self) -> JsonObject:
        """Write the wiring as JSON-ready objects."""
        return {"cells": [[list(layer) for layer in cell] for cell in self.cells]}

    @classmethod
    def from_json(cls, data: object, architecture: Architecture) -> Wiring:
        """Read the wiring of an architecture from parsed JSON.

        Args:
            data: An object with the field `cells`, as `to_json` writes it.
            architecture: The network of the wiring.

        Raises:
            DefinitionError: The wiring is wrong, or could not be drawn for the architecture; it has every problem
                found.
        """
        if not isinstance(data, Mapping):
            raise DefinitionError.at("", "not_an_object", "must be an object")
        problems = list(unknown_fields(data, {"cells"}))
        if "cells" not in data:
            problems.append(Problem("cells", "required", "is required"))
        else:
            problems += _list_problems(data["cells"])
        if problems:
            raise DefinitionError(problems)
        cells = ((tuple(map(as_integer, layer)) for layer in cell) for cell in data["cells"])
        wiring = cls(tuple(tuple(cell) for cell in cells))  # type: ignore[arg-type]  # `check` refuses what is no integer
        wiring.check(architecture)
        return wiring

    def check(self, architecture: Architecture) -> None:
        """Check that this wiring could be drawn for an architecture.

        Args:
            architecture: The network.

        Raises:
            DefinitionError: The wiring could not be drawn for it; it has every problem found.
        """
        cells = concatenation_cells(architecture)
        if len(self.cells) != len(cells):
            raise DefinitionError.at("cells", "bad_length", f"must have {len(cells)} entries, one for each cell")
        pairs = enumerate(zip(cells, self.cells, strict=True))
        problems = [p.under(f"cells.{index}") for index, (cell, layers) in pairs for p in _cell_problems(cell, layers)]
        if problems:
            raise DefinitionError(problems)


def concatenation_cells(architecture: Architecture) -> tuple[Cell, ...]:
    """Return the cells whose layers sample channels through skip connections, from input to output."""
    return tuple(part.definition for part in architecture.evaluation.parts if isinstance(part.definition, Cell))


def possible_links(architecture: Architecture) -> int:
    """Return how many random numbers a wiring needs: one for each channel that each layer could sample."""
    return sum(c.width * (c.depth - 1) * (c.depth - 2) // 2 for c in concatenation_cells(architecture))


def depends_on_seed(architecture: Architecture) -> bool:
    """Return whether two seeds can give a network different wirings: a layer samples some of its channels, not all."""
    cells = concatenation_cells(architecture)
    taken = ([layer_links(cell.width, j, cell.skip_channels) for j in range(cell.depth)] for cell in cells)
    return any(chooses(cell.width, counts) for cell, counts in zip(cells, taken, strict=True))


def chooses(width: int, counts: Sequence[int]) -> bool:
    """Return whether a layer of a cell samples some of its channels, not none and not all.

    Args:
        width: The output channels of each layer.
        counts: The number of channels that each layer samples, from layer 0.
    """
    return any(0 < taken < width * (j - 1) for j, taken in enumerate(counts))


def draw_wiring(architecture: Architecture, seed: int) -> Wiring:
    """Draw the skip connections of a network: layer j >= 2 samples L_j of its w (j-1) channels, uniformly.

    A seed gives the same wiring on every machine and with every version of numpy: only the raw 64-bit stream of PCG64
    is used, which numpy keeps stable (NEP 19), and none of Generator's methods, which it may change. Layer by layer
    each channel gets the next number of the stream, and the L_j channels with the smallest numbers are sampled. With
    equal widths and depths the wiring of a smaller t_c is therefore part of that of a larger one.

    Args:
        architecture: The network.
        seed: An integer from 0 to 2**53 - 1.

    Raises:
        DefinitionError: The seed is not such an integer.
    """
    problems = list(check_integer(seed, 0, LARGEST_INTEGER, "seed"))
    if problems:
        raise DefinitionError(problems)
    stream = np.random.PCG64(seed)
    return Wiring(tuple(_draw_cell(stream, cell) for cell in concatenation_cells(architecture)))


def _draw_cell(stream: np.random.PCG64, cell: Cell) -> tuple[Layer, ...]:
    return tuple(
        _draw_layer(stream, _available(cell, j), layer_links(cell.width, j, cell.skip_channels))
        for j in range(cell.depth)
    )


def _draw_layer(stream: np.random.PCG64, available: int, taken: int) -> Layer:
    numbers = stream.random_raw(available)
    smallest = np.argsort(numbers, kind="stable")[:taken]
    return tuple(np.sort(smallest).tolist())


def _available(cell: Cell, j: int) -> int:
    """Return how many channels layer j can choose from: those of outputs 0 .. j-2."""
    return cell.width * max(j - 1, 0)


def _list_problems(cells: object) -> Iterator[Problem]:
    if not isinstance(cells, list) or not all(isinstance(cell, list) for cell in cells):
        yield Problem("cells", "not_a_list", "must be a list of lists, one for each cell")
    elif not all(isinstance(layer, list) for cell in cells for layer in cell):
        yield Problem("cells", "not_a_list", "must contain a list for each layer of each cell")


def _cell_problems(cell: Cell, layers: tuple[Layer, ...]) -> Iterator[Problem]:
    if len(layers) != cell.depth:
        yield Problem("", "bad_length", f"must have {cell.depth} entries, one for each layer")
        return
    for j, layer in enumerate(layers):
        taken, available = layer_links(cell.width, j, cell.skip_channels), _available(cell, j)
        field = str(j)
        wrong = [p for number in layer for p in check_integer(number, 0, available - 1, field)]
        if len(layer) != taken:
            yield Problem(field, "bad_length", f"must name {taken} channels")
        elif wrong:
            yield wrong[0]
        elif any(a >= b for a, b in pairwise(layer)):
            yield Problem(field, "not_ascending", "must name each channel once, in ascending order")
