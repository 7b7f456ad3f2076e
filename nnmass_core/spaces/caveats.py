"""What an expert would object to in a network or in a ranking, as codes: docs/theory.md (36)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction

from nnmass_core.architecture import Architecture
from nnmass_core.hardware.latency import Latency
from nnmass_core.spaces.base import AnySpace

SMALL_MAP = 2
"""The largest side of a small feature map."""

MOST_SMALL_MAPS = Fraction(1, 3)
"""The largest share of a network's layers with small feature maps that is no caveat."""

FEWEST_CHANNELS = 8
"""The fewest output channels of a layer that are no caveat."""

LEAST_USE = Fraction(3, 5)
"""The least share of a limit's bound in use that is no caveat, where every limit is used less."""


def caveats_of_network(
    architecture: Architecture, densest: float | None, latencies: Sequence[Latency] = ()
) -> tuple[str, ...]:
    """Return the caveats of one network.

    Args:
        architecture: The network.
        densest: The density of the densest cell with published training results, in the network's family; None where
            the family has no density.
        latencies: Its estimated latencies.
    """
    outside = any(latency.outside for latency in latencies)
    return (*_of_network(architecture, densest), *(["latency_outside_range"] if outside else []))


def _of_network(architecture: Architecture, densest: float | None) -> Iterator[str]:
    parts, layers = architecture.evaluation.parts, Counter(architecture.layer_shapes() or ())
    limit = None if densest is None else Fraction(densest)
    if limit is not None and any(part.density is not None and part.density > limit for part in parts):
        yield "density_above_evidence"
    maps = [(max(layer.size), count) for layer, count in layers.items() if layer.size is not None]
    if sum(count for side, count in maps if side <= SMALL_MAP) > MOST_SMALL_MAPS * sum(count for _, count in maps):
        yield "maps_up_to_2x2"
    expansions = {getattr(part.definition, "expansion", None) for part in parts}
    if expansions == {1}:
        yield "expansions_all_1"
    if any(channels < FEWEST_CHANNELS for channels in (*architecture.widths, *(layer.channels for layer in layers))):
        yield "channels_below_8"


def caveats_of_ranking(space: AnySpace, of_each: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the caveats of networks that NN-Mass compares: those of their space, then those of any of them.

    Args:
        space: The space of the networks.
        of_each: The caveats of each network of a ranking or a front.
    """
    caveats = ["no_skips"] if of_each and not all(one.has_skips for one in space.spaces) else []
    caveats += ["widths_differ"] if of_each and space.varies_width() else []
    caveats += ["resolutions_differ"] if of_each and space.varies_resolution() else []
    return (*caveats, *(code for code in OF_NETWORKS if any(code in codes for codes in of_each)))


OF_NETWORKS = (
    *("density_above_evidence", "maps_up_to_2x2", "expansions_all_1", "channels_below_8"),
    "latency_outside_range",
)
"""The caveats of single networks, in the order in which they are reported."""
