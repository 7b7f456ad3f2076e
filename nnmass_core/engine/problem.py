"""An optimization problem over a chain: lexicographic objective, additive rows, one cap on the peak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from nnmass_core.engine.chain import QUANTITIES, Chain, Floats, Ints, Stage

MASS = QUANTITIES.index("nn_mass")
PEAK = "peak"
"""The largest of a path's options, which is no sum over stages."""

MEMORY = "memory_bytes"
"""Weights and the peak together, which is no sum either."""

RELATIVE_ERROR = 1e-9
"""Two sums of NN-Mass in doubles that differ by less than this fraction of their size are compared exactly."""


@dataclass(frozen=True)
class Key:
    """One level of a lexicographic objective: a quantity to maximize (sign +1) or minimize (sign -1)."""

    column: int
    sign: int


def maximize(quantity: str) -> Key:
    """Return the key that prefers more of a quantity."""
    return Key(QUANTITIES.index(quantity), 1)


def minimize(quantity: str, quantities: tuple[str, ...] = QUANTITIES) -> Key:
    """Return the key that prefers less of a quantity. quantities: the chain's."""
    return Key(quantities.index(quantity), -1)


RANKING = (maximize("nn_mass"), minimize("macs"), minimize("params"))
"""The ranking order, docs/theory.md (11). The architecture's integers, smaller first, break the remaining ties."""


@dataclass(frozen=True, eq=False)
class Excluded:
    """Paths that are no answer, whatever they reach.

    params, macs: those of each of them. contains: whether a path's integers are those of one of them; only paths that
    share params and MACs with one are looked at.
    """

    params: Ints
    macs: Ints
    contains: Callable[[list[int]], bool]

    def places(self, chain: Chain, additive: Floats, paths_of: Callable[[Ints], Ints]) -> Ints:
        """Return which rows are excluded. additive: the sums, (n, quantities). paths_of: the paths of some rows."""
        params, macs = (additive[:, QUANTITIES.index(name)] for name in ("params", "macs"))
        near = np.flatnonzero(np.isin(params, self.params) & np.isin(macs, self.macs))
        integers = chain.path_integers(paths_of(near)).tolist()
        return near[[self.contains(one) for one in integers]] if len(near) else near


@dataclass(frozen=True)
class SharedMemory:
    """One memory that holds weights and activations together: docs/theory.md (71).

    column: of the weights, in bytes. element: the bytes of an activation element. bound: the bytes of the memory.
    least: no path that is looked for has a smaller peak, in elements.
    """

    column: int
    element: int
    bound: int
    least: int

    def admits(self, additive: Floats, peaks: Ints) -> NDArray[np.bool_]:
        """Return which paths fit. additive: their sums, (n, quantities). peaks: (n,)."""
        fits: NDArray[np.bool_] = self.used(additive, peaks) <= self.bound
        return fits

    def used(self, additive: Floats, peaks: Ints) -> Floats:
        """Return the bytes that paths use. additive: their sums, (n, quantities). peaks: (n,)."""
        used: Floats = additive[:, self.column] + self.element * peaks
        return used


@dataclass(frozen=True, eq=False)
class ChainProblem:
    """Find the best paths of a chain.

    keys: the objective, first key first. caps: the largest allowed sum of additive quantities, by column; floors: the
    smallest. peak: the largest allowed peak in elements, or None. least_mass, most_mass: the smallest and the largest
    allowed NN-Mass, or None. excluded: paths that are no answer, or None. shared: a memory that limits weights and
    activations together, or None.
    """

    chain: Chain
    keys: tuple[Key, ...] = RANKING
    caps: tuple[tuple[int, int], ...] = ()
    peak: int | None = None
    least_mass: Fraction | None = None
    floors: tuple[tuple[int, int], ...] = ()
    most_mass: Fraction | None = None
    excluded: Excluded | None = None
    shared: SharedMemory | None = None

    @property
    def limits_mass(self) -> bool:
        """Whether NN-Mass is limited: `rows` has its limits with a tolerance, so that paths need `admits_mass` too."""
        return self.least_mass is not None or self.most_mass is not None

    def admits_mass(self, mass: Fraction) -> bool:
        """Return whether an exact NN-Mass is within its limits."""
        above = self.least_mass is None or mass >= self.least_mass
        return above and (self.most_mass is None or mass <= self.most_mass)

    def capped(self, column: int, bound: int) -> ChainProblem:
        """Return the problem with one more additive cap."""
        return replace(self, caps=(*self.caps, (column, bound)))

    def rows(self) -> tuple[list[Key], Floats]:
        """Return the constraints as rows `sign x quantity <= bound`: their keys and bounds."""
        caps = dict(self.caps)
        if self.shared is not None:  # what the weights may use beside the least peak; complete paths are looked at
            left = self.shared.bound - self.shared.element * self.shared.least
            caps[self.shared.column] = min(left, caps.get(self.shared.column, left))
        keys = [Key(column, 1) for column in caps] + [Key(column, -1) for column, _ in self.floors]
        bounds = [float(bound) for bound in caps.values()] + [-float(bound) for _, bound in self.floors]
        for mass, sign in ((self.least_mass, -1), (self.most_mass, 1)):
            if mass is not None:
                keys.append(Key(MASS, sign))
                bounds.append(sign * float(mass) + RELATIVE_ERROR * (1.0 + float(mass)))
        return keys, np.array(bounds)


def column_of(stage: Stage, key: Key) -> Floats:
    """Return a quantity of every option, with the sign for which more is better."""
    return stage.additive[:, key.column] * key.sign
