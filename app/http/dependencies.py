"""What routes are given: settings, sessions, the owner of the request."""

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
from app.http.fields import PAGE_LIMIT
from app.http.middleware.hosts_and_origins import SAFE_METHODS
from app.http.pagination import USUAL, Paging
from app.observability import logs
from app.storage.db import Database

KEY_COOKIE = "nnmass_key"
"""Holds the key of who signed in on the web pages; no script and no other site can use it (ADR 13)."""

BEARER = HTTPBearer(
    auto_error=False, description="An API key, `nnm_...`. Not required until the first key has been created."
)


async def settings_of(request: Request) -> Settings:
    """Return the settings this application was made with."""
    return cast("Settings", request.app.state.settings)


async def database_of(request: Request) -> Database:
    """Return the application's database."""
    return cast("Database", request.app.state.database)


async def cursors_of(request: Request) -> Cursors:
    """Return the signer of list cursors."""
    return cast("Cursors", request.app.state.cursors)


async def paging_of(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="Number of items of a page.")] = USUAL,
    cursor: Annotated[
        str | None, Query(max_length=cursors.LONGEST, description="`next_cursor` of the previous page.")
    ] = None,
) -> Paging:
    """Return which page of a list is wanted."""
    return Paging(await cursors_of(request), cursor, limit)


async def threads_of(request: Request) -> Threads:
    """Return the turns and threads of the process's requests."""
    return cast("Threads", request.app.state.threads)


async def streams_of(request: Request) -> Streams:
    """Return the process's event streams."""
    return cast("Streams", request.app.state.streams)


KeyText = Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{idempotency.KEY.pattern}$"})]


async def idempotency_key_of(
    idempotency_key: Annotated[
        KeyText | None,
        Header(alias="Idempotency-Key", description="A repeat with the same key gets the first response."),
    ] = None,
) -> str | None:
    """Return the request's Idempotency-Key. Raises Invalid."""
    return idempotency.check(idempotency_key)


async def caller_of(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]
) -> Caller:
    """Return who asks. Raises Unauthenticated, and TooMany when they ask too often."""
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
    """Return whose rows a request may see; every query is scoped to it."""
    return caller.owner


Owner = Annotated[str, Depends(owner_of)]


async def admitted_of(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]
) -> Admission:
    """Return what tells whether the request's key still counts."""
    return Admission(request.app.state.callers, _token_of(request, credentials))


def allows(scope: Scope) -> Callable[[Request, Caller], Awaitable[None]]:
    """Return the check that a caller may use a route: reading needs `read`, everything else this scope."""

    async def check(request: Request, caller: CallerDep) -> None:
        needed = Scope.READ if request.method in SAFE_METHODS else scope
        if not caller.may(needed):
            raise Forbidden(f"the API key lacks the scope {needed}")

    return check


async def _database_in_turn(request: Request, owner: Owner) -> AsyncIterator[Database]:
    """Wait, without a thread, until few enough requests use the database."""
    async with (await threads_of(request)).turn(owner):
        yield await database_of(request)


InTurn = Annotated[Database, Depends(_database_in_turn, scope="function")]


async def _read_session(database: InTurn) -> AsyncIterator[Session]:
    session = database.reader()  # it connects when it is first used, in the route's own thread
    try:
        yield session
    finally:
        session.close()  # gives the connection back, which takes no I/O


def _write_session(database: InTurn) -> Iterator[Session]:
    with database.write() as session:
        yield session


# scope="function": the commit runs before the answer is sent, so a 2xx is never a promise that failed afterwards
ReadSession = Annotated[Session, Depends(_read_session, scope="function")]
WriteSession = Annotated[Session, Depends(_write_session, scope="function")]
DatabaseDep = Annotated[Database, Depends(database_of)]
SettingsDep = Annotated[Settings, Depends(settings_of)]
CursorsDep = Annotated[Cursors, Depends(cursors_of)]
PagingDep = Annotated[Paging, Depends(paging_of)]
Admitted = Annotated[Admission, Depends(admitted_of)]
ThreadsDep = Annotated[Threads, Depends(threads_of)]
StreamsDep = Annotated[Streams, Depends(streams_of)]
IdempotencyKey = Annotated[str | None, Depends(idempotency_key_of)]
