"""How a caller monitors and stops a long computation; the core itself has no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Self

FEW_OPTIONS = 100_000
"""Tables of at most this number of options are worked out however short the time limit: a tenth of a second."""


class OutOfTime(Exception):
    """The time limit passed before the result was certain."""


def _never() -> bool:
    return False


def _silent(fraction: float, message: str) -> None:
    """Ignore a report."""


def _none() -> float:
    return 0.0


@dataclass(frozen=True)
class Control:
    """Callbacks of a computation's caller, called several times a second.

    Args:
        expired: Returns whether the time limit has passed: the computation then returns its best result, marked as
            incomplete.
        report: Receives the progress, a fraction in [0, 1], and a message; it may raise Interrupted to cancel.
        used: Returns the share of the time limit that has passed, 0 without one.
    """

    expired: Callable[[], bool] = _never
    report: Callable[[float, str], None] = _silent
    used: Callable[[], float] = _none

    @classmethod
    def timed(cls, used: Callable[[], float], report: Callable[[float, str], None] = _silent) -> Self:
        """Return a control with a time limit.

        Args:
            used: Returns the share of the time limit that has passed.
            report: Receives the progress, as of a Control.
        """
        return cls(lambda: used() > 1, report, used)

    def until(self, share: float) -> Control:
        """Return a control of a part of the computation.

        Args:
            share: The share of the time limit at which the part ends, from its start.
        """
        return replace(self, expired=lambda: self.expired() or self.used() > share)

    def never_back(self) -> Control:
        """Return a control whose reported fraction never decreases, whatever subproblems a computation solves."""
        reached = 0.0

        def report(fraction: float, message: str) -> None:
            nonlocal reached
            reached = max(reached, fraction)
            self.report(reached, message)

        return replace(self, report=report)


class _Watch:
    """The time limit of tables that are worked out, and the options that they have so far."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._options = 0

    def look(self, options: int) -> None:
        self._options += options
        if self._options > FEW_OPTIONS:
            self._control.report(0.0, "working out the tables")
            if self._control.expired():
                raise OutOfTime


_watch: ContextVar[_Watch | None] = ContextVar("_watch", default=None)
"""A context, since families build their stages themselves, those of installed packages included."""


@contextmanager
def watching_tables(control: Control) -> Iterator[None]:
    """Within it, every stage that is built looks at the time limit: see `stage_built`."""
    token = _watch.set(_Watch(control))
    try:
        yield
    finally:
        _watch.reset(token)


def stage_built(options: int) -> None:
    """Report that a stage is built, and raise OutOfTime if tables are watched, are not few and the time has passed.

    Args:
        options: The number of options of the stage.
    """
    watch = _watch.get()
    if watch is not None:
        watch.look(options)
