"""Check the raw bytes of every body before anything parses them.

JSON parsers differ in what they accept (NaN, duplicate keys, lone surrogates, very deep nesting), and each of these has
broken a service somewhere downstream. This guard reads a body once, within limits on size and time. It refuses anything
that is not plain JSON, and reports the byte offset and the field of the fault.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.problem_json import Page, negotiated, problem_response
from nnmass_core.codec import JsonObject, printable
from nnmass_core.errors import Problem

FORM = b"application/x-www-form-urlencoded"
DEEPEST = 32
LONGEST_NUMBER = 400
"""The most digits of a number: more than any limit needs, and few enough to convert quickly."""

NEAR = 16_384
"""A fault's field is named only within this many characters from the start: finding the path is the slow part."""

# Regular expressions without backtracking (`*+`) and the C parser check a body, so that checking the largest hostile
# body takes no longer than reading it. A Python loop over its tokens would block other requests for seconds.
HEX = "[0-9a-fA-F]"
ESCAPE = rf'\\(?:["\\/bfnrt]|u(?!0000|[dD][89a-fA-F]){HEX}{{4}}|u[dD][89abAB]{HEX}{{2}}\\u[dD][c-fC-F]{HEX}{{2}})'
STRING = rf'"[^"\\\x00-\x1f]*+(?:{ESCAPE}[^"\\\x00-\x1f]*+)*+"'
INTEGER = rf"-?[0-9]{{1,{LONGEST_NUMBER}}}+(?![0-9.eE+-])"
FLOAT = r"-?[0-9]{1,200}+(?:\.[0-9]{1,150}+)?+(?:[eE][+-]?[0-9]{1,2}+)?+(?![0-9.eE+-])"  # always below 1e308
SOUND = re.compile(rf"(?:[\[\]{{}}:, \t\n\r]++|{STRING}|{INTEGER}|{FLOAT}|true|false|null)*+")
OTHER_NUMBER = re.compile(r"-?[0-9][0-9.eE+-]*+")
NOT_FINITE = re.compile(r"[+-]?(?:nan|inf(?:inity)?)\b", re.IGNORECASE)
SURROGATE = re.compile("[\ud800-\udfff]")

# for text whose strings are already checked
ANY_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
STRINGS = re.compile(ANY_STRING.encode())
BRACKETS = re.compile(rf"{ANY_STRING}|[\[\]{{}}]")
TOKENS = re.compile(rf"{ANY_STRING}|[\[\]{{}},]")
AS_SQUARE = bytes.maketrans(b"{}", b"[]")
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


@dataclass(frozen=True)
class Fault:
    """What is wrong with a body: the byte offset, the field if it is known, and the reason."""

    offset: int
    field: str
    code: str
    message: str


