"""What a network keeps of a reference: a share of the NN-Mass of every cell or stage, and a share of the params.

A stage's NN-Mass is a sum over one or more options of a path. So the first kind of floor becomes a smaller chain: a
node inside a stage remembers how much the stage still needs, and every path that is left keeps the floor of each stage
(docs/theory.md (92)).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from nnmass_core.architecture import Architecture, Evaluation, Part
from nnmass_core.codec import JsonObject
from nnmass_core.costs import KEPT_PARAMS, KEPT_STAGES, USUAL_KEPT
from nnmass_core.engine.chain import Chain, Ints, Stage
from nnmass_core.engine.control import stage_built
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.spaces.base import Space
from nnmass_core.spaces.structure import NOTHING, chain_of_steps, joined_options

DOCS = {
    KEPT_STAGES: "Share of the NN-Mass of each of the reference's cells or stages that networks have at least, or of "
    "its width where it has no NN-Mass. Networks have as many cells or stages. 0 and null ask for nothing.",
    KEPT_PARAMS: "Share of the reference's params that networks have at least. 0 and null ask for nothing.",
}

SHARE: JsonObject = {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}]}


def exactly(share: float) -> Fraction:
    """Return a share as the decimal that it is written as.

    Args:
        share: The share.
    """
    return Fraction(repr(float(share)))


@dataclass(frozen=True)
class Kept:
    """The shares of a reference's figures that networks keep; None asks for nothing, and so does 0.

    Args:
        stages: The share of the NN-Mass of each stage, from 0 to 1.
        params: The share of the params, from 0 to 1.

    Raises:
        DefinitionError: A share is out of its range; each problem names its field.
    """

    stages: float | None = None
    params: float | None = None

    def __post_init__(self) -> None:
        shares = {KEPT_STAGES: self.stages, KEPT_PARAMS: self.params}
        problems = [
            Problem(name, "out_of_range", "must be a number from 0 to 1")
            for name, share in shares.items()
            if share is not None and not _is_share(share)
        ]
        if problems:
            raise DefinitionError(problems)
        object.__setattr__(self, "stages", float(self.stages) if self.stages else None)
        object.__setattr__(self, "params", float(self.params) if self.params else None)

    def limits(self, reference: Architecture) -> tuple[KeptStages | KeptParams, ...]:
        """Return the hard limits.

        Args:
            reference: The reference.
        """
        stages = () if self.stages is None else (KeptStages(self.stages, reference),)
        return stages if self.params is None else (*stages, KeptParams(self.params, reference))

    def to_json(self) -> JsonObject:
        """Write it in the form of an objective, without fields that ask for nothing."""
        shares = {KEPT_STAGES: self.stages, KEPT_PARAMS: self.params}
        return {name: share for name, share in shares.items() if share is not None}


NOTHING_KEPT = Kept()
"""Asks for nothing."""


def decode_kept(data: Mapping[str, Any]) -> Kept:
    """Read what is kept from the parsed JSON of an objective.

    Args:
        data: The objective, whose other fields are ignored.

    Raises:
        DefinitionError: A share is wrong; each problem names it.
    """
    return Kept(data.get(KEPT_STAGES), data.get(KEPT_PARAMS))


def kept_schemas() -> JsonObject:
    """Describe the fields of an objective as JSON Schema."""
    return {name: {**SHARE, "description": text, "examples": [USUAL_KEPT[name]]} for name, text in DOCS.items()}


def _is_share(share: object) -> bool:
    return isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1


@dataclass(frozen=True)
class KeptStages:
    """The hard limit from below on every cell or stage.

    Args:
        share: The share of the NN-Mass of each of the reference's stages, or of its width where it has no NN-Mass.
        reference: The reference.
    """

    share: float
    reference: Architecture

    @property
    def name(self) -> str:
        """The limit's name."""
        return KEPT_STAGES

    @property
    def parts(self) -> tuple[Part, ...]:
        """The stages of the reference."""
        return self.reference.evaluation.parts

    def slack(self, evaluation: Evaluation, latency: object = None) -> float:
        """Return how far above the share the stage is that is nearest to it, as a share of the reference's.

        Args:
            evaluation: The figures of a network with as many stages.
            latency: Is not used; it is there because other limits need it.
        """
        kept = [_kept(part, own) for part, own in zip(self.parts, evaluation.parts, strict=True)]
        return float(min(kept) - exactly(self.share))


