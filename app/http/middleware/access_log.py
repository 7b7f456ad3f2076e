"""What is noted of every request: its id, its line in the log, its place in the metrics."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observability import logs

HEADER = "X-Request-ID"
GIVEN = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""An id that a client or proxy may give its request: nothing that could forge a line of a log."""

UNMATCHED = "unmatched"
"""The route of what names none: paths are made up at will, and each would be a series of its own."""

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines; their lines are for DEBUG."""

GONE = 499
"""What is noted of a request whose client left before there was an answer."""

Note = Callable[[str, str, int, float], None]
"""Takes method, route, status and seconds of an answered request."""

log = logging.getLogger("nnmass.access")


class AccessLogMiddleware:
    """ASGI middleware around everything else. note: counts a request."""

    def __init__(self, app: ASGIApp, *, note: Note) -> None:
        self._app, self._note = app, note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the request its id, and note how it was answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _id_of(scope)
        logs.begin(request_id)
        started = time.perf_counter()
        status = GONE

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
                status = message["status"]
                self._answered(scope, status, time.perf_counter() - started)
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:  # who stands outside answers it
            if status == GONE:
                status = 500
                self._answered(scope, status, time.perf_counter() - started)
            raise
        if status == GONE:
            self._answered(scope, status, time.perf_counter() - started)

    def _answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Note a request when its answer begins: how long a stream stays open says nothing of how quick we are."""
        method, route = scope["method"], route_of(scope)
        self._note(method, route, status, seconds)
        path = _path_of(scope)
        level = logging.DEBUG if route in QUIET else logging.INFO
        fields = {"method": method, "path": path, "route": route, "status": status, "seconds": round(seconds, 6)}
        log.log(level, "%s %s: %d", method, path, status, extra=fields)


def route_of(scope: Scope) -> str:
    """Return the template of the route that answers, such as `/v1/searches/{search_id}`."""
    mounted: str = scope.get("root_path", "").removeprefix(scope.get("app_root_path", ""))
    if mounted and "app_root_path" in scope:  # files: the folder, for any of them
        return f"{mounted}/{{path}}"
    route: Any = scope.get("route")
    path: str | None = getattr(route, "path_format", None)
    return path or UNMATCHED


def _id_of(scope: Scope) -> str:
    given = Headers(scope=scope).getlist(HEADER)
    return given[0] if len(given) == 1 and GIVEN.fullmatch(given[0]) else uuid4().hex


def _path_of(scope: Scope) -> str:
    """Return the path as it was sent, escapes and all, without its query: that may hold what nobody else may read."""
    raw: bytes = scope.get("raw_path") or b""
    return raw.partition(b"?")[0].decode("ascii", "backslashreplace")
