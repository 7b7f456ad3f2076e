"""The exact ranking order: NN-Mass as a rational, then the other keys, then the architecture's integers."""

from __future__ import annotations

import numpy as np

from nnmass_core.engine.chain import Chain, Floats, Ints
from nnmass_core.engine.problem import MASS, RELATIVE_ERROR, Key


class Pool:
    """The best `k` paths seen so far, in the exact order of the keys.

    With `distinct_shapes` only the best path of each shape counts.
    """

    def __init__(self, chain: Chain, keys: tuple[Key, ...], k: int, *, distinct_shapes: bool = False) -> None:
        self._chain = chain
        self._keys = keys
        self._k = k
        self._distinct_shapes = distinct_shapes
        self.paths = np.zeros((0, len(chain.stages)), np.int64)
        self.additive = np.zeros((0, chain.stages[0].additive.shape[1]))

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def full(self) -> bool:
        """Whether k paths are known."""
        return len(self) >= self._k

    def worst(self, key: Key) -> float:
        """Return the k-th path's signed quantity, or -inf while fewer than k are known."""
        return float(self.additive[self._k - 1, key.column] * key.sign) if self.full else -np.inf

    def add(self, paths: Ints, additive: Floats) -> None:
        """Offer paths, (n, stages), with their sums, (n, quantities); a path may be offered more than once."""
        paths, additive = self._hopeful(paths, additive)
        if len(paths):
            self.paths, self.additive = self._best(
                np.concatenate([self.paths, paths]), np.concatenate([self.additive, additive])
            )

    def _hopeful(self, paths: Ints, additive: Floats) -> tuple[Ints, Floats]:
        """Drop paths that cannot be among the best k, by the first key in doubles with a safety margin."""
        value = additive[:, self._keys[0].column] * self._keys[0].sign
        floor = np.full(len(value), self.worst(self._keys[0]))
        if self._distinct_shapes:
            shapes = self._chain.path_integers(paths)[:, list(self._chain.shape_columns)]
            _, shape = np.unique(shapes, axis=0, return_inverse=True)
            best = np.full(int(shape.max()) + 1, -np.inf)
            np.maximum.at(best, shape.reshape(-1), value)
            floor = np.maximum(floor, best[shape.reshape(-1)])
        elif not self.full and len(value) > self._k:
            floor[:] = np.partition(value, -self._k)[-self._k]
        with np.errstate(invalid="ignore"):
            near = ~(value < floor - RELATIVE_ERROR * (1.0 + np.abs(floor)))
        return paths[near], additive[near]

    def _best(self, paths: Ints, additive: Floats) -> tuple[Ints, Floats]:
        integers = self._chain.path_integers(paths)
        columns = [integers[:, i] for i in range(integers.shape[1])]
        ascending = [-key.sign * self._comparable(paths, additive, key.column) for key in self._keys]
        order = np.lexsort([*reversed(columns), *reversed(ascending)])
        paths, additive, integers = paths[order], additive[order], integers[order]
        fresh = np.ones(len(paths), bool)
        fresh[1:] = np.any(paths[1:] != paths[:-1], axis=1)
        if self._distinct_shapes:
            shapes = integers[:, list(self._chain.shape_columns)]
            _, first = np.unique(shapes, axis=0, return_index=True)
            fresh &= np.isin(np.arange(len(paths)), first)
        keep = np.flatnonzero(fresh)[: self._k]
        return paths[keep], additive[keep]

    def _comparable(self, paths: Ints, additive: Floats, column: int) -> Ints | Floats:
        """Return numbers that order the paths exactly by one quantity; all but NN-Mass are integers in doubles."""
        if column != MASS:
            return additive[:, column]
        masses = self._chain.exact_masses(paths)
        return masses if masses.dtype == np.int64 else np.unique(masses, return_inverse=True)[1]
