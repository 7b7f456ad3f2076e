"""The table of costs: one row for each cost of a network, and for the limit that a budget may set on it.

All code that lists costs reads this table: budgets, objectives, fronts, figures, REST bodies, options of commands, the
client, pages, CSV columns and the reference. A package adds a row with an entry point and a function
(docs/adding-a-cost.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from nnmass_core.registry import Registry

ENTRY_POINTS = "nnmass.costs"
"""The entry point group in which an installed package registers its `Cost`."""

NANOSECONDS = 1_000_000
"""Nanoseconds of a millisecond: the engine counts whole nanoseconds, so that its sums are exact."""

KEPT_STAGES, KEPT_PARAMS = "keep_stages", "keep_params"
"""The shares of a reference that an objective can keep: spaces/kept.py."""

USUAL_KEPT = {KEPT_STAGES: 0.8, KEPT_PARAMS: 0.95}
"""What compress keeps unless asked otherwise: the shares of docs/accuracy.md."""

LEAST_MASS, MOST_MASS = "min_nn_mass", "max_nn_mass"
"""The names of the limits on NN-Mass, which is no cost."""

MOST_DENSITY = "max_density"
"""The name of the limit on the density of every cell."""

NO_COSTS = (LEAST_MASS, MOST_MASS, MOST_DENSITY)
"""The names of the limits on figures that are no costs."""

RULES = 2
"""Version of the rules by which costs are counted: it changes when an equal request may have another answer."""

INDEX_BYTES = 4
"""Bytes of one channel number of a sampled skip, at every precision."""

FIGURES = (
    "rank",
    "point",
    "arch_id",
    "nn_mass",
    "precision",
    "latency",
    "slack",
    "unused",
    "nn_mass_per_width",
    "cells",
    "stages",
    "architecture",
    "caveats",
)
"""Figures of a network that are not costs: no cost may have their names."""


RESERVED = ("params", "macs", "weights", "weight_bytes", "indices", "latency", "peak", "depth", "memory_bytes")
"""Quantities of the engine: no cost of a package may use them."""


class Counts(NamedTuple):
    """The input of a package's cost: integers of one network, or int64 arrays with one entry per network.

    params: trainable parameters. macs: multiply-accumulates for one input. weights: stored numbers. weight_bytes: their
    bytes at the precision of the budget, and those of the channel numbers of sampled skips, docs/theory.md (20).
    """

    params: Any
    macs: Any
    weights: Any
    weight_bytes: Any


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One row. A package gives name, label, meaning, example, compute, and where they apply unit and per_unit.

    Args:
        name: in JSON, of the CSV column and of objectives; the limit on it is `max_` and the name.
        label: in sentences and on pages: "params".
        meaning: a phrase that follows "Maximum": "trainable parameters".
        example: limits as a person writes them: "1200000, 1.2M".
        unit: `bytes`, `ms`, another unit, or empty for a count.
        compute: returns the elements of `Counts`. The result must be linear in them, so that the cost of a network is
            the sum over its layers, and an integer, so that sums are exact.
        per_unit: elements in one unit, where one is not enough to be exact; the cost is then a number with decimals.
        quantity: what the engine calls it, where it is not computed.
        attribute: where an evaluation has its elements.
        stored: an element is a number of an input's activations, and its unit a byte: precision and batch decide.
        timed: it is estimated for a device, and its elements are those of a `Latency`.
        together: it is the bytes of weights and of activations at their peak, in one memory.
        layers: its elements are the layers that a space counts (`Space.layers`).
        memory: the field of a device that limits it.
        objective: an objective may name it.
        summed: it is the sum over a network's layers, so that it can be limited from below too.
        named: tables of networks have a column of it only where the question names it.
        heading: of a column of tables, the label if empty.
        option: of commands, the limit if empty.
        description: of the limit in REST bodies, the meaning if empty.
    """

    name: str
    label: str
    meaning: str
    example: str
    unit: str = ""
    compute: Callable[[Counts], Any] | None = None
    per_unit: int = 1
    quantity: str = ""
    attribute: str = ""
    stored: bool = False
    timed: bool = False
    together: bool = False
    layers: bool = False
    memory: str = ""
    objective: bool = True
    summed: bool = True
    named: bool = False
    heading: str = ""
    option: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        defaults = {
            "quantity": self.name,
            "attribute": self.quantity or self.name,
            "heading": self.label,
            "option": f"--{self.limit.replace('_', '-')}",
            "description": f"{self.meaning[:1].upper()}{self.meaning[1:]}.",
        }
        for field, default in defaults.items():
            object.__setattr__(self, field, getattr(self, field) or default)

    @property
    def limit(self) -> str:
        """The name of the limit."""
        return f"max_{self.name}"

    @property
    def floor(self) -> str:
        """The name of the limit from below, which only a sum can have."""
        return f"min_{self.name}"

    @property
    def floor_option(self) -> str:
        """The option of commands for the limit from below."""
        return f"--{self.floor.replace('_', '-')}"

    @property
    def whole(self) -> bool:
        """Whether it is a whole number of units."""
        return self.per_unit == 1

    def elements(self, evaluation: Any, latency: Any, element_bytes: int) -> int | None:
        """Return a network's cost in elements, the engine's unit; None for a timed cost without a latency."""
        if self.compute is not None:
            return int(self.compute(counts_of(evaluation, element_bytes)))
        source = latency if self.timed else evaluation
        return None if source is None else int(getattr(source, self.attribute))

    def in_units(self, elements: float, element_bytes: int, batch: int = 1) -> float:
        """Convert elements to the cost's unit. Activations are those of a batch: docs/theory.md (70)."""
        return elements * self._size(element_bytes, batch) if self.whole else elements / self.per_unit

    def value(self, evaluation: Any, latency: Any, element_bytes: int, batch: int = 1) -> float | None:
        """Return a network's cost in the cost's unit; None for a timed cost without a latency."""
        if self.together:
            weights: int = counts_of(evaluation, element_bytes).weight_bytes
            activations: int = evaluation.peak_elements * element_bytes * batch
            return weights + activations
        elements = self.elements(evaluation, latency, element_bytes)
        return None if elements is None else self.in_units(elements, element_bytes, batch)

    def most_elements(self, bound: float, element_bytes: int, batch: int = 1) -> int:
        """Return the largest number of elements whose value in the cost's unit is at most `bound`."""
        if self.whole:
            return int(bound // self._size(element_bytes, batch))
        near = math.floor(bound * self.per_unit) + 1
        return next(n for n in (near, near - 1, near - 2) if self.in_units(n, element_bytes) <= bound)

    def least_elements(self, bound: float, element_bytes: int) -> int:
        """Return the smallest number of elements whose value in the cost's unit is at least `bound`."""
        if self.whole:
            return -int(-bound // self._size(element_bytes, 1))  # the peak, which a batch multiplies, has no floor
        near = math.ceil(bound * self.per_unit) - 1
        return next(n for n in (near, near + 1, near + 2) if self.in_units(n, element_bytes) >= bound)

    def _size(self, element_bytes: int, batch: int) -> int:
        return element_bytes * batch if self.stored else 1


def counts_of(figures: Any, element_bytes: int) -> Counts:
    """Return the counts of an object with `params`, `macs`, `weights` and `indices`."""
    weight_bytes = figures.weights * element_bytes + INDEX_BYTES * figures.indices
    return Counts(figures.params, figures.macs, figures.weights, weight_bytes)


def _weight_bytes(counts: Counts) -> Any:
    return counts.weight_bytes


OWN = (
    Cost(name="params", label="params", meaning="trainable parameters", example="1200000, 1.2M"),
    Cost(
        name="macs",
        label="MACs",
        meaning="multiply-accumulates per input",
        example="150M",
        description="Multiply-accumulates for one input.",
    ),
    Cost(
        name="weight_bytes",
        label="weight memory",
        meaning="weight memory",
        example="300KB (1,000 bytes), 293KiB (1,024)",
        unit="bytes",
        compute=_weight_bytes,
        memory="flash_bytes",
        heading="weights",
        description="Memory of weights at `precision` and of the channel numbers of sampled skips, in bytes.",
    ),
    Cost(
        name="peak_activation_bytes",
        label="activation memory",
        meaning="peak activation memory",
        example="320KB",
        unit="bytes",
        quantity="peak",
        attribute="peak_elements",
        stored=True,
        memory="ram_bytes",
        summed=False,
        heading="activations",
        option="--max-peak-bytes",
        description="Peak memory of live activations for `batch` inputs at `precision`, in bytes.",
    ),
    Cost(
        name="latency_ms",
        label="latency",
        meaning="latency per input",
        example="5, 5ms",
        unit="ms",
        quantity="latency",
        attribute="nanoseconds",
        per_unit=NANOSECONDS,
        timed=True,
        heading="estimated latency",
        description="Estimated latency of `batch` inputs in milliseconds. Requires `device`.",
    ),
    Cost(
        name="depth",
        label="depth",
        meaning="depth (layers on the longest path, without the head)",
        example="40",
        unit="layers",
        layers=True,
        named=True,
    ),
    Cost(
        name="memory_bytes",
        label="memory of weights and activations",
        meaning="memory of weights and activations together",
        example="512KB",
        unit="bytes",
        together=True,
        objective=False,
        summed=False,
        named=True,
        heading="memory",
        description="Memory that weights and the activations of `batch` inputs at their peak need together, in bytes.",
    ),
)
"""The costs of this package."""

SAMPLES = (
    Counts(1, 0, 0, 0),
    Counts(0, 1, 0, 0),
    Counts(0, 0, 1, 0),
    Counts(0, 0, 0, 1),
    Counts(3, 5, 7, 13),
    Counts(1009, 3, 5, 7),
    Counts(2, 2003, 5, 7),
    Counts(2, 3, 3001, 7),
    Counts(2, 3, 5, 4001),
)
"""Counts that show whether a cost is linear: odd values, and each count once as the largest."""


def _fault(cost: Cost) -> str:
    """Return what is wrong with the cost of a package; empty when nothing is."""
    if any(cost.name == row.name for row in OWN):
        return ""  # the registry refuses a second cost of a name
    faults = {
        "has the name of another figure": cost.name in FIGURES,
        "uses a quantity of the engine": bool({cost.name, cost.quantity, cost.attribute} & {*RESERVED})
        or cost.stored
        or cost.timed
        or cost.layers
        or cost.together,
        f"has the option {cost.option} of another cost": cost.option
        in {o for row in OWN for o in (row.option, row.floor_option)},
        "does not say how it is computed": cost.compute is None,
    }
    return next((fault for fault, present in faults.items() if present), "") or _fault_of_values(cost)


def _fault_of_values(cost: Cost) -> str:
    """Return what is wrong with the values that a cost of a package computes; empty when nothing is."""
    import numpy as np  # only a package's cost needs it, and each start of the command line reads this table

    assert cost.compute is not None
    try:
        values = [cost.compute(counts) for counts in SAMPLES]
        arrays = cost.compute(Counts(*(np.array(column, np.int64) for column in zip(*SAMPLES, strict=True))))
    except Exception as error:  # the function is not ours
        return f"cannot be computed: {error}"
    if not all(isinstance(value, int) for value in values) or getattr(arrays, "dtype", None) != np.int64:
        return "is not an integer"
    if any(value < 0 for value in values):
        return "is negative"
    sums = [sum(one * count for one, count in zip(values[:4], counts, strict=True)) for counts in SAMPLES]
    return "" if values == sums == arrays.tolist() else "is not the sum over a network's layers"


COSTS = Registry(
    Cost,
    ENTRY_POINTS,
    lambda cost: cost.name,
    _fault,
    OWN,
)
"""Every cost by its name."""


def costs_by_limit() -> dict[str, Cost]:
    """Return every cost by the name of the limit on it."""
    return {cost.limit: cost for cost in COSTS.values()}


def costs_by_floor() -> dict[str, Cost]:
    """Return every cost that can be limited from below, by the name of that limit."""
    return {cost.floor: cost for cost in COSTS.values() if cost.summed}


def limit_names() -> list[str]:
    """Return the names of all limits that a budget may set, in the order of its JSON form."""
    return [*costs_by_limit(), *costs_by_floor(), *NO_COSTS]


def sums() -> list[str]:
    """Return the names of the costs that are sums over the layers: those that can be maximized and spent."""
    return [cost.name for cost in COSTS.values() if cost.summed and cost.objective]


def objectives() -> list[str]:
    """Return the names of the costs that an objective may name."""
    return [cost.name for cost in COSTS.values() if cost.objective]
