"""How a caller monitors and stops a long computation; the core itself has no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class OutOfTime(Exception):
    """The time limit passed before the result was certain."""


def _never() -> bool:
    return False


def _silent(fraction: float, message: str) -> None:
    """Ignore a report."""


@dataclass(frozen=True)
class Control:
    """Callbacks of a computation's caller, called several times a second.

    Args:
        expired: Returns whether the time limit has passed: the computation then returns its best result, marked as
            incomplete.
        report: Receives the progress, a fraction in [0, 1], and a message; it may raise Interrupted to cancel.
    """

    expired: Callable[[], bool] = _never
    report: Callable[[float, str], None] = _silent

    def never_back(self) -> Control:
        """Return a control whose reported fraction never decreases, whatever subproblems a computation solves."""
        reached = 0.0

        def report(fraction: float, message: str) -> None:
            nonlocal reached
            reached = max(reached, fraction)
            self.report(reached, message)

        return Control(self.expired, report)
