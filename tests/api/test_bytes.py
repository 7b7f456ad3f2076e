"""Hostile bytes at every operation: each is refused as documented, never echoed, and the service continues.

The operations are read from the OpenAPI document, so a new one is tested without a change here. Generators of JSON
never send most of these bytes; see test_fuzz for what they do send.
"""

from __future__ import annotations

import gzip
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from app.http.fields import ProblemBody
from app.http.middleware.body_guard import DEEPEST, LONGEST_NUMBER, find_fault
from app.processes.uvicorn_server import LARGEST_HEAD, config_of
from tests.api.everything import OPERATIONS, Everything, everything

MARK = "zq7-do-not-say-this"
"""Stands in values; an unknown field is named, up to 64 characters of it."""

LARGEST_BODY = 64 * 1024
CHANGING = [label for label in OPERATIONS if not label.startswith("GET ")]

Json = dict[str, Any]


@pytest.fixture(scope="module")
def service(sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    with everything(sqlite_file, tmp_path_factory.mktemp("bytes"), keyed=False, max_body_bytes=LARGEST_BODY) as service:
        yield service


# what is sent


@dataclass(frozen=True)
class Sent:
    """A body; status: what every operation answers it with, None where that depends on the operation."""

    body: bytes
    status: int | None = 400
    headers: list[tuple[str, str]] = field(default_factory=lambda: [("Content-Type", "application/json")])


def _value(literal: str | bytes) -> bytes:
    """Return a body that has a literal as a value, next to a text that no answer may repeat."""
    text = literal.encode() if isinstance(literal, str) else literal
    return b'{"name": "' + MARK.encode() + b'", "top_k": ' + text + b"}"


def _nested(depth: int, *, opening: str, closing: str) -> bytes:
    return (opening * depth + f'"{MARK}"' + closing * depth).encode()


def _typed(*types: str, body: bytes | None = None) -> Sent:
    return Sent(_value("1") if body is None else body, 415, [("Content-Type", one) for one in types])


MALFORMED = {
    "nothing but space": b" \t\r\n ",
    "opened": b"{", "list opened": b"[", "string opened": b'"', "ends in a key": b'{"name"',
    "ends after a colon": b'{"name":', "ends after a comma": b'{"name": 1,', "list ends after a comma": b"[1,",
    "ends in a string": b'{"name": "' + MARK.encode(), "ends in a word": b"tru", "ends in an escape": b'"\\',
    "two values": b"{} {}", "rest": _value("1") + MARK.encode(), "comma after": b"{},", "NUL after": b"{}\x00",
    "comma at the end": b'{"name": "x",}', "comma at the end of a list": b"[1,]", "two commas": b"[1,,2]",
    "closed wrongly": b'{"name": [}', "closed twice": b"{}}", "no colon": b'{"name" 1}', "no comma": b'{"a": 1 "b": 2}',
    "line comment": b"{} // " + MARK.encode(), "comment": b"/* " + MARK.encode() + b" */ {}", "hash": b"# x\n{}",
    "single quotes": b"{'name': 'x'}", "bare key": b"{name: 1}", "number as key": b"{1: 1}",
    "undefined": _value("undefined"), "Python's": _value("None"), "capital": _value("True"),
    "octal": _value("01"), "plus": _value("+1"), "point first": _value(".5"), "point last": _value("5."),
    "hexadecimal": _value("0x10"), "underscore": _value("1_000"), "two signs": _value("--1"),
    "bare exponent": _value("1e"), "dates": _value("2026-01-01"), "arabic digits": _value("\u0661"),
    "control character": _value(b'"\x01"'), "newline": _value(b'"\n"'), "raw NUL": _value(b'"\x00"'),
    "unknown escape": _value(r'"\x41"'), "short escape": _value(r'"\u12"'), "braced escape": _value(r'"\u{41}"'),
    "signed escape": _value(r'"\u+123"'), "non-breaking space": "\u00a0{}".encode(),
    "byte order mark": b"\xef\xbb\xbf" + _value("1"), "XML": b"<a>" + MARK.encode() + b"</a>",
    "form": b"name=" + MARK.encode(),
}  # fmt: skip
ODD_VALUES = {
    "NaN": _value("NaN"), "nan": _value("nan"), "Infinity": _value("Infinity"), "-Infinity": _value("-Infinity"),
    "inf": _value("inf"), "1e999": _value("1e999"), "-1e999": _value("-1e999"), "1E+400": _value("1E+400"),
    "huge exponent": _value("1e" + "9" * 300), "large for a double": _value("9" * 310 + ".0"),
    "10**400": _value(str(10**400)), "long fraction": _value("0." + "1" * 400), "many zeros": _value("0" * 401),
    "lone high surrogate": _value(r'"\ud800"'), "lone low surrogate": _value(r'"\udc00"'),
    "surrogates reversed": _value(r'"\ude00\ud83d"'), "two high surrogates": _value(r'"\ud83d\ud83d\ude00"'),
    "surrogate as key": rb'{"\udfff": 1}', "NUL": _value(r'"a\u0000b"'), "NUL as key": rb'{"\u0000": 1}',
    "key twice": b'{"name": "x", "name": "' + MARK.encode() + b'"}', "key twice below": b'{"budget": {"a": 1, "a": 2}}',
    "key twice by an escape": rb'{"name": "x", "n\u0061me": "y"}',
    "key twice in a list": b'[{"a": 1}, {"b": 1, "b": 2}]',
    "empty key twice": b'{"": 1, "": 2}',
    "33 lists": _nested(33, opening="[", closing="]"), "33 objects": _nested(33, opening='{"a":', closing="}"),
    "34 of both": _nested(17, opening='[{"a":', closing="}]"),
    "brackets": b"[" * 50_000, "braces": b'{"a":' * 10_000, "closing brackets": b"]" * 50_000, "quotes": b'"' * 50_000,
    "escaped quotes": b'["' + rb"a\"" * 20_000, "backslashes": b'"' + b"\\" * 50_001,
}  # fmt: skip
NOT_UTF8 = {
    "lone continuation": b"\x80", "cut off": b"\xc3", "cut off in three": b"\xe2\x82",
    "cut off in four": b"\xf0\x9f\x98",
    "overlong NUL": b"\xc0\x80", "overlong slash": b"\xe0\x80\xaf", "overlong in four": b"\xf0\x80\x80\xaf",
    "surrogate": b"\xed\xa0\x80", "surrogate pair": b"\xed\xa0\xbd\xed\xb8\x80", "beyond the last": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80", "FE": b"\xfe", "FF": b"\xff", "Latin-1": "caf\u00e9".encode("latin-1"),
}  # fmt: skip
OTHER_ENCODINGS = {
    name: _value("1").decode().encode(name) for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be")
}
PLAIN = {
    "none": b"", "null": b"null", "true": b"true", "number": b"1", "string": f'"{MARK}"'.encode(), "list": b"[]",
    "list of lists": b"[[1]]", "empty": b"{}", "-0": _value("-0"), "-0.0": _value("-0.0"), "1e-400": _value("1e-400"),
    "2**53": _value(str(2**53)), "2**63": _value(str(2**63)), "2**64": _value(str(2**64)),
    "-2**63": _value(str(-(2**63))),
    "400 digits": _value("9" * 400), "1e308": _value("1e308"), "1e300": _value("1" * 200 + "e99"),
    "32 lists": _nested(32, opening="[", closing="]"), "32 objects": _nested(32, opening='{"a":', closing="}"),
    "long string": json.dumps({"name": MARK * 3000}).encode(), "long key": json.dumps({"k" * 60_000: 1}).encode(),
    "many keys": json.dumps({str(i): i for i in range(5000)}).encode(), "many lists": b"[" + b"[]," * 20_000 + b"1]",
    "prototype": b'{"__proto__": {"a": 1}, "constructor": 1, "__class__": 1}', "delete": _value('"\x7f"'),
    "right to left": _value('"\u202e\u2066"'), "noncharacter": _value('"\uffff\U0010ffff"'),
    "emoji": _value(r'"\ud83d\ude00"'),
}  # fmt: skip
CORPUS: dict[str, Sent] = {
    **{name: Sent(body) for name, body in (MALFORMED | ODD_VALUES | OTHER_ENCODINGS).items()},
    **{f"not UTF-8: {name}": Sent(_value(b'"' + body + b'"')) for name, body in NOT_UTF8.items()},
    "not UTF-8: cut off at the end": Sent(b'"' + MARK.encode() + b"\xc3"),
    **{f"plain: {name}": Sent(body, None) for name, body in PLAIN.items()},
    "text": _typed("text/plain"),
    "form": _typed("application/x-www-form-urlencoded", body=b"name=" + MARK.encode()),
    "multipart": _typed("multipart/form-data; boundary=x", body=b"--x\r\n\r\n" + MARK.encode() + b"\r\n--x--"),
    "no type": _typed(),
    "empty type": _typed(""),
    "other JSON": _typed("application/problem+json"),
    "longer type": _typed("application/jsonx"),
    "two types in one": _typed("application/json, text/plain"),
    "another type first": _typed("text/plain", "application/json"),
    "long type": _typed("application/" + "x" * 5000),
    "type in Latin-1": _typed("application/json\xff"),
    "another type second": Sent(
        _value("1"), None, [("Content-Type", "application/json"), ("Content-Type", "text/plain")]
    ),
    "type in capitals": Sent(_value("1"), None, [("Content-Type", "APPLICATION/JSON; Charset=UTF-16")]),
    "packed": Sent(
        gzip.compress(_value("1")), 415, [("Content-Type", "application/json"), ("Content-Encoding", "gzip")]
    ),
    "declared compressed and is not": Sent(
        _value("1"), 415, [("Content-Type", "application/json"), ("Content-Encoding", "br")]
    ),
    "compressed and not declared": Sent(gzip.compress(_value("1"))),
    "too large": Sent(json.dumps({"name": "x" * LARGEST_BODY}).encode(), 413),
}


@pytest.mark.parametrize("label", CHANGING)
def test_every_operation_refuses_every_hostile_body(service: Everything, label: str) -> None:
    for index, (name, sent) in enumerate(CORPUS.items(), start=CHANGING.index(label)):
        content = iter([sent.body[:10], sent.body[10:]]) if index % 2 else sent.body  # in chunks, or with its length
        headers = [(name.encode(), value.encode("latin-1")) for name, value in sent.headers]
        answer = _send(service, label, content=content, headers=headers)
        _hold(service, label, answer, name)
        assert answer.status_code == sent.status or sent.status is None, f"{name}: {answer.status_code}"
        assert service.client.get("/healthz").status_code == 200, name


def _send(service: Everything, label: str, **what: Any) -> Any:
    method, path = label.split(" ")
    ids = service.ids | ({"search_id": service.waiting[0]} if method == "DELETE" else {})
    return service.client.request(method, path.format(**ids), **what)


def _hold(service: Everything, label: str, answer: Any, why: str) -> None:
    """Check an answer against the document: described, a problem if it is an error, and without the input."""
    method, path = label.split(" ")
    described = service.app.openapi()["paths"][path][method.lower()]["responses"]
    assert str(answer.status_code) in described, f"{why}: {answer.status_code} is not described"
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    content = described[str(answer.status_code)].get("content", {})
    assert kind in content or answer.status_code == 204, f"{why}: {kind}"
    if answer.status_code >= 400:
        assert kind == "application/problem+json", why
        problem = ProblemBody.model_validate_json(answer.content)
        assert problem.status == answer.status_code, why
        assert MARK not in answer.text, why
        assert len(answer.content) < 16_000, why


# the guard itself, against a slow reading of the same rules


TOKENS = [
    *'{}[]:,"\\', " ", "\n", "\t", "\x00", "\x7f", "\u00e9", "\U0001f600", "true", "false", "null", "nul", "NaN",
    "-Infinity", "0", "-0", "12", "01", "1.5", "1e5", "1e-400", "1e400", "-1E+309", "9" * 400, "9" * 401,
    "1" * 210 + "e98", "1" * 210 + "e99",
    '"a"', '"b"', r'"\u0061"', r'"\u0000"', r'"\\u0000"', r'"\ud800"', r'"\udc00"', r'"\ud83d\ude00"',
    r'"\ud83d\\ude00"', r'"\uD83D\uDE00x"', r'"\""', '"a":', '{"a":', '{"b":', "[" * 16, "]" * 16,
    '{"a":[' * 8, "]}" * 8,
]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(st.sampled_from(TOKENS), max_size=24).map("".join))
def test_the_json_guard_agrees_with_a_slow_parser_on_tokens(text: str) -> None:
    assert (find_fault(text.encode()) is None) == _is_plain(text)


