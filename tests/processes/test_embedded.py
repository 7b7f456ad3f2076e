"""Embedded mode as a user has it: the real processes on SQLite, killed, stopped and restarted."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx2
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.processes.service import SHORT_LEASES, Json, Service, environment, gone, kill, serve_command, wait_for

pytestmark = pytest.mark.processes

QUICK: Json = {  # the README's example
    "space": {
        "family": "densenet_cnn",
        "input": {"channels": 3, "height": 32, "width": 32},
        "num_classes": 10,
        "cells": 3,
        "width": {"min": 16, "max": 256, "step": 16},
        "depth": {"min": 4, "max": 32},
        "skip_channels": {"min": 0, "max": 512, "step": 4},
    },
    "budget": {"max_params": 1_000_000, "max_macs": 150_000_000},
    "objective": {"maximize": "nn_mass"},
    "top_k": 10,
    "diversity": "none",
    "time_limit_seconds": 60,
    "name": "camera v2",
    "tags": ["edge"],
    "note": "",
    "fresh": True,
}
SLOW: Json = {  # some seconds
    "space": "densenet-cifar-free",
    "budget": {"max_params": 5_000_000, "max_macs": 3_000_000_000},
    "top_k": 300,
    "diversity": "shape",
    "time_limit_seconds": 600,
    "fresh": True,
}
ENDLESS: Json = SLOW | {  # minutes
    "budget": {"max_params": 5_000_000, "max_macs": 1_000_000_000},
    "top_k": 1000,
}
MEASUREMENT: Json = {  # some seconds
    "kind": "ldi",
    "architecture": {
        "family": "densenet_mlp",
        "in_features": 784,
        "num_classes": 10,
        "width": 32,
        "depth": 40,
        "skip_channels": 60,
        "activation": "relu",
    },
    "dataset": "fake",
    "samples": 16,
    "seeds": list(range(8)),
}
DATABASE = {"NNMASS_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"}
BROKER = {"NNMASS_BROKER_URL": "redis://127.0.0.1:9/0"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for the tests that leave it in good order."""
    with Service(tmp_path_factory.mktemp("shared"), SHORT_LEASES) as service:
        yield service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service of the test's own."""
    with Service(tmp_path / "data", SHORT_LEASES) as service:
        yield service


# The main job


def test_a_search_is_followed_until_it_has_a_ranking(shared: Service) -> None:
    search_id = shared.submit(QUICK)
    found = shared.ends(search_id)
    assert found["status"] == "succeeded"
    assert found["result"]["optimal"] is True
    assert found["result"]["space_size"] == "170252539265024"
    items = shared.ranking(search_id)
    assert [item["rank"] for item in items] == list(range(1, 11))
    assert items[0]["nn_mass"] == pytest.approx(784.1333333333333, abs=1e-9)


def test_a_request_with_prefer_wait_returns_the_finished_search(shared: Service) -> None:
    answer = shared.post(QUICK, wait_seconds=20)
    assert answer.status_code == 200
    assert answer.json()["status"] == "succeeded"


def test_metrics_of_the_service_count_the_work_of_its_worker(shared: Service) -> None:
    before = _sample(shared, "nnmass_jobs", kind="search", state="succeeded")
    solved = _sample(shared, "nnmass_search_solver_seconds_count")
    shared.ends(shared.submit(QUICK))
    wait_for(lambda: _sample(shared, "nnmass_search_solver_seconds_count") == solved + 1, "its end is counted")
    wait_for(lambda: _sample(shared, "nnmass_jobs", kind="search", state="succeeded") == before + 1, "it is counted")
    wait_for(lambda: _sample(shared, "nnmass_workers", queue="search"), "its worker is seen alive")
    assert set(shared.get("/readyz")["queues"]) == {"search", "train", "files", "maintenance"}


def _sample(service: Service, name: str, **labels: str) -> float:
    text = httpx2.get(f"{service.address}/metrics", timeout=30, trust_env=False, verify=False).raise_for_status().text
    found = [s for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]
    return sum(sample.value for sample in found if labels.items() <= sample.labels.items())


# Workers that die


def test_a_search_succeeds_after_its_worker_was_killed(shared: Service) -> None:
    search_id = shared.submit(SLOW)
    shared.runs(search_id)
    worker = shared.child("search")
    kill([worker, *worker.children(recursive=True)])
    found = shared.ends(search_id)
    assert (found["status"], found["attempts"]) == ("succeeded", 2)
    assert_one_ranking(shared, found)
    calm = shared.ends(shared.submit(SLOW))
    assert (calm["status"], calm["attempts"]) == ("succeeded", 1)
    assert calm["result_digest"] == found["result_digest"]


def assert_one_ranking(service: Service, search: Json) -> None:
    ranks = [item["rank"] for item in service.ranking(search["id"])]
    assert ranks == list(range(1, search["result"]["count"] + 1))


