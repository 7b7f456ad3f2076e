"""SQL of searches; every query is scoped to an owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session, contains_eager, selectinload

from app.jobs import State
from app.models import Job, RankedArchitecture, Search, SearchTag

KIND = "search"
ESCAPE = "\\"


@dataclass(frozen=True)
class Filters:
    """Which searches of the history are wanted."""

    status: State | None = None
    family: str | None = None
    created_after: datetime | None = None
    tag: str | None = None
    q: str | None = None


def _owned(owner: str) -> Select[Search]:
    return (
        select(Search)
        .join(Search.job)
        .where(Job.owner == owner, Job.kind == KIND)
        .options(contains_eager(Search.job), selectinload(Search.tags))
    )


def get(session: Session, owner: str, search_id: UUID) -> Search | None:
    """Return a search with its job and tags."""
    return session.scalars(_owned(owner).where(Job.id == search_id)).unique().one_or_none()


def page(session: Session, owner: str, filters: Filters, before: UUID | None, limit: int) -> Sequence[Search]:
    """Return up to `limit` searches, newest first, older than the search `before`."""
    query = _owned(owner).order_by(Job.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Job.id < before)
    if filters.status is not None:
        query = query.where(Job.state == filters.status)
    if filters.created_after is not None:
        query = query.where(Job.created_at > filters.created_after)
    if filters.family is not None:
        query = query.where(Search.family == filters.family)
    if filters.tag is not None:
        query = query.where(Search.id.in_(select(SearchTag.search_id).where(SearchTag.tag == filters.tag)))
    if filters.q is not None:
        pattern = f"%{_escaped(filters.q)}%"
        query = query.where(or_(Search.name.ilike(pattern, ESCAPE), Search.note.ilike(pattern, ESCAPE)))
    return session.scalars(query).unique().all()


def _escaped(words: str) -> str:
    for special in (ESCAPE, "%", "_"):
        words = words.replace(special, ESCAPE + special)
    return words


def reusable(session: Session, owner: str, digest: str) -> Search | None:
    """Return the newest search with this digest that has succeeded or may still do so."""
    usable = (State.QUEUED, State.RUNNING, State.SUCCEEDED)
    query = _owned(owner).where(Search.request_digest == digest, Job.state.in_(usable))
    return session.scalars(query.order_by(Search.id.desc()).limit(1)).unique().one_or_none()


def proved_result_digest(session: Session, digest: str) -> str | None:
    """Return the result digest of any succeeded search with this request digest whose answer is proved."""
    query = select(Search).where(Search.request_digest == digest, Search.result_digest.is_not(None))
    found = session.scalars(query.order_by(Search.id.desc()).limit(1)).one_or_none()
    return found.result_digest if found is not None and found.result and found.result["optimal"] else None


def ranking(session: Session, search_id: UUID, after: int, limit: int) -> Sequence[RankedArchitecture]:
    """Return up to `limit` places of a ranking after rank `after`."""
    query = select(RankedArchitecture).where(RankedArchitecture.search_id == search_id, RankedArchitecture.rank > after)
    return session.scalars(query.order_by(RankedArchitecture.rank).limit(limit)).all()
