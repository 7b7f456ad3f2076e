"""Operations on searches. Functions take a session and core values, and are independent of HTTP."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypedDict, TypeVar
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app import catalog
from app.errors import Invalid, NotFound, WrongState
from app.http.idempotency import Submission, fingerprint_of, once
from app.http.pagination import Paging
from app.jobs import lifecycle
from app.jobs.lifecycle import State
from app.predictions import Predictions
from app.searches import repository
from app.searches.answers import answer, item_of
from app.searches.repository import KIND, Filters
from app.searches.schemas import Question, SearchBody, SearchChanges
from app.storage.ids import new_id
from app.storage.locks import advisory_lock
from app.storage.models import Job, RankedArchitecture, Search, SearchTag
from nnmass import formatting
from nnmass_core import __version__
from nnmass_core.certificate import SearchResult
from nnmass_core.codec import JsonObject
from nnmass_core.engine.control import Control
from nnmass_core.request import SearchRequest, following_ranks
from nnmass_core.search import search

T = TypeVar("T")
QUEUE = "search"
PLACE = "/v1/searches"
NO_RANKS = "no ranks follow those of this search: it is a front, has fewer than `top_k`, or reaches the last rank"
PREVIEW_SECONDS = 1.0
PREVIEW_OPTIONS = 250_000
"""The most options of a space that is previewed: building and counting it takes as long as the search."""


def submit(session: Session, owner: str, body: SearchBody, idempotency_key: str | None) -> Submission:
    """Store a search for the workers, or reuse an earlier equal one.

    An earlier one with the same name, tags and note is returned itself. Under other ones, the new search takes the
    result of the earlier one. The same Idempotency-Key returns the first response again; with another body it raises
    Invalid. Raises DefinitionError that names the field.
    """
    request = read(session, owner, body)
    fingerprint = fingerprint_of(PLACE, body)
    return once(session, owner, idempotency_key, fingerprint, lambda: _submit(session, owner, body, request))


def following(row: Search) -> tuple[int, int] | None:
    """Return the first and the last of the ranks that follow those of a search; None where there are none."""
    return None if row.result is None else following_ranks(row.request, row.result["count"])


def submit_next(session: Session, owner: str, search_id: UUID, idempotency_key: str | None) -> Submission:
    """Store the search of the ranks that follow those of a search, with its name, tags and note, as `submit` does.

    Raises NotFound, and WrongState when the search has not succeeded or no ranks follow.
    """
    fingerprint = fingerprint_of(f"{PLACE}/{search_id}/next")
    return once(session, owner, idempotency_key, fingerprint, lambda: _submit_next(session, owner, search_id))


def _submit_next(session: Session, owner: str, search_id: UUID) -> Submission:
    row = get(session, owner, search_id)
    ranks = following(row)
    if ranks is None:
        raise WrongState(NO_RANKS if row.result is not None else "the search has no ranking yet")
    first, last = ranks
    more = {"first_rank": first, "top_k": last - first + 1, "spend": row.request.get("spend")}
    said = {"name": row.name, "tags": [tag.tag for tag in row.tags], "note": row.note}
    return submit(session, owner, SearchBody.model_validate({**row.request, **more, **said}), None)


def _submit(session: Session, owner: str, body: SearchBody, request: SearchRequest) -> Submission:
    if body.fresh:  # it neither takes another's result nor waits for it: no need to take turns
        return _submission(session, _create(session, owner, body, request, None))
    advisory_lock(session, "digest", owner, request.digest)
    if not repository.has_equal(session, owner, request.digest):
        return _submission(session, _create(session, owner, body, request, None))
    same = repository.same(session, owner, request.digest, body.name, list(dict.fromkeys(body.tags)), body.note)
    if same is not None:
        return _submission(session, same, reused=True)
    source = repository.with_result(session, owner, request.digest)
    if source is not None:
        return _submission(session, _copy(session, owner, body, request, source))
    pending = repository.pending(session, owner, request.digest)
    return _submission(session, _create(session, owner, body, request, pending))


def _submission(session: Session, row: Search, *, reused: bool = False) -> Submission:
    body = answer(session, row, reused=reused)
    status = 200 if body.status == State.SUCCEEDED else 202
    return Submission(status, body.model_dump(mode="json"), f"{PLACE}/{body.id}")


def _create(session: Session, owner: str, body: SearchBody, request: SearchRequest, pending: UUID | None) -> Search:
    """Add a search to run, or to take the result of an equal one that is still pending."""
    job = lifecycle.enqueue(session, new_id(), kind=KIND, queue=QUEUE, owner=owner, source_id=pending)
    return _add(session, job, body, request)


def _copy(session: Session, owner: str, body: SearchBody, request: SearchRequest, source: Search) -> Search:
    """Add a search with the result of an equal one."""
    job = lifecycle.add_succeeded(session, new_id(), kind=KIND, queue=QUEUE, owner=owner, source_id=origin_of(source))
    row = _add(session, job, body, request)
    take_result(session, row, source)
    return row


def origin_of(found: Search) -> UUID:
    """Return the search that computed a search's result: another one if its result was taken from there."""
    return found.job.source_id or found.id