def test_a_search_that_kills_its_worker_fails_after_three_attempts(shared: Service) -> None:
    search_id = shared.submit(ENDLESS)
    for attempt in (1, 2, 3):
        shared.runs(search_id, attempt)
        worker = shared.child("search")
        kill([worker, *worker.children(recursive=True)])
    found = shared.ends(search_id)
    assert (found["status"], found["attempts"]) == ("failed", 3)
    assert found["error"]["code"] == "worker_lost"
    assert shared.post(QUICK, wait_seconds=30).json()["status"] == "succeeded"


def test_cancelling_frees_the_worker(shared: Service) -> None:
    search_id = shared.submit(ENDLESS)
    shared.runs(search_id)
    assert shared.cancel(search_id)["status"] == "cancelled"
    assert shared.post(QUICK, wait_seconds=30).json()["status"] == "succeeded"
    found = shared.search(search_id)
    assert (found["status"], found["result"]) == ("cancelled", None)
    assert shared.ranking(search_id) == []


def test_a_killed_child_process_is_restarted(shared: Service) -> None:
    for role in ("api", "maintenance", "train", "files"):
        dead = shared.child(role)
        kill([dead])
        wait_for(partial(successor, shared, role, dead), f"{role} was started again")
    wait_for(shared.answers, "the service answers again at the same address")
    for queue in ("maintenance", "train", "files"):
        wait_for(partial(shows_life, shared, queue), f"the new {queue} worker works")
    assert shared.post(QUICK, wait_seconds=30).json()["status"] == "succeeded"


def test_a_worker_that_is_asked_to_end_is_restarted_and_the_others_work_on(shared: Service) -> None:
    search, files = shared.child("search"), shared.child("files")
    files.send_signal(signal.SIGTERM)
    wait_for(partial(successor, shared, "files", files), "the files worker was started again")
    wait_for(partial(shows_life, shared, "files"), "the new files worker works")
    assert shared.post(QUICK, wait_seconds=30).json()["status"] == "succeeded"
    assert shared.child("search") == search


@pytest.mark.parametrize("attempt", range(2))
def test_an_idle_worker_recovers_after_any_of_its_processes_is_killed(shared: Service, attempt: int) -> None:
    worker = shared.child("search")
    for victim in [*worker.children(recursive=True), worker]:
        kill([victim])
        assert shared.ends(shared.submit(QUICK | {"fresh": True}), 30)["status"] == "succeeded"


def test_a_measurement_succeeds_after_its_worker_was_killed(shared: Service) -> None:
    """The process that has torch ends with its worker; another worker claims the job and runs it."""
    pytest.importorskip("torch", reason="torch comes with the extra `train`")
    path = shared.measure(MEASUREMENT)
    wait_for(lambda: 0.02 < shared.get(path)["progress"]["fraction"] < 0.9, "it is being measured", 60)
    (trainer,) = (p for p in shared.descendants() if "worker.trainer" in p.cmdline())
    kill([p for p in shared.child("files").children() if p != trainer] + [shared.child("files")])
    wait_for(lambda: gone(trainer), "the process that has torch has ended too")
    done = wait_for(lambda: ended(shared, path), "the measurement has ended", 120)
    assert (done["status"], len(done["result"]["by_seed"])) == ("succeeded", len(MEASUREMENT["seeds"]))
    assert shared.rows("select attempt from jobs where id = ?", done["id"].replace("-", "")) == [(2,)]


def test_a_cancelled_measurement_ends_its_process(shared: Service) -> None:
    pytest.importorskip("torch", reason="torch comes with the extra `train`")
    path = shared.measure(MEASUREMENT)
    wait_for(lambda: shared.get(path)["progress"]["fraction"] > 0.02, "it is being measured", 60)
    (trainer,) = (p for p in shared.descendants() if "worker.trainer" in p.cmdline())
    assert shared.cancel(path)["status"] == "cancelled"
    wait_for(lambda: gone(trainer), "the process that has torch has ended")


def ended(service: Service, path: str) -> Json | None:
    found = service.get(path)
    return found if found["status"] in ("succeeded", "failed", "cancelled") else None


def successor(service: Service, role: str, dead: psutil.Process) -> psutil.Process | None:
    child = service.child(role)
    return child if child != dead else None


def shows_life(service: Service, queue: str) -> bool:
    """Return whether the queue's current worker has sent a heartbeat."""
    signs = service.rows("select worker from worker_beats where queue = ?", queue)
    return any(worker.endswith(f"/{service.child(queue).pid}") for (worker,) in signs)


# All processes


def test_no_acknowledged_search_is_lost_when_all_processes_are_killed(service: Service) -> None:
    acknowledged = [service.submit(request) for request in (SLOW, *[QUICK] * 5)]
    service.runs(acknowledged[0])
    service.kill_everything()
    service.start(service.port)
    assert service.history() == acknowledged[::-1]
    found = [service.ends(search_id) for search_id in acknowledged]
    assert {search["status"] for search in found} == {"succeeded"}
    assert [search["attempts"] for search in found] == [2, 1, 1, 1, 1, 1]
    for search in found:
        assert_one_ranking(service, search)
    assert service.rows("pragma integrity_check") == [("ok",)]