@dataclass(frozen=True)
class KeptParams:
    """The hard limit from below on the params.

    Args:
        share: The share of the reference's params.
        reference: The reference.
    """

    share: float
    reference: Architecture

    @property
    def name(self) -> str:
        """The limit's name."""
        return KEPT_PARAMS

    @property
    def elements(self) -> int:
        """The fewest params, docs/theory.md (92)."""
        return math.ceil(exactly(self.share) * self.reference.evaluation.params)

    def slack(self, evaluation: Evaluation, latency: object = None) -> float:
        """Return how far above the share a network's params are, as a share of the reference's.

        Args:
            evaluation: The figures of the network.
            latency: Is not used; it is there because other limits need it.
        """
        return float(Fraction(evaluation.params, self.reference.evaluation.params) - exactly(self.share))


def _kept(part: Part, own: Part) -> Fraction:
    return own.mass / part.mass if part.mass else Fraction(own.width, part.width)


def check_stages_kept(space: Space, reference: Architecture) -> list[Problem]:
    """Return why the stages of a space's networks cannot be compared with those of a reference.

    Args:
        space: The space.
        reference: The reference.
    """
    parts = reference.evaluation.parts
    if space.family != reference.family:
        message = f"compares the stages of networks of one family: the reference is {reference.family}, not "
        return [Problem(KEPT_STAGES, "different_family", f"{message}{space.family}")]
    values = space.part_values("widths")
    if values is None and (space.most_parts() > 1 or not parts[0].mass):
        return [Problem(KEPT_STAGES, "not_applicable", f"means nothing for {space.family}")]
    # a network of as many parts as the space describes has the first of them first, whatever can be left out
    described = space.most_parts() if values is None else len(values.columns)
    if described != len(parts):
        message = f"needs a space of as many parts as the reference: {len(parts)}, not {described}"
        return [Problem(KEPT_STAGES, "different_parts", message)]
    return []


def keeping_stages(space: Space, chain: Chain, kept: KeptStages) -> Chain:
    """Return the chain of the networks whose every stage has its share; there may be none: docs/theory.md (92).

    Networks without one of the stages are left out, too.

    Args:
        space: The space of the chain, of the reference's family and with as many stages.
        chain: The space's chain, with any quantities.
        kept: The share and the reference.

    Raises:
        DefinitionError: The chain would have too many options.
        OutOfTime: A search has no time left for its tables.
    """
    try:
        return _keeping(space, chain, kept)
    except DefinitionError as error:
        raise error.under(f"objective.{KEPT_STAGES}") from error


@dataclass(frozen=True)
class _Rule:
    """What one stage of the chain does to a part's NN-Mass.

    rows: the options that it has. floor: the NN-Mass of the part, where more than one stage adds to it, else None.
    last: no later stage adds. following: the stage that adds next, and is the last.
    """

    rows: Ints
    floor: Fraction | None = None
    last: bool = False
    following: Stage | None = None


def _keeping(space: Space, chain: Chain, kept: KeptStages) -> Chain:
    node, known = np.zeros(1, np.int64), np.zeros(1, np.int64)
    steps: list[tuple[Stage, Ints, Ints, Ints]] = []
    counts, sums = [1], [Fraction(0)]
    for number, (stage, rule) in enumerate(zip(chain.stages, _rules(space, chain, kept), strict=True)):
        place, option = joined_options(stage.source, node, rule.rows, np.arange(len(node)))
        after = known[place]
        if rule.floor is not None and rule.last:
            enough = _ranks(stage)[1][option] >= after
            place, option = place[enough], option[enough]
            after, sums = np.zeros(len(option), np.int64), [Fraction(0)]
        elif rule.floor is not None:
            sums, after = _added(sums, after, stage, option)
            if rule.following is not None:
                needed = [rule.floor - total for total in sums]
                able, after = _needed(needed, after, stage.target[option], rule.following)
                place, option, after = place[able], option[able], after[able]
        stage_built(len(option))
        if number + 1 == len(chain.stages):
            after = np.zeros(len(option), np.int64)
        states, target = np.unique(np.column_stack([stage.target[option], after]), axis=0, return_inverse=True)
        node, known = states.T
        steps.append((stage, place, target.reshape(-1), option))
        counts.append(len(node))
    return chain_of_steps(chain, steps, [*counts[:-1], 1])


