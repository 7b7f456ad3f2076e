"""The child process of a worker: its answers, its failures, and its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

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


def run(order: dict[str, Any], listener: Listener | None = None) -> dict[str, Any]:
    return run_child(MODULE, order, cast("Heartbeat", listener or Listener()))


def test_the_child_process_carries_out_an_order() -> None:
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
def test_a_failed_order_reports_its_reason(do: str, code: str) -> None:
    with pytest.raises(Failed) as failure:
        run({"do": do})
    assert failure.value.code == code


def test_output_that_is_not_an_event_is_ignored() -> None:
    assert run({"do": "print", "value": 1}) == {"event": "done", "result": 1}


def test_a_cancel_ends_the_child_process(tmp_path: Path) -> None:
    mark, listener = tmp_path / "pid", Listener()
    threading.Timer(1.5, listener.stop.set).start()
    with pytest.raises(Lost):
        run({"do": "hang", "mark": str(mark)}, listener)
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_a_child_process_that_hangs_is_ended(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    with pytest.raises(Died) as death:
        run({"do": "hang", "mark": str(mark)}, Listener(silence_seconds=2.0))
    assert death.value.code == "process_silent"
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_a_child_process_that_reports_progress_is_not_ended() -> None:
    listener = Listener(silence_seconds=2.0)
    assert run({"do": "take its time", "value": 3}, listener) == {"event": "done", "result": 3}


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
