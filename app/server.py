"""Running the web application with uvicorn."""

from __future__ import annotations

import ipaddress
import socket
import threading
from types import FrameType

import uvicorn

from app.config import Settings
from app.embedded import StartRefused
from app.main import create_app

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


def check_host(host: str, settings: Settings) -> None:
    """Refuse to listen beyond this machine while requests need no key. Raises StartRefused."""
    if settings.allow_public or _is_loopback(host):
        return
    raise StartRefused(
        f"will not listen on {host}: requests need no key yet, so anyone who reaches it could use it; "
        "put it behind something that authenticates and set NNMASS_ALLOW_PUBLIC=true"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
