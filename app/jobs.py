"""Jobs: claimed, kept alive, finished, cancelled and rescued, each by one guarded UPDATE.

    queued ──claim──> running ──finish──> succeeded | failed
      ^ │                │ │
      │ └────cancel──────┼─┴──> cancelled
      └──lease expired───┘            failed, cancelled ──retry──> queued

A claim raises the fence; every later write of the worker carries its fence and changes nothing once the job has moved
on. Moments are the database's. Nothing here commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CursorResult, and_, delete, func, or_, select, text, update
from sqlalchemy.orm import Session

from app.db import announce_work, now
from app.models import IdempotencyKey, Job, WorkerBeat

MOST_BELLS = 8
"""Bells that one sweep rings again for a queue: enough to wake its workers, too few to pile up when none listens."""

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""When the bell of a job that was put back counts as rung, so that the next sweep rings it."""

SWEEP_LOCK = 7_164_225_301
IDEMPOTENCY_KEPT = timedelta(hours=24)
WORKER_SILENT = timedelta(seconds=15)
"""A worker that gave no sign of life for this long does not count as listening."""

BEATS_KEPT = timedelta(minutes=10)


class State(StrEnum):
    """The states of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset({State.QUEUED}),
    State.CANCELLED: frozenset({State.QUEUED}),
}
"""Every change of state that can happen."""


def sources(target: State) -> list[State]:
    """Return the states from which a job may move to `target`."""
    return [state for state, targets in TRANSITIONS.items() if target in targets]


@dataclass(frozen=True)
class Claim:
    """A worker's right to write to one job, until the fence is raised."""

    job_id: UUID
    fence: int
    attempt: int


def enqueue(session: Session, job_id: UUID, *, kind: str, queue: str, owner: str) -> Job:
    """Add a queued job and ask for a bell after the commit."""
    moment = now(session)
    job = Job(
        id=job_id,
        kind=kind,
        queue=queue,
        owner=owner,
        state=State.QUEUED,
        attempt=0,
        fence=0,
        rung_at=moment,
        progress_fraction=0.0,
        progress_message="waiting for a worker",
        created_at=moment,
    )
    session.add(job)
    announce_work(session, queue)
    return job


def claim(session: Session, queue: str, worker: str, lease_seconds: float) -> Claim | None:
    """Take the oldest queued job of a queue; None when there is none."""
    oldest = (
        select(Job.id)
        .where(Job.queue == queue, Job.state == State.QUEUED)
        .order_by(Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    job_id = session.execute(oldest).scalar_one_or_none()
    if job_id is None:
        return None
    moment = now(session)
    taken = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state.in_(sources(State.RUNNING)))
        .values(
            state=State.RUNNING,
            fence=Job.fence + 1,
            attempt=Job.attempt + 1,
            worker=worker,
            lease_until=moment + timedelta(seconds=lease_seconds),
            heartbeat_at=moment,
            started_at=func.coalesce(Job.started_at, moment, type_=Job.started_at.type),
            progress_fraction=0.0,
            progress_message="started",
        )
        .returning(Job.fence, Job.attempt)
    ).one_or_none()
    return None if taken is None else Claim(job_id, taken.fence, taken.attempt)


def heartbeat(session: Session, held: Claim, lease_seconds: float, fraction: float, message: str) -> bool:
    """Renew the lease and store progress; False when the job is no longer this worker's (taken back or cancelled)."""
    moment = now(session)
    return _write(
        session,
        held,
        lease_until=moment + timedelta(seconds=lease_seconds),
        heartbeat_at=moment,
        progress_fraction=fraction,
        progress_message=message[:200],
    )


def succeed(session: Session, held: Claim) -> bool:
    """Finish the job; False when it is no longer this worker's, and then nothing else may be written either."""
    return _write(
        session,
        held,
        state=State.SUCCEEDED,
        finished_at=now(session),
        lease_until=None,
        progress_fraction=1.0,
        progress_message="finished",
    )


def fail(session: Session, held: Claim, code: str, message: str) -> bool:
    """Fail the job with its reason; False when it is no longer this worker's."""
    return _write(
        session,
        held,
        state=State.FAILED,
        finished_at=now(session),
        lease_until=None,
        error_code=code,
        error_message=message,
    )


def release(session: Session, held: Claim) -> bool:
    """Put the job back, not counted as an attempt: its worker is shutting down in good order."""
    return _write(
        session,
        held,
        state=State.QUEUED,
        attempt=Job.attempt - 1,
        lease_until=None,
        progress_fraction=0.0,
        progress_message="waiting for a worker",
        rung_at=LONG_AGO,
    )


