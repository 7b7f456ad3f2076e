"""What layers cost, as numbers or as arrays of numbers."""

from __future__ import annotations

from typing import Generic, NamedTuple

from nnmass_core.mass import Integers


class Costs(NamedTuple, Generic[Integers]):
    """What some layers cost: trainable parameters, MACs, BatchNorm channels, and activation elements alive at once."""

    params: Integers
    macs: Integers
    norm_channels: Integers
    peak: Integers

    @property
    def weights(self) -> Integers:
        """Stored numbers: parameters and BatchNorm's running mean and variance."""
        stored: Integers = self.params + 2 * self.norm_channels
        return stored
