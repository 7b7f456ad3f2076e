"""The command line of a worker."""

from __future__ import annotations

from app.config import Settings


def worker_arguments(queue: str, settings: Settings, concurrency: int = 1) -> list[str]:
    """Return the arguments of Celery's command line that run a worker of one queue."""
    # a process pool fed from notification files hands work over under a lock; a process killed while it holds the lock
    # would never release it, and the worker would never work again (ADR 12)
    pool = "solo" if settings.embedded or queue == "maintenance" else "prefork"
    celery = ["--app", "worker.celery_app", "--skip-checks", "worker"]
    what = ["--queues", queue, "--hostname", f"{queue}@%h", "--pool", pool, "--concurrency", str(concurrency)]
    quiet = ["--loglevel", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [*celery, *what, *quiet]
