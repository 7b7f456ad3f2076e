"""Files of trainings with options of their own: what a worker writes from stored weights, and what is refused."""

from __future__ import annotations

import io
import json
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, select

from app.auth import keys
from app.auth.keys import Scope
from app.errors import NotFound
from app.exports import service as exports
from app.jobs import lifecycle
from app.main import create_app
from app.storage.models import Artifact, Export, Job
from nnmass_core.export.deployment import USUAL, FileOptions, metadata, metadata_file, rewritten
from nnmass_core.families import decode_architecture
from tests.api import trainings
from tests.api.test_deletions import jobs, verify
from tests.api.test_made_by_worker import finish
from tests.clients import client_of
from tests.conftest import POSTGRES, SQLITE, Backend
from tests.networks import MLP
from worker import files_tasks
from worker.process import Context

FIXED: dict[str, Any] = {"format": "onnx", "batch": "2", "opset": 13, "fold_batchnorm": "false"}
WRITTEN = FileOptions(2, 13, fold_batchnorm=False)
NAME = "model-seed0-batch2-opset13-batchnorm.onnx"

on_sqlite = pytest.mark.parametrize("backend", [SQLITE], indirect=True)


@pytest.fixture
def training(client: TestClient, backend: Backend) -> str:
    """The path of a training that has stored the weights and metadata of seed 0."""
    path = verify(client)
    (made,) = trainings.train_all(backend.database, [7])
    trainings.describe(backend.database, made)
    return path


def of(path: str) -> UUID:
    return UUID(path.rpartition("/")[2])


def test_a_file_of_a_training_is_written_once(client: TestClient, backend: Backend, training: str) -> None:
    first = client.get(f"{training}/export", params=FIXED)
    assert (first.status_code, first.headers["retry-after"], first.json()["status"]) == (202, "2", "queued")
    assert client.get(f"{training}/export", params=FIXED).status_code == 202
    assert len(jobs(backend)) == 2, "two requests have one file made"
    (stored,) = client.get(training).json()["exports"]
    options = {"batch": 2, "opset": 13, "fold_batchnorm": False}
    assert stored.items() >= {"format": "onnx", "seed": 0, "size": None, "status": "queued", **options}.items()
    finish(backend, b"trained")
    made = client.get(f"{training}/export", params=FIXED)
    assert (made.status_code, made.content) == (200, b"trained")
    assert f'filename="{NAME}"' in made.headers["Content-Disposition"]
    assert client.get(training).json()["exports"][0]["size"] == 7
    assert client.get(f"{training}/export", params=FIXED | {"opset": 14}).status_code == 202, "another file"
    assert [one["opset"] for one in client.get(training).json()["exports"]] == [14, 13]


def test_files_of_a_training_are_not_those_of_its_untrained_network(
    client: TestClient, backend: Backend, training: str
) -> None:
    arch = f"/v1/architectures/{client.get(training).json()['arch_id']}"
    client.get(f"{training}/export", params=FIXED)
    finish(backend, b"trained")
    assert client.get(arch).json()["exports"] == []
    for method, path in (("DELETE", "/export"), ("POST", "/export/cancel")):
        assert client.request(method, arch + path, params={"format": "onnx"}).status_code == 404
    assert client.get(f"{arch}/export", params=FIXED).status_code == 202
    finish(backend, b"untrained")
    assert client.get(f"{arch}/export", params=FIXED).content == b"untrained"
    assert client.get(f"{training}/export", params=FIXED).content == b"trained"
    assert client.delete(f"{training}/export?format=onnx").status_code == 204
    assert client.get(f"{arch}/export", params=FIXED).content == b"untrained"


@on_sqlite
def test_the_usual_file_and_the_metadata_need_no_worker(client: TestClient, backend: Backend, training: str) -> None:
    answer = client.get(f"{training}/export", params=FIXED | {"format": "metadata"})
    about = metadata(decode_architecture(MLP), 0, "0" * 64, USUAL)
    assert answer.json() == rewritten(about, WRITTEN)
    assert f'filename="{NAME.replace(".onnx", ".json")}"' in answer.headers["Content-Disposition"]
    trainings.store(backend.database, of(training), {"model-seed0.onnx": b"stored"})
    given: tuple[dict[str, Any], ...] = ({}, {"seed": 0}, {"batch": "dynamic", "opset": 18, "fold_batchnorm": "true"})
    for usual in given:
        answer = client.get(f"{training}/export", params={"format": "onnx", **usual})
        assert (answer.status_code, answer.content) == (200, b"stored")
        assert 'filename="model-seed0.onnx"' in answer.headers["Content-Disposition"]
    assert jobs(backend) == [of(training)]


