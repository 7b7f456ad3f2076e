"""Exports and measurements made by a worker through the API, in a process with torch or without it."""

from __future__ import annotations

import json
import re
from contextlib import closing
from importlib.util import find_spec
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from app.auth import keys
from app.auth.keys import Scope
from app.exports import service as exports
from app.http import file_responses
from app.jobs import lifecycle
from app.main import create_app
from app.storage.models import Export, Job
from tests.clients import client_of
from tests.conftest import Backend
from worker import files_tasks, train_tasks
from worker.process import Context

CNN: dict[str, Any] = {
    "family": "densenet_cnn",
    "input": {"channels": 1, "height": 8, "width": 8},
    "num_classes": 3,
    "cells": [{"width": 4, "depth": 4, "skip_channels": 5}],
}
MEASUREMENT: dict[str, Any] = {"kind": "ldi", "architecture": CNN, "dataset": "fake", "samples": 2, "seeds": [0, 1]}
TORCH = find_spec("torch") is not None


def export(client: TestClient, form: str, **more: Any) -> Any:
    arch_id = client.post("/v1/architectures", json=CNN).json()["arch_id"]
    return client.get(f"/v1/architectures/{arch_id}/export", params={"format": form, **more})


def test_the_pytorch_file_needs_no_worker(client: TestClient) -> None:
    answer = export(client, "pytorch", seed=3)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/x-python")
    assert "def build()" in answer.text
    assert answer.content != export(client, "pytorch", seed=4).content
    assert answer.content == export(client, "pytorch", seed=3).content


def test_a_file_of_an_untrained_network_says_so(client: TestClient) -> None:
    answer = export(client, "pytorch", seed=3)
    arch_id = client.post("/v1/architectures", json=CNN).json()["arch_id"]
    name = f"densenet_cnn-{arch_id.removeprefix('arch_')[:12]}"
    assert f'filename="{name}-untrained-seed3.py"' in answer.headers["Content-Disposition"]
    assert "Not trained" in answer.text
    assert "WIRING_SEED = 3" in answer.text
    definition = export(client, "json", seed=3)
    assert f'filename="{name}.json"' in definition.headers["Content-Disposition"]
    page = client.get(f"/architectures/{arch_id}?seed=3").text
    assert "Not trained." in page
    assert "The skip wiring is that of seed 3" in page
    for form in ("onnx", "pytorch", "torchscript"):
        assert f"/architectures/{arch_id}/export/{form}?seed=3" in page
    assert client.get(f"/architectures/{arch_id}/export/pytorch?seed=3").content == answer.content


@pytest.mark.skipif(not TORCH, reason="torch comes with the extra `train`")
@pytest.mark.parametrize(("backend", "form"), [("sqlite", "torchscript"), ("sqlite", "onnx")], indirect=["backend"])
def test_a_worker_makes_an_export_once(client: TestClient, worker: Context, form: str) -> None:
    first = export(client, form)
    assert (first.status_code, first.headers["retry-after"]) == (202, "2")
    assert export(client, form).status_code == 202
    assert files_tasks.run_next(worker)
    assert not files_tasks.run_next(worker), "two requests make one file"
    made = export(client, form)
    assert made.status_code == 200
    assert "-untrained-seed0." in made.headers["Content-Disposition"]
    assert len(made.content) > 1000
    assert export(client, form).content == made.content
    assert export(client, form, seed=9).status_code == 202, "another seed is another file"


@pytest.mark.parametrize(
    ("form", "asked", "field"),
    [
        ("onnx", {"batch": "0"}, "batch"),
        ("onnx", {"batch": "-1"}, "batch"),
        ("onnx", {"batch": "1025"}, "batch"),
        ("metadata", {"batch": "all"}, "batch"),
        ("onnx", {"opset": 12}, "opset"),
        ("onnx", {"opset": 23}, "opset"),
        ("onnx", {"opset": "new"}, "opset"),
        ("onnx", {"fold_batchnorm": "perhaps"}, "fold_batchnorm"),
        ("torchscript", {"batch": "1"}, "batch"),
        ("torchscript", {"opset": 18}, "opset"),
        ("pytorch", {"fold_batchnorm": "true"}, "fold_batchnorm"),
        ("json", {"batch": "dynamic"}, "batch"),
    ],
)
def test_an_option_that_cannot_be_had_names_its_field(
    client: TestClient, form: str, asked: dict[str, Any], field: str
) -> None:
    answer = export(client, form, **asked)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])


