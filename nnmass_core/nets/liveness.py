"""Peak activation memory of one network with one wiring, simulated over its graph: docs/theory.md (22).

The closed form of a family is never below this figure: it assumes that every output of a cell lives until the cell's
last concatenation, but a wiring may leave an output unread, or read it for the last time before.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from nnmass_core.architecture import Architecture
from nnmass_core.nets import assemble
from nnmass_core.nets.concatenation import concatenate, send
from nnmass_core.wiring import Wiring

WRITING: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.Linear, nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d)
WRITING_CALLS: set[Any] = {concatenate, functional.adaptive_avg_pool2d}
ACTIVATIONS: tuple[type[nn.Module], ...] = (nn.ReLU, nn.ReLU6, nn.ELU, nn.GELU, nn.Hardswish, nn.SiLU, nn.Sigmoid)
NORMS: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)
IN_PLACE: tuple[type[nn.Module], ...] = (*NORMS, *ACTIVATIONS, nn.Dropout, nn.Flatten)
IN_PLACE_CALLS: set[Any] = {
    *(operator.add, operator.iadd, operator.mul),
    *(torch.flatten, "flatten", functional.layer_norm),
}
"""Steps that work in a tensor of their result's size, if nothing reads it later: a residual sum in one of its terms,
the scaling of maps in the maps."""

VIEWS: tuple[type[nn.Module], ...] = (nn.Identity,)
VIEW_CALLS: set[Any] = {
    send,  # first half of gather-and-concatenate, which counts as one step without temporaries: its concatenation
    *(operator.getitem, torch.permute, "permute"),
}
"""Steps whose result is their input, or a part of it."""

KINDS = {"write": (WRITING, WRITING_CALLS), "in place": (IN_PLACE, IN_PLACE_CALLS), "view": (VIEWS, VIEW_CALLS)}


def peak_elements(architecture: Architecture, wiring: Wiring) -> int:
    """Return the most activation elements alive at the same time for one input. Needs no memory for weights.

    Args:
        architecture: The network.
        wiring: The skip connections of the network.

    Raises:
        DefinitionError: The wiring does not belong to the architecture.
        NotPossible: The family belongs to an installed package that does not define its modules.
        LookupError: A step of the module has no rule that says whether it writes a tensor.
    """
    with torch.device("meta"):
        module = assemble(architecture, wiring).eval()
        return traced_peak(fx.symbolic_trace(module), torch.empty(1, *architecture.input_shape))


def traced_peak(module: fx.GraphModule, x: torch.Tensor) -> int:
    """Return the most elements alive during any step of a traced module on the input `x`.

    During a step its inputs and its output are alive; a tensor dies after its last reader. Raises LookupError for a
    step that has no rule.
    """
    ShapeProp(module).propagate(x)
    steps = [node for node in module.graph.nodes if node.op != "get_attr"]
    values: dict[fx.Node, fx.Node] = {}  # the step that computed what a step gives: another one for a view
    last_read: dict[fx.Node, int] = {}  # of each value, by number of the step
    for number, node in enumerate(steps):
        read = [values[other] for other in node.all_input_nodes if other in values]
        values[node] = read[0] if _kind(module, node) == "view" else node
        last_read |= dict.fromkeys([*read, values[node]], number)
    tensors: dict[fx.Node, fx.Node] = {}  # the value that was first in the tensor of a value
    death: dict[fx.Node, int] = {}
    for number, node in enumerate(steps):
        if values[node] is node:
            free = (value for value in _overwritable(module, node, values) if last_read[value] == number)
            tensors[node] = next((tensors[value] for value in free), node)
            death[tensors[node]] = last_read[node]
    dying: dict[int, int] = defaultdict(int)
    for tensor, number in death.items():
        dying[number] += _elements(tensor)
    alive = peak = 0
    for number, node in enumerate(steps):
        if node in death:  # it writes a new tensor
            alive += _elements(node)
            peak = max(peak, alive)
        alive -= dying[number]
    return peak


def _overwritable(module: fx.GraphModule, node: fx.Node, values: dict[fx.Node, fx.Node]) -> Iterator[fx.Node]:
    """Yield the values in whose tensors a step may write its result if nothing reads them later."""
    if _kind(module, node) == "in place":
        for other in node.all_input_nodes:
            if other in values and _elements(values[other]) == _elements(node):
                yield values[other]


def _kind(module: fx.GraphModule, node: fx.Node) -> str:
    """Return how a step makes its result: one of KINDS."""
    if node.op == "placeholder":
        return "write"
    if node.op == "output":
        return "view"
    layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
    for kind, (layers, calls) in KINDS.items():
        if isinstance(layer, layers) or (layer is None and node.target in calls):
            return kind
    raise LookupError(f"no rule says whether {node.format_node()} writes a tensor")


def _elements(node: fx.Node) -> int:
    elements: int = node.meta["tensor_meta"].shape.numel()
    return elements
