"""Maintenance on demand: a notification on its queue starts a sweep immediately, not at the next interval."""

from __future__ import annotations

from collections.abc import Callable

from app.jobs.sweeper import Sweeper
from worker.process import Context


def sweep(context: Context, notify: Callable[[str], None]) -> None:
    """Sweep once."""
    Sweeper(context.database, context.settings, notify).sweep()
