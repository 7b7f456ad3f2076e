"""A reference as budget: limits that are the costs of a known network, times a ratio where one is named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

from nnmass_core.architecture import Architecture
from nnmass_core.budget import LARGEST_NUMBER, Budget
from nnmass_core.codec import LARGEST_INTEGER, JsonObject, object_schema, one_of
from nnmass_core.costs import COSTS, Cost
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.families import decode_architecture, decode_space
from nnmass_core.named.networks import named_network
from nnmass_core.named.presets import MAKERS, preset, resolve_spaces
from nnmass_core.spaces.base import AnySpace, Space

# untyped: a budget as parsed JSON, and networks of any family

TAKEN = ("params", "macs", "weight_bytes", "peak_activation_bytes")
"""The costs of a reference that are limits without being named in a ratio."""

MOST_RATIO = 100
"""The largest ratio."""

FACTOR = 2
"""A preset suits a reference if no side of its inputs is more than this many times that of the reference's, or less."""

PARTS = ("cells", "later_cells", "stages")


@dataclass(frozen=True)
class Within:
    """The reference of a budget.

    Args:
        reference: The network whose costs are limits.
        ratio: The ratio of each cost that is taken over, by the cost's name, in the order of the table.
    """

    reference: Architecture
    ratio: tuple[tuple[str, float], ...]

    def limits(self, budget: Budget) -> dict[str, float]:
        """Return the limits that the reference gives, by their names: docs/theory.md (89).

        Args:
            budget: The budget, whose precision and batch count.
        """
        return {COSTS[name].limit: self._bound(COSTS[name], ratio, budget) for name, ratio in self.ratio}

    def _bound(self, cost: Cost, ratio: float, budget: Budget) -> float:
        share, evaluation = Fraction(repr(ratio)), self.reference.evaluation
        if not cost.whole:
            elements = cost.elements(evaluation, None, budget.element_bytes) or 0
            return min(float(share * Fraction(elements, cost.per_unit)), LARGEST_NUMBER)
        value = cost.value(evaluation, None, budget.element_bytes, budget.batch) or 0
        return min(math.floor(share * Fraction(value)), LARGEST_INTEGER)

    def kept(self, budget: Budget) -> Within | None:
        """Return the reference with the costs whose limits it gives to a budget; None where others replace them all.

        Args:
            budget: The complete budget. A limit that is equal to that of the reference counts as the reference's.
        """
        bounds = dict(budget.bounds)
        given = {name for name, bound in self.limits(budget).items() if bounds.get(name) == bound}
        ratio = tuple((name, value) for name, value in self.ratio if COSTS[name].limit in given)
        return Within(self.reference, ratio) if ratio else None

    def to_json(self) -> JsonObject:
        """Write it in the form of a budget: the definition, and the ratio of each limit that is the reference's."""
        return {"within": self.reference.definition(), "ratio": dict(self.ratio)}


def scaled() -> list[str]:
    """Return the names of the costs that a ratio may name: all but those that are timed on a device."""
    return [cost.name for cost in COSTS.values() if not cost.timed]


def ratio_schema() -> JsonObject:
    """Describe the ratios as JSON Schema."""
    ratio: JsonObject = {"type": "number", "exclusiveMinimum": 0, "maximum": MOST_RATIO, "examples": [0.5]}
    costs = {name: (cost.meaning, f" in {cost.unit}" if cost.unit else "") for name, cost in COSTS.items()}
    about = {name: "Ratio of the limit to the reference's {}{}.".format(*costs[name]) for name in scaled()}
    each = {name: {**ratio, "description": description} for name, description in about.items()}
    return object_schema("Ratios", each, optional=each)


def budget_within(data: Mapping[str, Any]) -> tuple[Budget, Within | None]:
    """Read a budget that may take its limits from a reference.

    Args:
        data: The arguments of `Budget`, and `within` (a well-known network's name or a definition) with `ratio` or not.
            A limit in it replaces that of the reference.

    Returns:
        The complete budget, and the reference with its ratios; None without one.

    Raises:
        DefinitionError: A field is wrong; each problem names it, as `ratio.macs`.
    """
    rest = {name: value for name, value in data.items() if name not in ("within", "ratio")}
    network, asked = data.get("within"), data.get("ratio")
    if network is None:
        problems = [] if asked is None else [Problem("ratio", "needs_reference", "requires within")]
        return _checked(rest, problems), None
    problems, ratio = [], {}
    try:
        ratio = dict.fromkeys(TAKEN, 1.0) | _decode_ratio({} if asked is None else asked)
    except DefinitionError as error:
        problems += error.under("ratio").problems
    try:
        reference = named_network(network) if isinstance(network, str) else decode_architecture(network)
    except DefinitionError as error:
        problems += error.under("within").problems
    own = _checked(rest, problems)
    within = Within(reference, tuple((name, ratio[name]) for name in COSTS if name in ratio))
    given = {name: value for name, value in rest.items() if value is not None}
    return Budget(**{**within.limits(own), **given}), within


