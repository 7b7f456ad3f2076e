"""Which sums of one quantity a path can have: listed where they are few, else by their remainders.

Where a sum is limited and is to come as close to its limit as it can, a partial path is of use only if what it has and
what can follow it add up to a sum close to the limit. For each node, the sums that can follow it are listed, from the
last stage backward, while they are few. Before that so many sums follow a node that nearly all between the least and
the greatest occur which have a remainder that occurs, modulo the greatest common divisor of the differences between
options that join the same nodes. docs/theory.md (52).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nnmass_core.engine.chain import Chain, Ints, runs
from nnmass_core.engine.enumeration import Survey
from nnmass_core.engine.problem import MASS, Key
from nnmass_core.engine.sums.endings import MOST_ENDINGS, Onward

MOST_SUMS = 1 << 19
"""The most sums that are formed to list those that follow the nodes before one stage."""

MOST_REMAINDERS = 1 << 16
"""The most remainders that are formed for the nodes before one stage; with more, every remainder is taken to occur."""

MOST_KINDS = 128
"""The most remainders of the masses of one stage, by the divisor of endings."""

MOST_STARTS = 1 << 20
"""The most partial paths of one stage that are formed to find whether a sum occurs."""

NONE = 2**62
"""Above every distance."""


@dataclass(frozen=True, eq=False)
class Following:
    """The distances that can follow each of some nodes, or a superset of them.

    numbers: node x span + distance, ascending and different, where a distance is below the span. With a divisor they
    are remainders, and the distances are all those from `least` to `most` that have one of their node's remainders.
    """

    numbers: Ints
    span: int
    least: Ints
    most: Ints
    divided: bool

    def next(self, node: Ints, start: Ints) -> Ints:
        """Return each node's least distance that is at least `start`, NONE where there is none. node, start: (n,)."""
        low = np.maximum(start, self.least[node])
        whole, own = np.divmod(low, self.span) if self.divided else (np.zeros_like(low), np.minimum(low, self.span - 1))
        first, end = np.searchsorted(self.numbers, [node * self.span, (node + 1) * self.span])
        place = np.searchsorted(self.numbers, node * self.span + own)
        if self.divided:
            around = place >= end
            place, whole = np.where(around, first, place), whole + around
        found = self.numbers[np.minimum(place, len(self.numbers) - 1)] - node * self.span + whole * self.span
        return np.where((place < end) & (low <= self.most[node]) & (found <= self.most[node]), found, NONE)


