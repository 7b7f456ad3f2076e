"""Runs of equal blocks: what each network of overlapping stages has exactly once.

Two stages that differ in nothing but their blocks' number, the second without a stride, are one run of equal blocks.
Where the ranges of neighboring stages overlap, or stages can be left out, several choices for the stages can therefore
make the same network. As a sequence of runs it is unique, so that a space is read run by run, with the set of all
stages that could have ended with the runs so far (the subset construction for automata): docs/theory.md (40).

A set of stages is an integer: bit k stands for stage k, from 1, and bit 0 for the stem, before any run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nnmass_core.engine.chain import Ints, Stage

STEM = 1
"""The set of the stem only."""


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs that the stages of a space can stand for.

    Args:
        kinds: For each stage, the values of every field that the blocks of a run share; the last is the stride of the
            first block.
        repeats: For each stage, its numbers of blocks, ascending; 0 leaves the stage out, and its stride with it.
    """

    kinds: tuple[tuple[Ints, ...], ...]
    repeats: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.kinds)

    def containing(self, *fields: Ints) -> Ints:
        """Return the sets of stages whose ranges contain values of the first fields, (n,) each."""
        found = np.zeros(len(fields[0]), np.int64)
        for number, kind in enumerate(self.kinds, start=1):
            inside = np.logical_and.reduce([np.isin(column, axis) for column, axis in zip(fields, kind, strict=False)])
            found |= inside.astype(np.int64) << number
        return found

    @cached_property
    def alike(self) -> tuple[int, ...]:
        """For each stage, the set of stages whose ranges have a run's first block in common with it; unused at 0."""
        return (0, *(self._alike(kind) for kind in self.kinds))

    def _alike(self, kind: tuple[Ints, ...]) -> int:
        common = (
            all(len(np.intersect1d(one, other)) for one, other in zip(kind, others, strict=True))
            for others in self.kinds
        )
        return sum(int(found) << number for number, found in enumerate(common, start=1))

    @cached_property
    def stem(self) -> int:
        """The set of what could have ended before any run: the stem, and the first stages if they can be left out."""
        found = STEM
        for number, repeats in enumerate(self.repeats, start=1):
            if 0 not in repeats:
                break
            found |= 1 << number
        return found

    @cached_property
    def ambiguous(self) -> bool:
        """Whether a network can be made by several choices for the stages, or can lack a stage."""
        return any(0 in repeats for repeats in self.repeats) or any(map(self._goes_on, range(1, len(self))))

    def _goes_on(self, number: int) -> bool:
        """Return whether a run of a stage can go on as the next one, for equal values and a stride of 1."""
        *fields, _ = self.kinds[number - 1]
        *following, strides = self.kinds[number]
        shared = all(len(np.intersect1d(one, other)) for one, other in zip(fields, following, strict=True))
        return bool(shared and 1 in strides)

    def too_long(self, most: int) -> Iterator[int]:
        """Yield the stages, from 1, with which a run of more than `most` blocks can end."""
        if not self.ambiguous:
            return
        axes = [np.unique(np.concatenate(axis)) for axis in zip(*(kind[:-1] for kind in self.kinds), strict=True)]
        fields = [column.reshape(-1) for column in np.meshgrid(*axes, indexing="ij")]
        contained, going_on = self.containing(*fields), self.containing(*fields, np.ones_like(fields[0]))
        longest = np.zeros_like(contained)
        for number, repeats in enumerate(self.repeats, start=1):
            longer = np.where((going_on >> number & 1) & (longest > 0), longest + repeats[-1], 0)
            if longer.max(initial=0) > most:
                yield number
            begun = (contained >> number & 1) * repeats[-1]
            longest = np.maximum(np.maximum(longer, begun), longest if 0 in repeats else 0)

    def starts(self, ends: Ints, contained: Ints) -> Ints:
        """Return the sets of stages that a run can start with, (n,).

        Args:
            ends: The sets of stages that could have ended before it, (n,).
            contained: The sets of stages whose ranges contain its first block, (n,).
        """
        return (ends << 1) & contained

    def lengths(self, starts: int, going_on: int) -> dict[int, int]:
        """Return the possible numbers of blocks of a run, each with the set of stages that it could end with.

        Args:
            starts: The set of stages that it can start with.
            going_on: The set of stages whose ranges contain its blocks without a stride.
        """
        found: dict[int, int] = {}
        reached: set[int] = set()
        for number, repeats in enumerate(self.repeats, start=1):
            begun = set(repeats) - {0} if starts >> number & 1 else set()
            longer = {blocks + more for blocks in reached for more in repeats} if going_on >> number & 1 else set()
            left_out = reached if 0 in repeats else set()
            reached = begun | longer | left_out
            for blocks in reached:
                found[blocks] = found.get(blocks, 0) | 1 << number
        return dict(sorted(found.items()))

    def ended(
        self, number: int, stages: Ints, going_on: Ints, waiting: NDArray[np.bool_]
    ) -> tuple[Ints, Ints, Ints, NDArray[np.bool_]]:
        """Return the ends that runs can have, as (run, blocks, stages that could have ended, whether the run matters).

        Runs from which no path leads on are left out. A node that waits for a later stage has one end, of no blocks.

        Args:
            number: The stage.
            stages: The sets of stages that each run can start with, or of those that could have ended where it waits,
                (n,).
            going_on: The sets of stages whose ranges contain its blocks without a stride, (n,).
            waiting: Whether it is a node that waits for a later stage, (n,).
        """
        place, lengths = self._lengths_of(stages, going_on, waiting)
        counts = np.array([len(one) for one in lengths], np.int64)
        blocks = np.array([blocks for one in lengths for blocks in one], np.int64)
        ends = np.array([ends for one in lengths for ends in one.values()], np.int64)
        run: Ints = np.repeat(np.arange(len(stages), dtype=np.int64), counts[place])
        within = np.arange(len(run)) - np.repeat(np.cumsum(counts[place]) - counts[place], counts[place])
        entry = (np.cumsum(counts) - counts)[place[run]] + within
        settled, matters = self.settled(number, ends[entry], going_on[run])
        alive = settled > 0
        return run[alive], blocks[entry][alive], settled[alive], matters[alive]

    def count_ends(self, stages: Ints, going_on: Ints, waiting: NDArray[np.bool_]) -> int:
        """Return the number of ends that runs can have, those from which no path leads on included."""
        place, lengths = self._lengths_of(stages, going_on, waiting)
        return int(np.array([len(one) for one in lengths], np.int64)[place].sum())

    def _lengths_of(
        self, stages: Ints, going_on: Ints, waiting: NDArray[np.bool_]
    ) -> tuple[Ints, list[dict[int, int]]]:
        """Return the lengths that each run can have: its entry in a list of them, (n,), and the list."""
        kinds, place = np.unique(
            np.column_stack([stages, np.where(waiting, -1, going_on)]), axis=0, return_inverse=True
        )
        return place.reshape(-1), [
            {0: ends} if after < 0 else self.lengths(ends, after) for ends, after in kinds.tolist()
        ]

    def settled(self, number: int, ends: Ints, going_on: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Return what still matters after a stage: the ends, 0 where no path leads on, and whether the blocks do.

        Args:
            number: The stage.
            ends: The sets of stages that could have ended, (n,).
            going_on: The sets of stages whose ranges contain the last run's blocks without a stride, (n,).
        """
        if number == len(self):
            ended = (ends >> number & 1) & ~(ends & STEM)
            return ended << number, np.zeros(len(ends), bool)
        later = (ends << 1) & ((2 << len(self)) - (2 << number))
        kept = (ends >> number << number) | (ends & STEM)
        for before in range(1, number):
            # a stage that could have started earlier excludes what later stages have in common with it
            kept |= np.where(later & self.alike[before + 1], ends & 1 << before, 0)
        return np.where(kept >> number, kept, 0), (later & going_on) != 0


def grid(*values: Ints) -> tuple[Ints, ...]:
    """Return every combination of one value of each array, as columns."""
    return tuple(column.reshape(-1) for column in np.meshgrid(*values, indexing="ij"))


def distinct(columns: Ints) -> tuple[Ints, Ints]:
    """Return the distinct rows, in order, and the place of each row among them."""
    order = np.lexsort(columns.T[::-1])
    fresh = np.ones(len(order), bool)
    fresh[1:] = np.any(columns[order[1:]] != columns[order[:-1]], axis=1)
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(fresh) - 1
    return columns[order[fresh]], place


def leading_on(stages: list[Stage], counts: list[int]) -> tuple[Stage, ...]:
    """Return stages without the options from which no path leads to the end. counts: the nodes before each."""
    alive, kept = np.ones(1, bool), list[Stage]()
    for stage, nodes in zip(reversed(stages), reversed(counts), strict=True):
        rows = alive[stage.target]
        kept.append(stage if rows.all() else stage.take(rows))
        alive = np.bincount(kept[-1].source, minlength=nodes) > 0
    return tuple(reversed(kept))
