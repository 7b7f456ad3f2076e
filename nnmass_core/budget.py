"""A hardware budget and the limits that follow from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from nnmass_core.architecture import BYTES_PER_ELEMENT, Evaluation
from nnmass_core.codec import LARGEST_INTEGER, JsonObject, as_integer, check_integer, unknown_fields
from nnmass_core.costs import (
    COSTS,
    LEAST_MASS,
    MOST_DENSITY,
    MOST_MASS,
    Cost,
    costs_by_floor,
    costs_by_limit,
    limit_names,
)
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.hardware.devices import USUAL_PRECISION, Device, read_device
from nnmass_core.hardware.latency import Latency, LatencyModel

LARGEST_NUMBER = 1e9
"""The largest bound of a limit with decimals."""

MOST_DEVICES = 8
"""The most devices of a budget."""

MOST_BATCH = 65_536
"""The most inputs of a batch."""

LARGEST_MASS = 1e15
"""The largest bound of a limit on NN-Mass."""


def least_mass_of(bound: float) -> Fraction:
    """Return the NN-Mass that a lower limit requires, exactly: docs/theory.md (50).

    A double stands for every rational that rounds to it or to more: down to halfway to the double before it.

    Args:
        bound: The limit, at least 0.
    """
    bound = float(bound)
    return max(Fraction(0), (Fraction(bound) + Fraction(math.nextafter(bound, -math.inf))) / 2)


def most_mass_of(bound: float) -> Fraction:
    """Return the NN-Mass that an upper limit allows, exactly: up to halfway to the double after it, (50).

    Args:
        bound: The limit, at least 0.
    """
    bound = float(bound)
    return (Fraction(bound) + Fraction(math.nextafter(bound, math.inf))) / 2


def quantities_of(cost: Cost, devices: int) -> tuple[str, ...]:
    """Return the engine's quantities of a cost: that of the first device has the cost's own name.

    Args:
        cost: The cost.
        devices: On how many devices it is estimated.
    """
    return (cost.quantity, *(f"{cost.quantity}:{number}" for number in range(1, devices)))


@dataclass(frozen=True)
class CostLimit:
    """One hard limit on a cost, from above or below.

    Args:
        cost: The limited cost.
        bound: The units of the cost, inclusive.
        element_bytes: Bytes of a stored number.
        devices: On how many devices the cost is estimated, each of which must keep the limit: 1 where it is not timed.
        batch: The inputs whose activations are in memory together.
    """

    cost: Cost
    bound: float
    element_bytes: int
    devices: int = 1
    batch: int = 1

    @property
    def quantities(self) -> tuple[str, ...]:
        """The engine's quantities that have the limit: one for each device."""
        return quantities_of(self.cost, self.devices)

    def used(self, evaluation: Evaluation, latency: Latency | None = None) -> float:
        """Return what an architecture takes of the limit, in the limit's unit.

        Args:
            evaluation: The figures of the architecture.
            latency: The latency of the architecture, which a limit on a timed cost needs, on several devices the
                greatest; without it that cost counts as 0.
        """
        return self.cost.value(evaluation, latency, self.element_bytes, self.batch) or 0


class Limit(CostLimit):
    """One hard limit from above on a cost."""

    @property
    def name(self) -> str:
        """The limit's name in a budget."""
        return self.cost.limit

    @property
    def elements(self) -> int:
        """The bound in elements, the engine's unit."""
        return self.cost.most_elements(self.bound, self.element_bytes, self.batch)

    @property
    def step(self) -> Fraction | None:
        """One element of the cost as a fraction of the bound, exactly; None for a bound of 0."""
        whole = self.cost.whole
        size = self.cost.in_units(1, self.element_bytes, self.batch)
        unit = Fraction(size) if whole else Fraction(1, self.cost.per_unit)
        return unit / Fraction(self.bound) if self.bound else None

    def raised(self, factor: Fraction) -> float:
        """Return the bound times a factor: rounded down where the cost is a whole number, else to the nearest double.

        A network with at most `factor` times the bound keeps the result, because rounding preserves order.

        Args:
            factor: The factor, exactly.
        """
        bound = Fraction(self.bound) * factor
        return min(int(bound), LARGEST_INTEGER) if self.cost.whole else float(bound)

    def slack(self, evaluation: Evaluation, latency: Latency | None = None) -> float:
        """Return an architecture's distance to the limit, in the limit's unit; negative when it exceeds the limit.

        Args:
            evaluation: The figures of the architecture.
            latency: The latency of the architecture, as for `used`.
        """
        return self.bound - self.used(evaluation, latency)


