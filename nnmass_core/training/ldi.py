"""LDI at initialization: how close the singular values of the layers' Jacobians are to one, docs/theory.md (31).

A layer's Jacobian is taken at its concatenated input, before the activation: J_0 = D_0 W_0, J_1 = W_1, J_j = W_j D_j.
Networks have torch's default initialization, with BatchNorm in evaluation mode (running mean 0, variance 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from nnmass_core.architecture import Architecture
from nnmass_core.codec import JsonObject
from nnmass_core.errors import NotPossible
from nnmass_core.nets import build
from nnmass_core.nets.concatenation import ConcatenationCell
from nnmass_core.training.spectrum import NOTHING, Spectrum, spectrum
from nnmass_core.wiring import concatenation_cells

Report = Callable[[float, str], None]


def measure_ldi(architecture: Architecture, inputs: Tensor, seeds: Sequence[int], report: Report) -> JsonObject:
    """Return mean and standard deviation of the singular values over layers, inputs and initializations, JSON-ready.

    inputs: (n, ...), in the network's input shape. Raises NotPossible for a family without concatenation cells.
    """
    by_seed: list[JsonObject] = []
    whole = NOTHING
    for i, seed in enumerate(seeds):
        found = ldi_of(initialized(architecture, seed), inputs, partial(_report_part, report, i, len(seeds)))
        by_seed.append({"seed": seed, "mean": found.mean, "std": found.std})
        whole += found
    figures = architecture.evaluation
    return {
        "mean": whole.mean,
        "std": whole.std,
        "by_seed": by_seed,
        "method": "exact" if whole.exact else "lanczos",
        "nn_mass": float(figures.mass),
        "params": figures.params,
        "macs": figures.macs,
    }


def _report_part(report: Report, index: int, count: int, done: float) -> None:
    report((index + done) / count, f"initialization {index + 1} of {count}")


def initialized(architecture: Architecture, seed: int) -> nn.Module:
    """Return the network with torch's default initialization and its wiring, both drawn from this seed."""
    if not concatenation_cells(architecture):
        raise NotPossible("no_cells", f"LDI is defined for concatenation cells, and {architecture.family} has none")
    return build(architecture, seed).eval().requires_grad_(requires_grad=False)


def ldi_of(network: nn.Module, inputs: Tensor, report: Callable[[float], None]) -> Spectrum:
    """Return the moments of the singular values of all layers at some inputs, (n, ...)."""
    seen: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        layer.register_forward_pre_hook(lambda layer, args: seen.append((layer, args[0].detach().clone())))
        for cell in network.modules()
        if isinstance(cell, ConcatenationCell)
        for layer in cell.layers
    ]
    with torch.no_grad():
        network(inputs)
    for hook in hooks:
        hook.remove()
    total, generator = NOTHING, torch.Generator().manual_seed(0)
    for done, (layer, entering) in enumerate(seen, start=1):
        total += spectrum(layer, entering, generator)
        report(done / len(seen))
    return total
