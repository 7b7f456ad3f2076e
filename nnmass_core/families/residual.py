"""Networks of stages: the shared code of `resnet`, `wide_resnet_cifar`, `mobilenet_v2` and the chains (separable.py).

Formulas: docs/theory.md (10), (12).
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np

from nnmass_core.architecture import Evaluation, ImageArchitecture, Part, Step
from nnmass_core.codec import LARGEST_INTEGER, JsonObject, Value, encode, object_schema, unknown_fields
from nnmass_core.diagram import Arc, Panel, shown
from nnmass_core.engine.chain import Ints
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.families.costs import Costs
from nnmass_core.families.neighborhood import stages_around
from nnmass_core.hardware.latency import Work
from nnmass_core.mass import Integers
from nnmass_core.spaces.axis import Axis, decode_axis, single_axis_schema
from nnmass_core.spaces.multipliers import ONE, Scale, check_scaled, scaled_channels, scaled_number

CHANNELS = (1, 8192)
REPEATS = (1, 64)
ENDS = ("stem_channels", "last_channels")
"""The fields of a network for the channels of its ends, where its family has them."""

EXPANSIONS, KERNELS = (3, 4, 5, 6), (3, 5, 7)
"""What blocks may have where a space around a network does not keep theirs."""


STAGES_KEPT = 1 << 12
"""The number of stages whose blocks are kept, some 10 kB each."""

Size = tuple[int, int]
Bounds = tuple[int, int]


def halved(size: Size, times: int = 1) -> Size:
    """Return height and width after strides of 2 with the usual padding, which round up."""
    for _ in range(times):
        size = (-(-size[0] // 2), -(-size[1] // 2))
    return size


def area(size: Size) -> int:
    """Return the positions of a feature map."""
    return size[0] * size[1]


def repeated(work: Work, n: Integers) -> Work:
    """Return the operators of n equal blocks."""
    return tuple(operators.times(n) for operators in work)


class RunStage(Protocol):
    """A stage that can be one run of equal blocks with the stage before it."""

    @property
    def repeats(self) -> int:
        """Its blocks."""

    def goes_on_after(self, before: Any) -> bool:
        """Return whether it is a single run of equal blocks with the stage before it, of its own class."""


def same_stages(stages: Sequence[RunStage]) -> Iterator[Problem]:
    """Yield the stages that repeat the one before them: a run of equal blocks is one stage."""
    for number, (before, stage) in enumerate(itertools.pairwise(stages), start=1):
        if stage.goes_on_after(before):
            yield Problem(f"stages.{number}", "same_stage", "repeats the previous stage; merge the two")


R = TypeVar("R", bound=RunStage)


def merged(stages: Iterable[R]) -> tuple[R, ...]:
    """Return stages with every run of equal blocks as one stage."""
    found: list[R] = []
    for stage in stages:
        if found and stage.goes_on_after(found[-1]):
            run: Any = found[-1]
            found[-1] = replace(run, repeats=run.repeats + stage.repeats)
        else:
            found.append(stage)
    return tuple(found)


class Block(NamedTuple):
    """One residual block: costs, NN-Mass, output channels, operators; shortcut: whether it has one."""

    costs: Costs[int]
    mass: Fraction
    channels: int
    work: Callable[[], Work]
    shortcut: bool = True


@dataclass(frozen=True, eq=False)
class Built:
    """One stage: its definition with its channels, its input channels, its blocks and the size of its maps."""

    definition: Value
    channels: int
    entering: int
    blocks: list[Block]
    size: Size

    @cached_property
    def part(self) -> Part:
        """The stage's figures."""
        return Part(
            definition=self.definition,
            width=self.channels,
            mass=sum((block.mass for block in self.blocks), start=Fraction(0)),
            params=sum(block.costs.params for block in self.blocks),
            macs=sum(block.costs.macs for block in self.blocks),
        )

    @cached_property
    def weights(self) -> int:
        """The stage's stored numbers."""
        return sum(block.costs.weights for block in self.blocks)


