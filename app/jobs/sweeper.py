"""The sweeper: a thread in every process that recovers jobs after a worker died or a notification was lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from app.config import Settings
from app.jobs import lifecycle, requirements, retention, rounds
from app.jobs.retention import PruneReport
from app.storage.db import Database

TIDY_EVERY_SECONDS = 60.0
BEAT_EVERY_SECONDS = 5.0
PRUNE_EVERY_SECONDS = 3600.0
PRUNES = "maintenance"
"""The queue whose worker deletes old data; the other processes only sweep."""

log = logging.getLogger("nnmass.sweeper")


class Sweeper:
    """Sweeps every `sweep_seconds`; in a worker, it also records a heartbeat. It survives database outages."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        notify: Callable[[str], None],
        worker: tuple[str, str] | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._notify = notify
        self._worker = worker
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
        self._tidied = self._beaten = self._pruned = -1e9
        self._pruning: Iterator[PruneReport] | None = None
        self._removed = PruneReport()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stop.set()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.sweep()
            except Exception:  # the database may be unavailable for a while; stopping here would strand its jobs
                log.warning("sweep failed; it will be tried again", exc_info=True)
            self._stop.wait(self._settings.sweep_seconds)

    def sweep(self) -> None:
        """Sweep once, if needed."""
        self._beat()
        self._recover_jobs()
        rounds.advance(self._database)
        self._tidy()
        self._prune()

    def _recover_jobs(self) -> None:
        again = self._settings.renotify_seconds
        with self._database.read() as session:
            due = lifecycle.needs_sweep(session, renotify_seconds=again)
        if not due:
            return
        with self._database.write() as session:
            done = lifecycle.sweep(session, renotify_seconds=again, most_attempts=self._settings.most_attempts)
        if done.requeued or done.failed:
            log.info("sweep requeued %d jobs and failed %d", done.requeued, done.failed)
        for queue, count in done.notifications.items():
            for _ in range(count):
                self._notify(queue)

    def _tidy(self) -> None:
        """Delete expired rows: once a minute all of them, one batch per sweep."""
        if time.monotonic() - self._tidied < TIDY_EVERY_SECONDS:
            return
        with self._database.write() as session:
            more = lifecycle.tidy(session)
        if not more:
            self._tidied = time.monotonic()

    def _prune(self) -> None:
        """Delete old data: once an hour all of it, one batch per sweep, so that no sweep takes long."""
        policy = retention.of_settings(self._settings)
        if policy is None or self._worker is None or self._worker[1] != PRUNES:
            return
        if self._pruning is None:
            if time.monotonic() - self._pruned < PRUNE_EVERY_SECONDS:
                return
            self._pruned, self._removed = time.monotonic(), PruneReport()
            before = retention.cutoff(self._database, policy)
            self._pruning = retention.prune(self._database, self._settings.training_dir, policy, before)
        try:
            batch = next(self._pruning, None)
        except Exception:
            self._pruning = None  # the rest is deleted in an hour
            raise
        if batch is not None:
            self._removed.add(batch)
            return
        self._pruning = None
        if self._removed.jobs:
            log.info("deleted %d old searches", self._removed.jobs)

    def _beat(self) -> None:
        if self._worker is None or time.monotonic() - self._beaten < BEAT_EVERY_SECONDS:
            return
        name, queue = self._worker
        with self._database.write() as session:
            lifecycle.beat(session, name, queue, torch=requirements.torch_installed())
        self._beaten = time.monotonic()
