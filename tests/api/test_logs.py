"""Logs: every line names its request or job, as text and as JSON, and none contains secrets or input."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.auth import keys
from app.auth.keys import Scope
from app.config import Settings
from app.main import create_app
from app.observability import logs
from tests.api.test_verifications import SEARCH
from tests.clients import client_of
from tests.conftest import Backend
from worker import job_runner
from worker.job_runner import Died, Failed
from worker.process import Context

Line = dict[str, Any]
ID = re.compile(r"[0-9a-f]{32}")


@pytest.fixture(params=["json", "text"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def written(form: str) -> Iterator[Callable[[], str]]:
    """The text written by the log handler of the service, installed next to those of pytest."""
    stream = io.StringIO()
    handler = logs.handler_of(form, stream)
    root, ours = logging.getLogger(), logging.getLogger("nnmass")
    before = ours.level
    root.addHandler(handler)
    ours.setLevel(logging.DEBUG)
    yield stream.getvalue
    ours.setLevel(before)
    root.removeHandler(handler)


@pytest.fixture
def lines(written: Callable[[], str]) -> Callable[[], list[Line]]:
    return lambda: [json.loads(line) for line in written().splitlines()]


only_json = pytest.mark.parametrize("form", ["json"], indirect=True)
only_text = pytest.mark.parametrize("form", ["text"], indirect=True)


def one(lines: list[Line], **fields: Any) -> Line:
    (found,) = [line for line in lines if fields.items() <= line.items()]
    return found


# requests


@only_json
def test_log_lines_link_a_request_with_its_job(
    backend: Backend, worker: Context, lines: Callable[[], list[Line]]
) -> None:
    from worker import search_tasks

    client = client_of(create_app(backend.settings))
    answer = client.post("/v1/searches", json=SEARCH, headers={"X-Request-ID": "trace-me.1"})
    assert answer.headers["X-Request-ID"] == "trace-me.1"
    search_id = answer.json()["id"]
    assert search_tasks.run_next(worker)
    reported = lines()
    submission = one(reported, logger="nnmass.jobs")
    assert (submission["request_id"], submission["job_id"], submission["kind"]) == ("trace-me.1", search_id, "search")
    request = one(reported, logger="nnmass.access")
    assert (request["method"], request["path"], request["status"]) == ("POST", "/v1/searches", 202)
    assert (request["route"], request["owner"], request["request_id"]) == ("/v1/searches", "local", "trace-me.1")
    assert request["seconds"] > 0
    of_worker = [line for line in reported if line["logger"].startswith("nnmass.worker")]
    assert [line["event"].rpartition(search_id)[2] for line in of_worker] == [" starts", ": done"]
    for line in of_worker:
        assert (line["job_id"], line["kind"], line["attempt"], line["fence"]) == (search_id, "search", 1, 1)
        assert (line["owner"], "request_id" in line) == ("local", False)


@only_json
def test_a_rolled_back_submission_is_not_logged(backend: Backend, lines: Callable[[], list[Line]]) -> None:
    from app.jobs import lifecycle
    from app.storage.ids import new_id

    with contextlib.suppress(UnexpectedError), backend.database.write() as session:
        lifecycle.enqueue(session, new_id(), kind="search", queue="search", owner="a")
        raise UnexpectedError
    assert [line for line in lines() if line["logger"] == "nnmass.jobs"] == []


@pytest.mark.parametrize("given", ["", " ", "a" * 129, "with space", "line\tbreak", 'quote"', "ümlaut"])
def test_a_request_id_that_could_forge_a_line_is_replaced(client: TestClient, given: str) -> None:
    headers = {b"X-Request-ID": given.encode()}
    made = client.get("/healthz", headers=headers).headers["X-Request-ID"]
    assert ID.fullmatch(made)


def test_every_answer_has_a_request_id_of_its_own(client: TestClient) -> None:
    answers = [
        client.get("/healthz"),
        client.get("/v1/nothing"),
        client.get("/healthz", headers={"Host": "evil.example"}),
        client.post("/v1/searches", content=b"{", headers={"Content-Type": "application/json"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 421, 400]
    ids = [answer.headers["X-Request-ID"] for answer in answers]
    assert all(map(ID.fullmatch, ids))
    assert len(set(ids)) == len(ids)


@only_json
def test_log_context_of_one_request_is_not_on_the_next(backend: Backend, lines: Callable[[], list[Line]]) -> None:
    client = client_of(create_app(backend.settings))
    client.get("/v1/searches")
    client.get("/v1/nothing")
    known, unknown = [line for line in lines() if line["logger"] == "nnmass.access"]
    assert known["owner"] == "local"
    assert "owner" not in unknown
    assert known["request_id"] != unknown["request_id"]


@only_json
def test_health_probes_are_logged_at_debug_level(backend: Backend, lines: Callable[[], list[Line]]) -> None:
    client = client_of(create_app(backend.settings))
    for path in ("/healthz", "/readyz", "/metrics"):
        client.get(path)
    assert {line["level"] for line in lines() if line["logger"] == "nnmass.access"} == {"debug"}


# jobs


class UnexpectedError(Exception):
    """An unexpected error."""


@only_json
@pytest.mark.parametrize(
    ("error", "outcome"),
    [(Failed("nope", "it cannot be"), "failed with nope"), (Died("gone", "it died"), "its process died"),
     (UnexpectedError("deep down"), "failed with internal_error")],
)  # fmt: skip
def test_the_end_of_an_attempt_is_logged_with_its_outcome(
    backend: Backend, worker: Context, lines: Callable[[], list[Line]], error: Exception, outcome: str
) -> None:
    from app.jobs import lifecycle
    from app.storage.ids import new_id

    def break_down(*_: Any) -> None:
        raise error

    with backend.database.write() as session:
        job_id = lifecycle.enqueue(session, new_id(), kind="search", queue="search", owner="a").id
    assert job_runner.run_next(worker, "search", {"search": break_down})
    reported = [line for line in lines() if line["logger"] == "nnmass.worker"]
    assert reported[-1]["event"] == f"search {job_id}: {outcome}"
    assert {(line["job_id"], line["attempt"]) for line in reported} == {(str(job_id), 1)}
    traces = [line["exception"] for line in reported if "exception" in line]
    assert len(traces) == isinstance(error, UnexpectedError)
    assert all("deep down" in trace for trace in traces)


@only_json
def test_log_lines_of_a_jobs_threads_name_the_job(
    backend: Backend, worker: Context, lines: Callable[[], list[Line]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heartbeat and the reader of a trainer's output run in separate threads."""
    from threading import Event

    from app.jobs import lifecycle
    from app.storage.ids import new_id
    from worker import heartbeat
    from worker.child import run_child

    beaten = Event()

    def fail(*_: Any, **__: Any) -> bool:
        beaten.set()
        raise RuntimeError("no heartbeat today")

    def work(context: Context, held: lifecycle.Claim) -> None:
        with heartbeat.Heartbeat(context, held) as alive:
            monkeypatch.setattr(lifecycle, "heartbeat", fail)
            run_child("tests.api.printing_trainer", {}, alive)
            assert beaten.wait(30)

    with backend.database.write() as session:
        job_id = lifecycle.enqueue(session, new_id(), kind="search", queue="search", owner="a").id
    quick = Context(worker.settings.model_copy(update={"heartbeat_seconds": 0.01}), worker.database, worker.worker)
    assert job_runner.run_next(quick, "search", {"search": work})
    reported = lines()
    assert one(reported, logger="nnmass.trainer", event="a separate line")["job_id"] == str(job_id)
    assert {line["job_id"] for line in reported if line["logger"] == "nnmass.heartbeat"} == {str(job_id)}


