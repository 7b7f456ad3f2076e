"""Routes of searches."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError

from app.errors import NotFound
from app.http.concurrency import Threads
from app.http.dependencies import (
    Admitted,
    IdempotencyKey,
    Owner,
    PagingDep,
    ReadSession,
    StreamsDep,
    ThreadsDep,
    WriteSession,
)
from app.http.event_streams import RESPONSES, LastEventId
from app.http.fields import BODY_ERRORS, UUID_EXAMPLE, CreatedAfter, FamilyFilter, StatusFilter, problems
from app.http.idempotency import Submission
from app.jobs.lifecycle import State
from app.searches import answers, comparison, export, service
from app.searches.repository import Filters
from app.searches.schemas import (
    Comparison,
    Outcome,
    PreviewAnswer,
    Question,
    RankedPage,
    SearchAnswer,
    SearchBody,
    SearchChanges,
    SearchExport,
    SearchList,
)
from app.storage.db import is_unavailable
from app.storage.ids import UUID_TEXT, id_of
from nnmass_core.codec import JsonObject

router = APIRouter(prefix="/v1/searches", tags=["searches"])

ExportFormat = Annotated[
    Literal["json", "csv"],
    Query(description="`json`: search and ranking; `csv`: only the ranking.", examples=["json"]),
]
LONGEST_WAIT_SECONDS = 30
POLL_SECONDS = 0.05
PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])", re.IGNORECASE)


Prefer = Annotated[
    str | None,
    Header(alias="Prefer", max_length=200, description="`wait=SECONDS`, at most 30.", examples=["wait=30"]),
]
SearchId = Annotated[UUID, id_of("search"), Field(description="Id of the search.", examples=[UUID_EXAMPLE])]


@router.post(
    "",
    status_code=202,
    response_model=SearchAnswer,
    responses={
        200: {"model": SearchAnswer, "description": "The search has finished."},
        **problems(*BODY_ERRORS),
    },
)
async def submit_search(
    body: SearchBody,
    request: Request,
    threads: ThreadsDep,
    owner: Owner,
    idempotency_key: IdempotencyKey,
    prefer: Prefer = None,
) -> JSONResponse:
    """Submit a search. The result of an equal earlier search is reused, unless `fresh` is true.

    With the same name, tags and note the earlier search itself is returned. Under other ones, the search is stored with
    the result of the earlier one, which `reused_from` names; while that one runs, the new one waits for it.

    `Prefer: wait=SECONDS` (at most 30) delays the response until the search has finished or the time is over.
    """
    done = await threads.write(owner, service.submit, body, idempotency_key)
    return await _submitted(done, threads, owner, request, prefer)


async def _submitted(
    done: Submission, threads: Threads, owner: str, request: Request, prefer: str | None
) -> JSONResponse:
    """Answer a submission, after waiting for its result where the client prefers to."""
    status, content = done.status, done.body
    if status == 202 and prefer is not None and (wait := PREFER_WAIT.search(prefer)):
        seconds = min(int(wait.group(1)), LONGEST_WAIT_SECONDS)
        # of one with a source, the row itself says whether it took the result of that
        reused = bool(done.body["reused"]) and done.body.get("reused_from") is None
        look = partial(threads.read, owner, service.whole, UUID(str(done.body["id"])), reused=reused)
        status, content = await _wait(look, done, seconds, request)
    return JSONResponse(content, status, headers={"Location": done.location})


async def _wait(
    look: Callable[[], Awaitable[JsonObject]], done: Submission, seconds: int, request: Request
) -> tuple[int, JsonObject]:
    """Poll until the search has ended, the time is over, or client or server stops; holds no session while waiting.

    A search that was deleted, perhaps before this repeat of its request, is returned in its last known state. So is one
    while the database is unavailable: it was accepted, so the response must not be an error.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    stopping = request.app.state.stopping
    content = done.body
    while (
        asyncio.get_running_loop().time() < deadline and not stopping.is_set() and not await request.is_disconnected()
    ):
        await asyncio.sleep(POLL_SECONDS)
        try:
            content = await look()
        except NotFound:
            break
        except SQLAlchemyError as error:
            if not is_unavailable(error):
                raise
        if content["status"] not in (State.QUEUED, State.RUNNING):
            return 200, content
    return 202, content


@router.post("/preview", response_model=PreviewAnswer, responses=problems(*BODY_ERRORS))
async def preview_search(body: Question, threads: ThreadsDep, owner: Owner) -> service.Preview:
    """Run a search immediately without storing it. Returns 422 if one second is not enough."""
    return await threads.run_cpu(service.preview, await threads.read(owner, service.read, body))


@router.get("", response_model=SearchList, responses=problems(422, 503))
def list_searches(
    session: ReadSession,
    owner: Owner,
    paging: PagingDep,
    status: StatusFilter = None,
    outcome: Annotated[
        Outcome | None, Query(description="Only searches that have proved this.", examples=["nothing_fits"])
    ] = None,
    family: FamilyFilter = None,
    created_after: CreatedAfter = None,
    tag: Annotated[
        str | None, Query(max_length=64, description="Only searches with this tag.", examples=["edge"])
    ] = None,
    q: Annotated[
        str | None,
        Query(max_length=200, description="Only searches with this text in the name or note.", examples=["camera"]),
    ] = None,
) -> Response:
    """List searches, newest first."""
    filters = Filters(status=status, outcome=outcome, family=family, created_after=created_after, tag=tag, q=q)
    rows, following = service.history(session, owner, filters, paging)
    return Response(answers.write_list(session, rows, following), media_type="application/json")