@given(VALUES, st.booleans())
def test_the_json_guard_agrees_with_a_slow_parser_on_values(value: Any, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    assert (find_fault(text.encode()) is None) == _is_plain(text)


@given(VALUES, st.data())
def test_the_json_guard_agrees_with_a_slow_parser_on_corrupted_values(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    at = data.draw(st.integers(0, len(text)))
    spoilt = text[:at] + data.draw(st.sampled_from(TOKENS)) + text[at + data.draw(st.integers(0, 2)) :]
    assert (find_fault(spoilt.encode()) is None) == _is_plain(spoilt)


def _is_plain(text: str) -> bool:
    def number(literal: str) -> float:
        if len(literal) > LONGEST_NUMBER or (set(literal) & set(".eE") and abs(float(literal)) == float("inf")):
            raise ValueError
        return 0

    def refuse(literal: str) -> None:
        raise ValueError

    def unique(pairs: list[tuple[str, Any]]) -> Json:
        if len(dict(pairs)) < len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        value = json.loads(text, parse_int=number, parse_float=number, parse_constant=refuse, object_pairs_hook=unique)
    except ValueError:
        return False
    return _is_fit(value, 0)


def _is_fit(value: Any, depth: int) -> bool:
    if isinstance(value, str):
        return not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, dict):
        return depth < DEEPEST and all(_is_fit(one, depth + 1) for pair in value.items() for one in pair)
    return not isinstance(value, list) or (depth < DEEPEST and all(_is_fit(one, depth + 1) for one in value))


# bytes that are no request, at a real server


BODY_SECONDS = 1.0
HOST = b"Host: 127.0.0.1\r\n"
JSON = b"Content-Type: application/json\r\n"
CLOSE = b"Connection: close\r\n"
READ_HEADERS = ("Idempotency-Key", "Last-Event-ID", "Prefer", "Authorization", "Host", "Content-Type", "Origin")
JUNK_VALUES = {
    "empty": b"", "space": b" ", "NUL": b"\x00", "control": b"\x01\x1b", "carriage return": b"a\rb", "delete": b"\x7f",
    "Latin-1": b"\xe9", "not UTF-8": b"\xff\xfe", "surrogate": b"\xed\xa0\x80", "percent": b"%00%ff%ud800",
    "comma": b",,,", "quote": b'"', "number": b"9" * 400, "negative": b"-1", "long": b"x" * 8000, "folded": b"a\r\n b",
    "split": b"a\r\nX-Made: b",
}  # fmt: skip
JUNK_NAMES = {
    "NUL": b"%00", "not UTF-8": b"%ff", "no escape": b"%ud800", "surrogate": b"%ed%a0%80", "overlong": b"%c0%af",
    "new line": b"%0d%0aX:1", "up": b"..%2f..%2f", "slash": b"a%2Fb", "half an escape": b"%", "not hexadecimal": b"%zz",
    "escaped twice": b"%2500", "space": b"%20", "tab": b"%09", "long": b"x" * 5000, "semicolon": b"a;b=c", "plus": b"+",
    "question mark": b"%3f", "raw": b"\xff", "raw NUL": b"\x00", "raw control": b"\x01",
}  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A server on loopback; `alarms` is what it logged as an error."""

    port: int
    alarms: list[str]

    def send(self, raw: bytes, *, then: bytes | None = None, leave: bool = False) -> list[int]:
        """Send bytes, and more after a while; returns the statuses of the answers. leave: disconnect before them."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            try:
                connection.sendall(raw)
                if then is not None:
                    time.sleep(0.05)
                    connection.sendall(then)
                said = b"" if leave else _read(connection)
            except (ConnectionResetError, BrokenPipeError):  # refused before all of it was sent
                return []
        return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", said)]

    @property
    def is_well(self) -> bool:
        """Whether the server answers and has logged no error."""
        return self.send(b"GET /healthz HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n") == [200] and not self.alarms


def _read(connection: socket.socket) -> bytes:
    said = b""
    while part := connection.recv(65536):
        said += part
    return said


class _Alarms(logging.Handler):
    def __init__(self, alarms: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._alarms = alarms

    def emit(self, record: logging.LogRecord) -> None:
        self._alarms.append(record.getMessage())


@pytest.fixture(scope="module")
def server(
    sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory, module_patch: pytest.MonkeyPatch
) -> Iterator[Server]:
    module_patch.setattr("app.processes.uvicorn_server.HEAD_SECONDS", BODY_SECONDS)
    folder = tmp_path_factory.mktemp("raw")
    with (
        everything(sqlite_file, folder, keyed=False, body_seconds=BODY_SECONDS) as service,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        config = config_of(service.app, lifespan="off", log_level="error")
        running = uvicorn.Server(config)
        alarms: list[str] = []
        handler = _Alarms(alarms)
        for name in ("uvicorn.error", "nnmass", "asyncio"):
            logging.getLogger(name).addHandler(handler)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        yield Server(listening.getsockname()[1], alarms)
        running.should_exit = True
        thread.join()
        for name in ("uvicorn.error", "nnmass", "asyncio"):
            logging.getLogger(name).removeHandler(handler)


@pytest.fixture(scope="module")
def module_patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def _get(path: bytes, headers: bytes = b"") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + CLOSE + headers + b"\r\n"


def _post(headers: bytes, body: bytes = b"", host: bytes = HOST) -> bytes:
    return b"POST /v1/searches HTTP/1.1\r\n" + host + JSON + CLOSE + headers + b"\r\n" + body


HIDDEN = _get(b"/healthz")
"""A request that one of two readers of the same bytes might find in them."""

NO_REQUEST = {
    "NUL first": b"\x00\x01\x02\r\n\r\n", "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/9": b"GET /healthz HTTP/9.9\r\n" + HOST + b"\r\n",
    "no path": b"GET  HTTP/1.1\r\n" + HOST + b"\r\n", "no slash": b"GET healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "no method": b"FROB /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "length no number": _post(b"Content-Length: abc\r\n", b"{}"),
    "length signed": _post(b"Content-Length: +2\r\n", b"{}"),
    "length negative": _post(b"Content-Length: -1\r\n", b"{}"),
    "length in hexadecimal": _post(b"Content-Length: 0x2\r\n", b"{}"),
    "length beyond 64 bits": _post(b"Content-Length: 99999999999999999999999\r\n", b"{}"),
    "two lengths": _post(b"Content-Length: 2\r\nContent-Length: 3\r\n", b"{}x"),
    "the same length twice": _post(b"Content-Length: 2\r\nContent-Length: 2\r\n", b"{}"),
    "length list": _post(b"Content-Length: 2, 3\r\n", b"{}"),
    "chunks and a length": _post(b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + HIDDEN),
    "a length and chunks": _post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n" + HIDDEN),
    "unknown coding": _post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "chunked not last": _post(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    "space before colon": _post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    "chunk of no size": _post(b"Transfer-Encoding: chunked\r\n", b"zz\r\n{}\r\n0\r\n\r\n"),
    "chunk beyond 64 bits": _post(b"Transfer-Encoding: chunked\r\n", b"f" * 20 + b"\r\n{}\r\n0\r\n\r\n"),
    "chunk longer than declared": _post(b"Transfer-Encoding: chunked\r\n", b"1\r\n{}\r\n0\r\n\r\n"),
    "lines ended by LF": b"GET /healthz HTTP/1.1\n" + HOST.replace(b"\r", b"") + b"X: y\r\nZ: a\nb\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", NO_REQUEST)
def test_bytes_that_are_not_an_http_request_are_400(server: Server, name: str) -> None:
    assert server.send(NO_REQUEST[name]) == [400]
    assert server.is_well


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /" + b"x" * 2 * LARGEST_HEAD, 431),
        (b"GET /v1/searches?q=" + b"x" * 2 * LARGEST_HEAD, 431),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 2 * LARGEST_HEAD, 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * LARGEST_HEAD, 431),
        (_get(b"/v1/searches?q=" + b"x" * 20_000), 422),
        (_get(b"/v1/searches?" + b"a=1&" * 5000), 422),
        (_get(b"/v1/searches/" + b"x" * 20_000), 404),
        (_get(b"/healthz", b"X: y\r\n" * 1000), 200),
        (_post(b"Content-Length: 9999999999\r\n", b"{}"), 413),
        (_post(b"Content-Length: 2\r\nExpect: 200-ok\r\n", b"{}"), 422),
        (_post(b"Content-Length: 2\r\n", b"{}", host=b""), 421),
        (_post(b"Content-Length: 2\r\n", b"{}", host=b"Host: evil.example\r\n"), 421),
        (_post(b"Content-Length: 2\r\n", b"{}", host=HOST + b"Host: evil.example\r\n"), 421),
        (_post(b"Content-Length: 2\r\n", b"{}", host=b"Host: evil.example\r\n" + HOST), 421),
        (_get(b"/healthz", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"), 200),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n", 404),
    ],
    ids=lambda value: value[:40] if isinstance(value, bytes) else None,
)
def test_oversized_or_misplaced_parts_of_a_request_are_answered(server: Server, raw: bytes, status: int) -> None:
    assert server.send(raw) in ([status], [])
    assert server.is_well


@pytest.mark.parametrize("head", READ_HEADERS)
def test_arbitrary_bytes_in_a_header_are_answered(server: Server, head: str) -> None:
    for name, value in JUNK_VALUES.items():
        junk = head.encode() + b": " + value + b"\r\n"
        host = b"" if head == "Host" else HOST
        for request in (
            b"GET /v1/searches HTTP/1.1\r\n" + host + CLOSE + junk + b"\r\n",
            b"POST /v1/searches HTTP/1.1\r\n" + host + CLOSE + junk + b"Content-Length: 2\r\n\r\n{}",
        ):
            (status,) = server.send(request)
            assert status < 500, f"{head} {name}"
    assert server.is_well


@pytest.mark.parametrize("label", OPERATIONS)
def test_arbitrary_bytes_in_the_address_are_answered(server: Server, label: str) -> None:
    method, path = (part.encode() for part in label.split(" "))
    for name, junk in JUNK_NAMES.items():
        filled = b"/".join(junk if part.startswith(b"{") else part for part in path.split(b"/"))
        asked = b"?" + b"&".join(key + b"=" + junk for key in QUERIES)
        for place in (filled, filled + asked):
            if b"{" in path or place != filled:
                request = (
                    method + b" " + place + b" HTTP/1.1\r\n" + HOST + JSON + CLOSE + b"Content-Length: 2\r\n\r\n{}"
                )
                (status,) = server.send(request)
                assert status < 500, f"{name}: {status}"
    assert server.is_well


QUERIES = (b"q", b"tag", b"limit", b"cursor", b"ids", b"created_after", b"search", b"seed", b"format", b"dataset")


@pytest.mark.parametrize(
    "raw",
    [
        _post(b"Content-Length: 100\r\n", b"{"),
        _post(b"Content-Length: 100\r\nExpect: 100-continue\r\n"),
        _post(b"Transfer-Encoding: chunked\r\n", b"5\r\n{"),
        b"POST /v1/searches HTTP/1.1\r\nHost: 127",
    ],
)
def test_a_request_that_arrives_too_slowly_times_out(server: Server, raw: bytes) -> None:
    assert server.send(raw)[-1] == 408
    assert server.is_well


def test_a_connection_without_a_request_is_closed(server: Server) -> None:
    assert server.send(b"") == []
    assert server.is_well


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: 127", _get(b"/v1/searches"),
        _post(b"Content-Length: 100\r\n", b"{"), _post(b"Transfer-Encoding: chunked\r\n", b"5\r\n{"),
        _post(b"Content-Length: 9999999999\r\n", b"{}"),
    ],
)  # fmt: skip
def test_a_client_that_disconnects_during_a_request_is_dropped(server: Server, raw: bytes) -> None:
    assert server.send(raw, leave=True) == []
    assert server.is_well


def test_split_and_pipelined_requests_are_answered(server: Server) -> None:
    whole = _post(b"Content-Length: 2\r\n", b"{}")
    assert server.send(whole[:20], then=whole[20:]) == [422]
    assert server.send(whole[:-1], then=whole[-1:]) == [422]
    assert server.send(whole.replace(CLOSE, b"") + whole) == [422, 422]
    assert server.send(whole + b"rest") == [422], "after what closes the connection nothing is read"
    assert server.is_well
