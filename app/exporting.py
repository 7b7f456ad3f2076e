"""Files made of architectures: what needs no torch is written here, the rest by the process that has it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from nnmass_core.architecture import Architecture
from nnmass_core.source import file_without_torch

TRAINER = "worker.trainer"


class ExportFailed(Exception):
    """The file could not be made; the message says why."""


def content_of(architecture: Architecture, form: str, seed: int) -> bytes:
    """Return the file, made here and now. Raises DefinitionError, or ExportFailed where torch is missing."""
    content = file_without_torch(architecture, form, seed)
    if content is not None:
        return content
    with tempfile.TemporaryDirectory(prefix="nnmass-") as folder:
        path = Path(folder) / "export"
        order = {"do": "export", "architecture": architecture.definition(), "format": form, "seed": seed}
        _carry_out(order | {"path": str(path)})
        return path.read_bytes()


def _carry_out(order: dict[str, object]) -> None:
    """Run the process on an order, its standard input left open until it is done: it ends itself when that closes."""
    command = [sys.executable, "-m", TRAINER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        last = {"event": "error", "message": "the process that has torch died"}
        for line in process.stdout:
            last = json.loads(line)
            if last["event"] != "progress":
                break
    if last["event"] != "done":
        raise ExportFailed(str(last["message"]))
