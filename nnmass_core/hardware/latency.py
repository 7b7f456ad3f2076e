"""Latency of one input on a device: a model that is additive over layers, with its measured error.

A family defines the operators that its layers run (`Operators`, closed forms in the architecture's integers, like its
other costs). A device's profile defines, for each kind of operator, the time of a call, a multiply-accumulate, an
element read or written, a weight and a piece of a concatenation. The sum of the products is the latency (docs/theory.md
(32)): a sum over stages, which the exact engine accepts as a limit and as an objective. A profile fitted to networks
may add a time for each element written beyond what its device holds on the chip.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from nnmass_core.codec import (
    LARGEST_INTEGER,
    Integer,
    JsonObject,
    Nested,
    Number,
    Sequence,
    Value,
    choice,
    encode,
    integer,
    nested,
    number,
    sequence,
    sha256_of,
    specs,
    text,
)
from nnmass_core.costs import NANOSECONDS
from nnmass_core.errors import Problem, join_path

KINDS = (
    "convolution_1x1",
    "convolution_3x3",
    "convolution_7x7",
    "depthwise_3x3",
    "depthwise_5x5",
    "depthwise_7x7",
    "grouped_3x3",
    "patches",
    "linear",
    "normalise",
    "layer_norm",
    "activate",
    "add",
    "pool",
    "send",
    "concatenate",
)
"""The operators of networks; `send` selects the channels that later layers sample (skip connections)."""

LONGEST = 2.0**45
"""The most nanoseconds of a stage, ten hours: longer times are reported as this, so that sums stay exact."""

MOST_ON_CHIP = 2**40
"""The most elements that can be on a chip: times the calls of a stage they are below 2^63."""

MEASURES = ("latency", "throughput")
"""What a profile estimates: the time of one run, or the time that an image takes of many runs in batches."""

LINE = r"[^\x00-\x1f\x7f]*"


Count = Any
"""An integer, or an int64 array with one integer for each of many networks."""


class Operators(NamedTuple):
    """Operators of one kind that some layers run, in total, as integers or as arrays of them.

    Attributes:
        kind: The kind of operator, one of `KINDS`.
        calls: The number of operators.
        macs: Multiply-accumulates.
        read: Elements of activations that are read.
        written: Elements of activations that are written.
        weights: Elements of weights.
        pieces: Tensors that are cut or joined.
    """

    kind: str
    calls: Count
    macs: Count
    read: Count
    written: Count
    weights: Count
    pieces: Count

    def times(self, n: Count) -> Operators:
        """Return the operators of n such layers.

        Args:
            n: The number of layers.
        """
        return Operators(self.kind, *(n * figure for figure in self[1:]))

    def off_chip(self, on_chip: int) -> Count:
        """Return the elements written beyond those that stay on the chip: docs/theory.md (32).

        Args:
            on_chip: The elements of an output that stay there. Operators whose outputs differ count by their mean.
        """
        beyond = self.written - on_chip * self.calls
        return np.maximum(beyond, 0) if isinstance(beyond, np.ndarray) else max(beyond, 0)


Work = tuple[Operators, ...]
"""The operators of some layers, by kind."""


def convolution(kernel: int, i: Count, o: Count, before: Count, after: Count) -> Operators:
    """Return a convolution from i to o channels.

    Args:
        kernel: Height and width of the square kernel: 1, 3 or 7, as in `KINDS`.
        i: The channels of the input.
        o: The channels of the output.
        before: The positions (height x width) of an input map.
        after: The positions of an output map.
    """
    weights = kernel * kernel * i * o
    zero = 0 * weights
    return Operators(f"convolution_{kernel}x{kernel}", zero + 1, weights * after, i * before, o * after, weights, zero)


def depthwise(h: Count, before: Count, after: Count, kernel: int = 3) -> Operators:
    """Return a depthwise convolution of h channels.

    Args:
        h: The channels of input and output.
        before: The positions (height x width) of an input map.
        after: The positions of an output map.
        kernel: Height and width of the square kernel: 3, 5 or 7, as in `KINDS`.
    """
    weights = kernel * kernel * h
    kind = f"depthwise_{kernel}x{kernel}"
    return Operators(kind, 0 * h + 1, weights * after, h * before, h * after, weights, 0 * h)


def grouped(h: Count, groups: int, before: Count, after: Count) -> Operators:
    """Return a 3x3 convolution of h channels in groups.

    Args:
        h: The channels of input and output.
        groups: The number of groups; with 1 it is an ordinary convolution.
        before: The positions (height x width) of an input map.
        after: The positions of an output map.
    """
    if groups == 1:
        return convolution(3, h, h, before, after)
    weights = 9 * h * (h // groups)
    return Operators("grouped_3x3", 0 * h + 1, weights * after, h * before, h * after, weights, 0 * h)


def patches(kernel: int, i: Count, o: Count, before: Count, after: Count) -> Operators:
    """Return a convolution from i to o channels whose stride is its kernel: it reads each position once.

    Args:
        kernel: Height, width and stride of the kernel, 2 or more.
        i: The channels of the input.
        o: The channels of the output.
        before: The positions (height x width) of an input map.
        after: The positions of an output map.
    """
    return convolution(kernel, i, o, before, after)._replace(kind="patches")


def linear(i: Count, o: Count) -> Operators:
    """Return a Linear layer from i to o numbers.

    Args:
        i: The numbers of the input.
        o: The numbers of the output.
    """
    return Operators("linear", 0 * (i * o) + 1, i * o, i + 0 * o, o + 0 * i, i * o, 0 * (i * o))


def elementwise(kind: str, elements: Count, calls: Count) -> Operators:
    """Return calls of `normalise`, `layer_norm`, `activate` or `add`.

    Args:
        kind: `normalise` for BatchNorm, `layer_norm`, `activate`, or `add`, which stands for the scaling of maps too.
        elements: The elements that all calls write in total.
        calls: The number of calls.
    """
    zero = 0 * (elements + calls)
    return Operators(kind, calls + zero, zero, elements + zero, elements + zero, zero, zero)


def pool(read: Count, written: Count) -> Operators:
    """Return one pooling.

    Args:
        read: The elements that it reads.
        written: The elements that it writes.
    """
    zero = 0 * (read + written)
    return Operators("pool", zero + 1, zero, read + zero, written + zero, zero, zero)


@dataclass(frozen=True, kw_only=True)
class OperatorTime(Value):
    """The time of an operator of one kind, in nanoseconds: per call, and per unit of each quantity.

    `off_chip` comes on top of `written`, for elements of an output beyond the model's `on_chip_elements`.
    """

    kind: str = choice(KINDS, "Kind of operator.")
    call: float = number(0, 1e15, "Time of a call in nanoseconds.", example=21000.0)
    mac: float = number(0, 1e9, "Time of a multiply-accumulate in nanoseconds.", default=0.0, example=0.02)
    read: float = number(0, 1e9, "Time of an element read, in nanoseconds.", default=0.0, example=0.1)
    written: float = number(0, 1e9, "Time of an element written, in nanoseconds.", default=0.0, example=0.2)
    weight: float = number(0, 1e9, "Time of an element of the weights, in nanoseconds.", default=0.0, example=0.1)
    piece: float = number(
        0, 1e12, "Time of a tensor split off or concatenated, in nanoseconds.", default=0.0, example=900.0
    )
    off_chip: float = number(
        *(0, 1e9, "More time of an element written beyond `on_chip_elements`, in nanoseconds."),
        default=0.0,
        example=0.1,
        added=True,
    )

    @property
    def prices(self) -> tuple[float, ...]:
        """The times in the order of the fields of `Operators`."""
        return (self.call, self.mac, self.read, self.written, self.weight, self.piece)


@dataclass(frozen=True, kw_only=True)
class HeldOut(Value):
    """The errors of the model's estimates for networks that it was not fitted on, compared with measurements.

    Errors and band are fractions: the band covers measurements from `band_low` to `band_high` times the estimate.
    """

    networks: int = integer(1, 1_000_000, "Number of measured networks.", example=12)
    families: int = integer(1, 1_000, "Number of their families.", example=3)
    median_error: float = number(0, 1e6, "Median of |estimated / measured - 1|.", example=0.08)
    band_low: float = number(0, 1, "Lowest measured / estimated to expect.", example=0.8)
    band_high: float = number(1, 1e6, "Highest measured / estimated to expect.", example=1.3)
    coverage: float = number(0, 1, "Probability that one more similar network lies in the band.", example=0.9)


@dataclass(frozen=True, kw_only=True)
class TimedField(Value):
    """The range of a number in the definitions of timed networks; of a list, that of its length."""

    field: str = text(200, LINE, "Path of the field, without places in lists.", example="stages.kernel")
    least: float = number(0, LARGEST_INTEGER, "Least value.", example=3.0)
    greatest: float = number(0, LARGEST_INTEGER, "Greatest value.", example=5.0)


@dataclass(frozen=True, kw_only=True)
class TimedFamily(Value):
    """The networks of one family that a profile was fitted to: how many, and the ranges of their fields."""

    family: str = text(100, LINE, "Family of the networks.", example="mobilenet_v2")
    networks: int = integer(1, 1_000_000, "Number of networks.", example=50)
    fields: tuple[TimedField, ...] = sequence(TimedField, 0, 200, "Ranges of the numbers in their definitions.")

    def outside(self, network: Value) -> tuple[str, ...]:
        """Return the fields of a network of this family that are outside their range, in order.

        Args:
            network: The definition. A field without a range is outside.
        """
        ranges = {each.field: (each.least, each.greatest) for each in self.fields}
        nowhere = (math.inf, -math.inf)
        fields = ((field, *ranges.get(field, nowhere), value) for field, value in numbers_of(network))
        return tuple(dict.fromkeys(field for field, least, greatest, value in fields if not least <= value <= greatest))


def numbers_of(definition: Value, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield the path, without places in lists, and the value of every number in a definition; of a list its length.

    Args:
        definition: A network, or a part of one.
        path: The path of the part.
    """
    for name, spec in specs(type(definition)):
        value, place = getattr(definition, name), join_path(path, name)
        match spec:
            case Integer() | Number():
                yield place, float(value)
            case Nested():
                yield from numbers_of(value, place)
            case Sequence():
                yield place, float(len(value))
                for part in value:
                    yield from numbers_of(part, place)


