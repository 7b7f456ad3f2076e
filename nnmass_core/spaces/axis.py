"""One searched integer: a range, a set, or a single value, as written in a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nnmass_core.codec import (
    LARGEST_INTEGER,
    JsonObject,
    JsonValue,
    as_integer,
    check_integer,
    object_schema,
    unknown_fields,
)
from nnmass_core.errors import DefinitionError, Problem

MOST_VALUES = 4096
"""The most values of one axis; a larger range needs a larger step."""


@dataclass(frozen=True)
class Axis:
    """The possible values of one integer of an architecture.

    Args:
        values: The values, ascending without repeats.
        form: The JSON in which it was written: a range with all three numbers, an ascending list, or one number.
    """

    values: tuple[int, ...]
    form: Any = field(hash=False)

    @property
    def largest(self) -> int:
        """The largest value."""
        return self.values[-1]


def decode_axis(data: object, bounds: tuple[int, int]) -> Axis:
    """Read an axis.

    Args:
        data: A range (`{"min": 16, "max": 64, "step": 8}`), a list of values, or one value; at most 4,096 values.
        bounds: The least and the greatest allowed value, both inclusive.

    Raises:
        DefinitionError: The axis is wrong, or a value lies outside the bounds.
    """
    minimum, maximum = bounds
    if isinstance(data, Mapping):
        return _range(data, minimum, maximum)
    if isinstance(data, list):
        return _set(data, minimum, maximum)
    number = _bounded(data, minimum, maximum, "")
    return Axis((number,), number)


def decode_axes(data: object, count: int, bounds: tuple[int, int]) -> tuple[Axis, ...]:
    """Read one axis for all of `count` cells, or a list with one entry for each cell.

    A list of plain numbers is a set of values for every cell; a list that contains a range or a list has one entry per
    cell.

    Args:
        data: The axis, or the list of axes.
        count: The number of cells.
        bounds: The least and the greatest allowed value, both inclusive.

    Returns:
        One axis for each cell.

    Raises:
        DefinitionError: An axis is wrong, or the list does not have one entry for each cell.
    """
    if not (isinstance(data, list) and any(isinstance(entry, Mapping | list) for entry in data)):
        return (decode_axis(data, bounds),) * count
    if len(data) != count:
        raise DefinitionError.at("", "bad_length", f"must have one entry for each of the {count} cells")
    axes: list[Axis] = []
    problems: list[Problem] = []
    for index, entry in enumerate(data):
        try:
            axes.append(decode_axis(entry, bounds))
        except DefinitionError as error:
            problems += error.under(str(index)).problems
    if problems:
        raise DefinitionError(problems)
    return tuple(axes)


def encode_axes(axes: tuple[Axis, ...]) -> Any:
    """Write axes in the form in which they are read: one for all cells if they are equal, else one per cell.

    Args:
        axes: One axis for each cell, at least one.
    """
    if all(axis == axes[0] for axis in axes):
        return axes[0].form
    if all(isinstance(axis.form, int) for axis in axes):
        return [[axis.form] for axis in axes]
    return [axis.form for axis in axes]


def single_axis_schema(minimum: int, maximum: int, doc: str, *, example: JsonValue = None) -> JsonObject:
    """Describe one axis as JSON Schema.

    Args:
        minimum: The least allowed value.
        maximum: The greatest allowed value.
        doc: A sentence that describes the axis.
        example: An axis for the documentation; without one the least value.
    """
    return _axis(_forms(minimum, maximum), doc, minimum if example is None else example)


def axis_schema(minimum: int, maximum: int, doc: str, *, most_cells: int, example: JsonValue = None) -> JsonObject:
    """Describe an axis for all cells, or one for each, as JSON Schema.

    Args:
        minimum: The least allowed value.
        maximum: The greatest allowed value.
        doc: A sentence that describes the axis.
        most_cells: The most cells that a network of the family can have.
        example: An axis for the documentation; without one the least value.
    """
    forms = _forms(minimum, maximum)
    per_cell: JsonObject = {"type": "array", "items": {"anyOf": forms}, "minItems": 1, "maxItems": most_cells}
    return _axis([*forms, per_cell], doc, minimum if example is None else example)


def _axis(forms: list[JsonObject], doc: str, example: JsonValue) -> JsonObject:
    return {"anyOf": forms, "description": doc, "examples": [example]}


def _forms(minimum: int, maximum: int) -> list[JsonObject]:
    number: JsonObject = {"type": "integer", "minimum": minimum, "maximum": maximum}
    values: JsonObject = {"type": "array", "items": number, "minItems": 1, "maxItems": MOST_VALUES}
    return [range_schema(minimum, maximum), values, number]


def range_schema(minimum: int = 0, maximum: int = LARGEST_INTEGER) -> JsonObject:
    """Describe a range as JSON Schema.

    Args:
        minimum: The least allowed value; by default the least of all axes.
        maximum: The greatest allowed value; by default the greatest of all axes.
    """
    number: JsonObject = {"type": "integer", "minimum": minimum, "maximum": maximum}
    step: JsonObject = {"type": "integer", "minimum": 1, "maximum": max(maximum, 1), "default": 1}
    properties: JsonObject = {
        "min": {**number, "description": "Least value.", "examples": [max(minimum, min(16, maximum))]},
        "max": {**number, "description": "Greatest value, if it is on the grid.", "examples": [maximum]},
        "step": {**step, "description": "Distance of neighboring values.", "examples": [1]},
    }
    return object_schema("Range", properties, optional=("step",))


def _bounded(data: object, minimum: int, maximum: int, field: str) -> int:
    number = as_integer(data)
    problems = list(check_integer(number, minimum, maximum, field))
    if problems or not isinstance(number, int):
        raise DefinitionError(problems)
    return number


def _range(data: Mapping[str, Any], minimum: int, maximum: int) -> Axis:
    problems = list(unknown_fields(data, {"min", "max", "step"}))
    numbers: dict[str, int] = {"step": 1}
    for name, low, high in (("min", minimum, maximum), ("max", minimum, maximum), ("step", 1, max(maximum, 1))):
        if name in data:
            try:
                numbers[name] = _bounded(data[name], low, high, name)
            except DefinitionError as error:
                problems += error.problems
        elif name != "step":
            problems.append(Problem(name, "required", "is required"))
    if not problems and numbers["min"] > numbers["max"]:
        problems.append(Problem("min", "min_above_max", "must not be above max"))
    if not problems:
        span = range(numbers["min"], numbers["max"] + 1, numbers["step"])
        if len(span) <= MOST_VALUES:
            return Axis(tuple(span), {"min": numbers["min"], "max": numbers["max"], "step": numbers["step"]})
        problems.append(Problem("", "too_many_values", f"contains more than {MOST_VALUES} values; use a larger step"))
    raise DefinitionError(problems)


def _set(data: list[Any], minimum: int, maximum: int) -> Axis:
    if not data:
        raise DefinitionError.at("", "bad_length", "must contain at least one value")
    if len(data) > MOST_VALUES:
        raise DefinitionError.at("", "too_many_values", f"must contain at most {MOST_VALUES} values")
    values: set[int] = set()
    problems: list[Problem] = []
    for index, entry in enumerate(data):
        try:
            values.add(_bounded(entry, minimum, maximum, str(index)))
        except DefinitionError as error:
            problems += error.problems
    if problems:
        raise DefinitionError(problems)
    ascending = sorted(values)
    return Axis(tuple(ascending), ascending)
