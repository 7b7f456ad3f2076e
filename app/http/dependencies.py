"""Dependencies of routes: settings, sessions, the owner of the request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Annotated, cast

from fastapi import Depends, Header, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import WithJsonSchema
from sqlalchemy.orm import Session

from app.auth.callers import Admission, Callers
from app.auth.keys import Caller, Scope
from app.auth.rate_limits import RateLimits
from app.config import Settings
from app.errors import Forbidden
from app.http import cursors, idempotency
from app.http.concurrency import Threads
from app.http.cursors import Cursors
from app.http.event_streams import Streams
from app.http.fields import CURSOR_EXAMPLE, PAGE_LIMIT, UUID_EXAMPLE
from app.http.middleware.hosts_and_origins import SAFE_METHODS
from app.http.pagination import USUAL, Paging
from app.observability import logs
from app.storage.db import Database

KEY_COOKIE = "nnmass_key"
"""The cookie with the key of a signed-in user of the web pages; scripts and other sites cannot use it (ADR 13)."""

BEARER = HTTPBearer(
    auto_error=False, description="An API key, `nnm_...`. Not required until the first key has been created."
)


async def settings_of(request: Request) -> Settings:
    """Return the settings of this application."""
    return cast("Settings", request.app.state.settings)


async def database_of(request: Request) -> Database:
    """Return the application's database."""
    return cast("Database", request.app.state.database)


async def cursors_of(request: Request) -> Cursors:
    """Return the signer of list cursors."""
    return cast("Cursors", request.app.state.cursors)


PageLimit = Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="Number of items of a page.", examples=[20])]
PageCursor = Annotated[
    str | None,
    Query(max_length=cursors.LONGEST, description="`next_cursor` of the previous page.", examples=[CURSOR_EXAMPLE]),
]


async def paging_of(request: Request, limit: PageLimit = USUAL, cursor: PageCursor = None) -> Paging:
    """Return which page of a list is requested."""
    return Paging(await cursors_of(request), cursor, limit)


async def wide_paging_of(request: Request, limit: PageLimit = PAGE_LIMIT, cursor: PageCursor = None) -> Paging:
    """Return which page of a short list is requested: without a limit, as many items as a page may have."""
    return Paging(await cursors_of(request), cursor, limit)


async def threads_of(request: Request) -> Threads:
    """Return the process's queue and threads for requests."""
    return cast("Threads", request.app.state.threads)


async def streams_of(request: Request) -> Streams:
    """Return the process's event streams."""
    return cast("Streams", request.app.state.streams)


KeyText = Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{idempotency.KEY.pattern}$"})]


async def idempotency_key_of(
    idempotency_key: Annotated[
        KeyText | None,
        Header(
            alias="Idempotency-Key",
            description="A repeat with the same key gets the first response.",
            examples=[UUID_EXAMPLE],
        ),
    ] = None,
) -> str | None:
    """Return the request's Idempotency-Key. Raises Invalid."""
    return idempotency.check(idempotency_key)


async def caller_of(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]
) -> Caller:
    """Return the caller. Raises Unauthenticated, and TooMany when the caller sends requests too often."""
    callers, threads = cast("Callers", request.app.state.callers), await threads_of(request)
    token = _token_of(request, credentials)
    caller = callers.remembered(token)
    if caller is None:
        caller = await threads.look_up(callers.known, token)
    if callers.use_is_due(caller):
        await threads.run_db(caller.owner, callers.note_use, caller)
    logs.bind(owner=caller.owner)
    cast("RateLimits", request.app.state.rate_limits).count(caller)
    return caller


def _token_of(request: Request, credentials: HTTPAuthorizationCredentials | None) -> str | None:
    return request.cookies.get(KEY_COOKIE) if credentials is None else credentials.credentials


CallerDep = Annotated[Caller, Depends(caller_of)]


async def owner_of(caller: CallerDep) -> str:
    """Return the owner whose rows the request may see; every query is limited to that owner."""
    return caller.owner


Owner = Annotated[str, Depends(owner_of)]


async def admitted_of(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]
) -> Admission:
    """Return the check of whether the request's key is still valid."""
    return Admission(request.app.state.callers, _token_of(request, credentials))


def allows(scope: Scope) -> Callable[[Request, Caller], Awaitable[None]]:
    """Return the check that a caller may use a route: reading needs `read`, everything else needs this scope."""

    async def check(request: Request, caller: CallerDep) -> None:
        needed = Scope.READ if request.method in SAFE_METHODS else scope
        if not caller.may(needed):
            raise Forbidden(f"the API key lacks the scope {needed}")

    return check


async def _database_in_turn(request: Request, owner: Owner) -> AsyncIterator[Database]:
    """Wait, without using a thread, until fewer requests use the database."""
    async with (await threads_of(request)).turn(owner):
        yield await database_of(request)


InTurn = Annotated[Database, Depends(_database_in_turn, scope="function")]


async def _read_session(request: Request, owner: Owner) -> AsyncIterator[Session]:
    threads = await threads_of(request)
    # not by `InTurn`: one dependency less is a twentieth of a request that reads one row
    async with threads.turn(owner):
        session = threads.database.reader()  # it connects on first use, in the route's own thread
        try:
            yield session
        finally:
            session.close()  # returns the connection to the pool, which does no I/O


def _write_session(database: InTurn) -> Iterator[Session]:
    with database.write() as session:
        yield session


# scope="function": the commit runs before the response is sent, so a 2xx response never precedes a failed commit
ReadSession = Annotated[Session, Depends(_read_session, scope="function")]
WriteSession = Annotated[Session, Depends(_write_session, scope="function")]
DatabaseDep = Annotated[Database, Depends(database_of)]
SettingsDep = Annotated[Settings, Depends(settings_of)]
CursorsDep = Annotated[Cursors, Depends(cursors_of)]
PagingDep = Annotated[Paging, Depends(paging_of)]
WidePagingDep = Annotated[Paging, Depends(wide_paging_of)]
Admitted = Annotated[Admission, Depends(admitted_of)]
ThreadsDep = Annotated[Threads, Depends(threads_of)]
StreamsDep = Annotated[Streams, Depends(streams_of)]
IdempotencyKey = Annotated[str | None, Depends(idempotency_key_of)]
