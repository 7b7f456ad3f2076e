"""The process with torch: `python -m worker.trainer`, one order on standard input (see worker/child.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnmass.torch_process.protocol import run, send_event
from nnmass.torch_process.work import WORK
from nnmass_core.families import decode_architecture

# untyped: orders are parsed JSON, with fields of their own for each work

MISSING_TORCH = "torch is not installed on the worker; install it with: pip install 'nnmass[train]'"


def measure(order: dict[str, Any]) -> None:
    """Measure what the order's kind requests."""
    {"ldi": _measure_ldi, "peak": _measure_peak}[order["kind"]](order)


def _measure_peak(order: dict[str, Any]) -> None:
    """Simulate the peak activation elements for the wiring of each seed."""
    from nnmass_core.nets.liveness import peak_elements
    from nnmass_core.wiring import draw_wiring

    architecture, found = decode_architecture(order["architecture"]), []
    for done, seed in enumerate(order["seeds"]):
        send_event(
            "progress", fraction=done / len(order["seeds"]), message=f"wiring {done + 1} of {len(order['seeds'])}"
        )
        peak = peak_elements(architecture, draw_wiring(architecture, seed))
        found.append({"seed": seed, "peak_activation_elements": peak})
    send_event("done", result={"by_seed": found, "closed_form_elements": architecture.evaluation.peak_elements})


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
        lambda fraction, message: send_event("progress", fraction=fraction, message=message),
    )
    send_event("done", result=result)


def train(order: dict[str, Any]) -> None:
    """Train the order's seeds."""
    from worker.training import train as train_seeds

    train_seeds(order, send_event)


def main() -> None:
    """Read the order and carry it out."""
    run(WORK | {"measure": measure, "train": train}, MISSING_TORCH)


if __name__ == "__main__":
    main()