class Floor(CostLimit):
    """One hard limit from below on a cost that is a sum over the layers."""

    @property
    def name(self) -> str:
        """The limit's name in a budget."""
        return self.cost.floor

    @property
    def elements(self) -> int:
        """The bound in elements, the engine's unit."""
        return self.cost.least_elements(self.bound, self.element_bytes)

    def slack(self, evaluation: Evaluation, latency: Latency | None = None) -> float:
        """Return what an architecture has above the floor, in the limit's unit; negative when it is below.

        Args:
            evaluation: The figures of the architecture.
            latency: The latency of the architecture, which a floor on a timed cost needs.
        """
        return self.used(evaluation, latency) - self.bound


@dataclass(frozen=True)
class MassLimit:
    """One hard limit on NN-Mass.

    Args:
        name: `min_nn_mass` or `max_nn_mass`.
        bound: The NN-Mass, inclusive.
    """

    name: str
    bound: float

    @property
    def lower(self) -> bool:
        """Whether it is the least NN-Mass, not the greatest."""
        return self.name == LEAST_MASS

    @property
    def mass(self) -> Fraction:
        """The bound, exactly: docs/theory.md (50)."""
        return least_mass_of(self.bound) if self.lower else most_mass_of(self.bound)

    def slack(self, evaluation: Evaluation, latency: Latency | None = None) -> float:
        """Return an architecture's distance to the limit; negative when its NN-Mass is outside.

        Args:
            evaluation: The figures of the architecture.
            latency: Is not used; it is there because other limits need it.
        """
        above = float(evaluation.mass) - self.bound
        return above if self.lower else -above


@dataclass(frozen=True)
class DensityLimit:
    """The hard limit on the density of every cell.

    Args:
        bound: The density, inclusive, from 0 to 1.
    """

    bound: float

    @property
    def name(self) -> str:
        """The limit's name in a budget."""
        return MOST_DENSITY

    @property
    def density(self) -> Fraction:
        """The bound, exactly: up to halfway to the double after it, as for NN-Mass, docs/theory.md (54)."""
        return most_mass_of(self.bound)

    def slack(self, evaluation: Evaluation, latency: Latency | None = None) -> float:
        """Return the distance of an architecture's densest cell to the limit; negative when it is denser.

        Args:
            evaluation: The figures of the architecture.
            latency: Is not used; it is there because other limits need it.
        """
        densities = [part.density for part in evaluation.parts if part.density is not None]
        return self.bound - float(max(densities, default=Fraction(0)))


AnyLimit = Limit | Floor | MassLimit | DensityLimit
"""What a budget may set: an upper limit on a cost, a lower one, a limit on NN-Mass, or one on density."""


def unused_of(limits: Iterable[object], slack: Mapping[str, float]) -> dict[str, float]:
    """Return the share of each upper limit that a network leaves unused, by the limit's name.

    Args:
        limits: The limits of a search; those from below have no share.
        slack: The distance of the network to each of them, by its name.

    Returns:
        Shares from 0 to 1. Of a limit of 0 nothing is unused.
    """
    upper = (one for one in limits if isinstance(one, Limit | MassLimit | DensityLimit))
    return {
        one.name: slack[one.name] / one.bound if one.bound else 0.0
        for one in upper
        if not isinstance(one, MassLimit) or not one.lower
    }


def check_batch(batch: int, precision: str, evaluations: Iterable[Evaluation]) -> None:
    """Check a batch for which networks are evaluated.

    Args:
        batch: How many inputs run at a time.
        precision: The precision at which bytes are counted.
        evaluations: The figures of the networks.

    Raises:
        DefinitionError: The batch is out of range, or a network has too many bytes to be exact for it.
    """
    problems = list(check_integer(batch, 1, MOST_BATCH, "batch"))
    if not problems and batch > 1:
        cost, size = COSTS["memory_bytes"], BYTES_PER_ELEMENT[precision]
        if any((cost.value(one, None, size, batch) or 0) > LARGEST_INTEGER for one in evaluations):
            message = "makes more than 2**53 - 1 bytes of memory for one of the networks"
            problems.append(Problem("batch", "too_large", message))
    if problems:
        raise DefinitionError(problems)


