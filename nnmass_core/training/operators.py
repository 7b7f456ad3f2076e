"""Operators of networks at many sizes, ready to be timed: a device's latency model is fitted on their times."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnmass_core.hardware import latency
from nnmass_core.hardware.latency import Operators
from nnmass_core.nets.concatenation import concatenate, send

SIDES = (4, 7, 8, 14, 16, 28, 32, 56)
"""Heights and widths of feature maps; those of a 7x7 convolution are twice as large."""

CHANNELS = (8, 512)
COUNTS = {
    "convolution_3x3": 40,
    "convolution_1x1": 40,
    "depthwise_3x3": 24,
    "depthwise_5x5": 12,
    "depthwise_7x7": 12,
    "convolution_7x7": 6,
    "grouped_3x3": 12,
    "patches": 12,
    "linear": 20,
    "normalise": 16,
    "layer_norm": 12,
    "activate": 12,
    "add": 12,
    "pool": 12,
    "send": 24,
    "concatenate": 24,
}
"""How many sizes of each kind are timed."""

MOST_MACS = 150_000_000
"""The most MACs of one operator: larger ones are equally fast per multiply-accumulate, and take long."""


@dataclass(frozen=True)
class Case:
    """One operator at one size: its work, and the function that runs it once."""

    work: Operators
    run: Callable[[], object]


def cases(seed: int, device: torch.device) -> Iterator[Case]:
    """Yield operators at sizes drawn log-uniformly, alternating kinds so that other load on the machine affects all."""
    rng, left = random.Random(seed), dict(COUNTS)  # noqa: S311 - sizes are no secret
    while left:
        for kind in list(left):
            yield _MAKERS[kind](rng, device)
            left[kind] -= 1
            if not left[kind]:
                del left[kind]


def _between(rng: random.Random, low: int, high: int) -> int:
    return round(low * (high / low) ** rng.random())


def _maps(channels: int, side: int, device: torch.device) -> Tensor:
    return torch.randn(1, channels, side, side, device=device).to(memory_format=torch.channels_last)


def _of_module(work: Operators, module: nn.Module, x: Tensor) -> Case:
    layer = module.to(x.device).to(memory_format=torch.channels_last).eval()
    return Case(work, lambda: layer(x))


def _convolution(kernel: int) -> Callable[[random.Random, torch.device], Case]:
    def make(rng: random.Random, device: torch.device) -> Case:
        while True:
            low = 1 if kernel == 7 else CHANNELS[0]
            i, o = _between(rng, low, 3 if kernel == 7 else CHANNELS[1]), _between(rng, *CHANNELS)
            i = 3 if kernel == 3 and rng.random() < 0.15 else i  # a network's first layer takes an image
            side, stride = rng.choice(SIDES) * (2 if kernel == 7 else 1), 2 if kernel == 7 else rng.choice((1, 1, 2))
            after = -(-side // stride)
            work = latency.convolution(kernel, i, o, side * side, after * after)
            if work.macs <= MOST_MACS:
                break
        layer = nn.Conv2d(i, o, kernel, stride, padding=kernel // 2, bias=False)
        return _of_module(work, layer, _maps(i, side, device))

    return make


def _depthwise(kernel: int) -> Callable[[random.Random, torch.device], Case]:
    def make(rng: random.Random, device: torch.device) -> Case:
        h, side, stride = _between(rng, *CHANNELS), rng.choice(SIDES), rng.choice((1, 1, 2))
        after = -(-side // stride)
        layer = nn.Conv2d(h, h, kernel, stride, padding=kernel // 2, groups=h, bias=False)
        return _of_module(latency.depthwise(h, side * side, after * after, kernel), layer, _maps(h, side, device))

    return make


def _grouped(rng: random.Random, device: torch.device) -> Case:
    groups, stride, side = rng.choice((4, 8, 32)), rng.choice((1, 1, 2)), rng.choice(SIDES)
    h, after = groups * rng.choice((2, 4, 8)), -(-side // stride)
    layer = nn.Conv2d(h, h, 3, stride, padding=1, groups=groups, bias=False)
    return _of_module(latency.grouped(h, groups, side * side, after * after), layer, _maps(h, side, device))


def _patches(rng: random.Random, device: torch.device) -> Case:
    kernel = rng.choice((2, 2, 4))
    i, o = 3 if kernel == 4 else _between(rng, *CHANNELS), _between(rng, *CHANNELS)
    after = rng.choice(SIDES)
    side = kernel * after
    layer = nn.Conv2d(i, o, kernel, kernel)
    return _of_module(latency.patches(kernel, i, o, side * side, after * after), layer, _maps(i, side, device))


def _linear(rng: random.Random, device: torch.device) -> Case:
    i, o = _between(rng, 8, 4096), _between(rng, 2, 1024)
    return Case(latency.linear(i, o), _run(nn.Linear(i, o).to(device).eval(), torch.randn(1, i, device=device)))


def _run(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    return lambda: layer(x)


def _normalize(rng: random.Random, device: torch.device) -> Case:
    c, side = _between(rng, *CHANNELS), rng.choice(SIDES)
    work = latency.elementwise("normalise", c * side * side, 1)
    return _of_module(work, nn.BatchNorm2d(c), _maps(c, side, device))


def _layer_norm(rng: random.Random, device: torch.device) -> Case:
    c, side = _between(rng, *CHANNELS), rng.choice(SIDES)
    work = latency.elementwise("layer_norm", c * side * side, 1)
    return Case(work, _run(nn.LayerNorm(c).to(device).eval(), torch.randn(1, side, side, c, device=device)))


def _activate(rng: random.Random, device: torch.device) -> Case:
    c, side = _between(rng, *CHANNELS), rng.choice(SIDES)
    work = latency.elementwise("activate", c * side * side, 1)
    return _of_module(work, nn.ReLU(inplace=True), _maps(c, side, device))


def _add(rng: random.Random, device: torch.device) -> Case:
    c, side = _between(rng, *CHANNELS), rng.choice(SIDES)
    main, shortcut = _maps(c, side, device), _maps(c, side, device)
    return Case(latency.elementwise("add", c * side * side, 1), lambda: main.add_(shortcut))


def _pool(rng: random.Random, device: torch.device) -> Case:
    c, side = _between(rng, *CHANNELS), rng.choice(SIDES)
    layers: tuple[tuple[nn.Module, int], ...] = (
        (nn.AvgPool2d(2), side // 2),
        (nn.MaxPool2d(3, 2, padding=1), -(-side // 2)),
        (nn.AdaptiveAvgPool2d(1), 1),
    )
    layer, after = rng.choice(layers)
    return _of_module(latency.pool(c * side * side, c * after * after), layer, _maps(c, side, device))


def _pieces(rng: random.Random) -> tuple[int, int, list[int]]:
    w, side = _between(rng, 8, 128), rng.choice(SIDES)
    return w, side, [_between(rng, 1, max(2, w // 2)) for _ in range(_between(rng, 1, 30))]


def _send(rng: random.Random, device: torch.device) -> Case:
    w, side, pieces = _pieces(rng)
    channels = [channel for piece in pieces for channel in sorted(rng.sample(range(w), piece))]
    taken, output = torch.tensor(channels, device=device), _maps(w, side, device)
    written = len(channels) * side * side
    return Case(Operators("send", 1, 0, written, written, 0, len(pieces)), lambda: send(output, taken, pieces))


def _concatenate(rng: random.Random, device: torch.device) -> Case:
    w, side, pieces = _pieces(rng)
    newest, others = _maps(w, side, device), [_maps(piece, side, device) for piece in pieces]
    written = (w + sum(pieces)) * side * side
    work = Operators("concatenate", 1, 0, written, written, 0, len(pieces))
    return Case(work, lambda: concatenate(newest, others))


_MAKERS: dict[str, Callable[[random.Random, torch.device], Case]] = {
    "convolution_3x3": _convolution(3),
    "convolution_1x1": _convolution(1),
    "convolution_7x7": _convolution(7),
    "depthwise_3x3": _depthwise(3),
    "depthwise_5x5": _depthwise(5),
    "depthwise_7x7": _depthwise(7),
    "grouped_3x3": _grouped,
    "patches": _patches,
    "linear": _linear,
    "normalise": _normalize,
    "layer_norm": _layer_norm,
    "activate": _activate,
    "add": _add,
    "pool": _pool,
    "send": _send,
    "concatenate": _concatenate,
}
