"""The result of a method, and when it was found."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Answer:
    """One method's result for one case.

    seconds: of the method's own work; `setup_seconds` says whether its model or tables were built before. trace: each
    improvement as (seconds, NN-Mass). proved: the method states that nothing better exists.
    """

    value: float | None = None
    proved: bool = False
    seconds: float = 0.0
    setup_seconds: float = 0.0
    trace: list[tuple[float, float]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    def improve(self, seconds: float, value: float) -> None:
        """Record a feasible value, if it is the best so far."""
        if self.value is None or value > self.value:
            self.value = value
            self.trace.append((seconds, value))

    def to_json(self) -> dict[str, Any]:
        """Write the result as JSON-ready objects."""
        return asdict(self)


class Stopwatch:
    """Seconds since it was created."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start
