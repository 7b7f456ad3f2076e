"""Measured figures of a built module, which a verification reports next to the closed forms."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

WARM_UP, REPEATS = 5, 30


def count(module: nn.Module, shape: tuple[int, ...]) -> dict[str, int]:
    """Return a module's trainable parameters, and the multiply-accumulates of one input of a shape.

    MACs are half of what torch counts as floating-point operations.
    """
    device = next(module.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(torch.zeros(1, *shape, device=device))
    params = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return {"params": params, "macs": counter.get_total_flops() // 2}


def latency_ms(module: nn.Module, shape: tuple[int, ...], clock: Callable[[], float]) -> dict[str, float | str]:
    """Return the time of one input, batch 1, in milliseconds: the median of 30 runs after 5, with quartiles.

    clock: seconds since any start. Waits for the GPU.
    """
    device = next(module.parameters()).device
    x = torch.zeros(1, *shape, device=device)
    module.eval()
    with torch.no_grad():
        for _ in range(WARM_UP):
            module(x)
        times = sorted(_timed(module, x, clock) for _ in range(REPEATS))
    low, middle, high = times[REPEATS // 4], median(times), times[-REPEATS // 4]
    return {"value": middle * 1e3, "low": low * 1e3, "high": high * 1e3, "kind": "measured", "repeats": REPEATS}


def _timed(module: nn.Module, x: torch.Tensor, clock: Callable[[], float]) -> float:
    _wait(x.device)
    started = clock()
    module(x)
    _wait(x.device)
    return clock() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
