"""The model of the queue of searches, in plain Python: tests compare the real queue with it.

It is written from the documented guarantees and shares no code with the queue.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

MOST_ATTEMPTS = 2
MAX_NOTIFICATIONS = 8
WAITING = "waiting for a worker"
ENDED = ("succeeded", "failed", "cancelled")

Reported = tuple[str, str, float, str]
"""An event: its name, the job's state, fraction and message."""


@dataclass(frozen=True)
class Submitted:
    """What a client submits; searches with equal `top_k` are the same question."""

    top_k: int
    fresh: bool
    name: str = ""


@dataclass
class Known:
    """A job as it must be.

    source: the job whose result it takes; expired: its lease has ended; unnotified: not notified; accepted: whose
    result.
    """

    owner: str
    top_k: int
    name: str = ""
    source: UUID | None = None
    state: str = "queued"
    attempt: int = 0
    fence: int = 0
    worker: str | None = None
    expired: bool = False
    unnotified: bool = False
    started: bool = False
    fraction: float = 0.0
    message: str = WAITING
    error: str | None = None
    accepted: int | None = None
    reported: list[Reported] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.reported:
            self.report("status")

    def report(self, event: str) -> None:
        """Add an event."""
        self.reported.append((event, self.state, self.fraction, self.message))

    def wait(self, *, unnotified: bool) -> None:
        """Be queued again."""
        self.state, self.fraction, self.message = "queued", 0.0, WAITING
        self.expired, self.unnotified = False, unnotified
        self.report("status")

    def end(self, state: str, *, message: str | None = None, error: str | None = None) -> None:
        """End."""
        self.state, self.error, self.expired, self.unnotified = state, error, False, False
        self.message = self.message if message is None else message
        self.report("done")


@dataclass(frozen=True)
class Held:
    """A claim: which job, and under which fence."""

    job_id: UUID
    fence: int


@dataclass(frozen=True)
class First:
    """The first request with a key, and its answer."""

    submitted: Submitted
    answer: Any


