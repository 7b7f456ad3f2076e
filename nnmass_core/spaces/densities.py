"""Limits on the density of every cell: docs/theory.md (54).

A network keeps such a limit if each of its cells does, and a cell is one option of a stage of the chain. So a limit
only removes options, like a cap on the peak.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from nnmass_core.engine.chain import Chain, Ints
from nnmass_core.spaces.base import Space

CLOSE = 1e-12
"""Densities in doubles that differ by no more are compared exactly."""


def within_density(space: Space, chain: Chain, bound: Fraction) -> Chain:
    """Return the chain without the cells that are denser than a bound.

    Args:
        space: The space of the chain.
        chain: The space's chain, with any quantities.
        bound: The greatest density, inclusive.
    """
    stages = list(chain.stages)
    for place, stage in enumerate(stages):
        densities = space.densities(stage)
        if densities is not None:
            stages[place] = stage.take(_at_most(*densities, bound))
    return replace(chain, stages=tuple(stages), memory={})


def densities_of(space: Space, chain: Chain) -> list[Fraction]:
    """Return the densities of all cells that a chain has, ascending, each once.

    Args:
        space: The space of the chain.
        chain: The space's chain.
    """
    found: set[Fraction] = set()
    for stage in chain.stages:
        densities = space.densities(stage)
        if densities is not None:
            pairs = np.unique(np.column_stack(densities), axis=0).tolist()
            found |= {Fraction(numerator, denominator) for numerator, denominator in pairs}
    return sorted(found)


def has_densities(space: Space) -> bool:
    """Return whether the cells of a space's networks have a density.

    Args:
        space: The space.
    """
    return any(part.density is not None for part in space.largest().evaluation.parts)


def _at_most(numerator: Ints, denominator: Ints, bound: Fraction) -> NDArray[np.bool_]:
    density = numerator / denominator
    kept: NDArray[np.bool_] = density <= float(bound)
    close = np.flatnonzero(np.abs(density - float(bound)) <= CLOSE)
    pairs, place = np.unique(np.column_stack([numerator[close], denominator[close]]), axis=0, return_inverse=True)
    exact = np.array([Fraction(*pair) <= bound for pair in pairs.tolist()], bool)
    kept[close] = exact[place.reshape(-1)]
    return kept
