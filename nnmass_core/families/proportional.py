"""The space of the networks that one multiplier of width and one of depth make of a reference: docs/theory.md (91).

All stages are tied together, so that the networks are a list. In the chain each is one path of its own: the first stage
chooses it, with its costs, and every later one has the NN-Mass of one of its parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property, partial
from typing import Any, NoReturn

import numpy as np

from nnmass_core.architecture import Architecture, Image, Part
from nnmass_core.codec import JsonObject
from nnmass_core.engine.chain import Chain, Ints, Stage, make_stage
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.families import FAMILIES, decode_space
from nnmass_core.families.concatenation import Cell
from nnmass_core.families.concatenation_space import cell_densities, column_of, densities
from nnmass_core.hardware.latency import LatencyModel, Work
from nnmass_core.spaces.base import Space
from nnmass_core.spaces.multipliers import Scalable, Scale, Separate
from nnmass_core.spaces.structure import PartValues, only_present

MOST_NETWORKS = 10_000
"""The most pairs of multipliers, times the images: some seconds of tables."""

CHOSEN, PART = 2, 3
"""The integers of the first stage: the network, and its shape; and of each part: those of `_numbers`."""


@dataclass(frozen=True)
class ProportionalSpace(Space):
    """The networks that pairs of multipliers make of a reference, each once; those that its family refuses are not.

    Args:
        reference: The reference.
        widths: The multipliers of the width, ascending.
        depths: The multipliers of the depth, ascending.
        ends: Whether the width multiplies the stem too, and the last channels where it is above 1.
        sides: The sides of square images to choose from, ascending; empty where images are those of the reference.
        asked: The JSON form in a request.
    """

    reference: Architecture
    widths: tuple[Fraction, ...]
    depths: tuple[Fraction, ...]
    ends: bool
    sides: tuple[int, ...]
    asked: Any = field(hash=False)

    def __post_init__(self) -> None:
        pairs = len(self.widths) * len(self.depths) * max(1, len(self.sides))
        if pairs > MOST_NETWORKS:
            message = f"makes {pairs:,} networks, more than {MOST_NETWORKS:,}; use larger steps"
            raise DefinitionError([Problem("width", "too_large", message)])
        try:
            self._scaled(self.widths[-1], self.depths[-1])
        except DefinitionError as error:
            raise DefinitionError(map(_of_multipliers, error.problems)) from error
        super().__post_init__()

    @property
    def family(self) -> str:  # type: ignore[override]  # that of the reference, not of the class
        """The family of the reference."""
        return self.reference.family

    @property
    def densest_evidence(self) -> float | None:  # type: ignore[override]  # as above
        """That of the family."""
        return FAMILIES[self.family].space.densest_evidence

    @property
    def has_skips(self) -> bool:  # type: ignore[override]  # as above
        """That of the family."""
        return FAMILIES[self.family].space.has_skips

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> NoReturn:
        """Not here: `named.scaling` reads it, since a form may name its reference."""
        raise NotImplementedError  # no registry has this class, so that nothing reads a form with it

    @classmethod
    def schema(cls) -> NoReturn:
        """Not here: `named.scaling` describes it."""
        raise NotImplementedError  # as above

    def to_json(self) -> JsonObject:
        form: JsonObject = self.asked
        return form

    @cached_property
    def networks(self) -> tuple[Architecture, ...]:
        """The different networks, in the order of width, depth and image."""
        found: dict[Architecture, None] = {}
        for width in self.widths:
            for depth in self.depths:
                try:
                    network = self._scaled(width, depth)
                except DefinitionError:
                    continue  # such as a run of more blocks than a stage may have
                found |= dict.fromkeys(self._of_sizes(network))
        return tuple(found)

    def _scaled(self, width: Fraction, depth: Fraction) -> Architecture:
        if width == depth == 1:
            return self.reference
        assert isinstance(self.reference, Scalable)
        return self.reference.scaled(Scale(width, depth, self.ends))

    def _of_sizes(self, network: Architecture) -> list[Architecture]:
        """Return a network for each size of the images."""
        if not self.sides:
            return [network]
        (channels, *_), change = network.input_shape, partial(replace, network)
        return [change(input=Image(channels=channels, height=side, width=side)) for side in self.sides]

    @cached_property
    def _above(self) -> Architecture | Space:
        """The widest and deepest network, or the space of it alone, whose bound counts what narrower ones can have."""
        top = self._of_sizes(self._scaled(self.widths[-1], self.depths[-1]))[-1]
        if not isinstance(top, Separate):
            return top
        one = (Fraction(1),)
        return decode_space(top.multiples(one, one, frozenset()))

    def largest(self) -> Architecture:
        above = self._above
        return above.largest() if isinstance(above, Space) else above

    def work(self) -> tuple[Work, ...] | None:
        return self._above.work()

    def option_bound(self) -> int:
        pairs = len(self.widths) * len(self.depths) * max(1, len(self.sides))
        return pairs * (1 + len(self.reference.evaluation.parts))

    def chain(self, model: LatencyModel | None = None) -> Chain:
        nodes = np.arange(len(self.networks))
        every = [network.evaluation for network in self.networks]
        shapes: dict[tuple[tuple[int, ...], ...], int] = {}
        numbers = [shapes.setdefault(tuple(_numbers(part)[:2] for part in one.parts), len(shapes)) for one in every]
        whole = make_stage(
            source=0 * nodes,
            target=nodes,
            params=_column([one.params for one in every]),
            macs=_column([one.macs for one in every]),
            weights=_column([one.weights for one in every]),
            peak=_column([one.peak_elements for one in every]),
            indices=_column([one.indices for one in every]),
            integers=np.column_stack([nodes, _column(numbers)]),
            latency=None if model is None else _column([_time(model, network) for network in self.networks]),
        )
        most = self.most_parts()
        parts = [[one.parts[place] if place < len(one.parts) else None for one in every] for place in range(most)]
        ends = [nodes] * (most - 1) + [0 * nodes]
        stages = [_of_parts(nodes, end, column) for end, column in zip(ends, parts, strict=True)]
        return Chain((whole, *stages), (1, *[len(nodes)] * most, 1), (1,))

    def architecture(self, integers: Sequence[int]) -> Architecture:
        return self.networks[integers[0]]

    def most_parts(self) -> int:
        return max(len(network.evaluation.parts) for network in self.networks)

    @property
    def form_version(self) -> int:
        return 2

    @property
    def counts_layers(self) -> bool:
        return FAMILIES[self.family].space.layers is not Space.layers

    def layers(self, chain: Chain) -> tuple[Ints, ...]:
        first, *others = chain.stages
        depths = _column([network.evaluation.depth for network in self.networks])
        return (depths[first.integers[:, 0]], *(np.zeros(len(stage), np.int64) for stage in others))

    def part_values(self, name: str) -> PartValues | None:
        first = [CHOSEN + PART * place for place in range(self.most_parts())]
        if name == "widths":
            return PartValues(tuple((place,) for place in first), only_present)
        if not self._has_cells:
            return None
        columns = tuple((place, place + 1, place + 2) for place in first)
        return PartValues(columns, densities if name == "density" else partial(column_of, 2))

    def densities(self, stage: Stage) -> tuple[Ints, Ints] | None:
        return cell_densities(stage) if self._has_cells else None

    @property
    def _has_cells(self) -> bool:
        return self.reference.evaluation.parts[0].density is not None

    def inputs(self) -> tuple[tuple[int, ...], ...]:
        return tuple(sorted({network.input_shape for network in self._of_sizes(self.reference)}))

    def varies_resolution(self) -> bool:
        return len(self.sides) > 1

    def varies_width(self) -> bool:
        return len(self.widths) > 1


def _of_multipliers(problem: Problem) -> Problem:
    """Return the problem of a network that multipliers make, under the field that it is about."""
    if problem.field in {"width", "depth"}:
        return problem
    return Problem("around", problem.code, f"makes a network that is refused: {problem.text()}")


def _numbers(part: Part | None) -> tuple[int, int, int]:
    """Return the width of a part; its depth, or its blocks; and its skip channels. Zeros for one that is not there."""
    if part is None:
        return (0, 0, 0)
    of: Any = part.definition
    if isinstance(of, Cell):
        return (of.width, of.depth, of.skip_channels)
    return (part.width, getattr(of, "repeats", 0), 0)  # a package's parts may have no blocks


def _of_parts(nodes: Ints, target: Ints, parts: list[Part | None]) -> Stage:
    """Return the stage of one part of each network."""
    masses = [Fraction(0) if part is None else part.mass for part in parts]
    zeros = 0 * nodes
    return make_stage(
        source=nodes,
        target=target,
        params=zeros,
        macs=zeros,
        weights=zeros,
        peak=zeros,
        mass_terms=(_column([m.numerator for m in masses]), _column([m.denominator for m in masses])),
        integers=np.array([_numbers(part) for part in parts], np.int64),
    )


def _time(model: LatencyModel, network: Architecture) -> int:
    """Return the nanoseconds of a network, each stage rounded as everywhere."""
    return sum(model.nanoseconds(part) for part in network.work() or ())


def _column(values: Sequence[int]) -> Ints:
    return np.array(values, np.int64)
