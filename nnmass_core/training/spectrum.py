"""Singular values of a layer's Jacobian: all of them for a small layer, their mean and spread for a large one.

A large Jacobian is never formed. Stochastic Lanczos quadrature (Ubaru, Chen, Saad 2017) estimates tr f(J J^T) from
products with random vectors: f = sqrt gives the sum of the singular values, f = identity the sum of their squares. A
convolution's Fourier blocks would be exact only for circular padding and without the activation's mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jacrev, vjp, vmap

Layer = Callable[[Tensor], Tensor]
LARGEST_DENSE = 1 << 20
"""The most entries of a Jacobian that is formed and decomposed."""

PROBES, STEPS = 16, 24
"""Random vectors and Lanczos steps; the error of the mean of a 3x3 convolution's spectrum is below 1 %."""


@dataclass(frozen=True)
class Spectrum:
    """The number of singular values, their sum and the sum of their squares. exact: none was estimated."""

    count: int
    total: float
    squares: float
    exact: bool = True

    def __add__(self, other: Spectrum) -> Spectrum:
        """Return the spectrum of both together."""
        return Spectrum(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            exact=self.exact and other.exact,
        )

    @property
    def mean(self) -> float:
        """The mean singular value."""
        return self.total / self.count

    @property
    def std(self) -> float:
        """The standard deviation of the singular values."""
        return max(self.squares / self.count - self.mean**2, 0.0) ** 0.5


NOTHING = Spectrum(0, 0.0, 0.0)


def spectrum(layer: Layer, inputs: Tensor, generator: torch.Generator) -> Spectrum:
    """Return the moments of the singular values of the layer's Jacobians at some inputs, (n, ...), over all inputs.

    Each Jacobian has min(outputs, inputs) of them. The layer maps batches to batches.
    """
    one = inputs[0].numel()
    outputs = layer(inputs[:1]).numel()
    if outputs * one <= LARGEST_DENSE:
        return dense_spectrum(layer, inputs)
    parts = (lanczos_spectrum(layer, x[None], generator) for x in inputs)
    return sum(parts, start=NOTHING)


def dense_spectrum(layer: Layer, inputs: Tensor) -> Spectrum:
    """Form the Jacobians and decompose them."""
    jacobians = vmap(jacrev(lambda x: layer(x[None])[0]))(inputs).reshape(len(inputs), -1, inputs[0].numel())
    values = torch.linalg.svdvals(jacobians.double())
    return Spectrum(values.numel(), float(values.sum()), float((values**2).sum()))


def lanczos_spectrum(layer: Layer, x: Tensor, generator: torch.Generator) -> Spectrum:
    """Estimate the moments from the products of J J^T (or J^T J, whichever is smaller) with random signs."""
    gram, shape = _gram(layer, x)
    size = shape.numel()
    totals, squares = 0.0, 0.0
    for _ in range(PROBES):
        signs = torch.randint(0, 2, (size,), generator=generator, dtype=x.dtype) * 2 - 1
        nodes, weights = _quadrature(lambda v: gram(v.reshape(shape)).reshape(-1), signs / size**0.5)
        totals += float((weights * nodes.clamp(min=0).sqrt()).sum()) * size / PROBES
        squares += float((weights * nodes).sum()) * size / PROBES
    return Spectrum(size, totals, squares, exact=False)


def _gram(layer: Layer, x: Tensor) -> tuple[Callable[[Tensor], Tensor], torch.Size]:
    """Return the product with J J^T or J^T J, and the shape of its argument. The layer is linear around x."""
    y, backward = vjp(layer, x)[:2]
    forward_of_backward = vjp(lambda cotangent: backward(cotangent)[0], torch.zeros_like(y))[1]

    def forward(tangent: Tensor) -> Tensor:
        """J v: the map from cotangents to gradients is J^T, and its own adjoint is J."""
        product: Tensor = forward_of_backward(tangent)[0]
        return product

    if y.numel() <= x.numel():
        return (lambda u: forward(backward(u)[0])), y.shape
    return (lambda v: backward(forward(v))[0]), x.shape


def _quadrature(product: Callable[[Tensor], Tensor], start: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of the Gauss quadrature from Lanczos steps that start at a unit vector."""
    basis = [start]
    diagonal: list[Tensor] = []
    off_diagonal: list[Tensor] = []
    for step in range(min(STEPS, len(start))):
        v = product(basis[-1])
        diagonal.append(v @ basis[-1])
        for _ in range(2):  # twice is enough to keep the basis orthogonal
            for known in basis:
                v = v - (v @ known) * known
        norm = v.norm()
        if step == min(STEPS, len(start)) - 1 or norm <= 1e-6 * diagonal[0].abs().clamp(min=1e-12):
            break
        off_diagonal.append(norm)
        basis.append(v / norm)
    off = torch.stack(off_diagonal) if off_diagonal else start.new_zeros(0)
    tridiagonal = torch.diag(torch.stack(diagonal)) + torch.diag(off, 1) + torch.diag(off, -1)
    nodes, vectors = torch.linalg.eigh(tridiagonal.double())
    return nodes, vectors[0] ** 2
