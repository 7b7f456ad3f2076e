"""`densenet_cnn_depthwise`: as `densenet_cnn`, all layers but the first separable: docs/theory.md (14), (24).

Such a layer is a 1x1 convolution, a 3x3 depthwise one that carries the stride, and a 1x1 convolution, each followed by
a BatchNorm of w channels; the BatchNorm of the dense layer stays as well. Of signals the kernels of 3x3 are 1x3 or
3x1: docs/theory.md (97).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nnmass_core.families.concatenation import (
    CellBody,
    CellEntry,
    ConcatenationCnn,
    LargestCells,
    normalized,
    skip_work,
)
from nnmass_core.families.concatenation_space import ConcatenationCnnSpace
from nnmass_core.families.costs import Costs
from nnmass_core.families.densenet_cnn import Entry
from nnmass_core.hardware.latency import Operators, Work, convolution, elementwise
from nnmass_core.mass import Integers, larger, sampled_links


def _depthwise(taps: int, w: Integers, before: Integers, after: Integers) -> Operators:
    """Return a depthwise convolution of w channels; one of a signal is of the kind of 3x3, with its own weights."""
    weights = taps * w
    return Operators("depthwise_3x3", 0 * w + 1, weights * after, w * before, w * after, weights, 0 * w)


class SeparableEntry(CellEntry):
    """Costs of a later cell's first layer: its first convolution runs at the resolution before the stride."""

    def costs(self, w_in: Integers, w: Integers) -> Costs[Integers]:
        before, after = self.before[0] * self.before[1], self.after[0] * self.after[1]
        norm_channels, depthwise = 4 * w, self.taps * w
        return Costs(
            params=w_in * w + depthwise + w * w + 2 * norm_channels,
            macs=w_in * w * before + (depthwise + w * w) * after,
            norm_channels=norm_channels,
            peak=larger((w_in + w) * before, w * (before + after)),
        )

    def work(self, w_in: Integers, w: Integers) -> Work:
        before, after = 0 * w + self.before[0] * self.before[1], 0 * w + self.after[0] * self.after[1]
        one = 0 * w + 1
        return (
            convolution(1, w_in, w, before, before),
            _depthwise(self.taps, w, before, after),
            convolution(1, w, w, after, after),
            elementwise("normalise", w * (before + 3 * after), 4 * one),
            elementwise("activate", w * (before + after), 2 * one),
        )


class SeparableBody(CellBody):
    """Costs of a cell's layers after its first, from their c = (d-1) w + S input channels.

    The peak is the dense cell's: the first convolution of layer j <= d-2 writes while j outputs and the concatenation
    are alive, (j+2) w + L_j <= d w + t channels; the others, and those of layer d-1 and of layer 1, have fewer alive.
    """

    def costs(self, w: Integers, d: Integers, t: Integers, s: Integers) -> Costs[Integers]:
        c = (d - 1) * w + s
        kernels = c * w + (d - 1) * (self.taps * w + w * w)
        norm_channels = c + 3 * (d - 1) * w
        return Costs(
            params=kernels + 2 * norm_channels,
            macs=kernels * (self.size[0] * self.size[1]),
            norm_channels=norm_channels,
            peak=self.peak(w, d, t),
            indices=sampled_links(w, d, t),
        )

    def work(self, w: Integers, d: Integers, t: Integers, s: Integers) -> Work:
        c, layers, area = (d - 1) * w + s, d - 1, self.area
        weights = c * w + layers * w * w
        read, written = (c + layers * w) * area, 2 * layers * w * area
        skips: Work = skip_work(w, d, t, s, area)
        norms: Work = normalized(c * area, layers)
        return (
            *skips,
            *norms,
            Operators("convolution_1x1", 2 * layers, weights * area, read, written, weights, 0 * c),
            _depthwise(self.taps, w, 0 * w + area, 0 * w + area).times(layers),
            elementwise("normalise", 3 * layers * w * area, 3 * layers),
            elementwise("activate", 2 * layers * w * area, 2 * layers),
        )


@dataclass(frozen=True, kw_only=True)
class DenseNetCnnDepthwise(ConcatenationCnn):
    """A network of `densenet_cnn_depthwise`."""

    family: ClassVar[str] = "densenet_cnn_depthwise"
    first_entry: ClassVar[type[CellEntry]] = Entry
    later_entry: ClassVar[type[CellEntry]] = SeparableEntry
    body: ClassVar[type[CellBody]] = SeparableBody


@dataclass(frozen=True, kw_only=True)
class LargestDenseNetCnnDepthwise(LargestCells, DenseNetCnnDepthwise):
    """A network that costs at least as much as each of a space of `DenseNetCnnDepthwise` networks."""


@dataclass(frozen=True)
class DenseNetCnnDepthwiseSpace(ConcatenationCnnSpace):
    """Ranges for every cell of a `densenet_cnn_depthwise`."""

    family: ClassVar[str] = "densenet_cnn_depthwise"
    network: ClassVar[type[ConcatenationCnn]] = DenseNetCnnDepthwise
    largest_network: ClassVar[type[LargestCells]] = LargestDenseNetCnnDepthwise
