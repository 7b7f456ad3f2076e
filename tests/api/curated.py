"""Searches that tests of their curation make, change and read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from app.jobs import lifecycle
from app.jobs.lifecycle import Claim
from app.searches import service
from app.searches.schemas import SearchBody
from tests.conftest import Backend
from worker import search_tasks
from worker.process import Context

SMALL: dict[str, Any] = {"space": "densenet-tiny-free", "budget": {"max_params": 100_000}, "top_k": 3}
MLP: dict[str, Any] = {
    "family": "densenet_mlp",
    "in_features": 64,
    "num_classes": 10,
    "width": 8,
    "depth": {"min": 4, "max": 8},
    "skip_channels": {"min": 0, "max": 8},
    "activation": "relu",
}
TRAINING: dict[str, Any] = {"dataset": "digits", "recipe": "mlp-paper", "seeds": [0]}
UNKNOWN = "00000000-0000-7000-8000-000000000000"
TEXTS = {"name": "first", "tags": ["a", "b", "c"], "note": "why"}


def post(client: TestClient, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/searches", json=SMALL | changes)
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


def finished(client: TestClient, worker: Context, **changes: Any) -> dict[str, Any]:
    return run(client, worker, post(client, **changes))


def run(client: TestClient, worker: Context, search: dict[str, Any]) -> dict[str, Any]:
    """Run the oldest queued search, which must be this one."""
    assert search_tasks.run_next(worker)
    found: dict[str, Any] = get(client, f"/v1/searches/{search['id']}")
    assert found["status"] == "succeeded"
    return found


def get(client: TestClient, path: str, **query: Any) -> Any:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def problems(answer: Any, status: int = 422) -> list[tuple[str, str]]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    return [(item["field"], item["code"]) for item in answer.json()["errors"]]


def claimed(worker: Context) -> Claim:
    with worker.database.write() as session:
        held = lifecycle.claim(session, "search", "test/1", 60.0)
    assert held is not None
    return held


def written(backend: Backend, act: Callable[..., Any], *args: Any) -> Any:
    with backend.database.write() as session:
        return act(session, *args)


def search_of_another_owner(backend: Backend, **changes: Any) -> str:
    """Return the id of another owner's search."""
    body = SearchBody.model_validate(SMALL | changes)
    return str(written(backend, service.submit, "stranger", body, None).body["id"])
