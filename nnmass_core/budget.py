"""A hardware budget and the limits that follow from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnmass_core.architecture import BYTES_PER_ELEMENT, Evaluation
from nnmass_core.codec import LARGEST_INTEGER, check_integer
from nnmass_core.errors import DefinitionError, Problem
from nnmass_core.hardware.devices import Device, read_device
from nnmass_core.hardware.latency import NANOSECONDS, Latency, LatencyModel

LONGEST_MS = 1e9


@dataclass(frozen=True)
class Limit:
    """One hard limit: at most `bound` units of a quantity, where one element takes `unit` of them.

    An element of latency is a nanosecond, and its unit a millisecond: `bound` is then a double and `unit` below 1.
    """

    name: str
    quantity: str
    bound: float
    unit: float

    @property
    def elements(self) -> int:
        """The bound in elements, the engine's unit."""
        if self.quantity == "latency":  # the most nanoseconds that are told as no more than the bound
            near = math.floor(self.bound * NANOSECONDS) + 1
            return next(elements for elements in (near, near - 1, near - 2) if self.reported(elements) <= self.bound)
        return int(self.bound // self.unit)

    def reported(self, elements: float) -> float:
        """Return so many elements in the limit's unit."""
        return elements / NANOSECONDS if self.quantity == "latency" else elements * self.unit

    def slack(self, evaluation: Evaluation, latency: Latency | None = None) -> float:
        """Return what an architecture leaves of the limit, in the limit's unit; negative when it breaks it."""
        used = {
            "params": evaluation.params,
            "macs": evaluation.macs,
            "weights": evaluation.weights,
            "peak": evaluation.peak_elements,
            "latency": 0 if latency is None else latency.nanoseconds,
        }
        return self.bound - self.reported(used[self.quantity])


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the hardware allows; every limit that is set is hard. Bytes are those of `precision`.

    device: a device or its profile; a text names one that is known here. Its memory limits hold beside the others;
    where both limit the same, the lower one does. max_latency_ms: for one input, batch 1, as the device's profile
    estimates it.
    """

    max_params: int | None = None
    max_macs: int | None = None
    max_weight_bytes: int | None = None
    max_peak_activation_bytes: int | None = None
    max_latency_ms: float | None = None
    precision: str = "fp32"
    device: Device | str | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        problems = [p for name, bound in self._set() for p in check_integer(bound, 0, LARGEST_INTEGER, name)]
        if self.precision not in tuple(BYTES_PER_ELEMENT):
            problems.append(Problem("precision", "unknown_choice", f"must be one of {', '.join(BYTES_PER_ELEMENT)}"))
        if self.device is not None:
            try:
                object.__setattr__(self, "device", read_device(self.device))
            except DefinitionError as error:
                problems += error.under("device").problems
        problems += [] if problems else self._latency_problems()
        if problems:
            raise DefinitionError(problems)

    def _latency_problems(self) -> list[Problem]:
        bound = self.max_latency_ms
        if bound is None:
            return []
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 < bound <= LONGEST_MS:
            return [Problem("max_latency_ms", "out_of_range", f"must be a number above 0 and at most {LONGEST_MS:g}")]
        if self.profile is None or self.profile.latency is None:
            return [Problem("max_latency_ms", "needs_device", "needs a device whose profile tells latencies")]
        if self.latency_model is None:
            message = f"must be {self.profile.latency.precision}, which the device's latencies are of"
            return [Problem("precision", "conflicts_with_device", message)]
        return []

    def _set(self) -> list[tuple[str, int]]:
        bounds = {
            "max_params": self.max_params,
            "max_macs": self.max_macs,
            "max_weight_bytes": self.max_weight_bytes,
            "max_peak_activation_bytes": self.max_peak_activation_bytes,
        }
        return [(name, bound) for name, bound in bounds.items() if bound is not None]

    @property
    def profile(self) -> Device | None:
        """The device."""
        return self.device if isinstance(self.device, Device) else None

    @property
    def latency_model(self) -> LatencyModel | None:
        """What the device takes for operators at the budget's precision, where its profile tells it."""
        model = None if self.profile is None else self.profile.latency
        return model if model is not None and model.precision == self.precision else None

    @property
    def element_bytes(self) -> int:
        """Bytes of one number at the budget's precision."""
        return BYTES_PER_ELEMENT[self.precision]

    def limits(self) -> tuple[Limit, ...]:
        """Return the limits that are set, a device's among them."""
        size = self.element_bytes
        meaning: dict[str, tuple[str, float]] = {
            "max_params": ("params", 1),
            "max_macs": ("macs", 1),
            "max_weight_bytes": ("weights", size),
            "max_peak_activation_bytes": ("peak", size),
            "max_latency_ms": ("latency", 1 / NANOSECONDS),
        }
        bounds: dict[str, float] = dict(self._set())
        for name, bound in ({} if self.profile is None else self.profile.limits()).items():
            bounds[name] = min(bound, bounds.get(name, bound))
        if self.max_latency_ms is not None:
            bounds["max_latency_ms"] = float(self.max_latency_ms)
        return tuple(Limit(name, kind[0], bounds[name], kind[1]) for name, kind in meaning.items() if name in bounds)

    def to_json(self) -> dict[str, Any]:
        """Write the budget as JSON-ready objects, unset limits left out."""
        latency = {} if self.max_latency_ms is None else {"max_latency_ms": float(self.max_latency_ms)}
        device = {} if self.profile is None else {"device": self.profile.named()}
        return {**dict(self._set()), **latency, "precision": self.precision, **device}
