"""API keys: authentication, scopes, rate limits and limits of queued jobs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text, update

from app.auth import callers, keys
from app.auth.keys import Scope
from app.config import Settings
from app.main import create_app
from app.storage.models import ApiKey, Base
from tests.clients import client_of
from tests.conftest import Backend

SEARCH = {"space": "densenet-tiny-free", "fresh": True}
ALL = {Scope.READ, Scope.SEARCH, Scope.TRAIN}


class Clock:
    """Replaces the module `time` in the cache of keys."""

    def __init__(self) -> None:
        self.moment = 1000.0

    def monotonic(self) -> float:
        return self.moment

    def time(self) -> float:
        return self.moment


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(callers, "time", clock)
    return clock


def make_key(backend: Backend, owner: str = "alice", scopes: set[Scope] | None = None, **more: Any) -> str:
    with backend.database.write() as session:
        return keys.create(session, owner, ALL if scopes is None else scopes, **more)[1]


def serve(backend: Backend, **settings: Any) -> TestClient:
    return client_of(create_app(backend.settings.model_copy(update=settings)))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def status(client: TestClient, key: str | None = None) -> int:
    return client.get("/v1/searches", headers={} if key is None else bearer(key)).status_code


def test_a_key_is_required_once_the_first_key_exists(backend: Backend, clock: Clock) -> None:
    with serve(backend) as client:
        assert status(client) == 200
        key = make_key(backend)
        clock.moment += callers.REMEMBERED_SECONDS
        assert (status(client), status(client, key)) == (401, 200)
        with backend.database.write() as session:
            keys.revoke(session, key.split("_")[1])
        clock.moment += callers.REMEMBERED_SECONDS
        assert (status(client), status(client, key)) == (401, 401), "with every key revoked it stays closed"


def test_keys_can_be_required_before_the_first_key_exists(backend: Backend) -> None:
    with serve(backend, require_keys=True) as client:
        answer = client.get("/v1/searches")
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


def test_only_the_exact_key_is_accepted(backend: Backend) -> None:
    key = make_key(backend)
    changed = key[:-1] + ("A" if key[-1] != "A" else "B")
    other = f"nnm_{'0' * 12}_{key.split('_', 2)[2]}"
    with serve(backend) as client:
        assert status(client, key) == 200
        for wrong in (changed, other, key[:-1], key + "A", key.upper(), "nnm_", "x"):
            assert status(client, wrong) == 401, wrong
        for header in ("", key, f"Basic {key}", "Bearer", f"Bearer {key} {key}", "Bearer \u00e9"):
            sent = [(b"Authorization", header.encode("latin-1"))]
            assert client.get("/v1/searches", headers=sent).status_code == 401, header
        in_address = client.get("/v1/searches", params={"key": key})
        assert (in_address.status_code, key in in_address.text) == (422, False), "it would be logged"


def test_an_invalid_key_is_refused_even_when_no_key_is_required(backend: Backend) -> None:
    with serve(backend) as client:
        assert status(client, f"nnm_{'0' * 12}_{'x' * 43}") == 401


def test_an_expired_or_revoked_key_is_refused(backend: Backend, clock: Clock) -> None:
    expired = make_key(backend, expires_in=timedelta(seconds=-1))
    lasting = make_key(backend, expires_in=timedelta(hours=1))
    with serve(backend) as client:
        assert (status(client, expired), status(client, lasting)) == (401, 200)
        with backend.database.write() as session:
            assert keys.revoke(session, lasting.split("_")[1])
            assert not keys.revoke(session, lasting.split("_")[1])
        clock.moment += callers.REMEMBERED_SECONDS - 0.01
        assert status(client, lasting) == 200, "remembered for a moment"
        clock.moment += 0.02
        assert status(client, lasting) == 401


def test_a_secret_is_not_stored(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = make_key(backend)
    secret = key.split("_", 2)[2]
    with serve(backend) as client:
        answers = [client.get("/v1/searches", headers=bearer(key[:-1])).text, client.get("/openapi.json").text]
        assert status(client, key) == 200
        cached = repr(vars(client.app.state.callers))  # type: ignore[attr-defined]
    with backend.database.read() as session:
        tables = [session.execute(text(f"select * from {t.name}")).all() for t in Base.metadata.sorted_tables]
        shown = repr([keys.described(row) for row in keys.list_page(session)])
    assert "alice" in repr(tables)
    structured = repr([vars(record) for record in caplog.records])
    assert "/v1/searches" in structured
    for place in (*answers, cached, repr(tables), shown, caplog.text, structured):
        assert secret not in place


def test_secrets_have_256_random_bits(backend: Backend) -> None:
    made = {make_key(backend) for _ in range(20)}
    assert len({key.split("_")[1] for key in made}) == len({key.split("_", 2)[2] for key in made}) == 20
    assert all(keys.TOKEN.fullmatch(key) for key in made)


def test_the_last_use_of_a_key_is_recorded_at_most_once_a_minute(backend: Backend, clock: Clock) -> None:
    key = make_key(backend)
    with serve(backend) as client:
        assert status(client, key) == 200
        (first,) = (row.last_used_at for row in _rows(backend))
        clock.moment += callers.REMEMBERED_SECONDS
        assert status(client, key) == 200
        assert [row.last_used_at for row in _rows(backend)] == [first], "within a minute it is not noted again"
        assert first is not None
        long_ago = first - timedelta(hours=1)
        with backend.database.write() as session:
            session.execute(update(ApiKey).values(last_used_at=long_ago))
        clock.moment += callers.REMEMBERED_SECONDS
        assert status(client, key) == 200
        (again,) = (row.last_used_at for row in _rows(backend))
    assert again is not None
    assert again >= first


def _rows(backend: Backend) -> list[ApiKey]:
    with backend.database.read() as session:
        return list(keys.list_page(session))


@pytest.mark.parametrize("owner", ["", " ", "a b", "-a", "a" * 65, "a\n", "é"])
def test_an_invalid_owner_name_is_refused(backend: Backend, owner: str) -> None:
    with pytest.raises(ValueError, match="owner must be"):
        make_key(backend, owner)


# how often, how much


def test_a_rate_limited_owner_gets_retry_after(backend: Backend) -> None:
    alice, again, bob = (make_key(backend, owner) for owner in ("alice", "alice", "bob"))
    with serve(backend, rate_limit="3/minute") as client:
        assert [status(client, key) for key in (alice, alice, again)] == [200] * 3
        refused = client.get("/v1/searches", headers=bearer(again))
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert 1 <= int(refused.headers["Retry-After"]) <= 120
        assert status(client, bob) == 200
        assert client.get("/healthz", headers=bearer(alice)).status_code == 200


def test_requests_without_keys_have_no_rate_limit(backend: Backend) -> None:
    with serve(backend, rate_limit="3/minute") as client:
        assert [status(client) for _ in range(5)] == [200] * 5


@pytest.fixture
def crowded(backend: Backend) -> Iterator[SimpleNamespace]:
    """A service with a limit of two queued jobs per owner, which alice has reached."""
    alice, bob = (make_key(backend, owner) for owner in ("alice", "bob"))
    with serve(backend, most_waiting=2) as client:
        first = client.post("/v1/searches", json=SEARCH, headers=bearer(alice) | {"Idempotency-Key": "first"})
        second = client.post("/v1/searches", json=SEARCH, headers=bearer(alice))
        assert first.status_code == second.status_code == 202
        yield SimpleNamespace(client=client, alice=bearer(alice), bob=bearer(bob), first=first, second=second)


def test_a_submission_beyond_the_limit_of_queued_jobs_is_refused(crowded: SimpleNamespace) -> None:
    refused = crowded.client.post("/v1/searches", json=SEARCH, headers=crowded.alice)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_much_waiting")
    assert int(refused.headers["Retry-After"]) > 0
    assert crowded.client.post("/v1/searches", json=SEARCH, headers=crowded.bob).status_code == 202
    listed = crowded.client.get("/v1/searches", headers=crowded.alice).json()["items"]
    assert [item["id"] for item in listed] == [crowded.second.json()["id"], crowded.first.json()["id"]]


def test_an_idempotent_repeat_is_answered_at_the_limit_of_queued_jobs(crowded: SimpleNamespace) -> None:
    again = crowded.client.post("/v1/searches", json=SEARCH, headers=crowded.alice | {"Idempotency-Key": "first"})
    assert (again.status_code, again.json()) == (202, crowded.first.json())


def test_an_ended_job_no_longer_counts_toward_the_limit(crowded: SimpleNamespace) -> None:
    cancelled = crowded.client.post(f"{crowded.first.headers['Location']}/cancel", headers=crowded.alice)
    assert cancelled.status_code == 200
    assert crowded.client.post("/v1/searches", json=SEARCH, headers=crowded.alice).status_code == 202


def test_a_retry_counts_toward_the_limit_of_queued_jobs(crowded: SimpleNamespace) -> None:
    place = crowded.first.headers["Location"]
    crowded.client.post(f"{place}/cancel", headers=crowded.alice)
    third = crowded.client.post("/v1/searches", json=SEARCH, headers=crowded.alice)
    refused = crowded.client.post(f"{place}/retry", headers=crowded.alice)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_much_waiting")
    assert crowded.client.get(place, headers=crowded.alice).json()["status"] == "cancelled"
    waiting = crowded.client.post(f"{third.headers['Location']}/retry", headers=crowded.alice)
    assert waiting.status_code == 200, "what waits already takes no more room"
    crowded.client.post(f"{third.headers['Location']}/cancel", headers=crowded.alice)
    assert crowded.client.post(f"{place}/retry", headers=crowded.alice).status_code == 202


@pytest.mark.parametrize("rate", ["", "5", "fast", "0/nothing"])
def test_an_invalid_rate_limit_is_refused(rate: str) -> None:
    with pytest.raises(ValueError, match="must be a rate such as"):
        Settings(rate_limit=rate)
