"""The best that can follow partial paths of one sum, by what the sum still lacks: docs/theory.md (53).

Of all paths with one sum those are wanted that are best by other keys. From the last stage backward, the endings of
each node are listed by their distance. Of endings of one distance only the most that any has of each priced sum and the
least that any uses of each limit are kept, and endings that no start brings to the threshold are left out. So the lists
stay short, as long as prices exclude most endings. Where they become long, distances are kept by their remainder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nnmass_core.engine.bounds import Layer, best_so_far
from nnmass_core.engine.chain import Floats, Ints, runs
from nnmass_core.engine.enumeration import Survey

MOST_ENDINGS = 1 << 18
"""The most endings that are formed to list those before one stage by their distance."""


MOST_DIVIDED = 1 << 19
"""The most endings that are formed to list those before one stage by the remainder of their distance."""


class Distances(Protocol):
    """The distances of options, and a divisor of them by which to keep many."""

    @property
    def distances(self) -> list[Ints]:
        """The distance of each option of each stage."""
        ...

    @property
    def ending_divisor(self) -> int:
        """By which the distances of many endings are divided; 1 where remainders say nothing."""
        ...


@dataclass(frozen=True, eq=False)
class Endings:
    """What can follow the nodes of one boundary: one row for each node and distance, or remainder of a distance.

    number: node x span + distance, ascending and different, (n,). most: of each priced sum, (n, prices). least: the
    least use of each limit, (n, limits). divided: whether distances are remainders of a division by the span.
    """

    number: Ints
    most: Floats
    least: Floats
    span: int
    divided: bool

    def of(self, node: Ints, distance: Ints) -> tuple[Floats, Floats]:
        """Return `most`, -inf where nothing follows, and `least` of each node and distance. node, distance: (n,)."""
        if not len(self.number):
            return np.full((len(node), self.most.shape[1]), -np.inf), np.zeros((len(node), self.least.shape[1]))
        wanted = node * self.span + (distance % self.span if self.divided else distance)
        place = np.minimum(np.searchsorted(self.number, wanted), len(self.number) - 1)
        known = (self.number[place] == wanted) & (distance >= 0)
        return np.where(known[:, None], self.most[place], -np.inf), self.least[place]

    def remainders(self, divisor: int) -> Endings:
        """Return the endings by the remainders of their distances."""
        node, distance = np.divmod(self.number, self.span)
        return _merged(node * divisor + distance % divisor, self.most, self.least, divisor, divided=True)


class Onward:
    """The endings of each boundary, from the last one back to where they become too many.

    survey: the partial paths. reach: the distances. end: the distance of whole paths. most: see MOST_ENDINGS.
    """

    def __init__(self, survey: Survey, reach: Distances, end: int, most: int = MOST_ENDINGS) -> None:
        layers, nodes = survey.layers, survey.nodes
        self._end, self._most = end, most
        self._limits = survey.budget
        self._priced = [
            np.column_stack(columns) for columns in zip(*(p.priced(layers) for p in survey.prices), strict=True)
        ]
        self._floors = np.array([survey.floor if p.weight else 0.0 for p in survey.prices])
        self._floors -= np.array([p.constant for p in survey.prices])
        values = [[priced[:, i] for priced in self._priced] for i in range(len(survey.prices))]
        self._most_before = _columns([best_so_far(layers, nodes, own) for own in values])
        uses = [[-this.use[:, row] for this in layers] for row in range(len(survey.budget))]
        self._least_before = [-most for most in _columns([best_so_far(layers, nodes, own) for own in uses], nodes)]
        last = np.zeros(1, np.int64), np.zeros((1, len(survey.prices))), np.zeros((1, len(survey.budget)))
        self._found = {len(layers): Endings(*last, end + 1, divided=False)}
        for stage in reversed(range(len(layers))):
            distances = reach.distances[stage][layers[stage].rows]
            found = self._before(stage, layers[stage], distances, reach.ending_divisor)
            if found is None:
                break
            self._found[stage] = found

    def best(self, stage: int, node: Ints, tally: Ints) -> tuple[Floats, Floats] | None:
        """Return what can follow partial paths before a stage; None where that was not worked out.

        node, tally so far: (n,). That is the most of each priced sum, (n, prices), -inf where nothing can follow, and
        the least use of each limit, (n, limits).
        """
        found = self._found.get(stage)
        return None if found is None else found.of(node, self._end - tally)

    def _before(self, stage: int, this: Layer, distances: Ints, divisor: int) -> Endings | None:
        """Return the endings before a stage; None where they are too many."""
        after, most, least = self._found[stage + 1], self._priced[stage], this.use
        source, target = this.source, this.target
        low, end = _span(after, target)
        if not after.divided and int((end - low).sum()) > self._most:
            if divisor == 1:
                return None
            after = after.remainders(divisor)
        if after.divided:
            number = this.group_of * divisor + distances % divisor
            options = _merged(number, most, least, divisor, divided=True)
            group, distances = np.divmod(options.number, divisor)
            source, target, most, least = (
                this.groups.source[group],
                this.groups.target[group],
                options.most,
                options.least,
            )
            low, end = _span(after, target)
            if int((end - low).sum()) > MOST_DIVIDED:
                return None
        option, ending = runs(low, end)
        distance = distances[option] + after.number[ending] - target[option] * after.span
        node = source[option]
        most, least = most[option] + after.most[ending], least[option] + after.least[ending]
        kept = np.all(self._most_before[stage][node] + most >= self._floors, axis=1)
        kept &= np.all(self._least_before[stage][node] + least <= self._limits, axis=1)
        kept &= after.divided | (distance <= self._end)
        rows = np.flatnonzero(kept)
        own = distance[rows] % after.span if after.divided else distance[rows]
        return _merged(node[rows] * after.span + own, most[rows], least[rows], after.span, divided=after.divided)


def _span(endings: Endings, target: Ints) -> tuple[Ints, Ints]:
    """Return where the endings of each target begin and end."""
    low, end = np.searchsorted(endings.number, [target * endings.span, (target + 1) * endings.span])
    return low, end


def _columns(sums: list[list[Floats]], nodes: tuple[int, ...] = ()) -> list[Floats]:
    """Return sums by boundary, (nodes, sums), from sums by kind."""
    if not sums:
        return [np.zeros((n, 0)) for n in nodes]
    return [np.column_stack(columns) for columns in zip(*sums, strict=True)]


def _merged(number: Ints, most: Floats, least: Floats, span: int, *, divided: bool) -> Endings:
    """Return one row for each different number."""
    if not len(number):
        return Endings(number, most, least, span, divided)
    order = np.argsort(number, kind="stable")
    number = number[order]
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    most, least = np.maximum.reduceat(most[order], starts), np.minimum.reduceat(least[order], starts)
    return Endings(number[starts], most, least, span, divided)
