"""Jobs: claimed, renewed, finished, cancelled, recovered and deleted, each by one guarded statement.

    queued ──claim──> running ──finish──> succeeded | failed
      ^ │                │ │
      │ └────cancel──────┼─┴──> cancelled
      └──lease expired───┘            failed, cancelled ──retry──> queued
                                      all but running ──delete──> gone

A running job without a lease is parked: it holds no worker, while others work for it (app/jobs/rounds.py).

A job with a source takes the result of that job, an equal one: it is added as succeeded if its source has succeeded,
else it waits until its source has ended.

A claim raises the fence. Every later write of the worker carries its fence, and changes nothing once the job has a
newer one. Each change also increments the job's number of events and adds one event, in the same transaction: it holds
the row's lock, so that the events' numbers have no gaps. Moments are the database's. Nothing here commits.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache, partial
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Row,
    Select,
    Update,
    and_,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy import delete as delete_from
from sqlalchemy.orm import Session, aliased

from app.errors import TooMany, Unserved
from app.observability import tracing
from app.storage.db import after_commit, announce_work, clock, most_waiting, now, refusal
from app.storage.locks import advisory_lock
from app.storage.models import PENDING, IdempotencyKey, Job, JobEvent, WorkerBeat
from nnmass_core.codec import JsonObject

LONGEST_MESSAGE = 200
AnyRow: TypeAlias = Row[*tuple[Any, ...]]

MAX_NOTIFICATIONS = 8
"""How many of a queue's next jobs a sweep notifies again: enough to wake its workers, too few to pile up."""

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""The notification time of a job that was put back: it is overdue, so the next sweep notifies its queue again."""

TRY_AGAIN_SECONDS = 10
WAITING, FINISHED = "waiting for a worker", "finished"

SWEEP_LOCK = 7_164_225_301
IDEMPOTENCY_KEPT = timedelta(hours=24)
MOST_FORGOTTEN = 10_000
"""The most rows of one kind that a transaction deletes."""

WORKER_SILENT = timedelta(seconds=15)
"""A worker whose last heartbeat is older than this does not count as listening."""

BEATS_KEPT = timedelta(minutes=10)


log = logging.getLogger("nnmass.jobs")


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
"""All possible changes of state."""


ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
"""The states that a job does not leave without a request."""

DELETABLE = tuple(state for state in State if state is not State.RUNNING)
"""The states in which a job can be deleted: never while a worker runs it."""


class Event(StrEnum):
    """What an event reports: a change of state, progress within one, or the end."""

    STATUS = "status"
    PROGRESS = "progress"
    DONE = "done"


def sources(target: State) -> list[State]:
    """Return the states from which a job may move to `target`."""
    return [state for state, targets in TRANSITIONS.items() if target in targets]


@dataclass(frozen=True)
class Claim:
    """A worker's right to write to one job, valid until the fence is raised."""

    job_id: UUID
    fence: int
    attempt: int


def enqueue(session: Session, job_id: UUID, *, kind: str, queue: str, owner: str, source_id: UUID | None = None) -> Job:
    """Add a queued job and request a notification after the commit. No worker gets it before its source has ended.

    Raises Unserved where the service cannot do the work of this queue, and TooMany when the owner has too many waiting
    jobs.
    """
    check_served(session, queue)
    moment = _check_room(session, owner, job_id)
    job = Job(id=job_id, kind=kind, queue=queue, owner=owner, source_id=source_id, state=State.QUEUED)
    _add(session, job, 0.0, WAITING, Event.STATUS, moment)
    announce_work(session, queue)
    after_commit(session, partial(_log_queued, job_id, kind, queue))
    return job


def add_succeeded(session: Session, job_id: UUID, *, kind: str, queue: str, owner: str, source_id: UUID) -> Job:
    """Add a job that has succeeded without a worker: the caller gives it the result of its source, an equal job."""
    job = Job(id=job_id, kind=kind, queue=queue, owner=owner, source_id=source_id, state=State.SUCCEEDED)
    _add(session, job, 1.0, FINISHED, Event.DONE, now(session))
    job.finished_at = job.created_at
    return job


