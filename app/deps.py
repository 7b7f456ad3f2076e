"""What routes are given: settings, sessions, the owner of the request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, cast

from fastapi import Depends, Header, Request
from sqlalchemy.orm import Session

from app import idempotency
from app.config import Settings
from app.cursors import Cursors
from app.db import Database
from app.streams import Streams

LOCAL_OWNER = "local"
"""The owner of everything while the service runs without keys, on loopback alone."""


def settings_of(request: Request) -> Settings:
    """Return the settings this application was made with."""
    return cast("Settings", request.app.state.settings)


def database_of(request: Request) -> Database:
    """Return the application's database."""
    return cast("Database", request.app.state.database)


def cursors_of(request: Request) -> Cursors:
    """Return the signer of list cursors."""
    return cast("Cursors", request.app.state.cursors)


def streams_of(request: Request) -> Streams:
    """Return the process's event streams."""
    return cast("Streams", request.app.state.streams)


def idempotency_key_of(idempotency_key: Annotated[str | None, Header()] = None) -> str | None:
    """Return the request's Idempotency-Key. Raises Invalid."""
    return idempotency.check(idempotency_key)


def owner_of(request: Request) -> str:
    """Return who asks; every query is scoped to it."""
    return LOCAL_OWNER


def _read_session(database: Annotated[Database, Depends(database_of)]) -> Iterator[Session]:
    with database.read() as session:
        yield session


def _write_session(database: Annotated[Database, Depends(database_of)]) -> Iterator[Session]:
    with database.write() as session:
        yield session


# scope="function": the commit runs before the answer is sent, so a 2xx is never a promise that failed afterwards
ReadSession = Annotated[Session, Depends(_read_session, scope="function")]
WriteSession = Annotated[Session, Depends(_write_session, scope="function")]
DatabaseDep = Annotated[Database, Depends(database_of)]
SettingsDep = Annotated[Settings, Depends(settings_of)]
CursorsDep = Annotated[Cursors, Depends(cursors_of)]
StreamsDep = Annotated[Streams, Depends(streams_of)]
IdempotencyKey = Annotated[str | None, Depends(idempotency_key_of)]
Owner = Annotated[str, Depends(owner_of)]