@dataclass(frozen=True, kw_only=True)
class ResidualNetwork(ImageArchitecture):
    """An image network of residual stages between a stem and a head."""

    searched_ends: ClassVar[tuple[str, ...]] = ()
    """The fields of `ENDS` that a space of the family can search."""

    @abstractmethod
    def built(self) -> list[Built]:
        """Return the stages with their blocks, from input to output."""

    @abstractmethod
    def ends(self) -> tuple[Costs[int], Costs[int]]:
        """Return the costs of stem and head."""

    @abstractmethod
    def ends_work(self) -> tuple[Work, Work]:
        """Return the operators of stem and head."""

    @abstractmethod
    def layers(self) -> int:
        """Return the number of layers with weights on the longest path, without the head."""

    def cross_check(self) -> Iterator[Problem]:
        if self.evaluation.macs > LARGEST_INTEGER:
            yield Problem("stages", "too_large", "make a network of more than 2**53 - 1 MACs")

    def evaluate(self) -> Evaluation:
        stem, head = self.ends()
        stages = self.built()
        parts = [stage.part for stage in stages]
        steps = [Step("stem", stem.peak)]
        for number, stage in enumerate(stages, start=1):
            peaks = enumerate((block.costs.peak for block in stage.blocks), start=1)
            steps += [Step(f"stage {number}, block {k}", peak) for k, peak in peaks]
        return Evaluation(
            mass=sum((part.mass for part in parts), start=Fraction(0)),
            params=stem.params + sum(part.params for part in parts) + head.params,
            macs=stem.macs + sum(part.macs for part in parts) + head.macs,
            weights=stem.weights + sum(stage.weights for stage in stages) + head.weights,
            steps=(*steps, Step("head", head.peak)),
            depth=self.layers(),
            part_name="stages",
            parts=tuple(parts),
        )

    def work(self) -> tuple[Work, ...]:
        stem, head = self.ends_work()
        parts = [stem]
        for stage in self.built():
            first, last, more = stage.blocks[0], stage.blocks[-1], len(stage.blocks) - 1
            parts += [first.work(), repeated(last.work(), more)]  # the blocks after the first are equal
        return (*parts, head)

    def smallest_normalized_map(self) -> int | None:
        return area(self.built()[-1].size)

    def space_around(self) -> JsonObject:
        stages = [encode(stage.definition) for stage in self.built()]
        return {"family": self.family, **encode(self), "stages": stages_around(stages)}

    def of_runs(self, stages: Sequence[Any]) -> tuple[Any, ...]:
        """Return stages as the family defines them, where neighbors have become one run of equal blocks."""
        return tuple(stages)

    def scaled_channels(self, channels: int, width: Fraction) -> int:
        """Return a stage's channels times a multiplier: docs/theory.md (90)."""
        return scaled_channels(channels, width)

    def scaled(self, scale: Scale) -> ResidualNetwork:
        """Return the network of other channels and numbers of blocks: docs/theory.md (90).

        Raises:
            DefinitionError: There is no such network; the problem names `width` or `depth`.
        """
        stages: list[Any] = [stage.definition for stage in self.built()]
        channels = [self.scaled_channels(stage.channels, scale.width) for stage in stages]
        repeats = [scaled_number(stage.repeats, scale.depth) for stage in stages]
        check_scaled(max(channels), max(repeats), CHANNELS[1], REPEATS[1])
        wanted = zip(stages, channels, repeats, strict=True)
        found = [replace(stage, channels=c, repeats=n) for stage, c, n in wanted]
        ends = {name: self._scaled_end(name, scale.width) for name in self._ends()} if scale.ends else {}
        changed: Mapping[str, Any] = {"stages": self.of_runs(found), **ends}
        return replace(self, **changed)

    def multiples(self, widths: tuple[Fraction, ...], depths: tuple[Fraction, ...], free: frozenset[str]) -> JsonObject:
        """Return the JSON form of the space in which each stage has any of some multipliers: docs/theory.md (90).

        Raises:
            DefinitionError: The family has no such space; the problem names `width`, `depth` or `keep`.
        """
        stem = "stem" in free
        if stem and not set(self._ends()) <= set(self.searched_ends):
            message = f"must have stem, or proportions: each {self.family} of a space has the same stem"
            raise DefinitionError.at("keep", "not_applicable", message)
        self.scaled(Scale(max(widths), max(depths)))
        ends = {name: _axis({self._scaled_end(name, width) for width in widths}) for name in self._ends() if stem}
        stages = [self._multiples_of(stage.definition, widths, depths, free) for stage in self.built()]
        return {"family": self.family, **encode(self), **ends, "stages": stages}

    def _multiples_of(
        self, stage: Any, widths: tuple[Fraction, ...], depths: tuple[Fraction, ...], free: frozenset[str]
    ) -> JsonObject:
        axes: dict[str, set[int]] = {
            "channels": {self.scaled_channels(stage.channels, width) for width in widths},
            "repeats": {scaled_number(stage.repeats, depth) for depth in depths},
        }
        if "expansion" in free and getattr(stage, "expansion", 1) > 1:
            axes["expansion"] = {*EXPANSIONS, stage.expansion}
        if "kernel" in free and hasattr(stage, "kernel"):
            axes["kernel"] = {*KERNELS}
        return encode(stage) | {name: _axis(values) for name, values in axes.items()}

    def _ends(self) -> list[str]:
        return [field.name for field in fields(self) if field.name in ENDS]

    def _scaled_end(self, name: str, width: Fraction) -> int:
        """Return the channels of an end; the last ones never fall, as torchvision has them."""
        return scaled_channels(getattr(self, name), max(width, ONE) if name == "last_channels" else width)

    def panels(self) -> tuple[Panel, ...]:
        return tuple(_panel(i, stage) for i, stage in enumerate(self.built(), start=1))