@dataclass
class Queue:
    """Every job that is there, and every key that is remembered.

    listening: a worker has lately shown itself. old_keys: those that have been remembered long enough.
    """

    jobs: dict[UUID, Known] = field(default_factory=dict)
    keys: dict[tuple[str, str], First] = field(default_factory=dict)
    listening: bool = False
    old_keys: set[tuple[str, str]] = field(default_factory=set)

    def _equal(self, owner: str, submitted: Submitted, *states: str) -> list[UUID]:
        """Return the jobs in these states that answer a question, oldest first; none for a fresh one."""
        asked = (owner, submitted.top_k)
        equal = (job_id for job_id, job in self.jobs.items() if (job.owner, job.top_k) == asked and job.state in states)
        return [] if submitted.fresh else sorted(equal)

    def reusable(self, owner: str, submitted: Submitted) -> UUID | None:
        """Return the newest job of the same name that answers a question, or may still do so."""
        equal = self._equal(owner, submitted, "queued", "running", "succeeded")
        return next((job_id for job_id in reversed(equal) if self.jobs[job_id].name == submitted.name), None)

    def add(self, job_id: UUID, owner: str, submitted: Submitted) -> None:
        """Add a job, which takes the result of an equal one if there is one, or waits for one that is pending."""
        job = self.jobs[job_id] = Known(owner, submitted.top_k, submitted.name)
        earlier = [other for other in self._equal(owner, submitted, "succeeded") if other != job_id]
        pending = [other for other in self._equal(owner, submitted, "queued", "running") if other != job_id]
        if earlier:
            job.source, job.accepted = self.jobs[earlier[-1]].source or earlier[-1], self.jobs[earlier[-1]].accepted
            job.fraction, job.reported = 1.0, []
            job.end("succeeded", message="finished")
        elif pending:
            job.source = pending[0]

    def queued(self) -> list[UUID]:
        """Return the jobs that a worker may take, oldest first."""
        return sorted(job_id for job_id, job in self.jobs.items() if job.state == "queued" and not self._waits(job))

    def _waits(self, job: Known) -> bool:
        """Return whether a job waits for its source."""
        return job.source in self.jobs and self.jobs[job.source].state in ("queued", "running")

    def running(self) -> list[UUID]:
        """Return the jobs that workers hold."""
        return sorted(job_id for job_id, job in self.jobs.items() if job.state == "running")

    def claim(self, worker: str) -> Held | None:
        """Give the oldest waiting job to a worker."""
        waiting = self.queued()
        if not waiting:
            return None
        job = self.jobs[waiting[0]]
        job.state, job.worker, job.started, job.unnotified = "running", worker, True, False
        job.attempt, job.fence = job.attempt + 1, job.fence + 1
        job.fraction, job.message = 0.0, "started"
        job.report("status")
        return Held(waiting[0], job.fence)

    def held(self, held: Held) -> Known | None:
        """Return the job of a claim that still counts."""
        job = self.jobs.get(held.job_id)
        return job if job is not None and (job.state, job.fence) == ("running", held.fence) else None

    def progress(self, held: Held, fraction: float, message: str, *, renew: bool, report: bool) -> bool:
        """Take progress."""
        job = self.held(held)
        if job is None:
            return False
        job.fraction, job.message, job.expired = fraction, message, job.expired and not renew
        if report:
            job.report("progress")
        return True

    def finish(self, held: Held) -> bool:
        """Accept a result."""
        job = self.held(held)
        if job is None:
            return False
        job.accepted, job.fraction, job.source = held.fence, 1.0, None
        job.end("succeeded", message="finished")
        return True

    def fail(self, held: Held, error: str) -> bool:
        """Give up."""
        job = self.held(held)
        if job is None:
            return False
        job.end("failed", error=error)
        return True

    def give_up_attempt(self, held: Held, error: str) -> bool:
        """End an attempt that counts."""
        job = self.held(held)
        if job is not None and job.attempt < MOST_ATTEMPTS:
            job.wait(unnotified=True)
            return True
        return self.fail(held, error)

    def release(self, held: Held) -> bool:
        """End an attempt that does not count."""
        job = self.held(held)
        if job is None:
            return False
        job.attempt -= 1
        job.wait(unnotified=True)
        return True

    def cancel(self, job_id: UUID) -> None:
        """Cancel what has not ended."""
        if self.jobs[job_id].state not in ENDED:
            self.jobs[job_id].end("cancelled", message="cancelled")

    def retry(self, job_id: UUID) -> bool:
        """Queue a failed or cancelled job again; returns whether it was."""
        job = self.jobs[job_id]
        if job.state not in ("failed", "cancelled"):
            return False
        job.attempt, job.started, job.error = 0, False, None
        job.wait(unnotified=False)
        return True

    def needs_sweep(self) -> bool:
        """Return whether any job needs a sweep."""
        return any(job.expired for job in self.jobs.values()) or bool(self.unnotified())

    def unnotified(self) -> list[Known]:
        """Return which of the next jobs lack a notification that a worker would receive."""
        following = [self.jobs[job_id] for job_id in self.queued()[:MAX_NOTIFICATIONS]]
        return [job for job in following if job.unnotified and self.listening]

    def sweep(self) -> tuple[int, int, int]:
        """Sweep: how many jobs are requeued and failed, and how many notifications are due."""
        requeued = failed = 0
        for job in self.jobs.values():
            if job.expired and job.attempt >= MOST_ATTEMPTS:
                job.end("failed", error="worker_lost")
                failed += 1
            elif job.expired:
                job.wait(unnotified=True)
                requeued += 1
        unnotified = self.unnotified()
        for job in unnotified:
            job.unnotified = False
        self.keys = {key: first for key, first in self.keys.items() if key not in self.old_keys}
        self.old_keys.clear()
        return requeued, failed, len(unnotified)
