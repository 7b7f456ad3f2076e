"""Running the web application with uvicorn."""

from __future__ import annotations

import socket
import threading
from types import FrameType

import uvicorn
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app import keys
from app.config import Settings
from app.db import is_away, make_engine
from app.embedded import StartRefused
from app.main import create_app
from app.perimeter import is_loopback

GRACEFUL_SECONDS = 5
"""An open event stream would hold the shutdown for ever without a limit."""


def run_api(settings: Settings, *, fd: int | None = None, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until SIGTERM or SIGINT, on a socket that the parent has opened or on host and port."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        server_header=False,
        log_level="info",
    )
    server = _Server(config)
    server.ending = app.state.ending
    server.run(sockets=None if fd is None else [socket.socket(fileno=fd)])


class _Server(uvicorn.Server):
    """uvicorn's server, which tells the application as soon as it is asked to end."""

    ending: threading.Event

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal to end."""
        self.ending.set()
        super().handle_exit(sig, frame)


def fit_for(host: str, settings: Settings) -> Settings:
    """Return settings to listen on an address with: beyond this machine every request needs a key.

    Raises StartRefused where nobody has one yet, unless told that they will.
    """
    if settings.allow_public or is_loopback(host):
        return settings
    if not settings.require_keys and not _any_key(settings):
        raise StartRefused(
            f"will not listen on {host}: there is no API key yet, so anyone who reaches it could use it; make one with "
            "`nnmass keys create`, or set NNMASS_ALLOW_PUBLIC=true if something in front of it authenticates"
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
        return is_away(error) and not settings.embedded
    finally:
        engine.dispose()
