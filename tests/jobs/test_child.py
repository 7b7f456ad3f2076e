"""The child process of a worker, started or forked: its answers, its failures, and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from nnmass.torch_process.forks import ForkServer
from tests.processes.service import gone, wait_for
from worker import child
from worker.child import run_child
from worker.heartbeat import Heartbeat, Lost
from worker.job_runner import Died, Failed

MODULE = "tests.jobs.scripted_child"


@dataclass
class Listener:
    """Takes progress as a heartbeat does, and requests a stop once the test sets it."""

    stop: threading.Event = field(default_factory=threading.Event)
    silence_seconds: float = 60.0
    heard: list[tuple[float, str]] = field(default_factory=list)

    def report(self, fraction: float, message: str) -> None:
        self.heard.append((fraction, message))
        if self.stop.is_set():
            raise Lost


Run = Callable[..., dict[str, Any]]


def run_for(idle_seconds: float) -> Run:
    def run(order: dict[str, Any], listener: Listener | None = None) -> dict[str, Any]:
        return run_child(MODULE, order, cast("Heartbeat", listener or Listener()), idle_seconds=idle_seconds)

    return run


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ForkServer]]:
    """The free fork servers of a worker that has none at first; they load nothing."""
    pytest.importorskip("torch", reason="without torch each process is started, not forked")
    free: list[ForkServer] = []
    monkeypatch.setattr(child, "_free", free)
    monkeypatch.setattr(child, "PREPARING", "tests.jobs.prepared")
    yield free
    for server in free:
        server.stop()


@pytest.fixture(params=["started", "forked"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "started":
        return run_for(0.0)
    request.getfixturevalue("servers")
    return run_for(60.0)


def test_the_child_process_carries_out_an_order(run: Run) -> None:
    listener = Listener()
    assert run({"do": "answer", "value": [1, 2]}, listener) == {"event": "done", "result": [1, 2]}
    assert (0.5, "half") in listener.heard


@pytest.mark.parametrize(
    ("do", "code"),
    [
        ("refuse", "no_torch"),
        ("kill itself", "out_of_memory"),
        ("be cut off", "out_of_memory"),
        ("exit", "process_died"),
    ],
)
def test_a_failed_order_reports_its_reason(run: Run, do: str, code: str) -> None:
    for _ in range(2):  # the second forked process has the server of the first
        with pytest.raises(Failed) as failure:
            run({"do": do})
        assert failure.value.code == code
    assert run({"do": "answer", "value": 1}) == {"event": "done", "result": 1}


def test_output_that_is_not_an_event_is_ignored(run: Run) -> None:
    assert run({"do": "print", "value": 1}) == {"event": "done", "result": 1}


def test_a_cancel_ends_the_child_process(run: Run, tmp_path: Path) -> None:
    mark, listener = tmp_path / "pid", Listener()
    threading.Timer(1.5, listener.stop.set).start()
    with pytest.raises(Lost):
        run({"do": "hang", "mark": str(mark)}, listener)
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_a_child_process_that_hangs_is_ended(run: Run, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    with pytest.raises(Died) as death:
        run({"do": "hang", "mark": str(mark)}, Listener(silence_seconds=2.0))
    assert death.value.code == "process_silent"
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_a_child_process_that_reports_progress_is_not_ended(run: Run) -> None:
    listener = Listener(silence_seconds=2.0)
    assert run({"do": "take its time", "value": 3}, listener) == {"event": "done", "result": 3}


# Forked


def parent() -> int:
    """Return the process from which the next is forked."""
    return int(run_for(60.0)({"do": "name its parent"})["result"])


def test_processes_are_forked_from_one_server_however_they_end(servers: list[ForkServer]) -> None:
    first = parent()
    assert [server.pid for server in servers] == [first]
    with pytest.raises(Died):
        run_for(60.0)({"do": "kill itself"})
    assert parent() == first


def test_a_killed_server_is_replaced(servers: list[ForkServer]) -> None:
    first = psutil.Process(parent())
    first.kill()
    wait_for(lambda: gone(first), "the server is gone")
    assert parent() != first.pid
    assert len(servers) == 1


def test_a_process_ends_with_its_server_and_the_next_has_another(servers: list[ForkServer], tmp_path: Path) -> None:
    first, mark = parent(), tmp_path / "pid"

    def kill_server() -> None:
        wait_for(lambda: mark.exists() and mark.read_text(), "the process runs")
        os.kill(first, signal.SIGKILL)

    killing = threading.Thread(target=kill_server)
    killing.start()
    with pytest.raises(Died) as death:
        run_for(60.0)({"do": "hang", "mark": str(mark)})
    killing.join()
    assert death.value.code == "out_of_memory"
    wait_for(lambda: not psutil.pid_exists(int(mark.read_text())), "the process is gone")
    assert servers == []
    assert parent() != first


def test_a_server_ends_when_it_is_idle(servers: list[ForkServer]) -> None:
    brief = run_for(0.3)
    brief({"do": "answer", "value": 1})
    (server,) = servers
    wait_for(lambda: not psutil.pid_exists(server.pid), "the server has ended")
    assert brief({"do": "answer", "value": 2}) == {"event": "done", "result": 2}


def test_a_server_that_cannot_start_fails_the_order(servers: list[ForkServer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "PREPARING", "tests.jobs.unprepared")
    with pytest.raises(Died, match="exited with 7"):
        run_for(60.0)({"do": "answer", "value": 1})
    assert servers == []


def test_two_orders_at_once_have_a_server_each(servers: list[ForkServer]) -> None:
    parents: list[int] = []
    both = threading.Barrier(2)

    class Meeting(Listener):
        def report(self, fraction: float, message: str) -> None:
            both.wait(120)

    def work() -> None:
        order = {"do": "name its parent"}
        parents.append(run_for(60.0)(order, Meeting())["result"])

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(parents)) == 2
    assert {server.pid for server in servers} == set(parents)


def test_a_killed_worker_leaves_neither_server_nor_process(servers: list[ForkServer], tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-m", "tests.jobs.forking_worker", str(mark)]) as worker:
        wait_for(lambda: mark.exists() and mark.read_text(), "the process runs")
        below = psutil.Process(worker.pid).children(recursive=True)
        assert int(mark.read_text()) in [process.pid for process in below]
        assert len(below) == 2
        worker.kill()
    wait_for(lambda: all(map(gone, below)), "server and process have ended")


# Real


def test_the_child_process_ends_when_its_worker_has_ended() -> None:
    """The real trainer process watches its standard input."""
    pytest.importorskip("torch", reason="the process reports this and ends immediately when torch is missing")
    order = {"do": "measure", "dataset": "fake", "samples": 256, "seeds": list(range(20)), "data_root": ".", **BIG}
    with subprocess.Popen([sys.executable, "-m", "worker.trainer"], stdin=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        child.stdin.write(json.dumps(order) + "\n")
        child.stdin.flush()
        time.sleep(1.0)
        child.stdin.close()
        assert child.wait(timeout=60) == 1


BIG: dict[str, Any] = {
    "kind": "ldi",
    "architecture": {
        "family": "densenet_cnn",
        "input": {"channels": 3, "height": 64, "width": 64},
        "num_classes": 10,
        "cells": [{"width": 64, "depth": 20, "skip_channels": 200}],
    },
}