def take_result(session: Session, row: Search, source: Search) -> None:
    """Give a search the result of an equal one, as rows of its own: either may be deleted."""
    row.result, row.result_digest, row.outcome = source.result, source.result_digest, source.outcome
    row.request_digest, row.core_version = source.request_digest, source.core_version
    repository.copy_ranking(session, source.id, row.id)
    session.flush()


def _add(session: Session, job: Job, body: SearchBody, request: SearchRequest) -> Search:
    row = Search(
        id=job.id,
        job=job,
        name=body.name,
        note=body.note,
        tags=_tags(body.tags),
        family=request.space.family,
        request=request.to_json(),
        request_version=request.version,
        request_digest=request.digest,
        core_version=__version__,
    )
    session.add(row)
    session.flush()
    return row


def _tags(tags: list[str]) -> list[SearchTag]:
    return [SearchTag(position=i, tag=tag) for i, tag in enumerate(dict.fromkeys(tags))]


def get(session: Session, owner: str, search_id: UUID) -> Search:
    """Return a search. Raises NotFound."""
    return _known(repository.get(session, owner, search_id))


def _known(found: T | None) -> T:
    if found is None:
        raise NotFound("there is no such search")
    return found


def change(session: Session, owner: str, search_id: UUID, changes: SearchChanges) -> Search:
    """Change the given ones of name, tags and note. Raises NotFound."""
    found = _known(repository.get_to_change(session, owner, search_id))
    given = changes.model_dump(exclude_unset=True)
    if "tags" in given:
        given["tags"] = _tags(given["tags"])
    for name, value in given.items():
        setattr(found, name, value)
    session.flush()
    return found


def delete(session: Session, owner: str, search_id: UUID) -> None:
    """Delete a search and its ranking; trainings of its networks stay. Raises NotFound, WrongState while it runs."""
    get(session, owner, search_id)
    if not lifecycle.delete(session, search_id):
        _get_again(session, owner, search_id)  # it may no longer exist
        raise WrongState("the search is running; cancel it first")


def cancel(session: Session, owner: str, search_id: UUID) -> Search:
    """Cancel a search; an ended one does not change. Raises NotFound."""
    get(session, owner, search_id)
    lifecycle.cancel(session, search_id)
    return _get_again(session, owner, search_id)


def retry(session: Session, owner: str, search_id: UUID) -> tuple[Search, bool]:
    """Queue a failed or cancelled search again, and return whether it was queued. A pending one does not change.

    Raises NotFound, and WrongState when it has succeeded.
    """
    get(session, owner, search_id)
    queued = lifecycle.retry(session, search_id)
    found = _get_again(session, owner, search_id)
    if found.job.state == State.SUCCEEDED:
        raise WrongState("the search has succeeded; submit it with `fresh` to run it again")
    return found, queued