@router.get("/compare", response_model=Comparison, responses=problems(404, 422, 503))
def compare_searches(
    session: ReadSession,
    owner: Owner,
    ids: Annotated[
        str,
        Query(
            max_length=1000,
            description="2 to 4 search ids, separated by commas.",
            examples=[f"{UUID_EXAMPLE},{UUID_EXAMPLE[:-1]}0"],
            json_schema_extra={"pattern": f"^{UUID_TEXT}(,{UUID_TEXT}){{1,3}}$"},
        ),
    ],
) -> comparison.Compared:
    """Compare searches: their requests and results, the differences, and the architectures that they share."""
    return comparison.compare(session, owner, ids.split(","))


@router.get("/{search_id}", response_model=SearchAnswer, responses=problems(404, 422, 503))
def get_search(search_id: SearchId, session: ReadSession, owner: Owner) -> Response:
    """Return a search with its status and, once it has succeeded, its certificate."""
    found = service.look(session, owner, search_id)
    return Response(answers.write(session, found), media_type="application/json")


@router.patch("/{search_id}", response_model=SearchAnswer, responses=problems(404, *BODY_ERRORS))
def change_search(search_id: SearchId, body: SearchChanges, session: WriteSession, owner: Owner) -> SearchAnswer:
    """Change the name, tags or note of a search. Omitted fields remain unchanged. The request cannot be changed."""
    return answers.answer(session, service.change(session, owner, search_id, body))


@router.delete("/{search_id}", status_code=204, responses=problems(404, 409, *BODY_ERRORS))
def delete_search(search_id: SearchId, session: WriteSession, owner: Owner) -> None:
    """Delete a search and its ranking. Its trainings remain, without the search. A running search returns 409."""
    service.delete(session, owner, search_id)


@router.get("/{search_id}/architectures", response_model=RankedPage, responses=problems(404, 422, 503))
def list_architectures(
    search_id: SearchId,
    session: ReadSession,
    owner: Owner,
    paging: PagingDep,
) -> JsonObject:
    """Return the ranking, best first; empty until the search has succeeded."""
    items, following = service.ranking(session, owner, search_id, paging)
    return {"items": items, "next_cursor": following}


@router.get(
    "/{search_id}/export",
    response_model=SearchExport,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "The file."},
        **problems(404, 422, 503),
    },
)
def export_search(
    search_id: SearchId,
    session: ReadSession,
    owner: Owner,
    response: Response,
    format: ExportFormat = "json",  # noqa: A002 - the contract's word
) -> Any:
    """Return a search as a file: the search with its full ranking as JSON, or only the ranking as CSV.

    The CSV table has a row for each architecture: its figures, the width of each cell or the channels of each stage,
    the slack under each limit, the unused share of each upper limit, and in the last column its definition as JSON.
    """
    attachment = f'attachment; filename="search-{search_id}.{format}"'
    if format == "csv":
        content = export.table(session, owner, search_id)
        return Response(content, media_type="text/csv", headers={"Content-Disposition": attachment})
    response.headers["Content-Disposition"] = attachment
    return export.document(session, owner, search_id)


@router.post("/{search_id}/cancel", response_model=SearchAnswer, responses=problems(404, *BODY_ERRORS))
def cancel_search(search_id: SearchId, session: WriteSession, owner: Owner) -> SearchAnswer:
    """Cancel a search. A search that has ended remains unchanged."""
    return answers.answer(session, service.cancel(session, owner, search_id))


@router.post(
    "/{search_id}/next",
    status_code=202,
    response_model=SearchAnswer,
    responses={
        200: {"model": SearchAnswer, "description": "The search of the following ranks has finished."},
        **problems(404, 409, *BODY_ERRORS),
    },
)
async def next_ranks(
    search_id: SearchId,
    request: Request,
    threads: ThreadsDep,
    owner: Owner,
    idempotency_key: IdempotencyKey,
    prefer: Prefer = None,
) -> JSONResponse:
    """Submit the search of the ranks that follow those of a search, with its name, tags and note.

    It is the same request with a later `first_rank`, submitted as by `POST /v1/searches`: a repeat returns the same
    search. 409 if the search has not succeeded, or if no ranks follow: it is a front, its ranking has fewer than
    `top_k`, or it reaches the last rank.
    """
    done = await threads.write(owner, service.submit_next, search_id, idempotency_key)
    return await _submitted(done, threads, owner, request, prefer)


@router.post(
    "/{search_id}/retry",
    status_code=202,
    response_model=SearchAnswer,
    responses={
        200: {"model": SearchAnswer, "description": "Queued or running: unchanged."},
        **problems(404, 409, *BODY_ERRORS),
    },
)
def retry_search(search_id: SearchId, session: WriteSession, owner: Owner, response: Response) -> SearchAnswer:
    """Queue a failed or cancelled search again."""
    found, queued = service.retry(session, owner, search_id)
    response.status_code = 202 if queued else 200
    return answers.answer(session, found)


@router.get("/{search_id}/events", response_class=Response, responses={**RESPONSES, **problems(404, 422, 503)})
def stream_search_events(
    search_id: SearchId, session: ReadSession, streams: StreamsDep, owner: Owner, last: LastEventId, admitted: Admitted
) -> Response:
    """Stream the events of a search: `status`, `progress` and finally `done`, which contains the search.

    Every event has an id and the data `status`, `fraction`, `message` and `at`. After a disconnect, send the last
    received id as `Last-Event-ID` to receive the events after it.
    """
    found = service.get(session, owner, search_id)
    whole = partial(service.whole, owner=owner, search_id=search_id)
    return streams.response(found.job, last, whole, admitted)
