"""Random chains, of no family, and all their paths: what the engine must also answer on forms that no family has."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from random import Random

import numpy as np

from nnmass_core.engine.chain import Chain, Stage, make_stage
from nnmass_core.engine.control import Control


@dataclass(frozen=True)
class Path:
    """One path with its sums, the latency in nanoseconds."""

    integers: tuple[int, ...]
    shape: tuple[int, ...]
    mass: Fraction
    params: int
    macs: int
    weights: int
    latency: int
    peak: int

    @property
    def place(self) -> tuple[Fraction, int, int, tuple[int, ...]]:
        """What the ranking order compares, smaller first."""
        return -self.mass, self.macs, self.params, self.integers


def random_chain(rng: Random, most: int = 300, most_shapes: int = 4, most_denominator: int = 24) -> Chain:
    """Return a chain of at least two and at most so many paths; each option has a shape's number and its own."""
    while True:
        inner = [rng.randint(1, 3) for _ in range(rng.randint(0, 3))]
        nodes = (1, *inner, 1)
        stages = tuple(
            _random_stage(rng, before, after, most_shapes, most_denominator)
            for before, after in itertools.pairwise(nodes)
        )
        chain = Chain(stages, nodes, tuple(range(0, 2 * len(stages), 2)))
        if 2 <= chain.count() <= most:
            return chain


def _random_stage(rng: Random, before: int, after: int, most_shapes: int, most_denominator: int) -> Stage:
    n, figures = rng.randint(1, 9), np.random.default_rng(rng.randrange(2**32))
    largest = rng.choice((3, 30, 10**6))
    counts = {name: figures.integers(0, largest, n) for name in ("params", "macs", "weights", "latency")}
    denominators = figures.integers(1, rng.choice((2, 7, most_denominator)), n)
    return make_stage(
        source=figures.integers(0, before, n),
        target=figures.integers(0, after, n),
        peak=figures.integers(1, rng.choice((3, 12)), n),
        mass_terms=(figures.integers(0, largest, n), denominators),
        integers=np.column_stack([figures.integers(0, rng.randint(1, most_shapes), n), figures.permutation(n)]),
        **counts,
    )


def every_path(chain: Chain) -> list[Path]:
    """Return all paths in ranking order, one option after the other."""
    return sorted(_paths(chain, 0, 0, Path((), (), Fraction(0), 0, 0, 0, 0, 0)), key=lambda path: path.place)


def _paths(chain: Chain, stage: int, node: int, so_far: Path) -> list[Path]:
    if stage == len(chain.stages):
        return [so_far]
    this, found = chain.stages[stage], []
    for option in np.flatnonzero(this.source == node).tolist():
        own = this.integers[option].tolist()
        mass = Fraction(int(this.mass_numerator[option]), int(this.mass_denominator[option]))
        params, macs, weights, latency = (int(figure) for figure in this.additive[option, 1:5])
        longer = Path(
            (*so_far.integers, *own),
            (*so_far.shape, own[0]),
            so_far.mass + mass,
            so_far.params + params,
            so_far.macs + macs,
            so_far.weights + weights,
            so_far.latency + latency,
            max(so_far.peak, int(this.peak[option])),
        )
        found += _paths(chain, stage + 1, int(this.target[option]), longer)
    return found


def first_of_each_shape(paths: list[Path]) -> list[Path]:
    """Return the first path of each shape, in their order."""
    first: dict[tuple[int, ...], Path] = {}
    for path in paths:
        first.setdefault(path.shape, path)
    return list(first.values())


def out_of_time_after(looks: int) -> Control:
    """A time limit without a clock: it ends after a number of checks."""
    counter = itertools.count()
    return Control(expired=lambda: next(counter) >= looks)
