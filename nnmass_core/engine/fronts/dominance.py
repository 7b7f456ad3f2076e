"""Thin labels to those that no other label makes superfluous.

A label is what a partial path has reached: NN-Mass, of which more is better, and figures, of which less is better. Of
labels at one node, one that has as much NN-Mass and no higher figure than another makes it superfluous. With two
figures, sorted by the first, the labels seen so far form a staircase: the most NN-Mass up to each value of the second
figure. A label below the staircase is superfluous (H. T. Kung, F. Luccio, F. P. Preparata, *On finding the maxima of a
set of vectors*, Journal of the ACM 22(4), 1975).

Further figures are split into levels, each combination of levels with a staircase of the labels that keep them. A label
is then only compared with labels of lower levels and with its neighbors, so that some superfluous labels may stay: that
costs time and changes no answer.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nnmass_core.engine.chain import Ints

Ties = Callable[[Ints], Ints]

CHUNK = 1 << 13
"""The most labels that are compared with a staircase together."""

FIRST = 1 << 6
"""The number of labels of the first comparison; each later one has twice as many, while the staircase rises."""

NEIGHBORS = 256
"""With more than two figures, the number of labels that are compared with each other."""

LINES = 512
"""The most values of each figure of a grid."""

LEVELS = {1: 16, 2: 5}
"""The number of levels of each further figure, by the number of further figures."""


class Staircase:
    """The most NN-Mass up to each value of a figure: steps ascending in both."""

    def __init__(self) -> None:
        self._at = np.zeros(0, np.int64)
        self._mass = np.zeros(0, np.int64)

    def covers(self, figure: Ints, mass: Ints) -> NDArray[np.bool_]:
        """Return which labels have no more NN-Mass than the steps up to their figure, (n,)."""
        if not len(self._at):
            return np.zeros(len(figure), bool)
        place = np.searchsorted(self._at, figure, side="right") - 1
        covered: NDArray[np.bool_] = (place >= 0) & (self._mass[place] >= mass)
        return covered

    def add(self, figure: Ints, mass: Ints) -> None:
        """Add the steps of labels that it does not cover, in any order."""
        at, most = np.concatenate([self._at, figure]), np.concatenate([self._mass, mass])
        order = np.lexsort([-most, at])
        at, most = at[order], most[order]
        rising = np.ones(len(at), bool)
        rising[1:] = most[1:] > np.maximum.accumulate(most)[:-1]
        self._at, self._mass = at[rising], most[rising]

    def climb(self, figure: Ints, mass: Ints) -> NDArray[np.bool_]:
        """Add labels one after the other; return which of them those before did not cover, (n,)."""
        at, most = self._at.tolist(), self._mass.tolist()
        above = np.zeros(len(figure), bool)
        for row, (one, reached) in enumerate(zip(figure.tolist(), mass.tolist(), strict=True)):
            place = bisect_right(at, one)
            if place and most[place - 1] >= reached:
                continue
            above[row] = True
            start = place - 1 if place and at[place - 1] == one else place
            end = bisect_right(most, reached, place)
            at[start:end], most[start:end] = [one], [reached]
        self._at, self._mass = np.array(at, np.int64), np.array(most, np.int64)
        return above


class Grid:
    """The most NN-Mass of labels up to each of some values of two figures, to drop most others at once."""

    def __init__(self, mass: Ints, figures: Ints) -> None:
        """Take labels: NN-Mass as integers, (n,) with n at least 1, and figures, (n, 2)."""
        shares = np.linspace(0, 1, min(LINES, len(mass)))
        self._edges = [np.unique(np.quantile(column, shares, method="lower")) for column in figures.T]
        self._most = np.full([len(edges) for edges in self._edges], np.iinfo(np.int64).min)
        # each label counts from the first edges that it keeps; the least edges are the least figures
        place = tuple(np.searchsorted(edges, column) for edges, column in zip(self._edges, figures.T, strict=True))
        np.maximum.at(self._most, place, mass)
        for axis in (0, 1):
            np.maximum.accumulate(self._most, axis=axis, out=self._most)

    def beats(self, mass: Ints, figures: Ints) -> NDArray[np.bool_]:
        """Return which labels one with more NN-Mass and no higher figure makes superfluous, most of them, (n,)."""
        first, second = (
            np.searchsorted(edges, column, side="right") - 1
            for edges, column in zip(self._edges, figures.T, strict=True)
        )
        beaten: NDArray[np.bool_] = (first >= 0) & (second >= 0) & (self._most[first, second] > mass)
        return beaten


def superior(mass: Ints, figures: Ints, ties: Ties) -> Ints:
    """Return which labels to keep, in ascending order of their figures.

    Of labels that agree in NN-Mass and all figures only the first by the ties stays.

    Args:
        mass: NN-Mass as integers, (n,).
        figures: What is better smaller, (n, m) with m at least 1; with m up to 2 exactly the undominated labels stay.
        ties: Returns, for rows, columns that order labels which agree in all else, (rows, any number), the first first.

    Returns:
        Positions, (kept,).
    """
    columns = [figures[:, i] for i in range(figures.shape[1])]
    order = _sorted([columns[0], -mass, *columns[1:]])
    order = _without_twins(order, [mass, *columns], ties)
    mass, figures = mass[order], figures[order]
    if len(columns) == 1:
        best = np.maximum.accumulate(mass)
        rising = np.ones(len(mass), bool)
        rising[1:] = mass[1:] > best[:-1]
        kept: Ints = order[rising]
        return kept
    if len(columns) == 2 or not len(order):
        return order[_above_one_staircase(mass, figures[:, 1])]
    return order[_above_staircases(mass, figures)]


def _sorted(columns: list[Ints]) -> Ints:
    """Return the order of rows by columns, the first first; by the first alone where it has few equal entries."""
    first = columns[0]
    order: Ints = np.argsort(first)
    ascending = first[order]
    equal = np.zeros(len(order) + 1, bool)
    equal[1:-1] = ascending[1:] == ascending[:-1]
    tied = np.flatnonzero(equal[1:] | equal[:-1])
    rows = order[tied]
    order[tied] = rows[np.lexsort([*(column[rows] for column in reversed(columns[1:])), ascending[tied]])]
    return order


def _without_twins(order: Ints, columns: list[Ints], ties: Ties) -> Ints:
    """Return the order with only the first by the ties of labels that agree in all columns, which follow each other."""
    same = np.zeros(len(order), bool)
    same[1:] = np.all([column[order[1:]] == column[order[:-1]] for column in columns], axis=0)
    if not same.any():
        return order
    run = np.cumsum(~same)
    doubtful = same.copy()
    doubtful[:-1] |= same[1:]
    rows = order[doubtful]
    ranked = np.lexsort([*ties(rows).T[::-1], run[doubtful]])
    order = order.copy()
    order[doubtful] = rows[ranked]
    kept: Ints = order[~same]
    return kept


def _above_one_staircase(mass: Ints, figure: Ints) -> Ints:
    staircase, kept = Staircase(), [np.zeros(0, np.int64)]
    low, size = 0, FIRST
    while low < len(mass):
        rows = slice(low, low + size)
        hopeful = low + np.flatnonzero(~staircase.covers(figure[rows], mass[rows]))
        kept.append(hopeful[staircase.climb(figure[hopeful], mass[hopeful])])
        low, size = low + size, min(2 * size, CHUNK)
    return np.concatenate(kept)


def _above_staircases(mass: Ints, figures: Ints) -> Ints:
    second, further = figures[:, 1], figures[:, 2:]
    levels = LEVELS.get(further.shape[1], 3)
    edges = [np.unique(np.quantile(column, np.arange(1, levels + 1) / levels, method="lower")) for column in further.T]
    level = np.column_stack(
        [np.searchsorted(at, column, "right") - 1 for at, column in zip(edges, further.T, strict=True)]
    )
    staircases = {place: Staircase() for place in itertools.product(*(range(len(at)) for at in edges))}
    kept = [np.zeros(0, np.int64)]
    for low in range(0, len(mass), CHUNK):
        rows = np.arange(low, min(low + CHUNK, len(mass)))
        covered = np.zeros(len(rows), bool)
        for place, staircase in staircases.items():
            here = np.flatnonzero(np.all(level[rows] == place, axis=1))
            covered[here] = staircase.covers(second[rows[here]], mass[rows[here]])
        rows = rows[~covered]
        rows = np.concatenate([rows[:0], *(_among_neighbors(mass, figures, part) for part in _parts(rows))])
        for place, staircase in staircases.items():
            within = np.all([further[rows, i] <= edges[i][at] for i, at in enumerate(place)], axis=0)
            new = rows[within]
            new = new[~staircase.covers(second[new], mass[new])]
            staircase.add(second[new], mass[new])
        kept.append(rows)
    return np.concatenate(kept)


def _parts(rows: Ints) -> list[Ints]:
    return np.array_split(rows, max(1, -(-len(rows) // NEIGHBORS)))


def _among_neighbors(mass: Ints, figures: Ints, rows: Ints) -> Ints:
    """Return the rows that no other of these rows makes superfluous; they are all different."""
    beats = mass[rows][:, None] >= mass[rows]
    for column in figures.T:
        beats &= column[rows][:, None] <= column[rows]
    np.fill_diagonal(beats, False)
    kept: Ints = rows[~beats.any(axis=0)]
    return kept
