"""The real trainer process, given an order as a worker gives it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def train(folder: Path, **order: Any) -> list[dict[str, Any]]:
    """Train one seed on the digits, for what the order does not say otherwise; returns every event up to the last."""
    folder.mkdir(exist_ok=True)
    usual: dict[str, Any] = {
        "do": "train",
        "dataset": "digits",
        "adapt": True,
        "seeds": [0],
        "artifacts": ["weights"],
        "finished": [],
        "data_digest": None,
        "resume": [],
        "folder": str(folder),
        "data_root": str(folder),
        "fence": 1,
        "device": "cpu",
        "processes": 1,
        "checkpoint_seconds": 300.0,
    }
    command = [sys.executable, "-m", "worker.trainer"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(usual | order) + "\n")
        process.stdin.flush()
        events = []
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] in ("done", "error"):
                break
        process.stdin.close()  # which ends it, if it has not ended
    return events
