"""Queries of an owner's rows that stand for one job each: found by id, and listed newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import BindParameter, Select, select
from sqlalchemy.orm import contains_eager

from app.jobs.lifecycle import State
from app.storage.models import Campaign, Job, Measurement, Search, Verification

Owned = TypeVar("Owned", Search, Verification, Measurement, Campaign)
Query = TypeVar("Query", bound=Select[*tuple[Any, ...]])


def owned(rows: type[Owned], kind: str, owner: str | BindParameter[str]) -> Select[Owned]:
    """Return the query of an owner's rows, each with its job; `kind` is the kind of these jobs."""
    return of_owner(select(rows), rows, kind, owner).options(contains_eager(rows.job))


def of_owner(query: Query, rows: type[Owned], kind: str, owner: str | BindParameter[str]) -> Query:
    """Join a query of `rows`, whatever it selects of them, with their jobs, and limit it to an owner's."""
    return query.join(rows.job).where(Job.owner == owner, Job.kind == kind)


def newest(
    query: Query,
    rows: type[Owned],
    before: UUID | BindParameter[UUID] | None,
    limit: int | BindParameter[int],
    *,
    status: State | BindParameter[State] | None,
    created_after: datetime | BindParameter[datetime] | None,
) -> Query:
    """Return the query of up to `limit` of these rows, newest first, older than the one with the id `before`."""
    if before is not None:
        # the condition names both tables: PostgreSQL does not infer one from the other, and would read all newer rows
        query = query.where(Job.id < before, rows.id < before)
    if status is not None:
        query = query.where(Job.state == status)
    if created_after is not None:
        query = query.where(Job.created_at > created_after)
    return query.order_by(Job.id.desc()).limit(limit)
