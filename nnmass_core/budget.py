"""A hardware budget and the limits that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nnmass_core.architecture import BYTES_PER_ELEMENT, Evaluation
from nnmass_core.codec import LARGEST_INTEGER, check_integer
from nnmass_core.devices import device_named
from nnmass_core.errors import DefinitionError, Problem


@dataclass(frozen=True)
class Limit:
    """One hard limit: at most `bound` units of a quantity, where one element takes `unit` of them."""

    name: str
    quantity: str
    bound: int
    unit: int

    @property
    def elements(self) -> int:
        """The bound in elements, the engine's unit."""
        return self.bound // self.unit

    def slack(self, evaluation: Evaluation) -> int:
        """Return what an architecture leaves of the limit, in the limit's unit; negative when it breaks it."""
        used = {
            "params": evaluation.params,
            "macs": evaluation.macs,
            "weights": evaluation.weights,
            "peak": evaluation.peak_elements,
        }
        return self.bound - used[self.quantity] * self.unit


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the hardware allows; every limit that is set is hard. Bytes are those of `precision`.

    device: its memory limits hold beside the others; where both limit the same, the lower one does.
    """

    max_params: int | None = None
    max_macs: int | None = None
    max_weight_bytes: int | None = None
    max_peak_activation_bytes: int | None = None
    precision: str = "fp32"
    device: str | None = None

    def __post_init__(self) -> None:
        problems = [p for name, bound in self._set() for p in check_integer(bound, 0, LARGEST_INTEGER, name)]
        if self.precision not in tuple(BYTES_PER_ELEMENT):
            problems.append(Problem("precision", "unknown_choice", f"must be one of {', '.join(BYTES_PER_ELEMENT)}"))
        if self.device is not None:
            try:
                device_named(self.device)
            except DefinitionError as error:
                problems += error.problems
        if problems:
            raise DefinitionError(problems)

    def _set(self) -> list[tuple[str, int]]:
        bounds = {
            "max_params": self.max_params,
            "max_macs": self.max_macs,
            "max_weight_bytes": self.max_weight_bytes,
            "max_peak_activation_bytes": self.max_peak_activation_bytes,
        }
        return [(name, bound) for name, bound in bounds.items() if bound is not None]

    @property
    def element_bytes(self) -> int:
        """Bytes of one number at the budget's precision."""
        return BYTES_PER_ELEMENT[self.precision]

    def limits(self) -> tuple[Limit, ...]:
        """Return the limits that are set, a device's among them."""
        size = self.element_bytes
        meaning = {
            "max_params": ("params", 1),
            "max_macs": ("macs", 1),
            "max_weight_bytes": ("weights", size),
            "max_peak_activation_bytes": ("peak", size),
        }
        bounds = dict(self._set())
        for name, bound in ({} if self.device is None else device_named(self.device).limits()).items():
            bounds[name] = min(bound, bounds.get(name, bound))
        return tuple(Limit(name, kind[0], bounds[name], kind[1]) for name, kind in meaning.items() if name in bounds)

    def to_json(self) -> dict[str, Any]:
        """Write the budget as JSON-ready objects, unset limits left out."""
        device = {} if self.device is None else {"device": self.device}
        return {**dict(self._set()), "precision": self.precision, **device}
