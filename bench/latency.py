"""Check latency limits: calibrate this machine, search under limits, and measure the networks found.

`python -m bench.latency` writes bench/results/latency.json: the error on held-out networks and, for each limit, the
best network's estimate with its band and its measured latency.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from nnmass_core.budget import Budget
from nnmass_core.codec import encode
from nnmass_core.hardware.devices import Device
from nnmass_core.named.presets import resolve_space
from nnmass_core.request import SearchRequest
from nnmass_core.search import search
from nnmass_core.training.calibration import calibrate, took

RESULTS = Path(__file__).parent / "results" / "latency.json"
LIMITS = {
    "densenet-cifar": (2.0, 5.0, 15.0),
    "densenet-cifar-depthwise": (3.0, 8.0),
    "mobilenet-v2-tiny-free": (1.0, 2.5),
    "resnet-tiny-free": (2.0, 6.0),
    "wide-resnet-cifar-free": (25.0,),
}
"""Limits in milliseconds, by space."""


def case(space: str, limit: float, device: Device) -> dict[str, Any]:
    """Search under a limit and measure the best network found."""
    budget = Budget(device=device, max_latency_ms=limit)
    began = time.perf_counter()
    found = search(SearchRequest(space=resolve_space(space), budget=budget, top_k=1))
    seconds = time.perf_counter() - began
    best = found.ranking[0]
    assert best.latency is not None
    assert device.latency is not None
    with torch.inference_mode():
        measured = took(best.architecture, time.perf_counter, torch.device("cpu"))
    about: dict[str, Any] = best.latency.to_json()
    return {
        "space": space,
        "max_latency_ms": limit,
        "proved": found.certificate.optimal,
        "search_seconds": round(seconds, 3),
        "nn_mass": float(best.evaluation.mass),
        "macs": best.evaluation.macs,
        "estimated_ms": best.latency.milliseconds,
        "low_ms": about["low_ms"],
        "high_ms": about["high_ms"],
        "measured_ms": measured,
        "within": about["low_ms"] <= measured <= about["high_ms"],
    }


def main() -> None:
    """Measure and write."""
    began = time.perf_counter()
    found = calibrate(time.perf_counter, lambda fraction, message: None)
    seconds = time.perf_counter() - began
    torch.set_num_threads(1)
    device = Device("bench", "this machine", None, None, "bench.latency", "", found.model)
    cases = [case(space, limit, device) for space, limits in LIMITS.items() for limit in limits]
    errors: dict[str, list[float]] = {}
    for one in found.networks:
        errors.setdefault(one.architecture.family, []).append(abs(1 / one.share - 1))
    result = {
        "cpus": os.cpu_count(),
        "calibration_seconds": round(seconds, 1),
        "held_out": encode(found.model.held_out),
        "median_error_by_family": {family: sorted(of)[len(of) // 2] for family, of in errors.items()},
        "cases": cases,
        "within": sum(one["within"] for one in cases),
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
