"""Give each request an id, a log line and an entry in the metrics."""

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
"""A valid id from a client or proxy: it contains nothing that could forge a log line."""

UNMATCHED = "unmatched"
"""The route name for paths without a route: clients can invent paths, and each would become its own metrics series."""

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that machines poll every few seconds; their lines are logged at DEBUG."""

GONE = 499
"""The status recorded when the client disconnected before the response began."""

Note = Callable[[str, str, int, float], None]
"""Receives the method, route, status and duration (seconds) of a request."""

log = logging.getLogger("nnmass.access")


class AccessLogMiddleware:
    """The outermost ASGI middleware. note: counts a request."""

    def __init__(self, app: ASGIApp, *, note: Note) -> None:
        self._app, self._note = app, note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Assign an id to the request, and record the response."""
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
        except Exception:  # the outer middleware answers it
            if status == GONE:
                status = 500
                self._answered(scope, status, time.perf_counter() - started)
            raise
        if status == GONE:
            self._answered(scope, status, time.perf_counter() - started)

    def _answered(self, scope: Scope, status: int, seconds: float) -> None:
        """Record a request when its response begins: how long a stream stays open does not measure our speed."""
        method, route = scope["method"], route_of(scope)
        self._note(method, route, status, seconds)
        path = _path_of(scope)
        level = logging.DEBUG if route in QUIET else logging.INFO
        fields = {"method": method, "path": path, "route": route, "status": status, "seconds": round(seconds, 6)}
        log.log(level, "%s %s: %d", method, path, status, extra=fields)


def route_of(scope: Scope) -> str:
    """Return the template of the route that answers, such as `/v1/searches/{search_id}`."""
    mounted: str = scope.get("root_path", "").removeprefix(scope.get("app_root_path", ""))
    if mounted and "app_root_path" in scope:  # files: one name for the whole folder
        return f"{mounted}/{{path}}"
    route: Any = scope.get("route")
    path: str | None = getattr(route, "path_format", None)
    return path or UNMATCHED


def _id_of(scope: Scope) -> str:
    given = Headers(scope=scope).getlist(HEADER)
    return given[0] if len(given) == 1 and GIVEN.fullmatch(given[0]) else uuid4().hex


def _path_of(scope: Scope) -> str:
    """Return the raw path, still escaped, without the query, which may contain private data."""
    raw: bytes = scope.get("raw_path") or b""
    return raw.partition(b"?")[0].decode("ascii", "backslashreplace")
