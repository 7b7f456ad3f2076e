"""Where to look for a smaller network than a reference, and the network that one multiplier of the width makes of it.

docs/theory.md (93).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from typing import Any

from nnmass_core.architecture import Architecture, Part
from nnmass_core.codec import JsonObject
from nnmass_core.errors import DefinitionError
from nnmass_core.families import decode_architecture
from nnmass_core.spaces.kept import exactly
from nnmass_core.spaces.multipliers import ONE, Scalable, Scale, Separate

# untyped: stages of any family, each with fields of its own

HUNDREDTH = 100
"""Multipliers of a uniform width are whole numbers of this part."""

BAND = Fraction(1, 10)
"""How far a stage's multiplier may be from the uniform one, as a part of it."""

FEWEST_CHANNELS = 16
"""No stage that has as many channels gets fewer, if the others can then be nearly as wide as in proportion."""

NEARLY = Fraction(9, 10)
"""The least part of the multiplier in proportion that they then have."""

WIDTHS: JsonObject = {"min": 0.5, "max": 1.5, "step": 0.05}
DEPTHS: JsonObject = {"min": 0.2, "max": 1.5, "step": 0.1}
"""The multipliers of each stage where a cost is minimized."""

FIXED = ["resolution", "stem", "expansion", "kernel"]
"""What networks around a reference keep of it, while each stage has multipliers of its own."""


def uniform(reference: Architecture, limits: Mapping[str, int]) -> tuple[Fraction, Architecture] | None:
    """Return the widest network that one multiplier of all stages' channels makes within limits: docs/theory.md (93).

    Args:
        reference: The network whose channels are multiplied; stem, last channels and blocks stay.
        limits: The most of `params` and `macs`.

    Returns:
        The multiplier, a number of hundredths up to 1, and the network. None where the family defines no multipliers,
        or none is small enough.
    """
    return next(((width, network) for width, network in _narrower(reference) if _fits(network, limits)), None)


def _fits(network: Architecture, limits: Mapping[str, int]) -> bool:
    figures = {"params": network.evaluation.params, "macs": network.evaluation.macs}
    return all(figures[name] <= most for name, most in limits.items())


def _narrower(reference: Architecture) -> Iterator[tuple[Fraction, Architecture]]:
    if not isinstance(reference, Scalable):
        return
    for hundredths in range(HUNDREDTH, 0, -1):
        width = Fraction(hundredths, HUNDREDTH)
        try:
            yield width, reference.scaled(Scale(width))
        except DefinitionError:
            continue  # such as channels that the family does not allow


def limits_of_ratio(reference: Architecture, ratio: Mapping[str, float]) -> dict[str, int]:
    """Return the most of each cost that a share of the reference's is: docs/theory.md (93).

    Args:
        reference: The reference.
        ratio: The shares of `params` and `macs`.
    """
    figures = {"params": reference.evaluation.params, "macs": reference.evaluation.macs}
    return {name: math.floor(exactly(share) * figures[name]) for name, share in ratio.items()}


def compression_space(reference: Architecture, ratio: Mapping[str, float] | None = None) -> JsonObject:
    """Return the JSON form of the space in which to look for a smaller network: docs/theory.md (93).

    Args:
        reference: The network to compress.
        ratio: The shares of its costs to keep within; None where a cost is minimized.

    Raises:
        DefinitionError: The family defines no space around a network.
    """
    if ratio is not None and isinstance(reference, Scalable):
        return _in_proportion(reference, limits_of_ratio(reference, ratio))
    if isinstance(reference, Separate):
        return {"around": reference.definition(), "keep": FIXED, "width": WIDTHS, "depth": DEPTHS}
    return reference.space_around()


def _in_proportion(reference: Architecture, limits: Mapping[str, int]) -> JsonObject:
    """Return the space of networks whose stages are within a band around the widest network in proportion that fits."""
    wider, found = (
        next((one for one in _in_steps(reference, least) if _fits(one[1], limits)), None)
        for least in (FEWEST_CHANNELS, 1)
    )
    if wider is not None and found is not None and wider[0] >= NEARLY * found[0]:
        found = wider
    if not isinstance(reference, Separate) or found is None:
        return {
            "around": reference.definition(),
            "width": {"min": 0.01, "max": 1, "step": 0.01},
            "depth": [0.5, 0.75, 1],
        }
    width, network = found
    low, high = width * (1 - BAND), min(width * (1 + BAND), ONE)
    band = [Fraction(k, HUNDREDTH) for k in range(math.ceil(low * HUNDREDTH), math.floor(high * HUNDREDTH) + 1)]
    space: dict[str, Any] = dict(reference.multiples(tuple(band or [width]), (ONE,), frozenset()))
    stages = zip(space["stages"], network.evaluation.parts, reference.evaluation.parts, strict=True)
    return {**space, "stages": [_narrowed(stage, own.width, part) for stage, own, part in stages]}


def _in_steps(reference: Architecture, least: int) -> Iterator[tuple[Fraction, Architecture]]:
    """Yield narrower networks with at least some channels in each stage, where the reference has as many."""
    for width, network in _narrower(reference):
        if not isinstance(network, Separate):  # its stages have no channels of their own
            return
        form: dict[str, Any] = network.definition()
        parts = reference.evaluation.parts
        if len(form["stages"]) == len(parts):
            channels = [max(own, min(part.width, least)) for own, part in zip(network.widths, parts, strict=True)]
            stages = [stage | {"channels": c} for stage, c in zip(form["stages"], channels, strict=True)]
            with suppress(DefinitionError):  # such as neighbors that are one stage
                yield width, decode_architecture({**form, "stages": stages})


def _narrowed(stage: dict[str, Any], own: int, part: Part) -> dict[str, Any]:
    """Return a stage whose channels are not below those that it may have; without NN-Mass it keeps its proportion."""
    axis = stage["channels"]
    if not part.mass:
        return stage | {"channels": own}
    least = min(own, FEWEST_CHANNELS)
    kept = [channels for channels in (axis if isinstance(axis, list) else [axis]) if channels >= least]
    return stage | {"channels": sorted({*kept, own})}


def keeps_order(reference: Architecture) -> bool:
    """Return whether no stage of a network is narrower than the one before it."""
    return all(before <= after for before, after in pairwise(reference.widths))
