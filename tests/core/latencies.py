"""A latency model with prices of no device, for tests of what is done with latencies."""

from __future__ import annotations

from typing import Any

from nnmass_core.codec import encode
from nnmass_core.hardware.devices import Device
from nnmass_core.hardware.latency import KINDS, HeldOut, LatencyModel, OperatorTime

ON_CHIP = 200
"""The elements on the chip of the device: fewer than the outputs of most operators in tests."""

HELD_OUT = HeldOut(networks=30, families=3, median_error=0.1, band_low=0.8, band_high=1.25, coverage=0.95)


def model(kinds: tuple[str, ...] = KINDS, **more: Any) -> LatencyModel:
    """Return a model in which no two kinds cost the same."""
    same = {"read": 0.13, "written": 0.29, "weight": 0.07, "piece": 300.0, "off_chip": 0.17}
    operators = tuple(
        OperatorTime(kind=kind, call=900.0 + 70 * n, mac=0.011 * n, **same) for n, kind in enumerate(kinds, start=1)
    )
    known: dict[str, Any] = {"runtime": "none", "threads": 1, "on_chip_elements": ON_CHIP}
    return LatencyModel(**known, operators=operators, held_out=HELD_OUT, **more)


def profile(name: str = "my-board", **more: Any) -> dict[str, Any]:
    """Return a device's profile as JSON has it."""
    return {"name": name, "title": "My board", "latency": encode(model()), **more}


DEVICE = Device("my-board", "My board", None, None, "", "", model())
