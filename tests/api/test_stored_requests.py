"""Requests and data sets in answers: the document describes them, and they are answered as they were stored."""

from __future__ import annotations

from functools import cache
from typing import Any
from uuid import UUID

import jsonschema
import pytest
from fastapi.testclient import TestClient

from app.storage.models import Measurement, Search, Verification
from tests.api.everything import described
from tests.conftest import Backend
from tests.core.latencies import profile
from tests.networks import MLP

SPACE = {
    "family": "densenet_mlp",
    "in_features": 64,
    "num_classes": 10,
    "width": 8,
    "depth": {"min": 4, "max": 8},
    "skip_channels": [0, 4],
    "activation": "relu",
}
SEARCHES: list[dict[str, Any]] = [
    {"space": "densenet-tiny-free"},
    {"objective": {"minimize": "params", "min_nn_mass": 10}, "budget": {"max_macs": 10**6, "precision": "int8"}},
    {"objective": {"minimize": "macs", "reference": MLP}, "budget": {"device": "stm32f746"}, "diversity": "shape"},
    {"objective": {"pareto": ["nn_mass", "params"]}, "budget": {"device": profile(), "max_latency_ms": 5}},
    {"objective": {"pareto": ["nn_mass", "macs", "params"]}, "time_limit_seconds": 5},
    {"budget": {"within": "mlperf-tiny-resnet8", "ratio": {"macs": 0.5}}, "top_k": 1},
]
MEASUREMENTS: list[dict[str, Any]] = [
    {"kind": "ldi", "architecture": MLP, "dataset": "digits", "samples": 2},
    {"kind": "peak", "architecture": MLP, "seeds": [1]},
]
DATASETS: list[Any] = [
    "digits",
    {"name": "fake", "seed": 3},
    {"name": "imagefolder", "path": "set", "background": "black", "broken_files": "skip", "bit_depth": 16},
]


@cache
def components() -> dict[str, Any]:
    found: dict[str, Any] = described()["components"]
    return found


def check(answer: dict[str, Any], component: str, field: str) -> None:
    """Check that a field of an answer has the described type, which names all that is in it."""
    schema = components()["schemas"][component]["properties"][field]
    named = components()["schemas"][schema["$ref"].rpartition("/")[2]]
    assert set(answer[field]) <= set(named["properties"])
    jsonschema.Draft202012Validator({**schema, "components": components()}).validate(answer[field])


def post(client: TestClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code in {200, 202}, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("body", SEARCHES)
def test_the_request_of_a_search_is_as_described(client: TestClient, body: dict[str, Any]) -> None:
    made = post(client, "/v1/searches", {"space": SPACE} | body)
    check(made, "SearchAnswer", "request")
    budget = components()["schemas"]["SearchBudget"]["properties"]
    assert set(made["request"]["budget"]) <= set(budget)


def test_the_request_of_a_preview_is_as_described(client: TestClient) -> None:
    question = {"space": SPACE, "budget": {"max_params": 2500}, "top_k": 1}
    check(post(client, "/v1/searches/preview", question), "PreviewAnswer", "request")


@pytest.mark.parametrize("body", MEASUREMENTS)
def test_the_request_of_a_measurement_is_as_described(client: TestClient, body: dict[str, Any]) -> None:
    check(post(client, "/v1/measurements", body), "MeasurementAnswer", "request")


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_dataset_of_a_training_is_as_described(client: TestClient, dataset: Any) -> None:
    body = {"architecture": MLP, "dataset": dataset, "recipe": "mlp-paper"}
    made = post(client, "/v1/verifications", body)
    check(made, "VerificationAnswer", "dataset")
    about = client.get(f"/v1/architectures/{made['arch_id']}").json()
    check(about["verifications"][0], "TrainedIn", "dataset")


def test_rows_of_other_releases_are_answered_word_for_word(client: TestClient, backend: Backend) -> None:
    """One field is missing in each, another is unknown, and numbers stay as they were written."""
    asked = post(client, "/v1/searches", {"space": SPACE, "name": "old"})
    measured = post(client, "/v1/measurements", MEASUREMENTS[1])
    trained = post(client, "/v1/verifications", {"architecture": MLP, "dataset": "digits", "recipe": "mlp-paper"})
    request = {name: value for name, value in asked["request"].items() if name != "time_limit_seconds"}
    request["budget"] = {"precision": "fp64", "max_pixels": 7.0}
    measurement = {"architecture": {"family": "of a package"}, "patience": 3}
    dataset = {"name": "digits", "shards": [1, 2]}
    with backend.database.write() as session:
        session.get_one(Search, UUID(asked["id"])).request = request
        session.get_one(Measurement, UUID(measured["id"])).request = measurement
        session.get_one(Verification, UUID(trained["id"])).dataset = dataset
    listed = client.get("/v1/searches").json()["items"]
    assert [item["request"] for item in listed] == [request]
    assert client.get(f"/v1/searches/{asked['id']}").json()["request"] == request
    changed = client.patch(f"/v1/searches/{asked['id']}", json={"note": "x"}).json()
    assert list(changed["request"]) == list(request)
    assert changed["request"] == request
    assert client.get(f"/v1/measurements/{measured['id']}").json()["request"] == measurement
    assert client.get(f"/v1/verifications/{trained['id']}").json()["dataset"] == dataset
    assert client.get("/v1/verifications").json()["items"][0]["dataset"] == dataset
    about = client.get(f"/v1/architectures/{trained['arch_id']}").json()
    assert about["verifications"][0]["dataset"] == dataset
