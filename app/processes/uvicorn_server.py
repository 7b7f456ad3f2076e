"""Running the web application with uvicorn."""

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
from app.main import create_app
from app.observability import logs
from app.processes.embedded import StartRefused
from app.storage.db import is_unavailable, make_engine

GRACEFUL_SECONDS = 5
"""An open event stream would hold the shutdown for ever without a limit."""

LARGEST_HEAD = 64 * 1024
"""Bytes that a request may have before its body: address and headers."""

HEAD_SECONDS = 10.0
"""How long a client may take to send them."""


def run_api(settings: Settings, *, fd: int | None = None, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until SIGTERM or SIGINT, on a socket that the parent has opened or on host and port."""
    logs.configure(settings)
    app = create_app(settings)
    server = _Server(config_of(app, host=host, port=port))
    server.stopping = app.state.stopping
    server.run(sockets=None if fd is None else [socket.socket(fileno=fd)])


def config_of(app: FastAPI, **more: Any) -> uvicorn.Config:
    """Return how uvicorn is to serve the application. What it logs of requests holds their queries; we log our own."""
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
    """uvicorn's protocol, with limits on size and time of what comes before a body; the body has its own.

    Without, one header that does not end fills the memory, and connections that send nothing use up the descriptors.
    """

    _head_due: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Await the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Await nothing more."""
        self._have_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, and refuse a head that has grown too large."""
        super().data_received(data)
        if self._head_due is not None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > LARGEST_HEAD:
                self._refuse("431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """Await the head of a request; of the first on a connection it is awaited already."""
        super().on_message_begin()
        if self._head_due is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """Go on to the body."""
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
        """Close the connection, with an answer if something was asked and no other answer is under way."""
        self._have_head()
        if self._head_bytes and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn's server, which tells the application as soon as it is asked to end."""

    stopping: threading.Event

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal to end."""
        self.stopping.set()
        super().handle_exit(sig, frame)


def fit_for(host: str, settings: Settings) -> Settings:
    """Return settings to listen on an address with: beyond this machine every request needs a key.

    Raises StartRefused where nobody has one yet, unless told that they will.
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
        return False  # looking would make it
    engine = make_engine(settings.sqlalchemy_url)
    try:
        with Session(engine) as session:
            return keys.exist(session)
    except DBAPIError as error:
        # keys will be asked for in any case: while the database is away nobody has one that counts
        return is_unavailable(error) and not settings.embedded
    finally:
        engine.dispose()
