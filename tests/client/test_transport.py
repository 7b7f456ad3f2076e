"""Requests without an answer or with an invalid one; addresses and keys."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nnmass
from app.auth import keys
from app.auth.keys import Scope
from app.config import Settings
from app.storage.db import Database
from nnmass import (
    Client,
    DefinitionError,
    InvalidRequest,
    NnmassError,
    ServiceError,
    ServiceUnreachable,
    TooManyRequests,
    Unauthorized,
)
from nnmass.client.transport import REPEATS
from tests.client.scripted import CUT, Answer, Scripted, scripted
from tests.client.service import Service, serving

SECRET = "nnm_0123456789ab_" + "s" * 43
BUSY = (503, {"Retry-After": "0"}, {"code": "unavailable", "detail": "the database does not respond"})
SEARCH: dict[str, Any] = {
    "id": "1",
    "status": "succeeded",
    "name": "",
    "tags": [],
    "note": "",
    "family": "resnet",
    "created_at": "2026-01-01T00:00:00Z",
    "started_at": None,
    "finished_at": None,
    "heartbeat_at": None,
    "attempts": 1,
    "reused": False,
    "request": {},
    "request_digest": "sha256:0",
    "result_digest": None,
    "core_version": "9.9.9",
    "result": None,
    "error": None,
    "progress": {"fraction": 1.0, "message": "finished"},
}
OK: Answer = (200, {}, SEARCH)


def client_of(script: Scripted, **more: Any) -> Client:
    return Client(script.address, **more)


@pytest.mark.parametrize("first", [BUSY, (429, {"Retry-After": "0"}, {"code": "too_many"}), (CUT, {}, "")])
def test_a_repeated_request_has_the_same_idempotency_key(first: Any) -> None:
    with scripted(first, first, OK) as script, client_of(script) as client:
        assert client.submit("resnet-tiny-free").id == "1"
    assert [seen.method for seen in script.seen] == ["POST"] * 3
    assert len({seen.headers["Idempotency-Key"] for seen in script.seen}) == 1
    assert script.seen[0].body == script.seen[2].body


def test_separate_requests_have_different_idempotency_keys() -> None:
    with scripted(OK) as script, client_of(script) as client:
        client.submit("resnet-tiny-free")
        client.submit("resnet-tiny-free")
    assert len({seen.headers["Idempotency-Key"] for seen in script.seen}) == 2


def test_the_client_waits_for_retry_after() -> None:
    with scripted((503, {"Retry-After": "1"}, {}), OK) as script, client_of(script) as client:
        began = time.monotonic()
        client.get("1")
        assert time.monotonic() - began >= 1


def test_the_client_stops_after_its_limit_of_repeats() -> None:
    refusal = (429, {"Retry-After": "0"}, {"code": "too_much_waiting", "detail": "1000 jobs are queued already"})
    with scripted(refusal) as script, client_of(script) as client, pytest.raises(TooManyRequests) as refused:
        client.get("1")
    assert len(script.seen) == REPEATS + 1
    assert (str(refused.value), refused.value.retry_after) == ("1000 jobs are queued already", 0.0)


@pytest.mark.parametrize(
    "answer",
    [
        (503, {}, {"code": "unavailable", "detail": "the export failed: no torch"}),
        (429, {"Retry-After": "86400"}, {"code": "too_many", "detail": "come again tomorrow"}),
        (500, {}, {"code": "internal_error", "detail": "unexpected error; see the log of the service"}),
    ],
)
def test_a_permanent_error_is_not_repeated(answer: Any) -> None:
    with scripted(answer) as script, client_of(script) as client, pytest.raises(ServiceError) as refused:
        client.get("1")
    assert len(script.seen) == 1
    assert (refused.value.status, refused.value.code) == (answer[0], answer[2]["code"])
    assert str(refused.value) == answer[2]["detail"]


def test_a_repeated_deletion_that_finds_nothing_succeeds() -> None:
    gone: Answer = (404, {}, {"code": "not_found", "detail": "there is no such search"})
    with scripted((CUT, {}, ""), gone) as script, client_of(script) as client:
        client.delete("1")
    assert len(script.seen) == 2


def test_a_refused_connection_raises_service_unreachable_without_the_key() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with Client(address, SECRET) as client, pytest.raises(ServiceUnreachable, match=address) as refused:
        client.ready()
    assert SECRET not in str(refused.value) + repr(refused.value.__cause__)


def test_a_silent_service_raises_service_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Client(address, timeout=0.1) as client, pytest.raises(ServiceUnreachable):
            client.ready()


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, "<html>Welcome to the hotel's network</html>"),
        (200, {}, {"hello": "world"}),
        (200, {}, [1]),
        (200, {}, SEARCH | {"created_at": "yesterday"}),
        (502, {}, "<html>Bad gateway</html>"),
        (404, {}, {"detail": "Not Found"}),
    ],
)
def test_an_answer_of_another_service_raises_unexpected_answer(answer: Any) -> None:
    with scripted(answer) as script, client_of(script) as client, pytest.raises(ServiceError) as refused:
        client.get("1")
    assert refused.value.code == "unexpected_answer"


def test_unknown_fields_of_a_newer_service_are_ignored() -> None:
    with scripted((200, {}, SEARCH | {"color": "green"})) as script, client_of(script) as client:
        search = client.get("1")
    assert search.raw["color"] == "green"


def test_an_error_names_every_problem() -> None:
    errors = [
        {"field": "budget.max_params", "code": "too_small", "message": "must be at least 0"},
        {"field": "", "code": "odd", "message": "is odd"},
    ]
    body = {"code": "invalid_request", "detail": "2 fields are not valid", "errors": errors}
    with scripted((422, {}, body)) as script, client_of(script) as client:
        with pytest.raises(InvalidRequest, match=r"budget\.max_params must be at least 0; is odd") as refused:
            client.submit("resnet-tiny-free")
        with pytest.raises(DefinitionError):
            client.submit("resnet-tiny-free")
    assert [problem.code for problem in refused.value.problems] == ["too_small", "odd"]


# Addresses and keys


def test_a_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted((401, {}, {"code": "unauthenticated", "detail": "the key does not count"})) as script:
        with Client(script.address, f" {SECRET}\n") as client, pytest.raises(Unauthorized) as refused:
            client.get("1")
        shown = repr(client) + str(client) + repr(refused.value) + repr(vars(client))
        monkeypatch.setenv("NNMASS_KEY", SECRET)
        with Client(script.address) as client, pytest.raises(Unauthorized):
            client.get("1")
    assert [seen.headers["Authorization"] for seen in script.seen] == [f"Bearer {SECRET}"] * 2
    assert SECRET not in shown
    assert repr(client) == f"Client({script.address!r}, with a key)"


@pytest.mark.parametrize("key", ["nnm_a b", "nnm_\x00", "nnm_ä", "a\nX-Other: 1"])
def test_an_invalid_key_is_not_repeated_in_the_error(key: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        Client(key=key)
    assert key not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["localhost:8000", "ftp://a", "http://", "http://[", "http://me:secret@host", "http://host?x=1", "http://host#x"],
)
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        Client(url)
    assert [problem.field for problem in refused.value.problems] == ["url"]
    assert "secret" not in str(refused.value)


def test_the_address_is_read_from_the_environment_and_may_have_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(OK) as script:
        monkeypatch.setenv("NNMASS_SERVER", f"{script.address}/behind/a/proxy/")
        with Client() as client:
            client.get("a b/c")
    assert script.seen[0].path == "/behind/a/proxy/v1/searches/a%20b%2Fc"
    monkeypatch.delenv("NNMASS_SERVER")
    with Client() as client:
        assert client.url == "http://127.0.0.1:8000"


def test_a_loopback_address_is_reached_without_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with scripted(OK) as script, client_of(script) as client:
        assert client.get("1").id == "1"


@pytest.fixture
def guarded(sqlite_file: Path, tmp_path: Path) -> Iterator[tuple[Service, dict[str, str]]]:
    """A service that wants keys, and one of alice's that may read and one that may search."""
    (tmp_path / "nnmass.db").write_bytes(sqlite_file.read_bytes())
    settings = Settings(data_dir=tmp_path)
    database = Database(settings.sqlalchemy_url)
    with database.write() as session:
        _, reading = keys.create(session, "alice", {Scope.READ})
        _, searching = keys.create(session, "alice", {Scope.READ, Scope.SEARCH})
    with serving(settings, database) as service:
        yield service, {"read": reading, "search": searching}
    database.dispose()


def test_a_key_is_required_and_its_scopes_apply(guarded: tuple[Service, dict[str, str]]) -> None:
    service, tokens = guarded
    with Client(service.address) as client, pytest.raises(Unauthorized) as refused:
        client.submit("resnet-tiny-free")
    assert refused.value.status == 401
    with Client(service.address, tokens["read"]) as client:
        assert list(client.history()) == []
        with pytest.raises(Unauthorized, match="scope search") as refused:
            client.submit("resnet-tiny-free")
        assert refused.value.status == 403
    with Client(service.address, tokens["search"]) as client:
        search = client.submit("resnet-tiny-free")
        assert [one.id for one in client.history()] == [search.id]
        service.work()
        best = client.search("resnet-tiny-free", max_params="1M", top_k=1)[0]
    with Client(service.address, tokens["read"]) as client:
        assert client.export(best) == nnmass.export(best)
        with pytest.raises(Unauthorized):
            client.export("resnet18")
    assert issubclass(Unauthorized, NnmassError)
