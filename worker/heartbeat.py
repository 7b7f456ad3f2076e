"""The heartbeat of a running job: a thread renews its lease, and the computation learns when to stop."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from app.jobs import lifecycle
from app.jobs.lifecycle import Claim
from nnmass_core.errors import Interrupted
from worker import process
from worker.process import Context

REPORT_AFTER_SECONDS = 10.0
"""The shortest time between two events for messages that change while the percentage does not."""

log = logging.getLogger("nnmass.heartbeat")


class Lost(Interrupted):
    """The job no longer belongs to this worker: it was cancelled, or taken back."""


class Stopping(Interrupted):
    """This worker is shutting down."""


class Heartbeat:
    """Keeps one claim alive while its block runs.

    A heartbeat adds an event when the percentage has changed, or when the message has changed and 10 s have passed
    since the last event: at most 100 events for the percentages of a job, and 360 per hour for its messages.
    """

    def __init__(self, context: Context, claim: Claim) -> None:
        self._context = context
        self._held = claim
        self._progress = self._reported = (0.0, "started")  # the claim has added this event
        self._reported_at = time.monotonic()
        self._writing = threading.Lock()
        self._lost = threading.Event()
        self._stop = threading.Event()
        within = contextvars.copy_context()  # so that this thread's log lines carry the job's fields too
        self._thread = threading.Thread(target=within.run, args=(self._run,), name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def silence_seconds(self) -> float:
        """How long a process that does the work may send nothing, in seconds."""
        return self._context.settings.silence_seconds

    def report(self, fraction: float, message: str) -> None:
        """Record progress. Raises Lost or Stopping when the computation must stop."""
        self._progress = (fraction, message)
        if self._lost.is_set():
            raise Lost
        if process.is_stopping():
            raise Stopping

    @contextmanager
    def reporting(self, fraction: float, message: str) -> Iterator[None]:
        """Write the job's own event of progress within: no heartbeat reports it again, or earlier progress after it."""
        with self._writing:
            yield
            self._progress = self._reported = (fraction, message)
            self._reported_at = time.monotonic()

    def _beat(self) -> bool:
        with self._writing:
            return self._write()

    def _write(self) -> bool:
        progress = self._progress
        report = self._worth_reporting(*progress)
        with self._context.database.write() as session:
            alive = lifecycle.heartbeat(
                session, self._held, self._context.settings.lease_seconds, *progress, report=report
            )
        if report:
            self._reported, self._reported_at = progress, time.monotonic()
        return alive

    def _worth_reporting(self, fraction: float, message: str) -> bool:
        reported_fraction, reported_message = self._reported
        if round(fraction, 2) != round(reported_fraction, 2):
            return True
        return message != reported_message and time.monotonic() - self._reported_at >= REPORT_AFTER_SECONDS

    def _run(self) -> None:
        settings = self._context.settings
        renewed = time.monotonic()
        while not self._stop.wait(settings.heartbeat_seconds):
            try:
                alive = self._beat()
                renewed = time.monotonic()
            except Exception:  # the database may be back before the lease ends; until then the job is still ours
                log.warning("heartbeat of job %s failed", self._held.job_id, exc_info=True)
                alive = time.monotonic() - renewed < settings.lease_seconds
            if not alive:
                self._lost.set()
                return
