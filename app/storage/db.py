"""The database: one code path for PostgreSQL and SQLite, and the only module that commits transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Float,
    ScalarSelect,
    Select,
    Text,
    TypeDecorator,
    create_engine,
    event,
    literal,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

SQLITE_BUSY_MS = 30_000
STATEMENT_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_S = 5
CONNECTIONS, KEPT_CONNECTIONS = 30, 10
SESSIONS_OF_REQUESTS = 20
"""How many requests hold a session concurrently; the other connections serve work that uses one thread throughout."""

ANNOUNCED = "announced"
AFTERWARDS = "afterwards"
MOST_WAITING = "most_waiting"
REFUSAL = "refusal"

SQLITE_CLOCK, CLOCK = text("select strftime('%Y-%m-%d %H:%M:%f', 'now')"), text("select clock_timestamp()")


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC: `timestamptz` on PostgreSQL, text on SQLite; always with a time zone in Python."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC, for SQLite without its time zone."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Add the time zone UTC to a naive moment."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class _ListOf(FunctionElement[str]):
    """The values of one column as a JSON list."""

    type = Text()
    inherit_cache = True


@compiles(_ListOf, "postgresql")
def _on_postgresql(element: _ListOf, compiler: SQLCompiler, **how: Any) -> str:
    return f"coalesce(json_agg({compiler.process(element.clauses, **how)})::text, '[]')"


@compiles(_ListOf, "sqlite")
def _on_sqlite(element: _ListOf, compiler: SQLCompiler, **how: Any) -> str:
    return f"json_group_array({compiler.process(element.clauses, **how)})"


class _Clock(FunctionElement[datetime]):
    """The time of the database's clock."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(_Clock, "postgresql")
def _clock_on_postgresql(element: _Clock, compiler: SQLCompiler, **how: Any) -> str:
    return "clock_timestamp()"


@compiles(_Clock, "sqlite")
def _clock_on_sqlite(element: _Clock, compiler: SQLCompiler, **how: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f', 'now')"


def clock() -> ColumnElement[datetime]:
    """Return the time of the database's clock as a column of a statement that runs anyway: `now` is one of its own.

    In RETURNING it is read while the row is locked. Do not store it in SQL: SQLite writes fewer digits than `now`.
    """
    return _Clock()


class _Ago(FunctionElement[datetime]):
    """A moment before now, by the database's clock."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(_Ago, "postgresql")
def _ago_on_postgresql(element: _Ago, compiler: SQLCompiler, **how: Any) -> str:
    return f"(clock_timestamp() - {compiler.process(element.clauses, **how)} * interval '1 second')"


@compiles(_Ago, "sqlite")
def _ago_on_sqlite(element: _Ago, compiler: SQLCompiler, **how: Any) -> str:
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || {compiler.process(element.clauses, **how)} || ' seconds')"


def ago(duration: timedelta) -> ColumnElement[datetime]:
    """Return the moment so long ago, to compare with in a query: `now` is a query of its own."""
    return _Ago(literal(duration.total_seconds(), Float()))


def json_list(query: Select[*tuple[Any, ...]]) -> ScalarSelect[str]:
    """Return a scalar subquery: the values of a one-column query, in its order, as the text of a JSON list."""
    rows = query.subquery()
    return select(_ListOf(*rows.c)).scalar_subquery()


class Database:
    """Sessions on one engine. `announce` is called with each queue in which a committed transaction put work.

    most_waiting: the most jobs that one owner may have queued or running; None for no limit. refusal: returns why no
    work is accepted for a queue; None where it is.
    """

    def __init__(
        self,
        url: str,
        announce: Callable[[str], None] | None = None,
        most_waiting: int | None = None,
        refusal: Callable[[str], str | None] | None = None,
    ) -> None:
        self.engine = make_engine(url)
        # each statement sees the latest data anyway (READ COMMITTED); without a surrounding transaction it takes half
        # the time
        alone = self.engine.dialect.name == "postgresql"
        self._autocommit_engine = self.engine.execution_options(isolation_level="AUTOCOMMIT") if alone else self.engine
        self._most_waiting = most_waiting
        self._refusal = refusal
        self._announce = announce or (lambda queue: None)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading."""
        with self.reader() as session:
            yield session

    def reader(self) -> Session:
        """Return a session for reading, which the caller must close; it connects on first use."""
        return Session(self._autocommit_engine, autoflush=False, expire_on_commit=False)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session that is committed at the end of the block, or rolled back on an exception.

        Calls registered with `announce_work` and `after_commit` run after the commit; a rollback drops them. SQLite
        takes the write lock at the start, since a transaction that begins with a read cannot wait for the lock later.
        """
        with Session(self.engine, autoflush=False, expire_on_commit=False) as session:
            session.info[MOST_WAITING] = self._most_waiting
            session.info[REFUSAL] = self._refusal
            session.connection(execution_options={"sqlite_immediate": True})
            yield session
            session.commit()
        for queue in session.info.pop(ANNOUNCED, []):
            self._announce(queue)
        for act in session.info.pop(AFTERWARDS, []):
            act()

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def is_unavailable(error: SQLAlchemyError) -> bool:
    """Return whether an error means that the database is temporarily unavailable, not that a query was wrong."""
    if isinstance(error, DBAPIError):
        return isinstance(error, OperationalError) or error.connection_invalidated
    return isinstance(error, PoolTimeout)


def most_waiting(session: Session) -> int | None:
    """Return how many jobs an owner may have queued or running; None if this session's service sets no limit."""
    limit: int | None = session.info.get(MOST_WAITING)
    return limit


def refusal(session: Session, queue: str) -> str | None:
    """Return why this session's service accepts no work for a queue; None where it does."""
    reason: Callable[[str], str | None] | None = session.info.get(REFUSAL)
    return None if reason is None else reason(queue)


def announce_work(session: Session, queue: str) -> None:
    """Request a notification for a queue, sent once the session's transaction is committed."""
    session.info.setdefault(ANNOUNCED, []).append(queue)


def after_commit(session: Session, act: Callable[[], None]) -> None:
    """Call `act` once the session's transaction is committed, for instance to log the change."""
    session.info.setdefault(AFTERWARDS, []).append(act)


def now(session: Session) -> datetime:
    """Return the time of the database's clock, the only clock used for leases."""
    if session.get_bind().dialect.name == "sqlite":
        reading = session.execute(SQLITE_CLOCK).scalar_one()
        return datetime.fromisoformat(reading).replace(tzinfo=UTC)
    moment: datetime = session.execute(CLOCK).scalar_one()
    return moment.astimezone(UTC)


def make_engine(url: str) -> Engine:
    """Return an engine with time limits on everything that could otherwise wait without end."""
    pool = {"pool_timeout": 10, "pool_size": KEPT_CONNECTIONS, "max_overflow": CONNECTIONS - KEPT_CONNECTIONS}
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_MS / 1000}, hide_parameters=True, **pool)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    options = (
        f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c idle_in_transaction_session_timeout=60000 -c timezone=UTC"
    )
    return create_engine(
        url,
        pool_pre_ping=True,
        hide_parameters=True,  # a logged error shows its statement, never the user's values
        **pool,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "options": options},
    )


def _prepare_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # the driver would begin its implicit transactions too late
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={SQLITE_BUSY_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("sqlite_immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
