"""Devices that the API lists and stores, and searches for a device."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from app.devices import service
from app.storage.models import Search
from nnmass_core.families import decode_architecture as read_architecture
from nnmass_core.hardware.devices import devices, read_device
from nnmass_core.request import SearchRequest
from tests.conftest import Backend
from tests.core.latencies import profile
from tests.core.test_devices import SMALL_GREY
from worker import search_tasks
from worker.process import Context

PATH = "/v1/devices"


def test_devices_are_listed_and_named_in_budgets(client: TestClient, worker: Context) -> None:
    items = client.get(PATH).json()["items"]
    assert [item["name"] for item in items] == list(devices())
    assert client.get(f"{PATH}/stm32f746").json() == {**devices()["stm32f746"].to_json(), "own": False}
    assert client.get(f"{PATH}/toaster").status_code == 404
    budget = {"device": "stm32f746", "precision": "int8"}
    made = client.post("/v1/searches", json={"space": SMALL_GREY, "budget": budget, "top_k": 1}).json()
    assert made["request"]["budget"] == budget
    assert search_tasks.run_next(worker)
    (best,) = client.get(f"/v1/searches/{made['id']}/architectures").json()["items"]
    assert best["weight_bytes"] + best["slack"]["max_weight_bytes"] == devices()["stm32f746"].flash_bytes
    assert best["latency_ms"] is None
    assert (made["request"]["budget"], made["reused"]) == (budget, False)
    shorter = client.post("/v1/searches", json={"space": SMALL_GREY, "budget": {"device": "stm32f746"}, "top_k": 1})
    assert (shorter.status_code, shorter.json()["id"], shorter.json()["request"]) == (200, made["id"], made["request"])
    refused = client.post("/v1/searches", json={"space": SMALL_GREY, "budget": {"device": "toaster"}})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "budget.device"


def test_a_microcontroller_counts_one_byte_unless_the_request_names_a_precision(client: TestClient) -> None:
    for named, effective in (({}, "int8"), ({"precision": None}, "int8"), ({"precision": "fp32"}, "fp32")):
        question = {"space": SMALL_GREY, "budget": {"device": "rp2040", **named}, "top_k": 1}
        stored = client.post("/v1/searches", json=question).json()
        assert stored["request"]["budget"] == {"device": "rp2040", "precision": effective}
        preview = client.post("/v1/searches/preview", json=question).json()
        assert preview["request"] == stored["request"]
    assert client.get(f"{PATH}/rp2040").json()["default_precision"] == "int8"
    assert client.get(f"{PATH}/rtx-4090").json()["default_precision"] == "fp32"


def test_a_search_that_an_earlier_release_stored_keeps_its_precision(
    client: TestClient, worker: Context, backend: Backend
) -> None:
    """Every release has stored the precision that a request had, so a later default does not change it."""
    budget = {"device": "rp2040", "precision": "fp32"}
    made = client.post("/v1/searches", json={"space": SMALL_GREY, "budget": budget, "top_k": 1}).json()
    assert search_tasks.run_next(worker)
    (best,) = client.get(f"/v1/searches/{made['id']}/architectures").json()["items"]
    found = read_architecture(best["architecture"]).evaluation
    assert best["weight_bytes"] == found.report("fp32")["weight_bytes"]
    with backend.database.read() as session:
        stored = session.get_one(Search, UUID(made["id"]))
        assert stored.request["budget"] == budget
        assert SearchRequest.from_json(stored.request, version=stored.request_version).to_json() == stored.request


def test_a_profile_is_stored_listed_replaced_and_deleted(client: TestClient) -> None:
    posted = profile(ram_bytes=300_000)
    made = client.post(PATH, json=posted)
    assert (made.status_code, made.headers["Location"]) == (201, f"{PATH}/my-board")
    assert made.json() == {**read_device(posted).to_json(), "own": True}
    assert made.json()["limits"] == {"max_peak_activation_bytes": 300_000}
    assert client.get(f"{PATH}/my-board").json() == client.get(PATH).json()["items"][0] == made.json()
    again = client.post(PATH, json=profile(title="Measured again"))
    assert (again.status_code, again.json()["title"]) == (200, "Measured again")
    assert len(client.get(PATH).json()["items"]) == 1 + len(devices())
    assert client.delete(f"{PATH}/my-board").status_code == 204
    assert client.delete(f"{PATH}/my-board").status_code == 404
    assert client.get(f"{PATH}/my-board").status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (profile("stm32f746"), "name"),
        (profile("No Name"), "name"),
        (profile(flash_bytes="much"), "flash_bytes"),
        (profile(latency={"threads": 0}), "latency.runtime"),
        ([], ""),
        ({}, "name"),
    ],
)
def test_an_invalid_profile_names_its_field(client: TestClient, body: Any, field: str) -> None:
    refused = client.post(PATH, json=body)
    assert refused.status_code == 422
    assert field in [problem["field"] for problem in refused.json()["errors"]]
    assert len(client.get(PATH).json()["items"]) == len(devices())


def test_a_profile_fitted_to_networks_is_one_for_their_family(client: TestClient, worker: Context) -> None:
    own = devices()["vck190"].definition() | {"name": "my-board"}
    assert client.post(PATH, json=own).status_code == 201
    budget = {"device": "my-board", "max_latency_ms": 5}
    refused = client.post("/v1/searches", json={"space": SMALL_GREY, "budget": budget})
    assert refused.status_code == 422
    assert [(one["field"], one["code"]) for one in refused.json()["errors"]] == [("budget.device", "unknown_family")]
    made = client.post("/v1/searches", json={"space": "mobilenet-v2-tiny-free", "budget": budget, "top_k": 1}).json()
    assert search_tasks.run_next(worker)
    (best,) = client.get(f"/v1/searches/{made['id']}/architectures").json()["items"]
    assert (best["latency"]["measure"], best["latency"]["batch"]) == ("latency", 6)
    assert "input.height" in best["latency"]["outside"]
    assert "latency_outside_range" in best["caveats"]


def test_an_owner_cannot_exceed_the_limit_of_profiles(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_PROFILES", 2)
    assert [client.post(PATH, json={"name": name}).status_code for name in ("a", "b", "c", "b")] == [201, 201, 409, 200]


def test_concurrent_posts_do_not_exceed_the_limit_of_profiles(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_PROFILES", 3)
    with ThreadPoolExecutor(10) as threads:
        given = [*threads.map(lambda n: client.post(PATH, json={"name": f"d{n}"}).status_code, range(10))]
    assert sorted(given) == [201] * 3 + [409] * 7


def test_concurrent_replacements_and_deletions_of_a_profile_do_not_fail(client: TestClient) -> None:
    client.post(PATH, json={"name": "one"})
    acts = [lambda: client.post(PATH, json={"name": "one"}), lambda: client.delete(f"{PATH}/one")] * 30
    with ThreadPoolExecutor(8) as threads:
        given = {answer.status_code for answer in threads.map(lambda act: act(), acts)}
    assert given <= {200, 201, 204, 404}


def test_a_search_respects_a_limit_on_latency(client: TestClient, worker: Context) -> None:
    """A request with the device's name and one with its whole profile are equal: the second reuses the first search."""
    client.post(PATH, json=profile())
    free = client.post("/v1/searches/preview", json={"space": SMALL_GREY, "budget": {"device": "my-board"}}).json()
    bound = free["items"][0]["latency_ms"] / 3
    wanted = {"space": SMALL_GREY, "budget": {"device": "my-board", "max_latency_ms": bound}, "top_k": 2}
    made = client.post("/v1/searches", json=wanted).json()
    assert made["request"]["budget"]["device"] == read_device(profile()).definition()
    assert search_tasks.run_next(worker)
    found = client.get(f"/v1/searches/{made['id']}").json()
    assert (found["result"]["optimal"], found["result"]["binding"]) == (True, ["max_latency_ms"])
    best = client.get(f"/v1/searches/{made['id']}/architectures").json()["items"][0]
    assert best["latency_ms"] + best["slack"]["max_latency_ms"] == pytest.approx(bound)
    assert best["slack"]["max_latency_ms"] >= 0
    assert best["latency"] == {
        "kind": "estimated",
        "device": "my-board",
        "low_ms": pytest.approx(0.8 * best["latency_ms"]),
        "high_ms": pytest.approx(1.25 * best["latency_ms"]),
        "median_error": 0.1,
        "measure": "latency",
        "batch": 1,
        "outside": [],
    }
    inline = {**wanted, "budget": {"device": profile(), "max_latency_ms": bound}}
    same = client.post("/v1/searches", json=inline)
    assert (same.status_code, same.json()["reused"], same.json()["id"]) == (200, True, made["id"])
    assert "my-board" in client.get(f"/searches/{made['id']}").text
    assert "estimated latency" in client.get(f"/searches/{made['id']}").text


