"""What a queued job waits for: its place in its queue, and the workers that serve it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated
from uuid import UUID

from pydantic import Field
from sqlalchemy import Select, String, Uuid, and_, bindparam, func, select
from sqlalchemy.orm import Session

from app.jobs.lifecycle import WAITING, WORKER_SILENT, AnyRow, State
from app.storage.db import ago
from app.storage.models import Job, WorkerBeat


@dataclass(frozen=True)
class Waiting:
    """What a queued job waits for."""

    queue: Annotated[str, Field(description="Name of its queue.", examples=["search"])]
    place: Annotated[
        int,
        Field(
            description="Place among the queued jobs of its queue, of all owners, from 1: workers take them in this "
            "order.",
            examples=[1],
        ),
    ]
    workers: Annotated[
        int,
        Field(
            description="Number of workers of its queue that sent a heartbeat within the last 15 seconds.",
            examples=[2],
        ),
    ]

    @property
    def message(self) -> str:
        """The same as text."""
        if self.workers == 0:
            served = f"whose workers have sent no heartbeat for 15 s; `nnmass worker {self.queue}` starts one"
        else:
            served = "which 1 worker serves" if self.workers == 1 else f"which {self.workers} workers serve"
        return f"{WAITING}: place {self.place} in the queue {self.queue}, {served}"


def among(session: Session, jobs: Iterable[Job | AnyRow]) -> dict[UUID, Waiting]:
    """Return what each queued one of these jobs waits for; those that a worker has claimed since are left out.

    jobs: rows of jobs, or rows with their id, queue and state.
    """
    queued: dict[str, list[UUID]] = defaultdict(list)
    for job in jobs:
        if job.state == State.QUEUED:
            queued[job.queue].append(job.id)
    found: dict[UUID, Waiting] = {}
    for queue, job_ids in queued.items():
        found |= _places(session, queue, job_ids)
    return found


def of(session: Session, job: Job | AnyRow) -> Waiting | None:
    """Return what a job waits for; None unless it is queued."""
    return among(session, [job]).get(job.id)


def _places(session: Session, queue: str, job_ids: Sequence[UUID]) -> dict[UUID, Waiting]:
    """Count the jobs up to the last of these in the order of claims, by index and once for all of them."""
    rows = session.execute(_query(), {"queue": queue, "last": max(job_ids), "jobs": job_ids})
    return {job_id: Waiting(queue, place, workers) for job_id, place, workers in rows}


@cache
def _query() -> Select[UUID, int, int]:
    """Return the query of the places of jobs, made once: it takes longer to make than to run."""
    queue = bindparam("queue", type_=String())
    place = func.row_number().over(order_by=Job.id).label("place")
    before = and_(Job.queue == queue, Job.state == State.QUEUED, Job.id <= bindparam("last", type_=Uuid()))
    ahead = select(Job.id, place).where(before).subquery()
    beats = select(func.count()).where(WorkerBeat.queue == queue, WorkerBeat.seen_at > ago(WORKER_SILENT))
    jobs = bindparam("jobs", type_=Uuid(), expanding=True)
    return select(ahead.c.id, ahead.c.place, beats.scalar_subquery().label("workers")).where(ahead.c.id.in_(jobs))