def _add(session: Session, job: Job, fraction: float, message: str, event: Event, moment: datetime) -> None:
    """Add a new job with its first event, both of this moment."""
    job.attempt = job.fence = 0
    job.notified_at = job.created_at = moment
    job.progress_fraction, job.progress_message = fraction, message
    job.event_count = 1
    session.add(job)
    session.flush()  # the event refers to it
    data = _data(job.state, fraction, message)
    session.add(JobEvent(job_id=job.id, number=1, event=event, data=data, at=moment))


def _log_queued(job_id: UUID, kind: str, queue: str) -> None:
    """Log that a job was queued; the line also names the request that created it."""
    log.info("%s %s is queued", kind, job_id, extra={"job_id": str(job_id), "kind": kind, "queue": queue})
    tracing.queued(job_id)


def check_served(session: Session, queue: str) -> None:
    """Refuse work that would have to fail. Raises Unserved."""
    reason = refusal(session, queue)
    if reason is not None:
        raise Unserved(reason)


def _check_room(session: Session, owner: str, job_id: UUID) -> datetime:
    """Refuse a job when its owner has enough others waiting, else return the time.

    An advisory lock lets only one request check at a time.
    """
    most = most_waiting(session)
    if most is None:
        return now(session)
    advisory_lock(session, "room", owner)
    others, moment = session.execute(_others(), {"owner": owner, "job": job_id, "most": most}).one()
    if others >= most:
        detail = f"this owner already has {most} jobs queued or running"
        raise TooMany(detail, code="too_much_waiting", retry_after=TRY_AGAIN_SECONDS)
    return moment


@cache
def _others() -> Select[int, datetime]:
    """Return the query, made once, of how many other jobs of an owner are queued or running, up to a most; and when."""
    others = and_(Job.owner == bindparam("owner"), text(PENDING), Job.id != bindparam("job"))
    return select(func.count(), clock()).select_from(
        select(Job.id).where(others).limit(bindparam("most", type_=Integer())).subquery()
    )


@cache
def _ready(queue: str) -> ColumnElement[bool]:
    """Return the condition that a worker may take a job of a queue: it is queued, and its source, if any, has ended."""
    source = aliased(Job)
    pending = exists().where(source.id == Job.source_id, source.state.in_((State.QUEUED, State.RUNNING)))
    return and_(Job.queue == queue, Job.state == State.QUEUED, or_(Job.source_id.is_(None), ~pending))


@cache
def _oldest(queue: str) -> Select[UUID, datetime]:
    """Return the query of the oldest job of a queue that a worker may take, locked for this one, and of the time."""
    return select(Job.id, clock()).where(_ready(queue)).order_by(Job.id).limit(1).with_for_update(skip_locked=True)


def claim(session: Session, queue: str, worker: str, lease_seconds: float) -> Claim | None:
    """Claim the oldest queued job of a queue; None when there is none."""
    found = session.execute(_oldest(queue)).one_or_none()
    if found is None:
        return None
    job_id, moment = found
    taken = _change(
        session,
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
        ),
        Event.STATUS,
    )
    return Claim(job_id, taken[0].fence, taken[0].attempt) if taken else None


def heartbeat(
    session: Session, claim: Claim, lease_seconds: float, fraction: float, message: str, *, report: bool = True
) -> bool:
    """Renew the lease and store progress, with an event if `report` is set.

    Return False when the job no longer belongs to this worker (taken back or cancelled).
    """
    moment = now(session)
    renewed = _held(claim).values(
        lease_until=moment + timedelta(seconds=lease_seconds),
        heartbeat_at=moment,
        progress_fraction=fraction,
        progress_message=message[:LONGEST_MESSAGE],
    )
    return bool(_change(session, renewed, Event.PROGRESS if report else None))


def holds(session: Session, claim: Claim) -> bool:
    """Return whether the job belongs to this worker, and lock it until the transaction ends."""
    return session.execute(select(Job.id).where(_mine(claim)).with_for_update()).first() is not None


def add_event(
    session: Session, claim: Claim, event: str, data: Mapping[str, object], fraction: float, message: str
) -> bool:
    """Add an event with more than progress, such as an epoch. Return False when the job is no longer this worker's.

    It does not renew the lease; the heartbeat does.
    """
    progress = _held(claim).values(progress_fraction=fraction, progress_message=message[:LONGEST_MESSAGE])
    return bool(_change(session, progress, Event(event), data))


