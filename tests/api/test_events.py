"""Event streams: read from a real server, interrupted and resumed, on both backends."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.auth import keys
from app.auth.keys import Scope
from app.http import event_streams as streams_module
from app.http.event_streams import TICK_SECONDS, Streams
from app.jobs import lifecycle
from app.jobs.lifecycle import Claim
from app.main import create_app
from app.processes.uvicorn_server import _Server
from app.storage.db import Database
from tests.conftest import Backend
from worker import search_tasks
from worker.process import Context

SMALL = {"space": "densenet-tiny-free", "budget": {"max_params": 100_000}}
UNKNOWN = "00000000-0000-7000-8000-000000000000"

Reported = tuple[int, str, dict[str, Any]]
"""An event as it was received: id, name, data."""


def admitted() -> bool:
    return True


def wait_until(happened: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def reported_by(lines: Iterator[str]) -> Generator[Reported]:
    """Parse events: fields up to an empty line; lines that start with a colon are comments."""
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields and not line:
            yield int(fields["id"]), fields["event"], json.loads(fields["data"])
            fields = {}


@dataclass
class Server:
    """The application behind a real socket, since the test client gives a stream only once it has ended."""

    app: FastAPI
    server: _Server
    address: str

    @property
    def streams(self) -> Streams:
        found: Streams = self.app.state.streams
        return found

    @property
    def database(self) -> Database:
        found: Database = self.app.state.database
        return found

    def write(self, act: Callable[..., Any], *args: Any) -> Any:
        with self.database.write() as session:
            return act(session, *args)

    def client(self) -> httpx2.Client:
        # plain HTTP needs no certificates, which take 25 ms of processor time to load
        return httpx2.Client(base_url=self.address, timeout=30, trust_env=False, verify=False)

    def post(self, path: str = "/v1/searches", body: Any = None) -> Any:
        with self.client() as client:
            return client.post(path, json=body).raise_for_status().json()

    def get(self, path: str) -> Any:
        with self.client() as client:
            return client.get(path).raise_for_status().json()


@dataclass
class Follower:
    """A client that reads one stream in a separate thread."""

    server: Server
    search_id: str
    last: int | None = None
    key: str | None = None
    reported: list[Reported] = field(default_factory=list)
    status: int = 0
    enough: Callable[[list[Reported]], bool] = lambda reported: False

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        headers = {} if self.last is None else {"Last-Event-ID": str(self.last)}
        headers |= {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        path = f"/v1/searches/{self.search_id}/events"
        with self.server.client() as client, client.stream("GET", path, headers=headers) as answer:
            self.status = answer.status_code
            for one in reported_by(answer.iter_lines()):
                self.reported.append(one)
                if self.enough(self.reported):
                    return

    def ended(self) -> list[Reported]:
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.reported

    def has(self, count: int) -> None:
        wait_until(lambda: len(self.reported) >= count)


@contextmanager
def serving(backend: Backend) -> Iterator[Server]:
    app = create_app(backend.settings)
    listening = socket.create_server(("127.0.0.1", 0))
    server = _Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5))
    server.stopping = app.state.stopping
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield Server(app, server, f"http://127.0.0.1:{listening.getsockname()[1]}")
    finally:
        server.handle_exit(signal.SIGTERM, None)
        thread.join(20)
        listening.close()
        assert not thread.is_alive()


@pytest.fixture
def server(backend: Backend, caplog: pytest.LogCaptureFixture) -> Iterator[Server]:
    with serving(backend) as server:
        yield server
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


def names(reported: list[Reported]) -> list[tuple[str, str]]:
    return [(name, data["status"]) for _, name, data in reported]


def claimed(server: Server) -> Claim:
    held = server.write(lifecycle.claim, "search", "test/1", 15.0)
    assert isinstance(held, Claim)
    return held


def test_a_stream_reports_a_search_from_start_to_end(server: Server, worker: Context) -> None:
    search_id = server.post(body=SMALL)["id"]
    follower = Follower(server, search_id)
    follower.has(1)
    assert search_tasks.run_next(worker)
    reported = follower.ended()
    assert follower.status == 200
    assert [number for number, _, _ in reported] == list(range(1, len(reported) + 1))
    shown = names(reported)
    assert [one for one in shown if one[0] != "progress"] == [
        ("status", "queued"),
        ("status", "running"),
        ("done", "succeeded"),
    ]
    assert shown[-1] == ("done", "succeeded")
    assert all({"status", "fraction", "message", "at"} <= set(data) for _, _, data in reported)
    assert all(earlier[2]["at"] <= later[2]["at"] for earlier, later in pairwise(reported))

    search = server.get(f"/v1/searches/{search_id}")
    done = reported[-1][2]
    assert {name: done[name] for name in search} == search
    assert (done["fraction"], done["message"]) == (1.0, "finished")


def test_a_stream_resumes_after_any_event(server: Server) -> None:
    search_id = server.post(body=SMALL)["id"]
    held = claimed(server)
    for i in range(6):
        server.write(lifecycle.heartbeat, held, 15.0, i / 10, f"step {i}")
    server.write(lifecycle.add_event, held, "progress", {"epoch": {"epoch": 3}}, 0.7, "epoch 3")
    server.write(lifecycle.succeed, held)
    everything = Follower(server, search_id).ended()
    assert names(everything) == [
        ("status", "queued"),
        ("status", "running"),
        *[("progress", "running")] * 7,
        ("done", "succeeded"),
    ]
    assert everything[8][2]["epoch"] == {"epoch": 3}
    for last in range(len(everything)):
        assert Follower(server, search_id, last).ended() == everything[last:]
    for last in (len(everything), len(everything) + 1, 10**19):
        follower = Follower(server, search_id, last)
        assert (follower.ended(), follower.status) == ([], 204)


def test_clients_that_reconnect_repeatedly_see_each_event_once(server: Server) -> None:
    search_id = server.post(body=SMALL)["id"]
    held = claimed(server)
    seen: list[list[Reported]] = [[] for _ in range(12)]

    def reconnecting(received: list[Reported], batch: int) -> None:
        while not received or received[-1][1] != "done":
            last = received[-1][0] if received else None
            received += Follower(server, search_id, last, enough=lambda reported: len(reported) >= batch).ended()

    threads = [threading.Thread(target=reconnecting, args=(seen[i], 1 + i % 4), daemon=True) for i in range(len(seen))]
    for thread in threads:
        thread.start()
    for i in range(30):
        server.write(lifecycle.add_event, held, "progress", {"step": i}, i / 30, f"step {i}")
        time.sleep(0.01)
    server.write(lifecycle.succeed, held)
    for thread in threads:
        thread.join(60)
    for received in seen:
        assert [number for number, _, _ in received] == list(range(1, 34))
        assert [data["step"] for _, name, data in received if name == "progress"] == list(range(30))


def test_an_event_id_beyond_the_last_resumes_at_the_end(server: Server) -> None:
    search_id = server.post(body=SMALL)["id"]
    follower = Follower(server, search_id, 10**19)
    wait_until(lambda: server.streams._waiting)
    server.write(lifecycle.succeed, claimed(server))
    assert [number for number, _, _ in follower.ended()] == [2, 3]


def test_an_end_followed_by_a_retry_is_sent_as_a_status(server: Server) -> None:
    search_id = server.post(body=SMALL)["id"]
    open_before = Follower(server, search_id)
    open_before.has(1)
    with (
        server.database.write() as session
    ):  # in one transaction, so that the open stream cannot see the end without the retry
        assert lifecycle.cancel(session, UUID(search_id))
        assert lifecycle.retry(session, UUID(search_id))
    open_before.has(3)
    opened_after = Follower(server, search_id)
    opened_after.has(3)
    server.write(lifecycle.cancel, UUID(search_id))
    reported = open_before.ended()
    assert names(reported) == [
        ("status", "queued"),
        ("status", "cancelled"),
        ("status", "queued"),
        ("done", "cancelled"),
    ]
    assert reported[1][2].keys() == {"status", "fraction", "message", "at"}
    assert reported[3][2]["finished_at"] is not None
    assert opened_after.ended() == reported


def test_a_stream_follows_a_retried_search_to_its_second_end(server: Server, worker: Context) -> None:
    search_id = server.post(body=SMALL)["id"]
    server.post(f"/v1/searches/{search_id}/cancel")
    first = Follower(server, search_id).ended()
    assert names(first)[-1] == ("done", "cancelled")
    server.post(f"/v1/searches/{search_id}/retry")
    second = Follower(server, search_id, first[-1][0])
    second.has(1)
    assert search_tasks.run_next(worker)
    shown = names(second.ended())
    assert (shown[0], shown[-1]) == (("status", "queued"), ("done", "succeeded"))


def test_waiting_streams_share_one_query_and_hold_no_session(server: Server) -> None:
    ids = [server.post(body=SMALL | {"top_k": 1 + i % 3})["id"] for i in range(60)]
    followers = [Follower(server, search_id) for search_id in ids]
    for follower in followers:
        follower.has(1)
    wait_until(lambda: len(server.streams._waiting) == 60)
    statements: list[str] = []
    record = lambda *context: statements.append(context[2])  # noqa: E731 - its arguments are many
    event.listen(server.database.engine, "before_cursor_execute", record)
    time.sleep(2.1)
    event.remove(server.database.engine, "before_cursor_execute", record)
    looks = [statement for statement in statements if "jobs.events" in statement]
    assert 3 <= len(looks) <= 11
    assert not [statement for statement in statements if "job_events" in statement]
    assert server.database.engine.pool.checkedout() <= 2  # type: ignore[attr-defined]  # the sweeper, the look
    for search_id in set(ids):
        server.write(lifecycle.cancel, UUID(search_id))
    assert all(names(follower.ended()) == [("status", "queued"), ("done", "cancelled")] for follower in followers)
    wait_until(lambda: server.streams._watch is not None and server.streams._watch.done())


def test_a_disconnected_client_is_removed(server: Server) -> None:
    search_id = server.post(body=SMALL)["id"]
    with server.client() as client, client.stream("GET", f"/v1/searches/{search_id}/events") as answer:
        reported = reported_by(answer.iter_lines())
        assert next(reported)[0] == 1
        wait_until(lambda: server.streams._waiting)
        reported.close()
    wait_until(lambda: not server.streams._waiting)
    wait_until(lambda: server.streams._watch is not None and server.streams._watch.done())


def test_clients_that_disconnect_during_a_burst_do_not_disturb_others(server: Server) -> None:
    search_id = server.post(body=SMALL)["id"]
    held = claimed(server)
    for i in range(400):
        server.write(lifecycle.add_event, held, "progress", {"much": "x" * 2000}, i / 400, "on")
    for count in range(1, 9):
        Follower(server, search_id, enough=lambda reported, count=count: len(reported) >= count).ended()  # type: ignore[misc]
    wait_until(lambda: not server.streams._waiting)
    server.write(lifecycle.succeed, held)
    assert [number for number, _, _ in Follower(server, search_id).ended()] == list(range(1, 404))


def test_an_idle_stream_sends_comments(backend: Backend) -> None:
    with backend.database.write() as session:
        job = lifecycle.enqueue(session, UUID(int=6), kind="search", queue="search", owner="local")

    async def follow() -> list[Any]:
        streams = Streams(backend.database, threading.Event(), ping_seconds=0.05)
        answer = streams.response(job, 1, lambda session: {}, admitted)
        assert isinstance(answer, StreamingResponse)
        pieces = aiter(answer.body_iterator)
        first = [await anext(pieces) for _ in range(3)]
        await streams.stop()
        return first

    assert asyncio.run(asyncio.wait_for(follow(), 20)) == [b": ping\n\n"] * 3


def test_streams_end_when_the_server_shuts_down(backend: Backend) -> None:
    with serving(backend) as server:
        search_id = server.post(body=SMALL)["id"]
        follower = Follower(server, search_id)
        follower.has(1)
        started = time.monotonic()
        server.server.handle_exit(signal.SIGTERM, None)
        assert names(follower.ended()) == [("status", "queued")]
        assert time.monotonic() - started < 3


class UnreliableDatabase(Database):
    """A database that is unavailable whenever the test sets it so."""

    unavailable = False

    @contextmanager
    def read(self) -> Iterator[Session]:
        if self.unavailable:
            raise OperationalError("select", {}, Exception("connection refused"))
        with super().read() as session:
            yield session


def test_streams_survive_an_unavailable_database(backend: Backend) -> None:
    database = UnreliableDatabase(backend.settings.sqlalchemy_url)
    with database.write() as session:
        job_id = lifecycle.enqueue(session, UUID(int=7), kind="search", queue="search", owner="local").id

    async def follow() -> list[tuple[str | None, str | None]]:
        streams = Streams(database, threading.Event())
        reported = []
        async for one in streams.follow(job_id, 0, lambda session: {"whole": True}, admitted):
            reported.append((one.id, one.event))
            if one.id == "1":
                database.unavailable = True
                asyncio.get_running_loop().call_later(0.5, cancel)
        await streams.stop()
        return reported

    def cancel() -> None:
        with database.write() as session:
            lifecycle.cancel(session, job_id)
        database.unavailable = False

    assert asyncio.run(asyncio.wait_for(follow(), 20)) == [("1", "status"), ("2", "done")]
    database.dispose()


def test_a_done_event_contains_only_the_state_at_that_event(backend: Backend) -> None:
    database = backend.database
    with database.write() as session:
        job_id = lifecycle.enqueue(session, UUID(int=9), kind="search", queue="search", owner="local").id
        lifecycle.cancel(session, job_id)

    def whole(reading: Session) -> dict[str, Any]:
        with database.write() as session:
            assert lifecycle.retry(session, job_id)
        return {"whole": True}

    _, reported = Streams(database, threading.Event())._rest(job_id, 1, whole)[0]
    # SQLite reads all of it as it was before the retry, PostgreSQL each query as of now
    assert reported.event == ("done" if backend.settings.embedded else "status")
    assert ("whole" in reported.data.model_dump()) == backend.settings.embedded


def test_a_stream_ends_when_its_key_is_revoked(backend: Backend) -> None:
    with backend.database.write() as session:
        (revoked, first), (_, other) = (keys.create(session, "ann", {Scope.READ, Scope.SEARCH}) for _ in range(2))
        session.flush()
        prefix = revoked.prefix
    with serving(backend) as server:
        with server.client() as client:
            headers = {"Authorization": f"Bearer {first}"}
            search_id = client.post("/v1/searches", json=SMALL, headers=headers).json()["id"]
        going, staying = (Follower(server, search_id, key=key) for key in (first, other))
        going.has(1)
        staying.has(1)
        server.write(keys.revoke, prefix)
        assert names(going.ended()) == [("status", "queued")]
        assert staying.thread.is_alive()
        server.write(lifecycle.cancel, UUID(search_id))
        assert names(staying.ended()) == [("status", "queued"), ("done", "cancelled")]


def test_a_slow_reader_s_stream_ends_when_its_key_is_revoked_during_a_burst(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "ADMITTED_SECONDS", 0.0)
    with backend.database.write() as session:
        job_id = lifecycle.enqueue(session, UUID(int=9), kind="search", queue="search", owner="local").id
    with backend.database.write() as session:
        assert lifecycle.cancel(session, job_id)

    async def follow() -> list[str | None]:
        streams, reported = Streams(backend.database, threading.Event()), []
        async for one in streams.follow(job_id, 0, lambda session: {}, lambda: False):
            reported.append(one.id)
            await asyncio.sleep(3 * TICK_SECONDS)
        await streams.stop()
        return reported

    assert asyncio.run(asyncio.wait_for(follow(), 20)) == ["1"], "and not the second, which was read already"


def test_a_stream_ends_when_its_job_is_deleted(backend: Backend) -> None:
    async def follow() -> list[str | None]:
        streams = Streams(backend.database, threading.Event())
        reported = [one.id async for one in streams.follow(UUID(int=8), 0, lambda session: {}, admitted)]
        await streams.stop()
        return reported

    assert asyncio.run(asyncio.wait_for(follow(), 20)) == []


def test_the_stream_of_an_unknown_job_is_404(client: TestClient) -> None:
    for name in (UNKNOWN, "nonsense", "%00"):
        answer = client.get(f"/v1/searches/{name}/events")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("last", ["-1", "x", "1.0", "+1", " ", "1 2", "9" * 400])
def test_a_malformed_last_event_id_is_422(client: TestClient, last: str) -> None:
    search_id = client.post("/v1/searches", json=SMALL).json()["id"]
    answer = client.get(f"/v1/searches/{search_id}/events", headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "header.Last-Event-ID")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_the_openapi_document_describes_the_event_stream(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/v1/searches/{search_id}/events"]["get"]
    assert "text/event-stream" in operation["responses"]["200"]["content"]
    assert {"200", "204", "404", "422"} <= set(operation["responses"])
