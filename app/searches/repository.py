"""SQL of searches; every query for an owner is limited to that owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Integer,
    Row,
    Select,
    String,
    Text,
    Uuid,
    bindparam,
    cast,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.orm import Session, joinedload, selectinload
from sqlalchemy.types import TypeEngine

from app.http.pagination import USUAL
from app.jobs.lifecycle import State
from app.jobs.owned_rows import newest, of_owner, owned
from app.storage.db import UtcDateTime, json_list
from app.storage.folding import folded
from app.storage.models import Job, RankedArchitecture, Search, SearchTag
from nnmass_core.codec import JsonObject

KIND = "search"
ESCAPE = "\\"


@dataclass(frozen=True)
class Filters:
    """Which searches of the history to return."""

    status: State | None = None
    outcome: str | None = None
    family: str | None = None
    created_after: datetime | None = None
    tag: str | None = None
    q: str | None = None


_TAGS = select(SearchTag.tag).where(SearchTag.search_id == Search.id).order_by(SearchTag.position)
_WRITTEN = select(
    Job.id,
    Job.queue,
    Job.state,
    Job.attempt,
    Job.created_at,
    Job.started_at,
    Job.finished_at,
    Job.heartbeat_at,
    Job.progress_fraction,
    Job.progress_message,
    Job.error_code,
    Job.error_message,
    Job.source_id,
    Search.name,
    Search.note,
    Search.family,
    Search.request_digest,
    Search.result_digest,
    Search.outcome,
    Search.core_version,
    cast(Search.request, Text()).label("request"),
    cast(Search.result, Text()).label("result"),
    json_list(_TAGS.correlate(Search)).label("tags"),
)


def _written(*, literal: bool = False) -> Select[*tuple[Any, ...]]:
    """Return the query of the response's columns for an owner's searches; `literal` puts the owner into its text."""
    return of_owner(_WRITTEN, Search, KIND, bindparam("owner", type_=String(), literal_execute=literal))


@cache
def _one() -> tuple[Select[Search], Select[*tuple[Any, ...]]]:
    """Return the queries of one search: of its rows with its tags, and of the response's columns."""
    rows = owned(Search, KIND, bindparam("owner", type_=String())).options(joinedload(Search.tags))
    named = Job.id == bindparam("search", type_=Uuid())
    return rows.where(named), _written().where(named)


def _owned(owner: str) -> Select[Search]:
    return owned(Search, KIND, owner).options(selectinload(Search.tags))


def get(session: Session, owner: str, search_id: UUID) -> Search | None:
    """Return a search with its job and tags."""
    rows, _ = _one()
    return session.scalars(rows, {"owner": owner, "search": search_id}).unique().one_or_none()


def written(session: Session, owner: str, search_id: UUID) -> Row[*tuple[Any, ...]] | None:
    """Return the response's columns of a search."""
    _, line = _one()
    return _columns(session, line, {"owner": owner, "search": search_id}).one_or_none()


def get_to_change(session: Session, owner: str, search_id: UUID) -> Search | None:
    """Return a search, locked against changes and deletion until the transaction ends."""
    query = _owned(owner).where(Job.id == search_id).with_for_update(of=Search)
    return session.scalars(query).unique().one_or_none()


def several(session: Session, owner: str, search_ids: Sequence[UUID]) -> dict[UUID, Search]:
    """Return those of these searches that exist, by id."""
    found = session.scalars(_owned(owner).where(Job.id.in_(search_ids))).unique()
    return {row.id: row for row in found}


