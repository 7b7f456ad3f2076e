"""Searches that succeed without any computation: the request of a client, the result of a worker, the stored rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.jobs import lifecycle
from app.jobs.lifecycle import Claim, State
from app.searches import service
from app.searches.schemas import SearchBody
from app.storage.db import now
from app.storage.models import IdempotencyKey, Job, JobEvent, RankedArchitecture, Search, SearchTag, WorkerBeat
from nnmass_core.engine.control import Control
from nnmass_core.request import SearchRequest
from nnmass_core.search import search
from tests.jobs.queue_model import MOST_ATTEMPTS, Known, Reported, Submitted

QUEUE = "search"
LEASE_SECONDS = RENOTIFY_SECONDS = 3600.0  # nothing expires by itself: the tests move moments instead of waiting
OWNERS = ("ann", "bob")
SPACE = {
    "family": "densenet_mlp",
    "in_features": 4,
    "num_classes": 2,
    "width": 2,
    "depth": [3, 4],
    "skip_channels": [1, 2],
    "activation": "relu",
}
BODIES = {
    Submitted(top_k, fresh, name): SearchBody.model_validate(
        {"space": SPACE, "top_k": top_k, "fresh": fresh, "name": name}
    )
    for top_k in (1, 2)
    for fresh, name in ((False, ""), (False, "other"), (True, ""))
}
FOUND = {top_k: search(SearchRequest.from_json({"space": SPACE, "top_k": top_k}), Control()) for top_k in (1, 2)}


TABLES = (Job, JobEvent, Search, SearchTag, RankedArchitecture, IdempotencyKey, WorkerBeat)


def sweep(session: Session) -> lifecycle.Sweep:
    """Do what a sweeper does, in one go."""
    lifecycle.tidy(session)
    return lifecycle.sweep(session, renotify_seconds=RENOTIFY_SECONDS, most_attempts=MOST_ATTEMPTS)


def needs_sweep(session: Session) -> bool:
    return lifecycle.needs_sweep(session, renotify_seconds=RENOTIFY_SECONDS)


def _top_k(row: Search) -> int:
    top_k = row.request["top_k"]
    assert isinstance(top_k, int)
    return top_k


def save(session: Session, held: Claim) -> bool:
    """Finish as a worker does. The result says by its seconds under which fence it was found."""
    if not lifecycle.succeed(session, held):
        return False
    row = session.get_one(Search, held.job_id)
    found = FOUND[_top_k(row)]
    row.result, row.result_digest = found.report(float(held.fence)), found.digest
    session.add_all(service.rows_of(row.id, found, "fp32"))
    return True


def ago(session: Session, seconds: float) -> datetime:
    return now(session) - timedelta(seconds=seconds)


def rows_of(session: Session) -> dict[str, list[str]]:
    """Return everything that is stored of searches."""
    return {table.__tablename__: sorted(map(repr, session.execute(select(table.__table__)))) for table in TABLES}


def read_back(session: Session) -> dict[UUID, Known]:
    """Return what is stored in the model's words, having checked that events are in order and have no gaps."""
    moment = now(session)
    reported: dict[UUID, list[Reported]] = defaultdict(list)
    latest: dict[UUID, datetime] = {}
    columns = (JobEvent.job_id, JobEvent.number, JobEvent.event, JobEvent.data, JobEvent.at)
    for event in session.execute(select(*columns).order_by(JobEvent.job_id, JobEvent.number)):
        assert event.number == len(reported[event.job_id]) + 1
        assert event.at >= latest.get(event.job_id, event.at)
        latest[event.job_id] = event.at
        reported[event.job_id].append(
            (event.event, event.data["status"], event.data["fraction"], event.data["message"])
        )
    places = Counter(session.scalars(select(RankedArchitecture.search_id)))
    results = {row.id: row for row in session.scalars(select(Search))}
    stored = session.scalars(select(Job)).all()
    assert {job.id for job in stored} == set(results)
    assert set(reported) | set(places) <= set(results), "a job that is gone left something behind"
    return {job.id: _known(job, results[job.id], reported[job.id], places[job.id], moment) for job in stored}


def _known(job: Job, row: Search, reported: list[Reported], places: int, moment: datetime) -> Known:
    assert job.event_count == len(reported)
    assert (job.lease_until is not None) == (job.state == State.RUNNING)
    assert (job.finished_at is not None) == (job.state in lifecycle.ENDED)
    assert places == (_top_k(row) if row.result else 0)
    return Known(
        owner=job.owner,
        top_k=_top_k(row),
        name=row.name,
        source=job.source_id,
        state=job.state,
        attempt=job.attempt,
        fence=job.fence,
        worker=job.worker,
        expired=job.lease_until is not None and job.lease_until < moment,
        unnotified=job.state == State.QUEUED and job.notified_at < moment - timedelta(seconds=RENOTIFY_SECONDS),
        started=job.started_at is not None,
        fraction=job.progress_fraction,
        message=job.progress_message,
        error=job.error_code,
        accepted=int(row.result["elapsed_seconds"]) if row.result else None,
        reported=reported,
    )