@dataclass(frozen=True, init=False)
class Budget:
    """The limits of the hardware, all of them hard. Bytes are those of `precision`.

    Args:
        precision: `fp32`, `fp16` or `int8`; None for the default of the device (`Device.default_precision`: int8 for a
            microcontroller), and fp32 without a device.
        device: A device, a profile, or a known device's name. Its memory limits apply in addition to the others; where
            two limit the same quantity, the lower one applies.
        devices: Several of these in place of one, at most 8: networks must fit each of them, and a limit on latency
            holds on each that has times of operators at this precision. The default precision is the one of least bytes
            of theirs.
        batch: How many inputs run at a time, 1 to 65,536: their activations are in memory together, and a latency is
            theirs, from a profile that was measured with as many.
        bounds: Limits by their names: `max_` and the name of a cost for each row of the table of costs
            (`nnmass_core.costs`), `min_` and its name for each that is a sum, `min_nn_mass` and `max_nn_mass`, and
            `max_density` for every cell; None sets no limit.

    Raises:
        DefinitionError: A limit, the precision or the device is wrong, or a lower limit is above the upper one on the
            same quantity, or a limit on latency is given without a device that has a latency profile at this precision;
            each problem names its field.
    """

    bounds: tuple[tuple[str, float], ...]
    precision: str
    devices: tuple[Device, ...]
    batch: int

    def __init__(
        self,
        *,
        precision: str | None = None,
        device: Device | str | Mapping[str, Any] | None = None,
        devices: Sequence[Device | str | Mapping[str, Any]] | None = None,
        batch: int | None = None,
        **bounds: float | None,
    ) -> None:
        costs = costs_by_limit() | costs_by_floor()
        asked = {name: bound for name in limit_names() if (bound := bounds.get(name)) is not None}
        whole = {name for name, cost in costs.items() if cost.whole}
        given = {name: _as_whole(bound) if name in whole else bound for name, bound in asked.items()}
        problems = list(unknown_fields(bounds, set(limit_names())))
        problems += [problem for name, bound in given.items() for problem in _wrong(name, costs.get(name), bound)]
        if precision is not None and precision not in tuple(BYTES_PER_ELEMENT):
            problems.append(Problem("precision", "unknown_choice", f"must be one of {', '.join(BYTES_PER_ELEMENT)}"))
        inputs = 1 if batch is None else as_integer(batch)
        problems += check_integer(inputs, 1, MOST_BATCH, "batch")
        known: tuple[Device, ...] = ()
        try:
            known = _read_devices(device, devices)
        except DefinitionError as error:
            problems += error.problems
        usual = min(
            (one.default_precision for one in known), key=BYTES_PER_ELEMENT.__getitem__, default=USUAL_PRECISION
        )
        object.__setattr__(self, "precision", usual if precision is None else precision)
        object.__setattr__(self, "devices", known)
        object.__setattr__(self, "batch", inputs)
        if not problems:
            timed = [name for name in given if name in costs and costs[name].timed]
            problems = [problem for name in timed for problem in self._untimed(name)]
        if problems:
            raise DefinitionError(problems)
        exact = {name: bound if name in whole else float(bound) for name, bound in given.items()}
        object.__setattr__(self, "bounds", tuple(exact.items()))
        if crossed := list(self._crossed()):
            raise DefinitionError(crossed)

    def _crossed(self) -> Iterator[Problem]:
        """Yield a problem for each lower limit that is above the upper limit on the same quantity."""
        most = {limit.cost.floor: limit for limit in self.limits()}
        for name, bound in self.bounds:
            if name in most and bound > most[name].bound:
                yield _above(name, most[name].name, most[name].bound)
        masses = {limit.name: limit.bound for limit in self.mass_limits()}
        if masses.get(LEAST_MASS, 0.0) > masses.get(MOST_MASS, math.inf):
            yield _above(LEAST_MASS, MOST_MASS, masses[MOST_MASS])

    def _untimed(self, limit: str) -> Iterator[Problem]:
        models = [device.latency for device in self.devices if device.latency is not None]
        if not models:
            yield Problem(limit, "needs_device", "requires a device with a latency profile")
        elif not self.timed_devices():
            differs = "batch" if any(model.precision == self.precision for model in models) else "precision"
            message = f"must be {getattr(models[0], differs)}, the {differs} of the device's latency profile"
            yield Problem(differs, "conflicts_with_device", message)

    @property
    def device(self) -> Device | None:
        """The device of a budget that has one; None for none and for several."""
        return self.devices[0] if len(self.devices) == 1 else None

    def timed_devices(self) -> tuple[tuple[Device, LatencyModel], ...]:
        """Return the devices that have times of operators at the budget's precision and batch, with these.

        A budget of single inputs takes a profile as it is, of whichever batch: docs/theory.md (70).
        """
        timed = ((device, device.latency) for device in self.devices)
        return tuple(
            (device, model)
            for device, model in timed
            if model and model.precision == self.precision and self.batch in (1, model.batch)
        )

    @property
    def element_bytes(self) -> int:
        """Bytes of one number at the budget's precision."""
        return BYTES_PER_ELEMENT[self.precision]

    def limits(self) -> tuple[Limit, ...]:
        """Return the upper limits on costs that are set, including those of the device."""
        bounds = dict(self.bounds)
        for name, bound in (limit for device in self.devices for limit in device.limits().items()):
            bounds[name] = min(bound, bounds.get(name, bound))
        costs = costs_by_limit().items()
        return tuple(
            Limit(cost, bounds[name], self.element_bytes, len(self.timed_devices()) if cost.timed else 1, self.batch)
            for name, cost in costs
            if name in bounds
        )

    def floors(self) -> tuple[Floor, ...]:
        """Return the lower limits on costs that are set."""
        bounds, costs = dict(self.bounds), costs_by_floor().items()
        return tuple(Floor(cost, bounds[name], self.element_bytes) for name, cost in costs if name in bounds)

    def mass_limits(self) -> tuple[MassLimit, ...]:
        """Return the limits on NN-Mass that are set."""
        return tuple(MassLimit(name, bound) for name, bound in self.bounds if name in (LEAST_MASS, MOST_MASS))

    def density_limits(self) -> tuple[DensityLimit, ...]:
        """Return the limit on density if it is set."""
        return tuple(DensityLimit(bound) for name, bound in self.bounds if name == MOST_DENSITY)

    def all_limits(self) -> tuple[AnyLimit, ...]:
        """Return every limit that is set: upper limits on costs, with those of the device, floors, NN-Mass, density."""
        return (*self.limits(), *self.floors(), *self.mass_limits(), *self.density_limits())

    def to_json(self) -> JsonObject:
        """Write the budget as JSON-ready objects, unset limits left out."""
        named = [device.named() for device in self.devices]
        devices: JsonObject = {"device": named[0]} if len(named) == 1 else {"devices": named} if named else {}
        batch: JsonObject = {} if self.batch == 1 else {"batch": self.batch}
        return {**dict(self.bounds), "precision": self.precision, **batch, **devices}


