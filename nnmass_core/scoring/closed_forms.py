"""The figures of one `densenet_cnn` cell as straight-line arithmetic on arrays of cells.

`families.densenet_cnn` defines the same costs one by one; the tests check that both agree. Every operation here works
on numpy's arrays and on single numbers alike, so numpy and numba run the same lines and give the same figures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnmass_core.engine.chain import Floats, Ints

AddCell = Callable[[Ints, Ints, int, int, Floats, Ints], None]
"""`add_cell` or an equivalent function."""

SPLIT = float(2**27 + 1)
"""Splits a double into two halves (Veltkamp) whose products with integers below 2**18 are exact."""


def cell_figures(w_in: Any, w: Any, d: Any, t: Any, area_in: int, area: int) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Return NN-Mass as two terms, weights of the convolutions, BatchNorm channels, peak elements, indices of a cell.

    The integers must lie within the family's bounds. area_in, area: positions of the input map and of the cell's maps.
    """
    inner = d - 2
    full = w * inner
    # Canonical, except that d = 1 gives t = -w: then k = -1, and S, c and the channels alive are 0.
    t = np.minimum(t, full)
    # Exact: t / w is an integer, or at least 1 / 8192 below the next one; the error of a double is at most 2**-44.
    k = np.int64(t / w)
    sampled = (inner - k) * t
    s = w * (k * (k + 1) >> 1) + sampled
    c = (d - 1) * w + s
    # Below 2**41 and 2**18, so that what rounding takes from the quotient is exact (Dekker, Numerische Mathematik 18).
    numerator, denominator = 2 * d * s, np.maximum((d - 1) * inner, 1)
    mass = numerator / denominator
    upper = SPLIT * mass - (SPLIT * mass - mass)
    rest = ((numerator - upper * denominator) - (mass - upper) * denominator) / denominator
    alive = 2 * w + (t != 0) * (full + t)
    peak = np.maximum(w_in * area_in + w * area, alive * area)
    return mass, rest, 9 * w * (w_in + c), w + c, peak, sampled


def add_term(total: Any, term: Any) -> tuple[Any, Any]:
    """Return the sum of two doubles, and exactly what rounding took from it (Knuth, TAOCP 2, 4.2.2)."""
    together = total + term
    added = together - total
    return together, (total - (together - added)) + (term - added)


def add_cell(w_in: Ints, cells: Ints, area_in: int, area: int, nn_mass: Floats, totals: Ints) -> None:
    """Add one cell of each network to the networks' totals, in place.

    w_in: input channels, (rows,). cells: width, depth and skip channels, (3, rows). nn_mass: a sum and the sum of what
    rounding took from it, (2, rows). totals: weights of the convolutions, MACs, BatchNorm channels, the largest peak so
    far and indices, (5, rows).
    """
    mass, rest, weights, norm_channels, peak, sampled = cell_figures(w_in, cells[0], cells[1], cells[2], area_in, area)
    nn_mass[0], error = add_term(nn_mass[0], mass)
    nn_mass[1] += error + rest
    totals[0] += weights
    totals[1] += weights * area
    totals[2] += norm_channels
    np.maximum(totals[3], peak, out=totals[3])
    totals[4] += sampled


def add_cell_by_rows(w_in: Ints, cells: Ints, area_in: int, area: int, nn_mass: Floats, totals: Ints) -> None:
    """Do the same as `add_cell`, one network after another: slow in Python, fast as machine code."""
    # In the same file as `cell_figures`, as numba reuses its cached machine code only while this file is unchanged.
    for i in range(nn_mass.shape[1]):
        w, d, t = cells[0, i], cells[1, i], cells[2, i]
        mass, rest, weights, norm_channels, peak, sampled = cell_figures(w_in[i], w, d, t, area_in, area)
        nn_mass[0, i], error = add_term(nn_mass[0, i], mass)
        nn_mass[1, i] += error + rest
        totals[0, i] += weights
        totals[1, i] += weights * area
        totals[2, i] += norm_channels
        totals[3, i] = np.maximum(totals[3, i], peak)
        totals[4, i] += sampled