def test_child_processes_end_after_their_parent_was_killed(service: Service) -> None:
    service.runs(service.submit(ENDLESS))
    wait_for(lambda: len(service.descendants()) == 5, "five children run")
    service.kill_parent()
    wait_for(lambda: not service.left(), "every child has ended", 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_shuts_down_all_processes(service: Service, number: signal.Signals) -> None:
    assert service.post(QUICK, wait_seconds=20).status_code == 200
    assert service.stop(number) == 0
    assert service.left() == []
    assert service.printed().endswith("nnmass: stopped\n")
    assert service.alarms() == []
    assert service.rows("select state from jobs") == [("succeeded",)]


def test_a_graceful_stop_requeues_running_jobs(service: Service) -> None:
    acknowledged = [service.submit(request) for request in (SLOW, *[QUICK] * 5)]
    service.runs(acknowledged[0])
    assert service.stop(signal.SIGTERM) == 0
    assert service.left() == []
    assert service.rows("select state, attempt from jobs") == [("queued", 0)] * 6
    service.start()
    assert service.history() == acknowledged[::-1]
    found = [service.ends(search_id) for search_id in acknowledged]
    assert {(search["status"], search["attempts"]) for search in found} == {("succeeded", 1)}
    assert service.alarms() == []


def test_a_waiting_client_is_answered_when_the_service_shuts_down(service: Service) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(service.post, ENDLESS, wait_seconds=30)
        wait_for(service.history, "the search is acknowledged")
        service.runs(service.history()[0])
        assert service.stop(signal.SIGTERM) == 0
        answer = waiting.result(timeout=60)
    assert answer.status_code == 202
    assert service.rows("select state from jobs") == [("queued",)]
    assert service.alarms() == []


def test_the_service_shuts_down_after_its_terminal_was_closed(tmp_path: Path) -> None:
    command = serve_command(tmp_path, "--port", "0")
    with subprocess.Popen(command, env=environment({}), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("nnmass: ready" in line for line in process.stderr)
        process.stderr.close()
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert children
    assert all(gone(child) for child in children)


# What the parent imports for its children

FORKABLE = """
import sys, threading
from app.processes.children import import_for_children
import_for_children()
assert threading.active_count() == 1, threading.enumerate()
assert "worker.celery_app" not in sys.modules
imported = set(sys.modules)
import worker.celery_app
from app.main import create_app
create_app()
print(*sorted(set(sys.modules) - imported))
"""


def test_children_import_nothing_that_the_parent_has_not_imported_and_the_parent_has_no_thread(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKABLE]
    own = environment({"NNMASS_DATA_DIR": str(tmp_path)})
    done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split(), done.stderr, done.returncode) == (["worker.celery_app"], "", 0)


def test_the_children_keep_no_lock_on_the_data_folder(service: Service) -> None:
    """Else a second parent could not start while a child of a killed parent still ends."""
    lock = str(service.folder / "lock")
    for child in service.descendants():
        assert lock not in [file.path for file in child.open_files()]


# Starts that are refused


def refusal(folder: Path, *options: str, settings: dict[str, str] | None = None) -> str:
    """Return the one line with which a start is refused."""
    done = subprocess.run(
        serve_command(folder, *options),
        env=environment(settings or {}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refusal(tmp_path, "--port", port)
    assert line == f"nnmass: cannot listen on 127.0.0.1 port {port}: Address already in use"


def test_a_data_folder_that_is_not_writable_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "data"
    assert refusal(folder, "--port", "0") == f"nnmass: cannot write to the data folder {folder}: Not a directory"


def test_a_second_instance_on_the_same_folder_is_refused(shared: Service) -> None:
    line = refusal(shared.folder, "--port", "0")
    assert line == f"nnmass: another nnmass process already uses the data folder {shared.folder}"


def test_listening_on_all_addresses_without_keys_is_refused(tmp_path: Path) -> None:
    line = refusal(tmp_path, "--port", "0", "--host", "0.0.0.0")
    assert line.startswith("nnmass: refusing to listen on 0.0.0.0 ")
    assert "nnmass keys create" in line
    assert "NNMASS_ALLOW_PUBLIC" in line
    assert not (tmp_path / "nnmass.db").exists()


@pytest.mark.parametrize("settings", [DATABASE, BROKER])
def test_a_database_url_or_broker_url_without_the_other_is_refused(tmp_path: Path, settings: dict[str, str]) -> None:
    line = refusal(tmp_path, "--port", "0", settings=settings)
    assert line.startswith("nnmass: ")
    assert "set both NNMASS_DATABASE_URL and NNMASS_BROKER_URL" in line