def _read_devices(device: object, devices: object) -> tuple[Device, ...]:
    """Return the devices of a budget. Raises DefinitionError that names the field, as `devices.1`."""
    if devices is None:
        try:
            return () if device is None else (read_device(device),)
        except DefinitionError as error:
            raise error.under("device") from error
    if device is not None:
        raise DefinitionError.at("devices", "conflicts_with_device", "give either device or devices")
    if not isinstance(devices, list | tuple):
        raise DefinitionError.at("devices", "not_a_list", "must be a list of devices")
    if len(devices) > MOST_DEVICES:
        raise DefinitionError.at("devices", "bad_length", f"must have at most {MOST_DEVICES} entries")
    known: list[Device] = []
    problems: list[Problem] = []
    for place, one in enumerate(devices):
        try:
            known.append(read_device(one))
        except DefinitionError as error:
            problems += error.under(f"devices.{place}").problems
    names = [one.name for one in known]
    if len(set(names)) < len(names):
        problems.append(Problem("devices", "duplicate", "must have different names"))
    if problems:
        raise DefinitionError(problems)
    return tuple(known)


def _as_whole(bound: float) -> float:
    """Return 1e6 as an integer, and anything else unchanged."""
    number = as_integer(bound)
    return number if isinstance(number, int) else bound


def _wrong(name: str, cost: Cost | None, bound: float) -> Iterator[Problem]:
    """Yield the problems of a limit's bound; without a cost it is a limit on NN-Mass or on density."""
    number = isinstance(bound, int | float) and not isinstance(bound, bool)
    if name == MOST_DENSITY:
        if not number or not 0 <= bound <= 1:
            yield Problem(name, "out_of_range", "must be a number from 0 to 1")
    elif cost is None:
        if not number or not 0 <= bound <= LARGEST_MASS:
            yield Problem(name, "out_of_range", f"must be a number from 0 to {LARGEST_MASS:g}")
    elif cost.whole:
        yield from check_integer(bound, 0, LARGEST_INTEGER, name)
    elif not number or not 0 < bound <= LARGEST_NUMBER:
        yield Problem(name, "out_of_range", f"must be a number above 0 and at most {LARGEST_NUMBER:g}")


def _above(name: str, upper: str, bound: float) -> Problem:
    return Problem(name, "min_above_max", f"must be at most {upper}, which is {bound}")
