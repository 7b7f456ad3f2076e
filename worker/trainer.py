"""The process that has torch: `python -m worker.trainer`, one order on standard input (see worker/child.py)."""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nnmass_core.families import decode_architecture
from worker.trainer_protocol import carry_out, start_log, take_events, tell

MISSING_TORCH = "the worker has no torch; install it there with: pip install 'nnmass[train]'"


def export(order: dict[str, Any]) -> None:
    """Write a file at the order's path."""
    from nnmass_core.export.torch_files import write

    architecture = decode_architecture(order["architecture"])
    tell("progress", fraction=0.2, message="building the module")
    write(architecture, order["seed"], order["format"], Path(order["path"]))
    tell("done")


def measure(order: dict[str, Any]) -> None:
    """Measure what the order's kind says."""
    {"ldi": _measure_ldi, "peak": _measure_peak}[order["kind"]](order)


def _measure_peak(order: dict[str, Any]) -> None:
    """Simulate the activations alive at once for the wiring of each seed."""
    from nnmass_core.nets.liveness import peak_elements
    from nnmass_core.wiring import draw_wiring

    architecture, found = decode_architecture(order["architecture"]), []
    for done, seed in enumerate(order["seeds"]):
        tell("progress", fraction=done / len(order["seeds"]), message=f"wiring {done + 1} of {len(order['seeds'])}")
        peak = peak_elements(architecture, draw_wiring(architecture, seed))
        found.append({"seed": seed, "peak_activation_elements": peak})
    tell("done", result={"by_seed": found, "closed_form_elements": architecture.evaluation.peak_elements})


def _measure_ldi(order: dict[str, Any]) -> None:
    """Measure LDI at initialization."""
    from nnmass_core.training.data import inputs
    from nnmass_core.training.ldi import measure_ldi

    architecture = decode_architecture(order["architecture"])
    images = inputs(order["dataset"], architecture, order["samples"], Path(order["data_root"]))
    result = measure_ldi(
        architecture,
        images,
        order["seeds"],
        lambda fraction, message: tell("progress", fraction=fraction, message=message),
    )
    tell("done", result=result)


def calibrate(order: dict[str, Any]) -> None:
    """Time operators and networks on this machine, and tell the latency model and the networks that it was held to."""
    from nnmass_core.codec import encode
    from nnmass_core.training.calibration import calibrate as measure_device

    def told(fraction: float, message: str) -> None:
        tell("progress", fraction=fraction, message=message)

    where, threads = order["device"], order["threads"]
    found = measure_device(time.perf_counter, told, device=where, threads=threads, machine=machine_name(where))
    networks = [
        {
            "family": one.architecture.family,
            "arch_id": one.architecture.arch_id,
            "estimated_ms": one.estimated,
            "measured_ms": one.measured,
        }
        for one in found.networks
    ]
    tell("done", latency=encode(found.model), networks=networks)


def machine_name(device: str) -> str:
    """Return what the operating system calls a device of this machine."""
    import torch

    if device.startswith("cuda") and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    known = Path("/proc/cpuinfo")
    lines = known.read_text(encoding="utf-8").splitlines() if known.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(named, platform.processor() or platform.machine())[:200]


def train(order: dict[str, Any]) -> None:
    """Train the order's seeds."""
    from worker.training import train as train_seeds

    train_seeds(order, tell)


WORK: dict[str, Callable[[dict[str, Any]], None]] = {
    "calibrate": calibrate,
    "export": export,
    "measure": measure,
    "train": train,
}


def main() -> None:
    """Read the order, do it, and end early if whoever gave it goes away."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    if order.get("processes", 1) == 1:  # of several, each takes its own, which it has from this one
        take_events()
    start_log()
    try:
        import torch  # noqa: F401 - to know whether it is there
    except ModuleNotFoundError as missing:
        if missing.name != "torch":
            raise
        tell("error", code="torch_missing", message=MISSING_TORCH)
        return
    carry_out(WORK[order["do"]], order)


def _end_with_standard_input() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
