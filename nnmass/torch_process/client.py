"""Run work in a process with torch and wait for it: files of architectures, and the calibration of a device."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nnmass_core.architecture import Architecture
from nnmass_core.export.pytorch_source import file_without_torch

MODULE = "nnmass.torch_process"


class ExportFailed(Exception):
    """The work failed; the message gives the reason."""


Watch = Callable[[float, str], None]
"""Receives the progress in [0, 1], and the name of the current step."""


def content_of(architecture: Architecture, form: str, seed: int) -> bytes:
    """Return the file, created on this machine. Raises DefinitionError, or ExportFailed where torch is missing."""
    content = file_without_torch(architecture, form, seed)
    if content is not None:
        return content
    with tempfile.TemporaryDirectory(prefix="nnmass-") as folder:
        path = Path(folder) / "export"
        order = {"do": "export", "architecture": architecture.definition(), "format": form, "seed": seed}
        _carry_out(order | {"path": str(path)})
        return path.read_bytes()


def calibrated(device: str, threads: int, watch: Watch) -> dict[str, Any]:
    """Return the latency model of a device of this machine, and the networks that show its error.

    device: `cpu`, `cuda` or `mps`. threads: for one input. Raises ExportFailed where torch or the device is missing.
    """
    return _carry_out({"do": "calibrate", "device": device, "threads": threads}, watch)


def _carry_out(order: dict[str, object], watch: Watch | None = None) -> dict[str, Any]:
    """Run the process on an order and return its final event.

    Its standard input stays open until it is done: when it closes, the process ends itself.
    """
    command = [sys.executable, "-m", MODULE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        last: dict[str, Any] = {"event": "error", "message": "the torch process died"}
        for line in process.stdout:
            last = json.loads(line)
            if last["event"] != "progress":
                break
            if watch is not None:
                watch(last["fraction"], last["message"])
    if last["event"] != "done":
        raise ExportFailed(str(last["message"]))
    return last
