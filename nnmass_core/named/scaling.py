"""The space around a reference: wider, narrower, deeper and shallower networks that keep the rest of it.

docs/theory.md (90), (91).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from nnmass_core.architecture import Architecture
from nnmass_core.codec import JsonObject, JsonValue, object_schema, one_of, unknown_fields
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.families import decode_architecture, decode_space
from nnmass_core.families.proportional import ProportionalSpace
from nnmass_core.named.networks import named_network
from nnmass_core.spaces.base import AnySpace, Space
from nnmass_core.spaces.multipliers import (
    MOST_DEPTH,
    MOST_WIDTH,
    Multipliers,
    Scalable,
    Scale,
    Separate,
    decode_multipliers,
    multipliers_schema,
)

KEPT = ("resolution", "stem", "expansion", "kernel", "channels", "repeats", "proportions")
"""What a space around a reference may keep of it."""

FREE = ("channels", "repeats")
"""What it does not keep unless asked."""

KEPT_BY_DEFAULT = tuple(name for name in KEPT if name not in FREE)

WIDTHS: JsonObject = {"min": 0.25, "max": 2, "step": 0.05}
DEPTHS: JsonObject = {"min": 0.2, "max": 2, "step": 0.1}
"""The multipliers where none are given, as far as the family has such networks."""

AXES = {"width": (WIDTHS, MOST_WIDTH, "channels"), "depth": (DEPTHS, MOST_DEPTH, "repeats")}
"""By its field, an axis' default, its greatest multiplier, and what must not be kept for it."""

FIELDS = ("around", "keep", *AXES)
ONLY = Multipliers((Scale().width,), 1)
LARGEST_STEP = 32


@dataclass(frozen=True)
class AroundSpace(AnySpace):
    """A space around a reference that is one of the reference's family, as if it had been written out.

    Args:
        space: The space.
        asked: The JSON form in a request: the reference's definition, what is kept, and the multipliers.
    """

    space: Space
    asked: Any = field(hash=False)

    @property
    def family(self) -> str:
        """The family of the reference."""
        return self.space.family

    @property
    def spaces(self) -> tuple[Space, ...]:
        """The space itself."""
        return (self.space,)

    @property
    def form(self) -> JsonValue:
        """What was asked for."""
        form: JsonObject = self.asked
        return form

    @property
    def form_version(self) -> int:
        """The earliest version of a request's JSON form that has such a space."""
        return 2

    def architecture(self, integers: Sequence[int]) -> Architecture:
        """Return the architecture of a path."""
        return self.space.architecture(integers)

    def option_bound(self) -> int:
        """Return an upper bound on the number of options of the chain."""
        return self.space.option_bound()

    def varies_width(self) -> bool:
        """Return whether there are networks of different widths."""
        return self.space.varies_width()

    def varies_resolution(self) -> bool:
        """Return whether there are networks for images of different sizes."""
        return self.space.varies_resolution()

    def most_parts(self) -> int:
        """Return the most cells or stages of a network."""
        return self.space.most_parts()


def around(
    reference: Architecture,
    keep: Sequence[str] = KEPT_BY_DEFAULT,
    width: object = None,
    depth: object = None,
) -> AnySpace:
    """Return the space around a reference: docs/theory.md (90), (91).

    Args:
        reference: The network.
        keep: What the networks have from the reference, of `KEPT`; with `proportions`, one multiplier of width and one
            of depth for all stages, else each stage takes its own. What a family does not have is kept anyway.
        width: Multipliers of the channels, in JSON: a range, a list or one number; None for `WIDTHS`.
        depth: Multipliers of the blocks, at most 3; None for `DEPTHS`.

    Returns:
        A `ProportionalSpace`, or without `proportions` a space of the family: `.spaces[0]` is it, written out.

    Raises:
        DefinitionError: A field is wrong, or the family has no such space; each problem names `keep`, `width`, `depth`
            or `around`.
    """
    if not isinstance(reference, Scalable):
        message = f"must not be a {reference.family}, for which no multipliers are defined"
        raise DefinitionError.at("around", "not_applicable", message)
    kept = _decode_keep(keep)
    axes = _decode_axes(reference, kept, {"width": width, "depth": depth})
    free = frozenset(KEPT) - {*kept}
    sides = _sides(reference) if "resolution" in free else ()
    asked: JsonObject = {
        "around": reference.definition(),
        "keep": list(kept),
        **{name: axis.form for name, axis in axes.items() if AXES[name][2] in free},
    }
    widths, depths = axes["width"].values, axes["depth"].values
    if "proportions" in kept:
        if own := sorted(free & {"expansion", "kernel"}):
            message = f"must have {' and '.join(own)} with proportions: each stage would take its own"
            raise DefinitionError.at("keep", "conflicts_with_proportions", message)
        return ProportionalSpace(reference, widths, depths, "stem" in free, sides, asked)
    if not isinstance(reference, Separate):
        message = f"must have proportions for {reference.family}: skip channels follow width and depth of their cell"
        raise DefinitionError.at("keep", "not_applicable", message)
    form = reference.multiples(widths, depths, free)
    if sides:
        form["input"] = {"channels": reference.input_shape[0], "resolution": list(sides)}
    try:
        return AroundSpace(decode_space(form), asked)
    except DefinitionError as error:
        raise DefinitionError(
            Problem("", problem.code, f"makes a space that is refused: {problem.text()}") for problem in error.problems
        ) from error


