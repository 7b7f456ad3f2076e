"""Scoring many architectures at once, for those who bring their own enumeration: closed forms over arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnmass_core.architecture import Image
from nnmass_core.chain import Floats, Ints
from nnmass_core.codec import check_integer
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.families.densenet_cnn import (
    CLASSES,
    DEPTH,
    SKIP_CHANNELS,
    WIDTH,
    Body,
    Entry,
    Head,
    check_final_map,
    resolutions,
)
from nnmass_core.mass import canonical_skip_channels, links, mass_terms

ROWS_AT_ONCE = 1 << 13
"""Rows worked on together: few enough that their columns stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Figures of n architectures, each (n,). nn_mass is a double, the costs are 64-bit integers.

    weights: stored numbers. peak_elements: activations alive at once for one input.
    """

    nn_mass: Floats
    params: Ints
    macs: Ints
    weights: Ints
    peak_elements: Ints


def score_densenet_cnn(image: Image, num_classes: int, cells: Ints) -> Scores:
    """Score `densenet_cnn` networks. cells: (n, cells, 3), each cell's width, depth and skip channels.

    A surplus of skip channels is taken off, as everywhere. Costs must stay below 2**63. Raises DefinitionError.
    """
    _check(image, num_classes, cells)
    n = len(cells)
    nn_mass = np.zeros(n)
    params, macs, weights, peak = (np.zeros(n, np.int64) for _ in range(4))
    scores = Scores(nn_mass, params, macs, weights, peak)
    for low in range(0, n, ROWS_AT_ONCE):
        _score(image, num_classes, cells[low : low + ROWS_AT_ONCE], scores, slice(low, low + ROWS_AT_ONCE))
    return scores


def _check(image: Image, num_classes: int, cells: Ints) -> None:
    problems = list(check_integer(num_classes, *CLASSES, "num_classes"))
    if cells.ndim != 3 or cells.shape[2] != 3 or cells.dtype != np.int64 or not cells.shape[1]:
        problems.append(Problem("cells", "bad_shape", "must be an int64 array of shape (n, cells, 3)"))
    elif len(cells):
        problems += check_final_map(image, cells.shape[1])
        low, high = cells.min(axis=(0, 1)).tolist(), cells.max(axis=(0, 1)).tolist()
        for name, bounds, least, most in zip(
            ("width", "depth", "skip_channels"), (WIDTH, DEPTH, SKIP_CHANNELS), low, high, strict=True
        ):
            if least < bounds[0] or most > bounds[1]:
                message = f"must hold a {name} from {bounds[0]} to {bounds[1]} in every row"
                problems.append(Problem("cells", "out_of_range", message))
    if problems:
        raise DefinitionError(problems)


def _score(image: Image, num_classes: int, cells: Ints, scores: Scores, rows: slice) -> None:
    sizes = resolutions(image, cells.shape[1])
    w_in, before = np.full(len(cells), image.channels), sizes[0]
    norm_channels = np.zeros(len(cells), np.int64)
    for i, after in enumerate(sizes):
        w, d = np.ascontiguousarray(cells[:, i, 0]), np.ascontiguousarray(cells[:, i, 1])
        t = canonical_skip_channels(w, d, cells[:, i, 2])
        entry, body = Entry(before, after), Body(after)
        s = links(w, d, t)
        channels = body.norm_channels(w, d, s)
        numerator, denominator = mass_terms(d, s)
        scores.nn_mass[rows] += numerator / denominator
        scores.params[rows] += entry.params(w_in, w) + body.params(w, channels)
        scores.macs[rows] += entry.macs(w_in, w) + body.macs(w, channels)
        norm_channels += entry.norm_channels(w) + channels
        cell_peak = np.maximum(entry.peak(w_in, w), body.peak(w, d, t))
        np.maximum(scores.peak_elements[rows], cell_peak, out=scores.peak_elements[rows])
        w_in, before = w, after
    head = Head(sizes[-1], num_classes)
    scores.params[rows] += head.params(w_in)
    scores.macs[rows] += head.macs(w_in)
    scores.weights[rows] = scores.params[rows] + 2 * norm_channels
    np.maximum(scores.peak_elements[rows], head.peak(w_in), out=scores.peak_elements[rows])
