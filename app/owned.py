"""What an owner has: rows that stand for one job each, found by their id and listed newest first."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy import BindParameter, Select, select
from sqlalchemy.orm import contains_eager

from app.jobs import State
from app.models import Job, Measurement, Search, Verification

Owned = TypeVar("Owned", Search, Verification, Measurement)


def owned(rows: type[Owned], kind: str, owner: str | BindParameter[str]) -> Select[Owned]:
    """Return the query of an owner's rows, each with its job; `kind` is that of their jobs."""
    query = select(rows).join(rows.job).where(Job.owner == owner, Job.kind == kind)
    return query.options(contains_eager(rows.job))


def newest(
    query: Select[Owned], before: str | None, limit: int, *, status: State | None, created_after: datetime | None
) -> Select[Owned]:
    """Return the query of up to `limit` of these rows, newest first, older than the one with the id `before`."""
    if before is not None:
        query = query.where(Job.id < UUID(before))
    if status is not None:
        query = query.where(Job.state == status)
    if created_after is not None:
        query = query.where(Job.created_at > created_after)
    return query.order_by(Job.id.desc()).limit(limit)
