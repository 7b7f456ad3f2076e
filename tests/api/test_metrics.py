"""`/metrics`: correct whichever process did the work, cheap to scrape, and only for those who may see all owners."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import delete, event, update

from app.auth import keys
from app.auth.keys import Scope
from app.config import Settings
from app.jobs import lifecycle
from app.main import create_app
from app.metrics.service import KEPT_SECONDS, SHARE, Figures
from app.storage import migrate
from app.storage.db import Database, make_engine, now
from app.storage.models import Job, Search, Verification
from app.verifications import recording
from nnmass_core import __version__
from tests.api import trainings
from tests.api.test_verifications import BODY, SEARCH
from tests.clients import client_of
from tests.conftest import Backend
from tests.servers import PostgresServer, RedisServer
from worker import search_tasks
from worker.process import Context

Labels = dict[str, str]


def scraped(client: TestClient, **headers: str) -> dict[str, list[tuple[Labels, float]]]:
    """Return what a scrape shows, by the name of the sample."""
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    return samples(answer.text)


def samples(text: str) -> dict[str, list[tuple[Labels, float]]]:
    found: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(found: dict[str, list[tuple[Labels, float]]], name: str, **labels: str) -> float:
    """Return the one sample of a name with these labels."""
    (only,) = [number for about, number in found.get(name, []) if labels.items() <= about.items()]
    return only


def fresh(backend: Backend, **settings: Any) -> TestClient:
    """The application of another process, which has cached nothing yet; its threads do not run."""
    return client_of(create_app(backend.settings.model_copy(update=settings)))


# the figures


def test_metrics_of_an_idle_service(client: TestClient) -> None:
    answer = client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = samples(answer.text)
    assert value(found, "nnmass_build_info", version=__version__) == 1
    assert (value(found, "nnmass_database_up"), value(found, "nnmass_broker_up")) == (1, 1)
    for queue in ("search", "train", "files", "maintenance"):
        assert value(found, "nnmass_queue_jobs", queue=queue, state="queued") == 0
        assert value(found, "nnmass_queue_oldest_seconds", queue=queue) == 0
        assert value(found, "nnmass_workers", queue=queue) == 0
    assert "nnmass_jobs" not in found
    assert "nnmass_worker_last_seen_seconds" not in found


def test_metrics_count_queues_and_jobs_of_every_owner(backend: Backend, worker: Context) -> None:
    with backend.database.write() as session:
        ids = [lifecycle.enqueue(session, new, kind="search", queue="search", owner=o).id for new, o in _ids("ab")]
        session.execute(update(Job).where(Job.id == ids[0]).values(created_at=now(session) - timedelta(hours=1)))
        lifecycle.enqueue(session, next(_ids("c"))[0], kind="export", queue="train", owner="c")
    trainings.claim(backend.database)
    found = scraped(fresh(backend))
    assert value(found, "nnmass_queue_jobs", queue="search", state="queued") == 2
    assert value(found, "nnmass_queue_jobs", queue="train", state="running") == 1
    assert 3600 <= value(found, "nnmass_queue_oldest_seconds", queue="search") < 7200
    assert value(found, "nnmass_queue_oldest_seconds", queue="train") == 0
    assert value(found, "nnmass_jobs", kind="search", state="queued") == 2
    assert value(found, "nnmass_jobs", kind="export", state="running") == 1


def _ids(owners: str) -> Iterator[tuple[Any, str]]:
    from app.storage.ids import new_id

    return ((new_id(), owner) for owner in owners)


def test_every_process_reports_the_same_count_of_ended_jobs(backend: Backend, worker: Context) -> None:
    """Two API processes, neither of which did the work; each ended job is counted once in repeated scrapes."""
    first, second = (client_of(create_app(backend.settings)) for _ in range(2))
    with first:
        submitted = first.post("/v1/searches", json=SEARCH).json()["id"]
        assert search_tasks.run_next(worker)
        cancelled = second.post("/v1/searches", json=SEARCH | {"top_k": 2}).json()["id"]
        second.post(f"/v1/searches/{cancelled}/cancel")
        for client in (first, second, first):
            found = scraped(client)
            assert value(found, "nnmass_job_duration_seconds_count", kind="search", state="succeeded") == 1
            assert value(found, "nnmass_search_solver_seconds_count") == 1
            assert value(found, "nnmass_jobs", kind="search", state="succeeded") == 1
            assert value(found, "nnmass_jobs", kind="search", state="cancelled") == 1
            taken = [about for about, _ in found["nnmass_job_duration_seconds_count"]]
            assert taken == [{"kind": "search", "state": "succeeded"}], "what never began took no time"
        with backend.database.read() as session:
            row = session.get_one(Search, _uuid(submitted))
            assert row.result is not None
            assert value(found, "nnmass_search_solver_seconds_sum") == pytest.approx(row.result["elapsed_seconds"])


def _uuid(text: str) -> Any:
    from uuid import UUID

    return UUID(text)


def test_requests_are_counted_by_route_and_not_by_path(backend: Backend) -> None:
    client = fresh(backend)
    for _ in range(2):
        client.get("/v1/searches/0199f0c2-0000-7000-8000-000000000000?secret=1")
    client.get("/v1/nothing/of/the/kind")
    client.post("/v1/spaces")
    client.request("BREW", "/v1/spaces")
    client.get("/static-offline-docs/swagger-ui.css")
    answer = client.get("/metrics").text
    found = samples(answer)
    name = "nnmass_http_requests_total"
    assert value(found, name, method="GET", route="/v1/searches/{search_id}", status="4xx") == 2
    assert value(found, name, method="GET", route="unmatched", status="4xx") == 1
    assert value(found, name, method="POST", route="/v1/spaces", status="4xx") == 1
    assert value(found, name, method="other", status="4xx") == 1
    assert value(found, name, route="/static-offline-docs/{path}", status="2xx") == 1
    timed = "nnmass_http_request_duration_seconds_count"
    assert value(found, timed, method="GET", route="/v1/searches/{search_id}", status="4xx") == 2
    assert "0199f0c2" not in answer
    assert "kind/" not in answer


def test_an_unexpected_error_is_counted(backend: Backend) -> None:
    application = create_app(backend.settings)

    @application.get("/breaks")
    def breaks() -> None:
        raise ArithmeticError

    client = client_of(application)
    broken = client.get("/breaks", headers={"X-Request-ID": "mine"})
    assert (broken.status_code, broken.headers["X-Request-ID"]) == (500, "mine")
    assert value(scraped(client), "nnmass_http_requests_total", route="/breaks", status="5xx") == 1


def test_trainings_report_images_per_second(backend: Backend) -> None:
    client = fresh(backend)
    for depth in (4, 5):
        assert client.post("/v1/verifications", json=_mlp(depth)).status_code == 202
    held = [trainings.claim(backend.database) for _ in range(2)]
    with backend.database.write() as session:
        assert recording.save_log(session, held[0], "", {"images_per_second": 120.5})
        assert recording.save_log(session, held[1], "", {"images_per_second": 30.0})
    assert value(scraped(client), "nnmass_training_images_per_second") == pytest.approx(150.5)
    trainings.finish(backend.database, held[0], {0: 5})
    assert value(scraped(fresh(backend)), "nnmass_training_images_per_second") == pytest.approx(30.0)
    with backend.database.read() as session:
        assert session.get_one(Verification, held[0].job_id).live_stats is None


def _mlp(depth: int) -> dict[str, Any]:
    return BODY | {"architecture": BODY["architecture"] | {"depth": depth}}


def test_metrics_report_workers_and_their_last_heartbeat(backend: Backend) -> None:
    from app.storage.models import WorkerBeat

    with backend.database.write() as session:
        for name in ("a/1", "b/2"):
            lifecycle.beat(session, name, "search")
        lifecycle.beat(session, "c/3", "train")
        session.flush()
        long_ago = now(session) - timedelta(seconds=100)
        session.execute(update(WorkerBeat).where(WorkerBeat.worker == "c/3").values(seen_at=long_ago))
    found = scraped(fresh(backend))
    assert value(found, "nnmass_workers", queue="search") == 2
    assert value(found, "nnmass_workers", queue="train") == 0
    assert 0 <= value(found, "nnmass_worker_last_seen_seconds", queue="search") < 60
    assert 100 <= value(found, "nnmass_worker_last_seen_seconds", queue="train") < 200
    assert value(found, "nnmass_workers", queue="maintenance") == 0
    assert [about["queue"] for about, _ in found["nnmass_worker_last_seen_seconds"]] == ["search", "train"]


# counting


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.moment = 0.0

    def __call__(self) -> float:
        return self.moment


def figures(source: Figures) -> dict[str, float]:
    """Return samples without labels, and the sums of those with."""
    found: dict[str, float] = {}
    for family in source.collect():
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def end_one(database: Database, seconds_ago: float = 0.0) -> Any:
    with database.write() as session:
        job_id = lifecycle.enqueue(session, next(_ids("a"))[0], kind="search", queue="search", owner="a").id
    with database.write() as session:
        held = lifecycle.claim(session, "search", "test/1", 15.0)
        assert held is not None
        assert lifecycle.succeed(session, held)
        ended = now(session) - timedelta(seconds=seconds_ago)
        session.execute(update(Job).where(Job.id == held.job_id).values(started_at=ended, finished_at=ended))
    return job_id


COUNT = "nnmass_job_duration_seconds_count"


def test_jobs_that_ended_before_the_process_started_are_not_counted(backend: Backend) -> None:
    end_one(backend.database, 100.0)
    clock = Clock()
    source = Figures(backend.database, backend.settings, clock)
    clock.moment = 50.0
    end_one(backend.database, 40.0)
    assert figures(source)[COUNT] == 1


def test_jobs_committed_late_are_counted_once(backend: Backend) -> None:
    clock = Clock()
    source = Figures(backend.database, backend.settings, clock)
    clock.moment = 1000.0
    end_one(backend.database, 1.0)
    assert figures(source)[COUNT] == 1
    end_one(backend.database, 20.0)  # it ended before the other, and its transaction was longer
    clock.moment += KEPT_SECONDS
    assert figures(source)[COUNT] == 2
    clock.moment += KEPT_SECONDS
    assert figures(source)[COUNT] == 2


def test_a_counter_never_falls_and_a_retried_job_counts_again(backend: Backend) -> None:
    clock = Clock()
    source = Figures(backend.database, backend.settings, clock)
    clock.moment = 1000.0
    deleted, cached = end_one(backend.database, 2.0), end_one(backend.database, 1.0)
    assert figures(source)[COUNT] == 2
    with backend.database.write() as session:
        session.execute(delete(Job).where(Job.id == deleted))
        session.execute(update(Job).where(Job.id == cached).values(finished_at=now(session)))
    clock.moment += KEPT_SECONDS
    reported = figures(source)
    assert (reported[COUNT], reported["nnmass_jobs"]) == (3, 1)


def test_concurrent_scrapes_share_one_query(backend: Backend) -> None:
    clock, executed = Clock(), []
    source = Figures(backend.database, backend.settings, clock)

    def count(*about: Any) -> None:
        executed.append(about[2])

    event.listen(backend.database.engine, "before_cursor_execute", count)
    try:
        figures(source)
        once = len(executed)
        assert once > 0
        for _ in range(20):
            figures(source)
        assert len(executed) == once
        clock.moment += KEPT_SECONDS
        figures(source)
        assert once < len(executed) <= 2 * once
    finally:
        event.remove(backend.database.engine, "before_cursor_execute", count)


def test_a_scrape_takes_few_statements_for_all_queues_together(backend: Backend) -> None:
    """Under load each statement waits for its turn among the threads of other requests."""
    clock, executed = Clock(), []
    source = Figures(backend.database, backend.settings, clock)
    figures(source)

    def count(*about: Any) -> None:
        if about[2] != "BEGIN":
            executed.append(about[2])

    event.listen(backend.database.engine, "before_cursor_execute", count)
    try:
        clock.moment += KEPT_SECONDS
        figures(source)
    finally:
        event.remove(backend.database.engine, "before_cursor_execute", count)
    assert len(executed) <= 6, executed


def test_slow_queries_run_rarely(backend: Backend) -> None:
    """The scan of the whole index takes a second here: it runs again after 1 / SHARE seconds."""
    clock, counted = Clock(), []
    source = Figures(backend.database, backend.settings, clock)

    def slow(*about: Any) -> None:
        if "GROUP BY jobs.kind" in about[2]:
            counted.append(about[2])
            clock.moment += 1.0

    event.listen(backend.database.engine, "before_cursor_execute", slow)
    try:
        while clock.moment < 1000:
            figures(source)
            clock.moment += KEPT_SECONDS
    finally:
        event.remove(backend.database.engine, "before_cursor_execute", slow)
    assert len(counted) == pytest.approx(1000 * SHARE, abs=1)


PLANS = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}


def test_only_the_totals_scan_all_jobs(backend: Backend) -> None:
    """The plan of each statement of a scrape uses an index or reads a table that stays small."""
    statements: list[tuple[str, Any]] = []

    def keep(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    engine = backend.database.engine
    event.listen(engine, "before_cursor_execute", keep)
    figures(Figures(backend.database, backend.settings))
    event.remove(engine, "before_cursor_execute", keep)
    executed = [(text, values) for text, values in statements if "FROM jobs" in text or "JOIN jobs" in text]
    assert len(executed) == 5  # totals, oldest, pending, paces, ended
    dialect = engine.dialect.name
    with engine.connect() as connection:
        if dialect == "postgresql":  # an empty table is quicker to walk through than its index
            connection.exec_driver_sql("SET enable_seqscan = off")
        for statement, values in executed:
            plan = "\n".join(str(row) for row in connection.exec_driver_sql(PLANS[dialect] + statement, values))
            assert "SCAN jobs'" not in plan, plan
            assert "Seq Scan on jobs" not in plan, plan


# who may


def make_key(backend: Backend, scope: Scope) -> str:
    with backend.database.write() as session:
        return keys.create(session, "alice", {scope})[1]


def test_metrics_require_the_scope_admin(backend: Backend) -> None:
    by_scope = {scope: make_key(backend, scope) for scope in Scope}
    with client_of(create_app(backend.settings)) as client:
        assert client.get("/metrics").status_code == 401
        for scope, key in by_scope.items():
            status = client.get("/metrics", headers={"Authorization": f"Bearer {key}"}).status_code
            assert status == (200 if scope is Scope.ADMIN else 403), scope


def test_the_metrics_token_file_gives_access_only_to_metrics(backend: Backend, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first-token\n")
    client = fresh(backend, metrics_token_file=file, require_keys=True)

    def status(token: str, path: str = "/metrics") -> int:
        return int(client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code)

    assert [status("first-token"), status("first"), status("first-token", "/v1/searches")] == [200, 401, 401]
    file.write_text("second-token")
    assert [status("first-token"), status("second-token")] == [401, 200]
    file.write_text(" \n")
    assert [status("second-token"), status("")] == [401] * 2
    file.unlink()
    assert status("second-token") == 401
    key = make_key(backend, Scope.ADMIN)
    assert status(key) == 200


@pytest.mark.servers
def test_the_metrics_token_works_while_the_database_is_unavailable(redis: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token")
    with PostgresServer(durable=True) as server:
        url = server.create_database("lost")
        engine = make_engine(url)
        migrate.upgrade(engine)
        engine.dispose()
        settings = Settings(
            data_dir=tmp_path,
            database_url=SecretStr(url),
            broker_url=SecretStr(redis.url),
            metrics_token_file=tmp_path / "token",
        )
        server.kill()
        client = client_of(create_app(settings))
        found = scraped(client, Authorization="Bearer token")
        assert (value(found, "nnmass_database_up"), value(found, "nnmass_broker_up")) == (0, 1)
        assert "nnmass_queue_jobs" not in found
        assert client.get("/metrics").status_code == 503, "whether it takes a key is not known"


@pytest.mark.servers
def test_metrics_report_an_unavailable_broker(backend: Backend) -> None:
    if backend.settings.embedded:
        pytest.skip("embedded mode has no broker that could be unavailable")
    client = fresh(backend, broker_url=SecretStr("redis://127.0.0.1:9/0"))
    found = scraped(client)
    assert (value(found, "nnmass_database_up"), value(found, "nnmass_broker_up")) == (1, 0)


def test_metrics_report_a_database_without_tables_as_down(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token")
    settings = Settings(data_dir=tmp_path, metrics_token_file=tmp_path / "token")
    found = scraped(client_of(create_app(settings)), Authorization="Bearer token")
    assert value(found, "nnmass_database_up") == 0
