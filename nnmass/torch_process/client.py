"""Run work in a process with torch and wait for it: files of architectures, and the calibration of a device."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from nnmass.torch_process.protocol import Event, OrderFailed, read_event, send_order
from nnmass_core.architecture import Architecture
from nnmass_core.export.deployment import USUAL, FileOptions
from nnmass_core.export.pytorch_source import file_without_torch

MODULE = "nnmass.torch_process"


class ExportFailed(Exception):
    """The work failed; the message gives the reason."""


Watch = Callable[[float, str], None]
"""Receives the progress in [0, 1], and the name of the current step."""


def content_of(architecture: Architecture, form: str, seed: int, options: FileOptions = USUAL) -> bytes:
    """Return the file, created on this machine. Raises DefinitionError, or ExportFailed where torch is missing."""
    content = file_without_torch(architecture, form, seed)
    if content is not None:
        return content
    with tempfile.TemporaryDirectory(prefix="nnmass-") as folder:
        path = Path(folder) / "export"
        order = {"do": "export", "architecture": architecture.definition(), "format": form, "seed": seed}
        _carry_out(order | {"options": asdict(options), "path": str(path)})
        return path.read_bytes()


def calibrated(device: str, threads: int, watch: Watch) -> Event:
    """Return the latency model of a device of this machine, and the networks that show its error.

    device: `cpu`, `cuda` or `mps`. threads: for one input. Raises ExportFailed where torch or the device is missing.
    """
    return _carry_out({"do": "calibrate", "device": device, "threads": threads}, watch)


def _carry_out(order: dict[str, object], watch: Watch | None = None) -> Event:
    """Run the process on an order and return its final event.

    Its standard input stays open until it is done: when it closes, the process ends itself.
    """
    command = [sys.executable, "-m", MODULE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        send_order(process.stdin, order)
        try:
            for event in filter(None, map(read_event, process.stdout)):
                if event["event"] == "done":
                    return event
                if watch is not None:
                    watch(event["fraction"], event["message"])
        except OrderFailed as failure:
            raise ExportFailed(str(failure)) from failure
    raise ExportFailed("the torch process died")
