"""What an expert would object to in a network or in a ranking, as codes: docs/theory.md (36)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from nnmass_core.architecture import Architecture
from nnmass_core.spaces.base import Space

SMALL_MAP = 2
"""The largest side of a small feature map."""

MOST_SMALL_MAPS = Fraction(1, 3)
"""The largest share of a network's layers with small feature maps that is no caveat."""

FEWEST_CHANNELS = 8
"""The fewest output channels of a layer that are no caveat."""

LEAST_USE = Fraction(3, 5)
"""The least share of a limit's bound in use that is no caveat, where every limit is used less."""


def caveats_of_network(architecture: Architecture, densest: float | None) -> tuple[str, ...]:
    """Return the caveats of one network.

    Args:
        architecture: The network.
        densest: The density of the densest cell with published training results, in the network's family; None where
            the family has no density.
    """
    return tuple(_of_network(architecture, densest))


def _of_network(architecture: Architecture, densest: float | None) -> Iterator[str]:
    parts, layers = architecture.evaluation.parts, architecture.layer_shapes() or ()
    densities = (part.density for part in parts if part.density is not None)
    if densest is not None and any(density > Fraction(densest) for density in densities):
        yield "density_above_evidence"
    maps = [layer.size for layer in layers if layer.size is not None]
    if sum(max(size) <= SMALL_MAP for size in maps) > MOST_SMALL_MAPS * len(maps):
        yield "maps_up_to_2x2"
    expansions = {getattr(part.definition, "expansion", None) for part in parts}
    if expansions == {1}:
        yield "expansions_all_1"
    if any(channels < FEWEST_CHANNELS for channels in (*architecture.widths, *(layer.channels for layer in layers))):
        yield "channels_below_8"


def caveats_of_ranking(space: Space, of_each: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the caveats of networks that NN-Mass compares: those of their space, then those of any of them.

    Args:
        space: The space of the networks.
        of_each: The caveats of each network of a ranking or a front.
    """
    caveats = ["widths_differ"] if of_each and space.varies_width() else []
    caveats += ["resolutions_differ"] if of_each and space.varies_resolution() else []
    return (*caveats, *(code for code in OF_NETWORKS if any(code in codes for codes in of_each)))


OF_NETWORKS = ("density_above_evidence", "maps_up_to_2x2", "expansions_all_1", "channels_below_8")
"""The caveats of single networks, in the order in which they are reported."""
