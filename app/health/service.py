"""What the service needs, and which of it is there."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import broker, schema
from app.config import Settings
from app.db import Database, now
from app.jobs import WORKER_SILENT, State
from app.models import Job, WorkerBeat

log = logging.getLogger("nnmass.health")


def readiness(database: Database, settings: Settings) -> dict[str, Any]:
    """Return what is there and what is missing, JSON-ready."""
    state: dict[str, Any] = {"database": False, "schema_current": False, "queues": {}}
    try:
        with database.read() as session:
            state["database"] = True
            state["schema_current"] = schema.is_current(session.connection())
            if state["schema_current"]:
                state["queues"] = {name: _queue(session, name) for name in broker.QUEUES}
    except SQLAlchemyError as error:
        log.warning("database not available: %s", type(error).__name__)
        state["database"] = False
    state["broker"] = broker.reachable(settings)
    missing = [part for part in ("database", "schema_current", "broker") if not state[part]]
    missing += [f"{name}_worker" for name, queue in state["queues"].items() if not queue["workers"]]
    ready = state["database"] and state["schema_current"]
    return {"ready": ready, "missing": missing, **state}


def _queue(session: Session, name: str) -> dict[str, Any]:
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
