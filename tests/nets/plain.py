"""Concatenation networks run as the specification words them, layer by layer, from a state_dict: no product code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra `train`")

from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

State = dict[str, Tensor]
Layers = list[list[int]]
"""The channels that each layer of a cell takes."""


def run(definition: dict[str, Any], wiring: list[Layers], state: State, x: Tensor, *, training: bool) -> Tensor:
    """Return the scores of a network of any concatenation family; in training, BatchNorm uses the batch's moments."""
    if definition["family"] == "densenet_mlp":
        return _mlp(definition, wiring, state, x, training=training)
    separable = definition["family"] == "densenet_cnn_depthwise"
    for c, (cell, layers) in enumerate(zip(definition["cells"], wiring, strict=True)):
        x = _cell(Weights(state, f"cells.{c}.", training), cell, layers, x, first=c == 0, separable=separable)
    pooled = functional.avg_pool2d(x, tuple(min(2, side) for side in x.shape[2:]))
    return functional.linear(pooled.reshape(len(x), -1), state["classifier.weight"], state["classifier.bias"])


def concatenated(outputs: list[Tensor], taken: list[int]) -> Tensor:
    """Return output j-1, then the sampled channels of outputs 0 .. j-2 in ascending order of layer and channel."""
    *earlier, newest = outputs
    everything = torch.cat(earlier, dim=1)
    return torch.cat([newest, everything[:, taken]], dim=1)


class Weights:
    """The weights of a part of a network, applied by name."""

    def __init__(self, state: State, prefix: str, training: bool) -> None:
        self._state, self._prefix, self._training = state, prefix, training

    def conv(self, name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        kernel = self._state[f"{self._prefix}{name}.weight"]
        return functional.conv2d(
            x, kernel, stride=stride, padding=[side // 2 for side in kernel.shape[2:]], groups=groups
        )

    def linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, *(self._state[f"{self._prefix}{name}.{what}"] for what in ("weight", "bias")))

    def norm(self, name: str, x: Tensor) -> Tensor:
        mean, variance = (self._state[f"{self._prefix}{name}.running_{what}"] for what in ("mean", "var"))
        if self._training:
            others = [axis for axis in range(x.dim()) if axis != 1]
            mean, variance = x.mean(others), x.var(others, unbiased=False)
        weight, bias = (self._state[f"{self._prefix}{name}.{what}"] for what in ("weight", "bias"))
        scale = weight / (variance + 1e-5).sqrt()
        shape = (-1,) + (1,) * (x.dim() - 2)
        return x * scale.reshape(shape) + (bias - mean * scale).reshape(shape)


def _cell(weights: Weights, cell: dict[str, int], wiring: Layers, x: Tensor, *, first: bool, separable: bool) -> Tensor:
    outputs: list[Tensor] = []
    for j in range(cell["depth"]):
        stride = 2 if j == 0 and not first else 1
        conv = _separable if separable and not (first and j == 0) else _dense
        name = f"layers.{j}."
        if j == 0:
            outputs.append(weights.norm(f"{name}norm", conv(weights, f"{name}conv", x, stride)))
        elif j == 1:
            outputs.append(weights.norm(f"{name}norm", conv(weights, f"{name}conv", outputs[0].relu(), stride)))
        else:
            normalized = weights.norm(f"{name}norm", concatenated(outputs, wiring[j]))
            outputs.append(conv(weights, f"{name}conv", normalized.relu(), stride))
    return outputs[-1]


def _dense(weights: Weights, name: str, x: Tensor, stride: int) -> Tensor:
    return weights.conv(name, x, stride)


def _separable(weights: Weights, name: str, x: Tensor, stride: int) -> Tensor:
    x = weights.norm(f"{name}.expand_norm", weights.conv(f"{name}.expand", x)).relu()
    x = weights.conv(f"{name}.depthwise", x, stride, groups=x.shape[1])
    x = weights.norm(f"{name}.depthwise_norm", x).relu()
    return weights.norm(f"{name}.project_norm", weights.conv(f"{name}.project", x))


def _mlp(definition: dict[str, Any], wiring: list[Layers], state: State, x: Tensor, *, training: bool) -> Tensor:
    function: Callable[[Tensor], Tensor] = {"relu": torch.relu, "elu": functional.elu}[definition["activation"]]
    cells = [definition, *definition.get("later_cells", [])]
    for c, (cell, taken) in enumerate(zip(cells, wiring, strict=True)):
        weights = Weights(state, f"later_cells.{c - 1}." if c else "cell.", training)

        def act(name: str, numbers: Tensor, weights: Weights = weights) -> Tensor:
            return function(weights.norm(name, numbers) if definition.get("batchnorm") else numbers)

        outputs: list[Tensor] = []
        for j in range(cell["depth"]):
            name = f"layers.{j}."
            if j >= 2:
                x = act(f"{name}norm", concatenated(outputs, taken[j]))
            x = weights.linear(f"{name}linear", x)
            if j == 0:
                x = act(f"{name}norm", x)
            elif j == cell["depth"] - 1 and c + 1 < len(cells):
                x = act(f"{name}output_norm", x)
            outputs.append(x)
    return x