def _rules(space: Space, chain: Chain, kept: KeptStages) -> list[_Rule]:
    """Return what each stage of a chain does."""
    values = space.part_values("widths")
    widths = [None] * len(chain.stages) if values is None else values.of(chain)
    firsts = [number for number, width in enumerate(widths) if width is not None] or [0]
    rules = [_Rule(np.arange(len(stage))) for stage in chain.stages]
    share = exactly(kept.share)
    for part, first, end in zip(kept.parts, firsts, [*firsts[1:], len(chain.stages)], strict=True):
        width = widths[first]
        able = rules[first].rows
        if width is not None:
            least = 0 if part.mass else math.ceil(share * part.width)
            able = able[(width != NOTHING) & (width >= least)]
        rules[first] = _Rule(able)
        if part.mass:
            adding = [number for number in range(first, end) if chain.stages[number].mass_numerator.any()] or [first]
            for number, rule in _adding(chain.stages, adding, share * part.mass, rules):
                rules[number] = rule
    return rules


def _adding(
    stages: Sequence[Stage], adding: Sequence[int], floor: Fraction, rules: Sequence[_Rule]
) -> list[tuple[int, _Rule]]:
    """Return the rules of the stages that add to one part."""
    if len(adding) == 1:
        (number,) = adding
        masses, rank = _ranks(stages[number])
        rows = rules[number].rows
        return [(number, _Rule(rows[rank[rows] >= bisect_left(masses, floor)]))]
    *others, last = adding
    found = [(number, _Rule(rules[number].rows, floor)) for number in others]
    found[-1] = (others[-1], _Rule(rules[others[-1]].rows, floor, following=stages[last]))
    return [*found, (last, _Rule(rules[last].rows, floor, last=True))]


def _ranks(stage: Stage) -> tuple[list[Fraction], Ints]:
    """Return the different NN-Masses of a stage's options, ascending, and the place of each option among them."""
    terms = np.column_stack([stage.mass_numerator, stage.mass_denominator])
    pairs, place = np.unique(terms, axis=0, return_inverse=True)
    masses = [Fraction(*pair) for pair in pairs.tolist()]
    order = sorted(range(len(masses)), key=masses.__getitem__)
    ranks = np.empty(len(masses), np.int64)
    ranks[order] = np.arange(len(masses))
    return [masses[number] for number in order], ranks[place.reshape(-1)]


def _added(sums: Sequence[Fraction], known: Ints, stage: Stage, option: Ints) -> tuple[list[Fraction], Ints]:
    """Return the different sums after a stage, and the place of that of each path among them.

    sums: before it. known: the place of each path's sum. option: the option that each takes.
    """
    masses, rank = _ranks(stage)
    pairs, place = np.unique(np.column_stack([known, rank[option]]), axis=0, return_inverse=True)
    totals = [sums[before] + masses[more] for before, more in pairs.tolist()]
    different = sorted(set(totals))
    places = {total: number for number, total in enumerate(different)}
    return different, np.array([places[total] for total in totals], np.int64)[place.reshape(-1)]


def _needed(needed: Sequence[Fraction], known: Ints, target: Ints, following: Stage) -> tuple[Any, Ints]:
    """Return which paths can still have enough, and the least rank among the last stage's NN-Masses that is enough.

    The rank is one that the node has, so that nodes that admit the same options are one. needed: by sum. known: the
    place of each path's sum. target: the node of each.
    """
    masses, rank = _ranks(following)
    least = np.array([bisect_left(masses, mass) for mass in needed], np.int64)[known]
    size = len(masses) + 1
    keys = np.unique(following.source * size + rank)
    place = np.searchsorted(keys, target * size + least)
    found = keys[np.minimum(place, len(keys) - 1)] if len(keys) else np.zeros(len(place), np.int64)
    able = (place < len(keys)) & (found // size == target)
    return able, found % size
