"""The pulse of a running job: renews its lease from a thread of its own, and tells the computation when to stop."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from app import jobs
from app.jobs import Claim
from nnmass_core.errors import Interrupted
from worker import lifecycle
from worker.lifecycle import Context

log = logging.getLogger("nnmass.pulse")


class Lost(Interrupted):
    """The job is no longer this worker's: it was cancelled, or taken back."""


class Ending(Interrupted):
    """This worker was asked to end."""


class Pulse:
    """Keeps one claim alive for as long as its block runs."""

    def __init__(self, context: Context, held: Claim) -> None:
        self._context = context
        self._held = held
        self._progress = (0.0, "started")
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def report(self, fraction: float, message: str) -> None:
        """Take progress; raises Lost or Ending when the computation is to stop."""
        self._progress = (fraction, message)
        if self._lost.is_set():
            raise Lost
        if lifecycle.ending():
            raise Ending

    def _run(self) -> None:
        settings = self._context.settings
        renewed = time.monotonic()
        while not self._stop.wait(settings.heartbeat_seconds):
            try:
                with self._context.database.write() as session:
                    alive = jobs.heartbeat(session, self._held, settings.lease_seconds, *self._progress)
                renewed = time.monotonic()
            except Exception:  # the database may be back before the lease ends; until then the work is still ours
                log.warning("heartbeat of job %s failed", self._held.job_id, exc_info=True)
                alive = time.monotonic() - renewed < settings.lease_seconds
            if not alive:
                self._lost.set()
                return