def test_each_choice_of_options_is_a_file_of_its_own(client: TestClient, backend: Backend) -> None:
    asked: tuple[dict[str, Any], ...] = (
        {},
        {"batch": "1"},
        {"batch": "dynamic", "opset": 18, "fold_batchnorm": "true"},
        {"opset": 13},
        {"fold_batchnorm": "false"},
        {"batch": "01"},
    )
    assert {export(client, "onnx", **one).status_code for one in asked} == {202}
    arch_id = client.post("/v1/architectures", json=CNN).json()["arch_id"]
    stored = client.get(f"/v1/architectures/{arch_id}").json()["exports"]
    options = [(one["batch"], one["opset"], one["fold_batchnorm"]) for one in stored]
    assert options == [(None, 18, False), (None, 13, True), (1, 18, True), (None, 18, True)]
    cancelled = client.post(f"/v1/architectures/{arch_id}/export/cancel", params={"format": "onnx"})
    assert cancelled.json()["status"] == "cancelled"
    with backend.database.read() as session:
        assert set(session.scalars(select(Job.state))) == {"cancelled"}, "all of them"
    assert client.delete(f"/v1/architectures/{arch_id}/export?format=onnx").status_code == 204
    assert client.get(f"/v1/architectures/{arch_id}").json()["exports"] == []


def finish(backend: Backend, content: bytes) -> None:
    """End the oldest export with a content, as a worker does."""
    with backend.database.write() as session:
        held = lifecycle.claim(session, "files", "test/1", 15.0)
        assert held is not None
        session.get_one(Export, held.job_id).content = content
        lifecycle.succeed(session, held)


def test_a_file_that_is_written_in_another_way_today_is_not_given_out(client: TestClient, backend: Backend) -> None:
    export(client, "onnx")
    finish(backend, b"of an older release")
    arch_id = client.post("/v1/architectures", json=CNN).json()["arch_id"]
    assert export(client, "onnx").content == b"of an older release"
    with backend.database.write() as session:
        session.execute(update(Export).values(files_version=1, opset=None, fold_batchnorm=None))
    (stored,) = client.get(f"/v1/architectures/{arch_id}").json()["exports"]
    assert stored["current"] is False
    assert "download</a>" not in client.get(f"/architectures/{arch_id}").text
    assert export(client, "onnx").status_code == 202


def test_the_size_of_a_file_is_that_of_its_content(client: TestClient, backend: Backend) -> None:
    export(client, "onnx", batch="2", opset=15, fold_batchnorm="false")
    arch_id = client.post("/v1/architectures", json=CNN).json()["arch_id"]
    assert client.get(f"/v1/architectures/{arch_id}").json()["exports"][0]["size"] is None
    finish(backend, b"x" * 49_954)
    (stored,) = client.get(f"/v1/architectures/{arch_id}").json()["exports"]
    assert (stored["size"], stored["current"]) == (49_954, True)
    page = client.get(f"/architectures/{arch_id}").text
    assert 'title="49,954 bytes"' in page
    assert "onnx, seed 0, batch 2, opset 15, BatchNorm kept" in page
    href = re.search(r'href="([^"]*/export/onnx[^"]*)">download', page)
    assert href is not None
    made = client.get(href[1].replace("&amp;", "&"))
    assert int(made.headers["Content-Length"]) == 49_954
    assert "-untrained-seed0-batch2-opset15-batchnorm.onnx" in made.headers["Content-Disposition"]


def test_the_options_of_the_page_are_those_of_its_links(client: TestClient) -> None:
    arch_id = client.post("/v1/architectures", json=CNN).json()["arch_id"]
    asked = "seed=3&batch=4&opset=15&fold_batchnorm=false"
    page = client.get(f"/architectures/{arch_id}?{asked}").text.replace("&amp;", "&")
    for form in ("onnx", "metadata"):
        assert f'/export/{form}?{asked}"' in page
    assert '/export/torchscript?seed=3&fold_batchnorm=false"' in page
    assert '/export/pytorch?seed=3"' in page
    assert '/export/json"' in page
    usual = client.get(f"/architectures/{arch_id}?batch=dynamic&opset=18&fold_batchnorm=true").text
    assert '/export/onnx?seed=0"' in usual
    assert client.get(f"/architectures/{arch_id}?opset=99").status_code == 422


