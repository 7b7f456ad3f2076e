"""Running the web application with uvicorn."""

from __future__ import annotations

import ipaddress
import socket

import uvicorn

from app.config import Settings
from app.embedded import StartRefused
from app.main import create_app
from app.parent import watch_parent

GRACEFUL_SECONDS = 5
"""An open event stream would hold the shutdown for ever without a limit."""


def run_api(settings: Settings, *, fd: int | None = None, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until SIGTERM or SIGINT, on a socket that the parent has opened or on host and port."""
    watch_parent()
    config = uvicorn.Config(
        create_app(settings),
        host=host,
        port=port,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        server_header=False,
        log_level="info",
    )
    uvicorn.Server(config).run(sockets=None if fd is None else [socket.socket(fileno=fd)])


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
