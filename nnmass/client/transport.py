"""Requests to a service: addresses and keys, repeats of failed requests, and errors in the service's words.

Every request can be repeated safely: those that create something carry an Idempotency-Key, the others change nothing
when they are sent again.
"""

from __future__ import annotations

import ipaddress
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2

from nnmass.errors import (
    DefinitionError,
    ServiceError,
    ServiceUnreachable,
    TooManyRequests,
    service_error,
)
from nnmass.json_fields import Json
from nnmass_core import __version__

DEFAULT_URL = "http://127.0.0.1:8000"
SECONDS = 30.0
REPEATS = 4
"""How often a request is repeated that got no response, or was answered with Retry-After."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 60.0
"""If a service asks for a longer pause than this, the request fails."""

BUSY = (429, 503)
KEY = re.compile(r"[\x21-\x7e]+")

Body = Mapping[str, Any] | None


def address_of(url: str | None) -> str:
    """Return the service's address: the given one, else NNMASS_SERVER, else this machine's. Raises DefinitionError."""
    address = url or os.environ.get("NNMASS_SERVER") or DEFAULT_URL
    try:
        parts = urlsplit(address)
        name = parts.hostname
    except ValueError:
        name = None
    if name is None or parts.scheme not in ("http", "https"):
        raise DefinitionError.at("url", "not_an_address", "must be an address such as http://127.0.0.1:8000")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise DefinitionError.at("url", "not_an_address", "must not contain a user, password, query or fragment")
    return address.rstrip("/")


def key_of(key: str | None) -> str | None:
    """Return the API key: the given one, else NNMASS_KEY. Raises DefinitionError, which does not contain the key."""
    found = (key if key is not None else os.environ.get("NNMASS_KEY", "")).strip()
    if found and not KEY.fullmatch(found):
        raise DefinitionError.at("key", "bad_key", "contains characters that no key contains")
    return found or None


def is_loopback(name: str) -> bool:
    """Return whether a host name belongs to this machine, which no proxy reaches."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


class Transport:
    """One connection pool to one service."""

    def __init__(self, url: str | None, key: str | None, timeout: float) -> None:
        self.url = address_of(url)
        self._seconds = timeout
        token = key_of(key)
        self.has_key = token is not None
        headers = {"User-Agent": f"nnmass/{__version__}"}
        self._http = httpx2.Client(
            base_url=self.url,
            headers=headers if token is None else headers | {"Authorization": f"Bearer {token}"},
            timeout=timeout,
            trust_env=not is_loopback(urlsplit(self.url).hostname or ""),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, params: Json | None = None) -> Any:
        """Return the JSON response of a path."""
        return json_of(self.send("GET", path, params=params))

    def post(
        self, path: str, body: Body = None, *, params: Json | None = None, once: bool = False, prefer: str = ""
    ) -> Any:
        """Send a body and return the JSON response. once: an Idempotency-Key makes repeats harmless."""
        headers = ({"Idempotency-Key": str(uuid4())} if once else {}) | ({"Prefer": prefer} if prefer else {})
        return json_of(self.send("POST", path, params=params, body=body, headers=headers))

    def look(self, path: str) -> Any:
        """Return the JSON response of a path, even if it is an error."""
        return json_of(self._repeated(lambda: self._http.get(path)))

    def delete(self, path: str, params: Json | None = None) -> None:
        """Delete the resource at a path. If a repeat finds it gone, it is deleted."""
        attempts = 0

        def ask() -> httpx2.Response:
            nonlocal attempts
            attempts += 1
            return self._http.delete(path, params=params)

        answer = self._repeated(ask)
        if not answer.is_success and not (answer.status_code == httpx2.codes.NOT_FOUND and attempts > 1):
            raise error_of(answer)

    def send(
        self, method: str, path: str, *, params: Json | None = None, body: Body = None, headers: Json | None = None
    ) -> httpx2.Response:
        """Return the response to a request, repeated until there is one. Raises ServiceError, ServiceUnreachable."""
        given = {name: value for name, value in (params or {}).items() if value is not None}
        content = None if body is None else dict(body)
        answer = self._repeated(
            lambda: self._http.request(method, path, params=given, headers=dict(headers or {}), json=content)
        )
        if answer.is_success:
            return answer
        raise error_of(answer)

    def _repeated(self, ask: Callable[[], httpx2.Response]) -> httpx2.Response:
        for attempt in range(REPEATS + 1):
            last = attempt == REPEATS
            pause = FIRST_PAUSE_SECONDS * 2**attempt
            try:
                answer = ask()
            except httpx2.TransportError as reason:
                if last or not _passes(reason, attempt):
                    raise unreachable(self.url, reason) from reason
            else:
                wait = wait_of(answer)
                if last or wait is None:
                    return answer
                pause = max(pause, wait)
            time.sleep(pause)
        raise AssertionError  # the last attempt returns or raises

    @contextmanager
    def stream(self, path: str, last: int, silent_seconds: float) -> Iterator[httpx2.EventSource]:
        """Open a stream of events after the last known one. Raises ServiceError, and httpx2's TransportError.

        silent_seconds: how long it may be silent before it counts as lost.
        """
        headers = {"Last-Event-ID": str(last)} if last else {}
        timeout = httpx2.Timeout(self._seconds, read=silent_seconds)
        with self._http.sse(path, headers=headers, timeout=timeout) as source:
            if not source.response.is_success:
                source.response.read()
                raise error_of(source.response)
            yield source


def _passes(reason: httpx2.TransportError, attempt: int) -> bool:
    """Return whether a failure may be temporary. A service that does not respond in time is tried once more."""
    return attempt == 0 or not isinstance(reason, httpx2.ReadTimeout)


def unreachable(url: str, reason: httpx2.TransportError | None) -> ServiceUnreachable:
    """Return the error for a service that does not respond, with the reason."""
    why = str(reason) or type(reason).__name__
    return ServiceUnreachable(f"no service responds at {url} ({why}); start one with `nnmass serve`")


def wait_of(answer: httpx2.Response) -> float | None:
    """Return the seconds that a busy service asks to wait; None when it does not ask for a repeat."""
    if answer.status_code not in BUSY or "retry-after" not in answer.headers:
        return None
    seconds = seconds_of(answer)
    return seconds if seconds <= LONGEST_PAUSE_SECONDS else None


def seconds_of(answer: httpx2.Response, otherwise: float = 1.0) -> float:
    """Return the seconds in Retry-After; `otherwise` if it is not a number."""
    text = answer.headers.get("retry-after", "").strip()
    return float(text) if re.fullmatch(r"[0-9]{1,9}", text) else otherwise


def error_of(answer: httpx2.Response) -> ServiceError:
    """Return the error of a response."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    error = service_error(answer.status_code, body)
    if isinstance(error, TooManyRequests):
        error.retry_after = seconds_of(answer)
    return error


def json_of(answer: httpx2.Response) -> Any:
    """Return a response's JSON. Raises ServiceError when it is not JSON: another program answers at this address."""
    try:
        return answer.json()
    except ValueError as error:
        message = "the response is not from an nnmass service"
        raise ServiceError(answer.status_code, "unexpected_answer", message) from error