def _axis(values: set[int]) -> list[int] | int:
    ascending = sorted(values)
    return ascending if len(ascending) > 1 else ascending[0]


def _panel(number: int, stage: Built) -> Panel:
    every = (stage.entering, *(block.channels for block in stage.blocks))
    places, count = shown(len(every)), len(stage.blocks)
    channels = tuple(every[place] for place in places)
    extra = {k: v for k, v in encode(stage.definition).items() if k not in ("channels", "repeats")}
    return Panel(
        name=f"stage {number}",
        size=f"{stage.size[0]} x {stage.size[1]}",
        channels=channels,
        arcs=tuple(Arc(k, k + 1, 1.0) for k, place in enumerate(places[1:]) if stage.blocks[place - 1].shortcut),
        lines=(
            f"{channels[-1]} channels, {count} block{'s' if count > 1 else ''}",
            ", ".join(f"{name} {value}" for name, value in extra.items()),
        ),
        mass=float(sum(block.mass for block in stage.blocks)),
    )


@dataclass(frozen=True)
class StageAxes:
    """The axes of one stage, by name, in the order of the definition."""

    named: tuple[tuple[str, Axis], ...]

    def __getitem__(self, name: str) -> Axis:
        return dict(self.named)[name]

    def values(self, name: str) -> Ints:
        """Return an axis's values, (n,)."""
        return np.array(self[name].values, np.int64)


def decode_stages(
    data: object, bounds: Mapping[str, Bounds], least: int, most: int, defaults: Mapping[str, int] | None = None
) -> tuple[StageAxes, ...]:
    """Read a list of stages, each with one axis for every name in `bounds`. Raises DefinitionError.

    defaults: the values of the axes that may be left out.
    """
    if not isinstance(data, list):
        raise DefinitionError.at("", "not_a_list", "must be a list of objects")
    if not least <= len(data) <= most:
        raise DefinitionError.at("", "bad_length", f"must have {least} to {most} entries")
    stages: list[StageAxes] = []
    problems: list[Problem] = []
    for index, entry in enumerate(data):
        try:
            stages.append(_decode_stage(entry, bounds, defaults or {}))
        except DefinitionError as error:
            problems += error.under(str(index)).problems
    if problems:
        raise DefinitionError(problems)
    return tuple(stages)


def _decode_stage(data: object, bounds: Mapping[str, Bounds], defaults: Mapping[str, int]) -> StageAxes:
    if not isinstance(data, Mapping):
        raise DefinitionError.at("", "not_an_object", "must be an object")
    problems = list(unknown_fields(data, set(bounds)))
    axes: dict[str, Axis] = {}
    for name, limits in bounds.items():
        if name not in data and name not in defaults:
            problems.append(Problem(name, "required", "is required"))
            continue
        try:
            axes[name] = decode_axis(data.get(name, defaults.get(name)), limits)
        except DefinitionError as error:
            problems += error.under(name).problems
    if problems:
        raise DefinitionError(problems)
    return StageAxes(tuple(axes.items()))


def encode_stages(stages: tuple[StageAxes, ...], defaults: Mapping[str, int] | None = None) -> list[JsonObject]:
    """Write stages in the form that `decode_stages` reads; axes of a default alone are left out."""
    usual = {name: (value,) for name, value in (defaults or {}).items()}
    return [{name: axis.form for name, axis in stage.named if axis.values != usual.get(name)} for stage in stages]


def stages_schema(
    title: str,
    bounds: Mapping[str, Bounds],
    docs: Mapping[str, str],
    least: int,
    most: int,
    defaults: Mapping[str, int] | None = None,
) -> JsonObject:
    """Describe a list of stages as JSON Schema; `title` is the name of one entry's class."""
    axes = {name: single_axis_schema(*limits, docs[name], example=max(1, limits[0])) for name, limits in bounds.items()}
    return {
        "type": "array",
        "items": object_schema(title, axes, optional=tuple(defaults or ())),
        "minItems": least,
        "maxItems": most,
        "description": "Stages from input to output.",
    }