def _checked(arguments: Mapping[str, Any], problems: list[Problem]) -> Budget:
    """Return a budget. Raises DefinitionError with other problems before its own."""
    try:
        budget = Budget(**arguments)
    except DefinitionError as error:
        raise DefinitionError([*problems, *error.problems]) from error
    if problems:
        raise DefinitionError(problems)
    return budget


def _decode_ratio(data: Any) -> dict[str, float]:
    if not isinstance(data, Mapping):
        raise DefinitionError.at("", "not_an_object", "must be an object of ratios by the names of costs")
    names = scaled()
    problems = [Problem(str(name), "unknown_choice", one_of(str(name), names)) for name in data if name not in names]
    for name in (name for name in data if name in names):
        value = data[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value <= MOST_RATIO:
            problems.append(Problem(name, "out_of_range", f"must be a number above 0 and at most {MOST_RATIO}"))
    if problems:
        raise DefinitionError(problems)
    return {name: float(value) for name, value in data.items()}


def space_or_preset(data: Mapping[str, Any], within: Within | None) -> AnySpace:
    """Read the space of a request; without one it is the one that goes with the reference of the budget.

    Args:
        data: The request, with a `space` (a preset's name, a full definition, or a list of either) or without.
        within: What the budget has from a reference, if it has one.

    Raises:
        DefinitionError: The space is wrong, or there is none and no reference that has a preset.
    """
    if "space" in data:
        return resolve_spaces(data["space"])
    if within is None:
        raise DefinitionError.at("", "required", "is required, unless the budget is within a reference")
    return space_within(within.reference)


def space_within(reference: Architecture) -> Space:
    """Return the space of a request that names a reference and no space.

    It has the ranges of the preset of the reference's family whose inputs are nearest in size. Input, classes and
    everything that the preset does not vary are the reference's, so that the answer can take the reference's place.

    Args:
        reference: The network whose costs are limits.

    Raises:
        DefinitionError: The family has no preset, or none for inputs of about this size or for such a network.
    """
    name = _nearest_preset(reference)
    ranges, network = MAKERS[name]()[1], reference.definition()
    own = {field.name for field in fields(reference)} - {*PARTS}  # of a network; rules of a space are not among them
    varied = {field: value for field, value in ranges.items() if field not in own or _varies(value)}
    fixed = {field: value for field, value in network.items() if field not in {*varied, *PARTS, "version"}}
    try:
        return decode_space({**varied, **fixed})
    except DefinitionError as error:
        message = f"is required: the preset {name} has no networks of the reference's kind ({error})"
        raise DefinitionError.at("", "required", message) from error


def _varies(value: object) -> bool:
    return isinstance(value, list) or (isinstance(value, Mapping) and "min" in value)


def _nearest_preset(reference: Architecture) -> str:
    """Return the name of the preset whose inputs are nearest in size, of several the first."""
    family = [name for name in MAKERS if preset(name).space.family == reference.family and not name.endswith("-free")]
    if not family:
        raise DefinitionError.at("", "required", f"is required: the family {reference.family} has no preset")
    far = {name: _distance(reference.input_shape, preset(name).space.largest().input_shape) for name in family}
    nearest = min(family, key=far.__getitem__)
    if far[nearest] > FACTOR:
        size, known = " x ".join(map(str, reference.input_shape)), ", ".join(family)
        message = f"is required: no preset of {reference.family} ({known}) has inputs of about {size}"
        raise DefinitionError.at("", "required", message)
    return nearest


def _distance(one: tuple[int, ...], other: tuple[int, ...]) -> Fraction:
    """Return how many times the sides of two inputs differ at most; channels do not count."""
    sides = zip(one[1:] or one, other[1:] or other, strict=True)
    return max(Fraction(max(a, b), min(a, b)) for a, b in sides)
