"""Check host names and origins of every request, and set security headers on every response.

Without keys, everyone who can reach the service may use it. A browser on the same machine can reach it for any page
that it displays. The middleware therefore refuses foreign host names (a page can point its own name at 127.0.0.1), and
changes requested by pages of other origins.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import Settings
from app.http.problem_json import Page, negotiated, problem_response

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""What a response may load when a browser displays it as a page: nothing. Pages that need more set their own policy."""

ANSWER_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Set on every response that does not set them itself. (A proxy ends HTTPS, and sets the header for it.)"""


class HostAndOriginMiddleware:
    """ASGI middleware around the whole application. page: makes the answer to browsers."""

    def __init__(self, app: ASGIApp, *, settings: Settings, page: Page) -> None:
        self._app = app
        self._page = page
        self._hosts = frozenset(name.lower() for name in settings.allowed_hosts)
        self._any_host = not self._hosts and (settings.require_keys or settings.allow_public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse requests with a foreign host or origin, and set headers on the response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        answer = self._app if refusal is None else negotiated(Request(scope), refusal, self._page)
        await answer(scope, receive, _with_headers(send))

    def _answers_to(self, name: str) -> bool:
        return name in self._hosts or is_loopback(name)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if not self._any_host and not (len(hosts) == 1 and self._answers_to(_name_in(hosts[0]))):
            detail = "the Host header does not name this service; add the name to NNMASS_ALLOWED_HOSTS"
            return problem_response(421, "unknown_host", "Misdirected request", detail)
        if scope["method"] not in SAFE_METHODS and is_foreign(headers):
            detail = "a page from another origin cannot change anything here"
            return problem_response(403, "cross_origin", "Forbidden", detail)
        return None


def is_loopback(host: str) -> bool:
    """Return whether a name or address belongs to this machine and only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name_in(host: str) -> str:
    """Return the name in a Host header without its port; empty when there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_foreign(headers: Headers) -> bool:
    """Return whether the browser reports a page of another origin. Programs other than browsers send no such header."""
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in ANSWER_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
