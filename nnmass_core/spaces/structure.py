"""What the parts of a network have in common: widths that never fall, or values that are equal in all parts.

Such a rule couples parts that need not be neighbors. It becomes a larger chain: a node remembers the value of the parts
before it, so that every path keeps the rule and each network that keeps it is exactly one path (the product of the
chain with an automaton). The engine then needs no change, whatever the question: docs/theory.md (61).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnmass_core.codec import JsonObject, choice_schema, object_schema, one_of, unknown_fields
from nnmass_core.engine.chain import Chain, Ints, Stage, runs
from nnmass_core.engine.control import stage_built
from nnmass_core.errors import DefinitionError, Problem

RULES = {"widths": ("equal", "never_fall"), "density": ("equal",), "skip_channels": ("equal",)}
"""The fields of a structure, and the rules that each may have."""

DOCS = {
    "widths": "Widths of the cells, or channels of the stages, from input to output.",
    "density": "Densities of the cells.",
    "skip_channels": "Skip channels of the cells, as their definitions have them.",
}

MOST_OPTIONS = 3_000_000
"""The most options of a stage of the larger chain."""

NOTHING = -1
"""The value of an option that belongs to no part, and of a node before any part."""


@dataclass(frozen=True)
class Structure:
    """What the parts of a network must have in common; None asks for nothing.

    Args:
        widths: `equal`, or `never_fall`: no cell (or stage) is narrower than the one before it.
        density: `equal`.
        skip_channels: `equal`.

    Raises:
        DefinitionError: A rule is unknown; each problem names its field.
    """

    widths: str | None = None
    density: str | None = None
    skip_channels: str | None = None

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in RULES}
        problems = [
            Problem(name, "unknown_choice", one_of(rule, RULES[name]))
            for name, rule in given.items()
            if rule is not None and rule not in RULES[name]
        ]
        if problems:
            raise DefinitionError(problems)

    def rules(self) -> Iterator[tuple[str, str]]:
        """Yield the fields that have a rule, with it."""
        yield from ((name, rule) for name in RULES if (rule := getattr(self, name)) is not None)

    def to_json(self) -> JsonObject:
        """Write it in the form of the request, without fields that ask for nothing."""
        return dict(self.rules())


ANY = Structure()
"""Asks for nothing."""

NEVER_FALL = "never_fall"
"""The rule of a space of stages for their widths, and one of a space of cells."""

RISING = Structure(widths=NEVER_FALL)


def decode_structure(data: object) -> Structure:
    """Read a structure from parsed JSON; null asks for nothing.

    Args:
        data: An object with any of `widths`, `density` and `skip_channels`, or None.

    Raises:
        DefinitionError: A field is wrong; each problem names it.
    """
    if data is None:
        return Structure()
    if not isinstance(data, Mapping):
        raise DefinitionError.at("", "not_an_object", "must be an object or null")
    problems = list(unknown_fields(data, set(RULES)))
    if problems:
        raise DefinitionError(problems)
    return Structure(**{name: _word(rule) for name, rule in data.items()})


def _word(rule: Any) -> str | None:
    return rule if rule is None or isinstance(rule, str) else ""


def structure_schema() -> JsonObject:
    """Describe a structure as JSON Schema."""
    fields: JsonObject = {
        name: {**choice_schema(rules, DOCS[name]), "examples": [rules[-1]]} for name, rules in RULES.items()
    }
    return object_schema("Structure", fields, optional=fields.keys())


@dataclass(frozen=True)
class PartValues:
    """Where a chain has a value of each part.

    Args:
        columns: For each part, the columns of a path's integers that give its value, all in one stage.
        values: Returns the values of parts, (n,), at least 0, from these columns, (n, columns): equal for equal values
            only and, for widths, in their order. -1 where a path lacks the part.
    """

    columns: tuple[tuple[int, ...], ...]
    values: Callable[[Ints], Ints]

    def of(self, chain: Chain) -> list[Ints | None]:
        """Return the value of each option of each stage, (n,); None for stages without a part."""
        first, found = 0, list[Ints | None]()
        for stage in chain.stages:
            width = stage.integers.shape[1]
            own = [part for part in self.columns if first <= part[0] and part[-1] < first + width]
            found.append(self.values(stage.integers[:, [column - first for column in own[0]]]) if own else None)
            first += width
        return found


def only_present(columns: Ints) -> Ints:
    """Return the one column of values, (n,), where 0 stands for a part that a path lacks."""
    return np.where(columns[:, 0] == 0, NOTHING, columns[:, 0])


def structured(part_values: Callable[[str], PartValues | None], chain: Chain, structure: Structure) -> Chain:
    """Return the chain with the paths only that keep a structure, each once; it may have none.

    Args:
        part_values: Returns where the chain has a value of each part, by a field of the structure.
        chain: The chain.
        structure: What the parts of each network must have in common.

    Raises:
        DefinitionError: The larger chain would have too many options; the problem names the field.
        OutOfTime: A search has no time left for its tables.
    """
    for name, rule in structure.rules():
        values = part_values(name)
        assert values is not None
        try:
            chain = _keeping(chain, values.of(chain), may_rise=rule == "never_fall")
        except DefinitionError as error:
            raise error.under(f"structure.{name}") from error
    return chain


def _keeping(chain: Chain, values: list[Ints | None], *, may_rise: bool) -> Chain:
    """Return the chain in which a node also has the value of the part before it. Raises DefinitionError, OutOfTime."""
    node, known = np.zeros(1, np.int64), np.full(1, NOTHING, np.int64)
    steps: list[tuple[Stage, Ints, Ints, Ints]] = []
    counts = [1]
    for number, (stage, own) in enumerate(zip(chain.stages, values, strict=True)):
        value = np.full(len(stage), NOTHING, np.int64) if own is None else own
        source, option = _continuations(stage, value, node, known, may_rise=may_rise)
        stage_built(len(option))
        after = np.where(value[option] == NOTHING, known[source], value[option])
        if number + 1 == len(chain.stages):
            after = np.full(len(option), NOTHING, np.int64)
        states, target = np.unique(np.column_stack([stage.target[option], after]), axis=0, return_inverse=True)
        node, known = states.T
        steps.append((stage, source, target.reshape(-1), option))
        counts.append(len(node))
    return chain_of_steps(chain, steps, [*counts[:-1], 1])


def _continuations(stage: Stage, value: Ints, node: Ints, known: Ints, *, may_rise: bool) -> tuple[Ints, Ints]:
    """Return every way on from nodes that know a value: the place of the node, and an option that keeps the rule."""
    every, free = np.arange(len(stage)), np.flatnonzero(value == NOTHING)
    fresh, others = np.flatnonzero(known == NOTHING), np.flatnonzero(known != NOTHING)
    if may_rise:
        place, option = joined_options(stage.source, node, every, np.arange(len(node)))
        keeps = (known[place] == NOTHING) | (value[option] == NOTHING) | (value[option] >= known[place])
        return place[keeps], option[keeps]
    values = np.unique(np.concatenate([value, known]))
    of_option, of_node = (np.searchsorted(values, column) for column in (value, known))
    size = len(values)
    bound = np.flatnonzero(value != NOTHING)
    parts = [
        joined_options(stage.source, node, every, fresh),
        joined_options(stage.source, node, free, others),
        joined_options(stage.source * size + of_option, node * size + of_node, bound, others),
    ]
    place, option = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return place, option


def joined_options(keys: Ints, wanted: Ints, options: Ints, places: Ints) -> tuple[Ints, Ints]:
    """Return every pair of a place and an option with its key.

    Args:
        keys: The keys of all options.
        wanted: The keys of all places.
        options: The options that are joined.
        places: The places that are joined.

    Returns:
        The place and the option of each pair.

    Raises:
        DefinitionError: There are too many.
    """
    order = options[np.argsort(keys[options], kind="stable")]
    low, end = (np.searchsorted(keys[order], wanted[places], side=side) for side in ("left", "right"))
    if int((end - low).sum()) > MOST_OPTIONS:
        raise DefinitionError.at("", "too_large", f"needs more than {MOST_OPTIONS:,} options of a stage in this space")
    place, option = runs(low, end)
    return places[place], order[option]


def width_rule_schema() -> JsonObject:
    """Describe the rule of a space of stages for their widths as JSON Schema."""
    return choice_schema((NEVER_FALL,), "Rule for the channels: no stage has fewer than the one before it.")


def form_of_rule(width_rule: str | None) -> JsonObject:
    """Return the field of a space's JSON form that has the rule for the widths; no field without one."""
    return {} if width_rule is None else {"width_rule": width_rule}


