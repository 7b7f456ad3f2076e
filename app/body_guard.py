"""A strict look at the raw bytes of every body, before anything parses them.

JSON parsers differ on what they let through (NaN, duplicate keys, lone surrogates, endless nesting), and each of these
has broken a service somewhere downstream. This guard reads a body once, within limits on size and time, and refuses
what is not plain JSON, with the byte offset and the field where it went wrong.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from dataclasses import dataclass, field

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http_errors import problem_response
from nnmass_core.codec import printable
from nnmass_core.errors import Problem

DEEPEST = 32
LONGEST_NUMBER = 400
"""Digits that a number may have: more than any limit needs, few enough to convert at no cost."""

TOKEN = re.compile(
    r'[ \t\n\r]*(?:("(?:[^"\\\x00-\x1f]|\\.)*")|([{}\[\],:])|(-?[0-9][0-9.eE+-]*)|([A-Za-z_+.-][\w+.-]*))'
)
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Fault:
    """What is wrong with a body: at which byte, in which field if one is known, and why."""

    offset: int
    field: str
    code: str
    message: str


@dataclass
class _Container:
    """One open object or list while the body is walked."""

    is_object: bool
    keys: set[str] = field(default_factory=set)
    key: str | None = None
    index: int = 0


def find_fault(body: bytes) -> Fault | None:
    """Return the first thing that makes these bytes unfit, or None when they are plain JSON."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        return Fault(error.start, "", "not_utf8", "the body is not valid UTF-8")
    fault = _walk(text)
    if fault is None:
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            fault = Fault(error.pos, "", "malformed_json", error.msg)
    if fault is None:
        return None
    return Fault(len(text[: fault.offset].encode("utf-8", "surrogatepass")), fault.field, fault.code, fault.message)


def _walk(text: str) -> Fault | None:
    """Walk the tokens, keeping track of the field; offsets are in characters. Grammar is left to the parser."""
    stack: list[_Container] = []
    position, end = 0, len(text.rstrip(" \t\n\r"))
    while position < end:
        match = TOKEN.match(text, position)
        if match is None:
            return None  # not a token: the parser says where and why
        start = match.start(match.lastindex or 0)
        string, mark, number, word = match.groups()
        if mark is not None:
            if mark in "{[" and len(stack) >= DEEPEST:
                return Fault(start, "", "too_deep", f"nested deeper than {DEEPEST} levels")
            _step(stack, mark)
        else:
            fault = _check_string(stack, string) if string else _check_scalar(number, word)
            if fault is not None:
                return Fault(start, _path(stack), *fault)
        position = match.end()
    return None


def _step(stack: list[_Container], mark: str) -> None:
    if mark in "{[":
        stack.append(_Container(mark == "{"))
    elif mark in "}]":
        if stack:
            stack.pop()
    elif mark == "," and stack:
        stack[-1].key = None
        stack[-1].index += 1


def _check_string(stack: list[_Container], token: str) -> tuple[str, str] | None:
    try:
        value: str = json.loads(token)
    except ValueError:
        return None  # a bad escape: the parser says where and why
    if "\x00" in value:
        return "null_character", "a text contains the character NUL"
    if SURROGATE.search(value):
        return "lone_surrogate", "a text contains half of a surrogate pair"
    if stack and stack[-1].is_object and stack[-1].key is None:
        top = stack[-1]
        top.key = value
        if value in top.keys:
            return "duplicate_key", "the field is given twice"
        top.keys.add(value)
    return None


def _check_scalar(number: str | None, word: str | None) -> tuple[str, str] | None:
    if word is not None:
        if word.lstrip("+-").lower() in ("nan", "infinity", "inf"):
            return "not_finite", "NaN and Infinity are not JSON"
        return None
    assert number is not None
    if len(number) > LONGEST_NUMBER:
        return "number_too_long", f"a number has more than {LONGEST_NUMBER} digits"
    try:
        if math.isinf(float(number)) and re.search("[.eE]", number):
            return "not_finite", "a number is too large for a double"
    except ValueError:
        return None  # not a number after all: the parser says where and why
    return None


def _path(stack: list[_Container]) -> str:
    parts = [printable(c.key or "") if c.is_object else str(c.index) for c in stack]
    return ".".join(part for part in parts if part)


class BodyGuard:
    """ASGI middleware: bodies of at most `max_bytes`, sent within `seconds`, and plain JSON."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read and check the body, then hand the request on with the body already there."""
        if scope["type"] == "http" and (refusal := _null_in_address(scope)) is not None:
            await refusal(scope, receive, send)
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
            await body(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | Response | None:
        """Return the body, the refusal to send, or None when the client has gone."""
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
    """Refuse what PostgreSQL could not even compare: nothing has such a name, and no field such a value."""
    if "\0" in scope["path"]:
        return problem_response(404, "not_found", "Not found", "nothing has a name with the character NUL")
    if b"%00" in scope["query_string"]:
        problem = Problem("", "null_character", "the address contains the character NUL")
        return problem_response(422, "invalid", "Not valid", "one field is not valid", [problem])
    return None


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")


def _refusal(scope: Scope, body: bytes) -> Response | None:
    if not body:
        return None
    media_type = _header(scope, b"content-type").split(b";")[0].strip().lower()
    if media_type != b"application/json":
        # other types reach a server on loopback from any web page without the browser asking first
        detail = "send the body with the header Content-Type: application/json"
        return problem_response(415, "unsupported_media_type", "Unsupported media type", detail)
    fault = find_fault(body)
    if fault is None:
        return None
    message = f"{fault.message} (at byte {fault.offset})"
    problem = Problem(fault.field, fault.code, message)
    return problem_response(400, fault.code, "Malformed body", message, [problem], offset=fault.offset)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body once and then passes on what the server says (a disconnect)."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return pending.pop() if pending else await receive()

    return next_message
