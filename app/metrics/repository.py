"""SQL of metrics, over all owners. Each query except `totals` reads pending or new rows, not the whole history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Row, Select, case, func, select
from sqlalchemy.orm import Session

from app.jobs.broker import QUEUES
from app.jobs.lifecycle import WORKER_SILENT, State
from app.storage.db import clock
from app.storage.models import Job, Search, Verification, WorkerBeat

PENDING = (State.QUEUED, State.RUNNING)


def pending(session: Session) -> dict[tuple[str, str], int]:
    """Return how many jobs are queued and running, by queue and state."""
    waiting = select(Job.queue, Job.state, func.count()).where(Job.queue.in_(QUEUES), Job.state.in_(PENDING))
    return {(queue, state): count for queue, state, count in session.execute(waiting.group_by(Job.queue, Job.state))}


def oldest(session: Session) -> tuple[datetime, dict[str, datetime | None]]:
    """Return the database's time, and when the oldest queued job of each queue was accepted."""
    moment, *accepted = session.execute(_oldest()).one()
    return moment, dict(zip(QUEUES, accepted, strict=True))


@cache
def _oldest() -> Select[*tuple[Any, ...]]:
    queued = select(Job.created_at).where(Job.state == State.QUEUED).order_by(Job.id).limit(1)
    return select(clock(), *(queued.where(Job.queue == queue).scalar_subquery() for queue in QUEUES))


def totals(session: Session) -> dict[tuple[str, str], int]:
    """Return the number of jobs by kind and state. Reads a whole index."""
    rows = session.execute(select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state))
    return {(kind, state): count for kind, state, count in rows}


def ended(session: Session, after: datetime, limit: int) -> Sequence[Row[*tuple[Any, ...]]]:
    """Return up to `limit` jobs that ended after a moment, in the order of their end, with the duration of searches."""
    solver = Search.result["elapsed_seconds"].as_float().label("solver_seconds")
    query = (
        select(Job.id, Job.kind, Job.state, Job.started_at, Job.finished_at, solver)
        .outerjoin(Search, Search.id == Job.id)
        .where(Job.finished_at > after)
        .order_by(Job.finished_at, Job.id)
        .limit(limit)
    )
    return session.execute(query).all()


def paces(session: Session) -> list[float]:
    """Return the images per second of each running training, as its worker last reported it."""
    running = select(Verification.live_stats).join(Job, Job.id == Verification.id)
    rows = session.scalars(running.where(Job.queue == "train", Job.state == State.RUNNING))
    return [
        float(live_stats["images_per_second"])
        for live_stats in rows
        if live_stats and "images_per_second" in live_stats
    ]


def workers(session: Session, moment: datetime) -> dict[str, tuple[int, timedelta]]:
    """Return the number of live workers of each queue, and the time since any of them last sent a heartbeat."""
    alive = func.sum(case((WorkerBeat.seen_at > moment - WORKER_SILENT, 1), else_=0))
    rows = session.execute(select(WorkerBeat.queue, alive, func.max(WorkerBeat.seen_at)).group_by(WorkerBeat.queue))
    return {queue: (count, moment - last) for queue, count, last in rows}
