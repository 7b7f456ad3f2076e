"""How a caller watches and stops a long computation; the core itself has no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _never() -> bool:
    return False


def _silent(fraction: float, message: str) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Control:
    """Callbacks of a computation's caller, called several times a second.

    `expired()` tells that the time limit has passed: the computation then answers with the best it has, honestly
    marked. `report(fraction, message)` takes progress in [0, 1]; it may raise Interrupted to cancel.
    """

    expired: Callable[[], bool] = _never
    report: Callable[[float, str], None] = _silent

    def never_back(self) -> Control:
        """Return a control whose reported fraction never falls, whatever sub-questions a computation asks in turn."""
        reached = 0.0

        def report(fraction: float, message: str) -> None:
            nonlocal reached
            reached = max(reached, fraction)
            self.report(reached, message)

        return Control(self.expired, report)
