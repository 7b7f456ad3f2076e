"""Celery's consumer, changed to retry a lost broker every second instead of ever more rarely."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

RETRY_SECONDS = 1.0


class Consumer(CeleryConsumer):
    """The consumer of every worker of this service."""

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, with as many attempts as needed. Celery's own pauses grow to 30 s, in which new work waits."""
        pause = {"interval_start": RETRY_SECONDS, "interval_step": 0, "interval_max": RETRY_SECONDS}
        conn.ensure_connection = partial(conn.ensure_connection, **pause)
        return super().ensure_connected(conn)
