"""A hardware budget and the limits that follow from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from nnmass_core.architecture import BYTES_PER_ELEMENT, Evaluation
from nnmass_core.codec import LARGEST_INTEGER, JsonObject, check_integer, unknown_fields
from nnmass_core.costs import Cost, costs_by_limit
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.hardware.devices import USUAL_PRECISION, Device, read_device
from nnmass_core.hardware.latency import Latency, LatencyModel

LARGEST_NUMBER = 1e9
"""The largest bound of a limit with decimals."""


@dataclass(frozen=True)
class Limit:
    """One hard limit.

    Args:
        cost: The limited cost.
        bound: The most units of the cost, inclusive.
        element_bytes: Bytes of a stored number.
    """

    cost: Cost
    bound: float
    element_bytes: int

    @property
    def name(self) -> str:
        """The limit's name in a budget."""
        return self.cost.limit

    @property
    def elements(self) -> int:
        """The bound in elements, the engine's unit."""
        return self.cost.most_elements(self.bound, self.element_bytes)

    @property
    def step(self) -> Fraction | None:
        """One element of the cost as a fraction of the bound, exactly; None for a bound of 0."""
        whole = self.cost.whole
        unit = Fraction(self.cost.in_units(1, self.element_bytes)) if whole else Fraction(1, self.cost.per_unit)
        return unit / Fraction(self.bound) if self.bound else None

    def raised(self, factor: Fraction) -> float:
        """Return the bound times a factor: rounded down where the cost is a whole number, else to the nearest double.

        A network with at most `factor` times the bound keeps the result, because rounding preserves order.

        Args:
            factor: The factor, exactly.
        """
        bound = Fraction(self.bound) * factor
        return min(int(bound), LARGEST_INTEGER) if self.cost.whole else float(bound)

    def used(self, evaluation: Evaluation, latency: Latency | None = None) -> float:
        """Return what an architecture takes of the limit, in the limit's unit.

        Args:
            evaluation: The figures of the architecture.
            latency: The latency of the architecture, which a limit on a timed cost needs; without it that cost counts
                as 0.
        """
        return self.cost.value(evaluation, latency, self.element_bytes) or 0

    def slack(self, evaluation: Evaluation, latency: Latency | None = None) -> float:
        """Return an architecture's distance to the limit, in the limit's unit; negative when it exceeds the limit.

        Args:
            evaluation: The figures of the architecture.
            latency: The latency of the architecture, as for `used`.
        """
        return self.bound - self.used(evaluation, latency)


@dataclass(frozen=True, init=False)
class Budget:
    """The limits of the hardware, all of them hard. Bytes are those of `precision`.

    Args:
        precision: `fp32`, `fp16` or `int8`; None for the default of the device (`Device.default_precision`: int8 for a
            microcontroller), and fp32 without a device.
        device: A device, a profile, or a known device's name. Its memory limits apply in addition to the others; where
            two limit the same quantity, the lower one applies.
        bounds: Limits by their names: one for each row of the table of costs (`nnmass_core.costs`); None sets no limit.
            A limit on latency is for one input, batch 1, as the device's profile estimates it.

    Raises:
        DefinitionError: A limit, the precision or the device is wrong, or a limit on latency is given without a device
            that has a latency profile at this precision; each problem names its field.
    """

    bounds: tuple[tuple[str, float], ...]
    precision: str
    device: Device | None

    def __init__(
        self,
        *,
        precision: str | None = None,
        device: Device | str | Mapping[str, Any] | None = None,
        **bounds: float | None,
    ) -> None:
        costs = costs_by_limit()
        given = {name: bound for name in costs if (bound := bounds.get(name)) is not None}
        problems = list(unknown_fields(bounds, set(costs)))
        problems += [problem for name, bound in given.items() for problem in _wrong(costs[name], bound)]
        if precision is not None and precision not in tuple(BYTES_PER_ELEMENT):
            problems.append(Problem("precision", "unknown_choice", f"must be one of {', '.join(BYTES_PER_ELEMENT)}"))
        known: Device | None = None
        try:
            known = None if device is None else read_device(device)
        except DefinitionError as error:
            problems += error.under("device").problems
        usual = USUAL_PRECISION if known is None else known.default_precision
        object.__setattr__(self, "precision", usual if precision is None else precision)
        object.__setattr__(self, "device", known)
        if not problems:
            problems = [problem for name in given if costs[name].timed for problem in self._untimed(name)]
        if problems:
            raise DefinitionError(problems)
        exact = {name: bound if costs[name].whole else float(bound) for name, bound in given.items()}
        object.__setattr__(self, "bounds", tuple(exact.items()))

    def _untimed(self, limit: str) -> Iterator[Problem]:
        if self.device is None or self.device.latency is None:
            yield Problem(limit, "needs_device", "requires a device with a latency profile")
        elif self.latency_model is None:
            message = f"must be {self.device.latency.precision}, the precision of the device's latency profile"
            yield Problem("precision", "conflicts_with_device", message)

    @property
    def latency_model(self) -> LatencyModel | None:
        """The times of the device's operators at the budget's precision, where its profile has them."""
        model = None if self.device is None else self.device.latency
        return model if model is not None and model.precision == self.precision else None

    @property
    def element_bytes(self) -> int:
        """Bytes of one number at the budget's precision."""
        return BYTES_PER_ELEMENT[self.precision]

    def limits(self) -> tuple[Limit, ...]:
        """Return the limits that are set, including those of the device."""
        bounds = dict(self.bounds)
        for name, bound in ({} if self.device is None else self.device.limits()).items():
            bounds[name] = min(bound, bounds.get(name, bound))
        costs = costs_by_limit().items()
        return tuple(Limit(cost, bounds[name], self.element_bytes) for name, cost in costs if name in bounds)

    def to_json(self) -> JsonObject:
        """Write the budget as JSON-ready objects, unset limits left out."""
        device = {} if self.device is None else {"device": self.device.named()}
        return {**dict(self.bounds), "precision": self.precision, **device}


def _wrong(cost: Cost, bound: float) -> Iterator[Problem]:
    """Yield the problems of a limit's bound."""
    if cost.whole:
        yield from check_integer(bound, 0, LARGEST_INTEGER, cost.limit)
    elif isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 < bound <= LARGEST_NUMBER:
        message = f"must be a number above 0 and at most {LARGEST_NUMBER:g}"
        yield Problem(cost.limit, "out_of_range", message)