class Reach:
    """The distances of paths from a sum that no path exceeds: each stage's best option in place of the path's.

    The distance of a path is the sum over its options, integers from 0; so a smaller distance is better by the key.
    """

    def __init__(
        self, chain: Chain, key: Key, *, most_sums: int = MOST_SUMS, most_remainders: int = MOST_REMAINDERS
    ) -> None:
        """Find the distances. most_sums, most_remainders: as the constants."""
        self._chain = chain
        self._key = key
        self._occurring: dict[int, bool] = {}
        self._most = most_sums, most_remainders
        values = [exact_values(chain, stage, key.column) for stage in range(len(chain.stages))]
        best = [int((key.sign * value).max()) if len(value) else 0 for value in values]
        self._best = key.sign * sum(best)
        self.distances = [top - key.sign * value for top, value in zip(best, values, strict=True)]
        stages = zip(chain.stages, self.distances, strict=True)
        self._steps = [_different(this.source, this.target, distances) for this, distances in stages]
        self.divisor, self._remainders = self._all_remainders()
        self._following = self._all_following()

    def distance(self, value: int) -> int:
        """Return the distance of a sum."""
        return self._key.sign * (self._best - value)

    def value(self, distance: int) -> int:
        """Return the sum at a distance."""
        return self._best - self._key.sign * distance

    def farthest_reaching(self, floor: float) -> int:
        """Return the greatest distance of a sum that reaches a floor; the floor has the sign of the key."""
        unit = self._chain.common_denominator if self._key.column == MASS else 1
        return math.floor(self._key.sign * self._best - Fraction(floor) * unit)

    def first(self, start: int) -> int:
        """Return a distance of at least `start`, and at most the least one of a path; NONE where there is none."""
        return int(self.follows(0, np.zeros(1, np.int64), np.array([start]))[0])

    @cached_property
    def ending_divisor(self) -> int:
        """By which the distances of many endings are divided; 1 where remainders say nothing.

        Masses of one depth have one denominator. Modulo powers of the large primes of the common denominator, those of
        all other depths are 0: a sum that lacks another remainder needs a stage with such a prime. docs/theory.md (81).
        """
        found = self.divisor
        if found > 1 or self._key.column != MASS:
            return found
        for power in _prime_powers(self._chain.common_denominator):
            if max(len(np.unique(own % (found * power))) for own in self.distances) > MOST_KINDS:
                break
            found *= power
        return found

    @property
    def farthest(self) -> int:
        """No path has a greater distance."""
        return int(self._following[0].most[0])

    @property
    def remainders(self) -> int:
        """How many remainders the distances of paths may have."""
        return len(self._remainders[0])

    def occurs(self, distance: int) -> bool:
        """Return False if no path has a distance; True if one may, or that takes too many partial paths.

        docs/theory.md (81).
        """
        known = self._occurring.get(distance)
        if known is None:
            known = self._occurring[distance] = self._may_occur(distance)
        return known

    def _may_occur(self, distance: int) -> bool:
        node, tally = np.zeros(1, np.int64), np.zeros(1, np.int64)
        for stage, (sources, targets, distances) in enumerate(self._steps):
            start, step = _pairs(node, sources, 1, MOST_STARTS)
            if start is None:
                return True
            node, tally = targets[step], tally[start] + distances[step]
            able = self.follows(stage + 1, node, distance - tally) == distance - tally
            if stage + 1 in self._by_ending:
                wanted = node * self.ending_divisor + (distance - tally) % self.ending_divisor
                able &= np.isin(wanted, self._by_ending[stage + 1])
            node, tally, _ = _different(node[able], tally[able], tally[able])
        return len(node) > 0

    @cached_property
    def _by_ending(self) -> dict[int, Ints]:
        """The numbers node x divisor + remainder of what follows the nodes before the last stages, by the stage."""
        divisor, stage = self.ending_divisor, len(self._steps)
        found = {stage: np.zeros(1, np.int64)}
        if divisor == self.divisor:
            return {}
        while stage:
            stage -= 1
            sources, targets, distances = self._steps[stage]
            steps = _different(sources, targets, distances % divisor)
            numbers = _joined(*steps, found[stage + 1], divisor, self._most[0], around=True)
            if numbers is None:
                break
            found[stage] = numbers
        return found

    def follows(self, stage: int, node: Ints, start: Ints) -> Ints:
        """Return the least distance from `start` that may follow each node before a stage, NONE for none; (n,) each."""
        return self._following[stage].next(node, np.maximum(start, 0))

    def _all_following(self) -> list[Following]:
        """Return what follows the nodes before each stage, and after the last one."""
        nodes = self._chain.nodes
        span = sum(int(distance.max(initial=0)) for distance in self.distances) + 1
        none = np.zeros(1, np.int64)
        found = [Following(none, span, none, none, divided=False)]
        for stage, before in zip(range(len(nodes) - 2, -1, -1), reversed(nodes[:-1]), strict=True):
            sources, targets, distances = self._steps[stage]
            after = found[-1]
            bounds = _bounds(before, sources, distances + after.least[targets], distances + after.most[targets])
            numbers = (
                None if after.divided else _joined(sources, targets, distances, after.numbers, span, self._most[0])
            )
            if numbers is not None:
                found.append(Following(numbers, span, *bounds, divided=False))
            else:
                found.append(Following(self._remainders[stage], self.divisor, *bounds, divided=True))
        return found[::-1]

    def _all_remainders(self) -> tuple[int, list[Ints]]:
        """Return a divisor and the numbers node x divisor + remainder of what follows the nodes before each stage.

        What the first stages add has one remainder for each pair of nodes, modulo the divisor of these stages: these
        narrow what must follow the most. The more stages, the smaller the divisor.
        """
        for divisor in self._divisors():
            found: list[Ints] = [np.zeros(1, np.int64)]
            for stage in range(len(self.distances) - 1, -1, -1):
                sources, targets, distances = self._steps[stage]
                steps = _different(sources, targets, distances % divisor)
                numbers = _joined(*steps, found[-1], divisor, self._most[1], around=True)
                if numbers is None:
                    break
                found.append(numbers)
            else:
                return divisor, found[::-1]
        return 1, [np.arange(n) for n in self._chain.nodes]

    def _divisors(self) -> list[int]:
        """Return the divisors of differences between options that join the same nodes, for more and more stages."""
        divisor, found = 0, dict[int, None]()
        for this, distances in zip(self._chain.stages, self.distances, strict=True):
            starts = this.groups.starts
            first = np.repeat(distances[starts], np.diff(np.append(starts, len(distances))))
            divisor = math.gcd(divisor, int(np.gcd.reduce(distances - first, initial=0)))
            found[divisor] = None
        return [divisor for divisor in found if divisor > 1]


