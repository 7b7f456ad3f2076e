"""Score many architectures with one call, for users with their own enumeration: closed forms over arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nnmass_core.architecture import BYTES_PER_ELEMENT, CLASSES, Image
from nnmass_core.codec import check_integer
from nnmass_core.costs import counts_of
from nnmass_core.engine.chain import Floats, Ints
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.families.concatenation import MOST_CELLS
from nnmass_core.families.densenet_cnn import (
    DEPTH,
    SKIP_CHANNELS,
    WIDTH,
    Body,
    Entry,
    Head,
    check_final_map,
    resolutions,
)
from nnmass_core.mass import links, mass
from nnmass_core.scoring.closed_forms import AddCell, add_cell

ROWS_AT_ONCE = 1 << 13
"""Rows processed together: few enough that their columns stay in the processor's cache."""

ROWS_WORTH_COMPILING = 500_000
"""The number of networks from which machine code is used by default.

Loading numba costs a process 0.3 s, and twice that the first time on a machine. That pays off from ten million networks
on. A caller with half a million networks in one call is assumed to call repeatedly.
"""

DOUBT = 2.0**-40
"""A sum that another rounding error of its rest, by this fraction, would round differently is computed exactly."""

_BOUNDS = {"width": WIDTH, "depth": DEPTH, "skip_channels": SKIP_CHANNELS}


@dataclass(frozen=True, eq=False)
class Scores:
    """Figures of n architectures, each (n,). nn_mass is the nearest double, the costs are 64-bit integers.

    weights: stored numbers. peak_elements: activations alive at the same time for one input. indices: channel numbers
    of sampled skips, docs/theory.md (21).
    """

    nn_mass: Floats
    params: Ints
    macs: Ints
    weights: Ints
    peak_elements: Ints
    indices: Ints

    def weight_bytes(self, precision: str) -> Ints:
        """Return the bytes of weights and indices at `fp32`, `fp16` or `int8`, (n,): docs/theory.md (20)."""
        stored: Ints = counts_of(self, BYTES_PER_ELEMENT[precision]).weight_bytes
        return stored


def score_densenet_cnn(image: Image, num_classes: int, cells: Ints, *, compiled: bool | None = None) -> Scores:
    """Score `densenet_cnn` networks. cells: (n, cells, 3), each cell's width, depth and skip channels.

    Excess skip channels are removed, as everywhere. compiled: whether numba's machine code does the work (the extra
    `fast`), with the same results; None uses it for many networks if it is installed.

    Raises DefinitionError, also where the largest width, depth and skip channels of each cell, taken together, make a
    network of 2**63 MACs or more.
    """
    _check_form(image, num_classes, cells)
    n = len(cells)
    add = _adder(n, compiled=compiled)
    scores = Scores(np.zeros(n), *(np.empty(n, np.int64) for _ in range(5)))
    largest = np.full(cells.shape[1:], [low for low, _ in _BOUNDS.values()])
    for low in range(0, n, ROWS_AT_ONCE):
        rows = slice(low, low + ROWS_AT_ONCE)
        columns = cells[rows].transpose(1, 2, 0).copy()
        least, most = columns.min(axis=2), columns.max(axis=2)
        if any(_out_of_range(least, most)):
            raise DefinitionError(_out_of_range(cells.min(axis=0), cells.max(axis=0)))
        np.maximum(largest, most, out=largest)
        _score(image, num_classes, columns, add, scores, rows)
    _check_macs(image, num_classes, largest)
    return scores


def _check_form(image: Image, num_classes: int, cells: Ints) -> None:
    problems = list(check_integer(num_classes, *CLASSES, "num_classes"))
    if cells.dtype != np.int64 or cells.ndim != 3 or cells.shape[2] != 3 or not 1 <= cells.shape[1] <= MOST_CELLS:
        message = f"must be an int64 array of shape (n, cells, 3) with 1 to {MOST_CELLS} cells"
        problems.append(Problem("cells", "bad_shape", message))
    else:
        problems += check_final_map(image, cells.shape[1])
    if problems:
        raise DefinitionError(problems)


def _out_of_range(least: Ints, most: Ints) -> Iterator[Problem]:
    """Yield the problems of integers out of their bounds, from the extremes of every cell, (cells, 3)."""
    extremes = zip(_BOUNDS.items(), least.min(axis=0).tolist(), most.max(axis=0).tolist(), strict=True)
    for (name, (low, high)), smallest, greatest in extremes:
        if smallest < low or greatest > high:
            yield Problem("cells", "out_of_range", f"must contain a {name} from {low} to {high} in every row")


def _check_macs(image: Image, num_classes: int, largest: Ints) -> None:
    """Refuse networks whose MACs overflow; no other cost comes near 2**63. Python's integers cannot overflow."""
    sizes, w_in = resolutions(image, len(largest)), image.channels
    macs = 0
    for (w, d, t), size in zip(largest.tolist(), sizes, strict=True):
        body = Body(size)
        macs += Entry(size, size).macs(w_in, w) + body.macs(w, body.norm_channels(w, d, links(w, d, t)))
        w_in = w
    if macs + Head(sizes[-1], num_classes).macs(w_in) >= 2**63:
        raise DefinitionError.at("cells", "too_large", "make networks of 2**63 MACs or more")


def _adder(n: int, *, compiled: bool | None) -> AddCell:
    if compiled or (compiled is None and n >= ROWS_WORTH_COMPILING):
        try:
            from nnmass_core.scoring import compiled as machine_code
        except ImportError as error:
            if compiled:
                raise DefinitionError.at("compiled", "not_installed", "requires numba (the extra `fast`)") from error
        else:
            return machine_code.add_cell
    return add_cell


def _score(image: Image, num_classes: int, columns: Ints, add: AddCell, scores: Scores, rows: slice) -> None:
    """Score one block. columns: (cells, 3, rows)."""
    sizes = resolutions(image, len(columns))
    areas = [height * width for height, width in sizes]
    w_in, area_in = np.full(columns.shape[2], image.channels), areas[0]
    nn_mass, totals = np.zeros((2, columns.shape[2])), np.zeros((5, columns.shape[2]), np.int64)
    for cell, area in zip(columns, areas, strict=True):
        add(w_in, cell, area_in, area, nn_mass, totals)
        w_in, area_in = cell[0], area
    scores.nn_mass[rows], doubtful = nearest(*nn_mass)
    for row in doubtful.tolist():
        exact = sum(mass(*cell) for cell in columns[:, :, row].tolist())
        scores.nn_mass[rows][row] = float(exact)
    head, taps = Head(sizes[-1], num_classes), Body(sizes[0]).taps
    convolutions, macs, norm_channels, peak, indices = totals
    if taps != 9:  # the closed forms are those of images, where a weight is one of 9
        convolutions, macs = convolutions // 9 * taps, macs // 9 * taps
    scores.params[rows] = convolutions + 2 * norm_channels + head.params(w_in)
    scores.macs[rows] = macs + head.macs(w_in)
    scores.weights[rows] = scores.params[rows] + 2 * norm_channels
    np.maximum(peak, head.peak(w_in), out=scores.peak_elements[rows])
    scores.indices[rows] = indices


def nearest(total: Floats, rest: Floats) -> tuple[Floats, Ints]:
    """Return the doubles nearest to sums of two doubles, (n,), and the rows where an error of the rest may decide.

    total: of which `rest` is at most a few units in the last place. The relative error of a rest that decides is far
    below `DOUBT`.
    """
    low, high = total + rest * (1 - DOUBT), total + rest * (1 + DOUBT)
    return low, np.flatnonzero(low != high)
