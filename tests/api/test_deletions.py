"""What was made by mistake can be deleted: with all that belongs to it, never while it runs, and nothing else."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app import catalog
from app.exports import service as exports
from app.jobs import lifecycle
from app.jobs.retention import BELONGING
from app.storage.models import Export, Job
from app.verifications import recording
from tests.api import trainings
from tests.api.test_verifications import BODY as TRAINING
from tests.api.test_verifications import SEARCH
from tests.conftest import Backend
from tests.core.latencies import profile
from tests.networks import MLP
from worker import search_tasks
from worker.process import Context

MEASUREMENT: dict[str, Any] = {"kind": "peak", "architecture": MLP}
QUEUES = {"verifications": "train", "measurements": "files", "exports": "files"}


def verify(client: TestClient, **changes: Any) -> str:
    """Queue a training; returns its path."""
    answer = client.post("/v1/verifications", json=TRAINING | changes)
    assert answer.status_code == 202, answer.text
    return str(answer.headers["Location"])


def register(client: TestClient, **changes: Any) -> str:
    """Register a network; returns its path."""
    path: str = client.post("/v1/architectures", json=MLP | changes).headers["Location"]
    return path


def queue(client: TestClient, kind: str) -> str:
    """Queue a job of a kind; returns the address that reads, cancels and deletes it."""
    if kind == "verifications":
        return verify(client)
    if kind == "measurements":
        return str(client.post("/v1/measurements", json=MEASUREMENT).headers["Location"])
    path = f"{register(client)}/export?format=onnx"
    assert client.get(path).status_code == 202
    return path


def cancel(client: TestClient, path: str) -> dict[str, Any]:
    answer = client.post(path.replace("/export?", "/export/cancel?") if "export" in path else f"{path}/cancel")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def jobs(backend: Backend) -> list[UUID]:
    with backend.database.read() as session:
        return list(session.scalars(select(Job.id)).all())


def test_a_deleted_verification_takes_its_rows_and_its_evidence_with_it(client: TestClient, backend: Backend) -> None:
    first, second = verify(client), verify(client, architecture=MLP | {"depth": 5})
    deleted, kept = trainings.train_all(backend.database, [7, 8])
    assert client.get("/v1/evidence").json()["n"] == 2
    assert client.get(f"{first}/artifacts/weights-seed0.pt").status_code == 200

    assert client.delete(first).status_code == 204
    assert [client.request(method, first).status_code for method in ("GET", "DELETE")] == [404, 404]
    assert client.get(f"{first}/artifacts/weights-seed0.pt").status_code == 404
    assert client.get("/v1/evidence").json()["n"] == 1
    assert [item["id"] for item in client.get("/v1/verifications").json()["items"]] == [str(kept)]
    with backend.database.read() as session:
        for table, key in BELONGING["verifications"]:
            assert session.scalars(select(key).where(key == deleted)).all() == [], table
    assert client.get(f"{second}/artifacts/weights-seed0.pt").status_code == 200


@pytest.mark.parametrize("kind", QUEUES)
def test_a_running_job_must_be_cancelled_before_it_is_deleted(client: TestClient, backend: Backend, kind: str) -> None:
    path = queue(client, kind)
    held = trainings.claim(backend.database, QUEUES[kind])
    refused = client.delete(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert "cancel it first" in refused.json()["detail"]
    assert jobs(backend) == [held.job_id]
    assert cancel(client, path)["status"] == "cancelled"
    assert client.delete(path).status_code == 204
    assert jobs(backend) == []
    with backend.database.write() as session:
        assert not lifecycle.heartbeat(session, held, 60.0, 0.5, "late")
        assert not lifecycle.succeed(session, held)
        assert kind != "verifications" or not recording.succeed(session, held, {})
    assert client.delete(path).status_code == 404


@pytest.mark.parametrize("kind", QUEUES)
def test_a_queued_job_is_deleted_and_never_run(
    client: TestClient, backend: Backend, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = queue(client, kind)
    (job_id,) = jobs(backend)
    with caplog.at_level(logging.INFO, "nnmass.jobs"):
        assert client.delete(path).status_code == 204
    assert f"{kind.removesuffix('s')} {job_id} is deleted" in caplog.messages
    with backend.database.write() as session:
        assert lifecycle.claim(session, QUEUES[kind], "test/1", 60.0) is None


def test_a_replay_stays_without_what_it_repeats(client: TestClient, backend: Backend) -> None:
    first = verify(client)
    trainings.train_all(backend.database, [7])
    replay = client.post(f"{first}/replay").headers["Location"]
    trainings.train_all(backend.database, [7])
    assert client.get(replay).json()["replay"]["same_result"] is True
    assert client.delete(first).status_code == 204
    assert client.get(replay).json()["replay"] is None
    assert client.get("/v1/evidence").json()["n"] == 1


def test_a_repeated_request_gets_its_first_answer_after_a_deletion(client: TestClient, backend: Backend) -> None:
    headers = {"Idempotency-Key": "same"}
    first = client.post("/v1/measurements", json=MEASUREMENT, headers=headers)
    assert client.delete(first.headers["Location"]).status_code == 204
    again = client.post("/v1/measurements", json=MEASUREMENT, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    assert jobs(backend) == []


# files


def make(backend: Backend) -> None:
    """Make the oldest queued file."""
    held = trainings.claim(backend.database, "files")
    with backend.database.write() as session:
        assert lifecycle.succeed(session, held)
        session.get_one(Export, held.job_id).content = b"made"


def test_a_deleted_file_is_made_again_and_others_stay(client: TestClient, backend: Backend) -> None:
    arch = register(client)
    files = [
        f"{arch}/export?format={form}&seed={seed}" for form, seed in (("onnx", 0), ("onnx", 1), ("torchscript", 0))
    ]
    for file in files:
        assert client.get(file).status_code == 202
        make(backend)
    with backend.database.write() as session:  # as an older release made it
        held = session.scalars(select(Export).order_by(Export.id)).first()
        assert held is not None
        held.core_version = "0.0.1"
    client.get(files[0])
    make(backend)
    assert client.delete(files[0]).status_code == 204
    with backend.database.read() as session:
        left = session.execute(select(Export.format, Export.seed).order_by(Export.id)).all()
    assert left == [("onnx", 1), ("torchscript", 0)]
    assert client.delete(files[0]).status_code == 404
    assert [client.get(file).status_code for file in files] == [202, 200, 200]
    assert client.delete(f"{arch}/export?format=pytorch").status_code == 404, "it is not stored"


def test_a_cancelled_file_is_not_made_by_those_who_wait_for_it(
    client: TestClient, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = queue(client, "exports")
    assert cancel(client, path) == {"status": "cancelled", "message": "cancelled", "waiting": None}
    answer = client.get(path)
    assert (answer.status_code, answer.json()["detail"]) == (503, "the export was cancelled")
    monkeypatch.setattr(exports, "TRY_AGAIN_AFTER", exports.TRY_AGAIN_AFTER * 0)
    assert client.get(path).status_code == 202
    make(backend)
    assert cancel(client, path)["status"] == "succeeded", "a file that exists stays"
    assert client.get(path).content == b"made"
    assert client.post(path.replace("/export?", "/export/cancel?") + "&seed=9").status_code == 404


# architectures


def test_an_architecture_is_deleted_once_nothing_uses_it(client: TestClient, backend: Backend) -> None:
    arch = register(client)
    arch_id = arch.rpartition("/")[2]
    assert client.get(arch).json()["registered"] is True
    training = verify(client, architecture=None, arch_id=arch_id)
    measurement = client.post("/v1/measurements", json={"kind": "peak", "architecture": {"arch_id": arch_id}}).headers[
        "Location"
    ]
    export = f"{arch}/export?format=onnx&seed=3"
    client.get(export)
    about = client.get(arch).json()
    assert [one["status"] for one in (*about["measurements"], *about["exports"])] == ["queued", "queued"]
    names = [f"{path.split('/')[2].removesuffix('s')} {path.rpartition('/')[2]}" for path in (training, measurement)]
    names.append("export onnx with seed 3")

    for left, path in enumerate((training, measurement, export)):
        refused = client.delete(arch)
        assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
        assert [one["message"] for one in refused.json()["errors"]] == [f"is used by {name}" for name in names[left:]]
        assert all(name in refused.json()["detail"] for name in names[left:])
        assert client.delete(path).status_code == 204
    assert client.delete(arch).status_code == 204
    assert [client.request(method, arch).status_code for method in ("GET", "DELETE")] == [404, 404]
    assert register(client) == arch, "it can be registered again"


def test_an_architecture_is_known_while_something_has_it(client: TestClient) -> None:
    measurement = client.post("/v1/measurements", json=MEASUREMENT)
    arch = f"/v1/architectures/{measurement.json()['arch_id']}"
    assert client.get(arch).json()["architecture"] == {"version": 1, **MLP}
    assert client.get(f"{arch}/export?format=onnx").status_code == 202
    assert client.delete(measurement.headers["Location"]).status_code == 204
    assert client.get(arch).json()["architecture"] == {"version": 1, **MLP}
    assert client.delete(f"{arch}/export?format=onnx").status_code == 204
    assert client.get(arch).status_code == 404


def test_an_architecture_that_a_search_ranked_is_not_deleted(client: TestClient, worker: Context) -> None:
    searches = [client.post("/v1/searches", json=SEARCH | {"fresh": True}).json()["id"] for _ in range(4)]
    for _ in searches:
        assert search_tasks.run_next(worker)
    best = client.get(f"/v1/searches/{searches[0]}/architectures").json()["items"][0]
    arch = f"/v1/architectures/{best['arch_id']}"
    assert client.get(arch).json()["registered"] is False
    refused = client.delete(arch)
    assert refused.status_code == 409
    newest = ", ".join(f"search {search}" for search in searches[:0:-1])
    assert refused.json()["detail"] == f"the architecture is used by {newest} and others; delete these first"
    assert len(refused.json()["errors"]) == 4
    client.post("/v1/architectures", json=best["architecture"])
    assert client.delete(arch).status_code == 409
    for search in searches:
        assert client.delete(f"/v1/searches/{search}").status_code == 204
    assert client.delete(arch).status_code == 204


@pytest.mark.parametrize("read_at_once", [1, catalog.READ_AT_ONCE])
def test_an_architecture_that_a_search_refers_to_is_not_deleted(
    client: TestClient, worker: Context, monkeypatch: pytest.MonkeyPatch, read_at_once: int
) -> None:
    monkeypatch.setattr(catalog, "READ_AT_ONCE", read_at_once)
    arch = register(client)
    arch_id = arch.rpartition("/")[2]
    device = profile("reference", note='names a "reference", but is none')
    deeper = {"space": SEARCH["space"] | {"depth": {"min": 6, "max": 16}}}
    bodies = [
        deeper | {"objective": {"minimize": "params", "reference": {"arch_id": arch_id}}, "name": "by id"},
        {"objective": {"minimize": "macs", "reference": {**MLP, "skip_channels": 8}}, "name": "by definition"},
        {"objective": {"minimize": "macs", "reference": MLP | {"depth": 5}}, "name": "another network"},
        {"budget": {"device": device}, "name": "no reference"},
    ]
    made = [client.post("/v1/searches", json=SEARCH | body) for body in bodies]
    assert [answer.status_code for answer in made] == [202] * 4
    first, second = (answer.json()["id"] for answer in made[:2])

    def uses() -> list[str]:
        refused = client.delete(arch)
        assert refused.status_code == 409
        return [str(one["message"]).removeprefix("is used by search ") for one in refused.json()["errors"]]

    assert uses() == [second, first]
    page = client.get(f"/architectures/{arch_id}")
    assert page.status_code == 200
    assert f"/architectures/{arch_id}/delete" not in page.text
    for search, ranked in ((first, False), (second, True)):
        assert search_tasks.run_next(worker)
        items = client.get(f"/v1/searches/{search}/architectures").json()["items"]
        assert (arch_id in [item["arch_id"] for item in items]) == ranked
    assert uses() == [second, first], "each once"
    assert client.delete(f"/v1/searches/{second}").status_code == 204
    assert uses() == [first]
    assert client.delete(f"/v1/searches/{first}").status_code == 204
    assert client.delete(arch).status_code == 204


@pytest.mark.parametrize(
    "path",
    [
        "/v1/verifications/01a20532-0877-7076-88e9-ddadfcb721fc",
        "/v1/measurements/01a20532-0877-7076-88e9-ddadfcb721fc",
        "/v1/measurements/0",
        f"/v1/architectures/arch_{'0' * 32}",
        "/v1/architectures/0",
        f"/v1/architectures/arch_{'0' * 32}/export?format=onnx",
    ],
)
def test_what_does_not_exist_is_not_deleted(client: TestClient, path: str) -> None:
    assert client.delete(path).status_code == 404