@pytest.mark.skipif(not TORCH, reason="torch comes with the extra `train`")
@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_worker_writes_what_was_asked_for(client: TestClient, worker: Context) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx comes with the extra `train`")
    asked = {"batch": "2", "opset": 14, "fold_batchnorm": "false", "seed": 5}
    for form in ("onnx", "metadata"):
        export(client, form, **asked)
        assert files_tasks.run_next(worker)
    model = onnx.load_from_string(export(client, "onnx", **asked).content)
    assert model.opset_import[0].version == 14
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2
    beside = export(client, "metadata", **asked)
    assert beside.headers["content-type"].startswith("application/json")
    said = {name: value if isinstance(value, str) else json.dumps(value) for name, value in beside.json().items()}
    assert {prop.key: prop.value for prop in model.metadata_props} == said
    assert (beside.json()["status"], beside.json()["batchnorm"]) == ("untrained: initial weights", "kept")


@pytest.mark.skipif(not TORCH, reason="torch comes with the extra `train`")
def test_a_measurement_is_made_by_a_worker(client: TestClient, worker: Context) -> None:
    answer = client.post("/v1/measurements", json=MEASUREMENT)
    assert answer.status_code == 202
    assert answer.json()["status"] == "queued"
    assert files_tasks.run_next(worker)
    done = client.get(answer.headers["Location"]).json()
    assert (done["status"], done["error"]) == ("succeeded", None)
    assert [part["seed"] for part in done["result"]["by_seed"]] == [0, 1]
    assert done["result"]["mean"] > 0
    (evaluated,) = client.post("/v1/architectures/evaluate", json={"architectures": [CNN]}).json()["results"]
    assert {name: done["result"][name] for name in ("nn_mass", "params", "macs")} == {
        name: evaluated[name] for name in ("nn_mass", "params", "macs")
    }


@pytest.mark.skipif(not TORCH, reason="torch comes with the extra `train`")
@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_the_exact_peak_of_a_wiring_is_measured(client: TestClient, worker: Context) -> None:
    question = {"kind": "peak", "architecture": CNN, "seeds": [0, 1, 2]}
    answer = client.post("/v1/measurements", json=question)
    assert files_tasks.run_next(worker)
    result = client.get(answer.headers["Location"]).json()["result"]
    (evaluated,) = client.post("/v1/architectures/evaluate", json={"architectures": [CNN]}).json()["results"]
    assert result["closed_form_elements"] * 4 == evaluated["peak_activation_bytes"]
    peaks = [part["peak_activation_elements"] for part in result["by_seed"]]
    assert [part["seed"] for part in result["by_seed"]] == [0, 1, 2]
    assert 0 < min(peaks) <= max(peaks) <= result["closed_form_elements"]


@pytest.mark.skipif(not TORCH, reason="torch comes with the extra `train`")
@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_an_impossible_measurement_fails_with_its_reason(client: TestClient, worker: Context) -> None:
    wrong = CNN | {"input": {"channels": 3, "height": 8, "width": 8}}
    answer = client.post("/v1/measurements", json=MEASUREMENT | {"dataset": "digits", "architecture": wrong})
    assert files_tasks.run_next(worker)
    failed = client.get(answer.headers["Location"]).json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "shape_mismatch")