def succeed(session: Session, claim: Claim, source_id: UUID | None = None) -> bool:
    """Finish the job. False when it is no longer this worker's; then the caller must not write anything else either.

    source_id: the equal job whose result it takes; None when it worked for itself.
    """
    finished = _held(claim).values(
        state=State.SUCCEEDED,
        source_id=source_id,
        finished_at=now(session),
        lease_until=None,
        progress_fraction=1.0,
        progress_message=FINISHED,
    )
    return bool(_change(session, finished, Event.DONE))


def forget_source(session: Session, claim: Claim) -> bool:
    """Let the job work for itself: its source gave no result. Return False when it is no longer this worker's."""
    return bool(_change(session, _held(claim).values(source_id=None), None))


def fail(session: Session, claim: Claim, code: str, message: str) -> bool:
    """Fail the job with its reason. Return False when it is no longer this worker's."""
    failed = _held(claim).values(
        state=State.FAILED,
        finished_at=now(session),
        lease_until=None,
        error_code=code,
        error_message=message,
    )
    return bool(_change(session, failed, Event.DONE))


def release(session: Session, claim: Claim) -> bool:
    """Put the job back without counting the attempt: its worker is shutting down in an orderly way."""
    put_back = _held(claim).values(**_waiting(LONG_AGO), attempt=Job.attempt - 1)
    return bool(_change(session, put_back, Event.STATUS))


def park(session: Session, claim: Claim, fraction: float, message: str) -> bool:
    """Give up the worker until `unpark`, while others work for the job. Return False when it is not this worker's.

    The claim ends, and attempts count anew: a worker has done its part.
    """
    parked = _held(claim).values(
        lease_until=None,
        worker=None,
        attempt=0,
        fence=Job.fence + 1,
        progress_fraction=fraction,
        progress_message=message[:LONGEST_MESSAGE],
    )
    return bool(_change(session, parked, Event.PROGRESS))


def report_parked(session: Session, job_id: UUID, fraction: float, message: str) -> None:
    """Store the progress of a parked job, and add its event if the message is another one."""
    said = message[:LONGEST_MESSAGE]
    progress = update(Job).where(_parked(job_id), Job.progress_message != said)
    _change(session, progress.values(progress_fraction=fraction, progress_message=said), Event.PROGRESS)


def unpark(session: Session, job_id: UUID) -> bool:
    """Queue a parked job again, as if it had just been added; return whether it was parked."""
    again = _change(session, update(Job).where(_parked(job_id)).values(**_waiting(now(session))), Event.STATUS)
    for job in again:
        announce_work(session, job.queue)
    return bool(again)


def give_up_attempt(session: Session, claim: Claim, code: str, message: str, most_attempts: int) -> bool:
    """Put the job back after an attempt that died although its worker lives, or fail it after its last attempt.

    The claim has already counted the attempt. Return False when the job is no longer this worker's.
    """
    if claim.attempt >= most_attempts:
        return fail(session, claim, code, message)
    return bool(_change(session, _held(claim).values(**_waiting(LONG_AGO)), Event.STATUS))


def cancel(session: Session, job_id: UUID) -> bool:
    """Cancel a job that has not ended. Its worker notices at its next heartbeat and can write nothing more."""
    cancelled = (
        update(Job)
        .where(Job.id == job_id, Job.state.in_(sources(State.CANCELLED)))
        .values(
            state=State.CANCELLED,
            finished_at=now(session),
            lease_until=None,
            progress_message="cancelled",
        )
    )
    return bool(_change(session, cancelled, Event.DONE))


def retry(session: Session, job_id: UUID) -> bool:
    """Queue a failed or cancelled job as if it were new. Return False when it has not ended, or succeeded.

    Raises Unserved and TooMany as `enqueue` does.
    """
    given_up = and_(Job.id == job_id, Job.state.in_([state for state in sources(State.QUEUED) if state in ENDED]))
    found = session.execute(select(Job.owner, Job.queue).where(given_up)).one_or_none()
    if found is None:
        return False
    check_served(session, found.queue)
    moment = _check_room(session, found.owner, job_id)
    again = _change(
        session,
        update(Job)
        .where(given_up)
        .values(
            **_waiting(moment),
            attempt=0,
            started_at=None,
            finished_at=None,
            error_code=None,
            error_message=None,
        ),
        Event.STATUS,
    )
    for job in again:
        announce_work(session, job.queue)
    return bool(again)


