"""The process that has torch: `python -m worker.trainer`, one order on standard input (see worker/child.py)."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nnmass_core.families import decode_architecture

MISSING_TORCH = "the worker has no torch; install it there with: pip install 'nnmass[train]'"


def tell(event: str, **fields: Any) -> None:
    """Write one event."""
    assert sys.__stdout__ is not None
    sys.__stdout__.write(json.dumps({"event": event, **fields}) + "\n")
    sys.__stdout__.flush()


def export(order: dict[str, Any]) -> None:
    """Write a file at the order's path."""
    from nnmass_core.nets.export import write

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


WORK: dict[str, Callable[[dict[str, Any]], None]] = {"export": export, "measure": measure}


def main() -> None:
    """Read the order, do it, and end early if whoever gave it goes away."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    try:
        import torch
    except ModuleNotFoundError as missing:
        if missing.name != "torch":
            raise
        tell("error", code="torch_missing", message=MISSING_TORCH)
        return
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    from nnmass_core.errors import NotPossible

    try:
        with contextlib.redirect_stdout(sys.stderr):  # what libraries print is no event
            WORK[order["do"]](order)
    except NotPossible as refusal:
        tell("error", code=refusal.code, message=str(refusal))


def _end_with_standard_input() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
