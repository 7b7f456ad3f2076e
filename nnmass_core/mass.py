"""NN-Mass of concatenation (DenseNet-type) cells and of residual blocks: docs/theory.md (1) to (9), (21).

Notation of Bhardwaj, Li and Marculescu (CVPR 2021): a cell has width `w`, depth `d` (layers 0 .. d-1) and takes at most
`t` channels through skip connections into a layer. Every function accepts integers or integer arrays of one shape.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Integers = TypeVar("Integers", int, NDArray[np.int64])


def smaller(a: Integers, b: Integers) -> Integers:
    """Return the smaller of two integers, or of two arrays entry by entry.

    Args:
        a: An integer, or an array of integers.
        b: An integer, or an array of the same shape.
    """
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    return np.minimum(a, b)


def larger(a: Integers, b: Integers) -> Integers:
    """Return the larger of two integers, or of two arrays entry by entry.

    Args:
        a: An integer, or an array of integers.
        b: An integer, or an array of the same shape.
    """
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    return np.maximum(a, b)


def canonical_skip_channels(w: Integers, d: Integers, t: Integers) -> Integers:
    """Return min(t, w max(d-2, 0)), docs/theory.md (2).

    No layer can sample more channels, so a larger t gives the same network.

    Args:
        w: The width of the cell.
        d: The depth of the cell, in layers.
        t: The most channels that a layer takes through skip connections.
    """
    return smaller(t, w * larger(d - 2, 0 * d))


def layer_links(w: int, j: int, t: int) -> int:
    """Return L_j, the skip channels of layer j, docs/theory.md (1): min(w (j-1), t), and none for layers 0 and 1.

    Args:
        w: The width of the cell.
        j: The number of the layer, from 0.
        t: The most channels that a layer takes through skip connections.
    """
    return min(w * max(j - 1, 0), t)


def links(w: Integers, d: Integers, t: Integers) -> Integers:
    """Return S, the skip channels of the cell summed over its layers, docs/theory.md (3).

    Layer j >= 2 takes min(w (j-1), t). In closed form, with k = min(floor(t / w), d-2):
    S = w k (k+1) / 2 + (d-2-k) t; 0 when d < 3.

    Args:
        w: The width of the cell, at least 1.
        d: The depth of the cell, in layers.
        t: The most channels that a layer takes through skip connections.
    """
    inner = larger(d - 2, 0 * d)
    k = smaller(t // w, inner)
    total: Integers = w * (k * (k + 1) // 2) + (inner - k) * t
    return total


def sampled_links(w: Integers, d: Integers, t: Integers) -> Integers:
    """Return I, the skip channels of the layers that sample, docs/theory.md (21).

    Layer j >= 2 samples where 0 < L_j < w (j-1); one that takes all channels needs no list of them. In closed form,
    with k of `links`: I = (d-2-k) t; 0 when d < 3.

    Args:
        w: The width of the cell, at least 1.
        d: The depth of the cell, in layers.
        t: The most channels that a layer takes through skip connections.
    """
    inner = larger(d - 2, 0 * d)
    sampled: Integers = (inner - smaller(t // w, inner)) * t
    return sampled


def mass_terms(d: Integers, s: Integers) -> tuple[Integers, Integers]:
    """Return numerator and denominator of NN-Mass from the links S, m = 2 d S / ((d-1)(d-2)); 0 / 1 when d < 3.

    Args:
        d: The depth of the cell, in layers.
        s: The links S of the cell, as `links` returns them.
    """
    return 2 * d * s, larger((d - 1) * (d - 2), 0 * d + 1)


def mass(w: int, d: int, t: int) -> Fraction:
    """Return the cell's NN-Mass, m = w d rho, exactly: docs/theory.md (5).

    Args:
        w: The width of the cell, at least 1.
        d: The depth of the cell, in layers.
        t: The most channels that a layer takes through skip connections.
    """
    return Fraction(*mass_terms(d, links(w, d, t)))


def density(w: int, d: int, t: int) -> Fraction:
    """Return rho, the fraction of links that exist, docs/theory.md (4): S / (w (d-1)(d-2) / 2), 0 when d < 3.

    Args:
        w: The width of the cell, at least 1.
        d: The depth of the cell, in layers, at least 1.
        t: The most channels that a layer takes through skip connections.
    """
    return mass(w, d, t) / (w * d)


def average_degree(w: int, d: int, t: int) -> Fraction:
    """Return k_hat = w + m / 2, the cell's average degree: docs/theory.md (6).

    Args:
        w: The width of the cell, at least 1.
        d: The depth of the cell, in layers.
        t: The most channels that a layer takes through skip connections.
    """
    return w + mass(w, d, t) / 2


def basic_block_terms(i: Integers, o: Integers) -> tuple[Integers, Integers]:
    """Return numerator and denominator of a ResNet or WRN basic block's NN-Mass, m = i + o.

    docs/theory.md (7).

    Args:
        i: The channels into the block.
        o: The channels out of the block.
    """
    return i + o, 0 * i + 1


def bottleneck_terms(i: Integers, h: Integers) -> tuple[Integers, Integers]:
    """Return numerator and denominator of m = (i + 2 h) i / (2 i + h): a bottleneck or inverted residual block.

    docs/theory.md (8), (9). (An inverted residual without its shortcut has none.)

    Args:
        i: The channels into the block.
        h: The inner width of the block.
    """
    return (i + 2 * h) * i, 2 * i + h
