"""The other objectives through the API: least cost, compression, Pareto fronts."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from worker import search_tasks
from worker.process import Context


def run(client: TestClient, worker: Context, body: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    answer = client.post("/v1/searches", json={"space": "densenet-tiny"} | body)
    assert answer.status_code == 202, answer.text
    assert search_tasks.run_next(worker)
    url = answer.headers["Location"]
    items = client.get(f"{url}/architectures", params={"limit": 100}).json()["items"]
    search: dict[str, Any] = client.get(url).json()
    assert search["status"] == "succeeded", search["error"]
    return search, items


def test_minimizing_params_respects_the_least_nn_mass(client: TestClient, worker: Context) -> None:
    search, items = run(client, worker, {"objective": {"minimize": "params", "min_nn_mass": 100}, "top_k": 5})
    result = search["result"]
    assert (result["optimal"], result["upper_bound"], result["count"]) == (True, None, 5)
    assert result["objective_value"] == result["bound"] == items[0]["params"]
    assert all(item["nn_mass"] >= 100 for item in items)
    assert [item["params"] for item in items] == sorted(item["params"] for item in items)


def test_compress_accepts_a_definition_or_an_id(client: TestClient, worker: Context) -> None:
    _, items = run(client, worker, {"budget": {"max_params": 100_000}, "top_k": 40})
    reference = items[-1]
    body = {"budget": {"max_macs": 200_000_000}, "top_k": 1}
    by_id, found = run(client, worker, body | {"objective": _compress({"arch_id": reference["arch_id"]})})
    same = client.post(
        "/v1/searches", json={"space": "densenet-tiny"} | body | {"objective": _compress(reference["architecture"])}
    ).json()
    assert (same["id"], same["reused"]) == (by_id["id"], True)
    result = by_id["result"]
    assert result["reference"] == {key: reference[key] for key in ("arch_id", "nn_mass", "params", "macs")}
    assert result["savings"]["params"] == reference["params"] / found[0]["params"] >= 1
    assert found[0]["nn_mass"] >= reference["nn_mass"]


def _compress(reference: dict[str, Any]) -> dict[str, Any]:
    return {"minimize": "params", "reference": reference}


def test_a_front_ascends_in_cost_and_in_nn_mass(client: TestClient, worker: Context) -> None:
    search, items = run(client, worker, {"objective": {"pareto": ["nn_mass", "peak_activation_bytes"]}})
    assert (search["result"]["optimal"], search["result"]["resolution"]) == (True, None)
    assert search["result"]["count"] == len(items) > 10
    for figure in ("peak_activation_bytes", "nn_mass"):
        values = [item[figure] for item in items]
        assert values == sorted(set(values))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"objective": {"pareto": ["nn_mass", "macs"]}, "top_k": 5}, "top_k"),
        ({"objective": {"pareto": ["nn_mass", "macs"]}, "diversity": "shape"}, "diversity"),
        ({"objective": {"minimize": "latency_ms", "min_nn_mass": 1}}, "objective.minimize"),
        ({"objective": {"minimize": "params"}}, "objective.min_nn_mass"),
        ({"objective": {"minimize": "params", "reference": {"arch_id": "arch_0"}}}, "objective.reference.arch_id"),
        ({"objective": {"minimize": "params", "reference": {"arch_id": 5}}}, "objective.reference.arch_id"),
        ({"objective": 5}, "objective"),
    ],
)
def test_an_invalid_objective_names_its_field(client: TestClient, body: dict[str, Any], field: str) -> None:
    for route in ("/v1/searches", "/v1/searches/preview"):
        answer = client.post(route, json={"space": "densenet-tiny"} | body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