def delete(session: Session, job_id: UUID) -> bool:
    """Delete a job with its events and all other rows that belong to it. False when it is running or does not exist."""
    gone = delete_from(Job).where(Job.id == job_id, Job.state.in_(DELETABLE)).returning(Job.kind)
    kind = session.execute(gone, execution_options={"synchronize_session": False}).scalar_one_or_none()
    if kind is not None:
        after_commit(session, partial(_log_deleted, job_id, kind))
    return kind is not None


def _log_deleted(job_id: UUID, kind: str) -> None:
    """Log that a job was deleted; the line also names the request and the owner who asked for it."""
    log.info("%s %s is deleted", kind, job_id, extra={"job_id": str(job_id), "kind": kind})


@dataclass(frozen=True)
class Sweep:
    """What one sweep did: jobs put back, jobs failed, and the number of notifications due for each queue."""

    requeued: int
    failed: int
    notifications: dict[str, int]


def sweep(session: Session, *, renotify_seconds: float, most_attempts: int) -> Sweep:
    """Recover jobs after a worker died or a notification was lost. Idempotent; only one process at a time does it."""
    if not _alone(session):
        return Sweep(0, 0, {})
    moment = now(session)
    expired = _expired(moment)
    failed = _change(
        session,
        update(Job)
        .where(expired, Job.attempt >= most_attempts)
        .values(
            state=State.FAILED,
            finished_at=moment,
            lease_until=None,
            error_code="worker_lost",
            error_message=f"the worker died or sent no heartbeat in each of {most_attempts} attempts",
        ),
        Event.DONE,
    )
    # check the lease again: it may have been renewed since, and its new end may already be past
    again = update(Job).where(expired, Job.attempt < most_attempts)
    requeued = _change(session, again.values(**_waiting(LONG_AGO)), Event.STATUS)
    overdue = _overdue(session, moment, renotify_seconds)
    for job_ids in overdue.values():
        session.execute(update(Job).where(Job.id.in_(job_ids), Job.state == State.QUEUED).values(notified_at=moment))
    return Sweep(len(requeued), len(failed), {queue: len(job_ids) for queue, job_ids in overdue.items()})


def _overdue(session: Session, moment: datetime, renotify_seconds: float) -> dict[str, list[UUID]]:
    """Return, for each queue, which of its next jobs were last notified too long ago.

    For a long queue checking the first jobs is enough: they are taken first. Without a listening worker, notifications
    would pile up, so none are due there; a new worker notifies itself.
    """
    late = moment - timedelta(seconds=renotify_seconds)
    listening = select(WorkerBeat.queue).where(WorkerBeat.seen_at > moment - WORKER_SILENT).distinct()
    overdue: dict[str, list[UUID]] = {}
    for queue in session.scalars(listening).all():
        waiting = select(Job.id, Job.notified_at).where(_ready(queue))
        following = session.execute(waiting.order_by(Job.id).limit(MAX_NOTIFICATIONS))
        if job_ids := [job.id for job in following if job.notified_at < late]:
            overdue[queue] = job_ids
    return overdue


def needs_sweep(session: Session, *, renotify_seconds: float) -> bool:
    """Return whether a sweep would find anything, without writing."""
    moment = now(session)
    expired = select(Job.id).where(_expired(moment)).limit(1)
    return session.execute(expired).first() is not None or bool(_overdue(session, moment, renotify_seconds))


def _expired(moment: datetime) -> ColumnElement[bool]:
    # PENDING must equal the index's condition word for word; otherwise SQLite reads all jobs
    return and_(text(PENDING), Job.state == State.RUNNING, Job.lease_until < moment)


