"""Run the web application with uvicorn."""

from __future__ import annotations

import asyncio
import socket
import threading
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.auth import keys
from app.config import Settings
from app.http.middleware.hosts_and_origins import is_loopback
from app.observability import logs
from app.processes.refusals import StartRefused
from app.storage.db import is_unavailable, make_engine

GRACEFUL_SECONDS = 5
"""Seconds that a shutdown waits. Without a limit, an open event stream would block the shutdown."""

LARGEST_HEAD = 64 * 1024
"""The most bytes of a request before its body: request line and headers."""

HEAD_SECONDS = 10.0
"""Seconds within which a client must send them."""


def run_api(settings: Settings, *, fd: int | None = None, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until SIGTERM or SIGINT, on a socket that the parent has opened or on host and port."""
    from app.main import create_app  # loads every feature, which the parent of embedded mode does not need

    logs.configure(settings)
    app = create_app(settings)
    server = _Server(config_of(app, host=host, port=port))
    server.stopping = app.state.stopping
    server.run(sockets=None if fd is None else [socket.socket(fileno=fd)])


def config_of(app: FastAPI, **more: Any) -> uvicorn.Config:
    """Return uvicorn's configuration for the application, without uvicorn's access log: it would contain queries."""
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        server_header=False,
        log_config=None,
        access_log=False,
        **more,
    )


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol with limits on the size and time of a request's head; the body has its own limits.

    Without them, one endless header fills the memory, and connections that send nothing use up the file descriptors.
    """

    _head_due: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for the first request's head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._have_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read data, and refuse a head that has grown too large."""
        super().data_received(data)
        if self._head_due is not None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > LARGEST_HEAD:
                self._refuse("431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """Wait for the head of a further request; the wait for a connection's first request has already begun."""
        super().on_message_begin()
        if self._head_due is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """Continue with the body."""
        self._have_head()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_due = self.loop.call_later(HEAD_SECONDS, self._refuse, "408 Request Timeout")

    def _have_head(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _refuse(self, status: str) -> None:
        """Close the connection; first send a response if a request was received and no response has begun."""
        self._have_head()
        if self._head_bytes and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn's server, which informs the application as soon as a shutdown begins."""

    stopping: threading.Event

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a shutdown signal."""
        self.stopping.set()
        super().handle_exit(sig, frame)


def fit_for(host: str, settings: Settings) -> Settings:
    """Return the settings for listening on an address: beyond loopback every request needs a key.

    Raises StartRefused when no key exists yet, unless the settings require keys explicitly.
    """
    if settings.allow_public or is_loopback(host):
        return settings
    if not settings.require_keys and not _any_key(settings):
        raise StartRefused(
            f"refusing to listen on {host} without an API key: anyone who reaches it could use it; create one with "
            "`nnmass keys create`, or set NNMASS_ALLOW_PUBLIC=true if a proxy in front of it authenticates"
        )
    return settings.model_copy(update={"require_keys": True})


def _any_key(settings: Settings) -> bool:
    if settings.embedded and not settings.database_file.exists():
        return False  # opening it would create it
    engine = make_engine(settings.sqlalchemy_url)
    try:
        with Session(engine) as session:
            return keys.exist(session)
    except DBAPIError as error:
        # requests need keys in any case: while the database is unavailable no key can be verified
        return is_unavailable(error) and not settings.embedded
    finally:
        engine.dispose()
