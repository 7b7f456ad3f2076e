"""Multipliers of width and depth: how they are written, and what channels, blocks and cells they make.

docs/theory.md (90), (91).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

from nnmass_core.architecture import Architecture
from nnmass_core.codec import JsonObject, object_schema, unknown_fields
from nnmass_core.errors import DefinitionError, Problem

MOST_WIDTH, MOST_DEPTH = 4, 3
"""The greatest multipliers of width and of depth."""

MOST_VALUES = 4096
"""The most multipliers of one axis; a larger range needs a larger step."""

STEP = 0.05
"""The step of a range that gives none."""

UNIT = 8
"""Channels are multiples of this."""

ONE = Fraction(1)


@dataclass(frozen=True)
class Multipliers:
    """The multipliers to choose from.

    Args:
        values: The multipliers, exact as the decimals that they are written as, ascending without repeats.
        form: The JSON in which they were written: a range with all three numbers, an ascending list, or one number.
    """

    values: tuple[Fraction, ...]
    form: Any = field(hash=False)


@dataclass(frozen=True)
class Scale:
    """A multiplier of the width and one of the depth, for all parts of a network.

    Args:
        width: Multiplies the channels, or the widths of cells.
        depth: Multiplies the blocks, or the layers of cells.
        ends: Whether the width multiplies the stem too, and the last channels where it is above 1.
    """

    width: Fraction = ONE
    depth: Fraction = ONE
    ends: bool = False


@runtime_checkable
class Scalable(Protocol):
    """A network that can be made wider and deeper."""

    def scaled(self, scale: Scale) -> Architecture:
        """Return the network of other widths and depths, itself at multipliers of 1.

        Args:
            scale: The multipliers.

        Raises:
            DefinitionError: The family has no such network; the problem names `width` or `depth`.
        """


@runtime_checkable
class Separate(Protocol):
    """A network whose stages can each have a multiplier of their own."""

    def multiples(self, widths: tuple[Fraction, ...], depths: tuple[Fraction, ...], free: frozenset[str]) -> JsonObject:
        """Return the JSON form of the space in which each stage has any of these multipliers.

        Args:
            widths: The multipliers of channels.
            depths: The multipliers of blocks.
            free: What is searched beside them: any of `stem`, `expansion`, `kernel`.

        Raises:
            DefinitionError: The family has no such space; the problem names `width`, `depth` or `keep`.
        """


def nearest_multiple(channels: Fraction | float, unit: int = UNIT) -> int:
    """Return the nearest multiple, but no less than nine tenths: torchvision's `make_divisible`, docs/theory.md (90).

    Args:
        channels: The channels, above 0.
        unit: What they are a multiple of.
    """
    rounded = max(unit, int(channels + Fraction(unit, 2)) // unit * unit)
    return rounded + unit if rounded < 0.9 * channels else rounded


def scaled_channels(channels: int, width: Fraction, unit: int = UNIT, least: int = UNIT) -> int:
    """Return channels times a multiplier, as they are at 1 and never on the other side of them: docs/theory.md (90).

    Args:
        channels: The channels of the reference.
        width: The multiplier.
        unit: What other channels are a multiple of.
        least: The fewest that the family allows.
    """
    if width == 1:
        return channels
    rounded = max(least, nearest_multiple(channels * width, unit))
    return min(rounded, channels) if width < 1 else max(rounded, channels)


def scaled_number(number: int, depth: Fraction) -> int:
    """Return blocks or layers times a multiplier, rounded up: docs/theory.md (90).

    Args:
        number: The blocks or layers of the reference.
        depth: The multiplier.
    """
    return math.ceil(number * depth)


def scaled_cell(width: int, depth: int, skip_channels: int, scale: Scale) -> tuple[int, int, int]:
    """Return width, depth and skip channels of a cell times multipliers, of about its density: docs/theory.md (91).

    Args:
        width: The width of the reference's cell.
        depth: Its depth.
        skip_channels: Its skip channels.
        scale: The multipliers.
    """
    wider, deeper = scaled_channels(width, scale.width), scaled_number(depth, scale.depth)
    most = width * max(depth - 2, 0)
    share = Fraction(skip_channels, most) if most else Fraction(0)
    return wider, deeper, math.floor(share * wider * max(deeper - 2, 0) + Fraction(1, 2))


def check_scaled(channels: int, number: int, most_channels: int, most_number: int) -> None:
    """Raise DefinitionError that names the multiplier where it makes more than a family allows.

    Args:
        channels: Channels, or the width of a cell.
        number: Blocks, or the layers of a cell.
        most_channels: The most channels.
        most_number: The most blocks.
    """
    problems = []
    if channels > most_channels:
        problems.append(Problem("width", "too_large", f"makes {channels:,} channels, more than {most_channels:,}"))
    if number > most_number:
        problems.append(Problem("depth", "too_large", f"makes {number} blocks or layers, more than {most_number}"))
    if problems:
        raise DefinitionError(problems)


def decode_multipliers(data: object, most: int) -> Multipliers:
    """Read multipliers.

    Args:
        data: A range (`{"min": 0.5, "max": 1.5, "step": 0.1}`; the step is 0.05 if left out), a list, or one number.
        most: The greatest multiplier.

    Raises:
        DefinitionError: They are wrong; each problem names its field.
    """
    if isinstance(data, Mapping):
        return _range(data, most)
    if not isinstance(data, list):
        return Multipliers((_number(data, most),), data)
    if not 1 <= len(data) <= MOST_VALUES:
        raise DefinitionError.at("", "bad_length", f"must contain 1 to {MOST_VALUES} multipliers")
    found: dict[Fraction, Any] = {}
    problems: list[Problem] = []
    for place, entry in enumerate(data):
        try:
            found[_number(entry, most)] = entry
        except DefinitionError as error:
            problems += error.under(str(place)).problems
    if problems:
        raise DefinitionError(problems)
    values = tuple(sorted(found))
    return Multipliers(values, [found[value] for value in values])


def _range(data: Mapping[str, Any], most: int) -> Multipliers:
    problems = list(unknown_fields(data, {"min", "max", "step"}))
    numbers: dict[str, Fraction] = {}
    for name in ("min", "max", "step"):
        if name not in data and name != "step":
            problems.append(Problem(name, "required", "is required"))
            continue
        try:
            numbers[name] = _number(data.get(name, STEP), most)
        except DefinitionError as error:
            problems += error.under(name).problems
    if not problems and numbers["min"] > numbers["max"]:
        problems.append(Problem("min", "min_above_max", "must not be above max"))
    steps = 0 if problems else (numbers["max"] - numbers["min"]) // numbers["step"]
    if steps >= MOST_VALUES:
        problems.append(Problem("", "too_many_values", f"contains more than {MOST_VALUES} values; use a larger step"))
    if problems:
        raise DefinitionError(problems)
    values = tuple(numbers["min"] + place * numbers["step"] for place in range(steps + 1))
    return Multipliers(values, {"min": data["min"], "max": data["max"], "step": data.get("step", STEP)})


def _number(data: Any, most: int) -> Fraction:
    number = isinstance(data, int | float) and not isinstance(data, bool)
    if not number or not 0 < data <= most:  # also false of NaN
        raise DefinitionError.at("", "out_of_range", f"must be a number above 0 and at most {most}")
    return Fraction(repr(data))


def multipliers_schema(title: str, most: int, doc: str, example: JsonObject) -> JsonObject:
    """Describe multipliers as JSON Schema.

    Args:
        title: The name of a range's class in generated clients.
        most: The greatest multiplier.
        doc: A sentence that describes them.
        example: Multipliers for the documentation.
    """
    number: JsonObject = {"type": "number", "exclusiveMinimum": 0, "maximum": most}
    properties: JsonObject = {
        "min": {**number, "description": "Least multiplier.", "examples": [0.5]},
        "max": {**number, "description": "Greatest multiplier, if it is on the grid.", "examples": [1.5]},
        "step": {**number, "default": STEP, "description": "Distance of neighbors.", "examples": [0.1]},
    }
    values: JsonObject = {"type": "array", "items": number, "minItems": 1, "maxItems": MOST_VALUES}
    forms = [object_schema(title, properties, optional=("step",)), values, number]
    return {"anyOf": forms, "description": doc, "examples": [example]}