@dataclass(frozen=True, kw_only=True)
class LatencyModel(Value):
    """The times of operators on one device with one runtime, and how well they predict the latency of networks.

    Args:
        runtime: The runtime of the networks, such as `torch 2.14.1`, at most 200 characters.
        machine: The machine, as the operating system names it, at most 200 characters.
        threads: Threads for one input, 1 to 4,096.
        precision: The numeric precision: `fp32`, `fp16` or `int8`.
        operators: The times of operators, each kind once.
        held_out: The error on networks that were not fitted.
        measure: What the milliseconds are: `latency`, of one run, or `throughput`, 1,000 by the images of a second.
        batch: Images of a run.
        fitted_to: The networks whose measured times were fitted, by family; empty where operators were timed.
        on_chip_elements: The elements of an operator's output that take no `off_chip` time.

    Raises:
        DefinitionError: A field is wrong; each problem names its field.
    """

    runtime: str = text(200, LINE, "Runtime of the networks: torch 2.14.1.", example="torch 2.14.1")
    machine: str = text(200, LINE, "Machine, as the operating system names it.", default="", example="x86_64")
    threads: int = integer(1, 4096, "Threads for one input.", example=4)
    precision: str = choice(("fp32", "fp16", "int8"), "Numeric precision.", default="fp32")
    operators: tuple[OperatorTime, ...] = sequence(OperatorTime, 1, len(KINDS), "Times of operators, each kind once.")
    held_out: HeldOut = nested(HeldOut, "Error on networks that were not fitted.")  # noqa: RUF009 - fields say so by a call
    measure: str = choice(
        MEASURES, "What the milliseconds are: of one run, or 1,000 by the images of a second.", MEASURES[0], added=True
    )
    batch: int = integer(1, 1_000_000, "Images of a run.", 1, added=True)
    fitted_to: tuple[TimedFamily, ...] = sequence(
        TimedFamily, 0, 100, "Networks whose times were fitted; empty where operators were timed.", (), added=True
    )
    on_chip_elements: int = integer(
        *(0, MOST_ON_CHIP, "Elements of an operator's output that take no `off_chip` time.", 0),
        example=262_144,
        added=True,
    )

    def cross_check(self) -> Iterator[Problem]:
        """Yield problems between fields that are each valid."""
        if len({operator.kind for operator in self.operators}) < len(self.operators):
            yield Problem("operators", "repeated", "contains a kind of operator twice")
        if len(self._families) < len(self.fitted_to):
            yield Problem("fitted_to", "repeated", "contains a family twice")

    @cached_property
    def prices(self) -> dict[str, tuple[float, ...]]:
        """The times of each kind, in the order of the fields of `Operators`."""
        return {operator.kind: operator.prices for operator in self.operators}

    @cached_property
    def _off_chip(self) -> dict[str, float]:
        """The times of the kinds that take one beyond the elements on the chip."""
        return {operator.kind: operator.off_chip for operator in self.operators if operator.off_chip}

    @cached_property
    def digest(self) -> str:
        """A hash of the JSON form."""
        return sha256_of(encode(self))

    @cached_property
    def _families(self) -> dict[str, TimedFamily]:
        return {each.family: each for each in self.fitted_to}

    def covers(self, family: str) -> bool:
        """Return whether the profile is one for networks of a family: operators were timed, or such networks were.

        Args:
            family: The name of the family.
        """
        return not self.fitted_to or family in self._families

    def outside(self, family: str, network: Value) -> tuple[str, ...]:
        """Return the fields of a network that are outside the range of the timed ones; none where operators were timed.

        Args:
            family: The name of its family, which the profile must cover.
            network: Its definition.
        """
        return self._families[family].outside(network) if self.fitted_to else ()

    def lacks(self, work: Iterable[Work]) -> list[str]:
        """Return the kinds of operators in some work for which the profile has no time.

        Args:
            work: The operators, stage by stage, as `Architecture.work` returns them.

        Returns:
            The kinds in alphabetical order.
        """
        return sorted({operators.kind for part in work for operators in part} - self.prices.keys())

    def nanoseconds(self, work: Work) -> Any:
        """Return the time of some layers in nanoseconds, rounded: an integer, or an int64 array if the work is one.

        Args:
            work: The operators of the layers. The profile must have a time for every kind of operator in the work: see
                `lacks`.

        Raises:
            KeyError: The profile has no time for a kind of operator.
        """
        products = (p * n for each in work for p, n in zip(self.prices[each.kind], each[1:], strict=True))
        total: Any = sum(products, 0.0)
        beyond = ((self._off_chip[each.kind], each) for each in work if each.kind in self._off_chip)
        total = sum((price * each.off_chip(self.on_chip_elements) for price, each in beyond), total)
        if isinstance(total, np.ndarray):
            return np.rint(np.minimum(total, LONGEST)).astype(np.int64)
        return round(min(total, LONGEST))


