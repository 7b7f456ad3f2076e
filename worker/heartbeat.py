"""The pulse of a running job: renews its lease from a thread of its own, and tells the computation when to stop."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from types import TracebackType
from typing import Self

from app.jobs import lifecycle
from app.jobs.lifecycle import Claim
from nnmass_core.errors import Interrupted
from worker import process
from worker.process import Context

REPORT_AFTER_SECONDS = 10.0
"""A message that changes while the percentage stands still is told this often."""

log = logging.getLogger("nnmass.heartbeat")


class Lost(Interrupted):
    """The job is no longer this worker's: it was cancelled, or taken back."""


class Stopping(Interrupted):
    """This worker was asked to end."""


class Heartbeat:
    """Keeps one claim alive for as long as its block runs.

    A heartbeat tells an event when the percentage has changed, or when the message has and nothing was told for 10 s:
    at most 100 events for the percentages of a job, and 360 an hour for its messages.
    """

    def __init__(self, context: Context, claim: Claim) -> None:
        self._context = context
        self._held = claim
        self._progress = self._reported = (0.0, "started")  # the claim has told this
        self._reported_at = time.monotonic()
        self._lost = threading.Event()
        self._stop = threading.Event()
        within = contextvars.copy_context()  # so that what this thread logs names the job too
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
        """How long a process that does the work may say nothing."""
        return self._context.settings.silence_seconds

    def report(self, fraction: float, message: str) -> None:
        """Take progress; raises Lost or Ending when the computation is to stop."""
        self._progress = (fraction, message)
        if self._lost.is_set():
            raise Lost
        if process.is_stopping():
            raise Stopping

    def reported(self, fraction: float, message: str) -> None:
        """Note progress that was told by an event of the job's own, so that no heartbeat tells it again."""
        self._progress = self._reported = (fraction, message)
        self._reported_at = time.monotonic()

    def _beat(self) -> bool:
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
            except Exception:  # the database may be back before the lease ends; until then the work is still ours
                log.warning("heartbeat of job %s failed", self._held.job_id, exc_info=True)
                alive = time.monotonic() - renewed < settings.lease_seconds
            if not alive:
                self._lost.set()
                return