def _get_again(session: Session, owner: str, search_id: UUID) -> Search:
    """Return the current state of a search: others may have changed or deleted it since this session read it."""
    session.expire_all()
    return get(session, owner, search_id)


def history(
    session: Session, owner: str, filters: Filters, paging: Paging
) -> tuple[Sequence[Row[*tuple[Any, ...]]], str | None]:
    """Return one page of the history, newest first, and the cursor of the next."""
    scope = {"list": "searches", "owner": owner, "filters": repr(filters)}
    return paging.page(
        scope,
        lambda before, limit: repository.page(session, owner, filters, before and UUID(before), limit),
        lambda row: str(row.id),
    )


def look(session: Session, owner: str, search_id: UUID) -> Row[*tuple[Any, ...]]:
    """Return what is answered of a search. Raises NotFound."""
    return _known(repository.written(session, owner, search_id))


def ranking(session: Session, owner: str, search_id: UUID, paging: Paging) -> tuple[list[JsonObject], str | None]:
    """Return one page of a search's ranking, and the cursor of the next page. Raises NotFound."""
    search = get(session, owner, search_id)
    scope = {"list": "ranking", "owner": owner, "search": str(search_id)}
    rows, following = paging.page(
        scope,
        lambda after, limit: repository.ranking(session, owner, search_id, after or 0, limit),
        lambda row: row.rank,
    )
    predictions = Predictions(session, owner, search.family)
    return [item_of(search, row, predictions) for row in rows], following


def read(session: Session, owner: str, question: Question) -> SearchRequest:
    """Convert a REST request to the core's request. Raises DefinitionError that names the field."""
    return SearchRequest.asked(
        question.model_dump(exclude_unset=True),
        lambda arch_id: catalog.definition(session, owner, arch_id),
        lambda name: catalog.known_device(session, owner, name),
    )


class Preview(TypedDict):
    """The request, the certificate and the ranking of a search that is not stored."""

    request: JsonObject
    outcome: str
    result: JsonObject
    items: list[JsonObject]


def preview(request: SearchRequest) -> Preview:
    """Return the result of a search immediately and store nothing. Raises Invalid when a second is not enough."""
    if request.space.option_bound() > PREVIEW_OPTIONS:
        raise _too_large()
    started = time.monotonic()
    seconds = min(PREVIEW_SECONDS, request.time_limit_seconds)
    found = search(request, Control.timed(lambda: (time.monotonic() - started) / seconds))
    # a front whose labels take too much memory has gaps, however much time it has
    if not found.certificate.optimal and time.monotonic() > started + seconds:
        raise _too_large()
    items = [ranked.to_json(request.budget.precision) for ranked in found.ranking]
    result = found.report(time.monotonic() - started)
    return {
        "request": request.to_json(),
        "outcome": formatting.outcome(result),
        "result": result,
        "items": items,
    }


def _too_large() -> Invalid:
    return Invalid.at("space", "too_large", "is too large for a preview of one second; submit a search instead")


def rows_of(search_id: UUID, found: SearchResult, precision: str) -> list[RankedArchitecture]:
    """Return the rows that store a ranking."""
    return [
        RankedArchitecture(
            search_id=search_id,
            rank=ranked.rank,
            arch_id=ranked.architecture.arch_id,
            architecture=ranked.architecture.definition(),
            figures=ranked.figures(precision),
        )
        for ranked in found.ranking
    ]


def proved_digest(session: Session, request_digest: str) -> str | None:
    """Return the result digest of an equal request, if its result is proved: equal runs must agree."""
    return repository.proved_result_digest(session, request_digest)


def whole(session: Session, owner: str, search_id: UUID, *, reused: bool = False) -> JsonObject:
    """Return a search as in its last event. Raises NotFound."""
    return answer(session, get(session, owner, search_id), reused=reused).model_dump(mode="json")