@dataclass(frozen=True)
class Latency:
    """The estimated time of a run of `model`, and the band of `model` for a measurement: docs/theory.md (34).

    outside: the network's fields that are outside the range of the networks that `model` was fitted to.
    """

    device: str
    nanoseconds: int
    model: LatencyModel
    outside: tuple[str, ...] = ()

    @property
    def milliseconds(self) -> float:
        """The estimate in milliseconds."""
        return self.nanoseconds / NANOSECONDS

    def to_json(self) -> JsonObject:
        """Write the fields that accompany the estimate as JSON-ready objects; the band in milliseconds."""
        held_out = self.model.held_out
        fitted: JsonObject = {"measure": self.model.measure, "batch": self.model.batch, "outside": list(self.outside)}
        return {
            "kind": "estimated",
            "device": self.device,
            "low_ms": self.milliseconds * held_out.band_low,
            "high_ms": self.milliseconds * held_out.band_high,
            "median_error": held_out.median_error,
            **(fitted if self.model.fitted_to else {}),
        }


def estimate(model: LatencyModel, device: str, work: Iterable[Work], outside: tuple[str, ...] = ()) -> Latency:
    """Return the latency of a network whose stages run this work, each rounded as in the engine's tables.

    outside: the network's fields that are outside the range of the profile.
    """
    return Latency(device, sum(model.nanoseconds(part) for part in work), model, outside)


def greatest(latencies: Iterable[Latency]) -> Latency | None:
    """Return the greatest of a network's latencies on several devices; None where there are none."""
    return max(latencies, key=lambda one: one.nanoseconds, default=None)
