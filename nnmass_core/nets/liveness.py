"""Peak activation memory of one network with one wiring, simulated over its graph: docs/theory.md (22).

The closed form of a family is never below this figure: it assumes that every output of a cell lives until the cell's
last concatenation, but a wiring may leave an output unread, or read it for the last time before.
"""

from __future__ import annotations

import operator
from collections import defaultdict
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
IN_PLACE: tuple[type[nn.Module], ...] = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.ELU, nn.Dropout, nn.Flatten, nn.Identity)
WRITING_CALLS: set[Any] = {concatenate, functional.adaptive_avg_pool2d}
IN_PLACE_CALLS: set[Any] = {
    send,  # first half of gather-and-concatenate, which counts as one step without temporaries: its concatenation
    operator.getitem,
    operator.add,  # a residual sum overwrites one of its terms, which have the same size
    operator.iadd,
    torch.flatten,
    "flatten",
}


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
    tensors = _tensors(module, steps)
    last_step: dict[fx.Node, int] = {}
    for number, node in enumerate(steps):
        for read in (node, *node.all_input_nodes):
            if read in tensors:
                last_step[tensors[read]] = number
    dying: dict[int, int] = defaultdict(int)
    for tensor, number in last_step.items():
        dying[number] += _elements(tensor)
    alive = peak = 0
    for number, node in enumerate(steps):
        if node in last_step:  # it writes a new tensor
            alive += _elements(node)
            peak = max(peak, alive)
        alive -= dying[number]
    return peak


def _tensors(module: fx.GraphModule, steps: list[fx.Node]) -> dict[fx.Node, fx.Node]:
    """Return, for each step but the output, the step that wrote the tensor that holds its result."""
    tensors: dict[fx.Node, fx.Node] = {}
    for node in steps:
        if node.op != "output":
            tensors[node] = node if _writes(module, node) else tensors[node.all_input_nodes[0]]
    return tensors


def _writes(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "placeholder":
        return True
    if node.op == "call_module":
        layer = module.get_submodule(str(node.target))
        known, writes = isinstance(layer, WRITING + IN_PLACE), isinstance(layer, WRITING)
    else:
        known, writes = node.target in WRITING_CALLS | IN_PLACE_CALLS, node.target in WRITING_CALLS
    if not known:
        raise LookupError(f"no rule says whether {node.format_node()} writes a tensor")
    return writes


def _elements(node: fx.Node) -> int:
    elements: int = node.meta["tensor_meta"].shape.numel()
    return elements
