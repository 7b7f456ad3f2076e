"""Celery's consumer, which here tries a lost broker again every second, not ever more rarely."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

RETRY_SECONDS = 1.0


class Consumer(CeleryConsumer):
    """The consumer of every worker of this service."""

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, however often it takes. Celery's own pauses grow to half a minute, in which new work waits."""
        pause = {"interval_start": RETRY_SECONDS, "interval_step": 0, "interval_max": RETRY_SECONDS}
        conn.ensure_connection = partial(conn.ensure_connection, **pause)
        return super().ensure_connected(conn)
