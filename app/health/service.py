"""Check which of the parts that the service needs are available."""

from __future__ import annotations

import logging

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.config import Settings
from app.jobs import broker
from app.jobs.lifecycle import WORKER_SILENT, State
from app.jobs.requirements import GET_TORCH, WITHOUT_TORCH, torch_found
from app.storage import migrate
from app.storage.db import Database, now
from app.storage.models import Job, WorkerBeat
from nnmass_core.codec import JsonObject

ADVICE = {
    "running": "this process is stopping and accepts no new work",
    "database": "the database does not respond: no request can be accepted until it does",
    "schema_current": "the database schema does not match this version: run `nnmass db upgrade`",
    "broker": "the broker does not respond: jobs are accepted but start late, when a sweep finds them",
    "search_worker": "no search worker has sent a heartbeat for 15 s: searches wait; run `nnmass worker search`",
    "torch": f"{WITHOUT_TORCH}; {GET_TORCH}",
    "train_worker": "no training worker has sent a heartbeat for 15 s: trainings wait; run `nnmass worker train`",
    "files_worker": "no files worker has sent a heartbeat for 15 s: exports and measurements wait; "
    "run `nnmass worker files`",
    "maintenance_worker": "no dedicated sweeper runs: the other processes sweep, but nothing is deleted by age; "
    "run `nnmass worker maintenance`",
}
"""For each part: what its absence means, and what to do."""

log = logging.getLogger("nnmass.health")


def readiness(database: Database, settings: Settings, *, stopping: bool) -> JsonObject:
    """Return which parts are available and which are missing, JSON-ready.

    stopping: whether this process is shutting down.
    """
    state: JsonObject = {"database": False, "schema_current": False}
    queues: dict[str, JsonObject] = {}
    torch: bool | None = None
    try:
        with database.read() as session:
            state["database"] = True
            state["schema_current"] = migrate.is_current(session.connection())
            if state["schema_current"]:
                queues = {name: _queue(session, name) for name in broker.QUEUES}
                torch = torch_found(session, settings)
    except SQLAlchemyError as error:
        log.warning("database not available: %s", type(error).__name__)
        state["database"] = False
    state |= {"queues": queues}
    state["broker"] = broker.reachable(settings)
    state["torch"] = torch
    missing = ["running"] if stopping else []
    missing += [part for part in ("database", "schema_current", "broker") if not state[part]]
    missing += ["torch"] if state["torch"] is False else []
    missing += [f"{name}_worker" for name, queue in queues.items() if not queue["workers"]]
    ready = state["database"] and state["schema_current"] and not stopping
    return {"ready": ready, "missing": missing, "advice": [ADVICE[part] for part in missing], **state}


def _queue(session: Session, name: str) -> JsonObject:
    moment = now(session)
    pending = (State.QUEUED, State.RUNNING)
    states = select(Job.state, func.count()).where(Job.queue == name, Job.state.in_(pending)).group_by(Job.state)
    counts = dict(session.execute(states).all())
    oldest = session.execute(
        select(Job.created_at).where(Job.queue == name, Job.state == State.QUEUED).order_by(Job.id).limit(1)
    ).scalar_one_or_none()
    workers = session.execute(
        select(func.count()).where(WorkerBeat.queue == name, WorkerBeat.seen_at > moment - WORKER_SILENT)
    ).scalar_one()
    return {
        "queued": counts.get(State.QUEUED, 0),
        "running": counts.get(State.RUNNING, 0),
        "oldest_seconds": None if oldest is None else round((moment - oldest).total_seconds(), 3),
        "workers": workers,
    }