def find_fault(body: bytes) -> Fault | None:
    """Return the first fault of these bytes, or None when they are plain JSON."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        return Fault(error.start, "", "not_utf8", "the body is not valid UTF-8")
    end, reason = _sound_until(text)
    fault = _too_deep(text[:end])
    if fault is None and reason is not None:
        fault = Fault(end, _field_at(text, end), *reason)
    fault = fault or _malformed(text)
    if fault is None:
        return None
    return Fault(len(text[: fault.offset].encode()), fault.field, fault.code, fault.message)


# the functions below count offsets in characters, not bytes


def _sound_until(text: str) -> tuple[int, tuple[str, str] | None]:
    """Return the position of the first value that is refused or malformed, and (code, message) of the reason.

    The reason is None where the parser reports it.
    """
    at = 0
    while (at := _end_of(SOUND, text, at)) < len(text):
        reason = _wrong_at(text, at)
        number = OTHER_NUMBER.match(text, at)
        if reason is not None or number is None:
            return at, reason
        at = number.end()  # unusual, but valid
    return at, None


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _wrong_at(text: str, at: int) -> tuple[str, str] | None:
    try:
        if text[at] == '"':
            value, _ = json.JSONDecoder().raw_decode(text, at)
            if "\x00" in value:
                return "null_character", "a string contains the character NUL"
            return ("lone_surrogate", "a string contains half of a surrogate pair") if SURROGATE.search(value) else None
        if NOT_FINITE.match(text, at):
            return "not_finite", "NaN and Infinity are not JSON"
        end = _end_of(OTHER_NUMBER, text, at)
        if end - at > LONGEST_NUMBER:
            return "number_too_long", f"a number has more than {LONGEST_NUMBER} digits"
        return ("not_finite", "a number is too large for a double") if math.isinf(float(text[at:end])) else None
    except ValueError:
        return None  # not a string or number


def _too_deep(text: str) -> Fault | None:
    marks = STRINGS.sub(b"", text.encode()).translate(AS_SQUARE, NO_BRACKETS)
    left = marks
    for _ in range(DEEPEST):  # each pass removes the innermost pairs
        left = left.replace(b"[]", b"")
    if not left:
        return None
    depths = accumulate(1 if mark == ord("[") else -1 for mark in marks)
    nth = next((index for index, depth in enumerate(depths) if depth > DEEPEST), None)
    if nth is None:
        return None  # unbalanced: the parser reports where
    return Fault(_nth(_places(text, "[{]}"), nth), "", "too_deep", f"nested deeper than {DEEPEST} levels")


def _places(text: str, brackets: str) -> Iterator[int]:
    """Yield the positions of brackets outside strings."""
    return (match.start() for match in BRACKETS.finditer(text) if match[0] in brackets)


def _nth(places: Iterator[int], index: int) -> int:
    return next(islice(places, index, None))


class _Repeated(ValueError):
    """An object has a key twice; `ended` objects end before this one does."""

    def __init__(self, key: str, ended: int) -> None:
        super().__init__()
        self.key = key
        self.ended = ended


def _malformed(text: str) -> Fault | None:
    ended = 0

    def unique(pairs: list[tuple[str, Any]]) -> JsonObject:
        nonlocal ended
        made = dict(pairs)
        if len(made) < len(pairs):
            raise _Repeated(_first_repeated(pairs), ended)
        ended += 1
        return made

    try:
        json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        return Fault(error.pos, "", "malformed_json", error.msg)
    except _Repeated as error:
        at = _nth(_places(text, "}"), error.ended)
        message = "the object that ends here contains a field twice"
        return Fault(at, _field_at(text, at, error.key), "duplicate_key", message)
    return None


def _first_repeated(pairs: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    return next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]


@dataclass
class _Container:
    """An open object or list on the path to a field."""

    is_object: bool
    key: str | None = None
    index: int = 0


def _field_at(text: str, at: int, key: str | None = None) -> str:
    """Return the path of the field whose value is at a position, or of another key there; empty beyond the limit."""
    if at > NEAR:
        return ""
    stack: list[_Container] = []
    for match in TOKENS.finditer(text, 0, at):
        _step(stack, match[0])
    if key is not None:
        stack[-1].key = key
    parts = [printable(c.key or "") if c.is_object else str(c.index) for c in stack]
    return ".".join(part for part in parts if part)


def _step(stack: list[_Container], mark: str) -> None:
    if mark in "{[":
        stack.append(_Container(mark == "{"))
    elif not stack:
        return
    elif mark in "}]":
        stack.pop()
    elif mark == ",":
        stack[-1].key = None
        stack[-1].index += 1
    elif stack[-1].is_object and stack[-1].key is None:
        stack[-1].key = json.loads(mark)


class BodyGuard:
    """ASGI middleware: bodies must be plain JSON, at most `max_bytes` long, and arrive within `seconds`.

    page: makes the answer to browsers.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, seconds: float, page: Page) -> None:
        self._app = app
        self._page = page
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read and check the body, then pass the request on with the body already read."""
        if scope["type"] == "http" and (refusal := _null_in_address(scope)) is not None:
            await negotiated(Request(scope), refusal, self._page)(scope, receive, send)
            return
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        body = await self._read(scope, receive)
        if isinstance(body, bytes):
            refusal = _refusal(scope, body)
            if refusal is None:
                await self._app(scope, _replay(body, receive), send)
                return
            body = refusal
        if body is not None:
            await negotiated(Request(scope), body, self._page)(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | Response | None:
        """Return the body, the refusal to send, or None when the client has disconnected."""
        declared = _header(scope, b"content-length")
        if declared.isdigit() and int(declared[:20]) > self._max_bytes:
            return self._too_large()
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    if size > self._max_bytes:
                        return self._too_large()
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            detail = f"the body did not arrive within {self._seconds:g} seconds"
            return problem_response(408, "slow_body", "Request timeout", detail, headers={"Connection": "close"})

    def _too_large(self) -> Response:
        problem = Problem("", "too_large", f"must be at most {self._max_bytes} bytes")
        return problem_response(
            413,
            "body_too_large",
            "Body too large",
            f"the body is larger than the limit of {self._max_bytes} bytes",
            [problem],
            headers={"Connection": "close"},
            limit_bytes=self._max_bytes,
        )


def _null_in_address(scope: Scope) -> Response | None:
    """Refuse a NUL in the address: PostgreSQL cannot compare it, and no name or field contains it."""
    if "\0" in scope["path"]:
        return problem_response(404, "not_found", "Not found", "the path contains the character NUL")
    if b"%00" in scope["query_string"]:
        problem = Problem("", "null_character", "the address contains the character NUL")
        return problem_response(422, "invalid", "Invalid request", "one field is not valid", [problem])
    return None


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")


def _refusal(scope: Scope, body: bytes) -> Response | None:
    if not body:
        return None
    media_type = _header(scope, b"content-type").split(b";")[0].strip().lower()
    if media_type == FORM and _of_our_page(scope):
        return None
    if media_type != b"application/json":
        # a web page can send any other type to a server on loopback without a preflight request of the browser
        return _unsupported("send the body with the header Content-Type: application/json")
    if _header(scope, b"content-encoding").strip().lower() not in (b"", b"identity"):
        return _unsupported("send the body uncompressed, without Content-Encoding")
    fault = find_fault(body)
    if fault is None:
        return None
    message = f"{fault.message} (at byte {fault.offset})"
    problem = Problem(fault.field, fault.code, message)
    return problem_response(400, fault.code, "Malformed body", message, [problem], offset=fault.offset)


def _of_our_page(scope: Scope) -> bool:
    """Return whether the browser reports that one of our pages sends this form to a page: the API accepts no forms."""
    host, origin = _header(scope, b"host"), _header(scope, b"origin")
    ours = _header(scope, b"sec-fetch-site") == b"same-origin" or origin.partition(b"://")[2] == host != b""
    return ours and not scope["path"].startswith("/v1/")


def _unsupported(detail: str) -> Response:
    return problem_response(415, "unsupported_media_type", "Unsupported media type", detail)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that returns the body once and then forwards the server's messages (a disconnect)."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return pending.pop() if pending else await receive()

    return next_message