# forms


def test_text_and_json_logs_have_a_line_for_each_event_and_the_traceback(form: str, written: Callable[[], str]) -> None:
    with logs.about(job_id="j", kind="search", attempt=2, fence=5):
        try:
            int("oh")
        except ValueError:
            logging.getLogger("nnmass.test").exception("it %s", "broke", extra={"seconds": 1.5, "color_message": "x"})
    printed = written()
    if form == "json":
        (line,) = map(json.loads, printed.splitlines())
        assert line.pop("exception").endswith("with base 10: 'oh'")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line.pop("timestamp"))
        assert line == {
            "event": "it broke", "level": "error", "logger": "nnmass.test", "job_id": "j", "kind": "search",
            "attempt": 2, "fence": 5, "seconds": 1.5,
        }  # fmt: skip
    else:
        first, *trace = printed.splitlines()
        moment, rest = first.split(" ", 1)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", moment)
        assert rest == "ERROR nnmass.test: it broke job_id=j kind=search attempt=2 fence=5 seconds=1.5"
        assert trace[0] == "Traceback (most recent call last):"
        assert trace[-1].endswith("with base 10: 'oh'")


@only_json
def test_a_line_break_in_a_message_stays_within_one_log_line(written: Callable[[], str]) -> None:
    logging.getLogger("nnmass.test").warning("one\ntwo %s", '{"level": "critical"}\n')
    (line,) = written().splitlines()
    assert json.loads(line)["level"] == "warning"


@pytest.mark.parametrize("level", ["warning", "Error"])
def test_log_levels_are_case_insensitive(tmp_path: Any, level: str) -> None:
    assert Settings(data_dir=tmp_path, log_level=level).log_level == level.upper()


# secrets


SECRET_QUERY = "my-secret-tag"
SECRET_NOTE = "note-of-a-secret-project"


def test_no_log_line_has_a_key_a_query_or_a_body(backend: Backend, written: Callable[[], str]) -> None:
    with backend.database.write() as session:
        key = keys.create(session, "alice", set(Scope))[1]
    client = client_of(create_app(backend.settings), key=key)
    client.get("/v1/searches", params={"tag": SECRET_QUERY})
    client.post("/v1/searches", json=SEARCH | {"note": SECRET_NOTE})
    client.get("/v1/searches", headers={"Authorization": f"Bearer {key[:-1]}"})
    client.get("/v1/searches", params={"cursor": key})
    client.get("/healthz", headers={"X-Request-ID": key})
    client.get(f"/v1/searches/{key}")
    log = logging.getLogger("nnmass.test")
    log.warning("a library logs %s and %s", key, "postgresql://us:p%40ss@host/db redis://:pa:ss@host/0")
    printed = written()
    assert "alice" in printed
    for secret in (key.split("_", 2)[2], SECRET_QUERY, SECRET_NOTE, "p%40ss", "pa:ss"):
        assert secret not in printed
    assert "postgresql://us:...@host/db redis://:...@host/0" in printed


def test_a_logged_database_error_shows_no_values(backend: Backend, written: Callable[[], str]) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    try:
        with backend.database.read() as session:
            session.execute(text("select :note from nowhere"), {"note": SECRET_NOTE})
    except DBAPIError:
        logging.getLogger("nnmass.test").exception("a query failed")
    assert "nowhere" in written()
    assert SECRET_NOTE not in written()