def tidy(session: Session) -> bool:
    """Delete Idempotency-Keys after a day, and workers that are long gone. Return whether more may be left."""
    if not _alone(session):
        return False
    moment = now(session)
    old_keys = IdempotencyKey.created_at < moment - IDEMPOTENCY_KEPT
    batch = select(IdempotencyKey.owner, IdempotencyKey.key).where(old_keys).limit(MOST_FORGOTTEN)
    named = tuple_(IdempotencyKey.owner, IdempotencyKey.key).in_(batch)
    forget = delete_from(IdempotencyKey).where(named).returning(IdempotencyKey.owner)
    forgotten = session.execute(forget, execution_options={"synchronize_session": False}).all()
    session.execute(delete_from(WorkerBeat).where(WorkerBeat.seen_at < moment - BEATS_KEPT))
    return len(forgotten) == MOST_FORGOTTEN


def queued(session: Session, queue: str) -> bool:
    """Return whether a queue has queued jobs that a worker may take."""
    waiting = select(Job.id).where(_ready(queue)).limit(1)
    return session.execute(waiting).first() is not None


def beat(session: Session, worker: str, queue: str, *, torch: bool | None = None) -> None:
    """Record a worker's heartbeat, and whether it has torch."""
    session.merge(WorkerBeat(worker=worker, queue=queue, seen_at=now(session), torch=torch))


def _alone(session: Session) -> bool:
    if session.get_bind().dialect.name == "sqlite":
        return True  # BEGIN IMMEDIATE holds the only write lock
    return bool(session.execute(text("select pg_try_advisory_xact_lock(:key)"), {"key": SWEEP_LOCK}).scalar_one())


def counts(session: Session, job_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return the number of events of each of these jobs; jobs that do not exist are left out."""
    rows = session.execute(select(Job.id, Job.event_count).where(Job.id.in_(job_ids)))
    return {row.id: row.event_count for row in rows}


def events_after(session: Session, job_id: UUID, number: int, limit: int) -> tuple[list[JobEvent], int]:
    """Return up to `limit` events of a job after a number, in order, and the number of its last one."""
    query = (
        select(JobEvent, Job.event_count)
        .join(Job, Job.id == JobEvent.job_id)
        .where(JobEvent.job_id == job_id, JobEvent.number > number)
        .order_by(JobEvent.number)
        .limit(limit)
    )
    rows = session.execute(query).all()
    return [row.JobEvent for row in rows], rows[-1].event_count if rows else number


def _mine(claim: Claim) -> ColumnElement[bool]:
    return and_(Job.id == claim.job_id, Job.fence == claim.fence, Job.state == State.RUNNING)


def _held(claim: Claim) -> Update:
    return update(Job).where(_mine(claim))


def _parked(job_id: UUID) -> ColumnElement[bool]:
    return and_(Job.id == job_id, Job.state == State.RUNNING, Job.lease_until.is_(None))


def _waiting(notified_at: datetime) -> dict[str, object]:
    """Return the column values of a job that is queued again."""
    return {
        "state": State.QUEUED,
        "lease_until": None,
        "notified_at": notified_at,
        "progress_fraction": 0.0,
        "progress_message": WAITING,
    }


def _change(
    session: Session, change: Update, event: Event | None, more: Mapping[str, object] | None = None
) -> Sequence[AnyRow]:
    """Run a guarded UPDATE and return the jobs that it changed; each gets the event, if one is given."""
    if event is not None:
        change = change.values(event_count=Job.event_count + 1)
    columns = (Job.id, Job.queue, Job.state, Job.fence, Job.attempt, Job.event_count)
    moment = clock().label("moment")  # read under the lock, so that the moments follow the order of the numbers
    changed = session.execute(
        change.returning(*columns, Job.progress_fraction, Job.progress_message, moment),
        execution_options={"synchronize_session": False},
    ).all()
    if changed and event is not None:
        session.execute(insert(JobEvent), [_event_of(job, event, more or {}) for job in changed])
    return changed


def _event_of(job: AnyRow, event: Event, more: Mapping[str, object]) -> dict[str, object]:
    data = {**more, **_data(job.state, job.progress_fraction, job.progress_message)}
    return {"job_id": job.id, "number": job.event_count, "event": event, "data": data, "at": job.moment}


def _data(state: str, fraction: float, message: str) -> JsonObject:
    return {"status": state, "fraction": fraction, "message": message}
