"""The devices that the API lists, and a search for one."""

from __future__ import annotations

from fastapi.testclient import TestClient

from nnmass_core.devices import devices
from tests.core.test_devices import SMALL_GREY
from worker import search_tasks
from worker.lifecycle import Context


def test_devices_are_listed_and_named_in_budgets(client: TestClient, worker: Context) -> None:
    items = client.get("/v1/devices").json()["items"]
    assert [item["name"] for item in items] == list(devices())
    assert client.get("/v1/devices/stm32f746").json() == devices()["stm32f746"].to_json()
    assert client.get("/v1/devices/toaster").status_code == 404
    budget = {"device": "stm32f746", "precision": "int8"}
    made = client.post("/v1/searches", json={"space": SMALL_GREY, "budget": budget, "top_k": 1}).json()
    assert made["request"]["budget"] == budget
    assert search_tasks.run_next(worker)
    (best,) = client.get(f"/v1/searches/{made['id']}/architectures").json()["items"]
    assert best["weight_bytes"] + best["slack"]["max_weight_bytes"] == devices()["stm32f746"].flash_bytes
    refused = client.post("/v1/searches", json={"space": SMALL_GREY, "budget": {"device": "toaster"}})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "budget.device"