@dataclass(frozen=True, eq=False)
class Window:
    """The paths between two distances, both included, as a filter of partial paths. most_endings: as in endings.py."""

    reach: Reach
    near: int
    far: int
    most_endings: int = MOST_ENDINGS

    def tally(self, stage: int) -> Ints:
        """Return what each option of a stage adds to a path's distance, (n,)."""
        return self.reach.distances[stage]

    def admits(self, stage: int, node: Ints, tally: Ints) -> NDArray[np.bool_]:
        """Return which partial paths before a stage may end in the window. node, tally so far: (n,)."""
        return self.reach.follows(stage, node, self.near - tally) <= self.far - tally

    def onward(self, survey: Survey) -> Onward | None:
        """Return what must follow partial paths; None for a window of several distances."""
        return Onward(survey, self.reach, self.near, self.most_endings) if self.near == self.far else None

    def reaching(self, floor: float) -> Window:
        """Return the window itself, which is wanted whole."""
        return self


@dataclass(frozen=True, eq=False)
class Nearest:
    """The paths from a distance on, as far as the floor of an enumeration allows, as a filter of partial paths."""

    reach: Reach
    near: int

    def tally(self, stage: int) -> Ints:
        """See `Window`."""
        return self.reach.distances[stage]

    def admits(self, stage: int, node: Ints, tally: Ints) -> NDArray[np.bool_]:
        """Return which partial paths before a stage may end at the distance or beyond. node, tally so far: (n,)."""
        return self.reach.follows(stage, node, self.near - tally) < NONE

    def onward(self, survey: Survey) -> None:
        """Return None: the paths have several distances."""

    def reaching(self, floor: float) -> Window:
        """Return the window from the distance to that of the farthest sum that reaches a floor."""
        return Window(self.reach, self.near, self.reach.farthest_reaching(floor))


def _prime_powers(number: int) -> list[int]:
    """Return the powers of different primes whose product is a number, that of the largest prime first."""
    found, prime = [], 2
    while number > 1:
        power = 1
        while number % prime == 0:
            number, power = number // prime, power * prime
        if power > 1:
            found.append(power)
        prime += 1
    return found[::-1]


def exact_values(chain: Chain, stage: int, column: int) -> Ints:
    """Return a quantity of each option of a stage as integers, NN-Mass over the chain's common denominator, (n,)."""
    this = chain.stages[stage]
    if column == MASS:
        return this.mass_numerator * (chain.common_denominator // this.mass_denominator)
    return this.additive[:, column].astype(np.int64)


def usable(chain: Chain, key: Key) -> bool:
    """Return whether distances by a key fit 64 bits together with the number of a node."""
    if key.column == MASS:
        most = chain.largest_mass
    else:
        most = sum(int(stage.additive[:, key.column].max(initial=0)) for stage in chain.stages) + 1
    return most * max(chain.nodes) < NONE


def _different(sources: Ints, targets: Ints, distances: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the different rows of three columns, in ascending order."""
    order = np.lexsort([distances, targets, sources])
    columns = sources[order], targets[order], distances[order]
    fresh = np.ones(len(order), bool)
    fresh[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return columns[0][fresh], columns[1][fresh], columns[2][fresh]


def _joined(
    sources: Ints, targets: Ints, distances: Ints, after: Ints, span: int, most: int, *, around: bool = False
) -> Ints | None:
    """Return the numbers of what steps and what follows them add up to; None where they are too many to form.

    around: sums are remainders of a division by the span.
    """
    step, place = _pairs(targets, after, span, most)
    if step is None:
        return None
    sums = distances[step] + after[place] - targets[step] * span
    return np.unique(sources[step] * span + (sums % span if around else sums))


def _pairs(targets: Ints, after: Ints, span: int, most: int) -> tuple[Ints | None, Ints]:
    """Return each step with each of the numbers that follow it; None where there are too many pairs."""
    first, end = np.searchsorted(after, [targets * span, (targets + 1) * span])
    return (None, first) if int((end - first).sum()) > most else runs(first, end)


def _bounds(nodes: int, sources: Ints, least: Ints, most: Ints) -> tuple[Ints, Ints]:
    """Return the least and the most of each node; NONE and -1 where nothing follows."""
    low, high = np.full(nodes, NONE), np.full(nodes, -1)
    np.minimum.at(low, sources, least)
    np.maximum.at(high, sources, most)
    return low, high
