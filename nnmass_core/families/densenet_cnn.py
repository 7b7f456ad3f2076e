"""`densenet_cnn`: chains of 3x3-convolution cells with DenseNet-type skip connections: docs/theory.md (13), (23), (97).

Of signals, inputs of height or width 1, the kernels are 1x3 or 3x1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nnmass_core.families.concatenation import (
    DEPTH,
    SKIP_CHANNELS,
    WIDTH,
    Cell,
    CellBody,
    CellEntry,
    ConcatenationCnn,
    Head,
    LargestCells,
    check_final_map,
    normalized,
    resolutions,
    skip_work,
)
from nnmass_core.families.concatenation_space import ConcatenationCnnSpace
from nnmass_core.families.costs import Costs
from nnmass_core.hardware.latency import Operators, Work, elementwise
from nnmass_core.mass import Integers, sampled_links


class Entry(CellEntry):
    """Costs of a cell's first layer: a 3x3 convolution from `w_in` channels, then BatchNorm."""

    def costs(self, w_in: Integers, w: Integers) -> Costs[Integers]:
        return Costs(self.params(w_in, w), self.macs(w_in, w), self.norm_channels(w), self.peak(w_in, w))

    def work(self, w_in: Integers, w: Integers) -> Work:
        before, after = self.before[0] * self.before[1], self.after[0] * self.after[1]
        weights, zero = self.taps * w_in * w, 0 * w
        layer = Operators("convolution_3x3", zero + 1, weights * after, w_in * before + zero, w * after, weights, zero)
        return (layer, elementwise("normalise", w * after, zero + 1))

    def params(self, w_in: Integers, w: Integers) -> Integers:
        """Return trainable parameters: 9 w_in w of the convolution, 3 w_in w of a signal's, and 2 w of BatchNorm."""
        return self.taps * w_in * w + 2 * w

    def norm_channels(self, w: Integers) -> Integers:
        """Return BatchNorm channels."""
        return w

    def macs(self, w_in: Integers, w: Integers) -> Integers:
        """Return multiply-accumulates."""
        return self.taps * w_in * w * (self.after[0] * self.after[1])

    def peak(self, w_in: Integers, w: Integers) -> Integers:
        """Return activation elements alive: the incoming map and the one being written."""
        return w_in * (self.before[0] * self.before[1]) + w * (self.after[0] * self.after[1])


class Body(CellBody):
    """Costs of a cell's layers after its first: 3x3 convolutions at one resolution.

    Every input channel of a layer is normalized once: layer 1 normalizes its w outputs, layer j >= 2 its w + L_j
    inputs. The cell's BatchNorm channels, c = (d-1) w + S, are therefore also its input channels, and give the other
    costs.
    """

    def costs(self, w: Integers, d: Integers, t: Integers, s: Integers) -> Costs[Integers]:
        c = self.norm_channels(w, d, s)
        return Costs(self.params(w, c), self.macs(w, c), c, self.peak(w, d, t), sampled_links(w, d, t))

    def work(self, w: Integers, d: Integers, t: Integers, s: Integers) -> Work:
        c, layers, area = self.norm_channels(w, d, s), d - 1, self.area
        convolutions = Operators(
            "convolution_3x3", layers, self.macs(w, c), c * area, layers * w * area, self.taps * w * c, 0 * c
        )
        skips: Work = skip_work(w, d, t, s, area)
        norms: Work = normalized(c * area, layers)
        return (*skips, *norms, convolutions)

    def norm_channels(self, w: Integers, d: Integers, s: Integers) -> Integers:
        """Return c, the BatchNorm channels; s: the links S."""
        return (d - 1) * w + s

    def params(self, w: Integers, c: Integers) -> Integers:
        """Return trainable parameters: 9 w of the convolution (a signal's: 3 w) and 2 for each input channel."""
        return c * (self.taps * w + 2)

    def macs(self, w: Integers, c: Integers) -> Integers:
        """Return multiply-accumulates."""
        return c * (self.taps * w) * (self.size[0] * self.size[1])


@dataclass(frozen=True, kw_only=True)
class DenseNetCnn(ConcatenationCnn):
    """A network of `densenet_cnn`."""

    family: ClassVar[str] = "densenet_cnn"
    first_entry: ClassVar[type[CellEntry]] = Entry
    later_entry: ClassVar[type[CellEntry]] = Entry
    body: ClassVar[type[CellBody]] = Body


@dataclass(frozen=True, kw_only=True)
class LargestDenseNetCnn(LargestCells, DenseNetCnn):
    """A network that costs at least as much as each of a space of `DenseNetCnn` networks."""


@dataclass(frozen=True)
class DenseNetCnnSpace(ConcatenationCnnSpace):
    """Ranges for every cell of a `densenet_cnn`."""

    family: ClassVar[str] = "densenet_cnn"
    network: ClassVar[type[ConcatenationCnn]] = DenseNetCnn
    largest_network: ClassVar[type[LargestCells]] = LargestDenseNetCnn


__all__ = [
    "DEPTH",
    "SKIP_CHANNELS",
    "WIDTH",
    "Body",
    "Cell",
    "DenseNetCnn",
    "DenseNetCnnSpace",
    "Entry",
    "Head",
    "check_final_map",
    "resolutions",
]