@on_sqlite
@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"batch": "0"}, "batch"),
        ({"batch": "many"}, "batch"),
        ({"opset": 12}, "opset"),
        ({"opset": 23}, "opset"),
        ({"fold_batchnorm": "perhaps"}, "fold_batchnorm"),
        ({"seed": 7}, "seed"),
        ({"format": "torchscript"}, "format"),
    ],
)
def test_an_option_that_cannot_be_had_names_its_field(
    client: TestClient, training: str, asked: dict[str, Any], field: str
) -> None:
    answer = client.get(f"{training}/export", params={"format": "onnx", **asked})
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])


@on_sqlite
def test_a_training_must_have_ended_and_stored_its_files(client: TestClient, backend: Backend) -> None:
    waiting = verify(client, seeds=[3, 4])
    several = client.get(f"{waiting}/export", params=FIXED)
    assert (several.status_code, several.json()["errors"][0]["field"]) == (422, "seed")
    for method, path in (("GET", "/export"), ("DELETE", "/export"), ("POST", "/export/cancel")):
        wrong = client.request(method, waiting + path, params={"format": "onnx", "seed": 0})
        assert wrong.json()["errors"][0]["message"] == "must be a seed of the verification: 3, 4"
    refused = client.get(f"{waiting}/export", params=FIXED | {"seed": 4})
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert refused.json()["detail"] == "the verification has not ended; its status is queued"
    trainings.finish(backend.database, trainings.claim(backend.database), {3: 7, 4: 7})
    refused = client.get(f"{waiting}/export", params=FIXED | {"seed": 4})
    assert (refused.status_code, "this verification has no model-seed4.json" in refused.text) == (409, True)
    trainings.describe(backend.database, of(waiting), seed=4)
    assert client.get(f"{waiting}/export", params=FIXED | {"seed": 4}).status_code == 202
    with backend.database.write() as session:
        session.execute(delete(Artifact).where(Artifact.name == "weights-seed4.pt"))
    refused = client.get(f"{waiting}/export", params=FIXED | {"seed": 4, "opset": 14})
    assert (refused.status_code, "this verification has no weights-seed4.pt" in refused.text) == (409, True)


