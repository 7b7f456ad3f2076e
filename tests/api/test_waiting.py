"""What waits says truthfully what it waits for: its place in its own queue, and the workers that serve this queue."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import update

from app.jobs import lifecycle
from app.storage.db import now
from app.storage.ids import new_id
from app.storage.models import WorkerBeat
from tests.api import trainings
from tests.api.test_verifications import BODY as TRAINING
from tests.conftest import Backend
from tests.networks import MLP

SEARCH: dict[str, Any] = {"space": "densenet-tiny-free", "fresh": True}
MEASUREMENT: dict[str, Any] = {"kind": "peak", "architecture": MLP}
SILENT = "whose workers have sent no heartbeat for 15 s; `nnmass worker {0}` starts one"


def post(client: TestClient, kind: str, body: dict[str, Any]) -> str:
    """Queue a job; returns its path."""
    answer = client.post(f"/v1/{kind}", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.headers["Location"])


def waits(client: TestClient, path: str) -> tuple[str, int, int] | None:
    """Return the queue, place and number of workers that a job reports; the message must say the same."""
    found = client.get(path).json()
    waiting = found["waiting"]
    if waiting is None:
        return None
    said = found["progress"]["message"] if "progress" in found else found["message"]
    assert said.startswith(f"waiting for a worker: place {waiting['place']} in the queue {waiting['queue']}, wh")
    return waiting["queue"], waiting["place"], waiting["workers"]


def export_of(client: TestClient, depth: int) -> str:
    arch_id = client.post("/v1/architectures", json=MLP | {"depth": depth}).json()["arch_id"]
    return f"/v1/architectures/{arch_id}/export?format=onnx"


def test_a_queued_job_has_a_place_in_its_own_queue(client: TestClient, backend: Backend) -> None:
    searches = [post(client, "searches", SEARCH) for _ in range(3)]
    asked = [post(client, "verifications", TRAINING | {"seeds": [seed]}) for seed in (0, 1)]
    measurement = post(client, "measurements", MEASUREMENT)
    export = export_of(client, 5)
    assert client.get(export).json()["waiting"] == {"queue": "files", "place": 2, "workers": 0}, "when it is queued"
    with backend.database.write() as session:
        lifecycle.enqueue(session, new_id(), kind="search", queue="search", owner="other")
    last = post(client, "searches", SEARCH)
    places = [waits(client, path) for path in (*searches, last, *asked, measurement, export)]
    assert places == [
        *(("search", place, 0) for place in (1, 2, 3, 5)),
        *(("train", place, 0) for place in (1, 2)),
        *(("files", place, 0) for place in (1, 2)),
    ]
    for kind, paths in (("searches", [*searches, last]), ("verifications", asked)):
        listed = {item["id"]: item for item in client.get(f"/v1/{kind}").json()["items"]}
        for path in paths:
            assert listed[path.rpartition("/")[2]]["waiting"] == client.get(path).json()["waiting"]


def test_the_place_is_the_order_in_which_workers_take_jobs(client: TestClient, backend: Backend) -> None:
    first, second, third = (post(client, "searches", SEARCH) for _ in range(3))
    client.post(f"{first}/cancel")
    assert [waits(client, path) for path in (first, second, third)] == [None, ("search", 1, 0), ("search", 2, 0)]
    client.post(f"{first}/retry")
    assert [waits(client, path) for path in (first, second, third)] == [("search", n, 0) for n in (1, 2, 3)]
    for path, left in ((first, [None, 1, 2]), (second, [None, None, 1]), (third, [None, None, None])):
        assert str(trainings.claim(backend.database, "search").job_id) == path.rpartition("/")[2]
        found = [waits(client, one) for one in (first, second, third)]
        assert found == [place and ("search", place, 0) for place in left]


def test_a_queued_job_says_how_many_workers_serve_its_queue(client: TestClient, backend: Backend) -> None:
    path = post(client, "verifications", TRAINING)

    def message() -> str:
        return str(client.get(path).json()["progress"]["message"]).partition(", ")[2]

    assert message() == SILENT.format("train")
    with backend.database.write() as session:
        lifecycle.beat(session, "a/1", "files")
    assert message() == SILENT.format("train"), "another queue's worker does not take it"
    with backend.database.write() as session:
        lifecycle.beat(session, "a/2", "train")
    assert message() == "which 1 worker serves"
    with backend.database.write() as session:
        lifecycle.beat(session, "a/3", "train")
    assert message() == "which 2 workers serve"
    with backend.database.write() as session:
        session.execute(update(WorkerBeat).values(seen_at=now(session) - timedelta(seconds=16)))
    assert message() == SILENT.format("train")


def test_an_export_reports_when_a_worker_creates_the_file(client: TestClient, backend: Backend) -> None:
    export = export_of(client, 5)
    assert client.get(export).json()["status"] == "queued"
    trainings.claim(backend.database, "files")
    found = client.get(export)
    assert (found.status_code, found.json()) == (
        202,
        {"status": "running", "message": "a worker is creating the file", "waiting": None},
    )


def test_the_pages_show_what_a_job_waits_for(client: TestClient, backend: Backend) -> None:
    searches = [post(client, "searches", SEARCH) for _ in range(2)]
    training = post(client, "verifications", TRAINING)
    export = export_of(client, 5).replace("/v1", "").replace("?format=", "/")
    for path, queue, place in ((searches[1], "search", 2), (training, "train", 1), (f"/v1{export}", "files", 1)):
        page = client.get(path.removeprefix("/v1")).text
        assert f"waiting for a worker: place {place} in the queue {queue}, {SILENT.format(queue)}" in page
    assert "place 2, no worker" in client.get("/searches").text
    assert "place 1, no worker" in client.get("/verifications").text
    with backend.database.write() as session:
        for queue in ("search", "train", "files"):
            lifecycle.beat(session, f"a/{queue}", queue)
    assert "no worker" not in client.get("/searches").text
    trainings.claim(backend.database, "files")
    assert "a worker is creating the file" in client.get(export).text