def page(
    session: Session, owner: str, filters: Filters, before: UUID | None, limit: int
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Return the response's columns of up to `limit` searches, newest first, older than the search `before`."""
    given: dict[str, object] = {name: value for name, value in vars(filters).items() if value is not None}
    if before is not None:
        given["before"] = before
    if filters.q is not None:
        given["q"] = f"%{_escaped(folded(filters.q))}%"
    once = given.keys() <= {"before"} and limit == USUAL + 1
    return _columns(session, _page(frozenset(given), once=once), {**given, "owner": owner, "limit": limit}).all()


def _columns(session: Session, query: Select[*tuple[Any, ...]], values: dict[str, object]) -> CursorResult[Any]:
    """Run a query of columns without the session, which would spend a fifth of the time looking for objects in them."""
    return session.connection().execute(query, values)


@cache
def _page(given: frozenset[str], *, once: bool) -> Select[*tuple[Any, ...]]:
    """Return the query of a page filtered by these parameters; cached, since building it takes as long as running it.

    once: with owner and limit in its text, so that PostgreSQL plans it once for each owner, and not each time: planning
    is a fifth of the page's time. One plan for all owners would be bad for some: they differ in size. Used for the most
    common page; the best plan for a filter depends on its value, and other lengths would give many texts.
    """

    def value(name: str, kind: TypeEngine[Any]) -> Any:
        return bindparam(name, type_=kind) if name in given else None

    query = newest(
        _written(literal=once),
        Search,
        value("before", Uuid()),
        bindparam("limit", type_=Integer(), literal_execute=once),
        status=value("status", String()),
        created_after=value("created_after", UtcDateTime()),
    )
    if "outcome" in given:
        query = query.where(Search.outcome == value("outcome", String()))
    if "family" in given:
        query = query.where(Search.family == value("family", String()))
    if "tag" in given:
        tagged = select(SearchTag.search_id).where(SearchTag.tag == value("tag", String()))
        query = query.where(Search.id.in_(tagged))
    if "q" in given:
        pattern = value("q", String())
        found = (column.like(pattern, escape=ESCAPE) for column in (Search.folded_name, Search.folded_note))
        query = query.where(or_(*found))
    return query


def _escaped(words: str) -> str:
    for special in (ESCAPE, "%", "_"):
        words = words.replace(special, ESCAPE + special)
    return words


PENDING = (State.QUEUED, State.RUNNING)


def has_equal(session: Session, owner: str, digest: str) -> bool:
    """Return whether a search with this digest has succeeded or can still succeed."""
    query = of_owner(select(Search.id), Search, KIND, owner)
    query = query.where(Search.request_digest == digest, Job.state.in_((*PENDING, State.SUCCEEDED)))
    return bool(session.execute(select(query.exists())).scalar_one())


def same(session: Session, owner: str, digest: str, name: str, tags: Sequence[str], note: str) -> Search | None:
    """Return the newest search with this digest, name, tags and note that has succeeded or can still succeed."""
    query = _owned(owner).where(Search.request_digest == digest, Job.state.in_((*PENDING, State.SUCCEEDED)))
    query = query.where(Search.name == name, Search.note == note)
    of_it = select(SearchTag.search_id).where(SearchTag.search_id == Search.id)
    for position, tag in enumerate(tags):
        query = query.where(of_it.where(SearchTag.position == position, SearchTag.tag == tag).exists())
    query = query.where(~of_it.where(SearchTag.position >= len(tags)).exists())
    return session.scalars(query.order_by(Search.id.desc()).limit(1)).unique().one_or_none()


def with_result(session: Session, owner: str, digest: str) -> Search | None:
    """Return the newest search with this digest that has succeeded, locked against deletion.

    A caller copies its rows: they must stay until the copy is committed.
    """
    query = _owned(owner).where(Search.request_digest == digest, Job.state == State.SUCCEEDED)
    query = query.order_by(Search.id.desc()).limit(1).with_for_update(read=True, key_share=True, of=Search)
    return session.scalars(query).unique().one_or_none()


def pending(session: Session, owner: str, digest: str) -> UUID | None:
    """Return the oldest search with this digest that can still succeed."""
    query = of_owner(select(Search.id), Search, KIND, owner)
    query = query.where(Search.request_digest == digest, Job.state.in_(PENDING))
    return session.scalars(query.order_by(Search.id).limit(1)).one_or_none()


def copy_ranking(session: Session, source_id: UUID, search_id: UUID) -> None:
    """Give a search the ranking of another."""
    columns = [column for column in RankedArchitecture.__table__.c if column.name != "search_id"]
    source = select(literal(search_id, Uuid()), *columns).where(RankedArchitecture.search_id == source_id)
    names = ["search_id", *(column.name for column in columns)]
    session.execute(insert(RankedArchitecture).from_select(names, source))


def proved_result_digest(session: Session, digest: str) -> str | None:
    """Return the result digest of any owner's succeeded search with this request digest and a proved result."""
    optimal = Search.result["optimal"].as_boolean()
    query = select(Search.result_digest, optimal).where(
        Search.request_digest == digest, Search.result_digest.is_not(None)
    )
    found = session.execute(query.order_by(Search.id.desc()).limit(1)).one_or_none()
    return found[0] if found is not None and found[1] else None


def _of(owner: str, search_ids: Sequence[UUID]) -> ColumnElement[bool]:
    """Return the condition that a ranked architecture belongs to these searches, if they are this owner's."""
    searches = select(Job.id).where(Job.owner == owner, Job.kind == KIND, Job.id.in_(search_ids))
    return RankedArchitecture.search_id.in_(searches)


def ranking(
    session: Session, owner: str, search_id: UUID, after: int = 0, limit: int | None = None
) -> Sequence[RankedArchitecture]:
    """Return the ranks of a ranking after rank `after`, all or the first `limit` of them."""
    query = select(RankedArchitecture).where(_of(owner, [search_id]), RankedArchitecture.rank > after)
    return session.scalars(query.order_by(RankedArchitecture.rank).limit(limit)).all()


def best(session: Session, owner: str, search_ids: Sequence[UUID]) -> dict[UUID, RankedArchitecture]:
    """Return the first of each of these searches' rankings, by search; its rank is that at which the ranking starts."""
    row = RankedArchitecture
    first = select(row.search_id, func.min(row.rank)).where(_of(owner, search_ids)).group_by(row.search_id)
    query = select(row).where(tuple_(row.search_id, row.rank).in_(first))
    return {found.search_id: found for found in session.scalars(query)}


def shared_places(session: Session, owner: str, search_ids: Sequence[UUID]) -> Sequence[Row[str, UUID, int]]:
    """Return (arch_id, search, rank) of every architecture that two or more of these searches ranked."""
    searches = func.count(RankedArchitecture.search_id.distinct())
    shared = select(RankedArchitecture.arch_id).where(_of(owner, search_ids))
    shared = shared.group_by(RankedArchitecture.arch_id).having(searches > 1)
    columns = (RankedArchitecture.arch_id, RankedArchitecture.search_id, RankedArchitecture.rank)
    query = select(*columns).where(_of(owner, search_ids), RankedArchitecture.arch_id.in_(shared))
    return session.execute(query).all()


def figures(session: Session, owner: str, search_ids: Sequence[UUID], arch_ids: Sequence[str]) -> dict[str, JsonObject]:
    """Return the figures of some architectures in these searches' rankings, by arch_id."""
    query = select(RankedArchitecture).where(_of(owner, search_ids), RankedArchitecture.arch_id.in_(arch_ids))
    return {row.arch_id: row.figures for row in session.scalars(query)}
