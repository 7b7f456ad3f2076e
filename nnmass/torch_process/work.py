"""The process's work for users of the library: write a file of an architecture, and calibrate a device."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nnmass.torch_process.protocol import send_event
from nnmass_core.families import decode_architecture

# untyped: orders are parsed JSON, with fields of their own for each work


def export(order: dict[str, Any]) -> None:
    """Write a file at the order's path."""
    from nnmass_core.export.deployment import FileOptions
    from nnmass_core.export.torch_files import write

    architecture, options = decode_architecture(order["architecture"]), FileOptions(**order["options"])
    send_event("progress", fraction=0.2, message="building the module")
    write(architecture, order["seed"], order["format"], Path(order["path"]), options)
    send_event("done")


def rewrite(order: dict[str, Any]) -> None:
    """Write the ONNX file of stored weights at the order's path."""
    from nnmass_core.export.deployment import FileOptions
    from nnmass_core.export.torch_files import rewrite as write_again

    send_event("progress", fraction=0.2, message="building the module")
    write_again(order["about"], Path(order["weights"]), Path(order["path"]), FileOptions(**order["options"]))
    send_event("done")


def calibrate(order: dict[str, Any]) -> None:
    """Time operators and networks on this machine; report the latency model and the networks that it was checked on."""
    from nnmass_core.codec import encode
    from nnmass_core.training.calibration import calibrate as measure_device

    def report(fraction: float, message: str) -> None:
        send_event("progress", fraction=fraction, message=message)

    where, threads = order["device"], order["threads"]
    found = measure_device(time.perf_counter, report, device=where, threads=threads, machine=machine_name(where))
    networks = [
        {
            "family": one.architecture.family,
            "arch_id": one.architecture.arch_id,
            "estimated_ms": one.estimated,
            "measured_ms": one.measured,
        }
        for one in found.networks
    ]
    send_event("done", latency=encode(found.model), networks=networks)


def machine_name(device: str) -> str:
    """Return the operating system's name of a device of this machine."""
    import torch

    if device.startswith("cuda") and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(named, platform.processor() or platform.machine())[:200]


WORK: dict[str, Callable[[dict[str, Any]], None]] = {"calibrate": calibrate, "export": export, "rewrite": rewrite}
