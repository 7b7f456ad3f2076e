"""Event streams over connections that break."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings
from app.jobs import lifecycle
from app.jobs.lifecycle import Claim
from app.storage.db import Database
from nnmass import Client, Event, NotFound, Search, ServiceError, ServiceUnreachable
from nnmass.client import streams
from nnmass.client.streams import NoStream, follow
from tests.client.scripted import cutting, scripted
from tests.client.service import Service, serving
from tests.client.test_transport import SEARCH

STEPS = 40


def reported(service: Service, client: Client) -> str:
    """Submit a search and store many progress events of a worker; returns its id."""
    service.rest()
    search = client.submit("densenet-tiny-free", max_params="100k", fresh=True, note="a line\u2028separator")
    held = service.write(lifecycle.claim, "search", "test/1", 60.0)
    assert isinstance(held, Claim)
    for step in range(STEPS):
        service.write(lifecycle.heartbeat, held, 60.0, step / STEPS, f"step {step}\u2028\u0085")
    service.write(lifecycle.succeed, held)
    return search.id


def test_a_stream_resumes_after_a_broken_connection(service: Service, client: Client) -> None:
    search_id = reported(service, client)
    whole = list(client.events(search_id))
    assert [event.id for event in whole] == list(range(1, STEPS + 4))
    assert whole[5].message == "step 3\u2028\u0085"
    with cutting(service.address, most_bytes=3500) as way, Client(way.address) as far:
        assert list(far.events(search_id)) == whole
        assert way.connections >= 3
        assert list(far.events(search_id, last=STEPS)) == whole[STEPS:]
    assert list(client.events(search_id, last=STEPS + 3)) == [], "there is nothing more"


def test_a_head_of_a_stream_or_page_ends_at_once_and_keeps_the_connection(service: Service, client: Client) -> None:
    service.rest()
    search = client.submit("densenet-tiny-free", max_params="100k", fresh=True)
    connection = HTTPConnection(service.address.removeprefix("http://"), timeout=20)
    with closing(connection):
        for path, kind, has_length in (
            (f"/v1/searches/{search.id}/events", "text/event-stream; charset=utf-8", False),
            (f"/v1/searches/{search.id}", "application/json", True),
            ("/searches", "text/html; charset=utf-8", True),
            ("/ui/page.css", "text/css; charset=utf-8", True),
        ):
            connection.request("HEAD", path)
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Content-Type"], answer.read()) == (200, kind, b"")
            assert (int(answer.headers.get("Content-Length", "0")) > 0) == has_length
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"status":"ok"}'
    client.cancel(search)


def test_a_stream_resumes_after_a_restart_of_the_service(sqlite_file: Path, tmp_path: Path) -> None:
    (tmp_path / "nnmass.db").write_bytes(sqlite_file.read_bytes())
    settings = Settings(data_dir=tmp_path)
    database = Database(settings.sqlalchemy_url)
    ended: list[Search] = []
    seen: list[Event] = []
    with serving(settings, database) as first:
        port = int(first.address.rpartition(":")[2])
        client = Client(first.address)
        search = client.submit("densenet-tiny-free", max_params="100k")
        waiting = threading.Thread(target=lambda: ended.append(client.wait(search, progress=seen.append)))
        waiting.start()
        deadline = time.monotonic() + 10
        while not seen:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    time.sleep(0.3)
    with serving(settings, database, port) as again:
        again.work()
        waiting.join(30)
        assert [one.status for one in ended] == ["succeeded"]
        client.close()
    assert [event.id for event in seen] == list(range(1, len(seen) + 1)), "each once, in order"
    database.dispose()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up a stream soon."""
    monkeypatch.setattr(streams, "MOST_FAILURES", 1)
    monkeypatch.setattr(streams, "POLL_SECONDS", (0.01, 0.02))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "stream",
    [
        (200, {"Content-Type": "text/plain"}, "event: status"),
        (200, {"Content-Type": "text/event-stream"}, ": ping\n\n"),
        (502, {}, "<html>Bad gateway</html>"),
        (503, {"Retry-After": "0"}, {"code": "unavailable"}),
    ],
)
def test_wait_polls_when_there_is_no_stream(stream: Any) -> None:
    states = [SEARCH | {"status": status} for status in ("queued", "running", "running", "succeeded")]

    def route(path: str) -> Any:
        if path.endswith("/events"):
            return stream
        return 200, {}, states.pop(0) if len(states) > 1 else states[0]

    seen: list[Event] = []
    with scripted() as script, Client(script.address) as client:
        script.route = route
        assert client.wait("1", progress=seen.append).status == "succeeded"
    assert [event.status for event in seen] == ["running", "running"]


@pytest.mark.usefixtures("hasty")
def test_an_unavailable_stream_raises_an_error() -> None:
    with scripted((502, {}, "no")) as script, Client(script.address) as client:
        with pytest.raises(NoStream):
            list(client.events("1"))
        with pytest.raises(ServiceUnreachable):
            list(follow(client._transport, "/v1/searches/1/events"))


def test_events_of_an_unknown_search_raise_not_found(client: Client) -> None:
    with pytest.raises(NotFound):
        list(client.events("00000000-0000-7000-8000-000000000000"))


@pytest.mark.parametrize("lines", ["data: {}\nid: 1", "data: no json\nid: 1", "data: {}", "data: [1]\nid: 1"])
def test_malformed_events_raise_unexpected_answer(lines: str) -> None:
    answer = (200, {"Content-Type": "text/event-stream"}, f"event: status\n{lines}\n\n")
    with scripted(answer) as script, Client(script.address) as client, pytest.raises(ServiceError) as refused:
        list(client.events("1"))
    assert refused.value.code == "unexpected_answer"
