"""Shares of a cost that networks must use, and the one that is usual where a question asks for none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from nnmass_core.codec import JsonObject, is_number, one_of, unknown_fields
from nnmass_core.costs import sums
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.named.presets import MAKERS
from nnmass_core.named.scaling import is_around


@dataclass(frozen=True)
class Spend:
    """Admit only networks that use at least a share of the most that any network within the limits uses of a cost.

    Args:
        quantity: The name of a cost that is a sum over the layers, such as `macs`.
        share: The share, above 0 and at most 1, exact as the decimal that it is written as: docs/theory.md (51).
        default: Whether nobody asked for it: `SearchRequest.asked` gave it. It changes no answer.

    Raises:
        DefinitionError: The quantity cannot be spent, or the share is out of range.
    """

    quantity: str
    share: float
    default: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        problems: list[Problem] = []
        if self.quantity not in sums():
            problems.append(Problem("quantity", "unknown_choice", one_of(self.quantity, sums())))
        if not is_number(self.share) or not 0 < self.share <= 1:
            problems.append(Problem("share", "out_of_range", "must be a number above 0 and at most 1"))
        if problems:
            raise DefinitionError(problems)
        object.__setattr__(self, "share", float(self.share))

    def least(self, most: int) -> int:
        """Return the fewest elements of the cost that are the share of `most` elements: docs/theory.md (51)."""
        return math.ceil(Fraction(repr(self.share)) * most)

    def to_json(self) -> JsonObject:
        """Write it in the form of the request."""
        return {"quantity": self.quantity, "share": self.share, **({"default": True} if self.default else {})}


USUAL_SPEND = Spend("macs", 0.95, default=True)
"""What networks of usual proportions spend unless a question says otherwise: decision 47."""


def decode_spend(data: object) -> Spend | None:
    """Read a spend from parsed JSON; null is none.

    Args:
        data: An object with `quantity` and `share`, and in what was stored perhaps `default`, or None.

    Raises:
        DefinitionError: A field is wrong or missing; each problem names it.
    """
    if data is None:
        return None
    if not isinstance(data, Mapping):
        raise DefinitionError.at("", "not_an_object", "must be an object or null")
    problems = list(unknown_fields(data, {"quantity", "share", "default"}))
    default = data.get("default", False)
    if not isinstance(default, bool):
        problems.append(Problem("default", "not_a_boolean", "must be true or false"))
    problems += [Problem(name, "required", "is required") for name in ("quantity", "share") if name not in data]
    if problems:
        raise DefinitionError(problems)
    quantity = data["quantity"]
    return Spend(quantity if isinstance(quantity, str) else "", data["share"], default)


def keeps_proportions(space: object) -> bool:
    """Return whether a space, as a question gives it, has networks of usual proportions only.

    Args:
        space: A preset's name, a definition, a network to look around, a list of these, or None for that of a
            reference. A definition is the user's, who knows what is in it.
    """
    if isinstance(space, list):
        return bool(space) and all(map(keeps_proportions, space))
    if isinstance(space, str):
        return space in MAKERS and not space.endswith("-free")
    return space is None or is_around(space)