@on_sqlite
def test_weights_that_are_gone_when_the_worker_wants_them_fail_the_file(
    client: TestClient, backend: Backend, worker: Context, training: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get(f"{training}/export", params=FIXED).status_code == 202
    with backend.database.write() as session:
        session.execute(delete(Artifact).where(Artifact.name == "weights-seed0.pt"))
    assert files_tasks.run_next(worker)
    with backend.database.read() as session:
        assert session.scalars(select(Job.error_code).where(Job.kind == "export")).all() == ["weights_missing"]
    trainings.store(backend.database, of(training), {"weights-seed0.pt": b"abc"})
    failed = client.get(f"{training}/export", params=FIXED)
    assert (failed.status_code, "has no weights-seed0.pt" in failed.json()["detail"]) == (503, True)
    monkeypatch.setattr(exports, "TRY_AGAIN_AFTER", exports.TRY_AGAIN_AFTER * 0)
    assert client.get(f"{training}/export", params=FIXED).status_code == 202


def test_a_file_is_cancelled_and_deleted_without_its_training(
    client: TestClient, backend: Backend, training: str
) -> None:
    place, form = f"{training}/export", {"format": "onnx"}
    assert client.delete(place, params=form).status_code == 404
    assert client.get(place, params=FIXED).status_code == 202
    held = trainings.claim(backend.database, "files")
    assert client.get(place, params=FIXED).json()["message"] == "a worker is creating the file"
    refused = client.delete(place, params=form)
    assert (refused.status_code, "cancel it first" in refused.json()["detail"]) == (409, True)
    assert client.post(f"{place}/cancel", params=form).json()["status"] == "cancelled"
    with backend.database.write() as session:
        assert not lifecycle.succeed(session, held)
    assert client.get(place, params=FIXED).json()["detail"] == "the export was cancelled"
    assert client.delete(place, params=form).status_code == 204
    assert jobs(backend) == [of(training)]
    assert client.get(training).json()["exports"] == []


def test_a_deleted_training_takes_its_files_with_it(client: TestClient, backend: Backend, training: str) -> None:
    other = verify(client, seeds=[0])
    (kept,) = trainings.train_all(backend.database, [7])
    trainings.describe(backend.database, kept)
    for path in (training, other, training):  # one exists, and a worker writes another when the training is deleted
        opset = 13 + len(client.get(path).json()["exports"])
        assert client.get(f"{path}/export?format=onnx&opset={opset}").status_code == 202
        held = trainings.claim(backend.database, "files")
        if (path, opset) != (training, 14):
            with backend.database.write() as session:
                session.get_one(Export, held.job_id).content = b"made"
                lifecycle.succeed(session, held)
    assert client.delete(training).status_code == 204
    with backend.database.write() as session:
        assert not lifecycle.heartbeat(session, held, 60.0, 0.5, "late")
        assert not lifecycle.succeed(session, held)
    with backend.database.read() as session:
        assert session.scalars(select(Export.verification_id)).all() == [kept]
        assert sorted(session.scalars(select(Job.kind))) == ["export", "verification"]
    assert client.get(f"{training}/export", params=FIXED).status_code == 404
    assert client.get(f"{other}/export?format=onnx&opset=13").content == b"made"


@on_sqlite
def test_a_training_deleted_between_two_requests_has_no_file_made(
    client: TestClient, backend: Backend, training: str
) -> None:
    wanted = exports.Wanted(decode_architecture(MLP), "onnx", 0, WRITTEN, of(training))
    assert client.delete(training).status_code == 204
    with backend.database.write() as session, pytest.raises(NotFound, match="no such verification"):
        exports.ask(session, "local", wanted)


@on_sqlite
def test_a_new_file_of_a_training_requires_the_scope_train(backend: Backend) -> None:
    app = create_app(backend.settings)
    with backend.database.write() as session:
        full = keys.create(session, "somebody", {Scope.READ, Scope.SEARCH, Scope.TRAIN})[1]
        reading = keys.create(session, "somebody", {Scope.READ, Scope.SEARCH})[1]
        foreign = keys.create(session, "another", {Scope.READ, Scope.SEARCH, Scope.TRAIN})[1]
    owner, reader, stranger = (client_of(app, key=key) for key in (full, reading, foreign))
    path = verify(owner)
    (made,) = trainings.train_all(backend.database, [7])
    trainings.describe(backend.database, made)
    for place in (f"{path}/export?format=onnx&opset=13", path.removeprefix("/v1") + "/export/onnx?opset=13"):
        assert reader.get(place).status_code == 403
        assert stranger.get(place).status_code == 404
        assert owner.get(place, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert jobs(backend) == [made]
    assert owner.get(f"{path}/export?format=onnx&opset=13").status_code == 202
    assert reader.get(f"{path}/export?format=onnx&opset=13").status_code == 202
    assert reader.get(f"{path}/export?format=metadata&opset=14").status_code == 200
    assert stranger.get(f"{path}/export?format=onnx&opset=13").status_code == 404


@pytest.mark.parametrize("backend", [pytest.param(POSTGRES, marks=pytest.mark.servers)], indirect=True)
def test_the_file_that_a_worker_writes_has_the_outputs_of_the_stored_weights(
    client: TestClient, backend: Backend, worker: Context, training: str
) -> None:
    torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime comes with the extra `test`")
    from nnmass_core.export.torch_files import about_module
    from nnmass_core.nets import build

    module, state = build(decode_architecture(MLP), 0).eval(), io.BytesIO()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) / 10)
    torch.save(module.state_dict(), state)
    about = about_module(decode_architecture(MLP), 0, module, USUAL)
    files = {"weights-seed0.pt": state.getvalue(), "model-seed0.json": metadata_file(about)}
    trainings.store(backend.database, of(training), files)
    assert client.get(f"{training}/export", params=FIXED).status_code == 202
    assert files_tasks.run_next(worker)
    assert not files_tasks.run_next(worker)
    made = client.get(f"{training}/export", params=FIXED)
    assert made.status_code == 200, made.text
    session, inputs = runtime.InferenceSession(made.content), torch.rand(2, 64)
    (scores,) = session.run(None, {"input": inputs.numpy()})
    assert torch.allclose(torch.from_numpy(scores), module(inputs), atol=1e-5)
    inside = session.get_modelmeta().custom_metadata_map
    said = client.get(f"{training}/export", params=FIXED | {"format": "metadata"}).json()
    assert inside == {name: value if isinstance(value, str) else json.dumps(value) for name, value in said.items()}
    assert said == rewritten(about, WRITTEN)
