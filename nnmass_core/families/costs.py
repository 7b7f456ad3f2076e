"""The costs of layers, as numbers or as arrays of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Literal, NamedTuple

from nnmass_core.engine.chain import Ints, Stage, make_stage
from nnmass_core.hardware.latency import LatencyModel, Work
from nnmass_core.mass import Integers


class Costs(NamedTuple, Generic[Integers]):
    """Costs of some layers, as integers or as arrays of them.

    Attributes:
        params: Trainable parameters.
        macs: Multiply-accumulates for one input.
        norm_channels: Channels of BatchNorm.
        peak: Peak activation elements for one input.
        indices: Channel numbers of sampled skips, docs/theory.md (21).
    """

    params: Integers
    macs: Integers
    norm_channels: Integers
    peak: Integers
    indices: Integers | Literal[0] = 0

    @property
    def weights(self) -> Integers:
        """Stored numbers: parameters and BatchNorm's running mean and variance, docs/theory.md (20)."""
        stored: Integers = self.params + 2 * self.norm_channels
        return stored


def timed(model: LatencyModel | None, work: Callable[[], Work]) -> Ints | None:
    """Return the nanoseconds of each option's work, (n,); None without a device.

    Args:
        model: The times of the device's operators; None without a device.
        work: Returns the operators of the options as arrays, (n,); it is only called with a device.
    """
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
    """Return the stage of some options, which may be in any order.

    Args:
        source: The node before each option, (n,).
        target: The node after each option, (n,).
        costs: The costs of each option, (n,) each.
        mass_terms: Numerator and denominator of each option's NN-Mass, (n,) each; by default NN-Mass is 0.
        integers: The option's own share of the architecture's integers in the order of its definition, (n, m); by
            default it has none.
        latency: The nanoseconds of each option, (n,), as `timed` returns them; None stands for 0.
    """
    return make_stage(
        source=source,
        target=target,
        params=costs.params,
        macs=costs.macs,
        weights=costs.weights,
        peak=costs.peak,
        indices=costs.indices,
        mass_terms=mass_terms,
        integers=integers,
        latency=latency,
    )