def cancel(session: Session, job_id: UUID) -> bool:
    """Cancel a job that has not ended; its worker finds out at its next heartbeat and can write nothing more."""
    return _changed(
        session,
        update(Job)
        .where(Job.id == job_id, Job.state.in_(sources(State.CANCELLED)))
        .values(
            state=State.CANCELLED,
            finished_at=now(session),
            lease_until=None,
            progress_message="cancelled",
        ),
    )


@dataclass(frozen=True)
class Sweep:
    """What one sweep did: jobs put back, jobs failed, and how many bells each queue is to get."""

    requeued: int
    failed: int
    bells: dict[str, int]


def sweep(session: Session, *, ring_again_seconds: float, most_attempts: int) -> Sweep:
    """Make good what a dead worker or a lost bell left behind. Idempotent; one process at a time does it."""
    if not _alone(session):
        return Sweep(0, 0, {})
    moment = now(session)
    expired = and_(Job.state == State.RUNNING, Job.lease_until < moment)
    failed = _count(
        session,
        update(Job)
        .where(expired, Job.attempt >= most_attempts)
        .values(
            state=State.FAILED,
            finished_at=moment,
            lease_until=None,
            error_code="worker_lost",
            error_message=f"the worker died or fell silent in each of {most_attempts} attempts",
        ),
    )
    requeued = _count(
        session,
        update(Job).where(expired).values(state=State.QUEUED, lease_until=None, rung_at=LONG_AGO),
    )
    bells = _overdue_bells(session, moment, ring_again_seconds)
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < moment - IDEMPOTENCY_KEPT))
    session.execute(delete(WorkerBeat).where(WorkerBeat.seen_at < moment - BEATS_KEPT))
    return Sweep(requeued, failed, bells)


def _overdue_bells(session: Session, moment: datetime, ring_again_seconds: float) -> dict[str, int]:
    """Return the bells to ring again. Where no worker listens they would pile up; a new worker rings its own."""
    listening = select(WorkerBeat.queue).where(WorkerBeat.seen_at > moment - WORKER_SILENT)
    late = moment - timedelta(seconds=ring_again_seconds)
    overdue = and_(Job.state == State.QUEUED, Job.rung_at < late, Job.queue.in_(listening))
    waiting = session.execute(select(Job.queue, func.count()).where(overdue).group_by(Job.queue)).all()
    session.execute(update(Job).where(overdue).values(rung_at=moment))
    return {queue: min(count, MOST_BELLS) for queue, count in waiting}


def needs_sweep(session: Session, *, ring_again_seconds: float) -> bool:
    """Tell, without writing, whether a sweep would find anything."""
    moment = now(session)
    late = moment - timedelta(seconds=ring_again_seconds)
    listening = select(WorkerBeat.queue).where(WorkerBeat.seen_at > moment - WORKER_SILENT)
    expired = and_(Job.state == State.RUNNING, Job.lease_until < moment)
    overdue = and_(Job.state == State.QUEUED, Job.rung_at < late, Job.queue.in_(listening))
    left_behind = select(Job.id).where(or_(expired, overdue))
    return session.execute(left_behind.limit(1)).first() is not None


def queued(session: Session, queue: str) -> bool:
    """Tell whether a queue holds work."""
    waiting = select(Job.id).where(Job.queue == queue, Job.state == State.QUEUED).limit(1)
    return session.execute(waiting).first() is not None


def beat(session: Session, worker: str, queue: str) -> None:
    """Record a worker's sign of life."""
    session.merge(WorkerBeat(worker=worker, queue=queue, seen_at=now(session)))


def _alone(session: Session) -> bool:
    if session.get_bind().dialect.name == "sqlite":
        return True  # BEGIN IMMEDIATE holds the only write lock
    return bool(session.execute(text("select pg_try_advisory_xact_lock(:key)"), {"key": SWEEP_LOCK}).scalar_one())


def _write(session: Session, held: Claim, **values: object) -> bool:
    guarded = update(Job).where(Job.id == held.job_id, Job.fence == held.fence, Job.state == State.RUNNING)
    return _changed(session, guarded.values(**values))


def _changed(session: Session, statement: object) -> bool:
    return _count(session, statement) == 1


def _count(session: Session, statement: object) -> int:
    result = session.execute(statement, execution_options={"synchronize_session": False})  # type: ignore[call-overload]
    assert isinstance(result, CursorResult)
    return result.rowcount