def ruled(part_values: Callable[[str], PartValues | None], chain: Chain, width_rule: str | None) -> Chain:
    """Return the chain of a space with a rule for the widths of its stages; without one the chain itself.

    Args:
        part_values: Returns where the chain has a value of each part, by a field of the structure.
        chain: The chain of all networks.
        width_rule: `never_fall`, or None.

    Raises:
        DefinitionError: The chain would have too many options.
        OutOfTime: A search has no time left for its tables.
    """
    return chain if width_rule is None else structured(part_values, chain, RISING)


def check_rising(widths: Sequence[Sequence[int]]) -> Iterator[Problem]:
    """Yield a problem where no network has widths that never fall.

    Args:
        widths: The widths, ascending, of each part, from input to output.
    """
    least = 0
    for number, values in enumerate(widths, start=1):
        able = [value for value in values if value >= least]
        if not able:
            message = f"leaves no network: part {number} is always narrower than one before it"
            yield Problem("width_rule", "conflicts_with_rule", message)
            return
        least = able[0]


def chain_of_steps(chain: Chain, steps: list[tuple[Stage, Ints, Ints, Ints]], counts: list[int]) -> Chain:
    """Return a chain of other nodes, without what leads nowhere.

    Args:
        chain: The chain whose options it has.
        steps: For each stage, the stage itself, the node before and after each option, and the option.
        counts: The nodes before each stage, and at the end.
    """
    alive = np.ones(1, bool)
    stages, nodes = list[Stage](), [1]
    for (stage, source, target, option), before in zip(reversed(steps), reversed(counts[:-1]), strict=True):
        rows = np.flatnonzero(alive[target])
        ends = np.cumsum(alive) - 1
        alive = np.bincount(source[rows], minlength=before) > 0
        starts = np.cumsum(alive) - 1
        stages.append(_renumbered(stage, starts[source[rows]], ends[target[rows]], option[rows]))
        nodes.append(max(1, int(alive.sum())))
    return Chain(tuple(reversed(stages)), tuple(reversed(nodes)), chain.shape_columns, chain.quantities, chain.parts)


def _renumbered(stage: Stage, source: Ints, target: Ints, option: Ints) -> Stage:
    """Return options of a stage, sorted, between other nodes; an option may be there for several nodes."""
    order = np.lexsort([target, source])
    taken = stage.take(option[order])
    return Stage(
        source[order],
        target[order],
        taken.additive,
        taken.mass_numerator,
        taken.mass_denominator,
        taken.peak,
        taken.integers,
    )
