"""A search space as a chain of stages: the form in which the engine sees every family.

A stage holds options. An option leads from a node of the previous stage to a node of its own stage (for most families a
node is a width), and has additive quantities and a peak. An architecture takes one option from each stage; each option
starts where the previous one ended. It is exactly one path of the chain. Quantities such as NN-Mass and params are sums
over the path; peak activation memory is the largest peak on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnmass_core.engine.control import stage_built

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

QUANTITIES = ("nn_mass", "params", "macs", "weights", "latency", "indices")
"""The columns of every family's additive quantities; all but NN-Mass are integers below 2**53, exact in a double.

latency is in nanoseconds, and 0 in a chain that was built without a device.
indices are the channel numbers of sampled skips.
"""


@dataclass(frozen=True, eq=False)
class Groups:
    """The runs of a stage's options with the same source and target: where each starts, and the nodes that it joins."""

    starts: Ints
    source: Ints
    target: Ints


def group(source: Ints, target: Ints) -> Groups:
    """Return the groups of options that are sorted by (source, target)."""
    fresh = np.ones(len(source), bool)
    fresh[1:] = (source[1:] != source[:-1]) | (target[1:] != target[:-1])
    starts = np.flatnonzero(fresh)
    return Groups(starts, source[starts], target[starts])


def reaching(bounds: Floats, low: Ints, end: Ints, needed: Floats) -> Ints:
    """Return where the entries of `bounds` that reach what is needed end, in each run of descending entries.

    low, end: where each run starts and ends, (n,). needed: by run, (n,).
    """
    able, unable = low, end
    while np.any(able < unable):
        middle = (able + unable) // 2
        reaches = (able < unable) & (bounds[np.minimum(middle, len(bounds) - 1)] >= needed)
        able, unable = np.where(reaches, middle + 1, able), np.where(reaches, unable, middle)
    return able


def runs(low: Ints, end: Ints) -> tuple[Ints, Ints]:
    """Return the positions of all runs, one run after the other: each position's run, and the position itself."""
    counts = end - low
    run = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return run, np.arange(len(run)) + (low - first)[run]


@dataclass(frozen=True, eq=False)
class Stage:
    """The options of one stage, as arrays with one row per option, sorted by (source, target).

    Args:
        source: The node before each option, (n,).
        target: The node after each option, (n,).
        additive: The additive quantities, (n, quantities); see `QUANTITIES`.
        mass_numerator: The numerator of the exact NN-Mass, in lowest terms, (n,).
        mass_denominator: The denominator of the exact NN-Mass, (n,).
        peak: The activation elements alive at the same time, (n,).
        integers: The option's own share of the architecture's integers in the order of its definition, (n, m) with m
            possibly 0.
    """

    source: Ints
    target: Ints
    additive: Floats
    mass_numerator: Ints
    mass_denominator: Ints
    peak: Ints
    integers: Ints

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def groups(self) -> Groups:
        """The runs of options that share source and target."""
        return group(self.source, self.target)

    def take(self, rows: NDArray[np.bool_] | Ints) -> Stage:
        """Return the stage with only some of its options.

        Args:
            rows: The options: their positions, or a mask with one entry for each option. The result must be sorted by
                (source, target).
        """
        return Stage(
            self.source[rows],
            self.target[rows],
            self.additive[rows],
            self.mass_numerator[rows],
            self.mass_denominator[rows],
            self.peak[rows],
            self.integers[rows],
        )


def make_stage(
    *,
    source: Ints,
    target: Ints,
    params: Ints,
    macs: Ints,
    weights: Ints,
    peak: Ints,
    indices: Ints | Literal[0] = 0,
    mass_terms: tuple[Ints, Ints] | None = None,
    integers: Ints | None = None,
    latency: Ints | None = None,
) -> Stage:
    """Build a stage from its columns, in any order; without `indices`, `mass_terms` or `latency` these are zero.

    Raises OutOfTime where a search has no time left for its tables.
    """
    n = len(source)
    stage_built(n)
    numerator, denominator = mass_terms or (np.zeros(n, np.int64), np.ones(n, np.int64))
    common = np.gcd(numerator, denominator)
    time = np.zeros(n, np.int64) if latency is None else latency
    sums = (numerator / denominator, params, macs, weights, time, np.zeros(n, np.int64) + indices)
    stage = Stage(
        source=source,
        target=target,
        additive=np.column_stack(sums).astype(np.float64),
        mass_numerator=numerator // common,
        mass_denominator=denominator // common,
        peak=peak,
        integers=np.zeros((n, 0), np.int64) if integers is None else integers,
    )
    order = np.lexsort([target, source])
    return stage if np.array_equal(order, np.arange(n)) else stage.take(order)


