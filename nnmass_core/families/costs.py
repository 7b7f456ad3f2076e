"""The costs of layers, as numbers or as arrays of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple

from nnmass_core.engine.chain import Ints, Stage, make_stage
from nnmass_core.hardware.latency import LatencyModel, Work
from nnmass_core.mass import Integers


class Costs(NamedTuple, Generic[Integers]):
    """Costs of some layers: trainable parameters, MACs, BatchNorm channels, and peak activation elements."""

    params: Integers
    macs: Integers
    norm_channels: Integers
    peak: Integers

    @property
    def weights(self) -> Integers:
        """Stored numbers: parameters and BatchNorm's running mean and variance, docs/theory.md (20)."""
        stored: Integers = self.params + 2 * self.norm_channels
        return stored


def timed(model: LatencyModel | None, work: Callable[[], Work]) -> Ints | None:
    """Return the nanoseconds of each option's work, (n,); None without a device."""
    if model is None:
        return None
    nanoseconds: Ints = model.nanoseconds(work())
    return nanoseconds


def stage_of(
    source: Ints,
    target: Ints,
    costs: Costs[Ints],
    mass_terms: tuple[Ints, Ints] | None = None,
    integers: Ints | None = None,
    *,
    latency: Ints | None = None,
) -> Stage:
    """Return the stage of some options, (n,) each: the nodes that they join, their costs, NN-Mass and integers."""
    return make_stage(
        source=source,
        target=target,
        params=costs.params,
        macs=costs.macs,
        weights=costs.weights,
        peak=costs.peak,
        mass_terms=mass_terms,
        integers=integers,
        latency=latency,
    )
