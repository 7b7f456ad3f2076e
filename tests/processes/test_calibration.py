"""`nnmass calibrate` on this machine, and a search with its profile; the speed of the machine is not checked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.processes, pytest.mark.slow]


def nnmass(*arguments: str, folder: Path) -> str:
    command = [sys.executable, "-m", "nnmass", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_calibrated_profile_is_used_in_a_search(tmp_path: Path) -> None:
    printed = nnmass("calibrate", "--name", "here", folder=tmp_path)
    assert "Wrote here.json" in printed
    profile = json.loads((tmp_path / "here.json").read_text(encoding="utf-8"))
    held_out = profile["latency"]["held_out"]
    assert held_out["networks"] >= 30
    assert held_out["families"] >= 3
    limits = ("--device", "here.json", "--max-latency-ms", "5")
    found = json.loads(nnmass("search", "--preset", "densenet-cifar", *limits, "--json", folder=tmp_path))
    best = found["items"][0]
    assert found["result"]["optimal"] is True
    assert best["latency_ms"] <= 5
    assert best["latency"]["device"] == "here"
    assert best["latency"]["low_ms"] <= best["latency_ms"] <= best["latency"]["high_ms"]