def is_around(data: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether parsed JSON is a space around a reference."""
    return isinstance(data, Mapping) and "around" in data


def decode_around(data: Mapping[str, Any]) -> AnySpace:
    """Read a space around a reference from parsed JSON.

    Args:
        data: An object with `around`, a well-known network's name or a full definition, and any of `keep`, `width` and
            `depth`, as `around` takes them.

    Raises:
        DefinitionError: A field is wrong; each problem names it.
    """
    problems = list(unknown_fields(data, {*FIELDS}))
    reference = None
    try:
        named = data["around"]
        reference = named_network(named) if isinstance(named, str) else decode_architecture(named)
    except DefinitionError as error:
        problems += error.under("around").problems
    if problems or reference is None:
        raise DefinitionError(problems)
    return around(reference, data.get("keep", KEPT_BY_DEFAULT), data.get("width"), data.get("depth"))


def around_schema(network: JsonObject) -> JsonObject:
    """Describe a space around a reference as JSON Schema.

    Args:
        network: The schema of the reference.
    """
    names: JsonObject = {"type": "string", "enum": list(KEPT)}
    about = (
        "What the networks have from the reference; by default all but channels and repeats. `stem` includes the last "
        "channels. With `proportions`, all stages have one multiplier of width and one of depth, else each has its own."
    )
    properties: JsonObject = {
        "around": {**network, "description": "The reference."},
        "keep": {
            "type": "array",
            "items": names,
            "maxItems": len(KEPT),
            "description": about,
            "examples": [list(KEPT_BY_DEFAULT)],
        },
        "width": multipliers_schema(
            "WidthRange", MOST_WIDTH, "Multipliers of the channels, or of the widths of cells.", WIDTHS
        ),
        "depth": multipliers_schema(
            "DepthRange", MOST_DEPTH, "Multipliers of the blocks, or of the depths of cells.", DEPTHS
        ),
    }
    return object_schema("AroundSpace", properties, optional=("keep", "width", "depth"))


def _decode_keep(keep: object) -> tuple[str, ...]:
    if not isinstance(keep, list | tuple):
        raise DefinitionError.at("keep", "not_a_list", "must be a list of names")
    if len(keep) > len(KEPT):
        raise DefinitionError.at("keep", "bad_length", f"must have at most {len(KEPT)} entries")
    problems = [
        Problem(f"keep.{place}", "unknown_choice", one_of(name, KEPT))
        for place, name in enumerate(keep)
        if name not in KEPT
    ]
    if problems:
        raise DefinitionError(problems)
    return tuple(name for name in KEPT if name in keep)


def _decode_axes(reference: Scalable, kept: Sequence[str], given: Mapping[str, object]) -> dict[str, Multipliers]:
    """Return the multipliers of width and depth."""
    found: dict[str, Multipliers] = {}
    problems: list[Problem] = []
    for name, (usual, most, of) in AXES.items():
        data = given[name]
        if of in kept:
            found[name] = ONLY
            if data is not None:
                problems.append(Problem(name, "conflicts_with_keep", f"conflicts with keep, which has {of}"))
        elif data is None:
            found[name] = _allowed(reference, name, decode_multipliers(usual, most))
        else:
            try:
                found[name] = decode_multipliers(data, most)
            except DefinitionError as error:
                problems += error.under(name).problems
    if problems:
        raise DefinitionError(problems)
    return found


def _allowed(reference: Scalable, name: str, axis: Multipliers) -> Multipliers:
    """Return an axis without the greatest multipliers, from which the family has no network."""
    values = axis.values
    while values[-1] > 1:
        try:
            reference.scaled(Scale(width=values[-1]) if name == "width" else Scale(depth=values[-1]))
            break
        except DefinitionError:
            values = values[:-1]
    return axis if values == axis.values else Multipliers(values, {**axis.form, "max": float(values[-1])})


def _sides(reference: Architecture) -> tuple[int, ...]:
    """Return sides of square images, from half the reference's to half as much again: docs/theory.md (90)."""
    shape = reference.input_shape
    if len(shape) != 3:
        return ()
    _, height, side = shape
    if height != side:
        message = f"must have resolution: images of {height} x {side} are not square"
        raise DefinitionError.at("keep", "not_applicable", message)
    step = min(LARGEST_STEP, 1 << max(side // 6, 1).bit_length() - 1)
    number = side // 2 // step
    return tuple(side + place * step for place in range(-number, number + 1) if side + place * step > 0)
