"""Health, readiness, spaces and the OpenAPI document."""

from __future__ import annotations

import asyncio
import inspect
import re
import shutil
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import delete, update

from app import ui
from app.auth import keys
from app.auth.keys import Scope
from app.config import Settings
from app.health import routes as health
from app.health.service import ADVICE
from app.http.concurrency import LOOKING_UP
from app.http.dependencies import database_of
from app.jobs import lifecycle, requirements
from app.jobs.broker import QUEUES, BrokerUnfit, check_redis
from app.main import FEATURES, create_app
from app.metrics import routes as metrics
from app.storage.db import now
from app.storage.locks import advisory_lock
from app.storage.models import WorkerBeat
from tests.clients import ADDRESS, client_of
from tests.conftest import POSTGRES, SQLITE, Backend
from tests.networks import MLP
from tests.servers import PostgresServer, RedisServer

KINDS = ("searches", "verifications")
FRESH = {"space": "densenet-tiny-free", "fresh": True}


def test_readiness_names_missing_workers(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    answer = client.get("/readyz")
    assert answer.status_code == 200
    state = answer.json()
    assert (state["ready"], state["database"], state["schema_current"], state["broker"]) == (True, True, True, True)
    assert state["missing"] == ["search_worker", "train_worker", "files_worker", "maintenance_worker"]
    assert len(state["advice"]) == 4
    for queue, advice in zip(("search", "train", "files", "maintenance"), state["advice"], strict=True):
        assert f"`nnmass worker {queue}`" in advice
    client.post("/v1/searches", json={"space": "densenet-tiny-free"})
    queue = client.get("/readyz").json()["queues"]["search"]
    assert (queue["queued"], queue["running"], queue["workers"]) == (1, 0, 0)
    assert queue["oldest_seconds"] >= 0


def test_a_database_without_schema_is_not_ready(tmp_path: Path) -> None:
    with client_of(create_app(Settings(data_dir=tmp_path))) as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert "schema_current" in answer.json()["missing"]
        assert any("`nnmass db upgrade`" in advice for advice in answer.json()["advice"])


def test_a_process_that_is_shutting_down_is_not_ready(client: TestClient) -> None:
    assert client.get("/readyz").status_code == 200
    client.app.state.stopping.set()  # type: ignore[attr-defined]
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"], answer.json()["missing"][0]) == (503, False, "running")
    assert client.get("/healthz").status_code == 200


def test_every_readiness_check_has_advice() -> None:
    parts = {"running", "database", "schema_current", "broker", "torch", *(f"{queue}_worker" for queue in QUEUES)}
    assert set(ADVICE) == parts


def test_readiness_tells_whether_embedded_workers_have_torch(
    client: TestClient, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements, "find_spec", lambda name: None)
    state = client.get("/readyz").json()
    assert state["ready"], "searches need no torch"
    if backend.settings.embedded:
        assert state["torch"] is False
        assert "torch" in state["missing"]
        advice = state["advice"][state["missing"].index("torch")]
        assert "`make serve-train`" in advice
        assert "`pip install 'nnmass[train]'`" in advice
    else:
        assert state["torch"] is None, "no separate worker has said what it has"
        assert "torch" not in state["missing"]


def test_readiness_tells_whether_separate_workers_have_torch(client: TestClient, backend: Backend) -> None:
    if backend.settings.embedded:
        pytest.skip("embedded workers have what this process has")

    def found(*beats: tuple[str, str, bool | None]) -> tuple[bool | None, bool]:
        with backend.database.write() as session:
            session.execute(delete(WorkerBeat))
            for worker, queue, torch in beats:
                lifecycle.beat(session, worker, queue, torch=torch)
            session.flush()
            dead = WorkerBeat.worker.startswith("dead")
            session.execute(update(WorkerBeat).where(dead).values(seen_at=now(session) - timedelta(seconds=16)))
        state = client.get("/readyz").json()
        assert state["ready"]
        assert ('id="no-torch"' in client.get("/verifications").text) == (state["torch"] is False)
        return state["torch"], "torch" in state["missing"]

    assert found(("a/1", "train", True), ("a/2", "files", True)) == (True, False)
    assert found(("a/1", "train", True), ("a/2", "files", False)) == (False, True)
    assert found(("a/1", "train", None), ("a/2", "files", True)) == (True, False), "a worker of an earlier release"
    assert found(("a/1", "search", False), ("a/2", "train", None)) == (None, False), "searches need no torch"
    assert found(("dead/1", "train", False), ("a/2", "train", True)) == (True, False)


def test_a_training_that_no_live_worker_can_do_is_accepted_with_a_warning(client: TestClient, backend: Backend) -> None:
    training = {"architecture": MLP, "dataset": "digits", "recipe": "mlp-paper", "seeds": [0]}

    def warned(*beats: tuple[str, str, bool | None]) -> str | None:
        with backend.database.write() as session:
            session.execute(delete(WorkerBeat))
            for worker, queue, torch in beats:
                lifecycle.beat(session, worker, queue, torch=torch)
        answer = client.post("/v1/verifications", json=training)
        assert answer.status_code == 202
        body = answer.json()
        assert client.get(f"/v1/verifications/{body['id']}").json()["warning"] == body["warning"]
        warning: str | None = body["warning"]
        return warning

    said = warned(("a/1", "train", False), ("a/2", "train", False), ("a/3", "files", True))
    assert said is not None
    assert "no running train worker has torch" in said
    assert "`pip install 'nnmass[train]'`" in said
    for beats in ((), (("a/1", "train", None), ("a/2", "train", False)), (("a/1", "train", True),)):
        assert warned(*beats) is None, beats
    assert warned(("a/1", "files", False), ("a/2", "search", False)) is None, "trainings have workers of their own"
    body = client.post("/v1/verifications", json=training | {"seeds": [1]}).json()
    with backend.database.write() as session:
        lifecycle.beat(session, "a/1", "train", torch=False)
    assert client.post(f"/v1/verifications/{body['id']}/cancel").json()["warning"] is None, "it has ended"


def test_work_that_needs_torch_is_refused_without_it(
    client: TestClient, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = {"architecture": MLP}
    arch_id = client.post("/v1/architectures", json=MLP).json()["arch_id"]
    training = network | {"dataset": "digits", "recipe": "mlp-paper"}
    place = client.post("/v1/verifications", json=training).headers["Location"]
    assert client.post(f"{place}/cancel").json()["status"] == "cancelled"
    monkeypatch.setattr(requirements, "find_spec", lambda name: None)
    for method, path, body in (
        ("POST", "/v1/verifications", training),
        ("POST", f"{place}/replay", None),
        ("POST", f"{place}/retry", None),
        ("POST", "/v1/measurements", network | {"kind": "peak", "seeds": [0]}),
        ("GET", f"/v1/architectures/{arch_id}/export?format=onnx", None),
        ("GET", f"/v1/architectures/{arch_id}/export?format=torchscript", None),
    ):
        answer = client.request(method, path, json=body)
        if backend.settings.embedded:
            assert (answer.status_code, answer.json()["code"]) == (503, "torch_missing"), (path, answer.text)
            assert "make serve-train" in answer.json()["detail"]
            assert "Retry-After" not in answer.headers, "no client repeats it by itself"
        else:
            assert answer.status_code in (201, 202), (path, answer.text)
    for form in ("pytorch", "json"):
        assert client.get(f"/v1/architectures/{arch_id}/export?format={form}").status_code == 200
    bad = client.post("/v1/verifications", json=training | {"dataset": "nowhere"})
    assert bad.status_code == 422, "what is wrong with a request is said first"


def test_more_concurrent_requests_than_threads_or_connections_are_answered(backend: Backend) -> None:
    async def send() -> list[int]:
        wire = httpx2.ASGITransport(create_app(backend.settings))
        async with httpx2.AsyncClient(transport=wire, base_url=ADDRESS, timeout=60) as client:
            reported = await client.post("/v1/searches", json={"space": "densenet-tiny-free"})
            reads = (client.get("/v1/searches") for _ in range(150))
            writes = (client.patch(f"/v1/searches/{reported.json()['id']}", json={"name": str(i)}) for i in range(50))
            answers = await asyncio.gather(*reads, *writes)
        return [answer.status_code for answer in answers]

    assert asyncio.run(send()) == [200] * 200


@pytest.mark.servers
def test_requests_are_answered_with_503_while_the_database_is_unavailable(redis: RedisServer, tmp_path: Path) -> None:
    from app.storage import migrate
    from app.storage.db import make_engine

    with PostgresServer(durable=True) as server:
        url = server.create_database("lost")
        engine = make_engine(url)
        migrate.upgrade(engine)
        engine.dispose()
        settings = Settings(data_dir=tmp_path, database_url=url, broker_url=redis.url)
        with client_of(create_app(settings)) as client:
            search_id = client.post("/v1/searches", json={"space": "densenet-tiny-free"}).json()["id"]
            server.kill()
            for answer in (
                client.get("/v1/searches"),
                client.post("/v1/searches", json={"space": "densenet-tiny-free"}),
            ):
                assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
                assert answer.headers["Retry-After"]
            assert client.get("/readyz").status_code == 503
            assert client.get("/healthz").status_code == 200
            server.restart()
            assert client.get(f"/v1/searches/{search_id}").json()["status"] == "queued"


@pytest.mark.servers
def test_requests_succeed_while_the_broker_is_down(backend: Backend, tmp_path: Path) -> None:
    if backend.settings.embedded:
        pytest.skip("embedded mode has no broker that could die")
    with RedisServer() as server:
        settings = backend.settings.model_copy(update={"broker_url": SecretStr(server.url)})
        with client_of(create_app(settings)) as client:
            server.kill()
            for top_k in range(1, 6):
                assert (
                    client.post("/v1/searches", json={"space": "densenet-tiny-free", "top_k": top_k}).status_code == 202
                )
            state = client.get("/readyz")
            assert state.status_code == 200
            assert "broker" in state.json()["missing"]


@pytest.mark.servers
def test_a_redis_that_may_evict_keys_is_refused(tmp_path: Path) -> None:
    with RedisServer(extra=["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]) as server:
        settings = Settings(data_dir=tmp_path, database_url=SecretStr("postgresql://x"), broker_url=server.url)
        with pytest.raises(BrokerUnfit, match="noeviction"):
            check_redis(settings)


def test_listed_spaces_read_back_equal(client: TestClient) -> None:
    items = client.get("/v1/spaces").json()["items"]
    assert {"densenet-cifar", "densenet-cifar-free", "densenet-tiny-free"} <= {item["name"] for item in items}
    for item in items:
        definition = client.get(f"/v1/spaces/{item['name']}").json()
        assert definition["family"] == item["family"]
        answer = client.post("/v1/searches/preview", json={"space": definition, "top_k": 1}).json()
        assert answer["result"]["space_size"] == item["space_size"]
    assert client.get("/v1/spaces/nonsense").status_code == 404


def test_the_openapi_document_describes_families_and_errors(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    body = document["components"]["schemas"]["SearchBody"]
    preset, definition, around, several = body["properties"]["space"]["anyOf"]
    assert (several["type"], several["minItems"], several["maxItems"]) == ("array", 2, 8)
    assert preset == {"$ref": "#/components/schemas/PresetName"}
    assert "densenet-cifar" in document["components"]["schemas"]["PresetName"]["enum"]
    assert definition == {"$ref": "#/components/schemas/Space"}
    assert around == {"$ref": "#/components/schemas/AroundSpace"}
    assert {"$ref": "#/components/schemas/DenseNetCnnSpace"} in document["components"]["schemas"]["Space"]["oneOf"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            if method == "post" and "requestBody" in operation:
                assert {"400", "413", "422"} <= set(operation["responses"]), path
    assert client.get("/docs").status_code == 200


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_documentation_loads_nothing_from_other_hosts(client: TestClient, page: str) -> None:
    html = client.get(page).text
    sources = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert sources
    for source in sources:
        assert source.startswith("/")
        assert client.get(source).status_code == 200


def test_a_database_url_without_a_broker_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set both"):
        Settings(data_dir=tmp_path, database_url=SecretStr("postgresql://x"))


@pytest.mark.parametrize(
    ("field", "url"),
    [("broker_url", ""), ("broker_url", "amqp://h"), ("database_url", ""), ("database_url", "mysql://h")],
)
def test_a_database_or_broker_url_with_another_scheme_is_refused(tmp_path: Path, field: str, url: str) -> None:
    urls: dict[str, Any] = {"database_url": "postgresql://h/d", "broker_url": "redis://h"} | {field: url}
    with pytest.raises(ValueError, match="must start with"):
        Settings(data_dir=tmp_path, **urls)


@pytest.mark.servers
def test_a_postgresql_without_schema_is_unavailable(
    postgres: PostgresServer, redis: RedisServer, tmp_path: Path
) -> None:
    url = postgres.create_database("without_schema")
    settings = Settings(data_dir=tmp_path, database_url=SecretStr(url), broker_url=SecretStr(redis.url))
    with client_of(create_app(settings)) as client:
        assert client.post("/v1/searches", json={"space": "densenet-tiny-free"}).status_code == 503


def test_settings_do_not_show_secrets(backend: Backend) -> None:
    settings = Settings(
        data_dir=backend.settings.data_dir, database_url="postgresql://u:hunter2@h/d", broker_url="redis://:hunter2@h"
    )
    assert "hunter2" not in repr(settings)


NETWORK = {
    "family": "densenet_cnn",
    "input": {"channels": 3, "height": 32, "width": 32},
    "num_classes": 10,
    "cells": [{"width": 16, "depth": 8, "skip_channels": 32}],
}


def test_concurrent_writers_of_every_kind_succeed(backend: Backend) -> None:
    """There are more writers than threads: one that holds a lock must not wait for a thread that waits for the lock."""
    app = create_app(backend.settings)
    with backend.database.write() as session:
        tokens = [keys.create(session, "ann", set(Scope))[1] for _ in range(8)]

    async def crowd() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=ADDRESS) as client:

            def send(method: str, path: str, n: int = 0, **more: Any) -> Awaitable[httpx2.Response]:
                return client.request(method, path, headers={"Authorization": f"Bearer {tokens[n % 8]}"}, **more)

            arch_id = (await send("POST", "/v1/architectures", json=NETWORK)).json()["arch_id"]
            training = {"architecture": NETWORK, "dataset": "fake", "recipe": "cifar-quick"}
            made = [
                (await send("POST", path, json=body)).json()["id"]
                for path, body in (("/v1/searches", FRESH), ("/v1/verifications", training))
            ]
            search, verification = (f"/v1/{kind}/{one}" for kind, one in zip(KINDS, made, strict=True))
            requests = []
            for n in range(60):
                again = "retry" if n % 2 else "cancel"
                requests += [
                    send("POST", "/v1/searches", n, json=FRESH),
                    send("PATCH", search, n, json={"note": str(n)}),
                    send("POST", f"{search}/{again}", n),
                    send("POST", f"{verification}/{again}", n),
                    send("POST", "/v1/searches/preview", n, json={"space": "densenet-tiny-free"}),
                    send("GET", f"/v1/architectures/{arch_id}/export?format=onnx&seed={n}", n),
                    send("GET", "/v1/searches", n),
                ]
                requests += [send("POST", "/v1/verifications", n, json=training)] if n % 4 == 0 else []
            return await asyncio.gather(*requests)

    answers = asyncio.run(crowd())
    app.state.database.dispose()
    assert len(answers) == 60 * 7 + 15
    others = [answer for answer in answers if answer.status_code not in (200, 202)]
    assert {(answer.status_code, answer.url.path) for answer in others} <= {(422, "/v1/searches/preview")}


def test_every_route_that_uses_the_database_waits_its_turn() -> None:
    """A route in a thread of FastAPI's pool is given a session or `InTurn`; others are listed here with a reason."""
    shared = [router for routers in (*FEATURES.values(), *ui.ROUTERS.values()) for router in routers]
    without = {
        route.path
        for router in (*shared, health.router, metrics.router)
        for route in router.routes
        if isinstance(route, APIRoute) and not inspect.iscoroutinefunction(route.endpoint)
        if any(needed.call is database_of for needed in route.dependant.dependencies)
    }
    assert without == {"/readyz"}, "it reads, and must say that all turns are taken"


@pytest.mark.parametrize("backend", [pytest.param(POSTGRES, marks=pytest.mark.servers)], indirect=True)
def test_waiting_requests_of_one_owner_leave_threads_for_others(backend: Backend) -> None:
    app = create_app(backend.settings)
    with backend.database.write() as session:
        ann, bob = ({"Authorization": f"Bearer {keys.create(session, who, set(Scope))[1]}"} for who in ("ann", "bob"))

    async def crowd() -> tuple[int, set[int]]:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=ADDRESS) as client:
            with backend.database.write() as session:
                advisory_lock(session, "room", "ann")  # as a transaction of hers elsewhere that does not end
                posts = [asyncio.create_task(client.post("/v1/searches", json=FRESH, headers=ann)) for _ in range(40)]
                await asyncio.sleep(0.5)
                other = await asyncio.wait_for(client.get("/v1/searches", headers=bob), 20)
                assert not any(post.done() for post in posts)
            return other.status_code, {answer.status_code for answer in await asyncio.gather(*posts)}

    assert asyncio.run(crowd()) == (200, {202})
    app.state.database.dispose()


@pytest.mark.parametrize("backend", [SQLITE], indirect=True)
def test_a_blocked_write_of_a_keys_last_use_does_not_block_other_requests(backend: Backend) -> None:
    """The use of a key is noted once a minute, and SQLite has one writer: only that request waits for it."""
    app = create_app(backend.settings)
    with backend.database.write() as session:
        made = [keys.create(session, "ann", set(Scope)) for _ in range(2)]
        keys.note_use(session, made[1][0].prefix)
        due, noted = ({"Authorization": f"Bearer {token}"} for _, token in made)

    async def crowd() -> tuple[int, set[int]]:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=ADDRESS) as client:
            with backend.database.write():
                waiting = [asyncio.create_task(client.get("/v1/searches", headers=due)) for _ in range(8)]
                await asyncio.sleep(0.5)
                other = await asyncio.wait_for(client.get("/v1/searches", headers=noted), 20)
                assert 1 <= sum(not one.done() for one in waiting) <= LOOKING_UP
            return other.status_code, {answer.status_code for answer in await asyncio.gather(*waiting)}

    assert asyncio.run(crowd()) == (200, {200})
    app.state.database.dispose()


def test_applications_share_routes_and_document_but_not_data(tmp_path: Path, sqlite_file: Path) -> None:
    """Preparing routes takes 0.2 s and the document half a second: once a process, not for each application."""
    apps = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(sqlite_file, tmp_path / name / "nnmass.db")
        apps.append(create_app(Settings(data_dir=tmp_path / name)))
    with client_of(apps[0]) as one, client_of(apps[1]) as two:
        assert one.post("/v1/searches", json=FRESH).status_code == 202
        found = [len(client.get("/v1/searches").json()["items"]) for client in (one, two)]
        assert found == [1, 0]
    included = [[id(route) for route in app.routes if type(route).__name__ == "_IncludedRouter"] for app in apps]
    assert len(included[0]) > 10
    assert included[0] == included[1]
    assert apps[0].openapi() is apps[1].openapi()