def test_a_worker_without_torch_fails_the_job_with_that_reason(
    client: TestClient, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module in the process makes the import of torch fail."""
    monkeypatch.setattr(files_tasks, "MODULE", "tests.api.trainer_without_torch")
    answer = client.post("/v1/measurements", json=MEASUREMENT)
    export(client, "onnx")
    assert files_tasks.run_next(worker)
    failed = client.get(answer.headers["Location"]).json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "torch_missing")
    assert files_tasks.run_next(worker)
    refused = export(client, "onnx")
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert "pip install" in refused.json()["detail"]


def test_a_training_worker_does_what_an_older_release_put_into_its_queue(
    client: TestClient, worker: Context, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_tasks, "MODULE", "tests.api.trainer_without_torch")
    answer = client.post("/v1/measurements", json=MEASUREMENT)
    with backend.database.write() as session:
        session.execute(update(Job).values(queue="train"))
    assert not files_tasks.run_next(worker)
    assert train_tasks.run_next(worker)
    done = client.get(answer.headers["Location"]).json()
    assert (done["status"], done["error"]["code"]) == ("failed", "torch_missing"), "its process was started"


def test_a_failed_export_is_tried_again_later(
    client: TestClient, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_tasks, "MODULE", "tests.api.trainer_without_torch")
    export(client, "onnx")
    assert files_tasks.run_next(worker)
    assert export(client, "onnx").status_code == 503
    monkeypatch.setattr(exports, "TRY_AGAIN_AFTER", exports.TRY_AGAIN_AFTER * 0)
    assert export(client, "onnx").status_code == 202


def test_a_measurement_can_be_cancelled(client: TestClient, worker: Context) -> None:
    answer = client.post("/v1/measurements", json=MEASUREMENT)
    cancelled = client.post(f"{answer.headers['Location']}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert not files_tasks.run_next(worker)
    assert client.post(f"{answer.headers['Location']}/cancel").json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "accuracy"}, "kind"),
        ({"dataset": "imagenet"}, "dataset"),
        ({"dataset": None}, "dataset"),
        ({"kind": "peak"}, "dataset"),
        ({"samples": 0}, "samples"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [-1]}, "seeds.0"),
        ({"architecture": {"arch_id": "arch_0"}}, "architecture.arch_id"),
        ({"architecture": CNN | {"num_classes": 0}}, "architecture.num_classes"),
        (
            {
                "architecture": {
                    "family": "resnet",
                    "input": CNN["input"],
                    "num_classes": 2,
                    "block": "basic",
                    "stages": [{"channels": 4, "repeats": 1}],
                }
            },
            "architecture",
        ),
    ],
)
def test_an_invalid_measurement_names_its_field(client: TestClient, change: dict[str, Any], field: str) -> None:
    answer = client.post("/v1/measurements", json=MEASUREMENT | change)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_an_unknown_measurement_is_404(client: TestClient) -> None:
    for measurement_id in ("0", "01a20532-0877-7076-88e9-ddadfcb721fc"):
        assert client.get(f"/v1/measurements/{measurement_id}").status_code == 404


def test_a_new_export_requires_the_scope_search(backend: Backend) -> None:
    """A GET that queues work needs more than the scope read, and pages of other origins cannot send it."""
    with backend.database.write() as session:
        (_, full), (_, reader) = (keys.create(session, "ann", scopes) for scopes in (set(Scope), {Scope.READ}))
    app = create_app(backend.settings)
    with client_of(app, key=full) as client, closing(client_of(app, key=reader)) as reading:
        arch_id = client.post("/v1/architectures", json=CNN).json()["arch_id"]
        for path in (f"/v1/architectures/{arch_id}/export?format=onnx", f"/architectures/{arch_id}/export/onnx"):
            assert reading.get(path.replace("onnx", "pytorch")).is_success
            assert reading.get(path).status_code == 403
            foreign = client.get(path, headers={"Sec-Fetch-Site": "cross-site"})
            assert foreign.status_code == 403
        with backend.database.read() as session:
            assert session.scalars(select(Export.id)).all() == []
        assert client.get(path).is_success
        assert reading.get(path).is_success, "it is being made: that may be read"
        with backend.database.read() as session:
            assert len(session.scalars(select(Export.id)).all()) == 1


def test_a_large_file_is_sent_in_chunks(
    client: TestClient, worker: Context, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(256)) * 40 + b"end"
    monkeypatch.setattr(file_responses, "PART_BYTES", 1000)
    export(client, "onnx")
    finish(backend, content)
    parts, read = list[bytes](), file_responses._read

    def noted(*args: Any) -> bytes:
        parts.append(read(*args))
        return parts[-1]

    monkeypatch.setattr(file_responses, "_read", noted)
    answer = export(client, "onnx")
    assert answer.content == content
    assert answer.headers["Content-Length"] == str(len(content))
    whole = backend.settings.embedded  # SQLite reads all for any part
    assert [len(part) for part in parts] == ([len(content)] if whole else [1000] * 10 + [243])