@dataclass(frozen=True, eq=False)
class Chain:
    """A whole space: its stages, the number of nodes between them, and which integers define a shape.

    Args:
        stages: The stages, from input to output.
        nodes: nodes[i] is the number of nodes before stage i; nodes[0] and nodes[-1] are 1.
        shape_columns: Selects, from the concatenated integers of a path, those that distinguish two shapes
            (`diversity: shape`).
        quantities: The columns of the stages' additive quantities.
        parts: Puts the integers of parts that a path lacks last, in rows of concatenated integers (`lacking_last`);
            None where every path has all.
        memory: Cached facts about the chain that hold for every budget; losing them costs only time.
    """

    stages: tuple[Stage, ...]
    nodes: tuple[int, ...]
    shape_columns: tuple[int, ...]
    quantities: tuple[str, ...] = QUANTITIES
    parts: Callable[[Ints], Ints] | None = None
    memory: dict[Any, Any] = field(default_factory=dict)
    """Cached facts about the chain that hold for every budget; losing them costs only time."""

    def count(self) -> int:
        """Return the exact number of paths, which is the number of distinct architectures."""
        return self._count

    @cached_property
    def _count(self) -> int:
        ways = [1]
        for stage, after in zip(self.stages, self.nodes[1:], strict=True):
            groups, reached = stage.groups, [0] * after
            options = np.diff(groups.starts, append=len(stage))
            for source, target, number in zip(
                *(part.tolist() for part in (groups.source, groups.target, options)), strict=True
            ):
                reached[target] += ways[source] * number
            ways = reached
        return sum(ways)

    def options(self) -> int:
        """Return the number of options over all stages."""
        return sum(len(stage) for stage in self.stages)

    def within_peak(self, cap: int) -> Chain:
        """Return the chain without the options that need too many activation elements.

        Args:
            cap: The most activation elements of an option that are alive at the same time.
        """
        kept = tuple(s if not len(s) or s.peak.max() <= cap else s.take(s.peak <= cap) for s in self.stages)
        return Chain(kept, self.nodes, self.shape_columns, self.quantities, self.parts)

    def with_quantities(self, more: Mapping[str, Callable[[Stage], Ints]]) -> Chain:
        """Return the chain with more additive quantities.

        Args:
            more: For each new quantity, by its name, a function that returns the quantity of each of a stage's options,
                (n,): integers below 2**53.
        """
        stages = tuple(
            replace(stage, additive=np.column_stack([stage.additive, *(column(stage) for column in more.values())]))
            for stage in self.stages
        )
        return Chain(stages, self.nodes, self.shape_columns, (*self.quantities, *more), self.parts)

    @cached_property
    def peaks(self) -> list[int]:
        """Every peak of an option, ascending."""
        peaks: list[int] = np.unique(np.concatenate([stage.peak for stage in self.stages])).tolist()
        return peaks

    @cached_property
    def shape_numbers(self) -> list[Ints]:
        """For each stage, a number for each option, different for options whose own integers make different shapes."""
        first, numbers = 0, []
        for stage in self.stages:
            width = stage.integers.shape[1]
            number = np.zeros(len(stage), np.int64)
            for column in (column - first for column in self.shape_columns if 0 <= column - first < width):
                values, place = np.unique(stage.integers[:, column], return_inverse=True)
                number = np.unique(number * len(values) + place, return_inverse=True)[1]
            numbers.append(number)
            first += width
        return numbers

    @cached_property
    def common_denominator(self) -> int:
        """The least common denominator of the exact NN-Masses of all options."""
        return math.lcm(*(d for stage in self.stages for d in np.unique(stage.mass_denominator).tolist()))

    @cached_property
    def masses_fit(self) -> bool:
        """Whether the exact NN-Mass of every path, over the common denominator, fits 64 bits."""
        return self.largest_mass < 2**62

    @cached_property
    def largest_mass(self) -> int:
        """A bound on the exact NN-Mass of every path, and on its terms, over the common denominator."""
        largest = sum(float((s.mass_numerator / s.mass_denominator).max(initial=0.0)) for s in self.stages)
        return self.common_denominator * (math.ceil(largest) + 1)

    def mass_quantum(self, rows: Sequence[Ints]) -> float:
        """Return the smallest difference between unequal NN-Masses of paths over some options.

        0 if doubles cannot represent the difference.

        Args:
            rows: The options of each stage, as ascending positions.
        """
        common, largest = 1, 0.0
        for stage, kept in zip(self.stages, rows, strict=True):
            if len(kept):
                common = math.lcm(common, *np.unique(stage.mass_denominator[kept]).tolist())
                largest += float(stage.additive[kept, 0].max())
        return 1.0 / common if common * max(largest, 1.0) < 2**45 else 0.0

    def path_mass(self, path: Sequence[int]) -> Fraction:
        """Return the exact NN-Mass of a path.

        Args:
            path: The position of one option of each stage.
        """
        terms = [(int(s.mass_numerator[o]), int(s.mass_denominator[o])) for s, o in zip(self.stages, path, strict=True)]
        common = math.lcm(*(denominator for _, denominator in terms))  # a sum of fractions reduces after each term
        return Fraction(sum(numerator * (common // denominator) for numerator, denominator in terms), common)

    def exact_masses(self, paths: Ints) -> NDArray[Any]:
        """Return integers in the same order as the paths' exact NN-Masses.

        They are the masses over one common denominator, in int64 where that fits, else as Python integers.

        Args:
            paths: The position of one option of each stage, (n, stages).

        Returns:
            The integers, (n,).
        """
        terms = [(s.mass_numerator[paths[:, i]], s.mass_denominator[paths[:, i]]) for i, s in enumerate(self.stages)]
        common = math.lcm(*(d for _, denominator in terms for d in np.unique(denominator).tolist()))
        largest = sum(float((numerator / denominator).max(initial=0.0)) for numerator, denominator in terms)
        kind = np.int64 if common * max(largest, 1.0) < 2**62 else object
        masses = np.zeros(len(paths), kind)
        for numerator, denominator in terms:
            masses = masses + numerator.astype(kind) * (common // denominator.astype(kind))
        return masses

    def path_peaks(self, paths: Ints) -> Ints:
        """Return the peak of each path: the largest of its options.

        Args:
            paths: The position of one option of each stage, (n, stages).

        Returns:
            The peaks, (n,).
        """
        peaks = np.zeros(len(paths), np.int64)
        for i, stage in enumerate(self.stages):
            np.maximum(peaks, stage.peak[paths[:, i]], out=peaks)
        return peaks

    def path_integers(self, paths: Ints) -> Ints:
        """Return the integers of each path, concatenated in definition order; zeros for parts it lacks come last.

        Args:
            paths: The position of one option of each stage, (n, stages).

        Returns:
            The integers, one row for each path.
        """
        integers = np.concatenate(
            [stage.integers[paths[:, i]] for i, stage in enumerate(self.stages)], axis=1, dtype=np.int64
        )
        return integers if self.parts is None else self.parts(integers)


def lacking_last(first: int, width: int) -> Callable[[Ints], Ints]:
    """Return what puts the integers of parts that a path lacks, which are zeros, after those that it has.

    Args:
        first: Where the parts begin in a path's concatenated integers.
        width: The integers of each part.
    """
    return partial(_lacking_last, first, width)


def _lacking_last(first: int, width: int, integers: Ints) -> Ints:
    number = (integers.shape[1] - first) // width
    parts = integers[:, first:].reshape(len(integers), number, width)
    order = np.argsort(~parts.any(axis=2), axis=1, kind="stable")
    parts = np.take_along_axis(parts, order[:, :, None], axis=1)
    return np.column_stack([integers[:, :first], parts.reshape(len(integers), number * width)])