def test_a_search_with_a_profile_that_changed_is_not_reused(client: TestClient, worker: Context) -> None:
    wanted = {"space": SMALL_GREY, "budget": {"device": "my-board", "max_latency_ms": 5}, "top_k": 1}
    client.post(PATH, json=profile())
    first = client.post("/v1/searches", json=wanted).json()
    slower = profile()
    slower["latency"]["operators"] = [one | {"call": one["call"] * 2} for one in slower["latency"]["operators"]]
    client.post(PATH, json=slower)
    second = client.post("/v1/searches", json=wanted).json()
    assert second["request_digest"] != first["request_digest"]
    client.delete(f"{PATH}/my-board")
    assert search_tasks.run_next(worker)
    assert search_tasks.run_next(worker)
    answers = [client.get(f"/v1/searches/{one['id']}").json() for one in (first, second)]
    assert [one["status"] for one in answers] == ["succeeded", "succeeded"]
    assert answers[0]["result"]["best_nn_mass"] >= answers[1]["result"]["best_nn_mass"]


@pytest.mark.parametrize(
    ("budget", "field"),
    [
        ({"max_latency_ms": 5}, "budget.max_latency_ms"),
        ({"max_latency_ms": 0, "device": "stm32f746"}, "budget.max_latency_ms"),
        ({"max_latency_ms": 5, "device": "rp2040"}, "budget.max_latency_ms"),
        ({"max_latency_ms": 5, "device": profile(), "precision": "int8"}, "budget.precision"),
        ({"device": {"name": "x", "color": 1}}, "budget.device.color"),
        ({"device": 7}, "budget.device"),
    ],
)
def test_an_invalid_limit_on_latency_names_its_field(client: TestClient, budget: dict[str, Any], field: str) -> None:
    refused = client.post("/v1/searches", json={"space": SMALL_GREY, "budget": budget})
    assert refused.status_code == 422
    assert [problem["field"] for problem in refused.json()["errors"]] == [field]
